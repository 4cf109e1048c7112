// What products share: operands, how the factors of a step along k are read, how C is written. Before it stand common.glsl, TILE_M and
// TILE_N (of a work-group) and STEP_K; specialisation constants of a kernel's own begin at 2.
//
// Nothing that lives in registers is an array that a loop of the compiled module indexes: a driver that does not unroll such a loop keeps
// the array in memory, sums included. tools/isa_check looks for such arrays.
layout(constant_id = 1) const uint FLAGS = 0;
const bool TA = (FLAGS & 1u) != 0u, TB = (FLAGS & 2u) != 0u;
// Four neighbours in memory lie on 16 bytes.
const bool VECTORS_A = (FLAGS & 4u) != 0u, VECTORS_B = (FLAGS & 8u) != 0u;

layout(push_constant, std430) uniform Push {
  uvec2 a, b, bias, c;
  brc_gemm_params P;
};
layout(buffer_reference, std430, buffer_reference_align = 16) buffer Vectors { vec4 v[]; };

//------------------------ 1. Factors ------------------------------------------
// A work-item's u-th quad of an operand's step: four neighbours in memory, along k (`by_k`) or along the tile. Its row and depth there.
uvec2 quad_of(uint u, uint tile, bool by_k) {
  const uint i = LANE + LANES * u;
  return by_k ? uvec2(i / (STEP_K / 4), i % (STEP_K / 4) * 4) : uvec2(i % (tile / 4) * 4, i / (tile / 4));
}

// Four neighbours from `here` on, no further than `last` behind it.
vec4 four(uvec2 from, uint here, uint last, bool vectors) {
  return vectors ? Vectors(from).v[here >> 2]
                 : vec4(Floats(from).v[here], Floats(from).v[here + min(1u, last)], Floats(from).v[here + min(2u, last)],
                        Floats(from).v[here + min(3u, last)]);
}

// That quad. Behind `depth`, counted from `from`, there are zeros; behind `rows` there is anything, as what becomes of it is not stored.
// No load is behind a branch, so that all of a step's are on their way at once; quads on 16 bytes end within the row's pitch.
vec4 fetch(uvec2 from, uvec2 quad, uint rows, uint depth, uint ld, bool by_k, bool vectors) {
  const bool inside = quad.x < rows && quad.y < depth;
  const uint here = inside ? by_k ? quad.x * ld + quad.y : quad.y * ld + quad.x : 0u;
  const uint last = inside ? (by_k ? depth - quad.y : rows - quad.x) - 1u : 0u;
  vec4 x = four(from, here, last, vectors);
  if (depth < STEP_K)
    x = mix(vec4(0), x, lessThan(by_k ? quad.y + uvec4(0, 1, 2, 3) : uvec4(quad.y), uvec4(depth)));
  return x;
}

// The u-th quads of A and B, whose tiles begin at row m0 and n0 and whose step at k0, `from` on.
vec4 fetch_a(uvec2 from, uint u, uint m0, uint k0) {
  return fetch(from, quad_of(u, TILE_M, !TA), P.m - m0, P.k - k0, P.lda, !TA, VECTORS_A);
}
vec4 fetch_b(uvec2 from, uint u, uint n0, uint k0) {
  return fetch(from, quad_of(u, TILE_N, TB), P.n - n0, P.k - k0, P.ldb, TB, VECTORS_B);
}
uvec2 first_a(uint e, uint m0) {
  return TA ? at(at(a, e, P.stride_a), m0) : at(at(a, e, P.stride_a), m0, P.lda);
}
uvec2 first_b(uint e, uint n0) {
  return TB ? at(at(b, e, P.stride_b), n0, P.ldb) : at(at(b, e, P.stride_b), n0);
}
uvec2 next_a(uvec2 from) { return TA ? at(from, STEP_K, P.lda) : at(from, STEP_K); }
uvec2 next_b(uvec2 from) { return TB ? at(from, STEP_K) : at(from, STEP_K, P.ldb); }

//------------------------ 2. Sums ---------------------------------------------
uvec2 place_in_c(uint e, uint m, uint n) { return at(at(at(c, e, P.stride_c), m, P.ldc), n); }
void store(uvec2 to, float sum) { Floats(to).v[0] = P.accumulate != 0u ? Floats(to).v[0] + sum : sum; }
