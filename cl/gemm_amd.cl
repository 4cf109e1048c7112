// Products on AMD's matrix units: C[e] = op(A[e]) op(B[e]) (+ bias[e]) (+ C[e]), m x n x k, with factors in PRECISION (1 tf32, 2 bf16,
// 3 fp16: brc_precision) and float32 sums. nn: A [m,k], B [k,n].  nt: A [m,k], B [n,k].  tn: A [k,m], B [k,n].
//
// UNITS: 1 MFMA (CDNA2 and later; tf32, called xf32, on gfx940 to gfx942), 2 WMMA of RDNA3, 3 WMMA of RDNA4. They differ in which lane
// holds what ("AMD matrix instruction calculator", the ISA documents' chapters on MFMA and WMMA); the rest is one code. In all of them
// lane l holds, of A, one row, and of B, one column, l % UNIT of a UNIT x UNIT matrix, and along k some elements that depend on
// l / UNIT alone. Sums do not care which elements of k meet in which step if A and B agree: so a lane simply takes whole slots of 16 bytes.
//
// MMA_EMULATED, for tests without such a GPU: everything but the instructions themselves runs as it is, and those lane by lane.
#include "cl/gemm_factors.h"
#ifndef MMA_EMULATED
#pragma OPENCL EXTENSION cl_khr_fp16 : enable
#endif

#define MFMA   1
#define WMMA   2
#define WMMA12 3

//------------------------ 1. Instructions --------------------------------------
// A fragment: UNIT rows of A, or columns of B, times two slots along k. One slot in the lanes of each half of the wave; on RDNA3
// both, the same in both halves.
#if UNITS == MFMA
#define WAVE       64
#define UNIT       32
#define FRAG_SLOTS 1
typedef float16 sums;
#else
#define WAVE 32
#define UNIT 16
#if UNITS == WMMA
#define FRAG_SLOTS 2
#else
#define FRAG_SLOTS 1
#endif
typedef float8 sums;
#endif
#define SUMS (UNIT * UNIT / WAVE)
typedef struct fragment {
  uint4 slot[FRAG_SLOTS];
} fragment;

// Sum v of a lane is in column lane % UNIT and in this row.
INLINE uint row_of(uint lane, uint v) {
#if UNITS == MFMA
  return v / 4 * 8 + lane / 32 * 4 + v % 4;
#elif UNITS == WMMA
  return 2 * v + lane / 16;
#else
  return lane / 16 * 8 + v;
#endif
}

#ifndef MMA_EMULATED
#define UNROLL _Pragma("unroll")
INLINE sums multiply(fragment a, fragment b, sums c) {
#if UNITS == MFMA
#if PRECISION == 1
  c = __builtin_amdgcn_mfma_f32_32x32x4_xf32(as_float2(a.slot[0].lo), as_float2(b.slot[0].lo), c, 0, 0, 0);
  return __builtin_amdgcn_mfma_f32_32x32x4_xf32(as_float2(a.slot[0].hi), as_float2(b.slot[0].hi), c, 0, 0, 0);
#elif PRECISION == 2
  c = __builtin_amdgcn_mfma_f32_32x32x8bf16_1k(as_short4(a.slot[0].lo), as_short4(b.slot[0].lo), c, 0, 0, 0);
  return __builtin_amdgcn_mfma_f32_32x32x8bf16_1k(as_short4(a.slot[0].hi), as_short4(b.slot[0].hi), c, 0, 0, 0);
#else
  c = __builtin_amdgcn_mfma_f32_32x32x8f16(as_half4(a.slot[0].lo), as_half4(b.slot[0].lo), c, 0, 0, 0);
  return __builtin_amdgcn_mfma_f32_32x32x8f16(as_half4(a.slot[0].hi), as_half4(b.slot[0].hi), c, 0, 0, 0);
#endif
#elif UNITS == WMMA
  const uint8 x = (uint8)(a.slot[0], a.slot[1]), y = (uint8)(b.slot[0], b.slot[1]);
#if PRECISION == 2
  return __builtin_amdgcn_wmma_f32_16x16x16_bf16_w32(as_short16(x), as_short16(y), c);
#else
  return __builtin_amdgcn_wmma_f32_16x16x16_f16_w32(as_half16(x), as_half16(y), c);
#endif
#elif PRECISION == 2
  return __builtin_amdgcn_wmma_f32_16x16x16_bf16_w32_gfx12(as_short8(a.slot[0]), as_short8(b.slot[0]), c);
#else
  return __builtin_amdgcn_wmma_f32_16x16x16_f16_w32_gfx12(as_half8(a.slot[0]), as_half8(b.slot[0]), c);
#endif
}
#else
#define UNROLL
// What the lanes of a wave show each other: fragment f of lane l is at (l * fragments + f).
INLINE float shown(__local const uint *slot, uint k) {
  return number_of(slot[k / (PER_SLOT / 4)] >> k % (PER_SLOT / 4) * 16 & (PRECISION == 1 ? 0xffffffff : 0xffff));
}
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

#define THREADS 256
#define WAVES_M 2
#define WAVES_N (THREADS / WAVE / WAVES_M)

//------------------------ 2. Tiles in local memory -----------------------------
// A step along k is STEP_SLOTS slots for each row of a tile. Where memory is contiguous along k ("by_k"), the slots lie as they are, a
// row's four permuted so that 8 rows lie in different banks. Else ("along") words do, each two neighbours along k (tf32: one
// element): [word][row].
#define STEP_SLOTS 4
#define STEP_K     (STEP_SLOTS * PER_SLOT)
#define PER_WORD   (PER_SLOT / 4)
INLINE uint slot_by_k(uint row, uint chunk) { return row * STEP_SLOTS + (chunk ^ (row >> 1 & 3)); }

