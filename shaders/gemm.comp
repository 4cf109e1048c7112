// Products in float32: C[e] = op(A[e]) op(B[e]) (+ bias[e]) (+ C[e]), m x n x k, batch e in the third dimension.
// nn: A [m,k], B [k,n].  nt: A [m,k], B [n,k].  tn: A [k,m], B [k,n].
//
// A work-group owns a square tile of C; SIDE x SIDE of its work-items hold it in registers, BLOCKS x BLOCKS blocks of 4 x 4
// each, 4 SIDE apart, so that neighbours read and write neighbours. STEP_K along k lie in shared memory as [k][row] and
// [k][column], between two barriers; while they are multiplied, the next are on their way into registers. For thin
// products SPLITS groups of SIDE x SIDE share the k of a step; their sums are added at the end, always in the same order.
//
// PRECISION other than fp32 rounds the factors as matrix units do: the emulation that tests use on devices without them.
#version 460
#ifdef KERNEL_gemm_4x4
#define BLOCKS 1
#endif
#ifdef KERNEL_gemm_8x8
#define BLOCKS 2
#endif
#include "common.glsl"

layout(constant_id = 1) const uint SIDE = 16;
layout(constant_id = 2) const uint SPLITS = 1;
layout(constant_id = 3) const uint STEP_K = 16;
layout(constant_id = 4) const uint FLAGS = 0;
layout(constant_id = 5) const uint PRECISION = 0;
const bool TA = (FLAGS & 1u) != 0u, TB = (FLAGS & 2u) != 0u;
// Four neighbours in memory lie on 16 bytes.
const bool VECTORS_A = (FLAGS & 4u) != 0u, VECTORS_B = (FLAGS & 8u) != 0u;
const uint TILE = 4 * BLOCKS * SIDE;  // LANES = SIDE SIDE SPLITS
const uint PITCH = TILE / 4 + 1;                  // of shared memory, in quads
const uint QUADS = TILE * STEP_K / (4 * LANES);  // of each operand that a work-item brings in per step

layout(push_constant, std430) uniform Push {
  uvec2 a, b, bias, c;
  brc_gemm_params P;
};
layout(buffer_reference, std430, buffer_reference_align = 16) buffer Vectors { vec4 v[]; };

shared vec4 tile_a[STEP_K * PITCH], tile_b[STEP_K * PITCH];
shared vec4 partial[SPLITS > 1 ? LANES * 4 : 1];

//------------------------ 1. Rounding of factors ------------------------------
// To nearest, ties to even, at bit `at_bit` of float32.
float round_bits(float x, uint at_bit) {
  const uint u = floatBitsToUint(x), unit = 1u << at_bit;
  return isnan(x) ? x : uintBitsToFloat((u + (unit >> 1) - 1u + ((u >> at_bit) & 1u)) & ~(unit - 1u));
}
float saturate(float x, float most) { return x > most ? most : x < -most ? -most : x; }
// tf32 and bf16 have the range of float32, fp16 has subnormals of 2^-24.
float factor(float x, float scale) {
  if (PRECISION == 0u) return x;
  x *= scale;
  if (PRECISION == 1u) return round_bits(saturate(x, 3.4011621342146535e38), 13u);
  if (PRECISION == 2u) return round_bits(saturate(x, 3.3895313892515355e38), 16u);
  x = saturate(x, 65504.0);
  return abs(x) < 6.103515625e-5 ? roundEven(x * 16777216.0) * 5.9604644775390625e-8 : round_bits(x, 13u);
}

//------------------------ 2. A step's operands --------------------------------
// A work-item's u-th quad of an operand: four neighbours in memory, along k or along the tile.
#define QUAD(u)             (gl_LocalInvocationIndex + LANES * (u))
#define QUAD_ROW(i, by_k)   ((by_k) ? (i) / (STEP_K / 4) : (i) % (TILE / 4) * 4)
#define QUAD_DEPTH(i, by_k) ((by_k) ? (i) % (STEP_K / 4) * 4 : (i) / (TILE / 4))

// Behind the edges `rows` and `depth`, counted from `from`, elements are 0.
vec4 fetch(uvec2 from, uint i, uint rows, uint depth, uint ld, float scale, bool by_k, bool vectors) {
  const uint row = QUAD_ROW(i, by_k), k = QUAD_DEPTH(i, by_k), index = by_k ? row * ld + k : k * ld + row;
  const int left = by_k ? (row < rows ? int(depth) - int(k) : 0) : (k < depth ? int(rows) - int(row) : 0);
  vec4 x = vec4(0);
  if (vectors && left >= 4) {
    x = Vectors(from).v[index >> 2];
  } else {
    [[unroll]] for (int j = 0; j < 4; j++)
      if (j < left) x[j] = Floats(from).v[index + j];
  }
  [[unroll]] for (int j = 0; j < 4; j++) x[j] = factor(x[j], scale);
  return x;
}
#define PUT(tile, i, x, by_k)                                                              \
  {                                                                                        \
    const uint row = QUAD_ROW(i, by_k), k = QUAD_DEPTH(i, by_k);                           \
    if (by_k) {                                                                            \
      [[unroll]] for (int j = 0; j < 4; j++) tile[(k + j) * PITCH + row / 4][row % 4] = x[j]; \
    } else {                                                                               \
      tile[k * PITCH + row / 4] = x;                                                       \
    }                                                                                      \
  }

