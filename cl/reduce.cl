// Sums over rows and over members, all in a fixed order.
#include "cl/strip.h"

// x [E,R,C] -> [E,1,C]. Group (strip, member).
__kernel void colsum(ARG(x), ARG(out), const struct brc_colsum_params P) {
  STRIP;
  USE(x);
  USE(out);
  const uint e = (uint)get_group_id(1), left = LEFT(P.cols);
  vf sum = strip_sum(x + (ulong)e * P.stride_x + c, P.rows, P.pitch, left, scratch);
  if (STRIP_OWNER && left > 0) v_store(sum, out + (ulong)e * P.stride_p + c, left);
}

// partial [E, blocks, 3 pitch] -> dscale, dbias, dxsum [E,1,W]. Group (strip, member, part).
__kernel void norm_sums(ARG(partial), ARG(dscale), ARG(dbias), ARG(dxsum), const struct brc_norm_sums_params P,
                        const uint partial_pitch) {
  STRIP;
  USE(partial);
  USE(dscale);
  USE(dbias);
  USE(dxsum);
  const uint e = (uint)get_group_id(1), part = (uint)get_group_id(2), left = LEFT(P.cols);
  if (part == 0 ? !HAS(dscale) : part == 1 ? !HAS(dbias) : !HAS(dxsum)) return;
  __global float *out = part == 0 ? dscale : part == 1 ? dbias : dxsum;
  vf sum = strip_sum(partial + (ulong)e * P.blocks * partial_pitch + part * P.pitch + c, P.blocks,
                     partial_pitch, left, scratch);
  if (STRIP_OWNER && left > 0) v_store(sum, out + (ulong)e * P.stride_p + c, left);
}

// x [B,D], task [B] -> [T,D].
#if BRC_VEC == 16
// A work-item owns 16 columns of all segments, and adds the rows in order to where they belong.
__kernel void segment_sum(ARG(x), ARG_INT(task), ARG(out), const struct brc_segment_sum_params P) {
  STRIP;
  USE(x);
  USE_INT(task);
  USE(out);
  const uint left = LEFT(P.cols);
  out += c;
  x += c;
  for (uint t = 0; t < P.segments; t++) v_store((vf)0.0f, out + (ulong)t * P.pitch_out, left);
  for (uint r = 0; r < P.rows; r++) {
    __global float *sum = out + (ulong)task[r] * P.pitch_out;
    v_store(v_load(sum, left) + v_load(x + (ulong)r * P.pitch, left), sum, left);
  }
}
#else
// Group (strip, segment).
__kernel void segment_sum(ARG(x), ARG_INT(task), ARG(out), const struct brc_segment_sum_params P) {
  STRIP;
  USE(x);
  USE_INT(task);
  USE(out);
  const uint t = (uint)get_group_id(1);
  float own = 0.0f;
  if (c < P.cols)
    _Pragma("unroll 8") for (uint r = (uint)get_local_id(0) / STRIP_COLS; r < P.rows; r += SLICES) own +=
        task[r] == (int)t ? x[(ulong)r * P.pitch + c] : 0.0f;
  own = slices_sum(own, scratch);
  if (STRIP_OWNER && c < P.cols) out[(ulong)t * P.pitch_out + c] = own;
}
#endif

// x [E,R,C] -> [1,R,C], in member order.
__kernel void sum_members(ARG(x), ARG(out), const struct brc_sum_members_params P) {
  ROW(ROW_LANES);
  USE(x);
  USE(out);
  x += (ulong)row * P.pitch;
  out += (ulong)row * P.pitch_out;
  FOR_COLS(P.cols, ROW_LANES) {
    vf sum = v_load(x + c, left);
    for (uint e = 1; e < P.members; e++) sum += v_load(x + (ulong)e * P.stride_x + c, left);
    v_store(sum, out + c, left);
  }
}

// x [R, C <= 4] -> sum, root of the sum or of the sum of squares, or (C = 1) mean, min, max. One group per column; lanes take rows in turn.
__kernel void reduce(ARG(x), ARG(out), const struct brc_reduce_params P) {
  ROW(REDUCE_LANES);
  USE(x);
  USE(out);
  x += row;  // the column
  vf sum = 0.0f, low = INFINITY, high = -INFINITY;
#if BRC_VEC == 16
  // Sixteen sums side by side, of rows r mod 16.
  for (uint r = 0; r < P.rows; r += 16) {
    float v[16];
    const uint n = min(16u, P.rows - r);
    for (uint i = 0; i < 16; i++) v[i] = x[(ulong)(r + min(i, n - 1)) * P.pitch];
    vf y = vload16(0, v);
    low = min(low, y);
    high = max(high, y);
    sum += v_keep(P.mode == 3 ? y * y : y, n);
  }
#else
  for (uint r = lane; r < P.rows; r += REDUCE_LANES) {
    float y = x[(ulong)r * P.pitch];
    low = min(low, y);
    high = max(high, y);
    sum += P.mode == 3 ? y * y : y;
  }
#endif
  const float total = row_sum(sum, scratch, REDUCE_LANES);
  if (P.mode != 2) {
    if (FIRST_LANE) out[row] = P.mode == 0 ? P.scale * total : sqrt(total);
    return;
  }
  const float lowest = -row_max(-low, scratch, REDUCE_LANES), highest = row_max(high, scratch, REDUCE_LANES);
  if (!FIRST_LANE) return;
  out[0] = total / (float)P.rows;
  out[1] = isnan(total) ? total : lowest;  // min and max drop NaN, a sum does not
  out[2] = isnan(total) ? total : highest;
}
