// What every kernel file stands on: operands, vectors with masked tails, reductions, exp, log, tanh.
//
// One source serves two kinds of devices. BRC_VEC = 16 (CPUs): a row belongs to one work-item, which walks it in vectors of 16;
// no barriers, no local memory, work-groups of one. BRC_VEC = 1 (GPUs): a row belongs to a work-group of LANES work-items,
// side by side over the columns, which reduce through local memory in a fixed tree. Either way get_group_id(0) is the row.
//
// Legend: E members, B batch, W width, N atoms, O observation, A action, T tasks, D embedding dimension.
#ifndef BRC_COMMON_H
#define BRC_COMMON_H
#define BRC_PARAMS(x) brc_##x##_params
#define BRC_REAL      float
#include "graph/op_params.h"

//------------------------ 1. Operands -----------------------------------------
// Every operand is a buffer and an offset in elements; an absent one has the offset ABSENT. Arguments come in the order of
// the op table, then the op's parameters, then what a kernel wants beyond that.
#define ABSENT    0xffffffffffffffffUL
#define ARG(x)    __global float *x##_buffer, ulong x##_offset
#define ARG_INT(x) __global int *x##_buffer, ulong x##_offset
#define HAS(x)    (x##_offset != ABSENT)
#define USE(x)    __global float *x = x##_buffer + (HAS(x) ? x##_offset : 0)
#define USE_INT(x) __global int *x = x##_buffer + (HAS(x) ? x##_offset : 0)

//------------------------ 2. Vectors ------------------------------------------
// vf: one step of a row. v_load gives 0 behind the `left` columns that the row still has, as what lies there is undefined
// (buffers end in slack, so that a whole vector can always be read). v_store writes no column behind them.
#if BRC_VEC == 16
typedef float16 vf;
typedef int16 vi;
#define V_IDS           ((int16)(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15))
#define v_float(x)      convert_float16(x)
#define v_as_float(x)   as_float16(x)
#define v_as_int(x)     as_int16(x)

// A whole vector at any element: vstore16 makes three stores of it on PoCL.
typedef float16 vf_any __attribute__((aligned(4)));
#define v_at(p) (*(__global vf_any *)(p))

static inline vf v_keep(vf x, uint left) { return left >= 16 ? x : select((vf)0.0f, x, V_IDS < (vi)(int)left); }
static inline vf v_load(__global const float *p, uint left) { return v_keep(*(__global const vf_any *)p, left); }
static inline void v_store(vf x, __global float *p, uint left) {
  if (left >= 16) {
    v_at(p) = x;
    return;
  }
  float8 h8 = x.lo;
  if (left & 8) {
    vstore8(h8, 0, p);
    p += 8;
    h8 = x.hi;
  }
  float4 h4 = h8.lo;
  if (left & 4) {
    vstore4(h4, 0, p);
    p += 4;
    h4 = h8.hi;
  }
  float2 h2 = h4.lo;
  if (left & 2) {
    vstore2(h2, 0, p);
    p += 2;
    h2 = h4.hi;
  }
  if (left & 1) *p = h2.x;
}
static inline float v_sum(vf x) {
  float8 a = x.lo + x.hi;
  float4 b = a.lo + a.hi;
  float2 c = b.lo + b.hi;
  return c.x + c.y;
}
static inline float v_max(vf x) {
  float8 a = max(x.lo, x.hi);
  float4 b = max(a.lo, a.hi);
  float2 c = max(b.lo, b.hi);
  return max(c.x, c.y);
}
#else
typedef float vf;
typedef int vi;
#define V_IDS         0
#define v_float(x)    convert_float(x)
#define v_as_float(x) as_float(x)
#define v_as_int(x)   as_int(x)
static inline vf v_keep(vf x, uint left) { return x; }
static inline vf v_load(__global const float *p, uint left) { return *p; }
static inline void v_store(vf x, __global float *p, uint left) { *p = x; }
#endif

//------------------------ 3. Rows ---------------------------------------------
// ROW(lanes) opens a row kernel: `row`, `lane`, and the local memory that row_sum and row_max need.
// FOR_COLS walks the columns of this lane: `c` is the column, `left` the columns from there to the end.
#if BRC_VEC == 16
#define ROW(lanes)                                                                                      \
  const uint row = (uint)get_group_id(0), lane = 0;                                                     \
  __local float *scratch = 0
#define FOR_COLS(cols, lanes) for (uint c = 0, left = (cols); c < (cols); c += 16, left -= 16)
#define row_sum(x, scratch, lanes) v_sum(x)
#define row_max(x, scratch, lanes) v_max(x)
#define FIRST_LANE true
#else
#define ROW(lanes)                                                                                      \
  const uint row = (uint)get_group_id(0), lane = (uint)get_local_id(0);                                 \
  __local float scratch[(lanes) + FOLDS]
