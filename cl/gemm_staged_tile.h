// One tile of gemm_staged_tiles.h: kernels NAME(mma_nn), _nt, _tn.
//
// A work-group of WAVES_M x WAVES_N waves owns TILE_M x TILE_N of C, each wave a part of it in registers. Third dimension: parts of k (`split_k` each, a
// multiple of STEP_K), and in each the members. Local memory holds two steps along k: while one is multiplied, the next is on its way
// into registers, from where it goes into the other. One barrier per step: behind it everybody's part of this step is there, and
// nobody reads the other any more.
//
// Instructions multiply UNIT_M rows of A by UNIT_N columns of B over two slots along k, by a wave of WAVE lanes. A lane holds fragments of
// A_QUADS and B_QUADS times 16 bytes, which load_a and load_b take from local memory, and SUMS sums (type `sums`): number v in row
// row_of(lane, v) and column lane % UNIT_N. There are WAVES_M x WAVES_N waves. ATTRIBUTES: of the kernels.
#define SLOTS   (STEP_SLOTS * (TILE_M + TILE_N))  // of a step: A's, then B's
#define PART_M  (TILE_M / WAVES_M)
#define PART_N  (TILE_N / WAVES_N)
#define MM      (PART_M / UNIT_M)  // instructions side by side
#define NN      (PART_N / UNIT_N)

#ifdef MMA_EMULATED
#define SHOWN         (4 * (A_QUADS * MM + B_QUADS * NN))  // words of a lane
#define SCRATCH_WORDS (THREADS * SHOWN)
INLINE void NAME(multiply)(sums sum[MM][NN], const fragment_a a[MM], const fragment_b b[NN], __local uint *scratch) {
  const uint id = (uint)get_local_id(0), lane = id % WAVE;
  __local uint4 *mine = (__local uint4 *)(scratch + id * SHOWN);
  for (uint i = 0; i < MM * A_QUADS; i++) mine[i] = a[i / A_QUADS].quad[i % A_QUADS];
  for (uint i = 0; i < NN * B_QUADS; i++) mine[MM * A_QUADS + i] = b[i / B_QUADS].quad[i % B_QUADS];
  barrier(CLK_LOCAL_MEM_FENCE);
  __local const uint *wave = scratch + id / WAVE * WAVE * SHOWN;
  for (uint i = 0; i < MM; i++)
    for (uint j = 0; j < NN; j++)
      for (uint v = 0; v < SUMS; v++)
        sum[i][j][v] = emulated(wave + 4 * A_QUADS * i, wave + 4 * (A_QUADS * MM + B_QUADS * j), SHOWN, row_of(lane, v),
                                lane % UNIT_N, sum[i][j][v]);
  barrier(CLK_LOCAL_MEM_FENCE);
}
#else
#define SCRATCH_WORDS 4
INLINE void NAME(multiply)(sums sum[MM][NN], const fragment_a a[MM], const fragment_b b[NN], __local uint *scratch) {
  UNROLL for (uint i = 0; i < MM; i++) {
    UNROLL for (uint j = 0; j < NN; j++) sum[i][j] = multiply(a[i], b[j], sum[i][j]);
  }
}
#endif

