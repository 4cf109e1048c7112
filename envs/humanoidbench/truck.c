// Packages from a truck onto a table. Source: envs/truck.py.
#include "envs/humanoidbench/humanoidbench.h"

#ifdef BRC_HAVE_MUJOCO
#include <cjson/cJSON.h>
#include <stdio.h>
#include <string.h>

enum { PACKAGES = HB_NAMES, PACKAGE_COUNT = 5, TABLE = PACKAGES + PACKAGE_COUNT };
static const brc_mj_name names[] = {{BRC_MJ_BODY, "package_a", 1},
                                    {BRC_MJ_BODY, "package_b", 1},
                                    {BRC_MJ_BODY, "package_c", 1},
                                    {BRC_MJ_BODY, "package_d", 1},
                                    {BRC_MJ_BODY, "package_e", 1},
                                    {BRC_MJ_BODY, "table", 1},
                                    BRC_MJ_NAME_END};

// var[]: whether the rest is set; the packages' first heights; three lists, each a count and the packages in it. Episodes
// do not reset any of it, in the original neither: a package that was once picked up is not on the truck again.
enum { INITIALIZED, HEIGHT, ON_TRUCK = HEIGHT + PACKAGE_COUNT, LIST = PACKAGE_COUNT + 1 };
enum { PICKED_UP = ON_TRUCK + LIST, ON_TABLE = PICKED_UP + LIST };

//------------------------ 1. Lists --------------------------------------------
static void append(double *list, double package) { list[1 + (int)list[0]++] = package; }

static void remove_at(double *list, int i) {
  list[0]--;
  for (; i < (int)list[0]; i++) list[1 + i] = list[2 + i];
}

// Move what `moves` from one list to another; how many. The original removes from the list that it walks through, and so
// passes over the entry behind each one removed.
static int shift(hb_env *e, double *from, double *to, bool (*moves)(const hb_env *e, int package)) {
  int moved = 0;
  for (int i = 0; i < (int)from[0]; i++) {
    double package = from[1 + i];
    if (!moves(e, (int)package)) continue;
    append(to, package);
    remove_at(from, i);
    moved++;
  }
  return moved;
}

// rewards.tolerance of the distance from a point to the nearest package of a list; 0 for an empty list.
static double near(const hb_env *e, const double *list, const double *point) {
  double least = INFINITY;
  for (int i = 0; i < (int)list[0]; i++)
    least = fmin(least, hb_distance(hb_body(e, PACKAGES + (int)list[1 + i]), point, 3));
  return list[0] > 0 ? hb_linear_to_0(least, 0, 0.2, 4) : 0;
}

//------------------------ 2. Packages -----------------------------------------
static bool lifted(const hb_env *e, int package) {
  return hb_body(e, PACKAGES + package)[2] > e->var[HEIGHT + package] + 0.1;
}

// Line 78
static bool upon_table(const hb_env *e, int package) {
  const double *p = hb_body(e, PACKAGES + package);
  return p[0] < 2.35 && p[1] < -1.35 && p[0] > 1.65 && p[1] > -2.05 && p[2] > 0.5;
}
static bool off_table(const hb_env *e, int package) { return !upon_table(e, package); }

static void initialize(hb_env *e) {
  e->var[INITIALIZED] = 1;
  e->var[ON_TRUCK] = e->var[PICKED_UP] = e->var[ON_TABLE] = 0;
  for (int i = 0; i < PACKAGE_COUNT; i++) {
    append(&e->var[ON_TRUCK], i);
    e->var[HEIGHT + i] = hb_body(e, PACKAGES + i)[2];
  }
}

//------------------------ 3. Recorded states ----------------------------------
static bool valid_list(const double *list) {
  bool ok = hb_in_range(list[0], 0, PACKAGE_COUNT);
  for (int i = 0; ok && i < (int)list[0]; i++) ok = hb_in_range(list[1 + i], 0, PACKAGE_COUNT - 1);
  return ok;
}

static bool valid(const hb_env *e) {
  const double *on_truck = &e->var[ON_TRUCK], *picked_up = &e->var[PICKED_UP], *on_table = &e->var[ON_TABLE];
  return valid_list(on_truck) && valid_list(picked_up) && valid_list(on_table) &&
         on_truck[0] + picked_up[0] + on_table[0] <= PACKAGE_COUNT;
}

