// Sums over the rows of a strip of columns, in a fixed order.
#ifndef BRC_CL_STRIP_H
#define BRC_CL_STRIP_H
#include "cl/common.h"

// A strip of columns summed over rows. CPUs: one work-item, 16 columns, four rows side by side. GPUs: a work-group of 8
// columns times 32 slices of rows (r mod 32), added four and then eight slices at a time; its first 8 work-items hold the result.
// Loops are unrolled so that several loads are on their way.
#if BRC_VEC == 16
#define STRIP_COLS 16
#define STRIP                 \
  __local float *scratch = 0; \
  const uint c = (uint)get_group_id(0) * 16
#define STRIP_OWNER true
#define LEFT(cols)  ((cols)-c)  // columns that this work-item may write, from c on
static inline vf strip_sum(__global const float *x, uint rows, ulong pitch, uint left, __local float *scratch) {
  vf a = 0.0f, b = 0.0f, d = 0.0f, e = 0.0f;
  uint r = 0;
  for (; r + 4 <= rows; r += 4, x += 4 * pitch) {
    a += vload16(0, x);
    b += vload16(0, x + pitch);
    d += vload16(0, x + 2 * pitch);
    e += vload16(0, x + 3 * pitch);
  }
  for (; r < rows; r++, x += pitch) a += vload16(0, x);
  return (a + b) + (d + e);
}
#else
#define STRIP_COLS 8
#define SLICES     32
#define STRIP                                 \
  __local float scratch[STRIP_COLS * SLICES]; \
  const uint c = (uint)get_group_id(0) * STRIP_COLS + (uint)get_local_id(0) % STRIP_COLS
#define STRIP_OWNER (get_local_id(0) < STRIP_COLS)
#define LEFT(cols)  (c < (cols) ? 1u : 0u)
static inline float slices_sum(float own, __local float *scratch) {
  const uint lane = (uint)get_local_id(0);
  barrier(CLK_LOCAL_MEM_FENCE);
  scratch[lane] = own;
  barrier(CLK_LOCAL_MEM_FENCE);
  if (lane < 8 * STRIP_COLS) {
    for (uint s = 1; s < 4; s++) own += scratch[lane + 8 * s * STRIP_COLS];
    scratch[lane] = own;
  }
  barrier(CLK_LOCAL_MEM_FENCE);
  if (lane < STRIP_COLS)
    for (uint s = 1; s < 8; s++) own += scratch[lane + s * STRIP_COLS];
  return own;
}
static inline float strip_sum(__global const float *x, uint rows, ulong pitch, uint left,
                              __local float *scratch) {
  float own = 0.0f;
  if (left > 0)
    _Pragma("unroll 8") for (uint r = (uint)get_local_id(0) / STRIP_COLS; r < rows; r += SLICES) own +=
        x[r * pitch];
  return slices_sum(own, scratch);
}
#endif
#endif
