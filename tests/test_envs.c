// The environments room: registry, probes, pool, saved state, cartpole against the original, tolerance().
// Golden data: BRC_SHARED, else ../shared beside the sources; what needs it, or MuJoCo, is skipped by name without.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/pool.h"
#include "base/safetensors.h"
#include "envs/env_impl.h"
#include "envs/mujoco/mj.h"
#include "train/verify_env.h"

#ifndef BRC_SOURCE_DIR
#define BRC_SOURCE_DIR "."
#endif

enum { MAX_DIM = 8, MAX_TASKS = 64 };

static const char *golden(const char *relative) {
  static char path[4096];
  const char *shared = getenv("BRC_SHARED");
  snprintf(path, sizeof path, "%s/golden/envs/%s", shared ? shared : BRC_SOURCE_DIR "/../shared", relative);
  return path;
}

static void need_golden(const char *relative) {
  if (brc_path_exists(golden(relative))) return;
  printf("skipped: no golden file %s\n", golden(relative));
  skip();
}

// MuJoCo and the task's model, or skip.
static void need_task(const char *name) {
  brc_env *env;
  brc_status st = brc_env_create(&env, brc_env_find(name), NULL);
  if (!st) {
    brc_env_destroy(env);
    return;
  }
  if (st != BRC_E_UNSUPPORTED && st != BRC_E_NOT_FOUND) fail_msg("%s", brc_error());
  printf("skipped: %s\n", brc_error());
  skip();
}

static void ok(brc_status st) {
  if (st) fail_msg("%s: %s", brc_status_text(st), brc_error());
}

static bool usable(const brc_env_def *def) {
  brc_env *env;
  if (brc_env_create(&env, def, NULL)) return false;
  brc_env_destroy(env);
  return true;
}

// Actions without a generator's state: entry `i` of stream `s`, in [-1, 1).
static float action_at(uint32_t s, uint32_t i) { return 2 * brc_uniform(brc_philox(i, s, 0, 0, 7, 0).x) - 1; }

//------------------------ 1. Registry -----------------------------------------
static void test_registry_rows(void **state) {
  (void)state;
  assert_true(brc_env_count() >= 14);
  assert_null(brc_env_at(brc_env_count()));
  for (size_t i = 0; i < brc_env_count(); i++) {
    const brc_env_def *d = brc_env_at(i);
    assert_ptr_equal(brc_env_find(d->name), d);
    assert_true(d->obs_dim > 0 && d->act_dim > 0 && d->suite && d->create);
  }
  assert_null(brc_env_find("cartpole"));
}

static void test_resolve(void **state) {
  (void)state;
  const brc_env_def *list[MAX_TASKS];
  size_t n = 0;
  ok(brc_env_resolve("probe-action", list, MAX_TASKS, &n));
  ok(brc_env_resolve("cartpole", list, MAX_TASKS, &n));
  assert_int_equal(n, 5);
  assert_string_equal(list[0]->name, "probe-action");
  assert_string_equal(list[4]->name, "cartpole-swingup_sparse");
  ok(brc_env_resolve("probe-embedding", list, MAX_TASKS, &n));
  assert_int_equal(n, 7);
  assert_int_equal(brc_env_resolve("probe-action", list, MAX_TASKS, &n), BRC_E_USAGE);  // twice
  n = 0;
  assert_int_equal(brc_env_resolve("probes", list, 3, &n), BRC_E_USAGE);  // no room
}

static void test_unknown_name(void **state) {
  (void)state;
  const brc_env_def *list[MAX_TASKS];
  size_t n = 0;
  assert_int_equal(brc_env_resolve("cartpole-swingpu", list, MAX_TASKS, &n), BRC_E_NOT_FOUND);
  assert_string_equal(brc_error(), "task 'cartpole-swingpu' is unknown; did you mean 'cartpole-swingup'?");
  assert_int_equal(n, 0);
}

static void test_assets(void **state) {
  (void)state;
  char path[4096];
  brc_assets a = {.extra = BRC_SOURCE_DIR};
  ok(brc_assets_find(&a, "envs/env.h", path, sizeof path));
  assert_string_equal(path, BRC_SOURCE_DIR "/envs/env.h");
  assert_int_equal(brc_assets_find(&a, "no/such/file.xml", path, sizeof path), BRC_E_NOT_FOUND);
  assert_non_null(strstr(brc_error(), "no/such/file.xml"));
  assert_non_null(strstr(brc_error(), "--assets"));
}

//------------------------ 2. Probes -------------------------------------------
static brc_env *start(const char *name, uint64_t seed, uint64_t episode, double *obs) {
  brc_env *env;
  ok(brc_env_create(&env, brc_env_find(name), NULL));
  ok(brc_env_reset(env, seed, episode, obs));
  return env;
}

// Reward of one step of a fresh episode.
static double first_reward(const char *name, const float *action, brc_env_result *r) {
  double obs[MAX_DIM];
  brc_env *env = start(name, 1, 0, obs);
  ok(brc_env_step(env, action, obs, r));
  brc_env_destroy(env);
  return r->reward;
}

