#include "train/loop.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

brc_status brc_loop_init(brc_loop *l, const brc_loop_config *config, brc_agent *agent, brc_replay *replay,
                         brc_normalizer *normalizer, const brc_world *world, brc_pool *pool) {
  const brc_agent_config *c = &agent->config;
  size_t t = (size_t)c->tasks, o = (size_t)c->obs_dim, a = (size_t)c->action_dim, b = (size_t)c->batch,
         u = config->updates;
  *l = (brc_loop){
      .config = *config, .agent = agent, .replay = replay, .normalizer = normalizer, .world = *world};
  size_t noise = (b > t ? b : t) * a;
  bool ok = (l->obs = calloc(t * o, 4)) && (l->next_obs = calloc(t * o, 4)) && (l->action = calloc(t * a, 4)) &&
            (l->chosen = calloc(t * a, 8)) && (l->act_in = calloc(t * (o + a), 8)) &&
            (l->noise = calloc(noise, 4)) && (l->noise2 = calloc(noise, 4)) && (l->reward = calloc(t, 4)) &&
            (l->mask = calloc(t, 4)) && (l->denominators = calloc(t, 8)) && (l->values = calloc(t, 8)) &&
            (l->entropy = calloc(t, 8)) && (l->terminal = calloc(t, 1)) && (l->truncated = calloc(t, 1)) &&
            (l->ended = calloc(t, 1)) && (l->task = calloc(t, 4)) && (l->pairs = calloc(u * b + 1, 8)) &&
            (l->batches = calloc(u + 1, sizeof *l->batches));
  brc_status st = ok ? BRC_OK : brc_fail(BRC_E_NOMEM, "out of memory for the training loop's buffers");
  if (!st) st = brc_feed_init(&l->feed, agent, replay, pool);
  for (size_t i = 0; !st && i < u; i++) st = brc_update_batch_create(agent, &l->batches[i]);
  for (size_t i = 0; !st && i < t; i++) l->task[i] = (int32_t)i;
  if (!st)
    st = brc_actor_create(&l->actor, agent, (uint32_t)t,
                          world->act_noise ? BRC_ACT_GIVEN_NOISE : BRC_ACT_SAMPLE, false);
  if (!st && config->paper_normalizer)
    st = brc_actor_create(&l->bootstrap, agent, (uint32_t)t, BRC_ACT_SAMPLE, true);
  if (!st && config->overlap) st = brc_helper_create(&l->helper);
  if (st) brc_loop_free(l);
  return st;
}

void brc_loop_free(brc_loop *l) {
  brc_helper_destroy(l->helper);
  brc_actor_free(l->actor);
  brc_actor_free(l->bootstrap);
  brc_feed_free(&l->feed);
  for (size_t i = 0; l->batches && i < l->config.updates; i++) brc_batch_free(&l->batches[i]);
  void *all[] = {l->obs,      l->next_obs,  l->action, l->chosen,       l->act_in, l->noise,
                 l->noise2,   l->reward,    l->mask,   l->denominators, l->values, l->entropy,
                 l->terminal, l->truncated, l->ended,  l->task,         l->pairs,  l->batches};
  for (size_t i = 0; i < BRC_COUNT(all); i++) free(all[i]);
  *l = (brc_loop){0};
}

// Seconds since *t, which moves on.
static double lap(double *t) {
  double now = brc_now_s(), d = now - *t;
  *t = now;
  return d;
}

// "'walker-run'", or "number 3" where names are unknown.
static const char *task_text(const brc_loop *l, size_t t, char out[160]) {
  if (l->world.task_names)
    snprintf(out, 160, "'%s'", l->world.task_names[t]);
  else
    snprintf(out, 160, "number %zu", t);
  return out;
}

brc_status brc_loop_check_obs(const brc_loop *l, uint64_t step, size_t t, const float *obs) {
  char task[160];
  for (int64_t k = 0; k < l->agent->config.obs_dim; k++)
    if (!isfinite(obs[k]))
      return brc_fail(BRC_E_VALUE, "step %llu: the observation of task %s is not finite (entry %lld is %g)",
                      (unsigned long long)step, task_text(l, t, task), (long long)k, (double)obs[k]);
  return BRC_OK;
}

// What the environments have returned.
static brc_status check_results(const brc_loop *l, uint64_t step) {
  const size_t tasks = (size_t)l->agent->config.tasks, o = (size_t)l->agent->config.obs_dim;
  char task[160];
  brc_status st = BRC_OK;
  for (size_t t = 0; !st && t < tasks; t++) {
    st = brc_loop_check_obs(l, step, t, l->next_obs + t * o);
    if (!st && !isfinite(l->reward[t]))
      st = brc_fail(BRC_E_VALUE, "step %llu: the reward of task %s is not finite (%g)",
                    (unsigned long long)step, task_text(l, t, task), (double)l->reward[t]);
  }
  return st;
}

