// Row kernels of the host backend. Compiled once per instruction set (BRC_ISA: baseline, avx2, avx512); the vector width
// follows from the compiler's target. Loops over columns go in vectors of `LANES` floats and end in one partial vector, so
// that columns behind `cols` are never read into a result and padding is never written.
//
// Sums over columns are kept per lane and folded in a fixed order; sums over rows go in row order.
#include "backends/host/kernels.h"

#include "backends/host/vector.h"

#include <math.h>
#include <string.h>
//------------------------ 1. Numbers -------------------------------------------
// Lane by lane: mask ? a : b, with masks of all or no bits from comparisons.
INLINE vf choose(vi mask, vf a, vf b) { return (vf)(((vi)a & mask) | ((vi)b & ~mask)); }
INLINE vi lanes_below(uint32_t n) {
  vi id;
  for (int i = 0; i < LANES; i++) id[i] = i;
  return id < (int32_t)(n > LANES ? LANES : n);
}
INLINE vf vmax(vf a, vf b) {
  return choose(b > a, b, a);
}  // a NaN in `a` stays, so that it shows in the losses
INLINE vf vmin(vf a, vf b) { return choose(b < a, b, a); }
INLINE vf vabs(vf a) { return (vf)((vi)a & 0x7fffffff); }
INLINE vf vsqrt(vf a) {
#if defined(__AVX512F__)
  return (vf)_mm512_sqrt_ps((__m512)a);
#elif defined(__AVX2__)
  return (vf)_mm256_sqrt_ps((__m256)a);
#else
  for (int i = 0; i < LANES; i++) a[i] = sqrtf(a[i]);
  return a;
#endif
}

// Sum and maximum over the lanes, in halves.
INLINE float fold_sum(vf x) {
#define HALF(d) x += SECOND##d(x, x);
  STAGES(HALF)
#undef HALF
  return x[0];
}
INLINE float fold_max(vf x) {
#define HALF(d) x = vmax(x, SECOND##d(x, x));
  STAGES(HALF)
#undef HALF
  return x[0];
}

