// Factors of products on matrix units. Before it is included: PRECISION (1 tf32, 2 bf16, 3 fp16: brc_precision).
//
// tf32 lies in memory as float32; bf16 and fp16 as copies that `mma_cast` made (gemm_copies.h). Every row starts on 16 bytes.
#ifndef BRC_CL_GEMM_FACTORS_H
#define BRC_CL_GEMM_FACTORS_H
#include "cl/common.h"

#define INLINE static inline __attribute__((always_inline))
#if PRECISION == 1
typedef uint element;
#define PER_SLOT 4  // elements in 16 bytes: a slot, the unit of copies
#else
typedef ushort element;
#define PER_SLOT 8
#endif
#define MMA_ARGS ARG(a), ARG(b), ARG(bias), ARG(c), ARG(work), const struct brc_gemm_params P, uint splits, uint split_k

// The number that bits stand for, as matrix units read them.
INLINE float number_of(uint bits) {
#if PRECISION == 1
  return as_float(bits & 0xffffe000);
#elif PRECISION == 2
  return as_float(bits << 16);
#else
  const uint bias = (bits & 0x7c00) == 0x7c00 ? 224u : 112u;  // infinity and NaN stay what they are
  const float x = bits & 0x7c00 ? as_float(((bits & 0x7fff) << 13) + (bias << 23)) : (float)(bits & 0x3ff) * 5.9604644775390625e-8f;
  return bits & 0x8000 ? -x : x;
#endif
}
#endif
