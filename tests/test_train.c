// Training as a whole: the probe tasks reach their known values, a killed run goes on to the bit, results do not depend on threads.
#include "check.h"
#include "oracle.h"
#include "run_brc.h"
#include "testing.h"
#include "envs/env_impl.h"
#include "envs/watch.h"
#include "train/train.h"
#ifdef BRC_HAVE_OPENCL
#include "backends/opencl/opencl.h"
#endif
#include <dlfcn.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/file.h"

// The backends that work here, by name. slow[i]: Vulkan on a CPU, where an update takes a hundred times as long: tests do less there.
static bool slow[4];
static size_t backends(const char *out[4]) {
  testing_device *d;
  size_t n = testing_devices(&d), count = 0;
  for (size_t i = 0; i < n; i++) {
    const char *name = d[i].device->backend->name;
    size_t k = 0;
    while (k < count && strcmp(out[k], name)) k++;
    if (k < count || count == 4) continue;
    slow[count] = d[i].device->info.is_cpu && !strcmp(name, "vulkan");
    out[count++] = name;
  }
  assert_true(count > 0);
  return count;
}

static const char *fresh_run(void) {
  static int number;
  char name[64];
  snprintf(name, sizeof name, "run%d", number++);
  return check_path(name);
}

//------------------------ 1. Probes ----------------------------------------------
// Discount 0.95 and tau 0.05 keep the way to the fixed point short (horizon 20 steps, target lag 20 updates); a fixed small
// alpha keeps the entropy bonus in the value below 1 %. Bounds: a mistake that a probe is there for is off by far more.
typedef struct probe {
  const char *tasks;
  const char *options;
  int steps;
  double value, value_tolerance;  // of q_mean in raw rewards, mean over stored states; 0: not looked at
  double reached[2];              // least return of the mean policy, per task
} probe;

static const probe probes[] = {
    // value 1/(1-0.95/2) = 1.905; that of the longest episode, about 8, if terminal states were bootstrapped. Five standard deviations
    // of the share of terminal rows among 1,500.
    {"probe-terminal", "--temperature-lr 0 --init-temperature 0.01", 1500, 1.905, 0.22, {1}},
    // value 1/(1-0.95) = 20; at most 12.8, on average 9.3, if truncation were death
    {"probe-truncated", "--temperature-lr 0 --init-temperature 0.01", 2500, 20, 1.0, {19.99}},
    // 1 at the best action; 0.83 at (0, 0)
    {"probe-action", "", 1500, 0, 0, {0.97}},
    // 1 in both with the embedding; at most 0.64 in both without
    {"probe-embedding", "", 1500, 0, 0, {0.95, 0.95}},
    // the best constant action reaches 0.92 and 0.87
    {"probe-padding", "", 2500, 0, 0, {0.97, 0.97}},
    // 1 and 1000 at the best action; 0.75 and 750 at 0
    {"probe-scale", "", 2000, 0, 0, {0.97, 970}},
    // 64 rows, so the ring starts over every 64 steps: value 2/(1-0.95 0.95) = 20.5 and 0, half of the episodes each
    {"probe-wrap", "--capacity 64 --temperature-lr 0 --init-temperature 0.01", 1500, 0, 0, {0}},
};

static void configure(brc_train_config *c, const char *line) {
  brc_option_set set = brc_train_option_set(c);
  char copy[1024], *argv[64];
  const char *words[8];
  size_t count;
  int n = 0;
  memset(c, 0, sizeof *c);
  brc_options_default(&set);
  snprintf(copy, sizeof copy, "%s", line);
  for (char *w = strtok(copy, " "); w; w = strtok(NULL, " ")) argv[n++] = w;
  check_ok(brc_options_parse(&set, n, argv, words, BRC_COUNT(words), &count, NULL));
  for (size_t i = 0; i < count; i++) check_ok(brc_train_add_tasks(c, words[i]));
  check_ok(brc_train_resolve(c));
}

// The critic's value of the marked states of probe-wrap: q of (state, mean action) for mark -1 and +1.
static void marked_values(brc_trainer *t, double out[2]) {
  brc_actor *x;
  check_ok(brc_actor_create(&x, t->agent, 2, BRC_ACT_MEAN, true));
  float obs[2] = {-1, 1}, action[2], value[2];
  check_ok(brc_actor_run(x, BRC_F32, obs, NULL, NULL, 0, action, value));
  for (int i = 0; i < 2; i++) out[i] = value[i] * t->loop.denominators[0];
  brc_actor_free(x);
}

static void run_probe(const probe *p, const char *backend) {
  static brc_train_config c;
  char line[1024];
  snprintf(line, sizeof line,
           "%s --backend %s --width 32 --actor-width 32 --batch 64 --start 64 --discount 0.95 --tau 0.05 "
           "--eval-interval 0 --checkpoint-interval 100000 --log-interval 1000000 --capacity 20000 --steps %d "
           "--seed 3 --quiet --run %s %s",
           p->tasks, backend, p->steps, fresh_run(), p->options);
  configure(&c, line);
  brc_trainer *t;
  check_ok(brc_trainer_create(&t, &c));
  check_ok(brc_trainer_init(t));
  check_ok(brc_trainer_run(t, NULL));
  // The value: mean over 50 more steps.
  double value = 0;
  for (int i = 0; i < 50; i++) {
    check_ok(brc_loop_step(&t->loop));
    value += t->loop.metrics[BRC_METRIC_q_mean] * t->loop.denominators[0] / 50;
  }
  brc_eval_result e[2];
  memset(e, 0, sizeof e);
  check_ok(brc_evaluate(t->agent, c.tasks, c.task_count, 10, 1, &t->assets, t->pool, NULL, e));
  printf("  %-16s %-7s value %8.3f (known %g) return %g %g\n", p->tasks, backend, value, p->value,
         e[0].return_mean, c.task_count > 1 ? e[1].return_mean : 0);
  if (p->value && !(fabs(value - p->value) <= p->value_tolerance))
    fail_msg("%s on %s: value %g, known %g +- %g", p->tasks, backend, value, p->value, p->value_tolerance);
  for (size_t i = 0; i < c.task_count; i++)
    if (!(e[i].return_mean >= p->reached[i]))
      fail_msg("%s on %s: return %g of %s, expected at least %g", p->tasks, backend, e[i].return_mean,
               c.tasks[i]->name, p->reached[i]);
  if (!strcmp(p->tasks, "probe-wrap")) {
    // With 64 rows a batch holds three to six episodes, and values follow what is stored: mean over 40 refills of the ring.
    double v[2] = {0, 0};
    for (int i = 0; i < 2560; i++) {
      double now[2];
      check_ok(brc_loop_step(&t->loop));
      if (i % 64) continue;
      marked_values(t, now);
      v[0] += now[0] / 40;
      v[1] += now[1] / 40;
    }
    printf("  %-16s %-7s value of mark -1: %.2f (known 0), of mark +1: %.2f (known 20.5)\n", p->tasks, backend,
           v[0], v[1]);
    if (fabs(v[0]) > 4 || fabs(v[1] - 20.5) > 5)
      fail_msg("probe-wrap on %s: values %g and %g, known 0 and 20.5", backend, v[0], v[1]);
  }
  brc_trainer_free(t);
}

static void test_probes(void **state) {
  (void)state;
  const char *names[4];
  size_t n = backends(names);
  for (size_t b = 0; b < n; b++) {
    for (size_t i = 0; i < BRC_COUNT(probes) && !slow[b]; i++)
      if (!testing_quick() || (b == 0 && probes[i].steps <= 1500 && i < 4)) run_probe(&probes[i], names[b]);
    if (!slow[b]) continue;
    testing_skip("probes on %s: only a short probe-action, as the device is a CPU", names[b]);
    if (!testing_quick()) run_probe(&(probe){"probe-action", "", 500, 0, 0, {0.97}}, names[b]);
  }
  if (testing_quick()) testing_skip("probes: only the short ones, on %s alone (quick)", names[0]);
}

//------------------------ 2. To the bit -------------------------------------------
static void same_file(const char *a, const char *b) {
  char *x, *y;
  size_t nx, ny;
  check_ok(brc_file_read(a, &x, &nx));
  check_ok(brc_file_read(b, &y, &ny));
  size_t i = 0;
  while (i < nx && i < ny && x[i] == y[i]) i++;
  bool same = nx == ny && i == nx;
  free(x);
  free(y);
  if (!same) fail_msg("%s (%zu bytes) and %s (%zu bytes) differ at byte %zu", a, nx, b, ny, i);
}

static void same_run(const char *a, const char *b) {
  static const char *const files[] = {"checkpoint/state.safetensors", "checkpoint/replay.bin"};
  char x[4200], y[4200];
  for (size_t i = 0; i < BRC_COUNT(files); i++) {
    snprintf(x, sizeof x, "%s/%s", a, files[i]);
    snprintf(y, sizeof y, "%s/%s", b, files[i]);
    same_file(x, y);
  }
}

// Run `line` into the folder `run`; it must succeed. Returns the seconds it took.
static double train_ok(const char *line, const char *run) {
  static run_result r;
  double start = brc_now_s();
  run_brc(&r, NULL, "%s --run %s", line, run);
  if (r.status) fail_msg("'brc %s --run %s' failed: %s", line, run, r.err);
  return brc_now_s() - start;
}

// Go on with a run; it must succeed.
static void resume_ok(const char *run, const char *options) {
  static run_result r;
  run_brc(&r, NULL, "train --resume %s --quiet %s", run, options);
  if (r.status) fail_msg("resuming %s failed: %s", run, r.err);
}

// Wait until the run has written a checkpoint: the moment from which stopping it loses nothing, however fast the machine is.
static void wait_for_checkpoint(const char *run) {
  char path[4200];
  snprintf(path, sizeof path, "%s/checkpoint/state.safetensors", run);
  for (int i = 0; i < 60000 && access(path, F_OK); i++) usleep(1000);
}

