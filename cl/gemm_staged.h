// Products whose operands go to local memory through registers: what the kernels of AMD's and Intel's matrix units share. They include
// this, say what their instructions are (see gemm_staged_tile.h), and then include gemm_staged_tiles.h.
#ifndef BRC_CL_GEMM_STAGED_H
#define BRC_CL_GEMM_STAGED_H
#include "cl/gemm_copies.h"

#define THREADS 256  // of a work-group
#ifdef MMA_EMULATED
#define UNROLL
#else
#define UNROLL _Pragma("unroll")
#endif

//------------------------ 1. Tiles in local memory -----------------------------
// A step along k is STEP_SLOTS slots for each row of a tile. Where memory is contiguous along k ("by_k"), the slots lie as they are, a
// row's four permuted so that 8 rows lie in different banks. Else ("along") words do, each two neighbours along k (tf32: one
// element): [word][row].
#define STEP_SLOTS 4
#define STEP_K     (STEP_SLOTS * PER_SLOT)
#define PER_WORD   (PER_SLOT / 4)
INLINE uint slot_by_k(uint row, uint chunk) { return row * STEP_SLOTS + (chunk ^ (row >> 1 & 3)); }

// An operand: rows [row0, ..) of `rows`, k up to k_end.
typedef struct source {
  __global const element *from;
  uint row0, rows, k_end, ld;
} source;
// Slots of a step that a work-item brings: `along`, slots u and u + 1 are neighbours along k, and with few rows some have none.
#define EACH(size) (STEP_SLOTS * (size) / THREADS > PER_WORD ? STEP_SLOTS * (size) / THREADS : PER_WORD)
INLINE uint each(const uint size, const bool by_k) {
  return by_k ? STEP_SLOTS * size / THREADS : EACH(size);
}
INLINE uint slot_row(uint u, const uint size, const bool by_k) {
  const uint i = (uint)get_local_id(0) + THREADS * (by_k ? u : u / PER_WORD);
  return by_k ? i / STEP_SLOTS : i % (size / PER_SLOT) * PER_SLOT;
}
INLINE uint slot_k(uint u, const uint size, const bool by_k) {
  const uint i = (uint)get_local_id(0) + THREADS * (by_k ? u : u / PER_WORD);
  return by_k ? i % STEP_SLOTS * PER_SLOT : i / (size / PER_SLOT) * PER_WORD + u % PER_WORD;
}

// Bring the step that begins at k0 into registers; what is behind an edge is anything.
INLINE void fetch(uint4 *to, const source *s, uint k0, const uint size, const bool by_k) {
  UNROLL for (uint u = 0; u < each(size, by_k); u++) {
    const uint row = s->row0 + slot_row(u, size, by_k), k = k0 + slot_k(u, size, by_k);
    const ulong at = by_k ? (ulong)row * s->ld + k : (ulong)k * s->ld + row;
    to[u] = *(__global const uint4 *)(s->from + (row < s->rows && k < s->k_end ? at : 0));
  }
}

// 0 behind the end of k. Rows behind the edge may be anything, as nobody stores what becomes of them. Copies of factors have zeros
// behind their rows' ends, float32 may have anything.
INLINE uint4 valid(uint4 x, uint k, uint k_end, const bool by_k) {
#if PRECISION == 1
  uint word[4] = {x.x, x.y, x.z, x.w};
  UNROLL for (uint j = 0; j < 4; j++) word[j] = k + (by_k ? j : 0) < k_end ? bits_of(as_float(word[j])) : 0;
  return (uint4)(word[0], word[1], word[2], word[3]);
#else
  return k < k_end ? x : (uint4)(0);
#endif
}

// Two rows of k become words: element j of both.
INLINE uint2 words_of(uint x, uint y) { return (uint2)((x & 0xffff) | y << 16, x >> 16 | (y & 0xffff0000)); }

// Put it into local memory.
INLINE void put(__local uint4 *to, const uint4 *from, const source *s, uint k0, const uint size,
                const bool by_k) {
  UNROLL for (uint u = 0; u < each(size, by_k); u += by_k ? 1 : PER_WORD) {
    const uint row = slot_row(u, size, by_k), k = slot_k(u, size, by_k);
    if (k >= STEP_K) break;
    const uint4 x = valid(from[u], k0 + k, s->k_end, by_k);
    if (by_k) {
      to[slot_by_k(row, k / PER_SLOT)] = x;
    } else {
      __local uint4 *at = to + (k / PER_WORD * size + row) / 4;
#if PRECISION == 1
      at[0] = x;
#else
      const uint4 y = valid(from[u + 1], k0 + k + 1, s->k_end, by_k);
      at[0] = (uint4)(words_of(x.x, y.x), words_of(x.y, y.y));
      at[1] = (uint4)(words_of(x.z, y.z), words_of(x.w, y.w));
#endif
    }
  }
}

// Where word `w` of a row's step lies, and the four of a slot.
INLINE uint word_at(uint row, uint w, const uint size, const bool by_k) {
  return by_k ? slot_by_k(row, w / 4) * 4 + w % 4 : w * size + row;
}
INLINE uint4 slot_of(__local const uint4 *tile, uint row, uint slot, const uint size, const bool by_k) {
  __local const uint *words = (__local const uint *)tile;
  if (by_k) return tile[slot_by_k(row, slot)];
  return (uint4)(words[word_at(row, 4 * slot, size, by_k)], words[word_at(row, 4 * slot + 1, size, by_k)],
                 words[word_at(row, 4 * slot + 2, size, by_k)], words[word_at(row, 4 * slot + 3, size, by_k)]);
}

//------------------------ 2. The way out ---------------------------------------
INLINE void store(__global float *c, __global const float *bias, bool has_bias, const struct brc_gemm_params *P, uint m,
                  uint n, float x) {
  if (m >= P->m || n >= P->n) return;
  __global float *to = c + (ulong)m * P->ldc + n;
  *to = x + (has_bias ? bias[n] : 0.0f) + (P->accumulate ? *to : 0.0f);
}

#ifdef MMA_EMULATED
//------------------------ 3. Emulation -----------------------------------------
// Element k of what a lane shows of a fragment: of its words, in order.
INLINE float shown(__local const uint *words, uint k) {
  return number_of(words[k / PER_WORD] >> k % PER_WORD * 16 & (PRECISION == 1 ? 0xffffffff : 0xffff));
}
#endif
#endif
