// Source: env.py (HumanoidEnv), tasks.py (Task), robots.py (H1), and gymnasium 0.29.1, envs/mujoco/mujoco_env.py.
#include "envs/humanoidbench/humanoidbench.h"

#ifndef BRC_HAVE_MUJOCO
brc_status hb_create(brc_env **out, const brc_env_def *def, const brc_assets *assets) {
  (void)def, (void)assets;
  *out = NULL;
  return brc_mj_open();
}
#else
#include <stdlib.h>
#include <string.h>

enum { SUBSTEPS = 10 };  // tasks.py:10

//------------------------ 1. Life ---------------------------------------------
static const brc_mj_name robot_names[] = {[HB_TORSO] = {BRC_MJ_BODY, "torso_link", 1},
                                          [HB_PELVIS] = {BRC_MJ_BODY, "pelvis", 1},
                                          [HB_HEAD] = {BRC_MJ_SITE, "head", 1},
                                          [HB_LEFT_FOOT] = {BRC_MJ_SITE, "left_foot", 1},
                                          [HB_RIGHT_FOOT] = {BRC_MJ_SITE, "right_foot", 1},
                                          [HB_IMU] = {BRC_MJ_SITE, "imu", 1},
                                          [HB_LEFT_HAND] = {BRC_MJ_SITE, "left_hand", 1},
                                          [HB_RIGHT_HAND] = {BRC_MJ_SITE, "right_hand", 1},
                                          [HB_COM_VELOCITY] = {BRC_MJ_SENSOR, "pelvis_subtreelinvel", 3},
                                          BRC_MJ_NAME_END};

static int positions(const hb_env *e) {
  return hb_task_of(e)->robot_only ? hb_robot_positions(e) : e->sim.model.nq;
}
static int velocities(const hb_env *e) {
  return hb_task_of(e)->robot_only ? hb_robot_positions(e) - 1 : e->sim.model.nv;
}

static brc_status check_model(const hb_env *e) {
  const brc_env_def *def = e->base.def;
  const mjModel *m = &e->sim.model;
  int robot = hb_robot_positions(e), obs = positions(e) + velocities(e) + hb_task_of(e)->extra;
  if (m->nu != def->act_dim || m->nq < robot || m->nv < robot - 1 || obs != def->obs_dim || m->nkey < 1)
    return brc_fail(BRC_E_FORMAT,
                    "%s has %d actuators, %d positions, %d velocities and %d keyframes, which do not fit the "
                    "task: is this the file of the right version?",
                    def->asset, m->nu, m->nq, m->nv, m->nkey);
  return BRC_OK;
}

static brc_status open_model(hb_env *e, const brc_assets *assets) {
  const brc_mj_name *names = hb_task_of(e)->names;
  char path[4096];
  brc_status st = brc_mj_open();  // first: without the library it does not matter where the model is
  if (!st) st = brc_assets_find(assets, e->base.def->asset, path, sizeof path);
  if (st) return st;
  st = brc_mj_sim_init(&e->sim, &(brc_mj_source){.path = path});
  if (!st) st = brc_mj_lookup(&e->sim, robot_names, e->id, HB_NAMES);
  if (!st && names) st = brc_mj_lookup(&e->sim, names, e->id + HB_NAMES, BRC_COUNT(e->id) - HB_NAMES);
  return st ? st : check_model(e);
}

brc_status hb_create(brc_env **out, const brc_env_def *def, const brc_assets *assets) {
  hb_env *e = calloc(1, sizeof *e);
  if (!e) return brc_fail(BRC_E_NOMEM, "environment");
  e->base.def = def;
  brc_status st = open_model(e, assets);
  if (st) {
    hb_destroy(&e->base);
    return st;
  }
  *out = &e->base;
  return BRC_OK;
}

struct brc_mj_sim *hb_simulation(brc_env *env) {
  return &((hb_env *)env)->sim;
}

void hb_destroy(brc_env *env) {
  hb_env *e = (hb_env *)env;
  brc_mj_sim_free(&e->sim);
  free(e);
}

//------------------------ 2. Episodes -----------------------------------------
static void observe(const hb_env *e, double *obs) {
  size_t np = (size_t)positions(e), nv = (size_t)velocities(e);
  memcpy(obs, e->sim.data->qpos, np * sizeof *obs);
  memcpy(obs + np, e->sim.data->qvel, nv * sizeof *obs);
  if (hb_task_of(e)->observe) hb_task_of(e)->observe(e, obs + np + nv);
}

