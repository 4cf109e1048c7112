// The agent: its networks, its programs, and its state by name.
#include "agent/agent.h"
#include "base/philox.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

//------------------------ 1. Configuration --------------------------------------
#define X(type_, field_, name_, lo_, hi_, default_, help_) \
  {name_, BRC_OPT_##type_, offsetof(brc_agent_config, field_), lo_, hi_, default_, NULL, help_},
const brc_option brc_agent_options[] = {
    BRC_AGENT_OPTIONS(X){"embedding-norm", BRC_OPT_TEXT, offsetof(brc_agent_config, embedding_norm), 0, 0, "l2",
                         "l2|l1", "norm that divides an embedding (l1: the paper)"}};
#undef X
const size_t brc_agent_option_count = BRC_COUNT(brc_agent_options);

const char *const brc_metric_names[BRC_METRIC_COUNT] = {
#define X(id, name) name,
    BRC_METRICS(X)
#undef X
};

brc_status brc_agent_config_resolve(brc_agent_config *c) {
  if (!c->batch) c->batch = c->tasks > 1 ? 1024 : 256;
  if (isnan(c->target_entropy)) c->target_entropy = -c->target_entropy_scale * (double)c->action_dim;
  if (c->log_std_min >= c->log_std_max)
    return brc_fail(BRC_E_VALUE, "option --log-std-min (%g) must be below --log-std-max (%g)", c->log_std_min,
                    c->log_std_max);
  if (c->obs_dim < 1 || c->action_dim < 1 || c->tasks < 1 || c->obs_dim > 1 << 20 || c->action_dim > 1 << 16 ||
      c->tasks > 1 << 16)
    return brc_fail(BRC_E_VALUE, "%lld tasks with %lld observations and %lld actions: each must be at least 1",
                    (long long)c->tasks, (long long)c->obs_dim, (long long)c->action_dim);
  return BRC_OK;
}

//------------------------ 2. Networks in a program ------------------------------
static brc_tensor *embedding(brc_agent *a, brc_program *p, brc_role role) {
  const brc_agent_config *c = &a->config;
  if (c->tasks == 1) return NULL;
  brc_net n = {p, &a->critic, role, 1, c->layernorm_eps};
  return brc_nn_embedding(&n, (uint32_t)c->tasks, (uint32_t)c->embedding_dim,
                          !strcmp(c->embedding_norm, "l1") ? 1 : 2);
}

// Logits [E,B,N] of critic or target critic.
static brc_tensor *critic(brc_agent *a, brc_program *p, brc_role role, brc_tensor *obs, brc_tensor *action,
                          brc_tensor *emb, brc_tensor *task) {
  const brc_agent_config *c = &a->config;
  brc_net n = {p, &a->critic, role, (uint32_t)c->ensemble, c->layernorm_eps};
  brc_tensor *x = brc_concat_input(p, obs, action, emb, task);
  brc_tensor *h = brc_nn_bronet(&n, x, (uint32_t)c->width, (uint32_t)c->depth);
  return brc_nn_dense(&n, "output", h, (uint32_t)c->atoms, sqrt(2.0));
}

// Sample (eps, tau 1) or mean action (tau 0), and log pi if asked for.
static void actor(brc_agent *a, brc_program *p, brc_tensor *obs, brc_tensor *emb, brc_tensor *task,
                  brc_tensor *eps, brc_tensor **action, brc_tensor **logp) {
  const brc_agent_config *c = &a->config;
  brc_net n = {p, &a->actor, BRC_PARAM, 1, c->layernorm_eps};
  brc_tensor *x = brc_concat_input(p, obs, NULL, emb, task);
  brc_tensor *h = brc_nn_bronet(&n, x, (uint32_t)c->actor_width, (uint32_t)c->actor_depth);
  brc_tensor *mean = brc_nn_dense(&n, "mean", h, (uint32_t)c->action_dim, sqrt(2.0));
  brc_tensor *head = brc_nn_dense(&n, "log_std", h, (uint32_t)c->action_dim, 1);
  brc_tanh_normal(p, mean, head, eps, eps ? 1 : 0, c->log_std_min, c->log_std_max, action, logp);
}

//------------------------ 3. The batch ------------------------------------------
typedef struct batch_layout {
  uint64_t obs, next_obs, action, reward, mask, task, index, extra;
  uint64_t sent, elements;  // the part that comes from the host, the whole
} batch_layout;

static batch_layout lay_out_batch(const brc_agent_config *c, uint32_t rows, bool indexed) {
  uint64_t o = (uint64_t)rows * brc_pitch((uint32_t)c->obs_dim),
           act = (uint64_t)rows * brc_pitch((uint32_t)c->action_dim), at = 0;
  batch_layout l = {0};
#define PLACE(field, n) l.field = at, at = BRC_ROUND_UP(at + (n), 128u)
  PLACE(reward, rows);
  PLACE(mask, rows);
  PLACE(task, rows);
  if (indexed) {
    PLACE(index, 2 * (uint64_t)rows);
    PLACE(extra, o);  // the last of what is sent, as mostly it is empty
    l.sent = at;
  }
  PLACE(obs, o);
  PLACE(next_obs, o);
  PLACE(action, act);
#undef PLACE
  l.elements = at;
  if (!indexed) l.sent = at;
  return l;
}

typedef struct batch_tensors {
  brc_tensor *obs, *next_obs, *action, *reward, *mask, *task, *index, *extra;
} batch_tensors;

static brc_tensor *matrix(brc_program *p, brc_storage *s, const char *name, uint64_t at, uint32_t rows,
                          uint32_t cols) {
  return brc_external(p, s, name, at, 1, rows, cols, brc_pitch(cols), 0);
}

static batch_tensors batch_in(const brc_agent_config *c, brc_program *p, brc_storage *s, uint32_t rows,
                              bool indexed) {
  batch_layout l = lay_out_batch(c, rows, indexed);
  batch_tensors b = {.obs = matrix(p, s, "obs", l.obs, rows, (uint32_t)c->obs_dim),
                     .next_obs = matrix(p, s, "next_obs", l.next_obs, rows, (uint32_t)c->obs_dim),
                     .action = matrix(p, s, "action", l.action, rows, (uint32_t)c->action_dim),
                     .reward = matrix(p, s, "reward", l.reward, rows, 1),
                     .mask = matrix(p, s, "mask", l.mask, rows, 1),
                     .task = matrix(p, s, "task", l.task, rows, 1)};
  b.task->dtype = BRC_I32;
  if (indexed) {
    b.index = brc_external(p, s, "index", l.index, 1, rows, 2, 2, 0);
    b.index->dtype = BRC_I32;
    b.extra = matrix(p, s, "extra", l.extra, rows, (uint32_t)c->obs_dim);
  }
  return b;
}

static brc_status make_batch(const brc_agent *a, uint32_t rows, bool indexed, brc_batch *b) {
  batch_layout l = lay_out_batch(&a->config, rows, indexed);
  *b = (brc_batch){.rows = rows,
                   .pitch_obs = brc_pitch((uint32_t)a->config.obs_dim),
                   .pitch_action = brc_pitch((uint32_t)a->config.action_dim),
                   .elements = l.sent};
  b->block = brc_alloc_aligned(l.sent * 4, "a batch");
  if (!b->block) return BRC_E_NOMEM;
  if (indexed) {
    b->index = (int32_t *)(void *)(b->block + l.index);
    b->extra = b->block + l.extra;
  } else {
    b->obs = b->block + l.obs;
    b->next_obs = b->block + l.next_obs;
    b->action = b->block + l.action;
  }
  b->reward = b->block + l.reward;
  b->mask = b->block + l.mask;
  b->task = (int32_t *)(void *)(b->block + l.task);
  if (a->device->backend->wide && !(b->reward64 = calloc(rows, sizeof *b->reward64))) {
    brc_batch_free(b);
    return brc_fail(BRC_E_NOMEM, "out of memory for a batch");
  }
  return BRC_OK;
}

brc_status brc_batch_create(const brc_agent *a, uint32_t rows, brc_batch *out) {
  return make_batch(a, rows, false, out);
}
brc_status brc_update_batch_create(const brc_agent *a, brc_batch *out) {
  return make_batch(a, (uint32_t)a->config.batch, a->table_rows > 0, out);
}

void brc_batch_free(brc_batch *b) {
  free(b->block);
  free(b->reward64);
  *b = (brc_batch){0};
}

static brc_status write_batch(brc_agent *a, brc_storage *s, const brc_batch *b, bool async) {
  const brc_backend *k = a->device->backend;
  const uint64_t sent =
      b->extra ? (uint64_t)(b->extra - b->block) + (uint64_t)b->extra_rows * b->pitch_obs : b->elements;
  if (!k->wide) return k->write(a->device, s->buffer, 0, sent, b->block, async);
  double *wide = malloc(b->elements * 8);
  if (!wide) return brc_fail(BRC_E_NOMEM, "out of memory for a batch of doubles");
  uint64_t task = (uint64_t)((float *)(void *)b->task - b->block), reward = (uint64_t)(b->reward - b->block);
  for (uint64_t i = 0; i < b->elements; i++)
    wide[i] = i >= task && i < task + b->rows ? 0 : (double)b->block[i];
  for (uint32_t i = 0; i < b->rows; i++) wide[task + i] = b->task[i], wide[reward + i] = b->reward64[i];
  brc_status st = k->write(a->device, s->buffer, 0, b->elements, wide, false);
  free(wide);
  return st;
}

brc_status brc_agent_write_batch(brc_agent *a, const brc_batch *b, bool async) {
  return write_batch(a, &a->batch, b, async);
}

// The place of row `at` of the table.
static uint64_t in_part(const brc_agent *a, uint64_t at, uint32_t *part) {
  *part = (uint32_t)(at / a->table_part);
  return at % a->table_part * a->table_pitch;
}

brc_status brc_agent_write_rows(brc_agent *a, uint64_t first, uint64_t count, const float *rows, bool async) {
  brc_status st = BRC_OK;
  if (count > a->table_rows || first > a->table_rows - count)
    return brc_fail(BRC_E_SHAPE, "rows %llu to %llu of a table of %llu", (unsigned long long)first,
                    (unsigned long long)(first + count), (unsigned long long)a->table_rows);
  while (!st && count) {
    uint32_t part;
    const uint64_t at = in_part(a, first, &part), left = a->table_part - first % a->table_part,
                   n = count < left ? count : left;
    st = a->device->backend->write(a->device, a->table[part].buffer, at, n * a->table_pitch, rows, async);
    rows += n * a->table_pitch;
    first += n;
    count -= n;
  }
  return st;
}

// The batch out of the table's parts.
static void gather(brc_agent *a, brc_program *p, const batch_tensors *b) {
  const uint32_t cols = (uint32_t)(a->config.obs_dim + a->config.action_dim);
  for (uint32_t k = 0; k * a->table_part < a->table_rows; k++) {
    const uint64_t first = k * a->table_part, left = a->table_rows - first,
                   rows = left < a->table_part ? left : a->table_part;
    brc_tensor *t = brc_external(p, &a->table[k], "table", 0, 1, (uint32_t)rows, cols, a->table_pitch, 0);
    brc_gather_batch(p, t, (uint32_t)first, b->extra, b->index, b->obs, b->action, b->next_obs);
  }
}

//------------------------ 4. Update and inspect ---------------------------------
// Where a program reads its batch and scalars from and writes its metrics to.
typedef struct learner {
  uint32_t rows;
  bool apply;    // update: step the optimisers; inspect: only look
  bool indexed;  // the batch is taken from the agent's table
  brc_storage *batch, *scalars, *counts, *metrics, *noise;
} learner;

static brc_tensor *metric(brc_program *p, const learner *l, int first, uint32_t n) {
  return brc_external(p, l->metrics, brc_metric_names[first], (uint64_t)first, 1, 1, n, n, 0);
}

static brc_tensor *noise(brc_agent *a, brc_program *p, const learner *l, uint32_t stream) {
  uint32_t cols = (uint32_t)a->config.action_dim;
  if (l->noise)
    return matrix(p, l->noise, "noise", stream * (uint64_t)l->rows * brc_pitch(cols), l->rows, cols);
  return brc_normal(p, brc_external(p, l->counts, "draw", BRC_COUNT_DRAW, 1, 1, 1, 1, 0), l->rows, cols,
                    a->config.seed, stream);
}

static void tap(brc_agent *a, brc_program *p, bool on, const char *name, brc_tensor *t) {
  if (!on) return;
  brc_program_tap(p, t);
  a->taps[a->tap_count++] = (struct brc_tap){name, t};
}

// Gradient of a loss by a whole group, then its norm (inspect) or AdamW with both norms (update).
static void descend(brc_agent *a, brc_program *p, const learner *l, brc_group *g, brc_tensor *loss,
                    brc_tensor *scalars, uint32_t c1, const brc_adam *adam, int metrics) {
  (void)a;
  brc_wrt wrt[BRC_COUNT(g->params)];
  brc_grad(p, loss, wrt, brc_group_wrt(p, g, wrt), NULL, 0);
  if (l->apply) {
    brc_program_scope(p, g->name);
    brc_tensor *squares =
        brc_adamw(p, brc_group_flat(p, g, BRC_GRAD), brc_group_flat(p, g, BRC_PARAM),
                  brc_group_flat(p, g, BRC_M), brc_group_flat(p, g, BRC_V),
                  g->has_target ? brc_group_flat(p, g, BRC_TARGET) : NULL, scalars, c1, adam, a->config.tau);
    brc_reduce(p, squares, BRC_REDUCE_ROOT, 1, metric(p, l, metrics, 2));
  } else {
    uint32_t n = (uint32_t)g->elements;
    brc_program_scope(p, g->name);
    brc_tensor *flat = brc_external(p, &g->storage[BRC_GRAD], "grad", 0, 1, n, 1, 1, 0);
    brc_reduce(p, flat, BRC_REDUCE_NORM, 1, metric(p, l, metrics, 1));
  }
  brc_program_scope(p, NULL);
}

// A loss is a mean over the rows, so gradients of a row's activations are about 1/rows of a number between 1e-4 and 10 or so: of
// probabilities spread over many atoms, of a value in -v_max .. v_max. Multiplied by 64 rows they lie in the middle of fp16's range,
// 6e-5 (6e-8 with subnormals) to 65504; what is larger still saturates. Only factors of products are scaled, so that
// gradients in memory, norms and moments do not know of it.
static double fp16_grad_scale(uint32_t rows) {
  double scale = 64;
  for (uint32_t n = 1; n < rows; n *= 2) scale *= 2;
  return scale;
}

// ALGORITHM.md section 2, top to bottom.
static void build_learner(brc_agent *a, brc_program *p, const learner *l, bool taps) {
  const brc_agent_config *c = &a->config;
  p->precision = a->precision;
  p->by_shape = a->by_shape;
  if (a->precision == BRC_FP16) p->grad_scale = fp16_grad_scale(l->rows);
  brc_adam adam_c = {c->critic_lr, c->beta1, c->beta2, c->adam_eps, c->weight_decay};
  brc_adam adam_a = {c->actor_lr, c->beta1, c->beta2, c->adam_eps, c->weight_decay};
  brc_adam adam_t = {c->temperature_lr, c->temperature_beta1, c->temperature_beta2, c->adam_eps,
                     c->temperature_decay};
  batch_tensors b = batch_in(c, p, l->batch, l->rows, l->indexed);
  if (l->indexed) gather(a, p, &b);
  brc_tensor *log_alpha = brc_group_tensor(p, &a->temperature, BRC_PARAM, &a->temperature.params[0]);
  brc_tensor *counts = brc_external(p, l->counts, "counts", 0, 1, 1, BRC_COUNT_COUNT, BRC_COUNT_COUNT, 0);
  brc_tensor *scalars = brc_external(p, l->scalars, "scalars", 0, 1, 1, BRC_SCALAR_COUNT, BRC_SCALAR_COUNT, 0);
  brc_advance_scalars(p, counts, log_alpha, scalars, &adam_c, &adam_a, &adam_t);

  // 1. Target: the next action from the actor with the online embedding, its value from the target critic with its own.
  brc_tensor *emb = embedding(a, p, BRC_PARAM), *emb_target = embedding(a, p, BRC_TARGET);
  brc_tensor *next_action, *next_logp, *target, *q_target;
  actor(a, p, b.next_obs, emb, b.task, noise(a, p, l, BRC_STREAM_TARGET_NOISE), &next_action, &next_logp);
  brc_tensor *next_logits = critic(a, p, BRC_TARGET, b.next_obs, next_action, emb_target, b.task);
  brc_categorical_target(p, next_logits, b.reward, b.mask, next_logp, scalars, c->v_max, c->discount, &target,
                         &q_target);
  brc_reduce(p, q_target, BRC_REDUCE_STATS, 1, metric(p, l, BRC_METRIC_q_mean, 3));
  brc_reduce(p, b.reward, BRC_REDUCE_SUM, 1.0 / l->rows, metric(p, l, BRC_METRIC_reward_mean, 1));
  tap(a, p, taps, "next_action", next_action);
  tap(a, p, taps, "next_log_prob", next_logp);
  tap(a, p, taps, "target_probs", target);

  // 2, 3. Critic step; the target network follows in the same pass over the parameters.
  brc_tensor *logits = critic(a, p, BRC_PARAM, b.obs, b.action, emb, b.task);
  brc_tensor *loss = brc_cross_entropy(p, logits, target);
  brc_reduce(p, loss, BRC_REDUCE_SUM, 1.0 / l->rows, metric(p, l, BRC_METRIC_loss_critic, 1));
  tap(a, p, taps, "q_logits", logits);
  descend(a, p, l, &a->critic, loss, scalars, BRC_SCALAR_CRITIC_C1, &adam_c, BRC_METRIC_grad_norm_critic);

  // 4. Actor step, with the critic and the embedding as they are now.
  emb = embedding(a, p, BRC_PARAM);
  brc_tensor *action, *logp;
  actor(a, p, b.obs, emb, b.task, noise(a, p, l, BRC_STREAM_ACTOR_NOISE), &action, &logp);
  brc_tensor *q = brc_expected_value(p, critic(a, p, BRC_PARAM, b.obs, action, emb, b.task), c->v_max);
  brc_tensor *policy_loss = brc_policy_loss(p, logp, q, scalars, metric(p, l, BRC_METRIC_loss_actor, 2));
  tap(a, p, taps, "action", action);
  tap(a, p, taps, "log_prob", logp);
  descend(a, p, l, &a->actor, policy_loss, scalars, BRC_SCALAR_ACTOR_C1, &adam_a, BRC_METRIC_grad_norm_actor);

  // 5. Temperature step.
  if (l->apply)
    brc_temperature(p, log_alpha, brc_group_tensor(p, &a->temperature, BRC_M, &a->temperature.params[0]),
                    brc_group_tensor(p, &a->temperature, BRC_V, &a->temperature.params[0]), scalars,
                    metric(p, l, BRC_METRIC_entropy, 1), &adam_t, c->target_entropy,
                    metric(p, l, BRC_METRIC_temperature, 3));
}

brc_status brc_agent_write_noise(brc_agent *a, brc_dtype dtype, const void *target, const void *actor_noise) {
  uint32_t rows = (uint32_t)a->config.batch, cols = (uint32_t)a->config.action_dim, pitch = brc_pitch(cols);
  brc_tensor t = {
      .name = "noise", .members = 1, .rows = rows, .cols = cols, .pitch = pitch, .storage = &a->noise};
  brc_status st = brc_tensor_write(a->device, &t, dtype, target);
  t.offset = (uint64_t)rows * pitch;
  return st ? st : brc_tensor_write(a->device, &t, dtype, actor_noise);
}

brc_status brc_agent_update(brc_agent *a) { return a->device->backend->run(a->device, a->update_exec, 1); }
brc_status brc_agent_wait(brc_agent *a) { return a->device->backend->wait(a->device); }

// Where a tensor first has an element that is not finite; *out stays as it is if nowhere.
static brc_status look(brc_agent *a, const brc_batch *b, const brc_op *op, const brc_tensor *t,
                       brc_not_finite *out) {
  const size_t n = (size_t)t->members * t->rows * t->cols;
  double *x = malloc((n + 1) * sizeof *x);
  if (!x) return brc_fail(BRC_E_NOMEM, "out of memory for the output of op '%s'", op->label);
  brc_status st = brc_tensor_read(a->device, NULL, t, BRC_F64, x);
  size_t i = 0;
  while (!st && i < n && isfinite(x[i])) i++;
  if (!st && i < n) {
    uint32_t r = (uint32_t)(i / t->cols % t->rows);
    snprintf(out->where, sizeof out->where,
             "op '%s' (%s), output %s [%u,%u,%u] at member %zu, row %u, column %zu: %g", op->label,
             brc_op_infos[op->kind].name, t->name, t->members, t->rows, t->cols, i / t->cols / t->rows, r,
             i % t->cols, x[i]);
    out->task = t->rows == b->rows ? b->task[r] : -1;
    for (; i < n && out->task >= 0; i++) {
      r = (uint32_t)(i / t->cols % t->rows);
      if (!isfinite(x[i]) && b->task[r] != out->task) out->task = -1;
    }
  }
  free(x);
  return st;
}

static learner update_learner(brc_agent *a) {
  return (learner){.rows = (uint32_t)a->config.batch,
                   .apply = true,
                   .indexed = a->table_rows > 0,
                   .batch = &a->batch,
                   .scalars = &a->scalars,
                   .counts = &a->counts,
                   .metrics = &a->metrics,
                   .noise = a->given_noise ? &a->noise : NULL};
}

// Each op is a program of its own here, and the activations lie where every one of them can be read.
brc_status brc_agent_update_watched(brc_agent *a, const brc_batch *b, brc_not_finite *first) {
  const brc_backend *k = a->device->backend;
  brc_program *p;
  brc_storage arena = {.name = "activations"};
  *first = (brc_not_finite){.task = -1};
  brc_status st = brc_program_create(&p, "watched update");
  if (st) return st;
  learner l = update_learner(a);
  build_learner(a, p, &l, false);
  st = brc_program_finish(p);
  arena.elements = p->arena_elements;
  if (!st) st = brc_storage_alloc(a->device, &arena);
  for (size_t i = 0; i < p->tensor_count; i++)
    if (!p->tensors[i]->storage) p->tensors[i]->storage = &arena;
  for (size_t i = 0; !st && i < p->op_count; i++) {
    brc_op op = *p->ops[i], *only = &op;
    brc_program one = *p;
    brc_exec *e;
    op.index = 0;
    one.ops = &only;
    one.op_count = 1;
    one.arena_elements = 128;  // unused
    st = k->compile(a->device, &one, &e);
    if (st) break;
    st = k->run(a->device, e, 1);
    if (!st) st = k->wait(a->device);
    for (int o = 0; !st && !*first->where && o < BRC_MAX_OUT; o++)
      if (op.out[o] && op.out[o]->dtype != BRC_I32) st = look(a, b, &op, op.out[o], first);
    k->exec_free(a->device, e);
  }
  brc_storage_release(a->device, &arena);
  brc_program_free(p);
  return st;
}

static brc_status read_row(brc_agent *a, brc_storage *s, uint64_t at, uint32_t n, double *out) {
  brc_tensor t = {.name = s->name, .members = 1, .rows = 1, .cols = n, .pitch = n, .offset = at, .storage = s};
  return brc_tensor_read(a->device, NULL, &t, BRC_F64, out);
}

brc_status brc_agent_metrics(brc_agent *a, double out[BRC_METRIC_COUNT]) {
  return read_row(a, &a->metrics, 0, BRC_METRIC_COUNT, out);
}

brc_status brc_agent_alpha(brc_agent *a, double *alpha) {
  double log_alpha;
  brc_status st = read_row(a, &a->temperature.storage[BRC_PARAM], 0, 1, &log_alpha);
  *alpha = st ? NAN : exp(log_alpha);
  return st;
}

// The inspect program and what is its own.
struct brc_inspect {
  brc_program *program;
  brc_exec *exec;
  brc_storage batch, scalars, counts, metrics;
};

static brc_status build_inspect(brc_agent *a, struct brc_inspect *x) {
  x->batch = (brc_storage){.name = "inspect/batch",
                           .elements = lay_out_batch(&a->config, BRC_INSPECT_ROWS, false).elements};
  x->scalars = (brc_storage){.name = "inspect/scalars", .elements = BRC_SCALAR_COUNT};
  x->counts = (brc_storage){.name = "inspect/counts", .elements = BRC_COUNT_COUNT, .dtype = BRC_I32};
  x->metrics = (brc_storage){.name = "inspect/metrics", .elements = BRC_METRIC_COUNT};
  learner l = {.rows = BRC_INSPECT_ROWS,
               .batch = &x->batch,
               .scalars = &x->scalars,
               .counts = &x->counts,
               .metrics = &x->metrics};
  brc_status st = brc_program_create(&x->program, "inspect");
  if (!st) build_learner(a, x->program, &l, false);
  return st ? st : brc_program_finish(x->program);
}

brc_status brc_agent_inspect(brc_agent *a, const brc_batch *b, uint64_t step, double out[BRC_METRIC_COUNT]) {
  brc_status st = BRC_OK;
  struct brc_inspect *x = a->inspect;
  if (!x) {
    a->inspect = x = calloc(1, sizeof *x);
    if (!x) return brc_fail(BRC_E_NOMEM, "out of memory");
    st = build_inspect(a, x);
    brc_storage *own[] = {&x->batch, &x->scalars, &x->counts, &x->metrics};
    for (size_t i = 0; !st && i < BRC_COUNT(own); i++) st = brc_storage_alloc(a->device, own[i]);
    if (!st) st = a->device->backend->compile(a->device, x->program, &x->exec);
    if (st) return st;
  }
  int32_t counts[BRC_COUNT_COUNT] = {0};
  counts[BRC_COUNT_DRAW] = (int32_t)(0x40000000u | (uint32_t)step);  // far from the update's own draws
  brc_tensor t = {.name = "counts",
                  .dtype = BRC_I32,
                  .members = 1,
                  .rows = 1,
                  .cols = BRC_COUNT_COUNT,
                  .pitch = BRC_COUNT_COUNT,
                  .storage = &x->counts};
  st = brc_tensor_write(a->device, &t, BRC_I32, counts);
  if (!st) st = write_batch(a, &x->batch, b, false);
  if (!st) st = a->device->backend->run(a->device, x->exec, 1);
  return st ? st : read_row(a, &x->metrics, 0, BRC_METRIC_COUNT, out);
}

//------------------------ 5. Acting ---------------------------------------------
struct brc_actor {
  brc_agent *agent;
  brc_program *program;
  brc_exec *exec;
  brc_storage in, step, out;
  brc_tensor *obs, *task, *noise, *action, *value;
};

static brc_status build_actor(brc_actor *x, brc_agent *a, uint32_t rows, brc_act_mode mode, bool value) {
  const brc_agent_config *c = &a->config;
  uint32_t o = (uint32_t)c->obs_dim, n = (uint32_t)c->action_dim;
  uint64_t at_task = BRC_ROUND_UP((uint64_t)rows * brc_pitch(o), 128u),
           at_noise = BRC_ROUND_UP(at_task + rows, 128u);
  x->agent = a;
  x->in = (brc_storage){.name = "act/in", .elements = at_noise + (uint64_t)rows * brc_pitch(n)};
  x->step = (brc_storage){.name = "act/step", .elements = 1, .dtype = BRC_I32};
  brc_status st = brc_program_create(&x->program, mode == BRC_ACT_MEAN ? "act (mean)" : "act");
  if (st) return st;
  brc_program *p = x->program;
  x->obs = matrix(p, &x->in, "obs", 0, rows, o);
  x->task = matrix(p, &x->in, "task", at_task, rows, 1);
  x->task->dtype = BRC_I32;
  if (mode == BRC_ACT_GIVEN_NOISE) x->noise = matrix(p, &x->in, "noise", at_noise, rows, n);
  brc_tensor *eps = mode == BRC_ACT_SAMPLE ? brc_normal(p, brc_external(p, &x->step, "step", 0, 1, 1, 1, 1, 0),
                                                        rows, n, c->seed, BRC_STREAM_ACT_NOISE)
                                           : x->noise;
  brc_tensor *emb = embedding(a, p, BRC_PARAM);
  actor(a, p, x->obs, emb, x->task, eps, &x->action, NULL);
  brc_program_tap(p, x->action);
  if (value) {
    x->value = brc_expected_value(p, critic(a, p, BRC_PARAM, x->obs, x->action, emb, x->task), c->v_max);
    brc_program_tap(p, x->value);
  }
  return brc_program_finish(p);
}

brc_status brc_actor_plan(brc_actor **out, brc_agent *a, uint32_t rows, brc_act_mode mode, bool value) {
  brc_actor *x = *out = calloc(1, sizeof *x);
  if (!x) return brc_fail(BRC_E_NOMEM, "out of memory");
  const brc_status st = build_actor(x, a, rows, mode, value);
  if (!st) return BRC_OK;
  brc_actor_free(x);
  *out = NULL;
  return st;
}

const brc_program *brc_actor_program(const brc_actor *x) { return x->program; }

brc_status brc_actor_create(brc_actor **out, brc_agent *a, uint32_t rows, brc_act_mode mode, bool value) {
  brc_actor *x;
  brc_status st = brc_actor_plan(&x, a, rows, mode, value);
  if (st) return st;
  brc_storage *own[] = {&x->in, &x->step};
  for (size_t i = 0; !st && i < BRC_COUNT(own); i++) st = brc_storage_alloc(a->device, own[i]);
  if (!st) st = a->device->backend->compile(a->device, x->program, &x->exec);
  if (st) {
    brc_actor_free(x);
    return st;
  }
  *out = x;
  return BRC_OK;
}

void brc_actor_free(brc_actor *x) {
  if (!x) return;
  brc_device *d = x->agent->device;
  if (x->exec) d->backend->exec_free(d, x->exec);
  brc_storage_release(d, &x->in);
  brc_storage_release(d, &x->step);
  brc_program_free(x->program);
  free(x);
}

brc_status brc_actor_run(brc_actor *x, brc_dtype dtype, const void *obs, const int32_t *task, const void *eps,
                         uint64_t step, void *action, void *value) {
  brc_device *d = x->agent->device;
  int32_t draw = (int32_t)(uint32_t)step;
  brc_tensor t = {
      .name = "step", .dtype = BRC_I32, .members = 1, .rows = 1, .cols = 1, .pitch = 1, .storage = &x->step};
  brc_status st = brc_tensor_write(d, x->obs, dtype, obs);
  if (!st && task) st = brc_tensor_write(d, x->task, BRC_I32, task);
  if (!st && x->noise) st = brc_tensor_write(d, x->noise, dtype, eps);
  if (!st) st = brc_tensor_write(d, &t, BRC_I32, &draw);
  if (!st) st = d->backend->run(d, x->exec, 1);
  if (!st) st = brc_tensor_read(d, x->exec, x->action, dtype, action);
  if (!st && value && x->value) st = brc_tensor_read(d, x->exec, x->value, dtype, value);
  return st;
}

//------------------------ 6. Create, free ---------------------------------------
// Build the networks once into a program that is thrown away: that declares every parameter.
static brc_status declare(brc_agent *a) {
  brc_program *p;
  brc_status st = brc_program_create(&p, "declaration");
  if (st) return st;
  batch_tensors b = batch_in(&a->config, p, &a->batch, (uint32_t)a->config.batch, a->table_rows > 0);
  brc_tensor *emb = embedding(a, p, BRC_PARAM), *action;
  actor(a, p, b.obs, emb, b.task, NULL, &action, NULL);
  critic(a, p, BRC_PARAM, b.obs, b.action, emb, b.task);
  st = brc_program_status(p);
  brc_program_free(p);
  brc_group_close(&a->actor);
  brc_group_close(&a->critic);
  brc_group *t = &a->temperature;
  t->params[t->count++] = (brc_param){.name = "log_alpha", .members = 1, .rows = 1, .cols = 1, .pitch = 1};
  t->elements = 1;
  for (int r = 0; r < BRC_ROLES; r++) t->storage[r].elements = 1;
  brc_group_close(t);
  return st;
}

static bool role_used(const brc_agent *a, const brc_group *g, int role) {
  return (role != BRC_TARGET || g->has_target) && (role != BRC_GRAD || g != &a->temperature);
}

// Indices of rows are 32-bit and signed.
static brc_status plan_table(brc_agent *a, brc_agent_flags flags) {
  a->table_rows = flags.table_rows;
  a->table_part = flags.table_part ? flags.table_part : flags.table_rows;
  a->table_pitch = brc_pitch((uint32_t)(a->config.obs_dim + a->config.action_dim));
  if (!a->table_rows) return BRC_OK;
  const uint64_t parts = (a->table_rows - 1) / a->table_part + 1;
  if (a->table_rows > INT32_MAX || parts > BRC_TABLE_PARTS)
    return brc_fail(BRC_E_UNSUPPORTED, "a table of %llu rows in %llu buffers on the device: at most %d in %d",
                    (unsigned long long)a->table_rows, (unsigned long long)parts, INT32_MAX, BRC_TABLE_PARTS);
  for (uint64_t k = 0; k < parts; k++) {
    const uint64_t left = a->table_rows - k * a->table_part;
    a->table[k] = (brc_storage){.name = "replay",
                                .elements = (left < a->table_part ? left : a->table_part) * a->table_pitch};
  }
  return BRC_OK;
}

brc_status brc_agent_plan(brc_agent **out, const brc_agent_config *config, brc_agent_flags flags) {
  brc_agent *a = calloc(1, sizeof *a);
  if (!a) return brc_fail(BRC_E_NOMEM, "out of memory");
  a->config = *config;
  a->given_noise = flags.given_noise;
  a->rough = flags.rough;
  a->precision = flags.precision;
  a->by_shape = flags.by_shape;
  brc_group_init(&a->critic, "critic", true);
  brc_group_init(&a->actor, "actor", false);
  brc_group_init(&a->temperature, "temperature", false);
  uint32_t rows = (uint32_t)config->batch;
  a->batch =
      (brc_storage){.name = "batch", .elements = lay_out_batch(config, rows, flags.table_rows > 0).elements};
  a->noise =
      (brc_storage){.name = "noise", .elements = 2 * (uint64_t)rows * brc_pitch((uint32_t)config->action_dim)};
  a->scalars = (brc_storage){.name = "scalars", .elements = BRC_SCALAR_COUNT};
  a->counts = (brc_storage){.name = "counts", .elements = BRC_COUNT_COUNT, .dtype = BRC_I32};
  a->metrics = (brc_storage){.name = "metrics", .elements = BRC_METRIC_COUNT};
  brc_status st = plan_table(a, flags);
  if (!st) st = declare(a);
  if (!st) st = brc_program_create(&a->update_program, "update");
  if (!st) {
    learner l = update_learner(a);
    build_learner(a, a->update_program, &l, flags.taps);
    st = brc_program_finish(a->update_program);
  }
  if (st)
    brc_agent_free(a);
  else
    *out = a;
  return st;
}

brc_status brc_agent_create(brc_agent **out, const brc_agent_config *config, brc_device *device,
                            brc_agent_flags flags) {
  brc_agent *a;
  brc_status st = brc_agent_plan(&a, config, flags);
  if (st) return st;
  a->device = device;
  brc_storage *own[] = {&a->batch, &a->noise, &a->scalars, &a->counts, &a->metrics};
  for (size_t i = 0; !st && i < BRC_COUNT(own); i++)
    if (own[i] != &a->noise || flags.given_noise) st = brc_storage_alloc(device, own[i]);
  if (device->backend->wide && a->table_rows)
    st = brc_fail(BRC_E_UNSUPPORTED, "%s takes whole batches", device->backend->name);
  for (size_t i = 0; !st && i < BRC_TABLE_PARTS; i++)
    if (a->table[i].elements) st = brc_storage_alloc(device, &a->table[i]);
  brc_group *groups[] = {&a->critic, &a->actor, &a->temperature};
  for (size_t i = 0; i < BRC_COUNT(groups); i++)
    for (int r = 0; !st && r < BRC_ROLES; r++)
      if (role_used(a, groups[i], r)) st = brc_storage_alloc(device, &groups[i]->storage[r]);
  if (!st) st = device->backend->compile(device, a->update_program, &a->update_exec);
  if (st) {
    brc_agent_free(a);
    return st;
  }
  *out = a;
  return BRC_OK;
}

static uint64_t storage_bytes(brc_storage *const *s, size_t count) {
  uint64_t n = 0;
  for (size_t i = 0; i < count; i++) n += s[i]->elements * 4;
  return n;
}

// Of a program that acts: its arena and what it reads.
static brc_status acting_bytes(brc_agent *a, uint32_t rows, brc_act_mode mode, bool value, uint64_t *bytes) {
  brc_actor *x;
  brc_status st = brc_actor_plan(&x, a, rows, mode, value);
  *bytes += st ? 0 : storage_bytes((brc_storage *[]){&x->in, &x->step}, 2) + x->program->arena_elements * 4;
  brc_actor_free(x);
  return st;
}

brc_status brc_agent_memory_of(const brc_agent_config *config, brc_agent_flags flags, uint32_t act_rows,
                               bool act_value, uint32_t eval_rows, brc_agent_memory *out) {
  brc_agent *a;
  *out = (brc_agent_memory){0};
  brc_status st = brc_agent_plan(&a, config, flags);
  if (st) return st;
  brc_group *groups[] = {&a->critic, &a->actor, &a->temperature};
  for (size_t i = 0; i < BRC_COUNT(groups); i++) {
    const brc_group *g = groups[i];
    for (size_t k = 0; k < g->count; k++)
      out->groups[i].parameters += (uint64_t)g->params[k].members * g->params[k].rows * g->params[k].cols;
    out->groups[i].tensors = g->count;
    for (int r = 0; r < BRC_ROLES; r++)
      if (role_used(a, g, r)) out->groups[i].bytes[r] = g->storage[r].elements * 4;
  }
  brc_storage *own[] = {&a->batch, &a->scalars, &a->counts, &a->metrics, &a->noise};
  out->batch = storage_bytes(own, flags.given_noise ? 5 : 4);
  out->activations = a->update_program->arena_elements * 4;
  out->table = a->table_rows * a->table_pitch * 4;
  struct brc_inspect *x = a->inspect = calloc(1, sizeof *x);
  st = x ? build_inspect(a, x) : brc_fail(BRC_E_NOMEM, "out of memory");
  if (!st)
    out->inspect = x->program->arena_elements * 4 +
                   storage_bytes((brc_storage *[]){&x->batch, &x->scalars, &x->counts, &x->metrics}, 4);
  if (!st) st = acting_bytes(a, act_rows, BRC_ACT_SAMPLE, false, &out->acting);
  if (!st && act_value) st = acting_bytes(a, act_rows, BRC_ACT_SAMPLE, true, &out->acting);
  if (!st && eval_rows) st = acting_bytes(a, eval_rows, BRC_ACT_MEAN, false, &out->evaluation);
  brc_agent_free(a);
  return st;
}

uint64_t brc_agent_memory_total(const brc_agent_memory *m) {
  uint64_t n = m->activations + m->batch + m->table + m->acting + m->inspect + m->evaluation;
  for (size_t i = 0; i < BRC_COUNT(m->groups); i++)
    for (int r = 0; r < BRC_ROLES; r++) n += m->groups[i].bytes[r];
  return n;
}

void brc_agent_free(brc_agent *a) {
  if (!a) return;
  brc_device *d = a->device;
  if (a->inspect) {
    struct brc_inspect *x = a->inspect;
    if (x->exec) d->backend->exec_free(d, x->exec);
    brc_program_free(x->program);
    brc_storage *own[] = {&x->batch, &x->scalars, &x->counts, &x->metrics};
    for (size_t i = 0; i < BRC_COUNT(own); i++) brc_storage_release(d, own[i]);
    free(x);
  }
  if (a->update_exec) d->backend->exec_free(d, a->update_exec);
  brc_program_free(a->update_program);
  brc_storage *own[] = {&a->batch, &a->noise, &a->scalars, &a->counts, &a->metrics};
  for (size_t i = 0; i < BRC_COUNT(own); i++) brc_storage_release(d, own[i]);
  for (size_t i = 0; i < BRC_TABLE_PARTS; i++) brc_storage_release(d, &a->table[i]);
  brc_group *groups[] = {&a->critic, &a->actor, &a->temperature};
  for (size_t i = 0; i < BRC_COUNT(groups); i++)
    for (int r = 0; r < BRC_ROLES; r++) brc_storage_release(d, &groups[i]->storage[r]);
  free(a);
}

//------------------------ 7. State by name --------------------------------------
// A parameter's tensor in one of its roles, outside any program.
static brc_tensor place(brc_group *g, brc_role role, const brc_param *q) {
  return (brc_tensor){.name = q->name,
                      .members = q->members,
                      .rows = q->rows,
                      .cols = q->cols,
                      .pitch = q->pitch,
                      .stride = q->stride,
                      .storage = &g->storage[role],
                      .offset = q->offset};
}

// One nameable tensor: what all of load, save and read go through.
typedef struct state_row {
  char name[96];
  brc_tensor tensor;
  int rank;  // as files hold it
  uint64_t shape[3];
} state_row;

static uint64_t dense_count(const brc_tensor *t) { return (uint64_t)t->members * t->rows * t->cols; }

typedef struct state_walk {
  int stage;
  size_t i;
} state_walk;
// The stages, in the order in which they are loaded: what may be copied from comes first.
static const struct {
  const char *prefix;
  int group;
  brc_role role;
} stages[] = {{"critic/", 0, BRC_PARAM},     {"actor/", 1, BRC_PARAM},      {"", 2, BRC_PARAM},
              {"target/", 0, BRC_TARGET},    {"opt/critic/m/", 0, BRC_M},   {"opt/critic/v/", 0, BRC_V},
              {"opt/actor/m/", 1, BRC_M},    {"opt/actor/v/", 1, BRC_V},    {"opt/log_alpha/m", 2, BRC_M},
              {"opt/log_alpha/v", 2, BRC_V}, {"grad/critic/", 0, BRC_GRAD}, {"grad/actor/", 1, BRC_GRAD}};
static const char *const count_names[BRC_COUNT_COUNT] = {"opt/critic/count", "opt/actor/count",
                                                         "opt/log_alpha/count", "draw"};
#define SAVED_STAGES 10  // gradients are not state

static bool next_row(brc_agent *a, state_walk *w, int end, state_row *out) {
  brc_group *groups[] = {&a->critic, &a->actor, &a->temperature};
  while (w->stage < end && w->i >= groups[stages[w->stage].group]->count) w->stage++, w->i = 0;
  if (w->stage >= end) return false;
  brc_group *g = groups[stages[w->stage].group];
  const brc_param *q = &g->params[w->i++];
  bool scalar = g == &a->temperature;
  snprintf(out->name, sizeof out->name, "%s%s", stages[w->stage].prefix,
           scalar && stages[w->stage].role != BRC_PARAM ? "" : q->name);
  out->tensor = place(g, stages[w->stage].role, q);
  out->rank = brc_param_shape(q, out->shape);
  return true;
}

static brc_tensor count_tensor(brc_agent *a, int which) {
  return (brc_tensor){.name = count_names[which],
                      .dtype = BRC_I32,
                      .members = 1,
                      .rows = 1,
                      .cols = 1,
                      .pitch = 1,
                      .storage = &a->counts,
                      .offset = (uint64_t)which};
}

static brc_status load_row(brc_agent *a, const brc_st_file *f, const char *prefix, const state_row *s) {
  const brc_st_tensor *t = brc_st_find(f, "%s%s", prefix, s->name);
  bool target = !strncmp(s->name, "target/", 7), optional = target || !strncmp(s->name, "opt/", 4);
  if (!t && target) t = brc_st_find(f, "%scritic/%s", prefix, s->name + 7);
  if (!t && !optional)
    return brc_fail(BRC_E_FORMAT, "%s: tensor '%s%s' is missing", brc_st_path(f), prefix, s->name);
  uint64_t n = dense_count(&s->tensor), shaped = 1;
  double *data = calloc(n, sizeof *data);  // absent moments are zero
  if (!data) return brc_fail(BRC_E_NOMEM, "out of memory for tensor '%s'", s->name);
  brc_status st = BRC_OK;
  if (t) {
    bool same = t->rank == s->rank && t->count == n && (t->dtype == BRC_ST_F32 || t->dtype == BRC_ST_F64);
    for (int i = 0; same && i < s->rank; i++) same = t->shape[i] == s->shape[i];
    for (int i = 0; i < s->rank; i++) shaped *= s->shape[i];
    if (!same || shaped != n) {
      st = brc_fail(BRC_E_FORMAT,
                    "%s: tensor '%s' has %llu elements in %d dimensions or another type; the configuration "
                    "wants %llu in %d (float)",
                    brc_st_path(f), t->name, (unsigned long long)t->count, t->rank, (unsigned long long)n,
                    s->rank);
    } else {
      for (uint64_t i = 0; i < n; i++) data[i] = brc_st_get(t, i);
    }
  }
  if (!st) st = brc_tensor_write(a->device, &s->tensor, BRC_F64, data);
  free(data);
  return st;
}

brc_status brc_agent_load(brc_agent *a, const brc_st_file *f, const char *prefix) {
  state_walk w = {0};
  state_row s;
  brc_status st = BRC_OK;
  while (!st && next_row(a, &w, SAVED_STAGES, &s)) st = load_row(a, f, prefix, &s);
  for (int i = 0; !st && i < BRC_COUNT_COUNT; i++) {
    const brc_st_tensor *t = brc_st_find(f, "%s%s", prefix, count_names[i]);
    if (t && (t->dtype != BRC_ST_I32 || t->count != 1 || brc_st_get(t, 0) < 0))
      return brc_fail(BRC_E_FORMAT, "%s: '%s' must be one I32 that is not negative", brc_st_path(f), t->name);
    int32_t n = t ? (int32_t)brc_st_get(t, 0) : 0;
    brc_tensor c = count_tensor(a, i);
    st = brc_tensor_write(a->device, &c, BRC_I32, &n);
  }
  return st;
}

brc_status brc_agent_save(brc_agent *a, brc_st_writer *out, const char *prefix) {
  bool wide = a->device->backend->wide;
  state_walk w = {0};
  state_row s;
  brc_status st = BRC_OK;
  char name[256];
  while (!st && next_row(a, &w, SAVED_STAGES, &s)) {
    void *data = malloc(dense_count(&s.tensor) * (wide ? 8 : 4));
    if (!data) return brc_fail(BRC_E_NOMEM, "out of memory for tensor '%s'", s.name);
    st = brc_tensor_read(a->device, NULL, &s.tensor, wide ? BRC_F64 : BRC_F32, data);
    snprintf(name, sizeof name, "%s%s", prefix, s.name);
    if (!st) st = brc_st_writer_copy(out, name, wide ? BRC_ST_F64 : BRC_ST_F32, s.rank, s.shape, data);
    free(data);
  }
  for (int i = 0; !st && i < BRC_COUNT_COUNT; i++) {
    int32_t n;
    brc_tensor c = count_tensor(a, i);
    st = brc_tensor_read(a->device, NULL, &c, BRC_I32, &n);
    snprintf(name, sizeof name, "%s%s", prefix, count_names[i]);
    if (!st) st = brc_st_writer_copy(out, name, BRC_ST_I32, 1, (uint64_t[]){1}, &n);
  }
  return st;
}

brc_status brc_agent_read(brc_agent *a, const char *name, double *out, uint64_t *count) {
  state_walk w = {0};
  state_row s;
  while (next_row(a, &w, (int)BRC_COUNT(stages), &s)) {
    if (strcmp(s.name, name)) continue;
    *count = dense_count(&s.tensor);
    return out ? brc_tensor_read(a->device, NULL, &s.tensor, BRC_F64, out) : BRC_OK;
  }
  for (int i = 0; i < BRC_COUNT_COUNT; i++) {
    if (strcmp(count_names[i], name)) continue;
    brc_tensor c = count_tensor(a, i);
    *count = 1;
    return out ? brc_tensor_read(a->device, NULL, &c, BRC_F64, out) : BRC_OK;
  }
  return brc_fail(BRC_E_NOT_FOUND, "the agent has no tensor '%s'", name);
}
