// The networks' input: normalised embedding rows, and [obs, action, embedding] side by side.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"

// 1 / norm of a row, from this lane's sums of |x| and of x^2.
float by_row_norm(float sum_abs, float sum_squares, uint norm) {
  const float total = row_sum(norm == 1 ? sum_abs : sum_squares);
  return norm == 1 ? 1.0 / total : inversesqrt(total);
}

// table [T,D] -> rows / norm(row)
#ifdef KERNEL_embed
layout(push_constant, std430) uniform Push {
  uvec2 table, out_;
  brc_embed_params P;
};
void main() {
  const uint row = group_index();
  if (row >= P.rows) return;
  Floats from = Floats(at(table, row, P.pitch)), to = Floats(at(out_, row, P.pitch_out));
  float a = 0.0, b = 0.0;
  FOR_COLS(c, P.cols) {
    float x = from.v[c];
    a += abs(x);
    b = fma(x, x, b);
  }
  const float by_norm = by_row_norm(a, b, P.norm);
  FOR_COLS(c, P.cols) to.v[c] = from.v[c] * by_norm;
}
#endif

// L2: (d - ehat (ehat . d)) / |e|;  L1: (d - sign(e) (ehat . d)) / |e|_1
#ifdef KERNEL_embed_backward
layout(push_constant, std430) uniform Push {
  uvec2 table, d, dtable;
  brc_embed_params P;
};
void main() {
  const uint row = group_index();
  if (row >= P.rows) return;
  Floats from = Floats(at(table, row, P.pitch)), up = Floats(at(d, row, P.pitch_out));
  Floats to = Floats(at(dtable, row, P.pitch));
  float a = 0.0, b = 0.0, ed = 0.0;
  FOR_COLS(c, P.cols) {
    float x = from.v[c];
    a += abs(x);
    b = fma(x, x, b);
    ed = fma(x, up.v[c], ed);
  }
  const float by_norm = by_row_norm(a, b, P.norm), along = row_sum(ed) * by_norm;
  FOR_COLS(c, P.cols) {
    float x = from.v[c], direction = P.norm == 1 ? sign(x) : x * by_norm;
    to.v[c] = (up.v[c] - direction * along) * by_norm;
  }
}
#endif

// x[r] = [obs[r], action[r], emb[task[r]]]
#ifdef KERNEL_concat_input
layout(push_constant, std430) uniform Push {
  uvec2 obs, action, emb, task, x;
  brc_concat_params P;
};
void main() {
  const uint row = group_index();
  if (row >= P.rows) return;
  const uint end_obs = P.cols_obs, end_action = end_obs + (HAS(action) ? P.cols_action : 0);
  const uint end = end_action + (HAS(emb) ? P.cols_emb : 0);
  const uint table_row = HAS(task) ? uint(Ints(at(task, row)).v[0]) : 0;
  Floats from_obs = Floats(at(obs, row, P.pitch_obs)), from_action = Floats(at(action, row, P.pitch_action));
  Floats from_emb = Floats(at(emb, table_row, P.pitch_emb)), to = Floats(at(x, row, P.pitch));
  FOR_COLS(c, end) {
    float v;
    if (c < end_obs)
      v = from_obs.v[c];
    else if (c < end_action)
      v = from_action.v[c - end_obs];
    else
      v = from_emb.v[c - end_action];
    to.v[c] = v;
  }
}
#endif
