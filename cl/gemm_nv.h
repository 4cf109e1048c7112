// What the kernels of NVIDIA's tensor cores share: factors in memory, their way into local memory, C's way out. Before it is included:
// PRECISION, and STEP_SLOTS, the slots of a step along k.
//
// MMA_EMULATED, for tests without such a GPU: everything but the PTX instructions themselves runs as it is, and those as their
// description says. An asynchronous copy spoils its destination when it begins and arrives when it is waited for, so that a stage filled
// too early, or read too early, shows.
#ifndef BRC_CL_GEMM_NV_H
#define BRC_CL_GEMM_NV_H
#include "cl/gemm_factors.h"
#define STEP_K (STEP_SLOTS * PER_SLOT)  // of a stage in local memory

//------------------------ 1. Copies to local memory ----------------------------
#ifndef MMA_EMULATED
#define UNROLL _Pragma("unroll")
#define ONCE   _Pragma("unroll 1")
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

INLINE uint to_tf32(uint x) {
  uint r;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(r) : "f"(as_float(x)));
  return r;
}

#else
#define UNROLL
#define ONCE
typedef struct copies {
  __local ushort *to[8][16];
  __global const ushort *from[8][16];
  uint bytes[8][16], count[8], newest, done;
} copies;
#define NO_COPIES \
  { .newest = 0 }
INLINE void copy_in(copies *q, __local uint4 *to, __global const element *from, uint bytes) {
  const uint g = q->newest % 8, i = q->count[g]++;
  q->to[g][i] = (__local ushort *)to;
  q->from[g][i] = (__global const ushort *)from;
  q->bytes[g][i] = bytes;
  *to = (uint4)(0xffffffff);  // NaN
}
INLINE void copy_commit(copies *q) { q->count[++q->newest % 8] = 0; }
INLINE void copy_wait(copies *q, uint left) {
  for (; q->newest - q->done > left; q->done++)
    for (uint g = q->done % 8, i = 0; i < q->count[g]; i++)
      for (uint j = 0; j < 8; j++) q->to[g][i][j] = 2 * j < q->bytes[g][i] ? q->from[g][i][j] : (ushort)0;
}

INLINE uint to_tf32(uint x) { return (x & 0x7f800000) == 0x7f800000 ? x : (x + 0x1000) & 0xffffe000; }
#endif

//------------------------ 2. Tiles in local memory -----------------------------
// A stage of an operand is STEP_SLOTS slots for each row of the tile. Where memory is contiguous along k ("by_k"), those are a row of the
// tile; else ("along") 8 slots are a row of k, for 128 bytes of the tile's rows, then come the next ones. Slots are permuted within
// 128 bytes, so that the 8 rows of a matrix, and the 8 neighbours that are copied together, lie in different banks. These are
// the layouts that wgmma's descriptors call K-major, swizzled by the bytes of a row, and MN-major, swizzled by 128 bytes.
INLINE uint slot_by_k(uint row, uint chunk) {
  return row * STEP_SLOTS + (chunk ^ (row / (8 / STEP_SLOTS) & (STEP_SLOTS - 1)));
}
INLINE uint slot_along(uint k, uint chunk) {
  return (chunk / 8 * STEP_K + k) * 8 + (chunk % 8 ^ (PRECISION == 1 ? (k & 3) << 1 : k & 7));
}

// Start to copy a stage: rows [row0, ..) and k [k0, ..) of an operand; 0 behind the edges.
INLINE void copy_tile(copies *q, __local uint4 *to, __global const element *from, uint row0, uint rows, uint k0,
                      uint k_end, uint ld, const uint size, const uint threads, const bool by_k) {
  UNROLL for (uint u = 0; u < STEP_SLOTS * size / threads; u++) {
    const uint i = (uint)get_local_id(0) + threads * u, per_row = by_k ? STEP_SLOTS : size / PER_SLOT;
    const uint line = i / per_row, chunk = i % per_row;
    const uint row = row0 + (by_k ? line : chunk * PER_SLOT), k = k0 + (by_k ? chunk * PER_SLOT : line);
    const int left = by_k ? (row < rows ? (int)k_end - (int)k : 0) : (k < k_end ? (int)rows - (int)row : 0);
    const uint take = (uint)clamp(left, 0, PER_SLOT);
    copy_in(q, to + (by_k ? slot_by_k(line, chunk) : slot_along(line, chunk)),
            from + (take ? (by_k ? (ulong)row * ld + k : (ulong)k * ld + row) : 0), take * (uint)sizeof(element));
  }
}

//------------------------ 3. The way out ---------------------------------------
// Where sums go, and what becomes of them. Parts of k go to `work` as they are: [part][m][n], parts by split, then member.
typedef struct way_out {
  __global float *c;
  __global const float *bias;  // 0: none
  uint m, n, ldc;              // of C
  bool accumulate, inside;     // inside: the tile is, and neighbours are aligned
  float unscale;
} way_out;
INLINE way_out way_out_of(__global float *c, __global const float *bias, __global float *work,
                          const struct brc_gemm_params *P, uint splits, uint part, uint m0, uint n0, uint tile_m,
                          uint tile_n) {
  way_out w = {c, bias, P->m, P->n, P->ldc, P->accumulate, false, 1.0f / (P->scale_a * P->scale_b)};
  if (splits > 1) {
    w.c = work + (ulong)part * P->m * P->n;
    w.bias = 0;
    w.ldc = P->n;
    w.accumulate = false;
    w.unscale = 1.0f;
  }
  w.inside = m0 + tile_m <= P->m && n0 + tile_n <= P->n && !((w.ldc | (uint)((ulong)w.c >> 2)) & 1);
  return w;
}
INLINE void store_one(const way_out *w, uint m, uint n, float x) {
  __global float *to = w->c + (ulong)m * w->ldc + n;
  if (!w->inside && (m >= w->m || n >= w->n)) return;
  x *= w->unscale;
  if (w->bias) x += w->bias[n];
  *to = w->accumulate ? x + *to : x;
}
// Two neighbouring sums in row m.
INLINE void store_pair(const way_out *w, uint m, uint n, float x, float y) {
  __global float *to = w->c + (ulong)m * w->ldc + n;
  float2 v = (float2)(x, y) * w->unscale;
  if (w->inside) {
    if (w->bias) v += (float2)(w->bias[n], w->bias[n + 1]);
    if (w->accumulate) v += *(__global float2 *)to;
    *(__global float2 *)to = v;
  } else if (m < w->m && n < w->n) {
    const bool two = n + 1 < w->n;
    if (w->bias) v += (float2)(w->bias[n], two ? w->bias[n + 1] : 0.0f);
    if (w->accumulate) v += (float2)(to[0], two ? to[1] : 0.0f);
    to[0] = v.x;
    if (two) to[1] = v.y;
  }
}
#endif
