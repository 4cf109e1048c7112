// What every environment has in common: the step count, the time limit, the order of calls, random numbers.
#include "envs/env_impl.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

//------------------------ 1. Life ---------------------------------------------
// A file that is broken, or not the one that the task was written for, can be had anew.
static brc_status say_how_to_get(brc_status st, const brc_env_def *def) {
  const brc_asset_suite *suite = def->asset ? brc_asset_suite_of(def->asset) : NULL;
  if (st != BRC_E_FORMAT || !suite) return st;
  char said[1500];
  snprintf(said, sizeof said, "%s", brc_error());
  return brc_fail(st, "%s (%s; %s gets the right files)", said, def->asset, suite->how_to_get);
}

brc_status brc_env_create(brc_env **out, const brc_env_def *def, const brc_assets *assets) {
  *out = NULL;
  brc_status st = def->create(out, def, assets);
  if (st) return brc_fail_prefix(say_how_to_get(st, def), "task '%s': ", def->name);
  (*out)->def = def;
  (*out)->steps = 0;
  (*out)->running = false;
  return BRC_OK;
}

void brc_env_destroy(brc_env *env) {
  if (env) env->def->destroy(env);
}

const brc_env_def *brc_env_def_of(const brc_env *env) { return env->def; }

brc_status brc_env_reset(brc_env *env, uint64_t seed, uint64_t episode, double *obs) {
  env->running = false;
  brc_status st = env->def->reset(env, seed, episode, obs);
  if (st) return brc_fail_prefix(st, "task '%s': ", env->def->name);
  env->steps = 0;
  env->running = true;
  return BRC_OK;
}

brc_status brc_env_step(brc_env *env, const float *action, double *obs, brc_env_result *result) {
  const brc_env_def *def = env->def;
  if (!env->running)
    return brc_fail(BRC_E_VALUE, "task '%s': stepped without an episode; reset it first", def->name);
  *result = (brc_env_result){0};
  brc_status st = def->step(env, action, obs, result);
  if (st) {
    env->running = false;
    return brc_fail_prefix(st, "task '%s', step %llu: ", def->name, (unsigned long long)env->steps + 1);
  }
  env->steps++;
  if (def->max_steps > 0 && env->steps >= (uint64_t)def->max_steps) result->truncated = true;
  if (result->terminated || result->truncated) env->running = false;
  return BRC_OK;
}

double brc_env_score(const brc_env_def *def, double mean_return, double success) {
  double span = def->success_score - def->random_score;
  return span != 0 ? (mean_return - def->random_score) / span : success;
}

//------------------------ 2. State --------------------------------------------
// Layout: step count, running (0 or 1), then the def's own bytes.
enum { HEAD_BYTES = 2 * sizeof(uint64_t) };

static bool saves(const brc_env_def *def) { return def->state_bytes && def->save && def->load; }

size_t brc_env_state_bytes(const brc_env *env) {
  return HEAD_BYTES + (saves(env->def) ? env->def->state_bytes(env) : 0);
}

void brc_env_save(const brc_env *env, void *state) {
  uint64_t head[2] = {env->steps, env->running};
  memcpy(state, head, sizeof head);
  if (saves(env->def)) env->def->save(env, (char *)state + HEAD_BYTES);
}

brc_status brc_env_load(brc_env *env, const void *state) {
  const brc_env_def *def = env->def;
  uint64_t head[2];
  memcpy(head, state, sizeof head);
  env->running = false;
  if (head[1] > 1 || (def->max_steps > 0 && head[0] > (uint64_t)def->max_steps))
    return brc_fail(BRC_E_FORMAT, "task '%s': the saved state is damaged (step %llu of %d)", def->name,
                    (unsigned long long)head[0], def->max_steps);
  env->steps = head[0];
  if (!saves(def)) return BRC_OK;
  brc_status st = def->load(env, (const char *)state + HEAD_BYTES);
  if (st) return brc_fail_prefix(st, "task '%s': ", def->name);
  env->running = head[1] == 1;
  return BRC_OK;
}

brc_status brc_env_restore(brc_env *env, const brc_st_file *file, const char *prefix) {
  const brc_env_def *def = env->def;
  env->running = false;
  if (!def->restore)
    return brc_fail(BRC_E_UNSUPPORTED, "task '%s' cannot be put into a recorded state", def->name);
  brc_status st = def->restore(env, file, prefix);
  if (st) return brc_fail_prefix(st, "task '%s': ", def->name);
  env->steps = 0;
  env->running = true;
  return BRC_OK;
}

brc_status brc_env_inspect(brc_env *env, const char *name, double *out, size_t max, size_t *count) {
  *count = 0;
  brc_status st = env->def->inspect ? env->def->inspect(env, name, out, max, count) : BRC_E_NOT_FOUND;
  if (st) brc_fail(st, "task '%s' has no '%s' to inspect", env->def->name, name);
  return st;
}

//------------------------ 3. Random numbers -----------------------------------
static brc_u4 draw(brc_env_random *r) {
  return brc_philox((uint32_t)r->draws++, (uint32_t)r->episode, (uint32_t)(r->episode >> 32), BRC_STREAM_ENV,
                    (uint32_t)r->seed, (uint32_t)(r->seed >> 32));
}

// [0, 1) with 53 bits of two words.
static double unit(uint32_t high, uint32_t low) {
  return (double)(((uint64_t)high << 32 | low) >> 11) * 0x1p-53;
}

double brc_env_uniform(brc_env_random *r, double low, double high) {
  brc_u4 b = draw(r);
  return low + (high - low) * unit(b.x, b.y);
}

double brc_env_normal(brc_env_random *r) {
  brc_u4 b = draw(r);
  double radius = sqrt(-2.0 * log(1.0 - unit(b.x, b.y)));  // 1 - u lies in (0, 1]
  return radius * cos(6.283185307179586 * unit(b.z, b.w));
}
