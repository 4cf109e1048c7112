// A messy room: objects are to be brought together. Source: envs/room.py.
#include "envs/humanoidbench/humanoidbench.h"

#ifdef BRC_HAVE_MUJOCO
#include <string.h>

enum { OBJECTS = HB_NAMES, OBJECT_COUNT = 6 };
static const brc_mj_name names[] = {{BRC_MJ_BODY, "chair", 1},
                                    {BRC_MJ_BODY, "trophy", 1},
                                    {BRC_MJ_BODY, "headphone", 1},
                                    {BRC_MJ_BODY, "package_a", 1},
                                    {BRC_MJ_BODY, "package_b", 1},
                                    {BRC_MJ_BODY, "snow_globe", 1},
                                    BRC_MJ_NAME_END};

// Line 136. The original counts seven blocks of seven positions from the end, one more than there are objects: its first
// block lies in the robot's right hand, two of whose joints thus start far out of their range.
static brc_status start(hb_env *e, brc_env_random *r) {
  static const double headphone[4] = {0.0733422, 0.0519076, -0.240058, -0.966591};
  double *qpos = e->sim.data->qpos + e->sim.model.nq - 7 * (OBJECT_COUNT + 1);
  for (int i = 0; i <= OBJECT_COUNT; i++, qpos += 7) {
    qpos[0] = brc_env_uniform(r, -3.5 + i, -2.5 + i);
    qpos[1] = brc_env_uniform(r, 1.2, 3.5);
    if (brc_env_uniform(r, 0, 1) < 0.5) qpos[1] = -qpos[1];
    if (i == 3) memcpy(qpos + 3, headphone, sizeof headphone);
  }
  return hb_forward(e);
}

// Variance of a coordinate over the objects.
static double spread(const hb_env *e, int axis) {
  double mean = 0, square = 0;
  for (int i = 0; i < OBJECT_COUNT; i++) mean += hb_body(e, OBJECTS + i)[axis] / OBJECT_COUNT;
  for (int i = 0; i < OBJECT_COUNT; i++) {
    double d = hb_body(e, OBJECTS + i)[axis] - mean;
    square += d * d / OBJECT_COUNT;
  }
  return square;
}

// Line 80
static double reward(hb_env *e) {
  e->term.room_object_organized = hb_gaussian(fmax(spread(e, 0), spread(e, 1)), 0, 0, 3);
  return 0.2 * (hb_small_control(e) * hb_stand_default(e)) + 0.8 * e->term.room_object_organized;
}

static bool terminated(hb_env *e) { return hb_height(e) < 0.3; }

static const hb_task room = {.names = names, .start = start, .reward = reward, .terminated = terminated};
#endif

extern const brc_env_def brc_env_hb_room[];
const brc_env_def brc_env_hb_room[] = {
    HB_H1HAND("room", 229, 3.018, 400, &room),
    BRC_ENV_END,
};
