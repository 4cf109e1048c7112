// The categorical value head: projected target, cross-entropy, expected value, with their gradients. N atoms on [-v_max, v_max].
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"

// Atom i of `atoms`, in halves of dz from the middle on: one rounding, and dz / 2 comes from the host.
float atom(uint i, uint atoms, float half_dz) { return float(int(2 * i) - int(atoms - 1)) * half_dz; }

// Largest of a row of logits.
float row_top(Floats x, uint cols) {
  float top = x.v[0];
  FOR_COLS(c, cols) top = max(top, x.v[c]);
  return row_max(top);
}

// logits [E,B,N], reward, mask, logp [B,1], scalars -> target [B,N], q [B,1]
//   p = mean over members of softmax; b = (clip(r + discount mask (z - alpha logp)) + v_max) / dz; p_i goes to the atoms
//   around b_i: (u - b + [l = u]) to l = floor(b), b - l to u = ceil(b). Atom j gathers p_i max(0, 1 - |b_i - j|), the same
//   weights. b is t / dz from the middle on, and 1 / dz comes from the host: b carries every error of theirs a hundredfold.
#ifdef KERNEL_categorical_target
layout(push_constant, std430) uniform Push {
  uvec2 logits, reward, mask, logp, scalars, target, q;
  brc_categorical_params P;
  float half_dz, by_dz;
};
layout(constant_id = 1) const uint ATOMS = 1;
// Each atom's probability and where it goes; eights of them, the last filled up with nothing.
shared vec2 p_b[(ATOMS + 7) / 8 * 8];
void main() {
  const uint row = group_index();
  if (row >= P.rows) return;
  const uvec2 from = at(logits, row, P.pitch);
  const float decay = P.discount * Floats(at(mask, row)).v[0], r = Floats(at(reward, row)).v[0];
  const float shift = Floats(scalars).v[0] * Floats(at(logp, row)).v[0];  // BRC_SCALAR_ALPHA
  FOR_COLS(c, (ATOMS + 7) / 8 * 8) {
    const float t = fma(decay, atom(c, ATOMS, half_dz) - shift, r), last = float(ATOMS - 1);
    p_b[c] = c < ATOMS ? vec2(is_nan(t) ? t : 0.0, clamp(fma(t, by_dz, 0.5 * last), 0.0, last)) : vec2(0.0);
  }
  for (uint e = 0; e < P.members; e++) {
    Floats x = Floats(at(from, e, P.stride));
    const float top = row_top(x, ATOMS);
    float mass = 0.0;
    FOR_COLS(c, ATOMS) mass += brc_exp(x.v[c] - top);
    const float weight = 1.0 / (row_sum(mass) * float(P.members));
    FOR_COLS(c, ATOMS) p_b[c].x = fma(brc_exp(x.v[c] - top), weight, p_b[c].x);
  }
  barrier();
  Floats to = Floats(at(target, row, P.pitch_target));
  float value = 0.0;
  FOR_COLS(c, ATOMS) {
    float sum = 0.0;
    for (uint first = 0; first < ATOMS; first += 8)
      [[unroll]] for (uint i = 0; i < 8; i++) {
        const vec2 atom_i = p_b[first + i];
        sum = fma(atom_i.x, max(1.0 - abs(atom_i.y - float(c)), 0.0), sum);
      }
    to.v[c] = sum;
    value = fma(atom(c, ATOMS, half_dz), sum, value);
  }
  value = row_sum(value);
  if (LANE == 0) Floats(at(q, row)).v[0] = value;
}
#endif

// logits [E,B,N], target [B,N] -> loss [E,B,1], dlogits? [E,B,N]. A row is one of the E * B.
//   loss = -sum target log softmax; dlogits = scale (softmax sum(target) - target)
#ifdef KERNEL_cross_entropy
layout(push_constant, std430) uniform Push {
  uvec2 logits, target, loss, dlogits;
  brc_categorical_params P;
};
void main() {
  const uint row = group_index(), e = row / P.rows, r = row % P.rows;
  if (e >= P.members) return;
  Floats x = Floats(at(at(logits, e, P.stride), r, P.pitch)), t = Floats(at(target, r, P.pitch_target));
  const float top = row_top(x, P.atoms);
  float sum_e = 0.0;
  vec2 sum_t = vec2(0.0);  // of t and of t x
  FOR_COLS(c, P.atoms) {
    float y = x.v[c] - top;
    sum_e += brc_exp(y);
    sum_t += t.v[c] * vec2(1.0, y);
  }
  const float mass = row_sum(sum_e);
  sum_t = row_sum2(sum_t);
  if (LANE == 0) Floats(at(loss, row)).v[0] = sum_t.x * log(mass) - sum_t.y;
  if (!HAS(dlogits)) return;
  Floats dx = Floats(at(at(dlogits, e, P.stride), r, P.pitch));
  const float weight = sum_t.x / mass;
  FOR_COLS(c, P.atoms) dx.v[c] = P.scale * (brc_exp(x.v[c] - top) * weight - t.v[c]);
}
#endif

// logits [E,B,N] -> q [B,1], dlogits? [E,B,N]. A row is one of the B, all members one after the other.
//   q_e = sum z softmax; q = mean over members; dlogits = scale/E softmax (z - q_e)
#ifdef KERNEL_expected_value
layout(push_constant, std430) uniform Push {
  uvec2 logits, q, dlogits;
  brc_categorical_params P;
  float half_dz;
};
void main() {
  const uint row = group_index();
  if (row >= P.rows) return;
  const uvec2 from = at(logits, row, P.pitch), to = at(dlogits, row, P.pitch);
  const float members = float(P.members);
  float sum_q = 0.0;
  for (uint e = 0; e < P.members; e++) {
    Floats x = Floats(at(from, e, P.stride));
    const float top = row_top(x, P.atoms);
    vec2 sums = vec2(0.0);  // of exp and of z exp
    FOR_COLS(c, P.atoms) sums += brc_exp(x.v[c] - top) * vec2(1.0, atom(c, P.atoms, half_dz));
    sums = row_sum2(sums);
    const float q_e = sums.y / sums.x;
    sum_q += q_e;
    if (!HAS(dlogits)) continue;
    Floats dx = Floats(at(to, e, P.stride));
    const float weight = P.scale / (members * sums.x);
    FOR_COLS(c, P.atoms) dx.v[c] = brc_exp(x.v[c] - top) * weight * (atom(c, P.atoms, half_dz) - q_e);
  }
  if (LANE == 0) Floats(at(q, row)).v[0] = sum_q / members;
}
#endif
