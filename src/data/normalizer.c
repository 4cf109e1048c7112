// Returns of finished episodes, their range per task, denominators.
#include "data/normalizer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct episode {
  float *reward;  // of the unfinished episode, oldest first
  size_t count, cap;
};

struct brc_normalizer {
  uint32_t tasks;
  double discount, v_max;
  bool paper;
  float *min, *max;         // [T]
  struct episode *episode;  // [T]
};

//------------------------ 1. Feed ---------------------------------------------
static void clear(brc_normalizer *n) {
  for (uint32_t t = 0; t < n->tasks; t++) {
    n->min[t] = INFINITY;
    n->max[t] = -INFINITY;
    n->episode[t].count = 0;
  }
}

brc_status brc_normalizer_create(brc_normalizer **out, const brc_normalizer_config *config) {
  *out = NULL;
  double v_max = config->v_max == 0 ? 10 : config->v_max;
  if (!config->tasks) return brc_fail(BRC_E_VALUE, "reward normaliser: at least one task is needed");
  if (!(config->discount >= 0 && config->discount < 1))
    return brc_fail(BRC_E_VALUE, "reward normaliser: discount %g is not in [0, 1)", config->discount);
  if (!(v_max > 0 && isfinite(v_max)))
    return brc_fail(BRC_E_VALUE, "reward normaliser: v_max %g is not positive", v_max);

  brc_normalizer *n = calloc(1, sizeof *n);
  if (!n) return brc_fail(BRC_E_NOMEM, "no memory for a reward normaliser");
  *n = (brc_normalizer){
      .tasks = config->tasks, .discount = config->discount, .v_max = v_max, .paper = config->paper};
  n->min = calloc(n->tasks, sizeof *n->min);
  n->max = calloc(n->tasks, sizeof *n->max);
  n->episode = calloc(n->tasks, sizeof *n->episode);
  if (!n->min || !n->max || !n->episode) {
    brc_normalizer_destroy(n);
    return brc_fail(BRC_E_NOMEM, "no memory for a reward normaliser of %u tasks", config->tasks);
  }
  clear(n);
  *out = n;
  return BRC_OK;
}

void brc_normalizer_destroy(brc_normalizer *n) {
  if (!n) return;
  for (uint32_t t = 0; n->episode && t < n->tasks; t++) free(n->episode[t].reward);
  free(n->episode);
  free(n->min);
  free(n->max);
  free(n);
}

static brc_status episode_reserve(struct episode *e, size_t count, uint32_t task) {
  if (count <= e->cap) return BRC_OK;
  size_t cap = e->cap ? e->cap : 256;
  while (cap < count && cap <= SIZE_MAX / 2) cap *= 2;
  float *reward =
      cap < count || cap > SIZE_MAX / sizeof *reward ? NULL : realloc(e->reward, cap * sizeof *reward);
  if (!reward) return brc_fail(BRC_E_NOMEM, "no memory for the %zu rewards of task %u's episode", count, task);
  e->reward = reward;
  e->cap = cap;
  return BRC_OK;
}

static double mean(const struct episode *e) {
  double sum = 0;
  for (size_t i = 0; i < e->count; i++) sum += (double)e->reward[i];
  return sum / (double)e->count;
}

// Returns accumulate in float64; only their extremes are rounded.
static void finish(brc_normalizer *n, uint32_t task, double bootstrap) {
  struct episode *e = &n->episode[task];
  double g = bootstrap, least = INFINITY, greatest = -INFINITY;
  for (size_t i = e->count; i-- > 0;) {
    g = (double)e->reward[i] + n->discount * g;
    if (g < least) least = g;
    if (g > greatest) greatest = g;
  }
  if ((float)least < n->min[task]) n->min[task] = (float)least;
  if ((float)greatest > n->max[task]) n->max[task] = (float)greatest;
  e->count = 0;
}

brc_status brc_normalizer_feed(brc_normalizer *n, const float *reward, const uint8_t *terminal,
                               const uint8_t *truncated, const double *value) {
  for (uint32_t t = 0; t < n->tasks; t++) {
    if (n->paper && truncated[t] && !value)
      return brc_fail(BRC_E_VALUE,
                      "reward normaliser: the paper's variant needs the critic's value of truncated episodes");
    brc_status st = episode_reserve(&n->episode[t], n->episode[t].count + 1, t);
    if (st) return st;
  }
  for (uint32_t t = 0; t < n->tasks; t++) {
    struct episode *e = &n->episode[t];
    e->reward[e->count++] = reward[t];
    if (truncated[t]) {
      finish(n, t, n->paper ? value[t] : mean(e) / (1 - n->discount));
    } else if (terminal[t]) {
      finish(n, t, 0);
    }
  }
  return BRC_OK;
}

