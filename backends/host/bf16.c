// Compiled for AVX-512 with BF16, and AMX.
//
// Both factors lie in tiles of 16 x 16 pairs: a pair is two neighbours along k in 4 bytes. A tile of A has a row of C in each of its
// rows, a tile of B a pair of k. A chunk is 32 numbers along k, and everything comes in blocks of 32 rows or columns, two tiles:
//   A, 32 rows of C      [chunk][2][16 rows][16 pairs]
//   B, 32 columns of C   [chunk][2][16 pairs][16 columns]
// A block of C, 32 x 32, is summed over at most BLOCK_CHUNKS chunks at once, so that its strip of B stays in L1.
#include "backends/host/bf16.h"

#include "backends/host/vector.h"

enum { SIDE = 16, BLOCK = 32, CHUNK = 32, TILE = SIDE * SIDE, BLOCK_CHUNKS = 8, BLOCK_M = 128 };
_Static_assert(BLOCK_M *BLOCK_CHUNKS *CHUNK / 2 <= BRC_HOST_SCRATCH, "A's block fits the scratch");

static uint32_t up(uint32_t a, uint32_t b) { return (a + b - 1) / b; }
INLINE uint32_t least(uint32_t a, uint32_t b) { return a < b ? a : b; }

//------------------------ 1. Tiles --------------------------------------------
// The largest finite bf16 holds what is larger; a NaN stays one.
INLINE vf saturated(vf x) {
  const __m512 most = _mm512_set1_ps(0x1.fep127f), least = _mm512_set1_ps(-0x1.fep127f);
  return (vf)_mm512_max_ps(least, _mm512_min_ps(most, (__m512)x));
}
INLINE vf two(vf low, vf high) {
  return (vf)(__m512i)_mm512_cvtne2ps_pbh((__m512)saturated(high), (__m512)saturated(low));
}

// Row r of the tile: the pairs of row r. Of `rows` rows, and `cols` columns of them, the rest is zero.
INLINE void tile_of_rows(const float *from, size_t ld, uint32_t rows, uint32_t cols, vf out[SIDE]) {
  const uint32_t high = cols > SIDE ? cols - SIDE : 0;
  for (uint32_t r = 0; r < SIDE; r++) {
    const float *p = from + r * ld;
    out[r] = r < rows ? two(load_n(p, cols), high ? load_n(p + SIDE, high) : splat(0)) : splat(0);
  }
}

