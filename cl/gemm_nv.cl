// Products on NVIDIA's tensor cores: C[e] = op(A[e]) op(B[e]) (+ bias[e]) (+ C[e]), m x n x k, with factors in PRECISION (1 tf32,
// 2 bf16, 3 fp16: brc_precision) and float32 sums. nn: A [m,k], B [k,n].  nt: A [m,k], B [n,k].  tn: A [k,m], B [k,n].
//
// Factors lie in memory as the tensor cores take them: tf32 as float32, rounded here on the way into registers (ties away from
// zero: hardware has no other rounding before sm_90); bf16 and fp16 as copies that `mma_cast` made. Every row starts on 16 bytes.
//
// MMA_EMULATED, for tests without such a GPU: everything but the PTX instructions themselves runs as it is, and those as their
// description says, lane by lane (PTX ISA, "Matrix multiply-accumulate operation"). 1: asynchronous copies arrive at once; 2: not
// before they are waited for; 3: wrongly on purpose, so that the check of products has something to refuse.
#include "cl/common.h"
#include "cl/precision.h"

#define INLINE static inline __attribute__((always_inline))
#if PRECISION == 1
typedef uint element;  // of factors
#define PER_SLOT 4     // elements in 16 bytes: a slot, the unit of copies and of ldmatrix's rows
#else
typedef ushort element;
#define PER_SLOT 8
#endif
#define STEP_K (4 * PER_SLOT)  // of a stage in local memory
#define MMA_K  (2 * PER_SLOT)  // of an instruction

//------------------------ 1. Instructions --------------------------------------
#ifndef MMA_EMULATED
#define UNROLL _Pragma("unroll")
typedef struct copies {
  uint none;
} copies;
#define NO_COPIES \
  { 0 }
INLINE uint shared_address(__local const void *p) { return (uint)(ulong)p; }
// Start to copy the first `bytes` of a slot; the others become 0.
INLINE void copy_in(copies *q, __local uint4 *to, __global const element *from, uint bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(bytes)
               : "memory");
}
// The copies since the last commit are a group; wait until at most `left` groups are under way.
INLINE void copy_commit(copies *q) { asm volatile("cp.async.commit_group;" ::: "memory"); }
#define COPY_WAIT_(left)    asm volatile("cp.async.wait_group " #left ";" ::: "memory")
#define copy_wait(q, left) COPY_WAIT_(left)

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

INLINE uint to_tf32(uint x) {
  uint r;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(r) : "f"(as_float(x)));
  return r;
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
#define UNROLL
typedef struct copies {
  __local ushort *to[4][16];
  __global const ushort *from[4][16];
  uint bytes[4][16], count[4], newest, done;
} copies;
#define NO_COPIES \
  { .newest = 0 }
INLINE void copy_slot(__local ushort *to, __global const ushort *from, uint bytes) {
  for (uint i = 0; i < 8; i++) to[i] = 2 * i < bytes ? from[i] : (ushort)0;
}
INLINE void copy_in(copies *q, __local uint4 *to, __global const element *from, uint bytes) {
  const uint g = q->newest % 4, i = q->count[g]++;
  q->to[g][i] = (__local ushort *)to;
  q->from[g][i] = (__global const ushort *)from;
  q->bytes[g][i] = bytes;
  if (MMA_EMULATED != 2) copy_slot(q->to[g][i], q->from[g][i], bytes);
}
INLINE void copy_commit(copies *q) { q->count[++q->newest % 4] = 0; }
INLINE void copy_wait(copies *q, uint left) {
  for (; q->newest - q->done > left; q->done++)
    for (uint i = 0; i < q->count[q->done % 4] && MMA_EMULATED == 2; i++)
      copy_slot(q->to[q->done % 4][i], q->from[q->done % 4][i], q->bytes[q->done % 4][i]);
}

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

INLINE uint to_tf32(uint x) { return (x & 0x7f800000) == 0x7f800000 ? x : (x + 0x1000) & 0xffffe000; }

