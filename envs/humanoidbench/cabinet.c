// A cabinet: four things to open or to bring elsewhere, one after the other. Source: envs/cabinet.py.
#include "envs/humanoidbench/humanoidbench.h"

#ifdef BRC_HAVE_MUJOCO
enum { DRAWER = HB_NAMES, LEFT_DOOR, RIGHT_DOOR, PULL_DOOR, PULLUP_DOOR, DRAWER_CUBE, LATERAL_CUBE };
static const brc_mj_name names[] = {
    {BRC_MJ_QPOS, "drawer_slide", 1},         {BRC_MJ_QPOS, "left_door_hinge", 1},
    {BRC_MJ_QPOS, "right_door_hinge", 1},     {BRC_MJ_QPOS, "pull_door_slide", 1},
    {BRC_MJ_QPOS, "pullup_door_hinge", 1},    {BRC_MJ_BODY, "drawer_cube", 1},
    {BRC_MJ_BODY, "lateral_cabinet_cube", 1}, BRC_MJ_NAME_END};

enum { DONE, SUBTASKS = 4 };  // var[]: how many subtasks are done

// Line 249
static brc_status start(hb_env *e, brc_env_random *r) {
  (void)r;
  e->var[DONE] = 0;
  return BRC_OK;
}

static bool valid(const hb_env *e) { return hb_in_range(e->var[DONE], 0, SUBTASKS); }

// The original counts from 1.
static brc_status restore(hb_env *e, const brc_st_file *file, const char *prefix) {
  brc_status st = brc_mj_restore_task(file, prefix, "current_subtask", 1, &e->var[DONE]);
  e->var[DONE]--;
  return st;
}

//------------------------ 1. Subtasks -----------------------------------------
static double opened(const hb_env *e, int joint) { return fabs(e->sim.data->qpos[e->id[joint]]); }
static double door_opened(const hb_env *e, int joint) { return fmin(1, opened(e, joint)); }
static double side_door_opened(const hb_env *e) {
  return fmax(door_opened(e, LEFT_DOOR), door_opened(e, RIGHT_DOOR));
}

// Lines 122 and 135: a joint to its end
static double open_reward(hb_env *e, int joint, double range) {
  e->term.door_openness_reward = opened(e, joint) / range;
  e->term.subtask_complete = e->term.door_openness_reward > 0.95;
  return e->term.door_openness_reward;
}

// Lines 158 and 208: a cube into the compartment at a height
static double cube_reward(hb_env *e, int cube, double height) {
  const double *p = hb_body(e, cube);
  double horizontal = (hb_linear(p[0] - 0.9, -0.3, 0.3, 0.3) + hb_linear(p[1], -0.6, 0.6, 0.3)) / 2;
  double vertical = hb_linear(p[2] - height, -0.15, 0.15, 0.3);
  e->term.subtask_complete = 0.9 - 0.3 <= p[0] && p[0] <= 0.9 + 0.3 && -0.6 <= p[1] && p[1] <= 0.6 &&
                             height - 0.15 <= p[2] && p[2] <= height + 0.15;
  e->term.drawer_cube_proximity_reward = 0.3 * horizontal + 0.7 * vertical;
  return 0.5 * e->term.drawer_cube_proximity_reward + 0.5 * e->term.door_openness_reward;
}

static double subtask_reward(hb_env *e) {
  switch ((int)e->var[DONE]) {
    case 0: return open_reward(e, PULL_DOOR, 0.4);
    case 1: return open_reward(e, DRAWER, 0.45);
    case 2: e->term.door_openness_reward = side_door_opened(e); return cube_reward(e, DRAWER_CUBE, 0.94);
    default:
      e->term.door_openness_reward = door_opened(e, PULLUP_DOOR);
      e->term.secondary_door_openness_reward = side_door_opened(e);
      return cube_reward(e, LATERAL_CUBE, 1.54);
  }
}

//------------------------ 2. Reward -------------------------------------------
// Line 71. The original's fifth subtask (1000 per step) is never rewarded: the episode ends when the fourth is done.
static double reward(hb_env *e) {
  double value = 0.2 * (hb_stand_default(e) * hb_small_control(e)) + 0.8 * subtask_reward(e);
  if (e->term.subtask_complete > 0) value += 100 * ++e->var[DONE];
  e->term.success_subtasks = e->var[DONE];
  e->term.success = e->var[DONE] == SUBTASKS;
  return value;
}

static bool terminated(hb_env *e) { return e->term.success > 0; }

static const hb_task cabinet = {.names = names,
                                .start = start,
                                .reward = reward,
                                .terminated = terminated,
                                .valid = valid,
                                .restore = restore};
#endif

extern const brc_env_def brc_env_hb_cabinet[];
const brc_env_def brc_env_hb_cabinet[] = {
    HB_H1HAND("cabinet", 213, 37.733, 2500, &cabinet),
    BRC_ENV_END,
};
