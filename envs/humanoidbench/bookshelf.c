// Five objects of a bookshelf, moved one after the other: simple (the same ones in one order) and hard. Source:
// envs/bookshelf.py.
#include "envs/humanoidbench/humanoidbench.h"

#ifdef BRC_HAVE_MUJOCO
#include <string.h>

enum { OBJECTS = 12, MOVES = 5 };

// var[]: how many are in place; which objects, counted from the last body as the original does (-24 to -13; one entry more,
// which is observed after the last move); where to, three numbers each.
enum { DONE, OBJECT, GOAL = OBJECT + MOVES + 1 };

static const double goals[MOVES][3] = {
    {0.75, -0.25, 1.55}, {0.8, 0.05, 0.95}, {0.8, -0.25, 0.95}, {0.85, 0.05, 0.35}, {0.85, -0.25, 0.35}};

// Lines 99 and 204
static void set_simple(hb_env *e) {
  static const double objects[MOVES + 1] = {-19, -22, -15, -20, -23, -23};
  e->var[DONE] = 0;
  memcpy(&e->var[OBJECT], objects, sizeof objects);
  memcpy(&e->var[GOAL], goals, sizeof goals);
}

static brc_status simple_start(hb_env *e, brc_env_random *r) {
  (void)r;
  set_simple(e);
  return BRC_OK;
}

// 0, 1, ... n-1, the first k of them drawn without replacement.
static void draw(brc_env_random *r, int *items, int n, int k) {
  for (int i = 0; i < n; i++) items[i] = i;
  for (int i = 0; i < k; i++) {
    int j = i + (int)brc_env_uniform(r, 0, n - i), item = items[j];
    items[j] = items[i];
    items[i] = item;
  }
}

// Line 212. The original also moves and colours outlines of the objects at their goals: only drawn, left out here.
static brc_status hard_start(hb_env *e, brc_env_random *r) {
  int goal[MOVES], object[OBJECTS];
  draw(r, goal, MOVES, MOVES);
  draw(r, object, OBJECTS, MOVES);
  e->var[DONE] = 0;
  for (int i = 0; i < MOVES; i++) {
    e->var[OBJECT + i] = object[i] - 2 * OBJECTS;
    memcpy(&e->var[GOAL + 3 * i], goals[goal[i]], sizeof goals[0]);
  }
  e->var[OBJECT + MOVES] = e->var[OBJECT + MOVES - 1];
  return BRC_OK;
}

static bool valid(const hb_env *e) {
  bool ok = hb_in_range(e->var[DONE], 0, MOVES);
  for (int i = 0; i <= MOVES; i++) ok = ok && hb_in_range(e->var[OBJECT + i], -2 * OBJECTS, -OBJECTS - 1);
  return ok;
}

static brc_status simple_restore(hb_env *e, const brc_st_file *file, const char *prefix) {
  set_simple(e);
  return brc_mj_restore_task(file, prefix, "task_index", 1, &e->var[DONE]);
}

static brc_status hard_restore(hb_env *e, const brc_st_file *file, const char *prefix) {
  double goal[3 * (MOVES + 1)];  // the last one is there twice
  brc_status st = brc_mj_restore_task(file, prefix, "task_index", 1, &e->var[DONE]);
  if (!st) st = brc_mj_restore_task(file, prefix, "bookshelf_objects", MOVES + 1, &e->var[OBJECT]);
  if (!st) st = brc_mj_restore_task(file, prefix, "placement_goals", BRC_COUNT(goal), goal);
  if (st) return st;
  memcpy(&e->var[GOAL], goal, sizeof goals);
  return BRC_OK;
}

static double current(const hb_env *e) { return e->var[OBJECT + (int)e->var[DONE]]; }
static const double *position(const hb_env *e) {
  return e->sim.data->xpos + 3 * (e->sim.model.nbody + (int)current(e));
}

// Line 120, behind the positions and velocities
static void observe(const hb_env *e, double *out) { out[0] = current(e); }

// Line 128
static double reward(hb_env *e) {
  double stand = hb_stand_default(e), small_control = hb_small_control(e);
  e->term.obj_goal_dist = hb_distance(position(e), &e->var[GOAL + 3 * (int)e->var[DONE]], 3);
  e->term.reward_proximity = hb_linear(e->term.obj_goal_dist, 0, 0.15, 1);
  e->term.reward_hand_proximity = exp(-hb_nearer_hand(e, position(e)));
  double value =
      0.2 * (stand * small_control) + 0.4 * e->term.reward_proximity + 0.4 * e->term.reward_hand_proximity;
  if (e->term.obj_goal_dist < 0.15) value += 100 * ++e->var[DONE];
  e->term.success_subtasks = e->var[DONE];
  e->term.success = e->var[DONE] == MOVES;
  return value;
}

// Line 190: fallen, done, or the object has fallen
static bool terminated(hb_env *e) {
  double reason = hb_height(e) < 0.58 ? 0 : e->var[DONE] == MOVES ? 1 : position(e)[2] < 0.5 ? 2 : NAN;
  e->term.terminated_reason = reason;
  return !isnan(reason);
}

#define BOOKSHELF(start_, restore_)                                                     \
  {                                                                                     \
    .exact = true, .extra = 1, .observe = observe, .start = (start_), .reward = reward, \
    .terminated = terminated, .valid = valid, .restore = (restore_)                     \
  }
static const hb_task simple = BOOKSHELF(simple_start, simple_restore),
                     hard = BOOKSHELF(hard_start, hard_restore);
#endif

extern const brc_env_def brc_env_hb_bookshelf[];
const brc_env_def brc_env_hb_bookshelf[] = {
    HB_H1HAND("bookshelf_simple", 308, 16.777, 2000, &simple),
    HB_H1HAND("bookshelf_hard", 308, 14.848, 2000, &hard),
    BRC_ENV_END,
};
