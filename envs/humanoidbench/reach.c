// The left hand to a point in space. Source: envs/reach.py.
#include "envs/humanoidbench/humanoidbench.h"

#ifdef BRC_HAVE_MUJOCO
#include <string.h>

enum { GOAL };  // var[]: three numbers
enum { FIRST_BODY = 1 };

// Lines 35, 82
static brc_status start(hb_env *e, brc_env_random *r) {
  for (int i = 0; i < 3; i++) e->var[GOAL + i] = brc_env_uniform(r, i == 2 ? 0.2 : -2, 2);
  return BRC_OK;
}

static brc_status restore(hb_env *e, const brc_st_file *file, const char *prefix) {
  return brc_mj_restore_task(file, prefix, "goal", 3, &e->var[GOAL]);
}

// Line 52, behind the robot's positions and velocities
static void observe(const hb_env *e, double *out) {
  memcpy(out, hb_site(e, HB_LEFT_HAND), 3 * sizeof *out);
  memcpy(out + 3, &e->var[GOAL], 3 * sizeof *out);
}

// Line 60. Health is how upright the pelvis is.
static double reward(hb_env *e) {
  e->term.hand_dist = hb_distance(hb_site(e, HB_LEFT_HAND), &e->var[GOAL], 3);
  e->term.healthy_reward = e->sim.data->xmat[9 * FIRST_BODY + 8] * 5;
  e->term.motion_penalty = 0;
  for (int i = 0; i < hb_robot_positions(e) - 1; i++)
    e->term.motion_penalty += e->sim.data->qvel[i] * e->sim.data->qvel[i];
  e->term.reward_close = e->term.hand_dist < 1 ? 5 : 0;
  e->term.reward_success = e->term.hand_dist < 0.05 ? 10 : 0;
  return e->term.healthy_reward - 0.0001 * e->term.motion_penalty + e->term.reward_close +
         e->term.reward_success;
}

static const hb_task reach = {.robot_only = true,
                              .extra = 6,
                              .observe = observe,
                              .start = start,
                              .reward = reward,
                              .terminated = hb_never,
                              .restore = restore};
#endif

extern const brc_env_def brc_env_hb_reach[];
const brc_env_def brc_env_hb_reach[] = {
    HB_H1HAND("reach", 157, -50.024, 12000, &reach),
    BRC_ENV_END,
};