// The same 600 steps, once in one go, once killed at random moments. Everything is in the two files: parameters, moments, counts,
// replay, normaliser, environments, random numbers (counters). A run that outran the signal on a busy machine is run once more.
static void resume_case(const char *backend, const char *tasks,
                        const char *options) {  // `options` have --start
  char whole[4096], cut[4096], line[2048];
  snprintf(whole, sizeof whole, "%s", fresh_run());
  snprintf(line, sizeof line,
           "train %s --backend %s --width 48 --actor-width 32 --batch 32 --steps 600 "
           "--eval-interval 200 --eval-episodes 2 --checkpoint-interval 50 --quiet --seed 5 %s",
           tasks, backend, options);
  double took = train_ok(line, whole);
  int kills = 0;
  testing_reseed(77);
  for (int runs = 0; kills == 0 && runs < 10; runs++) {
    snprintf(cut, sizeof cut, "%s", fresh_run());
    int status = 1;
    for (int tries = 0; status != 0 && tries < 40; tries++) {
      pid_t pid = run_start("%s --run %s --resume auto", line, cut);
      if (kills < 4) {
        wait_for_checkpoint(cut);
        usleep((useconds_t)(1e6 * took * testing_uniform(0, 0.5)));
        kill(pid, SIGKILL);
      }
      status = run_wait(pid);
      kills += status == 128 + SIGKILL;
      if (status != 0 && status != 128 + SIGKILL) fail_msg("resuming failed with status %d", status);
    }
  }
  printf("  %s on %s: killed %d times\n", tasks, backend, kills);
  assert_true(kills > 0);
  same_run(whole, cut);
}

static void test_resume(void **state) {
  (void)state;
  const char *names[4];
  size_t n = backends(names);
  bool cartpole = false;
  char path[4096];
  brc_assets assets = {0};
  const brc_env_def *d = brc_env_find("cartpole-swingup");
  cartpole = d && d->asset && !brc_assets_find(&assets, d->asset, path, sizeof path);
  if (!cartpole) testing_skip("resuming cartpole: its assets are not installed");
  for (size_t b = 0; b < n; b++) {
    const char *padding = slow[b] ? "--start 550 --capacity 5000" : "--start 100 --capacity 5000";
    const char *wraps = slow[b] ? "--start 550 --capacity 70" : "--start 100 --capacity 70";  // eight times
    if (!testing_quick()) resume_case(names[b], "probe-padding", padding);
    resume_case(names[b], cartpole ? "cartpole-swingup probe-wrap" : "probe-wrap", wraps);
  }
  resume_case("host", cartpole ? "cartpole-swingup probe-wrap" : "probe-wrap",
              "--start 100 --capacity 5000 --overlap --checkpoint-interval 7");
}

// A signal in the evaluation after step 60: nothing of it is logged, the steps are saved, and who goes on makes it first, with the numbers
// of a run that nobody disturbed.
static const brc_trainer *evaluating;
static volatile int signalled;
static brc_status (*undisturbed)(brc_env *env, const float *action, double *obs, brc_env_result *result);
static brc_status step_and_signal(brc_env *env, const float *action, double *obs, brc_env_result *result) {
  if (evaluating && evaluating->loop.step == 60) signalled = 1;
  return undisturbed(env, action, obs, result);
}

static void test_evaluation_cut_short(void **state) {
  (void)state;
  static brc_train_config c;
  static brc_env_def def;
  char line[600], log[4200], *text[2];
  size_t n;
  for (int run = 0; run < 2; run++) {
    snprintf(
        line, sizeof line,
        "probe-truncated --backend host --width 16 --actor-width 16 --batch 16 --start 20 --eval-interval 30 "
        "--steps 60 "
        "--eval-episodes 2 --log-interval 30 --seed 3 --quiet --run %s",
        fresh_run());
    configure(&c, line);
    check_ok(brc_mkdirs(c.run));
    def = *c.tasks[0];
    undisturbed = def.step;
    def.step = step_and_signal;
    c.tasks[0] = &def;
    brc_trainer *t;
    bool unfinished;
    check_ok(brc_trainer_create(&t, &c));
    check_ok(brc_trainer_init(t));
    evaluating = run ? t : NULL;
    if (run) {
      check_fails(BRC_E_STOPPED, "stopped at step 60; go on with", brc_trainer_run(t, &signalled));
      brc_trainer_free(t);
      evaluating = NULL;
      uint64_t last;
      check_ok(brc_run_last_row(c.run, "log.csv", &last));
      assert_int_equal(last, 30);
      check_ok(brc_trainer_create(&t, &c));
      check_ok(brc_checkpoint_load(t));
      check_ok(brc_trainer_unfinished(t, &unfinished));
      assert_true(unfinished);
    }
    check_ok(brc_trainer_run(t, NULL));
    check_ok(brc_trainer_unfinished(t, &unfinished));
    assert_false(unfinished);
    brc_trainer_free(t);
    snprintf(log, sizeof log, "%s/log.csv", c.run);
    check_ok(brc_file_read(log, &text[run], &n));
  }
  const char *was = text[0], *is = text[1];
  for (int column = 0; *was && *is; column++) {
    const size_t a = strcspn(was, ",\n"), b = strcspn(is, ",\n");
    const bool clock = column == 2 || column == 3;  // wall_s, device_s
    if (!clock && (a != b || strncmp(was, is, a)))
      fail_msg("column %d: '%.*s' instead of '%.*s'", column, (int)b, is, (int)a, was);
    if (was[a] == '\n') column = -1;
    assert_int_equal(was[a], is[b]);
    was += a + 1;
    is += b + 1;
  }
  assert_true(!*was && !*is);
  free(text[0]);
  free(text[1]);
}

// Random actions as they lie in the replay: uniform in [-1, 1), no draw used twice, and the entries behind a task's own (ALGORITHM.md
// section 3: padded actions are stored as they were drawn) like all others.
static void test_stored_actions(void **state) {
  (void)state;
  enum { STEPS = 200, A = 3 };
  static brc_train_config c;
  char line[512];
  snprintf(line, sizeof line,
           "probe-padding --backend host --width 8 --actor-width 8 --batch 8 --start 1000 --steps %d "
           "--capacity 1000 --eval-interval 0 --quiet --run %s",
           STEPS, fresh_run());
  configure(&c, line);
  brc_trainer *t;
  check_ok(brc_trainer_create(&t, &c));
  check_ok(brc_trainer_init(t));
  check_ok(brc_trainer_run(t, NULL));
  assert_int_equal(c.agent.action_dim, A);
  static float action[2][STEPS][A];
  for (uint32_t k = 0; k < 2; k++)
    for (uint32_t i = 0; i < STEPS; i++)
      check_ok(brc_replay_get(t->replay, k, i, NULL, NULL, action[k][i], NULL, NULL));
  brc_trainer_free(t);
  for (uint32_t k = 0; k < 2; k++)
    for (uint32_t j = 0; j < A; j++) {
      double sum = 0, squares = 0;
      for (uint32_t i = 0; i < STEPS; i++) {
        double x = action[k][i][j];
        assert_true(x >= -1 && x < 1 && (i == 0 || action[k][i - 1][j] != action[k][i][j]));
        sum += x / STEPS;
        squares += x * x / STEPS;
      }
      // Five standard deviations of the mean, 0.58 / sqrt(200), and of the mean square, 0.30 / sqrt(200).
      if (fabs(sum) > 0.2 || fabs(squares - 1.0 / 3) > 0.11)
        fail_msg("task %u, action %u: mean %g, mean square %g; known 0 and 1/3", k, j, sum, squares);
    }
}

// One and three threads, one seed: the same bits, in strict order and overlapped.
static void test_threads(void **state) {
  (void)state;
  for (int overlap = 0; overlap < 2; overlap++) {
    char runs[2][4096], line[512];
    for (int k = 0; k < 2; k++) {
      snprintf(runs[k], sizeof runs[k], "%s", fresh_run());
      snprintf(
          line, sizeof line,
          "train probe-padding probe-wrap --backend host --width 64 --actor-width 32 --batch 128 --start 100 "
          "--steps 200 --quiet --eval-interval 0 --threads %d%s",
          1 + 2 * k, overlap ? " --overlap" : "");
      train_ok(line, runs[k]);
    }
    same_run(runs[0], runs[1]);
  }
}

static brc_trainer *stepped_trainer(const char *options, int steps) {
  static brc_train_config c;
  char line[1024];
  brc_trainer *t;
  snprintf(line, sizeof line,
           "probe-padding probe-wrap --backend host --width 32 --actor-width 16 --batch 32 --start 20 --seed 4 "
           "--eval-interval 0 --run %s %s",
           fresh_run(), options);
  configure(&c, line);
  check_ok(brc_trainer_create(&t, &c));
  check_ok(brc_trainer_init(t));
  for (int i = 0; i < steps; i++) check_ok(brc_loop_step(&t->loop));
  return t;
}

// The networks of a trainer, all groups with moments and targets.
static brc_st_writer *networks(brc_trainer *t, const char *path) {
  brc_st_writer *w;
  check_ok(brc_st_writer_new(&w));
  check_ok(brc_agent_save(t->agent, w, ""));
  check_ok(brc_st_write(w, path));
  return w;
}

static void same_networks(brc_trainer *a, brc_trainer *b, bool same) {
  char paths[2][4096], *data[2];
  size_t bytes[2];
  brc_trainer *t[2] = {a, b};
  for (int k = 0; k < 2; k++) {
    snprintf(paths[k], sizeof paths[k], "%s", check_path(k ? "networks-b" : "networks-a"));
    brc_st_writer_free(networks(t[k], paths[k]));
    check_ok(brc_file_read(paths[k], &data[k], &bytes[k]));
  }
  assert_int_equal(bytes[0], bytes[1]);
  assert_true((memcmp(data[0], data[1], bytes[0]) == 0) == same);
  free(data[0]);
  free(data[1]);
}

// Overlapped, actions lag exactly one step's updates behind, and nothing else differs. Updates begin at step 20. Step 21 still acts
// with the policy of before them, as a run without updates does, and ends with the networks that the strict order has after step
// 20; step 22 acts with these.
static void test_overlap_order(void **state) {
  (void)state;
  brc_trainer *strict = stepped_trainer("", 20), *none = stepped_trainer("--utd 0", 21),
              *lagging = stepped_trainer("--overlap", 21);
  const brc_agent_config *c = &lagging->config.agent;
  size_t actions = (size_t)(c->tasks * c->action_dim) * sizeof(float),
         obs = (size_t)(c->tasks * c->obs_dim) * sizeof(float);
  assert_int_equal(lagging->loop.updates_done, 2);
  assert_memory_equal(lagging->loop.action, none->loop.action, actions);
  assert_memory_equal(lagging->loop.obs, none->loop.obs, obs);
  same_networks(lagging, strict, true);
  same_networks(lagging, none, false);
  // Step 22: the policy of `lagging` at this moment, on its observations, drawing that step's noise.
  double wide[64], chosen[32];
  for (size_t i = 0; i < obs / sizeof(float); i++) wide[i] = lagging->loop.obs[i];
  check_ok(brc_actor_run(lagging->loop.actor, BRC_F64, wide, lagging->loop.task, NULL, 22, chosen, NULL));
  check_ok(brc_loop_step(&lagging->loop));
  check_ok(brc_loop_step(&none->loop));
  for (size_t i = 0; i < actions / sizeof(float); i++)
    assert_true(lagging->loop.action[i] == (float)fmin(fmax(chosen[i], -1), 1));
  assert_memory_not_equal(lagging->loop.action, none->loop.action, actions);
  brc_trainer_free(strict);
  brc_trainer_free(none);
  brc_trainer_free(lagging);
}

