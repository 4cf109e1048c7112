// The worked example of envs/README.md, built from the page's own text (cmake/example.cmake), with its line in the registry.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "check.h"
#include "envs/mujoco/mj.h"
#include "testing.h"
#include "train/train.h"

enum { OBS = 6, ACT = 2, STEPS = 200 };
static const brc_assets assets = {.extra = BRC_EXAMPLE "/assets"};

static size_t lines_of(const char *name) {
  char path[4096], *text;
  size_t bytes, lines = 0;
  snprintf(path, sizeof path, "%s/%s", BRC_EXAMPLE, name);
  check_ok(brc_file_read(path, &text, &bytes));
  for (size_t i = 0; i < bytes; i++) lines += text[i] == '\n';
  free(text);
  return lines;
}

static void test_short(void **state) {
  (void)state;
  size_t model = lines_of("assets/mine/puck.xml"), file = lines_of("puck.c");
  printf("  %zu lines of MJCF, %zu of C\n", model, file);
  assert_true(model + file < 100);
}

static brc_env *create(void) {
  const brc_env_def *d = brc_env_find("mine-puck");
  brc_env *e;
  assert_non_null(d);
  brc_status st = brc_env_create(&e, d, &(brc_assets){0});  // nobody has put the model anywhere
  if (st != BRC_E_UNSUPPORTED) {
    check_fails(BRC_E_NOT_FOUND, "put it into one, or name the folder that has it with --assets", st);
    st = brc_env_create(&e, d, &assets);
  }
  if (st == BRC_E_UNSUPPORTED) {
    testing_skip("the example of envs/README.md: %s", brc_error());
    skip();
  }
  check_ok(st);
  return e;
}

// What the page says that the reward is, from the observation (position, velocity, way to the goal) and the action.
static double expected_reward(const double *obs, const float *action) {
  double d = hypot(obs[4], obs[5]), over = fmax(0, d - 0.05) / 0.5, near = pow(0.1, over * over), small = 0;
  for (int i = 0; i < ACT; i++) {
    double control = 3 * fmin(fmax(action[i], -1), 1);
    small += fmax(0, 1 - control * control) / ACT;
  }
  return near * (4 + small) / 5;
}

// The goal is drawn where it is.
static void check_drawn(brc_env *e, const double *obs) {
#ifdef BRC_HAVE_MUJOCO
  const brc_mj_sim *s = brc_env_def_of(e)->simulation(e);
  assert_int_equal(s->model.nsite, 1);
  for (int i = 0; i < 2; i++) assert_true(fabs(s->data->site_xpos[i] - (obs[i] + obs[4 + i])) < 1e-12);
#else
  (void)e, (void)obs;
#endif
}

// A hand-made controller solves it, and every number is what it should be on the way.
static void test_episode(void **state) {
  (void)state;
  brc_env *e = create();
  double obs[OBS], before[OBS], sum = 0, goal[2];
  brc_env_result result = {0};
  check_ok(brc_env_reset(e, 1, 0, obs));
  for (int i = 0; i < 2; i++) goal[i] = obs[i] + obs[4 + i];
  check_drawn(e, obs);
  for (int t = 1; t <= STEPS; t++) {
    float action[ACT];
    for (int i = 0; i < ACT; i++) action[i] = (float)fmin(fmax(1.5 * obs[4 + i] - 0.8 * obs[2 + i], -1), 1);
    memcpy(before, obs, sizeof obs);
    check_ok(brc_env_step(e, action, obs, &result));
    assert_true(fabs(result.reward - expected_reward(obs, action)) < 1e-12);
    for (int i = 0; i < 2; i++) {
      assert_true(fabs(obs[i] + obs[4 + i] - goal[i]) < 1e-12);          // the goal stays
      assert_true(fabs(obs[i] - before[i] - 0.05 * obs[2 + i]) < 0.02);  // five steps of 0.01 s
    }
    assert_false(result.terminated);
    assert_int_equal(result.truncated, t == STEPS);
    sum += result.reward;
  }
  printf("  return %.1f of %d\n", sum, STEPS);
  assert_true(sum > 0.8 * STEPS && hypot(obs[4], obs[5]) < 0.05);
  brc_env_destroy(e);
}

// Starts depend on seed and episode alone; what is saved goes on to the bit, the goal that is drawn with it.
static void test_state(void **state) {
  (void)state;
  brc_env *a = create(), *b = create();
  double x[OBS], y[OBS];
  float push[ACT] = {0.5f, -0.25f};
  brc_env_result rx, ry;
  check_ok(brc_env_reset(a, 7, 3, x));
  check_ok(brc_env_reset(b, 7, 4, y));
  assert_memory_not_equal(x, y, sizeof x);
  void *saved = malloc(brc_env_state_bytes(a));
  for (int t = 0; t < 10; t++) check_ok(brc_env_step(a, push, x, &rx));
  brc_env_save(a, saved);
  check_ok(brc_env_load(b, saved));
  for (int t = 0; t < 10; t++) {
    check_ok(brc_env_step(a, push, x, &rx));
    check_ok(brc_env_step(b, push, y, &ry));
    assert_memory_equal(x, y, sizeof x);
    assert_true(rx.reward == ry.reward);
  }
  check_drawn(b, y);
  check_ok(brc_env_reset(a, 7, 3, x));
  check_ok(brc_env_reset(b, 7, 3, y));
  assert_memory_equal(x, y, sizeof x);
  free(saved);
  brc_env_destroy(a);
  brc_env_destroy(b);
}

// By name, as `brc train mine-puck probe-action` does.
static void test_training(void **state) {
  (void)state;
  brc_env_destroy(create());
  static brc_train_config c;
  char line[8192], *argv[32];
  int argc = 0;
  snprintf(
      line, sizeof line,
      "--run %s --assets %s/assets --backend host --width 16 --actor-width 16 --batch 16 --start 20 --steps 40 "
      "--eval-interval 20 --eval-episodes 2 --quiet",
      check_path("run"), BRC_EXAMPLE);
  for (char *w = strtok(line, " "); w; w = strtok(NULL, " ")) argv[argc++] = w;
  brc_option_set set = brc_train_option_set(&c);
  const char *words[1];
  size_t count;
  brc_trainer *t;
  brc_options_default(&set);
  check_ok(brc_options_parse(&set, argc, argv, words, 1, &count, NULL));
  check_ok(brc_train_add_tasks(&c, "mine-puck"));
  check_ok(brc_train_add_tasks(&c, "probe-action"));
  check_ok(brc_train_resolve(&c));
  check_ok(brc_trainer_create(&t, &c));
  check_ok(brc_run_create(t, 0, NULL));
  check_ok(brc_trainer_init(t));
  check_ok(brc_trainer_run(t, NULL));
  assert_int_equal(t->loop.step, 40);
  brc_trainer_free(t);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_short), cmocka_unit_test(test_episode),
                                     cmocka_unit_test(test_state), cmocka_unit_test(test_training)};
  return testing_finish(cmocka_run_group_tests_name("example", tests, NULL, NULL));
}