static void test_probe_ends(void **state) {
  (void)state;
  double obs[MAX_DIM];
  float a[MAX_DIM] = {0};
  brc_env_result r;
  assert_true(first_reward("probe-terminal", a, &r) == 1);
  assert_true(r.terminated && !r.truncated);

  brc_env *env = start("probe-truncated", 1, 0, obs);
  for (int i = 1; i <= 20; i++) {
    ok(brc_env_step(env, a, obs, &r));
    assert_true(r.reward == 1 && !r.terminated && r.truncated == (i == 20));
  }
  assert_int_equal(brc_env_step(env, a, obs, &r), BRC_E_VALUE);  // over: needs a reset
  brc_env_destroy(env);
}

static void test_probe_optima(void **state) {
  (void)state;
  static const struct {
    const char *name;
    float action[3];
    double reward;
  } cases[] = {
      {"probe-action", {0.3f, -0.5f}, 1}, {"probe-action", {0, 0}, 0.83},
      {"probe-embedding-a", {0.6f}, 1},   {"probe-embedding-b", {-0.6f}, 1},
      {"probe-embedding-a", {0}, 0.64},   {"probe-embedding-b", {0.6f}, -0.44},
      {"probe-scale-a", {0.5f}, 1},       {"probe-scale-a", {0}, 0.75},
      {"probe-scale-b", {0.5f}, 1000},    {"probe-scale-b", {0}, 750},
  };
  for (size_t i = 0; i < BRC_COUNT(cases); i++) {
    brc_env_result r;
    double reward = first_reward(cases[i].name, cases[i].action, &r);
    assert_true(fabs(reward - cases[i].reward) <= 1e-6 * fabs(cases[i].reward));
    assert_true(r.terminated);
  }
}

static void test_probe_padding(void **state) {
  (void)state;
  for (uint64_t episode = 0; episode < 20; episode++) {
    double obs[MAX_DIM];
    brc_env_result r;
    brc_env *a = start("probe-padding-a", 3, episode, obs);
    ok(brc_env_step(a, (float[]){(float)(0.5 * obs[2])}, obs, &r));
    assert_true(fabs(r.reward - 1) < 1e-12);
    brc_env_destroy(a);
    brc_env *b = start("probe-padding-b", 3, episode, obs);
    ok(brc_env_step(b, (float[]){0.4f, -0.4f, (float)(0.5 * obs[0])}, obs, &r));
    assert_true(fabs(r.reward - 1) < 1e-12);
    brc_env_destroy(b);
  }
}

// Lengths 1..20, both ways of ending, mark and rewards as documented; mean length sum of 0.9^i, i < 20.
static void test_probe_wrap(void **state) {
  (void)state;
  enum { EPISODES = 4000 };
  double obs[MAX_DIM], marks = 0;
  int terminated = 0, steps = 0, longest = 0, shortest = 99;
  brc_env *env = start("probe-wrap", 5, 0, obs);
  for (uint64_t episode = 0; episode < EPISODES; episode++) {
    ok(brc_env_reset(env, 5, episode, obs));
    double mark = obs[0];
    brc_env_result r = {0};
    int n = 0;
    assert_true(fabs(mark) == 1);
    while (!r.terminated && !r.truncated) {
      ok(brc_env_step(env, (float[]){(float)(0.5 * mark)}, obs, &r));
      assert_true(r.reward == 1 + mark && obs[0] == mark && !(r.terminated && r.truncated && n != 19));
      n++;
    }
    marks += mark;
    terminated += r.terminated;
    steps += n;
    if (n > longest) longest = n;
    if (n < shortest) shortest = n;
  }
  brc_env_destroy(env);
  assert_int_equal(shortest, 1);
  assert_int_equal(longest, 20);
  double mean = (1 - pow(0.9, 20)) / 0.1;
  assert_true(fabs((double)steps / EPISODES - mean) < 5 * 6.5 / sqrt(EPISODES));
  assert_true(fabs((double)terminated / steps - 0.05) < 5 * sqrt(0.05 / steps));
  assert_true(fabs(marks / EPISODES) < 5 / sqrt(EPISODES));
}

static void test_random(void **state) {
  (void)state;
  enum { N = 100000 };
  brc_env_random r = brc_env_random_start(11, (uint64_t)3 << 32 | 9);
  double sum = 0, square = 0, low = 1, high = 0, uniform = 0;
  for (int i = 0; i < N; i++) {
    double z = brc_env_normal(&r), u = brc_env_uniform(&r, 0, 1);
    sum += z;
    square += z * z;
    uniform += u;
    if (u < low) low = u;
    if (u > high) high = u;
  }
  assert_int_equal(r.draws, 2 * N);
  assert_true(fabs(sum / N) < 5 / sqrt(N) && fabs(square / N - 1) < 5 * sqrt(2.0 / N));
  assert_true(fabs(uniform / N - 0.5) < 5 * sqrt(1.0 / 12 / N) && low >= 0 && low < 1e-3 && high < 1 &&
              high > 0.999);
  brc_env_random other = brc_env_random_start(11, 9);  // the episode's high word counts
  brc_env_random again = brc_env_random_start(11, (uint64_t)3 << 32 | 9);
  double first = brc_env_normal(&again);
  assert_true(brc_env_normal(&other) != first);
}

