// Products on Intel's matrix units: C[e] = op(A[e]) op(B[e]) (+ bias[e]) (+ C[e]), m x n x k, with factors in PRECISION (1 tf32, 2 bf16,
// 3 fp16: brc_precision) and float32 sums. nn: A [m,k], B [k,n].  nt: A [m,k], B [n,k].  tn: A [k,m], B [k,n].
//
// WAVE: 8 (Arc A) or 16 (Data Center Max, Arc B; tf32 only there), the smallest sub-group of the device, which the instructions of
// cl_intel_subgroup_matrix_multiply_accumulate work in: 8 x WAVE sums over 16 elements along k (tf32: 8).
//
// MMA_EMULATED, for tests without such a GPU: everything but the instructions themselves runs as it is, and those lane by lane.
#include "cl/gemm_staged.h"

//------------------------ 1. Who holds what -------------------------------------
// B: a lane has a column, all of k. A: a lane has two (tf32 and WAVE 16: one) neighbours along k, of all rows; tf32: of every other row,
// the odd ones in the second half of the sub-group.
#define UNIT_M  8
#define UNIT_N  WAVE
#define A_QUADS (WAVE == 8 ? 2 : 1)
#define B_QUADS 2
#define SUMS    8
#define WAVES_M 4
#define WAVES_N (THREADS / WAVE / WAVES_M)
typedef float8 sums;
typedef struct fragment_a {
  uint4 quad[A_QUADS];
} fragment_a;
typedef struct fragment_b {
  uint4 quad[B_QUADS];
} fragment_b;

INLINE uint row_of(uint lane, uint v) { return v; }

// Rows [first, first + 8) and slots 2 half_ and 2 half_ + 1.
INLINE fragment_a load_a(__local const uint4 *tile, uint first, uint half_, uint lane, const uint size, const bool by_k) {
#if PRECISION == 1 || WAVE == 8
  __local const uint *words = (__local const uint *)tile;
#else
  __local const ushort *halves = (__local const ushort *)tile;
#endif
  uint w[4 * A_QUADS];
  UNROLL for (uint i = 0; i < 4 * A_QUADS; i++) {
#if PRECISION == 1
    w[i] = words[word_at(first + 2 * i + lane / 8, 8 * half_ + lane % 8, size, by_k)];
#elif WAVE == 8
    w[i] = words[word_at(first + i, 8 * half_ + lane, size, by_k)];
#else
    const uint x = halves[2 * word_at(first + 2 * i, 8 * half_ + lane / 2, size, by_k) + lane % 2];
    const uint y = halves[2 * word_at(first + 2 * i + 1, 8 * half_ + lane / 2, size, by_k) + lane % 2];
    w[i] = x | y << 16;
#endif
  }
  fragment_a f;
  UNROLL for (uint i = 0; i < A_QUADS; i++) f.quad[i] = (uint4)(w[4 * i], w[4 * i + 1], w[4 * i + 2], w[4 * i + 3]);
  return f;
}
INLINE fragment_b load_b(__local const uint4 *tile, uint first, uint half_, uint lane, const uint size, const bool by_k) {
  fragment_b f;
  UNROLL for (uint i = 0; i < 2; i++) f.quad[i] = slot_of(tile, first + lane, 2 * half_ + i, size, by_k);
  return f;
}

//------------------------ 2. Instructions ----------------------------------------
#ifndef MMA_EMULATED
#define ATTRIBUTES __attribute__((intel_reqd_sub_group_size(WAVE)))
INLINE sums multiply(fragment_a a, fragment_b b, sums c) {
  const uint8 y = (uint8)(b.quad[0], b.quad[1]);
#if PRECISION == 1
  return intel_sub_group_tf32_tf32_matrix_mad_k8(as_float4(a.quad[0]), as_float8(y), c);
#else
#if WAVE == 8
  const int8 x = as_int8((uint8)(a.quad[0], a.quad[1]));
#else
  const short8 x = as_short8(a.quad[0]);
#endif
#if PRECISION == 2
  return intel_sub_group_bf16_bf16_matrix_mad_k16(x, as_int8(y), c);
#else
  return intel_sub_group_f16_f16_matrix_mad_k16(x, as_int8(y), c);
#endif
#endif
}
#else
#define ATTRIBUTES
// a, b: the sub-group's fragments of one row block of A and one column block of B, `step` words from lane to lane.
INLINE float emulated(__local const uint *a, __local const uint *b, uint step, uint row, uint column, float s) {
  for (uint k = 0; k < 2 * PER_SLOT; k++) {
#if PRECISION == 1
    const float x = shown(a + (row % 2 * 8 + k) * step, row / 2);
#elif WAVE == 8
    const float x = shown(a + k / 2 * step, 2 * row + k % 2);
#else
    const float x = shown(a + k * step, row);
#endif
    s = fma(x, shown(b + column * step, k), s);
  }
  return s;
}
#endif

#include "cl/gemm_staged_tiles.h"
