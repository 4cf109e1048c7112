// Products on CPU cores: C[e] = op(A[e]) op(B[e]) (+ bias[e] on every row) (+ C[e]), e < batch, row-major.
//
// Work is cut into blocks that the thread pool hands out. A provider computes one block on one thread:
//   "blocked"  our register-tiled kernels (kernels.c). Each element of C is one chain of multiply-adds in order of k, so that
//              its bits depend neither on the blocks nor on the threads.
//   "onednn"   dnnl_sgemm, loaded at run time and kept single-threaded. Blocks depend on the shape alone.
// Below float32 products are by kernels of their own where a CPU has them for bf16 (bf16.h), else by our kernels, with factors rounded on
// their way in, whatever the provider.
#ifndef BRC_HOST_GEMM_H
#define BRC_HOST_GEMM_H
#include "backends/host/bf16.h"
#include "base/pool.h"

typedef struct brc_host_gemm_args {
  bool ta, tb;
  uint32_t m, n, k, batch;
  const float *a, *b, *bias;  // bias may be NULL
  float *c;
  uint32_t lda, ldb, ldc;
  uint64_t stride_a, stride_b, stride_c, stride_bias;  // between members; 0 broadcasts
  bool accumulate;
  brc_precision
      precision;  // the factors become round(scale_a A) / scale_a and round(scale_b B) / scale_b (brc_host_rounding)
  float scale_a, scale_b;  // powers of two; nothing to BRC_FP32
  const char *provider;    // of products in BRC_FP32; NULL: the default
} brc_host_gemm_args;

// A product of so many rows by a B whose rows are so far apart gains from copying B once for all blocks.
enum { BRC_HOST_PACK_ROWS = 512, BRC_HOST_PACK_PITCH = 512 };

// On the pool's threads; NULL: on the calling thread alone. Scratch belongs to the calling thread and grows at the first call with a
// larger shape; BRC_E_NOMEM when it cannot, C untouched.
brc_status brc_host_gemm(brc_pool *pool, const brc_host_gemm_args *args);

// Providers that can run here, the default first, NULL-terminated.
const char *const *brc_host_gemm_providers(void);
// The function behind a provider's name (NULL: the default), or NULL.
brc_host_product_fn *brc_host_gemm_provider(const char *name);

// The row kernels for this CPU, and the name of the instruction set they were compiled for.
const brc_host_kernels *brc_host_kernels_here(void);
#endif
