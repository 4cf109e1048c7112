// An environment, the registry of all tasks, and the pool that steps many at once.
// Observations are float64 here, as the originals return them; the pool casts to float32 for the networks.
#ifndef BRC_ENV_H
#define BRC_ENV_H
#include "base/base.h"
#include "base/pool.h"
#include "base/safetensors.h"

//------------------------ 1. Where assets are found ---------------------------
// Search order: --assets, each folder of BRC_ASSETS (':'-separated), the data folder, ../shared/assets.
// A file that one root lacks is looked for in the next.
typedef struct brc_assets {
  const char *extra;  // --assets, or NULL
} brc_assets;
// Full path of `relative` ("dm_control/suite/cartpole.xml"). E_NOT_FOUND says where it looked and how to get it.
brc_status brc_assets_find(const brc_assets *a, const char *relative, char *path, size_t bytes);

// A folder below a root, and where its files come from.
typedef struct brc_asset_suite {
  const char *name;          // "humanoidbench": the folder
  const char *licence;       // in a word or two; its text is kept beside the files
  const char *how_to_get;    // a command
  const char *url, *commit;  // a public git repository and its pinned commit; NULL: no such
  const char *inside;        // the folder there that becomes `name`
  const char *parts[10];     // what of it is needed: files and folders, up to a NULL
  int megabytes;             // about, when installed
} brc_asset_suite;
const brc_asset_suite *brc_asset_suite_at(size_t i);              // NULL behind the last
const brc_asset_suite *brc_asset_suite_of(const char *relative);  // whose folder the path begins with, or NULL
const brc_asset_suite *brc_asset_suite_find(const char *name);    // by its name, or NULL

// Get a suite's files with git and put them into TO/NAME, in one step and with the licence: whatever goes wrong, or whoever
// interrupts, TO/NAME stays as it was. *stop != 0 (a signal's flag; may be NULL) gives up with E_STOPPED.
typedef struct brc_asset_fetch {
  const brc_asset_suite *suite;
  const char *url, *commit;  // NULL: the suite's
  const char *to;            // NULL: the data folder
  volatile const int *stop;
} brc_asset_fetch;
typedef struct brc_asset_fetched {
  char path[4096];     // TO/NAME
  char licence[4224];  // the licence's file in it
  char commit[65];     // what was installed
  bool already;        // it was there: nothing done
} brc_asset_fetched;
brc_status brc_assets_fetch(const brc_asset_fetch *f, brc_asset_fetched *out);

//------------------------ 2. One task -----------------------------------------
typedef struct brc_env brc_env;
typedef struct brc_env_result {
  double reward;
  bool terminated;  // the task is over: no value beyond this state
  bool truncated;   // time limit: the value goes on
  double success;   // the suite's success flag of this step (0 where it has none)
  bool invalid;  // of a pool: the simulation broke down in this step, and the episode ends with what was before
} brc_env_result;

// A row of the registry. Functions take the env they were made with; `obs` has obs_dim entries.
typedef struct brc_env_def {
  const char *name, *suite;  // "cartpole-swingup", "dmc"
  int obs_dim, act_dim;      // of the task itself, before padding
  int max_steps;             // time limit in control steps; 0: none
  // A return R is reported as (R - random_score) / (success_score - random_score). Both 0: the share of successes is.
  double random_score, success_score;
  const char *asset;  // main file below an assets root, or NULL (probe tasks)
  const void *task;   // the task's own table row, for the functions below
  brc_status (*create)(brc_env **out, const struct brc_env_def *def, const brc_assets *assets);
  void (*destroy)(brc_env *env);
  // Start an episode. All randomness comes from Philox keyed by (seed, episode): same pair, same start, but for the tasks
  // of which the README says that something survives a reset.
  brc_status (*reset)(brc_env *env, uint64_t seed, uint64_t episode, double *obs);
  // One control step; action [act_dim] in [-1, 1]. obs is the true successor, never a reset observation.
  brc_status (*step)(brc_env *env, const float *action, double *obs, brc_env_result *result);
  // Full state (integration state, task state), for checkpoints; NULL: the task restarts its episode at resume.
  size_t (*state_bytes)(const brc_env *env);
  void (*save)(const brc_env *env, void *state);
  brc_status (*load)(brc_env *env, const void *state);
  // Put the env into the state recorded in a golden file (tensors PREFIXqpos0, ...); NULL: not replayable.
  brc_status (*restore)(brc_env *env, const brc_st_file *file, const char *prefix);
  // Numbers of the simulation by name, for verification: "obs" (observed anew), "qpos", "qvel", "ncon". At most `max`
  // are written, *count says how many there are; E_NOT_FOUND for a name that the task lacks. NULL: none.
  brc_status (*inspect)(brc_env *env, const char *name, double *out, size_t max, size_t *count);
  // What envs/mujoco/render.h draws; NULL: there is nothing to see.
  struct brc_mj_sim *(*simulation)(brc_env *env);
} brc_env_def;