// exp: 2^n times a polynomial on [-ln 2 / 2, ln 2 / 2]; 0 below -87.3, held at exp(88) above. Relative error below 2e-7.
INLINE vf vexp(vf x) {
  vi gone = x < -87.3f;
  x = vmin(vmax(x, splat(-87.3f)), splat(88.0f));
  vf magic = splat(12582912.0f), n = (x * 1.44269504f + magic) - magic;  // rounded to an integer
  vf r = x - n * 0.693359375f;
  r = r + n * 2.12194440e-4f;
  vf p = splat(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  vi scale = ((vi)(n + splat(12582912.0f + 127.0f))) << 23;  // the integer lies in the low bits of the sum
  return (vf)((vi)(p * (vf)scale) & ~gone);
}

// log of a positive normal number: exponent and a polynomial on [sqrt(1/2), sqrt(2)). Relative error below 2e-7.
INLINE vf vlog(vf x) {
  vi bits = (vi)x - 0x3f3504f3, e = bits >> 23;
  vf m = (vf)((bits & 0x007fffff) + 0x3f3504f3) - 1.0f, z = m * m;
  vf n = (vf)(e + 0x4b400000) - 12582912.0f;  // to float, exactly
  vf p = splat(7.0376836292e-2f);
  p = p * m - 1.1514610310e-1f;
  p = p * m + 1.1676998740e-1f;
  p = p * m - 1.2420140846e-1f;
  p = p * m + 1.4249322787e-1f;
  p = p * m - 1.6668057665e-1f;
  p = p * m + 2.0000714765e-1f;
  p = p * m - 2.4999993993e-1f;
  p = p * m + 3.3333331174e-1f;
  vf y = m * z * p - n * 2.12194440e-4f - 0.5f * z;
  return m + y + n * 0.693359375f;
}

INLINE vf vtanh(vf x) {
  vf a = vmin(vabs(x), splat(10.0f)), z = x * x;
  vf p = splat(-5.70498872745e-3f);
  p = p * z + 2.06390887954e-2f;
  p = p * z - 5.37397155531e-2f;
  p = p * z + 1.33314422036e-1f;
  p = p * z - 3.33332819422e-1f;
  vf small = x + x * z * p;
  vf large = 1.0f - 2.0f / (vexp(a + a) + 1.0f);
  large = (vf)((vi)large | ((vi)x & (int32_t)0x80000000));
  return choose(a < 0.625f, small, large);
}

// 1 - tanh(u)², without cancellation at large |u|.
INLINE vf tanh_slope(vf u) {
  vf z = vexp(-2.0f * vabs(u)), d = 1.0f + z;
  return 4.0f * z / (d * d);
}

// log(1 + exp(x)).
INLINE vf softplus(vf x) { return vmax(x, splat(0.0f)) + vlog(1.0f + vexp(-vabs(x))); }

INLINE float *row(const brc_host_view *v, uint32_t e, uint32_t r) {
  return v->data + (v->members == 1 ? 0 : e * v->stride) + (uint64_t)r * v->pitch;
}
INLINE uint32_t least(uint32_t a, uint32_t b) { return a < b ? a : b; }

//------------------------ 2. Products -----------------------------------------
// A tile of C, TILE_M rows by up to TILE_V vectors, stays in registers over a piece of k: per step one broadcast of A per row
// and one load of B per vector. A comes from its rows (rs = lda, cs = 1), or packed [k][TILE_M] (rs = 1) when transposed. B is
// read in place where that is safe and its rows do not fall onto the same cache sets; otherwise from a packed panel.
#if LANES == 16
#define TILE_M       8
#define TILE_V       3
#define FOR_ROWS(X)  X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)
#define FOR_TILES(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8)
#else
#define TILE_M       6
#define TILE_V       2
#define FOR_ROWS(X)  X(0) X(1) X(2) X(3) X(4) X(5)
#define FOR_TILES(X) X(1) X(2) X(3) X(4) X(5) X(6)
#endif
#define TILE_N (TILE_V * LANES)
_Static_assert(TILE_N <= BRC_HOST_BLOCK_N, "a panel fits the scratch");

typedef struct tile {
  uint32_t k, last;                  // last: columns of the last vector
  uint32_t fetch;                    // rows of `next` for every 8 steps
  const float *a, *b, *bias, *next;  // next: rows of B that a later tile reads, to be fetched into L2 meanwhile
  float *c;
  size_t rs, ldb, ldc, ld_next;
  bool add;  // to what is in C
} tile;

INLINE void tile_product(const uint32_t rows, const uint32_t vectors, const bool packed, const tile *t) {
  const uint32_t end = (vectors - 1) * LANES;
#define ZERO(i) vf x##i = {0}, y##i = {0}, z##i = {0};
  FOR_ROWS(ZERO)
#undef ZERO
  if (t->add) {
#define FETCH(i)                                                    \
  if (i < rows) {                                                   \
    const float *q = t->c + i * t->ldc;                             \
    vf q_last = load_n(q + end, t->last);                           \
    x##i = vectors > 1 ? load(q) : q_last;                          \
    if (vectors > 1) y##i = vectors > 2 ? load(q + LANES) : q_last; \
    if (vectors > 2) z##i = q_last;                                 \
  }
    FOR_ROWS(FETCH)
#undef FETCH
  }
  const float *a = t->a, *b = t->b, *next = t->next;
  const size_t rs = packed ? 1 : t->rs, cs = packed ? TILE_M : 1, ldb = t->ldb;
  for (uint32_t p = 0, stop = 0; p < t->k;) {
    stop = t->k - p < 8 ? t->k : p + 8;
    for (uint32_t i = 0; i < t->fetch; i++, next += t->ld_next)
      for (uint32_t j = 0; j < vectors; j++) __builtin_prefetch(next + j * LANES, 0, 2);
    for (; p < stop; p++, a += cs, b += ldb) {
      vf u = load(b), v = vectors > 1 ? load(b + LANES) : u, w = vectors > 2 ? load(b + 2 * LANES) : u;
#define STEP(i)                     \
  if (i < rows) {                   \
    vf s = splat_at(a + i * rs);    \
    x##i += u * s;                  \
    if (vectors > 1) y##i += v * s; \
    if (vectors > 2) z##i += w * s; \
  }
      FOR_ROWS(STEP)
#undef STEP
    }
  }
  vf bias_x = {0}, bias_y = {0}, bias_z = {0};
  if (t->bias) {
    vf q_last = load_n(t->bias + end, t->last);
    bias_x = vectors > 1 ? load(t->bias) : q_last;
    if (vectors > 1) bias_y = vectors > 2 ? load(t->bias + LANES) : q_last;
    if (vectors > 2) bias_z = q_last;
  }
#define KEEP(i)                                                                  \
  if (i < rows) {                                                                \
    float *q = t->c + i * t->ldc;                                                \
    if (t->bias) {                                                               \
      x##i += bias_x;                                                            \
      if (vectors > 1) y##i += bias_y;                                           \
      if (vectors > 2) z##i += bias_z;                                           \
    }                                                                            \
    if (vectors > 1) store(q, x##i);                                             \
    if (vectors > 2) store(q + LANES, y##i);                                     \
    store_n(q + end, vectors == 1 ? x##i : vectors == 2 ? y##i : z##i, t->last); \
  }
  FOR_ROWS(KEEP)
#undef KEEP
}

// One function per number of rows, vectors and layout of A.
typedef void tile_fn(const tile *t);
// clang-format off
#define TILE_FN(rows, vectors, packed) \
  static void tile_##rows##x##vectors##_##packed(const tile *t) { tile_product(rows, vectors, packed, t); }
#define TILE_FNS(i) \
  TILE_FN(i, 1, 0) TILE_FN(i, 2, 0) TILE_FN(i, 3, 0) TILE_FN(i, 1, 1) TILE_FN(i, 2, 1) TILE_FN(i, 3, 1)
#define TILE_ROW(i) \
  {{tile_##i##x1_0, tile_##i##x1_1}, {tile_##i##x2_0, tile_##i##x2_1}, {tile_##i##x3_0, tile_##i##x3_1}},
FOR_TILES(TILE_FNS)
static tile_fn *const tile_fns[TILE_M][3][2] = {FOR_TILES(TILE_ROW)};
// clang-format on

// A panel of packed A is [k][TILE_M]; between panels is a gap, so that they do not fall onto the same cache sets.
enum { GAP = 16 };
INLINE size_t panel_a(uint32_t i, uint32_t k) { return (size_t)(i / TILE_M) * (k * TILE_M + GAP); }

// A[p][i] of rows i < m, all of a row at once: rows lie far apart, and come from memory that nothing has touched for long.
static void pack_a(const float *a, size_t lda, uint32_t m, uint32_t k, float *out) {
  const uint32_t whole = m / TILE_M * TILE_M;
  for (uint32_t p = 0; p < k; p++) {
    const float *from = a + p * lda;
    for (uint32_t i = 0; i < m; i += 16) __builtin_prefetch(from + 8 * lda + i);
    for (uint32_t i = 0; i < whole; i += TILE_M)
      memcpy(out + panel_a(i, k) + p * TILE_M, from + i, sizeof(float) * TILE_M);
    for (uint32_t i = whole; i < m; i++) out[panel_a(whole, k) + p * TILE_M + i - whole] = from[i];
  }
}

// The nearest number whose bits below `bit` are zero, ties to even.
INLINE vf round_at(vf x, const int bit) {
  vu u = (vu)x;
  u += ((1u << (bit - 1)) - 1) + (u >> bit & 1);
  return (vf)(u & -(1u << bit));
}
// A NaN stays one. Below 2^-14 the step of fp16 is 2^-24: adding 0.75 leaves float32 no finer one.
INLINE vf to_precision(vf x, const brc_precision precision) {
  const float most = precision == BRC_TF32 ? 0x1.ffcp127f : precision == BRC_BF16 ? 0x1.fep127f : 65504;
  vf y = vmin(vmax(x, splat(-most)), splat(most));
  if (precision == BRC_FP16)
    y = choose(vabs(y) < 0x1p-14f, (y + 0.75f) - 0.75f, round_at(y, 13));
  else
    y = round_at(y, precision == BRC_TF32 ? 13 : 16);
  return choose(x == x, y, x);
}
INLINE void round_in(const float *x, size_t n, const brc_precision precision, float scale, float *out) {
  const float unscale = 1 / scale;
  for (size_t i = 0; i < n; i += LANES) {
    const uint32_t left = n - i < LANES ? (uint32_t)(n - i) : LANES;
    store_n(out + i, to_precision(load_n(x + i, left) * scale, precision) * unscale, left);
  }
}
// To `out`, which may be x.
static void round_factor(const float *x, size_t n, brc_host_rounding round, float *out) {
  if (round.precision == BRC_TF32) round_in(x, n, BRC_TF32, round.scale, out);
  if (round.precision == BRC_BF16) round_in(x, n, BRC_BF16, round.scale, out);
  if (round.precision == BRC_FP16) round_in(x, n, BRC_FP16, round.scale, out);
}

// n <= TILE_N columns of B to [p][width]; what lies behind n is zero.
static void pack_b(const float *b, size_t ldb, uint32_t k, uint32_t n, uint32_t width, float *out) {
  for (uint32_t p = 0; p < k; p++)
    for (uint32_t j = 0; j < width; j += LANES)
      store(out + p * width + j, j < n ? load_n(b + p * ldb + j, n - j) : splat(0));
}

// out[c * ld_out + r] = in[r * ld_in + c], in blocks of LANES x LANES, along the rows of `in`: LANES streams that the hardware
// fetches ahead.
INLINE void transpose_block(const float *in, size_t ld_in, float *out, size_t ld_out, uint32_t rows,
                            uint32_t cols, const bool whole) {
  vf v[LANES];
  for (uint32_t i = 0; i < LANES; i++)
    v[i] = whole ? load(in + i * ld_in) : load_n(in + (i < rows ? i : 0) * ld_in, cols);
  transpose_lanes(v);
  for (uint32_t i = 0; i < LANES; i++) {
    if (whole)
      store(out + i * ld_out, v[i]);
    else if (i < cols)
      store_n(out + i * ld_out, v[i], rows);
  }
}

static void transpose(const float *in, size_t ld_in, float *out, size_t ld_out, uint32_t rows, uint32_t cols) {
  for (uint32_t r = 0; r < rows; r += LANES)
    for (uint32_t c = 0; c < cols; c += LANES) {
      const float *from = in + r * ld_in + c;
      float *to = out + c * ld_out + r;
      if (rows - r >= LANES && cols - c >= LANES)
        transpose_block(from, ld_in, to, ld_out, LANES, LANES, true);
      else
        transpose_block(from, ld_in, to, ld_out, rows - r, cols - c, false);
    }
}

// The transposed B: rows j of B are columns of the panel.
static void pack_bt(const float *b, size_t ldb, uint32_t k, uint32_t n, uint32_t width, float *out) {
  transpose(b, ldb, out, width, n, k);
  for (uint32_t p = 0; n < width && p < k; p++)
    for (uint32_t j = n; j < width; j++) out[p * width + j] = 0;
}

// May rows of B be read a whole vector beyond column n?
static bool readable(const brc_host_product *p) {
  return p->n % LANES == 0 || (p->ldb % LANES == 0 && ((uintptr_t)p->b & (4 * LANES - 1)) == 0);
}

// Columns [j, j + n) of rows [k0, k0 + k) of B, wherever they lie.
INLINE const float *panel_at(const brc_host_product *p, uint32_t k0, uint32_t k, uint32_t j, uint32_t n,
                             uint32_t width, bool direct, float *space, size_t *ld) {
  *ld = width;
  if (p->b_packed) return p->b + (size_t)j * p->k + (size_t)k0 * width;
  if (direct) {
    *ld = p->ldb;
    return p->b + (size_t)k0 * p->ldb + j;
  }
  if (p->tb)
    pack_bt(p->b + (size_t)j * p->ldb + k0, p->ldb, k, n, width, space);
  else
    pack_b(p->b + (size_t)k0 * p->ldb + j, p->ldb, k, n, width, space);
  round_factor(space, (size_t)k * width, p->round_b, space);
  return space;
}

// Columns of the panel that begins with `left` still to come: as even as whole vectors allow, since a tile of one vector
// loads more than it computes.
INLINE uint32_t panel_columns(uint32_t left) {
  const uint32_t vectors = (left + LANES - 1) / LANES;
  return TILE_V > 2 && vectors == 4 ? 2 * LANES : least(left, TILE_N);
}

static void product_block(const brc_host_product *p, const uint32_t k0, const uint32_t k, float *space,
                          bool direct) {
  // While the tiles of a panel are computed, the rows of the next one are fetched, `fetch` of them every 8 steps.
  const uint32_t m = p->m, tiles = (m + TILE_M - 1) / TILE_M, fetch = (8 + tiles - 1) / tiles,
                 ahead = fetch * ((k + 7) / 8);
  for (uint32_t j = 0, n; j < p->n; j += n) {
    n = panel_columns(p->n - j);
    const uint32_t vectors = (n + LANES - 1) / LANES, width = vectors * LANES;
    tile t = {.k = k,
              .fetch = fetch,
              .last = n - (vectors - 1) * LANES,
              .ldc = p->ldc,
              .add = k0 > 0 || p->accumulate,
              .bias = p->bias && k0 + k == p->k ? p->bias + j : NULL,
              .rs = p->lda};
    t.b = panel_at(p, k0, k, j, n, width, direct, space, &t.ldb);
    const float *next = t.b;
    if (j + n < p->n) next = p->b_packed ? t.b + (size_t)width * p->k : direct ? t.b + n : t.b;
    t.ld_next = t.ldb;
    for (uint32_t i = 0, row = 0; i < m; i += TILE_M, row += ahead) {
      t.a = p->a + (p->ta ? panel_a(i, k) : i * p->lda);
      t.c = p->c + i * p->ldc + j;
      t.next = next + (row < k ? row : 0) * t.ld_next;
      tile_fns[least(TILE_M, m - i) - 1][vectors - 1][p->ta](&t);
    }
  }
}

// A as the tiles read it: in place, or packed, or rounded; then p->lda is that of the copy.
_Static_assert(BRC_HOST_BLOCK_M *(BRC_HOST_BLOCK_K + GAP) <= BRC_HOST_PACKED_A, "rounded rows fit as well");
static const float *prepare_a(brc_host_product *p, const float *a, uint32_t k, float *out) {
  const size_t lda = p->lda, ld = BRC_ROUND_UP(k, (uint32_t)LANES) + GAP;
  if (p->ta) {
    pack_a(a, lda, p->m, k, out);
    round_factor(out, panel_a(p->m + TILE_M - 1, k), p->round_a, out);
    return out;
  }
  if (p->round_a.precision == BRC_FP32) return a;
  for (uint32_t i = 0; i < p->m; i++) round_factor(a + i * lda, k, p->round_a, out + i * ld);
  p->lda = ld;
  return out;
}

static void product(const brc_host_product *whole) {
  float *packed_a = whole->scratch, *space = packed_a + BRC_HOST_PACKED_A;
  const bool rounded = whole->round_a.precision != BRC_FP32,
             direct = !rounded && !whole->tb && !whole->b_packed && readable(whole);
  // Panels stay in L2. Rows of B in place, 2 KB or more apart, fall onto few of its sets: the fewer the further.
  const bool large = !whole->ta && !rounded && (whole->b_packed || (direct && whole->ldb < 512));
  const uint32_t most_k = large                          ? 2 * BRC_HOST_BLOCK_K
                          : direct && whole->ldb >= 1024 ? BRC_HOST_BLOCK_K / 2
                                                         : BRC_HOST_BLOCK_K;
  for (uint32_t i = 0; i < whole->m; i += BRC_HOST_BLOCK_M) {
    const float *a = whole->a + (whole->ta ? i : i * whole->lda);
    for (uint32_t k0 = 0; k0 < whole->k; k0 += most_k) {
      const uint32_t k = least(most_k, whole->k - k0);
      brc_host_product p = *whole;
      p.m = least(BRC_HOST_BLOCK_M, whole->m - i);
      p.c += i * p.ldc;
      p.a = prepare_a(&p, a + (p.ta ? k0 * p.lda : k0), k, packed_a);
      product_block(&p, k0, k, space, direct);
    }
  }
}

static void op_transpose(const brc_host_op *op, uint32_t e, uint32_t r0, uint32_t r1, float *scratch) {
  (void)scratch;
  transpose(row(&op->in[0], e, r0), op->in[0].pitch, row(&op->out[0], e, 0) + r0, op->out[0].pitch, r1 - r0,
            op->in[0].cols);
}

// The panels that begin in rows [n0, n1) of B [n, k].
static void pack_transposed(const float *b, size_t ldb, uint32_t n, uint32_t k, uint32_t n0, uint32_t n1,
                            brc_host_rounding round, float *out) {
  for (uint32_t j = 0, cols; j < n1; j += cols) {
    cols = panel_columns(n - j);
    if (j < n0) continue;
    const uint32_t width = (cols + LANES - 1) / LANES * LANES;
    float *panel = out + (size_t)j * k;
    pack_bt(b + j * ldb, ldb, k, cols, width, panel);
    round_factor(panel, (size_t)k * width, round, panel);
  }
}
// Rows [k0, k1) of B [k, n] to its panels.
static void pack(const float *b, size_t ldb, uint32_t n, uint32_t k, uint32_t k0, uint32_t k1,
                 brc_host_rounding round, float *out) {
  for (uint32_t p = k0; p < k1; p++)
    for (uint32_t j = 0, cols; j < n; j += cols) {
      cols = panel_columns(n - j);
      const uint32_t width = (cols + LANES - 1) / LANES * LANES;
      float *to = out + (size_t)j * k + (size_t)p * width;
      pack_b(b + p * ldb + j, 0, 1, cols, width, to);
      round_factor(to, width, round, to);
    }
}
INLINE brc_host_rounding rounding_of(const brc_host_op *op, float scale) {
  return (brc_host_rounding){(brc_precision)op->params.dense.precision, scale};
}
static void op_pack(const brc_host_op *op, uint32_t e, uint32_t k0, uint32_t k1, float *scratch) {
  (void)scratch;
  pack(row(&op->in[0], e, 0), op->in[0].pitch, op->in[0].cols, op->in[0].rows, k0, k1,
       rounding_of(op, op->params.dense.scale_b), row(&op->out[0], e, 0));
}
static void op_pack_transposed(const brc_host_op *op, uint32_t e, uint32_t r0, uint32_t r1, float *scratch) {
  (void)scratch;
  pack_transposed(row(&op->in[0], e, 0), op->in[0].pitch, op->in[0].rows, op->in[0].cols, r0, r1,
                  rounding_of(op, op->params.dense.scale_b), row(&op->out[0], e, 0));
}

// Rows of C are what ranges count: of the batch for dense and dense_dx, of the kernel for dense_dw.
INLINE void run_product(const brc_host_op *op, const brc_host_view *a, const brc_host_view *b,
                        const brc_host_view *bias, bool ta, bool tb, bool packed, uint32_t k, uint32_t e,
                        uint32_t r0, uint32_t r1, float *scratch) {
  const brc_host_view *c = &op->out[0];
  brc_host_product p = {.round_a = rounding_of(op, op->params.dense.scale_a),
                        .round_b = rounding_of(op, op->params.dense.scale_b),
                        .ta = ta,
                        .tb = tb,
                        .b_packed = packed,
                        .accumulate = op->params.dense.accumulate,
                        .m = r1 - r0,
                        .n = c->cols,
                        .k = k,
                        .a = row(a, e, 0) + (ta ? (size_t)r0 : (size_t)r0 * a->pitch),
                        .b = row(b, e, 0),
                        .c = row(c, e, r0),
                        .bias = bias && bias->data ? row(bias, e, 0) : NULL,
                        .lda = a->pitch,
                        .ldb = b->pitch,
                        .ldc = c->pitch,
                        .scratch = scratch};
  op->product(&p);
}
static void op_dense(const brc_host_op *op, uint32_t e, uint32_t r0, uint32_t r1, float *scratch) {
  run_product(op, &op->in[0], &op->in[1], &op->in[2], false, false, op->b == BRC_HOST_B_PACKED, op->in[0].cols,
              e, r0, r1, scratch);
}
static void op_dense_dx(const brc_host_op *op, uint32_t e, uint32_t r0, uint32_t r1, float *scratch) {
  run_product(op, &op->in[0], &op->in[1], NULL, false, op->b == BRC_HOST_B_PLAIN, op->b == BRC_HOST_B_PACKED,
              op->in[0].cols, e, r0, r1, scratch);
}
static void op_dense_dw(const brc_host_op *op, uint32_t e, uint32_t r0, uint32_t r1, float *scratch) {
  run_product(op, &op->in[0], &op->in[1], NULL, true, false, op->b == BRC_HOST_B_PACKED, op->in[0].rows, e, r0,
              r1, scratch);
}

//------------------------ 3. LayerNorm ----------------------------------------
// Several rows at once hide the latency of folding their sums; what is computed for a row does not depend on its company. Rows
// 4 KB apart fall onto the same cache sets: then fewer.
INLINE uint32_t rows_at_once(uint32_t left, uint32_t pitch) {
  return left >= 4 && pitch % 1024 ? 4 : left >= 2 ? 2 : 1;
}

INLINE void norm_some(const brc_host_op *op, uint32_t e, uint32_t r, const uint32_t rows, const bool relu,
                      const bool with_residual) {
  const uint32_t n = op->in[0].cols, even = n / (2 * LANES) * (2 * LANES);
  const size_t px = op->in[0].pitch, py = op->out[0].pitch, pr = with_residual ? op->in[3].pitch : 0;
  const float *x = row(&op->in[0], e, r), *residual = with_residual ? row(&op->in[3], e, r) : NULL;
  const float *scale = row(&op->in[1], e, 0), *bias = row(&op->in[2], e, 0), share = 1.0f / (float)n;
  float *y = row(&op->out[0], e, r), mean[4], rstd[4];
  vf s[4][2] = {{{0}}};
  for (uint32_t c = 0; c < even; c += 2 * LANES)
    for (uint32_t i = 0; i < rows; i++) {
      s[i][0] += load(x + i * px + c);
      s[i][1] += load(x + i * px + c + LANES);
    }
  for (uint32_t c = even; c < n; c += LANES)
    for (uint32_t i = 0; i < rows; i++) s[i][0] += load_n(x + i * px + c, n - c);
  for (uint32_t i = 0; i < rows; i++) {
    mean[i] = fold_sum(s[i][0] + s[i][1]) * share;
    s[i][0] = s[i][1] = splat(0.0f);
  }
  for (uint32_t c = 0; c < even; c += 2 * LANES)
    for (uint32_t i = 0; i < rows; i++) {
      vf d0 = load(x + i * px + c) - mean[i], d1 = load(x + i * px + c + LANES) - mean[i];
      s[i][0] += d0 * d0;
      s[i][1] += d1 * d1;
    }
  for (uint32_t c = even; c < n; c += LANES)
    for (uint32_t i = 0; i < rows; i++) {
      vf d = (vf)((vi)(load_n(x + i * px + c, n - c) - mean[i]) & lanes_below(n - c));
      s[i][0] += d * d;
    }
  for (uint32_t i = 0; i < rows; i++) {
    rstd[i] = 1.0f / sqrtf(fold_sum(s[i][0] + s[i][1]) * share + op->params.norm.eps);
    *row(&op->out[1], e, r + i) = mean[i];
    *row(&op->out[2], e, r + i) = rstd[i];
  }
  for (uint32_t c = 0; c < n; c += LANES) {
    const uint32_t left = n - c;
    vf w = load_n(scale + c, left), b = load_n(bias + c, left);
    for (uint32_t i = 0; i < rows; i++) {
      vf v = (load_n(x + i * px + c, left) - mean[i]) * rstd[i] * w + b;
      if (relu) v = vmax(v, splat(0.0f));
      if (with_residual) v += load_n(residual + i * pr + c, left);
      store_n(y + i * py + c, v, left);
    }
  }
}

INLINE void norm_rows(const brc_host_op *op, uint32_t e, uint32_t r0, uint32_t r1, const bool relu,
                      const bool residual) {
  for (uint32_t r = r0, k; r < r1; r += k) {
    k = rows_at_once(r1 - r, op->in[0].pitch);
    if (k == 4)
      norm_some(op, e, r, 4, relu, residual);
    else if (k == 2)
      norm_some(op, e, r, 2, relu, residual);
    else
      norm_some(op, e, r, 1, relu, residual);
  }
}
static void op_norm(const brc_host_op *op, uint32_t e, uint32_t r0, uint32_t r1, float *scratch) {
  (void)scratch;
  const bool relu = op->params.norm.relu, residual = op->in[3].data != NULL;
  if (relu && !residual)
    norm_rows(op, e, r0, r1, true, false);
  else if (!relu && residual)
    norm_rows(op, e, r0, r1, false, true);
  else
    norm_rows(op, e, r0, r1, relu, residual);
}

// g: the gradient behind the relu, which was open where norm's v, the same number here, is positive.
INLINE vf norm_g(vf dy, vf xhat, vf scale, vf bias, const bool relu) {
  return relu ? (vf)((vi)dy & (xhat * scale + bias > 0.0f)) : dy;
}

// The sums over the block's rows are loaded and stored once for `rows` rows, and added in row order: sum + row 0 + row 1 ...
INLINE void norm_backward_some(const brc_host_op *op, uint32_t e, uint32_t r, const uint32_t rows,
                               const bool relu, float *partial, const bool first) {
  const uint32_t n = op->in[1].cols, part = op->params.norm_backward.pitch;
  const size_t pg = op->in[0].pitch, px = op->in[1].pitch, pd = op->out[0].pitch;
  const float *dy = row(&op->in[0], e, r), *x = row(&op->in[1], e, r), share = 1.0f / (float)n;
  const float *scale = row(&op->in[4], e, 0), *bias = relu ? row(&op->in[5], e, 0) : NULL;
  float *dx = row(&op->out[0], e, r), mean[4], rstd[4], mean_gs[4], mean_gs_xhat[4];
  vf a[4] = {{0}}, b[4] = {{0}};
  for (uint32_t i = 0; i < rows; i++) {
    mean[i] = *row(&op->in[2], e, r + i);
    rstd[i] = *row(&op->in[3], e, r + i);
  }
  for (uint32_t c = 0; c < n; c += LANES) {
    const uint32_t left = n - c;
    vf w = load_n(scale + c, left), shift = relu ? load_n(bias + c, left) : splat(0.0f);
    for (uint32_t i = 0; i < rows; i++) {
      vf d = load_n(x + i * px + c, left) - mean[i];
      vf gs = norm_g(load_n(dy + i * pg + c, left), d * rstd[i], w, shift, relu) * w;
      a[i] += gs;
      b[i] += gs * d;  // behind n: gs is 0
    }
  }
  for (uint32_t i = 0; i < rows; i++) {
    mean_gs[i] = fold_sum(a[i]) * share;
    mean_gs_xhat[i] = fold_sum(b[i]) * share * rstd[i];
  }
  for (uint32_t c = 0; c < n; c += LANES) {
    const uint32_t left = n - c;
    vf w = load_n(scale + c, left), shift = relu ? load_n(bias + c, left) : splat(0.0f);
    vf sum_gx = {0}, sum_g = {0}, sum_dx = {0};
    if (partial && !first) {
      sum_gx = load_n(partial + c, left);
      sum_g = load_n(partial + part + c, left);
      sum_dx = load_n(partial + 2 * part + c, left);
    }
    for (uint32_t i = 0; i < rows; i++) {
      vf xhat = (load_n(x + i * px + c, left) - mean[i]) * rstd[i];
      vf g = norm_g(load_n(dy + i * pg + c, left), xhat, w, shift, relu);
      vf d = (g * w - mean_gs[i] - xhat * mean_gs_xhat[i]) * rstd[i];
      store_n(dx + i * pd + c, d, left);
      sum_gx += g * xhat;
      sum_g += g;
      sum_dx += d;
    }
    if (!partial) continue;
    store_n(partial + c, sum_gx, left);
    store_n(partial + part + c, sum_g, left);
    store_n(partial + 2 * part + c, sum_dx, left);
  }
}

INLINE void norm_backward(const brc_host_op *op, uint32_t e, uint32_t r0, uint32_t r1, const bool relu) {
  const uint32_t block = op->params.norm_backward.block;
  for (uint32_t b0 = r0; b0 < r1; b0 += block) {
    float *partial = op->out[1].data ? row(&op->out[1], e, b0 / block) : NULL;
    const uint32_t b1 = least(b0 + block, r1);
    for (uint32_t r = b0, k; r < b1; r += k) {
      k = rows_at_once(b1 - r, op->in[1].pitch);
      if (k == 4)
        norm_backward_some(op, e, r, 4, relu, partial, r == b0);
      else if (k == 2)
        norm_backward_some(op, e, r, 2, relu, partial, r == b0);
      else
        norm_backward_some(op, e, r, 1, relu, partial, r == b0);
    }
  }
}
static void op_norm_backward(const brc_host_op *op, uint32_t e, uint32_t r0, uint32_t r1, float *scratch) {
  (void)scratch;
  if (op->params.norm_backward.relu)
    norm_backward(op, e, r0, r1, true);
  else
    norm_backward(op, e, r0, r1, false);
}

// Sums over rows of columns [c0, c1): blocks of 32 rows, then their sums, both in order.
static void sum_rows(const float *x, size_t pitch, uint32_t rows, uint32_t c0, uint32_t c1, float *out) {
  for (uint32_t c = c0; c < c1; c += LANES) {
    vf sum = {0};
    for (uint32_t b = 0; b < rows; b += 32) {
      vf part = {0};
      for (uint32_t r = b; r < least(b + 32, rows); r++) part += load_n(x + r * pitch + c, c1 - c);
      sum += part;
    }
    store_n(out + c, sum, c1 - c);
  }
}

// Ranges count columns.
static void op_norm_sums(const brc_host_op *op, uint32_t e, uint32_t c0, uint32_t c1, float *scratch) {
  (void)scratch;
  for (uint32_t k = 0; k < 3; k++)
    if (op->out[k].data)
      sum_rows(row(&op->in[0], e, 0) + k * op->params.norm_sums.pitch, op->in[0].pitch, op->in[0].rows, c0, c1,
               row(&op->out[k], e, 0));
}

//------------------------ 4. Sums ---------------------------------------------
static void op_colsum(const brc_host_op *op, uint32_t e, uint32_t c0, uint32_t c1, float *scratch) {
  (void)scratch;
  sum_rows(row(&op->in[0], e, 0), op->in[0].pitch, op->in[0].rows, c0, c1, row(&op->out[0], e, 0));
}

static void op_sum_members(const brc_host_op *op, uint32_t e, uint32_t r0, uint32_t r1, float *scratch) {
  (void)e, (void)scratch;
  const uint32_t n = op->out[0].cols;
  for (uint32_t r = r0; r < r1; r++)
    for (uint32_t c = 0; c < n; c += LANES) {
      vf sum = {0};
      for (uint32_t k = 0; k < op->in[0].members; k++) sum += load_n(row(&op->in[0], k, r) + c, n - c);
      store_n(row(&op->out[0], 0, r) + c, sum, n - c);
    }
}

// Ranges count segments.
static void op_segment_sum(const brc_host_op *op, uint32_t e, uint32_t t0, uint32_t t1, float *scratch) {
  (void)e, (void)scratch;
  const brc_host_view *x = &op->in[0], *task = &op->in[1];
  const uint32_t n = x->cols;
  for (uint32_t t = t0; t < t1; t++) {
    float *out = row(&op->out[0], 0, t);
    for (uint32_t c = 0; c < n; c++) out[c] = 0;
    for (uint32_t r = 0; r < x->rows; r++) {
      int32_t id;
      memcpy(&id, row(task, 0, r), sizeof id);
      if ((uint32_t)id != t) continue;
      for (uint32_t c = 0; c < n; c += LANES)
        store_n(out + c, load_n(out + c, n - c) + load_n(row(x, 0, r) + c, n - c), n - c);
    }
  }
}

static void op_reduce(const brc_host_op *op, uint32_t e, uint32_t r0, uint32_t r1, float *scratch) {
  (void)e, (void)r0, (void)r1, (void)scratch;
  const struct brc_reduce_params32 *p = &op->params.reduce;
  float low = INFINITY, high = -INFINITY, *out = op->out[0].data;
  for (uint32_t c = 0; c < p->cols; c++) {
    float sum = 0;
    for (uint32_t b = 0; b < p->rows; b += 32) {
      float part = 0;
      for (uint32_t r = b; r < least(b + 32, p->rows); r++) {
        const float x = op->in[0].data[(size_t)r * p->pitch + c];
        part += p->mode == 3 ? x * x : x;
        low = x < low ? x : low;
        high = x > high ? x : high;
      }
      sum += part;
    }
    out[c] = p->mode == 0 ? p->scale * sum : p->mode != 2 ? sqrtf(sum) : sum / (float)p->rows;
  }
  if (p->mode == 2) {  // a comparison drops NaN, a sum does not
    out[1] = out[0] != out[0] ? out[0] : low;
    out[2] = out[0] != out[0] ? out[0] : high;
  }
}

//------------------------ 5. Embedding and input ------------------------------
INLINE float table_norm(const float *x, uint32_t n, uint32_t kind) {
  vf sum = {0};
  for (uint32_t c = 0; c < n; c += LANES) {
    vf v = load_n(x + c, n - c);
    sum += kind == 1 ? vabs(v) : v * v;
  }
  const float s = fold_sum(sum);
  return kind == 1 ? s : sqrtf(s);
}

static void op_embed(const brc_host_op *op, uint32_t e, uint32_t r0, uint32_t r1, float *scratch) {
  (void)e, (void)scratch;
  const uint32_t n = op->in[0].cols;
  for (uint32_t r = r0; r < r1; r++) {
    const float *x = row(&op->in[0], 0, r), norm = table_norm(x, n, op->params.embed.norm);
    for (uint32_t c = 0; c < n; c += LANES)
      store_n(row(&op->out[0], 0, r) + c, load_n(x + c, n - c) / norm, n - c);
  }
}

static void op_embed_backward(const brc_host_op *op, uint32_t e, uint32_t r0, uint32_t r1, float *scratch) {
  (void)e, (void)scratch;
  const uint32_t n = op->in[0].cols, kind = op->params.embed_backward.norm;
  for (uint32_t r = r0; r < r1; r++) {
    const float *x = row(&op->in[0], 0, r), *d = row(&op->in[1], 0, r), norm = table_norm(x, n, kind);
    vf sum = {0};
    for (uint32_t c = 0; c < n; c += LANES) sum += load_n(x + c, n - c) * load_n(d + c, n - c);
    const float dot = fold_sum(sum) / norm;  // ehat . d
    for (uint32_t c = 0; c < n; c += LANES) {
      vf v = load_n(x + c, n - c), one = splat(1.0f);
      vf sign = (vf)((vi)one & (v > 0.0f)) - (vf)((vi)one & (v < 0.0f));
      vf direction = kind == 1 ? sign : v / norm;
      store_n(row(&op->out[0], 0, r) + c, (load_n(d + c, n - c) - direction * dot) / norm, n - c);
    }
  }
}

static void op_concat_input(const brc_host_op *op, uint32_t e, uint32_t r0, uint32_t r1, float *scratch) {
  (void)e, (void)scratch;
  const brc_host_view *obs = &op->in[0], *action = &op->in[1], *emb = &op->in[2], *task = &op->in[3];
  for (uint32_t r = r0; r < r1; r++) {
    float *x = row(&op->out[0], 0, r);
    memcpy(x, row(obs, 0, r), sizeof *x * obs->cols);
    x += obs->cols;
    if (action->data) {
      memcpy(x, row(action, 0, r), sizeof *x * action->cols);
      x += action->cols;
    }
    if (emb->data) {
      int32_t id;
      memcpy(&id, row(task, 0, r), sizeof id);
      memcpy(x, row(emb, 0, (uint32_t)id), sizeof *x * emb->cols);
    }
  }
}

static void op_gather_batch(const brc_host_op *op, uint32_t e, uint32_t r0, uint32_t r1, float *scratch) {
  (void)e, (void)scratch;
  const brc_host_view *table = &op->in[0], *extra = &op->in[1], *obs = &op->out[0], *action = &op->out[1];
  const uint32_t first = op->params.gather_batch.first, count = op->params.gather_batch.count;
  for (uint32_t r = r0; r < r1; r++) {
    int32_t index[2];
    memcpy(index, row(&op->in[2], 0, r), sizeof index);
    const uint32_t at = (uint32_t)index[0] - first, next = (uint32_t)index[1] - first;
    if (at < count) {
      const float *x = row(table, 0, at);
      memcpy(row(obs, 0, r), x, sizeof *x * obs->cols);
      memcpy(row(action, 0, r), x + obs->cols, sizeof *x * action->cols);
    }
    const bool is_extra = index[1] < 0;
    if (is_extra ? first == 0 : next < count)
      memcpy(row(&op->out[2], 0, r), is_extra ? row(extra, 0, (uint32_t)(-1 - index[1])) : row(table, 0, next),
             sizeof(float) * obs->cols);
  }
}

//------------------------ 6. Policy -------------------------------------------
typedef struct sample {
  vf log_std, std, u;
} sample;
INLINE sample sample_at(const struct brc_tanh_normal_params32 *p, vf mean, vf head, vf eps) {
  const float half = (p->log_std_max - p->log_std_min) / 2;
  sample s;
  s.log_std = p->log_std_min + half * (1.0f + vtanh(head));
  s.std = vexp(s.log_std);
  s.u = mean + p->tau * s.std * eps;
  return s;
}

static void op_tanh_normal(const brc_host_op *op, uint32_t e, uint32_t r0, uint32_t r1, float *scratch) {
  (void)e, (void)scratch;
  const brc_host_view *noise = &op->in[2], *logp = &op->out[1];
  const uint32_t n = op->in[0].cols;
  for (uint32_t r = r0; r < r1; r++) {
    const float *mean = row(&op->in[0], 0, r), *head = row(&op->in[1], 0, r),
                *eps = noise->data ? row(noise, 0, r) : NULL;
    vf sum = {0};
    for (uint32_t c = 0; c < n; c += LANES) {
      const uint32_t left = n - c;
      vf z = eps ? load_n(eps + c, left) : splat(0.0f);
      sample s = sample_at(&op->params.tanh_normal, load_n(mean + c, left), load_n(head + c, left), z);
      store_n(row(&op->out[0], 0, r) + c, vtanh(s.u), left);
      vf l = -0.5f * z * z - s.log_std - 0.918938533f - 2.0f * (0.693147181f - s.u - softplus(-2.0f * s.u));
      sum += (vf)((vi)l & lanes_below(left));
    }
    if (logp->data) *row(logp, 0, r) = fold_sum(sum);
  }
}

static void op_tanh_normal_backward(const brc_host_op *op, uint32_t e, uint32_t r0, uint32_t r1,
                                    float *scratch) {
  (void)e, (void)scratch;
  const struct brc_tanh_normal_params32 *p = &op->params.tanh_normal_backward;
  const float half = (p->log_std_max - p->log_std_min) / 2;
  const uint32_t n = op->in[0].cols;
  for (uint32_t r = r0; r < r1; r++) {
    const float *mean = row(&op->in[0], 0, r), *head = row(&op->in[1], 0, r), *eps = row(&op->in[2], 0, r),
                *da = row(&op->in[3], 0, r);
    const float dlogp = *row(&op->in[4], 0, r);
    for (uint32_t c = 0; c < n; c += LANES) {
      const uint32_t left = n - c;
      vf h = load_n(head + c, left), z = load_n(eps + c, left);
      sample s = sample_at(p, load_n(mean + c, left), h, z);
      vf du = load_n(da + c, left) * tanh_slope(s.u) + dlogp * 2.0f * vtanh(s.u);
      vf dlog_std = du * s.std * z - dlogp;
      store_n(row(&op->out[0], 0, r) + c, du, left);
      store_n(row(&op->out[1], 0, r) + c, dlog_std * half * tanh_slope(h), left);
    }
  }
}

// One range: the whole batch.
static void op_policy_loss(const brc_host_op *op, uint32_t e, uint32_t r0, uint32_t r1, float *scratch) {
  (void)e, (void)r0, (void)r1, (void)scratch;
  const uint32_t rows = op->in[0].rows;
  const float alpha = op->in[2].data[BRC_SCALAR_ALPHA];
  float loss = 0, entropy = 0;
  for (uint32_t b = 0; b < rows; b += 32) {
    float loss_part = 0, entropy_part = 0;
    for (uint32_t r = b; r < least(b + 32, rows); r++) {
      const float logp = *row(&op->in[0], 0, r);
      loss_part += alpha * logp - *row(&op->in[1], 0, r);
      entropy_part -= logp;
    }
    loss += loss_part;
    entropy += entropy_part;
  }
  op->out[0].data[0] = loss / (float)rows;
  op->out[0].data[1] = entropy / (float)rows;
  if (op->out[1].data)
    for (uint32_t r = 0; r < rows; r++) *row(&op->out[1], 0, r) = alpha / (float)rows;
}

//------------------------ 7. Categorical values -------------------------------
INLINE float row_max(const float *x, uint32_t n) {
  vf m = splat(-INFINITY);
  for (uint32_t c = 0; c < n; c += LANES) {
    vf v = load_n(x + c, n - c);
    m = vmax(m, choose(lanes_below(n - c), v, m));
  }
  return fold_max(m);
}

// Sum of exp(x - max): softmax_i = exp(x_i - max) / sum.
INLINE float row_exp_sum(const float *x, float max, uint32_t n) {
  vf sum = {0};
  for (uint32_t c = 0; c < n; c += LANES)
    sum += (vf)((vi)vexp(load_n(x + c, n - c) - max) & lanes_below(n - c));
  return fold_sum(sum);
}

// Atoms i, i + 1, ...: z = -v_max + i dz.
INLINE vf atoms_at(uint32_t i, float v_max, float dz) {
  vf id;
  for (int k = 0; k < LANES; k++) id[k] = (float)k;
  return (id + (float)i) * dz - v_max;
}

static void op_categorical_target(const brc_host_op *op, uint32_t e, uint32_t r0, uint32_t r1, float *scratch) {
  (void)e, (void)scratch;
  enum { MEMBERS = 16 };  // whose maxima and sums are kept; beyond, the row is summed in passes
  const struct brc_categorical_params32 *p = &op->params.categorical_target;
  const brc_host_view *logits = &op->in[0];
  const uint32_t n = p->atoms, members = logits->members;
  const float dz = 2 * p->v_max / (float)(n - 1), top = (float)(n - 1), share = 1.0f / (float)members;
  for (uint32_t r = r0; r < r1; r++) {
    const float reward = *row(&op->in[1], 0, r), decay = p->discount * *row(&op->in[2], 0, r);
    const float shift = op->in[4].data[BRC_SCALAR_ALPHA] * *row(&op->in[3], 0, r);
    float *target = row(&op->out[0], 0, r);
    // Where the shifted atoms are NaN, no column may stay without it.
    const float last = reward + decay * (p->v_max - shift), start = last != last ? last : 0;
    for (uint32_t i = 0; i < n; i++) target[i] = start;
    for (uint32_t e0 = 0; e0 < members; e0 += MEMBERS) {
      const uint32_t count = least(MEMBERS, members - e0);
      float max[MEMBERS], weight[MEMBERS];
      for (uint32_t k = 0; k < count; k++) {
        const float *x = row(logits, e0 + k, r);
        max[k] = row_max(x, n);
        weight[k] = share / row_exp_sum(x, max[k], n);
        for (uint32_t i = 0; weight[k] != weight[k] && i < n; i++) target[i] = weight[k];
      }
      for (uint32_t c = 0; c < n; c += LANES) {
        const uint32_t left = n - c;
        vf prob = {0};
        for (uint32_t k = 0; k < count; k++)
          prob += vexp(load_n(row(logits, e0 + k, r) + c, left) - max[k]) * weight[k];
        vf t = reward + decay * (atoms_at(c, p->v_max, dz) - shift);
        vf b = (vmin(vmax(t, splat(-p->v_max)), splat(p->v_max)) + p->v_max) / dz;
        b = vmin(b, splat(top));
        // floor through an integer: b lies in [0, n-1]. Mass that falls on an atom stays there whole.
        vi lower = __builtin_convertvector(b, vi);
        vf fraction = b - __builtin_convertvector(lower, vf), up = prob * fraction, down = prob - up;
        for (uint32_t k = 0; k < least(LANES, left); k++) {
          const uint32_t l =
              least((uint32_t)lower[k], n - 1);  // NaN converts to anything, and stays NaN in the mass
          target[l] += down[k];
          if (l + 1 < n) target[l + 1] += up[k];
        }
      }
    }
    vf q = {0};
    for (uint32_t c = 0; c < n; c += LANES) q += atoms_at(c, p->v_max, dz) * load_n(target + c, n - c);
    *row(&op->out[1], 0, r) = fold_sum(q);
  }
}

static void op_cross_entropy(const brc_host_op *op, uint32_t e, uint32_t r0, uint32_t r1, float *scratch) {
  (void)scratch;
  const struct brc_categorical_params32 *p = &op->params.cross_entropy;
  const uint32_t n = p->atoms;
  for (uint32_t r = r0; r < r1; r++) {
    const float *x = row(&op->in[0], e, r), *target = row(&op->in[1], 0, r);
    const float max = row_max(x, n), sum = row_exp_sum(x, max, n), log_sum = vlog(splat(sum))[0];
    vf loss = {0}, mass = {0};
    for (uint32_t c = 0; c < n; c += LANES) {
      vf t = load_n(target + c, n - c);
      loss -= t * ((load_n(x + c, n - c) - max) - log_sum);  // behind n: t is 0 and x finite
      mass += t;
    }
    *row(&op->out[0], e, r) = fold_sum(loss);
    if (!op->out[1].data) continue;
    const float weight = fold_sum(mass) / sum;
    for (uint32_t c = 0; c < n; c += LANES) {
      vf d = vexp(load_n(x + c, n - c) - max) * weight - load_n(target + c, n - c);
      store_n(row(&op->out[1], e, r) + c, d * p->scale, n - c);
    }
  }
}

static void op_expected_value(const brc_host_op *op, uint32_t e, uint32_t r0, uint32_t r1, float *scratch) {
  (void)e, (void)scratch;
  const struct brc_categorical_params32 *p = &op->params.expected_value;
  const brc_host_view *logits = &op->in[0];
  const uint32_t n = p->atoms;
  const float dz = 2 * p->v_max / (float)(n - 1), share = 1.0f / (float)logits->members;
  for (uint32_t r = r0; r < r1; r++) {
    float total = 0;
    for (uint32_t k = 0; k < logits->members; k++) {
      const float *x = row(logits, k, r), max = row_max(x, n), weight = 1.0f / row_exp_sum(x, max, n);
      vf sum = {0};
      for (uint32_t c = 0; c < n; c += LANES)
        sum += (vf)((vi)(vexp(load_n(x + c, n - c) - max) * atoms_at(c, p->v_max, dz)) & lanes_below(n - c));
      const float q = fold_sum(sum) * weight;
      total += q * share;
      if (!op->out[1].data) continue;
      for (uint32_t c = 0; c < n; c += LANES) {
        vf d = vexp(load_n(x + c, n - c) - max) * (weight * share * p->scale) * (atoms_at(c, p->v_max, dz) - q);
        store_n(row(&op->out[1], k, r) + c, d, n - c);
      }
    }
    *row(&op->out[0], 0, r) = total;
  }
}

//------------------------ 8. Optimisers and scalars ---------------------------
INLINE void adamw_block(const brc_host_op *op, uint64_t i0, uint64_t i1, const bool with_target, float *sums) {
  const struct brc_adamw_params32 *p = &op->params.adamw;
  const float *grad = op->in[0].data, *scalars = op->in[5].data;
  float *param = op->in[1].data, *m = op->in[2].data, *v = op->in[3].data, *target = op->in[4].data;
  const float inv_c1 = 1.0f / scalars[p->c1], inv_c2 = 1.0f / scalars[p->c2];
  vf sum_g = {0}, sum_p = {0};
  for (uint64_t i = i0; i < i1; i += LANES) {
    const uint32_t left = (uint32_t)(i1 - i < LANES ? i1 - i : LANES);
    vf g = load_n(grad + i, left), x = load_n(param + i, left);
    sum_g += g * g;
    sum_p += x * x;
    vf m1 = p->beta1 * load_n(m + i, left) + p->one_minus_beta1 * g;
    vf v1 = p->beta2 * load_n(v + i, left) + p->one_minus_beta2 * g * g;
    vf step = m1 * inv_c1 / (vsqrt(v1 * inv_c2) + p->eps) + p->decay * x;
    x -= p->lr * step;
    store_n(m + i, m1, left);
    store_n(v + i, v1, left);
    store_n(param + i, x, left);
    if (with_target) store_n(target + i, p->tau * x + p->one_minus_tau * load_n(target + i, left), left);
  }
  if (sums) {
    sums[0] = fold_sum(sum_g);
    sums[1] = fold_sum(sum_p);
  }
}

// Ranges count blocks of elements.
static void op_adamw(const brc_host_op *op, uint32_t e, uint32_t b0, uint32_t b1, float *scratch) {
  (void)e, (void)scratch;
  const struct brc_adamw_params32 *p = &op->params.adamw;
  for (uint32_t b = b0; b < b1; b++) {
    const uint64_t i0 = (uint64_t)b * p->block, i1 = i0 + p->block < p->n ? i0 + p->block : p->n;
    float *sums = op->out[0].data ? row(&op->out[0], 0, b) : NULL;
    if (op->in[4].data)
      adamw_block(op, i0, i1, true, sums);
    else
      adamw_block(op, i0, i1, false, sums);
  }
}

static void op_temperature(const brc_host_op *op, uint32_t e, uint32_t r0, uint32_t r1, float *scratch) {
  (void)e, (void)r0, (void)r1, (void)scratch;
  const struct brc_temperature_params32 *p = &op->params.temperature;
  const float *scalars = op->in[3].data, alpha = scalars[BRC_SCALAR_ALPHA];
  float *log_alpha = op->in[0].data, *m = op->in[1].data, *v = op->in[2].data, *stats = op->out[0].data;
  const float loss = alpha * (op->in[4].data[0] - p->target_entropy);
  *m = p->beta1 * *m + p->one_minus_beta1 * loss;
  *v = p->beta2 * *v + p->one_minus_beta2 * loss * loss;
  *log_alpha -= p->lr * (*m / scalars[p->c1] / (sqrtf(*v / scalars[p->c2]) + p->eps) + p->decay * *log_alpha);
  stats[0] = alpha;
  stats[1] = stats[2] = loss;
}

// 1 - beta^t over the bits of t, highest first: c(2t) = c (2 - c), c(t+1) = beta c + (1 - beta).
static float bias_correction(float beta, float one_minus_beta, uint32_t t) {
  float c = 0;
  for (int bit = 31; bit >= 0; bit--) {
    c = c * (2.0f - c);
    if (t >> bit & 1) c = beta * c + one_minus_beta;
  }
  return c;
}

static void op_advance_scalars(const brc_host_op *op, uint32_t e, uint32_t r0, uint32_t r1, float *scratch) {
  (void)e, (void)r0, (void)r1, (void)scratch;
  const struct brc_advance_params32 *p = &op->params.advance_scalars;
  uint32_t t[BRC_COUNT_COUNT];
  memcpy(t, op->in[0].data, sizeof t);
  for (int i = 0; i < BRC_COUNT_COUNT; i++) t[i]++;
  memcpy(op->in[0].data, t, sizeof t);
  float *s = op->out[0].data;
  s[BRC_SCALAR_ALPHA] = vexp(splat(op->in[1].data[0]))[0];
  s[BRC_SCALAR_CRITIC_C1] = bias_correction(p->critic_beta1, p->critic_1m1, t[BRC_COUNT_CRITIC]);
  s[BRC_SCALAR_CRITIC_C2] = bias_correction(p->critic_beta2, p->critic_1m2, t[BRC_COUNT_CRITIC]);
  s[BRC_SCALAR_ACTOR_C1] = bias_correction(p->actor_beta1, p->actor_1m1, t[BRC_COUNT_ACTOR]);
  s[BRC_SCALAR_ACTOR_C2] = bias_correction(p->actor_beta2, p->actor_1m2, t[BRC_COUNT_ACTOR]);
  s[BRC_SCALAR_TEMPERATURE_C1] =
      bias_correction(p->temperature_beta1, p->temperature_1m1, t[BRC_COUNT_TEMPERATURE]);
  s[BRC_SCALAR_TEMPERATURE_C2] =
      bias_correction(p->temperature_beta2, p->temperature_1m2, t[BRC_COUNT_TEMPERATURE]);
}

//------------------------ 9. The table ----------------------------------------
#define JOIN2(a, b)   a##b
#define JOIN(a, b)    JOIN2(a, b)
#define TEXT2(a)      #a
#define TEXT(a)       TEXT2(a)
#define op_normal     JOIN(brc_host_normal_, BRC_ISA)
#define OP(name, ...) [BRC_OP_##name] = op_##name,
const brc_host_kernels JOIN(brc_host_kernels_, BRC_ISA) = {.isa = TEXT(BRC_ISA),
                                                           .ops = {BRC_OPS(OP)},
                                                           .product = product,
                                                           .transpose_rows = op_transpose,
                                                           .pack_kernel = op_pack,
                                                           .pack_rows = op_pack_transposed,
                                                           .transpose = transpose,
                                                           .pack = pack,
                                                           .pack_transposed = pack_transposed};
#undef OP