//------------------------ 3. Saved state --------------------------------------
// A walk through episodes, each started as it comes; what it saw goes into `trace` (row: obs, reward, flags).
enum { ROW = MAX_DIM + 4 };
static void walk(brc_env *env, uint64_t *episode, int from, int to, double *trace) {
  const brc_env_def *def = brc_env_def_of(env);
  for (int i = from; i < to; i++) {
    float action[MAX_DIM] = {0};
    double *row = trace + (size_t)i * ROW;
    brc_env_result r;
    for (int j = 0; j < def->act_dim; j++) action[j] = action_at((uint32_t)i, (uint32_t)j);
    ok(brc_env_step(env, action, row, &r));
    row[MAX_DIM] = r.reward;
    row[MAX_DIM + 1] = r.terminated;
    row[MAX_DIM + 2] = r.truncated;
    row[MAX_DIM + 3] = r.success;
    if (r.terminated || r.truncated) ok(brc_env_reset(env, 17, (*episode)++, row));
  }
}

static void test_save_load(void **state) {
  (void)state;
  enum { STEPS = 400 };
  static double first[STEPS * ROW], second[STEPS * ROW];
  size_t tested = 0;
  for (size_t i = 0; i < brc_env_count(); i++) {
    const brc_env_def *def = brc_env_at(i);
    if (!usable(def)) {
      printf("skipped: %s\n", brc_error());
      continue;
    }
    assert_true(def->obs_dim <= MAX_DIM && def->act_dim <= MAX_DIM);
    for (int cut = 0; cut < 60; cut += 7) {  // between episodes, within them, and right after a reset
      double obs[MAX_DIM];
      uint64_t episode = 1;
      memset(first, 0, sizeof first);
      memset(second, 0, sizeof second);
      brc_env *a = start(def->name, 17, 0, obs);
      walk(a, &episode, 0, cut, first);
      void *saved = malloc(brc_env_state_bytes(a) + 1), *again = malloc(brc_env_state_bytes(a) + 1);
      char *unaligned = (char *)saved + 1;
      brc_env_save(a, unaligned);
      uint64_t episode_then = episode;
      walk(a, &episode, cut, STEPS, first);
      brc_env_destroy(a);

      memcpy(second, first, (size_t)cut * ROW * sizeof *first);
      brc_env *b;
      ok(brc_env_create(&b, def, NULL));
      ok(brc_env_load(b, unaligned));
      brc_env_save(b, again);
      assert_memory_equal(unaligned, again, brc_env_state_bytes(b));
      walk(b, &episode_then, cut, STEPS, second);
      brc_env_destroy(b);
      free(saved);
      free(again);
      if (memcmp(first, second, sizeof first) != 0)
        fail_msg("%s differs after a load at step %d", def->name, cut);
      tested++;
    }
  }
  assert_true(tested >= 10);
}

//------------------------ 4. The pool -----------------------------------------
typedef struct pool_run {
  size_t count, width, height;
  float *obs;  // every step's observations, then those of the resets that followed
  brc_env_result *results;
} pool_run;

static size_t pool_tasks(const brc_env_def **list) {
  size_t n = 0, usable_count = 0;
  ok(brc_env_resolve("probes", list, MAX_TASKS, &n));
  ok(brc_env_resolve("cartpole", list, MAX_TASKS, &n));
  for (size_t i = 0; i < n; i++)
    if (usable(list[i])) list[usable_count++] = list[i];
  list[usable_count] = list[usable_count - 1];  // the same task twice: other starts
  return usable_count + 1;
}

static void pool_steps(brc_env_pool *p, int from, int to, float *obs, brc_env_result *results) {
  size_t n = brc_env_pool_count(p), no = (size_t)brc_env_pool_obs_dim(p), na = (size_t)brc_env_pool_act_dim(p);
  float *action = malloc(n * na * sizeof *action);
  for (int i = from; i < to; i++) {
    float *row = obs + (size_t)i * n * no;
    brc_env_result *r = results + (size_t)i * n;
    for (size_t j = 0; j < n * na; j++) action[j] = action_at((uint32_t)i, (uint32_t)j);
    ok(brc_env_pool_step(p, action, row, r, NULL));
    for (size_t e = 0; e < n; e++)
      if (r[e].terminated || r[e].truncated) ok(brc_env_pool_reset_one(p, e, row + e * no));
  }
  free(action);
}

