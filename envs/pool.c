// Many environments, stepped together. An environment is one item of the thread pool and touches nothing but its own
// slot and its own rows, so the results do not depend on which thread takes it, nor on the order. Nothing is allocated or
// locked per step. The slowest are taken first, so that no thread begins a long one when the others are done.
#include "envs/env_impl.h"
#include "envs/watch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct slot {
  brc_env *env;
  uint64_t seed;     // of this environment: the pool's seed mixed with its number
  uint64_t episode;  // the next one to start
  double *obs;       // obs_dim of the task, before the cast
  double cost_s;     // of a step, smoothed
  brc_status status;
  char error[512];  // an item's failure, until the caller's thread takes it
} slot;

enum { MOST_NOTES = 20 };

struct brc_env_pool {
  slot *slots;
  double *obs;  // of all slots
  size_t count;
  uint32_t *order;   // slots in the order in which a step takes them
  uint64_t runs;     // steps so far
  uint64_t invalid;  // episodes whose simulation broke down
  int obs_dim, act_dim;
  brc_pool *threads;
};

// The call that the items of one run share.
typedef struct call {
  brc_env_pool *pool;
  const float *action;
  float *obs;
  brc_env_result *results;
  const uint8_t *skip;
} call;

// Key of environment i: number i + 1 of the SplitMix64 sequence that starts at `seed` (Steele et al. 2014).
static uint64_t slot_seed(uint64_t seed, size_t i) {
  uint64_t z = seed + ((uint64_t)i + 1) * 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

//------------------------ 1. Life ---------------------------------------------
// The sentence of a failure is kept per thread: take it along.
static void note(slot *s, brc_status st) {
  s->status = st;
  if (st) snprintf(s->error, sizeof s->error, "%s", brc_error());
}

// The first failure in the order of the environments, whichever came first in time.
static brc_status first_failure(const brc_env_pool *p) {
  for (size_t i = 0; i < p->count; i++)
    if (p->slots[i].status) return brc_fail(p->slots[i].status, "%s", p->slots[i].error);
  return BRC_OK;
}

typedef struct create_call {
  brc_env_pool *pool;
  const brc_env_def *const *defs;
  const brc_assets *assets;
} create_call;

static void create_item(void *arg, uint32_t i, uint32_t thread) {
  (void)thread;
  create_call *c = arg;
  slot *s = &c->pool->slots[i];
  brc_env_watch_enter(c->defs[i]->name, "creation", 0, 0);
  note(s, brc_env_create(&s->env, c->defs[i], c->assets));
  brc_env_watch_leave();
}

// Models compile side by side.
static brc_status create_slots(brc_env_pool *p, const brc_env_def *const *defs, uint64_t seed,
                               const brc_assets *assets) {
  create_call c = {p, defs, assets};
  brc_pool_run(p->threads, (uint32_t)p->count, create_item, &c);
  brc_status st = first_failure(p);
  if (st) return st;
  size_t total = 0;
  for (size_t i = 0; i < p->count; i++) {
    p->slots[i].seed = slot_seed(seed, i);
    p->order[i] = (uint32_t)i;
    total += (size_t)defs[i]->obs_dim;
    if (defs[i]->obs_dim > p->obs_dim) p->obs_dim = defs[i]->obs_dim;
    if (defs[i]->act_dim > p->act_dim) p->act_dim = defs[i]->act_dim;
  }
  p->obs = calloc(total + 1, sizeof *p->obs);
  if (!p->obs) return brc_fail(BRC_E_NOMEM, "observations of %zu environments", p->count);
  double *next = p->obs;
  for (size_t i = 0; i < p->count; i++) {
    p->slots[i].obs = next;
    next += defs[i]->obs_dim;
  }
  return BRC_OK;
}

brc_status brc_env_pool_create(brc_env_pool **out, const brc_env_def *const *defs, size_t count, uint64_t seed,
                               const brc_assets *assets, brc_pool *pool) {
  *out = NULL;
  if (count == 0) return brc_fail(BRC_E_USAGE, "an environment pool needs at least one task");
  if (count > UINT32_MAX) return brc_fail(BRC_E_USAGE, "%zu environments are too many", count);
  brc_env_pool *p = calloc(1, sizeof *p);
  if (p) p->slots = calloc(count, sizeof *p->slots);
  if (p) p->order = calloc(count, sizeof *p->order);
  if (!p || !p->slots || !p->order) {
    if (p) free(p->slots);
    if (p) free(p->order);
    free(p);
    return brc_fail(BRC_E_NOMEM, "pool of %zu environments", count);
  }
  p->count = count;
  p->threads = pool;
  brc_status st = create_slots(p, defs, seed, assets);
  if (st)
    brc_env_pool_destroy(p);
  else
    *out = p;
  return st;
}

void brc_env_pool_destroy(brc_env_pool *p) {
  if (!p) return;
  for (size_t i = 0; i < p->count; i++) brc_env_destroy(p->slots[i].env);
  free(p->obs);
  free(p->order);
  free(p->slots);
  free(p);
}

size_t brc_env_pool_count(const brc_env_pool *p) { return p->count; }
int brc_env_pool_obs_dim(const brc_env_pool *p) { return p->obs_dim; }
int brc_env_pool_act_dim(const brc_env_pool *p) { return p->act_dim; }
const brc_env_def *brc_env_pool_def(const brc_env_pool *p, size_t i) { return p->slots[i].env->def; }

//------------------------ 2. Items --------------------------------------------
static void cast_row(const brc_env_pool *p, const slot *s, float *row) {
  int n = s->env->def->obs_dim;
  for (int j = 0; j < n; j++) row[j] = (float)s->obs[j];
  for (int j = n; j < p->obs_dim; j++) row[j] = 0.0f;
}

static void reset_slot(brc_env_pool *p, slot *s, float *row) {
  brc_env_watch_enter(s->env->def->name, "reset", s->episode, 0);
  brc_status st = brc_env_reset(s->env, s->seed, s->episode, s->obs);
  brc_env_watch_leave();
  note(s, st);
  if (st) return;
  s->episode++;
  cast_row(p, s, row);
}

static void reset_item(void *arg, uint32_t i, uint32_t thread) {
  (void)thread;
  call *c = arg;
  reset_slot(c->pool, &c->pool->slots[i], c->obs + (size_t)i * (size_t)c->pool->obs_dim);
}

// Now and then steps are timed, and the order follows. More often would cost short tasks some percent.
enum { TIMED_EVERY = 256, TIMED = 4 };
static bool is_timed(const brc_env_pool *p) { return p->runs % TIMED_EVERY < TIMED; }

static void step_item(void *arg, uint32_t k, uint32_t thread) {
  (void)thread;
  call *c = arg;
  brc_env_pool *p = c->pool;
  const size_t i = p->order[k];
  slot *s = &p->slots[i];
  s->status = BRC_OK;
  if (c->skip && c->skip[i]) return;
  const bool timed = is_timed(p);
  double began = timed ? brc_now_s() : 0;
  const bool had_episode = s->env->running;  // stepping without one is the caller's error
  c->results[i].invalid = false;
  brc_env_watch_enter(s->env->def->name, "step", s->episode ? s->episode - 1 : 0, s->env->steps + 1);
  brc_status st = brc_env_step(s->env, c->action + i * (size_t)p->act_dim, s->obs, &c->results[i]);
  brc_env_watch_leave();
  if (timed) s->cost_s = 0.75 * s->cost_s + 0.25 * (brc_now_s() - began);
  note(s, st);
  if (!st) cast_row(p, s, c->obs + i * (size_t)p->obs_dim);
  if (st == BRC_E_VALUE && had_episode) c->results[i] = (brc_env_result){.truncated = true, .invalid = true};
}

// Of a simulation that broke down only the episode is lost. A truncated one: what would have come is unknown, not nothing.
static void contain(brc_env_pool *p, const call *c) {
  for (size_t i = 0; i < p->count; i++) {
    slot *s = &p->slots[i];
    if (!s->status || !c->results[i].invalid) continue;
    s->status = BRC_OK;
    if (p->invalid++ < MOST_NOTES)
      fprintf(stderr, "brc: note: %s; its episode %llu ends there%s\n", s->error,
              (unsigned long long)s->episode - 1,
              p->invalid == MOST_NOTES ? " (no more notes of this kind)" : "");
  }
}

// Insertion: the order changes little from one time to the next.
static void sort_slots(brc_env_pool *p) {
  for (size_t k = 1; k < p->count; k++) {
    uint32_t i = p->order[k];
    size_t to = k;
    for (; to > 0 && p->slots[p->order[to - 1]].cost_s < p->slots[i].cost_s; to--)
      p->order[to] = p->order[to - 1];
    p->order[to] = i;
  }
}

brc_status brc_env_pool_reset(brc_env_pool *p, float *obs) {
  call c = {.pool = p, .obs = obs};
  brc_pool_run(p->threads, (uint32_t)p->count, reset_item, &c);
  return first_failure(p);
}

brc_status brc_env_pool_reset_one(brc_env_pool *p, size_t i, float *obs_row) {
  reset_slot(p, &p->slots[i], obs_row);
  return p->slots[i].status;
}

brc_status brc_env_pool_step(brc_env_pool *p, const float *action, float *next_obs, brc_env_result *results,
                             const uint8_t *skip) {
  call c = {.pool = p, .action = action, .obs = next_obs, .results = results, .skip = skip};
  brc_pool_run(p->threads, (uint32_t)p->count, step_item, &c);
  contain(p, &c);
  p->runs++;
  if (p->runs % TIMED_EVERY == TIMED) sort_slots(p);
  return first_failure(p);
}

//------------------------ 3. State --------------------------------------------
// Per environment: the number of its next episode, then brc_env_save's block.
size_t brc_env_pool_state_bytes(const brc_env_pool *p) {
  size_t n = 0;
  for (size_t i = 0; i < p->count; i++) n += sizeof(uint64_t) + brc_env_state_bytes(p->slots[i].env);
  return n;
}

void brc_env_pool_save(const brc_env_pool *p, void *state) {
  char *to = state;
  for (size_t i = 0; i < p->count; i++) {
    const slot *s = &p->slots[i];
    memcpy(to, &s->episode, sizeof s->episode);
    brc_env_save(s->env, to + sizeof s->episode);
    to += sizeof s->episode + brc_env_state_bytes(s->env);
  }
}

brc_status brc_env_pool_load(brc_env_pool *p, const void *state, size_t bytes) {
  size_t want = brc_env_pool_state_bytes(p);
  if (bytes != want)
    return brc_fail(BRC_E_FORMAT, "state of the environments has %zu bytes, these tasks need %zu", bytes, want);
  const char *from = state;
  for (size_t i = 0; i < p->count; i++) {
    slot *s = &p->slots[i];
    memcpy(&s->episode, from, sizeof s->episode);
    brc_status st = brc_env_load(s->env, from + sizeof s->episode);
    if (st) return st;
    from += sizeof s->episode + brc_env_state_bytes(s->env);
  }
  return BRC_OK;
}
