// AdamW on a flat group, the temperature's Adam, and the scalars that a program advances itself.
#include "cl/common.h"
#include "cl/precision.h"

// Group b owns elements [b block, (b+1) block): m, v, p and target in place; partial row b = sums of g^2 and of p^2 before
// the step.
//   p -= lr (m/c1 / (sqrt(v/c2) + eps) + decay p); target = tau p + (1 - tau) target
// Zero padding stays zero: 0 / (sqrt(0) + eps) = 0.
// adamw_copies: also copies of p and target for matrix units, two bytes each, in `precision` (brc_precision).
#define ADAMW_ARGS                                                                                             \
  ARG(grad), ARG(param), ARG(m), ARG(v), ARG(target), ARG(scalars), ARG(partial), ARG(copy), ARG(target_copy), \
      const struct brc_adamw_params P, const uint partial_pitch, const uint precision
#define ADAMW(copies)                                                                                        \
  ROW(ADAM_LANES);                                                                                           \
  const ulong first = (ulong)row * P.block;                                                                  \
  USE(grad);                                                                                                 \
  USE(param);                                                                                                \
  USE(m);                                                                                                    \
  USE(v);                                                                                                    \
  USE(target);                                                                                               \
  USE(scalars);                                                                                              \
  const float2 squares = adamw_group(                                                                        \
      grad + first, param + first, m + first, v + first, HAS(target) ? target + first : 0,                   \
      copies && HAS(copy) ? (__global ushort *)(copy_buffer + copy_offset) + first : 0,                      \
      copies && HAS(target_copy) ? (__global ushort *)(target_copy_buffer + target_copy_offset) + first : 0, \
      scalars, &P, (uint)min((ulong)P.block, (ulong)P.n - first), lane, scratch, precision);                 \
  if (!HAS(partial) || !FIRST_LANE) return;                                                                  \
  vstore2(squares, 0, partial_buffer + partial_offset + (ulong)row * partial_pitch)

static inline float2 adamw_group(__global const float *grad, __global float *param, __global float *m,
                                 __global float *v, __global float *target, __global ushort *copy,
                                 __global ushort *target_copy, __global const float *scalars,
                                 const struct brc_adamw_params *P, uint n, uint lane, __local float *scratch,
                                 uint precision) {
  const float by_c1 = 1.0f / scalars[P->c1], by_c2 = 1.0f / scalars[P->c2];
  vf sum_g = 0.0f, sum_p = 0.0f;
  FOR_COLS(n, ADAM_LANES) {
    vf g = v_load(grad + c, left), p = v_load(param + c, left);
    sum_g = fma(g, g, sum_g);
    sum_p = fma(p, p, sum_p);
    vf m1 = fma(v_load(m + c, left), (vf)P->beta1, P->one_minus_beta1 * g);
    vf v1 = fma(v_load(v + c, left), (vf)P->beta2, P->one_minus_beta2 * g * g);
    v_store(m1, m + c, left);
    v_store(v1, v + c, left);
    p -= P->lr * fma((vf)P->decay, p, m1 * by_c1 / (sqrt(v1 * by_c2) + P->eps));
    v_store(p, param + c, left);
    vf t = 0.0f;
    if (target) {
      t = fma((vf)P->tau, p, P->one_minus_tau * v_load(target + c, left));
      v_store(t, target + c, left);
    }
#if BRC_VEC == 1
    if (copy) copy[c] = (ushort)two_bytes(p, precision);
    if (target_copy) target_copy[c] = (ushort)two_bytes(t, precision);
#endif
  }
  return (float2)(row_sum(sum_g, scratch, ADAM_LANES), row_sum(sum_p, scratch, ADAM_LANES));
}

__kernel void adamw(ADAMW_ARGS) { ADAMW(false); }
__kernel void adamw_copies(ADAMW_ARGS) { ADAMW(true); }

// Adam on log_alpha: loss = alpha (entropy - target entropy), its gradient the same number. One work-item.
__kernel void temperature(ARG(log_alpha), ARG(m), ARG(v), ARG(scalars), ARG(entropy), ARG(stats),
                          const struct brc_temperature_params P) {
  USE(log_alpha);
  USE(m);
  USE(v);
  USE(scalars);
  USE(stats);
  const float alpha = scalars[0];  // BRC_SCALAR_ALPHA
  const float g = alpha * (entropy_buffer[entropy_offset] - P.target_entropy);
  const float m1 = P.beta1 * m[0] + P.one_minus_beta1 * g, v1 = P.beta2 * v[0] + P.one_minus_beta2 * g * g;
  m[0] = m1;
  v[0] = v1;
  log_alpha[0] -= P.lr * (m1 / scalars[P.c1] / (sqrt(v1 / scalars[P.c2]) + P.eps) + P.decay * log_alpha[0]);
  stats[0] = alpha;
  stats[1] = g;
  stats[2] = g;
}

// 1 - beta^t by doubling over the bits of t: c(2t) = c(t) (2 - c(t)), c(t+1) = beta c(t) + (1 - beta).
static inline float bias_correction(float beta, float one_minus_beta, uint t) {
  float c = 0.0f;
  for (int bit = 31; bit >= 0; bit--) {
    c = c * (2.0f - c);
    if (t >> bit & 1u) c = fma(beta, c, one_minus_beta);
  }
  return c;
}

// counts += 1; scalars from them and log_alpha. One work-item.
__kernel void advance_scalars(ARG_INT(counts), ARG(log_alpha), ARG(scalars),
                              const struct brc_advance_params P) {
  USE_INT(counts);
  USE(scalars);
  for (int i = 0; i < 4; i++) counts[i] += 1;  // critic, actor, temperature, draw
  scalars[0] = exp(log_alpha_buffer[log_alpha_offset]);
  scalars[1] = bias_correction(P.critic_beta1, P.critic_1m1, (uint)counts[0]);
  scalars[2] = bias_correction(P.critic_beta2, P.critic_1m2, (uint)counts[0]);
  scalars[3] = bias_correction(P.actor_beta1, P.actor_1m1, (uint)counts[1]);
  scalars[4] = bias_correction(P.actor_beta2, P.actor_1m2, (uint)counts[1]);
  scalars[5] = bias_correction(P.temperature_beta1, P.temperature_1m1, (uint)counts[2]);
  scalars[6] = bias_correction(P.temperature_beta2, P.temperature_1m2, (uint)counts[2]);
}
