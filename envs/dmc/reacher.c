// A planar arm of two or three links: reach a target. Source: dm_control 1.0.20, suite/reacher.py, and BRC's
// dmc_envs/tasks/reacher.py (eec512f) for three links.
#include "envs/dmc/dmc.h"

#ifdef BRC_HAVE_MUJOCO
typedef struct reacher_task {
  dmc_task dmc;
  double target_size;  // _target_size
} reacher_task;

enum { TARGET, FINGER };
static const brc_mj_name names[] = {
    [TARGET] = {BRC_MJ_GEOM, "target", 1}, [FINGER] = {BRC_MJ_GEOM, "finger", 1}, BRC_MJ_NAME_END};

enum { TARGET_X, TARGET_Y };  // var[]

static void apply(dmc_env *e) {
  double *pos = e->sim.model.geom_pos + 3 * e->id[TARGET];
  pos[0] = e->var[TARGET_X];
  pos[1] = e->var[TARGET_Y];
  e->sim.model.geom_size[3 * e->id[TARGET]] = ((const reacher_task *)dmc_task_of(e))->target_size;
}

// Line 89: Reacher.initialize_episode
static brc_status start(dmc_env *e, brc_env_random *r) {
  dmc_random_joints(e, r);
  double angle = brc_env_uniform(r, 0, 2 * DMC_PI), radius = brc_env_uniform(r, 0.05, 0.20);
  e->var[TARGET_X] = radius * sin(angle);
  e->var[TARGET_Y] = radius * cos(angle);
  apply(e);
  return BRC_OK;
}

static brc_status restore(dmc_env *e, const brc_st_file *file, const char *prefix) {
  (void)file, (void)prefix;
  const double *pos = e->sim.model.geom_pos + 3 * e->id[TARGET];
  e->var[TARGET_X] = pos[0];
  e->var[TARGET_Y] = pos[1];
  return BRC_OK;
}

static const double *place(const dmc_env *e, int geom) { return e->sim.data->geom_xpos + 3 * e->id[geom]; }

// Line 63: Physics.finger_to_target
static void get_to_target(const dmc_env *e, double *out) {
  for (int i = 0; i < 2; i++) out[i] = place(e, TARGET)[i] - place(e, FINGER)[i];
}

// Line 102, and custom line 84
#define PARTS(links)                                                                                     \
  {                                                                                                      \
    DMC_QPOS("position", links, 0), DMC_GET("to_target", 2, get_to_target), DMC_QVEL("velocity", links), \
        DMC_PARTS_END                                                                                    \
  }
static const dmc_part two_links[] = PARTS(2), three_links[] = PARTS(3);

// Line 110
static double reward(const dmc_env *e) {
  const double *size = e->sim.model.geom_size;
  double radii = size[3 * e->id[TARGET]] + size[3 * e->id[FINGER]];
  return brc_tolerance(dmc_distance(place(e, TARGET), place(e, FINGER), 2), 0, radii, 0, BRC_GAUSSIAN,
                       BRC_VALUE_AT_MARGIN);
}

#define TASK(parts_, size_)                           \
  {                                                   \
    .dmc = {.substeps = 1,                            \
            .names = names,                           \
            .parts = (parts_),                        \
            .own_model = true,                        \
            .start = start,                           \
            .reward = reward,                         \
            .apply = apply,                           \
            .restore = restore,                       \
            .recorded = {{"_target_size", (size_)}}}, \
    .target_size = (size_)                            \
  }
static const reacher_task easy = TASK(two_links, 0.05), hard = TASK(two_links, 0.015),
                          three_easy = TASK(three_links, 0.05), three_hard = TASK(three_links, 0.015);
#endif

#define XML       DMC_SUITE("reacher.xml")
#define THREE_XML DMC_CUSTOM("reacher_three_links.xml")
extern const brc_env_def brc_env_reacher[];
const brc_env_def brc_env_reacher[] = {
    DMC_TASK("reacher-easy", 6, 2, XML, &easy),
    DMC_TASK("reacher-hard", 6, 2, XML, &hard),
    DMC_TASK("reacher-three_easy", 8, 3, THREE_XML, &three_easy),
    DMC_TASK("reacher-three_hard", 8, 3, THREE_XML, &three_hard),
    BRC_ENV_END,
};
