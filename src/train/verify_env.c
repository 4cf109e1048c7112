#include "train/verify_env.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define OBS_TOLERANCE    1e-12  // sums in another order, and exp, tanh, log1p may differ by a few ulp
#define REWARD_TOLERANCE 1e-10

// One tensor of a trajectory: what the file has, and what the replay computed (in double, whatever the file's type).
typedef struct channel {
  const char *name;
  double tolerance;
  const brc_st_tensor *want;  // NULL: not in the file
  double *got;
  uint64_t rows, cols;
} channel;

enum { OBS0, OBS, OBS_END, REWARD, TERMINATED, TRUNCATED, GOAL, NCON, QPOS, QVEL, CHANNELS };

typedef struct trajectory {
  const char *prefix;
  uint64_t steps;
  const brc_st_tensor *action;
  channel ch[CHANNELS];
} trajectory;

typedef struct verify {
  const brc_st_file *file;
  const brc_env_def *def;
  brc_env *env;
  brc_st_writer *dump;
  FILE *log;
  brc_verify_report *report;
  bool exceeded;
  uint64_t compared;
} verify;

//------------------------ 1. What the file says -------------------------------
bool brc_verify_env_is(const brc_st_file *f) { return brc_st_meta(f, "spec") || brc_st_meta(f, "episode"); }

static brc_status task_of(const brc_st_file *f, const brc_env_def **def) {
  const char *key = brc_st_meta(f, "spec") ? "spec" : "episode", *text = brc_st_meta(f, key);
  if (!text)
    return brc_fail(BRC_E_FORMAT, "%s: neither 'spec' nor 'episode' in its metadata: no environment file",
                    brc_st_path(f));
  cJSON *json = cJSON_Parse(text);
  const cJSON *task = cJSON_GetObjectItemCaseSensitive(json, "task");
  brc_status st = BRC_OK;
  if (!cJSON_IsString(task))
    st = brc_fail(BRC_E_FORMAT, "%s: its metadata '%s' has no text 'task'", brc_st_path(f), key);
  else if (!(*def = brc_env_find(task->valuestring)))
    st = brc_fail(BRC_E_NOT_FOUND,
                  "%s: recorded from task '%.80s', which is not in the registry ('brc tasks' lists them)",
                  brc_st_path(f), task->valuestring);
  cJSON_Delete(json);
  return st;
}

// Find a tensor and hold it to the shape that the replay will index. Absent ones are left out, unless `required`.
static brc_status want(const verify *v, trajectory *t, int which, const char *name, brc_st_dtype dtype,
                       uint64_t rows, uint64_t cols, double tolerance, bool required) {
  channel *c = &t->ch[which];
  *c = (channel){.name = name, .tolerance = tolerance, .rows = rows, .cols = cols};
  if (!required && !brc_st_find(v->file, "%s%s", t->prefix, name)) return BRC_OK;
  brc_status st = brc_st_need(v->file, dtype, rows * cols, &c->want, "%s%s", t->prefix, name);
  if (st) return st;
  c->got = malloc((size_t)(rows * cols) * sizeof *c->got + 1);
  if (!c->got) return brc_fail(BRC_E_NOMEM, "replay of %llu steps", (unsigned long long)t->steps);
  for (uint64_t i = 0; i < rows * cols; i++)
    c->got[i] = NAN;  // stays where the replay ends early: a difference
  return BRC_OK;
}

static brc_status size_of(const verify *v, const char *name, uint64_t *n) {
  size_t count;
  double none;
  brc_status st = brc_env_inspect(v->env, name, &none, 0, &count);
  *n = st ? 0 : count;
  return st;
}

static brc_status find_action(const verify *v, trajectory *t) {
  const brc_st_tensor *a = brc_st_find(v->file, "%saction", t->prefix);
  uint64_t na = (uint64_t)v->def->act_dim;
  if (!a || a->dtype != BRC_ST_F32 || a->rank != 2 || a->shape[0] == 0)
    return brc_fail(BRC_E_FORMAT, "%s: '%saction' is missing, empty, or not F32 [steps, actions]",
                    brc_st_path(v->file), t->prefix);
  if (a->shape[1] != na)
    return brc_fail(BRC_E_FORMAT, "%s: '%saction' has %llu entries per step, task '%s' takes %llu",
                    brc_st_path(v->file), t->prefix, (unsigned long long)a->shape[1], v->def->name,
                    (unsigned long long)na);
  if (v->def->max_steps > 0 && a->shape[0] > (uint64_t)v->def->max_steps)
    return brc_fail(BRC_E_FORMAT, "%s: '%saction' has %llu steps, an episode of '%s' at most %d",
                    brc_st_path(v->file), t->prefix, (unsigned long long)a->shape[0], v->def->name,
                    v->def->max_steps);
  t->action = a;
  t->steps = a->shape[0];
  return BRC_OK;
}

