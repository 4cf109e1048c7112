// The environments room: registry, probes, pool, saved state, DM Control and HumanoidBench against the originals,
// tolerance().
// Golden data: BRC_SHARED, else ../shared beside the sources; what needs it, or MuJoCo, is skipped by name without.
#include <assert.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cjson/cJSON.h>
#include <cmocka.h>

#include "base/file.h"
#include "base/pool.h"
#include "base/safetensors.h"
#include "envs/dmc/dmc.h"
#include "envs/env_impl.h"
#include "envs/humanoidbench/humanoidbench.h"
#include "envs/mujoco/mj.h"
#include "train/verify_env.h"

#ifndef BRC_SOURCE_DIR
#define BRC_SOURCE_DIR "."
#endif

enum { MAX_DIM = 8, MAX_OBS = 320, MAX_ACT = 64, MAX_TASKS = 64 };

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

// The published normalisation: a CSV of task,random_score,success_score.
static void test_scores(void **state) {
  (void)state;
  const brc_env_def *dmc = brc_env_find("dog-run"), *probe = brc_env_find("probe-scale-b"),
                    sparse = {.name = "sparse"};
  assert_true(brc_env_score(dmc, 250, 1) == 0.25);
  assert_true(brc_env_score(probe, 900, 0) == 0.9);
  assert_true(brc_env_score(&sparse, 250, 0.6) == 0.6);
  char path[4096], *text, *at, *line;
  const char *shared = getenv("BRC_SHARED");
  size_t bytes, compared = 0;
  snprintf(path, sizeof path, "%s/reference/humanoidbench_scores.csv",
           shared ? shared : BRC_SOURCE_DIR "/../shared");
  if (!brc_path_exists(path)) {
    printf("skipped: no %s\n", path);
    skip();
  }
  ok(brc_file_read(path, &text, &bytes));
  for (line = strtok_r(text, "\n", &at); line; line = strtok_r(NULL, "\n", &at)) {
    char name[64];
    double low, high;
    if (sscanf(line, "%63[^,],%lf,%lf", name, &low, &high) != 3)
      continue;  // the header; one task without a random score
    const brc_env_def *d = brc_env_find(name);
    if (!d) continue;
    compared++;
    if (d->random_score != low || d->success_score != high)
      fail_msg("%s: %g, %g, expected %g, %g", name, d->random_score, d->success_score, low, high);
    assert_true(fabs(brc_env_score(d, (low + high) / 2, 0) - 0.5) < 1e-12);
  }
  free(text);
  size_t tasks = 0;
  for (size_t i = 0; i < brc_env_count(); i++) tasks += !strcmp(brc_env_at(i)->suite, "humanoidbench");
  assert_int_equal(compared, tasks);
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

static void test_benchmarks(void **state) {
  (void)state;
  static const struct {
    const char *name, *first, *last;
    size_t count;
  } expected[] = {{"dmc-dogs", "dog-stand", "dog-run", 4},
                  {"dmc-humanoids", "humanoid-stand", "humanoid-run", 3},
                  {"dmc30", "walker-stand", "pendulum-spin", 30},
                  {"humanoidbench", "h1-walk-v0", "h1-maze-v0", 9},
                  {"humanoidbench-hard", "h1hand-walk-v0", "h1hand-bookshelf_hard-v0", 20}};
  for (size_t i = 0; i < BRC_COUNT(expected); i++) {
    const brc_env_def *list[MAX_TASKS];
    size_t n = 0, k = 0;
    ok(brc_env_resolve(expected[i].name, list, MAX_TASKS, &n));
    assert_int_equal(n, expected[i].count);
    assert_string_equal(list[0]->name, expected[i].first);
    assert_string_equal(list[n - 1]->name, expected[i].last);
    while (brc_benchmark_at(k) && strcmp(brc_benchmark_at(k), expected[i].name) != 0) k++;
    assert_non_null(brc_benchmark_at(k));
  }
  for (size_t k = 0; brc_benchmark_at(k); k++) {  // none names a task that is not there
    const brc_env_def *list[MAX_TASKS];
    size_t n = 0;
    ok(brc_env_resolve(brc_benchmark_at(k), list, MAX_TASKS, &n));
  }
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
  assert_int_equal(brc_assets_find(&a, "dmc_custom/no.xml", path, sizeof path), BRC_E_NOT_FOUND);
  assert_non_null(strstr(brc_error(), "run brc assets fetch dmc_custom"));
  assert_int_equal(brc_assets_find(&a, "humanoidbench/no.xml", path, sizeof path), BRC_E_NOT_FOUND);
  assert_non_null(strstr(brc_error(), "run brc assets fetch humanoidbench"));
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
  a[0] = 0.5f;
  assert_true(first_reward("probe-scale-a", a, &r) == 1);
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
enum { ROW = MAX_OBS + 4 };
static void walk(brc_env *env, uint64_t *episode, int from, int to, double *trace) {
  const brc_env_def *def = brc_env_def_of(env);
  for (int i = from; i < to; i++) {
    float action[MAX_ACT] = {0};
    double *row = trace + (size_t)i * ROW;
    brc_env_result r;
    for (int j = 0; j < def->act_dim; j++) action[j] = action_at((uint32_t)i, (uint32_t)j);
    ok(brc_env_step(env, action, row, &r));
    row[MAX_OBS] = r.reward;
    row[MAX_OBS + 1] = r.terminated;
    row[MAX_OBS + 2] = r.truncated;
    row[MAX_OBS + 3] = r.success;
    if (r.terminated || r.truncated) ok(brc_env_reset(env, 17, (*episode)++, row));
  }
}

// Walk `steps`, and again from what was saved after `cut` steps, in an env that was busy with another episode.
static void check_save_load(const brc_env_def *def, int cut, int steps) {
  enum { STEPS = 400 };
  static double first[STEPS * ROW], second[STEPS * ROW];
  double obs[MAX_OBS];
  uint64_t episode = 1;
  memset(first, 0, sizeof first);
  memset(second, 0, sizeof second);
  brc_env *a = start(def->name, 17, 0, obs);
  walk(a, &episode, 0, cut, first);
  void *saved = malloc(brc_env_state_bytes(a) + 1), *again = malloc(brc_env_state_bytes(a) + 1);
  char *unaligned = (char *)saved + 1;
  brc_env_save(a, unaligned);
  uint64_t episode_then = episode;
  walk(a, &episode, cut, steps, first);
  brc_env_destroy(a);

  memcpy(second, first, (size_t)cut * ROW * sizeof *first);
  brc_env *b = start(def->name, 99, 3, obs);
  ok(brc_env_load(b, unaligned));
  brc_env_save(b, again);
  assert_memory_equal(unaligned, again, brc_env_state_bytes(b));
  walk(b, &episode_then, cut, steps, second);
  brc_env_destroy(b);
  free(saved);
  free(again);
  if (memcmp(first, second, sizeof first) != 0) fail_msg("%s differs after a load at step %d", def->name, cut);
}

// Between episodes, within them, and right after a reset.
static void test_save_load(void **state) {
  (void)state;
  size_t tested = 0;
  for (size_t i = 0; i < brc_env_count(); i++) {
    const brc_env_def *def = brc_env_at(i);
    if (!usable(def)) {
      printf("skipped: %s\n", brc_error());
      continue;
    }
    assert_true(def->obs_dim <= MAX_OBS && def->act_dim <= MAX_ACT);
    bool long_episodes = def->max_steps > 400, slow = strcmp(def->suite, "humanoidbench") == 0;
    for (int cut = 0; cut < (slow ? 30 : 60); cut += long_episodes ? 29 : 7)
      check_save_load(def, cut, long_episodes ? 100 : 400);
    tested++;
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
  ok(brc_env_resolve("reacher-hard", list, MAX_TASKS, &n));  // each with a model of its own
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
    assert_int_equal(no, usable(brc_env_find("reacher-hard")) ? 6 : 3);
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
  const brc_env_def *defs[2] = {brc_env_find("probe-scale-a"), brc_env_find("probe-truncated")};
  brc_pool *tp;
  brc_env_pool *p;
  ok(brc_pool_create(&tp, 2));
  ok(brc_env_pool_create(&p, defs, 2, 1, NULL, tp));
  float obs[2] = {0}, action[2] = {0};
  brc_env_result r[2] = {{0}};
  assert_int_equal(brc_env_pool_step(p, action, obs, r, NULL), BRC_E_VALUE);  // before any reset
  assert_non_null(strstr(brc_error(), "probe-scale-a"));
  ok(brc_env_pool_reset(p, obs));
  ok(brc_env_pool_step(p, action, obs, r, NULL));
  assert_true(r[0].terminated && !r[1].terminated);
  r[0].reward = 42;
  ok(brc_env_pool_step(p, action, obs, r, (uint8_t[]){1, 0}));  // the first one's episode is over
  assert_true(r[0].reward == 42 && r[1].reward == 1);
  brc_env_pool_destroy(p);
  brc_pool_destroy(tp);
}

// Steps whose simulation breaks down, every seventh of an episode, and says so.
static brc_status break_down(brc_env *env, const float *action, double *obs, brc_env_result *result) {
  brc_status st = brc_env_find("probe-truncated")->step(env, action, obs, result);
  if (st || env->steps != 6) return st;
  obs[0] = NAN;
  return brc_fail(BRC_E_VALUE, "physics became invalid (test)");
}

// One environment breaks down: its episode ends, its row stays, the others do not notice, whatever the number of threads.
static void test_pool_invalid(void **state) {
  (void)state;
  brc_env_def fragile = *brc_env_find("probe-truncated");
  fragile.name = "fragile";
  fragile.step = break_down;
  const brc_env_def *sound = brc_env_find("probe-wrap");
  const brc_env_def *defs[2][3] = {{sound, &fragile, sound}, {sound, brc_env_find("probe-truncated"), sound}};
  for (int threads = 1; threads <= 2; threads++) {
    brc_pool *tp;
    brc_env_pool *p[2];
    ok(brc_pool_create(&tp, threads));
    float obs[2][3] = {{0}}, action[3] = {0};
    for (int k = 0; k < 2; k++) {
      ok(brc_env_pool_create(&p[k], defs[k], 3, 5, NULL, tp));
      ok(brc_env_pool_reset(p[k], obs[k]));
    }
    for (int i = 1; i <= 28; i++) {
      action[1] = i > 14 ? 0.5f : -0.5f;
      brc_env_result r[2][3] = {{{0}}};
      float before = obs[0][1] = 42;
      for (int k = 0; k < 2; k++) ok(brc_env_pool_step(p[k], action, obs[k], r[k], NULL));
      for (int e = 0; e < 3; e += 2) {
        assert_true(obs[0][e] == obs[1][e] && r[0][e].reward == r[1][e].reward && !r[0][e].invalid);
        assert_int_equal(r[0][e].terminated + 2 * r[0][e].truncated,
                         r[1][e].terminated + 2 * r[1][e].truncated);
      }
      assert_true(r[0][1].invalid == (i % 7 == 0));
      if (i % 7 == 0) {
        assert_true(r[0][1].truncated && !r[0][1].terminated && r[0][1].reward == 0 && obs[0][1] == before);
        assert_int_equal(brc_env_pool_step(p[0], action, obs[0], r[0], (uint8_t[]){1, 0, 1}),
                         BRC_E_VALUE);  // no episode
      } else {
        assert_true(obs[0][1] != before);
      }
      for (int k = 0; k < 2; k++)
        for (size_t e = 0; e < 3; e++)
          if (r[k][e].truncated || r[k][e].terminated || (k == 0 && e == 1 && i % 7 == 0))
            ok(brc_env_pool_reset_one(p[k], e, &obs[k][e]));
    }
    for (int k = 0; k < 2; k++) brc_env_pool_destroy(p[k]);
    brc_pool_destroy(tp);
  }
}

// Replace the first velocity of the pool's last environment, in what a checkpoint holds: the simulation's time,
// positions, velocities and the rest lie at its end.
static void write_velocity(brc_env_pool *p, const brc_env_def *def, const brc_assets *assets, double value) {
  brc_env *twin;
  ok(brc_env_create(&twin, def, assets));
  const brc_mj_sim *sim =
      strcmp(def->suite, "dmc") == 0 ? &((const dmc_env *)twin)->sim : &((const hb_env *)twin)->sim;
  size_t bytes = brc_env_pool_state_bytes(p);
  char *state = malloc(bytes);
  brc_env_pool_save(p, state);
  memcpy(state + bytes - brc_mj_state_bytes(sim) + sizeof value * (1 + (size_t)sim->model.nq), &value,
         sizeof value);
  ok(brc_env_pool_load(p, state, bytes));
  free(state);
  brc_env_destroy(twin);
}

// One environment is harmed, by its first control and (not 0) its first velocity: whether its episode ends at once. The
// one beside it and the next steps are sound.
static void harmed_step(const char *task, const char *root, float control, double velocity, bool ends) {
  const brc_assets assets = {.extra = root};
  const brc_env_def *defs[2] = {brc_env_find("pendulum-swingup"), brc_env_find(task)};
  brc_pool *tp;
  brc_env_pool *p;
  ok(brc_pool_create(&tp, 2));
  ok(brc_env_pool_create(&p, defs, 2, 5, &assets, tp));
  const size_t no = (size_t)brc_env_pool_obs_dim(p), na = (size_t)brc_env_pool_act_dim(p), row = no * 4;
  float *obs = calloc(2 * no, 4), *before = calloc(2 * no, 4), *action = calloc(2 * na, 4);
  brc_env_result r[2] = {{0}};
  ok(brc_env_pool_reset(p, obs));
  if (velocity != 0) write_velocity(p, defs[1], &assets, velocity);
  memcpy(before, obs, 2 * row);
  action[na] = control;
  ok(brc_env_pool_step(p, action, obs, r, NULL));
  assert_true(!r[0].invalid && !r[0].truncated && memcmp(obs, before, row) != 0);
  if (r[1].invalid != ends) fail_msg("%s: the episode %s", task, ends ? "goes on" : "ends");
  assert_true(r[1].truncated == ends && (memcmp(obs + no, before + no, row) == 0) == ends);
  assert_true(!ends || (!r[1].terminated && r[1].reward == 0));
  for (size_t i = 0; i < 2 * no; i++) assert_true(isfinite(obs[i]));
  action[na] = 0;
  if (r[1].truncated || r[1].terminated) ok(brc_env_pool_reset_one(p, 1, obs + no));
  for (int i = 0; !root && i < 3; i++) {
    ok(brc_env_pool_step(p, action, obs, r, NULL));
    assert_true(!r[0].invalid && !r[1].invalid);
    if (r[1].terminated) ok(brc_env_pool_reset_one(p, 1, obs + no));
  }
  free(obs);
  free(before);
  free(action);
  brc_env_pool_destroy(p);
  brc_pool_destroy(tp);
}

// A model that the task takes for its own, and whose many contacts with a wall do not fit the memory that it asks for.
static void write_crowded_model(const char *path) {
  FILE *f = fopen(path, "w");
  assert_non_null(f);
  fprintf(f,
          "<mujoco><option integrator=\"RK4\"/><size memory=\"30K\"/><worldbody>"
          "<geom type=\"plane\" size=\"9 9 1\" pos=\"1 0 0\" zaxis=\"-1 0 0\"/><body name=\"cart\"><joint "
          "name=\"slider\" type=\"slide\" "
          "axis=\"1 0 0\"/>");
  for (int i = 0; i < 200; i++) fprintf(f, "<geom size=\".1\"/>");
  fprintf(
      f,
      "<body name=\"pole_1\"><joint name=\"hinge_1\" axis=\"0 1 0\"/><geom size=\".1\" contype=\"0\" "
      "conaffinity=\"0\"/></body></body></worldbody><actuator><motor joint=\"slider\"/></actuator></mujoco>");
  assert_int_equal(fclose(f), 0);
}

// dm_control raises PhysicsError on every warning; HumanoidBench does not look, and MuJoCo starts a simulation that diverged anew.
static void test_pool_physics(void **state) {
  (void)state;
  need_task("cartpole-swingup");
  need_task("h1-walk-v0");
  harmed_step("cartpole-balance", NULL, 0, 0, false);
  harmed_step("cartpole-balance", NULL, NAN, 0, true);   // bad control
  harmed_step("cartpole-balance", NULL, 0, 1e11, true);  // bad velocity
  harmed_step("cartpole-balance", NULL, 0, 1e7, true);   // becomes bad in the middle of a step
  harmed_step("h1-walk-v0", NULL, NAN, 0, false);
  harmed_step("h1-walk-v0", NULL, 0, 1e11, false);
  char root[64], path[160];
  snprintf(root, sizeof root, "/tmp/brc_test_envs_root_%ld", (long)getpid());
  snprintf(path, sizeof path, "%s/dm_control/suite", root);
  ok(brc_mkdirs(path));
  snprintf(path, sizeof path, "%s/dm_control/suite/cartpole.xml", root);
  write_crowded_model(path);
  harmed_step("cartpole-balance", root, 0, 1000, true);  // into the wall: no room for the contacts
  brc_remove_tree(root);
}

//------------------------ 5. DM Control and HumanoidBench against the originals
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

// The i-th task of the suite, with the path of its golden file in `folder`; NULL behind the last. Files of tasks that
// cannot run here, or that are absent, have an empty path.
static const brc_env_def *task_at(const char *suite, size_t i, const char *folder, const char **path) {
  size_t n = 0;
  for (size_t k = 0; k < brc_env_count(); k++) {
    const brc_env_def *def = brc_env_at(k);
    if (strcmp(def->suite, suite) != 0 || n++ != i) continue;
    char relative[128];
    snprintf(relative, sizeof relative, "%s/%s.safetensors", folder, def->name);
    *path = golden(relative);
    if (brc_path_exists(*path) && usable(def)) return def;
    *path = "";
    return def;
  }
  return NULL;
}

static void verify_folder(const char *suite, const char *folder, size_t rows_expected, bool complete) {
  size_t verified = 0;
  const brc_env_def *def;
  const char *path;
  for (size_t i = 0; (def = task_at(suite, i, folder, &path)); i++) {
    if (!*path) {
      if (complete) printf("skipped: %s/%s\n", folder, def->name);
      continue;
    }
    size_t rows;
    ok(verify_path(path, NULL, &rows));
    assert_int_equal(rows, rows_expected);
    verified++;
  }
  if (verified == 0) skip();
}

static void test_dmc_golden(void **state) {
  (void)state;
  verify_folder("dmc", "dmc", 18, true);
}

static void test_dmc_episodes(void **state) {
  (void)state;
  verify_folder("dmc", "episodes", 6, false);  // whole episodes, of a few tasks
}

static void test_hb_golden(void **state) {
  (void)state;
  verify_folder("humanoidbench", "humanoidbench", 18, true);
}

static void test_hb_episodes(void **state) {
  (void)state;
  verify_folder("humanoidbench", "episodes", 6, false);
}

#ifdef BRC_HAVE_MUJOCO
// Keys of the observation: names, order and sizes as recorded ("obs_keys": [[name, offset, length], ...]).
static void test_dmc_keys(void **state) {
  (void)state;
  const brc_env_def *def;
  const char *path;
  size_t compared = 0;
  for (size_t i = 0; (def = task_at("dmc", i, "dmc", &path)); i++) {
    if (!*path) continue;
    brc_st_file *f;
    ok(brc_st_open(&f, path));
    cJSON *spec = cJSON_Parse(brc_st_meta(f, "spec"));
    const cJSON *keys = cJSON_GetObjectItemCaseSensitive(spec, "obs_keys"), *key;
    const dmc_part *p = ((const dmc_task *)def->task)->parts;
    int offset = 0;
    cJSON_ArrayForEach(key, keys) {
      assert_string_equal(p->key, cJSON_GetArrayItem(key, 0)->valuestring);
      assert_int_equal(offset, cJSON_GetArrayItem(key, 1)->valueint);
      assert_int_equal(p->count, cJSON_GetArrayItem(key, 2)->valueint);
      offset += p++->count;
      compared++;
    }
    assert_null(p->key);
    assert_int_equal(offset, def->obs_dim);
    cJSON_Delete(spec);
    brc_st_close(f);
  }
  if (compared == 0) skip();
}
#endif

// One dimension of our starts, sorted, against what is known of the original's. Where a distribution has lumps (a sensor
// that mostly reads 0), its quantiles are only bracketed.
typedef struct start_stats {
  double mean, std, min, max, q25, q75;
} start_stats;
enum { OURS = 600, THEIRS = 200 };

static double share_below(const double *sorted, double x) {
  int n = 0;
  while (n < OURS && sorted[n] < x) n++;
  return (double)n / OURS;
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static const char *check_starts(double *ours, const start_stats *t) {
  const double tiny = 1e-9 * (1 + fabs(t->mean)), both = 1.0 / THEIRS + 1.0 / OURS;
  double mean = 0, m2 = 0, m4 = 0;
  qsort(ours, OURS, sizeof *ours, by_value);
  for (int i = 0; i < OURS; i++) mean += ours[i] / OURS;
  for (int i = 0; i < OURS; i++) {
    double square = (ours[i] - mean) * (ours[i] - mean);
    m2 += square / OURS;
    m4 += square * square / OURS;
  }
  double std = sqrt(m2), kurtosis = m2 > 0 ? m4 / (m2 * m2) : 1;
  if (fabs(mean - t->mean) > 5 * fmax(std, t->std) * sqrt(both) + tiny) return "mean";
  if (fabs(std - t->std) > 5 * std * sqrt((kurtosis - 1) / 4 * both) + tiny) return "deviation";
  double slack = 5 * sqrt(0.25 * 0.75 * both);
  const double quantiles[2][2] = {{t->q25, 0.25}, {t->q75, 0.75}};
  for (int q = 0; q < 2; q++)
    if (share_below(ours, quantiles[q][0] - tiny) > quantiles[q][1] + slack ||
        share_below(ours, quantiles[q][0] + tiny) < quantiles[q][1] - slack)
      return "quantile";
  // Of our starts hardly 8 % lie beyond the smallest or largest of 200 (0.92^200 = 6e-8), and theirs not far beyond ours.
  if (share_below(ours, t->min - tiny) > 0.08 || share_below(ours, t->max + tiny) < 0.92) return "range";
  double width = ours[OURS - 1] - ours[0] + tiny;
  return t->min < ours[0] - width / 2 || t->max > ours[OURS - 1] + width / 2 ? "range" : NULL;
}

static void read_stats(const brc_st_file *f, int dim, int j, start_stats *s) {
  double *const parts[] = {&s->mean, &s->std, &s->min, &s->max, &s->q25, &s->q75};
  static const char *const words[] = {"mean", "std", "min", "max", "q25", "q75"};
  for (size_t w = 0; w < BRC_COUNT(words); w++) {
    const brc_st_tensor *t;
    ok(brc_st_need(f, BRC_ST_F64, (uint64_t)dim, &t, "init.%s", words[w]));
    *parts[w] = brc_st_get(t, (uint64_t)j);
  }
}

// Step an environment, restored before, along a trajectory's actions.
static void follow(brc_env *env, const brc_st_file *f, const char *prefix) {
  const brc_st_tensor *action = brc_st_find(f, "%saction", prefix);
  size_t na = (size_t)brc_env_def_of(env)->act_dim;
  for (uint64_t i = 0; i < action->shape[0]; i++) {
    float a[MAX_ACT];
    double obs[MAX_OBS];
    brc_env_result r;
    for (size_t j = 0; j < na; j++) a[j] = (float)brc_st_get(action, i * na + j);
    ok(brc_env_step(env, a, obs, &r));
  }
}

// Our resets against 200 of the original, every dimension. The original had run the file's trajectories by then, and a
// few tasks keep something through resets.
static void compare_starts(const char *suite) {
  const brc_env_def *def;
  const char *path;
  size_t compared = 0;
  double *ours = malloc(sizeof *ours * MAX_OBS * OURS), obs[MAX_OBS];
  for (size_t i = 0; (def = task_at(suite, i, suite, &path)); i++) {
    if (!*path) continue;
    brc_st_file *f;
    ok(brc_st_open(&f, path));
    brc_env *env = start(def->name, 5000, 0, obs);
    ok(brc_env_restore(env, f, "t1."));
    follow(env, f, "t1.");
    for (uint64_t k = 0; k < OURS; k++) {
      ok(brc_env_reset(env, 5000, k, obs));
      for (int j = 0; j < def->obs_dim; j++) ours[(size_t)j * OURS + k] = obs[j];
    }
    for (int j = 0; j < def->obs_dim; j++) {
      start_stats theirs;
      read_stats(f, def->obs_dim, j, &theirs);
      double *mine = ours + (size_t)j * OURS;
      const char *wrong = check_starts(mine, &theirs);
      if (wrong)
        fail_msg("%s obs[%d]: %s; ours %g..%g, original mean %g std %g range %g..%g quartiles %g %g", def->name,
                 j, wrong, mine[0], mine[OURS - 1], theirs.mean, theirs.std, theirs.min, theirs.max, theirs.q25,
                 theirs.q75);
      compared++;
    }
    brc_env_destroy(env);
    brc_st_close(f);
  }
  free(ours);
  if (compared == 0) skip();
}

static void test_dmc_starts(void **state) {
  (void)state;
  compare_starts("dmc");
}

static void test_hb_starts(void **state) {
  (void)state;
  compare_starts("humanoidbench");
}

// Where the original raises PhysicsError: the episode ends with a message, the next one is as it would have been.
static void test_dmc_diverged(void **state) {
  (void)state;
  const brc_env_def *def;
  const char *path;
  size_t tested = 0;
  for (size_t i = 0; (def = task_at("dmc", i, "dmc", &path)); i++) {
    if (!usable(def)) continue;
    double first[MAX_OBS], again[MAX_OBS], obs[MAX_OBS];
    float action[MAX_ACT] = {0};
    brc_env_result r;
    brc_env *env = start(def->name, 3, 0, first);
    ok(brc_env_step(env, action, obs, &r));
    action[def->act_dim - 1] = NAN;
    assert_int_equal(brc_env_step(env, action, obs, &r), BRC_E_VALUE);
    assert_non_null(strstr(brc_error(), def->name));
    assert_non_null(strstr(brc_error(), "step 2: physics became invalid (control"));
    action[def->act_dim - 1] = 0;
    assert_int_equal(brc_env_step(env, action, obs, &r), BRC_E_VALUE);  // over: needs a reset
    ok(brc_env_reset(env, 3, 0, again));
    assert_memory_equal(first, again, (size_t)def->obs_dim * sizeof *first);
    ok(brc_env_step(env, action, obs, &r));
    brc_env_destroy(env);
    tested++;
  }
  if (tested == 0) skip();
}

// HumanoidBench goes on after MuJoCo's warnings, as its original does.
static void test_hb_warning(void **state) {
  (void)state;
  need_task("h1-walk-v0");
  double first[MAX_OBS], again[MAX_OBS], obs[MAX_OBS];
  float action[MAX_ACT] = {NAN};
  brc_env_result r;
  brc_env *env = start("h1-walk-v0", 3, 0, first);
  ok(brc_env_step(env, action, obs, &r));
  for (int j = 0; j < 51; j++) assert_true(isfinite(obs[j]));
  assert_true(isfinite(r.reward) && !r.terminated);
  ok(brc_env_reset(env, 3, 0, again));
  assert_memory_equal(first, again, 51 * sizeof *first);
  brc_env_destroy(env);
}

// Every term of the reward, every counter that the original reports ("info.NAME"), after every step.
static size_t compare_info(brc_env *env, const brc_st_file *f, const char *prefix) {
  const brc_env_def *def = brc_env_def_of(env);
  const brc_st_tensor *action = brc_st_find(f, "%saction", prefix);
  size_t compared = 0, na = (size_t)def->act_dim;
  char start_of_name[16];
  snprintf(start_of_name, sizeof start_of_name, "%sinfo.", prefix);
  ok(brc_env_restore(env, f, prefix));
  for (uint64_t i = 0; i < action->shape[0]; i++) {
    float a[MAX_ACT];
    double obs[MAX_OBS];
    brc_env_result r;
    for (size_t j = 0; j < na; j++) a[j] = (float)brc_st_get(action, i * na + j);
    ok(brc_env_step(env, a, obs, &r));
    for (size_t k = 0; k < brc_st_count(f); k++) {
      const brc_st_tensor *t = brc_st_at(f, k);
      if (strncmp(t->name, start_of_name, strlen(start_of_name)) != 0) continue;
      const char *name = t->name + strlen(start_of_name);
      double want = brc_st_get(t, i), got = NAN;
      size_t count;
      brc_status st = brc_env_inspect(env, name, &got, 1, &count);
      if (isnan(want) ? st != BRC_E_NOT_FOUND : st || !(fabs(got - want) <= 1e-10))
        fail_msg("%s %s, step %llu: %.17g, expected %.17g", def->name, t->name, (unsigned long long)i, got,
                 want);
      compared++;
    }
  }
  return compared;
}

static void test_hb_info(void **state) {
  (void)state;
  const brc_env_def *def;
  const char *path;
  size_t compared = 0;
  for (size_t i = 0; (def = task_at("humanoidbench", i, "humanoidbench", &path)); i++) {
    if (!*path) continue;
    brc_st_file *f;
    brc_env *env;
    ok(brc_st_open(&f, path));
    ok(brc_env_create(&env, def, NULL));
    size_t n = 0;
    char prefix[16] = "t0.";
    for (int k = 1; brc_st_find(f, "%saction", prefix); k++) {
      n += compare_info(env, f, prefix);
      snprintf(prefix, sizeof prefix, "t%d.", k);
    }
    assert_true(n > 0);
    compared += n;
    brc_env_destroy(env);
    brc_st_close(f);
  }
  if (compared == 0) skip();
}

#ifdef BRC_HAVE_MUJOCO
// Put a joint (its first three positions, or the only one) somewhere, with everything at rest.
static void place(brc_env *env, const char *joint, const double *where) {
  brc_mj_sim *s = &((hb_env *)env)->sim;
  int j = brc_mj.mj_name2id(&s->model, mjOBJ_JOINT, joint);
  assert_true(j >= 0);
  size_t n = s->model.jnt_type[j] == mjJNT_FREE ? 3 : 1;
  memcpy(s->data->qpos + s->model.jnt_qposadr[j], where, n * sizeof *where);
  memset(s->data->qvel, 0, (size_t)s->model.nv * sizeof *s->data->qvel);
  ok(hb_forward((hb_env *)env));
}

// What recorded trajectories never reach: bonuses, subtasks, success, and the ends that go with them.
static void test_hb_success(void **state) {
  (void)state;
  static const struct {
    const char *task, *joint;
    double where[3];  // NaN: the task's goal, which begins var[]
    double bonus, success;
    bool terminated;
    const char *counter;
  } cases[] = {
      {"h1-maze-v0", "free_base", {0, 0, 0.98}, 100, 0, false, "success_subtasks"},
      {"h1hand-cabinet-v0", "pull_door_slide", {-0.39}, 100, 0, false, "success_subtasks"},
      {"h1hand-bookshelf_simple-v0", "free_trophy", {0.76, -0.25, 1.56}, 100, 0, false, "success_subtasks"},
      {"h1hand-truck-v0", "free_package_b", {5.1, 0, 3}, 0, 0, false, NULL},
      {"h1hand-basketball-v0", "free_basketball", {5.9, 0, 2.25}, 1000, 1, true, NULL},
      {"h1hand-push-v0", "free_object", {NAN}, 999, 1, true, NULL},
  };
  for (size_t i = 0; i < BRC_COUNT(cases); i++) {
    if (!usable(brc_env_find(cases[i].task))) {
      printf("skipped: %s\n", brc_error());
      continue;
    }
    double obs[MAX_OBS], count = 0;
    float action[MAX_ACT] = {0};
    brc_env_result r;
    size_t n;
    brc_env *env = start(cases[i].task, 8, 0, obs);
    place(env, cases[i].joint, isnan(cases[i].where[0]) ? ((hb_env *)env)->var : cases[i].where);
    ok(brc_env_step(env, action, obs, &r));
    if (!(r.reward > cases[i].bonus && r.reward < cases[i].bonus + 5 && r.success == cases[i].success &&
          r.terminated == cases[i].terminated))
      fail_msg("%s: reward %g, success %g, terminated %d", cases[i].task, r.reward, r.success, r.terminated);
    if (cases[i].counter) {
      ok(brc_env_inspect(env, cases[i].counter, &count, 1, &n));
      assert_true(count == 1);
    }
    brc_env_destroy(env);
  }
}

// A package that was picked up is not on the truck in later episodes, nor after a load elsewhere.
static void test_hb_truck_remembers(void **state) {
  (void)state;
  need_task("h1hand-truck-v0");
  double obs[MAX_OBS], up[3] = {5.1, 0, 3}, on_truck;
  float action[MAX_ACT] = {0};
  brc_env_result r;
  size_t n;
  brc_env *a = start("h1hand-truck-v0", 8, 0, obs), *b = start("h1hand-truck-v0", 9, 0, obs);
  ok(brc_env_step(a, action, obs, &r));
  place(a, "free_package_b", up);
  ok(brc_env_step(a, action, obs, &r));
  assert_true(r.reward > 100);
  void *saved = malloc(brc_env_state_bytes(a));
  brc_env_save(a, saved);
  ok(brc_env_load(b, saved));
  for (int i = 0; i < 2; i++) {
    brc_env *env = i == 0 ? a : b;
    ok(brc_env_reset(env, 8, 1, obs));
    ok(brc_env_step(env, action, obs, &r));
    ok(brc_env_inspect(env, "packages_on_truck", &on_truck, 1, &n));
    assert_true(on_truck == 4 && r.reward < 100);
    brc_env_destroy(env);
  }
  free(saved);
}

// Indices in a saved state lead nowhere outside of the task's tables.
static void test_hb_damaged_state(void **state) {
  (void)state;
  static const char *const tasks[] = {"h1-maze-v0", "h1hand-cabinet-v0", "h1hand-bookshelf_hard-v0",
                                      "h1hand-truck-v0"};
  static const double damages[] = {99, -99, 0.5, NAN};
  double obs[MAX_OBS];
  for (size_t i = 0; i < BRC_COUNT(tasks); i++) {
    if (!usable(brc_env_find(tasks[i]))) continue;
    brc_env *env = start(tasks[i], 8, 0, obs);
    char *saved = malloc(brc_env_state_bytes(env));
    size_t var = 2 * sizeof(uint64_t), entry = i == 3 ? 6 : 0;  // behind the head; the truck's first list
    brc_env_save(env, saved);
    ok(brc_env_load(env, saved));
    for (size_t k = 0; k < BRC_COUNT(damages); k++) {
      memcpy(saved + var + entry * sizeof(double), &damages[k], sizeof(double));
      assert_int_equal(brc_env_load(env, saved), BRC_E_FORMAT);
    }
    free(saved);
    brc_env_destroy(env);
  }
}
#endif

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
static const char *const swingup = "dmc/cartpole-swingup.safetensors";

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
  ok(brc_st_open(&f, golden(swingup)));
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
  need_golden(swingup);
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
  need_golden(swingup);
  need_task("cartpole-swingup");
  char *data, path[64];
  size_t bytes;
  ok(brc_file_read(golden(swingup), &data, &bytes));
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
  need_golden(swingup);
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
  ok(brc_st_open(&g, golden(swingup)));
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
  brc_mj_source source = {.path = path}, missing = {.path = "/nonexistent/model.xml"};
  ok(brc_mj_sim_init(&a, &source));
  ok(brc_mj_sim_init(&b, &source));
  assert_ptr_equal(a.model.geom_pos, b.model.geom_pos);
  ok(brc_mj_own_model(&b));
  double before = a.model.geom_pos[0];
  b.model.geom_pos[0] = before + 1;
  assert_true(a.model.geom_pos[0] == before);
  ok(brc_mj_sim_reset(&b));
  assert_true(b.model.geom_pos[0] == before);
  const brc_mj_name no_body[] = {{BRC_MJ_BODY, "pole_9", 1}, BRC_MJ_NAME_END},
                    wrong_size[] = {{BRC_MJ_QPOS, "slider", 7}, BRC_MJ_NAME_END};
  int id;
  assert_int_equal(brc_mj_lookup(&a, no_body, &id, 1), BRC_E_FORMAT);
  assert_non_null(strstr(brc_error(), "body 'pole_9'"));
  assert_int_equal(brc_mj_lookup(&a, wrong_size, &id, 1), BRC_E_FORMAT);
  assert_non_null(strstr(brc_error(), "'slider' has 1 entries, expected 7"));
  assert_int_equal(brc_mj_run(&a, raise_error, NULL), BRC_E_VALUE);
  assert_true(a.raised);
  ok(brc_mj_sim_reset(&a));
  ok(brc_mj_dmc_forward(&a));
  brc_mj_sim_free(&a);
  brc_mj_sim_free(&b);
  assert_int_equal(brc_mj_sim_init(&a, &missing), BRC_E_FORMAT);
  brc_mj_sim_free(&a);
}

// The text of a model after `edits`, compiled or refused.
static brc_status edited(const char *text, const brc_mj_edit *edits, brc_mj_sim *s) {
  char path[64];
  snprintf(path, sizeof path, "/tmp/brc_test_envs_%ld.xml", (long)getpid());
  ok(brc_file_write_all(path, text, strlen(text)));
  brc_mj_source source = {.path = path, .edits = edits};
  brc_status st = brc_mj_sim_init(s, &source);
  unlink(path);
  return st;
}

static void test_edits(void **state) {
  (void)state;
  need_task("cartpole-swingup");
  static const char text[] =
      "<mujoco><!-- <geom name=\"a\" size=\"7\"/> --><worldbody>\n"
      "<body name='b'><body name=\"c\"><geom name='x' size='.1'/></body><geom size='.1'/></body>\n"
      "<geom rgba=\"1 0 0 1\" name=\"a\" size=\"1\"\n  pos=\"0 0 1\"/><body name=\"d\"><geom "
      "size='.1'/></body>\n"
      "</worldbody></mujoco>\n";
  static const brc_mj_edit size[] = {{"geom", "a", "size", "2.5"}, BRC_MJ_EDIT_END},
                           outer[] = {{"body", "b", NULL, NULL}, BRC_MJ_EDIT_END},
                           two[] = {{"body", "c", NULL, NULL}, {"geom", "a", NULL, NULL}, BRC_MJ_EDIT_END},
                           absent[] = {{"geom", "b", NULL, NULL}, BRC_MJ_EDIT_END},
                           attribute[] = {{"geom", "a", "mass", "1"}, BRC_MJ_EDIT_END};
  const struct {
    const brc_mj_edit *edits;
    brc_status expected;
    int bodies, geoms;
  } cases[] = {{NULL, BRC_OK, 4, 4}, {size, BRC_OK, 4, 4},         {outer, BRC_OK, 2, 2},
               {two, BRC_OK, 3, 2},  {absent, BRC_E_FORMAT, 0, 0}, {attribute, BRC_E_FORMAT, 0, 0}};
  for (size_t i = 0; i < BRC_COUNT(cases); i++) {
    brc_mj_sim s = {0};
    brc_status st = edited(text, cases[i].edits, &s);
    if (st != cases[i].expected) fail_msg("case %zu: %s (%s)", i, brc_status_text(st), brc_error());
    if (st == BRC_OK) {
      assert_int_equal(s.model.nbody, cases[i].bodies);
      assert_int_equal(s.model.ngeom, cases[i].geoms);
      double radius = s.model.geom_size[0];
      if (cases[i].edits != two) assert_true(radius == (cases[i].edits == size ? 2.5 : 1));
    }
    brc_mj_sim_free(&s);
  }
  brc_mj_sim s = {0};
  assert_int_equal(
      edited("<mujoco><worldbody><body name='b'><geom size='.1'/></worldbody></mujoco>", outer, &s),
      BRC_E_FORMAT);
  assert_non_null(strstr(brc_error(), "is not closed"));
  brc_mj_sim_free(&s);
  assert_int_equal(edited("<mujoco><worldbody><body name='b", outer, &s), BRC_E_FORMAT);
  brc_mj_sim_free(&s);
}

// Missing textures are drawn grey; anything else that is missing moves something, and is named.
static void test_missing_files(void **state) {
  (void)state;
  need_task("cartpole-swingup");
  static const char texture[] =
      "<mujoco><asset><texture name=\"a\" type=\"2d\" file=\"no/such_a.png\"/><texture name=\"b\" type=\"2d\" "
      "file=\"no/such_b.png\"/></asset><worldbody><geom size=\".1\"/></worldbody></mujoco>";
  static const char mesh[] =
      "<mujoco><asset><mesh name=\"a\" file=\"no/such.stl\"/></asset><worldbody><geom type=\"mesh\" "
      "mesh=\"a\"/></worldbody></mujoco>";
  static const char terrain[] =
      "<mujoco><asset><hfield name=\"a\" size=\"1 1 1 1\" file=\"no/such.png\"/></asset><worldbody><geom "
      "type=\"hfield\" hfield=\"a\"/></worldbody></mujoco>";
  brc_mj_sim s = {0};
  ok(edited(texture, NULL, &s));
  assert_int_equal(s.model.ntex, 2);
  brc_mj_sim_free(&s);
  assert_int_equal(edited(mesh, NULL, &s), BRC_E_FORMAT);
  assert_non_null(strstr(brc_error(), "no/such.stl"));
  brc_mj_sim_free(&s);
  assert_int_equal(edited(terrain, NULL, &s), BRC_E_FORMAT);
  assert_non_null(strstr(brc_error(), "height field 'a'"));
  brc_mj_sim_free(&s);
}

// A file that is broken, or lacks something, is named, with how to get it.
static void test_broken_files(void **state) {
  (void)state;
  need_task("cartpole-swingup");
  static const struct {
    const char *text, *said;
  } cases[] = {{"<mujoco><worldbody>", "XML"},
               {"<mujoco><asset><mesh name=\"a\" file=\"no/such.stl\"/></asset><worldbody><geom type=\"mesh\" "
                "mesh=\"a\"/></worldbody></mujoco>",
                "no/such.stl"},
               {"<mujoco/>", "is this the file of the right version?"}};
  char root[64], folder[128], path[256];
  snprintf(root, sizeof root, "/tmp/brc_test_envs_root_%ld", (long)getpid());
  snprintf(folder, sizeof folder, "%s/dm_control/suite", root);
  snprintf(path, sizeof path, "%s/cartpole.xml", folder);
  ok(brc_mkdirs(folder));
  brc_assets assets = {.extra = root};
  for (size_t i = 0; i < BRC_COUNT(cases); i++) {
    brc_env *env;
    ok(brc_file_write_all(path, cases[i].text, strlen(cases[i].text)));
    assert_int_equal(brc_env_create(&env, brc_env_find("cartpole-swingup"), &assets), BRC_E_FORMAT);
    if (!strstr(brc_error(), cases[i].said) || !strstr(brc_error(), "task 'cartpole-swingup'") ||
        !strstr(brc_error(), "cartpole.xml") || !strstr(brc_error(), "tools/setup gets the right files"))
      fail_msg("case %zu: %s", i, brc_error());
  }
  brc_remove_tree(root);
}

typedef struct compile_job {
  brc_mj_sim sim;
  brc_mj_source source;
  brc_status status;
} compile_job;

static void compile_item(void *arg, uint32_t i, uint32_t thread) {
  (void)thread;
  compile_job *job = (compile_job *)arg + i;
  job->status = brc_mj_sim_init(&job->sim, &job->source);
}

// Models that are asked for at the same time: each is compiled once, a broken one fails for all who want it.
static void test_models_side_by_side(void **state) {
  (void)state;
  need_task("cartpole-swingup");
  enum { MODELS = 4, JOBS = 5 * MODELS };
  char path[MODELS][64];
  for (int k = 0; k < MODELS; k++) {
    char text[512];
    snprintf(text, sizeof text,
             k == 2 ? "<mujoco><worldbody>"
                    : "<mujoco><worldbody><body><joint/><geom size=\".%d\"/></body></worldbody></mujoco>",
             k + 1);
    snprintf(path[k], sizeof path[k], "/tmp/brc_test_envs_%ld_%d.xml", (long)getpid(), k);
    ok(brc_file_write_all(path[k], text, strlen(text)));
  }
  brc_pool *tp;
  ok(brc_pool_create(&tp, 4));
  for (int round = 0; round < 20; round++) {
    compile_job jobs[JOBS] = {0};
    for (int i = 0; i < JOBS; i++) jobs[i].source.path = path[i % MODELS];
    brc_pool_run(tp, JOBS, compile_item, jobs);
    for (int i = 0; i < JOBS; i++) {
      assert_int_equal(jobs[i].status, i % MODELS == 2 ? BRC_E_FORMAT : BRC_OK);
      if (jobs[i].status) continue;
      assert_ptr_equal(jobs[i].sim.shared, jobs[i % MODELS].sim.shared);
      assert_true(jobs[i].sim.model.geom_size[0] == (i % MODELS + 1) / 10.0);
    }
    for (int i = 0; i < JOBS; i++) brc_mj_sim_free(&jobs[i].sim);
  }
  brc_pool_destroy(tp);
  for (int k = 0; k < MODELS; k++) unlink(path[k]);
}

// model.<field> of a golden file: a changed value changes the dynamics, the compiled one does not.
static void test_restore_model(void **state) {
  (void)state;
  need_golden(swingup);
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
    ok(brc_st_open(&f, golden(swingup)));
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
      cmocka_unit_test(test_scores),
      cmocka_unit_test(test_resolve),
      cmocka_unit_test(test_benchmarks),
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
      cmocka_unit_test(test_pool_invalid),
      cmocka_unit_test(test_pool_physics),
      cmocka_unit_test(test_dmc_golden),
      cmocka_unit_test(test_dmc_episodes),
      cmocka_unit_test(test_dmc_starts),
      cmocka_unit_test(test_dmc_diverged),
      cmocka_unit_test(test_cartpole_length),
      cmocka_unit_test(test_hb_golden),
      cmocka_unit_test(test_hb_episodes),
      cmocka_unit_test(test_hb_starts),
      cmocka_unit_test(test_hb_info),
      cmocka_unit_test(test_hb_warning),
      cmocka_unit_test(test_hostile),
      cmocka_unit_test(test_cut_file),
      cmocka_unit_test(test_dump),
      cmocka_unit_test(test_tolerance),
#ifdef BRC_HAVE_MUJOCO
      cmocka_unit_test(test_dmc_keys),
      cmocka_unit_test(test_simulation),
      cmocka_unit_test(test_hb_success),
      cmocka_unit_test(test_hb_truck_remembers),
      cmocka_unit_test(test_hb_damaged_state),
      cmocka_unit_test(test_missing_files),
      cmocka_unit_test(test_edits),
      cmocka_unit_test(test_broken_files),
      cmocka_unit_test(test_models_side_by_side),
      cmocka_unit_test(test_restore_model),
#endif
  };
  // Held through all tests: their models are then compiled once, not once per test.
  static brc_env *held[1024];
  assert(brc_env_count() <= BRC_COUNT(held));
  for (size_t i = 0; i < brc_env_count(); i++)
    if (brc_env_create(&held[i], brc_env_at(i), NULL)) printf("not here: %s\n", brc_error());
  int failed = cmocka_run_group_tests_name("envs", tests, NULL, NULL);
  for (size_t i = 0; i < brc_env_count(); i++) brc_env_destroy(held[i]);
  return failed;
}
