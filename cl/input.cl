// The networks' input: normalised embedding rows, [obs, action, embedding] side by side, batches out of the replay.
#include "cl/common.h"

static inline float row_norm(vf sum_abs, vf sum_squares, uint norm, __local float *scratch) {
  return norm == 1 ? row_sum(sum_abs, scratch, ROW_LANES) : sqrt(row_sum(sum_squares, scratch, ROW_LANES));
}

// table [T,D] -> rows / norm(row)
__kernel void embed(ARG(table), ARG(out), const struct brc_embed_params P) {
  ROW(ROW_LANES);
  USE(table);
  USE(out);
  table += (ulong)row * P.pitch;
  out += (ulong)row * P.pitch_out;
  vf a = 0.0f, b = 0.0f;
  FOR_COLS(P.cols, ROW_LANES) {
    vf x = v_load(table + c, left);
    a += fabs(x);
    b = fma(x, x, b);
  }
  const float norm = row_norm(a, b, P.norm, scratch);
  FOR_COLS(P.cols, ROW_LANES) v_store(v_load(table + c, left) / norm, out + c, left);
}

// L2: (d - ehat (ehat . d)) / |e|;  L1: (d - sign(e) (ehat . d)) / |e|_1
__kernel void embed_backward(ARG(table), ARG(d), ARG(dtable), const struct brc_embed_params P) {
  ROW(ROW_LANES);
  USE(table);
  USE(d);
  USE(dtable);
  table += (ulong)row * P.pitch;
  dtable += (ulong)row * P.pitch;
  d += (ulong)row * P.pitch_out;
  vf a = 0.0f, b = 0.0f, ed = 0.0f;
  FOR_COLS(P.cols, ROW_LANES) {
    vf x = v_load(table + c, left);
    a += fabs(x);
    b = fma(x, x, b);
    ed = fma(x, v_load(d + c, left), ed);
  }
  const float norm = row_norm(a, b, P.norm, scratch);
  const float dot_ = row_sum(ed, scratch, ROW_LANES) / norm;
  FOR_COLS(P.cols, ROW_LANES) {
    vf x = v_load(table + c, left);
    vf direction = P.norm == 1 ? sign(x) : x / norm;
    v_store((v_load(d + c, left) - direction * dot_) / norm, dtable + c, left);
  }
}

// x[r] = [obs[r], action[r], emb[task[r]]]
__kernel void concat_input(ARG(obs), ARG(action), ARG(emb), ARG_INT(task), ARG(x),
                           const struct brc_concat_params P) {
  ROW(ROW_LANES);
  USE(obs);
  USE(action);
  USE(emb);
  USE(x);
  x += (ulong)row * P.pitch;
  obs += (ulong)row * P.pitch_obs;
  FOR_COLS(P.cols_obs, ROW_LANES) v_store(v_load(obs + c, left), x + c, left);
  x += P.cols_obs;
  if (HAS(action)) {
    action += (ulong)row * P.pitch_action;
    FOR_COLS(P.cols_action, ROW_LANES) v_store(v_load(action + c, left), x + c, left);
    x += P.cols_action;
  }
  if (HAS(emb)) {
    emb += (ulong)(HAS(task) ? task_buffer[task_offset + row] : 0) * P.pitch_emb;
    FOR_COLS(P.cols_emb, ROW_LANES) v_store(v_load(emb + c, left), x + c, left);
  }
}

// obs | action = a row of the table; next_obs = the observation of another one, or a row of extra
__kernel void gather_batch(ARG(table), ARG(extra), ARG_INT(index), ARG(obs), ARG(action), ARG(next_obs),
                           const struct brc_gather_params P) {
  ROW(ROW_LANES);
  USE(table);
  USE(extra);
  USE_INT(index);
  USE(obs);
  USE(action);
  USE(next_obs);
  const int from = index[2 * row], next = index[2 * row + 1];
  const uint at = (uint)from - P.first, next_at = (uint)next - P.first;
  obs += (ulong)row * P.pitch_obs;
  next_obs += (ulong)row * P.pitch_obs;
  action += (ulong)row * P.pitch_action;
  if (at < P.count) {
    __global const float *x = table + (ulong)at * P.pitch_table;
    FOR_COLS(P.cols_obs, ROW_LANES) v_store(v_load(x + c, left), obs + c, left);
    x += P.cols_obs;
    FOR_COLS(P.cols_action, ROW_LANES) v_store(v_load(x + c, left), action + c, left);
  }
  if (next < 0 ? P.first == 0 : next_at < P.count) {
    __global const float *x =
        next < 0 ? extra + (ulong)(-1 - next) * P.pitch_obs : table + (ulong)next_at * P.pitch_table;
    FOR_COLS(P.cols_obs, ROW_LANES) v_store(v_load(x + c, left), next_obs + c, left);
  }
}
