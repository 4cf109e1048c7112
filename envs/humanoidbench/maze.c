// Through a maze from checkpoint to checkpoint. Source: envs/maze.py.
#include "envs/humanoidbench/humanoidbench.h"

#ifdef BRC_HAVE_MUJOCO
enum { WALLS = HB_NAMES };  // the first of them; all geoms behind it are walls too
static const brc_mj_name names[] = {{BRC_MJ_GEOM, "block_collision_00", 1}, BRC_MJ_NAME_END};

enum { STAGE, DIRECTION_X, DIRECTION_Y };  // var[]
enum { STAGES = 5 };
static const double checkpoints[STAGES][2] = {{0, 0}, {3, 0}, {3, 6}, {6, 6}, {6, 6}};  // line 134

// Line 198: Maze.reset_model
static brc_status start(hb_env *e, brc_env_random *r) {
  (void)r;
  e->var[STAGE] = 0;
  e->var[DIRECTION_X] = 1;
  e->var[DIRECTION_Y] = 0;
  return BRC_OK;
}

static bool valid(const hb_env *e) { return hb_in_range(e->var[STAGE], 0, STAGES - 1); }

static brc_status restore(hb_env *e, const brc_st_file *file, const char *prefix) {
  double direction[3];
  brc_status st = brc_mj_restore_task(file, prefix, "maze_stage", 1, &e->var[STAGE]);
  if (!st) st = brc_mj_restore_task(file, prefix, "move_direction", 3, direction);
  if (st) return st;
  e->var[DIRECTION_X] = direction[0];
  e->var[DIRECTION_Y] = direction[1];
  return BRC_OK;
}

// Line 149: Maze.update_move_direction. Odd stages lead along y, the others along x; the last checkpoint is reached again
// at every step that is spent there, without a bonus.
static double advance(hb_env *e) {
  int stage = (int)e->var[STAGE];
  if (!(hb_distance(hb_body(e, HB_PELVIS), checkpoints[stage], 2) < 0.4) || stage == STAGES - 1) return 0;
  e->var[DIRECTION_X] = stage % 2 == 0;
  e->var[DIRECTION_Y] = stage % 2 == 1;
  e->var[STAGE] = stage + 1;
  return (stage + 1) * 100;
}

static bool at_wall(const hb_env *e) {
  for (int i = 0; i < e->sim.data->ncon; i++) {
    const int *pair = hb_contact(e, i);
    if (pair[0] >= e->id[WALLS] || pair[1] >= e->id[WALLS]) return true;
  }
  return false;
}

// Line 51: MazeBase.get_reward
static double reward(hb_env *e) {
  const double *velocity = hb_sensor(e, HB_COM_VELOCITY), speed = 2;
  double stand = hb_stand_default(e), small_control = hb_small_control(e);
  e->term.wall_collision_discount = at_wall(e) ? 0.1 : 1;
  e->term.stage_convert_reward = advance(e);
  int stage = (int)e->var[STAGE];
  double move = hb_linear_to_0(velocity[0] - e->var[DIRECTION_X] * speed, 0, 0, 1) *
                hb_linear_to_0(velocity[1] - e->var[DIRECTION_Y] * speed, 0, 0, 1);
  if (stage == STAGES - 1) move = 1;
  e->term.move = (5 * move + 1) / 6;
  double distance = hb_distance(checkpoints[stage], hb_site(e, HB_IMU), 2);
  e->term.checkpoint_proximity_reward = hb_gaussian(distance, 0, 0, 1);
  e->term.success_subtasks = stage;
  return (0.2 * (stand * small_control) + 0.4 * e->term.move + 0.4 * e->term.checkpoint_proximity_reward) *
             e->term.wall_collision_discount +
         e->term.stage_convert_reward;
}

static bool terminated(hb_env *e) { return hb_height(e) < 0.2; }

static const hb_task maze = {.names = names,
                             .start = start,
                             .reward = reward,
                             .terminated = terminated,
                             .valid = valid,
                             .restore = restore};
#endif

extern const brc_env_def brc_env_hb_maze[];
const brc_env_def brc_env_hb_maze[] = {
    HB_H1("maze", 51, 106.441, 1200, &maze),
    HB_H1HAND("maze", 151, 106.233, 1200, &maze),
    BRC_ENV_END,
};