uint32_t brc_normalizer_tasks(const brc_normalizer *n) { return n->tasks; }
const float *brc_normalizer_min(const brc_normalizer *n) { return n->min; }
const float *brc_normalizer_max(const brc_normalizer *n) { return n->max; }
const float *brc_normalizer_rewards(const brc_normalizer *n, uint32_t task, size_t *count) {
  *count = n->episode[task].count;
  return n->episode[task].reward;
}

//------------------------ 2. Denominators -------------------------------------
// max(|G_min|, G_max); infinite before the first finished episode.
static double g_bar(const brc_normalizer *n, uint32_t task) {
  return fmax(fabs((double)n->min[task]), (double)n->max[task]);
}

static double positive(double d) { return d > 0 ? d : INFINITY; }

void brc_normalizer_denominators(const brc_normalizer *n, double alpha, double target_entropy, double *d) {
  for (uint32_t t = 0; t < n->tasks; t++)
    d[t] = positive((g_bar(n, t) - alpha * target_entropy / (2 * (1 - n->discount))) / n->v_max);
}

void brc_normalizer_denominators_paper(const brc_normalizer *n, double alpha, const double *entropy,
                                       double *d) {
  for (uint32_t t = 0; t < n->tasks; t++) {
    double g = g_bar(n, t), with_entropy = g + alpha * entropy[t] / (1 - n->discount);
    d[t] = positive((with_entropy > 0 ? with_entropy : g) / n->v_max);
  }
}

void brc_normalizer_apply(uint32_t count, const int32_t *task, const double *d, float *reward, size_t pitch) {
  if (!pitch) pitch = 1;
  for (size_t i = 0; i < count; i++) reward[i * pitch] = (float)((double)reward[i * pitch] / d[task[i]]);
}

//------------------------ 3. State --------------------------------------------
brc_status brc_normalizer_state_add(const brc_normalizer *n, brc_st_writer *w, const char *prefix) {
  const uint64_t tasks = n->tasks;
  char name[256];
  snprintf(name, sizeof name, "%snormalizer/min", prefix);
  brc_status st = brc_st_writer_copy(w, name, BRC_ST_F32, 1, &tasks, n->min);
  snprintf(name, sizeof name, "%snormalizer/max", prefix);
  if (!st) st = brc_st_writer_copy(w, name, BRC_ST_F32, 1, &tasks, n->max);
  for (uint32_t t = 0; t < n->tasks && !st; t++) {
    const uint64_t count = n->episode[t].count;
    if (!count) continue;
    snprintf(name, sizeof name, "%snormalizer/rewards/%u", prefix, t);
    st = brc_st_writer_copy(w, name, BRC_ST_F32, 1, &count, n->episode[t].reward);
  }
  return st;
}

static brc_status load_task(brc_normalizer *n, const brc_st_file *file, const char *prefix, uint32_t task) {
  if (isnan(n->min[task]) || isnan(n->max[task]))
    return brc_fail(BRC_E_FORMAT, "'%s': %snormalizer/min and max of task %u are not numbers",
                    brc_st_path(file), prefix, task);
  const brc_st_tensor *rewards = brc_st_find(file, "%snormalizer/rewards/%u", prefix, task);
  if (!rewards) return BRC_OK;
  brc_status st =
      brc_st_need(file, BRC_ST_F32, rewards->count, &rewards, "%snormalizer/rewards/%u", prefix, task);
  if (!st) st = episode_reserve(&n->episode[task], (size_t)rewards->count, task);
  if (st) return st;
  struct episode *e = &n->episode[task];
  if (rewards->count) memcpy(e->reward, rewards->data, (size_t)rewards->count * sizeof *e->reward);
  e->count = (size_t)rewards->count;
  return BRC_OK;
}

brc_status brc_normalizer_load(brc_normalizer *n, const brc_st_file *file, const char *prefix) {
  clear(n);
  const brc_st_tensor *min, *max;
  brc_status st = brc_st_need(file, BRC_ST_F32, n->tasks, &min, "%snormalizer/min", prefix);
  if (!st) st = brc_st_need(file, BRC_ST_F32, n->tasks, &max, "%snormalizer/max", prefix);
  if (!st) {
    memcpy(n->min, min->data, n->tasks * sizeof *n->min);
    memcpy(n->max, max->data, n->tasks * sizeof *n->max);
  }
  for (uint32_t t = 0; t < n->tasks && !st; t++) st = load_task(n, file, prefix, t);
  if (st) clear(n);
  return st;
}
