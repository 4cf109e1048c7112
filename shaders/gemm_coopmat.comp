// Products on matrix units: factors rounded to 16 bits, sums in float32. Layouts and operands as in gemm.comp.
//
// A work-group owns TILE_M x TILE_N of C, its SUBGROUPS_M x SUBGROUPS_N subgroups equal parts, each of which is COUNT_M x COUNT_N
// cooperative matrices of the device's shape MM x NN x KK; kernels are called by these counts. STEP_K along k lie in shared memory, as
// they lie in memory ([row][k] or [k][row]), scaled, saturated and rounded on the way in; twice, so that there is one barrier per step:
// while a step is multiplied, the next is on its way into registers. Pitches have 8 elements to spare: rows start in different banks.
// At the end each subgroup passes its sums through its own piece of shared memory, one matrix at a time, because edges, bias and
// what is added to need them element by element.
//
// The compilers of current distributions do not know cooperative matrices: the build embeds prebuilt/, which tools/build_shaders
// makes from this file.
#version 460
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
// The build finds kernels by these lines.
#ifdef KERNEL_gemm_coopmat_fp16_4x2
#define FP16
#define COUNTS_4X2
#endif
#ifdef KERNEL_gemm_coopmat_fp16_2x2
#define FP16
#define COUNTS_2X2
#endif
#ifdef KERNEL_gemm_coopmat_fp16_1x1
#define FP16
#endif
#ifdef KERNEL_gemm_coopmat_bf16_4x2
#define COUNTS_4X2
#endif
#ifdef KERNEL_gemm_coopmat_bf16_2x2
#define COUNTS_2X2
#endif
#ifdef KERNEL_gemm_coopmat_bf16_1x1
#endif

#ifdef FP16
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#define Half  float16_t
#define Half4 f16vec4
#else
#extension GL_EXT_bfloat16 : require
#define Half  bfloat16_t
#define Half4 bf16vec4
#endif

#if defined COUNTS_4X2
const uint COUNT_M = 4, COUNT_N = 2;
#define EACH_M(F) F(0) F(1) F(2) F(3)
#define EACH_N(F) F(0) F(1)
#define EACH(F)   F(0, 0) F(1, 0) F(2, 0) F(3, 0) F(0, 1) F(1, 1) F(2, 1) F(3, 1)
#elif defined COUNTS_2X2
const uint COUNT_M = 2, COUNT_N = 2;
#define EACH_M(F) F(0) F(1)
#define EACH_N(F) F(0) F(1)
#define EACH(F)   F(0, 0) F(1, 0) F(0, 1) F(1, 1)
#else
const uint COUNT_M = 1, COUNT_N = 1;
#define EACH_M(F) F(0)
#define EACH_N(F) F(0)
#define EACH(F)   F(0, 0)
#endif
#define EACH_QUAD(F) F(0) F(1) F(2) F(3) F(4) F(5) F(6) F(7)
const uint QUADS_MOST = 8, STEP_K = 32;

#include "common.glsl"
layout(constant_id = 2) const uint SUBGROUPS_M = 2;
layout(constant_id = 3) const uint SUBGROUPS_N = 2;
layout(constant_id = 4) const uint MM = 16;
layout(constant_id = 5) const uint NN = 16;
layout(constant_id = 6) const uint KK = 16;
const uint PART_M = COUNT_M * MM, PART_N = COUNT_N * NN, TILE_M = SUBGROUPS_M * PART_M, TILE_N = SUBGROUPS_N * PART_N;
#include "product.glsl"
const bool SCALED = (FLAGS & 16u) != 0u;
const uint PITCH_A = (TA ? TILE_M : STEP_K) + 8, PITCH_B = (TB ? STEP_K : TILE_N) + 8;
const uint SIZE_A = (TA ? STEP_K : TILE_M) * PITCH_A, SIZE_B = (TB ? TILE_N : STEP_K) * PITCH_B;
const uint QUADS_A = TILE_M * STEP_K / (4 * LANES), QUADS_B = TILE_N * STEP_K / (4 * LANES);

shared Half4 tile_a[2 * SIZE_A / 4], tile_b[2 * SIZE_B / 4];
shared float parts[SUBGROUPS_M * SUBGROUPS_N * MM * NN];

// What is too large becomes the largest number, NaN stays. bf16 has the range of float32.
float saturate(float x) { return is_nan(x) ? x : clamp(x, -65504.0, 65504.0); }
Half4 factors(vec4 x, float scale) {
  if (SCALED) x *= scale;
#ifdef FP16
  x = vec4(saturate(x.x), saturate(x.y), saturate(x.z), saturate(x.w));
#endif
  return Half4(x);
}

