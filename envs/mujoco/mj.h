// What the MuJoCo suites share: the library (loaded at run time), models, a simulation, golden states, rewards.
// Without MuJoCo's headers (BRC_HAVE_MUJOCO undefined) only brc_mj_open exists, and says so, beside what needs no MuJoCo.
#ifndef BRC_MJ_H
#define BRC_MJ_H
#include "envs/env_impl.h"

//------------------------ 1. The library --------------------------------------
// Load libmujoco 3.1.6 once: BRC_MUJOCO_LIB, the build's BRC_MUJOCO_LIBRARY, the data folder, the system's path.
// E_UNSUPPORTED if there is none, or if its version is another one (BRC_MUJOCO_ANY_VERSION=1 allows that).
brc_status brc_mj_open(void);

#ifdef BRC_HAVE_MUJOCO
#include <mujoco/mujoco.h>

// Every function used; a new one is one more line. Call them as brc_mj.mj_step(...).
#define BRC_MJ_FUNCTIONS(X) \
  X(mj_version)             \
  X(mj_loadXML)             \
  X(mj_deleteModel)         \
  X(mj_makeData)            \
  X(mj_deleteData)          \
  X(mj_resetData)           \
  X(mj_resetDataKeyframe)   \
  X(mj_forward)             \
  X(mj_step)                \
  X(mj_step1)               \
  X(mj_step2)               \
  X(mj_rnePostConstraint)   \
  X(mj_stateSize)           \
  X(mj_getState)            \
  X(mj_setState)            \
  X(mj_name2id)             \
  X(mj_id2name)             \
  X(mj_defaultVFS)          \
  X(mj_addBufferVFS)        \
  X(mj_deleteVFS)           \
  X(mjv_defaultFreeCamera)  \
  X(mjv_defaultOption)      \
  X(mjv_defaultScene)       \
  X(mjv_makeScene)          \
  X(mjv_freeScene)          \
  X(mjv_updateScene)        \
  X(mjr_defaultContext)     \
  X(mjr_makeContext)        \
  X(mjr_freeContext)        \
  X(mjr_setBuffer)          \
  X(mjr_render)             \
  X(mjr_readPixels)
typedef struct brc_mj_table {
#define X(name) __typeof__(name) *name;
  BRC_MJ_FUNCTIONS(X)
#undef X
} brc_mj_table;
extern brc_mj_table brc_mj;  // filled by brc_mj_open

//------------------------ 2. A model, a simulation ----------------------------
// A change to the MJCF's text before it is compiled: set an attribute that the element <tag name="..."> has, or remove
// the element with all in it (attribute NULL). Lists end with a row whose tag is NULL.
typedef struct brc_mj_edit {
  const char *tag, *name;
  const char *attribute, *value;
} brc_mj_edit;
#define BRC_MJ_EDIT_END \
  { .tag = NULL }

// What is compiled. Of two sources with the same path and the same list of edits only one is. A missing texture (PNG) is
// replaced by a grey one, with a note on standard error: it moves nothing.
typedef struct brc_mj_source {
  const char *path;            // full path of the MJCF
  const brc_mj_edit *edits;    // or NULL
  const char *const *include;  // full paths of included files that do not lie beside it, up to a NULL; or NULL
} brc_mj_source;

// One mjData and the model it runs on. Simulations of the same source share one compiled mjModel: `model` is a copy of its
// struct alone (options are this simulation's own, arrays are shared and must not be written) until brc_mj_own_model.
typedef struct brc_mj_sim {
  mjModel model;
  mjData *data;
  const mjModel *shared;  // from the cache; never written
  char *own;              // private arrays, or NULL
  mjtNum *state;          // scratch of state_size numbers
  int state_size;         // of mjSTATE_INTEGRATION
  bool raised;            // the last call ended in MuJoCo's error handler: reset before going on
} brc_mj_sim;

// The sim must be zeroed; brc_mj_sim_free also takes one that was never or half made.
brc_status brc_mj_sim_init(brc_mj_sim *s, const brc_mj_source *source);
void brc_mj_sim_free(brc_mj_sim *s);
// Give the simulation its own arrays (but those of more than 64 KiB), to write target positions and the like into.
// mj_resetData does not undo what is written; brc_mj_sim_reset does.
brc_status brc_mj_own_model(brc_mj_sim *s);
// As compiled: data reset, a private model restored.
brc_status brc_mj_sim_reset(brc_mj_sim *s);

