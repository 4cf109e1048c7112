// A library for LD_PRELOAD that makes the writing of checkpoints slow, so that a kill at a random moment often falls into it: what goes
// into a file below a folder .../checkpoint/ is written in pieces, with a pause before each and before syncs and renames.
//   BRC_SLOW_IO_US=N   length of a pause, in microseconds
//   BRC_SLOW_IO_LOG=F  a byte is appended to F when a checkpoint's file is first written to, one when a state file is renamed
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#define PIECE 3000  // bytes; not a whole number of rows or pages

static ssize_t (*next_write)(int, const void *, size_t);
static ssize_t (*next_pwrite)(int, const void *, size_t, off_t);
static int (*next_fsync)(int), (*next_fdatasync)(int), (*next_rename)(const char *, const char *);
static int (*next_ftruncate)(int, off_t);
static useconds_t pause_us;
static const char *log_path;

__attribute__((constructor)) static void find(void) {
  const char *text = getenv("BRC_SLOW_IO_US");
  pause_us = text ? (useconds_t)atoi(text) : 0;
  log_path = getenv("BRC_SLOW_IO_LOG");
  *(void **)&next_write = dlsym(RTLD_NEXT, "write");
  *(void **)&next_pwrite = dlsym(RTLD_NEXT, "pwrite");
  *(void **)&next_fsync = dlsym(RTLD_NEXT, "fsync");
  *(void **)&next_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
  *(void **)&next_rename = dlsym(RTLD_NEXT, "rename");
  *(void **)&next_ftruncate = dlsym(RTLD_NEXT, "ftruncate");
}

static void note(char c) {
  int fd = log_path ? open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666) : -1;
  if (fd < 0) return;
  next_write(fd, &c, 1);
  close(fd);
}

static int is_checkpoint(int fd) {
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t n = readlink(link, path, sizeof path - 1);
  if (n < 0) return 0;
  path[n] = 0;
  return strstr(path, "/checkpoint/") != NULL;
}

static size_t delay(int fd, size_t bytes) {
  if (!is_checkpoint(fd)) return bytes;
  note('w');
  usleep(pause_us);
  return bytes < PIECE ? bytes : PIECE;
}

ssize_t write(int fd, const void *data, size_t bytes) { return next_write(fd, data, delay(fd, bytes)); }
ssize_t pwrite(int fd, const void *data, size_t bytes, off_t at) {
  return next_pwrite(fd, data, delay(fd, bytes), at);
}
int fsync(int fd) { return delay(fd, 0), next_fsync(fd); }
int fdatasync(int fd) { return delay(fd, 0), next_fdatasync(fd); }
int ftruncate(int fd, off_t size) { return delay(fd, 0), next_ftruncate(fd, size); }
int rename(const char *from, const char *to) {
  const char *state = "/state.safetensors";
  size_t n = strlen(to), m = strlen(state);
  int commits = n > m && !strcmp(to + n - m, state);
  if (commits) usleep(pause_us);
  int r = next_rename(from, to);
  if (commits) note('c'), usleep(pause_us);
  return r;
}
