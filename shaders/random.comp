// Normals from Philox.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "base/philox.h"

// out[r, c] = normal number r cols + c of (seed, stream, step). Group: a row.
#ifdef KERNEL_normal
layout(push_constant, std430) uniform Push {
  uvec2 step_, out_;
  brc_normal_params P;
};
void main() {
  const uint row = group_index();
  if (row >= P.rows) return;
  const uint now = uint(Ints(step_).v[0]);
  Floats z = Floats(at(out_, row, P.pitch));
  FOR_COLS(c, P.cols) z.v[c] = brc_normal_at(row * P.cols + c, now, 0, P.stream, P.seed_lo, P.seed_hi);
}
#endif