// SIGTERM saves and stops with 75; going on ends where the whole run ends; a finished run is left alone. A run that outran the
// signal on a busy machine is run once more.
static void test_stop(void **state) {
  (void)state;
  char a[4096], b[4096];
  snprintf(a, sizeof a, "%s", fresh_run());
  const char *line =
      "train probe-action --backend host --width 64 --actor-width 32 --batch 64 --start 100 --steps 2500 "
      "--checkpoint-interval 200 --quiet --eval-interval 0";
  train_ok(line, a);
  int status = 0;
  for (int tries = 0; status == 0 && tries < 10; tries++) {
    snprintf(b, sizeof b, "%s", fresh_run());
    pid_t pid = run_start("%s --run %s", line, b);
    wait_for_checkpoint(b);
    kill(pid, SIGTERM);
    status = run_wait(pid);
  }
  assert_int_equal(status, 75);
  resume_ok(b, "");
  same_run(a, b);
  resume_ok(b, "");
  same_run(a, b);
}

// The very commands of docs/brc.sbatch under a stub of Slurm: the step is sent USR1 once it has a checkpoint, ends with 75, the job asks
// to be queued again under its number, and again, until the run is done: with the bits of a run that was left alone.
static const char srun_stub[] =
    "#!/bin/bash\n"
    "echo \"srun $*\" >> \"$STUB/calls\"\n"
    "\"$@\" & step=$!\n"
    "turn=$(grep -c ^srun \"$STUB/calls\")\n"
    "if ((turn <= 2)); then\n"  // the third turn may end
    "  while [[ ! -e $STUB/runs/job-s7/checkpoint/state.safetensors ]]; do sleep 0.01; done\n"
    "  sleep 0.15; kill -USR1 $step\n"
    "fi\n"
    "wait $step\n";
static const char scontrol_stub[] = "#!/bin/bash\necho \"scontrol $*\" >> \"$STUB/calls\"\n";

static void write_script(const char *folder, const char *name, const char *text) {
  char path[4300];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  check_ok(brc_file_write_all(path, text, strlen(text)));
  assert_int_equal(chmod(path, 0755), 0);
}

static void test_sbatch(void **state) {
  (void)state;
  static const char options[] =
      "--backend host --width 64 --actor-width 32 --batch 64 --start 100 --steps 3000 --checkpoint-interval "
      "200 "
      "--eval-interval 500 --eval-episodes 2";
  char stub[1024], whole[1100], cut[1100], line[9000], *calls;
  snprintf(stub, sizeof stub, "%s", check_path("slurm"));
  snprintf(whole, sizeof whole, "%s/whole", stub);
  snprintf(cut, sizeof cut, "%s/runs/job-s7", stub);
  check_ok(brc_mkdirs(stub));
  write_script(stub, "srun", srun_stub);
  write_script(stub, "scontrol", scontrol_stub);
  snprintf(line, sizeof line, "train probe-padding --seed 7 --quiet %s", options);
  train_ok(line, whole);
  snprintf(line, sizeof line,
           "STUB=%s PATH=%s:$PATH BRC=%s TASKS=probe-padding RUNS=%s/runs SLURM_JOB_NAME=job SLURM_JOB_ID=4711 "
           "SLURM_ARRAY_TASK_ID=7 bash %s/docs/brc.sbatch %s",
           stub, stub, BRC_BINARY, stub, BRC_SOURCE_DIR, options);
  int status = 75, turns = 0;
  while (status == 75 && turns < 5) {
    int s = system(line);
    status = WIFEXITED(s) ? WEXITSTATUS(s) : -1;
    turns++;
  }
  assert_int_equal(status, 0);
  size_t n;
  snprintf(line, sizeof line, "%s/calls", stub);
  check_ok(brc_file_read(line, &calls, &n));
  int requeued = 0;
  for (const char *at = calls; (at = strstr(at, "scontrol requeue 4711\n")); at++) requeued++;
  free(calls);
  printf("  the job ran %d times and was queued again %d times\n", turns, requeued);
  assert_int_equal(requeued, turns - 1);
  if (turns == 1) testing_skip("docs/brc.sbatch, requeue: the run outran the signal");
  same_run(whole, cut);
  // A failure is not queued again.
  snprintf(line, sizeof line,
           "STUB=%s PATH=%s:$PATH BRC=%s TASKS=no-such-task RUNS=%s/runs SLURM_JOB_NAME=job SLURM_JOB_ID=4712 "
           "SLURM_ARRAY_TASK_ID=8 bash %s/docs/brc.sbatch 2> /dev/null",
           stub, stub, BRC_BINARY, stub, BRC_SOURCE_DIR);
  int s = system(line);
  assert_int_equal(WEXITSTATUS(s), 2);
  snprintf(line, sizeof line, "! grep -q 4712 %s/calls", stub);
  assert_int_equal(system(line), 0);
}

// Every command in a page's ```sh blocks runs, in their order, in one folder. Runs are made small by options behind them.
static const char brc_stub[] =
    "#!/bin/bash\n"
    "small=\"--backend host --actor-width 16 --batch 32 --start 50\"\n"
    "case \"$*\" in\n"
    "  *'--resume '*'--steps '*) set -- \"$@\" --steps 120 ;;\n"
    "  *'--resume '* | *--dry-run) ;;\n"
    "  'train '*--width*) set -- \"$@\" $small --steps 100 --eval-interval 50 --eval-episodes 1 ;;\n"
    "  'train '*) set -- \"$@\" --width 32 $small --steps 100 --eval-interval 50 --eval-episodes 1 ;;\n"
    "  'bench '*) set -- \"$@\" --backend host ;;\n"
    "esac\n"
    "exec \"$BRC\" \"$@\"\n";

static void run_page(const char *page) {
  char folder[1024], path[1100], line[9000], *text;
  size_t bytes, blocks = 0;
  snprintf(folder, sizeof folder, "%s", check_path(page));
  check_ok(brc_mkdirs(folder));
  write_script(folder, "brc", brc_stub);
  snprintf(path, sizeof path, "%s/docs/%s.md", BRC_SOURCE_DIR, page);
  check_ok(brc_file_read(path, &text, &bytes));
  for (char *at = strstr(text, "```sh\n"), *end; at; at = strstr(end + 3, "```sh\n")) {
    end = strstr(at + 6, "\n```");
    assert_non_null(end);
    check_ok(brc_file_write_all(check_path("block.sh"), at + 6, (size_t)(end + 1 - at - 6)));
    snprintf(line, sizeof line,
             "cd '%s' && BRC='%s' PATH=\"$PWD:$PATH\" bash -e '%s' > out 2>&1 || { cat out; exit 1; }", folder,
             BRC_BINARY, check_path("block.sh"));
    if (system(line) != 0) fail_msg("a command of %s fails", path);
    blocks++;
  }
  free(text);
  assert_true(blocks > 0);
}

static void test_docs(void **state) {
  (void)state;
  brc_assets assets = {0};
  const brc_env_def *d = brc_env_find("cartpole-swingup");
  char path[4096];
  if (d && !brc_assets_find(&assets, d->asset, path, sizeof path))
    run_page("training");
  else
    testing_skip("the commands of docs/training.md: the assets of cartpole-swingup are not installed");
  if (system("gnuplot --version > /dev/null 2>&1") == 0)
    run_page("results");
  else
    testing_skip("the commands of docs/results.md: no gnuplot");
  run_page("precision-and-determinism");
}

// A run goes on on another backend; its config.json tells so, and standard error that bits may differ from there.
static void test_other_backend(void **state) {
  (void)state;
  const char *names[4];
  size_t n = backends(names);
  if (n < 2) {
    testing_skip("going on on another backend: there is only %s", names[0]);
    skip();
  }
  static run_result r;
  char run[4096], path[4200], *text;
  size_t bytes;
  snprintf(run, sizeof run, "%s", fresh_run());
  train_ok(
      "train probe-action --backend host --gemm blocked --width 16 --actor-width 16 --batch 16 --start 20 "
      "--steps 40 "
      "--quiet --eval-interval 0",
      run);
  for (size_t b = 1; b < n; b++) {
    run_brc(&r, NULL, "train --resume %s --backend %s --steps %d --quiet", run, names[b], 40 + 5 * (int)b);
    if (r.status) fail_msg("%s: %s", names[b], r.err);
    if (!strstr(r.err, "no longer equal to the bit")) fail_msg("%s: %s", names[b], r.err);
  }
  snprintf(path, sizeof path, "%s/config.json", run);
  check_ok(brc_file_read(path, &text, &bytes));
  cJSON *o = cJSON_Parse(text), *parts = cJSON_GetObjectItem(o, "parts");
  free(text);
  assert_int_equal(cJSON_GetArraySize(parts), (int)n);
  for (size_t b = 1; b < n; b++) {
    const cJSON *part = cJSON_GetArrayItem(parts, (int)b);
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(part, "backend")), names[b]);
    assert_true(cJSON_GetNumberValue(cJSON_GetObjectItem(part, "step")) == 40 + 5 * ((double)b - 1));
  }
  cJSON_Delete(o);
}

//------------------------ Tuning ---------------------------------------------------
// PoCL with the kernels of GPUs, a cache of its own, and no CLBlast: that compiles for half a minute there.
static bool tuning_begin(const char *seconds) {
  const char *names[4];
  const size_t n = backends(names);
  bool opencl = false;
  for (size_t b = 0; b < n; b++) opencl |= !strcmp(names[b], "opencl");
  Dl_info math;
  if (!opencl || !dladdr((void *)(uintptr_t)cos, &math)) {
    testing_skip("tuning: no OpenCL device");
    return false;
  }
  check_ok(brc_mkdirs(check_path("lib")));
  if (access(check_path("lib/libclblast.so.1"), F_OK))
    assert_int_equal(symlink(math.dli_fname, check_path("lib/libclblast.so.1")), 0);
  setenv("LD_LIBRARY_PATH", check_path("lib"), 1);
  setenv("BRC_CACHE", check_path("tuning"), 1);
  setenv("BRC_OPENCL_CLASS", "gpu", 1);
  setenv("BRC_TUNING_SECONDS", seconds, 1);
  return true;
}

