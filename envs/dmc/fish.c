// A fish: swim to a target. Source: dm_control 1.0.20, suite/fish.py.
#include "envs/dmc/dmc.h"

#ifdef BRC_HAVE_MUJOCO
enum { TORSO, TARGET, MOUTH, ROOT };
static const brc_mj_name names[] = {[TORSO] = {BRC_MJ_BODY, "torso", 1},
                                    [TARGET] = {BRC_MJ_GEOM, "target", 1},
                                    [MOUTH] = {BRC_MJ_GEOM, "mouth", 1},
                                    [ROOT] = {BRC_MJ_QPOS, "root", 7},
                                    BRC_MJ_NAME_END};

enum { TARGET_POS };  // var[]: x, y, z

static void apply(dmc_env *e) {
  for (int i = 0; i < 3; i++) e->sim.model.geom_pos[3 * e->id[TARGET] + i] = e->var[TARGET_POS + i];
}

// Line 144: Swim.initialize_episode. All joints but the root are hinges.
static brc_status start(dmc_env *e, brc_env_random *r) {
  mjData *d = e->sim.data;
  double *quat = d->qpos + e->id[ROOT] + 3, square = 0;
  for (int i = 0; i < 4; i++) {
    quat[i] = brc_env_normal(r);
    square += quat[i] * quat[i];
  }
  for (int i = 0; i < 4; i++) quat[i] /= sqrt(square);
  for (int i = e->id[ROOT] + 7; i < e->sim.model.nq; i++) d->qpos[i] = brc_env_uniform(r, -0.2, 0.2);
  e->var[TARGET_POS] = brc_env_uniform(r, -0.4, 0.4);
  e->var[TARGET_POS + 1] = brc_env_uniform(r, -0.4, 0.4);
  e->var[TARGET_POS + 2] = brc_env_uniform(r, 0.1, 0.3);
  apply(e);
  return BRC_OK;
}

static brc_status restore(dmc_env *e, const brc_st_file *file, const char *prefix) {
  (void)file, (void)prefix;
  for (int i = 0; i < 3; i++) e->var[TARGET_POS + i] = e->sim.model.geom_pos[3 * e->id[TARGET] + i];
  return BRC_OK;
}

// Line 88: Physics.mouth_to_target, in the mouth's frame
static void get_target(const dmc_env *e, double *out) {
  const double *target = e->sim.data->geom_xpos + 3 * e->id[TARGET];
  const double *mouth = e->sim.data->geom_xpos + 3 * e->id[MOUTH];
  double v[3] = {target[0] - mouth[0], target[1] - mouth[1], target[2] - mouth[2]};
  dmc_to_frame(v, e->sim.data->geom_xmat + 9 * e->id[MOUTH], out);
}

static double upright(const dmc_env *e) { return dmc_xmat(e, TORSO)[DMC_ZZ]; }
static void get_upright(const dmc_env *e, double *out) { out[0] = upright(e); }

static const dmc_part parts[] = {DMC_QPOS("joint_angles", 7, 7), DMC_GET("target", 3, get_target),
                                 DMC_GET("upright", 1, get_upright), DMC_QVEL("velocity", 13), DMC_PARTS_END};

// Line 166
static double reward(const dmc_env *e) {
  const double *size = e->sim.model.geom_size;
  double radii = size[3 * e->id[MOUTH]] + size[3 * e->id[TARGET]], v[3];
  get_target(e, v);
  double in_target = brc_tolerance(sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]), 0, radii, 2 * radii,
                                   BRC_GAUSSIAN, BRC_VALUE_AT_MARGIN);
  return (7 * in_target + 0.5 * (upright(e) + 1)) / 8;
}

static const dmc_task swim = {.substeps = 10,
                              .names = names,
                              .parts = parts,
                              .own_model = true,
                              .start = start,
                              .reward = reward,
                              .apply = apply,
                              .restore = restore};
#endif

extern const brc_env_def brc_env_fish[];
const brc_env_def brc_env_fish[] = {
    DMC_TASK("fish-swim", 24, 5, DMC_SUITE("fish.xml"), &swim),
    BRC_ENV_END,
};
