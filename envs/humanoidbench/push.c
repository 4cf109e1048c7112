// A box on a table, pushed to a goal. Source: envs/push.py.
#include "envs/humanoidbench/humanoidbench.h"

#ifdef BRC_HAVE_MUJOCO
#include <string.h>

enum { BOX = HB_NAMES, BOX_VELOCITY };
static const brc_mj_name names[] = {
    {BRC_MJ_QPOS, "free_object", 7}, {BRC_MJ_DOF, "free_object", 6}, BRC_MJ_NAME_END};

enum { GOAL };  // var[]: three numbers

// Lines 46, 105
static brc_status start(hb_env *e, brc_env_random *r) {
  e->var[GOAL] = brc_env_uniform(r, 0.7, 1);
  e->var[GOAL + 1] = brc_env_uniform(r, -0.5, 0.5);
  e->var[GOAL + 2] = 1;
  return BRC_OK;
}

static brc_status restore(hb_env *e, const brc_st_file *file, const char *prefix) {
  return brc_mj_restore_task(file, prefix, "goal", 3, &e->var[GOAL]);
}

static const double *box(const hb_env *e) { return e->sim.data->qpos + e->id[BOX]; }

// Line 61, behind the robot's positions and velocities
static void observe(const hb_env *e, double *out) {
  const double *const parts[] = {hb_site(e, HB_LEFT_HAND), &e->var[GOAL], box(e),
                                 e->sim.data->qvel + e->id[BOX_VELOCITY]};
  for (size_t i = 0; i < BRC_COUNT(parts); i++) memcpy(out + 3 * i, parts[i], 3 * sizeof *out);
}

// Line 76
static double reward(hb_env *e) {
  e->term.target_dist = hb_distance(box(e), &e->var[GOAL], 3);
  e->term.hand_dist = hb_distance(hb_site(e, HB_LEFT_HAND), box(e), 3);
  e->term.success = e->term.target_dist < 0.05;
  e->term.reward_success = e->term.success * 1000;
  return -0.1 * e->term.hand_dist - e->term.target_dist + e->term.reward_success;
}

static bool terminated(hb_env *e) { return e->term.success > 0; }

static const hb_task push = {.names = names,
                             .robot_only = true,
                             .extra = 12,
                             .observe = observe,
                             .start = start,
                             .reward = reward,
                             .terminated = terminated,
                             .restore = restore};
#endif

extern const brc_env_def brc_env_hb_push[];
const brc_env_def brc_env_hb_push[] = {
    HB_H1HAND_SHORT("push", 163, -526.8, 700, &push),
    BRC_ENV_END,
};