#define FOR_COLS(cols, lanes) for (uint c = lane, left = 1; c < (cols); c += (lanes))
#define FIRST_LANE (lane == 0)
// Of all lanes' values (a power of two, FOLDS or more), for every lane: FOLDS lanes each take every FOLDS-th, then every lane takes those,
// four side by side; unrolled little, for registers. Two barriers, and an order that follows from `lanes` alone. Nobody waits before:
// `scratch` is written when all have read what was folded out of it, what was folded when all have read that.
#define FOLDS 16
#define ROW_FOLD(name, OP)                                                                             \
  static inline float name(float x, __local float *scratch, uint lanes) {                              \
    const uint lane = (uint)get_local_id(0);                                                           \
    __local float *folded = scratch + lanes;                                                           \
    scratch[lane] = x;                                                                                 \
    barrier(CLK_LOCAL_MEM_FENCE);                                                                      \
    if (lane < FOLDS) {                                                                                \
      _Pragma("unroll 4") for (uint i = FOLDS; i < lanes; i += FOLDS) x = OP(x, scratch[lane + i]);    \
      folded[lane] = x;                                                                                \
    }                                                                                                  \
    barrier(CLK_LOCAL_MEM_FENCE);                                                                      \
    float a = folded[0], b = folded[1], c = folded[2], d = folded[3];                                  \
    _Pragma("unroll 1") for (uint i = 4; i < FOLDS; i += 4) {                                          \
      a = OP(a, folded[i]);                                                                            \
      b = OP(b, folded[i + 1]);                                                                        \
      c = OP(c, folded[i + 2]);                                                                        \
      d = OP(d, folded[i + 3]);                                                                        \
    }                                                                                                  \
    return OP(OP(a, b), OP(c, d));                                                                     \
  }
#define ADD(a, b) ((a) + (b))
ROW_FOLD(row_sum, ADD)
ROW_FOLD(row_max, max)
#undef ADD
#endif

//------------------------ 4. Functions ----------------------------------------
// exp to about 1 ulp; 0 below -87.3 (no subnormals), finite above 88, NaN of NaN. Adding 1.5 * 2^23 rounds to a whole number, which then
// lies in the low bits: its exponent is a shift away.
static inline vf v_exp(vf x) {
  const vf magic = 12582912.0f;
  vf near = min(max(x, (vf)-88.0f), (vf)88.0f), shifted = fma(near, (vf)1.44269504f, magic), n = shifted - magic;
  vf r = fma(n, (vf)-1.42860677e-6f, fma(n, (vf)-0.693145752f, near));
  vf p = (vf)1.98756912e-4f;
  p = fma(p, r, (vf)1.39819994e-3f);
  p = fma(p, r, (vf)8.33345205e-3f);
  p = fma(p, r, (vf)4.16657962e-2f);
  p = fma(p, r, (vf)1.66666657e-1f);
  p = fma(p, r, (vf)0.5f);
  p = fma(p, r * r, r) + 1.0f;
  vf y = p * v_as_float((v_as_int(shifted) << 23) + 0x3f800000);
  return select(select(y, (vf)0.0f, x < (vf)-87.3f), x, isnan(x));
}

// log(1 + t) for t in [0, 1]: 2 atanh(t / (2 + t)), no cancellation.
static inline vf v_log1p_unit(vf t) {
  vf s = t / (2.0f + t), z = s * s;
  vf p = (vf)0.0769230769f;
  p = fma(p, z, (vf)0.0909090909f);
  p = fma(p, z, (vf)0.111111111f);
  p = fma(p, z, (vf)0.142857143f);
  p = fma(p, z, (vf)0.2f);
  p = fma(p, z, (vf)0.333333333f);
  return 2.0f * fma(s * z, p, s);
}

static inline vf v_softplus(vf x) { return max(x, (vf)0.0f) + v_log1p_unit(v_exp(-fabs(x))); }

// tanh from z = exp(-2 |u|), and its slope 1 - tanh(u)^2 = 4 z / (1 + z)^2 without cancellation.
static inline vf v_tanh_z(vf u, vf z) {
  vf big = copysign((1.0f - z) / (1.0f + z), u);
  // Near 0 the quotient cancels: an odd polynomial (Cephes), good to 0.625.
  vf q = u * u, p = (vf)-5.70498872745e-3f;
  p = fma(p, q, (vf)2.06390887954e-2f);
  p = fma(p, q, (vf)-5.37397155531e-2f);
  p = fma(p, q, (vf)1.33314422036e-1f);
  p = fma(p, q, (vf)-3.33332819422e-1f);
  return select(big, fma(p * q, u, u), fabs(u) < (vf)0.625f);
}
static inline vf v_tanh(vf u) { return v_tanh_z(u, v_exp(-2.0f * fabs(u))); }
static inline vf v_slope_z(vf z) {
  vf d = 1.0f + z;
  return 4.0f * z / (d * d);
}
#endif
