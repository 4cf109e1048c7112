// Products on matrix units: factors rounded to 16 bits, sums in float32. Layouts and operands as in gemm.comp; kernels
// gemm_coopmat_fp16 and gemm_coopmat_bf16.
//
// A work-group owns TILE_M x TILE_N of C, its subgroups a grid of equal parts, SUBGROUPS_M along m; a part is held in cooperative
// matrices, whose shape MM x NN x KK is the device's. STEP_K along k lie in shared memory, as they lie in memory ([row][k] or
// [k][row]), scaled, saturated and rounded on the way in; twice, so that there is one barrier per step: while a step is
// multiplied, the next is on its way into registers. Pitches have 8 elements to spare: rows start in different banks.
// At the end each subgroup passes its sums through its own piece of shared memory, one matrix at a time, because edges, bias and
// what is added to need them element by element.
//
// The compilers of current distributions do not know cooperative matrices: the build embeds prebuilt/, which tools/build_shaders
// makes from this file.
#version 460
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
#ifdef KERNEL_gemm_coopmat_fp16
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#define Half  float16_t
#define Half4 f16vec4
#endif
#ifdef KERNEL_gemm_coopmat_bf16
#extension GL_EXT_bfloat16 : require
#define Half  bfloat16_t
#define Half4 bf16vec4
#endif
#include "common.glsl"

layout(constant_id = 1) const uint TILE_M = 128;
layout(constant_id = 2) const uint TILE_N = 128;
layout(constant_id = 3) const uint SUBGROUPS_M = 2;
layout(constant_id = 4) const uint FLAGS = 0;
layout(constant_id = 5) const uint MM = 16;
layout(constant_id = 6) const uint NN = 16;
layout(constant_id = 7) const uint KK = 16;
const bool TA = (FLAGS & 1u) != 0u, TB = (FLAGS & 2u) != 0u;
// Four neighbours in memory lie on 16 bytes; factors are scaled.
const bool VECTORS_A = (FLAGS & 4u) != 0u, VECTORS_B = (FLAGS & 8u) != 0u, SCALED = (FLAGS & 16u) != 0u;
const uint SUBGROUPS_N = FLAGS >> 8, SUBGROUPS = SUBGROUPS_M * SUBGROUPS_N;
const uint STEP_K = 32;
const uint PART_M = TILE_M / SUBGROUPS_M, PART_N = TILE_N / SUBGROUPS_N;
const uint COUNT_M = PART_M / MM, COUNT_N = PART_N / NN;  // of matrices
const uint PITCH_A = (TA ? TILE_M : STEP_K) + 8, PITCH_B = (TB ? STEP_K : TILE_N) + 8;
const uint SIZE_A = (TA ? STEP_K : TILE_M) * PITCH_A, SIZE_B = (TB ? TILE_N : STEP_K) * PITCH_B;
const uint QUADS_A = TILE_M * STEP_K / (4 * LANES), QUADS_B = TILE_N * STEP_K / (4 * LANES);

layout(push_constant, std430) uniform Push {
  uvec2 a, b, bias, c;
  brc_gemm_params P;
};
layout(buffer_reference, std430, buffer_reference_align = 16) buffer Vectors { vec4 v[]; };

shared Half4 tile_a[2 * SIZE_A / 4], tile_b[2 * SIZE_B / 4];
shared float parts[SUBGROUPS * MM * NN];

//------------------------ 1. A step's operands --------------------------------
// A work-item's u-th quad of an operand: four neighbours in memory, along k or along the tile.
#define QUAD(u)                   (LANE + LANES * (u))
#define QUAD_ROW(i, tile, by_k)   ((by_k) ? (i) / (STEP_K / 4) : (i) % (tile / 4) * 4)
#define QUAD_DEPTH(i, tile, by_k) ((by_k) ? (i) % (STEP_K / 4) * 4 : (i) / (tile / 4))

// Behind the edges `rows` and `depth`, counted from `from`, elements are 0.
vec4 fetch(uvec2 from, uint row, uint k, uint rows, uint depth, uint ld, bool by_k, bool vectors) {
  const uint index = by_k ? row * ld + k : k * ld + row;
  const int left = by_k ? (row < rows ? int(depth) - int(k) : 0) : (k < depth ? int(rows) - int(row) : 0);
  if (vectors && left >= 4) return Vectors(from).v[index >> 2];
  vec4 x = vec4(0);
  [[unroll]] for (int j = 0; j < 4; j++)
    if (j < left) x[j] = Floats(from).v[index + j];
  return x;
}
// What is too large becomes the largest number, NaN stays. bf16 has the range of float32.
Half4 factors(vec4 x, float scale) {
  if (SCALED) x *= scale;
#ifdef KERNEL_gemm_coopmat_fp16
  [[unroll]] for (int j = 0; j < 4; j++) x[j] = is_nan(x[j]) ? x[j] : clamp(x[j], -65504.0, 65504.0);
#endif
  return Half4(x);
}

