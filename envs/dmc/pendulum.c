// A pendulum with a weak motor: swing up, spin. Source: dm_control 1.0.20, suite/pendulum.py, and BRC's
// dmc_envs/tasks/pendulum.py (eec512f) for spin, whose MJCF is the suite's.
#include "envs/dmc/dmc.h"

#ifdef BRC_HAVE_MUJOCO
#define COSINE_BOUND 0.9902680687415704  // line 31: of 8 degrees

enum { POLE, HINGE, HINGE_DOF };
static const brc_mj_name names[] = {[POLE] = {BRC_MJ_BODY, "pole", 1},
                                    [HINGE] = {BRC_MJ_QPOS, "hinge", 1},
                                    [HINGE_DOF] = {BRC_MJ_DOF, "hinge", 1},
                                    BRC_MJ_NAME_END};

// Line 80: SwingUp.initialize_episode
static brc_status start(dmc_env *e, brc_env_random *r) {
  e->sim.data->qpos[e->id[HINGE]] = brc_env_uniform(r, -DMC_PI, DMC_PI);
  return BRC_OK;
}

// Line 62: Physics.pole_orientation
static void get_orientation(const dmc_env *e, double *out) {
  out[0] = dmc_xmat(e, POLE)[DMC_ZZ];
  out[1] = dmc_xmat(e, POLE)[DMC_XZ];
}

static const dmc_part parts[] = {DMC_GET("orientation", 2, get_orientation), DMC_QVEL("velocity", 1),
                                 DMC_PARTS_END};

// Line 109
static double reward_swingup(const dmc_env *e) {
  return brc_tolerance(dmc_xmat(e, POLE)[DMC_ZZ], COSINE_BOUND, 1, 0, BRC_GAUSSIAN, BRC_VALUE_AT_MARGIN);
}

// Custom, line 38
static double reward_spin(const dmc_env *e) {
  return brc_tolerance(fabs(e->sim.data->qvel[e->id[HINGE_DOF]]), 9, INFINITY, 4.5, BRC_LINEAR, 0.5);
}

#define TASK(reward_) \
  { .substeps = 1, .names = names, .parts = parts, .start = start, .reward = (reward_) }
static const dmc_task swingup = TASK(reward_swingup), spin = TASK(reward_spin);
#endif

#define XML DMC_SUITE("pendulum.xml")
extern const brc_env_def brc_env_pendulum[];
const brc_env_def brc_env_pendulum[] = {
    DMC_TASK("pendulum-swingup", 3, 1, XML, &swingup),
    DMC_TASK("pendulum-spin", 3, 1, XML, &spin),
    BRC_ENV_END,
};
