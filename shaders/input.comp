// The networks' input: normalised embedding rows, [obs, action, embedding] side by side, batches out of the replay.
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

// obs | action = a row of the table; next_obs = the observation of another one, or a row of extra
#ifdef KERNEL_gather_batch
layout(push_constant, std430) uniform Push {
  uvec2 table, extra, index, obs, action, next_obs;
  brc_gather_params P;
};
void main() {
  const uint row = group_index();
  if (row >= P.rows) return;
  const int from = Ints(at(index, row, 2)).v[0], next = Ints(at(index, row, 2)).v[1];
  const uint first = uint(from) - P.first, next_first = uint(next) - P.first;
  if (first < P.count) {
    Floats x = Floats(at(table, first, P.pitch_table));
    Floats to_obs = Floats(at(obs, row, P.pitch_obs)), to_action = Floats(at(action, row, P.pitch_action));
    FOR_COLS(c, P.cols_obs) to_obs.v[c] = x.v[c];
    FOR_COLS(c, P.cols_action) to_action.v[c] = x.v[P.cols_obs + c];
  }
  if (next < 0 ? P.first == 0 : next_first < P.count) {
    Floats x = Floats(next < 0 ? at(extra, uint(-1 - next), P.pitch_obs) : at(table, next_first, P.pitch_table));
    Floats to = Floats(at(next_obs, row, P.pitch_obs));
    FOR_COLS(c, P.cols_obs) to.v[c] = x.v[c];
  }
}
#endif
