// A planar hopper: stand, hop, hop backwards. Source: dm_control 1.0.20, suite/hopper.py, and BRC's
// dmc_envs/tasks/hopper.py (eec512f) for backwards, whose MJCF is the suite's.
#include "envs/dmc/dmc.h"

#ifdef BRC_HAVE_MUJOCO
enum { TORSO, FOOT, SPEED, TOE, HEEL };
static const brc_mj_name names[] = {[TORSO] = {BRC_MJ_BODY, "torso", 1},
                                    [FOOT] = {BRC_MJ_BODY, "foot", 1},
                                    [SPEED] = {BRC_MJ_SENSOR, "torso_subtreelinvel", 3},
                                    [TOE] = {BRC_MJ_SENSOR, "touch_toe", 1},
                                    [HEEL] = {BRC_MJ_SENSOR, "touch_heel", 1},
                                    BRC_MJ_NAME_END};

// Line 104: Hopper.initialize_episode
static brc_status start(dmc_env *e, brc_env_random *r) {
  dmc_random_joints(e, r);
  return BRC_OK;
}

// Line 83: Physics.touch
static void get_touch(const dmc_env *e, double *out) {
  out[0] = log1p(dmc_sensor(e, TOE)[0]);
  out[1] = log1p(dmc_sensor(e, HEEL)[0]);
}

// Line 110: without the horizontal position.
static const dmc_part parts[] = {DMC_QPOS("position", 6, 1), DMC_GET("touch", 2, get_touch),
                                 DMC_QVEL("velocity", 7), DMC_PARTS_END};

// Lines 74 and 121: the torso over the foot, both by their centres of mass.
static double standing(const dmc_env *e) {
  const double *xipos = e->sim.data->xipos;
  double height = xipos[3 * e->id[TORSO] + 2] - xipos[3 * e->id[FOOT] + 2];
  return brc_tolerance(height, 0.6, 2, 0, BRC_GAUSSIAN, BRC_VALUE_AT_MARGIN);
}

// Line 119
static double reward_stand(const dmc_env *e) { return standing(e) * ((dmc_small_control(e) + 4) / 5); }
static double reward_hop(const dmc_env *e) {
  return standing(e) * brc_tolerance(dmc_sensor(e, SPEED)[0], 2, INFINITY, 1, BRC_LINEAR, 0.5);
}

// Custom, line 80: half as fast
static double reward_hop_backwards(const dmc_env *e) {
  return standing(e) * brc_tolerance(dmc_sensor(e, SPEED)[0], -INFINITY, -1, 0.5, BRC_LINEAR, 0.5);
}

#define DMC(reward_) .substeps = 4, .names = names, .parts = parts, .start = start, .reward = reward_
static const dmc_task stand = {DMC(reward_stand), .recorded = {{"_hopping", false}}},
                      hop = {DMC(reward_hop), .recorded = {{"_hopping", true}}},
                      hop_backwards = {DMC(reward_hop_backwards)};
#endif

#define XML DMC_SUITE("hopper.xml")
extern const brc_env_def brc_env_hopper[];
const brc_env_def brc_env_hopper[] = {
    DMC_TASK("hopper-stand", 15, 4, XML, &stand),
    DMC_TASK("hopper-hop", 15, 4, XML, &hop),
    DMC_TASK("hopper-hop_backwards", 15, 4, XML, &hop_backwards),
    BRC_ENV_END,
};
