// A humanoid: stand, walk, run. Source: dm_control 1.0.20, suite/humanoid.py.
#include "envs/dmc/dmc.h"

#ifdef BRC_HAVE_MUJOCO
#define STAND_HEIGHT 1.4  // line 33

typedef struct humanoid_task {
  dmc_task dmc;
  double speed;  // _move_speed; 0: stand
} humanoid_task;

enum { TORSO, HEAD, LEFT_HAND, LEFT_FOOT, RIGHT_HAND, RIGHT_FOOT, SPEED };
static const brc_mj_name names[] = {[TORSO] = {BRC_MJ_BODY, "torso", 1},
                                    [HEAD] = {BRC_MJ_BODY, "head", 1},
                                    [LEFT_HAND] = {BRC_MJ_BODY, "left_hand", 1},
                                    [LEFT_FOOT] = {BRC_MJ_BODY, "left_foot", 1},
                                    [RIGHT_HAND] = {BRC_MJ_BODY, "right_hand", 1},
                                    [RIGHT_FOOT] = {BRC_MJ_BODY, "right_foot", 1},
                                    [SPEED] = {BRC_MJ_SENSOR, "torso_subtreelinvel", 3},
                                    BRC_MJ_NAME_END};

// Line 152: Humanoid.initialize_episode
static brc_status start(dmc_env *e, brc_env_random *r) {
  return dmc_collision_free(e, r, dmc_random_joints, NULL);
}

// Line 120: Physics.extremities, in the torso's frame
static void get_extremities(const dmc_env *e, double *out) {
  const double *torso = dmc_xpos(e, TORSO);
  for (int limb = LEFT_HAND; limb <= RIGHT_FOOT; limb++, out += 3) {
    const double *p = dmc_xpos(e, limb);
    double v[3] = {p[0] - torso[0], p[1] - torso[1], p[2] - torso[2]};
    dmc_to_frame(v, dmc_xmat(e, TORSO), out);
  }
}

static double head_height(const dmc_env *e) { return dmc_xpos(e, HEAD)[2]; }
static void get_head_height(const dmc_env *e, double *out) { out[0] = head_height(e); }
static void get_torso_vertical(const dmc_env *e, double *out) {
  for (int i = 0; i < 3; i++) out[i] = dmc_xmat(e, TORSO)[DMC_ZX + i];
}

// Line 168; joint angles are positions without the root's seven.
static const dmc_part parts[] = {DMC_SENSOR("com_velocity", 3, SPEED),
                                 DMC_GET("extremities", 12, get_extremities),
                                 DMC_GET("head_height", 1, get_head_height),
                                 DMC_QPOS("joint_angles", 21, 7),
                                 DMC_GET("torso_vertical", 3, get_torso_vertical),
                                 DMC_QVEL("velocity", 27),
                                 DMC_PARTS_END};

static double still(double v) { return brc_tolerance(v, 0, 0, 2, BRC_GAUSSIAN, BRC_VALUE_AT_MARGIN); }

// Line 183
static double reward(const dmc_env *e) {
  double target = ((const humanoid_task *)dmc_task_of(e))->speed;
  const double *v = dmc_sensor(e, SPEED);
  double standing = brc_tolerance(head_height(e), STAND_HEIGHT, INFINITY, STAND_HEIGHT / 4, BRC_GAUSSIAN,
                                  BRC_VALUE_AT_MARGIN);
  double upright = brc_tolerance(dmc_xmat(e, TORSO)[DMC_ZZ], 0.9, INFINITY, 1.9, BRC_LINEAR, 0);
  double stand = standing * upright, small_control = (4 + dmc_small_control(e)) / 5;
  if (target == 0) return small_control * stand * ((still(v[0]) + still(v[1])) / 2);
  double speed = sqrt(v[0] * v[0] + v[1] * v[1]);
  double move = brc_tolerance(speed, target, INFINITY, target, BRC_LINEAR, 0);
  return small_control * stand * ((5 * move + 1) / 6);
}

#define TASK(speed_)                                                          \
  {                                                                           \
    .dmc = {.substeps = 5,                                                    \
            .names = names,                                                   \
            .parts = parts,                                                   \
            .start = start,                                                   \
            .reward = reward,                                                 \
            .recorded = {{"_move_speed", (speed_)}, {"_pure_state", false}}}, \
    .speed = (speed_)                                                         \
  }
static const humanoid_task stand = TASK(0), walk = TASK(1), run = TASK(10);
#endif

#define XML DMC_SUITE("humanoid.xml")
extern const brc_env_def brc_env_humanoid[];
const brc_env_def brc_env_humanoid[] = {
    DMC_TASK("humanoid-stand", 67, 21, XML, &stand),
    DMC_TASK("humanoid-walk", 67, 21, XML, &walk),
    DMC_TASK("humanoid-run", 67, 21, XML, &run),
    BRC_ENV_END,
};
