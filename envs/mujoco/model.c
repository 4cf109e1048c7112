// Compiled models, one per source however many environments run on it.
#include "envs/mujoco/mj.h"
#ifdef BRC_HAVE_MUJOCO
#include "base/file.h"
#include "envs/mujoco/mj_internal.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct entry {
  struct entry *next;
  mjModel *model;  // NULL: somebody is compiling it
  size_t users;
  const brc_mj_edit *edits;
  char path[];
} entry;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;  // of the list, not held while compiling
static pthread_cond_t compiled = PTHREAD_COND_INITIALIZER;
static entry *entries;

//------------------------ 1. Compiling ----------------------------------------
typedef struct compile_call {
  const brc_mj_source *source;
  mjVFS *files;  // what MuJoCo shall not read from where it looks itself
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
  brc_status st = BRC_OK;
  if (source->edits || source->include) st = add_file(files, source->path, source->edits);
  for (const char *const *p = source->include; !st && p && *p; p++) st = add_file(files, *p, NULL);
  return st;
}

// Said once per texture, however many models use it.
static void note_texture(const char *name, const char *model) {
  static char noted[32][64];
  size_t i = 0;
  pthread_mutex_lock(&lock);
  while (i < BRC_COUNT(noted) && noted[i][0] && strcmp(noted[i], name) != 0) i++;
  bool said = i < BRC_COUNT(noted) && noted[i][0];
  if (!said && i < BRC_COUNT(noted)) snprintf(noted[i], sizeof noted[i], "%s", name);
  pthread_mutex_unlock(&lock);
  if (!said) fprintf(stderr, "brc: note: texture %s is missing and drawn grey (%s)\n", name, base_name(model));
}

// A texture changes what is drawn, not what moves: where MuJoCo's message (resource not found ... 'PATH.png') says that one
// is missing, a grey one takes its place. False: the message says something else, or no room.
static bool replace_texture(compile_call *c) {
  // One pixel, a PNG file.
  static const uint8_t grey[] = {
      0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0x00, 0x00, 0x00, 0x0d, 0x49, 0x48, 0x44, 0x52, 0x00,
      0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x01, 0x08, 0x00, 0x00, 0x00, 0x00, 0x3a, 0x7e, 0x9b, 0x55, 0x00,
      0x00, 0x00, 0x0a, 0x49, 0x44, 0x41, 0x54, 0x78, 0xda, 0x63, 0x98, 0x09, 0x00, 0x00, 0x9b, 0x00, 0x9a,
      0x00, 0xa6, 0x32, 0x39, 0x00, 0x00, 0x00, 0x00, 0x49, 0x45, 0x4e, 0x44, 0xae, 0x42, 0x60, 0x82};
  char *begin = strchr(c->error, '\''), *end = strstr(c->error, ".png'");
  if (!strstr(c->error, "not found") || !begin || !end || end < begin) return false;
  end[4] = '\0';
  const char *name = base_name(begin + 1);
  bool added = brc_mj.mj_addBufferVFS(c->files, name, grey, sizeof grey) == 0;
  if (added)
    note_texture(name, c->source->path);
  else
    end[4] = '\'';  // the whole message again, for the caller
  return added;
}

// The message does not say what the file is for. A height field made of one pixel was terrain, which must not be replaced.
static brc_status check_terrain(const mjModel *m) {
  for (int i = 0; i < m->nhfield; i++)
    if (m->hfield_nrow[i] * m->hfield_ncol[i] == 1)
      return brc_fail(BRC_E_FORMAT, "the image of height field '%s' is missing",
                      brc_mj.mj_id2name(m, mjOBJ_HFIELD, i));
  return BRC_OK;
}

static brc_status load(compile_call *c) {
  brc_status st = add_files(c->files, c->source);
  while (!st && !c->model) {
    st = brc_mj_guard(compile, c);
    if (!st && !c->model && !replace_texture(c)) st = brc_fail(BRC_E_FORMAT, "%s", c->error);
  }
  if (!st) st = check_terrain(c->model);
  if (st && c->model) brc_mj.mj_deleteModel(c->model);
  return st;
}

static brc_status load_with_files(compile_call *c) {
  c->files = malloc(sizeof *c->files);  // 2 MB, too large for a stack
  if (!c->files) return brc_fail(BRC_E_NOMEM, "files in memory");
  brc_mj.mj_defaultVFS(c->files);
  brc_status st = load(c);
  brc_mj.mj_deleteVFS(c->files);
  free(c->files);
#ifdef __GLIBC__
  malloc_trim(0);  // what compiling took beside the model (as much again) goes back to the system
#endif
  return st;
}

//------------------------ 2. Sharing ------------------------------------------
// Under the lock.
static entry *find_entry(const brc_mj_source *source) {
  entry *e = entries;
  while (e && (strcmp(e->path, source->path) != 0 || e->edits != source->edits)) e = e->next;
  return e;
}

// Under the lock.
static void remove_entry(entry *e) {
  entry **p = &entries;
  while (*p != e) p = &(*p)->next;
  *p = e->next;
  free(e);
}

// Under the lock, which is given up while the model is compiled: others who want the same one wait, others compile theirs.
static brc_status add_entry(entry **out, const brc_mj_source *source) {
  size_t bytes = strlen(source->path) + 1;
  entry *e = calloc(1, sizeof *e + bytes);
  if (!e) return brc_fail(BRC_E_NOMEM, "model %s", source->path);
  memcpy(e->path, source->path, bytes);
  e->edits = source->edits;
  e->next = entries;
  entries = e;
  compile_call c = {.source = source};
  pthread_mutex_unlock(&lock);
  brc_status st = load_with_files(&c);
  pthread_mutex_lock(&lock);
  pthread_cond_broadcast(&compiled);
  if (st) {
    remove_entry(e);
    return brc_fail_prefix(st, "model %s: ", source->path);
  }
  e->model = c.model;
  *out = e;
  return BRC_OK;
}

brc_status brc_mj_model_get(const mjModel **out, const brc_mj_source *source) {
  brc_status st = brc_mj_open();
  if (st) return st;
  entry *e;
  pthread_mutex_lock(&lock);
  while ((e = find_entry(source)) && !e->model) pthread_cond_wait(&compiled, &lock);
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
  entry *e = entries;
  while (e && e->model != m) e = e->next;
  if (e && --e->users == 0) {
    brc_mj.mj_deleteModel(e->model);
    remove_entry(e);
  }
  pthread_mutex_unlock(&lock);
}
#else
typedef int brc_mj_model_is_empty;
#endif