static int tuning_end(void **state) {
  (void)state;
  static const char *const names[] = {"LD_LIBRARY_PATH", "BRC_CACHE", "BRC_OPENCL_CLASS", "BRC_TUNING_SECONDS"};
  for (size_t i = 0; i < BRC_COUNT(names); i++) unsetenv(names[i]);
  return 0;
}

static const char tuned_line[] =
    "train probe-action --backend opencl --width 64 --actor-width 32 --batch 32 --start 40 --eval-interval 0";

// A run of this many steps, which must do; with what it says on stderr.
static const char *tuned_run(const char *run, int steps, const char *options, const char *extra_env) {
  static run_result r;
  run_brc(&r, extra_env, "%s --steps %d --run %s%s", tuned_line, steps, run, options);
  if (r.status) fail_msg("%s", r.err);
  return r.err;
}

static const char *going_on(const char *run, int steps) {
  static run_result r;
  run_brc(&r, NULL, "train --resume %s --steps %d", run, steps);
  if (r.status) fail_msg("%s", r.err);
  return r.err;
}

static bool same_state(const char *a, const char *b) {
  char line[9000];
  snprintf(line, sizeof line, "cmp -s %s/checkpoint/state.safetensors %s/checkpoint/state.safetensors", a, b);
  return system(line) == 0;
}

// The one file of the cache.
static const char *tuning_file(void) {
  static char path[4200];
  char line[4300];
  snprintf(line, sizeof line, "ls -d %s/tuning/*", getenv("BRC_CACHE"));
  FILE *f = popen(line, "r");
  assert_non_null(f);
  if (!fgets(path, sizeof path, f)) *path = 0;
  path[strcspn(path, "\n")] = 0;
  if (fgets(line, sizeof line, f)) fail_msg("more than one file: %s", line);
  pclose(f);
  return path;
}

static void replace_in_file(const char *path, const char *from, const char *to) {
  char *text;
  size_t bytes;
  check_ok(brc_file_read(path, &text, &bytes));
  char *at = strstr(text, from), *more = malloc(bytes + strlen(to) + 1);
  if (!at) fail_msg("'%s' is not in %s", from, path);
  const size_t head = (size_t)(at - text);
  sprintf(more, "%.*s%s%s", (int)head, text, to, at + strlen(from));
  check_ok(brc_file_write_all(path, more, strlen(more)));
  free(more);
  free(text);
}

static void expect_in(const char *text, const char *part, bool there) {
  if (!strstr(text, part) == there) fail_msg("'%s' %s in:\n%s", part, there ? "is not" : "is", text);
}

// What is measured on a busy machine is anything, also nothing: choices that the built-in table does not make instead.
static void choose_by_hand(const char *path) {
  static const struct {
    const char *layout;
    int size, members;  // m = 32, n = k
  } products[] = {{"NN", 64, 2}, {"NT", 64, 2}, {"NN", 32, 1}, {"NT", 32, 1}};
  char *text, by_hand[4096];
  size_t bytes;
  check_ok(brc_file_read(path, &text, &bytes));
  const char *at = strstr(text, "\"products\"");
  if (!at) fail_msg("no products in %s", path);
  int n = snprintf(by_hand, sizeof by_hand, "%.*s\"products\":", (int)(at - text), text);
  for (size_t i = 0; i < BRC_COUNT(products); i++)
    n += snprintf(by_hand + n, sizeof by_hand - (size_t)n,
                  "%c{\"layout\": \"%s\", \"m\": 32, \"n\": %d, \"k\": %d, \"members\": %d, "
                  "\"precision\": \"fp32\", \"choice\": \"native\"}",
                  i ? ',' : '[', products[i].layout, products[i].size, products[i].size, products[i].members);
  snprintf(by_hand + n, sizeof by_hand - (size_t)n, "]}");
  check_ok(brc_file_write_all(path, by_hand, strlen(by_hand)));
  free(text);
}

// The first run measures, later ones take what it has kept; a run keeps its own, whatever becomes of the cache.
static void test_tuning(void **state) {
  (void)state;
  if (!tuning_begin("1")) skip();
  char whole[4096], cut[4096], kept[4200], path[4300], cache[4200];
  snprintf(whole, sizeof whole, "%s", fresh_run());
  snprintf(cut, sizeof cut, "%s", fresh_run());
  const char *err = tuned_run(whole, 2, "", NULL);
  expect_in(err, "brc: tuning ... ", true);
  snprintf(cache, sizeof cache, "%s", tuning_file());
  snprintf(kept, sizeof kept, "%s/tuning.json", whole);
  same_file(cache, kept);
  choose_by_hand(cache);
  snprintf(whole, sizeof whole, "%s", fresh_run());
  snprintf(kept, sizeof kept, "%s/tuning.json", whole);
  err = tuned_run(whole, 60, "", NULL);
  expect_in(err, "tuning ...", false);
  // They change the bits: else all that follows would show nothing.
  const char *off = fresh_run();
  err = tuned_run(off, 60, " --tuning off", NULL);
  expect_in(err, "tuning", false);
  assert_false(same_state(whole, off));
  err = tuned_run(cut, 50, "", NULL);
  expect_in(err, "tuning ...", false);
  brc_remove_tree(getenv("BRC_CACHE"));
  err = going_on(cut, 60);
  expect_in(err, "tuning ...", false);
  expect_in(err, "no longer equal", false);
  assert_true(same_state(whole, cut));
  // A run's file serves another.
  char again[4096], file[4400];
  snprintf(again, sizeof again, "%s", fresh_run());
  snprintf(file, sizeof file, " --tuning %s", kept);
  err = tuned_run(again, 60, file, NULL);
  expect_in(err, "tuning ...", false);
  assert_true(same_state(whole, again));
  assert_false(brc_path_exists(cache));
  // A run of another device, and one that needs what is gone here: told, and gone on with.
  snprintf(path, sizeof path, "%s/tuning.json", cut);
  replace_in_file(path, "\"device\":\t\"", "\"device\":\t\"Another ");
  err = going_on(cut, 61);
  expect_in(err, "its device is 'Another ", true);
  expect_in(err, "brc: tuning ... ", true);
  same_file(tuning_file(), path);
  choose_by_hand(path);
  replace_in_file(path, "\"native\"", "\"gone/64x64\"");
  err = going_on(cut, 62);
  expect_in(err, "'gone/64x64', chosen for NN ", true);
  expect_in(err, "no longer equal to the bit", true);
  // It has asked for something else.
  static run_result r;
  run_brc(&r, NULL, "train --resume %s --steps 63 --tuning off", cut);
  assert_int_equal(r.status, 0);
  expect_in(r.err, "with tuning none instead of", true);
  assert_false(brc_path_exists(path));
  err = going_on(cut, 64);
  expect_in(err, "tuning", false);
}

// Files of the cache that are broken, cannot be written, or are written by two at once.
static void test_tuning_cache(void **state) {
  (void)state;
  if (!tuning_begin("0.1")) skip();
  char cache[4200], *text;
  size_t bytes;
  brc_remove_tree(getenv("BRC_CACHE"));
  pid_t both[2];
  for (int i = 0; i < 2; i++) both[i] = run_start("%s --steps 2 --run %s", tuned_line, fresh_run());
  for (int i = 0; i < 2; i++) assert_int_equal(run_wait(both[i]), 0);
  snprintf(cache, sizeof cache, "%s", tuning_file());
  const char *err = tuned_run(fresh_run(), 2, "", NULL);
  expect_in(err, "tuning", false);
  static const char *const broken[] = {"", "{\"device\": \"", "{}"};
  for (size_t i = 0; i < BRC_COUNT(broken); i++) {
    check_ok(brc_file_write_all(cache, broken[i], strlen(broken[i])));
    err = tuned_run(fresh_run(), 2, "", NULL);
    expect_in(err, "it is not used", true);
    expect_in(err, "brc: tuning ... ", true);
    check_ok(brc_file_read(tuning_file(), &text, &bytes));
    expect_in(text, "\"products\"", true);
    free(text);
  }
  err = tuned_run(fresh_run(), 2, "", "BRC_CACHE=/dev/null/cache");
  expect_in(err, "the next run measures again", true);
  // The command measures anew.
  static run_result r;
  check_ok(brc_file_write_all(cache, "", 0));
  run_brc(&r, NULL,
          "tune probe-action --backend opencl --width 64 --actor-width 32 --batch 32 --seconds 0.2 --json");
  if (r.status) fail_msg("%s", r.err);
  err = tuned_run(fresh_run(), 2, "", NULL);
  expect_in(err, "tuning", false);
}

// A run that goes on takes products from the same providers, not from its first one and what stands in for that.
static void test_same_providers(void **state) {
  (void)state;
  if (!tuning_begin("0.1")) skip();
  setenv("BRC_EMULATE_MMA", "1", 1);  // the first in the table, and not for fp32
  static brc_train_config c;
  char run[4096], candidates[2][32][BRC_CHOICE_TEXT];
  size_t count[2];
  snprintf(run, sizeof run, "%s", fresh_run());
  tuned_run(run, 2, " --tuning off", NULL);
  for (int i = 0; i < 2; i++) {
    brc_device *d;
    configure(&c, "probe-action --backend opencl");
    if (i) check_ok(brc_run_read_config(run, &c));
    check_ok(brc_open_device(&c, NULL, &d));
    count[i] = d->backend->gemm_candidates(d, BRC_FP32, candidates[i], 32);
    brc_device_close(d);
  }
  unsetenv("BRC_EMULATE_MMA");
  assert_int_equal(count[0], count[1]);
  assert_true(count[0] > 2);
  for (size_t i = 0; i < count[0]; i++) assert_string_equal(candidates[0][i], candidates[1][i]);
  const char *err = going_on(run, 3);  // without those units: told
  expect_in(err, "with gemm tiled,native instead of mma,tiled,native: no longer equal", true);
}

