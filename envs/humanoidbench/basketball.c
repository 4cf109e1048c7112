// A ball, caught and thrown into a hoop. Source: envs/basketball.py.
#include "envs/humanoidbench/humanoidbench.h"

#ifdef BRC_HAVE_MUJOCO
enum { BALL = HB_NAMES, BALL_GEOM, BALL_QPOS, BALL_DOF, HOOP };
static const brc_mj_name names[] = {
    {BRC_MJ_BODY, "basketball", 1},      {BRC_MJ_GEOM, "basketball_collision", 1},
    {BRC_MJ_QPOS, "free_basketball", 7}, {BRC_MJ_DOF, "free_basketball", 6},
    {BRC_MJ_SITE, "hoop_center", 1},     BRC_MJ_NAME_END};

enum { CAUGHT };  // var[]: 0 until the ball touches anything ("catch"), then 1 ("throw")

// Line 158. The ball flies to the robot from a random side.
static brc_status start(hb_env *e, brc_env_random *r) {
  double angle = brc_env_uniform(r, 0, 1) * 1.45;
  if (brc_env_uniform(r, 0, 1) < 0.5) angle = -angle;
  double *velocity = e->sim.data->qvel + e->id[BALL_DOF], *position = e->sim.data->qpos + e->id[BALL_QPOS];
  velocity[0] = -7.5 * cos(angle);
  velocity[1] = -7.5 * sin(angle);
  position[0] = 1.5 * cos(angle);
  position[1] = 1.5 * sin(angle);
  position[2] = 0.3924 + hb_site(e, HB_LEFT_HAND)[2];
  e->var[CAUGHT] = 0;
  return hb_forward(e);
}

// Line 64
static double reward(hb_env *e) {
  double stability = hb_stand_default(e) * hb_small_control(e);
  const double *ball = hb_body(e, BALL);
  double farther_hand =
      fmax(hb_distance(hb_site(e, HB_LEFT_HAND), ball, 3), hb_distance(hb_site(e, HB_RIGHT_HAND), ball, 3));
  double distance = hb_distance(ball, hb_site(e, HOOP), 3);
  e->term.reward_hand_proximity = hb_gaussian(farther_hand, 0, 0.2, 1);
  e->term.reward_ball_success = hb_linear(distance, 0, 0, 7);
  if (hb_touched(e, BALL_GEOM)) e->var[CAUGHT] = 1;
  e->term.success_subtasks = e->var[CAUGHT];
  e->term.success = distance < 0.05;
  double value = e->var[CAUGHT] > 0 ? 0.15 * stability + 0.05 * e->term.reward_hand_proximity +
                                          0.8 * e->term.reward_ball_success
                                    : 0.5 * stability + 0.5 * e->term.reward_hand_proximity;
  return value + 1000 * e->term.success;
}

// Line 143
static bool terminated(hb_env *e) {
  return e->sim.data->qpos[e->id[BALL_QPOS] + 2] < 0.5 || hb_height(e) < 0.5 || e->term.success > 0;
}

static const hb_task basketball = {.names = names, .start = start, .reward = reward, .terminated = terminated};
#endif

extern const brc_env_def brc_env_hb_basketball[];
const brc_env_def brc_env_hb_basketball[] = {
    HB_H1HAND_SHORT("basketball", 164, 8.979, 1200, &basketball),
    BRC_ENV_END,
};
