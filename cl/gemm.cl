// C[e] = op(A[e]) op(B[e]) (+ bias[e]) (+ C[e]), m x n x k, batch e in the third dimension of the range.
// nn: A [m,k], B [k,n].  nt: A [m,k], B [n,k].  tn: A [k,m], B [k,n].
//
// With EMULATE_PRECISION, for tests, factors are rounded as matrix units round them; without, products are in float32 alone.
#include "cl/common.h"

//------------------------ 1. Factors ------------------------------------------
#ifdef EMULATE_PRECISION
#include "cl/precision.h"
// round(scale x) / scale
static inline vf factor(vf x, float scale, uint precision) {
  return precision ? rounded(x * scale, precision) / scale : x;
}
#define FACTOR_A(x) factor(x, P->scale_a, P->precision)
#define FACTOR_B(x) factor(x, P->scale_b, P->precision)
#else
#define FACTOR_A(x) (x)
#define FACTOR_B(x) (x)
#endif

//------------------------ 2. Products -----------------------------------------
#define GEMM_ARGS ARG(a), ARG(b), ARG(bias), ARG(c), const struct brc_gemm_params P
#define GEMM_USE                        \
  const uint e = (uint)get_group_id(2); \
  USE(a);                               \
  USE(b);                               \
  USE(bias);                            \
  USE(c);                               \
  a += (ulong)e * P.stride_a;           \
  b += (ulong)e * P.stride_b;           \
  c += (ulong)e * P.stride_c;           \
  bias += (ulong)e * P.stride_bias;     \
  const bool has_bias = HAS(bias)