// An operand: rows [row0, ..) of `rows`, k up to k_end.
typedef struct source {
  __global const element *from;
  uint row0, rows, k_end, ld;
} source;
// Slots of a step that a work-item brings: `along`, slots u and u + 1 are neighbours along k, and with few rows some have none.
#define EACH(size) (STEP_SLOTS * (size) / THREADS > PER_WORD ? STEP_SLOTS * (size) / THREADS : PER_WORD)
INLINE uint each(const uint size, const bool by_k) {
  return by_k ? STEP_SLOTS * size / THREADS : EACH(size);
}
INLINE uint slot_row(uint u, const uint size, const bool by_k) {
  const uint i = (uint)get_local_id(0) + THREADS * (by_k ? u : u / PER_WORD);
  return by_k ? i / STEP_SLOTS : i % (size / PER_SLOT) * PER_SLOT;
}
INLINE uint slot_k(uint u, const uint size, const bool by_k) {
  const uint i = (uint)get_local_id(0) + THREADS * (by_k ? u : u / PER_WORD);
  return by_k ? i % STEP_SLOTS * PER_SLOT : i / (size / PER_SLOT) * PER_WORD + u % PER_WORD;
}

// Bring the step that begins at k0 into registers; what is behind an edge is anything.
INLINE void fetch(uint4 *to, const source *s, uint k0, const uint size, const bool by_k) {
  UNROLL for (uint u = 0; u < each(size, by_k); u++) {
    const uint row = s->row0 + slot_row(u, size, by_k), k = k0 + slot_k(u, size, by_k);
    const ulong at = by_k ? (ulong)row * s->ld + k : (ulong)k * s->ld + row;
    to[u] = *(__global const uint4 *)(s->from + (row < s->rows && k < s->k_end ? at : 0));
  }
}

// 0 behind the end of k. Rows behind the edge may be anything, as nobody stores what becomes of them. Copies of factors have zeros
// behind their rows' ends, float32 may have anything.
INLINE uint4 valid(uint4 x, uint k, uint k_end, const bool by_k) {
#if PRECISION == 1
  uint word[4] = {x.x, x.y, x.z, x.w};
  UNROLL for (uint j = 0; j < 4; j++) word[j] = k + (by_k ? j : 0) < k_end ? nearest_tf32(word[j]) : 0;
  return (uint4)(word[0], word[1], word[2], word[3]);
#else
  return k < k_end ? x : (uint4)(0);
#endif
}

// Two rows of k become words: element j of both.
INLINE uint2 words_of(uint x, uint y) { return (uint2)((x & 0xffff) | y << 16, x >> 16 | (y & 0xffff0000)); }

// Put it into local memory.
INLINE void put(__local uint4 *to, const uint4 *from, const source *s, uint k0, const uint size,
                const bool by_k) {
  UNROLL for (uint u = 0; u < each(size, by_k); u += by_k ? 1 : PER_WORD) {
    const uint row = slot_row(u, size, by_k), k = slot_k(u, size, by_k);
    if (k >= STEP_K) break;
    const uint4 x = valid(from[u], k0 + k, s->k_end, by_k);
    if (by_k) {
      to[slot_by_k(row, k / PER_SLOT)] = x;
    } else {
      __local uint4 *at = to + (k / PER_WORD * size + row) / 4;
#if PRECISION == 1
      at[0] = x;
#else
      const uint4 y = valid(from[u + 1], k0 + k + 1, s->k_end, by_k);
      at[0] = (uint4)(words_of(x.x, y.x), words_of(x.y, y.y));
      at[1] = (uint4)(words_of(x.z, y.z), words_of(x.w, y.w));
#endif
    }
  }
}

// The fragment of rows [first, first + UNIT) and slots 2 half_ and 2 half_ + 1.
INLINE fragment load(__local const uint4 *tile, uint first, uint half_, uint lane, const uint size, const bool by_k) {
  const uint row = first + lane % UNIT;
  __local const uint *words = (__local const uint *)tile + row;
  fragment f;
  UNROLL for (uint i = 0; i < FRAG_SLOTS; i++) {
    const uint slot = 2 * half_ + (FRAG_SLOTS == 2 ? i : lane / UNIT);
    if (by_k)
      f.slot[i] = tile[slot_by_k(row, slot)];
    else
      f.slot[i] = (uint4)(words[4 * slot * size], words[(4 * slot + 1) * size], words[(4 * slot + 2) * size],
                          words[(4 * slot + 3) * size]);
  }
  return f;
}

//------------------------ 3. Products ------------------------------------------
INLINE void store(__global float *c, __global const float *bias, bool has_bias, const struct brc_gemm_params *P, uint m,
                  uint n, float x) {
  if (m >= P->m || n >= P->n) return;
  __global float *to = c + (ulong)m * P->ldc + n;
  *to = x + (has_bias ? bias[n] : 0.0f) + (P->accumulate ? *to : 0.0f);
}

#define TILE_M  128
#define TILE_N  128
#define NAME(x) x##_128x128
#include "cl/gemm_amd_tile.h"

#define TILE_M  128
#define TILE_N  64
#define NAME(x) x##_128x64
#include "cl/gemm_amd_tile.h"

#define TILE_M  64
#define TILE_N  64
#define NAME(x) x##_64x64
#include "cl/gemm_amd_tile.h"
