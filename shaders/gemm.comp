// Products in float32: C[e] = op(A[e]) op(B[e]) (+ bias[e]) (+ C[e]), m x n x k, batch e in the third dimension.
// nn: A [m,k], B [k,n].  nt: A [m,k], B [n,k].  tn: A [k,m], B [k,n].
//
// A work-group owns a square tile of C, after whose size its kernel is called; SIDE x SIDE of its work-items hold it in registers,
// BLOCKS x BLOCKS blocks of 4 x 4 each, 4 SIDE apart, so that neighbours read and write neighbours. STEP_K along k lie in shared
// memory as [k][row] and [k][column], between two barriers; while they are multiplied, the next are on their way into registers. For
// thin products SPLITS groups of SIDE x SIDE share the k of a step; their sums are added at the end, always in the same order.
// gemm_few is for CPUs' drivers, to which barriers cost more than reading: few work-items that do much each, and nothing is STAGED in
// registers.
//
// PRECISION other than fp32 rounds the factors as matrix units do: the emulation that tests use on devices without them.
#version 460
#ifdef KERNEL_gemm_128
const uint BLOCKS = 2, SIDE = 16, SPLITS = 1, STEP_K = 16;
const bool STAGED = true;
#endif
#ifdef KERNEL_gemm_64
const uint BLOCKS = 1, SIDE = 16, SPLITS = 1, STEP_K = 16;
const bool STAGED = true;
#endif
#ifdef KERNEL_gemm_32
const uint BLOCKS = 1, SIDE = 8, SPLITS = 1, STEP_K = 16;
const bool STAGED = true;
#endif
#ifdef KERNEL_gemm_16
const uint BLOCKS = 1, SIDE = 4, SPLITS = 16, STEP_K = 64;
const bool STAGED = true;
#endif
#ifdef KERNEL_gemm_few
const uint BLOCKS = 2, SIDE = 4, SPLITS = 1, STEP_K = 16;
const bool STAGED = false;
#endif
const uint GROUP = SIDE * SIDE, TILE = 4 * BLOCKS * SIDE;  // GROUP * SPLITS work-items
const uint PITCH = TILE / 4 + 1;                          // of shared memory, in quads
const uint QUADS = TILE * STEP_K / (4 * GROUP * SPLITS);  // of each operand that a work-item brings in per step
#define TILE_M TILE
#define TILE_N TILE
#include "common.glsl"
#include "product.glsl"
layout(constant_id = 2) const uint PRECISION = 0;
const bool VECTORS_C = (FLAGS & 16u) != 0u;  // of C and bias; n is a multiple of 4

shared vec4 tile_a[STEP_K * PITCH], tile_b[STEP_K * PITCH];
shared vec4 partial[SPLITS > 1 ? GROUP * SPLITS * 4 : 1];

//------------------------ 1. Rounding of factors ------------------------------
// To nearest, ties to even, at bit `at_bit` of float32.
float round_bits(float x, uint at_bit) {
  const uint u = floatBitsToUint(x), unit = 1u << at_bit;
  return isnan(x) ? x : uintBitsToFloat((u + (unit >> 1) - 1u + ((u >> at_bit) & 1u)) & ~(unit - 1u));
}
float saturate(float x, float most) { return x > most ? most : x < -most ? -most : x; }
// tf32 and bf16 have the range of float32, fp16 has subnormals of 2^-24.
float factor(float x, float scale) {
  x *= scale;
  if (PRECISION == 1u) return round_bits(saturate(x, 3.4011621342146535e38), 13u);
  if (PRECISION == 2u) return round_bits(saturate(x, 3.3895313892515355e38), 16u);
  x = saturate(x, 65504.0);
  return abs(x) < 6.103515625e-5 ? roundEven(x * 16777216.0) * 5.9604644775390625e-8 : round_bits(x, 13u);
}
vec4 factors(vec4 x, float scale) {
  return PRECISION == 0u
             ? x
             : vec4(factor(x.x, scale), factor(x.y, scale), factor(x.z, scale), factor(x.w, scale));
}

//------------------------ 2. Four neighbours of C ------------------------------
// From column n on: their bias, their place.
vec4 bias_of(uint e, uint n) {
  vec4 x = vec4(0);
  if (HAS(bias) && n < P.n) x = four(at(bias, e, P.stride_bias), n, P.n - n - 1u, VECTORS_C);
  return x;
}
void store_quad(vec4 sum, uint e, uint m, uint n) {
  if (m < P.m && n < P.n) {
    const uvec2 to = place_in_c(e, m, n);
    if (VECTORS_C) {
      if (P.accumulate != 0u) sum += Vectors(to).v[0];
      Vectors(to).v[0] = sum;
    } else {
      store(to, sum.x);
      if (n + 1u < P.n) store(at(to, 1), sum.y);
      if (n + 2u < P.n) store(at(to, 2), sum.z);
      if (n + 3u < P.n) store(at(to, 3), sum.w);
    }
  }
}

