// Source: dm_control 1.0.20, rl/control.py (Environment) and mujoco/engine.py (Physics).
#include "envs/dmc/dmc.h"

#ifndef BRC_HAVE_MUJOCO
brc_status dmc_create(brc_env **out, const brc_env_def *def, const brc_assets *assets) {
  (void)def, (void)assets;
  *out = NULL;
  return brc_mj_open();
}
#else
#include <stdlib.h>
#include <string.h>

enum { PATH_BYTES = 4096 };

//------------------------ 1. Life ---------------------------------------------
static brc_status version_error(const dmc_env *e, const char *what, int found, int expected) {
  return brc_fail(BRC_E_FORMAT, "%s has %d %s, the task needs %d: is this the file of the right version?",
                  e->base.def->asset, found, what, expected);
}

// Where a part's numbers come from must have as many.
static brc_status check_part(const dmc_env *e, const dmc_part *p) {
  const mjModel *m = &e->sim.model;
  if (p->from == DMC_FROM_QPOS && m->nq - p->first != p->count)
    return version_error(e, "positions", m->nq, p->first + p->count);
  if (p->from == DMC_FROM_QVEL && m->nv != p->count) return version_error(e, "velocities", m->nv, p->count);
  if (p->from == DMC_FROM_ACT && m->na != p->count) return version_error(e, "activations", m->na, p->count);
  return BRC_OK;
}

static brc_status check_model(const dmc_env *e) {
  const dmc_task *t = dmc_task_of(e);
  if (e->sim.model.nu != e->base.def->act_dim)
    return version_error(e, "actuators", e->sim.model.nu, e->base.def->act_dim);
  for (const dmc_part *p = t->parts; p->key; p++) {
    brc_status st = check_part(e, p);
    if (st) return st;
  }
  return t->check ? t->check(e) : BRC_OK;
}

// The files of dmc_custom include the suite's common/*.xml, which lie with the suite.
static brc_status init_sim(dmc_env *e, const brc_assets *assets) {
  static const char *const common[] = {DMC_SUITE("common/skybox.xml"), DMC_SUITE("common/visual.xml"),
                                       DMC_SUITE("common/materials.xml")};
  enum { COMMON = BRC_COUNT(common) };
  const char *asset = e->base.def->asset;
  char path[PATH_BYTES], paths[COMMON][PATH_BYTES];
  const char *include[COMMON + 1] = {NULL};
  bool custom = strncmp(asset, DMC_CUSTOM(""), strlen(DMC_CUSTOM(""))) == 0;
  brc_status st = brc_assets_find(assets, asset, path, sizeof path);
  for (size_t i = 0; !st && custom && i < COMMON; i++) {
    st = brc_assets_find(assets, common[i], paths[i], sizeof paths[i]);
    include[i] = paths[i];
  }
  if (st) return st;
  brc_mj_source source = {path, dmc_task_of(e)->edits, custom ? include : NULL};
  return brc_mj_sim_init(&e->sim, &source);
}

static brc_status open_model(dmc_env *e, const brc_assets *assets) {
  const dmc_task *t = dmc_task_of(e);
  brc_status st = brc_mj_open();  // first: without the library it does not matter where the model is
  if (!st) st = init_sim(e, assets);
  if (!st && t->names) st = brc_mj_lookup(&e->sim, t->names, e->id, BRC_COUNT(e->id));
  if (!st) st = check_model(e);
  if (!st && t->own_model) st = brc_mj_own_model(&e->sim);
  return st;
}

brc_status dmc_create(brc_env **out, const brc_env_def *def, const brc_assets *assets) {
  dmc_env *e = calloc(1, sizeof *e);
  if (!e) return brc_fail(BRC_E_NOMEM, "environment");
  e->base.def = def;
  brc_status st = open_model(e, assets);
  if (st) {
    dmc_destroy(&e->base);
    return st;
  }
  *out = &e->base;
  return BRC_OK;
}

