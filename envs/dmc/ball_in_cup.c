// A ball on a string: catch it in the cup, or spin it around. Source: dm_control 1.0.20, suite/ball_in_cup.py, and BRC's
// dmc_envs/tasks/ball_in_cup.py (eec512f) for spin.
#include "envs/dmc/dmc.h"

#ifdef BRC_HAVE_MUJOCO
enum { BALL, BALL_GEOM, TARGET, BALL_X, BALL_Z, BALL_X_DOF, BALL_Z_DOF };
static const brc_mj_name names[] = {
    [BALL] = {BRC_MJ_BODY, "ball", 1},        [BALL_GEOM] = {BRC_MJ_GEOM, "ball", 1},
    [TARGET] = {BRC_MJ_SITE, "target", 1},    [BALL_X] = {BRC_MJ_QPOS, "ball_x", 1},
    [BALL_Z] = {BRC_MJ_QPOS, "ball_z", 1},    [BALL_X_DOF] = {BRC_MJ_DOF, "ball_x", 1},
    [BALL_Z_DOF] = {BRC_MJ_DOF, "ball_z", 1}, BRC_MJ_NAME_END};

enum { OUTSIDE };  // var[]: spin's episode may start with the ball out of the cup

// Line 52: Physics.ball_to_target, x and z
static void ball_to_target(const dmc_env *e, double *out) {
  const double *target = e->sim.data->site_xpos + 3 * e->id[TARGET], *ball = dmc_xpos(e, BALL);
  out[0] = target[0] - ball[0];
  out[1] = target[2] - ball[2];
}

// Line 58: Physics.in_target
static bool in_target(const dmc_env *e) {
  const double *size = e->sim.model.site_size + 3 * e->id[TARGET];
  double radius = e->sim.model.geom_size[3 * e->id[BALL_GEOM]], d[2];
  ball_to_target(e, d);
  return fabs(d[0]) < size[0] - radius && fabs(d[1]) < size[2] - radius;
}

static void sample(dmc_env *e, brc_env_random *r) {
  e->sim.data->qpos[e->id[BALL_X]] = brc_env_uniform(r, -0.2, 0.2);
  e->sim.data->qpos[e->id[BALL_Z]] = brc_env_uniform(r, 0.2, 0.5);
}

// Line 69: BallInCup.initialize_episode
static brc_status start_catch(dmc_env *e, brc_env_random *r) { return dmc_collision_free(e, r, sample, NULL); }

// Custom, line 58: one episode in ten may start anywhere, the others start in the cup.
static bool accept(const dmc_env *e) { return in_target(e) || e->var[OUTSIDE] != 0; }
static brc_status start_spin(dmc_env *e, brc_env_random *r) {
  e->var[OUTSIDE] = brc_env_uniform(r, 0, 1) < 0.1;
  return dmc_collision_free(e, r, sample, accept);
}

static const dmc_part parts[] = {DMC_QPOS("position", 4, 0), DMC_QVEL("velocity", 4), DMC_PARTS_END};

// Line 94
static double reward_catch(const dmc_env *e) { return in_target(e); }

// Custom, line 80: far from the cup, and fast
static double reward_spin(const dmc_env *e) {
  const double *qvel = e->sim.data->qvel;
  double d[2], v[2] = {qvel[e->id[BALL_X_DOF]], qvel[e->id[BALL_Z_DOF]]};
  ball_to_target(e, d);
  double far = brc_tolerance(sqrt(d[0] * d[0] + d[1] * d[1]), 0.5, INFINITY, 0.25, BRC_LINEAR, 0.5);
  double fast = brc_tolerance(sqrt(v[0] * v[0] + v[1] * v[1]), 6, INFINITY, 3, BRC_LINEAR, 0.5);
  return (1 - in_target(e)) * (far + 2 * fast) / 3;
}

#define TASK(start_, reward_) \
  { .substeps = 10, .names = names, .parts = parts, .start = (start_), .reward = (reward_) }
static const dmc_task catch = TASK(start_catch, reward_catch), spin = TASK(start_spin, reward_spin);
#endif

extern const brc_env_def brc_env_ball_in_cup[];
const brc_env_def brc_env_ball_in_cup[] = {
    DMC_TASK("ball_in_cup-catch", 8, 2, DMC_SUITE("ball_in_cup.xml"), &catch),
    DMC_TASK("ball_in_cup-spin", 8, 2, DMC_CUSTOM("ball_in_cup.xml"), &spin),
    BRC_ENV_END,
};
