#include "train/verify.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

brc_status brc_verify_add(brc_verify_report *r, const char *name, double max_abs, double max_rel,
                          double tolerance, bool ok, uint64_t count) {
  if (r->count == r->cap) {
    size_t cap = r->cap ? 2 * r->cap : 32;
    brc_verify_row *rows = realloc(r->rows, cap * sizeof *rows);
    if (!rows) return brc_fail(BRC_E_NOMEM, "out of memory for the report on '%s'", name);
    r->rows = rows;
    r->cap = cap;
  }
  brc_verify_row *row = &r->rows[r->count++];
  if (r->precision != BRC_FP32) {
    tolerance = 0;
    ok = isfinite(max_abs);
  }
  *row = (brc_verify_row){
      .max_abs = max_abs, .max_rel = max_rel, .tolerance = tolerance, .ok = ok, .count = count};
  snprintf(row->name, sizeof row->name, "%s", name);
  return BRC_OK;
}

void brc_verify_compare(brc_verify_class *c, brc_verify_kind kind, double tolerance, const double *got,
                        const double *want, uint64_t n) {
  double largest = 0, err = 0;
  for (uint64_t i = 0; i < n; i++)
    if (isfinite(want[i])) largest = fmax(largest, fabs(want[i]));
  for (uint64_t i = 0; i < n; i++) {
    double d = isinf(want[i]) ? (got[i] == want[i] ? 0 : INFINITY) : fabs(got[i] - want[i]);
    if (isnan(d)) d = INFINITY;
    double bound = tolerance * (kind == BRC_VERIFY_ABS1  ? fmax(1, fabs(want[i]))
                                : kind == BRC_VERIFY_REL ? largest
                                                         : 1);
    double share = d == 0 ? 0 : isinf(want[i]) || bound == 0 ? INFINITY : d / bound;
    c->worst = fmax(c->worst, share);
    err = fmax(err, d);
  }
  c->max_abs = fmax(c->max_abs, err);
  c->max_rel = fmax(c->max_rel, err == 0 ? 0 : err / largest);
  c->tolerance = tolerance;
  c->count += n;
}

brc_status brc_verify_class_add(brc_verify_report *r, const brc_verify_class *c) {
  if (!c->count) return BRC_OK;
  return brc_verify_add(r, c->name, c->max_abs, c->max_rel, c->tolerance, c->worst <= 1, c->count);
}

bool brc_verify_passed(const brc_verify_report *r) {
  uint64_t compared = 0;
  bool ok = true;
  for (size_t i = 0; i < r->count; i++) compared += r->rows[i].count, ok &= r->rows[i].ok;
  return ok && compared > 0;
}
