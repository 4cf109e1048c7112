// The DeepMind Control suite: what its domains share. A domain is one file with a table of brc_env_def rows.
#ifndef BRC_DMC_H
#define BRC_DMC_H
#include "envs/mujoco/mj.h"

#define DMC_STEPS 1000  // every task's time limit

#ifdef BRC_HAVE_MUJOCO
typedef struct dmc_env {
  brc_env base;
  brc_mj_sim sim;
  int id[24];      // indices that the task looked up at creation
  double var[24];  // the task's own state (targets, counters), saved with the simulation's
} dmc_env;

// What a task adds; a domain may put this first in a larger struct of its own.
typedef struct dmc_task {
  int substeps;                                    // physics steps per control step
  brc_status (*lookup)(dmc_env *e);                // names to indices; NULL: none
  void (*start)(dmc_env *e, brc_env_random *r);    // initialize_episode, on reset data
  void (*observe)(const dmc_env *e, double *obs);  // keys in alphabetical order
  double (*reward)(const dmc_env *e);
  // The original task object's numbers in a golden file (brc_mj_restore_task); NULL: none.
  brc_status (*restore)(dmc_env *e, const brc_st_file *file, const char *prefix);
  void (*apply)(dmc_env *e);  // write var into a private model after load; NULL: nothing to write
} dmc_task;

static inline const dmc_task *dmc_task_of(const dmc_env *e) { return e->base.def->task; }

brc_status dmc_create(brc_env **out, const brc_env_def *def, const brc_assets *assets);
void dmc_destroy(brc_env *env);
brc_status dmc_reset(brc_env *env, uint64_t seed, uint64_t episode, double *obs);
brc_status dmc_step(brc_env *env, const float *action, double *obs, brc_env_result *result);
size_t dmc_state_bytes(const brc_env *env);
void dmc_save(const brc_env *env, void *state);
brc_status dmc_load(brc_env *env, const void *state);
brc_status dmc_restore(brc_env *env, const brc_st_file *file, const char *prefix);
brc_status dmc_inspect(brc_env *env, const char *name, double *out, size_t max, size_t *count);
#define DMC_FUNCTIONS(task_row)                                                                           \
  .task = (task_row), .create = dmc_create, .destroy = dmc_destroy, .reset = dmc_reset, .step = dmc_step, \
  .state_bytes = dmc_state_bytes, .save = dmc_save, .load = dmc_load, .restore = dmc_restore,             \
  .inspect = dmc_inspect
#else
// Listed, but cannot be created: says why.
brc_status dmc_create(brc_env **out, const brc_env_def *def, const brc_assets *assets);
#define DMC_FUNCTIONS(task_row) .create = dmc_create
#endif

// One row: DMC_TASK("cartpole-balance", 5, 1, "dm_control/suite/cartpole.xml", &balance).
#define DMC_TASK(name_, obs_, act_, asset_, task_row)                                              \
  {                                                                                                \
    .name = (name_), .suite = "dmc", .obs_dim = (obs_), .act_dim = (act_), .max_steps = DMC_STEPS, \
    .asset = (asset_), DMC_FUNCTIONS(task_row)                                                     \
  }
#endif
