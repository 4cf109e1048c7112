// Building a program: storage, tensors, ops with their shape rules and costs.
#include "graph/graph.h"
#include "graph/grad.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {  // number of leading uint fields: they end where the first real begins, or at the end of the struct
  UINTS_gemm = 14,
  UINTS_norm = 8,
  UINTS_norm_sums = 6,
  UINTS_colsum = 6,
  UINTS_sum_members = 6,
  UINTS_embed = 6,
  UINTS_concat = 8,
  UINTS_gather = 8,
  UINTS_segment_sum = 6,
  UINTS_tanh_normal = 6,
  UINTS_categorical = 6,
  UINTS_policy_loss = 2,
  UINTS_reduce = 4,
  UINTS_adamw = 4,
  UINTS_temperature = 2,
  UINTS_advance = 2,
  UINTS_normal = 6
};

const brc_op_info brc_op_infos[BRC_OP_COUNT] = {
#define OP(name_, in, out, params, worst_, why_)                                \
  [BRC_OP_##name_] = {.name = #name_,                                           \
                      .inputs = in,                                             \
                      .outputs = out,                                           \
                      .params_bytes = sizeof(struct brc_##params##_params),     \
                      .params32_bytes = sizeof(struct brc_##params##_params32), \
                      .uints = UINTS_##params,                                  \
                      .worst = worst_,                                          \
                      .why = why_},
    BRC_OPS(OP)
#undef OP
};
// A wrong count of uint fields shows here: doubles are 8 bytes, floats 4.
#define OP(name_, in, out, params, ...)                                                 \
  _Static_assert(sizeof(struct brc_##params##_params) - 4 * UINTS_##params ==           \
                     2 * (sizeof(struct brc_##params##_params32) - 4 * UINTS_##params), \
                 "UINTS_" #params " is not the number of leading uint fields (keep it even)");
BRC_OPS(OP)
#undef OP

unsigned brc_op_params_to32(brc_op_kind kind, const brc_op_params *p, brc_op_params32 *out) {
  const brc_op_info *info = &brc_op_infos[kind];
  unsigned head = info->uints * 4, reals = (info->params32_bytes - head) / 4;
  memset(out, 0, sizeof *out);
  memcpy(out, p, head);
  for (unsigned i = 0; i < reals; i++) {
    double d;
    memcpy(&d, (const char *)p + head + 8 * i, 8);
    float f = (float)d;
    memcpy((char *)out + head + 4 * i, &f, 4);
  }
  return info->params32_bytes;
}

//------------------------ 1. Program, tensors ---------------------------------
const char *const brc_precision_names[BRC_PRECISION_COUNT] = {"fp32", "tf32", "bf16", "fp16"};

uint32_t brc_pitch(uint32_t cols) { return cols <= 1 ? cols : BRC_ROUND_UP(cols, 16u); }

uint64_t brc_tensor_elements(const brc_tensor *t) {
  return (uint64_t)(t->members - 1) * t->stride + (uint64_t)(t->rows - 1) * t->pitch + t->cols;
}

static brc_status fail(brc_program *p, brc_status code, const char *fmt, ...) BRC_PRINTF(3, 4);
static brc_status fail(brc_program *p, brc_status code, const char *fmt, ...) {
  if (p->status) return p->status;  // the first error is the one to show
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(p->error, sizeof p->error, fmt, ap);
  va_end(ap);
  return p->status = code;
}

brc_status brc_program_create(brc_program **out, const char *name) {
  brc_program *p = calloc(1, sizeof *p);
  if (!p) return brc_fail(BRC_E_NOMEM, "out of memory while building program '%s'", name);
  p->name = name;
  p->grad_scale = 1;
  *out = p;
  return BRC_OK;
}

void brc_program_free(brc_program *p) {
  if (!p) return;
  free(p->ops);
  free(p->tensors);
  free(p->storages);
  brc_arena_free(&p->mem);
  free(p);
}

brc_status brc_program_status(const brc_program *p) {
  return p->status ? brc_fail(p->status, "program '%s': %s", p->name, p->error) : BRC_OK;
}

void brc_program_scope(brc_program *p, const char *scope) {
  p->scope = scope ? brc_arena_printf(&p->mem, "%s", scope) : NULL;
}

void brc_program_tap(brc_program *p, brc_tensor *t) {
  (void)p;
  t->root->tap = t->tap = true;
}

// Room for one more in a growing array of pointers.
static bool grow(brc_program *p, void *array, size_t count, size_t *cap) {
  if (count < *cap) return true;
  size_t next = *cap ? *cap * 2 : 64;
  void *bigger = realloc(*(void **)array, next * sizeof(void *));
  if (!bigger) {
    fail(p, BRC_E_NOMEM, "out of memory");
    return false;
  }
  *(void **)array = bigger;
  *cap = next;
  return true;
}

// Returned instead of NULL after an error, so that building code needs no checks.
static brc_tensor *broken(void) {
  static brc_tensor t = {.name = "(error)", .members = 1, .rows = 1, .cols = 1, .pitch = 1};
  t.root = &t;
  return &t;
}

static brc_tensor *add_tensor(brc_program *p, const brc_tensor *like) {
  brc_tensor *t = brc_arena_alloc(&p->mem, sizeof *t);
  if (!t || !grow(p, &p->tensors, p->tensor_count, &p->tensor_cap)) {
    fail(p, BRC_E_NOMEM, "out of memory");
    return broken();
  }
  *t = *like;
  if (!t->root) t->root = t;
  t->first = t->last = -1;
  return p->tensors[p->tensor_count++] = t;
}

static void use_storage(brc_program *p, brc_storage *s) {
  for (size_t i = 0; i < p->storage_count; i++)
    if (p->storages[i] == s) return;
  if (grow(p, &p->storages, p->storage_count, &p->storage_cap)) p->storages[p->storage_count++] = s;
}

brc_tensor *brc_external(brc_program *p, brc_storage *s, const char *name, uint64_t offset, uint32_t members,
                         uint32_t rows, uint32_t cols, uint32_t pitch, uint64_t stride) {
  if (p->status) return broken();
  if (!members || !rows || !cols || pitch < cols) {
    fail(p, BRC_E_SHAPE, "tensor '%s' [%u, %u, %u] with pitch %u is empty or overlaps itself", name, members,
         rows, cols, pitch);
    return broken();
  }
  brc_tensor t = {.name = name,
                  .dtype = s->dtype,
                  .members = members,
                  .rows = rows,
                  .cols = cols,
                  .pitch = pitch,
                  .stride = members > 1 ? stride : 0,
                  .storage = s,
                  .offset = offset};
  if (offset + brc_tensor_elements(&t) > s->elements) {
    fail(p, BRC_E_SHAPE, "tensor '%s' ends at element %llu of storage '%s', which has %llu", name,
         (unsigned long long)(offset + brc_tensor_elements(&t)), s->name, (unsigned long long)s->elements);
    return broken();
  }
  use_storage(p, s);
  return add_tensor(p, &t);
}

brc_tensor *brc_activation(brc_program *p, const char *name, uint32_t members, uint32_t rows, uint32_t cols) {
  if (p->status) return broken();
  uint32_t pitch = brc_pitch(cols);
  brc_tensor t = {.name = name,
                  .members = members,
                  .rows = rows,
                  .cols = cols,
                  .pitch = pitch,
                  .stride = members > 1 ? (uint64_t)rows * pitch : 0};
  if (!members || !rows || !cols) {
    fail(p, BRC_E_SHAPE, "activation '%s' [%u, %u, %u] is empty", name, members, rows, cols);
    return broken();
  }
  return add_tensor(p, &t);
}

static brc_tensor *view(brc_program *p, brc_tensor *t, uint32_t lo, uint32_t hi, uint32_t limit, bool rows) {
  if (p->status) return broken();
  if (lo >= hi || hi > limit) {
    fail(p, BRC_E_SHAPE, "view [%u, %u) of tensor '%s' does not lie in 0..%u", lo, hi, t->name, limit);
    return broken();
  }
  brc_tensor v = *t;
  v.root = t->root;
  v.offset += rows ? (uint64_t)lo * t->pitch : lo;
  if (rows)
    v.rows = hi - lo;
  else
    v.cols = hi - lo;
  return add_tensor(p, &v);
}
brc_tensor *brc_view_rows(brc_program *p, brc_tensor *t, uint32_t r0, uint32_t r1) {
  return view(p, t, r0, r1, t->rows, true);
}
brc_tensor *brc_view_cols(brc_program *p, brc_tensor *t, uint32_t c0, uint32_t c1) {
  return view(p, t, c0, c1, t->cols, false);
}

//------------------------ 2. Ops ----------------------------------------------
static bool is_parameter_update(brc_op_kind kind) { return kind == BRC_OP_adamw || kind == BRC_OP_temperature; }

// Merge what `from` was computed from into `deps`; an activation computed from parameters that changed since is an error.
static void merge_deps(brc_program *p, brc_op_kind kind, brc_tensor *out, const brc_tensor *from) {
  struct brc_dep direct = {from->storage, from->storage ? from->storage->version : 0};
  const struct brc_dep *d = from->storage ? &direct : from->root->deps;
  int n = from->storage ? 1 : from->root->dep_count;
  for (int i = 0; i < n; i++) {
    if (d[i].version != d[i].storage->version)
      fail(p, BRC_E_SHAPE, "op %s reuses activation '%s', computed from '%s' before its update",
           brc_op_infos[kind].name, from->name, d[i].storage->name);
    int j = 0;
    while (j < out->dep_count && out->deps[j].storage != d[i].storage) j++;
    if (j < out->dep_count) continue;
    if (j == (int)BRC_COUNT(out->deps)) {
      fail(p, BRC_E_SHAPE, "tensor '%s' depends on more than %d storages", out->name, j);
      return;
    }
    out->deps[out->dep_count++] = d[i];
  }
}

brc_op *brc_op_add(brc_program *p, brc_op_kind kind, brc_tensor *const *in, brc_tensor *const *out,
                   const brc_op_params *params) {
  static brc_op dead;
  const brc_op_info *info = &brc_op_infos[kind];
  brc_op *op = p->status ? NULL : brc_arena_alloc(&p->mem, sizeof *op);
  if (!op || !grow(p, &p->ops, p->op_count, &p->op_cap)) {
    if (!op) fail(p, BRC_E_NOMEM, "out of memory");
    return &dead;
  }
  if (p->finished) fail(p, BRC_E_SHAPE, "op %s added behind brc_program_finish", info->name);
  op->kind = kind;
  op->index = (int)p->op_count;
  op->label = p->scope ? brc_arena_printf(&p->mem, "%s/%s", p->scope, info->name) : info->name;
  memcpy(&op->params, params, info->params_bytes);
  for (int i = 0; i < info->inputs; i++) op->in[i] = in[i];
  for (int i = 0; i < info->outputs; i++) op->out[i] = out[i];
  // What the outputs were computed from: the union over the inputs. What an update reports of its own step is no activation.
  brc_tensor deps = {.name = info->name};
  for (int i = 0; i < info->inputs; i++)
    if (in[i]) merge_deps(p, kind, &deps, in[i]);
  // What is added to, and what lies beside a view, stays in it.
  for (int i = 0; i < info->outputs; i++)
    if (out[i] && !out[i]->storage &&
        ((kind <= BRC_OP_dense_dw && params->dense.accumulate) || out[i]->root != out[i]))
      merge_deps(p, kind, &deps, out[i]);
  for (int i = 0; i < info->outputs; i++) {
    if (!out[i]) continue;
    out[i]->producer = op;
    memcpy(out[i]->root->deps, deps.deps, sizeof deps.deps);
    out[i]->root->dep_count = is_parameter_update(kind) ? 0 : deps.dep_count;
  }
  p->ops[p->op_count++] = op;
  if (is_parameter_update(kind)) {  // the first input of temperature, the second and fifth of adamw
    if (kind == BRC_OP_adamw) {
      in[1]->storage->version++;
      if (in[4]) in[4]->storage->version++;
    } else {
      in[0]->storage->version++;
    }
  }
  return op;
}

// Shape rules speak of tensors by role; `want` 0 means any.
static bool expect(brc_program *p, const char *op, const char *role, const brc_tensor *t, uint32_t members,
                   uint32_t rows, uint32_t cols) {
  if (p->status) return false;
  if ((!members || t->members == members) && (!rows || t->rows == rows) && (!cols || t->cols == cols))
    return true;
  fail(p, BRC_E_SHAPE, "op %s%s%s: %s '%s' is [%u, %u, %u], expected [%u, %u, %u] (0: any)", op,
       p->scope ? " in " : "", p->scope ? p->scope : "", role, t->name, t->members, t->rows, t->cols, members,
       rows, cols);
  return false;
}
#define EXPECT(op, t, members, rows, cols) \
  if (!expect(p, op, #t, t, members, rows, cols)) return broken()
#define EXPECT_VOID(op, t, members, rows, cols) \
  if (!expect(p, op, #t, t, members, rows, cols)) return

static uint32_t stride32(brc_program *p, const brc_tensor *t) {
  if (t->stride > UINT32_MAX)
    fail(p, BRC_E_SHAPE, "tensor '%s': members are %llu elements apart, more than 32 bits hold", t->name,
         (unsigned long long)t->stride);
  return (uint32_t)t->stride;
}

// A product's parameters from its operands; m x n comes from c, k is given.
static struct brc_gemm_params gemm(brc_program *p, const brc_tensor *a, const brc_tensor *b,
                                   const brc_tensor *c, uint32_t k, bool accumulate) {
  return (struct brc_gemm_params){.m = c->rows,
                                  .n = c->cols,
                                  .k = k,
                                  .batch = c->members,
                                  .lda = a->pitch,
                                  .ldb = b->pitch,
                                  .ldc = c->pitch,
                                  .accumulate = accumulate,
                                  .stride_a = stride32(p, a),
                                  .stride_b = stride32(p, b),
                                  .stride_c = stride32(p, c),
                                  .precision = p->precision,
                                  .scale_a = 1,
                                  .scale_b = 1};
}

brc_tensor *brc_dense(brc_program *p, brc_tensor *x, brc_tensor *kernel, brc_tensor *bias) {
  EXPECT("dense", x, x->members == 1 ? 1 : kernel->members, 0, kernel->rows);
  if (bias) EXPECT("dense", bias, kernel->members, 1, kernel->cols);
  brc_tensor *y = brc_activation(p, "y", kernel->members, x->rows, kernel->cols);
  brc_op_params q = {.dense = gemm(p, x, kernel, y, kernel->rows, false)};
  if (bias) q.dense.stride_bias = stride32(p, bias);
  brc_op_add(p, BRC_OP_dense, (brc_tensor *[]){x, kernel, bias}, (brc_tensor *[]){y}, &q);
  return y;
}

brc_op *brc_dense_dx(brc_program *p, brc_tensor *dy, brc_tensor *kernel_rows, brc_tensor *dx, bool accumulate) {
  expect(p, "dense_dx", "dy", dy, kernel_rows->members, 0, kernel_rows->cols);
  expect(p, "dense_dx", "dx", dx, kernel_rows->members, dy->rows, kernel_rows->rows);
  brc_op_params q = {.dense_dx = gemm(p, dy, kernel_rows, dx, kernel_rows->cols, accumulate)};
  q.dense_dx.scale_a = p->grad_scale;
  return brc_op_add(p, BRC_OP_dense_dx, (brc_tensor *[]){dy, kernel_rows}, (brc_tensor *[]){dx}, &q);
}

brc_op *brc_dense_dw(brc_program *p, brc_tensor *x, brc_tensor *dy, brc_tensor *dw, bool accumulate) {
  expect(p, "dense_dw", "x", x, x->members == 1 ? 1 : dy->members, dy->rows, dw->rows);
  expect(p, "dense_dw", "dw", dw, dy->members, 0, dy->cols);
  brc_op_params q = {.dense_dw = gemm(p, x, dy, dw, dy->rows, accumulate)};
  q.dense_dw.scale_b = p->grad_scale;
  return brc_op_add(p, BRC_OP_dense_dw, (brc_tensor *[]){x, dy}, (brc_tensor *[]){dw}, &q);
}

// Rows per partial sum of norm_backward: enough blocks for parallelism, few enough that they are cheap to add.
#define NORM_BLOCK 32u

brc_tensor *brc_norm(brc_program *p, brc_tensor *x, brc_tensor *scale, brc_tensor *bias, brc_tensor *residual,
                     bool relu, double eps) {
  EXPECT("norm", scale, x->members, 1, x->cols);
  EXPECT("norm", bias, x->members, 1, x->cols);
  if (residual) EXPECT("norm", residual, x->members, x->rows, x->cols);
  if (residual && relu) {  // no network has it, no kernel is tested with it
    fail(p, BRC_E_SHAPE, "op norm: relu together with a residual is not defined");
    return broken();
  }
  brc_tensor *y = brc_activation(p, "y", x->members, x->rows, x->cols);
  brc_tensor *mean = brc_activation(p, "mean", x->members, x->rows, 1);
  brc_tensor *rstd = brc_activation(p, "rstd", x->members, x->rows, 1);
  bool contiguous = x->pitch == y->pitch && (x->members == 1 || x->stride == y->stride);
  if (residual) contiguous &= residual->pitch == y->pitch && residual->stride == y->stride;
  if (!contiguous || scale->stride != bias->stride) {
    fail(p, BRC_E_SHAPE,
         "op norm: x and residual must be whole activations of one pitch, scale and bias of one stride");
    return broken();
  }
  brc_op_params q = {.norm = {.members = x->members,
                              .rows = x->rows,
                              .cols = x->cols,
                              .pitch = x->pitch,
                              .stride_p = stride32(p, scale),
                              .relu = relu,
                              .residual = residual != NULL,
                              .block = NORM_BLOCK,
                              .eps = eps}};
  brc_op_add(p, BRC_OP_norm, (brc_tensor *[]){x, scale, bias, residual}, (brc_tensor *[]){y, mean, rstd}, &q);
  return y;
}

brc_tensor *brc_embed(brc_program *p, brc_tensor *table, int norm) {
  EXPECT("embed", table, 1, 0, 0);
  if (norm != 1 && norm != 2) {
    fail(p, BRC_E_VALUE, "op embed: norm L%d is not one of L1, L2", norm);
    return broken();
  }
  brc_tensor *e = brc_activation(p, "emb", 1, table->rows, table->cols);
  brc_op_params q = {.embed = {.rows = table->rows,
                               .cols = table->cols,
                               .pitch = table->pitch,
                               .pitch_out = e->pitch,
                               .norm = (uint32_t)norm}};
  brc_op_add(p, BRC_OP_embed, (brc_tensor *[]){table}, (brc_tensor *[]){e}, &q);
  return e;
}

brc_tensor *brc_concat_input(brc_program *p, brc_tensor *obs, brc_tensor *action, brc_tensor *emb,
                             brc_tensor *task) {
  EXPECT("concat_input", obs, 1, 0, 0);
  if (action) EXPECT("concat_input", action, 1, obs->rows, 0);
  if (emb) {
    EXPECT("concat_input", emb, 1, 0, 0);
    EXPECT("concat_input", task, 1, obs->rows, 1);
  }
  struct brc_concat_params c = {.rows = obs->rows, .cols_obs = obs->cols, .pitch_obs = obs->pitch};
  if (action) c.cols_action = action->cols, c.pitch_action = action->pitch;
  if (emb) c.cols_emb = emb->cols, c.pitch_emb = emb->pitch;
  brc_tensor *x = brc_activation(p, "input", 1, obs->rows, c.cols_obs + c.cols_action + c.cols_emb);
  c.pitch = x->pitch;
  brc_op_params q = {.concat_input = c};
  brc_op_add(p, BRC_OP_concat_input, (brc_tensor *[]){obs, action, emb, emb ? task : NULL}, (brc_tensor *[]){x},
             &q);
  return x;
}

void brc_gather_batch(brc_program *p, brc_tensor *table, uint32_t first, brc_tensor *extra, brc_tensor *index,
                      brc_tensor *obs, brc_tensor *action, brc_tensor *next_obs) {
  EXPECT_VOID("gather_batch", index, 1, 0, 2);
  EXPECT_VOID("gather_batch", obs, 1, index->rows, 0);
  EXPECT_VOID("gather_batch", action, 1, index->rows, 0);
  EXPECT_VOID("gather_batch", next_obs, 1, index->rows, obs->cols);
  EXPECT_VOID("gather_batch", extra, 1, 0, obs->cols);
  EXPECT_VOID("gather_batch", table, 1, 0, obs->cols + action->cols);
  if (index->pitch != 2 || next_obs->pitch != obs->pitch || extra->pitch != obs->pitch) {
    fail(p, BRC_E_SHAPE, "op gather_batch: index must be dense; obs, next_obs and extra must have one pitch");
    return;
  }
  brc_op_params q = {.gather_batch = {.rows = index->rows,
                                      .pitch_table = table->pitch,
                                      .first = first,
                                      .count = table->rows,
                                      .cols_obs = obs->cols,
                                      .pitch_obs = obs->pitch,
                                      .cols_action = action->cols,
                                      .pitch_action = action->pitch}};
  brc_op_add(p, BRC_OP_gather_batch, (brc_tensor *[]){table, extra, index},
             (brc_tensor *[]){obs, action, next_obs}, &q);
}

void brc_tanh_normal(brc_program *p, brc_tensor *mean, brc_tensor *head, brc_tensor *eps, double tau,
                     double log_std_min, double log_std_max, brc_tensor **action, brc_tensor **logp) {
  *action = broken();
  if (logp) *logp = broken();
  EXPECT_VOID("tanh_normal", mean, 1, 0, 0);
  EXPECT_VOID("tanh_normal", head, 1, mean->rows, mean->cols);
  if (eps) EXPECT_VOID("tanh_normal", eps, 1, mean->rows, mean->cols);
  if (!eps && tau != 0) {
    fail(p, BRC_E_SHAPE, "op tanh_normal: exploring (tau %g) needs noise", tau);
    return;
  }
  brc_tensor *a = brc_activation(p, "action", 1, mean->rows, mean->cols);
  brc_tensor *l = logp ? brc_activation(p, "log_prob", 1, mean->rows, 1) : NULL;
  brc_op_params q = {.tanh_normal = {.rows = mean->rows,
                                     .cols = mean->cols,
                                     .pitch_mean = mean->pitch,
                                     .pitch_head = head->pitch,
                                     .pitch_eps = eps ? eps->pitch : 0,
                                     .pitch_action = a->pitch,
                                     .tau = tau,
                                     .log_std_min = log_std_min,
                                     .log_std_max = log_std_max}};
  brc_op_add(p, BRC_OP_tanh_normal, (brc_tensor *[]){mean, head, eps}, (brc_tensor *[]){a, l}, &q);
  *action = a;
  if (logp) *logp = l;
}

static struct brc_categorical_params categorical(brc_program *p, const brc_tensor *logits,
                                                 const brc_tensor *target, double v_max, double discount) {
  if (logits->cols < 2)
    fail(p, BRC_E_VALUE, "a categorical value needs at least 2 atoms, not %u", logits->cols);
  return (struct brc_categorical_params){.members = logits->members,
                                         .rows = logits->rows,
                                         .atoms = logits->cols,
                                         .pitch = logits->pitch,
                                         .stride = stride32(p, logits),
                                         .pitch_target = target ? target->pitch : 0,
                                         .v_max = v_max,
                                         .discount = discount,
                                         .scale = 1};
}

void brc_categorical_target(brc_program *p, brc_tensor *logits, brc_tensor *reward, brc_tensor *mask,
                            brc_tensor *logp, brc_tensor *scalars, double v_max, double discount,
                            brc_tensor **target, brc_tensor **q) {
  *target = *q = broken();
  EXPECT_VOID("categorical_target", reward, 1, logits->rows, 1);
  EXPECT_VOID("categorical_target", mask, 1, logits->rows, 1);
  EXPECT_VOID("categorical_target", logp, 1, logits->rows, 1);
  EXPECT_VOID("categorical_target", scalars, 1, 1, BRC_SCALAR_COUNT);
  *target = brc_activation(p, "target_probs", 1, logits->rows, logits->cols);
  *q = brc_activation(p, "q_target", 1, logits->rows, 1);
  brc_op_params c = {.categorical_target = categorical(p, logits, *target, v_max, discount)};
  brc_op_add(p, BRC_OP_categorical_target, (brc_tensor *[]){logits, reward, mask, logp, scalars},
             (brc_tensor *[]){*target, *q}, &c);
}

brc_tensor *brc_cross_entropy(brc_program *p, brc_tensor *logits, brc_tensor *target) {
  EXPECT("cross_entropy", target, 1, logits->rows, logits->cols);
  brc_tensor *loss = brc_activation(p, "loss", logits->members, logits->rows, 1);
  brc_op_params q = {.cross_entropy = categorical(p, logits, target, 0, 0)};
  brc_op_add(p, BRC_OP_cross_entropy, (brc_tensor *[]){logits, target}, (brc_tensor *[]){loss, NULL}, &q);
  return loss;
}

brc_tensor *brc_expected_value(brc_program *p, brc_tensor *logits, double v_max) {
  EXPECT("expected_value", logits, 0, 0, 0);
  brc_tensor *q = brc_activation(p, "q", 1, logits->rows, 1);
  brc_op_params c = {.expected_value = categorical(p, logits, NULL, v_max, 0)};
  brc_op_add(p, BRC_OP_expected_value, (brc_tensor *[]){logits}, (brc_tensor *[]){q, NULL}, &c);
  return q;
}

brc_tensor *brc_policy_loss(brc_program *p, brc_tensor *logp, brc_tensor *q, brc_tensor *scalars,
                            brc_tensor *stats) {
  EXPECT("policy_loss", logp, 1, 0, 1);
  EXPECT("policy_loss", q, 1, logp->rows, 1);
  EXPECT("policy_loss", scalars, 1, 1, BRC_SCALAR_COUNT);
  EXPECT("policy_loss", stats, 1, 1, 2);
  brc_op_params c = {.policy_loss = {.rows = logp->rows}};
  brc_op_add(p, BRC_OP_policy_loss, (brc_tensor *[]){logp, q, scalars}, (brc_tensor *[]){stats, NULL}, &c);
  return stats;
}

void brc_reduce(brc_program *p, brc_tensor *x, int mode, double scale, brc_tensor *out) {
  // Members lie one behind the other: one tall column.
  uint32_t rows = x->rows * x->members;
  if (x->members > 1 && x->stride != (uint64_t)x->rows * x->pitch)
    fail(p, BRC_E_SHAPE, "op reduce: members of '%s' are not contiguous", x->name);
  if (x->cols > 4) fail(p, BRC_E_SHAPE, "op reduce: '%s' has %u columns, at most 4", x->name, x->cols);
  EXPECT_VOID("reduce", x, 0, 0, mode == BRC_REDUCE_STATS ? 1 : 0);
  EXPECT_VOID("reduce", out, 1, 1, mode == BRC_REDUCE_STATS ? 3 : x->cols);
  brc_op_params c = {
      .reduce = {.rows = rows, .cols = x->cols, .pitch = x->pitch, .mode = (uint32_t)mode, .scale = scale}};
  brc_op_add(p, BRC_OP_reduce, (brc_tensor *[]){x}, (brc_tensor *[]){out}, &c);
}

brc_tensor *brc_adamw(brc_program *p, brc_tensor *grad, brc_tensor *param, brc_tensor *m, brc_tensor *v,
                      brc_tensor *target, brc_tensor *scalars, uint32_t c1, const brc_adam *a, double tau) {
  uint32_t n = param->cols;
  EXPECT("adamw", param, 1, 1, 0);
  EXPECT("adamw", grad, 1, 1, n);
  EXPECT("adamw", m, 1, 1, n);
  EXPECT("adamw", v, 1, 1, n);
  if (target) EXPECT("adamw", target, 1, 1, n);
  EXPECT("adamw", scalars, 1, 1, BRC_SCALAR_COUNT);
  // At most 4096 blocks, each a multiple of 1024 elements.
  uint32_t block = BRC_ROUND_UP(n / 4096 + 1, 1024u);
  if (block < 4096) block = 4096;
  brc_tensor *partial = brc_activation(p, "squares", 1, (n + block - 1) / block, 2);
  brc_op_params q = {.adamw = {.n = n,
                               .block = block,
                               .c1 = c1,
                               .c2 = c1 + 1,
                               .lr = a->lr,
                               .beta1 = a->beta1,
                               .beta2 = a->beta2,
                               .one_minus_beta1 = 1 - a->beta1,
                               .one_minus_beta2 = 1 - a->beta2,
                               .eps = a->eps,
                               .decay = a->decay,
                               .tau = tau,
                               .one_minus_tau = 1 - tau}};
  brc_op_add(p, BRC_OP_adamw, (brc_tensor *[]){grad, param, m, v, target, scalars}, (brc_tensor *[]){partial},
             &q);
  return partial;
}

void brc_temperature(brc_program *p, brc_tensor *log_alpha, brc_tensor *m, brc_tensor *v, brc_tensor *scalars,
                     brc_tensor *entropy, const brc_adam *a, double target_entropy, brc_tensor *stats) {
  EXPECT_VOID("temperature", log_alpha, 1, 1, 1);
  EXPECT_VOID("temperature", m, 1, 1, 1);
  EXPECT_VOID("temperature", v, 1, 1, 1);
  EXPECT_VOID("temperature", entropy, 1, 1, 1);
  EXPECT_VOID("temperature", scalars, 1, 1, BRC_SCALAR_COUNT);
  EXPECT_VOID("temperature", stats, 1, 1, 3);
  brc_op_params q = {.temperature = {.c1 = BRC_SCALAR_TEMPERATURE_C1,
                                     .c2 = BRC_SCALAR_TEMPERATURE_C2,
                                     .lr = a->lr,
                                     .beta1 = a->beta1,
                                     .beta2 = a->beta2,
                                     .one_minus_beta1 = 1 - a->beta1,
                                     .one_minus_beta2 = 1 - a->beta2,
                                     .eps = a->eps,
                                     .decay = a->decay,
                                     .target_entropy = target_entropy}};
  brc_op_add(p, BRC_OP_temperature, (brc_tensor *[]){log_alpha, m, v, scalars, entropy},
             (brc_tensor *[]){stats}, &q);
}

void brc_advance_scalars(brc_program *p, brc_tensor *counts, brc_tensor *log_alpha, brc_tensor *scalars,
                         const brc_adam *c, const brc_adam *a, const brc_adam *t) {
  EXPECT_VOID("advance_scalars", counts, 1, 1, BRC_COUNT_COUNT);
  EXPECT_VOID("advance_scalars", log_alpha, 1, 1, 1);
  EXPECT_VOID("advance_scalars", scalars, 1, 1, BRC_SCALAR_COUNT);
  brc_op_params q = {.advance_scalars = {.critic_beta1 = c->beta1,
                                         .critic_beta2 = c->beta2,
                                         .actor_beta1 = a->beta1,
                                         .actor_beta2 = a->beta2,
                                         .temperature_beta1 = t->beta1,
                                         .temperature_beta2 = t->beta2,
                                         .critic_1m1 = 1 - c->beta1,
                                         .critic_1m2 = 1 - c->beta2,
                                         .actor_1m1 = 1 - a->beta1,
                                         .actor_1m2 = 1 - a->beta2,
                                         .temperature_1m1 = 1 - t->beta1,
                                         .temperature_1m2 = 1 - t->beta2}};
  brc_op_add(p, BRC_OP_advance_scalars, (brc_tensor *[]){counts, log_alpha}, (brc_tensor *[]){scalars}, &q);
}

brc_tensor *brc_normal(brc_program *p, brc_tensor *step, uint32_t rows, uint32_t cols, uint64_t seed,
                       uint32_t stream) {
  EXPECT("normal", step, 1, 1, 1);
  brc_tensor *z = brc_activation(p, "noise", 1, rows, cols);
  brc_op_params q = {.normal = {.rows = rows,
                                .cols = cols,
                                .pitch = z->pitch,
                                .stream = stream,
                                .seed_lo = (uint32_t)seed,
                                .seed_hi = (uint32_t)(seed >> 32)}};
  brc_op_add(p, BRC_OP_normal, (brc_tensor *[]){step}, (brc_tensor *[]){z}, &q);
  return z;
}

// Ops that only gradient rules emit.
void brc_norm_sums(brc_program *p, brc_tensor *partial, uint32_t cols, uint32_t pitch, brc_tensor *dscale,
                   brc_tensor *dbias) {
  EXPECT_VOID("norm_sums", partial, 0, 0, 3 * pitch);
  EXPECT_VOID("norm_sums", dscale, partial->members, 1, cols);
  EXPECT_VOID("norm_sums", dbias, partial->members, 1, cols);
  if (dscale->stride != dbias->stride) fail(p, BRC_E_SHAPE, "op norm_sums: outputs of different strides");
  brc_op_params q = {.norm_sums = {.members = partial->members,
                                   .blocks = partial->rows,
                                   .cols = cols,
                                   .pitch = pitch,
                                   .stride_p = stride32(p, dscale)}};
  brc_op_add(p, BRC_OP_norm_sums, (brc_tensor *[]){partial}, (brc_tensor *[]){dscale, dbias, NULL}, &q);
}

void brc_colsum(brc_program *p, brc_tensor *x, brc_tensor *out) {
  EXPECT_VOID("colsum", out, x->members, 1, x->cols);
  brc_op_params q = {.colsum = {.members = x->members,
                                .rows = x->rows,
                                .cols = x->cols,
                                .pitch = x->pitch,
                                .stride_x = stride32(p, x),
                                .stride_p = stride32(p, out)}};
  brc_op_add(p, BRC_OP_colsum, (brc_tensor *[]){x}, (brc_tensor *[]){out}, &q);
}

brc_tensor *brc_sum_members(brc_program *p, brc_tensor *x) {
  brc_tensor *out = brc_activation(p, x->name, 1, x->rows, x->cols);
  brc_op_params q = {.sum_members = {.members = x->members,
                                     .rows = x->rows,
                                     .cols = x->cols,
                                     .pitch = x->pitch,
                                     .pitch_out = out->pitch,
                                     .stride_x = stride32(p, x)}};
  brc_op_add(p, BRC_OP_sum_members, (brc_tensor *[]){x}, (brc_tensor *[]){out}, &q);
  return out;
}

brc_tensor *brc_segment_sum(brc_program *p, brc_tensor *x, brc_tensor *task, uint32_t segments) {
  EXPECT("segment_sum", x, 1, 0, 0);
  EXPECT("segment_sum", task, 1, x->rows, 1);
  brc_tensor *out = brc_activation(p, "segments", 1, segments, x->cols);
  brc_op_params q = {
      .segment_sum = {
          .rows = x->rows, .cols = x->cols, .pitch = x->pitch, .segments = segments, .pitch_out = out->pitch}};
  brc_op_add(p, BRC_OP_segment_sum, (brc_tensor *[]){x, task}, (brc_tensor *[]){out}, &q);
  return out;
}

//------------------------ 3. Cost ---------------------------------------------
static double dense_elements(const brc_tensor *t) { return t ? (double)t->members * t->rows * t->cols : 0; }

void brc_op_cost(const brc_op *op, double *flops, double *bytes) {
  const brc_op_info *info = &brc_op_infos[op->kind];
  double elements = 0, largest = 0;
  for (int i = 0; i < info->inputs + info->outputs; i++) {
    double n = dense_elements(i < info->inputs ? op->in[i] : op->out[i - info->inputs]);
    elements += n;
    largest = n > largest ? n : largest;
  }
  *bytes = 4 * elements;
  switch (op->kind) {
    case BRC_OP_dense:
    case BRC_OP_dense_dx:
    case BRC_OP_dense_dw: {
      const struct brc_gemm_params *g = &op->params.dense;
      *flops = 2.0 * g->m * g->n * g->k * g->batch;
      if (g->accumulate) *bytes += 4.0 * g->m * g->n * g->batch;
      break;
    }
    case BRC_OP_adamw:  // writes p, m, v and the target too
      *bytes += 4.0 * op->params.adamw.n * (op->in[4] ? 4 : 3);
      *flops = 16.0 * op->params.adamw.n;
      break;
    case BRC_OP_gather_batch:  // its rows, not the whole table
      *flops = 0;
      *bytes = 4 * (2 * (dense_elements(op->out[0]) + dense_elements(op->out[1]) + dense_elements(op->out[2])) +
                    dense_elements(op->in[2]));
      break;
    case BRC_OP_norm: *flops = 8 * largest; break;
    case BRC_OP_norm_backward: *flops = 16 * largest; break;
    case BRC_OP_categorical_target:
    case BRC_OP_cross_entropy:
    case BRC_OP_expected_value: *flops = 20 * largest; break;
    case BRC_OP_tanh_normal:
    case BRC_OP_tanh_normal_backward: *flops = 60 * largest; break;
    default: *flops = elements;
  }
}

double brc_program_gemm_flops(const brc_program *p) {
  double total = 0;
  for (size_t i = 0; i < p->op_count; i++) {
    double f, b;
    brc_op_cost(p->ops[i], &f, &b);
    if (p->ops[i]->kind <= BRC_OP_dense_dw) total += f;
  }
  return total;
}
