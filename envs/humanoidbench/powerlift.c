// A barbell, lifted overhead. Source: envs/powerlift.py.
#include "envs/humanoidbench/humanoidbench.h"

#ifdef BRC_HAVE_MUJOCO
enum { DUMBBELL = HB_NAMES };
static const brc_mj_name names[] = {{BRC_MJ_BODY, "dumbbell", 1}, BRC_MJ_NAME_END};

// Line 63
static double reward(hb_env *e) {
  double stand = hb_stand(e, HB_STAND_HEIGHT, HB_STAND_HEIGHT / 3, 0.8, 1.9);
  e->term.reward_dumbbell_lifted = hb_gaussian(hb_body(e, DUMBBELL)[2], 1.9, 2.1, 2);
  return 0.2 * (hb_small_control(e) * stand) + 0.8 * e->term.reward_dumbbell_lifted;
}

static bool terminated(hb_env *e) { return hb_height(e) < 0.2; }

static const hb_task powerlift = {.names = names, .reward = reward, .terminated = terminated};
#endif

extern const brc_env_def brc_env_hb_powerlift[];
const brc_env_def brc_env_hb_powerlift[] = {
    HB_H1HAND("powerlift", 164, 17.638, 800, &powerlift),
    BRC_ENV_END,
};