// Element k of a row of A or of a column of B: of the register that PTX names, in lane 4 x (row or column) + k / elements per
// register, the second half of the registers for the second half of k.
INLINE float mma_factor(__local const uint *regs, uint words, uint line, uint k, uint reg_step) {
#if PRECISION == 1
  return as_float(regs[(line * 4 + k % 4) * words + k / 4 * reg_step] & 0xffffe000);
#else
  const uint h = regs[(line * 4 + k % 8 / 2) * words + k / 8 * reg_step] >> 16 * (k % 2) & 0xffff;
#if PRECISION == 2
  return as_float(h << 16);
#else
  const float x = h & 0x7c00 ? as_float(((h & 0x7fff) << 13) + (112u << 23)) : (float)(h & 0x3ff) * 5.9604644775390625e-8f;
  return h & 0x8000 ? -x : x;
#endif
#endif
}
#endif

//------------------------ 2. Copies of factors ---------------------------------
// The bits of a factor.
INLINE uint bits_of(float x) {
  const float y = rounded(x, PRECISION);
  const uint u = as_uint(y);
#if PRECISION == 1
  return u;
#elif PRECISION == 2
  return isnan(y) ? 0x7fc0 : u >> 16;
#else
  const uint a = u & 0x7fffffff, sign = u >> 31 << 15;
  if (isnan(y)) return 0x7e00;
  return sign | (a < 0x38800000 ? (uint)(fabs(y) * 16777216.0f) : (a >> 13) - (112u << 10));
#endif
}

// copy[e][m][ldb] = round(scale_a x[e][m][n]), 0 behind column n. Work-item: a slot; third dimension: members. Rows of x are lda apart,
// members stride_a; members of the copy are stride_b apart, counted in its elements.
__kernel void mma_cast(ARG(x), ARG(copy), const struct brc_gemm_params P) {
  USE(x);
  USE(copy);
  const uint e = (uint)get_group_id(2), slots = P.ldb / PER_SLOT, i = (uint)get_global_id(0);
  const uint row = i / max(slots, 1u), c = i % max(slots, 1u) * PER_SLOT;
  if (row >= P.m) return;
  __global const float *from = x + (ulong)e * P.stride_a + (ulong)row * P.lda + c;
  uint word[4] = {0, 0, 0, 0};
  _Pragma("unroll") for (uint j = 0; j < PER_SLOT; j++) {
    if (c + j < P.n) word[j * 4 / PER_SLOT] |= bits_of(P.scale_a * from[j]) << j % (PER_SLOT / 4) * 16;
  }
  __global element *to = (__global element *)copy + (ulong)e * P.stride_b + (ulong)row * P.ldb + c;
  *(__global uint4 *)to = (uint4)(word[0], word[1], word[2], word[3]);
}

//------------------------ 3. Tiles in local memory -----------------------------
// A stage of an operand is 4 slots for each row of the tile. Where memory is contiguous along k ("by_k"), a row of the tile is 4
// slots; else a row of k is SIZE / PER_SLOT slots. Slots of a row are permuted, so that the 8 rows of a matrix, and the 8
// neighbours that are copied together, lie in different banks.
INLINE uint slot_by_k(uint row, uint chunk) { return row * 4 + (chunk ^ (row >> 1 & 3)); }
INLINE uint slot_along(uint k, uint chunk, uint size) {
  return k * (size / PER_SLOT) + (chunk ^ (PRECISION == 1 ? (k & 3) << 1 : k & 7));
}

// Start to copy `slots` slots per work-item of rows [row0, ..) and k [k0, ..) of an operand; 0 behind the edges.
INLINE void copy_tile(copies *q, __local uint4 *to, __global const element *from, uint row0, uint rows, uint k0,
                      uint k_end, uint ld, const uint size, const uint threads, const bool by_k) {
  UNROLL for (uint u = 0; u < 4 * size / threads; u++) {
    const uint i = (uint)get_local_id(0) + threads * u, per_row = by_k ? 4 : size / PER_SLOT;
    const uint line = i / per_row, chunk = i % per_row;
    const uint row = row0 + (by_k ? line : chunk * PER_SLOT), k = k0 + (by_k ? chunk * PER_SLOT : line);
    const int left = by_k ? (row < rows ? (int)k_end - (int)k : 0) : (k < k_end ? (int)rows - (int)row : 0);
    const uint take = (uint)clamp(left, 0, PER_SLOT);
    copy_in(q, to + (by_k ? slot_by_k(line, chunk) : slot_along(line, chunk, size)),
            from + (take ? (by_k ? (ulong)row * ld + k : (ulong)k * ld + row) : 0), take * (uint)sizeof(element));
  }
}

