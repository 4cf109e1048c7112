// The tanh-normal policy: sample, log-probability, gradient; the actor's loss.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"

#define LOG_2         0.69314718056
#define HALF_LOG_2_PI 0.91893853320

// log_std = min + (max - min)/2 (1 + tanh(head)), from tanh(head)
float log_std_of(float tanh_head, brc_tanh_normal_params P) {
  return fma(tanh_head + 1.0, 0.5 * (P.log_std_max - P.log_std_min), P.log_std_min);
}

// mean, head, eps? [B,A] -> action [B,A], logp? [B,1]; u = mean + tau exp(log_std) eps
#ifdef KERNEL_tanh_normal
layout(push_constant, std430) uniform Push {
  uvec2 mean, head, eps, action, logp;
  brc_tanh_normal_params P;
};
void main() {
  const uint row = group_index();
  if (row >= P.rows) return;
  Floats means = Floats(at(mean, row, P.pitch_mean)), heads = Floats(at(head, row, P.pitch_head));
  Floats noises = Floats(at(eps, row, P.pitch_eps)), actions = Floats(at(action, row, P.pitch_action));
  const bool noisy = HAS(eps);
  float sum = 0.0;
  FOR_COLS(c, P.cols) {
    float noise = 0.0;
    if (noisy) noise = noises.v[c];
    float log_std = log_std_of(brc_tanh(heads.v[c]), P);
    float u = fma(P.tau * brc_exp(log_std), noise, means.v[c]), z = brc_exp(-2.0 * abs(u));
    actions.v[c] = brc_tanh_z(u, z);
    // log 2 - u - softplus(-2u) = log 2 - |u| - log1p(z), as softplus(-2u) = max(-2u, 0) + log1p(exp(-2|u|))
    float squash = LOG_2 - abs(u) - brc_log1p_unit(z);
    sum += -0.5 * noise * noise - log_std - HALF_LOG_2_PI - 2.0 * squash;
  }
  if (!HAS(logp)) return;
  const float total = row_sum(sum);
  if (LANE == 0) Floats(at(logp, row)).v[0] = total;
}
#endif

// mean, head, eps, da [B,A], dlogp [B,1] -> dmean, dhead
#ifdef KERNEL_tanh_normal_backward
layout(push_constant, std430) uniform Push {
  uvec2 mean, head, eps, da, dlogp, dmean, dhead;
  brc_tanh_normal_params P;
};
void main() {
  const uint row = group_index();
  if (row >= P.rows) return;
  Floats means = Floats(at(mean, row, P.pitch_mean)), heads = Floats(at(head, row, P.pitch_head));
  Floats noises = Floats(at(eps, row, P.pitch_eps)), gradients = Floats(at(da, row, P.pitch_action));
  Floats out_mean = Floats(at(dmean, row, P.pitch_mean)), out_head = Floats(at(dhead, row, P.pitch_head));
  const float dl = Floats(at(dlogp, row)).v[0], span = 0.5 * (P.log_std_max - P.log_std_min);
  FOR_COLS(c, P.cols) {
    float h = heads.v[c], noise = noises.v[c], zh = brc_exp(-2.0 * abs(h));
    float std = brc_exp(log_std_of(brc_tanh_z(h, zh), P));
    float u = fma(P.tau * std, noise, means.v[c]), z = brc_exp(-2.0 * abs(u));
    float du = fma(gradients.v[c], brc_slope_z(z), 2.0 * dl * brc_tanh_z(u, z));
    out_mean.v[c] = du;
    out_head.v[c] = (du * std * noise - dl) * span * brc_slope_z(zh);
  }
}
#endif

// logp, q [B,1], scalars -> stats (loss, entropy), dlogp? [B,1]: loss = mean(alpha logp - q), entropy = -mean(logp). One group.
#ifdef KERNEL_policy_loss
layout(push_constant, std430) uniform Push {
  uvec2 logp, q, scalars, stats, dlogp;
  brc_policy_loss_params P;
};
void main() {
  Floats logps = Floats(logp), qs = Floats(q), gradients = Floats(dlogp);
  const float alpha = Floats(scalars).v[0], share = alpha / float(P.rows);  // BRC_SCALAR_ALPHA
  vec2 sums = vec2(0.0);
  FOR_COLS(r, P.rows) {
    float l = logps.v[r];
    sums += vec2(fma(alpha, l, -qs.v[r]), -l);
    if (HAS(dlogp)) gradients.v[r] = share;
  }
  const vec2 means = row_sum2(sums) / float(P.rows);
  if (LANE > 0) return;
  Floats(stats).v[0] = means.x;
  Floats(stats).v[1] = means.y;
}
#endif