// The normalised score of a mean return and a share of successful episodes, as above.
double brc_env_score(const brc_env_def *def, double mean_return, double success);

size_t brc_env_count(void);                         // tasks in the registry
const brc_env_def *brc_env_at(size_t i);            // in registry order
const brc_env_def *brc_env_find(const char *name);  // NULL if unknown
// The tasks of `name`: a task, or a benchmark's name. Appends to list[*count], at most max. Unknown: E_NOT_FOUND
// "task 'walker-rum' is unknown; did you mean 'walker-run'?".
brc_status brc_env_resolve(const char *name, const brc_env_def **list, size_t max, size_t *count);
const char *brc_benchmark_at(size_t i);  // a benchmark's name, for brc_env_resolve; NULL behind the last

// These wrap the def's functions, count steps and set `truncated` at max_steps.
brc_status brc_env_create(brc_env **out, const brc_env_def *def, const brc_assets *assets);
void brc_env_destroy(brc_env *env);
brc_status brc_env_reset(brc_env *env, uint64_t seed, uint64_t episode, double *obs);
brc_status brc_env_step(brc_env *env, const float *action, double *obs, brc_env_result *result);
// The whole state: step count and the def's state (which is nothing where def->save is NULL; load then leaves the env
// waiting for a reset, and stepping it fails until then).
size_t brc_env_state_bytes(const brc_env *env);
void brc_env_save(const brc_env *env, void *state);
brc_status brc_env_load(brc_env *env, const void *state);
// Start an episode in a recorded state; E_UNSUPPORTED if the task cannot.
brc_status brc_env_restore(brc_env *env, const brc_st_file *file, const char *prefix);
brc_status brc_env_inspect(brc_env *env, const char *name, double *out, size_t max, size_t *count);
const brc_env_def *brc_env_def_of(const brc_env *env);

//------------------------ 3. Many at once -------------------------------------
// `count` environments stepped on the threads of `pool`; env i runs defs[i] and draws its starts from seed and its own
// number, so results do not depend on the thread count. All arrays are row-major with `count` rows, float32, zero-padded to
// the largest dimensions: obs [count, obs_dim], action [count, act_dim].
typedef struct brc_env_pool brc_env_pool;
brc_status brc_env_pool_create(brc_env_pool **out, const brc_env_def *const *defs, size_t count, uint64_t seed,
                               const brc_assets *assets, brc_pool *pool);
void brc_env_pool_destroy(brc_env_pool *p);
size_t brc_env_pool_count(const brc_env_pool *p);
int brc_env_pool_obs_dim(const brc_env_pool *p);  // the largest
int brc_env_pool_act_dim(const brc_env_pool *p);
const brc_env_def *brc_env_pool_def(const brc_env_pool *p, size_t i);
// Start episode 0, 1, ... of every environment (each has its own episode counter).
brc_status brc_env_pool_reset(brc_env_pool *p, float *obs);
// Start the next episode of environment i only; obs has one row.
brc_status brc_env_pool_reset_one(brc_env_pool *p, size_t i, float *obs_row);
// Step all; results[count]. Does not reset: the caller does, where results[i] says so. `skip[i]` != 0 (or skip NULL) leaves
// env i untouched (evaluation: its episode is over). Where a task's simulation becomes invalid (E_VALUE of its step), that
// episode alone ends, with a note on standard error that names task, episode and step: results[i] is invalid and
// truncated with reward 0, and its row of next_obs is left as it was.
brc_status brc_env_pool_step(brc_env_pool *p, const float *action, float *next_obs, brc_env_result *results,
                             const uint8_t *skip);
// Checkpoints: the state of all environments in one block (per env: episode counter, step count, def's state).
size_t brc_env_pool_state_bytes(const brc_env_pool *p);
void brc_env_pool_save(const brc_env_pool *p, void *state);
brc_status brc_env_pool_load(brc_env_pool *p, const void *state, size_t bytes);
#endif
