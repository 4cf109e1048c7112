// The tanh-normal policy: sample, log-probability, gradient; the actor's loss.
#include "cl/common.h"

#define LOG_2         0.69314718056f
#define HALF_LOG_2_PI 0.91893853320f

// u = mean + tau exp(log_std) eps, log_std = min + (max - min)/2 (1 + tanh(head))
static inline vf log_std_of(vf head, const struct brc_tanh_normal_params *P) {
  return fma(v_tanh(head) + 1.0f, (vf)(0.5f * (P->log_std_max - P->log_std_min)), (vf)P->log_std_min);
}

// mean, head, eps? [B,A] -> action [B,A], logp? [B,1]
__kernel void tanh_normal(ARG(mean), ARG(head), ARG(eps), ARG(action), ARG(logp),
                          const struct brc_tanh_normal_params P) {
  ROW(ROW_LANES);
  USE(mean);
  USE(head);
  USE(eps);
  USE(action);
  mean += (ulong)row * P.pitch_mean;
  head += (ulong)row * P.pitch_head;
  eps += (ulong)row * P.pitch_eps;
  action += (ulong)row * P.pitch_action;
  vf sum = 0.0f;
  FOR_COLS(P.cols, ROW_LANES) {
    vf noise = HAS(eps) ? v_load(eps + c, left) : (vf)0.0f, log_std = log_std_of(v_load(head + c, left), &P);
    vf u = fma(P.tau * v_exp(log_std), noise, v_load(mean + c, left)), z = v_exp(-2.0f * fabs(u));
    v_store(v_tanh_z(u, z), action + c, left);
    // log 2 - u - softplus(-2u) = log 2 - |u| - log1p(z), as softplus(-2u) = max(-2u, 0) + log1p(exp(-2|u|))
    vf squash = LOG_2 - fabs(u) - v_log1p_unit(z);
    sum += v_keep(-0.5f * noise * noise - log_std - HALF_LOG_2_PI - 2.0f * squash, left);
  }
  if (!HAS(logp)) return;
  const float total = row_sum(sum, scratch, ROW_LANES);
  if (FIRST_LANE) logp_buffer[logp_offset + row] = total;
}

// mean, head, eps, da [B,A], dlogp [B,1] -> dmean, dhead
__kernel void tanh_normal_backward(ARG(mean), ARG(head), ARG(eps), ARG(da), ARG(dlogp), ARG(dmean), ARG(dhead),
                                   const struct brc_tanh_normal_params P) {
  ROW(ROW_LANES);
  USE(mean);
  USE(head);
  USE(eps);
  USE(da);
  USE(dmean);
  USE(dhead);
  mean += (ulong)row * P.pitch_mean;
  dmean += (ulong)row * P.pitch_mean;
  head += (ulong)row * P.pitch_head;
  dhead += (ulong)row * P.pitch_head;
  eps += (ulong)row * P.pitch_eps;
  da += (ulong)row * P.pitch_action;
  const float dl = dlogp_buffer[dlogp_offset + row];
  FOR_COLS(P.cols, ROW_LANES) {
    vf h = v_load(head + c, left), noise = v_load(eps + c, left);
    vf zh = v_exp(-2.0f * fabs(h));
    vf span = (vf)(0.5f * (P.log_std_max - P.log_std_min));
    vf std = v_exp(fma(v_tanh_z(h, zh) + 1.0f, span, (vf)P.log_std_min));
    vf u = fma(P.tau * std, noise, v_load(mean + c, left)), z = v_exp(-2.0f * fabs(u));
    vf du = fma(v_load(da + c, left), v_slope_z(z), 2.0f * dl * v_tanh_z(u, z));
    v_store(du, dmean + c, left);
    v_store((du * std * noise - dl) * span * v_slope_z(zh), dhead + c, left);
  }
}

// logp, q [B,1], scalars -> stats (loss, entropy), dlogp? [B,1]: loss = mean(alpha logp - q), entropy = -mean(logp). One group.
__kernel void policy_loss(ARG(logp), ARG(q), ARG(scalars), ARG(stats), ARG(dlogp),
                          const struct brc_policy_loss_params P) {
  ROW(REDUCE_LANES);
  USE(logp);
  USE(q);
  USE(stats);
  USE(dlogp);
  const float alpha = scalars_buffer[scalars_offset];  // BRC_SCALAR_ALPHA
  vf loss = 0.0f, entropy = 0.0f;
  FOR_COLS(P.rows, REDUCE_LANES) {
    vf l = v_load(logp + c, left);
    loss += fma((vf)alpha, l, -v_load(q + c, left));
    entropy -= l;
    if (HAS(dlogp)) v_store((vf)(alpha / (float)P.rows), dlogp + c, left);
  }
  const float loss_sum = row_sum(loss, scratch, REDUCE_LANES),
              entropy_sum = row_sum(entropy, scratch, REDUCE_LANES);
  if (!FIRST_LANE) return;
  stats[0] = loss_sum / (float)P.rows;
  stats[1] = entropy_sum / (float)P.rows;
}
