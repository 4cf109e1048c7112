// Reverse-mode gradients: one rule per op, emitted into the same program in reverse order.
#include "graph/graph.h"
#include "graph/grad.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// The gradient of one tensor: a tensor, or a constant that every element shares. `col0`: it covers only the columns from
// there on (an input layer emits gradients for the columns that somebody wants).
typedef struct grad_entry {
  brc_tensor *of, *grad;
  double constant;
  uint32_t col0;
} grad_entry;

typedef struct grad_pass {
  brc_program *p;
  const brc_wrt *wrt;
  size_t wrt_count;
  brc_tensor *const *stops;
  size_t stop_count;
  brc_tensor **needs;  // tensors on a way from a wanted parameter to the loss
  size_t need_count;
  grad_entry *entries;
  size_t entry_count;
  bool *written;  // per wrt
} grad_pass;

static void fail(grad_pass *g, const char *what, const brc_tensor *t) {
  brc_program *p = g->p;
  if (p->status) return;
  p->status = BRC_E_SHAPE;
  snprintf(p->error, sizeof p->error, "gradient: %s '%s'", what, t->name);
}

static bool same_place(const brc_tensor *a, const brc_tensor *b) {
  return a == b || (a->storage && a->storage == b->storage && a->offset == b->offset &&
                    a->members == b->members && a->rows == b->rows && a->cols == b->cols);
}

static int wanted(const grad_pass *g, const brc_tensor *t) {
  for (size_t i = 0; i < g->wrt_count; i++)
    if (t && same_place(g->wrt[i].param, t)) return (int)i;
  return -1;
}

static bool needs(const grad_pass *g, const brc_tensor *t) {
  if (!t) return false;
  if (wanted(g, t) >= 0) return true;
  for (size_t i = 0; i < g->need_count; i++)
    if (g->needs[i] == t) return true;
  return false;
}

static grad_entry *find(grad_pass *g, const brc_tensor *t) {
  for (size_t i = 0; i < g->entry_count; i++)
    if (g->entries[i].of == t) return &g->entries[i];
  return NULL;
}

static void set(grad_pass *g, brc_tensor *of, brc_tensor *grad, double constant, uint32_t col0) {
  if (find(g, of)) {
    fail(g, "several consumers, and this kind cannot add to what is there:", of);
    return;
  }
  g->entries[g->entry_count++] = (grad_entry){of, grad, constant, col0};
}

// Where the gradient of parameter `t` goes; NULL if nobody wants it.
static brc_tensor *target_of(grad_pass *g, const brc_tensor *t, bool *accumulate) {
  int i = wanted(g, t);
  if (i < 0) return NULL;
  if (accumulate)
    *accumulate = g->written[i];
  else if (g->written[i])
    fail(g, "used twice, and this kind cannot add to what is there: parameter", t);
  g->written[i] = true;
  return g->wrt[i].grad;
}

// The gradient tensor that reached an output; NULL if none did.
static brc_tensor *upstream(grad_pass *g, const brc_tensor *t) {
  grad_entry *e = t ? find(g, t) : NULL;
  if (e && !e->grad) fail(g, "a constant arrived where a tensor is needed, at", t);
  return e ? e->grad : NULL;
}

//------------------------ Rules ------------------------------------------------
// Columns of a concatenated input that somebody wants; all of them for any other tensor.
static void wanted_columns(grad_pass *g, const brc_tensor *x, uint32_t *c0, uint32_t *c1) {
  *c0 = 0;
  *c1 = x->cols;
  const brc_op *op = x->producer;
  if (!op || op->kind != BRC_OP_concat_input) return;
  const struct brc_concat_params *c = &op->params.concat_input;
  if (!needs(g, op->in[0])) *c0 = needs(g, op->in[1]) ? c->cols_obs : c->cols_obs + c->cols_action;
  if (!needs(g, op->in[2])) *c1 = needs(g, op->in[1]) ? c->cols_obs + c->cols_action : c->cols_obs;
}

