// One tile of gemm_nv_wgmma.cl, included once per size: kernels NAME(wgmma_nn), _nt, _tn.
//
// A work-group owns TILE_M x TILE_N of C (of C' for nn in tf32), two times four warps each 64 rows of it. Third dimension: parts of k
// (`split_k` each, a multiple of STEP_K), and in each the members.
//
// Step s is multiplied while the stages behind it arrive; meanwhile step s + 1 is made ready and begins before s has ended. One barrier
// per step: behind it all of step s + 1 is there, and step s - 1, whose stage is filled next, has ended for everybody.
#define SLOTS (STEP_SLOTS * (TILE_M + TILE_N))
#define LEAD  (STAGES - 1)  // steps that are on their way or multiplied

#define TILE_OF(s) (tiles + (s) % STAGES * SLOTS)
#ifdef MMA_EMULATED
// A step is multiplied as late as it may be on the device.
#define MULTIPLY_STEP(s, h)
#define MULTIPLY_LATE(s) \
  if ((int)(s) >= 0) NAME(step)(sum, TILE_OF(s), ta, tb)
#define TAKE_A(s, h)
INLINE void NAME(step)(float *sum, __local const uint4 *tile, const bool ta, const bool tb) {
  const uint id = (uint)get_local_id(0), lane = id % 32, warp = id / 32;
  for (uint r = 0; r < 2; r++)
    for (uint k = 0; k < STEP_K; k++) {
      const float a = number_of(ROUND_A(factor_at(tile, warp * 16 + lane / 4 + 8 * r, k, !ta)));
      for (uint j = 0; j < TILE_N / 4; j++) {
        const float b =
            number_of(factor_at(tile + STEP_SLOTS * TILE_M, j / 2 * 8 + lane % 4 * 2 + j % 2, k, tb));
        sum[j / 2 * 4 + 2 * r + j % 2] = fma(a, b, sum[j / 2 * 4 + 2 * r + j % 2]);
      }
    }
}
#elif PRECISION == 1
// A's fragments of one step are read while the step before is multiplied with others.
#define MULTIPLY_STEP(s, h) NAME(step)(sum, taken[h], TILE_OF(s))
#define MULTIPLY_LATE(s)
#define TAKE_A(s, h)                               \
  UNROLL for (uint k = 0; k < STEP_K / MMA_K; k++) \
      load_fragment(taken[h][k], TILE_OF(s), id / 32 * 16, k * MMA_K, !ta)
INLINE void NAME(step)(float *sum, uint (*a)[4], __local const uint4 *tile) {
  begin();
  UNROLL for (uint k = 0; k < STEP_K / MMA_K; k++)
      MULTIPLY_OF(sum, a[k], factor_at(tile + STEP_SLOTS * TILE_M, 0, k * MMA_K, true));
  commit();
}
#else
#define MULTIPLY_STEP(s, h) NAME(step)(sum, TILE_OF(s), ta, tb)
#define MULTIPLY_LATE(s)
#define TAKE_A(s, h)
INLINE void NAME(step)(float *sum, __local const uint4 *tile, const bool ta, const bool tb) {
  const uint group = (uint)get_local_id(0) / 128;
  begin();
  UNROLL for (uint k = 0; k < STEP_K; k += MMA_K) MULTIPLY(
      sum, factor_at(tile, group * GROUP_M, k, !ta), factor_at(tile + STEP_SLOTS * TILE_M, 0, k, tb), ta, tb);
  commit();
}
#endif

