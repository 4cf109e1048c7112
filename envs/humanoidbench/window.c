// Wiping a window. Source: envs/window.py.
#include "envs/humanoidbench/humanoidbench.h"

#ifdef BRC_HAVE_MUJOCO
#include <string.h>

enum { PANE = HB_NAMES, WIPE, TOOL, TOOL_VELOCITY, WIPE_SITES, WIPE_SITE_COUNT = 5 };
static const brc_mj_name names[] = {
    {BRC_MJ_GEOM, "window_pane_collision", 1}, {BRC_MJ_GEOM, "window_wipe_collision", 1},
    {BRC_MJ_BODY, "window_wiping_tool", 1},    {BRC_MJ_SENSOR, "window_wiping_tool_subtreelinvel", 3},
    {BRC_MJ_SITE, "wipe_contact_site_a", 1},   {BRC_MJ_SITE, "wipe_contact_site_b", 1},
    {BRC_MJ_SITE, "wipe_contact_site_c", 1},   {BRC_MJ_SITE, "wipe_contact_site_d", 1},
    {BRC_MJ_SITE, "wipe_contact_site_e", 1},   BRC_MJ_NAME_END};

enum { HEAD0 };  // var[]: where the head was at the start, three numbers

// Line 171
static brc_status start(hb_env *e, brc_env_random *r) {
  (void)r;
  memcpy(&e->var[HEAD0], hb_site(e, HB_HEAD), 3 * sizeof *e->var);
  return BRC_OK;
}

static brc_status restore(hb_env *e, const brc_st_file *file, const char *prefix) {
  return brc_mj_restore_task(file, prefix, "head_pos0", 3, &e->var[HEAD0]);
}

static bool wiping(const hb_env *e) {
  for (int i = 0; i < e->sim.data->ncon; i++) {
    const int *pair = hb_contact(e, i);
    if (hb_in_pair(pair, e->id[PANE]) && hb_in_pair(pair, e->id[WIPE])) return true;
  }
  return false;
}

// The least of the wipe's five points.
static double flat_on_window(const hb_env *e) {
  double least = INFINITY;
  for (int i = 0; i < WIPE_SITE_COUNT; i++)
    least = fmin(least, hb_linear(hb_site(e, WIPE_SITES + i)[0], 0.92, 0.92, 0.4));
  return least;
}

static double near_tool(const hb_env *e, int hand) {
  return hb_gaussian(hb_distance(hb_site(e, hand), hb_body(e, TOOL), 3), 0, 0.2, 0.5);
}

// Line 62
static double reward(hb_env *e) {
  double stand = hb_stand_default(e), small_control = hb_small_control(e);
  e->term.window_contact_reward = flat_on_window(e);
  e->term.window_contact_filter = wiping(e);
  e->term.hand_tool_proximity_reward = fmin(near_tool(e, HB_LEFT_HAND), near_tool(e, HB_RIGHT_HAND));
  e->term.moving_wipe_reward = hb_gaussian(fabs(hb_sensor(e, TOOL_VELOCITY)[2]), 0.5, 0.5, 0.5);
  double moved = hb_distance(hb_site(e, HB_HEAD), &e->var[HEAD0], 3);
  double manipulation = 0.2 * (stand * small_control * hb_gaussian(moved, 0.4, 0.4, 0.1)) +
                        0.4 * e->term.moving_wipe_reward + 0.4 * e->term.hand_tool_proximity_reward;
  e->term.window_contact_total_reward = e->term.window_contact_filter * e->term.window_contact_reward;
  return 0.5 * manipulation + 0.5 * e->term.window_contact_total_reward;
}

static bool terminated(hb_env *e) { return hb_height(e) < 0.58 || hb_body(e, TOOL)[2] < 0.58; }

static const hb_task window = {
    .names = names, .start = start, .reward = reward, .terminated = terminated, .restore = restore};
#endif

extern const brc_env_def brc_env_hb_window[];
const brc_env_def brc_env_hb_window[] = {
    HB_H1HAND("window", 171, 2.713, 650, &window),
    BRC_ENV_END,
};