// Run calls into MuJoCo so that its fatal errors come back as a status instead of ending the process.
typedef void brc_mj_fn(brc_mj_sim *s, void *arg);
brc_status brc_mj_run(brc_mj_sim *s, brc_mj_fn *fn, void *arg);
// E_VALUE if MuJoCo has warned since the last reset: something not finite, or no room for contacts or constraints.
brc_status brc_mj_check(const brc_mj_sim *s);

// Names to indices, once, at creation. Tables are indexed by the task's own slots and end with BRC_MJ_NAME_END.
typedef enum brc_mj_kind {
  BRC_MJ_BODY,    // the object's index
  BRC_MJ_GEOM,    // the same
  BRC_MJ_SITE,    // the same
  BRC_MJ_QPOS,    // a joint's first entry in qpos
  BRC_MJ_DOF,     // a joint's first entry in qvel
  BRC_MJ_SENSOR,  // a sensor's first entry in sensordata
} brc_mj_kind;
typedef struct brc_mj_name {
  brc_mj_kind kind;
  const char *name;
  int size;  // entries that the joint or sensor must have; 1 for others
} brc_mj_name;
#define BRC_MJ_NAME_END \
  { .name = NULL }
// Fills id[0], id[1], ...; E_FORMAT says what is missing or has another size.
brc_status brc_mj_lookup(const brc_mj_sim *s, const brc_mj_name *names, int *id, size_t max);

//------------------------ 3. dm_control's stepping ----------------------------
// ctrl = low + (high - low) (a + 1) / 2, clipped to [low, high]; actuators without limits take the action itself.
void brc_mj_dmc_control(brc_mj_sim *s, const float *action);
// n physics steps. Euler: mj_step2, n - 1 times mj_step, mj_step1. RK4: n times mj_step, mj_step1.
brc_status brc_mj_dmc_step(brc_mj_sim *s, int n);
// mj_forward with actuation disabled, as after a reset.
brc_status brc_mj_dmc_forward(brc_mj_sim *s);

//------------------------ 4. State --------------------------------------------
// mjSTATE_INTEGRATION: what the next step depends on. After brc_mj_load on a reset simulation the caller runs its suite's
// forward, which overwrites the warm start of the solver, and then writes that again with brc_mj_load_warmstart.
size_t brc_mj_state_bytes(const brc_mj_sim *s);
void brc_mj_save(const brc_mj_sim *s, void *state);
brc_status brc_mj_load(brc_mj_sim *s, const void *state);
brc_status brc_mj_load_warmstart(brc_mj_sim *s);  // of the state loaded last

// A state recorded in a golden file (tensors PREFIXqpos0 ...), model.<field> included, on a reset simulation. The caller
// then runs its suite's forward and writes the warm start again with brc_mj_restore_warmstart.
brc_status brc_mj_restore(brc_mj_sim *s, const brc_st_file *file, const char *prefix);
brc_status brc_mj_restore_warmstart(brc_mj_sim *s, const brc_st_file *file, const char *prefix);
// Numbers that the original's task object held: PREFIXtask.NAME, `n` of them.
brc_status brc_mj_restore_task(const brc_st_file *file, const char *prefix, const char *name, size_t n,
                               double *out);
// "qpos", "qvel", "ncon" for brc_env_def.inspect.
brc_status brc_mj_inspect(const brc_mj_sim *s, const char *name, double *out, size_t max, size_t *count);
#endif  // BRC_HAVE_MUJOCO

//------------------------ 5. Measuring ----------------------------------------
// Between begin and end, calls of mj_step, mj_step1 and mj_step2 are recorded with their controls (by one thread, which is
// the only one that may step then); end tells how many. replay runs them again, with nothing in between, on the same
// simulations: from the state that they began in, they end in the same. Without MuJoCo there are none.
void brc_mj_record_begin(void);
size_t brc_mj_record_end(void);
brc_status brc_mj_record_replay(void);
void brc_mj_record_free(void);

//------------------------ 6. Rewards ------------------------------------------
// dm_control.utils.rewards.tolerance: 1 inside [low, high], falling off outside over `margin`.
typedef enum brc_sigmoid {
  BRC_GAUSSIAN,
  BRC_HYPERBOLIC,
  BRC_LONG_TAIL,
  BRC_RECIPROCAL,
  BRC_COSINE,
  BRC_LINEAR,
  BRC_QUADRATIC,
  BRC_TANH_SQUARED
} brc_sigmoid;
#define BRC_VALUE_AT_MARGIN 0.1  // the original's default
double brc_tolerance(double x, double low, double high, double margin, brc_sigmoid sigmoid,
                     double value_at_margin);
#endif
