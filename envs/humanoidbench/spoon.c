// Stirring a cup with a spoon. Source: envs/spoon.py.
#include "envs/humanoidbench/humanoidbench.h"

#ifdef BRC_HAVE_MUJOCO
enum { HANDLE = HB_NAMES, PLATE, CUP };
static const brc_mj_name names[] = {{BRC_MJ_GEOM, "spoon_handle", 1},
                                    {BRC_MJ_GEOM, "spoon_plate", 1},
                                    {BRC_MJ_BODY, "cup", 1},
                                    BRC_MJ_NAME_END};

// var[]: steps since the environment was made. Episodes do not reset it, in the original neither.
enum { COUNTER };

static brc_status restore(hb_env *e, const brc_st_file *file, const char *prefix) {
  return brc_mj_restore_task(file, prefix, "step_counter", 1, &e->var[COUNTER]);
}

// Line 59: the point that the spoon is to be at goes round once in 40 steps.
static void observe(const hb_env *e, double *out) {
  double angle = e->var[COUNTER] * (2 * HB_PI / 40);
  out[0] = 0.75 + cos(angle) * 0.06;
  out[1] = -0.1 + sin(angle) * 0.06;
  out[2] = 0.95;
}

static bool in_cup(const double *plate, const double *cup) {
  return fabs(plate[0] - cup[0]) < 0.1 && fabs(plate[1] - cup[1]) < 0.1 &&
         fabs(plate[2] - (cup[2] + 0.1)) < 0.1;
}

// Line 70
static double reward(hb_env *e) {
  double stand = hb_stand_default(e), small_control = hb_small_control(e), target[3];
  e->term.hand_tool_proximity_reward = hb_gaussian(hb_nearer_hand(e, hb_geom(e, HANDLE)), 0, 0.2, 0.5);
  observe(e, target);
  e->term.spoon_spinning_reward = hb_gaussian(hb_distance(hb_geom(e, PLATE), target, 3), 0, 0, 0.15);
  e->term.reward_spoon_in_cup = in_cup(hb_geom(e, PLATE), hb_body(e, CUP));
  e->var[COUNTER]++;
  return 0.15 * (stand * small_control) + 0.25 * e->term.hand_tool_proximity_reward +
         0.25 * e->term.reward_spoon_in_cup + 0.35 * e->term.spoon_spinning_reward;
}

static bool terminated(hb_env *e) { return hb_height(e) < 0.58; }

static const hb_task spoon = {.names = names,
                              .extra = 3,
                              .observe = observe,
                              .reward = reward,
                              .terminated = terminated,
                              .restore = restore};
#endif

extern const brc_env_def brc_env_hb_spoon[];
const brc_env_def brc_env_hb_spoon[] = {
    HB_H1HAND("spoon", 167, 4.661, 650, &spoon),
    BRC_ENV_END,
};
