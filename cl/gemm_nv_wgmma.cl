// Products as in gemm_nv.cl on Hopper's tensor cores, by wgmma (sm_90a): four warps multiply 64 rows of A by TILE_N columns of B straight from
// local memory, while the next stages are on their way. Emulated in one piece per step.
//
// Local memory holds factors K-major or MN-major for bf16 and fp16. For tf32 it must be K-major, and there B is, always: nn is computed as
// C' = B' A', and tn gets B turned (mma_turn). A goes through registers, where it is rounded (ties away from zero); B is rounded where it
// lies, by those who brought it, or was by mma_turn.
//
// NVIDIA's OpenCL compiler takes no sm_90a: tools/build_ptx makes cl/prebuilt/ of this file, which the driver loads as a binary. Its
// stages take 192 KiB of local memory: the driver takes what PTX says of it, past the 48 KiB that it tells OpenCL, and a multiprocessor has
// one work-group. What bounds large products is the way from the second-level cache (6 to 8 TB/s), so tiles are as large as registers
// allow; what bounds small ones is its latency (about 1 us), so there are as many stages as fit. Copies pass by the first-level cache: through
// it was 20 % slower.
#define STEP_SLOTS 8
#define TILE_M     128
#define THREADS    256
#define GROUP_M    64                        // rows of four warps
#define MMA_K      (2 * PER_SLOT)            // of an instruction
#define SETS       (PRECISION == 1 ? 2 : 1)  // of A's fragments
#include "cl/gemm_nv.h"

//------------------------ 1. Instructions --------------------------------------
#ifndef MMA_EMULATED
// Where a matrix lies in local memory (PTX ISA, "Matrix Descriptor Format"): the permutation within 128 bytes (1); bytes from 8 rows
// (K-major) or 8 k (MN-major) to the next 8; bytes from 64 rows to the next 64 (MN-major).
INLINE ulong descriptor(uint address, uint next64, uint next8, ulong permutation) {
  return (ulong)(address >> 4 & 0x3fff) | (ulong)(next64 >> 4) << 16 | (ulong)(next8 >> 4) << 32 |
         permutation << 62;
}
INLINE ulong factor_at(__local const uint4 *tile, uint row, uint k, const bool by_k) {
  const uint address = shared_address(tile);
  if (by_k) return descriptor(address + (row * STEP_SLOTS + k / PER_SLOT) * 16, 16, 8 * STEP_SLOTS * 16, 1);
  return descriptor(address + (row / 64 * STEP_K + k) * 128, STEP_K * 128, 8 * 128, 1);
}
// For n columns: registers of sums in a statement's text, and as its operands; its two descriptors.
#define TEN(t)   "%" t "0,%" t "1,%" t "2,%" t "3,%" t "4,%" t "5,%" t "6,%" t "7,%" t "8,%" t "9,"
#define D4(i)    "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define D16(i)   D4(i), D4(i + 4), D4(i + 8), D4(i + 12)
#define LIST_64  TEN("") TEN("1") TEN("2") "%30,%31"
#define LIST_128 TEN("") TEN("1") TEN("2") TEN("3") TEN("4") TEN("5") "%60,%61,%62,%63"
#define LIST_256                                                           \
  TEN("")                                                                  \
  TEN("1")                                                                 \
  TEN("2")                                                                 \
  TEN("3") TEN("4") TEN("5") TEN("6") TEN("7") TEN("8") TEN("9") TEN("10") \
      TEN("11") "%120,%121,%122,%123,%124,%125,%126,%127"
#define SUMS_64  D16(0), D16(16)
#define SUMS_128 SUMS_64, D16(32), D16(48)
#define SUMS_256 SUMS_128, D16(64), D16(80), D16(96), D16(112)
#define FROM_64  "%32,%33"
#define FROM_128 "%64,%65"
#define FROM_256 "%128,%129"
#if PRECISION == 1
#define TYPES "k8.f32.tf32.tf32"
#elif PRECISION == 2
#define TYPES "k16.f32.bf16.bf16"
#else
#define TYPES "k16.f32.f16.f16"
#endif
#define WGMMA(n, major)                                                                                    \
  asm volatile("wgmma.mma_async.sync.aligned.m64n" #n TYPES " {" LIST_##n "}," FROM_##n ",1,1,1" major ";" \
               : SUMS_##n                                                                                  \
               : "l"(a), "l"(b))
