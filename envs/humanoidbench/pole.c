// Walking through a forest of poles. Source: envs/pole.py.
#include "envs/humanoidbench/humanoidbench.h"

#ifdef BRC_HAVE_MUJOCO
#include <string.h>

static bool is_pole(const hb_env *e, int geom) {
  const char *name = brc_mj.mj_id2name(&e->sim.model, mjOBJ_GEOM, geom);
  return name && strstr(name, "pole_r");
}

// Line 78. The floor is geom 0.
static bool at_pole(const hb_env *e) {
  for (int i = 0; i < e->sim.data->ncon; i++) {
    const int *pair = hb_contact(e, i);
    if (!hb_in_pair(pair, 0) && (is_pole(e, pair[0]) || is_pole(e, pair[1]))) return true;
  }
  return false;
}

// Line 43: Pole.get_reward
static double reward(hb_env *e) {
  e->term.collision_discount = at_pole(e) ? 0.1 : 1;
  return (0.5 * (hb_small_control(e) * hb_stand_default(e)) + 0.5 * hb_move(e, 0.5)) *
         e->term.collision_discount;
}

static bool terminated(hb_env *e) { return hb_height(e) < 0.5; }

static const hb_task pole = {.reward = reward, .terminated = terminated};
#endif

extern const brc_env_def brc_env_hb_pole[];
const brc_env_def brc_env_hb_pole[] = {
    HB_H1("pole", 51, 20.09, 700, &pole),
    HB_H1HAND("pole", 151, 19.721, 700, &pole),
    BRC_ENV_END,
};
