// A planar cheetah: run, backwards, on one foot, jump. Source: dm_control 1.0.20, suite/cheetah.py, and BRC's
// dmc_envs/tasks/cheetah.py (eec512f) for all but run.
#include "envs/dmc/dmc.h"

#ifdef BRC_HAVE_MUJOCO
#define HEIGHT 1.2  // custom, line 11: _CHEETAH_JUMP_HEIGHT

typedef struct cheetah_task {
  dmc_task dmc;
  double speed;  // _move_speed
  int raised;    // the foot that shall not touch the ground
} cheetah_task;

enum { TORSO, FRONT_FOOT, BACK_FOOT, SPEED };
static const brc_mj_name names[] = {[TORSO] = {BRC_MJ_BODY, "torso", 1},
                                    [FRONT_FOOT] = {BRC_MJ_BODY, "ffoot", 1},
                                    [BACK_FOOT] = {BRC_MJ_BODY, "bfoot", 1},
                                    [SPEED] = {BRC_MJ_SENSOR, "torso_subtreelinvel", 3},
                                    BRC_MJ_NAME_END};

static const cheetah_task *task_of(const dmc_env *e) { return (const cheetah_task *)dmc_task_of(e); }

// Line 63: Cheetah.initialize_episode. 200 physics steps let it come to rest; the first one still moves with the forces
// of the pose before the joints were set, as in the original.
static brc_status start(dmc_env *e, brc_env_random *r) {
  const mjModel *m = &e->sim.model;
  for (int j = 0; j < m->njnt; j++)
    if (m->jnt_limited[j])
      e->sim.data->qpos[j] = brc_env_uniform(r, m->jnt_range[2 * j], m->jnt_range[2 * j + 1]);
  brc_status st = brc_mj_dmc_step(&e->sim, 200);
  e->sim.data->time = 0;
  return st;
}

// Line 78: without the horizontal position.
static const dmc_part parts[] = {DMC_QPOS("position", 8, 1), DMC_QVEL("velocity", 9), DMC_PARTS_END};

static double speed(const dmc_env *e) { return dmc_sensor(e, SPEED)[0]; }

// Line 86
static double reward_run(const dmc_env *e) { return brc_tolerance(speed(e), 10, INFINITY, 10, BRC_LINEAR, 0); }

// Custom, line 137
static double reward_run_backwards(const dmc_env *e) {
  double v = task_of(e)->speed;
  return brc_tolerance(speed(e), -INFINITY, -v, v, BRC_LINEAR, 0);
}

static double high(double z) {
  return brc_tolerance(z, HEIGHT, INFINITY, HEIGHT / 2, BRC_GAUSSIAN, BRC_VALUE_AT_MARGIN);
}

// Custom, line 144: _stand_one_foot_reward
static double stand_on_one_foot(const dmc_env *e, int raised) {
  double v = task_of(e)->speed;
  double height = high((dmc_xpos(e, TORSO)[2] + dmc_xpos(e, raised)[2]) / 2);
  return (5 * height + brc_tolerance(speed(e), -v, v, v, BRC_LINEAR, 0)) / 6;
}

// Custom, line 165
static double reward_jump(const dmc_env *e) {
  return (stand_on_one_foot(e, BACK_FOOT) + stand_on_one_foot(e, FRONT_FOOT)) / 2;
}

// Custom, line 171: _run_one_foot_reward
static double reward_run_one_foot(const dmc_env *e) {
  const cheetah_task *t = task_of(e);
  double up = (3 * high(dmc_xpos(e, t->raised)[2]) + 2 * high(dmc_xpos(e, TORSO)[2])) / 5;
  double fast = brc_tolerance(speed(e), t->speed, INFINITY, t->speed, BRC_LINEAR, 0);
  return up * (5 * fast + 1) / 6;
}

#define DMC(reward_) .substeps = 1, .names = names, .parts = parts, .start = start, .reward = reward_
#define CUSTOM(reward_, speed_, raised_) \
  { .dmc = {DMC(reward_), .recorded = {{"_move_speed", (speed_)}}}, .speed = (speed_), .raised = (raised_) }
static const cheetah_task run = {.dmc = {DMC(reward_run)}}, run_backwards = CUSTOM(reward_run_backwards, 8, 0),
                          run_front = CUSTOM(reward_run_one_foot, 6, BACK_FOOT),
                          run_back = CUSTOM(reward_run_one_foot, 6, FRONT_FOOT),
                          jump = CUSTOM(reward_jump, 0.5, 0);
#endif

#define XML DMC_CUSTOM("cheetah.xml")
extern const brc_env_def brc_env_cheetah[];
const brc_env_def brc_env_cheetah[] = {
    DMC_TASK("cheetah-run", 17, 6, DMC_SUITE("cheetah.xml"), &run),
    DMC_TASK("cheetah-run_backwards", 17, 6, XML, &run_backwards),
    DMC_TASK("cheetah-run_front", 17, 6, XML, &run_front),
    DMC_TASK("cheetah-run_back", 17, 6, XML, &run_back),
    DMC_TASK("cheetah-jump", 17, 6, XML, &jump),
    BRC_ENV_END,
};