// Simulation-free tasks have no qpos; files that have one of theirs are damaged.
static brc_status find_positions(const verify *v, trajectory *t) {
  static const struct {
    int which;
    const char *tensor, *name;
  } parts[] = {{QPOS, "qpos_every10", "qpos"}, {QVEL, "qvel_every10", "qvel"}};
  for (size_t i = 0; i < BRC_COUNT(parts); i++) {
    if (!brc_st_find(v->file, "%s%s", t->prefix, parts[i].tensor)) continue;
    uint64_t n;
    brc_status st = size_of(v, parts[i].name, &n);
    if (!st) st = want(v, t, parts[i].which, parts[i].tensor, BRC_ST_F64, t->steps / 10, n, 0, true);
    if (st) return st;
  }
  return BRC_OK;
}

static brc_status find_tensors(const verify *v, trajectory *t, bool whole_episode) {
  uint64_t no = (uint64_t)v->def->obs_dim;
  brc_status st = find_action(v, t);
  uint64_t n = t->steps;
  if (!st) st = want(v, t, OBS0, "obs0", BRC_ST_F64, 1, no, OBS_TOLERANCE, false);
  if (!st) st = want(v, t, OBS, "obs", BRC_ST_F64, n, no, OBS_TOLERANCE, !whole_episode);
  if (!st) st = want(v, t, OBS_END, "obs_end", BRC_ST_F64, 1, no, OBS_TOLERANCE, whole_episode);
  if (!st) st = want(v, t, REWARD, "reward", BRC_ST_F64, n, 1, REWARD_TOLERANCE, true);
  if (!st) st = want(v, t, TERMINATED, "terminated", BRC_ST_U8, n, 1, 0, true);
  if (!st) st = want(v, t, TRUNCATED, "truncated", BRC_ST_U8, n, 1, 0, true);
  if (!st) st = want(v, t, GOAL, "goal", BRC_ST_F32, n, 1, 0, false);
  if (!st) st = want(v, t, NCON, "ncon", BRC_ST_I32, n, 1, 0, false);
  if (!st) st = find_positions(v, t);
  return st;
}

//------------------------ 2. Replay -------------------------------------------
static brc_status look(const verify *v, channel *c, const char *name, uint64_t row) {
  if (!c->want || row >= c->rows) return BRC_OK;
  size_t count;
  brc_status st = brc_env_inspect(v->env, name, c->got + row * c->cols, (size_t)c->cols, &count);
  if (!st && count != c->cols)
    st = brc_fail(BRC_E_SHAPE, "%s: '%s' has %zu numbers, expected %llu", brc_st_path(v->file), name, count,
                  (unsigned long long)c->cols);
  return st;
}

static void put(channel *c, uint64_t row, double value) {
  if (c->want) c->got[row] = value;
}

static brc_status replay(const verify *v, trajectory *t, float *action, double *obs) {
  uint64_t no = (uint64_t)v->def->obs_dim, na = (uint64_t)v->def->act_dim;
  channel *ch = t->ch;
  brc_status st = brc_env_restore(v->env, v->file, t->prefix);
  if (!st) st = look(v, &ch[OBS0], "obs", 0);
  for (uint64_t i = 0; !st && i < t->steps; i++) {
    brc_env_result r;
    for (uint64_t j = 0; j < na; j++) action[j] = (float)brc_st_get(t->action, i * na + j);
    st = brc_env_step(v->env, action, obs, &r);
    if (st) break;
    if (ch[OBS].want) memcpy(ch[OBS].got + i * no, obs, (size_t)no * sizeof *obs);
    put(&ch[REWARD], i, r.reward);
    put(&ch[TERMINATED], i, r.terminated);
    put(&ch[TRUNCATED], i, r.truncated);
    put(&ch[GOAL], i, r.success);
    st = look(v, &ch[NCON], "ncon", i);
    if (!st && i % 10 == 9) st = look(v, &ch[QPOS], "qpos", i / 10);
    if (!st && i % 10 == 9) st = look(v, &ch[QVEL], "qvel", i / 10);
    if (i + 1 == t->steps && ch[OBS_END].want) memcpy(ch[OBS_END].got, obs, (size_t)no * sizeof *obs);
    if (r.terminated || r.truncated) break;  // where the original went on, what is left stays NaN
  }
  return st;
}

