// What ops read and write in memory, after planning: the arena's reuse orders ops that no tensor connects. Backends make their
// barriers or waiting lists from it.
#ifndef BRC_HAZARD_H
#define BRC_HAZARD_H
#include "graph/graph.h"

// A range of elements [first, end) of a storage, or of the arena (NULL), that an op touches through one operand. A view of
// columns counts as the whole range between its first and last element.
typedef struct brc_access {
  const brc_storage *storage;
  uint64_t first, end;
  bool reads, writes;
} brc_access;

// Inputs of `kind` that it changes in place, as bits.
unsigned brc_op_written(brc_op_kind kind);
// The accesses of an op of a finished program, one per operand present. Returns how many (at most BRC_MAX_IN + BRC_MAX_OUT).
int brc_op_accesses(const brc_op *op, brc_access *out);
// The same of the part of an op that works on `count` members from `first` on; 0: on all. Operands that have but one are there as a whole.
int brc_op_accesses_of(const brc_op *op, uint32_t first, uint32_t count, brc_access *out);
// May `later` not begin before `earlier` is done? (One of them writes what the other touches.)
bool brc_access_conflict(const brc_access *earlier, const brc_access *later);
#endif
