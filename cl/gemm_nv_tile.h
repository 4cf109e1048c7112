// One tile of gemm_nv.cl, included once per size: kernels NAME(mma_nn), _nt, _tn.
//
// A work-group of WARPS_M x WARPS_N warps owns TILE_M x TILE_N of C; each warp holds its part of it in registers. Third dimension: parts of
// k (`split_k` each, a multiple of STEP_K), and in each the members. Steps of STEP_K lie in STAGES stages in local memory; one is
// multiplied while the next STAGES - 1 are on their way. One barrier per step: behind it, everybody's copies of this step have arrived, and
// nobody reads the stage any more that is filled next.
#define THREADS (32 * WARPS_M * WARPS_N)
#define SLOTS   (STEP_SLOTS * (TILE_M + TILE_N))  // of a stage: A's, then B's
#define PART_M  (TILE_M / WARPS_M)
#define PART_N  (TILE_N / WARPS_N)
#define MM      (PART_M / 16)  // instructions side by side
#define NN      (PART_N / 8)

#ifdef MMA_EMULATED
// What the instructions of a warp do: all lanes show their registers, then each takes what its sums need.
#define SCRATCH_WORDS (4 * MM + 2 * NN)
INLINE void NAME(multiply)(float sum[MM][NN][4], const uint a[MM][4], const uint b[NN][2], __local uint *scratch) {
  const uint id = (uint)get_local_id(0), lane = id % 32;
  for (uint i = 0; i < 4 * MM; i++) scratch[id * SCRATCH_WORDS + i] = a[i / 4][i % 4];
  for (uint i = 0; i < 2 * NN; i++) scratch[id * SCRATCH_WORDS + 4 * MM + i] = b[i / 2][i % 2];
  barrier(CLK_LOCAL_MEM_FENCE);
  __local const uint *warp = scratch + id / 32 * 32 * SCRATCH_WORDS;
  for (uint i = 0; i < MM; i++)
    for (uint c2 = 0; c2 < 2; c2++) {
      float x[MMA_K];
      for (uint k = 0; k < MMA_K; k++) x[k] = mma_factor(warp + 4 * i + c2, SCRATCH_WORDS, lane / 4, k, 2);
      for (uint j = 0; j < NN; j++)
        for (uint c1 = 0; c1 < 2; c1++) {
          float s = sum[i][j][2 * c2 + c1];
          for (uint k = 0; k < MMA_K; k++)
            s = fma(x[k], mma_factor(warp + 4 * MM + 2 * j, SCRATCH_WORDS, lane % 4 * 2 + c1, k, 1), s);
          sum[i][j][2 * c2 + c1] = s;
        }
    }
  barrier(CLK_LOCAL_MEM_FENCE);
}
#else
#define SCRATCH_WORDS 1
INLINE void NAME(multiply)(float sum[MM][NN][4], const uint a[MM][4], const uint b[NN][2], __local uint *scratch) {
  UNROLL for (uint i = 0; i < MM; i++) {
    UNROLL for (uint j = 0; j < NN; j++) mma(sum[i][j], a[i], b[j]);
  }
}
#endif

