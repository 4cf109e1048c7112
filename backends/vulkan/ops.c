// One function per op: which shader, over how many work-groups.
#ifdef BRC_HAVE_VULKAN
#include <string.h>

#include "backends/vulkan/vulkan.h"

// Work-items per work-group: powers of two, 16 at least where they add up a row, 32 where they take a strip of
// columns; one for what is one element. The order of sums depends on them.
static const uint32_t lanes_of[BRC_OP_COUNT] = {
    [BRC_OP_norm] = 128,  // more for wide rows
    [BRC_OP_norm_backward] = 128,
    [BRC_OP_norm_sums] = 256,
    [BRC_OP_colsum] = 1024,
    [BRC_OP_sum_members] = 64,
    [BRC_OP_embed] = 32,
    [BRC_OP_embed_backward] = 32,
    [BRC_OP_concat_input] = 64,
    [BRC_OP_gather_batch] = 64,
    [BRC_OP_segment_sum] = 1024,
    [BRC_OP_tanh_normal] = 32,
    [BRC_OP_tanh_normal_backward] = 32,
    [BRC_OP_categorical_target] = 128,
    [BRC_OP_cross_entropy] = 64,
    [BRC_OP_expected_value] = 64,
    [BRC_OP_policy_loss] = 256,
    [BRC_OP_reduce] = 256,
    [BRC_OP_adamw] = 256,
    [BRC_OP_temperature] = 1,
    [BRC_OP_advance_scalars] = 1,
    [BRC_OP_normal] = 32,
};
// Columns of a strip (shaders/common.glsl).
enum { STRIP_COLS = 32 };
// categorical_target keeps its atoms in shared memory, of which every device has 16 KiB.
enum { ATOMS_MAX = 1024 };

static uint64_t up(uint64_t a, uint64_t b) { return (a + b - 1) / b; }

// `wanted` work-items, or as many as a work-group can have: 128 on every device. A CPU's driver walks through a group's work-items
// between two barriers: there the fewest are the fastest.
static uint32_t lanes_on(brc_exec *x, uint32_t wanted) {
  if (vk_exec_device(x)->few_lanes && wanted > STRIP_COLS) wanted = STRIP_COLS;
  const VkPhysicalDeviceLimits *limits = &vk_exec_device(x)->properties.limits;
  while (wanted > limits->maxComputeWorkGroupInvocations || wanted > limits->maxComputeWorkGroupSize[0])
    wanted /= 2;
  return wanted;
}

// An op's own operands and parameters, the module named like the op, one work-group.
static vk_call call_of(brc_exec *x, const brc_op *op, brc_op_params32 *params) {
  const brc_op_info *info = &brc_op_infos[op->kind];
  vk_call c = {.module = info->name,
               .operand_count = info->inputs + info->outputs,
               .params = params,
               .groups = {1, 1, 1},
               .local = lanes_on(x, lanes_of[op->kind])};
  for (int i = 0; i < info->inputs; i++) c.operands[i] = op->in[i];
  for (int i = 0; i < info->outputs; i++) c.operands[info->inputs + i] = op->out[i];
  c.params_bytes = brc_op_params_to32(op->kind, &op->params, params);
  return c;
}
static void add_extra(vk_call *c, uint32_t word) { c->extra[c->extra_count++] = word; }
static void add_extra_float(vk_call *c, double value) {
  const float f = (float)value;
  uint32_t word;
  memcpy(&word, &f, sizeof word);
  add_extra(c, word);
}

// A work-group for each of `count` rows.
static brc_status rows(brc_exec *x, const brc_op *op, uint64_t count) {
  brc_op_params32 params;
  vk_call c = call_of(x, op, &params);
  c.groups[0] = count;
  return vk_call_add(x, op, &c);
}

// Work-groups over strips of columns.
static brc_status strips(brc_exec *x, const brc_op *op, uint32_t cols, uint32_t groups1) {
  brc_op_params32 params;
  vk_call c = call_of(x, op, &params);
  c.groups[0] = up(cols, STRIP_COLS);
  c.groups[1] = groups1;
  return vk_call_add(x, op, &c);
}

//------------------------ 1. Products -----------------------------------------
static brc_status product(brc_exec *x, const brc_op *op, const brc_tensor *bias, bool ta, bool tb) {
  brc_op_params32 params;
  brc_op_params_to32(op->kind, &op->params, &params);
  vk_gemm g = {
      .a = op->in[0], .b = op->in[1], .bias = bias, .c = op->out[0], .ta = ta, .tb = tb, .p = params.dense};
  return vk_gemm_add(x, op, &g);
}
static brc_status op_dense(brc_exec *x, const brc_op *op) { return product(x, op, op->in[2], false, false); }
static brc_status op_dense_dx(brc_exec *x, const brc_op *op) { return product(x, op, NULL, false, true); }
static brc_status op_dense_dw(brc_exec *x, const brc_op *op) { return product(x, op, NULL, true, false); }

//------------------------ 2. LayerNorm, sums ----------------------------------
// Both ways: a work-group per row, up to eight columns of it to a work-item, and what shapes the code as constants.
static vk_call norm_call(brc_exec *x, const brc_op *op, const struct brc_norm_params *p,
                         brc_op_params32 *params) {
  vk_call c = call_of(x, op, params);
  c.groups[0] = (uint64_t)p->members * p->rows;
  uint32_t lanes = lanes_of[op->kind];
  while (lanes < 1024 && lanes < p->cols / 8) lanes *= 2;
  c.local = lanes_on(x, lanes);
  c.constants[c.constant_count++] = p->cols;
  c.constants[c.constant_count++] = p->relu;
  c.constants[c.constant_count++] = p->residual;
  return c;
}

