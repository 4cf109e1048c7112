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

// A part of an op's work: for some of the members, and of their rows; 0 of them: all.
typedef struct brc_op_part {
  uint32_t first_member, members, first_row, rows;
} brc_op_part;

// How many of the op's rows share a row of operand `i` (inputs, behind them at BRC_MAX_IN the outputs): 1 where the op touches row r of it
// for its own row r alone, norm_backward's block for its partials; 0: every row may touch all of it.
uint32_t brc_op_rows_per_row(const brc_op *op, int i);
// Are the op's rows independent of each other, so that it can work on some of them?
bool brc_op_is_row_local(brc_op_kind kind);
// What a part touches of operand `i`: members and rows of it, or all where these are not the part's own. first_row is a multiple of
// brc_op_rows_per_row.
brc_tensor brc_op_operand_of(const brc_op *op, int i, const brc_op_part *part);
// As brc_op_accesses, of a part.
int brc_op_accesses_of(const brc_op *op, const brc_op_part *part, brc_access *out);
// May `later` not begin before `earlier` is done? (One of them writes what the other touches.)
bool brc_access_conflict(const brc_access *earlier, const brc_access *later);
#endif
