// The trainer: tasks, device, agent and data put together; run folder, logs, evaluation, checkpoints.
#ifndef BRC_TRAIN_H
#define BRC_TRAIN_H
#include "backends/tune.h"
#include "envs/env.h"
#include "train/loop.h"
#include "train/tensorboard.h"
#include <stdio.h>

//------------------------ 1. Options --------------------------------------------
// clang-format off
//       type  field                option                 lo  hi     default    help
#define BRC_TRAIN_OPTIONS(X)                                                                                                         \
  X(INT,  seed,                "seed",                0,  9e15,  "0",       "seed of everything random")                             \
  X(INT,  steps,               "steps",               0,  1e12,  "500000",  "environment steps per task")                            \
  X(INT,  start,               "start",               1,  1e12,  "5000",    "first step with the policy and updates; random before") \
  X(INT,  utd,                 "utd",                 0,  1024,  "2",       "updates per environment step")                          \
  X(INT,  capacity,            "capacity",            1,  4e9,   "1000000", "replay rows per task")                                  \
  X(INT,  eval_interval,       "eval-interval",       0,  1e12,  "25000",   "steps between evaluations; 0: none")                    \
  X(INT,  eval_episodes,       "eval-episodes",       1,  10000, "10",      "episodes per task and evaluation")                      \
  X(INT,  checkpoint_interval, "checkpoint-interval", 1,  4e9,   "25000",   "steps between checkpoints")                             \
  X(INT,  log_interval,        "log-interval",        1,  1e12,  "1000",    "steps between rows of train.csv")                       \
  X(INT,  env_timeout,         "env-timeout",         0,  1e6,   "60",      "seconds after which an environment's step is called slow; after ten times that the run ends; 0: never")
#define BRC_DEVICE_OPTIONS(X)                                                                                                        \
  X(INT,  threads,             "threads",             0,  4096,  "0",       "CPU threads; 0: all cores of this process")

// clang-format on
typedef struct brc_train_config {
#define FIELD_INT(f)        int64_t f;
#define X(type, field, ...) FIELD_##type(field)
  BRC_TRAIN_OPTIONS(X)
  BRC_DEVICE_OPTIONS(X)
#undef X
  char backend[BRC_TEXT], device[BRC_TEXT], precision[BRC_TEXT], gemm[BRC_TEXT], assets[BRC_TEXT],
      run[BRC_TEXT], normalizer[BRC_TEXT], tuning[BRC_TEXT], replay[BRC_TEXT];
  bool quiet, json, overlap;
  // No options: whether --tuning auto may measure, and whether the run in `run` goes on with the choices that it had.
  bool may_tune, keep_tuning;
  brc_agent_config agent;
  // The tasks, resolved.
  const brc_env_def *tasks[256];
  size_t task_count;
} brc_train_config;

extern const brc_option brc_train_options[], brc_device_option_rows[];
extern const size_t brc_train_option_count, brc_device_option_count;
// The tables that make up `brc train`: training, agent, device.
brc_option_set brc_train_option_set(brc_train_config *c);
// Backend, device, threads, GEMM provider and precision of a configuration.
brc_status brc_open_device(const brc_train_config *c, brc_pool *pool, brc_device **out);
brc_precision brc_train_precision(const brc_train_config *c);  // of updates: what --precision says
uint32_t brc_train_replay_slack(const brc_train_config *c);    // rows of the replay between two checkpoints
// What of an agent depends on the device, into `flags`, whose other fields are set: how its memory is planned, and, as --replay says, whether
// updates take observations and actions from a table there. The bits of a run depend on neither. E_UNSUPPORTED: a table was asked for and
// cannot be.
brc_status brc_train_fit_device(const brc_train_config *c, const brc_device_info *d, brc_agent_flags *flags);
// Add the tasks that `name` stands for (a task or a benchmark).
brc_status brc_train_add_tasks(brc_train_config *c, const char *name);
// Tasks and options of a JSON file: {"tasks": ["walker-run"], "actor_width": 256, ...}, as a run's config.json is. Options that it
// lacks have their defaults, tasks may be absent. E_FORMAT names the file and the line or key; E_NOT_FOUND the file or the task.
brc_status brc_train_read_config(const char *path, brc_train_config *c);
// Dimensions from the tasks, then every check of the whole. E_USAGE or E_VALUE names the option.
brc_status brc_train_resolve(brc_train_config *c);

//------------------------ 2. Products --------------------------------------------
// Which provider computes which product: what --tuning says, or what the run has had. The same choices mean the same bits.
typedef struct brc_tuning {
  brc_choices choices;
  char from
      [BRC_TUNING_PATH];  // a file; "measured" where none could be written; "off", "none": the built-in table
} brc_tuning;
// On an open device, which takes the choices: `t` must live as long as it. Notes go to stderr; only a file that was asked for
// can fail.
brc_status brc_tuning_choose(brc_tuning *t, const brc_train_config *c, brc_device *d);
void brc_tuning_text(const brc_tuning *t, char out[64]);  // "17 choices, HASH", or "none": for config.json
brc_status brc_tuning_save(const brc_tuning *t, const brc_device *d, const char *run);  // RUN/tuning.json
// A tuning file, and its folder. E_IO.
brc_status brc_tuning_keep(const char *path, const brc_device *d, const brc_choices *t);