INLINE void NAME(product)(const source *a, const source *b, __global const float *bias, __global float *c,
                          __global float *work, const struct brc_gemm_params *P, bool has_bias, uint splits, uint k_begin,
                          __local uint4 *tiles, __local uint *scratch, const bool ta, const bool tb) {
  const uint lane = (uint)get_local_id(0) % WAVE, wave = (uint)get_local_id(0) / WAVE;
  const uint part_m = wave / WAVES_N * PART_M, part_n = wave % WAVES_N * PART_N;
  const uint steps = (a->k_end - k_begin + STEP_K - 1) / STEP_K;
  uint4 next_a[EACH(TILE_M)], next_b[EACH(TILE_N)];
  sums sum[MM][NN];
  UNROLL for (uint i = 0; i < MM; i++) {
    UNROLL for (uint j = 0; j < NN; j++) sum[i][j] = (sums)(0.0f);
  }
#define FETCH(step)                                                                \
  fetch(next_a, a, k_begin + (step) * STEP_K, TILE_M, !ta);               \
  fetch(next_b, b, k_begin + (step) * STEP_K, TILE_N, tb)
#define PUT(step)                                                                              \
  put(tiles + (step) % 2 * SLOTS, next_a, a, k_begin + (step) * STEP_K, TILE_M, !ta); \
  put(tiles + (step) % 2 * SLOTS + STEP_SLOTS * TILE_M, next_b, b, k_begin + (step) * STEP_K, TILE_N, tb)
  FETCH(0);
  PUT(0);
  uint s = 0;
  do {  // at least once: compilers keep the sums twice for the other case
    barrier(CLK_LOCAL_MEM_FENCE);
    if (s + 1 < steps) { FETCH(s + 1); }
    __local const uint4 *tile = tiles + s % 2 * SLOTS;
    UNROLL for (uint h = 0; h < STEP_SLOTS / 2; h++) {
      fragment_a fa[MM];
      fragment_b fb[NN];
      UNROLL for (uint i = 0; i < MM; i++) fa[i] = load_a(tile, part_m + UNIT_M * i, h, lane, TILE_M, !ta);
      UNROLL for (uint j = 0; j < NN; j++) fb[j] = load_b(tile + STEP_SLOTS * TILE_M, part_n + UNIT_N * j, h, lane, TILE_N, tb);
      NAME(multiply)(sum, fa, fb, scratch);
    }
    if (s + 1 < steps) { PUT(s + 1); }
  } while (++s < steps);
#undef FETCH
#undef PUT
  // Parts of k go to `work` as they are: [split][member][m][n].
  struct brc_gemm_params to = *P;
  float unscale = 1.0f / (P->scale_a * P->scale_b);
  if (splits > 1) {
    c = work + (ulong)get_group_id(2) * P->m * P->n;
    to.ldc = P->n;
    to.accumulate = 0;
    has_bias = false;
    unscale = 1.0f;
  }
  UNROLL for (uint i = 0; i < MM; i++) {
    UNROLL for (uint j = 0; j < NN; j++) {
      UNROLL for (uint v = 0; v < SUMS; v++)
        store(c, bias, has_bias, &to, a->row0 + part_m + UNIT_M * i + row_of(lane, v), b->row0 + part_n + UNIT_N * j + lane % UNIT_N,
              sum[i][j][v] * unscale);
    }
  }
}

#define GEMM(name, ta, tb)                                                                                          \
  __kernel __attribute__((reqd_work_group_size(THREADS, 1, 1))) ATTRIBUTES void name(MMA_ARGS) {                    \
    __local uint4 tiles[2 * SLOTS];                                                                                 \
    SCRATCH;                                                                                                        \
    const uint e = (uint)get_group_id(2) % P.batch, k_begin = (uint)get_group_id(2) / P.batch * split_k;            \
    const uint k_end = min(P.k, k_begin + split_k);                                                                 \
    USE(a);                                                                                                         \
    USE(b);                                                                                                         \
    USE(bias);                                                                                                      \
    USE(c);                                                                                                         \
    USE(work);                                                                                                      \
    const source from_a = {(__global const element *)a + (ulong)e * P.stride_a, (uint)get_group_id(1) * TILE_M, P.m, \
                           k_end, P.lda},                                                                           \
                 from_b = {(__global const element *)b + (ulong)e * P.stride_b, (uint)get_group_id(0) * TILE_N, P.n, \
                           k_end, P.ldb};                                                                           \
    NAME(product)(&from_a, &from_b, bias + (ulong)e * P.stride_bias, c + (ulong)e * P.stride_c, work, &P, HAS(bias), \
                  splits, k_begin, tiles, scratch, ta, tb);                                                         \
  }
#ifdef MMA_EMULATED
#define SCRATCH __local uint scratch[SCRATCH_WORDS] __attribute__((aligned(16)))
#else
#define SCRATCH __local uint *scratch = 0
#endif
GEMM(NAME(mma_nn), false, false)
GEMM(NAME(mma_nt), false, true)
GEMM(NAME(mma_tn), true, false)
#undef GEMM
#undef SCRATCH
#undef SCRATCH_WORDS
#undef SHOWN
#undef SLOTS
#undef PART_M
#undef PART_N
#undef MM
#undef NN
#undef TILE_M
#undef TILE_N
#undef NAME