// Each package that the array names, in its order.
static void read_list(const cJSON *array, double *list) {
  const cJSON *name;
  cJSON_ArrayForEach(name, array) {
    for (int i = 0; i < PACKAGE_COUNT && list[0] < PACKAGE_COUNT; i++)
      if (cJSON_IsString(name) && strcmp(name->valuestring, names[i].name) == 0) append(list, i);
  }
}

// Names and heights are no tensors but metadata: "t1": {"task_other": {"initial_zs": {"package_a": 1.1, ...},
// "packages_on_truck": ["package_a", ...], ...}, ...}. A truck that has not run yet has no heights.
static brc_status restore(hb_env *e, const brc_st_file *file, const char *prefix) {
  brc_status st = brc_mj_restore_task(file, prefix, "initialized", 1, &e->var[INITIALIZED]);
  if (st || e->var[INITIALIZED] == 0) return st;
  char key[32];
  snprintf(key, sizeof key, "%.*s", (int)strcspn(prefix, "."), prefix);
  const char *text = brc_st_meta(file, key);
  cJSON *json = text ? cJSON_Parse(text) : NULL;
  const cJSON *other = cJSON_GetObjectItemCaseSensitive(json, "task_other");
  const cJSON *heights = cJSON_GetObjectItemCaseSensitive(other, "initial_zs");
  for (int i = 0; !st && i < PACKAGE_COUNT; i++) {
    const cJSON *height = cJSON_GetObjectItemCaseSensitive(heights, names[i].name);
    if (!cJSON_IsNumber(height))
      st = brc_fail(BRC_E_FORMAT, "%s: its metadata '%s' lacks task_other.initial_zs.%s", brc_st_path(file),
                    key, names[i].name);
    else
      e->var[HEIGHT + i] = height->valuedouble;
  }
  read_list(cJSON_GetObjectItemCaseSensitive(other, "packages_on_truck"), &e->var[ON_TRUCK]);
  read_list(cJSON_GetObjectItemCaseSensitive(other, "packages_picked_up"), &e->var[PICKED_UP]);
  read_list(cJSON_GetObjectItemCaseSensitive(other, "packages_on_table"), &e->var[ON_TABLE]);
  cJSON_Delete(json);
  return st;
}

//------------------------ 4. Reward -------------------------------------------
// Line 87
static double reward(hb_env *e) {
  double *on_truck = &e->var[ON_TRUCK], *picked_up = &e->var[PICKED_UP], *on_table = &e->var[ON_TABLE];
  if (e->var[INITIALIZED] == 0) initialize(e);
  int moved = shift(e, on_truck, picked_up, lifted);
  moved += shift(e, picked_up, on_table, upon_table);
  moved -= shift(e, on_table, picked_up, off_table);
  hb_terms *t = &e->term;
  const double *robot = e->sim.data->qpos;
  t->upright = hb_linear_to_0(hb_torso_upright(e), 0.9, INFINITY, 1.9);
  t->reward_robot_package_truck = near(e, on_truck, robot);
  t->reward_robot_package_picked_up = near(e, picked_up, robot);
  t->reward_package_table = near(e, picked_up, hb_body(e, TABLE));
  t->packages_on_truck = on_truck[0];
  t->packages_picked_up = picked_up[0];
  t->packages_on_table = t->success_subtasks = on_table[0];
  t->success = on_table[0] == PACKAGE_COUNT;
  return 100 * moved +
         t->upright *
             (1 + t->reward_robot_package_truck + t->reward_robot_package_picked_up + t->reward_package_table) +
         1000 * t->success;
}

static bool terminated(hb_env *e) { return e->term.success > 0; }

static const hb_task truck = {
    .names = names, .reward = reward, .terminated = terminated, .valid = valid, .restore = restore};
#endif

extern const brc_env_def brc_env_hb_truck[];
const brc_env_def brc_env_hb_truck[] = {
    HB_H1HAND("truck", 216, 562.419, 3000, &truck),
    BRC_ENV_END,
};