// A run that diverges ends with the first op whose output was not finite and its last checkpoint, on every backend.
static void test_divergence(void **state) {
  (void)state;
  const char *names[4];
  size_t n = backends(names);
  static run_result r;
  for (size_t b = 0; b < n; b++) {
    run_brc(&r, NULL,
            "train probe-action --backend %s --log-std-min 90 --log-std-max 100 --start 10 --batch 8 --width 8 "
            "--actor-width 8 --steps 500 --quiet --run %s",
            names[b], fresh_run());
    assert_int_equal(r.status, 1);
    // Standard deviations of exp(90): log_prob is the first that overflows.
    if (!strstr(r.err, "the run diverged; first in op 'tanh_normal' (tanh_normal), output log_prob") ||
        !strstr(r.err, "task 'probe-action'; the checkpoint of step 0 is kept"))
      fail_msg("%s: %s", names[b], r.err);
  }
}

// probe-truncated, but the result of one call of its functions is `value`.
static struct {
  enum { REWARD, OBSERVATION, START, CRASH, OVERFLOW, HANG } what;
  double value;
  int call;
  _Atomic int calls;
} wrong;
static void overflow_stack(volatile int *deep) {
  volatile int here[256] = {0};
  if (deep[0] == 0) overflow_stack(here);
  here[1] = deep[0];
}
static brc_status wrong_step(brc_env *env, const float *action, double *obs, brc_env_result *result) {
  brc_status st = brc_env_find("probe-truncated")->step(env, action, obs, result);
  if (wrong.what == OVERFLOW) {  // of a worker's stack
    if (gettid() != getpid()) overflow_stack((volatile int[1]){0});
    usleep(1000);
  }
  if (wrong.what == START || ++wrong.calls != wrong.call) return st;
  if (wrong.what == CRASH) raise(SIGSEGV);
  while (wrong.what == HANG) pause();
  if (wrong.what > START) return st;
  *(wrong.what == REWARD ? &result->reward : obs) = wrong.value;
  return st;
}
static brc_status wrong_reset(brc_env *env, uint64_t seed, uint64_t episode, double *obs) {
  brc_status st = brc_env_find("probe-truncated")->reset(env, seed, episode, obs);
  if (wrong.what == START && ++wrong.calls == wrong.call) *obs = wrong.value;
  return st;
}

// A trainer of a task that goes wrong, after its first checkpoint.
static brc_trainer *wrong_trainer(const char *run, int threads) {
  static brc_train_config c;
  static brc_env_def def;
  char line[5000];
  snprintf(
      line, sizeof line,
      "probe-truncated%s --threads %d --backend host --width 8 --actor-width 8 --batch 8 --start 8 --steps 40 "
      "--eval-interval 0 "
      "--checkpoint-interval 10 --capacity 100 --quiet --run %s",
      threads > 1 ? " probe-wrap" : "", threads, run);
  configure(&c, line);
  def = *c.tasks[0];
  def.name = "test-wrong";
  def.step = wrong_step;
  def.reset = wrong_reset;
  for (size_t i = 0; i < c.task_count; i++) c.tasks[i] = &def;
  check_ok(brc_train_resolve(&c));
  wrong.calls = 0;
  brc_trainer *t;
  check_ok(brc_trainer_create(&t, &c));
  check_ok(brc_run_create(t, 0, NULL));
  check_ok(brc_trainer_init(t));
  check_ok(brc_checkpoint_save(t));
  return t;
}

// What an environment returns is looked at before anything learns from it; the last checkpoint stays and can be gone on with.
static void test_wrong_environment(void **state) {
  (void)state;
  static const struct {
    int what, call;
    double value;
    const char *says;
  } cases[] = {
      {REWARD, 17, NAN, "step 17: the reward of task 'test-wrong' is not finite"},
      {REWARD, 3, INFINITY, "step 3: the reward of task 'test-wrong' is not finite (inf)"},
      {REWARD, 17, 1e300, "step 17: the reward of task 'test-wrong' is not finite (inf)"},  // as a float
      {OBSERVATION, 17, NAN, "step 17: the observation of task 'test-wrong' is not finite (entry 0 is"},
      {START, 2, -INFINITY, "step 20: the observation of task 'test-wrong' is not finite (entry 0 is -inf)"},
  };
  for (size_t i = 0; i < BRC_COUNT(cases); i++) {
    char run[4096], kept[80];
    snprintf(run, sizeof run, "%s", fresh_run());
    wrong.what = cases[i].what, wrong.call = cases[i].call, wrong.value = cases[i].value;
    brc_trainer *t = wrong_trainer(run, 1);
    check_fails(BRC_E_VALUE, cases[i].says, brc_trainer_run(t, NULL));
    snprintf(kept, sizeof kept, "the checkpoint of step %d is kept", cases[i].call == 3 ? 0 : 10);
    if (!strstr(brc_error(), kept)) fail_msg("%s", brc_error());
    wrong.call = -1;
    check_ok(brc_checkpoint_load(t));
    assert_int_equal(t->loop.step, cases[i].call == 3 ? 0 : 10);
    check_ok(brc_trainer_run(t, NULL));
    assert_int_equal(t->loop.step, 40);
    brc_trainer_free(t);
  }
}

// An environment that crashes or hangs ends its process, so this program starts itself for it: `test_train --wrong WHAT RUN`.
static void give_up(const char *text) {
  fprintf(stderr, "brc: %s\n", text);
  _exit(1);
}

static int run_wrong(char **words) {
  wrong.what = (int)strtol(words[0], NULL, 10);
  wrong.call = 17;
  brc_env_watch_crashes();
  check_ok(brc_env_watch_start(wrong.what == HANG ? 0.05 : 60, give_up));
  brc_trainer *t = wrong_trainer(words[1], wrong.what == OVERFLOW ? 2 : 1);
  check_ok(brc_trainer_run(t, NULL));
  brc_env_watch_stop();
  brc_trainer_free(t);
  return 0;
}

static void test_crash_and_hang(void **state) {
  (void)state;
  static const struct {
    int what;
    const char *says[2];
  } cases[] = {
      {CRASH, {"brc: SIGSEGV in an environment: task 'test-wrong', episode 0, step 17\n"}},
      {OVERFLOW, {"brc: SIGSEGV in an environment: task 'test-wrong', episode "}},
      {HANG,
       {"brc: task 'test-wrong', episode 0, step 17 has been taking 0.0",
        "brc: task 'test-wrong', episode 0, step 17 has taken more than 0.5 s and is taken to hang"}},
  };
  char self[1024], run[1100], told[1200], line[5000], *text;
  const ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
  assert_true(n > 0);
  self[n] = 0;
  for (size_t i = 0; i < BRC_COUNT(cases); i++) {
    size_t bytes;
    snprintf(run, sizeof run, "%s", fresh_run());
    snprintf(told, sizeof told, "%s.stderr", run);
    // A sanitizer hands a crash on only where its options say so; elsewhere they are without effect.
    snprintf(line, sizeof line,
             "ASAN_OPTIONS=\"$ASAN_OPTIONS:handle_segv=1\" exec '%s' --wrong %d '%s' 2> '%s'", self,
             cases[i].what, run, told);
    const int status = system(line);
    check_ok(brc_file_read(told, &text, &bytes));
    for (int k = 0; k < 2 && cases[i].says[k]; k++)
      if (!strstr(text, cases[i].says[k])) fail_msg("case %zu: %s", i, text);
    free(text);
    // Under a sanitizer the signal ends in its report and a status.
    if (cases[i].what == HANG || !WIFSIGNALED(status)) assert_int_equal(WEXITSTATUS(status), 1);
    if (WIFSIGNALED(status)) assert_int_equal(WTERMSIG(status), SIGSEGV);
    assert_true(brc_checkpoint_exists(run));
  }
}

// Overwrite a parameter's first number.
static void poison(brc_agent *a, brc_group *g, const char *name, double value) {
  for (size_t i = 0; i < g->count; i++) {
    const brc_param *q = &g->params[i];
    brc_tensor t = {.name = name,
                    .members = 1,
                    .rows = 1,
                    .cols = 1,
                    .pitch = 1,
                    .offset = q->offset,
                    .storage = &g->storage[BRC_PARAM]};
    if (!strcmp(q->name, name)) {
      check_ok(brc_tensor_write(a->device, &t, BRC_F64, &value));
      return;
    }
  }
  fail_msg("no parameter '%s'", name);
}

// Parameters that are not finite never reach a checkpoint, and the search tells when they do not come from training.
static void test_wrong_parameters(void **state) {
  (void)state;
  char run[4096], path[4200], copy[4200], line[8600];
  snprintf(run, sizeof run, "%s", fresh_run());
  snprintf(path, sizeof path, "%s/checkpoint/state.safetensors", run);
  snprintf(copy, sizeof copy, "%s.copy", run);
  snprintf(line, sizeof line, "cp %s %s", path, copy);
  wrong.call = -1;
  brc_trainer *t = wrong_trainer(run, 1);
  t->config.steps = 20;
  check_ok(brc_trainer_run(t, NULL));
  assert_int_equal(system(line), 0);
  poison(t->agent, &t->agent->actor, "block0/dense0/kernel", NAN);
  check_fails(BRC_E_VALUE, "step 20: 'actor/block0/dense0/kernel' is not finite", brc_checkpoint_save(t));
  same_file(path, copy);
  // The actor acts on it.
  t->config.steps = 40;
  check_fails(BRC_E_VALUE, "step 21: the actor's action of task 'test-wrong' is not finite",
              brc_trainer_run(t, NULL));
  same_file(path, copy);
  check_ok(brc_checkpoint_load(t));
  poison(t->agent, &t->agent->critic, "output/kernel", INFINITY);
  check_fails(BRC_E_VALUE, "step 21, update 28: ", brc_trainer_run(t, NULL));
  if (!strstr(brc_error(), "the steps did not repeat themselves")) fail_msg("%s", brc_error());
  same_file(path, copy);
  check_ok(brc_trainer_run(t, NULL));  // from the checkpoint, which the search has loaded
  brc_trainer_free(t);
}

