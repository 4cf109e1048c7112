#include "train/train.h"
#include "backends/grant.h"
#include "base/file.h"
#include "base/philox.h"
#include "train/progress.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

//------------------------ 1. Options --------------------------------------------
#define X(type_, field_, name_, lo_, hi_, default_, help_) \
  {name_, BRC_OPT_##type_, offsetof(brc_train_config, field_), lo_, hi_, default_, NULL, help_},
#define TEXT(name, field, fallback, choices, help) \
  { name, BRC_OPT_TEXT, offsetof(brc_train_config, field), 0, 0, fallback, choices, help }
const brc_option brc_train_options[] = {
    BRC_TRAIN_OPTIONS(X) TEXT("normalizer", normalizer, "published", "published|paper",
                              "reward normaliser's bootstrap and entropy term"),
    TEXT("tuning", tuning, "auto", NULL,
         "who computes which product: auto, measured once on a GPU and cached; off: a built-in table; or a "
         "file of brc tune"),
    TEXT("replay", replay, "host", "auto|host|device",
         "where updates take observations and actions from; auto: a GPU with room for them; the same bits"),
    TEXT("run", run, "", NULL, "run folder; default runs/TASKS-sSEED"),
    TEXT("assets", assets, "", NULL, "folder with the environments' files, searched first"),
    {"overlap", BRC_OPT_FLAG, offsetof(brc_train_config, overlap), 0, 0, "false", NULL,
     "step environments while the device updates: actions lag one step's updates behind"},
    {"quiet", BRC_OPT_FLAG, offsetof(brc_train_config, quiet), 0, 0, "false", NULL, "no progress line"},
    {"json", BRC_OPT_FLAG, offsetof(brc_train_config, json), 0, 0, "false", NULL,
     "one JSON object on standard output, nothing else there"}};
const size_t brc_train_option_count = BRC_COUNT(brc_train_options);
const brc_option brc_device_option_rows[] = {
    TEXT("backend", backend, "auto", "auto|host|opencl|vulkan",
         "where the networks run; auto: a GPU if there is one, else host"),
    TEXT("device", device, "auto", NULL,
         "device: number, PCI address or UUID (brc devices); auto: a GPU that the scheduler granted"),
    TEXT("precision", precision, "fp32", "fp32|tf32|bf16|fp16", "inputs of matrix products"),
    TEXT("gemm", gemm, "", NULL, "force this GEMM provider (brc bench gemm shows them)"),
    BRC_DEVICE_OPTIONS(X)};
const size_t brc_device_option_count = BRC_COUNT(brc_device_option_rows);
#undef TEXT
#undef X

brc_option_set brc_train_option_set(brc_train_config *c) {
  return (brc_option_set){.tables = {{brc_train_options, brc_train_option_count, c, "Training"},
                                     {brc_agent_options, brc_agent_option_count, &c->agent, "BRC"},
                                     {brc_device_option_rows, brc_device_option_count, c, "Device"}},
                          .count = 3};
}

brc_precision brc_train_precision(const brc_train_config *c) {
  brc_precision p = BRC_FP32;
  for (int i = 0; i < BRC_PRECISION_COUNT; i++)
    if (!strcmp(c->precision, brc_precision_names[i])) p = (brc_precision)i;
  return p;
}

static brc_status check_precision(const brc_device *d, brc_precision precision) {
  if (d->info.precisions >> precision & 1) return BRC_OK;
  char have[64] = "";
  for (int i = 0; i < BRC_PRECISION_COUNT; i++)
    if (d->info.precisions >> i & 1)
      snprintf(have + strlen(have), sizeof have - strlen(have), "%s%s", *have ? ", " : "",
               brc_precision_names[i]);
  return brc_fail(BRC_E_UNSUPPORTED,
                  "option --precision: device %d of backend %s (%s) has no products in %s%s; it offers %s%s%s",
                  d->info.index, d->info.backend, d->info.name, brc_precision_names[precision],
                  precision == BRC_TF32 && !strcmp(d->info.backend, "vulkan") ? ", nor has Vulkan" : "", have,
                  *d->info.note ? "; " : "", d->info.note);
}

brc_status brc_open_device(const brc_train_config *c, brc_pool *pool, brc_device **out) {
  *out = NULL;
  brc_device_options o = {.threads = (int)c->threads,
                          .gemm = *c->gemm ? c->gemm : NULL,
                          .precisions = 1u << brc_train_precision(c),
                          .pool = pool};
  const brc_backend *b;
  int index;
  char why[sizeof(*out)->why];
  brc_status st = brc_device_select(c->backend, c->device, &b, &index, why, sizeof why);
  if (!st) st = b->open(out, index, &o);
  if (!st) memcpy((*out)->why, why, sizeof why);
  if (!st) st = check_precision(*out, brc_train_precision(c));
  if (st && *out) {
    brc_device_close(*out);
    *out = NULL;
  }
  return st;
}

// From the capacity alone: the files' layout must not depend on the interval. With a longer interval the replay asks for a checkpoint
// before it is due (brc_replay_must_save).
uint32_t brc_train_replay_slack(const brc_train_config *c) {
  return (uint32_t)(c->capacity / 16 > 4096 ? c->capacity / 16 : 4096);
}

// Memory that has room for the rows beside everything else, and for what the driver and others need.
static brc_status has_room(const brc_train_config *c, const brc_device_info *d, const brc_agent_flags *flags,
                           uint64_t table_bytes, bool *room) {
  const brc_agent_config *a = &c->agent;
  const uint32_t tasks = (uint32_t)a->tasks;
  const bool paper = !strcmp(c->normalizer, "paper");
  brc_agent_memory m;
  brc_status st = brc_agent_memory_of(a, *flags, tasks, paper,
                                      c->eval_interval ? tasks * (uint32_t)c->eval_episodes : 0, &m);
  if (st) return st;
  const uint64_t *critic = m.groups[0].bytes;  // of whose weights there may be copies in two bytes
  const uint64_t needed = brc_agent_memory_total(&m) + (critic[BRC_PARAM] + critic[BRC_TARGET]) / 2;
  *room = (double)needed + (double)table_bytes < 0.8 * (double)d->memory_bytes;
  return BRC_OK;
}

brc_status brc_train_fit_device(const brc_train_config *c, const brc_device_info *d, brc_agent_flags *flags) {
  const brc_agent_config *a = &c->agent;
  const bool wanted = !strcmp(c->replay, "device");
  flags->by_shape = d->side_by_side > 1;
  flags->table_rows = flags->table_part = 0;
  if (!strcmp(c->replay, "host") || (!wanted && d->is_cpu)) return BRC_OK;
  // The ring fills with the steps: a shorter run needs its first slots, and one for the newest rows' successors.
  const uint64_t ring = (uint64_t)c->capacity + brc_train_replay_slack(c),
                 slots = (uint64_t)c->steps < ring ? (uint64_t)c->steps + 1 : ring,
                 rows = slots * (uint64_t)a->tasks,
                 row_bytes = 4 * (uint64_t)brc_pitch((uint32_t)(a->obs_dim + a->action_dim)),
                 most = d->max_buffer_bytes ? d->max_buffer_bytes / row_bytes : rows,
                 part = most < rows ? most : rows;
  const bool can = rows <= INT32_MAX && part && (rows - 1) / part < BRC_TABLE_PARTS;
  bool room = wanted;
  if (!can && wanted)
    return brc_fail(
        BRC_E_UNSUPPORTED,
        "option --replay: %llu rows of %llu bytes are too many for a table on %s; lower --capacity, "
        "or let it be on the host",
        (unsigned long long)rows, (unsigned long long)row_bytes, d->name);
  brc_status st = can && !wanted ? has_room(c, d, flags, rows * row_bytes, &room) : BRC_OK;
  if (!st && can && room) flags->table_rows = rows, flags->table_part = part;
  return st;
}

brc_status brc_train_add_tasks(brc_train_config *c, const char *name) {
  return brc_env_resolve(name, c->tasks, BRC_COUNT(c->tasks), &c->task_count);
}

brc_status brc_train_resolve(brc_train_config *c) {
  brc_agent_config *a = &c->agent;
  if (!c->task_count) return brc_fail(BRC_E_USAGE, "no task is given; brc tasks lists them");
  a->tasks = (int64_t)c->task_count;
  a->obs_dim = a->action_dim = 0;
  for (size_t i = 0; i < c->task_count; i++) {
    if (c->tasks[i]->obs_dim > a->obs_dim) a->obs_dim = c->tasks[i]->obs_dim;
    if (c->tasks[i]->act_dim > a->action_dim) a->action_dim = c->tasks[i]->act_dim;
  }
  a->seed = (uint64_t)c->seed;
  a->target_entropy = NAN;
  brc_status st = brc_agent_config_resolve(a);
  if (st) return st;
  int64_t rows = c->start < c->capacity ? c->start : c->capacity;
  if (c->utd && a->batch > rows * a->tasks)
    return brc_fail(BRC_E_USAGE,
                    "option --batch: %lld is more than the %lld transitions stored when updates begin (--start "
                    "%lld, --capacity %lld, %lld tasks); lower --batch or raise these",
                    (long long)a->batch, (long long)(rows * a->tasks), (long long)c->start,
                    (long long)c->capacity, (long long)a->tasks);
  if (!*c->run) {
    snprintf(c->run, sizeof c->run, "runs/%.200s%s-s%lld", c->tasks[0]->name,
             c->task_count > 1 ? "-and-more" : "", (long long)c->seed);
  }
  return BRC_OK;
}

//------------------------ 2. The world of training -------------------------------
static brc_status random_action(void *self, uint64_t step, float *action) {
  brc_trainer *t = self;
  const brc_agent_config *c = &t->config.agent;
  uint32_t n = (uint32_t)(c->tasks * c->action_dim);
  for (uint32_t i = 0; i < n; i++) {
    brc_u4 r = brc_philox(i >> 2, (uint32_t)step, (uint32_t)(step >> 32), BRC_STREAM_RANDOM_ACT,
                          (uint32_t)c->seed, (uint32_t)(c->seed >> 32));
    uint32_t words[4] = {r.x, r.y, r.z, r.w};
    action[i] = 2 * brc_uniform(words[i & 3]) - 1;
  }
  return BRC_OK;
}

static brc_status step_tasks(void *self, uint64_t step, const double *chosen, float *action, float *next_obs,
                             float *reward, uint8_t *terminal, uint8_t *truncated) {
  (void)step, (void)chosen;
  brc_trainer *t = self;
  brc_status st = brc_env_pool_step(t->envs, action, next_obs, t->results, NULL);
  for (size_t i = 0; !st && i < t->config.task_count; i++) {
    const brc_env_result *r = &t->results[i];
    brc_task_stats *s = &t->stats[i];
    const size_t o = (size_t)t->config.agent.obs_dim;
    if (r->invalid)
      memcpy(next_obs + i * o, t->loop.obs + i * o, o * sizeof *next_obs);  // no successor: it stays
    reward[i] = (float)r->reward;
    terminal[i] = r->terminated;
    truncated[i] = r->truncated;
    s->now_return += r->reward;
    s->now_success = fmax(s->now_success, r->success);
    s->now_length += 1;
    if (!r->terminated && !r->truncated) continue;
    s->total.episodes += 1;
    s->total.return_sum += s->last_return = s->now_return;
    s->total.success_sum += s->now_success;
    s->total.length_sum += s->now_length;
    s->now_return = s->now_success = s->now_length = 0;
  }
  return st;
}

static brc_status reset_task(void *self, uint64_t step, size_t task, float *obs_row) {
  (void)step;
  return brc_env_pool_reset_one(((brc_trainer *)self)->envs, task, obs_row);
}

static brc_status sample(void *self, const brc_replay *replay, uint64_t step, uint32_t count, uint32_t *pairs) {
  return brc_replay_sample(replay, count, ((brc_trainer *)self)->config.agent.seed, step, 0, pairs);
}

//------------------------ 3. Create, free ----------------------------------------
brc_status brc_trainer_create(brc_trainer **out, const brc_train_config *config) {
  brc_trainer *t = calloc(1, sizeof *t);
  if (!t) return brc_fail(BRC_E_NOMEM, "out of memory");
  t->config = *config;
  t->started_s = brc_now_s();
  t->assets.extra = *t->config.assets ? t->config.assets : NULL;
  const brc_agent_config *a = &t->config.agent;
  size_t n = config->task_count;
  t->stats = calloc(n, sizeof *t->stats);
  t->logged = calloc(n, sizeof *t->logged);
  t->results = calloc(n, sizeof *t->results);
  brc_status st = t->stats && t->logged && t->results ? BRC_OK : brc_fail(BRC_E_NOMEM, "out of memory");
  if (!st) st = brc_pool_create(&t->pool, (int)config->threads);
  if (!st) st = brc_open_device(&t->config, t->pool, &t->device);
  if (!st) st = brc_tuning_choose(&t->tuning, config, t->device);
  // A pool's runs take turns: environments that step beside the updates have threads of their own.
  if (!st && config->overlap) st = brc_pool_create(&t->env_threads, (int)config->threads);
  if (!st)
    st = brc_env_pool_create(&t->envs, t->config.tasks, n, a->seed, &t->assets,
                             t->env_threads ? t->env_threads : t->pool);
  if (!st)
    st = brc_replay_create(&t->replay, (uint32_t)a->tasks, (uint32_t)a->obs_dim, (uint32_t)a->action_dim,
                           (uint32_t)config->capacity, brc_train_replay_slack(config));
  bool paper = !strcmp(config->normalizer, "paper");
  if (!st)
    st = brc_normalizer_create(
        &t->normalizer,
        &(brc_normalizer_config){.tasks = (uint32_t)a->tasks, .discount = a->discount, .paper = paper});
  brc_agent_flags flags = {.taps = paper, .precision = brc_train_precision(config)};
  if (!st) st = brc_train_fit_device(config, &t->device->info, &flags);
  if (!st) st = brc_agent_create(&t->agent, a, t->device, flags);
  for (size_t i = 0; i < n; i++) t->task_names[i] = config->tasks[i]->name;
  brc_world world = {.self = t,
                     .random_action = random_action,
                     .step = step_tasks,
                     .reset = reset_task,
                     .sample = sample,
                     .task_names = t->task_names};
  brc_loop_config lc = {.start = (uint64_t)config->start,
                        .updates = (uint32_t)config->utd,
                        .paper_normalizer = paper,
                        .overlap = config->overlap};
  if (!st) {
    st = brc_loop_init(&t->loop, &lc, t->agent, t->replay, t->normalizer, &world, t->pool);
    t->looping = !st;
  }
  if (st) {
    brc_trainer_free(t);
    return st;
  }
  *out = t;
  return BRC_OK;
}

void brc_trainer_free(brc_trainer *t) {
  if (!t) return;
  if (t->looping) brc_loop_free(&t->loop);
  brc_events_close(t->events);
  brc_agent_free(t->agent);
  brc_normalizer_destroy(t->normalizer);
  brc_replay_destroy(t->replay);
  brc_env_pool_destroy(t->envs);
  brc_device_close(t->device);
  brc_pool_destroy(t->env_threads);
  brc_pool_destroy(t->pool);
  free(t->stats);
  free(t->logged);
  free(t->results);
  free(t);
}

brc_status brc_trainer_init(brc_trainer *t) {
  brc_status st = brc_agent_init(t->agent);
  if (!st) st = brc_env_pool_reset(t->envs, t->loop.obs);
  for (size_t i = 0; !st && i < t->config.task_count; i++)
    st = brc_loop_check_obs(&t->loop, 0, i, t->loop.obs + i * (size_t)t->config.agent.obs_dim);
  return st;
}

//------------------------ 4. Evaluation ------------------------------------------
// The seed of an evaluation after `step` steps: other starts than training's, other ones each time.
uint64_t brc_eval_seed(uint64_t seed, uint64_t step) {
  brc_u4 r = brc_philox((uint32_t)step, (uint32_t)(step >> 32), 0, BRC_STREAM_EVAL, (uint32_t)seed,
                        (uint32_t)(seed >> 32));
  return (uint64_t)r.x << 32 | r.y;
}

brc_status brc_evaluate(brc_agent *agent, const brc_env_def *const *tasks, size_t count, uint32_t episodes,
                        uint64_t seed, const brc_assets *assets, brc_pool *pool, volatile const int *stop,
                        brc_eval_result *out) {
  const brc_agent_config *c = &agent->config;
  size_t n = count * episodes, o = (size_t)c->obs_dim, a = (size_t)c->action_dim, left = n;
  brc_actor *actor = NULL;
  brc_env_pool *envs = NULL;
  const brc_env_def **defs = calloc(n, sizeof *defs);
  float *obs = calloc(n * o, 4), *next = calloc(n * o, 4), *action = calloc(n * a, 4);
  int32_t *task = calloc(n, 4);
  uint8_t *done = calloc(n, 1);
  brc_env_result *results = calloc(n, sizeof *results);
  double *sums = calloc(3 * n, sizeof *sums);  // return, success, length of every episode
  brc_status st = defs && obs && next && action && task && done && results && sums
                      ? BRC_OK
                      : brc_fail(BRC_E_NOMEM, "out of memory for %zu evaluation episodes", n);
  for (size_t i = 0; !st && i < n; i++) {
    defs[i] = tasks[i / episodes];
    task[i] = (int32_t)(i / episodes);
  }
  if (!st) st = brc_env_pool_create(&envs, defs, n, seed, assets, pool);
  if (!st) st = brc_env_pool_reset(envs, obs);
  if (!st) st = brc_actor_create(&actor, agent, (uint32_t)n, BRC_ACT_MEAN, false);
  while (!st && left) {
    if (stop && *stop) {
      st = brc_fail(BRC_E_STOPPED, "evaluation: stopped");
      break;
    }
    st = brc_actor_run(actor, BRC_F32, obs, task, NULL, 0, action, NULL);
    for (size_t i = 0; !st && i < n * a; i++) {
      if (!isfinite(action[i]))
        st = brc_fail(BRC_E_VALUE, "evaluation: the action of task '%s' is not finite", defs[i / a]->name);
      action[i] = fminf(fmaxf(action[i], -1), 1);
    }
    if (!st) st = brc_env_pool_step(envs, action, next, results, done);
    for (size_t i = 0; !st && i < n; i++) {
      if (done[i]) continue;
      if (!results[i].invalid) memcpy(obs + i * o, next + i * o, o * 4);
      sums[3 * i] += results[i].reward;
      sums[3 * i + 1] = fmax(sums[3 * i + 1], results[i].success);
      sums[3 * i + 2] += 1;
      done[i] = results[i].terminated || results[i].truncated;
      left -= done[i];
      if (!st && !isfinite(results[i].reward))
        st = brc_fail(BRC_E_VALUE, "evaluation, step %.0f of an episode: the reward of task '%s' is not finite",
                      sums[3 * i + 2], defs[i]->name);
    }
  }
  for (size_t t = 0; !st && t < count; t++) {
    brc_eval_result r = {0};
    double squares = 0;
    for (size_t e = 0; e < episodes; e++) {
      const double *s = sums + 3 * (t * episodes + e);
      r.return_mean += s[0] / episodes;
      squares += s[0] * s[0] / episodes;
      r.success += s[1] / episodes;
      r.length += s[2] / episodes;
    }
    r.return_std = sqrt(fmax(0, squares - r.return_mean * r.return_mean));
    r.score = brc_env_score(tasks[t], r.return_mean, r.success);
    out[t] = r;
  }
  brc_actor_free(actor);
  brc_env_pool_destroy(envs);
  void *all[] = {defs, obs, next, action, task, done, results, sums};
  for (size_t i = 0; i < BRC_COUNT(all); i++) free(all[i]);
  return st;
}

double brc_eval_score(const brc_eval_result *tasks, size_t count) {
  double sum = 0;
  for (size_t i = 0; i < count; i++) sum += tasks[i].score;
  return sum / (double)count;
}

//------------------------ 5. The run ---------------------------------------------
static brc_status evaluate_and_log(brc_trainer *t, brc_progress *p, volatile const int *stop) {
  size_t n = t->config.task_count;
  brc_eval_result *eval = calloc(n, sizeof *eval);
  if (!eval) return brc_fail(BRC_E_NOMEM, "out of memory");
  brc_status st =
      brc_evaluate(t->agent, t->config.tasks, n, (uint32_t)t->config.eval_episodes,
                   brc_eval_seed(t->config.agent.seed, t->loop.step), &t->assets, t->pool, stop, eval);
  if (!st) st = brc_run_log_eval(t, eval);
  if (!st) brc_progress_eval(p, eval);
  free(eval);
  return st;
}

// After an update with numbers that are not finite: go back to the last checkpoint, do the same steps again (they have the same
// bits), and the last one op by op. The run has ended; nothing is written. Returns E_VALUE with the whole story. A signal ends
// the search.
static brc_status find_origin(brc_trainer *t, volatile const int *stop) {
  char what[1024];
  const uint64_t failed = t->loop.step + 1;
  snprintf(what, sizeof what, "%s", brc_error());
  if (!brc_checkpoint_exists(t->config.run)) return BRC_E_VALUE;
  brc_status st = brc_checkpoint_load(t);
  const uint64_t from = t->loop.step;
  if (!st)
    fprintf(stderr,
            "brc: %s\nbrc: doing steps %llu to %llu again, to find where the first such number came from\n",
            what, (unsigned long long)from + 1, (unsigned long long)failed);
  while (!st && t->loop.step + 1 < failed && !(stop && *stop)) st = brc_loop_step(&t->loop);
  t->loop.watch = true;
  if (!st && t->loop.step + 1 == failed) brc_loop_step(&t->loop);
  if (st)
    return brc_fail_prefix(
        BRC_E_VALUE,
        "%s; where it came from was not found, as going back to the checkpoint of step %llu failed: ", what,
        (unsigned long long)t->committed_step);
  const brc_not_finite *first = &t->loop.first;
  char task[160] = "";
  if (*first->where && first->task >= 0)
    snprintf(task, sizeof task, ", samples of task '%s'", t->config.tasks[first->task]->name);
  return brc_fail(BRC_E_VALUE, "%s; first in %s%s; the checkpoint of step %llu is kept", what,
                  *first->where   ? first->where
                  : stop && *stop ? "an op that was not found (the search was interrupted)"
                                  : "an op that was not found (the steps did not repeat themselves: it did not "
                                    "come from the training state)",
                  task, (unsigned long long)from);
}

// Did a signal cut the evaluation of the loaded step short? Then log.csv ends just before its row.
static brc_status evaluation_is_due(const brc_trainer *t, bool *due) {
  const brc_train_config *c = &t->config;
  const uint64_t step = t->loop.step, interval = (uint64_t)c->eval_interval;
  uint64_t last = 0;
  *due = false;
  if (!interval || !step || step % interval) return BRC_OK;
  brc_status st = brc_run_last_row(c->run, "log.csv", &last);
  *due = !st && last == step - interval;
  return st;
}

brc_status brc_trainer_unfinished(const brc_trainer *t, bool *unfinished) {
  brc_status st = evaluation_is_due(t, unfinished);
  *unfinished |= t->loop.step < (uint64_t)t->config.steps;
  return st;
}

brc_status brc_trainer_run(brc_trainer *t, volatile const int *stop) {
  const brc_train_config *c = &t->config;
  uint64_t end = (uint64_t)c->steps, saved = t->loop.step;
  bool due = false;
  brc_progress p;
  brc_status st = evaluation_is_due(t, &due);
  brc_progress_begin(&p, t);
  if (!st && due) st = evaluate_and_log(t, &p, stop);
  if (!st && due) st = brc_checkpoint_save(t);  // of what the log's last row tells
  while (!st && t->loop.step < end && !(stop && *stop)) {
    st = brc_loop_step(&t->loop);
    if (st) break;
    uint64_t i = t->loop.step;
    if (i % (uint64_t)c->log_interval == 0) st = brc_run_log_train(t);
    if (!st && c->eval_interval && i % (uint64_t)c->eval_interval == 0) st = evaluate_and_log(t, &p, stop);
    if (!st && (i % (uint64_t)c->checkpoint_interval == 0 || brc_replay_must_save(t->replay))) {
      st = brc_checkpoint_save(t);
      saved = i;
    }
    brc_progress_step(&p);
  }
  brc_progress_end(&p);
  if (st && t->loop.diverged) return find_origin(t, stop);
  if (st == BRC_E_VALUE)
    return brc_fail(st, "%s; the checkpoint of step %llu is kept", brc_error(),
                    (unsigned long long)t->committed_step);
  const bool cut_short = st == BRC_E_STOPPED;  // an evaluation
  if (cut_short) st = BRC_OK;
  if (!st && t->loop.step != saved) st = brc_checkpoint_save(t);
  if (st == BRC_E_IO) return brc_fail(st, "%s; go on with: brc train --resume %s", brc_error(), c->run);
  if (!st && stop && *stop && (t->loop.step < end || cut_short))
    return brc_fail(BRC_E_STOPPED, "stopped at step %llu; go on with: brc train --resume %s",
                    (unsigned long long)t->loop.step, c->run);
  return st;
}
