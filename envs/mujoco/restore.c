// States recorded from the original environments (golden files), and what a replay of them looks at.
#include "envs/mujoco/mj.h"
#ifdef BRC_HAVE_MUJOCO
#include <mujoco/mjxmacro.h>

#include <stdio.h>
#include <string.h>

//------------------------ 1. Fields of mjModel by name ------------------------
// Real numbers only: an index or an enum out of a file could lead MuJoCo outside its arrays.
typedef enum kind { KIND_mjtNum, KIND_float, KIND_other } kind;
typedef struct field {
  void *data;
  kind kind;
  int rows, cols;
} field;

#define KIND_int     KIND_other
#define KIND_mjtByte KIND_other
#define KIND_char    KIND_other

// MuJoCo's own table of all array fields: type, name, rows, columns.
static bool find_field(const mjModel *m, const char *name, field *f) {
  MJMODEL_POINTERS_PREAMBLE(m)
#define X(type, member, nr, nc)                      \
  if (strcmp(name, #member) == 0) {                  \
    *f = (field){m->member, KIND_##type, m->nr, nc}; \
    return true;                                     \
  }
  MJMODEL_POINTERS
#undef X
  return false;
}

static void put(const field *f, size_t i, double value) {
  if (f->kind == KIND_mjtNum)
    ((mjtNum *)f->data)[i] = value;
  else
    ((float *)f->data)[i] = (float)value;
}

// PREFIXmodel.NAME.rows [k] and .values [k, columns]: rows in which the running model differs from the compiled one.
static brc_status restore_field(brc_mj_sim *s, const brc_st_file *file, const char *prefix, const char *name) {
  field f, shared;
  const char *path = brc_st_path(file);
  if (!find_field(&s->model, name, &f) || f.kind == KIND_other)
    return brc_fail(BRC_E_FORMAT, "%s: '%smodel.%s' is no field of real numbers in the model", path, prefix,
                    name);
  if (find_field(s->shared, name, &shared) && shared.data == f.data)
    return brc_fail(BRC_E_FORMAT, "%s: '%smodel.%s' is empty or too large for a simulation's own copy", path,
                    prefix, name);
  const brc_st_tensor *rows = brc_st_find(file, "%smodel.%s.rows", prefix, name), *values;
  if (!rows || rows->dtype != BRC_ST_I32)
    return brc_fail(BRC_E_FORMAT, "%s: '%smodel.%s.rows' is missing or not I32", path, prefix, name);
  if (rows->count > (uint64_t)f.rows)
    return brc_fail(BRC_E_FORMAT, "%s: '%smodel.%s.rows' has %llu rows, the model %d", path, prefix, name,
                    (unsigned long long)rows->count, f.rows);
  brc_status st =
      brc_st_need(file, BRC_ST_F64, rows->count * (uint64_t)f.cols, &values, "%smodel.%s.values", prefix, name);
  if (st) return st;
  for (uint64_t i = 0; i < rows->count; i++) {
    double row = brc_st_get(rows, i);
    if (!(row >= 0 && row < f.rows))
      return brc_fail(BRC_E_FORMAT, "%s: '%smodel.%s.rows' names row %g of %d", path, prefix, name, row,
                      f.rows);
    for (int j = 0; j < f.cols; j++)
      put(&f, (size_t)row * (size_t)f.cols + (size_t)j, brc_st_get(values, i * (uint64_t)f.cols + (uint64_t)j));
  }
  return BRC_OK;
}

static brc_status restore_model(brc_mj_sim *s, const brc_st_file *file, const char *prefix) {
  size_t prefix_bytes = strlen(prefix);
  for (size_t i = 0; i < brc_st_count(file); i++) {
    const char *name = brc_st_at(file, i)->name;
    if (strncmp(name, prefix, prefix_bytes) != 0 || strncmp(name + prefix_bytes, "model.", 6) != 0) continue;
    const char *begin = name + prefix_bytes + 6, *end = strchr(begin, '.');
    char word[64];
    if (!end || strcmp(end, ".values") != 0) continue;
    snprintf(word, sizeof word, "%.*s", (int)(end - begin), begin);
    brc_status st = brc_mj_own_model(s);
    if (!st) st = restore_field(s, file, prefix, word);
    if (st) return st;
  }
  return BRC_OK;
}

//------------------------ 2. mjData -------------------------------------------
static brc_status read_numbers(const brc_st_file *file, const char *prefix, const char *name, int n,
                               mjtNum *out) {
  if (n == 0) return BRC_OK;  // such tensors are absent
  const brc_st_tensor *t;
  brc_status st = brc_st_need(file, BRC_ST_F64, (uint64_t)n, &t, "%s%s", prefix, name);
  for (int i = 0; !st && i < n; i++) out[i] = brc_st_get(t, (uint64_t)i);
  return st;
}

brc_status brc_mj_restore(brc_mj_sim *s, const brc_st_file *file, const char *prefix) {
  brc_status st = restore_model(s, file, prefix);
  if (st) return st;
  const mjModel *m = &s->model;
  mjData *d = s->data;
  const struct {
    const char *name;
    int n;
    mjtNum *to;
  } parts[] = {{"qpos0", m->nq, d->qpos},
               {"qvel0", m->nv, d->qvel},
               {"act0", m->na, d->act},
               {"ctrl0", m->nu, d->ctrl},
               {"mocap_pos0", 3 * m->nmocap, d->mocap_pos},
               {"mocap_quat0", 4 * m->nmocap, d->mocap_quat},
               {"qacc_warmstart0", m->nv, d->qacc_warmstart},
               {"time0", 1, &d->time}};
  for (size_t i = 0; !st && i < BRC_COUNT(parts); i++)
    st = read_numbers(file, prefix, parts[i].name, parts[i].n, parts[i].to);
  return st;
}

brc_status brc_mj_restore_warmstart(brc_mj_sim *s, const brc_st_file *file, const char *prefix) {
  return read_numbers(file, prefix, "qacc_warmstart0", s->model.nv, s->data->qacc_warmstart);
}

brc_status brc_mj_restore_task(const brc_st_file *file, const char *prefix, const char *name, size_t n,
                               double *out) {
  const brc_st_tensor *t;
  brc_status st = brc_st_need(file, BRC_ST_F64, n, &t, "%stask.%s", prefix, name);
  for (size_t i = 0; !st && i < n; i++) out[i] = brc_st_get(t, i);
  return st;
}

brc_status brc_mj_inspect(const brc_mj_sim *s, const char *name, double *out, size_t max, size_t *count) {
  const mjData *d = s->data;
  const struct {
    const char *name;
    int n;
    const mjtNum *from;
  } parts[] = {{"qpos", s->model.nq, d->qpos}, {"qvel", s->model.nv, d->qvel}};
  if (strcmp(name, "ncon") == 0) {
    *count = 1;
    if (max > 0) out[0] = d->ncon;
    return BRC_OK;
  }
  for (size_t i = 0; i < BRC_COUNT(parts); i++) {
    if (strcmp(name, parts[i].name) != 0) continue;
    *count = (size_t)parts[i].n;
    for (size_t j = 0; j < *count && j < max; j++) out[j] = parts[i].from[j];
    return BRC_OK;
  }
  return BRC_E_NOT_FOUND;
}
#else
typedef int brc_mj_restore_is_empty;
#endif