#ifdef BRC_HAVE_OPENCL
// Every element of every operand is some part's, and no part writes what another one touches.
static void check_parts(const brc_exec *x, size_t first, size_t end) {
  const brc_op *op = x->steps[first].op;
  brc_access a[BRC_MAX_IN + BRC_MAX_OUT], b[BRC_COUNT(a)];
  for (int i = 0; i < BRC_MAX_IN + BRC_MAX_OUT; i++) {
    if (!(i < BRC_MAX_IN ? op->in[i] : op->out[i - BRC_MAX_IN])) continue;
    const brc_tensor t = brc_op_operand_of(op, i, &(brc_op_part){0});
    const uint64_t elements = brc_tensor_elements(&t);
    char *seen = calloc(elements, 1);
    assert_non_null(seen);
    for (size_t s = first; s < end; s++) {
      const brc_tensor part = brc_op_operand_of(op, i, &x->steps[s].part);
      const uint64_t from = part.offset - t.offset, n = brc_tensor_elements(&part);
      assert_true(from + n <= elements);
      memset(seen + from, 1, n);
    }
    for (uint32_t e = 0; e < t.members; e++)
      for (uint32_t r = 0; r < t.rows; r++)
        for (uint32_t c = 0; c < t.cols; c++)
          if (!seen[e * t.stride + (uint64_t)r * t.pitch + c])
            fail_msg("op '%s', operand %d: no part has [%u, %u, %u]", op->label, i, e, r, c);
    free(seen);
  }
  if (op->kind == BRC_OP_dense_dw) return;  // cut by rows of its output, which a part names none of
  for (size_t s = first; s < end; s++)
    for (size_t q = first; q < s; q++) {
      const int n = brc_op_accesses_of(op, &x->steps[s].part, a);
      brc_op_accesses_of(op, &x->steps[q].part, b);
      for (int i = 0; i < n * n && !ocl_same_part(&x->steps[s], &x->steps[q]); i++)
        if (brc_access_conflict(&b[i / n], &a[i % n])) fail_msg("op '%s': its parts meet", op->label);
    }
}

// On a queue out of order, steps that touch the same elements wait for each other, at one remove or several.
static void check_order(const brc_exec *x) {
  const size_t n = x->step_count;
  bool *behind = calloc(n * n, 1);  // [i * n + j]: step i begins when step j is done
  assert_non_null(behind);
  size_t free_pairs = 0;
  for (size_t i = 0; i < n; i++) {
    const struct ocl_step_waits *w = &x->order.steps[i];
    for (uint32_t k = 0; k < w->count; k++) {
      const uint32_t j = x->order.waits[w->first + k];
      assert_true(j < i);
      behind[i * n + j] = true;
      for (size_t m = 0; m < j; m++) behind[i * n + m] |= behind[j * n + m];
    }
    for (size_t j = 0; j < i; j++) {
      brc_access a[BRC_MAX_IN + BRC_MAX_OUT], b[BRC_COUNT(a)];
      const int na = brc_op_accesses_of(x->steps[j].op, &x->steps[j].part, a),
                nb = brc_op_accesses_of(x->steps[i].op, &x->steps[i].part, b);
      bool meet = false;
      for (int k = 0; k < na * nb; k++) meet |= brc_access_conflict(&a[k / nb], &b[k % nb]);
      if (x->steps[i].op == x->steps[j].op) meet = ocl_same_part(&x->steps[i], &x->steps[j]);
      if (meet && !behind[i * n + j])
        fail_msg("'%s' does not wait for '%s'", x->steps[i].op->label, x->steps[j].op->label);
      free_pairs += !behind[i * n + j];
    }
  }
  assert_true(free_pairs > n);  // some do run side by side
  free(behind);
}

// What runs side by side on a CPU's cores.
static void test_parts(void **state) {
  (void)state;
  testing_device *d;
  size_t n = testing_devices(&d), found = 0;
  static const char *const shapes[] = {"--ensemble 2 --batch 150", "--ensemble 3 --batch 300"};
  setenv("BRC_CUT_OPS", "1", 1);
  for (size_t i = 0; i < n; i++)
    for (size_t k = 0; k < BRC_COUNT(shapes); k++) {
      static brc_train_config c;
      char line[200];
      brc_agent *a;
      if (strcmp(d[i].device->backend->name, "opencl") || !((ocl_device *)d[i].device)->shared) continue;
      snprintf(line, sizeof line, "probe-padding --width 133 --actor-width 20 --start 200 %s", shapes[k]);
      configure(&c, line);
      check_ok(brc_agent_create(&a, &c.agent, d[i].device, (brc_agent_flags){.by_shape = k == 0}));
      const brc_exec *x = a->update_exec;
      size_t cut = 0;
      for (size_t s = 0, end; s < x->step_count; s = end) {
        for (end = s + 1; end < x->step_count && x->steps[end].op == x->steps[s].op;) end++;
        cut += !ocl_same_part(&x->steps[s], &x->steps[end - 1]);
        check_parts(x, s, end);
      }
      assert_true(cut > x->program->op_count / 2);
      check_order(x);
      brc_agent_free(a);
      found++;
    }
  unsetenv("BRC_CUT_OPS");
  if (!found) testing_skip("ops in parts: no OpenCL device runs them side by side");
}
#endif

// Op by op the update has the same bits as where ops, or their members, run side by side; the first op with a number that is not finite is
// found, with its sample.
static void test_watched_update(void **state) {
  (void)state;
  testing_device *d;
  size_t n = testing_devices(&d);
  static brc_train_config c;
  configure(&c, "probe-padding --width 133 --ensemble 3 --actor-width 20 --batch 150 --start 200");
  setenv("BRC_CUT_OPS", "1", 1);
  for (size_t i = 0; i < n; i++) {
    if (d[i].provider > 0) continue;
    brc_agent *a[2];
    brc_batch b;
    double *kernel[2];
    uint64_t count;
    brc_not_finite first;
    for (int k = 0; k < 2; k++) {
      check_ok(brc_agent_create(&a[k], &c.agent, d[i].device, (brc_agent_flags){0}));
      check_ok(brc_agent_init(a[k]));
      if (k == 0) check_ok(brc_batch_create(a[0], (uint32_t)c.agent.batch, &b));
      for (uint64_t j = 0; j < b.elements; j++) b.block[j] = (float)((j * 2654435761u >> 7 & 0xff)) / 128 - 1;
      for (uint32_t j = 0; j < b.rows; j++) b.task[j] = (int32_t)(j % 2), b.mask[j] = 1;
      check_ok(brc_agent_write_batch(a[k], &b, false));
      check_ok(k ? brc_agent_update_watched(a[k], &b, &first) : brc_agent_update(a[k]));
      check_ok(brc_agent_wait(a[k]));
      check_ok(brc_agent_read(a[k], "critic/block1/dense1/kernel", NULL, &count));
      kernel[k] = malloc(count * sizeof(double));
      check_ok(brc_agent_read(a[k], "critic/block1/dense1/kernel", kernel[k], &count));
    }
    assert_string_equal(first.where, "");
    assert_memory_equal(kernel[0], kernel[1], count * sizeof(double));
    static const struct {
      const char *where;
      int task;
    } found[] = {{"(categorical_target), output target", 1}, {"op 'critic/block0/dense0/dense' (dense)", -1}};
    for (int k = 0; k < 2; k++) {
      if (k == 0) b.reward[7] = NAN;
      if (k == 1) poison(a[1], &a[1]->critic, "block0/dense0/kernel", NAN);
      check_ok(brc_agent_write_batch(a[k], &b, false));
      check_ok(brc_agent_update_watched(a[k], &b, &first));
      if (!strstr(first.where, found[k].where) || first.task != found[k].task)
        fail_msg("%s: '%s', task %d", d[i].label, first.where, first.task);
      b.reward[7] = 0;
    }
    for (int k = 0; k < 2; k++) free(kernel[k]), brc_agent_free(a[k]);
    brc_batch_free(&b);
  }
  unsetenv("BRC_CUT_OPS");
}

// A first save of rows after the ring went round twice and ended on its last slot: the file once lacked that slot.
static void test_rows_file_is_whole(void **state) {
  (void)state;
  char run[4096];
  snprintf(run, sizeof run, "%s", fresh_run());
  train_ok(
      "train probe-wrap --backend host --utd 0 --capacity 64 --start 100000 --steps 8319 --checkpoint-interval "
      "1000000 "
      "--eval-interval 0 --width 8 --actor-width 8 --batch 8 --quiet",
      run);
  resume_ok(run, "--steps 8400");
}

// Evaluating changes nothing: the same state file with and without it.
static void test_evaluation(void **state) {
  (void)state;
  char a[4096], b[4096], x[4200], y[4200];
  snprintf(a, sizeof a, "%s", fresh_run());
  snprintf(b, sizeof b, "%s", fresh_run());
  const char *never =
      "train probe-padding --backend host --width 16 --actor-width 16 --batch 16 --start 20 --steps 200 "
      "--quiet --eval-interval 0";
  const char *often =
      "train probe-padding --backend host --width 16 --actor-width 16 --batch 16 --start 20 --steps 200 "
      "--quiet --eval-interval 30 --eval-episodes 3";
  train_ok(never, a);
  train_ok(often, b);
  snprintf(x, sizeof x, "%s/checkpoint/state.safetensors", a);
  snprintf(y, sizeof y, "%s/checkpoint/state.safetensors", b);
  same_file(x, y);
}

// probe-wrap that succeeds in its second step, and in no other: an episode is successful if it gets there.
static brc_status succeed_second(brc_env *env, const float *action, double *obs, brc_env_result *result) {
  const bool second = env->steps == 1;
  brc_status st = brc_env_find("probe-wrap")->step(env, action, obs, result);
  result->success = second;
  return st;
}

