// Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") and normals made from it.
// One text for C, OpenCL C and GLSL: only unsigned integers and float +, -, x, with contraction off, so that integers,
// uniforms and normals have the same bits on every device. Where the languages differ stand BRC_FN (a function),
// BRC_PRECISE (a float whose operations are not contracted: C and OpenCL C switch that off for all) and BRC_FLOAT, BRC_INT
// (conversions). For a compiler's vectoriser BRC_FN may be defined before as what makes functions inline, and BRC_UNROLL as what unrolls the
// ten rounds.
// Counter: (element block, step lo, step hi, stream); key: seed.
#ifndef BRC_PHILOX_H
#define BRC_PHILOX_H

#ifdef GL_core_profile
#define brc_uint uint
#define BRC_FN
#define BRC_PRECISE       precise
#define BRC_FLOAT(x)      float(x)
#define BRC_INT(x)        int(x)
#define brc_bits_float(x) uintBitsToFloat(x)
#define brc_float_bits(x) floatBitsToUint(x)
brc_uint brc_mul_hi(brc_uint a, brc_uint b) {
  brc_uint high, low;
  umulExtended(a, b, high, low);
  return high;
}
#else
#ifndef BRC_FN
#define BRC_FN static inline
#endif
#define BRC_PRECISE
#define BRC_FLOAT(x) ((float)(x))
#define BRC_INT(x)   ((int)(x))
#ifdef __OPENCL_VERSION__
#pragma OPENCL FP_CONTRACT OFF
typedef uint brc_uint;
#define brc_bits_float(x) as_float(x)
#define brc_float_bits(x) as_uint(x)
#define brc_mul_hi(a, b)  mul_hi(a, b)
#else
#include <stdint.h>
#include <string.h>
typedef uint32_t brc_uint;
static inline float brc_bits_float(brc_uint x) {
  float f;
  memcpy(&f, &x, 4);
  return f;
}
static inline brc_uint brc_float_bits(float x) {
  brc_uint u;
  memcpy(&u, &x, 4);
  return u;
}
static inline brc_uint brc_mul_hi(brc_uint a, brc_uint b) { return (brc_uint)(((uint64_t)a * b) >> 32); }
#endif
typedef struct brc_u4 brc_u4;
typedef struct brc_f2 brc_f2;
#endif

// Streams: what a draw is for. Never renumber: runs would change.
#define BRC_STREAM_TARGET_NOISE 0u
#define BRC_STREAM_ACTOR_NOISE  1u
#define BRC_STREAM_ACT_NOISE    2u
#define BRC_STREAM_RANDOM_ACT   3u
#define BRC_STREAM_BATCH        4u
#define BRC_STREAM_INIT         5u
#define BRC_STREAM_ENV          6u
#define BRC_STREAM_EVAL         7u

struct brc_u4 {
  brc_uint x, y, z, w;
};

#ifndef BRC_UNROLL
#define BRC_UNROLL
#endif

