#include "graph/hazard.h"

unsigned brc_op_written(brc_op_kind kind) {
  switch (kind) {
    case BRC_OP_adamw: return 0x1e;           // p, m, v, target
    case BRC_OP_temperature: return 0x7;      // log_alpha, m, v
    case BRC_OP_advance_scalars: return 0x1;  // counts
    default: return 0;
  }
}

// Row-local kinds: the operands of which row r is touched for row r only.
#define IN(i)  (1u << (i))
#define OUT(i) (1u << (BRC_MAX_IN + (i)))
static const unsigned row_local[BRC_OP_COUNT] = {
    [BRC_OP_dense] = IN(0) | OUT(0),
    [BRC_OP_dense_dx] = IN(0) | OUT(0),
    [BRC_OP_norm] = IN(0) | IN(3) | OUT(0) | OUT(1) | OUT(2),
    [BRC_OP_norm_backward] = IN(0) | IN(1) | IN(2) | IN(3) | OUT(0),
    [BRC_OP_sum_members] = IN(0) | OUT(0),
    [BRC_OP_concat_input] = IN(0) | IN(1) | IN(3) | OUT(0),
    [BRC_OP_tanh_normal] = IN(0) | IN(1) | IN(2) | OUT(0) | OUT(1),
    [BRC_OP_tanh_normal_backward] = IN(0) | IN(1) | IN(2) | IN(3) | IN(4) | OUT(0) | OUT(1),
    [BRC_OP_categorical_target] = IN(0) | IN(1) | IN(2) | IN(3) | OUT(0) | OUT(1),
    [BRC_OP_cross_entropy] = IN(0) | IN(1) | OUT(0) | OUT(1),
    [BRC_OP_expected_value] = IN(0) | OUT(0) | OUT(1),
    [BRC_OP_normal] = OUT(0),
};

bool brc_op_is_row_local(brc_op_kind kind) { return row_local[kind] != 0; }

uint32_t brc_op_rows_per_row(const brc_op *op, int i) {
  if (op->kind == BRC_OP_norm_backward && i == BRC_MAX_IN + 1) return op->params.norm_backward.block;
  return row_local[op->kind] >> i & 1;
}

brc_tensor brc_op_operand_of(const brc_op *op, int i, const brc_op_part *part) {
  brc_tensor t = i < BRC_MAX_IN ? *op->in[i] : *op->out[i - BRC_MAX_IN];
  const uint32_t per = brc_op_rows_per_row(op, i);
  if (part->members && t.members > 1) {
    t.offset += (uint64_t)part->first_member * t.stride;
    t.members = part->members;
  }
  if (part->rows && per) {
    t.offset += (uint64_t)(part->first_row / per) * t.pitch;
    t.rows = (part->rows + per - 1) / per;
  }
  return t;
}

int brc_op_accesses(const brc_op *op, brc_access *out) {
  return brc_op_accesses_of(op, &(brc_op_part){0}, out);
}

int brc_op_accesses_of(const brc_op *op, const brc_op_part *part, brc_access *out) {
  const unsigned written = brc_op_written(op->kind);
  const bool adds = op->kind <= BRC_OP_dense_dw && op->params.dense.accumulate;
  int n = 0;
  for (int i = 0; i < BRC_MAX_IN + BRC_MAX_OUT; i++) {
    const bool output = i >= BRC_MAX_IN;
    if (!(output ? op->out[i - BRC_MAX_IN] : op->in[i])) continue;
    const brc_tensor t = brc_op_operand_of(op, i, part);
    out[n++] = (brc_access){t.storage, t.offset, t.offset + brc_tensor_elements(&t), !output || adds,
                            output || (written >> i & 1)};
  }
  return n;
}

bool brc_access_conflict(const brc_access *earlier, const brc_access *later) {
  return earlier->storage == later->storage && earlier->first < later->end && later->first < earlier->end &&
         (earlier->writes || later->writes);
}
