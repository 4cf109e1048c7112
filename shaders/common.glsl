// What every shader stands on: operands by address, sums over a row, exp, log, tanh.
//
// A family's file holds its kernels behind `#ifdef KERNEL_name`: the build compiles it once for each (CMakeLists.txt finds the
// names). A work-group has LANES work-items, side by side over the columns of its row unless the kernel says otherwise; LANES is
// specialisation constant 0 and a power of two.
//
// A NaN must come out as NaN, so that a diverged run is seen; but min, max and comparisons may do anything with it, as compilers
// may assume that there is none. So where a NaN would meet them, its bits are looked at.
//
// Legend: E members, B batch, W width, N atoms, O observation, A action, T tasks, D embedding dimension.
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
#extension GL_EXT_control_flow_attributes : require
#define BRC_PARAMS(x) brc_##x##_params
#define BRC_REAL      float
#define precision     precision_  // a keyword of GLSL
#include "graph/op_params.h"
#undef precision

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LANES = 32;
#define LANE gl_LocalInvocationID.x

//------------------------ 1. Operands -----------------------------------------
// Addresses come first in the push constants, in the order of the op table, then the op's parameters, then what a kernel wants
// beyond that. An absent operand has the address 0.
layout(buffer_reference, std430, buffer_reference_align = 4) buffer Floats { float v[]; };
layout(buffer_reference, std430, buffer_reference_align = 4) buffer Ints { int v[]; };
#define HAS(operand) ((operand) != uvec2(0))

// The address `elements` behind `base`; rows * pitch may pass 32 bits.
uvec2 at(uvec2 base, uint elements) {
  uint carry, low = uaddCarry(base.x, elements << 2, carry);
  return uvec2(low, base.y + (elements >> 30) + carry);
}
uvec2 at(uvec2 base, uint rows, uint pitch) {
  uint high, low, carry;
  umulExtended(rows, pitch, high, low);
  uint byte_low = uaddCarry(base.x, low << 2, carry);
  return uvec2(byte_low, base.y + (low >> 30) + (high << 2) + carry);
}

// The number of this work-group where the first dimension may be folded over y; behind the last: return at once.
uint group_index() { return gl_WorkGroupID.x + gl_WorkGroupID.y * gl_NumWorkGroups.x; }

// The columns of this lane.
#define FOR_COLS(c, cols) for (uint c = LANE; c < (cols); c += LANES)

