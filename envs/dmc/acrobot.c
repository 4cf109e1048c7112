// Two links, one motor: swing up. Source: dm_control 1.0.20, suite/acrobot.py.
#include "envs/dmc/dmc.h"

#ifdef BRC_HAVE_MUJOCO
enum { UPPER_ARM, LOWER_ARM, SHOULDER, ELBOW, TARGET, TIP };
static const brc_mj_name names[] = {[UPPER_ARM] = {BRC_MJ_BODY, "upper_arm", 1},
                                    [LOWER_ARM] = {BRC_MJ_BODY, "lower_arm", 1},
                                    [SHOULDER] = {BRC_MJ_QPOS, "shoulder", 1},
                                    [ELBOW] = {BRC_MJ_QPOS, "elbow", 1},
                                    [TARGET] = {BRC_MJ_SITE, "target", 1},
                                    [TIP] = {BRC_MJ_SITE, "tip", 1},
                                    BRC_MJ_NAME_END};

// Line 96: Balance.initialize_episode
static brc_status start(dmc_env *e, brc_env_random *r) {
  e->sim.data->qpos[e->id[SHOULDER]] = brc_env_uniform(r, -DMC_PI, DMC_PI);
  e->sim.data->qpos[e->id[ELBOW]] = brc_env_uniform(r, -DMC_PI, DMC_PI);
  return BRC_OK;
}

// Line 76: Physics.orientations
static void get_orientations(const dmc_env *e, double *out) {
  out[0] = dmc_xmat(e, UPPER_ARM)[DMC_XZ];
  out[1] = dmc_xmat(e, LOWER_ARM)[DMC_XZ];
  out[2] = dmc_xmat(e, UPPER_ARM)[DMC_ZZ];
  out[3] = dmc_xmat(e, LOWER_ARM)[DMC_ZZ];
}

static const dmc_part parts[] = {DMC_GET("orientations", 4, get_orientations), DMC_QVEL("velocity", 2),
                                 DMC_PARTS_END};

// Line 115: Balance._get_reward
static double reward(const dmc_env *e) {
  const double *target = e->sim.data->site_xpos + 3 * e->id[TARGET];
  const double *tip = e->sim.data->site_xpos + 3 * e->id[TIP];
  double radius = e->sim.model.site_size[3 * e->id[TARGET]];
  return brc_tolerance(dmc_distance(target, tip, 3), 0, radius, 1, BRC_GAUSSIAN, BRC_VALUE_AT_MARGIN);
}

static const dmc_task swingup = {.substeps = 1,
                                 .names = names,
                                 .parts = parts,
                                 .start = start,
                                 .reward = reward,
                                 .recorded = {{"_sparse", false}}};
#endif

extern const brc_env_def brc_env_acrobot[];
const brc_env_def brc_env_acrobot[] = {
    DMC_TASK("acrobot-swingup", 6, 1, DMC_SUITE("acrobot.xml"), &swingup),
    BRC_ENV_END,
};
