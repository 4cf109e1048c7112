// Products on AMD's matrix units: C[e] = op(A[e]) op(B[e]) (+ bias[e]) (+ C[e]), m x n x k, with factors in PRECISION (1 tf32, 2 bf16,
// 3 fp16: brc_precision) and float32 sums. nn: A [m,k], B [k,n].  nt: A [m,k], B [n,k].  tn: A [k,m], B [k,n].
//
// UNITS: 1 MFMA (CDNA2 and later; tf32, called xf32, on gfx940 to gfx942), 2 WMMA of RDNA3, 3 WMMA of RDNA4. They differ in which lane
// holds what ("AMD matrix instruction calculator", the ISA documents' chapters on MFMA and WMMA); the rest is one code. In all of them
// lane l holds, of A, one row, and of B, one column, l % UNIT of a UNIT x UNIT matrix, and along k some elements that depend on
// l / UNIT alone. Sums do not care which elements of k meet in which step if A and B agree: so a lane simply takes whole slots of 16 bytes.
//
// MMA_EMULATED, for tests without such a GPU: everything but the instructions themselves runs as it is, and those lane by lane.
#include "cl/gemm_staged.h"
#ifndef MMA_EMULATED
#pragma OPENCL EXTENSION cl_khr_fp16 : enable
#endif

#define MFMA   1
#define WMMA   2
#define WMMA12 3

//------------------------ 1. Who holds what -------------------------------------
// MFMA and RDNA4: one slot in the lanes of each half of the wave. RDNA3: both, the same in both halves.
#if UNITS == MFMA
#define WAVE    64
#define UNIT    32
#define A_QUADS 1
typedef float16 sums;
#else
#define WAVE 32
#define UNIT 16
#if UNITS == WMMA
#define A_QUADS 2
#else
#define A_QUADS 1
#endif
typedef float8 sums;
#endif
#define UNIT_M  UNIT
#define UNIT_N  UNIT
#define B_QUADS A_QUADS
#define SUMS    (UNIT * UNIT / WAVE)
#define WAVES_M 2
#define WAVES_N (THREADS / WAVE / WAVES_M)
#define ATTRIBUTES
typedef struct fragment {
  uint4 quad[A_QUADS];
} fragment;
typedef fragment fragment_a;
typedef fragment fragment_b;

INLINE uint row_of(uint lane, uint v) {
#if UNITS == MFMA
  return v / 4 * 8 + lane / 32 * 4 + v % 4;
#elif UNITS == WMMA
  return 2 * v + lane / 16;
#else
  return lane / 16 * 8 + v;
#endif
}

// Rows [first, first + UNIT) and slots 2 half_ and 2 half_ + 1.
INLINE fragment load(__local const uint4 *tile, uint first, uint half_, uint lane, const uint size, const bool by_k) {
  fragment f;
  UNROLL for (uint i = 0; i < A_QUADS; i++)
    f.quad[i] = slot_of(tile, first + lane % UNIT, 2 * half_ + (A_QUADS == 2 ? i : lane / UNIT), size, by_k);
  return f;
}
#define load_a load
#define load_b load

//------------------------ 2. Instructions ----------------------------------------
#ifndef MMA_EMULATED
INLINE sums multiply(fragment a, fragment b, sums c) {
#if UNITS == MFMA
#if PRECISION == 1
  c = __builtin_amdgcn_mfma_f32_32x32x4_xf32(as_float2(a.quad[0].lo), as_float2(b.quad[0].lo), c, 0, 0, 0);
  return __builtin_amdgcn_mfma_f32_32x32x4_xf32(as_float2(a.quad[0].hi), as_float2(b.quad[0].hi), c, 0, 0, 0);
#elif PRECISION == 2
  c = __builtin_amdgcn_mfma_f32_32x32x8bf16_1k(as_short4(a.quad[0].lo), as_short4(b.quad[0].lo), c, 0, 0, 0);
  return __builtin_amdgcn_mfma_f32_32x32x8bf16_1k(as_short4(a.quad[0].hi), as_short4(b.quad[0].hi), c, 0, 0, 0);
#else
  c = __builtin_amdgcn_mfma_f32_32x32x8f16(as_half4(a.quad[0].lo), as_half4(b.quad[0].lo), c, 0, 0, 0);
  return __builtin_amdgcn_mfma_f32_32x32x8f16(as_half4(a.quad[0].hi), as_half4(b.quad[0].hi), c, 0, 0, 0);
#endif
#elif UNITS == WMMA
  const uint8 x = (uint8)(a.quad[0], a.quad[1]), y = (uint8)(b.quad[0], b.quad[1]);
#if PRECISION == 2
  return __builtin_amdgcn_wmma_f32_16x16x16_bf16_w32(as_short16(x), as_short16(y), c);
#else
  return __builtin_amdgcn_wmma_f32_16x16x16_f16_w32(as_half16(x), as_half16(y), c);
#endif
#elif PRECISION == 2
  return __builtin_amdgcn_wmma_f32_16x16x16_bf16_w32_gfx12(as_short8(a.quad[0]), as_short8(b.quad[0]), c);
#else
  return __builtin_amdgcn_wmma_f32_16x16x16_f16_w32_gfx12(as_half8(a.quad[0]), as_half8(b.quad[0]), c);
#endif
}
#else
// a, b: the wave's fragments of one row block of A and one column block of B, `step` words from lane to lane.
INLINE float emulated(__local const uint *a, __local const uint *b, uint step, uint row, uint column, float s) {
  for (uint part = 0; part < 2; part++) {
#if UNITS == WMMA
    // Both halves of the wave must hold the same.
    __local const uint *x = a + (row + 16 * (column & 1)) * step + 4 * part, *y = b + (column + 16 * (row & 1)) * step + 4 * part;
#else
    __local const uint *x = a + (row + UNIT * part) * step, *y = b + (column + UNIT * part) * step;
#endif
    for (uint k = 0; k < PER_SLOT; k++) s = fma(shown(x, k), shown(y, k), s);
  }
  return s;
}
#endif

#include "cl/gemm_staged_tiles.h"