// A quad's place in an operand's tile, in fours.
uint place(uint u, uint tile, uint pitch, bool by_k) {
  const uvec2 quad = quad_of(u, tile, by_k);
  return (by_k ? quad.x * pitch + quad.y : quad.y * pitch + quad.x) / 4;
}
void put_a(uint copy, uint u, vec4 x) {
  tile_a[copy * (SIZE_A / 4) + place(u, TILE_M, PITCH_A, !TA)] = factors(x, P.scale_a);
}
void put_b(uint copy, uint u, vec4 x) {
  tile_b[copy * (SIZE_B / 4) + place(u, TILE_N, PITCH_B, TB)] = factors(x, P.scale_b);
}
#define FETCH(u)                                                 \
  if (u < QUADS_A) quads_a[u] = fetch_a(from_a, u, m0, k0); \
  if (u < QUADS_B) quads_b[u] = fetch_b(from_b, u, n0, k0);
#define PUT(u)                                     \
  if (u < QUADS_A) put_a(copy, u, quads_a[u]); \
  if (u < QUADS_B) put_b(copy, u, quads_b[u]);

// Matrices of the step that begins at k.
#define LOAD_A(i)                                                                                                   \
  if (TA)                                                                                                           \
    coopMatLoad(x[i], tile_a, (copy * SIZE_A + k * PITCH_A + part_m + i * MM) / 4, PITCH_A / 4,                     \
                gl_CooperativeMatrixLayoutColumnMajor);                                                             \
  else                                                                                                              \
    coopMatLoad(x[i], tile_a, (copy * SIZE_A + (part_m + i * MM) * PITCH_A + k) / 4, PITCH_A / 4,                   \
                gl_CooperativeMatrixLayoutRowMajor);
#define LOAD_B(j)                                                                                                   \
  if (TB)                                                                                                           \
    coopMatLoad(y[j], tile_b, (copy * SIZE_B + (part_n + j * NN) * PITCH_B + k) / 4, PITCH_B / 4,                   \
                gl_CooperativeMatrixLayoutColumnMajor);                                                             \
  else                                                                                                              \
    coopMatLoad(y[j], tile_b, (copy * SIZE_B + k * PITCH_B + part_n + j * NN) / 4, PITCH_B / 4,                     \
                gl_CooperativeMatrixLayoutRowMajor);
#define ZERO(i, j)     sum[i][j] = coopmat<float, gl_ScopeSubgroup, MM, NN, gl_MatrixUseAccumulator>(0.0);
#define MULTIPLY(i, j) sum[i][j] = coopMatMulAdd(x[i], y[j], sum[i][j]);
#define STORE(i, j)                                                            \
  coopMatStore(sum[i][j], parts, own, NN, gl_CooperativeMatrixLayoutRowMajor); \
  store_part(own, e, m0 + part_m + i * MM, n0 + part_n + j * NN);

// The matrix that this subgroup has put at `own`.
void store_part(uint own, uint e, uint m, uint n) {
  const float unscale = SCALED ? 1.0 / (P.scale_a * P.scale_b) : 1.0;
  subgroupMemoryBarrierShared();
  subgroupBarrier();
  [[dont_unroll]] for (uint h = gl_SubgroupInvocationID; h < MM * NN; h += gl_SubgroupSize) {
    const uint row = m + h / NN, column = n + h % NN;
    if (row < P.m && column < P.n) {
      const float add = HAS(bias) ? Floats(at(bias, e, P.stride_bias)).v[column] : 0.0;
      store(place_in_c(e, row, column), fma(parts[own + h], unscale, add));
    }
  }
  subgroupMemoryBarrierShared();
  subgroupBarrier();
}

void main() {
  const uint e = gl_WorkGroupID.z, n0 = gl_WorkGroupID.x * TILE_N, m0 = gl_WorkGroupID.y * TILE_M;
  const uint part_m = gl_SubgroupID % SUBGROUPS_M * PART_M, part_n = gl_SubgroupID / SUBGROUPS_M * PART_N;
  uvec2 from_a = first_a(e, m0), from_b = first_b(e, n0);

  coopmat<float, gl_ScopeSubgroup, MM, NN, gl_MatrixUseAccumulator> sum[COUNT_M][COUNT_N];
  coopmat<Half, gl_ScopeSubgroup, MM, KK, gl_MatrixUseA> x[COUNT_M];
  coopmat<Half, gl_ScopeSubgroup, KK, NN, gl_MatrixUseB> y[COUNT_N];
  vec4 quads_a[QUADS_MOST], quads_b[QUADS_MOST];
  EACH(ZERO)
  uint k0 = 0, copy = 0;
  EACH_QUAD(FETCH)
  EACH_QUAD(PUT)
  // Step by step: bring in the next, multiply the one before, put the next into the other copy of the tiles.
  while (true) {
    // The tiles are there; and every subgroup is done with the other copy.
    barrier();
    k0 += STEP_K;
    const bool more = k0 < P.k;
    if (more) {
      from_a = next_a(from_a);
      from_b = next_b(from_b);
      EACH_QUAD(FETCH)
    }
    for (uint k = 0; k < STEP_K; k += KK) {
      EACH_M(LOAD_A)
      EACH_N(LOAD_B)
      EACH(MULTIPLY)
    }
    if (!more) break;
    copy = 1 - copy;
    EACH_QUAD(PUT)
  }

  const uint own = gl_SubgroupID * MM * NN;
  EACH(STORE)
}
