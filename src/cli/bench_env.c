#include "cli/bench_env.h"
#include "cli/cli.h"
#include "base/philox.h"
#include "envs/mujoco/mj.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum {
  ACTION_ROWS = 256,  // random actions, used in turn: making them is not what is measured
  REPEATS = 3,        // of a segment; the least time of each kind counts
  MOST_SEGMENTS = 4096,
  MOST_POSITIONS = 512
};
// A segment is short enough for what else runs on the machine to miss some of them, and long beside the clock.
#define SEGMENT_S 2e-3

typedef struct task_rates {
  double steps_per_s, raw_steps_per_s, share, reset_ms, create_s;
  size_t mj_steps;  // calls of mj_step and its halves per control step
} task_rates;

// Uniform in [-1, 1): [rows, n].
static float *random_actions(size_t rows, size_t n) {
  float *a = malloc(rows * n * sizeof *a + 1);
  for (size_t i = 0; a && i < rows * n; i++)
    a[i] = 2 * brc_uniform(brc_philox((uint32_t)i, 3, 2, 0, 7, 7).x) - 1;
  return a;
}

//------------------------ 1. The share of MuJoCo ----------------------------------
typedef struct probe {
  brc_env *env;
  float *actions;
  double *obs, qpos[2][MOST_POSITIONS];
  void *state;
  uint64_t step;
  double raw_s, steps, calls, shares[MOST_SEGMENTS];
  size_t segments;
} probe;

// At most `most` steps, less where the episode ends or (limit_s > 0) that time has passed; *steps says how many.
static brc_status run_segment(probe *p, size_t most, double limit_s, size_t *steps, double *seconds,
                              bool *over) {
  const size_t na = (size_t)brc_env_def_of(p->env)->act_dim;
  brc_env_result r = {0};
  brc_status st = BRC_OK;
  double began = brc_now_s();
  size_t n = 0;
  while (!st && n < most && !r.terminated && !r.truncated && (limit_s <= 0 || brc_now_s() - began < limit_s)) {
    st = brc_env_step(p->env, p->actions + (p->step + n) % ACTION_ROWS * na, p->obs, &r);
    n++;
  }
  *seconds = brc_now_s() - began;
  *steps = n;
  *over = r.terminated || r.truncated;
  return st;
}

static size_t positions(probe *p, double *out) {
  size_t n;
  if (brc_env_inspect(p->env, "qpos", out, MOST_POSITIONS, &n) || n > MOST_POSITIONS) return 0;
  return n;
}

