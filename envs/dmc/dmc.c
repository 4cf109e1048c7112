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

//------------------------ 1. Life ---------------------------------------------
static brc_status open_model(dmc_env *e, const brc_assets *assets) {
  const brc_env_def *def = e->base.def;
  brc_status st = brc_mj_open();  // first: without the library it does not matter where the model is
  if (st) return st;
  char path[4096];
  st = brc_assets_find(assets, def->asset, path, sizeof path);
  if (!st) st = brc_mj_sim_init(&e->sim, path, dmc_task_of(e)->substeps);
  if (st) return st;
  if (e->sim.model.nu != def->act_dim)
    return brc_fail(BRC_E_FORMAT,
                    "%s has %d actuators, the task needs %d: is this the file of the right version?", path,
                    (int)e->sim.model.nu, def->act_dim);
  return dmc_task_of(e)->lookup ? dmc_task_of(e)->lookup(e) : BRC_OK;
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

void dmc_destroy(brc_env *env) {
  dmc_env *e = (dmc_env *)env;
  brc_mj_sim_free(&e->sim);
  free(e);
}

//------------------------ 2. Episodes -----------------------------------------
typedef struct start_call {
  dmc_env *env;
  brc_env_random *random;
} start_call;

static void start(brc_mj_sim *s, void *arg) {
  (void)s;
  start_call *c = arg;
  dmc_task_of(c->env)->start(c->env, c->random);
}

// Physics.reset_context: the forward pass runs before and after the task's own initialisation; the first one leaves the
// warm start that the second begins with.
brc_status dmc_reset(brc_env *env, uint64_t seed, uint64_t episode, double *obs) {
  dmc_env *e = (dmc_env *)env;
  brc_env_random random = brc_env_random_start(seed, episode);
  start_call c = {e, &random};
  memset(e->var, 0, sizeof e->var);
  brc_status st = brc_mj_sim_reset(&e->sim);
  if (!st) st = brc_mj_dmc_forward(&e->sim);
  if (!st) st = brc_mj_run(&e->sim, start, &c);
  if (!st) st = brc_mj_dmc_forward(&e->sim);
  if (!st) dmc_task_of(e)->observe(e, obs);
  return st;
}

brc_status dmc_step(brc_env *env, const float *action, double *obs, brc_env_result *result) {
  dmc_env *e = (dmc_env *)env;
  brc_mj_dmc_control(&e->sim, action);
  brc_status st = brc_mj_dmc_step(&e->sim);
  if (st) return st;
  result->reward = dmc_task_of(e)->reward(e);
  dmc_task_of(e)->observe(e, obs);
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

brc_status dmc_restore(brc_env *env, const brc_st_file *file, const char *prefix) {
  dmc_env *e = (dmc_env *)env;
  memset(e->var, 0, sizeof e->var);
  brc_status st = brc_mj_sim_reset(&e->sim);
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
  if (max >= *count) dmc_task_of(e)->observe(e, out);
  return BRC_OK;
}
#endif
