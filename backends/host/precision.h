// Products at a precision: by the CPU's own units where it has them (bf16.h), else with factors rounded in software, for tests of
// what matrix units do to them.
#ifndef BRC_HOST_PRECISION_H
#define BRC_HOST_PRECISION_H
#include "backends/host/gemm.h"
#include "graph/graph.h"

// brc_host_gemm with factors round(scale_a A) / scale_a and round(scale_b B) / scale_b: to the nearest number of the precision,
// ties to even, saturated. Scratch belongs to the calling thread.
void brc_host_gemm_rounded(brc_pool *pool, const brc_host_gemm_args *args, brc_precision precision,
                           float scale_a, float scale_b);
// dense, dense_dx and dense_dw like that, on the calling thread. Views whose members are one have stride 0.
brc_host_op_fn brc_host_op_rounded;
#endif