//------------------------ 2. The product --------------------------------------
void main() {
  const uint e = gl_WorkGroupID.z, n0 = gl_WorkGroupID.x * TILE_N, m0 = gl_WorkGroupID.y * TILE_M;
  const uint part_m = gl_SubgroupID % SUBGROUPS_M * PART_M, part_n = gl_SubgroupID / SUBGROUPS_M * PART_N;
  uvec2 from_a = at(a, e, P.stride_a), from_b = at(b, e, P.stride_b);
  from_a = TA ? at(from_a, m0) : at(from_a, m0, P.lda);
  from_b = TB ? at(from_b, n0, P.ldb) : at(from_b, n0);

  coopmat<float, gl_ScopeSubgroup, MM, NN, gl_MatrixUseAccumulator> sum[COUNT_M][COUNT_N];
  [[unroll]] for (uint i = 0; i < COUNT_M; i++) {
    [[unroll]] for (uint j = 0; j < COUNT_N; j++)
      sum[i][j] = coopmat<float, gl_ScopeSubgroup, MM, NN, gl_MatrixUseAccumulator>(0.0);
  }
  vec4 next_a[QUADS_A], next_b[QUADS_B];
  // Step by step: bring in the next, multiply the one before, put the next into the other copy of the tiles.
  uint copy = 0;
  for (uint k0 = 0; k0 < P.k + STEP_K; k0 += STEP_K) {
    const bool more = k0 < P.k;
    if (more) {
      [[unroll]] for (uint u = 0; u < QUADS_A; u++)
        next_a[u] = fetch(from_a, QUAD_ROW(QUAD(u), TILE_M, !TA), QUAD_DEPTH(QUAD(u), TILE_M, !TA), P.m - m0, P.k - k0,
                          P.lda, !TA, VECTORS_A);
      [[unroll]] for (uint u = 0; u < QUADS_B; u++)
        next_b[u] = fetch(from_b, QUAD_ROW(QUAD(u), TILE_N, TB), QUAD_DEPTH(QUAD(u), TILE_N, TB), P.n - n0, P.k - k0,
                          P.ldb, TB, VECTORS_B);
      from_a = TA ? at(from_a, STEP_K, P.lda) : at(from_a, STEP_K);
      from_b = TB ? at(from_b, STEP_K) : at(from_b, STEP_K, P.ldb);
    }
    if (k0 > 0) {
      const uint in_a = (1 - copy) * SIZE_A, in_b = (1 - copy) * SIZE_B;
      for (uint k = 0; k < STEP_K; k += KK) {
        coopmat<Half, gl_ScopeSubgroup, MM, KK, gl_MatrixUseA> x[COUNT_M];
        coopmat<Half, gl_ScopeSubgroup, KK, NN, gl_MatrixUseB> y;
        [[unroll]] for (uint i = 0; i < COUNT_M; i++) {
          const uint row = part_m + i * MM;
          if (TA)
            coopMatLoad(x[i], tile_a, (in_a + k * PITCH_A + row) / 4, PITCH_A / 4, gl_CooperativeMatrixLayoutColumnMajor);
          else
            coopMatLoad(x[i], tile_a, (in_a + row * PITCH_A + k) / 4, PITCH_A / 4, gl_CooperativeMatrixLayoutRowMajor);
        }
        [[unroll]] for (uint j = 0; j < COUNT_N; j++) {
          const uint column = part_n + j * NN;
          if (TB)
            coopMatLoad(y, tile_b, (in_b + column * PITCH_B + k) / 4, PITCH_B / 4, gl_CooperativeMatrixLayoutColumnMajor);
          else
            coopMatLoad(y, tile_b, (in_b + k * PITCH_B + column) / 4, PITCH_B / 4, gl_CooperativeMatrixLayoutRowMajor);
          [[unroll]] for (uint i = 0; i < COUNT_M; i++) sum[i][j] = coopMatMulAdd(x[i], y, sum[i][j]);
        }
      }
    }
    if (more) {
      const uint in_a = copy * SIZE_A, in_b = copy * SIZE_B;
      [[unroll]] for (uint u = 0; u < QUADS_A; u++) {
        const uint row = QUAD_ROW(QUAD(u), TILE_M, !TA), k = QUAD_DEPTH(QUAD(u), TILE_M, !TA);
        tile_a[(in_a + (TA ? k * PITCH_A + row : row * PITCH_A + k)) / 4] = factors(next_a[u], P.scale_a);
      }
      [[unroll]] for (uint u = 0; u < QUADS_B; u++) {
        const uint row = QUAD_ROW(QUAD(u), TILE_N, TB), k = QUAD_DEPTH(QUAD(u), TILE_N, TB);
        tile_b[(in_b + (TB ? row * PITCH_B + k : k * PITCH_B + row)) / 4] = factors(next_b[u], P.scale_b);
      }
    }
    // The tiles are there; and every subgroup is done with the other copy, so that the step after may be put into it.
    barrier();
    copy = 1 - copy;
  }

  const float unscale = SCALED ? 1.0 / (P.scale_a * P.scale_b) : 1.0;
  const uvec2 bias_e = at(bias, e, P.stride_bias), c_e = at(c, e, P.stride_c);
  const uint own = gl_SubgroupID * MM * NN;
  [[unroll]] for (uint i = 0; i < COUNT_M; i++) {
    [[unroll]] for (uint j = 0; j < COUNT_N; j++) {
      coopMatStore(sum[i][j], parts, own, NN, gl_CooperativeMatrixLayoutRowMajor);
      subgroupMemoryBarrierShared();
      subgroupBarrier();
      [[dont_unroll]] for (uint h = gl_SubgroupInvocationID; h < MM * NN; h += gl_SubgroupSize) {
        const uint m = m0 + part_m + i * MM + h / NN, n = n0 + part_n + j * NN + h % NN;
        if (m >= P.m || n >= P.n) continue;
        Floats to = Floats(at(c_e, m, P.ldc));
        float s = parts[own + h] * unscale;
        if (HAS(bias)) s += Floats(bias_e).v[n];
        if (P.accumulate != 0u) s += to.v[n];
        to.v[n] = s;
      }
      subgroupMemoryBarrierShared();
      subgroupBarrier();
    }
  }
}
