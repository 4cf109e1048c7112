// Standing on a board that lies on a ball: simple (the ball is fixed) and hard (it rolls). Source: envs/balance.py.
#include "envs/humanoidbench/humanoidbench.h"

#ifdef BRC_HAVE_MUJOCO
enum { BALL = HB_NAMES, BOARD, FLOOR_GEOM = 0 };  // the floor is the model's first geom
static const brc_mj_name names[] = {
    {BRC_MJ_GEOM, "pivot_sphere_collision", 1}, {BRC_MJ_GEOM, "stand_board_collision", 1}, BRC_MJ_NAME_END};

// Line 30: BalanceBase.get_reward
static double reward(hb_env *e) {
  double stand = hb_stand(e, HB_STAND_HEIGHT + 0.37, HB_STAND_HEIGHT / 4, 0.9, 1.9);
  return hb_small_control(e) * stand * hb_dont_move(e);
}

// Line 62. The floor may touch the ball alone, the ball also the board.
static bool terminated(hb_env *e) {
  if (hb_height(e) < 0.8) return true;
  for (int i = 0; i < e->sim.data->ncon; i++) {
    const int *pair = hb_contact(e, i);
    bool ball = hb_in_pair(pair, e->id[BALL]), floor = hb_in_pair(pair, FLOOR_GEOM);
    if (ball ? !floor && !hb_in_pair(pair, e->id[BOARD]) : floor) return true;
  }
  return false;
}

static const hb_task balance = {.names = names, .reward = reward, .terminated = terminated};
#endif

extern const brc_env_def brc_env_hb_balance[];
const brc_env_def brc_env_hb_balance[] = {
    HB_H1HAND("balance_simple", 164, 10.17, 800, &balance),
    HB_H1HAND("balance_hard", 177, 10.032, 800, &balance),
    BRC_ENV_END,
};
