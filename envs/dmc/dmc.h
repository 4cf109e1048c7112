// The DeepMind Control suite: what its domains share. A domain is one file with a table of brc_env_def rows.
#ifndef BRC_DMC_H
#define BRC_DMC_H
#include "envs/mujoco/mj.h"

#define DMC_STEPS 1000  // every task's time limit

#ifdef BRC_HAVE_MUJOCO
#include <math.h>

#define DMC_PI 3.141592653589793

typedef struct dmc_env {
  brc_env base;
  brc_mj_sim sim;
  int id[24];      // of the task's names, in their order
  double var[24];  // the task's own state (targets, heights), saved with the simulation's
} dmc_env;

//------------------------ 1. A task -------------------------------------------
// One key of the original's observation dict: `count` numbers from there. Rows are written with the macros below.
typedef enum dmc_from { DMC_FROM_GET, DMC_FROM_QPOS, DMC_FROM_QVEL, DMC_FROM_ACT, DMC_FROM_SENSOR } dmc_from;
typedef struct dmc_part {
  const char *key;
  int count;
  dmc_from from;
  int first;
  void (*get)(const dmc_env *e, double *out);
} dmc_part;
// get(e, out); qpos from `first` to its end; all of qvel; all of act; `count` numbers from the sensor in a slot on.
#define DMC_GET(key_, count_, get_) \
  { .key = (key_), .count = (count_), .from = DMC_FROM_GET, .get = (get_) }
#define DMC_QPOS(key_, count_, first_) \
  { .key = (key_), .count = (count_), .from = DMC_FROM_QPOS, .first = (first_) }
#define DMC_QVEL(key_, count_) \
  { .key = (key_), .count = (count_), .from = DMC_FROM_QVEL }
#define DMC_ACT(key_, count_) \
  { .key = (key_), .count = (count_), .from = DMC_FROM_ACT }
#define DMC_SENSOR(key_, count_, slot_) \
  { .key = (key_), .count = (count_), .from = DMC_FROM_SENSOR, .first = (slot_) }
#define DMC_PARTS_END \
  { .key = NULL }

// What a task adds; a domain may put this first in a larger struct of its own.
typedef struct dmc_task {
  int substeps;                           // physics steps per control step
  const brc_mj_edit *edits;               // to the MJCF, or NULL
  const brc_mj_name *names;               // slots of id[]
  const dmc_part *parts;                  // the observation, keys in alphabetical order, up to a NULL key
  bool own_model;                         // start and apply write into the model: it is not shared
  brc_status (*check)(const dmc_env *e);  // anything else about the model, once; NULL: nothing
  brc_status (*start)(dmc_env *e, brc_env_random *r);  // initialize_episode, on reset data
  double (*reward)(const dmc_env *e);
  void (*apply)(dmc_env *e);  // write var into a private model, after load; NULL: nothing to write
  // Numbers that the original's task object has, to tell golden files of another task.
  struct {
    const char *name;
    double value;
  } recorded[2];
  // Find var in a golden file (brc_mj_restore_task) or in the model restored from it; NULL: none.
  brc_status (*restore)(dmc_env *e, const brc_st_file *file, const char *prefix);
} dmc_task;

static inline const dmc_task *dmc_task_of(const dmc_env *e) { return e->base.def->task; }

//------------------------ 2. For domains --------------------------------------
// Of the body in a slot: position [3], rotation matrix [9] (xx, xy, xz, yx, ... zz: 0 to 8).
static inline const double *dmc_xpos(const dmc_env *e, int slot) { return e->sim.data->xpos + 3 * e->id[slot]; }
static inline const double *dmc_xmat(const dmc_env *e, int slot) { return e->sim.data->xmat + 9 * e->id[slot]; }
enum { DMC_XX = 0, DMC_XZ = 2, DMC_ZX = 6, DMC_ZY = 7, DMC_ZZ = 8 };
static inline const double *dmc_sensor(const dmc_env *e, int slot) {
  return e->sim.data->sensordata + e->id[slot];
}
double dmc_distance(const double *a, const double *b, int n);  // of points of n coordinates
// A vector of the world in the frame of a rotation matrix: v.dot(matrix).
void dmc_to_frame(const double *v, const double *matrix, double *out);
// Mean over the actuators of rewards.tolerance(control, margin=1, value_at_margin=0, sigmoid='quadratic').
double dmc_small_control(const dmc_env *e);
// suite/utils/randomizers.py, randomize_limited_and_rotational_joints.
void dmc_random_joints(dmc_env *e, brc_env_random *r);
// Call `sample` until a forward pass (Physics.after_reset) finds no contact, and `accept` (unless NULL) agrees.
brc_status dmc_collision_free(dmc_env *e, brc_env_random *r, void (*sample)(dmc_env *e, brc_env_random *r),
                              bool (*accept)(const dmc_env *e));

//------------------------ 3. brc_env_def --------------------------------------
brc_status dmc_create(brc_env **out, const brc_env_def *def, const brc_assets *assets);
void dmc_destroy(brc_env *env);
brc_status dmc_reset(brc_env *env, uint64_t seed, uint64_t episode, double *obs);
brc_status dmc_step(brc_env *env, const float *action, double *obs, brc_env_result *result);
size_t dmc_state_bytes(const brc_env *env);
void dmc_save(const brc_env *env, void *state);
brc_status dmc_load(brc_env *env, const void *state);
brc_status dmc_restore(brc_env *env, const brc_st_file *file, const char *prefix);
brc_status dmc_inspect(brc_env *env, const char *name, double *out, size_t max, size_t *count);
struct brc_mj_sim *dmc_simulation(brc_env *env);
#define DMC_FUNCTIONS(task_row)                                                                           \
  .task = (task_row), .create = dmc_create, .destroy = dmc_destroy, .reset = dmc_reset, .step = dmc_step, \
  .state_bytes = dmc_state_bytes, .save = dmc_save, .load = dmc_load, .restore = dmc_restore,             \
  .inspect = dmc_inspect, .simulation = dmc_simulation
#else
// Listed, but cannot be created: says why.
brc_status dmc_create(brc_env **out, const brc_env_def *def, const brc_assets *assets);
#define DMC_FUNCTIONS(task_row) .create = dmc_create
#endif

// One row: DMC_TASK("cartpole-balance", 5, 1, DMC_SUITE("cartpole.xml"), &balance).
#define DMC_SUITE(file)  "dm_control/suite/" file
#define DMC_CUSTOM(file) "dmc_custom/" file  // of the tasks that BRC's dmc_envs adds
#define DMC_TASK(name_, obs_, act_, asset_, task_row)                                              \
  {                                                                                                \
    .name = (name_), .suite = "dmc", .obs_dim = (obs_), .act_dim = (act_), .max_steps = DMC_STEPS, \
    .success_score = 1000, .asset = (asset_), DMC_FUNCTIONS(task_row)                              \
  }
#endif