// All episodes at once give what one after the other gives, each in an environment and with an actor of its own number, and
// every one counts once: probe-wrap's end by chance after 1 to 20 steps.
static void test_evaluation_counts(void **state) {
  (void)state;
  enum { EPISODES = 7, TASKS = 2, N = EPISODES * TASKS };
  static brc_train_config c;
  char line[1024];
  snprintf(
      line, sizeof line,
      "probe-wrap probe-padding-b --backend host --width 16 --actor-width 16 --batch 16 --start 20 --run %s",
      fresh_run());
  configure(&c, line);
  brc_trainer *t;
  check_ok(brc_trainer_create(&t, &c));
  check_ok(brc_trainer_init(t));
  brc_env_def succeeding = *c.tasks[0];
  succeeding.step = succeed_second;
  succeeding.success_score = 0;  // as in suites that count successes
  c.tasks[0] = &succeeding;
  brc_eval_result all[TASKS];
  check_ok(brc_evaluate(t->agent, c.tasks, c.task_count, EPISODES, 5, &t->assets, t->pool, NULL, all));
  const brc_env_def *defs[N];
  enum { OBS = 1, ACT = 3 };  // the largest of both tasks
  float obs[N * OBS], action[N * ACT], next[N * OBS];
  brc_env_result results[N];
  brc_env_pool *envs;
  brc_actor *actor;
  for (int i = 0; i < N; i++) defs[i] = c.tasks[i / EPISODES];
  check_ok(brc_env_pool_create(&envs, defs, N, 5, &t->assets, t->pool));
  assert_int_equal(brc_env_pool_obs_dim(envs), OBS);
  assert_int_equal(brc_env_pool_act_dim(envs), ACT);
  check_ok(brc_env_pool_reset(envs, obs));
  check_ok(brc_actor_create(&actor, t->agent, 1, BRC_ACT_MEAN, false));
  for (int task = 0; task < TASKS; task++) {
    double returns[EPISODES] = {0}, length = 0, mean = 0, variance = 0, successes = 0;
    for (int k = 0; k < EPISODES; k++) {
      int i = task * EPISODES + k;
      uint8_t skip[N];
      int32_t row = task;
      memset(skip, 1, sizeof skip);
      skip[i] = 0;
      double begun = length;
      for (bool going = true; going; length++) {
        check_ok(brc_actor_run(actor, BRC_F32, obs + OBS * i, &row, NULL, 0, action + ACT * i, NULL));
        check_ok(brc_env_pool_step(envs, action, next, results, skip));
        memcpy(obs + OBS * i, next + OBS * i, sizeof(float[OBS]));
        returns[k] += results[i].reward;
        going = !results[i].terminated && !results[i].truncated;
      }
      mean += returns[k] / EPISODES;
      successes += task == 0 && length - begun >= 2;
    }
    for (int k = 0; k < EPISODES; k++) variance += (returns[k] - mean) * (returns[k] - mean) / EPISODES;
    // 1e-5: products of 1 row and of 14 are summed in another order
    assert_true(fabs(all[task].return_mean - mean) < 1e-5 && fabs(all[task].length - length / EPISODES) < 1e-9);
    assert_true(fabs(all[task].return_std - sqrt(variance)) < 1e-5);
    assert_true(fabs(all[task].success - successes / EPISODES) < 1e-12);
    double score = task == 0 ? successes / EPISODES : mean / c.tasks[task]->success_score;
    assert_true(fabs(all[task].score - score) < 1e-5);
    if (task == 0) assert_true(successes > 0 && successes < EPISODES);
  }
  brc_actor_free(actor);
  brc_env_pool_destroy(envs);
  brc_trainer_free(t);
}

// With and without taps the update gives the same bits: keeping intermediate results changes nothing.
static void test_taps(void **state) {
  (void)state;
  testing_device *d;
  size_t n = testing_devices(&d);
  static brc_train_config c;
  configure(&c, "probe-padding --width 33 --actor-width 20 --batch 48 --start 100");
  for (size_t i = 0; i < n; i++) {
    double *final[2] = {NULL, NULL};
    uint64_t count = 0;
    for (int k = 0; k < 2; k++) {
      brc_agent *a;
      brc_batch b;
      check_ok(brc_agent_create(&a, &c.agent, d[i].device, (brc_agent_flags){.taps = k == 1}));
      check_ok(brc_agent_init(a));
      check_ok(brc_batch_create(a, 48, &b));
      for (uint64_t j = 0; j < b.elements; j++) b.block[j] = (float)((j * 2654435761u >> 7 & 0xff)) / 128 - 1;
      for (uint32_t j = 0; j < 48; j++) b.task[j] = (int32_t)(j % 2), b.mask[j] = 1;
      for (int u = 0; u < 3; u++) {
        check_ok(brc_agent_write_batch(a, &b, false));
        check_ok(brc_agent_update(a));
      }
      check_ok(brc_agent_wait(a));
      check_ok(brc_agent_read(a, "critic/block1/dense1/kernel", NULL, &count));
      final[k] = malloc(count * sizeof(double));
      check_ok(brc_agent_read(a, "critic/block1/dense1/kernel", final[k], &count));
      brc_batch_free(&b);
      brc_agent_free(a);
    }
    assert_memory_equal(final[0], final[1], count * sizeof(double));
    free(final[0]);
    free(final[1]);
  }
}

// All parameters of the critic and the actor after updates on batches of `replay`, of which some rows come in between.
static double *learned(const brc_agent_config *c, brc_device *d, brc_agent_flags flags, uint64_t *count) {
  enum { T = 2, CAPACITY = 50, SLACK = 9, FIRST = 40, ROUNDS = 6, ROWS = 11 };
  static const char *const names[] = {"critic/block1/dense1/kernel", "actor/mean/kernel", "critic/embedding"};
  const uint32_t o = (uint32_t)c->obs_dim, n = (uint32_t)c->action_dim;
  brc_replay *r;
  brc_agent *a;
  brc_batch b;
  brc_feed f;
  check_ok(brc_replay_create(&r, T, o, n, CAPACITY, SLACK));
  check_ok(brc_agent_create(&a, c, d, flags));
  check_ok(brc_agent_init(a));
  check_ok(brc_feed_init(&f, a, r, NULL));
  check_ok(brc_update_batch_create(a, &b));
  assert_true((b.index != NULL) == (flags.table_rows > 0));
  float *x = calloc(T * (2 * o + n + 2), sizeof *x), *next = x + T * o, *action = next + T * o,
        *reward = action + T * n, *mask = reward + T;
  uint32_t *pairs = calloc(2 * b.rows, sizeof *pairs), extra = 0, seen = 0;
  for (uint32_t i = 0; i < FIRST + ROUNDS * ROWS; i++) {
    uint8_t ended[T];
    for (uint32_t k = 0; k < T * (2 * o + n + 2); k++)
      x[k] = (float)(((i * 7919 + k) * 2654435761u >> 7 & 0xff)) / 128 - 1;
    for (uint32_t t = 0; t < T; t++) ended[t] = (i + t) % 5 == 0, mask[t] = 1;
    check_ok(brc_replay_insert(r, x, action, reward, mask, next, ended));
    if (i < FIRST || i % ROWS) continue;
    check_ok(brc_replay_sample(r, b.rows, 3, i, 0, pairs));
    check_ok(brc_feed_rows(&f));
    check_ok(brc_feed_batch(&f, pairs, &b));
    check_ok(brc_agent_write_batch(a, &b, true));
    check_ok(brc_agent_update(a));
    check_ok(brc_agent_wait(a));
    extra += b.extra_rows;
    seen++;
  }
  assert_true(seen == ROUNDS && (extra > 0) == (flags.table_rows > 0));
  uint64_t sizes[BRC_COUNT(names)];
  *count = 0;
  for (size_t k = 0; k < BRC_COUNT(names); k++) {
    check_ok(brc_agent_read(a, names[k], NULL, &sizes[k]));
    *count += sizes[k];
  }
  double *out = malloc(*count * sizeof *out), *at = out;
  for (size_t k = 0; k < BRC_COUNT(names); at += sizes[k++])
    check_ok(brc_agent_read(a, names[k], at, &sizes[k]));
  free(x);
  free(pairs);
  brc_batch_free(&b);
  brc_feed_free(&f);
  brc_agent_free(a);
  brc_replay_destroy(r);
  return out;
}

// Batches from a table on the device, in one part and in several, give the bits of whole batches; the ring wraps around.
static void test_table(void **state) {
  (void)state;
  testing_device *d;
  const size_t n = testing_devices(&d);
  static brc_train_config c;
  configure(&c, "probe-padding --width 33 --actor-width 20 --batch 48 --start 100");
  const uint64_t rows = 2 * 59;
  for (size_t i = 0; i < n; i++) {
    if (d[i].provider > 0) continue;
    uint64_t count, same;
    double *want = learned(&c.agent, d[i].device, (brc_agent_flags){0}, &count);
    static const uint64_t parts[] = {0, 50, 17};
    for (size_t k = 0; k < BRC_COUNT(parts); k++) {
      double *got =
          learned(&c.agent, d[i].device, (brc_agent_flags){.table_rows = rows, .table_part = parts[k]}, &same);
      assert_int_equal(same, count);
      assert_memory_equal(got, want, count * sizeof *got);
      free(got);
    }
    free(want);
  }
  brc_agent *a;
  check_fails(
      BRC_E_UNSUPPORTED, "118 rows in 24 buffers",
      brc_agent_create(&a, &c.agent, d[0].device, (brc_agent_flags){.table_rows = rows, .table_part = 5}));
}

// A run's bits do not depend on where its replay lies, also not when it goes on elsewhere; what does not fit is refused.
static void test_replay_place(void **state) {
  (void)state;
  const char *names[4];
  const size_t n = backends(names);
  static run_result r;
  for (size_t i = 0; i < n; i++) {
    char run[2][4096], line[9000];
    const char *places[] = {"host", "device"};
    for (int k = 0; k < 2; k++) {
      snprintf(run[k], sizeof run[k], "%s", fresh_run());
      for (int steps = 120; steps <= 180; steps += 60) {
        // The other one's second half is where the first one's first half was.
        const char *place = places[steps == 120 ? k : 1 - k];
        if (steps == 120)
          run_brc(
              &r, NULL,
              "train probe-wrap probe-padding --backend %s --width 16 --actor-width 8 --batch 24 --start 40 "
              "--capacity 64 --eval-interval 150 --eval-episodes 1 --steps 120 --replay %s --run %s --quiet",
              names[i], place, run[k]);
        else
          run_brc(&r, NULL, "train --resume %s --steps 180 --replay %s --quiet", run[k], place);
        if (r.status) fail_msg("%s: %s", names[i], r.err);
      }
    }
    static const char *const files[] = {"checkpoint/state.safetensors", "checkpoint/replay.bin"};
    for (size_t k = 0; k < BRC_COUNT(files); k++) {
      snprintf(line, sizeof line, "%s/%s", run[1], files[k]);
      char first[4300];
      snprintf(first, sizeof first, "%s/%s", run[0], files[k]);
      same_file(first, line);
    }
  }
  run_brc(&r, NULL,
          "train probe-wrap probe-padding --steps 2000000000 --capacity 2000000000 --replay device --dry-run "
          "--run %s",
          fresh_run());
  assert_true(r.status != 0);
  expect_in(r.err, "option --replay: ", true);
}

