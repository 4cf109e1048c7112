// A finger and a spinner: spin it, or turn it to a target. Source: dm_control 1.0.20, suite/finger.py.
#include "envs/dmc/dmc.h"

#ifdef BRC_HAVE_MUJOCO
typedef struct finger_task {
  dmc_task dmc;
  double target_radius;  // _target_radius, of turn
} finger_task;

enum {
  PROXIMAL,
  DISTAL,
  PROXIMAL_VELOCITY,
  DISTAL_VELOCITY,
  HINGE_VELOCITY,
  TIP,
  TARGET,
  SPINNER,
  TOUCH_TOP,
  TOUCH_BOTTOM,
  TIP_SITE,
  TARGET_SITE,
  CAP,
  HINGE_DOF
};
static const brc_mj_name names[] = {[PROXIMAL] = {BRC_MJ_SENSOR, "proximal", 1},
                                    [DISTAL] = {BRC_MJ_SENSOR, "distal", 1},
                                    [PROXIMAL_VELOCITY] = {BRC_MJ_SENSOR, "proximal_velocity", 1},
                                    [DISTAL_VELOCITY] = {BRC_MJ_SENSOR, "distal_velocity", 1},
                                    [HINGE_VELOCITY] = {BRC_MJ_SENSOR, "hinge_velocity", 1},
                                    [TIP] = {BRC_MJ_SENSOR, "tip", 3},
                                    [TARGET] = {BRC_MJ_SENSOR, "target", 3},
                                    [SPINNER] = {BRC_MJ_SENSOR, "spinner", 3},
                                    [TOUCH_TOP] = {BRC_MJ_SENSOR, "touchtop", 1},
                                    [TOUCH_BOTTOM] = {BRC_MJ_SENSOR, "touchbottom", 1},
                                    [TIP_SITE] = {BRC_MJ_SITE, "tip", 1},
                                    [TARGET_SITE] = {BRC_MJ_SITE, "target", 1},
                                    [CAP] = {BRC_MJ_GEOM, "cap1", 1},
                                    [HINGE_DOF] = {BRC_MJ_DOF, "hinge", 1},
                                    BRC_MJ_NAME_END};

enum { TARGET_X, TARGET_Z };  // var[], of turn

//------------------------ 1. Starts -------------------------------------------
// Line 139: Spin.initialize_episode. The target is hidden, the hinge nearly free.
static void apply_spin(dmc_env *e) {
  mjModel *m = &e->sim.model;
  m->site_rgba[4 * e->id[TARGET_SITE] + 3] = 0;
  m->site_rgba[4 * e->id[TIP_SITE] + 3] = 0;
  m->dof_damping[e->id[HINGE_DOF]] = 0.03;
}

static brc_status start_spin(dmc_env *e, brc_env_random *r) {
  apply_spin(e);
  return dmc_collision_free(e, r, dmc_random_joints, NULL);
}

static void apply_turn(dmc_env *e) {
  double *pos = e->sim.model.site_pos + 3 * e->id[TARGET_SITE];
  pos[0] = e->var[TARGET_X];
  pos[2] = e->var[TARGET_Z];
  e->sim.model.site_size[3 * e->id[TARGET_SITE]] = ((const finger_task *)dmc_task_of(e))->target_radius;
}

// Line 174: Turn.initialize_episode. The target lies on the circle that the spinner's tip describes.
static brc_status start_turn(dmc_env *e, brc_env_random *r) {
  const mjModel *m = &e->sim.model;
  const double *hinge = e->sim.data->xanchor + 3 * m->dof_jntid[e->id[HINGE_DOF]];
  const double *cap = m->geom_size + 3 * e->id[CAP];
  double angle = brc_env_uniform(r, -DMC_PI, DMC_PI), radius = cap[0] + cap[1] + cap[2];
  e->var[TARGET_X] = hinge[0] + radius * sin(angle);
  e->var[TARGET_Z] = hinge[2] + radius * cos(angle);
  apply_turn(e);
  return dmc_collision_free(e, r, dmc_random_joints, NULL);
}

