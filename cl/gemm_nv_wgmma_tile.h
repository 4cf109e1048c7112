// One tile of gemm_nv_wgmma.cl, included once per size: kernels NAME(wgmma_nn), _nt, _tn.
//
// A work-group owns TILE_M x TILE_N of C (of C' for nn in tf32), two times four warps each 64 rows of it. Third dimension: parts of k
// (`split_k` each, a multiple of STEP_K), and in each the members. One barrier per step: behind it everybody's share of this step is there, and
// nobody reads the stage any more that is filled next.
#define SLOTS (STEP_SLOTS * (TILE_M + TILE_N))

// Emulated, a step is multiplied as late as it may be on the device, when the stages that are filled meanwhile have been.
#define TILE_OF(s) (tiles + (s) % STAGES * SLOTS)
#ifdef MMA_EMULATED
#define MULTIPLY_STEP(s)
#define MULTIPLY_LATE(s) \
  if ((int)(s) >= 0) NAME(step)(sum, TILE_OF(s), ta, tb)
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
#else
#define MULTIPLY_STEP(s) NAME(step)(sum, TILE_OF(s), ta, tb)
#define MULTIPLY_LATE(s)
INLINE void NAME(step)(float *sum, __local const uint4 *tile, const bool ta, const bool tb) {
  const uint id = (uint)get_local_id(0), group = id / 128;
  __local const uint4 *b = tile + STEP_SLOTS * TILE_M;
#if PRECISION == 1
  if (ta) {
    uint a[STEP_K / MMA_K][4];
    UNROLL for (uint k = 0; k < STEP_K; k += MMA_K) load_fragment(a[k / MMA_K], tile, id / 32 * 16, k);
    begin();
    UNROLL for (uint k = 0; k < STEP_K; k += MMA_K) MULTIPLY_OF(sum, a[k / MMA_K], factor_at(b, 0, k, tb));
    commit();
    return;
  }
#endif
  begin();
  UNROLL for (uint k = 0; k < STEP_K; k += MMA_K)
      MULTIPLY(sum, factor_at(tile, group * GROUP_M, k, !ta), factor_at(b, 0, k, tb), ta, tb);
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
#if PRECISION == 1
  // Which operands are rounded on the way: what is turned has been.
  const bool hold_a = !ta, hold_b = !ta || swapped;
  uint4 held_a[MOST_SLOTS], held_b[MOST_SLOTS];
#define HOLD(s)                                                          \
  if ((s) < steps) {                                                     \
    if (hold_a) hold(held_a, &from_a, length - (s)*STEP_K, lda, TILE_M); \
    if (hold_b) hold(held_b, &from_b, length - (s)*STEP_K, ldb, TILE_N); \
  }
#define BRING(s)                                                                             \
  if ((s) < steps) {                                                                         \
    __local uint4 *to = TILE_OF(s);                                                          \
    if (hold_a)                                                                              \
      put(to, held_a, &from_a, length - (s)*STEP_K, TILE_M);                                 \
    else                                                                                     \
      bring(&q, to, &from_a, a, length - (s)*STEP_K, lda, TILE_M, !ta);                      \
    if (hold_b)                                                                              \
      put(to + STEP_SLOTS * TILE_M, held_b, &from_b, length - (s)*STEP_K, TILE_N);           \
    else                                                                                     \
      bring(&q, to + STEP_SLOTS * TILE_M, &from_b, b, length - (s)*STEP_K, ldb, TILE_N, tb); \
  }                                                                                          \
  copy_commit(&q)
#else
#define HOLD(s)
#define BRING(s)                                                                           \
  if ((s) < steps) {                                                                       \
    __local uint4 *to = TILE_OF(s);                                                        \
    bring(&q, to, &from_a, a, length - (s)*STEP_K, lda, TILE_M, !ta);                      \
    bring(&q, to + STEP_SLOTS * TILE_M, &from_b, b, length - (s)*STEP_K, ldb, TILE_N, tb); \
  }                                                                                        \
  copy_commit(&q)
#endif
  HOLD(0)
  BRING(0);
  HOLD(1)
  BRING(1);
  HOLD(2)
  // A step whose A is in registers ends before they are loaded anew.
  const uint keep = PRECISION == 1 && ta ? 0 : KEEP;
  for (uint s = 0; s < steps; s++) {
    if (keep)
      finish(1);
    else
      finish(0);
    copy_wait(&q, 1);
    show();
    barrier(CLK_LOCAL_MEM_FENCE);
    MULTIPLY_STEP(s);
    BRING(s + LEAD);
    HOLD(s + LEAD + 1)
    MULTIPLY_LATE(s - keep);
  }
  if (keep) MULTIPLY_LATE(steps - 1);
#undef HOLD
#undef BRING
  finish(0);
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
#undef TILE_N
#undef MULTIPLY
#undef MULTIPLY_OF
#undef SETTLE
#undef NAME