// The last two: is the factor MN-major? tf32 has none that is.
#if PRECISION == 1
#define WGMMA_AS(n, ta, tb) WGMMA(n, "")
// Four registers of A instead of its descriptor.
#define OF_64  "{%32,%33,%34,%35},%36"
#define OF_128 "{%64,%65,%66,%67},%68"
#define OF_256 "{%128,%129,%130,%131},%132"
#define WGMMA_OF(n)                                                                             \
  asm volatile("wgmma.mma_async.sync.aligned.m64n" #n TYPES " {" LIST_##n "}," OF_##n ",1,1,1;" \
               : SUMS_##n                                                                       \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b))
INLINE void multiply_of_128(float *d, const uint *a, ulong b) { WGMMA_OF(128); }
INLINE void multiply_of_256(float *d, const uint *a, ulong b) { WGMMA_OF(256); }
INLINE void multiply_of_64(float *d, const uint *a, ulong b) { WGMMA_OF(64); }
// Row lane / 4 + 8 (r % 2) and k lane % 4 + 4 (r / 2) of a warp's 16 rows, k from k0 on.
INLINE void load_fragment(uint *a, __local const uint4 *tile, uint row0, uint k0, const bool by_k) {
  __local const uint *words = (__local const uint *)tile;
  const uint lane = (uint)get_local_id(0) % 32;
  UNROLL for (uint r = 0; r < 4; r++) {
    const uint row = row0 + lane / 4 + r % 2 * 8, k = k0 + r / 2 * 4;
    a[r] = to_tf32(by_k ? words[slot_by_k(row, k / 4) * 4 + lane % 4]
                        : words[slot_along(k + lane % 4, row / 4) * 4 + row % 4]);
  }
}
#else
#define WGMMA_AS(n, ta, tb) \
  if (!ta && tb)            \
    WGMMA(n, ",0,0");       \
  else if (!ta)             \
    WGMMA(n, ",0,1");       \
  else                      \
    WGMMA(n, ",1,1")
#endif
// Columns [0, n) of 64 rows: the sum of column 8 j + lane % 4 * 2 + c of row warp % 4 * 16 + lane / 4 + 8 r in d[4 j + 2 r + c].
INLINE void multiply_128(float *d, ulong a, ulong b, const bool ta, const bool tb) { WGMMA_AS(128, ta, tb); }
INLINE void multiply_256(float *d, ulong a, ulong b, const bool ta, const bool tb) { WGMMA_AS(256, ta, tb); }
INLINE void multiply_64(float *d, ulong a, ulong b, const bool ta, const bool tb) { WGMMA_AS(64, ta, tb); }
// Sums are not looked at before this.
INLINE void settle_128(float *d) { asm volatile("" : SUMS_128); }
INLINE void settle_256(float *d) { asm volatile("" : SUMS_256); }
INLINE void settle_64(float *d) { asm volatile("" : SUMS_64); }
// What this work-item brought to local memory is seen by the tensor cores behind the next barrier.
INLINE void show(void) { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
INLINE void begin(void) { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
INLINE void commit(void) { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
// All but the newest `left` steps are done.
#define FINISH_(left) asm volatile("wgmma.wait_group.sync.aligned " #left ";" ::: "memory")
#define finish(left)  FINISH_(left)
#else
INLINE void show(void) {}
#define finish(left)
#define settle_128(d)
#define settle_64(d)
#define settle_256(d)
#if PRECISION == 1
#define ROUND_A to_tf32
#else
#define ROUND_A
#endif
INLINE uint factor_at(__local const uint4 *tile, uint row, uint k, const bool by_k) {
  const uint slot = by_k ? slot_by_k(row, k / PER_SLOT) : slot_along(k, row / PER_SLOT);
  return ((__local const element *)(tile + slot))[(by_k ? k : row) % PER_SLOT];
}
#endif

//------------------------ 2. Which tile ----------------------------------------
// Tiles along m first: work-groups that run side by side share columns of B.
INLINE uint3 tile_here(void) {
  const uint gx = (uint)get_num_groups(0), gy = (uint)get_num_groups(1);
  const uint i = (uint)get_group_id(0) + gx * ((uint)get_group_id(1) + gy * (uint)get_group_id(2));
  return (uint3)(i / gy % gx, i % gy, i / gy / gx);
}

//------------------------ 3. Factors on their way ------------------------------
// A work-item brings the same slots of an operand's stage every step, LINES rows (or k) apart. Behind the edges all is 0.
#define EACH(size)          (STEP_SLOTS * (size) / THREADS)
#define PER_ROW(size)       (by_k ? (uint)STEP_SLOTS : (size) / PER_SLOT)
#define LINES(size)         (THREADS / PER_ROW(size))
#define SLOT_AT(s, u, size) ((s)->slot + (u)*LINES(size) * (by_k ? STEP_SLOTS : 8))
typedef struct source {
  __global const element *at;
  uint slot, k, count;  // where to, k within the step, slots that are inside
} source;

INLINE void source_of(source *s, __global const element *from, uint row0, uint rows, uint k0, uint ld,
                      const uint size, const bool by_k) {
  const uint i = (uint)get_local_id(0), line = i / PER_ROW(size), chunk = i % PER_ROW(size);
  const uint row = row0 + (by_k ? line : chunk * PER_SLOT);
  s->k = by_k ? chunk * PER_SLOT : line;
  s->slot = by_k ? slot_by_k(line, chunk) : slot_along(line, chunk);
  s->count = row >= rows ? 0 : by_k ? (rows - row + LINES(size) - 1) / LINES(size) : EACH(size);
  s->at = from + (by_k ? (ulong)row * ld + k0 + s->k : (ulong)(k0 + line) * ld + row);
}
INLINE void bring(copies *q, __local uint4 *to, source *s, __global const element *from, uint left, uint ld,
                  const uint size, const bool by_k) {
  if (left >= STEP_K && s->count >= EACH(size)) {
    UNROLL for (uint u = 0; u < EACH(size); u++)
        copy_in(q, to + SLOT_AT(s, u, size), s->at + (ulong)(u * LINES(size)) * ld, 16);
  } else {
    UNROLL for (uint u = 0; u < EACH(size); u++) {
      const uint k = s->k + (by_k ? 0 : u * LINES(size));
      const uint n = k < left && u < s->count ? (by_k ? min(left - k, (uint)PER_SLOT) : PER_SLOT) : 0;
      copy_in(q, to + SLOT_AT(s, u, size), n ? s->at + (ulong)(u * LINES(size)) * ld : from,
              n * (uint)sizeof(element));
    }
  }
  s->at += by_k ? STEP_K : (ulong)STEP_K * ld;
}

#if PRECISION == 1
// What this work-item brought of a K-major stage, once it is there.
INLINE void round_own(__local uint4 *stage, const source *s, const uint size) {
  const bool by_k = true;
  UNROLL for (uint u = 0; u < EACH(size); u++) {
    const uint4 x = stage[SLOT_AT(s, u, size)];
    stage[SLOT_AT(s, u, size)] = (uint4)(to_tf32(x.x), to_tf32(x.y), to_tf32(x.z), to_tf32(x.w));
  }
}
#endif

//------------------------ 4. Products ------------------------------------------
// STAGES: what fits 192 KiB; AHEAD, STAGES - 3, as a number for PTX.
#define TILE_N      256
#define STAGES      4
#define AHEAD       1
#define MULTIPLY    multiply_256
#define MULTIPLY_OF multiply_of_256
#define SETTLE      settle_256
#define NAME(x)     x##_128x256
#include "cl/gemm_nv_wgmma_tile.h"

#define TILE_N      128
#define STAGES      6
#define AHEAD       3
#define MULTIPLY    multiply_128
#define MULTIPLY_OF multiply_of_128
#define SETTLE      settle_128
#define NAME(x)     x##_128x128
#include "cl/gemm_nv_wgmma_tile.h"

#define TILE_N      64
#define STAGES      8
#define AHEAD       5
#define MULTIPLY    multiply_64
#define MULTIPLY_OF multiply_of_64
#define SETTLE      settle_64
#define NAME(x)     x##_128x64
#include "cl/gemm_nv_wgmma_tile.h"
