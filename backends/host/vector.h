// Vectors of LANES floats, as wide as the compiler's target has them.
#ifndef BRC_HOST_VECTOR_H
#define BRC_HOST_VECTOR_H
#include <stdint.h>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX2__)
#define LANES 8
#else
#define LANES 4
#endif
#define INLINE static inline __attribute__((always_inline))

typedef float vf __attribute__((vector_size(4 * LANES)));
typedef int32_t vi __attribute__((vector_size(4 * LANES)));
typedef uint32_t vu __attribute__((vector_size(4 * LANES)));
typedef float vf_any __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

INLINE vf splat(float x) { return (vf){0} + x; }
// The number at p in every lane, by a broadcast that reads memory: from a register it takes a port that Intel's cores multiply with.
INLINE vf splat_at(const float *p) {
#if defined(__AVX512F__)
  return (vf)_mm512_set1_ps(*p);
#elif defined(__AVX2__)
  return (vf)_mm256_broadcast_ss(p);
#else
  return splat(*p);
#endif
}
INLINE vf load(const float *p) { return *(const vf_any *)p; }
INLINE void store(float *p, vf x) { *(vf_any *)p = x; }

// The first n lanes; the others are zero.
INLINE vf load_part(const float *p, uint32_t n) {
#if defined(__AVX512F__)
  return (vf)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
#else
  vf x = {0};
  for (uint32_t i = 0; i < LANES; i++)
    if (i < n) x[i] = p[i];
  return x;
#endif
}
INLINE void store_part(float *p, vf x, uint32_t n) {
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)x);
#else
  for (uint32_t i = 0; i < LANES; i++)
    if (i < n) p[i] = x[i];
#endif
}
INLINE vf load_n(const float *p, uint32_t n) { return n >= LANES ? load(p) : load_part(p, n); }
INLINE void store_n(float *p, vf x, uint32_t n) {
  if (n >= LANES)
    store(p, x);
  else
    store_part(p, x, n);
}

// Of a and b cut into blocks of d lanes: the even blocks of both, FIRSTd, and the odd ones, SECONDd.
#if LANES == 16
#define FIRST8(a, b) __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23)
#define SECOND8(a, b) \
  __builtin_shufflevector(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31)
#define FIRST4(a, b)  __builtin_shufflevector(a, b, 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27)
#define SECOND4(a, b) __builtin_shufflevector(a, b, 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31)
#define FIRST2(a, b)  __builtin_shufflevector(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29)
#define SECOND2(a, b) __builtin_shufflevector(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31)
#define FIRST1(a, b)  __builtin_shufflevector(a, b, 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30)
#define SECOND1(a, b) __builtin_shufflevector(a, b, 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31)
#define STAGES(X)     X(8) X(4) X(2) X(1)
#elif LANES == 8
#define FIRST4(a, b)  __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11)
#define SECOND4(a, b) __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15)
#define FIRST2(a, b)  __builtin_shufflevector(a, b, 0, 1, 8, 9, 4, 5, 12, 13)
#define SECOND2(a, b) __builtin_shufflevector(a, b, 2, 3, 10, 11, 6, 7, 14, 15)
#define FIRST1(a, b)  __builtin_shufflevector(a, b, 0, 8, 2, 10, 4, 12, 6, 14)
#define SECOND1(a, b) __builtin_shufflevector(a, b, 1, 9, 3, 11, 5, 13, 7, 15)
#define STAGES(X)     X(4) X(2) X(1)
#else
#define FIRST2(a, b)  __builtin_shufflevector(a, b, 0, 1, 4, 5)
#define SECOND2(a, b) __builtin_shufflevector(a, b, 2, 3, 6, 7)
#define FIRST1(a, b)  __builtin_shufflevector(a, b, 0, 4, 2, 6)
#define SECOND1(a, b) __builtin_shufflevector(a, b, 1, 5, 3, 7)
#define STAGES(X)     X(2) X(1)
#endif

// v[i][j] becomes v[j][i].
INLINE void transpose_lanes(vf v[LANES]) {
#define EXCHANGE(d)                    \
  for (uint32_t i = 0; i < LANES; i++) \
    if (!(i & d)) {                    \
      vf a = v[i], b = v[i + d];       \
      v[i] = FIRST##d(a, b);           \
      v[i + d] = SECOND##d(a, b);      \
    }
  STAGES(EXCHANGE)
#undef EXCHANGE
}
#endif
