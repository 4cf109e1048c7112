// A planar walker: stand, walk, run, also backwards. Source: dm_control 1.0.20, suite/walker.py, and BRC's
// dmc_envs/tasks/walker.py (eec512f) for backwards.
#include "envs/dmc/dmc.h"

#ifdef BRC_HAVE_MUJOCO
#define STAND_HEIGHT 1.2  // line 33

typedef struct walker_task {
  dmc_task dmc;
  double speed;  // _move_speed; 0: stand
  bool backwards;
} walker_task;

enum { BODIES = 7 };  // the world aside

enum { TORSO, SPEED };
static const brc_mj_name names[] = {
    [TORSO] = {BRC_MJ_BODY, "torso", 1}, [SPEED] = {BRC_MJ_SENSOR, "torso_subtreelinvel", 3}, BRC_MJ_NAME_END};

static brc_status check(const dmc_env *e) {
  if (e->sim.model.nbody == BODIES + 1) return BRC_OK;
  return brc_fail(BRC_E_FORMAT, "walker.xml has %d bodies, expected %d", e->sim.model.nbody, BODIES + 1);
}

// Line 118: PlanarWalker.initialize_episode
static brc_status start(dmc_env *e, brc_env_random *r) {
  dmc_random_joints(e, r);
  return BRC_OK;
}

static double torso_height(const dmc_env *e) { return dmc_xpos(e, TORSO)[2]; }
static void get_height(const dmc_env *e, double *out) { out[0] = torso_height(e); }

// Line 96: Physics.orientations
static void get_orientations(const dmc_env *e, double *out) {
  for (int b = 1; b <= BODIES; b++) {
    *out++ = e->sim.data->xmat[9 * b + DMC_XX];
    *out++ = e->sim.data->xmat[9 * b + DMC_XZ];
  }
}

static const dmc_part parts[] = {DMC_GET("height", 1, get_height),
                                 DMC_GET("orientations", 2 * BODIES, get_orientations), DMC_QVEL("velocity", 9),
                                 DMC_PARTS_END};

// Line 141, and custom line 114
static double reward(const dmc_env *e) {
  const walker_task *t = (const walker_task *)dmc_task_of(e);
  double standing = brc_tolerance(torso_height(e), STAND_HEIGHT, INFINITY, STAND_HEIGHT / 2, BRC_GAUSSIAN,
                                  BRC_VALUE_AT_MARGIN);
  double upright = (1 + dmc_xmat(e, TORSO)[DMC_ZZ]) / 2;
  double stand = (3 * standing + upright) / 4;
  if (t->speed == 0) return stand;
  double low = t->backwards ? -INFINITY : t->speed, high = t->backwards ? -t->speed : INFINITY;
  double move = brc_tolerance(dmc_sensor(e, SPEED)[0], low, high, t->speed / 2, BRC_LINEAR, 0.5);
  return stand * (5 * move + 1) / 6;
}

#define TASK(speed_, backwards_)                      \
  {                                                   \
    .dmc = {.substeps = 10,                           \
            .names = names,                           \
            .parts = parts,                           \
            .check = check,                           \
            .start = start,                           \
            .reward = reward,                         \
            .recorded = {{"_move_speed", (speed_)}}}, \
    .speed = (speed_), .backwards = (backwards_)      \
  }
static const walker_task stand = TASK(0, false), walk = TASK(1, false), run = TASK(8, false),
                         walk_backwards = TASK(1, true), run_backwards = TASK(8, true);
#endif

#define XML        DMC_SUITE("walker.xml")
#define CUSTOM_XML DMC_CUSTOM("walker.xml")
extern const brc_env_def brc_env_walker[];
const brc_env_def brc_env_walker[] = {
    DMC_TASK("walker-stand", 24, 6, XML, &stand),
    DMC_TASK("walker-walk", 24, 6, XML, &walk),
    DMC_TASK("walker-run", 24, 6, XML, &run),
    DMC_TASK("walker-walk_backwards", 24, 6, CUSTOM_XML, &walk_backwards),
    DMC_TASK("walker-run_backwards", 24, 6, CUSTOM_XML, &run_backwards),
    BRC_ENV_END,
};