struct brc_mj_sim *dmc_simulation(brc_env *env) {
  return &((dmc_env *)env)->sim;
}

void dmc_destroy(brc_env *env) {
  dmc_env *e = (dmc_env *)env;
  brc_mj_sim_free(&e->sim);
  free(e);
}

//------------------------ 2. Episodes -----------------------------------------
static const double *part_data(const dmc_env *e, const dmc_part *p) {
  const mjData *d = e->sim.data;
  switch (p->from) {
    case DMC_FROM_QPOS: return d->qpos + p->first;
    case DMC_FROM_QVEL: return d->qvel;
    case DMC_FROM_ACT: return d->act;
    case DMC_FROM_SENSOR: return dmc_sensor(e, p->first);
    case DMC_FROM_GET: break;
  }
  return NULL;
}

static void observe(const dmc_env *e, double *obs) {
  for (const dmc_part *p = dmc_task_of(e)->parts; p->key; p++) {
    if (p->get)
      p->get(e, obs);
    else
      memcpy(obs, part_data(e, p), (size_t)p->count * sizeof *obs);
    obs += p->count;
  }
}

// Physics.reset_context: the forward pass runs before and after the task's own initialisation; the first one leaves the
// warm start that the second begins with.
brc_status dmc_reset(brc_env *env, uint64_t seed, uint64_t episode, double *obs) {
  dmc_env *e = (dmc_env *)env;
  brc_env_random random = brc_env_random_start(seed, episode);
  memset(e->var, 0, sizeof e->var);
  brc_status st = brc_mj_sim_reset(&e->sim);
  if (!st) st = brc_mj_dmc_forward(&e->sim);
  if (!st) st = dmc_task_of(e)->start(e, &random);
  if (!st) st = brc_mj_dmc_forward(&e->sim);
  if (!st) observe(e, obs);
  return st;
}

// A warning of MuJoCo is an error, as for the original (PhysicsError).
brc_status dmc_step(brc_env *env, const float *action, double *obs, brc_env_result *result) {
  dmc_env *e = (dmc_env *)env;
  brc_mj_dmc_control(&e->sim, action);
  brc_status st = brc_mj_dmc_step(&e->sim, dmc_task_of(e)->substeps);
  if (st) return st;
  result->reward = dmc_task_of(e)->reward(e);
  observe(e, obs);
  return BRC_OK;
}

//------------------------ 3. State --------------------------------------------
// The task's numbers, then the simulation's.
size_t dmc_state_bytes(const brc_env *env) {
  const dmc_env *e = (const dmc_env *)env;
  return sizeof e->var + brc_mj_state_bytes(&e->sim);
}

void dmc_save(const brc_env *env, void *state) {
  const dmc_env *e = (const dmc_env *)env;
  memcpy(state, e->var, sizeof e->var);
  brc_mj_save(&e->sim, (char *)state + sizeof e->var);
}

brc_status dmc_load(brc_env *env, const void *state) {
  dmc_env *e = (dmc_env *)env;
  brc_status st = brc_mj_sim_reset(&e->sim);
  if (st) return st;
  memcpy(e->var, state, sizeof e->var);
  if (dmc_task_of(e)->apply) dmc_task_of(e)->apply(e);
  st = brc_mj_load(&e->sim, (const char *)state + sizeof e->var);
  if (!st) st = brc_mj_dmc_forward(&e->sim);
  if (!st) st = brc_mj_load_warmstart(&e->sim);
  return st;
}

static brc_status check_recorded(const dmc_env *e, const brc_st_file *file, const char *prefix) {
  const dmc_task *t = dmc_task_of(e);
  for (size_t i = 0; i < BRC_COUNT(t->recorded) && t->recorded[i].name; i++) {
    double value;
    brc_status st = brc_mj_restore_task(file, prefix, t->recorded[i].name, 1, &value);
    if (st) return st;
    if (value != t->recorded[i].value)
      return brc_fail(BRC_E_FORMAT, "%s: recorded with %s %g, which is another task (this one has %g)",
                      brc_st_path(file), t->recorded[i].name, value, t->recorded[i].value);
  }
  return BRC_OK;
}