// a: [rows, k] or, with ta, [k, rows]; b: [k, columns] or, with tb, [columns, k]. Swapped: rows are C's columns.
INLINE void NAME(product)(__global const element *a, uint rows, uint lda, __global const element *b,
                          uint columns, uint ldb, __global const float *bias, __global float *c,
                          __global float *work, const struct brc_gemm_params *P, uint splits, uint split_k,
                          uint row0, uint column0, uint part, __local uint4 *tiles, const bool ta,
                          const bool tb, const bool swapped) {
  const uint id = (uint)get_local_id(0), lane = id % 32;
  const uint k_begin = part / P->batch * split_k, length = min(P->k - k_begin, split_k);
  const uint steps = (length + STEP_K - 1) / STEP_K;
  float sum[TILE_N / 2];
  UNROLL for (uint i = 0; i < TILE_N / 2; i++) sum[i] = 0.0f;
  source from_a, from_b;
  source_of(&from_a, a, row0, rows, k_begin, lda, TILE_M, !ta);
  source_of(&from_b, b, column0, columns, k_begin, ldb, TILE_N, tb);
  copies q = NO_COPIES;
#define BRING(s)                                                                                   \
  if ((s) < steps) {                                                                               \
    bring(&q, TILE_OF(s), &from_a, a, length - (s)*STEP_K, lda, TILE_M, !ta);                      \
    bring(&q, TILE_OF(s) + STEP_SLOTS * TILE_M, &from_b, b, length - (s)*STEP_K, ldb, TILE_N, tb); \
  }                                                                                                \
  copy_commit(&q)
#if PRECISION == 1
#define ROUND_B(s) \
  if (!ta || swapped) round_own(TILE_OF(s) + STEP_SLOTS * TILE_M, &from_b, TILE_N)
#ifndef MMA_EMULATED
  uint taken[SETS][STEP_K / MMA_K][4];
#endif
#else
#define ROUND_B(s)
#endif
  // Two steps ahead of s are on their way at least when it is made ready: those brought so far, but for AHEAD.
#define READY(s)        \
  copy_wait(&q, AHEAD); \
  ROUND_B(s);           \
  show();               \
  barrier(CLK_LOCAL_MEM_FENCE)
  ONCE for (uint s = 0; s < LEAD - 1; s++) { BRING(s); }
  READY(0);
  BRING(LEAD - 1);
  TAKE_A(0, 0);
  ONCE for (uint s0 = 0; s0 < steps; s0 += SETS) UNROLL for (uint h = 0; h < SETS; h++) {
    const uint s = s0 + h;
    if (s >= steps) break;
    MULTIPLY_STEP(s, h);
    finish(1);
    MULTIPLY_LATE(s - 1);
    if (s + 1 == steps) break;
    READY(s + 1);
    BRING(s + LEAD);
    TAKE_A(s + 1, 1 - h);
  }
  finish(0);
  MULTIPLY_LATE(steps - 1);
#undef READY
#undef ROUND_B
#undef BRING
  SETTLE(sum);
  const uint m0 = swapped ? column0 : row0, n0 = swapped ? row0 : column0;
  const way_out w =
      way_out_of(c, bias, work, P, splits, part, m0, n0, swapped ? TILE_N : TILE_M, swapped ? TILE_M : TILE_N);
  UNROLL for (uint j = 0; j < TILE_N / 8; j++) {
    UNROLL for (uint r = 0; r < 2; r++) {
      const uint row = row0 + id / 32 * 16 + lane / 4 + 8 * r, column = column0 + 8 * j + lane % 4 * 2;
      if (swapped) {
        store_one(&w, column, row, sum[4 * j + 2 * r]);
        store_one(&w, column + 1, row, sum[4 * j + 2 * r + 1]);
      } else {
        store_pair(&w, row, column, sum[4 * j + 2 * r], sum[4 * j + 2 * r + 1]);
      }
    }
  }
}

// As a statement of `ta` and `tb` alone, for the compiler to see; in tf32 B is K-major.
#define GEMM(name, ta, tb, swapped)                                                               \
  __kernel __attribute__((reqd_work_group_size(THREADS, 1, 1))) void name(MMA_ARGS) {             \
    __local uint4 tiles[STAGES * SLOTS] __attribute__((aligned(1024)));                           \
    const uint3 here = tile_here();                                                               \
    const uint e = here.z % P.batch;                                                              \
    USE(a);                                                                                       \
    USE(b);                                                                                       \
    USE(bias);                                                                                    \
    USE(c);                                                                                       \
    USE(work);                                                                                    \
    __global const element *of_a = (__global const element *)a + (ulong)e * P.stride_a;           \
    __global const element *of_b = (__global const element *)b + (ulong)e * P.stride_b;           \
    __global const float *of_bias = HAS(bias) ? bias + (ulong)e * P.stride_bias : 0;              \
    c += (ulong)e * P.stride_c;                                                                   \
    if (swapped) NAME(product)                                                                    \
    (of_b, P.n, P.ldb, of_a, P.m, P.lda, of_bias, c, work, &P, splits, split_k, here.x * TILE_M,  \
     here.y * TILE_N, here.z, tiles, ta, tb, true);                                               \
    else NAME(product)(of_a, P.m, P.lda, of_b, P.n, P.ldb, of_bias, c, work, &P, splits, split_k, \
                       here.y * TILE_M, here.x * TILE_N, here.z, tiles, ta, tb, false);           \
  }
#if PRECISION == 1
GEMM(NAME(wgmma_nn), true, true, true)
GEMM(NAME(wgmma_nt), false, true, false)
GEMM(NAME(wgmma_tn), true, true, false)
#else
GEMM(NAME(wgmma_nn), false, false, false)
GEMM(NAME(wgmma_nt), false, true, false)
GEMM(NAME(wgmma_tn), true, false, false)
#endif
#undef GEMM
#undef SLOTS
#undef TILE_OF
#undef MULTIPLY_STEP
#undef MULTIPLY_LATE
#undef TAKE_A
#undef LEAD
#undef STAGES
#undef AHEAD
#undef TILE_N
#undef MULTIPLY
#undef MULTIPLY_OF
#undef SETTLE
#undef NAME
