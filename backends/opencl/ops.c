// One function per op: which kernels, over how many work-groups.
#ifdef BRC_HAVE_OPENCL
#include "backends/opencl/opencl.h"

#include <string.h>

static size_t up(size_t a, size_t b) { return (a + b - 1) / b; }
enum { STRIP_COLS = 8 };  // on GPUs: cl/strip.h
static bool on_cpu(const brc_exec *x) { return x->device->class == OCL_CPU; }

// An op's own operands and parameters, kernel named like the op.
static ocl_call call_of(const brc_op *op, brc_op_params32 *params) {
  const brc_op_info *info = &brc_op_infos[op->kind];
  ocl_call c = {.name = info->name,
                .operand_count = info->inputs + info->outputs,
                .params = params,
                .uints = info->uints,
                .groups = {1, 1, 1},
                .local = 1};
  for (int i = 0; i < info->inputs; i++) c.operands[i] = op->in[i];
  for (int i = 0; i < info->outputs; i++) c.operands[info->inputs + i] = op->out[i];
  c.params_bytes = brc_op_params_to32(op->kind, &op->params, params);
  return c;
}

// A row kernel: a work-group per row, of one work-item on CPUs and `lanes` elsewhere.
static brc_status rows(brc_exec *x, const brc_op *op, size_t count, size_t lanes) {
  brc_op_params32 params;
  ocl_call c = call_of(op, &params);
  c.groups[0] = count;
  c.local = on_cpu(x) ? 1 : lanes;
  return ocl_call_add(x, op, &c);
}

// A kernel over strips of columns (cl/reduce.cl).
static brc_status strips(brc_exec *x, const brc_op *op, uint32_t cols, size_t groups1, size_t groups2,
                         uint32_t extra) {
  brc_op_params32 params;
  ocl_call c = call_of(op, &params);
  c.groups[0] = up(cols, on_cpu(x) ? 16 : STRIP_COLS);
  c.groups[1] = groups1;
  c.groups[2] = groups2;
  c.local = on_cpu(x) ? 1 : OCL_STRIP_LANES;
  c.extra[0] = extra;
  c.extra_count = extra > 0;
  return ocl_call_add(x, op, &c);
}

//------------------------ 1. Products -----------------------------------------
static brc_status product(brc_exec *x, const brc_op *op, const brc_tensor *bias, bool ta, bool tb) {
  brc_op_params32 params;
  brc_op_params_to32(op->kind, &op->params, &params);
  ocl_gemm g = {
      .a = op->in[0], .b = op->in[1], .bias = bias, .c = op->out[0], .ta = ta, .tb = tb, .p = params.dense};
  return ocl_gemm_add(x, op, &g);
}
static brc_status op_dense(brc_exec *x, const brc_op *op) { return product(x, op, op->in[2], false, false); }
static brc_status op_dense_dx(brc_exec *x, const brc_op *op) { return product(x, op, NULL, false, true); }
static brc_status op_dense_dw(brc_exec *x, const brc_op *op) { return product(x, op, NULL, true, false); }

//------------------------ 2. LayerNorm, sums ----------------------------------
// Where products on matrix units read y as a factor, the kernel that leaves it too: another name, an operand, and two more of `extra`.
static brc_status add_copy(brc_exec *x, const brc_op *op, const brc_tensor *y, const char *name, ocl_call *c) {
  ocl_copy copy;
  const brc_status st = ocl_mma_copy(x, op, y, &copy);
  if (copy.tensor) c->name = name;
  c->operands[c->operand_count++] = copy.tensor;
  c->extra[c->extra_count++] = copy.precision;
  memcpy(&c->extra[c->extra_count++], &copy.scale, sizeof copy.scale);
  return st;
}

static brc_status op_norm(brc_exec *x, const brc_op *op) {
  brc_op_params32 params;
  ocl_call c = call_of(op, &params);
  c.groups[0] = (size_t)op->params.norm.members * op->params.norm.rows;
  c.local = on_cpu(x) ? 1 : OCL_NORM_LANES;
  const brc_status st = add_copy(x, op, op->out[0], "norm_copies", &c);
  return st ? st : ocl_call_add(x, op, &c);
}