//------------------------ 3. Comparison, dump ---------------------------------
static brc_status compare(verify *v, const trajectory *t, const channel *c) {
  double max_abs = 0, max_rel = 0;
  uint64_t n = c->rows * c->cols;
  for (uint64_t i = 0; i < n; i++) {
    double expected = brc_st_get(c->want, i), error = fabs(c->got[i] - expected);
    if (c->got[i] == expected) error = 0;  // infinities
    if (isnan(error)) error = INFINITY;
    if (error > max_abs) max_abs = error;
    double rel = error == 0 ? 0 : error / fmax(fabs(expected), 1e-300);
    if (rel > max_rel) max_rel = rel;
  }
  bool ok = max_abs <= c->tolerance;
  char name[64];
  snprintf(name, sizeof name, "%s%s", t->prefix, c->name);
  brc_status st = brc_verify_add(v->report, name, max_abs, max_rel, c->tolerance, ok, n);
  if (v->log)
    fprintf(v->log, "  %-20s %8llu values  largest error %-10.3g tolerance %-8.3g %s\n", name,
            (unsigned long long)n, max_abs, c->tolerance, ok ? "ok" : "EXCEEDED");
  if (!ok) v->exceeded = true;
  v->compared += n;
  return st;
}

// Back to the type that the file has; NaN (a step that was not reached) becomes 255 or -1 in integers.
static void convert(brc_st_dtype dtype, const double *from, uint64_t n, void *to) {
  for (uint64_t i = 0; i < n; i++) {
    switch (dtype) {
      case BRC_ST_U8: ((uint8_t *)to)[i] = isnan(from[i]) ? 255 : (uint8_t)from[i]; break;
      case BRC_ST_I32: ((int32_t *)to)[i] = isnan(from[i]) ? -1 : (int32_t)from[i]; break;
      case BRC_ST_F32: ((float *)to)[i] = (float)from[i]; break;
      default: ((double *)to)[i] = from[i]; break;
    }
  }
}

static brc_status dump_channel(const verify *v, const channel *c) {
  uint64_t n = c->rows * c->cols;
  void *typed = malloc((size_t)n * sizeof(double) + 1);
  if (!typed) return brc_fail(BRC_E_NOMEM, "dump of '%s'", c->want->name);
  convert(c->want->dtype, c->got, n, typed);
  brc_status st =
      brc_st_writer_copy(v->dump, c->want->name, c->want->dtype, c->want->rank, c->want->shape, typed);
  free(typed);
  return st;
}

static brc_status verify_trajectory(verify *v, const char *prefix, bool whole_episode) {
  trajectory t = {.prefix = prefix};
  float *action = calloc((size_t)v->def->act_dim, sizeof *action);
  double *obs = calloc((size_t)v->def->obs_dim, sizeof *obs);
  brc_status st = action && obs ? BRC_OK : brc_fail(BRC_E_NOMEM, "replay");
  if (!st) st = find_tensors(v, &t, whole_episode);
  if (!st) st = replay(v, &t, action, obs);
  for (int i = 0; !st && i < CHANNELS; i++) {
    if (!t.ch[i].want) continue;
    st = compare(v, &t, &t.ch[i]);
    if (!st && v->dump) st = dump_channel(v, &t.ch[i]);
  }
  for (int i = 0; i < CHANNELS; i++) free(t.ch[i].got);
  free(action);
  free(obs);
  return st;
}

//------------------------ 4. A file -------------------------------------------
static brc_status verify_all(verify *v) {
  if (brc_st_meta(v->file, "episode") && !brc_st_meta(v->file, "spec")) return verify_trajectory(v, "", true);
  int n = 0;
  for (;; n++) {
    char prefix[32];
    snprintf(prefix, sizeof prefix, "t%d.", n);
    if (!brc_st_find(v->file, "%saction", prefix)) break;
    brc_status st = verify_trajectory(v, prefix, false);
    if (st) return st;
  }
  return n > 0
             ? BRC_OK
             : brc_fail(BRC_E_FORMAT, "%s: no trajectory in it ('t0.action' is missing)", brc_st_path(v->file));
}

brc_status brc_verify_env(const brc_st_file *f, const brc_assets *assets, const char *dump, FILE *log,
                          brc_verify_report *report) {
  verify v = {.file = f, .log = log, .report = report};
  brc_status st = task_of(f, &v.def);
  if (!st) st = brc_env_create(&v.env, v.def, assets);
  if (!st && dump) st = brc_st_writer_new(&v.dump);
  if (!st) st = verify_all(&v);
  if (!st && dump) st = brc_st_write(v.dump, dump);
  if (!st && v.compared == 0) st = brc_fail(BRC_E_FORMAT, "%s: nothing to compare", brc_st_path(f));
  if (!st && v.exceeded)
    st = brc_fail(BRC_E_TOLERANCE, "%s: task '%s' differs from the original by more than its tolerance",
                  brc_st_path(f), v.def->name);
  if (v.dump) brc_st_writer_free(v.dump);
  brc_env_destroy(v.env);
  return st;
}