//------------------------ 3. The product --------------------------------------
#define PUT(tile, u, value, by_k)                          \
  {                                                        \
    const uvec2 quad = quad_of(u, TILE, by_k);             \
    const vec4 x = value;                                  \
    const uint row = quad.x / 4, odd = quad.x % 4;         \
    if (by_k) {                                            \
      tile[(quad.y + 0) * PITCH + row][odd] = x[0];        \
      tile[(quad.y + 1) * PITCH + row][odd] = x[1];        \
      tile[(quad.y + 2) * PITCH + row][odd] = x[2];        \
      tile[(quad.y + 3) * PITCH + row][odd] = x[3];        \
    } else {                                               \
      tile[quad.y * PITCH + row] = x;                      \
    }                                                      \
  }
#define PUT_BOTH(u, quad_a, quad_b)                  \
  PUT(tile_a, u, factors(quad_a, P.scale_a), !TA)    \
  PUT(tile_b, u, factors(quad_b, P.scale_b), TB)
#define FETCH                                     \
  [[unroll]] for (uint u = 0; u < QUADS; u++) {   \
    quads_a[u] = fetch_a(from_a, u, m0, k0);      \
    quads_b[u] = fetch_b(from_b, u, n0, k0);      \
  }

void main() {
  const uint e = gl_WorkGroupID.z, n0 = gl_WorkGroupID.x * TILE, m0 = gl_WorkGroupID.y * TILE;
  const uint lane = LANE % GROUP, slice = LANE / GROUP, tx = lane % SIDE, ty = lane / SIDE;
  uvec2 from_a = first_a(e, m0), from_b = first_b(e, n0);

  vec4 sum[4 * BLOCKS][BLOCKS], quads_a[QUADS], quads_b[QUADS];
  [[unroll]] for (uint i = 0; i < 4 * BLOCKS; i++) {
    [[unroll]] for (uint j = 0; j < BLOCKS; j++) sum[i][j] = vec4(0);
  }
  uint k0 = 0;
  if (STAGED) FETCH
  // Step by step: put a step in its place, bring in the next, multiply.
  while (true) {
    if (STAGED) {
      [[unroll]] for (uint u = 0; u < QUADS; u++) { PUT_BOTH(u, quads_a[u], quads_b[u]) }
    } else {
      [[dont_unroll]] for (uint u = 0; u < QUADS; u++) {
        PUT_BOTH(u, fetch_a(from_a, u, m0, k0), fetch_b(from_b, u, n0, k0))
      }
    }
    barrier();
    k0 += STEP_K;
    const bool more = k0 < P.k;
    if (more) {
      from_a = next_a(from_a);
      from_b = next_b(from_b);
      if (STAGED) FETCH
    }
    for (uint k = slice; k < STEP_K; k += SPLITS) {
      vec4 x[BLOCKS], y[BLOCKS];
      [[unroll]] for (uint i = 0; i < BLOCKS; i++) x[i] = tile_a[k * PITCH + i * SIDE + ty];
      [[unroll]] for (uint j = 0; j < BLOCKS; j++) y[j] = tile_b[k * PITCH + j * SIDE + tx];
      [[unroll]] for (uint i = 0; i < 4 * BLOCKS; i++) {
        [[unroll]] for (uint j = 0; j < BLOCKS; j++) sum[i][j] = fma(vec4(x[i / 4][i % 4]), y[j], sum[i][j]);
      }
    }
    if (!more) break;
    barrier();
  }

  if (SPLITS > 1) {
    [[unroll]] for (uint i = 0; i < 4; i++) partial[i * LANES + LANE] = sum[i][0];
    barrier();
    if (slice > 0) return;
    for (uint s = 1; s < SPLITS; s++) {
      [[unroll]] for (uint i = 0; i < 4; i++) sum[i][0] += partial[i * LANES + s * GROUP + lane];
    }
  }

  const float unscale = PRECISION == 0u ? 1.0 : 1.0 / (P.scale_a * P.scale_b);
  const uint m = m0 + ty * 4, n = n0 + tx * 4;
  [[unroll]] for (uint j = 0; j < BLOCKS; j++) {
    const vec4 add = bias_of(e, n + j * 4 * SIDE);
    [[unroll]] for (uint i = 0; i < 4 * BLOCKS; i++) sum[i][j] = fma(vec4(unscale), sum[i][j], add);
  }
#define STORE(i, j, sums) store_quad(sums[i][j], e, m + i / 4 * 4 * SIDE + i % 4, n + j * 4 * SIDE);
  if (STAGED) {
    [[unroll]] for (uint i = 0; i < 4 * BLOCKS; i++) {
      [[unroll]] for (uint j = 0; j < BLOCKS; j++) STORE(i, j, sum)
    }
  } else {
    // In a loop, from a copy that may lie in memory: CPUs' drivers are slow to compile each copy of a store.
    vec4 sums[4 * BLOCKS][BLOCKS];
    [[unroll]] for (uint i = 0; i < 4 * BLOCKS; i++) {
      [[unroll]] for (uint j = 0; j < BLOCKS; j++) sums[i][j] = sum[i][j];
    }
    [[dont_unroll]] for (uint i = 0; i < 4 * BLOCKS; i++)
      [[dont_unroll]] for (uint j = 0; j < BLOCKS; j++) STORE(i, j, sums)
  }
}
