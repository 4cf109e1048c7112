// The categorical value head: projected target, cross-entropy, expected value, with their gradients. N atoms on [-v_max, v_max].
#include "cl/common.h"

#define ATOM(i, P, dz) (fma(v_float((vi)(int)(i) + V_IDS), (vf)(dz), (vf) - (P).v_max))

// Largest of N logits.
static inline float row_top(__global const float *x, uint cols, uint lane, __local float *scratch) {
  vf top = -INFINITY;
  FOR_COLS(cols, ROW_LANES) {
    vf v = v_load(x + c, left);
    top = max(top, left >= BRC_VEC ? v : select((vf)-INFINITY, v, V_IDS < (vi)(int)left));
  }
  return row_max(top, scratch, ROW_LANES);
}
// sum of exp(x - top)
static inline float row_mass(__global const float *x, uint cols, float top, uint lane, __local float *scratch) {
  vf mass = 0.0f;
  FOR_COLS(cols, ROW_LANES) mass += v_keep(v_exp(v_load(x + c, left) - top), left);
  return row_sum(mass, scratch, ROW_LANES);
}

// logits [E,B,N], reward, mask, logp [B,1], scalars -> target [B,N], q [B,1]
//   p = mean over members of softmax; b = (clip(r + discount mask (z - alpha logp)) + v_max) / dz; p_i goes to the atoms
//   around b_i: (u - b + [l = u]) to l = floor(b), b - l to u = ceil(b).
// CPUs scatter in order of i; GPUs gather: atom j takes p_i max(0, 1 - |b_i - j|), the same weights to the bit.
__kernel void categorical_target(ARG(logits), ARG(reward), ARG(mask), ARG(logp), ARG(scalars), ARG(target),
                                 ARG(q), const struct brc_categorical_params P) {
  ROW(ROW_LANES);
  USE(logits);
  USE(target);
  logits += (ulong)row * P.pitch;
  target += (ulong)row * P.pitch_target;
  const float dz = 2.0f * P.v_max / (float)(P.atoms - 1), members = (float)P.members,
              last = (float)(P.atoms - 1);
  const float decay = P.discount * mask_buffer[mask_offset + row], r = reward_buffer[reward_offset + row];
  const float shift = scalars_buffer[scalars_offset] * logp_buffer[logp_offset + row];  // BRC_SCALAR_ALPHA
  // Where the shifted atoms are NaN, no column may stay without it: clamp and max would drop it.
  const float shifted = fma(decay, P.v_max - shift, r);
  float start = isnan(shifted) ? shifted : 0.0f;
#if BRC_VEC == 16
  float top[MEMBERS_MAX], weight[MEMBERS_MAX];
  for (uint e = 0; e < P.members; e++) {
    top[e] = row_top(logits + (ulong)e * P.stride, P.atoms, lane, scratch);
    weight[e] = 1.0f / (row_mass(logits + (ulong)e * P.stride, P.atoms, top[e], lane, scratch) * members);
    if (isnan(weight[e])) start = weight[e];
  }
  FOR_COLS(P.atoms, ROW_LANES) v_store((vf)start, target + c, left);
  FOR_COLS(P.atoms, ROW_LANES) {
    vf p = 0.0f;
    for (uint e = 0; e < P.members; e++)
      p = fma(v_exp(v_load(logits + (ulong)e * P.stride + c, left) - top[e]), (vf)weight[e], p);
    vf t = clamp(fma((vf)decay, ATOM(c, P, dz) - shift, (vf)r), (vf)-P.v_max, (vf)P.v_max);
    vf b = min((t + P.v_max) / dz, (vf)last), l = floor(b);
    // Where b is whole, the upper share is 0 and may go to any atom: to l, which is never behind the last.
    vf up = b - l;
    float share_l[16], share_u[16];
    int l_at[16];
    vstore16(p * (1.0f - up), 0, share_l);
    vstore16(p * up, 0, share_u);
    vstore16(convert_int16(l), 0, l_at);
    const uint n = min(left, 16u);
    for (uint i = 0; i < n; i++) {
      const int at = clamp(l_at[i], 0, (int)P.atoms - 1);  // whatever a NaN gave
      target[at] += share_l[i];
      target[min(at + 1, (int)P.atoms - 1)] += share_u[i];
    }
  }
  vf value = 0.0f;
  FOR_COLS(P.atoms, ROW_LANES) value = fma(ATOM(c, P, dz), v_load(target + c, left), value);
#else
  __local float p[ATOMS_MAX], b[ATOMS_MAX];
  for (uint e = 0; e < P.members; e++) {
    __global const float *x = logits + (ulong)e * P.stride;
    const float top = row_top(x, P.atoms, lane, scratch);
    const float weight = 1.0f / (row_mass(x, P.atoms, top, lane, scratch) * members);
    FOR_COLS(P.atoms, ROW_LANES) p[c] = fma(v_exp(x[c] - top), weight, e > 0 ? p[c] : start);
  }
  FOR_COLS(P.atoms, ROW_LANES)
  b[c] = min((clamp(fma(decay, ATOM(c, P, dz) - shift, r), -P.v_max, P.v_max) + P.v_max) / dz, last);
  barrier(CLK_LOCAL_MEM_FENCE);
  float value = 0.0f;
  FOR_COLS(P.atoms, ROW_LANES) {
    float sum = 0.0f;
    for (uint i = 0; i < P.atoms; i++) sum = fma(p[i], max(1.0f - fabs(b[i] - (float)c), 0.0f), sum);
    target[c] = sum;
    value = fma(ATOM(c, P, dz), sum, value);
  }
#endif
  const float total = row_sum(value, scratch, ROW_LANES);
  if (FIRST_LANE) q_buffer[q_offset + row] = total;
}

