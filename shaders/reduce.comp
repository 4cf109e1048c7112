// Sums over rows and over members, all in a fixed order.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"

// Column c of `rows` rows from x on, for the first 32 lanes.
float column_sum(uvec2 x, uint rows, uint pitch, uint c) {
  float own = 0.0;
  FOR_SLICE(r, rows) {
    const float v = Floats(at(x, min(r, rows - 1), pitch)).v[c];
    own += r < rows ? v : 0.0;
  }
  return strip_sum(own);
}

// x [E,R,C] -> [E,1,C]. Group (strip, member).
#ifdef KERNEL_colsum
layout(push_constant, std430) uniform Push {
  uvec2 x, out_;
  brc_colsum_params P;
};
void main() {
  const uint c = strip_column(), e = gl_WorkGroupID.y;
  const float sum = column_sum(at(x, e, P.stride_x), P.rows, P.pitch, min(c, P.cols - 1));
  if (LANE < STRIP && c < P.cols) Floats(at(out_, e, P.stride_p)).v[c] = sum;
}
#endif

// partial [E, blocks, 3 pitch] -> dscale, dbias, dxsum? [E,1,W]. Group (strip, member, part).
#ifdef KERNEL_norm_sums
layout(push_constant, std430) uniform Push {
  uvec2 partial, dscale, dbias, dxsum;
  brc_norm_sums_params P;
  uint partial_pitch;
};
void main() {
  const uint c = strip_column(), e = gl_WorkGroupID.y, part = gl_WorkGroupID.z;
  const uvec2 from = at(partial, e * P.blocks, partial_pitch), to = part == 0 ? dscale : part == 1 ? dbias : dxsum;
  const float sum = column_sum(from, P.blocks, partial_pitch, part * P.pitch + min(c, P.cols - 1));
  if (LANE < STRIP && c < P.cols) Floats(at(to, e, P.stride_p)).v[c] = sum;
}
#endif

// x [B,D], task [B] -> [T,D]. Group (strip, segment).
#ifdef KERNEL_segment_sum
layout(push_constant, std430) uniform Push {
  uvec2 x, task, out_;
  brc_segment_sum_params P;
};
void main() {
  const uint c = strip_column(), segment = gl_WorkGroupID.y, column = min(c, P.cols - 1);
  Ints tasks = Ints(task);
  float own = 0.0;
  FOR_SLICE(r, P.rows) {
    const uint row = min(r, P.rows - 1);
    const float v = Floats(at(x, row, P.pitch)).v[column], share = tasks.v[row] == int(segment) ? v : 0.0;
    own += r < P.rows ? share : 0.0;
  }
  own = strip_sum(own);
  if (LANE < STRIP && c < P.cols) Floats(at(out_, segment, P.pitch_out)).v[c] = own;
}
#endif

// x [E,R,C] -> [1,R,C], in member order.
#ifdef KERNEL_sum_members
layout(push_constant, std430) uniform Push {
  uvec2 x, out_;
  brc_sum_members_params P;
};
void main() {
  const uint row = group_index();
  if (row >= P.rows) return;
  const uvec2 from = at(x, row, P.pitch);
  Floats to = Floats(at(out_, row, P.pitch_out));
  FOR_COLS(c, P.cols) {
    float sum = Floats(from).v[c];
    for (uint e = 1; e < P.members; e++) sum += Floats(at(from, e, P.stride_x)).v[c];
    to.v[c] = sum;
  }
}
#endif

// x [R, C <= 4] -> sum, root of the sum or of the sum of squares, or (C = 1) mean, min, max. One group per column; lanes take
// rows in turn.
#ifdef KERNEL_reduce
layout(push_constant, std430) uniform Push {
  uvec2 x, out_;
  brc_reduce_params P;
};
void main() {
  const uint column = gl_WorkGroupID.x;
  const uvec2 from = at(x, column);
  const float first = Floats(from).v[0];
  float sum = 0.0, low = first, high = first;
  for (uint r = LANE; r < P.rows; r += LANES) {
    float y = Floats(at(from, r, P.pitch)).v[0];
    low = min(low, y);
    high = max(high, y);
    sum += P.mode == 3 ? y * y : y;
  }
  const float total = row_sum(sum);
  Floats to = Floats(out_);
  if (P.mode != 2) {
    if (LANE == 0) to.v[column] = P.mode == 0 ? P.scale * total : sqrt(total);
    return;
  }
  const float lowest = -row_max(-low), highest = row_max(high);
  if (LANE > 0) return;
  to.v[0] = total / float(P.rows);
  to.v[1] = is_nan(total) ? total : lowest;
  to.v[2] = is_nan(total) ? total : highest;
}
#endif
