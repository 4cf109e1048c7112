// Tasks of a few lines whose right answer is known. Each isolates one thing that can silently be wrong in a trainer.
// All are one reward, with rows below for its constants:
//
//   reward = scale (1 + mark - mean over the task's own actions j of (a_j - optimum_j)^2),
//   optimum_j = goal_j + slope_j (last entry of obs) + mark_slope mark
//
// The action's part is left out where only time matters (quiet). mark is 0, or +1 or -1 for a whole episode (obs[0]).
// The best policy earns scale (1 + mark) per step. Discount 0.99 below.
//
// task                what is known                                     what fails if ...
// probe-terminal      reward 1 per step, each terminates with            terminal states are bootstrapped: the value grows to
//                     probability 1/2: return 2, value 1.98 = 1 / (1 -   that of the longest episode (with one step in every
//                     0.99 / 2)                                          episode, where values are cut off, nobody would see)
// probe-truncated     20 steps of reward 1, truncated: return 20, value  truncation is learned as death: the value is at most
//                     1 / (1 - 0.99) = 100                               18.2
// probe-action        best action (0.3, -0.5), return 1; 0.83 at (0, 0)  the actor's gradient, or its sign, is wrong
// probe-embedding-a   best action +0.6, return 1; 0.64 at 0              the embedding does not reach the networks, or rows
// probe-embedding-b   same observation, best action -0.6                 of different tasks are mixed up
// probe-padding-a     obs 3, act 1: best action 0.5 obs[2]               padding reaches the reward, or shifts a task's
// probe-padding-b     obs 1, act 3: best (0.4, -0.4, 0.5 obs[0])         observation or action; both have return 1
// probe-scale-a, -b   best action 0.5, return 1 and 1000                 the rewards of the tasks are not normalised apart
// probe-wrap          episodes of 1 to 20 steps, ended at random, each   successors come from another episode (as around the
//                     with a mark: best action 0.5 mark, rewards 2 and   seam of a replay that has wrapped), or the two ways
//                     0; value 2 / (1 - 0.99 0.95) = 33.6 and 0          of ending are mixed up (18.3 or 200 instead of 33.6)
//
// Values are of the best policy, in raw rewards, without the entropy bonus (the agent's own values are divided by the
// normaliser's scale and carry alpha times the entropy).
#include "envs/env_impl.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_DIM = 3 };

typedef struct probe_task {
  double scale;
  double goal[MAX_DIM], slope[MAX_DIM];
  bool quiet;       // the action does not matter
  bool random_obs;  // entries uniform in [-1, 1), drawn each step; else 1, 0, ...
  bool marked;      // obs[0] is the episode's mark
  double mark_slope;
  double terminate, truncate;  // probability of ending each step
} probe_task;

typedef struct probe_env {
  brc_env base;
  brc_env_random random;
  double mark;
  double obs[MAX_DIM];
} probe_env;

static const probe_task *task_of(const probe_env *e) { return e->base.def->task; }

static brc_status create(brc_env **out, const brc_env_def *def, const brc_assets *assets) {
  (void)assets;
  probe_env *e = calloc(1, sizeof *e);
  if (!e) return brc_fail(BRC_E_NOMEM, "environment");
  e->base.def = def;
  *out = &e->base;
  return BRC_OK;
}

static void destroy(brc_env *env) { free(env); }

static void observe(probe_env *e, double *obs) {
  int n = e->base.def->obs_dim;
  for (int i = 0; i < n; i++)
    e->obs[i] = task_of(e)->random_obs ? brc_env_uniform(&e->random, -1, 1) : i == 0 ? 1 : 0;
  if (task_of(e)->marked) e->obs[0] = e->mark;
  memcpy(obs, e->obs, (size_t)n * sizeof *obs);
}

static brc_status reset(brc_env *env, uint64_t seed, uint64_t episode, double *obs) {
  probe_env *e = (probe_env *)env;
  e->random = brc_env_random_start(seed, episode);
  e->mark = 0;
  if (task_of(e)->marked) e->mark = brc_env_uniform(&e->random, 0, 1) < 0.5 ? -1 : 1;
  observe(e, obs);
  return BRC_OK;
}