// Does the op behind this norm_backward sum its partials, in a kernel that makes them, too? It walks down columns, eight at a time: that is
// for activations that stay in the second-level cache (dy, x, dx; 40 MB on an A100). That kernel reads what this op reads while it writes
// what the other one writes, which neither the plan of memory nor hazard.h knows of: only in order, and into storages that this op has
// nothing in.
static bool sums_behind(const brc_exec *x, const brc_op *op) {
  enum { CACHED_MOST = 32 << 20 };
  const struct brc_norm_params *p = &op->params.norm_backward;
  const brc_op *next = (size_t)op->index + 1 < x->program->op_count ? x->program->ops[op->index + 1] : NULL;
  if (on_cpu(x) || x->device->shared || op->kind != BRC_OP_norm_backward || !op->out[1] || !next ||
      next->kind != BRC_OP_norm_sums || next->in[0] != op->out[1] ||
      3 * sizeof(float) * p->members * p->rows * p->pitch > CACHED_MOST)
    return false;
  for (int i = 0; i < BRC_MAX_OUT; i++)
    for (int k = 0; k < BRC_MAX_IN && next->out[i]; k++)
      if (!next->out[i]->storage || (op->in[k] && op->in[k]->storage == next->out[i]->storage)) return false;
  return true;
}

static brc_status op_norm_backward(brc_exec *x, const brc_op *op) {
  const struct brc_norm_params *p = &op->params.norm_backward;
  const size_t blocks = p->members * up(p->rows, p->block);
  brc_op_params32 params;
  ocl_call c = call_of(op, &params);
  c.extra[0] = op->out[1] ? op->out[1]->pitch : 0;
  c.extra_count = 1;
  c.groups[0] = on_cpu(x) ? blocks : (size_t)p->members * p->rows;
  c.local = on_cpu(x) ? 1 : OCL_NORM_LANES;
  brc_status st = add_copy(x, op, op->out[0], "norm_backward_copies", &c);
  if (!st) st = ocl_call_add(x, op, &c);
  if (st || on_cpu(x) || !op->out[1] || sums_behind(x, op)) return st;
  c.name = "norm_backward_sums";
  c.groups[0] = up(p->cols, OCL_NORM_LANES);
  c.groups[1] = blocks;
  return ocl_call_add(x, op, &c);
}

static brc_status op_norm_sums(brc_exec *x, const brc_op *op) {
  const brc_op *before = op->index ? x->program->ops[op->index - 1] : NULL;
  if (before && sums_behind(x, before)) {
    brc_op_params32 params;
    ocl_call c = call_of(before, &params);
    c.name = "norm_backward_all_sums";
    for (int i = 0; i < BRC_MAX_OUT; i++) c.operands[c.operand_count++] = op->out[i];
    c.extra[0] = op->in[0]->pitch;
    c.extra[1] = op->params.norm_sums.stride_p;
    c.extra_count = 2;
    c.groups[0] = up(params.norm.cols, STRIP_COLS);
    c.groups[1] = params.norm.members;
    c.local = OCL_STRIP_LANES;
    return ocl_call_add(x, op, &c);
  }
  return strips(x, op, op->params.norm_sums.cols, op->params.norm_sums.members, 3, op->in[0]->pitch);
}
static brc_status op_colsum(brc_exec *x, const brc_op *op) {
  return strips(x, op, op->params.colsum.cols, op->params.colsum.members, 1, 0);
}
static brc_status op_segment_sum(brc_exec *x, const brc_op *op) {
  const struct brc_segment_sum_params *p = &op->params.segment_sum;
  return strips(x, op, p->cols, on_cpu(x) ? 1 : p->segments, 1, 0);
}
static brc_status op_sum_members(brc_exec *x, const brc_op *op) {
  return rows(x, op, op->params.sum_members.rows, OCL_ROW_LANES);
}
static brc_status op_reduce(brc_exec *x, const brc_op *op) {
  return rows(x, op, op->params.reduce.cols, OCL_REDUCE_LANES);
}

