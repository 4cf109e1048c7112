// Walk, stand, run, crawl, stair, slide, hurdle, sit. Source: envs/basic_locomotion_envs.py.
#include "envs/humanoidbench/humanoidbench.h"

#ifdef BRC_HAVE_MUJOCO
#define CRAWL_HEIGHT 0.8

//------------------------ 1. Stand, walk, run ---------------------------------
typedef struct move_task {
  hb_task hb;
  double speed;  // _move_speed; 0: stand
} move_task;

// Line 46: Walk.get_reward
static double move_reward(hb_env *e) {
  double speed = ((const move_task *)hb_task_of(e))->speed;
  double stand = hb_stand_default(e), small_control = hb_small_control(e);
  return small_control * stand * (speed == 0 ? hb_dont_move(e) : hb_move(e, speed));
}

static bool fallen(hb_env *e) { return hb_height(e) < 0.2; }

#define MOVE(reward_, speed_) \
  { .hb = {.reward = (reward_), .terminated = fallen}, .speed = (speed_) }
static const move_task stand = MOVE(move_reward, 0), walk = MOVE(move_reward, 1), run = MOVE(move_reward, 5);

//------------------------ 2. Crawl --------------------------------------------
static double crawl_height(double z) { return hb_gaussian(z, CRAWL_HEIGHT - 0.2, CRAWL_HEIGHT + 0.2, 1); }

// Line 110: Crawl.get_reward
static double crawl_reward(hb_env *e) {
  static const double on_all_fours[4] = {0.75, 0, 0.65, 0};
  double small_control = hb_small_control(e), move = hb_move(e, 1);
  e->term.crawling_head = crawl_height(hb_head_height(e));
  e->term.crawling = crawl_height(hb_site(e, HB_IMU)[2]);
  double turn = hb_distance(e->sim.data->xquat + 4 * e->id[HB_PELVIS], on_all_fours, 4);
  double turned = hb_gaussian(turn, 0, 0, 1), y = hb_site(e, HB_IMU)[1];
  e->term.in_tunnel = -1 <= y && y <= 1;
  return (0.1 * small_control + 0.25 * fmin(e->term.crawling, e->term.crawling_head) + 0.4 * move +
          0.25 * turned) *
         e->term.in_tunnel;
}

static const hb_task crawl = {.reward = crawl_reward, .terminated = hb_never};

//------------------------ 3. Stair, slide -------------------------------------
// Line 173: ClimbingUpwards.get_reward; heights are above the feet.
static double climb_reward(hb_env *e) {
  double head = hb_head_height(e);
  e->term.standing = hb_gaussian(head - hb_site(e, HB_LEFT_FOOT)[2], 1.2, INFINITY, 0.45) *
                     hb_gaussian(head - hb_site(e, HB_RIGHT_FOOT)[2], 1.2, INFINITY, 0.45);
  e->term.upright = hb_linear_to_0(hb_torso_upright(e), 0.5, INFINITY, 1.9);
  e->term.stand_reward = e->term.standing * e->term.upright;
  return e->term.stand_reward * hb_small_control(e) * hb_move(e, 1);
}

static bool tilted(hb_env *e) { return hb_torso_upright(e) < 0.1; }

static const hb_task climb = {.reward = climb_reward, .terminated = tilted};

//------------------------ 4. Hurdle -------------------------------------------
enum { LEFT_BARRIER = HB_NAMES, RIGHT_BARRIER, BEHIND_BARRIER };
static const brc_mj_name barriers[] = {{BRC_MJ_GEOM, "left_barrier_collision", 1},
                                       {BRC_MJ_GEOM, "right_barrier_collision", 1},
                                       {BRC_MJ_GEOM, "behind_barrier_collision", 1},
                                       BRC_MJ_NAME_END};