// One segment: recorded, then by turns stepped and replayed raw. Both must end in the same positions.
static brc_status measure_segment(probe *p, bool *over) {
  size_t steps, again, n;
  double unused, env_s, least_env = INFINITY, least_raw = INFINITY;
  brc_env_save(p->env, p->state);
  brc_mj_record_begin();
  brc_status st = run_segment(p, SIZE_MAX, SEGMENT_S, &steps, &unused, over);
  size_t calls = brc_mj_record_end();
  n = positions(p, p->qpos[0]);
  for (int i = 0; !st && calls && i < REPEATS; i++) {
    st = brc_env_load(p->env, p->state);
    double began = brc_now_s();
    if (!st) st = brc_mj_record_replay();
    least_raw = fmin(least_raw, brc_now_s() - began);
    if (!st && (positions(p, p->qpos[1]) != n || memcmp(p->qpos[0], p->qpos[1], n * sizeof *p->qpos[0])))
      st = brc_fail(BRC_E_VALUE, "task '%s': its mj_step calls alone end in another state",
                    brc_env_def_of(p->env)->name);
    if (!st) st = brc_env_load(p->env, p->state);
    if (!st) st = run_segment(p, steps, 0, &again, &env_s, over);
    least_env = fmin(least_env, env_s);
  }
  p->step += steps;
  if (st || !calls) return st;
  p->shares[p->segments++] = least_raw / least_env;
  p->raw_s += least_raw;
  p->steps += (double)steps;
  p->calls += (double)calls;
  return BRC_OK;
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static brc_status measure_share(const brc_env_def *def, const brc_assets *assets, double seconds,
                                task_rates *out) {
  static probe p;
  memset(&p, 0, sizeof p);
  brc_status st = brc_env_create(&p.env, def, assets);
  if (st) return st;
  p.actions = random_actions(ACTION_ROWS, (size_t)def->act_dim);
  p.obs = calloc((size_t)def->obs_dim, sizeof *p.obs);
  p.state = malloc(brc_env_state_bytes(p.env));
  if (!p.actions || !p.obs || !p.state) st = brc_fail(BRC_E_NOMEM, "out of memory");
  double began = brc_now_s(), reset_s = 0;
  uint64_t episodes = 0;
  bool over = true;
  while (!st && p.segments < MOST_SEGMENTS && brc_now_s() - began < seconds) {
    double t = brc_now_s();
    if (over) {
      st = brc_env_reset(p.env, 1, episodes++, p.obs);
      reset_s += brc_now_s() - t;
    }
    if (!st) st = measure_segment(&p, &over);
    if (!p.segments) break;  // without MuJoCo there is no share
  }
  out->reset_ms = 1e3 * reset_s / (double)(episodes ? episodes : 1);
  qsort(p.shares, p.segments, sizeof *p.shares, by_value);
  out->share = p.segments ? p.shares[p.segments / 2] : NAN;
  out->raw_steps_per_s = p.raw_s > 0 ? p.steps / p.raw_s : NAN;
  out->mj_steps = p.steps > 0 ? (size_t)(p.calls / p.steps + 0.5) : 0;
  brc_mj_record_free();
  free(p.actions);
  free(p.obs);
  free(p.state);
  brc_env_destroy(p.env);
  return st;
}

//------------------------ 2. Rates of a pool --------------------------------------
// Steps per second of all environments of `defs` together, resets included.
static brc_status measure_pool(const brc_env_def *const *defs, size_t n, const brc_assets *assets, int threads,
                               double seconds, double *steps_per_s, double *create_s) {
  brc_pool *pool = NULL;
  brc_env_pool *envs = NULL;
  double began = brc_now_s();
  brc_status st = brc_pool_create(&pool, threads);
  if (!st) st = brc_env_pool_create(&envs, defs, n, 1, assets, pool);
  *create_s = brc_now_s() - began;
  const size_t no = st ? 1 : (size_t)brc_env_pool_obs_dim(envs),
               na = st ? 1 : (size_t)brc_env_pool_act_dim(envs);
  float *obs = calloc(n * no, sizeof *obs), *actions = random_actions(ACTION_ROWS, n * na);
  brc_env_result *results = calloc(n, sizeof *results);
  if (!st && (!obs || !actions || !results)) st = brc_fail(BRC_E_NOMEM, "out of memory");
  if (!st) st = brc_env_pool_reset(envs, obs);
  uint64_t steps = 0;
  double s = 0;
  for (began = brc_now_s(); !st && s < seconds; s = brc_now_s() - began)
    for (int k = 0; !st && k < 16; k++, steps++) {
      st = brc_env_pool_step(envs, actions + steps % ACTION_ROWS * n * na, obs, results, NULL);
      for (size_t i = 0; !st && i < n; i++)
        if (results[i].terminated || results[i].truncated) st = brc_env_pool_reset_one(envs, i, obs + i * no);
    }
  *steps_per_s = st ? NAN : (double)(steps * n) / s;
  free(obs);
  free(actions);
  free(results);
  brc_env_pool_destroy(envs);
  brc_pool_destroy(pool);
  return st;
}

//------------------------ 3. The command ------------------------------------------
static void add_number(cJSON *o, const char *name, double value) {
  if (isfinite(value)) cJSON_AddNumberToObject(o, name, value);
}

static brc_status bench_tasks(const brc_train_config *c, const brc_assets *assets, double seconds, bool json,
                              cJSON *rows) {
  if (!json)
    printf("one thread:\n  %-28s %12s %12s %8s %9s %10s %9s\n", "task", "steps/s", "raw mj_step", "share",
           "calls", "reset ms", "create s");
  for (size_t i = 0; i < c->task_count; i++) {
    const brc_env_def *def = c->tasks[i];
    task_rates r = {0};
    brc_status st = measure_pool(&def, 1, assets, 1, seconds, &r.steps_per_s, &r.create_s);
    if (!st) st = measure_share(def, assets, seconds, &r);
    if (st) return st;
    if (!json && isfinite(r.share))
      printf("  %-28s %12.0f %12.0f %7.1f%% %9zu %10.3f %9.3f\n", def->name, r.steps_per_s, r.raw_steps_per_s,
             100 * r.share, r.mj_steps, r.reset_ms, r.create_s);
    else if (!json)
      printf("  %-28s %12.0f %12s %8s %9s %10s %9.3f\n", def->name, r.steps_per_s, "-", "-", "-", "-",
             r.create_s);
    cJSON *row = cJSON_CreateObject();
    cJSON_AddStringToObject(row, "task", def->name);
    add_number(row, "steps_per_s", r.steps_per_s);
    add_number(row, "raw_steps_per_s", r.raw_steps_per_s);
    add_number(row, "share_of_mj_step", r.share);
    add_number(row, "mj_steps_per_step", (double)r.mj_steps);
    add_number(row, "reset_ms", r.reset_ms);
    add_number(row, "create_s", r.create_s);
    cJSON_AddItemToArray(rows, row);
  }
  return BRC_OK;
}

brc_status brc_bench_env(const brc_train_config *c, double seconds, bool json) {
  brc_assets assets = {*c->assets ? c->assets : NULL};
  cJSON *o = cJSON_CreateObject(), *rows = cJSON_AddArrayToObject(o, "tasks");
  brc_status st = bench_tasks(c, &assets, seconds, json, rows);
  // Enough environments that no thread waits long for the last one.
  brc_pool *pool = NULL;
  if (!st) st = brc_pool_create(&pool, (int)c->threads);
  const int threads = st ? 1 : brc_pool_threads(pool);
  brc_pool_destroy(pool);
  const size_t copies = (8 * (size_t)threads + c->task_count - 1) / c->task_count, n = copies * c->task_count;
  const brc_env_def **defs = malloc(n * sizeof *defs);
  double rates[2] = {NAN, NAN}, create_s = 0;
  if (!st && !defs) st = brc_fail(BRC_E_NOMEM, "out of memory");
  for (size_t i = 0; !st && i < n; i++) defs[i] = c->tasks[i / copies];
  for (int i = 0; !st && i < 2; i++)
    st = measure_pool(defs, n, &assets, i ? threads : 1, seconds, &rates[i], &create_s);
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  if (!st && !json)
    printf(
        "together, %zu environments: %.0f control steps/s on one thread, %.0f on %d (%.2fx); created in %.2f "
        "s, "
        "%.0f MB at most\n",
        n, rates[0], rates[1], threads, rates[1] / rates[0], create_s, (double)usage.ru_maxrss / 1024);
  cJSON_AddNumberToObject(o, "environments", (double)n);
  cJSON_AddNumberToObject(o, "threads", threads);
  add_number(o, "steps_per_s", rates[1]);
  add_number(o, "steps_per_s_one_thread", rates[0]);
  add_number(o, "scaling", rates[1] / rates[0]);
  add_number(o, "create_s", create_s);
  cJSON_AddNumberToObject(o, "max_rss_bytes", (double)usage.ru_maxrss * 1024);
  if (!st && json)
    brc_cli_print_json(o);
  else
    cJSON_Delete(o);
  free(defs);
  return st;
}
