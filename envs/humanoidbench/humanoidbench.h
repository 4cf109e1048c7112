// HumanoidBench: what its tasks share. A family of tasks is one file with a table of brc_env_def rows.
// Files and lines cited in this folder are those of humanoid-bench 791405f (version 0.2), folder humanoid_bench/.
#ifndef BRC_HUMANOIDBENCH_H
#define BRC_HUMANOIDBENCH_H
#include "envs/mujoco/mj.h"

enum { HB_H1_ACTIONS = 19, HB_H1HAND_ACTIONS = 61 };

#ifdef BRC_HAVE_MUJOCO
#include <math.h>

#define HB_PI           3.141592653589793
#define HB_STAND_HEIGHT 1.65  // of the head

// What the original puts into a step's `info`: the terms of the reward, subtask counters, success. A task writes those it
// has; brc_env_inspect finds them by these names.
#define HB_TERMS(X)                 \
  X(standing)                       \
  X(upright)                        \
  X(stand_reward)                   \
  X(small_control)                  \
  X(move)                           \
  X(dont_move)                      \
  X(crawling)                       \
  X(crawling_head)                  \
  X(in_tunnel)                      \
  X(sitting)                        \
  X(sit_reward)                     \
  X(sitting_posture)                \
  X(collision_discount)             \
  X(wall_collision_discount)        \
  X(stage_convert_reward)           \
  X(checkpoint_proximity_reward)    \
  X(hand_dist)                      \
  X(target_dist)                    \
  X(healthy_reward)                 \
  X(motion_penalty)                 \
  X(reward_close)                   \
  X(reward_success)                 \
  X(reward_dumbbell_lifted)         \
  X(room_object_organized)          \
  X(hand_tool_proximity_reward)     \
  X(reward_spoon_in_cup)            \
  X(spoon_spinning_reward)          \
  X(moving_wipe_reward)             \
  X(window_contact_reward)          \
  X(window_contact_filter)          \
  X(window_contact_total_reward)    \
  X(cube_target_reward)             \
  X(peg_height_reward)              \
  X(door_openness_reward)           \
  X(secondary_door_openness_reward) \
  X(door_hatch_openness_reward)     \
  X(hand_hatch_proximity_reward)    \
  X(passage_reward)                 \
  X(reward_hand_proximity)          \
  X(reward_ball_success)            \
  X(reward_proximity)               \
  X(obj_goal_dist)                  \
  X(drawer_cube_proximity_reward)   \
  X(subtask_complete)               \
  X(packages_on_truck)              \
  X(packages_picked_up)             \
  X(packages_on_table)              \
  X(reward_robot_package_truck)     \
  X(reward_robot_package_picked_up) \
  X(reward_package_table)           \
  X(terminated_reason)              \
  X(success_subtasks)               \
  X(success)
typedef struct hb_terms {
#define X(name) double name;
  HB_TERMS(X)
#undef X
} hb_terms;

typedef struct hb_env {
  brc_env base;
  brc_mj_sim sim;
  int id[24];  // the robot's names, then the task's, in their order
  double var
      [24];  // the task's own state (stages, goals, counters), saved with the simulation's; kept through resets
  hb_terms term;  // of the last step; NaN: none
} hb_env;

//------------------------ 1. A task -------------------------------------------
// Slots of id[] that every task has; the task's own names come behind.
enum {
  HB_TORSO,         // body
  HB_PELVIS,        // body
  HB_HEAD,          // site
  HB_LEFT_FOOT,     // site
  HB_RIGHT_FOOT,    // site
  HB_IMU,           // site, in the pelvis
  HB_LEFT_HAND,     // site
  HB_RIGHT_HAND,    // site
  HB_COM_VELOCITY,  // sensor, of the whole robot
  HB_NAMES
};

// What a task adds; a family may put this first in a larger struct of its own.
typedef struct hb_task {
  const brc_mj_name *names;  // slots of id[] from HB_NAMES on; NULL: none
  bool exact;                // starts in the keyframe itself, without noise
  // The observation: positions, velocities (of the robot alone, or of all), then `extra` numbers from observe.
  bool robot_only;
  int extra;
  void (*observe)(const hb_env *e, double *out);
  // reset_model, on a simulation in its noisy keyframe; what it writes into the state it follows by hb_forward. NULL:
  // nothing to do.
  brc_status (*start)(hb_env *e, brc_env_random *r);
  double (*reward)(hb_env *e);  // writes term; called once per step, as counters advance in it
  bool (*terminated)(hb_env *e);
  bool (*valid)(const hb_env *e);  // what var holds as indices and counts is in range; NULL: it holds none
  // Find var in a golden file (var is zero before); NULL: nothing to find.
  brc_status (*restore)(hb_env *e, const brc_st_file *file, const char *prefix);
} hb_task;

static inline const hb_task *hb_task_of(const hb_env *e) { return e->base.def->task; }

