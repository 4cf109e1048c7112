// AdamW on a flat group, the temperature's Adam, and the scalars that a program advances itself.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"

// Group b owns elements [b block, (b+1) block), a lane four of them at a time: m, v, p and target in place; partial row b =
// sums of g^2 and of p^2 before the step.
//   p -= lr (m/c1 / (sqrt(v/c2) + eps) + decay p); target = tau p + (1 - tau) target
// Zero padding stays zero: 0 / (sqrt(0) + eps) = 0.
#ifdef KERNEL_adamw
layout(push_constant, std430) uniform Push {
  uvec2 grad, param, m, v, target, scalars, partial;
  brc_adamw_params P;
  uint partial_pitch;
};
// Four elements from c on; the last of a group fewer. Groups start on 512 bytes, blocks are multiples of 1024 elements.
layout(buffer_reference, std430, buffer_reference_align = 16) buffer Fours { vec4 v[]; };
vec4 load(uvec2 base, uint c, uint left) {
  if (left >= 4) return Fours(base).v[c / 4];
  vec4 x = vec4(0.0);
  for (uint i = 0; i < left; i++) x[i] = Floats(base).v[c + i];
  return x;
}
void store(vec4 x, uvec2 base, uint c, uint left) {
  if (left >= 4)
    Fours(base).v[c / 4] = x;
  else
    for (uint i = 0; i < left; i++) Floats(base).v[c + i] = x[i];
}
void main() {
  const uint group = group_index();
  if (group > (P.n - 1) / P.block) return;  // no rounding up: n may be next to 2^32
  const uint n = min(P.block, P.n - group * P.block);
  const uvec2 at_g = at(grad, group, P.block), at_p = at(param, group, P.block), at_m = at(m, group, P.block),
              at_v = at(v, group, P.block), at_t = at(target, group, P.block);
  const float by_c1 = 1.0 / Floats(at(scalars, P.c1)).v[0], by_c2 = 1.0 / Floats(at(scalars, P.c2)).v[0];
  vec2 sums = vec2(0.0);
  for (uint c = 4 * LANE; c < n; c += 4 * LANES) {
    const uint left = n - c;
    vec4 g = load(at_g, c, left), p = load(at_p, c, left);
    sums += vec2(dot(g, g), dot(p, p));
    vec4 m1 = fma(load(at_m, c, left), vec4(P.beta1), P.one_minus_beta1 * g);
    vec4 v1 = fma(load(at_v, c, left), vec4(P.beta2), P.one_minus_beta2 * g * g);
    store(m1, at_m, c, left);
    store(v1, at_v, c, left);
    p -= P.lr * fma(vec4(P.decay), p, m1 * by_c1 / (sqrt(v1 * by_c2) + P.eps));
    store(p, at_p, c, left);
    if (HAS(target)) store(fma(vec4(P.tau), p, P.one_minus_tau * load(at_t, c, left)), at_t, c, left);
  }
  if (!HAS(partial)) return;
  sums = row_sum2(sums);
  if (LANE > 0) return;
  Floats to = Floats(at(partial, group, partial_pitch));
  to.v[0] = sums.x;
  to.v[1] = sums.y;
}
#endif

// Adam on log_alpha: loss = alpha (entropy - target entropy), its gradient the same number. One work-item.
#ifdef KERNEL_temperature
layout(push_constant, std430) uniform Push {
  uvec2 log_alpha, m, v, scalars, entropy, stats;
  brc_temperature_params P;
};
void main() {
  Floats value = Floats(log_alpha), first = Floats(m), second = Floats(v), known = Floats(scalars);
  const float alpha = known.v[0];  // BRC_SCALAR_ALPHA
  const float g = alpha * (Floats(entropy).v[0] - P.target_entropy);
  const float m1 = P.beta1 * first.v[0] + P.one_minus_beta1 * g;
  const float v1 = P.beta2 * second.v[0] + P.one_minus_beta2 * g * g;
  first.v[0] = m1;
  second.v[0] = v1;
  const float old = value.v[0];
  value.v[0] = old - P.lr * (m1 / known.v[P.c1] / (sqrt(v1 / known.v[P.c2]) + P.eps) + P.decay * old);
  Floats to = Floats(stats);
  to.v[0] = alpha;
  to.v[1] = g;
  to.v[2] = g;
}
#endif

// counts += 1; scalars from them and log_alpha. One work-item.
#ifdef KERNEL_advance_scalars
layout(push_constant, std430) uniform Push {
  uvec2 counts, log_alpha, scalars;
  brc_advance_params P;
};
// 1 - beta^t of two betas by doubling over the bits of t: c(2t) = c(t) (2 - c(t)), c(t+1) = beta c(t) + (1 - beta).
vec2 bias_corrections(vec2 beta, vec2 one_minus_beta, int t) {
  vec2 c = vec2(0.0);
  for (int bit = findMSB(uint(t)); bit >= 0; bit--) {
    c = c * (2.0 - c);
    if ((t >> bit & 1) != 0) c = fma(beta, c, one_minus_beta);
  }
  return c;
}
void main() {
  Ints count = Ints(counts);
  Floats to = Floats(scalars);
  for (int i = 0; i < 4; i++) count.v[i] += 1;  // critic, actor, temperature, draw
  const vec2 critic = bias_corrections(vec2(P.critic_beta1, P.critic_beta2), vec2(P.critic_1m1, P.critic_1m2), count.v[0]);
  const vec2 actor = bias_corrections(vec2(P.actor_beta1, P.actor_beta2), vec2(P.actor_1m1, P.actor_1m2), count.v[1]);
  const vec2 temperature = bias_corrections(vec2(P.temperature_beta1, P.temperature_beta2),
                                            vec2(P.temperature_1m1, P.temperature_1m2), count.v[2]);
  to.v[0] = brc_exp(Floats(log_alpha).v[0]);
  for (int i = 0; i < 2; i++) {
    to.v[1 + i] = critic[i];
    to.v[3 + i] = actor[i];
    to.v[5 + i] = temperature[i];
  }
}
#endif