static void forward(brc_mj_sim *s, void *arg) {
  (void)arg;
  brc_mj.mj_forward(&s->model, s->data);
}

brc_status hb_forward(hb_env *e) { return brc_mj_run(&e->sim, forward, NULL); }

static void to_keyframe(brc_mj_sim *s, void *arg) {
  (void)arg;
  brc_mj.mj_resetDataKeyframe(&s->model, s->data, 0);
  brc_mj.mj_forward(&s->model, s->data);
}

// env.py:229. The noise is on every position, quaternions too, which the second forward pass makes unit ones again.
static brc_status start(hb_env *e, brc_env_random *r) {
  brc_status st = brc_mj_run(&e->sim, to_keyframe, NULL);
  if (st) return st;
  double noise = hb_task_of(e)->exact ? 0 : 0.01;
  for (int i = 0; i < e->sim.model.nq; i++) e->sim.data->qpos[i] += brc_env_uniform(r, -noise, noise);
  st = hb_forward(e);
  return st || !hb_task_of(e)->start ? st : hb_task_of(e)->start(e, r);
}

brc_status hb_reset(brc_env *env, uint64_t seed, uint64_t episode, double *obs) {
  hb_env *e = (hb_env *)env;
  brc_env_random random = brc_env_random_start(seed, episode);
  brc_status st = brc_mj_sim_reset(&e->sim);
  if (!st) st = start(e, &random);
  if (!st) observe(e, obs);
  return st;
}

// tasks.py:55, in float32: the action and gymnasium's bounds of it are.
static void control(hb_env *e, const float *action) {
  for (int i = 0; i < e->sim.model.nu; i++) {
    float low = (float)e->sim.model.actuator_ctrlrange[2 * i];
    float high = (float)e->sim.model.actuator_ctrlrange[2 * i + 1];
    e->sim.data->ctrl[i] = (double)((action[i] + 1) / 2 * (high - low) + low);
  }
}

static void simulate(brc_mj_sim *s, void *arg) {
  (void)arg;
  for (int i = 0; i < SUBSTEPS; i++) brc_mj.mj_step(&s->model, s->data);
  brc_mj.mj_rnePostConstraint(&s->model, s->data);
}

static void clear_terms(hb_env *e) {
#define X(name) e->term.name = NAN;
  HB_TERMS(X)
#undef X
}

// tasks.py:60. After MuJoCo's warnings (which reset a simulation that diverged) the episode goes on, as in the original,
// where nobody looks at them; what is not finite ends the run (brc_loop_step).
brc_status hb_step(brc_env *env, const float *action, double *obs, brc_env_result *result) {
  hb_env *e = (hb_env *)env;
  control(e, action);
  brc_status st = brc_mj_run(&e->sim, simulate, NULL);
  if (st) return st;
  observe(e, obs);
  clear_terms(e);
  result->reward = hb_task_of(e)->reward(e);
  result->terminated = hb_task_of(e)->terminated(e);
  result->success = isnan(e->term.success) ? 0 : e->term.success;
  return BRC_OK;
}

//------------------------ 3. State --------------------------------------------
// The task's numbers, then the simulation's.
size_t hb_state_bytes(const brc_env *env) {
  const hb_env *e = (const hb_env *)env;
  return sizeof e->var + brc_mj_state_bytes(&e->sim);
}

void hb_save(const brc_env *env, void *state) {
  const hb_env *e = (const hb_env *)env;
  memcpy(state, e->var, sizeof e->var);
  brc_mj_save(&e->sim, (char *)state + sizeof e->var);
}

static bool valid(const hb_env *e) { return !hb_task_of(e)->valid || hb_task_of(e)->valid(e); }

// The forward pass finds the bodies' places; it also rounds quaternions anew, so that the state is written again after it.
brc_status hb_load(brc_env *env, const void *state) {
  hb_env *e = (hb_env *)env;
  const char *simulation = (const char *)state + sizeof e->var;
  brc_status st = brc_mj_sim_reset(&e->sim);
  if (st) return st;
  memcpy(e->var, state, sizeof e->var);
  if (!valid(e)) return brc_fail(BRC_E_FORMAT, "the saved state is damaged (the task's own numbers)");
  st = brc_mj_load(&e->sim, simulation);
  if (!st) st = hb_forward(e);
  return st ? st : brc_mj_load(&e->sim, simulation);
}

