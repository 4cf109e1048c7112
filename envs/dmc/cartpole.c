// Cart and pole: balance or swing up. Source: dm_control 1.0.20, suite/cartpole.py.
#include "envs/dmc/dmc.h"

#ifdef BRC_HAVE_MUJOCO
typedef struct cartpole_task {
  dmc_task dmc;
  bool swing_up, sparse;
} cartpole_task;

enum { SLIDER, HINGE, POLE };
static const brc_mj_name names[] = {[SLIDER] = {BRC_MJ_QPOS, "slider", 1},
                                    [HINGE] = {BRC_MJ_QPOS, "hinge_1", 1},
                                    [POLE] = {BRC_MJ_BODY, "pole_1", 1},
                                    BRC_MJ_NAME_END};

static const cartpole_task *task_of(const dmc_env *e) { return (const cartpole_task *)dmc_task_of(e); }

// Line 177: Balance.initialize_episode
static brc_status start(dmc_env *e, brc_env_random *r) {
  mjData *d = e->sim.data;
  if (task_of(e)->swing_up) {
    d->qpos[e->id[SLIDER]] = 0.01 * brc_env_normal(r);
    d->qpos[e->id[HINGE]] = DMC_PI + 0.01 * brc_env_normal(r);
  } else {
    d->qpos[e->id[SLIDER]] = brc_env_uniform(r, -0.1, 0.1);
    d->qpos[e->id[HINGE]] = brc_env_uniform(r, -0.034, 0.034);
  }
  for (int i = 0; i < e->sim.model.nv; i++) d->qvel[i] = 0.01 * brc_env_normal(r);
  return BRC_OK;
}

static double cart_position(const dmc_env *e) { return e->sim.data->qpos[e->id[SLIDER]]; }
static double pole_cosine(const dmc_env *e) { return dmc_xmat(e, POLE)[DMC_ZZ]; }

// Line 145: Physics.bounded_position
static void get_position(const dmc_env *e, double *out) {
  out[0] = cart_position(e);
  out[1] = pole_cosine(e);
  out[2] = dmc_xmat(e, POLE)[DMC_XZ];
}

static const dmc_part parts[] = {DMC_GET("position", 3, get_position), DMC_QVEL("velocity", 2), DMC_PARTS_END};

// Line 204: Balance._get_reward
static double reward(const dmc_env *e) {
  const mjData *d = e->sim.data;
  double cart = cart_position(e), cosine = pole_cosine(e);
  if (task_of(e)->sparse)
    return brc_tolerance(cart, -0.25, 0.25, 0, BRC_GAUSSIAN, BRC_VALUE_AT_MARGIN) *
           brc_tolerance(cosine, 0.995, 1, 0, BRC_GAUSSIAN, BRC_VALUE_AT_MARGIN);
  double upright = (cosine + 1) / 2;
  double centered = (1 + brc_tolerance(cart, 0, 0, 2, BRC_GAUSSIAN, BRC_VALUE_AT_MARGIN)) / 2;
  double small_control = (4 + brc_tolerance(d->ctrl[0], 0, 0, 1, BRC_QUADRATIC, 0)) / 5;
  double small_velocity = (1 + brc_tolerance(d->qvel[1], 0, 0, 5, BRC_GAUSSIAN, BRC_VALUE_AT_MARGIN)) / 2;
  return upright * small_control * small_velocity * centered;
}

#define TASK(swing_up_, sparse_)                                               \
  {                                                                            \
    .dmc = {.substeps = 1,                                                     \
            .names = names,                                                    \
            .parts = parts,                                                    \
            .start = start,                                                    \
            .reward = reward,                                                  \
            .recorded = {{"_swing_up", (swing_up_)}, {"_sparse", (sparse_)}}}, \
    .swing_up = (swing_up_), .sparse = (sparse_)                               \
  }
static const cartpole_task balance = TASK(false, false), balance_sparse = TASK(false, true),
                           swingup = TASK(true, false), swingup_sparse = TASK(true, true);
#endif

#define XML DMC_SUITE("cartpole.xml")
extern const brc_env_def brc_env_cartpole[];
const brc_env_def brc_env_cartpole[] = {
    DMC_TASK("cartpole-balance", 5, 1, XML, &balance),
    DMC_TASK("cartpole-balance_sparse", 5, 1, XML, &balance_sparse),
    DMC_TASK("cartpole-swingup", 5, 1, XML, &swingup),
    DMC_TASK("cartpole-swingup_sparse", 5, 1, XML, &swingup_sparse),
    BRC_ENV_END,
};
