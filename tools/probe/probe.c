#include "probe.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const struct question {
  const char *name, *what;
  probe_fn *ask;
} questions[] = {
    {"opencl-facts", "devices, memory, extensions", probe_opencl_facts},
    {"opencl-code", "is PTX taken, inline and as a binary; matrix instructions, checked", probe_opencl_code},
    {"opencl-launch", "what a launch costs; command buffers", probe_opencl_launch},
    {"opencl-local", "how much local memory a work-group gets", probe_opencl_local},
    {"vulkan-facts", "devices, memory, extensions, matrix shapes, subgroups", probe_vulkan_facts},
    {"vulkan-launch", "what submits, dispatches and barriers cost", probe_vulkan_launch},
};
#define QUESTIONS   (sizeof questions / sizeof *questions)
#define MAX_DEVICES 16

double probe_now_s(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void probe_error(cJSON *answer, const char *format, ...) {
  char text[600];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  cJSON_DeleteItemFromObject(answer, "error");
  cJSON_AddStringToObject(answer, "error", text);
}

void *probe_library(const char *library, cJSON *answer) {
  void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
  if (!handle) cJSON_AddStringToObject(answer, "absent", dlerror());
  return handle;
}

//------------------------ One question, one process ----------------------------
// In the child: 0 answered, 3 no such device.
static void answer_child(const struct question *q, int device, int to) {
  cJSON *answer = cJSON_CreateObject();
  bool there = q->ask(device, answer);
  char *text = cJSON_PrintUnformatted(answer);
  size_t n = text ? strlen(text) : 0, sent = 0;
  while (sent < n) {
    ssize_t k = write(to, text + sent, n - sent);
    if (k <= 0) break;
    sent += (size_t)k;
  }
  // Drivers' own clean-up at exit is not asked about.
  _exit(there ? 0 : 3);
}

// All that the child writes until it ends or the time is over. False on the latter.
static bool read_all(int from, double limit_s, char **text) {
  size_t size = 1 << 16, used = 0;
  double until = probe_now_s() + limit_s;
  *text = malloc(size);
  while (*text) {
    int left_ms = (int)((until - probe_now_s()) * 1e3);
    struct pollfd p = {.fd = from, .events = POLLIN};
    if (left_ms <= 0 || poll(&p, 1, left_ms) == 0) return false;
    if (used + 4096 > size && !(*text = realloc(*text, size *= 2))) break;
    ssize_t n = read(from, *text + used, 4095);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    used += (size_t)n;
  }
  if (*text) (*text)[used] = 0;
  return true;
}

// The answer; NULL when the device does not exist.
static cJSON *ask(const struct question *q, int device, double limit_s) {
  int ends[2];
  cJSON *answer = NULL;
  if (pipe(ends)) return NULL;
  fflush(NULL);
  pid_t child = fork();
  if (child == 0) {
    close(ends[0]);
    answer_child(q, device, ends[1]);
  }
  close(ends[1]);
  char *text = NULL;
  bool in_time = child > 0 && read_all(ends[0], limit_s, &text);
  close(ends[0]);
  int status = 0;
  if (child > 0) {
    if (!in_time) kill(child, SIGKILL);
    waitpid(child, &status, 0);
  }
  if (in_time && text && WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 3))
    answer = WEXITSTATUS(status) == 3 && device > 0 ? NULL : cJSON_Parse(text);
  else if (answer = cJSON_CreateObject(), !in_time)
    probe_error(answer, "no answer in %.0f s", limit_s);
  else
    probe_error(answer, "the driver ended the process (%s %d)", WIFSIGNALED(status) ? "signal" : "exit status",
                WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
  free(text);
  return answer;
}

static int ask_all(const struct question *q) {
  cJSON *o = cJSON_CreateObject(), *devices = NULL;
  cJSON_AddStringToObject(o, "question", q->name);
  cJSON_AddStringToObject(o, "what", q->what);
  devices = cJSON_AddArrayToObject(o, "devices");
  int failed = 0;
  for (int i = 0; i < MAX_DEVICES; i++) {
    cJSON *answer = ask(q, i, 60);
    if (!answer) break;
    failed += cJSON_HasObjectItem(answer, "error");
    bool none = i == 0 && cJSON_HasObjectItem(answer, "absent");
    cJSON_AddItemToArray(devices, answer);
    if (none) break;
  }
  char *text = cJSON_PrintUnformatted(o);
  puts(text ? text : "{}");
  free(text);
  cJSON_Delete(o);
  return failed ? 1 : 0;
}

//------------------------ Where a library is ------------------------------------
// "NAME PATH" for each name that the dynamic loader finds, "NAME -" for each that it does not.
static int find_libraries(char **names) {
  for (; *names; names++) {
    struct link_map *map = NULL;
    void *handle = dlopen(*names, RTLD_LAZY | RTLD_LOCAL);
    char *real = handle && !dlinfo(handle, RTLD_DI_LINKMAP, &map) && map ? realpath(map->l_name, NULL) : NULL;
    printf("%s %s\n", *names, real ? real : "-");
    free(real);
  }
  return 0;
}

int main(int argc, char **argv) {
  if (argc > 2 && !strcmp(argv[1], "library")) return find_libraries(argv + 2);
  for (size_t i = 0; argc == 2 && i < QUESTIONS; i++)
    if (!strcmp(argv[1], questions[i].name)) return ask_all(&questions[i]);
  bool help = argc == 2 && !strcmp(argv[1], "--help");
  FILE *to = help ? stdout : stderr;
  fprintf(to,
          "usage: driver_probe QUESTION\n       driver_probe library NAME...\n\nPrints one JSON object: the "
          "answer of each device. Questions:\n");
  for (size_t i = 0; i < QUESTIONS; i++) fprintf(to, "  %-14s %s\n", questions[i].name, questions[i].what);
  return help ? 0 : 2;
}
