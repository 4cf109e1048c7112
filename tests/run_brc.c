#include "run_brc.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

// In the child: become brc with these words.
static void become(char *line, const char *extra_env) {
  char *argv[256] = {(char *)BRC_BINARY};
  size_t n = 1;
  for (char *word = strtok(line, " "); word && n + 1 < BRC_COUNT(argv); word = strtok(NULL, " "))
    argv[n++] = word;
  if (extra_env) putenv(strdup(extra_env));
  execv(BRC_BINARY, argv);
  _exit(127);
}

static int status_of(int s) { return WIFSIGNALED(s) ? 128 + WTERMSIG(s) : WEXITSTATUS(s); }

static void read_back(FILE *f, char *out, size_t bytes) {
  rewind(f);
  out[fread(out, 1, bytes - 1, f)] = 0;
  fclose(f);
}

void run_brc(run_result *r, const char *extra_env, const char *fmt, ...) {
  char line[4096];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(line, sizeof line, fmt, ap);
  va_end(ap);
  FILE *out = tmpfile(), *err = tmpfile();
  fflush(NULL);
  pid_t pid = fork();
  if (pid == 0) {
    dup2(fileno(out), STDOUT_FILENO);
    dup2(fileno(err), STDERR_FILENO);
    become(line, extra_env);
  }
  r->status = run_wait(pid);
  read_back(out, r->out, sizeof r->out);
  read_back(err, r->err, sizeof r->err);
}

pid_t run_start(const char *fmt, ...) {
  char line[4096];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(line, sizeof line, fmt, ap);
  va_end(ap);
  fflush(NULL);
  pid_t pid = fork();
  if (pid) return pid;
  int null = open("/dev/null", O_RDWR);
  dup2(null, STDOUT_FILENO);
  dup2(null, STDERR_FILENO);
  become(line, NULL);
  return 0;
}

int run_wait(pid_t pid) {
  int s = 0;
  waitpid(pid, &s, 0);
  return status_of(s);
}
