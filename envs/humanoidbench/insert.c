// Two pegs into a block, of normal and of small size. Source: envs/insert.py.
#include "envs/humanoidbench/humanoidbench.h"

#ifdef BRC_HAVE_MUJOCO
enum { HOLES = HB_NAMES, PEGS = HOLES + 2 };  // two sites each
static const brc_mj_name names[] = {{BRC_MJ_SITE, "block_peg_a", 1},
                                    {BRC_MJ_SITE, "block_peg_b", 1},
                                    {BRC_MJ_SITE, "peg_a", 1},
                                    {BRC_MJ_SITE, "peg_b", 1},
                                    BRC_MJ_NAME_END};

static double inserted(const hb_env *e, int i) {
  return hb_linear(hb_distance(hb_site(e, HOLES + i), hb_site(e, PEGS + i), 3), 0, 0, 0.5);
}
static double raised(const hb_env *e, int i) { return hb_linear(hb_site(e, PEGS + i)[2] - 1.1, 0, 0, 0.15); }

// Line 64. The left hand belongs to peg a, the right one to peg b.
static double reward(hb_env *e) {
  double stability = hb_small_control(e) * hb_stand_default(e);
  double hand = fmin(hb_distance(hb_site(e, HB_LEFT_HAND), hb_site(e, PEGS), 3),
                     hb_distance(hb_site(e, HB_RIGHT_HAND), hb_site(e, PEGS + 1), 3));
  e->term.cube_target_reward = (inserted(e, 0) + inserted(e, 1)) / 2;
  e->term.peg_height_reward = (raised(e, 0) + raised(e, 1)) / 2;
  e->term.hand_tool_proximity_reward = hb_gaussian(hand, 0, 0.2, 0.5);
  return (0.5 * stability + 0.5 * e->term.cube_target_reward) *
         (0.5 * e->term.peg_height_reward + 0.5 * e->term.hand_tool_proximity_reward);
}

// Line 134: fallen, or something off the table
static bool terminated(hb_env *e) {
  bool dropped = false;
  for (int slot = HOLES; slot < PEGS + 2; slot++) dropped = dropped || hb_site(e, slot)[2] < 0.5;
  e->term.terminated_reason = hb_height(e) < 0.5 ? 0 : dropped ? 1 : NAN;
  return !isnan(e->term.terminated_reason);
}

static const hb_task insert = {.names = names, .reward = reward, .terminated = terminated};
#endif

extern const brc_env_def brc_env_hb_insert[];
const brc_env_def brc_env_hb_insert[] = {
    HB_H1HAND_SHORT("insert_normal", 190, 1.673, 350, &insert),
    HB_H1HAND_SHORT("insert_small", 190, 1.653, 350, &insert),
    BRC_ENV_END,
};