// Row q of the tile: of rows 2q and 2q + 1, the numbers of a column as a pair.
INLINE void tile_of_columns(const float *from, size_t ld, uint32_t rows, uint32_t cols, vf out[SIDE]) {
  static const uint16_t order[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                     8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  const __m512i turn = _mm512_loadu_si512(order);
  for (uint32_t q = 0; q < SIDE; q++) {
    const float *p = from + 2 * q * ld;
    const vf low = 2 * q < rows ? load_n(p, cols) : splat(0),
             high = 2 * q + 1 < rows ? load_n(p + ld, cols) : splat(0);
    out[q] = (vf)_mm512_permutexvar_epi16(turn, (__m512i)two(low, high));
  }
}

// The tile of rows r.., numbers c.. along k of a factor whose rows are apart `ld` (or, where `along`, of one that lies the other way
// around). `turned`: with rows and columns exchanged.
INLINE void make_tile(const float *from, size_t ld, bool along, uint32_t r, uint32_t c, uint32_t rows,
                      uint32_t cols, bool turned, float *to) {
  vf v[SIDE];
  const uint32_t m = r < rows ? least(rows - r, SIDE) : 0, k = least(cols - c, CHUNK);
  if (!m)
    for (uint32_t i = 0; i < SIDE; i++) v[i] = splat(0);
  else if (along)
    tile_of_columns(from + c * ld + r, ld, k, m, v);
  else
    tile_of_rows(from + r * ld + c, ld, m, k, v);
  if (m && turned) transpose_lanes(v);
  for (uint32_t i = 0; i < SIDE; i++) store(to + i * SIDE, v[i]);
}

// Chunks [c0, c1) of a strip of 32 rows of C, at row r.
static void pack_a(const brc_host_product *p, uint32_t r, uint32_t c0, uint32_t c1, float *out) {
  for (uint32_t c = c0; c < c1; c++)
    for (uint32_t half = 0; half < 2; half++, out += TILE)
      make_tile(p->a, p->lda, p->ta, r + half * SIDE, c * CHUNK, p->m, p->k, p->ta, out);
}

static void pack(const float *b, size_t ldb, bool transposed, uint32_t n, uint32_t k, uint32_t r0, uint32_t r1,
                 float *out) {
  const uint32_t chunks = up(k, CHUNK), first = transposed ? 0 : r0 / CHUNK,
                 last = transposed ? chunks : up(r1, CHUNK);
  for (uint32_t j = transposed ? r0 : 0; j < (transposed ? r1 : n); j += BLOCK)
    for (uint32_t c = first; c < last; c++)
      for (uint32_t half = 0; half < 2; half++)
        make_tile(b, ldb, !transposed, j + half * SIDE, c * CHUNK, n, k, transposed,
                  out + ((size_t)(j / BLOCK * chunks + c) * 2 + half) * TILE);
}

INLINE void op_pack(const brc_host_op *op, bool transposed, uint32_t e, uint32_t r0, uint32_t r1) {
  const brc_host_view *in = &op->in[0], *out = &op->out[0];
  const uint64_t from = in->members == 1 ? 0 : e * in->stride, to = out->members == 1 ? 0 : e * out->stride;
  pack(in->data + from, in->pitch, transposed, transposed ? in->rows : in->cols,
       transposed ? in->cols : in->rows, r0, r1, out->data + to);
}
static void op_pack_kernel(const brc_host_op *op, uint32_t e, uint32_t r0, uint32_t r1, float *scratch) {
  (void)scratch;
  op_pack(op, false, e, r0, r1);
}
static void op_pack_rows(const brc_host_op *op, uint32_t e, uint32_t r0, uint32_t r1, float *scratch) {
  (void)scratch;
  op_pack(op, true, e, r0, r1);
}

//------------------------ 2. Blocks of C ---------------------------------------
// c [32][32] = what it begins with + the product of two strips. It begins with `begin`, rows `ld_begin` apart (0: the same row for
// all), or with zeros where that is NULL.
typedef void block_fn(const float *a, const float *b, uint32_t chunks, const float *begin, size_t ld_begin,
                      float *c, size_t ldc);

static void block_amx(const float *a, const float *b, uint32_t chunks, const float *begin, size_t ld_begin,
                      float *c, size_t ldc) {
  enum { STRIDE = SIDE * sizeof(float) };
  if (begin) {
    const size_t ld = ld_begin * sizeof(float);
    _tile_loadd(0, begin, ld);
    _tile_loadd(1, begin + SIDE, ld);
    _tile_loadd(2, begin + SIDE * ld_begin, ld);
    _tile_loadd(3, begin + SIDE * ld_begin + SIDE, ld);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  for (uint32_t i = 0; i < chunks; i++, a += 2 * TILE, b += 2 * TILE) {
    _tile_loadd(4, a, STRIDE);
    _tile_loadd(6, b, STRIDE);
    _tile_loadd(7, b + TILE, STRIDE);
    _tile_loadd(5, a + TILE, STRIDE);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  const size_t ld = ldc * sizeof(float);
  _tile_stored(0, c, ld);
  _tile_stored(1, c + SIDE, ld);
  _tile_stored(2, c + SIDE * ldc, ld);
  _tile_stored(3, c + SIDE * ldc + SIDE, ld);
}

// Eight rows at a time: 16 sums in registers, and of each pair of k one load of B per vector and one broadcast of A per row.
static void block_dot(const float *a, const float *b, uint32_t chunks, const float *begin, size_t ld_begin,
                      float *c, size_t ldc) {
  enum { ROWS = 8 };
  for (uint32_t r = 0; r < BLOCK; r += ROWS) {
    __m512 sum[ROWS][2];
#pragma GCC unroll 8
    for (uint32_t i = 0; i < ROWS; i++)
#pragma GCC unroll 2
      for (uint32_t j = 0; j < 2; j++)
        sum[i][j] = begin ? _mm512_loadu_ps(begin + (r + i) * ld_begin + j * SIDE) : _mm512_setzero_ps();
    const float *rows = a + r / SIDE * TILE + r % SIDE * SIDE, *cols = b;
    for (uint32_t k = 0; k < chunks; k++, rows += 2 * TILE, cols += 2 * TILE)
      for (uint32_t q = 0; q < SIDE; q++) {
        const __m512bh left = (__m512bh)load(cols + q * SIDE), right = (__m512bh)load(cols + TILE + q * SIDE);
#pragma GCC unroll 8
        for (uint32_t i = 0; i < ROWS; i++) {
          const __m512bh x = (__m512bh)splat_at(rows + i * SIDE + q);
          sum[i][0] = _mm512_dpbf16_ps(sum[i][0], x, left);
          sum[i][1] = _mm512_dpbf16_ps(sum[i][1], x, right);
        }
      }
#pragma GCC unroll 8
    for (uint32_t i = 0; i < ROWS; i++)
#pragma GCC unroll 2
      for (uint32_t j = 0; j < 2; j++) _mm512_storeu_ps(c + (r + i) * ldc + j * SIDE, sum[i][j]);
  }
}

//------------------------ 3. Products ------------------------------------------
// A block at an edge of C, or with all that can be added, goes through memory of its own. `first`: nothing is summed yet.
static void edge_block(const brc_host_product *p, block_fn *block, const float *a, const float *b,
                       uint32_t chunks, uint32_t i, uint32_t j, bool first) {
  _Alignas(64) float t[BLOCK * BLOCK];
  const uint32_t rows = least(p->m - i, BLOCK), cols = least(p->n - j, BLOCK);
  for (uint32_t r = 0; r < BLOCK; r++)
    for (uint32_t h = 0; h < BLOCK; h += SIDE) {
      const uint32_t n = cols > h ? least(cols - h, SIDE) : 0;
      vf x = splat(0);
      if (n && r < rows && (!first || p->accumulate)) x = load_n(p->c + (i + r) * p->ldc + j + h, n);
      if (n && first && p->bias) x += load_n(p->bias + j + h, n);
      store(t + r * BLOCK + h, x);
    }
  block(a, b, chunks, t, BLOCK, t, BLOCK);
  for (uint32_t r = 0; r < rows; r++)
    for (uint32_t h = 0; h < cols; h += SIDE)
      store_n(p->c + (i + r) * p->ldc + j + h, load(t + r * BLOCK + h), least(cols - h, SIDE));
}

INLINE void one_block(const brc_host_product *p, block_fn *block, const float *a, const float *b,
                      uint32_t chunks, uint32_t i, uint32_t j, bool first) {
  float *c = p->c + i * p->ldc + j;
  if (p->m - i < BLOCK || p->n - j < BLOCK || (first && p->accumulate && p->bias))
    edge_block(p, block, a, b, chunks, i, j, first);
  else if (!first || p->accumulate)
    block(a, b, chunks, c, p->ldc, c, p->ldc);
  else
    block(a, b, chunks, p->bias ? p->bias + j : NULL, 0, c, p->ldc);
}

INLINE void product(const brc_host_product *p, block_fn *block) {
  const uint32_t chunks = up(p->k, CHUNK);
  for (uint32_t i0 = 0; i0 < p->m; i0 += BLOCK_M)
    for (uint32_t c0 = 0, n; c0 < chunks; c0 += n) {
      n = least(chunks - c0, BLOCK_CHUNKS);
      const uint32_t i1 = least(p->m, i0 + BLOCK_M), strip = n * 2 * TILE;
      for (uint32_t i = i0; i < i1; i += BLOCK) pack_a(p, i, c0, c0 + n, p->scratch + (i - i0) / BLOCK * strip);
      for (uint32_t j = 0; j < p->n; j += BLOCK)
        for (uint32_t i = i0; i < i1; i += BLOCK)
          one_block(p, block, p->scratch + (i - i0) / BLOCK * strip,
                    p->b + ((size_t)(j / BLOCK) * chunks + c0) * 2 * TILE, n, i, j, !c0);
    }
}

static void product_dot(const brc_host_product *p) { product(p, block_dot); }

// A thread's tiles are set up for a product and given back behind it: without them it is cheaper to switch.
static void product_amx(const brc_host_product *p) {
  struct {
    uint8_t palette, start, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
  } shape = {.palette = 1};
  for (int i = 0; i < 8; i++) {
    shape.row_bytes[i] = SIDE * sizeof(float);
    shape.rows[i] = SIDE;
  }
  _tile_loadconfig(&shape);
  product(p, block_amx);
  _tile_release();
}

const brc_host_bf16 brc_host_bf16_amx = {"amx", product_amx, pack, op_pack_kernel, op_pack_rows};
const brc_host_bf16 brc_host_bf16_dot = {"avx512-bf16", product_dot, pack, op_pack_kernel, op_pack_rows};