// Line 232: Hurdle.get_reward. Touching the hurdles themselves costs nothing.
static double hurdle_reward(hb_env *e) {
  double stand_reward = hb_stand(e, HB_STAND_HEIGHT, HB_STAND_HEIGHT / 4, 0.8, 1.9);
  bool wall = hb_touched(e, LEFT_BARRIER) || hb_touched(e, RIGHT_BARRIER) || hb_touched(e, BEHIND_BARRIER);
  e->term.wall_collision_discount = wall ? 0.1 : 1;
  return hb_small_control(e) * stand_reward * hb_move(e, 5) * e->term.wall_collision_discount;
}

static const hb_task hurdle = {.names = barriers, .reward = hurdle_reward, .terminated = fallen};

//------------------------ 5. Sit ----------------------------------------------
enum { CHAIR = HB_NAMES };
static const brc_mj_name chair[] = {{BRC_MJ_BODY, "chair", 1}, BRC_MJ_NAME_END};

// Line 384: SitHard.reset_model. Near the chair, turned about the vertical.
static brc_status sit_hard_start(hb_env *e, brc_env_random *r) {
  double *qpos = e->sim.data->qpos;
  qpos[0] = brc_env_uniform(r, 0.2, 0.4);
  qpos[1] = brc_env_uniform(r, -0.15, 0.15);
  double angle = brc_env_uniform(r, -1.8, 1.8);
  qpos[3] = cos(angle / 2);
  qpos[4] = qpos[5] = 0;
  qpos[6] = sin(angle / 2);
  return hb_forward(e);
}

// Line 316: Sit.get_reward
static double sit_reward(hb_env *e) {
  const double *qpos = e->sim.data->qpos, *seat = hb_body(e, CHAIR);
  e->term.sitting = hb_gaussian(qpos[2], 0.68, 0.72, 0.2);
  double on_chair =
      hb_gaussian(qpos[0] - seat[0], -0.19, 0.19, 0.2) * hb_gaussian(qpos[1] - seat[1], 0, 0, 0.1);
  e->term.sitting_posture = hb_gaussian(hb_head_height(e) - hb_site(e, HB_IMU)[2], 0.35, 0.45, 0.3);
  e->term.upright = hb_linear_to_0(hb_torso_upright(e), 0.95, INFINITY, 0.9);
  e->term.sit_reward = (0.5 * e->term.sitting + 0.5 * on_chair) * e->term.upright * e->term.sitting_posture;
  return hb_small_control(e) * e->term.sit_reward * hb_dont_move(e);
}

static bool too_low(hb_env *e) { return hb_height(e) < 0.5; }

static const hb_task sit_simple = {.names = chair, .reward = sit_reward, .terminated = too_low},
                     sit_hard = {
                         .names = chair, .start = sit_hard_start, .reward = sit_reward, .terminated = too_low};
#endif

extern const brc_env_def brc_env_hb_locomotion[];
const brc_env_def brc_env_hb_locomotion[] = {
    HB_H1("stand", 51, 10.545, 800, &stand.hb),
    HB_H1("walk", 51, 2.377, 700, &walk.hb),
    HB_H1("run", 51, 2.02, 700, &run.hb),
    HB_H1("crawl", 51, 272.658, 700, &crawl),
    HB_H1("stair", 51, 3.112, 700, &climb),
    HB_H1("slide", 51, 3.191, 700, &climb),
    HB_H1("hurdle", 51, 2.214, 700, &hurdle),
    HB_H1HAND("stand", 151, 11.973, 800, &stand.hb),
    HB_H1HAND("walk", 151, 2.505, 700, &walk.hb),
    HB_H1HAND("run", 151, 1.927, 700, &run.hb),
    HB_H1HAND("crawl", 151, 278.868, 800, &crawl),
    HB_H1HAND("stair", 151, 3.161, 700, &climb),
    HB_H1HAND("slide", 151, 3.142, 700, &climb),
    HB_H1HAND("hurdle", 151, 2.371, 700, &hurdle),
    HB_H1HAND("sit_simple", 151, 10.768, 750, &sit_simple),
    HB_H1HAND("sit_hard", 164, 2.477, 750, &sit_hard),
    BRC_ENV_END,
};
