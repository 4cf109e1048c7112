// Every op, declared once. This table makes the enum, the names, each backend's dispatch, the parity tests and
// their bounds. To add an op: a row here, its parameters in op_params.h, a builder in graph.c (with its shape rule), a
// gradient rule in grad.c if it has one, one kernel per backend and one loop in tests/oracle.c.
#ifndef BRC_OP_H
#define BRC_OP_H
#include <stdint.h>

typedef uint32_t brc_op_uint;
#define uint          brc_op_uint
#define BRC_PARAMS(x) brc_##x##_params
#define BRC_REAL      double
#include "graph/op_params.h"
#undef BRC_PARAMS
#undef BRC_REAL
#define BRC_PARAMS(x) brc_##x##_params32
#define BRC_REAL      float
#include "graph/op_params.h"
#undef BRC_PARAMS
#undef BRC_REAL
#undef uint

// What an op reads and writes. `?`: may be absent (NULL). Tensors are [members, rows, cols] with a row pitch; see
// op_params.h for the legend and graph.h for the builders. Columns behind `cols` in a row are undefined: never read
// them into a result. Parameter groups' padding is zero and must stay zero.
//
// dense           x [1|E,B,in], kernel [E,in,out], bias? [E,1,out] -> y [E,B,out]        y = x K + b
// dense_dx        dy [E,B,out], kernel rows [E,n,out] -> dx [E,B,n]                       dx (+)= dy Kᵀ, n rows of K
// dense_dw        x [1|E,B,in], dy [E,B,out] -> dK [E,in,out]                             dK (+)= xᵀ dy
// norm            x, scale, bias, residual? -> y, mean [E,B,1], rstd [E,B,1]
//                 variance = mean of squared deviations; xhat = (x - mean) rstd; v = xhat scale + bias;
//                 y = (residual +) (relu ? max(v, 0) : v)
// norm_backward   dy, x, mean, rstd, scale, bias? (with relu: v > 0 is the mask) -> dx, partial? [E, ceil(B/block), 3 pitch]
//                 g = relu ? dy (v > 0) : dy, v as in norm (computed anew: y is not read); gs = g scale; dx = rstd (gs - mean(gs) - xhat mean(gs xhat));
//                 partial row b = sums over the block's rows, in row order, of [g xhat | g | dx], each part `pitch` wide
// norm_sums       partial -> dscale [E,1,W], dbias [E,1,W], dxsum? [E,1,W] (gradient of the dense bias before the norm)
// colsum          x [E,R,C] -> [E,1,C], in row order within fixed blocks
// sum_members     x [E,R,C] -> [1,R,C], in member order
// embed           table [T,D] -> rows / norm(row)
// embed_backward  table [T,D], d [T,D] -> dtable [T,D]    L2: (d - ehat (ehat.d)) / |e|;  L1: (d - sign(e) (ehat.d)) / |e|_1
// concat_input    obs [B,O], action? [B,A], emb? [T,D], task? [B] (i32) -> x [B, O+A+D]
// gather_batch    table [R,O+A], extra [X,O], index [B,2] (i32) -> obs [B,O], action [B,A], next_obs [B,O]
//                 obs | action = row index[b,0] of the table; next_obs = the first O columns of its row index[b,1], or row
//                 -1 - index[b,1] of extra where that is negative. The table holds rows first .. first+R-1 of a larger one: what
//                 lies in none of them stays as it is (extra is read where first = 0)
// segment_sum     x [B,D], task [B] (i32) -> [T,D]
// tanh_normal     mean [B,A], head [B,A], eps? [B,A] -> action [B,A], logp? [B,1]
//                 log_std = min + (max-min)/2 (1 + tanh(head)); u = mean + tau exp(log_std) eps; action = tanh(u);
//                 logp = sum_j [ -eps²/2 - log_std - log(2 pi)/2 - 2 (log 2 - u - softplus(-2u)) ]   (tau = 1)
// tanh_normal_backward  mean, head, eps, da [B,A], dlogp [B,1] -> dmean, dhead
//                 du = da (1 - tanh(u)²) + dlogp 2 tanh(u); dmean = du; dlog_std = du std eps - dlogp;
//                 dhead = dlog_std (max-min)/2 (1 - tanh(head)²)
// categorical_target  logits [E,B,N], reward [B,1], mask [B,1], logp [B,1], scalars -> target [B,N], q [B,1]
//                 p = mean_e softmax(logits); z_i = -v_max + i dz; t_i = clip(r + discount mask (z_i - alpha logp), +-v_max);
//                 b_i = (t_i + v_max)/dz; mass p_i (u-b+[l=u]) to l = floor(b), p_i (b-l) to u = ceil(b); q = sum z target
// cross_entropy   logits [E,B,N], target [B,N] -> loss [E,B,1], dlogits? [E,B,N]
//                 loss = -sum_i target_i log_softmax_i; dlogits = scale (softmax sum(target) - target)
// expected_value  logits [E,B,N] -> q [B,1], dlogits? [E,B,N]
//                 q_e = sum_i z_i softmax_i; q = mean_e q_e; dlogits = scale/E softmax_i (z_i - q_e)
// policy_loss     logp [B,1], q [B,1], scalars -> stats [1,2] (loss, entropy), dlogp? [B,1] (= alpha/B)
// reduce          x [R,C] -> out [1, C or 3]
// adamw           grad, p, m, v, target?, scalars -> partial? [ceil(n/block), 2] (sums of grad², of p² before the step);
//                 in place: m, v, p -= lr (m/c1 / (sqrt(v/c2) + eps) + decay p); target = tau p_new + (1-tau) target
// temperature     log_alpha [1], m [1], v [1], scalars, entropy [1] -> stats [1,3] (alpha before, loss, gradient); in place: log_alpha, m, v
//                 loss = alpha (H - H_target), gradient the same number; Adam with decay (0 by default)
// advance_scalars counts [1,4] (i32: critic, actor, temperature steps, draw), log_alpha -> scalars [1,8]; in place: counts += 1
//                 scalars: BRC_SCALAR_* below; bias correction of beta at count t: 1 - beta^t, from t by doubling:
//                 c(2t) = c(t) (2 - c(t)), c(t+1) = beta c(t) + (1-beta), over the bits of t: no pow, no state
// normal          step [1,1] (i32) -> z [R,C]; src/base/philox.h
//
// clang-format off
//   op  name                  in out params           worst  why that bound (relative to the largest magnitude of the output)
#define BRC_OPS(OP)                                                                                                    \
  OP(dense, 3, 1, gemm, 2e-6, "f32 sums over the input width, random signs")                                           \
  OP(dense_dx, 2, 1, gemm, 2e-6, "f32 sums over the output width")                                                     \
  OP(dense_dw, 2, 1, gemm, 2e-6, "f32 sums over the batch")                                                            \
  OP(norm, 4, 3, norm, 5e-6, "f32 row sums, one rsqrt")                                                                \
  OP(norm_backward, 6, 2, norm, 1e-5, "differences of row sums")                                                       \
  OP(norm_sums, 1, 3, norm_sums, 2e-6, "f32 sums over blocks")                                                         \
  OP(colsum, 1, 1, colsum, 5e-6, "f32 sums over rows")                                                                 \
  OP(sum_members, 1, 1, sum_members, 5e-7, "one rounding per member")                                                  \
  OP(embed, 1, 1, embed, 1e-6, "f32 sum over 32, one division")                                                        \
  OP(embed_backward, 2, 1, embed, 5e-6, "difference of projections")                                                   \
  OP(concat_input, 4, 1, concat, 0, "copies")                                                                          \
  OP(gather_batch, 3, 3, gather, 0, "copies")                                                                          \
  OP(segment_sum, 2, 1, segment_sum, 5e-6, "f32 sums over rows")                                                       \
  OP(tanh_normal, 3, 2, tanh_normal, 5e-6, "exp, tanh, softplus to a few ulp")                                         \
  OP(tanh_normal_backward, 5, 2, tanh_normal, 1e-5, "exp, tanh to a few ulp")                                          \
  OP(categorical_target, 5, 2, categorical, 3e-5, "b carries 4e-6 of rounding at b = 100 (golden/README.md)")          \
  OP(cross_entropy, 2, 2, categorical, 5e-6, "exp, log and sums over atoms")                                           \
  OP(expected_value, 1, 2, categorical, 5e-6, "exp and sums over atoms")                                               \
  OP(policy_loss, 3, 2, policy_loss, 5e-6, "f32 sum over rows")                                                        \
  OP(reduce, 1, 1, reduce, 5e-6, "f32 sum over rows in fixed order")                                                   \
  OP(adamw, 6, 1, adamw, 5e-6, "elementwise; partial sums over a block")                                               \
  OP(temperature, 5, 1, temperature, 1e-6, "one element")                                                              \
  OP(advance_scalars, 2, 1, advance, 2e-6, "about 60 products and sums")                                               \
  OP(normal, 1, 1, normal, 1e-6, "same bits on every float32 device; float64 oracle differs by the polynomials")