static brc_status act(brc_loop *l, uint64_t i) {
  const brc_agent_config *c = &l->agent->config;
  size_t n = (size_t)(c->tasks * c->action_dim);
  if (i < l->config.start) {
    brc_status st = l->world.random_action(l->world.self, i, l->action);
    for (size_t k = 0; k < n; k++) l->chosen[k] = l->action[k];
    return st;
  }
  // Observations and noise travel as double so that a float64 backend acts in float64.
  size_t o = (size_t)(c->tasks * c->obs_dim);
  double *wide = l->act_in;
  char task[160];
  brc_status st = l->world.act_noise ? l->world.act_noise(l->world.self, i, l->noise) : BRC_OK;
  for (size_t k = 0; k < o; k++) wide[k] = l->obs[k];
  for (size_t k = 0; k < n; k++) wide[o + k] = l->noise[k];
  if (!st) st = brc_actor_run(l->actor, BRC_F64, wide, l->task, wide + o, i, l->chosen, NULL);
  for (size_t k = 0; !st && k < n; k++) {
    if (!isfinite(l->chosen[k]))
      return brc_fail(
          BRC_E_VALUE,
          "step %llu: the actor's action of task %s is not finite; the run diverged (see train.csv)",
          (unsigned long long)i, task_text(l, k / (size_t)c->action_dim, task));
    l->chosen[k] = fmin(fmax(l->chosen[k], -1), 1);
    l->action[k] = (float)l->chosen[k];
  }
  return st;
}

// Feed the normaliser; the paper's variant needs the critic's value where an episode was cut off.
static brc_status normalise(brc_loop *l, uint64_t i) {
  const brc_agent_config *c = &l->agent->config;
  bool any = false;
  for (int64_t t = 0; t < c->tasks; t++) any |= l->truncated[t];
  if (l->bootstrap && any) {
    float *unused = malloc((size_t)(c->tasks * c->action_dim) * 4), *value = malloc((size_t)c->tasks * 4);
    brc_status st = unused && value
                        ? brc_actor_run(l->bootstrap, BRC_F32, l->next_obs, l->task, NULL, i, unused, value)
                        : brc_fail(BRC_E_NOMEM, "out of memory");
    for (int64_t t = 0; !st && t < c->tasks; t++)  // the critic's value is of normalised rewards
      l->values[t] = isfinite(l->denominators[t]) && l->denominators[t] > 0 ? value[t] * l->denominators[t] : 0;
    free(unused);
    free(value);
    if (st) return st;
  }
  return brc_normalizer_feed(l->normalizer, l->reward, l->terminal, l->truncated, l->values);
}

static brc_status paper_entropy(brc_loop *l, const brc_batch *b) {
  // Mean of -log pi over each task's samples of the batch; a task without samples keeps its last value.
  size_t n = b->rows;
  const brc_tensor *tap = NULL;
  for (size_t k = 0; k < l->agent->tap_count; k++)
    if (!strcmp(l->agent->taps[k].name, "log_prob")) tap = l->agent->taps[k].t;
  double *logp = malloc(n * sizeof *logp);
  if (!logp || !tap) {
    free(logp);
    return brc_fail(BRC_E_NOMEM, "no log-probabilities for the paper's normaliser");
  }
  brc_status st = brc_tensor_read(l->agent->device, l->agent->update_exec, tap, BRC_F64, logp);
  for (int64_t t = 0; !st && t < l->agent->config.tasks; t++) {
    double sum = 0;
    size_t k = 0;
    for (size_t r = 0; r < n; r++)
      if (b->task[r] == t) sum -= logp[r], k++;
    if (k) l->entropy[t] = sum / (double)k;
  }
  free(logp);
  return st;
}

