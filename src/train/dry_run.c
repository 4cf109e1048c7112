#include "train/dry_run.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

static const double most_s = 2;  // measuring one thing takes about this long at most
enum { MOST_STEPS = 50 };

//------------------------ 1. What there is ----------------------------------------
static uint64_t resident_bytes(void) {
  unsigned long long pages = 0;
  FILE *f = fopen("/proc/self/statm", "r");
  if (f && fscanf(f, "%*u %llu", &pages) != 1) pages = 0;
  if (f) fclose(f);
  return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

// A number behind `key` in a file of lines; `otherwise` where there is none ("max").
static uint64_t number_in(const char *path, const char *key, uint64_t otherwise) {
  char line[256];
  unsigned long long x;
  uint64_t found = otherwise;
  FILE *f = fopen(path, "r");
  while (f && fgets(line, sizeof line, f))
    if (!strncmp(line, key, strlen(key)) && sscanf(line + strlen(key), "%llu", &x) == 1) {
      found = x;
      break;
    }
  if (f) fclose(f);
  return found;
}

static uint64_t host_memory(void) {
  const uint64_t none = UINT64_MAX;
  uint64_t free_bytes = number_in("/proc/meminfo", "MemAvailable:", none >> 10) * 1024;
  const uint64_t limit = number_in("/sys/fs/cgroup/memory.max", "", none),
                 used = number_in("/sys/fs/cgroup/memory.current", "", 0);
  if (limit != none && (limit > used ? limit - used : 0) < free_bytes)
    free_bytes = limit > used ? limit - used : 0;
  return free_bytes + resident_bytes();  // what we hold already counts in the need
}

// Of the file system of the nearest folder above `path` that exists.
static uint64_t disk_space(const char *path) {
  char at[BRC_TEXT];
  struct statvfs s;
  snprintf(at, sizeof at, "%s", path);
  while (statvfs(at, &s)) {
    char *slash = strrchr(at, '/');
    if (!slash || slash == at) {
      if (statvfs(slash ? "/" : ".", &s)) return UINT64_MAX;
      break;
    }
    *slash = 0;
  }
  return (uint64_t)s.f_bavail * s.f_frsize;
}

//------------------------ 2. What is needed ---------------------------------------
static uint64_t evaluations(const brc_train_config *c) {
  return c->eval_interval ? (uint64_t)(c->steps / c->eval_interval) : 0;
}

// Rows of both logs as text and as events: a number takes about 10 characters there, its name and 9 bytes here.
static uint64_t log_bytes(const brc_train_config *c) {
  enum { NUMBER = 11, EVENT = 9, RECORD = 40, TASK_COLUMNS = 10, COLUMN_NAME = 13, TRAIN_COLUMNS = 21 };
  uint64_t row = 6 * NUMBER + RECORD;
  for (size_t i = 0; i < c->task_count; i++)
    row += TASK_COLUMNS * (NUMBER + EVENT + COLUMN_NAME + strlen(c->tasks[i]->name));
  const uint64_t train = TRAIN_COLUMNS * (NUMBER + EVENT + COLUMN_NAME) + RECORD;
  return evaluations(c) * row + (uint64_t)(c->steps / c->log_interval) * train;
}

static brc_status plan(brc_dry_run *r, const brc_train_config *c) {
  const brc_agent_config *a = &c->agent;
  const bool paper = !strcmp(c->normalizer, "paper");
  const uint32_t tasks = (uint32_t)a->tasks, slack = brc_train_replay_slack(c);
  brc_agent_flags flags = {.taps = paper, .precision = brc_train_precision(c)};
  brc_status st = brc_train_fit_device(c, &r->device, &flags);
  if (!st)
    st = brc_agent_memory_of(a, flags, tasks, paper, evaluations(c) ? tasks * (uint32_t)c->eval_episodes : 0,
                             &r->agent);
  // The ring fills with the steps: until then only its first rows are touched.
  uint64_t ring = (uint64_t)c->capacity + slack, rows = (uint64_t)c->steps < ring ? (uint64_t)c->steps : ring;
  uint64_t memory = 0, file = 0;
  if (!st)
    st = brc_replay_bytes(tasks, (uint32_t)a->obs_dim, (uint32_t)a->action_dim, (uint32_t)c->capacity, slack,
                          &memory, &file);
  if (st) return st;
  const double share = (double)rows / (double)ring;
  r->replay = (uint64_t)((double)memory * share);
  r->rows_file = 4096 + (uint64_t)((double)(file - 4096) * share);
  r->device_total = brc_agent_memory_total(&r->agent);
  static const int saved[] = {BRC_PARAM, BRC_M, BRC_V, BRC_TARGET};
  for (size_t g = 0; g < BRC_COUNT(r->agent.groups); g++)
    for (size_t k = 0; k < BRC_COUNT(saved); k++)
      if (r->agent.groups[g].bytes[saved[k]])
        r->state_file +=
            r->agent.groups[g].parameters * 4 + r->agent.groups[g].tensors * 110;  // with a line in the header
  r->state_file += (uint64_t)tasks * ((uint64_t)a->obs_dim * 8 + 400) + 2048;
  r->logs = log_bytes(c);
  return BRC_OK;
}

//------------------------ 3. Environments -----------------------------------------
typedef struct env_rate {
  uint64_t bytes, state_bytes;
  double step_s;
} env_rate;

// Make environments, step them a little with actions of zero, and look what they took.
static brc_status try_envs(const brc_train_config *c, size_t copies, brc_pool *pool, env_rate *out) {
  const brc_agent_config *a = &c->agent;
  const size_t n = c->task_count * copies;
  const brc_assets assets = {*c->assets ? c->assets : NULL};
  const uint64_t before = resident_bytes();
  brc_env_pool *envs = NULL;
  const brc_env_def **defs = calloc(n, sizeof *defs);
  float *obs = calloc(n * (size_t)a->obs_dim, 4), *action = calloc(n * (size_t)a->action_dim, 4);
  brc_env_result *results = calloc(n, sizeof *results);
  brc_status st = defs && obs && action && results
                      ? BRC_OK
                      : brc_fail(BRC_E_NOMEM, "out of memory for %zu environments", n);
  for (size_t i = 0; !st && i < n; i++) defs[i] = c->tasks[i / copies];
  if (!st) st = brc_env_pool_create(&envs, defs, n, a->seed, &assets, pool);
  if (!st) st = brc_env_pool_reset(envs, obs);
  double least = INFINITY, end = brc_now_s() + most_s;
  for (int k = 0; !st && k < MOST_STEPS && (k < 2 || brc_now_s() < end); k++) {
    const double start = brc_now_s();
    st = brc_env_pool_step(envs, action, obs, results, NULL);
    least = fmin(least, brc_now_s() - start);
    for (size_t i = 0; !st && i < n; i++)
      if (results[i].terminated || results[i].truncated)
        st = brc_env_pool_reset_one(envs, i, obs + i * (size_t)a->obs_dim);
  }
  const uint64_t after = resident_bytes();
  *out = (env_rate){.bytes = after > before ? after - before : 0,
                    .state_bytes = st ? 0 : brc_env_pool_state_bytes(envs),
                    .step_s = least};
  brc_env_pool_destroy(envs);
  free(defs);
  free(obs);
  free(action);
  free(results);
  return st;
}

//------------------------ 4. Does it fit ------------------------------------------
static double gb(uint64_t bytes) { return (double)bytes * 1e-9; }

static brc_status fits(const brc_dry_run *r) {
  const brc_agent_memory *m = &r->agent;
  const uint64_t passing = m->activations + m->evaluation + m->batch;
  const bool wide = passing < r->device_total / 2;
  if (r->device_total > r->device_has)
    return brc_fail(BRC_E_NOMEM, "the networks need %.2f GB on %s, which has %.2f GB: lower %s",
                    gb(r->device_total), r->device.name, gb(r->device_has),
                    wide ? "--width (or --ensemble, --depth)" : "--batch (or --width)");
  if (r->host_total > r->host_has)
    return brc_fail(BRC_E_NOMEM, "the run needs %.2f GB of memory, and %.2f GB are free: lower %s",
                    gb(r->host_total), gb(r->host_has),
                    r->replay > r->host_total / 2 ? "--capacity (the replay)"
                    : r->device.is_cpu && r->device_total > r->host_total / 2
                        ? wide ? "--width (the networks)" : "--batch (the activations)"
                        : "--eval-episodes or the number of tasks (the environments)");
  if (r->disk_total > r->disk_has)
    return brc_fail(
        BRC_E_NOMEM,
        "the run folder needs %.2f GB of disk, and %.2f GB are free: lower %s, or give another --run",
        gb(r->disk_total), gb(r->disk_has),
        r->rows_file > r->state_file ? "--capacity (the replay's rows)" : "--width (the networks)");
  return BRC_OK;
}

//------------------------ 5. Rates ------------------------------------------------
// The run itself, with few rows: random steps until a batch is there, then steps with updates, by the loop's own clocks.
static brc_status time_loop(brc_dry_run *r, const brc_train_config *c, brc_trainer *t) {
  const uint64_t start = (uint64_t)t->config.start;
  brc_status st = brc_trainer_init(t);
  while (!st && t->loop.step < start)
    st = brc_loop_step(&t->loop);  // the first update with it, which may still compile
  double before[4], end = brc_now_s() + most_s;
  const double env_before = t->loop.phase_s[BRC_PHASE_ENV];
  memcpy(before, t->loop.phase_s, sizeof before);
  uint64_t steps = 0;
  for (; !st && steps < MOST_STEPS && (steps < 2 || brc_now_s() < end); steps++) st = brc_loop_step(&t->loop);
  if (st) return st;
  const double *s = t->loop.phase_s, n = (double)steps;
  r->act_s = (s[BRC_PHASE_ACT] - before[BRC_PHASE_ACT]) / n;
  r->data_s = (s[BRC_PHASE_DATA] - before[BRC_PHASE_DATA]) / n;
  r->update_s = (s[BRC_PHASE_UPDATE] - before[BRC_PHASE_UPDATE]) / n;
  r->env_s = (s[BRC_PHASE_ENV] - env_before) / n;
  (void)c;
  return BRC_OK;
}

// Acting for all episodes of an evaluation at once, and inspecting every task for its row of the log.
static brc_status time_evaluation(brc_dry_run *r, const brc_train_config *c, brc_trainer *t,
                                  double env_step_s) {
  const uint32_t rows = (uint32_t)(c->task_count * (size_t)c->eval_episodes);
  double longest = 0, mean = 0, act_s = INFINITY, inspect_s = INFINITY, metrics[BRC_METRIC_COUNT];
  for (size_t i = 0; i < c->task_count; i++) {
    const double steps = c->tasks[i]->max_steps ? c->tasks[i]->max_steps : 1000;  // without a limit: a guess
    longest = fmax(longest, steps);
    mean += steps / (double)c->task_count;
  }
  brc_actor *actor = NULL;
  brc_batch b = {0};
  float *obs = calloc((size_t)rows * (size_t)c->agent.obs_dim, 4),
        *action = calloc((size_t)rows * (size_t)c->agent.action_dim, 4);
  int32_t *task = calloc(rows, sizeof *task);
  brc_status st = obs && action && task ? brc_actor_create(&actor, t->agent, rows, BRC_ACT_MEAN, false)
                                        : brc_fail(BRC_E_NOMEM, "out of memory for %u episodes", rows);
  if (!st) st = brc_batch_create(t->agent, BRC_INSPECT_ROWS, &b);
  for (int k = 0; !st && k < 3; k++) {
    double start = brc_now_s();
    st = brc_actor_run(actor, BRC_F32, obs, task, NULL, 0, action, NULL);
    act_s = fmin(act_s, brc_now_s() - start);
    start = brc_now_s();
    if (!st) st = brc_agent_inspect(t->agent, &b, (uint64_t)k, metrics);
    inspect_s = fmin(inspect_s, brc_now_s() - start);
  }
  r->evaluation_s = longest * act_s + mean * env_step_s + (double)c->task_count * inspect_s;
  brc_actor_free(actor);
  brc_batch_free(&b);
  free(obs);
  free(action);
  free(task);
  return st;
}

static brc_status time_all(brc_dry_run *r, const brc_train_config *c, const env_rate *eval) {
  static brc_train_config trial;
  trial = *c;
  const int64_t rows = c->agent.batch / c->agent.tasks + 1;
  if (trial.start > rows) trial.start = rows;
  if (trial.capacity > rows + 2 * MOST_STEPS) trial.capacity = rows + 2 * MOST_STEPS;
  if (trial.steps < rows + 2 * MOST_STEPS)
    trial.steps = rows + 2 * MOST_STEPS;  // a table has slots for as many
  brc_trainer *t;
  brc_status st = brc_trainer_create(&t, &trial);
  if (st) return st;
  st = time_loop(r, c, t);
  r->evaluation_s = 0;
  if (!st && evaluations(c)) st = time_evaluation(r, c, t, eval->step_s);
  r->threads = brc_pool_threads(t->pool);
  brc_trainer_free(t);
  const double steps = (double)c->steps, learning = fmax(0, steps - (double)c->start + 1);
  r->total_s = steps * r->env_s + learning * (r->act_s + r->data_s + r->update_s) +
               (double)evaluations(c) * r->evaluation_s;
  return st;
}

brc_status brc_dry_run_measure(brc_dry_run *r, const brc_train_config *c) {
  *r = (brc_dry_run){
      .act_s = NAN, .env_s = NAN, .data_s = NAN, .update_s = NAN, .evaluation_s = NAN, .total_s = NAN};
  brc_pool *pool = NULL;
  brc_device *device = NULL;
  env_rate train = {0}, eval = {0};
  const uint64_t began = resident_bytes();
  brc_status st = brc_pool_create(&pool, (int)c->threads);
  if (!st) st = brc_open_device(c, pool, &device);
  if (!st) {
    r->device = device->info;
    memcpy(r->why, device->why, sizeof r->why);
    st = plan(r, c);
  }
  brc_device_close(device);
  const uint64_t opened = resident_bytes();
  if (!st) st = try_envs(c, 1, pool, &train);
  if (!st && evaluations(c)) st = try_envs(c, (size_t)c->eval_episodes, pool, &eval);
  brc_pool_destroy(pool);
  if (st) return st;
  r->environments = train.bytes;
  r->evaluation = eval.bytes;
  r->state_file += train.state_bytes;
  r->saving = r->state_file;
  r->device_has = r->device.memory_bytes;
  r->host_has = host_memory();
  // The program and the driver stay what they are now; the state's copy and the evaluation do not meet.
  const uint64_t passing = r->saving > r->evaluation ? r->saving : r->evaluation;
  r->host_total = (opened > began ? opened : began) + r->replay + r->environments + passing +
                  (r->device.is_cpu ? r->device_total : 0);
  r->disk_has = disk_space(c->run);
  r->disk_total = 2 * r->state_file + r->rows_file + r->logs;
  st = fits(r);
  return st ? st : time_all(r, c, &eval);
}