//------------------------ 2. For tasks ----------------------------------------
// Position [3] of the body, site or geom in a slot; numbers of a sensor.
static inline const double *hb_body(const hb_env *e, int slot) { return e->sim.data->xpos + 3 * e->id[slot]; }
static inline const double *hb_site(const hb_env *e, int slot) {
  return e->sim.data->site_xpos + 3 * e->id[slot];
}
static inline const double *hb_geom(const hb_env *e, int slot) {
  return e->sim.data->geom_xpos + 3 * e->id[slot];
}
static inline const double *hb_sensor(const hb_env *e, int slot) {
  return e->sim.data->sensordata + e->id[slot];
}
// Positions of the robot itself, which come first in qpos; it has one velocity fewer.
static inline int hb_robot_positions(const hb_env *e) {
  return e->base.def->act_dim == HB_H1_ACTIONS ? 26 : 76;
}
double hb_distance(const double *a, const double *b, int n);  // of points of n coordinates

// rewards.tolerance with the defaults of its shape: gaussian, linear (0.1 at the margin), linear down to 0.
double hb_gaussian(double x, double low, double high, double margin);
double hb_linear(double x, double low, double high, double margin);
double hb_linear_to_0(double x, double low, double high, double margin);

double hb_head_height(const hb_env *e);
double hb_torso_upright(const hb_env *e);  // cosine to the vertical
// The terms that most tasks have; each is also written into `term`.
double hb_small_control(hb_env *e);
// standing * upright: head above `height` with a margin, torso's cosine above `cosine` with a margin.
double hb_stand(hb_env *e, double height, double height_margin, double cosine, double cosine_margin);
double hb_stand_default(hb_env *e);       // 1.65 m, 0.9
double hb_move(hb_env *e, double speed);  // forward
double hb_dont_move(hb_env *e);
// Distance of the nearer hand (right or left) to a point.
double hb_nearer_hand(const hb_env *e, const double *point);

// The geoms of contact i of mjData.ncon.
static inline const int *hb_contact(const hb_env *e, int i) { return e->sim.data->contact[i].geom; }
static inline bool hb_in_pair(const int *pair, int geom) { return pair[0] == geom || pair[1] == geom; }
bool hb_touched(const hb_env *e, int slot);  // the geom in a slot is in a contact

bool hb_never(hb_env *e);                       // for hb_task.terminated
bool hb_in_range(double x, int low, int high);  // an integer in [low, high], for hb_task.valid
static inline double hb_height(const hb_env *e) { return e->sim.data->qpos[2]; }
brc_status hb_forward(hb_env *e);

//------------------------ 3. brc_env_def --------------------------------------
brc_status hb_create(brc_env **out, const brc_env_def *def, const brc_assets *assets);
void hb_destroy(brc_env *env);
brc_status hb_reset(brc_env *env, uint64_t seed, uint64_t episode, double *obs);
brc_status hb_step(brc_env *env, const float *action, double *obs, brc_env_result *result);
size_t hb_state_bytes(const brc_env *env);
void hb_save(const brc_env *env, void *state);
brc_status hb_load(brc_env *env, const void *state);
brc_status hb_restore(brc_env *env, const brc_st_file *file, const char *prefix);
brc_status hb_inspect(brc_env *env, const char *name, double *out, size_t max, size_t *count);
struct brc_mj_sim *hb_simulation(brc_env *env);
#define HB_FUNCTIONS(task_row)                                                                        \
  .task = (task_row), .create = hb_create, .destroy = hb_destroy, .reset = hb_reset, .step = hb_step, \
  .state_bytes = hb_state_bytes, .save = hb_save, .load = hb_load, .restore = hb_restore,             \
  .inspect = hb_inspect, .simulation = hb_simulation
#else
// Listed, but cannot be created: says why.
brc_status hb_create(brc_env **out, const brc_env_def *def, const brc_assets *assets);
#define HB_FUNCTIONS(task_row) .create = hb_create
#endif

// One row: HB_H1("walk", 51, 2.377, 700, &walk). Time limit 1000 steps; HB_H1HAND_SHORT: 500. The scores are those of the
// published results (random policy, solved).
#define HB_ROW(robot, actions, task_name, obs, steps, random, success, task_row)                         \
  {                                                                                                      \
    .name = robot "-" task_name "-v0", .suite = "humanoidbench", .obs_dim = (obs), .act_dim = (actions), \
    .max_steps = (steps), .random_score = (random), .success_score = (success),                          \
    .asset = "humanoidbench/envs/" robot "_pos_" task_name ".xml", HB_FUNCTIONS(task_row)                \
  }
#define HB_H1(task_name, obs, random, success, task_row) \
  HB_ROW("h1", HB_H1_ACTIONS, task_name, obs, 1000, random, success, task_row)
#define HB_H1HAND(task_name, obs, random, success, task_row) \
  HB_ROW("h1hand", HB_H1HAND_ACTIONS, task_name, obs, 1000, random, success, task_row)
#define HB_H1HAND_SHORT(task_name, obs, random, success, task_row) \
  HB_ROW("h1hand", HB_H1HAND_ACTIONS, task_name, obs, 500, random, success, task_row)
#endif