static void test_pool_threads(void **state) {
  (void)state;
  enum { STEPS = 120, CUT = 43 };
  const brc_env_def *defs[MAX_TASKS];
  size_t n = pool_tasks(defs), no = 0, bytes = 0;
  float *expected = NULL;
  brc_env_result *expected_results = NULL;
  void *saved = NULL;
  for (int threads = 1; threads <= 3; threads++) {
    brc_pool *tp;
    brc_env_pool *p;
    ok(brc_pool_create(&tp, threads));
    ok(brc_env_pool_create(&p, defs, n, 23, NULL, tp));
    no = (size_t)brc_env_pool_obs_dim(p);
    assert_int_equal(no, usable(brc_env_find("cartpole-balance")) ? 5 : 3);
    assert_int_equal(brc_env_pool_act_dim(p), 3);
    float *obs = calloc(STEPS * n * no, sizeof *obs), *first = calloc(n * no, sizeof *first);
    brc_env_result *results = calloc(STEPS * n, sizeof *results);
    ok(brc_env_pool_reset(p, first));
    // The last two run one task, from different starts; padding is zero.
    assert_memory_not_equal(first + (n - 1) * no, first + (n - 2) * no, no * sizeof *first);
    assert_true(first[1] == 0.0f && first[no - 1] == 0.0f);
    pool_steps(p, 0, CUT, obs, results);
    if (threads == 1) {
      bytes = brc_env_pool_state_bytes(p);
      saved = malloc(bytes);
      brc_env_pool_save(p, saved);
    }
    pool_steps(p, CUT, STEPS, obs, results);
    if (threads == 1) {
      expected = obs;
      expected_results = results;
    } else {
      assert_memory_equal(obs, expected, STEPS * n * no * sizeof *obs);
      for (size_t i = 0; i < STEPS * n; i++) {
        assert_true(results[i].reward == expected_results[i].reward);
        assert_true(results[i].terminated == expected_results[i].terminated);
        assert_true(results[i].truncated == expected_results[i].truncated);
      }
      // From the saved state on, with another number of threads.
      assert_int_equal(brc_env_pool_load(p, saved, bytes - 1), BRC_E_FORMAT);
      ok(brc_env_pool_load(p, saved, bytes));
      memset(obs + CUT * n * no, 0, (STEPS - CUT) * n * no * sizeof *obs);
      pool_steps(p, CUT, STEPS, obs, results);
      assert_memory_equal(obs, expected, STEPS * n * no * sizeof *obs);
      free(obs);
      free(results);
    }
    free(first);
    brc_env_pool_destroy(p);
    brc_pool_destroy(tp);
  }
  free(expected);
  free(expected_results);
  free(saved);
}

static void test_pool_skip(void **state) {
  (void)state;
  const brc_env_def *defs[2] = {brc_env_find("probe-terminal"), brc_env_find("probe-truncated")};
  brc_pool *tp;
  brc_env_pool *p;
  ok(brc_pool_create(&tp, 2));
  ok(brc_env_pool_create(&p, defs, 2, 1, NULL, tp));
  float obs[2] = {0}, action[2] = {0};
  brc_env_result r[2] = {{0}};
  assert_int_equal(brc_env_pool_step(p, action, obs, r, NULL), BRC_E_VALUE);  // before any reset
  assert_non_null(strstr(brc_error(), "probe-terminal"));
  ok(brc_env_pool_reset(p, obs));
  ok(brc_env_pool_step(p, action, obs, r, NULL));
  assert_true(r[0].terminated && !r[1].terminated);
  r[0].reward = 42;
  ok(brc_env_pool_step(p, action, obs, r, (uint8_t[]){1, 0}));  // the first one's episode is over
  assert_true(r[0].reward == 42 && r[1].reward == 1);
  brc_env_pool_destroy(p);
  brc_pool_destroy(tp);
}

//------------------------ 5. Cartpole against the original --------------------
static brc_status verify_path(const char *path, const char *dump, size_t *rows) {
  brc_st_file *f;
  brc_verify_report report = {0};
  brc_status st = brc_st_open(&f, path);
  if (st) return st;
  st = brc_verify_env(f, NULL, dump, NULL, &report);
  if (rows) *rows = report.count;
  free(report.rows);
  brc_st_close(f);
  return st;
}

static const char *const cartpoles[] = {
    "dmc/cartpole-balance.safetensors", "dmc/cartpole-balance_sparse.safetensors",
    "dmc/cartpole-swingup.safetensors", "dmc/cartpole-swingup_sparse.safetensors"};

static void test_cartpole_golden(void **state) {
  (void)state;
  need_golden(cartpoles[0]);
  need_task("cartpole-balance");
  for (size_t i = 0; i < BRC_COUNT(cartpoles); i++) {
    size_t rows;
    ok(verify_path(golden(cartpoles[i]), NULL, &rows));
    assert_int_equal(rows, 18);
  }
}

static void test_cartpole_episode(void **state) {
  (void)state;
  need_golden("episodes/cartpole-swingup_sparse.safetensors");
  need_task("cartpole-swingup_sparse");
  size_t rows;
  ok(verify_path(golden("episodes/cartpole-swingup_sparse.safetensors"), NULL, &rows));
  assert_int_equal(rows, 6);
}