static void rule_dense(grad_pass *g, brc_op *op) {
  brc_tensor *x = op->in[0], *kernel = op->in[1], *bias = op->in[2], *dy = upstream(g, op->out[0]);
  if (!dy) return;
  if (needs(g, x)) {
    uint32_t c0, c1;
    wanted_columns(g, x, &c0, &c1);
    brc_tensor *rows = c0 == 0 && c1 == x->cols ? kernel : brc_view_rows(g->p, kernel, c0, c1);
    grad_entry *there = find(g, x);
    bool broadcast = x->members == 1 && kernel->members > 1;
    if (there && !broadcast && there->grad) {
      brc_dense_dx(g->p, dy, rows, there->grad, true);
    } else {
      brc_tensor *dx = brc_activation(g->p, "dx", kernel->members, x->rows, c1 - c0);
      brc_dense_dx(g->p, dy, rows, dx, false);
      set(g, x, broadcast ? brc_sum_members(g->p, dx) : dx, 0, c0);
    }
  }
  bool accumulate = false;
  brc_tensor *dw = target_of(g, kernel, &accumulate);
  if (dw) brc_dense_dw(g->p, x, dy, dw, accumulate);
  brc_tensor *db = bias ? target_of(g, bias, NULL) : NULL;
  if (!db) return;
  // Behind this dense stands a norm, whose backward pass has summed dy already.
  const brc_op *from = dy->producer;
  brc_op *sums = from && from->kind == BRC_OP_norm_backward && from->out[1] ? g->p->ops[from->index + 1] : NULL;
  if (sums && sums->kind == BRC_OP_norm_sums && sums->params.norm_sums.stride_p == db->stride) {
    sums->out[2] = db;
    db->producer = sums;
  } else {
    brc_colsum(g->p, dy, db);
  }
}

static void rule_norm(grad_pass *g, brc_op *op) {
  brc_tensor *x = op->in[0], *scale = op->in[1], *bias = op->in[2], *residual = op->in[3], *y = op->out[0];
  brc_tensor *dy = upstream(g, y);
  if (!dy) return;
  if (dy->pitch != op->params.norm.pitch || dy->stride != y->stride) {
    fail(g, "the gradient that arrives is no whole activation, at", y);
    return;
  }
  brc_tensor *dscale = target_of(g, scale, NULL), *dbias = target_of(g, bias, NULL);
  if ((dscale != NULL) != (dbias != NULL)) fail(g, "scale and bias of a norm are wanted together, at", y);
  brc_tensor *dx = brc_activation(g->p, "dx", x->members, x->rows, x->cols), *partial = NULL;
  const struct brc_norm_params *n = &op->params.norm;
  if (dscale) {  // its rows are three parts of one pitch, without more padding
    partial = brc_activation(g->p, "partial", x->members, (n->rows + n->block - 1) / n->block, 3 * n->pitch);
    partial->pitch = partial->cols;
    if (x->members > 1) partial->stride = (uint64_t)partial->rows * partial->pitch;
  }
  brc_op_add(g->p, BRC_OP_norm_backward,
             (brc_tensor *[]){dy, x, op->out[1], op->out[2], scale, n->relu ? bias : NULL},
             (brc_tensor *[]){dx, partial}, &op->params);
  if (dscale) brc_norm_sums(g->p, partial, x->cols, n->pitch, dscale, dbias);
  if (needs(g, x)) set(g, x, dx, 0, 0);
  // The residual's gradient is dy itself: the same buffer goes on, and later consumers add to it in place. All ops that
  // read it as y's gradient stand before this point.
  if (residual && needs(g, residual)) set(g, residual, dy, 0, 0);
}

