// Products on GPUs, included once per tile size: kernels TILE_NAME(gemm_nn), _nt, _tn (arguments as in gemm.cl).
//
// A work-group of 256 owns a square tile of C of 16 TILE_R rows and columns, each work-item TILE_R x TILE_R of it in registers:
// rows side by side, columns 16 apart, so that neighbours write neighbours. Steps of 16 along k lie in local memory as
// [k][row] and [k][column], between two barriers; while one is multiplied, the next is on its way into registers.
#define SIZE        (16 * TILE_R)
#define STEP_K      16
#define LOCAL_PITCH (SIZE + 4)
#define UNROLL      _Pragma("unroll")
#define INLINE      static inline __attribute__((always_inline))
// Left to itself, Intel's compiler takes 16 or 32 work-items per sub-group and spills: as few as the device has.
#ifndef cl_intel_required_subgroup_size
#define SUB_GROUP
#define UNROLL_K _Pragma("unroll 4")
#elif defined(cl_intel_subgroup_matrix_multiply_accumulate_tf32)  // Xe-HPC, Xe2
#define SUB_GROUP __attribute__((intel_reqd_sub_group_size(16)))
#define UNROLL_K  _Pragma("unroll 2")
#else
#define SUB_GROUP __attribute__((intel_reqd_sub_group_size(8)))
#define UNROLL_K  _Pragma("unroll 4")
#endif

// A work-item's u-th element of a step of an operand: its place along the tile and along k. Neighbours read along the
// dimension that is contiguous in memory.
#define ELEMENT(u)          ((uint)get_local_id(0) + 256 * (u))
#define ALONG_TILE(i, by_k) ((by_k) ? (i) / STEP_K : (i) % SIZE)
#define ALONG_K(i, by_k)    ((by_k) ? (i) % STEP_K : (i) / SIZE)

// An element is 0 behind the edges `rows` and `depth`.
INLINE void TILE_NAME(fetch)(float *to, __global const float *from, uint row0, uint rows, uint k0, uint depth,
                             uint ld, const bool by_k, float scale, uint precision) {
  UNROLL for (uint u = 0; u < TILE_R; u++) {
    const uint row = row0 + ALONG_TILE(ELEMENT(u), by_k), k = k0 + ALONG_K(ELEMENT(u), by_k);
    to[u] = 0.0f;
    if (row < rows && k < depth) to[u] = from[by_k ? (ulong)row * ld + k : (ulong)k * ld + row];
#ifdef EMULATE_PRECISION
    to[u] = factor(to[u], scale, precision);
#endif
  }
}
INLINE void TILE_NAME(put)(__local float *to, const float *from, const bool by_k) {
  UNROLL for (uint u = 0; u < TILE_R; u++)
      to[ALONG_K(ELEMENT(u), by_k) * LOCAL_PITCH + ALONG_TILE(ELEMENT(u), by_k)] = from[u];
}

INLINE void TILE_NAME(tile)(__global const float *a, __global const float *b, __global const float *bias,
                            __global float *c, const struct brc_gemm_params *P, bool has_bias, const bool ta,
                            const bool tb, __local float *la, __local float *lb) {
  const uint tx = (uint)get_local_id(0) % 16, ty = (uint)get_local_id(0) / 16;
  const uint n0 = (uint)get_group_id(0) * SIZE, m0 = (uint)get_group_id(1) * SIZE;
  float sum[TILE_R][TILE_R], next_a[TILE_R], next_b[TILE_R];
  UNROLL for (uint i = 0; i < TILE_R; i++) { UNROLL for (uint j = 0; j < TILE_R; j++) sum[i][j] = 0.0f; }
  TILE_NAME(fetch)(next_a, a, m0, P->m, 0, P->k, P->lda, !ta, P->scale_a, P->precision);
  TILE_NAME(fetch)(next_b, b, n0, P->n, 0, P->k, P->ldb, tb, P->scale_b, P->precision);
  for (uint k0 = 0; k0 < P->k; k0 += STEP_K) {
    TILE_NAME(put)(la, next_a, !ta);
    TILE_NAME(put)(lb, next_b, tb);
    barrier(CLK_LOCAL_MEM_FENCE);
    TILE_NAME(fetch)(next_a, a, m0, P->m, k0 + STEP_K, P->k, P->lda, !ta, P->scale_a, P->precision);
    TILE_NAME(fetch)(next_b, b, n0, P->n, k0 + STEP_K, P->k, P->ldb, tb, P->scale_b, P->precision);
    UNROLL_K for (uint k = 0; k < STEP_K; k++) {
      float x[TILE_R], y[TILE_R];
      UNROLL for (uint i = 0; i < TILE_R; i++) x[i] = la[k * LOCAL_PITCH + ty * TILE_R + i];
      UNROLL for (uint j = 0; j < TILE_R; j++) y[j] = lb[k * LOCAL_PITCH + tx + 16 * j];
      UNROLL for (uint i = 0; i < TILE_R; i++) {
        UNROLL for (uint j = 0; j < TILE_R; j++) sum[i][j] = fma(x[i], y[j], sum[i][j]);
      }
    }
    barrier(CLK_LOCAL_MEM_FENCE);
  }
  UNROLL for (uint i = 0; i < TILE_R; i++) {
    UNROLL for (uint j = 0; j < TILE_R; j++) {
      const uint m = m0 + ty * TILE_R + i, n = n0 + tx + 16 * j;
      if (m < P->m && n < P->n) {
        __global float *to = c + (ulong)m * P->ldc + n;
        *to = sum[i][j] + (has_bias ? bias[n] : 0.0f) + (P->accumulate ? *to : 0.0f);
      }
    }
  }
}

#define GEMM(name, ta, tb)                                                                   \
  __kernel __attribute__((reqd_work_group_size(256, 1, 1))) SUB_GROUP void name(GEMM_ARGS) { \
    __local float la[STEP_K * LOCAL_PITCH], lb[STEP_K * LOCAL_PITCH];                        \
    GEMM_USE;                                                                                \
    TILE_NAME(tile)(a, b, bias, c, &P, has_bias, ta, tb, la, lb);                            \
  }
GEMM(TILE_NAME(gemm_nn), false, false)
GEMM(TILE_NAME(gemm_nt), false, true)
GEMM(TILE_NAME(gemm_tn), true, false)
#undef GEMM
#undef SUB_GROUP
#undef ELEMENT
#undef ALONG_TILE
#undef ALONG_K
#undef SIZE
#undef STEP_K
#undef LOCAL_PITCH
#undef UNROLL
#undef UNROLL_K
#undef INLINE