// Our resets against 200 of the original: mean within 5 standard errors, spread within 25 %, ranges that overlap widely.
static void test_cartpole_starts(void **state) {
  (void)state;
  need_golden(cartpoles[0]);
  need_task("cartpole-balance");
  enum { N = 2000, THEIRS = 200, DIM = 5 };
  for (size_t i = 0; i < BRC_COUNT(cartpoles); i++) {
    brc_st_file *f;
    ok(brc_st_open(&f, golden(cartpoles[i])));
    char name[64];
    snprintf(name, sizeof name, "%s", cartpoles[i] + 4);
    *strchr(name, '.') = '\0';
    double sum[DIM] = {0}, square[DIM] = {0}, low[DIM], high[DIM], obs[MAX_DIM];
    brc_env *env = start(name, 5000, 0, obs);
    for (int k = 0; k < N; k++) {
      ok(brc_env_reset(env, 5000, (uint64_t)k, obs));
      for (int j = 0; j < DIM; j++) {
        sum[j] += obs[j];
        square[j] += obs[j] * obs[j];
        low[j] = k == 0 || obs[j] < low[j] ? obs[j] : low[j];
        high[j] = k == 0 || obs[j] > high[j] ? obs[j] : high[j];
      }
    }
    brc_env_destroy(env);
    static const char *const words[] = {"mean", "std", "min", "max"};
    double ref[4][DIM];
    for (int w = 0; w < 4; w++) {
      const brc_st_tensor *t;
      ok(brc_st_need(f, BRC_ST_F64, DIM, &t, "init.%s", words[w]));
      for (uint64_t j = 0; j < DIM; j++) ref[w][j] = brc_st_get(t, j);
    }
    brc_st_close(f);
    for (int j = 0; j < DIM; j++) {
      double mean = sum[j] / N, std = sqrt(square[j] / N - mean * mean), width = ref[3][j] - ref[2][j];
      if (fabs(mean - ref[0][j]) > 5 * ref[1][j] * sqrt(1.0 / THEIRS + 1.0 / N))
        fail_msg("%s obs[%d]: mean %g, original %g", name, j, mean, ref[0][j]);
      // The cosine is a square near 1: its spread has heavier tails, and so a larger error.
      if (fabs(std / ref[1][j] - 1) > (j == 1 ? 0.5 : 0.25))
        fail_msg("%s obs[%d]: std %g, original %g", name, j, std, ref[1][j]);
      if (low[j] < ref[2][j] - width || high[j] > ref[3][j] + width || low[j] > ref[2][j] + 0.25 * width ||
          high[j] < ref[3][j] - 0.25 * width)
        fail_msg("%s obs[%d]: range %g..%g, original %g..%g", name, j, low[j], high[j], ref[2][j], ref[3][j]);
    }
  }
}

static void test_cartpole_length(void **state) {
  (void)state;
  need_task("cartpole-swingup");
  double obs[MAX_DIM];
  brc_env_result r = {0};
  brc_env *env = start("cartpole-swingup", 1, 0, obs);
  int n = 0;
  for (; !r.truncated && !r.terminated && n < 2000; n++) ok(brc_env_step(env, (float[]){0.1f}, obs, &r));
  assert_int_equal(n, 1000);
  assert_true(r.truncated && !r.terminated);
  brc_env_destroy(env);
}

//------------------------ 6. Damaged and foreign files ------------------------
// A copy of a golden file with one tensor replaced, or left out (data NULL), or added.
typedef struct patch {
  const char *name;
  brc_st_dtype dtype;
  int rank;
  uint64_t shape[2];
  const void *data;
  const char *task;  // replaces the metadata's
} patch;

static const char *patched(const patch *p) {
  static char path[64];
  snprintf(path, sizeof path, "/tmp/brc_test_envs_%ld.safetensors", (long)getpid());
  brc_st_file *f;
  brc_st_writer *w;
  ok(brc_st_open(&f, golden(cartpoles[2])));
  ok(brc_st_writer_new(&w));
  char spec[128];
  snprintf(spec, sizeof spec, "{\"task\": \"%s\"}", p->task ? p->task : "cartpole-swingup");
  ok(brc_st_writer_meta(w, "spec", spec));
  for (size_t i = 0; i < brc_st_count(f); i++) {
    const brc_st_tensor *t = brc_st_at(f, i);
    if (p->name && strcmp(p->name, t->name) == 0) continue;
    ok(brc_st_writer_copy(w, t->name, t->dtype, t->rank, t->shape, t->data));
  }
  if (p->data) ok(brc_st_writer_copy(w, p->name, p->dtype, p->rank, p->shape, p->data));
  ok(brc_st_write(w, path));
  brc_st_writer_free(w);
  brc_st_close(f);
  return path;
}