static double action_error(const probe_env *e, const float *action) {
  const probe_task *t = task_of(e);
  int n = e->base.def->act_dim;
  double sum = 0, last = e->obs[e->base.def->obs_dim - 1];
  for (int j = 0; j < n; j++) {
    double error = (double)action[j] - (t->goal[j] + t->slope[j] * last + t->mark_slope * e->mark);
    sum += error * error;
  }
  return sum / n;
}

static brc_status step(brc_env *env, const float *action, double *obs, brc_env_result *result) {
  probe_env *e = (probe_env *)env;
  const probe_task *t = task_of(e);
  double error = t->quiet ? 0 : action_error(e, action);
  result->reward = t->scale * (1 - error + e->mark);
  double chance = brc_env_uniform(&e->random, 0, 1);
  result->terminated = chance < t->terminate;
  result->truncated = !result->terminated && chance < t->terminate + t->truncate;
  observe(e, obs);
  return BRC_OK;
}

//------------------------ State -----------------------------------------------
typedef struct saved {  // eight-byte members only: no padding, so the bytes depend on the state alone
  brc_env_random random;
  double mark, obs[MAX_DIM];
} saved;

static size_t state_bytes(const brc_env *env) { return (void)env, sizeof(saved); }

static void save(const brc_env *env, void *state) {
  const probe_env *e = (const probe_env *)env;
  saved s = {.random = e->random, .mark = e->mark};
  memcpy(s.obs, e->obs, sizeof s.obs);
  memcpy(state, &s, sizeof s);
}

static brc_status load(brc_env *env, const void *state) {
  probe_env *e = (probe_env *)env;
  saved s;
  memcpy(&s, state, sizeof s);
  e->random = s.random;
  e->mark = s.mark;
  memcpy(e->obs, s.obs, sizeof s.obs);
  return BRC_OK;
}

static brc_status inspect(brc_env *env, const char *name, double *out, size_t max, size_t *count) {
  if (strcmp(name, "obs") != 0) return BRC_E_NOT_FOUND;
  *count = (size_t)env->def->obs_dim;
  if (max >= *count) memcpy(out, ((probe_env *)env)->obs, *count * sizeof *out);
  return BRC_OK;
}

//------------------------ The tasks -------------------------------------------
// best_: the best policy's return, on average.
#define PROBE(name_, obs_, act_, steps_, best_, ...)                                                          \
  {                                                                                                           \
    .name = "probe-" name_, .suite = "probe", .obs_dim = (obs_), .act_dim = (act_), .max_steps = (steps_),    \
    .success_score = (best_), .task = &(const probe_task){__VA_ARGS__}, .create = create, .destroy = destroy, \
    .reset = reset, .step = step, .state_bytes = state_bytes, .save = save, .load = load, .inspect = inspect  \
  }

extern const brc_env_def brc_env_probe[];
const brc_env_def brc_env_probe[] = {
    PROBE("terminal", 1, 1, 0, 2, .scale = 1, .quiet = true, .terminate = 0.5),
    PROBE("truncated", 1, 1, 20, 20, .scale = 1, .quiet = true),
    PROBE("action", 1, 2, 0, 1, .scale = 1, .goal = {0.3, -0.5}, .terminate = 1),
    PROBE("embedding-a", 1, 1, 0, 1, .scale = 1, .goal = {0.6}, .terminate = 1),
    PROBE("embedding-b", 1, 1, 0, 1, .scale = 1, .goal = {-0.6}, .terminate = 1),
    PROBE("padding-a", 3, 1, 0, 1, .scale = 1, .slope = {0.5}, .random_obs = true, .terminate = 1),
    PROBE("padding-b", 1, 3, 0, 1, .scale = 1, .goal = {0.4, -0.4}, .slope = {0, 0, 0.5}, .random_obs = true,
          .terminate = 1),
    PROBE("scale-a", 1, 1, 0, 1, .scale = 1, .goal = {0.5}, .terminate = 1),
    PROBE("scale-b", 1, 1, 0, 1000, .scale = 1000, .goal = {0.5}, .terminate = 1),
    // (1 - 0.9^20) / 0.1 steps on average
    PROBE("wrap", 1, 1, 20, 8.784, .scale = 1, .marked = true, .mark_slope = 0.5, .terminate = 0.05,
          .truncate = 0.05),
    BRC_ENV_END,
};
