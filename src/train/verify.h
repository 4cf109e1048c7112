// What a verification found: one row per tensor (or class of tensors), kept in order.
#ifndef BRC_VERIFY_H
#define BRC_VERIFY_H
#include "graph/graph.h"

typedef struct brc_verify_row {
  char name[64];
  double max_abs, max_rel, tolerance;  // tolerance 0: errors are only measured, and ok while they are finite
  bool ok;
  uint64_t count;  // elements compared
} brc_verify_row;

typedef struct brc_verify_report {
  brc_verify_row *rows;
  size_t count, cap;
  brc_precision
      precision;  // of the agent's products; in other than fp32 there are no bounds, and rows are measured
} brc_verify_report;

// Zero-initialise the report but for the precision; free(rows) at the end, whatever the status. Fails: BRC_E_NOMEM.
brc_status brc_verify_add(brc_verify_report *r, const char *name, double max_abs, double max_rel,
                          double tolerance, bool ok, uint64_t count);
// Errors of one class of quantities while they are collected, over all tensors that belong to it.
typedef struct brc_verify_class {
  const char *name;
  double max_abs, max_rel, worst;  // worst: largest share of the tolerance used; over 1 fails
  double tolerance;                // the bound itself, for the table
  uint64_t count;
} brc_verify_class;

// How a bound is meant: absolute; times max(1, |x|) of the element; times the largest magnitude of the tensor.
typedef enum brc_verify_kind { BRC_VERIFY_ABS, BRC_VERIFY_ABS1, BRC_VERIFY_REL } brc_verify_kind;
// Compare n elements; infinities must be met exactly, NaN never passes.
void brc_verify_compare(brc_verify_class *c, brc_verify_kind kind, double tolerance, const double *got,
                        const double *want, uint64_t n);
// A row for it; none when nothing was compared.
brc_status brc_verify_class_add(brc_verify_report *r, const brc_verify_class *c);
bool brc_verify_passed(const brc_verify_report *r);  // something was compared, and all of it is within bounds
#endif