static void test_hostile(void **state) {
  (void)state;
  need_golden(cartpoles[2]);
  need_task("cartpole-swingup");
  static const double zeros[300], numbers[12] = {0, 0.1, 0.2};
  static const float actions[300];
  double nan2[2] = {NAN, NAN};
  const struct {
    patch p;
    brc_status expected;
  } cases[] = {
      {{.name = "t0.action"}, BRC_E_FORMAT},
      {{.name = "t0.action", .dtype = BRC_ST_F32, .rank = 2, .shape = {60, 2}, .data = actions}, BRC_E_FORMAT},
      {{.name = "t0.action", .dtype = BRC_ST_F32, .rank = 1, .shape = {60}, .data = actions}, BRC_E_FORMAT},
      {{.name = "t0.action", .dtype = BRC_ST_F32, .rank = 2, .shape = {61, 1}, .data = actions}, BRC_E_FORMAT},
      {{.name = "t0.obs", .dtype = BRC_ST_F64, .rank = 2, .shape = {59, 5}, .data = zeros}, BRC_E_FORMAT},
      {{.name = "t0.reward"}, BRC_E_FORMAT},
      {{.name = "t0.qpos0"}, BRC_E_FORMAT},
      {{.name = "t0.qpos0", .dtype = BRC_ST_F64, .rank = 1, .shape = {1}, .data = zeros}, BRC_E_FORMAT},
      {{.name = "t0.qpos0", .dtype = BRC_ST_F64, .rank = 1, .shape = {2}, .data = nan2}, BRC_E_VALUE},
      {{.name = "t0.qpos_every10", .dtype = BRC_ST_F64, .rank = 2, .shape = {6, 3}, .data = zeros},
       BRC_E_FORMAT},
      {{.name = "t0.obs", .dtype = BRC_ST_F64, .rank = 2, .shape = {60, 5}, .data = zeros}, BRC_E_TOLERANCE},
      {{.name = "t0.task._sparse", .dtype = BRC_ST_F64, .rank = 1, .shape = {1}, .data = numbers + 1},
       BRC_E_FORMAT},
      {{.task = "walker-rum"}, BRC_E_NOT_FOUND},
      {{.task = "cartpole-swingup_sparse"}, BRC_E_FORMAT},
      {{.task = "probe-terminal"}, BRC_E_FORMAT},
      {{.task = "\\\", 1"}, BRC_E_NOT_FOUND},
      // Fields of the model: not one of real numbers, not one at all, its rows missing.
      {{.name = "t0.model.body_parentid.values", .dtype = BRC_ST_F64, .rank = 1, .shape = {1}, .data = zeros},
       BRC_E_FORMAT},
      {{.name = "t0.model.nothing.values", .dtype = BRC_ST_F64, .rank = 1, .shape = {1}, .data = zeros},
       BRC_E_FORMAT},
      {{.name = "t0.model.geom_pos.values", .dtype = BRC_ST_F64, .rank = 2, .shape = {1, 3}, .data = zeros},
       BRC_E_FORMAT},
  };
  for (size_t i = 0; i < BRC_COUNT(cases); i++) {
    const char *path = patched(&cases[i].p);
    brc_status st = verify_path(path, NULL, NULL);
    unlink(path);
    if (st != cases[i].expected)
      fail_msg("case %zu (%s): got %s (%s), expected %s", i, cases[i].p.name, brc_status_text(st), brc_error(),
               brc_status_text(cases[i].expected));
    assert_true(strlen(brc_error()) > 20);
  }
}

static void test_cut_file(void **state) {
  (void)state;
  need_golden(cartpoles[2]);
  need_task("cartpole-swingup");
  char *data, path[64];
  size_t bytes;
  ok(brc_file_read(golden(cartpoles[2]), &data, &bytes));
  snprintf(path, sizeof path, "/tmp/brc_test_envs_cut_%ld", (long)getpid());
  for (size_t n = 0; n < bytes; n += 997) {
    ok(brc_file_write_all(path, data, n));
    assert_int_not_equal(verify_path(path, NULL, NULL), BRC_OK);
  }
  unlink(path);
  free(data);
}

static void test_dump(void **state) {
  (void)state;
  need_golden(cartpoles[2]);
  need_task("cartpole-swingup");
  static const double zeros[300];
  const patch p = {.name = "t0.obs", .dtype = BRC_ST_F64, .rank = 2, .shape = {60, 5}, .data = zeros};
  const char *path = patched(&p);
  char dump[64];
  snprintf(dump, sizeof dump, "/tmp/brc_test_envs_dump_%ld", (long)getpid());
  assert_int_equal(verify_path(path, dump, NULL), BRC_E_TOLERANCE);  // written all the same
  unlink(path);
  brc_st_file *f, *g;
  ok(brc_st_open(&f, dump));
  ok(brc_st_open(&g, golden(cartpoles[2])));
  const brc_st_tensor *obs, *expected, *flag, *ncon, *goal;
  ok(brc_st_need(f, BRC_ST_F64, 300, &obs, "t0.obs"));
  ok(brc_st_need(g, BRC_ST_F64, 300, &expected, "t0.obs"));
  ok(brc_st_need(f, BRC_ST_U8, 60, &flag, "t1.terminated"));
  ok(brc_st_need(f, BRC_ST_I32, 60, &ncon, "t1.ncon"));
  ok(brc_st_need(f, BRC_ST_F32, 60, &goal, "t1.goal"));
  for (uint64_t i = 0; i < 300; i++) assert_true(fabs(brc_st_get(obs, i) - brc_st_get(expected, i)) <= 1e-12);
  brc_st_close(f);
  brc_st_close(g);
  unlink(dump);
}