BRC_FN brc_u4 brc_philox(brc_uint c0, brc_uint c1, brc_uint c2, brc_uint c3, brc_uint k0, brc_uint k1) {
  BRC_UNROLL
  for (int i = 0; i < 10; i++) {
    brc_uint h0 = brc_mul_hi(0xD2511F53u, c0), l0 = 0xD2511F53u * c0;
    brc_uint h1 = brc_mul_hi(0xCD9E8D57u, c2), l1 = 0xCD9E8D57u * c2;
    c0 = h1 ^ c1 ^ k0;
    c1 = l1;
    c2 = h0 ^ c3 ^ k1;
    c3 = l0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  brc_u4 r;
  r.x = c0;
  r.y = c1;
  r.z = c2;
  r.w = c3;
  return r;
}

// Uniform in [0, 1): 24 bits, exact in float.
BRC_FN float brc_uniform(brc_uint x) { return BRC_FLOAT(x >> 8) * 5.9604644775390625e-8f; }

// log of x in (0, 1], relative error below 3e-7: exponent and mantissa apart, atanh series on [sqrt(1/2), sqrt(2)).
// log m = 2 atanh(s), s = (m-1)/(m+1); the quotient from Newton steps, as a device's division may be inexact.
BRC_FN float brc_log_unit(float x) {
  brc_uint bits = brc_float_bits(x) - 0x3f3504f3u;
  int e = BRC_INT(bits >> 23);  // bits wraps below sqrt(1/2): sign-extend the 9-bit exponent
  e = e > 255 ? e - 512 : e;
  BRC_PRECISE float m = brc_bits_float((bits & 0x007fffffu) + 0x3f3504f3u);
  BRC_PRECISE float d = m + 1.0f;
  BRC_PRECISE float r = 0.98f - 0.24f * d;  // start: 1/d on [1.7, 2.42] within 5%
  r = r * (2.0f - d * r);
  r = r * (2.0f - d * r);
  r = r * (2.0f - d * r);
  BRC_PRECISE float s = (m - 1.0f) * r, t = s * s;
  BRC_PRECISE float p = 0.1111111111f;
  p = p * t + 0.1428571429f;
  p = p * t + 0.2f;
  p = p * t + 0.3333333333f;
  p = p * t;
  BRC_PRECISE float y = BRC_FLOAT(e) * 0.693147181f + 2.0f * (s + s * p);
  return y;
}

// sqrt of x >= 0 by Newton steps on the reciprocal root; relative error below 2e-7.
BRC_FN float brc_sqrt_newton(float x) {
  BRC_PRECISE float y = brc_bits_float(0x5f3759dfu - (brc_float_bits(x) >> 1));
  BRC_PRECISE float h = 0.5f * x;
  y = y * (1.5f - h * y * y);
  y = y * (1.5f - h * y * y);
  y = y * (1.5f - h * y * y);
  return x * y;
}

struct brc_f2 {
  float x, y;
};

// Two standard normals from two words (Box and Muller): radius from the first, angle from the second.
BRC_FN brc_f2 brc_normal2(brc_uint a, brc_uint b) {
  BRC_PRECISE float u = BRC_FLOAT((a >> 8) + 1u) * 5.9604644775390625e-8f;  // (0, 1]
  BRC_PRECISE float l = -2.0f * brc_log_unit(u);
  float radius = l > 0.0f ? brc_sqrt_newton(l) : 0.0f;
  // The angle is a quarter turn's number q and v in [-1/2, 1/2) quarter turns around its middle: all exact.
  brc_uint q = b >> 30;
  BRC_PRECISE float v = BRC_FLOAT((b >> 6) & 0x00ffffffu) * 5.9604644775390625e-8f - 0.5f;
  BRC_PRECISE float w = v * 1.57079632679f, w2 = w * w;
  BRC_PRECISE float sp = -1.9515295891e-4f;
  sp = sp * w2 + 8.3321608736e-3f;
  sp = sp * w2 - 1.6666654611e-1f;
  BRC_PRECISE float s = w + w * (w2 * sp);
  BRC_PRECISE float cp = 2.443315711809948e-5f;
  cp = cp * w2 - 1.388731625493765e-3f;
  cp = cp * w2 + 4.166664568298827e-2f;
  BRC_PRECISE float c = 1.0f - 0.5f * w2 + w2 * w2 * cp;
  float cx = (q & 1u) != 0u ? -s : c, sx = (q & 1u) != 0u ? c : s;
  brc_f2 z;
  z.x = radius * ((q & 2u) != 0u ? -cx : cx);
  z.y = radius * ((q & 2u) != 0u ? -sx : sx);
  return z;
}

// Normal number `element` of (seed, stream, step): four to a Philox block.
BRC_FN float brc_normal_at(brc_uint element, brc_uint step_lo, brc_uint step_hi, brc_uint stream,
                           brc_uint seed_lo, brc_uint seed_hi) {
  brc_u4 r = brc_philox(element >> 2, step_lo, step_hi, stream, seed_lo, seed_hi);
  brc_f2 z = (element & 2u) != 0u ? brc_normal2(r.z, r.w) : brc_normal2(r.x, r.y);
  return (element & 1u) != 0u ? z.y : z.x;
}
#endif
