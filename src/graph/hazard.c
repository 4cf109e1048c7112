#include "graph/hazard.h"

unsigned brc_op_written(brc_op_kind kind) {
  switch (kind) {
    case BRC_OP_adamw: return 0x1e;           // p, m, v, target
    case BRC_OP_temperature: return 0x7;      // log_alpha, m, v
    case BRC_OP_advance_scalars: return 0x1;  // counts
    default: return 0;
  }
}

static brc_access access_of(const brc_tensor *t, uint32_t first, uint32_t count, bool reads, bool writes) {
  brc_tensor part = *t;
  if (count && t->members > 1) {
    part.offset += (uint64_t)first * t->stride;
    part.members = count;
  }
  return (brc_access){part.storage, part.offset, part.offset + brc_tensor_elements(&part), reads, writes};
}

int brc_op_accesses(const brc_op *op, brc_access *out) { return brc_op_accesses_of(op, 0, 0, out); }

int brc_op_accesses_of(const brc_op *op, uint32_t first, uint32_t count, brc_access *out) {
  const unsigned written = brc_op_written(op->kind);
  const bool adds = op->kind <= BRC_OP_dense_dw && op->params.dense.accumulate;
  int n = 0;
  for (int i = 0; i < BRC_MAX_IN; i++)
    if (op->in[i]) out[n++] = access_of(op->in[i], first, count, true, written >> i & 1);
  for (int i = 0; i < BRC_MAX_OUT; i++)
    if (op->out[i]) out[n++] = access_of(op->out[i], first, count, adds, true);
  return n;
}

bool brc_access_conflict(const brc_access *earlier, const brc_access *later) {
  return earlier->storage == later->storage && earlier->first < later->end && later->first < earlier->end &&
         (earlier->writes || later->writes);
}