static brc_status op_norm(brc_exec *x, const brc_op *op) {
  brc_op_params32 params;
  vk_call c = norm_call(x, op, &op->params.norm, &params);
  return vk_call_add(x, op, &c);
}

static brc_status op_norm_backward(brc_exec *x, const brc_op *op) {
  const struct brc_norm_params *p = &op->params.norm_backward;
  brc_op_params32 params;
  vk_call c = norm_call(x, op, p, &params);
  add_extra(&c, op->out[1] ? op->out[1]->pitch : 0);
  brc_status st = vk_call_add(x, op, &c);
  if (st || !op->out[1]) return st;
  c.module = "norm_backward_sums";
  c.local = lanes_of[op->kind];
  c.groups[0] = up(p->cols, STRIP_COLS);
  c.groups[1] = p->members * up(p->rows, p->block);
  c.after_previous = true;
  return vk_call_add(x, op, &c);
}

static brc_status op_norm_sums(brc_exec *x, const brc_op *op) {
  const struct brc_norm_sums_params *p = &op->params.norm_sums;
  brc_op_params32 params;
  vk_call c = call_of(x, op, &params);
  add_extra(&c, op->in[0]->pitch);
  c.groups[0] = up(p->cols, STRIP_COLS);
  c.groups[1] = p->members;
  c.groups[2] = op->out[2] ? 3 : 2;
  return vk_call_add(x, op, &c);
}
static brc_status op_colsum(brc_exec *x, const brc_op *op) {
  return strips(x, op, op->params.colsum.cols, op->params.colsum.members);
}
static brc_status op_segment_sum(brc_exec *x, const brc_op *op) {
  return strips(x, op, op->params.segment_sum.cols, op->params.segment_sum.segments);
}
static brc_status op_sum_members(brc_exec *x, const brc_op *op) {
  return rows(x, op, op->params.sum_members.rows);
}
static brc_status op_reduce(brc_exec *x, const brc_op *op) { return rows(x, op, op->params.reduce.cols); }

//------------------------ 3. Input, policy, value -----------------------------
static brc_status op_embed(brc_exec *x, const brc_op *op) { return rows(x, op, op->params.embed.rows); }
static brc_status op_embed_backward(brc_exec *x, const brc_op *op) { return op_embed(x, op); }
static brc_status op_concat_input(brc_exec *x, const brc_op *op) {
  return rows(x, op, op->params.concat_input.rows);
}
static brc_status op_gather_batch(brc_exec *x, const brc_op *op) {
  return rows(x, op, op->params.gather_batch.rows);
}
static brc_status op_tanh_normal(brc_exec *x, const brc_op *op) {
  return rows(x, op, op->params.tanh_normal.rows);
}
static brc_status op_tanh_normal_backward(brc_exec *x, const brc_op *op) { return op_tanh_normal(x, op); }
static brc_status op_policy_loss(brc_exec *x, const brc_op *op) { return rows(x, op, 1); }

static brc_status op_categorical_target(brc_exec *x, const brc_op *op) {
  const struct brc_categorical_params *p = &op->params.categorical_target;
  if (p->atoms > ATOMS_MAX)
    return brc_fail(BRC_E_UNSUPPORTED, "Vulkan: categorical_target takes at most %d atoms, not %u", ATOMS_MAX,
                    p->atoms);
  brc_op_params32 params;
  vk_call c = call_of(x, op, &params);
  add_extra_float(&c, p->v_max / (p->atoms - 1));
  add_extra_float(&c, (p->atoms - 1) / (2 * p->v_max));
  c.constants[c.constant_count++] = p->atoms;
  c.groups[0] = p->rows;
  return vk_call_add(x, op, &c);
}
static brc_status op_cross_entropy(brc_exec *x, const brc_op *op) {
  return rows(x, op, (uint64_t)op->params.cross_entropy.members * op->params.cross_entropy.rows);
}
static brc_status op_expected_value(brc_exec *x, const brc_op *op) {
  const struct brc_categorical_params *p = &op->params.expected_value;
  brc_op_params32 params;
  vk_call c = call_of(x, op, &params);
  add_extra_float(&c, p->v_max / (p->atoms - 1));
  c.groups[0] = p->rows;
  return vk_call_add(x, op, &c);
}

//------------------------ 4. Optimisers, scalars, noise -----------------------
static brc_status op_adamw(brc_exec *x, const brc_op *op) {
  brc_op_params32 params;
  vk_call c = call_of(x, op, &params);
  add_extra(&c, op->out[0] ? op->out[0]->pitch : 0);
  c.groups[0] = up(op->params.adamw.n, op->params.adamw.block);
  return vk_call_add(x, op, &c);
}
static brc_status op_temperature(brc_exec *x, const brc_op *op) { return rows(x, op, 1); }
static brc_status op_advance_scalars(brc_exec *x, const brc_op *op) { return rows(x, op, 1); }
static brc_status op_normal(brc_exec *x, const brc_op *op) { return rows(x, op, op->params.normal.rows); }

// A missing op does not compile.
#define OP(name, ...) [BRC_OP_##name] = op_##name,
vk_op_fn *const vk_ops[BRC_OP_COUNT] = {BRC_OPS(OP)};
#undef OP
#endif