#if BRC_VEC == 16
// nn, tn: a work-item owns a tile of 8 rows and 32 columns in registers. Rows behind m repeat the last one and are not stored;
// columns behind n are computed from what lies there and not stored.
#define TILE_M 8
#define TILE_N 32
static inline void tile(__global const float *a, __global const float *b, __global const float *bias,
                        __global float *c, const struct brc_gemm_params *P, bool has_bias, const ulong step_m,
                        const ulong step_k) {
  const uint n0 = (uint)get_group_id(0) * TILE_N, m0 = (uint)get_group_id(1) * TILE_M, left = P->n - n0;
  const ulong r0 = m0 * step_m, r1 = min(m0 + 1, P->m - 1) * step_m, r2 = min(m0 + 2, P->m - 1) * step_m,
              r3 = min(m0 + 3, P->m - 1) * step_m, r4 = min(m0 + 4, P->m - 1) * step_m,
              r5 = min(m0 + 5, P->m - 1) * step_m, r6 = min(m0 + 6, P->m - 1) * step_m,
              r7 = min(m0 + 7, P->m - 1) * step_m;
  float16 s00 = 0, s01 = 0, s10 = 0, s11 = 0, s20 = 0, s21 = 0, s30 = 0, s31 = 0;
  float16 s40 = 0, s41 = 0, s50 = 0, s51 = 0, s60 = 0, s61 = 0, s70 = 0, s71 = 0;
  b += n0;
#define ROW_FMA(i)                   \
  x = FACTOR_A((float16)a[r##i]);    \
  s##i##0 = fma(x, b0, s##i##0);     \
  s##i##1 = fma(x, b1, s##i##1)
  for (uint k = 0; k < P->k; k++, b += P->ldb, a += step_k) {
    const float16 b0 = FACTOR_B(vload16(0, b)), b1 = FACTOR_B(vload16(1, b));
    float16 x;
    ROW_FMA(0);
    ROW_FMA(1);
    ROW_FMA(2);
    ROW_FMA(3);
    ROW_FMA(4);
    ROW_FMA(5);
    ROW_FMA(6);
    ROW_FMA(7);
  }
#undef ROW_FMA
  const uint left1 = left > 16 ? left - 16 : 0;
  c += (ulong)m0 * P->ldc + n0;
  float16 bias0 = 0, bias1 = 0;
  if (has_bias) {
    bias0 = v_load(bias + n0, left);
    if (left1) bias1 = v_load(bias + n0 + 16, left1);
  }
#define ROW_STORE(i)                                                                                           \
  if (m0 + i < P->m) {                                                                                         \
    __global float *to = c + (ulong)i * P->ldc;                                                                \
    v_store(s##i##0 + bias0 + (P->accumulate ? v_load(to, left) : (vf)0.0f), to, left);                        \
    if (left1) v_store(s##i##1 + bias1 + (P->accumulate ? v_load(to + 16, left1) : (vf)0.0f), to + 16, left1); \
  }
  ROW_STORE(0)
  ROW_STORE(1)
  ROW_STORE(2)
  ROW_STORE(3)
  ROW_STORE(4)
  ROW_STORE(5)
  ROW_STORE(6)
  ROW_STORE(7)
#undef ROW_STORE
}
__kernel void gemm_nn(GEMM_ARGS) {
  GEMM_USE;
  tile(a, b, bias, c, &P, has_bias, P.lda, 1);
}
__kernel void gemm_tn(GEMM_ARGS) {
  GEMM_USE;
  tile(a, b, bias, c, &P, has_bias, 1, P.lda);
}

// nt: a work-item owns 4 x 4 scalar products, vectors along k.
#define DOT_TILE 4
static inline void dots(__global const float *a, __global const float *b, __global const float *bias,
                        __global float *c, const struct brc_gemm_params *P, bool has_bias) {
  const uint n0 = (uint)get_group_id(0) * DOT_TILE, m0 = (uint)get_group_id(1) * DOT_TILE;
  __global const float *a0 = a + (ulong)m0 * P->lda, *a1 = a + (ulong)min(m0 + 1, P->m - 1) * P->lda,
                       *a2 = a + (ulong)min(m0 + 2, P->m - 1) * P->lda,
                       *a3 = a + (ulong)min(m0 + 3, P->m - 1) * P->lda;
  __global const float *b0 = b + (ulong)n0 * P->ldb, *b1 = b + (ulong)min(n0 + 1, P->n - 1) * P->ldb,
                       *b2 = b + (ulong)min(n0 + 2, P->n - 1) * P->ldb,
                       *b3 = b + (ulong)min(n0 + 3, P->n - 1) * P->ldb;
  float16 s00 = 0, s01 = 0, s02 = 0, s03 = 0, s10 = 0, s11 = 0, s12 = 0, s13 = 0;
  float16 s20 = 0, s21 = 0, s22 = 0, s23 = 0, s30 = 0, s31 = 0, s32 = 0, s33 = 0;
#define STEP(load)                                                                                  \
  {                                                                                                 \
    const float16 x0 = FACTOR_A(load(a0)), x1 = FACTOR_A(load(a1)), x2 = FACTOR_A(load(a2)),        \
                  x3 = FACTOR_A(load(a3));                                                      \
    const float16 y0 = FACTOR_B(load(b0)), y1 = FACTOR_B(load(b1)), y2 = FACTOR_B(load(b2)),        \
                  y3 = FACTOR_B(load(b3));                                                      \
    s00 = fma(x0, y0, s00), s01 = fma(x0, y1, s01), s02 = fma(x0, y2, s02), s03 = fma(x0, y3, s03); \
    s10 = fma(x1, y0, s10), s11 = fma(x1, y1, s11), s12 = fma(x1, y2, s12), s13 = fma(x1, y3, s13); \
    s20 = fma(x2, y0, s20), s21 = fma(x2, y1, s21), s22 = fma(x2, y2, s22), s23 = fma(x2, y3, s23); \
    s30 = fma(x3, y0, s30), s31 = fma(x3, y1, s31), s32 = fma(x3, y2, s32), s33 = fma(x3, y3, s33); \
  }
#define WHOLE(p) vload16(0, p + k)
#define TAIL(p)  v_load(p + k, P->k - k)
  uint k = 0;
  for (; k + 16 <= P->k; k += 16) STEP(WHOLE)
  if (k < P->k) STEP(TAIL)
#undef STEP
  const float sums[DOT_TILE][DOT_TILE] = {{v_sum(s00), v_sum(s01), v_sum(s02), v_sum(s03)},
                                          {v_sum(s10), v_sum(s11), v_sum(s12), v_sum(s13)},
                                          {v_sum(s20), v_sum(s21), v_sum(s22), v_sum(s23)},
                                          {v_sum(s30), v_sum(s31), v_sum(s32), v_sum(s33)}};
  for (uint i = 0; i < DOT_TILE && m0 + i < P->m; i++)
    for (uint j = 0; j < DOT_TILE && n0 + j < P->n; j++) {
      __global float *to = c + (ulong)(m0 + i) * P->ldc + n0 + j;
      *to = sums[i][j] + (has_bias ? bias[n0 + j] : 0.0f) + (P->accumulate ? *to : 0.0f);
    }
}
__kernel void gemm_nt(GEMM_ARGS) {
  GEMM_USE;
  dots(a, b, bias, c, &P, has_bias);
}
#else
#define TILE_R       4
#define TILE_NAME(x) x
#include "cl/gemm_tile.h"
#undef TILE_R
#undef TILE_NAME

#define TILE_R       8
#define TILE_NAME(x) x##_large
#include "cl/gemm_tile.h"
#endif

// C += bias, behind products that cannot do it themselves. Group: a row of all members.
__kernel void gemm_bias(ARG(a), ARG(b), ARG(bias), ARG(out), const struct brc_gemm_params P) {
  ROW(ROW_LANES);
  USE(bias);
  USE(out);
  bias += (ulong)(row / P.m) * P.stride_bias;
  out += (ulong)(row / P.m) * P.stride_c + (ulong)(row % P.m) * P.ldc;
  FOR_COLS(P.n, ROW_LANES) v_store(v_load(out + c, left) + v_load(bias + c, left), out + c, left);
}
