// A dog: stand, walk, trot, run. Source: dm_control 1.0.20, suite/dog.py.
#include "envs/dmc/dmc.h"

#ifdef BRC_HAVE_MUJOCO
typedef struct dog_task {
  dmc_task dmc;
  double speed;  // _move_speed; 0: stand
} dog_task;

#define MIN_UPRIGHT_COSINE 0.8660254037844387  // line 39: of 30 degrees

//------------------------ 1. Model --------------------------------------------
// Line 61: make_model. A floor as wide as the speed allows; no ball, target or walls.
#define EDITS(floor_size)                                                                                  \
  {                                                                                                        \
    {"geom", "floor", "size", floor_size}, {"body", "ball", NULL, NULL}, {"geom", "target", NULL, NULL},   \
        {"camera", "ball", NULL, NULL}, {"camera", "head", NULL, NULL}, {"geom", "wall_px", NULL, NULL},   \
        {"geom", "wall_nx", NULL, NULL}, {"geom", "wall_py", NULL, NULL}, {"geom", "wall_ny", NULL, NULL}, \
        BRC_MJ_EDIT_END                                                                                    \
  }
static const brc_mj_edit floor_15[] = EDITS("15 15 .1"), floor_45[] = EDITS("45 45 .1"),
                         floor_135[] = EDITS("135 135 .1");

enum {
  SKULL,
  TORSO,
  PELVIS,
  ROOT,
  ROOT_DOF,
  ACCELEROMETER,
  VELOCIMETER,
  GYRO,
  SPEED,
  TOUCH,              // four sensors
  FORCE = TOUCH + 4,  // four sensors
};
static const brc_mj_name names[] = {[SKULL] = {BRC_MJ_BODY, "skull", 1},
                                    [TORSO] = {BRC_MJ_BODY, "torso", 1},
                                    [PELVIS] = {BRC_MJ_BODY, "pelvis", 1},
                                    [ROOT] = {BRC_MJ_QPOS, "root", 7},
                                    [ROOT_DOF] = {BRC_MJ_DOF, "root", 6},
                                    [ACCELEROMETER] = {BRC_MJ_SENSOR, "accelerometer", 3},
                                    [VELOCIMETER] = {BRC_MJ_SENSOR, "velocimeter", 3},
                                    [GYRO] = {BRC_MJ_SENSOR, "gyro", 3},
                                    [SPEED] = {BRC_MJ_SENSOR, "torso_linvel", 3},
                                    [TOUCH] = {BRC_MJ_SENSOR, "palm_L", 1},
                                    [TOUCH + 1] = {BRC_MJ_SENSOR, "palm_R", 1},
                                    [TOUCH + 2] = {BRC_MJ_SENSOR, "sole_L", 1},
                                    [TOUCH + 3] = {BRC_MJ_SENSOR, "sole_R", 1},
                                    [FORCE] = {BRC_MJ_SENSOR, "foot_L", 3},
                                    [FORCE + 1] = {BRC_MJ_SENSOR, "foot_R", 3},
                                    [FORCE + 2] = {BRC_MJ_SENSOR, "hand_L", 3},
                                    [FORCE + 3] = {BRC_MJ_SENSOR, "hand_R", 3},
                                    BRC_MJ_NAME_END};

enum { HINGES = 73 };

static brc_status check(const dmc_env *e) {
  const mjModel *m = &e->sim.model;
  int hinges = 0;
  for (int j = 0; j < m->njnt; j++) hinges += m->jnt_type[j] == mjJNT_HINGE;
  if (hinges != HINGES) return brc_fail(BRC_E_FORMAT, "dog.xml has %d hinges, expected %d", hinges, HINGES);
  return m->na == m->nu ? BRC_OK : brc_fail(BRC_E_FORMAT, "dog.xml: not every actuator has a state");
}

//------------------------ 2. Start --------------------------------------------
enum { TORSO_HEIGHT, PELVIS_HEIGHT, WEIGHT };  // var[]: what the rewards are measured against

// Line 264: Stand.initialize_episode. The forward pass before it has placed the bodies in the default pose.
static brc_status start(dmc_env *e, brc_env_random *r) {
  const mjModel *m = &e->sim.model;
  mjData *d = e->sim.data;
  e->var[TORSO_HEIGHT] = dmc_xpos(e, TORSO)[2] * 0.9;
  e->var[PELVIS_HEIGHT] = dmc_xpos(e, PELVIS)[2] * 0.9;
  e->var[WEIGHT] = -m->opt.gravity[2] * m->body_subtreemass[e->id[TORSO]];
  double azimuth = brc_env_uniform(r, 0, 2 * DMC_PI), *quat = d->qpos + e->id[ROOT] + 3;
  quat[0] = cos(azimuth / 2);
  quat[1] = quat[2] = 0;
  quat[3] = sin(azimuth / 2);
  double *velocity = d->qvel + e->id[ROOT_DOF];
  velocity[0] = 2 * brc_env_normal(r);
  velocity[1] = 2 * brc_env_normal(r);
  velocity[5] = 2 * brc_env_normal(r);
  for (int i = 0; i < m->nu; i++)
    d->act[i] = brc_env_uniform(r, m->actuator_ctrlrange[2 * i], m->actuator_ctrlrange[2 * i + 1]);
  return BRC_OK;
}

static brc_status restore(dmc_env *e, const brc_st_file *file, const char *prefix) {
  brc_status st = brc_mj_restore_task(file, prefix, "_stand_height", 2, &e->var[TORSO_HEIGHT]);
  return st ? st : brc_mj_restore_task(file, prefix, "_body_weight", 1, &e->var[WEIGHT]);
}