// An update's gradient of the middle of the critic, as a device computes it in some precision.
static double *gradient_in(brc_device *d, const brc_agent_config *c, brc_precision precision, uint64_t *count) {
  const char *name = "grad/critic/block0/dense1/kernel";
  brc_agent *a;
  brc_batch b;
  check_ok(brc_agent_create(&a, c, d, (brc_agent_flags){.precision = precision}));
  check_ok(brc_agent_init(a));
  check_ok(brc_batch_create(a, (uint32_t)c->batch, &b));
  for (uint64_t j = 0; j < b.elements; j++) b.block[j] = (float)((j * 2654435761u >> 7 & 0xff)) / 128 - 1;
  for (uint32_t j = 0; j < b.rows; j++) {
    b.task[j] = (int32_t)(j % 2), b.mask[j] = 1;
    if (b.reward64) b.reward64[j] = b.reward[j];
  }
  check_ok(brc_agent_write_batch(a, &b, false));
  check_ok(brc_agent_update(a));
  check_ok(brc_agent_read(a, name, NULL, count));
  double *out = malloc(*count * sizeof *out);
  check_ok(brc_agent_read(a, name, out, count));
  brc_batch_free(&b);
  brc_agent_free(a);
  return out;
}

// A whole update with products below fp32 agrees with the oracle's in the same precision better than with exact products: the option
// has an effect, and the right one. Not to float32's accuracy, as an activation near a tie may be rounded either way.
static void test_precisions(void **state) {
  (void)state;
  static const double bounds[BRC_PRECISION_COUNT] = {[BRC_TF32] = 2e-4, [BRC_BF16] = 1e-3, [BRC_FP16] = 2e-4};
  testing_device *d;
  const size_t n = testing_devices(&d);
  static brc_train_config c;
  configure(&c, "probe-padding --width 33 --actor-width 20 --batch 48 --start 100");
  uint64_t count;
  double *exact = gradient_in(testing_oracle()->device, &c.agent, BRC_FP32, &count);
  for (int p = BRC_TF32; p < BRC_PRECISION_COUNT; p++) {
    double *want = gradient_in(testing_oracle()->device, &c.agent, (brc_precision)p, &count);
    const double effect = testing_compare(want, exact, count, 0).rms;
    printf("  %s changes a gradient by %.1e\n", brc_precision_names[p], effect);
    assert_true(effect > 2 * bounds[p]);
    for (size_t i = 0; i < n; i++) {
      if (!(d[i].device->info.precisions >> p & 1)) continue;
      double *got = gradient_in(d[i].device, &c.agent, (brc_precision)p, &count);
      const double error = testing_compare(got, want, count, 0).rms;
      printf("  %s in %s: %.1e (bound %.0e)\n", d[i].label, brc_precision_names[p], error, bounds[p]);
      assert_true(error < bounds[p]);
      free(got);
    }
    free(want);
  }
  free(exact);
}

// What is allocated on a device, counted where it is asked for: buffers, and the arenas of compiled programs.
static brc_backend counting;
static uint64_t counted;
static const brc_backend *counted_backend;
static brc_status count_alloc(brc_device *d, const char *name, uint64_t elements, brc_buffer **out) {
  counted += elements * 4;
  return counted_backend->alloc(d, name, elements, out);
}
static brc_status count_compile(brc_device *d, const brc_program *p, brc_exec **out) {
  counted += p->arena_elements * 4;
  return counted_backend->compile(d, p, out);
}

// The memory that --dry-run predicts is what a run's networks then ask the device for, to the byte.
static void test_memory_plan(void **state) {
  (void)state;
  static const char *const lines[] = {
      "probe-padding --width 33 --actor-width 20 --batch 48 --start 100 --eval-episodes 3",
      "probe-action --width 64 --ensemble 3 --depth 1 --batch 16 --start 100 --normalizer paper",
      "probe-action --width 16 --depth 32 --actor-width 8 --actor-depth 32 --batch 16 --start 100"};
  static brc_train_config c;
  for (size_t i = 0; i < BRC_COUNT(lines); i++) {
    configure(&c, lines[i]);
    const uint32_t tasks = (uint32_t)c.task_count, eval = tasks * (uint32_t)c.eval_episodes;
    const bool paper = !strcmp(c.normalizer, "paper");
    const brc_agent_flags flags = {
        .taps = paper, .by_shape = i == 2, .table_rows = i ? 1000 : 0, .table_part = 300};
    brc_agent_memory m;
    check_ok(brc_agent_memory_of(&c.agent, flags, tasks, paper, eval, &m));
    brc_device *d;
    check_ok(brc_device_open(&d, "host", 0, NULL));
    counted_backend = d->backend;
    counting = *d->backend;
    counting.alloc = count_alloc;
    counting.compile = count_compile;
    d->backend = &counting;
    counted = 0;
    brc_agent *a;
    brc_actor *actors[3] = {NULL, NULL, NULL};
    brc_batch b;
    double metrics[BRC_METRIC_COUNT];
    check_ok(brc_agent_create(&a, &c.agent, d, flags));
    check_ok(brc_actor_create(&actors[0], a, tasks, BRC_ACT_SAMPLE, false));
    if (paper) check_ok(brc_actor_create(&actors[1], a, tasks, BRC_ACT_SAMPLE, true));
    check_ok(brc_actor_create(&actors[2], a, eval, BRC_ACT_MEAN, false));
    check_ok(brc_batch_create(a, BRC_INSPECT_ROWS, &b));
    check_ok(brc_agent_inspect(a, &b, 0, metrics));
    if (counted != brc_agent_memory_total(&m))
      fail_msg("%s: predicted %llu bytes, allocated %llu", lines[i],
               (unsigned long long)brc_agent_memory_total(&m), (unsigned long long)counted);
    assert_true(counted > 100000);
    brc_batch_free(&b);
    for (int k = 0; k < 3; k++) brc_actor_free(actors[k]);
    brc_agent_free(a);
    d->backend = counted_backend;
    brc_device_close(d);
  }
}

// A fresh network: K'K = gain² I within 1e-5, members independent, embedding N(0, 1/32).
static void test_init(void **state) {
  (void)state;
  testing_device *d;
  assert_true(testing_devices(&d) > 0);
  static brc_train_config c;
  configure(&c, "probe-embedding --width 160 --actor-width 96 --batch 32 --start 100");
  brc_agent *a;
  check_ok(brc_agent_create(&a, &c.agent, d[0].device, (brc_agent_flags){0}));
  check_ok(brc_agent_init(a));
  static const struct {
    const char *name;
    uint32_t members, in, out;
    double gain2;
  } kernels[] = {
      {"critic/input/kernel", 2, 34, 160, 2},         {"critic/block1/dense0/kernel", 2, 160, 160, 2},
      {"critic/output/kernel", 2, 160, 101, 2},       {"actor/input/kernel", 1, 33, 96, 2},
      {"actor/log_std/kernel", 1, 96, 1, 1},          {"actor/mean/kernel", 1, 96, 1, 2},
      {"target/block0/dense1/kernel", 2, 160, 160, 2}};
  for (size_t i = 0; i < BRC_COUNT(kernels); i++) {
    uint64_t n;
    check_ok(brc_agent_read(a, kernels[i].name, NULL, &n));
    uint32_t in = kernels[i].in, out = kernels[i].out;
    assert_int_equal(n, (uint64_t)kernels[i].members * in * out);
    double *k = malloc(n * sizeof *k), worst = 0;
    check_ok(brc_agent_read(a, kernels[i].name, k, &n));
    for (uint32_t e = 0; e < kernels[i].members; e++) {
      const double *m = k + (size_t)e * in * out;
      uint32_t small = in < out ? in : out;
      for (uint32_t r = 0; r < small; r++)
        for (uint32_t s = 0; s < small; s++) {
          double dot = 0;
          if (in < out)
            for (uint32_t j = 0; j < out; j++) dot += m[r * out + j] * m[s * out + j];
          else
            for (uint32_t j = 0; j < in; j++) dot += m[j * out + r] * m[j * out + s];
          worst = fmax(worst, fabs(dot - (r == s ? kernels[i].gain2 : 0)));
        }
    }
    if (kernels[i].members > 1) assert_memory_not_equal(k, k + (size_t)in * out, 64);
    free(k);
    if (!(worst < 1e-5)) fail_msg("%s is %g away from orthogonal", kernels[i].name, worst);
  }
  double emb[64], sum = 0, squares = 0;
  uint64_t n;
  check_ok(brc_agent_read(a, "critic/embedding", emb, &n));
  assert_int_equal(n, 64);
  for (int i = 0; i < 64; i++) sum += emb[i] / 64, squares += emb[i] * emb[i] / 64;
  assert_true(fabs(sum) < 0.1 && squares > 0.01 && squares < 0.08);  // 1/32 = 0.031
  brc_agent_free(a);
}

int main(int argc, char **argv) {
  if (argc == 4 && !strcmp(argv[1], "--wrong")) return run_wrong(argv + 2);
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_init),
                                     cmocka_unit_test(test_taps),
                                     cmocka_unit_test(test_table),
                                     cmocka_unit_test(test_replay_place),
                                     cmocka_unit_test(test_memory_plan),
                                     cmocka_unit_test(test_precisions),
                                     cmocka_unit_test(test_probes),
                                     cmocka_unit_test(test_stored_actions),
                                     cmocka_unit_test(test_threads),
                                     cmocka_unit_test(test_overlap_order),
                                     cmocka_unit_test(test_stop),
                                     cmocka_unit_test(test_sbatch),
                                     cmocka_unit_test(test_docs),
                                     cmocka_unit_test(test_other_backend),
                                     cmocka_unit_test(test_resume),
                                     cmocka_unit_test(test_evaluation_cut_short),
                                     cmocka_unit_test_teardown(test_tuning, tuning_end),
                                     cmocka_unit_test_teardown(test_tuning_cache, tuning_end),
                                     cmocka_unit_test_teardown(test_same_providers, tuning_end),
                                     cmocka_unit_test(test_divergence),
                                     cmocka_unit_test(test_wrong_environment),
                                     cmocka_unit_test(test_crash_and_hang),
                                     cmocka_unit_test(test_wrong_parameters),
                                     cmocka_unit_test(test_watched_update),
#ifdef BRC_HAVE_OPENCL
                                     cmocka_unit_test(test_parts),
#endif
                                     cmocka_unit_test(test_rows_file_is_whole),
                                     cmocka_unit_test(test_evaluation),
                                     cmocka_unit_test(test_evaluation_counts)};
  setenv("BRC_EMULATE_PRECISION", "1", 0);  // where a device has no matrix units for them
  return testing_finish(cmocka_run_group_tests_name("train", tests, NULL, NULL));
}
