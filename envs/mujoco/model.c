// Compiled models, one per source however many environments run on it.
#include "envs/mujoco/mj.h"
#ifdef BRC_HAVE_MUJOCO
#include "base/file.h"
#include "envs/mujoco/mj_internal.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

typedef struct entry {
  struct entry *next;
  mjModel *model;
  size_t users;
  const brc_mj_edit *edits;
  char path[];
} entry;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static entry *entries;

//------------------------ 1. Compiling ----------------------------------------
typedef struct compile_call {
  const brc_mj_source *source;
  mjVFS *files;  // what MuJoCo shall not read from where it looks itself, or NULL
  char error[1024];
  mjModel *model;
} compile_call;

static void compile(void *arg) {
  compile_call *c = arg;
  c->model = brc_mj.mj_loadXML(c->source->path, c->files, c->error, sizeof c->error);
}

// MuJoCo knows such files by their names without folders.
static const char *base_name(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash ? slash + 1 : path;
}

static brc_status add_file(mjVFS *files, const char *path, const brc_mj_edit *edits) {
  char *text;
  size_t bytes;
  brc_status st = brc_file_read(path, &text, &bytes);
  if (st) return st;
  st = brc_mj_edit_text(&text, edits);
  if (!st && brc_mj.mj_addBufferVFS(files, base_name(path), text, (int)strlen(text)) != 0)
    st = brc_fail(BRC_E_NOMEM, "file %s in memory", path);
  free(text);
  return st;
}

static brc_status add_files(mjVFS *files, const brc_mj_source *source) {
  brc_status st = add_file(files, source->path, source->edits);
  for (const char *const *p = source->include; !st && p && *p; p++) st = add_file(files, *p, NULL);
  return st;
}

static brc_status load(compile_call *c) {
  brc_status st = brc_mj_guard(compile, c);
  return st || c->model ? st : brc_fail(BRC_E_FORMAT, "%s", c->error);
}

// 2 MB, too large for a stack.
static brc_status load_from_memory(compile_call *c) {
  c->files = malloc(sizeof *c->files);
  if (!c->files) return brc_fail(BRC_E_NOMEM, "files in memory");
  brc_mj.mj_defaultVFS(c->files);
  brc_status st = add_files(c->files, c->source);
  if (!st) st = load(c);
  brc_mj.mj_deleteVFS(c->files);
  free(c->files);
  return st;
}

//------------------------ 2. Sharing ------------------------------------------
// Under the lock.
static brc_status add_entry(entry **out, const brc_mj_source *source) {
  size_t bytes = strlen(source->path) + 1;
  entry *e = calloc(1, sizeof *e + bytes);
  if (!e) return brc_fail(BRC_E_NOMEM, "model %s", source->path);
  memcpy(e->path, source->path, bytes);
  compile_call c = {.source = source};
  brc_status st = source->edits || source->include ? load_from_memory(&c) : load(&c);
  if (st) {
    free(e);
    return brc_fail_prefix(st, "model %s: ", source->path);
  }
  e->model = c.model;
  e->edits = source->edits;
  e->next = entries;
  entries = e;
  *out = e;
  return BRC_OK;
}

brc_status brc_mj_model_get(const mjModel **out, const brc_mj_source *source) {
  brc_status st = brc_mj_open();
  if (st) return st;
  pthread_mutex_lock(&lock);
  entry *e = entries;
  while (e && (strcmp(e->path, source->path) != 0 || e->edits != source->edits)) e = e->next;
  if (!e) st = add_entry(&e, source);
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
