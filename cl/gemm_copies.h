// Kernels around products on matrix units: copies of factors, the sum over parts of k.
#ifndef BRC_CL_GEMM_COPIES_H
#define BRC_CL_GEMM_COPIES_H
#include "cl/gemm_factors.h"
#include "cl/precision.h"

// The bits of a factor.
INLINE uint bits_of(float x) {
#if PRECISION == 1
  return as_uint(rounded(x, PRECISION));
#else
  return two_bytes(x, PRECISION);
#endif
}

// copy[e][m][ldb] = round(scale_a x[e][m][n]), 0 behind column n. Work-item: a slot; third dimension: members. Rows of x are lda apart,
// members stride_a; members of the copy are stride_b apart, counted in its elements.
__kernel void mma_cast(ARG(x), ARG(copy), const struct brc_gemm_params P) {
  USE(x);
  USE(copy);
  const uint e = (uint)get_group_id(2), slots = P.ldb / PER_SLOT, i = (uint)get_global_id(0);
  const uint row = i / max(slots, 1u), c = i % max(slots, 1u) * PER_SLOT;
  if (row >= P.m) return;
  __global const float *from = x + (ulong)e * P.stride_a + (ulong)row * P.lda + c;
  uint word[4] = {0, 0, 0, 0};
  _Pragma("unroll") for (uint j = 0; j < PER_SLOT; j++) {
    if (c + j < P.n) word[j * 4 / PER_SLOT] |= bits_of(P.scale_a * from[j]) << j % (PER_SLOT / 4) * 16;
  }
  __global element *to = (__global element *)copy + (ulong)e * P.stride_b + (ulong)row * P.ldb + c;
  *(__global uint4 *)to = (uint4)(word[0], word[1], word[2], word[3]);
}

// The sums over parts of k, added in their order: C = work[0] + work[1] + ... Work-item: an element; third dimension: members.
__kernel void mma_sum(ARG(a), ARG(b), ARG(bias), ARG(c), ARG(work), const struct brc_gemm_params P, uint splits) {
  USE(bias);
  USE(c);
  USE(work);
  const uint e = (uint)get_group_id(2), i = (uint)get_global_id(0), m = i / P.n, n = i % P.n;
  if (m >= P.m) return;
  const ulong each = (ulong)P.m * P.n;
  __global const float *from = work + e * each + i;
  float x = from[0];
  for (uint s = 1; s < splits; s++) x += from[(ulong)s * P.batch * each];
  x /= P.scale_a * P.scale_b;
  if (HAS(bias)) x += bias[(ulong)e * P.stride_bias + n];
  c += (ulong)e * P.stride_c + (ulong)m * P.ldc + n;
  *c = x + (P.accumulate ? *c : 0.0f);
}
#endif
