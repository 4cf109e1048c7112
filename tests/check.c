#include "tests/check.h"

#include "base/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void check_status_ok(brc_status st, const char *expr, const char *file, int line) {
  if (!st) return;
  print_error("%s: %s: %s\n", expr, brc_status_text(st), brc_error());
  _fail(file, line);
}

void check_status_fails(brc_status code, const char *part, brc_status st, const char *expr, const char *file,
                        int line) {
  if (st == code && strstr(brc_error(), part)) return;
  print_error("%s: expected '%s' with '%s'\n  got '%s': %s\n", expr, brc_status_text(code), part,
              brc_status_text(st), st ? brc_error() : "");
  _fail(file, line);
}

static char folder[256];
static pid_t owner;

static void remove_folder(void) {
  if (getpid() == owner) brc_remove_tree(folder);
}

const char *check_folder(void) {
  if (folder[0]) return folder;
  const char *root = getenv("TMPDIR");
  snprintf(folder, sizeof folder, "%s/brc-test-XXXXXX", root && *root ? root : "/tmp");
  if (!mkdtemp(folder)) {
    perror(folder);
    abort();
  }
  owner = getpid();
  atexit(remove_folder);
  return folder;
}

const char *check_path(const char *name) {
  static char paths[4][512];
  static int turn;
  char *path = paths[turn++ % 4];
  snprintf(path, sizeof paths[0], "%s/%s", check_folder(), name);
  return path;
}
