// The policy of a checkpoint: read, checked, and reduced to what acting needs.
#include "train/export.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const brc_policy_tensor *brc_policy_find(const brc_policy *p, const char *fmt, ...) {
  char name[64];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(name, sizeof name, fmt, ap);
  va_end(ap);
  for (uint32_t i = 0; i < p->count; i++)
    if (!strcmp(p->tensors[i].name, name)) return &p->tensors[i];
  return NULL;
}

uint64_t brc_policy_parameters(const brc_policy *p) {
  uint64_t n = 0;
  for (uint32_t i = 0; i < p->count; i++) n += (uint64_t)p->tensors[i].rows * p->tensors[i].cols;
  return n;
}

void brc_policy_free(brc_policy *p) {
  if (!p) return;
  brc_arena_free(&p->mem);
  free(p);
}

//------------------------ 1. Read ------------------------------------------------
// One tensor of the checkpoint, `from` there. Rank 2 if it has several rows or is a matrix of one.
static brc_status read_tensor(brc_policy *p, const brc_st_file *f, const char *from, const char *name,
                              uint64_t rows, uint64_t cols) {
  const brc_st_tensor *t;
  brc_status st = brc_st_need(f, BRC_ST_F32, rows * cols, &t, "%s", from);
  if (st) return st;
  brc_policy_tensor *x = &p->tensors[p->count];
  if (p->count == BRC_COUNT(p->tensors) || strlen(name) >= sizeof x->name)
    return brc_fail(BRC_E_UNSUPPORTED, "%s: the actor has too many layers", brc_st_path(f));
  *x = (brc_policy_tensor){.rows = (uint32_t)rows, .cols = (uint32_t)cols};
  snprintf(x->name, sizeof x->name, "%s", name);
  x->data = brc_arena_alloc(&p->mem, (size_t)(rows * cols) * sizeof *x->data);
  if (!x->data) return brc_fail(BRC_E_NOMEM, "out of memory for tensor '%s'", from);
  memcpy(x->data, t->data, (size_t)t->count * sizeof *x->data);
  p->count++;
  return BRC_OK;
}

static brc_status read_dense(brc_policy *p, const brc_st_file *f, const char *layer, uint64_t in,
                             uint64_t out) {
  char from[80];
  snprintf(from, sizeof from, "actor/%s/kernel", layer);
  brc_status st = read_tensor(p, f, from, from + 6, in, out);
  snprintf(from, sizeof from, "actor/%s/bias", layer);
  return st ? st : read_tensor(p, f, from, from + 6, 1, out);
}

static brc_status read_norm(brc_policy *p, const brc_st_file *f, const char *layer) {
  char from[80];
  snprintf(from, sizeof from, "actor/%s/scale", layer);
  brc_status st = read_tensor(p, f, from, from + 6, 1, p->width);
  snprintf(from, sizeof from, "actor/%s/bias", layer);
  return st ? st : read_tensor(p, f, from, from + 6, 1, p->width);
}

static brc_status read_layers(brc_policy *p, const brc_st_file *f) {
  brc_status st = read_dense(p, f, "input", p->obs_dim + p->embedding_dim, p->width);
  if (!st) st = read_norm(p, f, "input_norm");
  for (uint32_t i = 0; !st && i < 2 * p->depth; i++) {
    char layer[32];
    snprintf(layer, sizeof layer, "block%u/dense%u", i / 2, i % 2);
    st = read_dense(p, f, layer, p->width, p->width);
    snprintf(layer, sizeof layer, "block%u/norm%u", i / 2, i % 2);
    if (!st) st = read_norm(p, f, layer);
  }
  return st ? st : read_dense(p, f, "mean", p->width, p->act_dim);
}

// The networks use rows divided by their norm: here once and for all.
static void normalise_rows(const brc_policy_tensor *t, bool l1) {
  for (uint32_t r = 0; r < t->rows; r++) {
    float *x = t->data + (size_t)r * t->cols;
    double sum = 0;
    for (uint32_t c = 0; c < t->cols; c++) sum += l1 ? fabs(x[c]) : (double)x[c] * x[c];
    double norm = l1 ? sum : sqrt(sum);
    for (uint32_t c = 0; c < t->cols; c++) x[c] = (float)(x[c] / norm);
  }
}

//------------------------ 2. One task alone ----------------------------------------
// Drop the columns behind the first `cols`.
static void narrow(brc_policy_tensor *t, uint32_t cols) {
  for (uint32_t r = 0; r < t->rows; r++)
    memmove(t->data + (size_t)r * cols, t->data + (size_t)r * t->cols, cols * sizeof *t->data);
  t->cols = cols;
}