//------------------------ 7. Shared MuJoCo parts ------------------------------
static void test_tolerance(void **state) {
  (void)state;
  // From the original's Python (numpy 1.26.4).
  static const struct {
    double x, low, high, margin;
    brc_sigmoid sigmoid;
    double at_margin, value;
  } cases[] = {
      {0.7, -0.25, 0.25, 1.3, BRC_GAUSSIAN, 0.1, 0.7588877016158547},
      {-2.0, -0.5, 1, 2.5, BRC_GAUSSIAN, 0.2, 0.5602357237932531},
      {3.9, 0, 0, 2, BRC_GAUSSIAN, 0.05, 1.1293627039026859e-05},
      {0.7, -0.25, 0.25, 1.3, BRC_HYPERBOLIC, 0.1, 0.6303026508431053},
      {-2.0, -0.5, 1, 2.5, BRC_HYPERBOLIC, 0.2, 0.4751027064491369},
      {3.9, 0, 0, 2, BRC_HYPERBOLIC, 0.05, 0.0015050210004863601},
      {0.7, -0.25, 0.25, 1.3, BRC_LONG_TAIL, 0.1, 0.48113879003558724},
      {-2.0, -0.5, 1, 2.5, BRC_LONG_TAIL, 0.2, 0.4098360655737705},
      {3.9, 0, 0, 2, BRC_LONG_TAIL, 0.05, 0.013652343083381684},
      {0.7, -0.25, 0.25, 1.3, BRC_RECIPROCAL, 0.1, 0.2429906542056075},
      {-2.0, -0.5, 1, 2.5, BRC_RECIPROCAL, 0.2, 0.29411764705882354},
      {3.9, 0, 0, 2, BRC_RECIPROCAL, 0.05, 0.02628120893561104},
      {0.7, -0.25, 0.25, 1.3, BRC_COSINE, 0.1, 0.8244250780525704},
      {-2.0, -0.5, 1, 2.5, BRC_COSINE, 0.2, 0.6199281684836019},
      {3.9, 0, 0, 2, BRC_COSINE, 0.05, 0.0},
      {0.7, -0.25, 0.25, 1.3, BRC_LINEAR, 0.1, 0.6884615384615385},
      {-2.0, -0.5, 1, 2.5, BRC_LINEAR, 0.2, 0.52},
      {3.9, 0, 0, 2, BRC_LINEAR, 0.05, 0.0},
      {0.7, -0.25, 0.25, 1.3, BRC_QUADRATIC, 0.1, 0.8921597633136096},
      {-2.0, -0.5, 1, 2.5, BRC_QUADRATIC, 0.2, 0.7120000000000001},
      {3.9, 0, 0, 2, BRC_QUADRATIC, 0.05, 0.0},
      {0.7, -0.25, 0.25, 1.3, BRC_TANH_SQUARED, 0.1, 0.6889909965103987},
      {-2.0, -0.5, 1, 2.5, BRC_TANH_SQUARED, 0.2, 0.5107994391259096},
      {3.9, 0, 0, 2, BRC_TANH_SQUARED, 0.05, 0.0008174048227020947},
      {0.5, 0, 0, 1, BRC_QUADRATIC, 0, 0.75},
      {-0.5, 0, INFINITY, 2, BRC_LINEAR, 0, 0.75},
      {0.25, -0.25, 0.25, 0, BRC_GAUSSIAN, 0.1, 1.0},
      {0.26, -0.25, 0.25, 0, BRC_GAUSSIAN, 0.1, 0.0},
  };
  for (size_t i = 0; i < BRC_COUNT(cases); i++) {
    double v = brc_tolerance(cases[i].x, cases[i].low, cases[i].high, cases[i].margin, cases[i].sigmoid,
                             cases[i].at_margin);
    if (!(fabs(v - cases[i].value) <= 4e-15)) fail_msg("case %zu: %.17g, expected %.17g", i, v, cases[i].value);
  }
  for (int s = BRC_GAUSSIAN; s <= BRC_TANH_SQUARED; s++)  // value_at_margin at the margin, whatever the shape
    assert_true(fabs(brc_tolerance(3, 0, 1, 2, (brc_sigmoid)s, 0.3) - 0.3) < 1e-14);
}

#ifdef BRC_HAVE_MUJOCO
static void raise_error(brc_mj_sim *s, void *arg) {
  (void)arg;
  s->data->ctrl[0] = 0;
  brc_mj.mj_setState(&s->model, s->data, s->state, 1u << 31);  // no such state: MuJoCo's fatal error
}