brc_status dmc_restore(brc_env *env, const brc_st_file *file, const char *prefix) {
  dmc_env *e = (dmc_env *)env;
  memset(e->var, 0, sizeof e->var);
  brc_status st = check_recorded(e, file, prefix);
  if (!st) st = brc_mj_sim_reset(&e->sim);
  if (!st) st = brc_mj_restore(&e->sim, file, prefix);
  if (!st && dmc_task_of(e)->restore) st = dmc_task_of(e)->restore(e, file, prefix);
  if (!st) st = brc_mj_dmc_forward(&e->sim);
  if (!st) st = brc_mj_restore_warmstart(&e->sim, file, prefix);
  return st;
}

brc_status dmc_inspect(brc_env *env, const char *name, double *out, size_t max, size_t *count) {
  dmc_env *e = (dmc_env *)env;
  if (strcmp(name, "obs") != 0) return brc_mj_inspect(&e->sim, name, out, max, count);
  *count = (size_t)env->def->obs_dim;
  if (max >= *count) observe(e, out);
  return BRC_OK;
}

//------------------------ 4. For domains --------------------------------------
double dmc_distance(const double *a, const double *b, int n) {
  double square = 0;
  for (int i = 0; i < n; i++) square += (a[i] - b[i]) * (a[i] - b[i]);
  return sqrt(square);
}

void dmc_to_frame(const double *v, const double *matrix, double *out) {
  for (int j = 0; j < 3; j++) out[j] = v[0] * matrix[j] + v[1] * matrix[3 + j] + v[2] * matrix[6 + j];
}

double dmc_small_control(const dmc_env *e) {
  double sum = 0;
  for (int i = 0; i < e->sim.model.nu; i++)
    sum += brc_tolerance(e->sim.data->ctrl[i], 0, 0, 1, BRC_QUADRATIC, 0);
  return sum / e->sim.model.nu;
}

// Each entry uniform in [0, 1), not normal: so in the original, which keeps it for the sake of old results.
static void random_quaternion(double *quat, brc_env_random *r) {
  double square = 0;
  for (int i = 0; i < 4; i++) {
    quat[i] = brc_env_uniform(r, 0, 1);
    square += quat[i] * quat[i];
  }
  for (int i = 0; i < 4; i++) quat[i] /= sqrt(square);
}

// Lines 36-82. No model here has ball joints.
void dmc_random_joints(dmc_env *e, brc_env_random *r) {
  const mjModel *m = &e->sim.model;
  for (int j = 0; j < m->njnt; j++) {
    double *qpos = e->sim.data->qpos + m->jnt_qposadr[j];
    if (m->jnt_limited[j])
      *qpos = brc_env_uniform(r, m->jnt_range[2 * j], m->jnt_range[2 * j + 1]);
    else if (m->jnt_type[j] == mjJNT_HINGE)
      *qpos = brc_env_uniform(r, -DMC_PI, DMC_PI);
    else if (m->jnt_type[j] == mjJNT_FREE)
      random_quaternion(qpos + 3, r);
  }
}

brc_status dmc_collision_free(dmc_env *e, brc_env_random *r, void (*sample)(dmc_env *e, brc_env_random *r),
                              bool (*accept)(const dmc_env *e)) {
  enum { ATTEMPTS = 10000 };
  for (int i = 0; i < ATTEMPTS; i++) {
    sample(e, r);
    brc_status st = brc_mj_dmc_forward(&e->sim);
    if (st) return st;
    if (e->sim.data->ncon == 0 && (!accept || accept(e))) return BRC_OK;
  }
  return brc_fail(BRC_E_VALUE, "no start without collisions found in %d attempts", ATTEMPTS);
}
#endif