static void rule_embed(grad_pass *g, brc_op *op) {
  brc_tensor *d = upstream(g, op->out[0]), *table = op->in[0], *out = d ? target_of(g, table, NULL) : NULL;
  if (!out) return;
  if (out->pitch != table->pitch || d->pitch != op->params.embed.pitch_out)
    fail(g, "gradient of another layout than", table);
  brc_op_add(g->p, BRC_OP_embed_backward, (brc_tensor *[]){table, d}, (brc_tensor *[]){out}, &op->params);
}

static void rule_concat(grad_pass *g, brc_op *op) {
  grad_entry *e = find(g, op->out[0]);
  if (!e) return;
  const struct brc_concat_params *c = &op->params.concat_input;
  uint32_t at[3] = {0, c->cols_obs, c->cols_obs + c->cols_action},
           n[3] = {c->cols_obs, c->cols_action, c->cols_emb};
  brc_tensor *dx = e->grad;
  uint32_t col0 = e->col0;
  for (int i = 0; i < 3; i++) {
    if (!needs(g, op->in[i])) continue;
    brc_tensor *part =
        at[i] == col0 && n[i] == dx->cols ? dx : brc_view_cols(g->p, dx, at[i] - col0, at[i] - col0 + n[i]);
    set(g, op->in[i], i == 2 ? brc_segment_sum(g->p, part, op->in[3], op->in[2]->rows) : part, 0, 0);
  }
}

static void rule_tanh_normal(grad_pass *g, brc_op *op) {
  brc_tensor *mean = op->in[0], *head = op->in[1], *da = upstream(g, op->out[0]),
             *dlogp = upstream(g, op->out[1]);
  if (!da && !dlogp) return;
  if (!da || !dlogp) {
    fail(g, "needs gradients of action and log-probability:", op->out[0]);
    return;
  }
  brc_tensor *dmean = brc_activation(g->p, "dmean", 1, mean->rows, mean->cols);
  brc_tensor *dhead = brc_activation(g->p, "dhead", 1, head->rows, head->cols);
  // Kernels go by the forward op's pitches; its derivative of log pi holds for exploring.
  if (da->pitch != op->out[0]->pitch || dmean->pitch != mean->pitch || dhead->pitch != head->pitch ||
      op->params.tanh_normal.tau != 1) {
    fail(g, "needs whole activations and tau 1:", op->out[0]);
    return;
  }
  brc_op_add(g->p, BRC_OP_tanh_normal_backward, (brc_tensor *[]){mean, head, op->in[2], da, dlogp},
             (brc_tensor *[]){dmean, dhead}, &op->params);
  if (needs(g, mean)) set(g, mean, dmean, 0, 0);
  if (needs(g, head)) set(g, head, dhead, 0, 0);
}

// The loss ops compute the derivative beside the value: give them the output for it.
static brc_tensor *derivative(grad_pass *g, brc_op *op, int which, const char *name, const brc_tensor *like) {
  brc_tensor *d = brc_activation(g->p, name, like->members, like->rows, like->cols);
  if (d->pitch != like->pitch || d->stride != like->stride) fail(g, "not a whole activation:", like);
  op->out[which] = d;
  d->producer = op;
  memcpy(d->deps, op->out[0]->storage ? like->root->deps : op->out[0]->deps, sizeof d->deps);
  d->dep_count = op->out[0]->storage ? like->root->dep_count : op->out[0]->dep_count;
  return d;
}

static void rule_cross_entropy(grad_pass *g, brc_op *op) {
  grad_entry *e = find(g, op->out[0]);
  if (!e || !needs(g, op->in[0])) return;
  op->params.cross_entropy.scale = e->constant;
  set(g, op->in[0], derivative(g, op, 1, "dlogits", op->in[0]), 0, 0);
}

static void rule_expected_value(grad_pass *g, brc_op *op) {
  grad_entry *e = find(g, op->out[0]);
  if (!e || !needs(g, op->in[0])) return;
  if (e->grad) {
    fail(g, "an expected value takes a constant gradient, not a tensor:", op->out[0]);
    return;
  }
  op->params.expected_value.scale = e->constant;
  set(g, op->in[0], derivative(g, op, 1, "dlogits", op->in[0]), 0, 0);
}

