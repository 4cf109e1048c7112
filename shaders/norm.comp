// LayerNorm, forwards and backwards. Rows are the E * B rows of all members, one behind the other.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"

// What shapes the code is constant in a pipeline, so that a lane's loads have no loop and no branch between them and need not
// wait for each other.
layout(constant_id = 1) const uint WIDTH = 1;
layout(constant_id = 2) const bool RELU = false;
layout(constant_id = 3) const bool RESIDUAL = false;
#define FOR_WIDTH(c)                                                              \
  for (uint i_ = 0, c = LANE; i_ < (WIDTH + LANES - 1) / LANES; i_++, c += LANES) \
    if (WIDTH % LANES == 0 || c < WIDTH)
// As FOR_WIDTH, four columns of a lane at a time, for results: no load can pass a store, which might have changed what it loads.
#define FOR_FOURS(c0) for (uint i_ = 0, c0 = LANE; i_ < (WIDTH + 4 * LANES - 1) / (4 * LANES); i_++, c0 += 4 * LANES)
#define FOR_FOUR(i, c, c0)                                    \
  [[unroll]] for (uint i = 0, c = c0; i < 4; i++, c += LANES) \
    if (WIDTH % (4 * LANES) == 0 || c < WIDTH)

// y = (residual +) (relu) ((x - mean) rstd scale + bias). Three walks over a row that stays in registers or in cache: mean,
// variance, result.
#ifdef KERNEL_norm
layout(push_constant, std430) uniform Push {
  uvec2 x, scale, bias, residual, y, mean, rstd;
  brc_norm_params P;
};
void main() {
  const uint row = group_index(), member = row / P.rows;
  if (member >= P.members) return;
  Floats in_ = Floats(at(x, row, P.pitch)), out_ = Floats(at(y, row, P.pitch));
  Floats gain = Floats(at(scale, member, P.stride_p)), shift = Floats(at(bias, member, P.stride_p));
  Floats add = Floats(at(residual, row, P.pitch));

  float sum = 0.0;
  FOR_WIDTH(c) sum += in_.v[c];
  const float mu = row_sum(sum) / float(WIDTH);
  sum = 0.0;
  FOR_WIDTH(c) {
    float d = in_.v[c] - mu;
    sum = fma(d, d, sum);
  }
  const float s = inversesqrt(row_sum(sum) / float(WIDTH) + P.eps);
  FOR_FOURS(c0) {
    float v[4];
    FOR_FOUR(i, c, c0) {
      v[i] = fma((in_.v[c] - mu) * s, gain.v[c], shift.v[c]);
      if (RELU) v[i] = relu(v[i]);
      if (RESIDUAL) v[i] += add.v[c];
    }
    FOR_FOUR(i, c, c0) out_.v[c] = v[i];
  }
  if (LANE == 0) {
    Floats(at(mean, row)).v[0] = mu;
    Floats(at(rstd, row)).v[0] = s;
  }
}
#endif

#if defined(KERNEL_norm_backward) || defined(KERNEL_norm_backward_sums)
layout(push_constant, std430) uniform Push {
  uvec2 dy, x, mean, rstd, scale, bias, dx, partial;
  brc_norm_params P;
  uint partial_pitch;
};
// The gradient behind the relu, of column c: it was open where norm's v, the same number here, is positive.
float masked(Floats gradient, float xhat, Floats gain, Floats shift, uint c) {
  float g = gradient.v[c];
  return !RELU || fma(xhat, gain.v[c], shift.v[c]) > 0.0 ? g : 0.0;
}
#endif

// A work-group owns a row: dx.
#ifdef KERNEL_norm_backward
void main() {
  const uint row = group_index(), member = row / P.rows;
  if (member >= P.members) return;
  Floats up = Floats(at(dy, row, P.pitch)), in_ = Floats(at(x, row, P.pitch)), out_ = Floats(at(dx, row, P.pitch));
  Floats gain = Floats(at(scale, member, P.stride_p)), shift = Floats(at(bias, member, P.stride_p));
  const float m = Floats(at(mean, row)).v[0], s = Floats(at(rstd, row)).v[0];
  vec2 sums = vec2(0.0);
  FOR_WIDTH(c) {
    float d = in_.v[c] - m, gs = masked(up, d * s, gain, shift, c) * gain.v[c];
    sums += vec2(gs, gs * d);
  }
  // of gs and gs xhat
  const vec2 means = row_sum2(sums) / float(WIDTH) * vec2(1.0, s);
  FOR_FOURS(c0) {
    float v[4];
    FOR_FOUR(i, c, c0) {
      float xhat = (in_.v[c] - m) * s, g = masked(up, xhat, gain, shift, c);
      v[i] = s * (fma(g, gain.v[c], -means.x) - xhat * means.y);
    }
    FOR_FOUR(i, c, c0) out_.v[c] = v[i];
  }
}
#endif

// A work-group owns a strip of columns of a block of rows: their three sums. Group (strip, block). Behind norm_backward, whose dx
// it reads.
#ifdef KERNEL_norm_backward_sums
void main() {
  const uint c = strip_column(), column = min(c, WIDTH - 1), group = gl_WorkGroupID.y;
  const uint blocks = (P.rows + P.block - 1) / P.block, member = group / blocks, begin = (group % blocks) * P.block;
  const uint first = member * P.rows + begin, rows = min(P.block, P.rows - begin);
  Floats gain = Floats(at(scale, member, P.stride_p)), shift = Floats(at(bias, member, P.stride_p));
  vec3 sums = vec3(0.0);  // of g xhat, g, dx
  FOR_SLICE(r, rows) {
    const uint row = first + min(r, rows - 1);
    const float xhat = (Floats(at(x, row, P.pitch)).v[column] - Floats(at(mean, row)).v[0]) * Floats(at(rstd, row)).v[0];
    const float g = masked(Floats(at(dy, row, P.pitch)), xhat, gain, shift, column);
    const vec3 v = vec3(g * xhat, g, Floats(at(dx, row, P.pitch)).v[column]);
    sums += r < rows ? v : vec3(0.0);
  }
  sums = strip_sum3(sums);
  if (LANE >= STRIP || c >= WIDTH) return;
  Floats out_ = Floats(at(partial, group, partial_pitch));
  out_.v[c] = sums.x;
  out_.v[P.pitch + c] = sums.y;
  out_.v[2 * P.pitch + c] = sums.z;
}
#endif