// Sharing, private copies, MuJoCo's errors as statuses.
static void test_simulation(void **state) {
  (void)state;
  need_task("cartpole-swingup");
  char path[4096];
  ok(brc_assets_find(NULL, "dm_control/suite/cartpole.xml", path, sizeof path));
  brc_mj_sim a = {0}, b = {0};
  ok(brc_mj_sim_init(&a, path, 1));
  ok(brc_mj_sim_init(&b, path, 1));
  assert_ptr_equal(a.model.geom_pos, b.model.geom_pos);
  ok(brc_mj_own_model(&b));
  double before = a.model.geom_pos[0];
  b.model.geom_pos[0] = before + 1;
  assert_true(a.model.geom_pos[0] == before);
  ok(brc_mj_sim_reset(&b));
  assert_true(b.model.geom_pos[0] == before);
  int id;
  assert_int_equal(brc_mj_id(&a, mjOBJ_BODY, "pole_9", &id), BRC_E_FORMAT);
  assert_non_null(strstr(brc_error(), "body 'pole_9'"));
  assert_int_equal(brc_mj_run(&a, raise_error, NULL), BRC_E_VALUE);
  assert_true(a.raised);
  ok(brc_mj_sim_reset(&a));
  ok(brc_mj_dmc_forward(&a));
  brc_mj_sim_free(&a);
  brc_mj_sim_free(&b);
  assert_int_equal(brc_mj_sim_init(&a, "/nonexistent/model.xml", 1), BRC_E_FORMAT);
  brc_mj_sim_free(&a);
}

// model.<field> of a golden file: a changed value changes the dynamics, the compiled one does not.
static void test_restore_model(void **state) {
  (void)state;
  need_golden(cartpoles[2]);
  need_task("cartpole-swingup");
  static const int32_t row[2] = {0, 1}, far[1] = {2}, negative[1] = {-1};
  static const double same[2] = {5e-4, 2e-6}, other[2] = {5e-1, 2e-6};
  const struct {
    const int32_t *rows;
    const double *values;
    uint64_t count;
    brc_status expected;
  } cases[] = {{row, same, 2, BRC_OK},
               {row, other, 2, BRC_E_TOLERANCE},
               {far, same, 1, BRC_E_FORMAT},
               {negative, same, 1, BRC_E_FORMAT}};
  for (size_t i = 0; i < BRC_COUNT(cases); i++) {
    brc_st_file *f;
    brc_st_writer *w;
    char path[64];
    snprintf(path, sizeof path, "/tmp/brc_test_envs_model_%ld", (long)getpid());
    ok(brc_st_open(&f, golden(cartpoles[2])));
    ok(brc_st_writer_new(&w));
    ok(brc_st_writer_meta(w, "spec", brc_st_meta(f, "spec")));
    for (size_t k = 0; k < brc_st_count(f); k++) {
      const brc_st_tensor *t = brc_st_at(f, k);
      ok(brc_st_writer_add(w, t->name, t->dtype, t->rank, t->shape, t->data));
    }
    ok(brc_st_writer_add(w, "t0.model.dof_damping.rows", BRC_ST_I32, 1, &cases[i].count, cases[i].rows));
    ok(brc_st_writer_add(w, "t0.model.dof_damping.values", BRC_ST_F64, 1, &cases[i].count, cases[i].values));
    ok(brc_st_write(w, path));
    brc_st_writer_free(w);
    brc_st_close(f);
    brc_status st = verify_path(path, NULL, NULL);
    unlink(path);
    if (st != cases[i].expected) fail_msg("case %zu: %s (%s)", i, brc_status_text(st), brc_error());
  }
}
#endif

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_registry_rows),
      cmocka_unit_test(test_resolve),
      cmocka_unit_test(test_unknown_name),
      cmocka_unit_test(test_assets),
      cmocka_unit_test(test_probe_ends),
      cmocka_unit_test(test_probe_optima),
      cmocka_unit_test(test_probe_padding),
      cmocka_unit_test(test_probe_wrap),
      cmocka_unit_test(test_random),
      cmocka_unit_test(test_save_load),
      cmocka_unit_test(test_pool_threads),
      cmocka_unit_test(test_pool_skip),
      cmocka_unit_test(test_cartpole_golden),
      cmocka_unit_test(test_cartpole_episode),
      cmocka_unit_test(test_cartpole_starts),
      cmocka_unit_test(test_cartpole_length),
      cmocka_unit_test(test_hostile),
      cmocka_unit_test(test_cut_file),
      cmocka_unit_test(test_dump),
      cmocka_unit_test(test_tolerance),
#ifdef BRC_HAVE_MUJOCO
      cmocka_unit_test(test_simulation),
      cmocka_unit_test(test_restore_model),
#endif
  };
  // Held through all tests: its model is then compiled once, not once per test.
  brc_env *held = NULL;
  if (brc_env_create(&held, brc_env_find("cartpole-balance"), NULL))
    printf("without MuJoCo: %s\n", brc_error());
  int failed = cmocka_run_group_tests_name("envs", tests, NULL, NULL);
  brc_env_destroy(held);
  return failed;
}