//------------------------ 3. Input, policy, value -----------------------------
static brc_status op_embed(brc_exec *x, const brc_op *op) {
  return rows(x, op, op->params.embed.rows, OCL_ROW_LANES);
}
static brc_status op_embed_backward(brc_exec *x, const brc_op *op) { return op_embed(x, op); }
static brc_status op_concat_input(brc_exec *x, const brc_op *op) {
  return rows(x, op, op->params.concat_input.rows, OCL_ROW_LANES);
}
static brc_status op_gather_batch(brc_exec *x, const brc_op *op) {
  return rows(x, op, op->params.gather_batch.rows, OCL_ROW_LANES);
}
static brc_status op_tanh_normal(brc_exec *x, const brc_op *op) {
  return rows(x, op, op->params.tanh_normal.rows, OCL_ROW_LANES);
}
static brc_status op_tanh_normal_backward(brc_exec *x, const brc_op *op) { return op_tanh_normal(x, op); }
static brc_status op_policy_loss(brc_exec *x, const brc_op *op) { return rows(x, op, 1, OCL_REDUCE_LANES); }

static brc_status op_categorical_target(brc_exec *x, const brc_op *op) {
  const struct brc_categorical_params *p = &op->params.categorical_target;
  if (p->members > OCL_MEMBERS_MAX || p->atoms > OCL_ATOMS_MAX)
    return brc_fail(BRC_E_UNSUPPORTED,
                    "OpenCL: categorical_target takes at most %d members and %d atoms, not %u and %u",
                    OCL_MEMBERS_MAX, OCL_ATOMS_MAX, p->members, p->atoms);
  return rows(x, op, p->rows, OCL_ROW_LANES);
}
static brc_status op_cross_entropy(brc_exec *x, const brc_op *op) {
  return rows(x, op, (size_t)op->params.cross_entropy.members * op->params.cross_entropy.rows, OCL_ROW_LANES);
}
static brc_status op_expected_value(brc_exec *x, const brc_op *op) {
  return rows(x, op, op->params.expected_value.rows, OCL_ROW_LANES);
}

//------------------------ 4. Optimisers, scalars, noise -----------------------
static brc_status op_adamw(brc_exec *x, const brc_op *op) {
  const struct brc_adamw_params *p = &op->params.adamw;
  brc_op_params32 params;
  ocl_call c = call_of(op, &params);
  for (int i = 0; i < 2; i++) {  // of the parameters, of the target
    const brc_tensor *t = op->in[i ? 4 : 1];
    const ocl_shadow *s = t ? ocl_mma_shadow(x, t->storage) : NULL;
    c.operands[c.operand_count++] = s ? &s->tensor : NULL;
    if (s) c.extra[1] = s->precision, c.name = "adamw_copies";
  }
  c.extra[0] = op->out[0] ? op->out[0]->pitch : 0;
  c.extra_count = 2;
  c.groups[0] = up(p->n, p->block);
  c.local = on_cpu(x) ? 1 : OCL_ADAM_LANES;
  return ocl_call_add(x, op, &c);
}
static brc_status op_temperature(brc_exec *x, const brc_op *op) { return rows(x, op, 1, 1); }
static brc_status op_advance_scalars(brc_exec *x, const brc_op *op) { return rows(x, op, 1, 1); }
static brc_status op_normal(brc_exec *x, const brc_op *op) {
  return rows(x, op, op->params.normal.rows, OCL_ROW_LANES);
}

// A missing op does not compile.
#define OP(name, ...) [BRC_OP_##name] = op_##name,
ocl_op_fn *const ocl_ops[BRC_OP_COUNT] = {BRC_OPS(OP)};
#undef OP
#endif
