// Cart and pole: balance or swing up. Source: dm_control 1.0.20, suite/cartpole.py.
#include "envs/dmc/dmc.h"

#define XML "dm_control/suite/cartpole.xml"

#ifdef BRC_HAVE_MUJOCO
#include <math.h>

typedef struct cartpole_task {
  dmc_task dmc;
  bool swing_up, sparse;
} cartpole_task;

enum { SLIDER, HINGE, POLE };  // id[]: two addresses in qpos, one body

static const cartpole_task *task_of(const dmc_env *e) { return (const cartpole_task *)dmc_task_of(e); }

static brc_status lookup(dmc_env *e) {
  int slider, hinge;
  brc_status st = brc_mj_id(&e->sim, mjOBJ_JOINT, "slider", &slider);
  if (!st) st = brc_mj_id(&e->sim, mjOBJ_JOINT, "hinge_1", &hinge);
  if (!st) st = brc_mj_id(&e->sim, mjOBJ_BODY, "pole_1", &e->id[POLE]);
  if (st) return st;
  if (e->sim.model.nq != 2 || e->sim.model.nv != 2)
    return brc_fail(BRC_E_FORMAT, "cartpole.xml has %d coordinates, expected 2", (int)e->sim.model.nq);
  e->id[SLIDER] = e->sim.model.jnt_qposadr[slider];
  e->id[HINGE] = e->sim.model.jnt_qposadr[hinge];
  return BRC_OK;
}

// Balance.initialize_episode
static void start(dmc_env *e, brc_env_random *r) {
  mjData *d = e->sim.data;
  if (task_of(e)->swing_up) {
    d->qpos[e->id[SLIDER]] = 0.01 * brc_env_normal(r);
    d->qpos[e->id[HINGE]] = 3.141592653589793 + 0.01 * brc_env_normal(r);
  } else {
    d->qpos[e->id[SLIDER]] = brc_env_uniform(r, -0.1, 0.1);
    d->qpos[e->id[HINGE]] = brc_env_uniform(r, -0.034, 0.034);
  }
  for (int i = 0; i < e->sim.model.nv; i++) d->qvel[i] = 0.01 * brc_env_normal(r);
}

static double cart_position(const dmc_env *e) { return e->sim.data->qpos[e->id[SLIDER]]; }
static double pole_cosine(const dmc_env *e) { return e->sim.data->xmat[9 * e->id[POLE] + 8]; }
static double pole_sine(const dmc_env *e) { return e->sim.data->xmat[9 * e->id[POLE] + 2]; }

// position: cart, cosine and sine of the pole's angle; velocity: of both joints
static void observe(const dmc_env *e, double *obs) {
  obs[0] = cart_position(e);
  obs[1] = pole_cosine(e);
  obs[2] = pole_sine(e);
  obs[3] = e->sim.data->qvel[0];
  obs[4] = e->sim.data->qvel[1];
}

// Balance._get_reward
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

// Nothing to restore, but the recorded task must be this one.
static brc_status restore(dmc_env *e, const brc_st_file *file, const char *prefix) {
  double swing_up, sparse;
  brc_status st = brc_mj_restore_task(file, prefix, "_swing_up", 1, &swing_up);
  if (!st) st = brc_mj_restore_task(file, prefix, "_sparse", 1, &sparse);
  if (st) return st;
  if ((swing_up != 0) != task_of(e)->swing_up || (sparse != 0) != task_of(e)->sparse)
    return brc_fail(BRC_E_FORMAT, "%s: recorded with _swing_up %g, _sparse %g, which is another task",
                    brc_st_path(file), swing_up, sparse);
  return BRC_OK;
}

#define TASK(swing_up_, sparse_)                 \
  {                                              \
    .dmc = {.substeps = 1,                       \
            .lookup = lookup,                    \
            .start = start,                      \
            .observe = observe,                  \
            .reward = reward,                    \
            .restore = restore},                 \
    .swing_up = (swing_up_), .sparse = (sparse_) \
  }
static const cartpole_task balance = TASK(false, false), balance_sparse = TASK(false, true),
                           swingup = TASK(true, false), swingup_sparse = TASK(true, true);
#endif

extern const brc_env_def brc_env_cartpole[];
const brc_env_def brc_env_cartpole[] = {
    DMC_TASK("cartpole-balance", 5, 1, XML, &balance),
    DMC_TASK("cartpole-balance_sparse", 5, 1, XML, &balance_sparse),
    DMC_TASK("cartpole-swingup", 5, 1, XML, &swingup),
    DMC_TASK("cartpole-swingup_sparse", 5, 1, XML, &swingup_sparse),
    BRC_ENV_END,
};