//------------------------ 3. Observation --------------------------------------
// Lines 189 and 195: hinges only
static void get_joint_angles(const dmc_env *e, double *out) {
  const mjModel *m = &e->sim.model;
  for (int j = 0; j < m->njnt; j++)
    if (m->jnt_type[j] == mjJNT_HINGE) *out++ = e->sim.data->qpos[m->jnt_qposadr[j]];
}

static void get_joint_velocities(const dmc_env *e, double *out) {
  const mjModel *m = &e->sim.model;
  for (int j = 0; j < m->njnt; j++)
    if (m->jnt_type[j] == mjJNT_HINGE) *out++ = e->sim.data->qvel[m->jnt_dofadr[j]];
}

// `count` sensors of `size` numbers each, in the slots from `first` on.
static void get_sensors(const dmc_env *e, int first, int count, int size, double *out) {
  for (int slot = first; slot < first + count; slot++)
    for (int i = 0; i < size; i++) *out++ = dmc_sensor(e, slot)[i];
}
static void get_inertial(const dmc_env *e, double *out) { get_sensors(e, ACCELEROMETER, 3, 3, out); }
static void get_touch(const dmc_env *e, double *out) { get_sensors(e, TOUCH, 4, 1, out); }
static void get_forces(const dmc_env *e, double *out) { get_sensors(e, FORCE, 4, 3, out); }

// Line 180: Physics.torso_com_velocity, in the torso's frame
static void get_velocity(const dmc_env *e, double *out) {
  dmc_to_frame(dmc_sensor(e, SPEED), dmc_xmat(e, TORSO), out);
}

static void get_heights(const dmc_env *e, double *out) {
  out[0] = dmc_xpos(e, TORSO)[2];
  out[1] = dmc_xpos(e, PELVIS)[2];
}

// Line 166: Physics.z_projection
static void get_z_projection(const dmc_env *e, double *out) {
  for (int body = SKULL; body <= PELVIS; body++)
    for (int i = 0; i < 3; i++) *out++ = dmc_xmat(e, body)[DMC_ZX + i];
}

// Line 296; the misspelt key is the original's.
static const dmc_part parts[] = {DMC_ACT("actuator_state", 38),
                                 DMC_GET("foot_forces", 12, get_forces),
                                 DMC_GET("inertial_sensors", 9, get_inertial),
                                 DMC_GET("joint_angles", HINGES, get_joint_angles),
                                 DMC_GET("joint_velocites", HINGES, get_joint_velocities),
                                 DMC_GET("torso_com_velocity", 3, get_velocity),
                                 DMC_GET("torso_pelvis_height", 2, get_heights),
                                 DMC_GET("touch_sensors", 4, get_touch),
                                 DMC_GET("z_projection", 9, get_z_projection),
                                 DMC_PARTS_END};

//------------------------ 4. Reward, tasks ------------------------------------
static double tall(double height, double target) {
  return brc_tolerance(height, target, INFINITY, target, BRC_GAUSSIAN, BRC_VALUE_AT_MARGIN);
}

// Line 317: Stand.get_reward_factors, their product
static double standing(const dmc_env *e) {
  double weight = e->var[WEIGHT], force = 0;
  double product =
      tall(dmc_xpos(e, TORSO)[2], e->var[TORSO_HEIGHT]) * tall(dmc_xpos(e, PELVIS)[2], e->var[PELVIS_HEIGHT]);
  for (int body = SKULL; body <= PELVIS; body++)
    product *= brc_tolerance(dmc_xmat(e, body)[DMC_ZZ], MIN_UPRIGHT_COSINE, INFINITY, MIN_UPRIGHT_COSINE + 1,
                             BRC_LINEAR, 0);
  for (int i = 0; i < 4; i++) force += dmc_sensor(e, TOUCH + i)[0];
  return product * brc_tolerance(force, weight, INFINITY, weight, BRC_LINEAR, 0.9);
}

// Lines 343 and 365
static double reward(const dmc_env *e) {
  double target = ((const dog_task *)dmc_task_of(e))->speed, velocity[3];
  if (target == 0) return standing(e);
  get_velocity(e, velocity);
  double forward = brc_tolerance(velocity[0], target, 2 * target, fmax(1, target), BRC_LINEAR, 0);
  return standing(e) * ((4 * forward + 1) / 5);
}

#define DMC(floor_)                                                                               \
  .substeps = 3, .edits = floor_, .names = names, .parts = parts, .check = check, .start = start, \
  .reward = reward, .restore = restore
#define MOVE(floor_, speed_) \
  { .dmc = {DMC(floor_), .recorded = {{"_move_speed", (speed_)}}}, .speed = (speed_) }
static const dog_task stand = {.dmc = {DMC(floor_15)}}, walk = MOVE(floor_15, 1), trot = MOVE(floor_45, 3),
                      run = MOVE(floor_135, 9);
#endif

#define XML DMC_SUITE("dog.xml")
extern const brc_env_def brc_env_dog[];
const brc_env_def brc_env_dog[] = {
    DMC_TASK("dog-stand", 223, 38, XML, &stand),
    DMC_TASK("dog-walk", 223, 38, XML, &walk),
    DMC_TASK("dog-trot", 223, 38, XML, &trot),
    DMC_TASK("dog-run", 223, 38, XML, &run),
    BRC_ENV_END,
};