//------------------------ 4. Products ------------------------------------------
// Fragments of half a stage: the rows of A from `first` on, 16 by 16.
INLINE void load_a(uint *a, __local const uint4 *tile, uint first, uint half_, uint lane, const uint size, const bool by_k) {
  if (by_k) {
    LOAD_MATRICES(a, tile, slot_by_k(first + (l & 15), 2 * half_ + (l >> 4)))
  } else {
#if PRECISION == 1
    __local const uint *words = (__local const uint *)tile;
    UNROLL for (uint r = 0; r < 4; r++) {
      const uint k = half_ * MMA_K + lane % 4 + r / 2 * 4, m = first + lane / 4 + r % 2 * 8;
      a[r] = words[slot_along(k, m / 4, size) * 4 + m % 4];
    }
#else
    LOAD_TRANSPOSED(a, tile, slot_along(half_ * MMA_K + (l & 7) + (l >> 4 << 3), first / 8 + (l >> 3 & 1), size))
#endif
  }
#if PRECISION == 1
  UNROLL for (uint r = 0; r < 4; r++) a[r] = to_tf32(a[r]);
#endif
}
// 16 columns of B: two registers for the first 8, two for the others.
INLINE void load_b(uint *b, __local const uint4 *tile, uint first, uint half_, uint lane, const uint size, const bool by_k) {
  if (by_k) {
    LOAD_MATRICES(b, tile, slot_by_k(first + (l & 7) + (l >> 4 << 3), 2 * half_ + (l >> 3 & 1)))
  } else {
#if PRECISION == 1
    __local const uint *words = (__local const uint *)tile;
    UNROLL for (uint r = 0; r < 4; r++) {
      const uint k = half_ * MMA_K + lane % 4 + r % 2 * 4, n = first + lane / 4 + r / 2 * 8;
      b[r] = words[slot_along(k, n / 4, size) * 4 + n % 4];
    }
#else
    LOAD_TRANSPOSED(b, tile, slot_along(half_ * MMA_K + (l & 7) + ((l >> 3 & 1) << 3), first / 8 + (l >> 4), size))
#endif
  }
#if PRECISION == 1
  UNROLL for (uint r = 0; r < 4; r++) b[r] = to_tf32(b[r]);
#endif
}

// What becomes of two neighbouring sums in row m.
INLINE void store_pair(__global float *c, __global const float *bias, bool has_bias, const struct brc_gemm_params *P,
                       uint m, uint n, float x, float y, float unscale) {
  if (m >= P->m || n >= P->n) return;
  const bool two = n + 1 < P->n;
  __global float *to = c + (ulong)m * P->ldc + n;
  x *= unscale;
  y *= unscale;
  if (has_bias) {
    x += bias[n];
    if (two) y += bias[n + 1];
  }
  if (P->accumulate) {
    x += to[0];
    if (two) y += to[1];
  }
  to[0] = x;
  if (two) to[1] = y;
}

#define MMA_ARGS ARG(a), ARG(b), ARG(bias), ARG(c), ARG(work), const struct brc_gemm_params P, uint splits, uint split_k

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

#define WAIT      2
#define STAGES    4
#define TILE_M    64
#define TILE_N    64
#define WARPS_M   2
#define WARPS_N   2
#define NAME(x)   x##_64x64
#include "cl/gemm_nv_tile.h"

// The sums over parts of k, added in their order: C = work[0] + work[1] + ... Work-item: an element; third dimension: members.
__kernel void mma_sum(ARG(a), ARG(b), ARG(bias), ARG(c), ARG(work), const struct brc_gemm_params P, uint splits) {
  USE(bias);
  USE(c);
  USE(work);
  const uint e = (uint)get_group_id(2), i = (uint)get_global_id(0), m = i / P.n, n = i % P.n;
  if (m >= P.m) return;
  const ulong each = (ulong)P.m * P.n;
  __global const float *from = work + e * each + i;
  float x = from[0];
  for (uint s = 1; s < splits; s++) x += from[(ulong)s * P.batch * each];
  x /= P.scale_a * P.scale_b;
  if (HAS(bias)) x += bias[(ulong)e * P.stride_bias + n];
  c += (ulong)e * P.stride_c + (ulong)m * P.ldc + n;
  *c = x + (P.accumulate ? *c : 0.0f);
}