// The programs that training runs at every step, of a configuration whose dimensions are known: what is tuned together.
typedef struct brc_tuned_programs {
  brc_agent *agent;
  brc_actor *actor;
  const brc_program *list[3];  // NULL behind the last
} brc_tuned_programs;
brc_status brc_tuned_programs_plan(brc_tuned_programs *out, const brc_train_config *c);
void brc_tuned_programs_free(brc_tuned_programs *p);

//------------------------ 3. A trainer ------------------------------------------
// Statistics of the sampling policy's episodes: totals of the whole run, and the episode under way.
typedef struct brc_task_totals {
  double episodes, return_sum, success_sum, length_sum;
} brc_task_totals;
typedef struct brc_task_stats {
  brc_task_totals total;
  double now_return, now_success, now_length, last_return;
} brc_task_stats;

typedef struct brc_trainer {
  brc_train_config config;
  brc_assets assets;
  brc_pool *pool, *env_threads;  // env_threads: with overlap
  brc_device *device;
  brc_tuning tuning;
  brc_agent *agent;
  brc_replay *replay;
  brc_normalizer *normalizer;
  brc_env_pool *envs;
  brc_env_result *results;
  brc_loop loop;
  const char *task_names[256];
  bool looping;
  brc_task_stats *stats;
  brc_task_totals *logged;  // totals at the last row of log.csv: a row tells what came since
  double wall_before_s;     // wall time of the run's earlier parts
  double started_s;
  double checkpoint_s;      // of this process: seconds spent in saving
  uint32_t checkpoints;     // and how often
  uint64_t committed_step;  // of the last complete checkpoint
  uint64_t first_step;      // done when this process took over
  brc_events *events;       // NULL until the first row of a log
} brc_trainer;

// Everything but the networks' values: device, agent, replay, environments. `config` is resolved and copied.
brc_status brc_trainer_create(brc_trainer **out, const brc_train_config *config);
void brc_trainer_free(brc_trainer *t);
// Fresh networks, first episodes.
brc_status brc_trainer_init(brc_trainer *t);

//------------------------ 4. Evaluation -----------------------------------------
typedef struct brc_eval_result {
  // Over the episodes of one task; success: the share that were successful at any step; score: brc_env_score.
  double return_mean, return_std, success, length, score;
} brc_eval_result;
// The seed of an evaluation after `step` steps of a run with `seed`: other starts than training's, other ones each time.
uint64_t brc_eval_seed(uint64_t seed, uint64_t step);
double brc_eval_score(const brc_eval_result *tasks, size_t count);  // mean score over tasks
// `episodes` deterministic episodes of every task, all in parallel; every episode counts once. Starts depend on `seed` alone; nothing of
// the training state changes. out [tasks]. *stop != 0 (stop may be NULL): E_STOPPED.
brc_status brc_evaluate(brc_agent *agent, const brc_env_def *const *tasks, size_t count, uint32_t episodes,
                        uint64_t seed, const brc_assets *assets, brc_pool *pool, volatile const int *stop,
                        brc_eval_result *out);

//------------------------ 5. Checkpoints ----------------------------------------
// RUN/checkpoint/state.safetensors is complete or absent; the rows of the replay lie beside it in replay.bin.
brc_status brc_checkpoint_save(brc_trainer *t);
brc_status brc_checkpoint_load(brc_trainer *t);
bool brc_checkpoint_exists(const char *run);
// The state file of RUN's last checkpoint, its format checked. E_NOT_FOUND: there is none yet.
brc_status brc_checkpoint_open(const char *run, brc_st_file **out);
// Parameters only, for evaluation: the agent of RUN's configuration on `device`.
brc_status brc_checkpoint_load_agent(brc_agent *agent, const char *run, uint64_t *step);

//------------------------ 6. Run folder -----------------------------------------
brc_status brc_run_create(brc_trainer *t, int argc, char **argv);  // config.json, tuning.json
// Append to config.json's "parts" who computes from the loaded step on; tells on stderr what differs from the part before.
brc_status brc_run_add_part(brc_trainer *t);
// What the last part had of products (brc_tuning_text; "none" where it does not say). True: it was on this device.
bool brc_run_last_tuning(const char *run, const brc_device *d, char out[64]);
brc_status brc_run_read_config(const char *run, brc_train_config *c);  // tasks and options of config.json
// The same, resolved, of a run that has a checkpoint.
brc_status brc_run_read_trained(const char *run, brc_train_config *c);
bool brc_run_exists(const char *run);
// Keep other processes from training in RUN, which is made if need be. E_USAGE: one does already. On a file system without locks nothing is
// kept. *lock, -1 if there is none, is for unlock, which removes a folder in which no run was begun.
brc_status brc_run_lock(const char *run, int *lock);
void brc_run_unlock(const char *run, int lock);
brc_status brc_run_rewind(brc_trainer *t);  // drop log rows behind the checkpoint, here or in the next events
// The step of log.csv's or train.csv's last whole row; 0: it has none.
brc_status brc_run_last_row(const char *run, const char *log, uint64_t *step);
brc_status brc_run_log_eval(brc_trainer *t, const brc_eval_result *eval);  // a row of log.csv
brc_status brc_run_log_train(brc_trainer *t);                              // a row of train.csv

// Are there steps left to do, or an evaluation that a signal cut short?
brc_status brc_trainer_unfinished(const brc_trainer *t, bool *unfinished);
// Train to config.steps: checkpoints, evaluations, logs, progress on stderr. *stop (a signal's flag) != 0: save and return
// E_STOPPED; an evaluation that this cuts short is made when the run goes on. With nothing left to do it changes nothing.
brc_status brc_trainer_run(brc_trainer *t, volatile const int *stop);
#endif
