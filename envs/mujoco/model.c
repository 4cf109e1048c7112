// Compiled models, one per file however many environments run on it.
#include "envs/mujoco/mj.h"
#ifdef BRC_HAVE_MUJOCO
#include "envs/mujoco/mj_internal.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

typedef struct entry {
  struct entry *next;
  mjModel *model;
  size_t users;
  char path[];
} entry;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static entry *entries;

typedef struct compile_call {
  const char *path;
  char error[1024];
  mjModel *model;
} compile_call;

static void compile(void *arg) {
  compile_call *c = arg;
  c->model = brc_mj.mj_loadXML(c->path, NULL, c->error, sizeof c->error);
}

// Under the lock.
static brc_status add_entry(entry **out, const char *path) {
  size_t bytes = strlen(path) + 1;
  entry *e = calloc(1, sizeof *e + bytes);
  if (!e) return brc_fail(BRC_E_NOMEM, "model %s", path);
  memcpy(e->path, path, bytes);
  compile_call c = {.path = path};
  brc_status st = brc_mj_guard(compile, &c);
  if (!st && !c.model) st = brc_fail(BRC_E_FORMAT, "%s", c.error);
  if (st) {
    free(e);
    return brc_fail_prefix(st, "model %s: ", path);
  }
  e->model = c.model;
  e->next = entries;
  entries = e;
  *out = e;
  return BRC_OK;
}

brc_status brc_mj_model_get(const mjModel **out, const char *path) {
  brc_status st = brc_mj_open();
  if (st) return st;
  pthread_mutex_lock(&lock);
  entry *e = entries;
  while (e && strcmp(e->path, path) != 0) e = e->next;
  if (!e) st = add_entry(&e, path);
  if (!st) {
    e->users++;
    *out = e->model;
  }
  pthread_mutex_unlock(&lock);
  return st;
}

void brc_mj_model_put(const mjModel *m) {
  if (!m) return;
  pthread_mutex_lock(&lock);
  for (entry **p = &entries; *p; p = &(*p)->next) {
    entry *e = *p;
    if (e->model != m) continue;
    if (--e->users == 0) {
      *p = e->next;
      brc_mj.mj_deleteModel(e->model);
      free(e);
    }
    break;
  }
  pthread_mutex_unlock(&lock);
}
#else
typedef int brc_mj_model_is_empty;
#endif