static brc_status restore_turn(dmc_env *e, const brc_st_file *file, const char *prefix) {
  (void)file, (void)prefix;
  const double *pos = e->sim.model.site_pos + 3 * e->id[TARGET_SITE];
  e->var[TARGET_X] = pos[0];
  e->var[TARGET_Z] = pos[2];
  return BRC_OK;
}

//------------------------ 2. Observation --------------------------------------
// x and z of a sensor's position, from the spinner's.
static void from_spinner(const dmc_env *e, int sensor, double *out) {
  out[0] = dmc_sensor(e, sensor)[0] - dmc_sensor(e, SPINNER)[0];
  out[1] = dmc_sensor(e, sensor)[2] - dmc_sensor(e, SPINNER)[2];
}

// Line 100: Physics.bounded_position
static void get_position(const dmc_env *e, double *out) {
  out[0] = dmc_sensor(e, PROXIMAL)[0];
  out[1] = dmc_sensor(e, DISTAL)[0];
  from_spinner(e, TIP, out + 2);
}

// Line 87: Physics.touch
static void get_touch(const dmc_env *e, double *out) {
  out[0] = log1p(dmc_sensor(e, TOUCH_TOP)[0]);
  out[1] = log1p(dmc_sensor(e, TOUCH_BOTTOM)[0]);
}

// Line 105: Physics.velocity
static void get_velocity(const dmc_env *e, double *out) {
  out[0] = dmc_sensor(e, PROXIMAL_VELOCITY)[0];
  out[1] = dmc_sensor(e, DISTAL_VELOCITY)[0];
  out[2] = dmc_sensor(e, HINGE_VELOCITY)[0];
}

static void get_target_position(const dmc_env *e, double *out) { from_spinner(e, TARGET, out); }

// Line 120: Physics.dist_to_target, negative inside
static double target_distance(const dmc_env *e) {
  double tip[2], target[2];
  from_spinner(e, TIP, tip);
  from_spinner(e, TARGET, target);
  return dmc_distance(target, tip, 2) - e->sim.model.site_size[3 * e->id[TARGET_SITE]];
}
static void get_target_distance(const dmc_env *e, double *out) { out[0] = target_distance(e); }

static const dmc_part parts_spin[] = {DMC_GET("position", 4, get_position), DMC_GET("touch", 2, get_touch),
                                      DMC_GET("velocity", 3, get_velocity), DMC_PARTS_END};
static const dmc_part parts_turn[] = {DMC_GET("dist_to_target", 1, get_target_distance),
                                      DMC_GET("position", 4, get_position),
                                      DMC_GET("target_position", 2, get_target_position),
                                      DMC_GET("touch", 2, get_touch),
                                      DMC_GET("velocity", 3, get_velocity),
                                      DMC_PARTS_END};

//------------------------ 3. Reward, tasks ------------------------------------
// Lines 154 and 197
static double reward_spin(const dmc_env *e) { return dmc_sensor(e, HINGE_VELOCITY)[0] <= -15; }
static double reward_turn(const dmc_env *e) { return target_distance(e) <= 0; }

static const finger_task spin = {.dmc = {.substeps = 2,
                                         .names = names,
                                         .parts = parts_spin,
                                         .own_model = true,
                                         .start = start_spin,
                                         .reward = reward_spin,
                                         .apply = apply_spin}};
#define TURN(radius_)                                     \
  {                                                       \
    .dmc = {.substeps = 2,                                \
            .names = names,                               \
            .parts = parts_turn,                          \
            .own_model = true,                            \
            .start = start_turn,                          \
            .reward = reward_turn,                        \
            .apply = apply_turn,                          \
            .restore = restore_turn,                      \
            .recorded = {{"_target_radius", (radius_)}}}, \
    .target_radius = (radius_)                            \
  }
static const finger_task turn_easy = TURN(0.07), turn_hard = TURN(0.03);
#endif

#define XML DMC_SUITE("finger.xml")
extern const brc_env_def brc_env_finger[];
const brc_env_def brc_env_finger[] = {
    DMC_TASK("finger-spin", 9, 2, XML, &spin),
    DMC_TASK("finger-turn_easy", 12, 2, XML, &turn_easy),
    DMC_TASK("finger-turn_hard", 12, 2, XML, &turn_hard),
    BRC_ENV_END,
};