// clang-format on
typedef enum brc_op_kind {
#define OP(name, ...) BRC_OP_##name,
  BRC_OPS(OP)
#undef OP
      BRC_OP_COUNT
} brc_op_kind;

typedef union brc_op_params {
#define OP(name, in, out, params, ...) struct brc_##params##_params name;
  BRC_OPS(OP)
#undef OP
} brc_op_params;

typedef union brc_op_params32 {
#define OP(name, in, out, params, ...) struct brc_##params##_params32 name;
  BRC_OPS(OP)
#undef OP
} brc_op_params32;

typedef struct brc_op_info {
  const char *name;
  int inputs, outputs;
  unsigned params_bytes, params32_bytes, uints;  // size of the two structs, number of leading uint fields
  double worst;                                  // parity bound against the oracle
  const char *why;
} brc_op_info;
extern const brc_op_info brc_op_infos[BRC_OP_COUNT];

// The float version of an op's parameters, as kernels take them. Returns its size in bytes.
unsigned brc_op_params_to32(brc_op_kind kind, const brc_op_params *p, brc_op_params32 *out);

// The device scalars that a program advances itself, and the step counts behind them.
enum {
  BRC_SCALAR_ALPHA,  // exp(log_alpha) before the update
  BRC_SCALAR_CRITIC_C1,
  BRC_SCALAR_CRITIC_C2,
  BRC_SCALAR_ACTOR_C1,
  BRC_SCALAR_ACTOR_C2,
  BRC_SCALAR_TEMPERATURE_C1,
  BRC_SCALAR_TEMPERATURE_C2,
  BRC_SCALAR_COUNT = 8
};
enum { BRC_COUNT_CRITIC, BRC_COUNT_ACTOR, BRC_COUNT_TEMPERATURE, BRC_COUNT_DRAW, BRC_COUNT_COUNT };
#endif
