// The table of every task, and the benchmarks: names for several tasks at once.
#include "envs/env_impl.h"

#include <fnmatch.h>
#include <string.h>

//------------------------ 1. Tasks --------------------------------------------
// One line per table; each lives in its domain's file and ends with BRC_ENV_END.
#define TABLES(X)          \
  X(brc_env_acrobot)       \
  X(brc_env_ball_in_cup)   \
  X(brc_env_cartpole)      \
  X(brc_env_cheetah)       \
  X(brc_env_dog)           \
  X(brc_env_finger)        \
  X(brc_env_fish)          \
  X(brc_env_hopper)        \
  X(brc_env_humanoid)      \
  X(brc_env_pendulum)      \
  X(brc_env_reacher)       \
  X(brc_env_walker)        \
  X(brc_env_hb_locomotion) \
  X(brc_env_hb_balance)    \
  X(brc_env_hb_basketball) \
  X(brc_env_hb_bookshelf)  \
  X(brc_env_hb_cabinet)    \
  X(brc_env_hb_door)       \
  X(brc_env_hb_insert)     \
  X(brc_env_hb_maze)       \
  X(brc_env_hb_pole)       \
  X(brc_env_hb_powerlift)  \
  X(brc_env_hb_push)       \
  X(brc_env_hb_reach)      \
  X(brc_env_hb_room)       \
  X(brc_env_hb_spoon)      \
  X(brc_env_hb_truck)      \
  X(brc_env_hb_window)     \
  X(brc_env_probe)

#define X(table) extern const brc_env_def table[];
TABLES(X)
#undef X
#define X(table) table,
static const brc_env_def *const tables[] = {TABLES(X)};
#undef X

size_t brc_env_count(void) {
  size_t n = 0;
  for (size_t t = 0; t < BRC_COUNT(tables); t++)
    for (const brc_env_def *d = tables[t]; d->name; d++) n++;
  return n;
}

const brc_env_def *brc_env_at(size_t i) {
  for (size_t t = 0; t < BRC_COUNT(tables); t++)
    for (const brc_env_def *d = tables[t]; d->name; d++)
      if (i-- == 0) return d;
  return NULL;
}

const brc_env_def *brc_env_find(const char *name) {
  for (size_t t = 0; t < BRC_COUNT(tables); t++)
    for (const brc_env_def *d = tables[t]; d->name; d++)
      if (strcmp(d->name, name) == 0) return d;
  return NULL;
}

//------------------------ 2. Benchmarks ---------------------------------------
// The order of the tasks is the order of the embedding rows: patterns in order, within one the registry's order.
// Source of the published ones, order included: BRC's jaxrl/env_names.py (eec512f); dmc30 is the first part of
// METAWORLD_DMC.
typedef struct benchmark {
  const char *name;
  const char *tasks[40];  // names or patterns with '*'
} benchmark;

