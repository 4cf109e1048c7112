// Row kernels: what one thread does to a range of rows, compiled once per instruction set.
#ifndef BRC_HOST_KERNELS_H
#define BRC_HOST_KERNELS_H
#include <stdbool.h>
#include <stddef.h>

#include "graph/graph.h"

// Where a tensor's numbers are. Row r of member e begins at data + e * stride + r * pitch; data is NULL where an
// optional tensor is absent. Columns from `cols` to `pitch` are undefined.
typedef struct brc_host_view {
  float *data;
  uint32_t members, rows, cols, pitch;
  uint64_t stride;  // 0 when members == 1
} brc_host_view;

// What the elements of a factor become: round(scale x) / scale, to the nearest number of the precision, ties to even, saturated. BRC_FP32:
// they stay as they are.
typedef struct brc_host_rounding {
  brc_precision precision;
  float scale;
} brc_host_rounding;

// One block of a product on one thread: C = op(A) B (+ bias) (+ C). op(A) is m x k: A[i * lda + p], or A[p * lda + i] when
// `ta`. B is k x n, or its transpose when `tb`, or packed by the kernels' pack_b (column 0 is one of a panel). A is rounded on its way in
// (only `product` of the kernels does that), and so is B, but where it was packed.
typedef struct brc_host_product {
  brc_host_rounding round_a, round_b;
  bool ta, tb, b_packed, accumulate;
  uint32_t m, n, k;
  const float *a, *b, *bias;  // bias: n numbers or NULL
  float *c;
  size_t lda, ldb, ldc;
  float *scratch;  // BRC_HOST_SCRATCH floats, of this thread alone
} brc_host_product;
typedef void brc_host_product_fn(const brc_host_product *p);

enum {
  BRC_HOST_BLOCK_M = 128,  // most rows of a block whose A is packed at once
  BRC_HOST_BLOCK_K = 256,  // most of k that is packed at once; C waits in memory between two pieces
  BRC_HOST_BLOCK_N = 48,   // widest panel of B
  BRC_HOST_PACKED_A =
      (BRC_HOST_BLOCK_K + 4) * (BRC_HOST_BLOCK_M + 8),  // the last tile of rows is whole; gaps between them
  BRC_HOST_SCRATCH = BRC_HOST_PACKED_A + BRC_HOST_BLOCK_K * BRC_HOST_BLOCK_N
};

// An op with its operands resolved.
typedef struct brc_host_op {
  brc_op_kind kind;
  brc_op_params32 params;
  brc_host_view in[6], out[3];
  enum {
    BRC_HOST_B_PLAIN,
    BRC_HOST_B_TRANSPOSED,
    BRC_HOST_B_PACKED
  } b;                           // in[1] is the kernel, or a copy of it
  brc_host_product_fn *product;  // of the provider
} brc_host_op;

// Rows [r0, r1) of member e. What a row is, depends on the op: see host_domain in host.c.
typedef void brc_host_op_fn(const brc_host_op *op, uint32_t e, uint32_t r0, uint32_t r1, float *scratch);

typedef struct brc_host_kernels {
  const char *isa;
  brc_host_op_fn *ops[BRC_OP_COUNT];
  brc_host_product_fn *product;
  brc_host_op_fn *transpose_rows;  // rows of in[0] [E, n, k] become columns of out[0] [E, k, n]
  // in[0] [E, k, n] as panels for `product`, rounded as the op says of its second factor; out[0] has k times n rounded up to 16 elements
  // for each member.
  brc_host_op_fn *pack_kernel;
  brc_host_op_fn *pack_rows;  // in[0] [E, n, k], transposed, as panels
  // out[c * ld_out + r] = in[r * ld_in + c] for r < rows, c < cols.
  void (*transpose)(const float *in, size_t ld_in, float *out, size_t ld_out, uint32_t rows, uint32_t cols);
  // Rows [k0, k1) of B [k, n] in its panels; `out` holds n rounded up to 16 times k.
  void (*pack)(const float *b, size_t ldb, uint32_t n, uint32_t k, uint32_t k0, uint32_t k1,
               brc_host_rounding round, float *out);
  // The panels of Bᵀ that begin in rows [n0, n1) of B [n, k].
  void (*pack_transposed)(const float *b, size_t ldb, uint32_t n, uint32_t k, uint32_t n0, uint32_t n1,
                          brc_host_rounding round, float *out);
} brc_host_kernels;

extern const brc_host_kernels brc_host_kernels_baseline, brc_host_kernels_avx2, brc_host_kernels_avx512;

// normal.c
brc_host_op_fn brc_host_normal_baseline, brc_host_normal_avx2, brc_host_normal_avx512;
#endif
