// A door with a latch, to be opened and passed. Source: envs/door.py.
#include "envs/humanoidbench/humanoidbench.h"

#ifdef BRC_HAVE_MUJOCO
enum { HINGE = HB_NAMES, HATCH_HINGE, HATCH };
static const brc_mj_name names[] = {{BRC_MJ_QPOS, "door_hinge", 1},
                                    {BRC_MJ_QPOS, "door_hatch_hinge", 1},
                                    {BRC_MJ_BODY, "door_hatch", 1},
                                    BRC_MJ_NAME_END};

// Line 65
static double reward(hb_env *e) {
  const double *qpos = e->sim.data->qpos;
  double stand = hb_stand(e, HB_STAND_HEIGHT, HB_STAND_HEIGHT / 4, 0.9, 0.9),
         small_control = hb_small_control(e);
  double door = qpos[e->id[HINGE]];
  e->term.door_openness_reward = fmin(1, door * fabs(door));
  e->term.door_hatch_openness_reward = hb_linear(qpos[e->id[HATCH_HINGE]], 0.75, 2, 0.75);
  e->term.hand_hatch_proximity_reward = hb_linear(hb_nearer_hand(e, hb_body(e, HATCH)), 0, 0.25, 1);
  e->term.passage_reward = hb_linear_to_0(hb_site(e, HB_IMU)[0], 1.2, INFINITY, 1);
  return 0.1 * stand * small_control + 0.45 * e->term.door_openness_reward +
         0.05 * e->term.door_hatch_openness_reward + 0.05 * e->term.hand_hatch_proximity_reward +
         0.35 * e->term.passage_reward;
}

static bool terminated(hb_env *e) { return hb_height(e) < 0.58; }

static const hb_task door = {.names = names, .reward = reward, .terminated = terminated};
#endif

extern const brc_env_def brc_env_hb_door[];
const brc_env_def brc_env_hb_door[] = {
    HB_H1HAND("door", 155, 2.771, 600, &door),
    BRC_ENV_END,
};
