#include "backends/product_check.h"

#include <stdlib.h>

#include "base/philox.h"

enum { NN, NT, TN, LAYOUTS, A = 0, B, C, BIAS, OPERANDS };
static const char *const layout_names[LAYOUTS] = {"nn", "nt", "tn"};

typedef struct product_check {
  brc_device *d;
  brc_precision precision;
  uint32_t m, n, k, batch;
  brc_program *program;
  brc_exec *exec;
  brc_storage storage[LAYOUTS][OPERANDS];
  brc_tensor *tensor[LAYOUTS][OPERANDS];
} product_check;

// What element i of an operand is before the product.
static float number(int layout, int operand, uint64_t i) {
  return (float)(brc_philox((uint32_t)i, 0, 0, 0, (uint32_t)layout, (uint32_t)operand).x % 17) - 8;
}

static brc_status check_operand(product_check *k, int layout, int operand, uint32_t members, uint32_t rows,
                                uint32_t cols) {
  brc_storage *s = &k->storage[layout][operand];
  const uint32_t stride = members > 1 ? rows * brc_pitch(cols) : 0;
  *s = (brc_storage){.name = "check", .elements = (uint64_t)members * rows * brc_pitch(cols)};
  k->tensor[layout][operand] =
      brc_external(k->program, s, s->name, 0, members, rows, cols, brc_pitch(cols), stride);
  float *data = malloc(s->elements * sizeof *data);
  brc_status st = data ? brc_storage_alloc(k->d, s) : brc_fail(BRC_E_NOMEM, "out of memory");
  for (uint64_t i = 0; !st && i < s->elements; i++) data[i] = number(layout, operand, i);
  if (!st) st = k->d->backend->write(k->d, s->buffer, 0, s->elements, data, false);
  free(data);
  return st;
}

static brc_status check_add(product_check *k, int layout) {
  static const brc_op_kind kinds[LAYOUTS] = {BRC_OP_dense, BRC_OP_dense_dx, BRC_OP_dense_dw};
  const bool ta = layout == TN, tb = layout == NT;
  const uint32_t shared = layout == NN ? 1 : k->batch;
  brc_status st = check_operand(k, layout, A, shared, ta ? k->k : k->m, ta ? k->m : k->k);
  if (!st) st = check_operand(k, layout, B, k->batch, tb ? k->n : k->k, tb ? k->k : k->n);
  if (!st) st = check_operand(k, layout, C, k->batch, k->m, k->n);
  if (!st && layout == NN) st = check_operand(k, layout, BIAS, k->batch, 1, k->n);
  if (st) return st;
  brc_tensor *const *t = k->tensor[layout];
  const float scale = k->precision == BRC_FP16 ? 16 : 1;
  const brc_op_params params = {.dense = {.m = k->m,
                                          .n = k->n,
                                          .k = k->k,
                                          .batch = k->batch,
                                          .lda = t[A]->pitch,
                                          .ldb = t[B]->pitch,
                                          .ldc = t[C]->pitch,
                                          .accumulate = layout == NT,
                                          .stride_a = (uint32_t)t[A]->stride,
                                          .stride_b = (uint32_t)t[B]->stride,
                                          .stride_c = (uint32_t)t[C]->stride,
                                          .stride_bias = t[BIAS] ? (uint32_t)t[BIAS]->stride : 0,
                                          .precision = k->precision,
                                          .scale_a = layout == NT ? scale : 1,
                                          .scale_b = layout == TN ? scale : 1}};
  brc_op_add(k->program, kinds[layout], (brc_tensor *[]){t[A], t[B], t[BIAS]}, (brc_tensor *[]){t[C]}, &params);
  return BRC_OK;
}

// Element `row, k` of the first factor or `k, column` of the second, whichever way they lie.
static float factor(const product_check *k, int layout, int operand, uint32_t e, uint32_t along_tile,
                    uint32_t along_k) {
  const brc_tensor *t = k->tensor[layout][operand];
  const bool by_k = operand == A ? layout != TN : layout == NT;
  const uint32_t r = by_k ? along_tile : along_k, c = by_k ? along_k : along_tile;
  return number(layout, operand, e * t->stride + (uint64_t)r * t->pitch + c);
}

// One row of C against the sums on the CPU. b: the second factor of its member, [n, k]; a: room for a row of the first.
static brc_status check_row(const product_check *k, int layout, uint32_t e, uint32_t r, const float *got,
                            const float *b, float *a) {
  brc_tensor *const *t = k->tensor[layout];
  for (uint32_t j = 0; j < k->k; j++) a[j] = factor(k, layout, A, e, r, j);
  for (uint32_t c = 0; c < k->n; c++) {
    const uint64_t at = e * t[C]->stride + (uint64_t)r * t[C]->pitch + c;
    float want = layout == NN   ? number(layout, BIAS, e * t[BIAS]->stride + c)
                 : layout == NT ? number(layout, C, at)
                                : 0;
    for (uint32_t j = 0; j < k->k; j++) want += a[j] * b[(size_t)c * k->k + j];
    if (got[at] != want)
      return brc_fail(BRC_E_VALUE, "%s %ux%ux%u: %g in member %u row %u column %u, not %g",
                      layout_names[layout], k->m, k->n, k->k, (double)got[at], e, r, c, (double)want);
  }
  return BRC_OK;
}

// Every fifth row of large tiles: that is every row of a matrix unit's shape, in one of a tile's matrices.
static brc_status check_compare(product_check *k, int layout) {
  const brc_storage *s = &k->storage[layout][C];
  const size_t factors = (size_t)k->n * k->k;
  const uint32_t step = k->m < 64 ? 1 : 5;
  float *got = malloc((s->elements + factors + k->k) * sizeof *got), *b = got + s->elements;
  brc_status st =
      got ? k->d->backend->read(k->d, s->buffer, 0, s->elements, got) : brc_fail(BRC_E_NOMEM, "out of memory");
  for (uint32_t e = 0; !st && e < k->batch; e++) {
    for (uint32_t c = 0; c < k->n; c++)
      for (uint32_t j = 0; j < k->k; j++) b[(size_t)c * k->k + j] = factor(k, layout, B, e, c, j);
    for (uint32_t r = (uint32_t)layout % step; !st && r < k->m; r += step)
      st = check_row(k, layout, e, r, got, b, b + factors);
  }
  free(got);
  return st;
}

brc_status brc_check_products(brc_device *d, brc_precision precision, uint32_t m, uint32_t n, uint32_t k,
                              uint32_t batch) {
  product_check c = {.d = d, .precision = precision, .m = m, .n = n, .k = k, .batch = batch};
  brc_status st = brc_program_create(&c.program, "check of products");
  for (int l = 0; !st && l < LAYOUTS; l++) st = check_add(&c, l);
  if (!st) st = brc_program_finish(c.program);
  if (!st) st = d->backend->compile(d, c.program, &c.exec);
  if (!st) st = d->backend->run(d, c.exec, 1);
  for (int l = 0; !st && l < LAYOUTS; l++) st = check_compare(&c, l);
  if (c.exec) d->backend->exec_free(d, c.exec);
  for (int l = 0; l < LAYOUTS; l++)
    for (int i = 0; i < OPERANDS; i++) brc_storage_release(d, &c.storage[l][i]);
  brc_program_free(c.program);
  return st;
}