static void rule_policy_loss(grad_pass *g, brc_op *op) {
  brc_tensor *logp = op->in[0], *q = op->in[1];
  if (!find(g, op->out[0])) return;
  if (needs(g, logp)) set(g, logp, derivative(g, op, 1, "dlogp", logp), 0, 0);
  if (needs(g, q)) set(g, q, NULL, -1.0 / q->rows, 0);
}

typedef void grad_rule(grad_pass *g, brc_op *op);
static grad_rule *const rules[BRC_OP_COUNT] = {
    // ops without a rule are constants
    [BRC_OP_dense] = rule_dense,
    [BRC_OP_norm] = rule_norm,
    [BRC_OP_embed] = rule_embed,
    [BRC_OP_concat_input] = rule_concat,
    [BRC_OP_tanh_normal] = rule_tanh_normal,
    [BRC_OP_cross_entropy] = rule_cross_entropy,
    [BRC_OP_expected_value] = rule_expected_value,
    [BRC_OP_policy_loss] = rule_policy_loss,
};

//------------------------ The pass ---------------------------------------------
static bool stopped(const grad_pass *g, const brc_tensor *t) {
  for (size_t i = 0; i < g->stop_count; i++)
    if (g->stops[i] == t) return true;
  return false;
}

// Forwards: which outputs depend on a wanted parameter.
static void mark_needs(grad_pass *g, size_t end) {
  for (size_t i = 0; i < end; i++) {
    brc_op *op = g->p->ops[i];
    const brc_op_info *info = &brc_op_infos[op->kind];
    bool any = false;
    for (int j = 0; j < info->inputs; j++) any |= needs(g, op->in[j]);
    if (!any || !rules[op->kind]) continue;
    for (int j = 0; j < info->outputs; j++)
      if (op->out[j] && !stopped(g, op->out[j])) g->needs[g->need_count++] = op->out[j];
  }
}

void brc_grad(brc_program *p, brc_tensor *loss, const brc_wrt *wrt, size_t count,
              brc_tensor *const *stop_gradient, size_t stops) {
  if (p->status) return;
  size_t end = p->op_count, room = 0;
  for (size_t i = 0; i < end; i++) room += BRC_MAX_IN + BRC_MAX_OUT;
  grad_pass g = {.p = p, .wrt = wrt, .wrt_count = count, .stops = stop_gradient, .stop_count = stops};
  if (!loss->producer ||
      (loss->producer->kind != BRC_OP_cross_entropy && loss->producer->kind != BRC_OP_policy_loss)) {
    fail(&g, "this is not the output of a loss op:", loss);
    return;
  }
  g.needs = calloc(room, sizeof *g.needs);
  g.entries = calloc(room, sizeof *g.entries);
  g.written = calloc(count + 1, sizeof *g.written);
  if (!g.needs || !g.entries || !g.written) {
    p->status = BRC_E_NOMEM;
    snprintf(p->error, sizeof p->error, "out of memory");
  } else {
    end = (size_t)loss->producer->index + 1;
    mark_needs(&g, end);
    // Sum over members of the mean over the batch: every element of the loss has weight 1/B.
    set(&g, loss->producer->out[0], NULL, 1.0 / loss->rows, 0);
    const char *scope = p->scope;
    for (size_t i = end; i-- > 0 && !p->status;) {
      brc_op *op = p->ops[i];
      if (!rules[op->kind]) continue;
      p->scope = brc_arena_printf(&p->mem, "grad/%s", op->label);
      rules[op->kind](&g, op);
    }
    p->scope = scope;
    for (size_t i = 0; i < count; i++)
      if (!g.written[i]) fail(&g, "the loss does not reach parameter", wrt[i].param);
  }
  free(g.needs);
  free(g.entries);
  free(g.written);
}