static brc_policy_tensor *tensor(brc_policy *p, const char *name) {
  return (brc_policy_tensor *)brc_policy_find(p, "%s", name);
}

// The embedding's part of the first layer is a constant of the task: it goes to the bias. Padding of observation and action goes.
static void fold_task(brc_policy *p, uint32_t task) {
  const brc_env_def *def = p->tasks[task];
  brc_policy_tensor *kernel = tensor(p, "input/kernel"), *bias = tensor(p, "input/bias"),
                    *embedding = tensor(p, "embedding");
  for (uint32_t c = 0; embedding && c < kernel->cols; c++) {
    double sum = bias->data[c];
    for (uint32_t i = 0; i < embedding->cols; i++)
      sum += (double)embedding->data[(size_t)task * embedding->cols + i] *
             kernel->data[(size_t)(p->obs_dim + i) * kernel->cols + c];
    bias->data[c] = (float)sum;
  }
  if (embedding) {
    p->count--;
    memmove(p->tensors, p->tensors + 1, p->count * sizeof *p->tensors);  // the embedding is the first
  }
  p->obs_dim = tensor(p, "input/kernel")->rows = (uint32_t)def->obs_dim;
  p->act_dim = (uint32_t)def->act_dim;
  narrow(tensor(p, "mean/kernel"), p->act_dim);
  narrow(tensor(p, "mean/bias"), p->act_dim);
  p->embedding_dim = 0;
  p->task_count = 1;
  p->tasks[0] = def;
}

static brc_status find_task(const brc_policy *p, const char *run, const char *name, uint32_t *out) {
  const char *names[BRC_COUNT(p->tasks)];
  for (uint32_t i = 0; i < p->task_count; i++) {
    names[i] = p->tasks[i]->name;
    *out = i;
    if (!strcmp(names[i], name)) return BRC_OK;
  }
  char near[256];
  brc_nearest(name, names, p->task_count, 2, near, sizeof near);
  return brc_fail(BRC_E_NOT_FOUND, "run '%s' has no task '%s'%s%s%s", run, name, *near ? "; did you mean " : "",
                  near, *near ? "?" : "");
}

//------------------------ 3. The whole ----------------------------------------------
static brc_status read_all(brc_policy *p, const brc_train_config *c, const brc_st_file *f) {
  const brc_st_tensor *steps;
  brc_status st = brc_st_need(f, BRC_ST_U64, 2, &steps, "loop/steps");
  if (!st) memcpy(&p->env_steps, steps->data, sizeof p->env_steps);
  if (!st && p->embedding_dim)
    st = read_tensor(p, f, "critic/embedding", "embedding", p->task_count, p->embedding_dim);
  if (!st && p->embedding_dim) normalise_rows(&p->tensors[0], !strcmp(c->agent.embedding_norm, "l1"));
  return st ? st : read_layers(p, f);
}

brc_status brc_policy_read(brc_policy **out, const char *run, const char *task) {
  brc_st_file *f = NULL;
  brc_policy *p = calloc(1, sizeof *p);
  brc_train_config *c = calloc(1, sizeof *c);
  uint32_t chosen = 0;
  brc_status st = p && c ? BRC_OK : brc_fail(BRC_E_NOMEM, "out of memory");
  if (!st) st = brc_run_read_config(run, c);
  if (!st) st = brc_train_resolve(c);
  if (!st) {
    const brc_agent_config *a = &c->agent;
    memcpy(p->tasks, c->tasks, sizeof p->tasks);
    p->task_count = (uint32_t)a->tasks, p->obs_dim = (uint32_t)a->obs_dim, p->act_dim = (uint32_t)a->action_dim;
    p->width = (uint32_t)a->actor_width, p->depth = (uint32_t)a->actor_depth;
    p->embedding_dim = a->tasks > 1 ? (uint32_t)a->embedding_dim : 0;
    p->layernorm_eps = a->layernorm_eps;
  }
  if (!st && task) st = find_task(p, run, task, &chosen);
  if (!st) st = brc_checkpoint_open(run, &f);
  if (!st) {
    st = read_all(p, c, f);
    brc_st_close(f);
  }
  if (!st && task) fold_task(p, chosen);
  free(c);
  if (st) {
    brc_policy_free(p);
    return st;
  }
  *out = p;
  return BRC_OK;
}
