// Rounding to the precisions of products (brc_precision: 1 tf32, 2 bf16, 3 fp16), in software.
#ifndef BRC_CL_PRECISION_H
#define BRC_CL_PRECISION_H
#include "cl/common.h"

// To nearest, ties to even, at bit `at` of float32.
static inline vf round_bits(vf x, int at) {
  const vi u = v_as_int(x), odd = (u >> at) & 1;
  return v_as_float((u + ((1 << (at - 1)) - 1) + odd) & -(1 << at));
}
// The nearest number of the precision, saturated. tf32 and bf16 have the range of float32, fp16 has subnormals of 2^-24.
static inline vf rounded(vf x, uint precision) {
  const float most = precision == 1 ? 3.4011621342146535e38f : precision == 2 ? 3.3895313892515355e38f : 65504.0f;
  const vf y = min(max(x, (vf)-most), (vf)most);
  vf r = round_bits(y, precision == 2 ? 16 : 13);
  if (precision == 3) r = select(r, rint(y * 16777216.0f) * 5.9604644775390625e-8f, fabs(y) < (vf)6.103515625e-5f);
  return select(r, x, isnan(x));
}

#if BRC_VEC == 1
// A number as its nearest of bf16 or fp16, in two bytes: the same as `rounded`.
static inline uint two_bytes(float x, uint precision) {
  if (precision == 2) {  // in few instructions, as AdamW's copies are as many as there are parameters
    const uint u = as_uint(x), size = u & 0x7fffffff, nearest = (size + 0x7fff + (size >> 16 & 1)) >> 16;
    return size > 0x7f800000 ? 0x7fc0 : (u >> 16 & 0x8000) | min(nearest, 0x7f7fu);
  }
  const float y = rounded(x, 3);
  const uint u = as_uint(y), a = u & 0x7fffffff, sign = u >> 31 << 15;
  if (isnan(y)) return 0x7e00;
  return sign | (a < 0x38800000 ? (uint)(fabs(y) * 16777216.0f) : (a >> 13) - (112u << 10));
}
#endif
#endif