INLINE void NAME(product)(__global const element *a, __global const element *b, __global const float *bias,
                          __global float *c, __global float *work, const struct brc_gemm_params *P,
                          uint splits, uint split_k, __local uint4 *tiles, __local uint *scratch, const bool ta,
                          const bool tb) {
  const uint lane = (uint)get_local_id(0) % 32, warp = (uint)get_local_id(0) / 32;
  const uint m0 = (uint)get_group_id(1) * TILE_M, n0 = (uint)get_group_id(0) * TILE_N;
  const uint part_m = warp / WARPS_N * PART_M, part_n = warp % WARPS_N * PART_N;
  const uint split = (uint)get_group_id(2) / P->batch;
  const uint k_begin = split * split_k, k_end = min(P->k, k_begin + split_k), steps = (k_end - k_begin + STEP_K - 1) / STEP_K;
  float sum[MM][NN][4];
  UNROLL for (uint i = 0; i < MM; i++) {
    UNROLL for (uint j = 0; j < NN; j++) {
      UNROLL for (uint r = 0; r < 4; r++) sum[i][j][r] = 0.0f;
    }
  }
  copies q = NO_COPIES;
#define BRING_IN(step)                                                                                                 \
  if ((step) < steps) {                                                                                                \
    __local uint4 *to = tiles + (step) % STAGES * SLOTS;                                                               \
    copy_tile(&q, to, a, m0, P->m, k_begin + (step) * STEP_K, k_end, P->lda, TILE_M, THREADS, !ta);                    \
    copy_tile(&q, to + STEP_SLOTS * TILE_M, b, n0, P->n, k_begin + (step) * STEP_K, k_end, P->ldb, TILE_N, THREADS, tb);        \
  }                                                                                                                    \
  copy_commit(&q)
  UNROLL for (uint s = 0; s < STAGES - 1; s++) { BRING_IN(s); }
  for (uint s = 0; s < steps; s++) {
    copy_wait(&q, WAIT);
    barrier(CLK_LOCAL_MEM_FENCE);
    BRING_IN(s + STAGES - 1);
    __local const uint4 *tile = tiles + s % STAGES * SLOTS;
    UNROLL for (uint h = 0; h < 2; h++) {
      uint fa[MM][4], fb[NN][2];
      UNROLL for (uint i = 0; i < MM; i++) load_a(fa[i], tile, part_m + 16 * i, h, lane, !ta);
      UNROLL for (uint j = 0; j < NN; j += 2) load_b(fb[j], tile + STEP_SLOTS * TILE_M, part_n + 8 * j, h, lane, tb);
      NAME(multiply)(sum, fa, fb, scratch);
    }
  }
#undef BRING_IN
  const way_out w = way_out_of(c, bias, work, P, splits, (uint)get_group_id(2), m0, n0, TILE_M, TILE_N);
  UNROLL for (uint i = 0; i < MM; i++) {
    UNROLL for (uint j = 0; j < NN; j++) {
      UNROLL for (uint r = 0; r < 2; r++)
        store_pair(&w, m0 + part_m + 16 * i + 8 * r + lane / 4, n0 + part_n + 8 * j + lane % 4 * 2, sum[i][j][2 * r],
                   sum[i][j][2 * r + 1]);
    }
  }
}

#define GEMM(name, ta, tb)                                                                                     \
  __kernel __attribute__((reqd_work_group_size(THREADS, 1, 1))) void name(MMA_ARGS) {                          \
    __local uint4 tiles[STAGES * SLOTS] __attribute__((aligned(128)));                                         \
    SCRATCH;                                                                                                   \
    const uint e = (uint)get_group_id(2) % P.batch;                                                            \
    USE(a);                                                                                                    \
    USE(b);                                                                                                    \
    USE(bias);                                                                                                 \
    USE(c);                                                                                                    \
    USE(work);                                                                                                 \
    NAME(product)((__global const element *)a + (ulong)e * P.stride_a, (__global const element *)b + (ulong)e * P.stride_b, \
                  HAS(bias) ? bias + (ulong)e * P.stride_bias : 0, c + (ulong)e * P.stride_c, work, &P, splits,     \
                  split_k, tiles, scratch, ta, tb);                                                            \
  }
#ifdef MMA_EMULATED
#define SCRATCH __local uint scratch[THREADS * SCRATCH_WORDS]
#else
#define SCRATCH __local uint *scratch = 0
#endif
GEMM(NAME(mma_nn), false, false)
GEMM(NAME(mma_nt), false, true)
GEMM(NAME(mma_tn), true, false)
#undef GEMM
#undef SCRATCH
#undef SCRATCH_WORDS
#undef THREADS
#undef SLOTS
#undef PART_M
#undef PART_N
#undef MM
#undef NN
#undef WAIT
#undef STAGES
#undef TILE_M
#undef TILE_N
#undef WARPS_M
#undef WARPS_N
#undef NAME
