// Builders that only gradient rules use (and tests, which check every op alone). Shapes: op.h.
#ifndef BRC_GRAD_H
#define BRC_GRAD_H
#include "graph/graph.h"

// dx [E,B,n] (+)= dy Kᵀ for n rows of K; dw [E,in,out] (+)= xᵀ dy.
brc_op *brc_dense_dx(brc_program *p, brc_tensor *dy, brc_tensor *kernel_rows, brc_tensor *dx, bool accumulate);
brc_op *brc_dense_dw(brc_program *p, brc_tensor *x, brc_tensor *dy, brc_tensor *dw, bool accumulate);
void brc_norm_sums(brc_program *p, brc_tensor *partial, uint32_t cols, uint32_t pitch, brc_tensor *dscale,
                   brc_tensor *dbias);
void brc_colsum(brc_program *p, brc_tensor *x, brc_tensor *out);
brc_tensor *brc_sum_members(brc_program *p, brc_tensor *x);
brc_tensor *brc_segment_sum(brc_program *p, brc_tensor *x, brc_tensor *task, uint32_t segments);
#endif
