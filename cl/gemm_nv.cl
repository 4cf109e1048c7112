// Products on NVIDIA's tensor cores: C[e] = op(A[e]) op(B[e]) (+ bias[e]) (+ C[e]), m x n x k, with factors in PRECISION (1 tf32,
// 2 bf16, 3 fp16: brc_precision) and float32 sums. nn: A [m,k], B [k,n].  nt: A [m,k], B [n,k].  tn: A [k,m], B [k,n].
// By the instructions of sm_80 and later, mma.sync; tf32 is rounded on the way into registers (ties away from zero: hardware has no
// other rounding before sm_90). Emulated lane by lane after PTX ISA, "Matrix multiply-accumulate operation".
#define STEP_SLOTS 4
#include "cl/gemm_nv.h"
#include "cl/gemm_copies.h"

#define MMA_K (2 * PER_SLOT)  // of an instruction

//------------------------ 1. Instructions --------------------------------------
#ifndef MMA_EMULATED
INLINE void load_matrices_at(uint *r, __local const uint4 *row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}
INLINE void load_transposed_at(uint *r, __local const uint4 *row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}
// Four 8 x 8 matrices of 16-bit elements (or 8 x 4 of 32-bit ones); `slot`, an expression in `l`, is where lane l's row lies: row l % 8 of
// matrix l / 8.
#define LOAD_MATRICES(r, slots, slot)   \
  {                                     \
    const uint l = lane;                \
    load_matrices_at(r, (slots) + (slot)); \
  }
#define LOAD_TRANSPOSED(r, slots, slot)   \
  {                                       \
    const uint l = lane;                  \
    load_transposed_at(r, (slots) + (slot)); \
  }

#if PRECISION == 1
#define MMA "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32"
#elif PRECISION == 2
#define MMA "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32"
#else
#define MMA "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32"
#endif
INLINE void mma(float *sum, const uint *a, const uint *b) {
  asm volatile(MMA " {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#else
#define LOAD_MATRICES(r, slots, slot)                                            \
  for (uint i_ = 0; i_ < 4; i_++) {                                              \
    const uint l = 8 * i_ + lane / 4;                                            \
    (r)[i_] = ((__local const uint *)((slots) + (slot)))[lane % 4];              \
  }
#define LOAD_TRANSPOSED(r, slots, slot)                                          \
  for (uint i_ = 0; i_ < 4; i_++) {                                              \
    (r)[i_] = 0;                                                                 \
    for (uint h_ = 0; h_ < 2; h_++) {                                            \
      const uint l = 8 * i_ + lane % 4 * 2 + h_;                                 \
      (r)[i_] |= (uint)((__local const ushort *)((slots) + (slot)))[lane / 4] << 16 * h_; \
    }                                                                            \
  }

// Element k of a row of A or of a column of B: of the register that PTX names, in lane 4 x (row or column) + k / elements per
// register, the second half of the registers for the second half of k.
INLINE float mma_factor(__local const uint *regs, uint words, uint line, uint k, uint reg_step) {
#if PRECISION == 1
  return number_of(regs[(line * 4 + k % 4) * words + k / 4 * reg_step]);
#else
  return number_of(regs[(line * 4 + k % 8 / 2) * words + k / 8 * reg_step] >> 16 * (k % 2) & 0xffff);
#endif
}
#endif

//------------------------ 2. Copies of factors ---------------------------------
#if PRECISION == 1
// turned[e][n][ldb] = round(x[e][m][n]), 0 behind column m: as a factor lies along the other dimension. Work-group: 32 x 32 of x by 4 rows of
// work-items; third dimension: members.
__kernel void mma_turn(ARG(x), ARG(copy), const struct brc_gemm_params P) {
  __local float tile[32][33];
  USE(x);
  USE(copy);
  const uint e = (uint)get_group_id(2), m0 = (uint)get_group_id(1) * 32, n0 = (uint)get_group_id(0) * 32;
  const uint lane = (uint)get_local_id(0) % 32, first = (uint)get_local_id(0) / 32;
  x += (ulong)e * P.stride_a;
  copy += (ulong)e * P.stride_b;
  for (uint i = first; i < 32; i += 4)
    tile[i][lane] = m0 + i < P.m && n0 + lane < P.n ? x[(ulong)(m0 + i) * P.lda + n0 + lane] : 0.0f;
  barrier(CLK_LOCAL_MEM_FENCE);
  for (uint i = first; i < 32; i += 4)
    if (n0 + i < P.n && m0 + lane < P.ldb) copy[(ulong)(n0 + i) * P.ldb + m0 + lane] = as_float(bits_of(tile[lane][i]));
}
#endif

//------------------------ 3. Products ------------------------------------------
// Fragments of half a stage: the rows of A from `first` on, 16 by 16.
INLINE void load_a(uint *a, __local const uint4 *tile, uint first, uint half_, uint lane, const bool by_k) {
  if (by_k) {
    LOAD_MATRICES(a, tile, slot_by_k(first + (l & 15), 2 * half_ + (l >> 4)))
  } else {
#if PRECISION == 1
    __local const uint *words = (__local const uint *)tile;
    UNROLL for (uint r = 0; r < 4; r++) {
      const uint k = half_ * MMA_K + lane % 4 + r / 2 * 4, m = first + lane / 4 + r % 2 * 8;
      a[r] = words[slot_along(k, m / 4) * 4 + m % 4];
    }
#else
    LOAD_TRANSPOSED(a, tile, slot_along(half_ * MMA_K + (l & 7) + (l >> 4 << 3), first / 8 + (l >> 3 & 1)))
#endif
  }
#if PRECISION == 1
  UNROLL for (uint r = 0; r < 4; r++) a[r] = to_tf32(a[r]);
#endif
}
// 16 columns of B: two registers for the first 8, two for the others.
INLINE void load_b(uint *b, __local const uint4 *tile, uint first, uint half_, uint lane, const bool by_k) {
  if (by_k) {
    LOAD_MATRICES(b, tile, slot_by_k(first + (l & 7) + (l >> 4 << 3), 2 * half_ + (l >> 3 & 1)))
  } else {
#if PRECISION == 1
    __local const uint *words = (__local const uint *)tile;
    UNROLL for (uint r = 0; r < 4; r++) {
      const uint k = half_ * MMA_K + lane % 4 + r % 2 * 4, n = first + lane / 4 + r / 2 * 8;
      b[r] = words[slot_along(k, n / 4) * 4 + n % 4];
    }
#else
    LOAD_TRANSPOSED(b, tile, slot_along(half_ * MMA_K + (l & 7) + ((l >> 3 & 1) << 3), first / 8 + (l >> 4)))
#endif
  }
#if PRECISION == 1
  UNROLL for (uint r = 0; r < 4; r++) b[r] = to_tf32(b[r]);
#endif
}


// On Hopper wgmma has the others.
#ifndef SMALL_TILES
#define WAIT      1
#define STAGES    3
#define TILE_M    128
#define TILE_N    128
#define WARPS_M   2
#define WARPS_N   2
#define NAME(x)   x##_128x128
#include "cl/gemm_nv_tile.h"

#define WAIT      2
#define STAGES    4
#define TILE_M    128
#define TILE_N    64
#define WARPS_M   2
#define WARPS_N   2
#define NAME(x)   x##_128x64
#include "cl/gemm_nv_tile.h"
#endif

#define WAIT      2
#define STAGES    4
#define TILE_M    64
#define TILE_N    64
#define WARPS_M   2
#define WARPS_N   2
#define NAME(x)   x##_64x64
#include "cl/gemm_nv_tile.h"