//------------------------ 2. Rows ---------------------------------------------
// row_sum, row_max: of all lanes' values; every lane gets the result. FOLDS lanes each take every FOLDS-th value, then every
// lane adds up those, four sums side by side: two barriers, and an order that follows from LANES alone. LANES is a multiple of
// FOLDS.
#define FOLDS 16u
#define ROW_FOLD(name, T, OP)                                                                 \
  shared T name##_own[LANES], name##_folded[FOLDS];                                           \
  T name(T x) {                                                                               \
    name##_own[LANE] = x;                                                                     \
    barrier();                                                                                \
    if (LANE < FOLDS) {                                                                       \
      for (uint i = FOLDS; i < LANES; i += FOLDS) x = OP(x, name##_own[LANE + i]);            \
      name##_folded[LANE] = x;                                                                \
    }                                                                                         \
    barrier();                                                                                \
    T a = name##_folded[0], b = name##_folded[1], c = name##_folded[2], d = name##_folded[3]; \
    [[unroll]] for (uint i = 4; i < FOLDS; i += 4) {                                          \
      a = OP(a, name##_folded[i]);                                                            \
      b = OP(b, name##_folded[i + 1]);                                                        \
      c = OP(c, name##_folded[i + 2]);                                                        \
      d = OP(d, name##_folded[i + 3]);                                                        \
    }                                                                                         \
    return OP(OP(a, b), OP(c, d));                                                            \
  }
#define ADD(a, b) ((a) + (b))
ROW_FOLD(row_sum, float, ADD)
ROW_FOLD(row_sum2, vec2, ADD)
ROW_FOLD(row_max, float, max)

//------------------------ 3. Strips -------------------------------------------
// For sums over rows a work-group owns a strip of 32 columns: its lanes are 32 columns times SLICES slices of rows, r mod SLICES.
#define STRIP  32u
#define SLICES (LANES / STRIP)
uint strip_column() { return gl_WorkGroupID.x * STRIP + LANE % STRIP; }

// The rows of this lane's slice, eight at a time. `r` passes the last row: load that again there and leave it out of the sum, as
// only without a branch around them the eight loads are on their way at once.
#define FOR_SLICE(r, rows)                                                \
  for (uint first_ = LANE / STRIP; first_ < (rows); first_ += 8 * SLICES) \
    [[unroll]] for (uint i_ = 0, r = first_; i_ < 8; i_++, r += SLICES)

// The slices' sum, slice by slice, for the first 32 lanes.
#define STRIP_SUM(name, T)                                                   \
  shared T name##_own[LANES];                                                \
  T name(T x) {                                                              \
    name##_own[LANE] = x;                                                    \
    barrier();                                                               \
    if (LANE < STRIP)                                                        \
      for (uint i = STRIP; i < LANES; i += STRIP) x += name##_own[LANE + i]; \
    return x;                                                                \
  }
STRIP_SUM(strip_sum, float)
STRIP_SUM(strip_sum3, vec3)

//------------------------ 4. Functions ----------------------------------------
// The polynomials of cl/common.h: a driver's exp, log and tanh may be far off. None relies on fma being one rounding.
bool is_nan(float x) { return (floatBitsToUint(x) & 0x7fffffffu) > 0x7f800000u; }

// max(x, 0): 0 where the sign is set, up to -infinity's bits; above them are NaNs.
float relu(float x) { return floatBitsToUint(x) - 0x80000000u <= 0x7f800000u ? 0.0 : x; }

// exp to about 1 ulp; 0 below -87.3 (no subnormals), finite above 88. Adding 1.5 * 2^23 rounds to a whole number, which then
// lies in the low bits: its exponent is a shift away. n times the first part of log 2 is exact.
float brc_exp(float x) {
  precise float near = clamp(x, -88.0, 88.0), shifted = fma(near, 1.44269504, 12582912.0), n = shifted - 12582912.0;
  precise float r = fma(n, -1.42860677e-6, fma(n, -0.693145752, near));
  precise float p = 1.98756912e-4;
  p = fma(p, r, 1.39819994e-3);
  p = fma(p, r, 8.33345205e-3);
  p = fma(p, r, 4.16657962e-2);
  p = fma(p, r, 1.66666657e-1);
  p = fma(p, r, 0.5);
  p = fma(p, r * r, r) + 1.0;
  precise float y = p * intBitsToFloat((floatBitsToInt(shifted) << 23) + 0x3f800000);
  return is_nan(x) ? x : x < -87.3 ? 0.0 : y;
}

// log(1 + t) for t in [0, 1]: 2 atanh(t / (2 + t)), no cancellation.
float brc_log1p_unit(float t) {
  float s = t / (2.0 + t), z = s * s;
  float p = 0.0769230769;
  p = fma(p, z, 0.0909090909);
  p = fma(p, z, 0.111111111);
  p = fma(p, z, 0.142857143);
  p = fma(p, z, 0.2);
  p = fma(p, z, 0.333333333);
  return 2.0 * fma(s * z, p, s);
}

// tanh from z = exp(-2 |u|), and its slope 1 - tanh(u)^2 = 4 z / (1 + z)^2 without cancellation.
float brc_tanh_z(float u, float z) {
  // Near 0 the quotient cancels: an odd polynomial (Cephes), good to 0.625.
  if (abs(u) < 0.625) {
    float q = u * u, p = -5.70498872745e-3;
    p = fma(p, q, 2.06390887954e-2);
    p = fma(p, q, -5.37397155531e-2);
    p = fma(p, q, 1.33314422036e-1);
    p = fma(p, q, -3.33332819422e-1);
    return fma(p * q, u, u);
  }
  return uintBitsToFloat(floatBitsToUint((1.0 - z) / (1.0 + z)) | (floatBitsToUint(u) & 0x80000000u));
}
float brc_tanh(float u) { return brc_tanh_z(u, brc_exp(-2.0 * abs(u))); }
float brc_slope_z(float z) {
  float d = 1.0 + z;
  return 4.0 * z / (d * d);
}
