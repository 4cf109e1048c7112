#include "backends/host/precision.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// At bit `at` of float32, to nearest, ties to even.
static inline float round_bits(float x, int at) {
  uint32_t u;
  memcpy(&u, &x, sizeof u);
  u = (u + (1u << (at - 1)) - 1 + (u >> at & 1)) & ~((1u << at) - 1);
  memcpy(&x, &u, sizeof u);
  return x;
}
static inline float within(float x, float most) { return x > most ? most : x < -most ? -most : x; }

// tf32 and bf16 have the range of float32.
static inline float to_tf32(float x) { return x != x ? x : round_bits(within(x, 0x1.ffcp127f), 13); }
static inline float to_bf16(float x) { return x != x ? x : round_bits(within(x, 0x1.fep127f), 16); }
// Below 2^-14 the step is 2^-24: adding 1.5 2^-1 leaves float32 no finer one.
static inline float to_fp16(float x) {
  const float y = within(x, 65504), least = (y + 0.75f) - 0.75f;
  return x != x ? x : fabsf(y) < 0x1p-14f ? least : round_bits(y, 13);
}

#define ROUND_ROW(to_type) \
  for (uint32_t c = 0; c < cols; c++) to[c] = to_type(from[c] * scale) * unscale
static void round_row(float *to, const float *from, uint32_t cols, brc_precision precision, float scale) {
  const float unscale = 1 / scale;
  if (precision == BRC_TF32) ROUND_ROW(to_tf32);
  if (precision == BRC_BF16) ROUND_ROW(to_bf16);
  if (precision == BRC_FP16) ROUND_ROW(to_fp16);
}
#undef ROUND_ROW

// Copy [members][rows][cols] with rows `ld` apart and members `stride`; the copy's rows are cols apart.
static void round_factor(float *to, const float *from, uint32_t members, uint32_t rows, uint32_t cols,
                         uint32_t ld, uint64_t stride, brc_precision precision, float scale) {
  for (uint32_t e = 0; e < members; e++)
    for (uint32_t r = 0; r < rows; r++, to += cols)
      round_row(to, from + e * stride + (size_t)r * ld, cols, precision, scale);
}

void brc_host_gemm_rounded(brc_pool *pool, const brc_host_gemm_args *args, brc_precision precision,
                           float scale_a, float scale_b) {
  if (precision == BRC_FP32) {
    brc_host_gemm(pool, args);
    return;
  }
  brc_host_gemm_args g = *args;
  if (precision == BRC_BF16 && brc_host_bf16_here()) {
    g.bf16 = true;
    brc_host_gemm(pool, &g);
    return;
  }
  const size_t one_a = (size_t)g.m * g.k, one_b = (size_t)g.n * g.k;
  const uint32_t members_a = g.stride_a ? g.batch : 1, members_b = g.stride_b ? g.batch : 1;
  const size_t need = members_a * one_a + members_b * one_b + 64;  // vectors may read behind the end
  float *memory = brc_host_own_scratch(BRC_HOST_SCRATCH_FACTORS, need);
  float *a = memory, *b = memory + members_a * one_a;
  const uint32_t rows_a = g.ta ? g.k : g.m, cols_a = g.ta ? g.m : g.k;
  const uint32_t rows_b = g.tb ? g.n : g.k, cols_b = g.tb ? g.k : g.n;
  round_factor(a, g.a, members_a, rows_a, cols_a, g.lda, g.stride_a, precision, scale_a);
  round_factor(b, g.b, members_b, rows_b, cols_b, g.ldb, g.stride_b, precision, scale_b);
  g.a = a, g.lda = cols_a, g.stride_a = members_a > 1 ? one_a : 0;
  g.b = b, g.ldb = cols_b, g.stride_b = members_b > 1 ? one_b : 0;
  brc_host_gemm(pool, &g);
}

void brc_host_op_rounded(const brc_host_op *op, uint32_t e, uint32_t r0, uint32_t r1, float *scratch) {
  (void)scratch;
  const brc_host_view *a = &op->in[0], *b = &op->in[1], *bias = op->kind == BRC_OP_dense ? &op->in[2] : NULL,
                      *c = &op->out[0];
  const bool ta = op->kind == BRC_OP_dense_dw;
  const brc_host_gemm_args g = {.ta = ta,
                                .tb = op->kind == BRC_OP_dense_dx,
                                .m = r1 - r0,
                                .n = c->cols,
                                .k = ta ? a->rows : a->cols,
                                .batch = 1,
                                .a = a->data + e * a->stride + (ta ? (size_t)r0 : (size_t)r0 * a->pitch),
                                .b = b->data + e * b->stride,
                                .bias = bias && bias->data ? bias->data + e * bias->stride : NULL,
                                .c = c->data + e * c->stride + (size_t)r0 * c->pitch,
                                .lda = a->pitch,
                                .ldb = b->pitch,
                                .ldc = c->pitch,
                                .accumulate = op->params.dense.accumulate};
  brc_host_gemm_rounded(NULL, &g, (brc_precision)op->params.dense.precision, op->params.dense.scale_a,
                        op->params.dense.scale_b);
}