//------------------------ 3. The product --------------------------------------
void main() {
  const uint e = gl_WorkGroupID.z, n0 = gl_WorkGroupID.x * TILE, m0 = gl_WorkGroupID.y * TILE;
  const uint lane = gl_LocalInvocationIndex % (SIDE * SIDE), slice = gl_LocalInvocationIndex / (SIDE * SIDE);
  const uint tx = lane % SIDE, ty = lane / SIDE;
  uvec2 from_a = at(a, e, P.stride_a), from_b = at(b, e, P.stride_b);
  from_a = TA ? at(from_a, m0) : at(from_a, m0, P.lda);
  from_b = TB ? at(from_b, n0, P.ldb) : at(from_b, n0);

  vec4 sum[4 * BLOCKS][BLOCKS], next_a[QUADS], next_b[QUADS];
  [[unroll]] for (uint i = 0; i < 4 * BLOCKS; i++) {
    [[unroll]] for (uint j = 0; j < BLOCKS; j++) sum[i][j] = vec4(0);
  }
  // Step by step: bring in the next, multiply the one before, put the next in its place.
  for (uint k0 = 0; k0 < P.k + STEP_K; k0 += STEP_K) {
    const bool more = k0 < P.k;
    if (more) {
      [[unroll]] for (uint u = 0; u < QUADS; u++) {
        next_a[u] = fetch(from_a, QUAD(u), P.m - m0, P.k - k0, P.lda, P.scale_a, !TA, VECTORS_A);
        next_b[u] = fetch(from_b, QUAD(u), P.n - n0, P.k - k0, P.ldb, P.scale_b, TB, VECTORS_B);
      }
      from_a = TA ? at(from_a, STEP_K, P.lda) : at(from_a, STEP_K);
      from_b = TB ? at(from_b, STEP_K) : at(from_b, STEP_K, P.ldb);
    }
    for (uint k = k0 > 0 ? slice : STEP_K; k < STEP_K; k += SPLITS) {
      vec4 x[BLOCKS], y[BLOCKS];
      [[unroll]] for (uint i = 0; i < BLOCKS; i++) x[i] = tile_a[k * PITCH + i * SIDE + ty];
      [[unroll]] for (uint j = 0; j < BLOCKS; j++) y[j] = tile_b[k * PITCH + j * SIDE + tx];
      [[unroll]] for (uint i = 0; i < 4 * BLOCKS; i++) {
        [[unroll]] for (uint j = 0; j < BLOCKS; j++) sum[i][j] = fma(vec4(x[i / 4][i % 4]), y[j], sum[i][j]);
      }
    }
    barrier();
    if (more) {
      [[unroll]] for (uint u = 0; u < QUADS; u++) {
        PUT(tile_a, QUAD(u), next_a[u], !TA)
        PUT(tile_b, QUAD(u), next_b[u], TB)
      }
    }
    barrier();
  }

  if (SPLITS > 1) {
    [[unroll]] for (uint i = 0; i < 4; i++) partial[i * LANES + gl_LocalInvocationIndex] = sum[i][0];
    barrier();
    if (slice > 0) return;
    for (uint s = 1; s < SPLITS; s++) {
      [[unroll]] for (uint i = 0; i < 4; i++) sum[i][0] += partial[i * LANES + s * SIDE * SIDE + lane];
    }
  }

  const float unscale = PRECISION == 0u ? 1.0 : 1.0 / (P.scale_a * P.scale_b);
  const uvec2 bias_e = at(bias, e, P.stride_bias), c_e = at(c, e, P.stride_c);
  [[unroll]] for (uint i = 0; i < 4 * BLOCKS; i++) {
    const uint m = m0 + i / 4 * 4 * SIDE + ty * 4 + i % 4;
    if (m >= P.m) continue;
    Floats to = Floats(at(c_e, m, P.ldc));
    [[unroll]] for (uint j = 0; j < BLOCKS; j++) {
      [[unroll]] for (uint h = 0; h < 4; h++) {
        const uint n = n0 + j * 4 * SIDE + tx * 4 + h;
        if (n >= P.n) continue;
        float s = sum[i][j][h] * unscale;
        if (HAS(bias)) s += Floats(bias_e).v[n];
        if (P.accumulate != 0u) s += to.v[n];
        to.v[n] = s;
      }
    }
  }
}