static const benchmark benchmarks[] = {
    {"cartpole", {"cartpole-*"}},
    {"dmc-dogs", {"dog-stand", "dog-walk", "dog-trot", "dog-run"}},
    {"dmc-humanoids", {"humanoid-stand", "humanoid-walk", "humanoid-run"}},
    {"dmc30",
     {"walker-stand",
      "walker-walk",
      "walker-run",
      "cheetah-run",
      "reacher-easy",
      "reacher-hard",
      "acrobot-swingup",
      "pendulum-swingup",
      "cartpole-balance",
      "cartpole-balance_sparse",
      "cartpole-swingup",
      "cartpole-swingup_sparse",
      "ball_in_cup-catch",
      "finger-spin",
      "finger-turn_easy",
      "finger-turn_hard",
      "fish-swim",
      "hopper-stand",
      "hopper-hop",
      "cheetah-run_backwards",
      "cheetah-run_front",
      "cheetah-run_back",
      "cheetah-jump",
      "walker-walk_backwards",
      "walker-run_backwards",
      "hopper-hop_backwards",
      "reacher-three_easy",
      "reacher-three_hard",
      "ball_in_cup-spin",
      "pendulum-spin"}},
    {"humanoidbench",
     {"h1-walk-v0", "h1-stand-v0", "h1-run-v0", "h1-stair-v0", "h1-crawl-v0", "h1-pole-v0", "h1-slide-v0",
      "h1-hurdle-v0", "h1-maze-v0"}},
    {"humanoidbench-hard",
     {"h1hand-walk-v0",
      "h1hand-stand-v0",
      "h1hand-run-v0",
      "h1hand-stair-v0",
      "h1hand-crawl-v0",
      "h1hand-pole-v0",
      "h1hand-slide-v0",
      "h1hand-hurdle-v0",
      "h1hand-maze-v0",
      "h1hand-sit_simple-v0",
      "h1hand-sit_hard-v0",
      "h1hand-balance_simple-v0",
      "h1hand-balance_hard-v0",
      "h1hand-reach-v0",
      "h1hand-spoon-v0",
      "h1hand-window-v0",
      "h1hand-insert_small-v0",
      "h1hand-insert_normal-v0",
      "h1hand-bookshelf_simple-v0",
      "h1hand-bookshelf_hard-v0"}},
    {"probes", {"probe-*"}},
    {"probe-embedding", {"probe-embedding-*"}},
    {"probe-padding", {"probe-padding-*"}},
    {"probe-scale", {"probe-scale-*"}},
};

const char *brc_benchmark_at(size_t i) { return i < BRC_COUNT(benchmarks) ? benchmarks[i].name : NULL; }

static brc_status append(const brc_env_def *def, const brc_env_def **list, size_t max, size_t *count) {
  for (size_t i = 0; i < *count; i++)
    if (list[i] == def) return brc_fail(BRC_E_USAGE, "task '%s' is named twice", def->name);
  if (*count >= max) return brc_fail(BRC_E_USAGE, "more than %zu tasks", max);
  list[(*count)++] = def;
  return BRC_OK;
}

static brc_status append_pattern(const char *pattern, const char *benchmark_name, const brc_env_def **list,
                                 size_t max, size_t *count) {
  size_t found = 0, n = brc_env_count();
  for (size_t i = 0; i < n; i++) {
    const brc_env_def *def = brc_env_at(i);
    if (fnmatch(pattern, def->name, 0) != 0) continue;
    found++;
    brc_status st = append(def, list, max, count);
    if (st) return st;
  }
  if (found) return BRC_OK;
  return brc_fail(BRC_E_NOT_FOUND, "benchmark '%s' needs the task '%s', which this build does not have",
                  benchmark_name, pattern);
}

static brc_status unknown(const char *name) {
  enum { MAX_NAMES = 1024 };
  const char *names[MAX_NAMES];
  size_t n = 0;
  for (size_t i = 0; i < brc_env_count() && n < MAX_NAMES; i++) names[n++] = brc_env_at(i)->name;
  for (size_t b = 0; b < BRC_COUNT(benchmarks) && n < MAX_NAMES; b++) names[n++] = benchmarks[b].name;
  char near[256] = "";
  brc_nearest(name, names, n, 1, near, sizeof near);
  if (near[0]) return brc_fail(BRC_E_NOT_FOUND, "task '%s' is unknown; did you mean %s?", name, near);
  return brc_fail(BRC_E_NOT_FOUND, "task '%s' is unknown; 'brc tasks' lists them all", name);
}

brc_status brc_env_resolve(const char *name, const brc_env_def **list, size_t max, size_t *count) {
  const brc_env_def *def = brc_env_find(name);
  if (def) return append(def, list, max, count);
  for (size_t b = 0; b < BRC_COUNT(benchmarks); b++) {
    if (strcmp(benchmarks[b].name, name) != 0) continue;
    for (size_t i = 0; i < BRC_COUNT(benchmarks[b].tasks) && benchmarks[b].tasks[i]; i++) {
      brc_status st = append_pattern(benchmarks[b].tasks[i], name, list, max, count);
      if (st) return st;
    }
    return BRC_OK;
  }
  return unknown(name);
}
