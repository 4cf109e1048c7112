// Runs the program as a user does: its exit status and what it printed.
#ifndef BRC_TESTS_RUN_H
#define BRC_TESTS_RUN_H
#include "base/base.h"
#include <sys/types.h>

typedef struct run_result {
  int status;  // exit status; 128 + signal if it was ended by one
  char out[1 << 16], err[1 << 16];
} run_result;

// Words are separated by blanks ("train probe-action --steps 10"); `extra_env` is NULL or "NAME=VALUE".
void run_brc(run_result *r, const char *extra_env, const char *fmt, ...) BRC_PRINTF(3, 4);
// Start without waiting; output is thrown away.
pid_t run_start(const char *fmt, ...) BRC_PRINTF(1, 2);
int run_wait(pid_t pid);  // exit status as above
#endif