brc_status hb_restore(brc_env *env, const brc_st_file *file, const char *prefix) {
  hb_env *e = (hb_env *)env;
  memset(e->var, 0, sizeof e->var);
  brc_status st = brc_mj_sim_reset(&e->sim);
  if (!st) st = brc_mj_restore(&e->sim, file, prefix);
  if (!st && hb_task_of(e)->restore) st = hb_task_of(e)->restore(e, file, prefix);
  if (!st && !valid(e))
    st = brc_fail(BRC_E_FORMAT, "%s: the task's numbers ('%stask...') are out of range", brc_st_path(file),
                  prefix);
  if (!st) st = hb_forward(e);
  if (!st) st = brc_mj_restore_warmstart(&e->sim, file, prefix);
  return st;
}

static const double *find_term(const hb_env *e, const char *name) {
#define X(field) \
  if (strcmp(name, #field) == 0) return &e->term.field;
  HB_TERMS(X)
#undef X
  return NULL;
}

brc_status hb_inspect(brc_env *env, const char *name, double *out, size_t max, size_t *count) {
  hb_env *e = (hb_env *)env;
  const double *term = find_term(e, name);
  if (term) {
    if (isnan(*term)) return BRC_E_NOT_FOUND;
    *count = 1;
    if (max > 0) out[0] = *term;
    return BRC_OK;
  }
  if (strcmp(name, "obs") != 0) return brc_mj_inspect(&e->sim, name, out, max, count);
  *count = (size_t)env->def->obs_dim;
  if (max >= *count) observe(e, out);
  return BRC_OK;
}

//------------------------ 4. For tasks ----------------------------------------
double hb_distance(const double *a, const double *b, int n) {
  double square = 0;
  for (int i = 0; i < n; i++) square += (a[i] - b[i]) * (a[i] - b[i]);
  return sqrt(square);
}

double hb_gaussian(double x, double low, double high, double margin) {
  return brc_tolerance(x, low, high, margin, BRC_GAUSSIAN, BRC_VALUE_AT_MARGIN);
}

double hb_linear(double x, double low, double high, double margin) {
  return brc_tolerance(x, low, high, margin, BRC_LINEAR, BRC_VALUE_AT_MARGIN);
}

double hb_linear_to_0(double x, double low, double high, double margin) {
  return brc_tolerance(x, low, high, margin, BRC_LINEAR, 0);
}

bool hb_in_range(double x, int low, int high) { return x >= low && x <= high && x == floor(x); }

double hb_head_height(const hb_env *e) { return hb_site(e, HB_HEAD)[2]; }
double hb_torso_upright(const hb_env *e) { return e->sim.data->xmat[9 * e->id[HB_TORSO] + 8]; }

double hb_small_control(hb_env *e) {
  double sum = 0;
  for (int i = 0; i < e->sim.model.nu; i++)
    sum += brc_tolerance(e->sim.data->actuator_force[i], 0, 0, 10, BRC_QUADRATIC, 0);
  return e->term.small_control = (4 + sum / e->sim.model.nu) / 5;
}

double hb_stand(hb_env *e, double height, double height_margin, double cosine, double cosine_margin) {
  e->term.standing = hb_gaussian(hb_head_height(e), height, INFINITY, height_margin);
  e->term.upright = hb_linear_to_0(hb_torso_upright(e), cosine, INFINITY, cosine_margin);
  return e->term.stand_reward = e->term.standing * e->term.upright;
}

double hb_stand_default(hb_env *e) { return hb_stand(e, HB_STAND_HEIGHT, HB_STAND_HEIGHT / 4, 0.9, 1.9); }

double hb_move(hb_env *e, double speed) {
  double move = hb_linear_to_0(hb_sensor(e, HB_COM_VELOCITY)[0], speed, INFINITY, speed);
  return e->term.move = (5 * move + 1) / 6;
}

double hb_dont_move(hb_env *e) {
  const double *v = hb_sensor(e, HB_COM_VELOCITY);
  return e->term.dont_move = (hb_gaussian(v[0], 0, 0, 2) + hb_gaussian(v[1], 0, 0, 2)) / 2;
}

double hb_nearer_hand(const hb_env *e, const double *point) {
  return fmin(hb_distance(hb_site(e, HB_LEFT_HAND), point, 3),
              hb_distance(hb_site(e, HB_RIGHT_HAND), point, 3));
}

bool hb_touched(const hb_env *e, int slot) {
  for (int i = 0; i < e->sim.data->ncon; i++)
    if (hb_in_pair(hb_contact(e, i), e->id[slot])) return true;
  return false;
}

bool hb_never(hb_env *e) {
  (void)e;
  return false;
}
#endif