// logits [E,B,N], target [B,N] -> loss [E,B,1], dlogits? [E,B,N]. A row is one of the E * B.
//   loss = -sum target log softmax; dlogits = scale (softmax sum(target) - target)
__kernel void cross_entropy(ARG(logits), ARG(target), ARG(loss), ARG(dlogits),
                            const struct brc_categorical_params P) {
  ROW(ROW_LANES);
  USE(logits);
  USE(target);
  USE(dlogits);
  const ulong at = (ulong)(row / P.rows) * P.stride + (ulong)(row % P.rows) * P.pitch;
  logits += at;
  dlogits += at;
  target += (ulong)(row % P.rows) * P.pitch_target;
  const float top = row_top(logits, P.atoms, lane, scratch);
  vf sum_e = 0.0f, sum_t = 0.0f, sum_tx = 0.0f;
  FOR_COLS(P.atoms, ROW_LANES) {
    vf x = v_load(logits + c, left) - top, t = v_load(target + c, left);
    sum_e += v_keep(v_exp(x), left);
    sum_t += t;
    sum_tx = fma(t, x, sum_tx);
  }
  const float mass = row_sum(sum_e, scratch, ROW_LANES), total = row_sum(sum_t, scratch, ROW_LANES);
  const float dot_ = row_sum(sum_tx, scratch, ROW_LANES);
  if (FIRST_LANE) loss_buffer[loss_offset + row] = total * log(mass) - dot_;
  if (!HAS(dlogits)) return;
  const float weight = total / mass;
  FOR_COLS(P.atoms, ROW_LANES)
  v_store(P.scale * (v_exp(v_load(logits + c, left) - top) * weight - v_load(target + c, left)), dlogits + c,
          left);
}

// logits [E,B,N] -> q [B,1], dlogits? [E,B,N]. A row is one of the B, all members one after the other.
//   q_e = sum z softmax; q = mean over members; dlogits = scale/E softmax (z - q_e)
__kernel void expected_value(ARG(logits), ARG(q), ARG(dlogits), const struct brc_categorical_params P) {
  ROW(ROW_LANES);
  USE(logits);
  USE(dlogits);
  const float dz = 2.0f * P.v_max / (float)(P.atoms - 1), members = (float)P.members;
  float mean_q = 0.0f;
  for (uint e = 0; e < P.members; e++) {
    const ulong at = (ulong)e * P.stride + (ulong)row * P.pitch;
    __global const float *x = logits + at;
    const float top = row_top(x, P.atoms, lane, scratch);
    vf sum_e = 0.0f, sum_z = 0.0f;
    FOR_COLS(P.atoms, ROW_LANES) {
      vf w = v_keep(v_exp(v_load(x + c, left) - top), left);
      sum_e += w;
      sum_z = fma(w, ATOM(c, P, dz), sum_z);
    }
    const float mass = row_sum(sum_e, scratch, ROW_LANES), q_e = row_sum(sum_z, scratch, ROW_LANES) / mass;
    mean_q += q_e / members;
    if (!HAS(dlogits)) continue;
    const float weight = P.scale / (members * mass);
    FOR_COLS(P.atoms, ROW_LANES)
    v_store(v_exp(v_load(x + c, left) - top) * weight * (ATOM(c, P, dz) - q_e), dlogits + at + c, left);
  }
  if (FIRST_LANE) q_buffer[q_offset + row] = mean_q;
}