static brc_status update(brc_loop *l, uint64_t i, double *clock) {
  const brc_agent_config *c = &l->agent->config;
  uint32_t b = (uint32_t)c->batch, total = l->config.updates * b;
  double alpha;
  brc_status st = l->world.sample(l->world.self, l->replay, i, total, l->pairs);
  if (!st) st = brc_agent_alpha(l->agent, &alpha);
  if (st) return st;
  if (l->config.paper_normalizer)
    brc_normalizer_denominators_paper(l->normalizer, alpha, l->entropy, l->denominators);
  else
    brc_normalizer_denominators(l->normalizer, alpha, c->target_entropy, l->denominators);
  if (l->world.saw_denominators) l->world.saw_denominators(l->world.self, i, alpha, l->denominators);
  st = brc_feed_rows(&l->feed);
  for (uint32_t u = 0; !st && u < l->config.updates; u++) {
    brc_batch *x = &l->batches[u];
    st = brc_feed_batch(&l->feed, l->pairs + 2 * (size_t)u * b, x);
    for (uint32_t r = 0; x->reward64 && r < b; r++)
      x->reward64[r] = (double)x->reward[r] / l->denominators[x->task[r]];
    if (!st) brc_normalizer_apply(b, x->task, l->denominators, x->reward, 0);
  }
  l->phase_s[BRC_PHASE_DATA] += lap(clock);
  bool each = l->world.saw_update != NULL;
  for (uint32_t u = 0; !st && u < l->config.updates; u++) {
    if (l->world.update_noise) {
      st = l->world.update_noise(l->world.self, i, u, l->noise, l->noise2);
      if (!st) st = brc_agent_write_noise(l->agent, BRC_F32, l->noise, l->noise2);
    }
    if (!st) st = brc_agent_write_batch(l->agent, &l->batches[u], true);
    if (!st && l->watch && !*l->first.where)
      st = brc_agent_update_watched(l->agent, &l->batches[u], &l->first);
    else if (!st)
      st = brc_agent_update(l->agent);
    if (!st && (each || u + 1 == l->config.updates)) st = brc_agent_metrics(l->agent, l->metrics);
    if (!st && each) l->world.saw_update(l->world.self, i, u, l->metrics);
    if (!st) l->updates_done++;
  }
  if (!st && l->config.paper_normalizer && l->config.updates)
    st = paper_entropy(l, &l->batches[l->config.updates - 1]);
  if (!st) st = brc_agent_wait(l->agent);
  for (int m = 0; !st && m < BRC_METRIC_COUNT && l->config.updates; m++)
    if (!isfinite(l->metrics[m])) {
      l->diverged = true;
      st = brc_fail(BRC_E_VALUE, "step %llu, update %llu: %s is not finite; the run diverged",
                    (unsigned long long)i, (unsigned long long)l->updates_done, brc_metric_names[m]);
    }
  l->phase_s[BRC_PHASE_UPDATE] += lap(clock);
  return st;
}

static brc_status step_world(void *arg) {
  brc_loop *l = arg;
  return l->world.step(l->world.self, l->step + 1, l->chosen, l->action, l->next_obs, l->reward, l->terminal,
                       l->truncated);
}

// The environments step over there while the updates of the step before are made here.
static brc_status step_beside_update(brc_loop *l, double *clock) {
  bool learning = l->step >= l->config.start;
  brc_helper_start(l->helper, step_world, l);
  brc_status st = learning ? update(l, l->step, clock) : BRC_OK, world;
  char *error = st ? strdup(brc_error()) : NULL;
  world = brc_helper_join(l->helper);
  if (st) brc_fail(st, "%s", error ? error : "out of memory");
  free(error);
  return st ? st : world;
}

brc_status brc_loop_step(brc_loop *l) {
  const brc_agent_config *c = &l->agent->config;
  size_t tasks = (size_t)c->tasks, o = (size_t)c->obs_dim;
  uint64_t i = l->step + 1;
  double clock = brc_now_s();
  brc_status st = act(l, i);  // 1
  l->phase_s[BRC_PHASE_ACT] += lap(&clock);
  if (!st) st = l->helper ? step_beside_update(l, &clock) : step_world(l);  // 2
  l->phase_s[BRC_PHASE_ENV] += lap(&clock);
  if (!st) st = check_results(l, i);
  if (!st) st = normalise(l, i);  // 3
  bool any = false;
  for (size_t t = 0; t < tasks; t++) {
    l->ended[t] = l->terminal[t] || l->truncated[t];
    l->mask[t] = l->terminal[t] && !l->truncated[t] ? 0.0f : 1.0f;
    any |= l->ended[t];
  }
  if (!st && any && l->world.saw_episode_end) l->world.saw_episode_end(l->world.self, i, l->normalizer);
  if (!st)
    st = brc_replay_insert(l->replay, l->obs, l->action, l->reward, l->mask, l->next_obs, l->ended);  // 4
  l->phase_s[BRC_PHASE_DATA] += lap(&clock);
  if (st) return st;
  memcpy(l->obs, l->next_obs, tasks * o * 4);  // 5
  for (size_t t = 0; !st && t < tasks; t++)
    if (l->ended[t]) {
      st = l->world.reset(l->world.self, i, t, l->obs + t * o);
      if (!st) st = brc_loop_check_obs(l, i, t, l->obs + t * o);
    }
  l->phase_s[BRC_PHASE_ENV] += lap(&clock);
  if (!st && !l->helper && i >= l->config.start) st = update(l, i, &clock);  // 6 to 8
  if (!st) l->step = i;
  return st;
}
