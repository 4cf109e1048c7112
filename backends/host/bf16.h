// Products in bf16 on CPUs that multiply such numbers: by Intel's matrix tiles (AMX), or by dot products of pairs (AVX512-BF16), which are
// twice as fast as float32 on AMD's cores and half as fast on Intel's.
//
// Factors are rounded to the nearest bf16, ties to even, saturated; sums are float32. An element of C is one chain over k, whatever
// the blocks and threads are. Both factors are rearranged on their way in: A by the product itself, B once, by `pack`.
#ifndef BRC_HOST_BF16_H
#define BRC_HOST_BF16_H
#include "backends/host/kernels.h"

typedef struct brc_host_bf16 {
  const char *isa;
  // C = op(A) B (+ bias) (+ C) with p->b what pack made; b_packed.
  brc_host_product_fn *product;
  // B [k, n]: its rows [r0, r1) of k, or where `transposed`, of B [n, k], its rows [r0, r1) of n. r0 is a multiple of 32.
  void (*pack)(const float *b, size_t ldb, bool transposed, uint32_t n, uint32_t k, uint32_t r0, uint32_t r1,
               float *out);
  brc_host_op_fn *pack_kernel, *pack_rows;  // the same as ops: in[0] [E, k, n], or [E, n, k], to out[0]
} brc_host_bf16;

// The copy of one member is a matrix of so many rows and columns of 4 bytes: pairs along k, both padded with zeros.
#define BRC_HOST_BF16_ROWS(k) (((k) + 31) / 32 * 16)
#define BRC_HOST_BF16_COLS(n) (((n) + 31) / 32 * 32)

#if defined(__x86_64__)
extern const brc_host_bf16 brc_host_bf16_amx, brc_host_bf16_dot;
#endif
// The one for this CPU; NULL where kernels.c is faster, which multiplies rounded factors in float32.
const brc_host_bf16 *brc_host_bf16_here(void);
// How this CPU, which has instructions for bf16, multiplies such numbers; NULL: it has none, and offers no bf16.
const char *brc_host_bf16_offer(void);
#endif
