// The parameters of every op, one plain struct each: first `uint` fields, then reals.
//
// Included by C twice (brc_NAME_params with doubles, which the program and the oracle hold; brc_NAME_params32 with
// floats, which kernels take) and by device languages once, with floats. Pitches and strides count elements (4 bytes on a
// device). A stride of 0 broadcasts one member's data to all.
//
// Legend: E members of the ensemble, B batch, W width, N atoms, O observation, A action, T tasks, D embedding dimension.

// dense, dense_dx, dense_dw: C[e] = op(A[e]) op(B[e]) (+ bias[e]) (+ C[e] when accumulate), for e < batch; m x n x k.
// precision (brc_precision) is that of A's and B's elements as factors; sums are float32. Below fp32 the factors are
// round(scale_a A) and round(scale_b B), saturated, and the sum is divided by scale_a scale_b: powers of two.
struct BRC_PARAMS(gemm) {
  uint m, n, k, batch;
  uint lda, ldb, ldc, accumulate;
  uint stride_a, stride_b, stride_c, stride_bias;
  uint precision, pad0;
  BRC_REAL scale_a, scale_b;
};

// norm, norm_backward: LayerNorm over `cols` of members*rows rows; scale and bias have `stride_p` between members.
struct BRC_PARAMS(norm) {
  uint members, rows, cols, pitch;
  uint stride_p, relu, residual, block;  // block: rows whose sums make one row of norm_backward's partials
  BRC_REAL eps;
};

// norm_sums: partial [E, blocks, 3 pitch] -> up to three [E, cols] sums over blocks.
struct BRC_PARAMS(norm_sums) {
  uint members, blocks, cols, pitch;  // pitch: of the partial's three parts, and columns between them
  uint stride_p;                      // between members of each output
  uint pad0;
};

// colsum: out[e, c] = sum over rows of x[e, r, c].
struct BRC_PARAMS(colsum) {
  uint members, rows, cols, pitch;
  uint stride_x, stride_p;
};

// sum_members: out[r, c] = sum over e of x[e, r, c].
struct BRC_PARAMS(sum_members) {
  uint members, rows, cols, pitch;
  uint pitch_out, stride_x;
};

// embed, embed_backward: each row of table [T, D] divided by its norm (1: L1, 2: L2).
struct BRC_PARAMS(embed) {
  uint rows, cols, pitch, pitch_out;
  uint norm, pad0;
};

// concat_input: x[r] = [obs[r], action[r], emb[task[r]]]; a part with no columns is absent.
struct BRC_PARAMS(concat) {
  uint rows, pitch;
  uint cols_obs, pitch_obs, cols_action, pitch_action, cols_emb, pitch_emb;
};

// gather_batch: rows out of rows first .. first+count-1 of a table; `extra` has the pitch of obs and next_obs.
struct BRC_PARAMS(gather) {
  uint rows, pitch_table, first, count;
  uint cols_obs, pitch_obs, cols_action, pitch_action;
};

// segment_sum: out[t] = sum over rows r with task[r] = t, in row order, of x[r].
struct BRC_PARAMS(segment_sum) {
  uint rows, cols, pitch, segments;
  uint pitch_out, pad0;
};

// tanh_normal and its backward.
struct BRC_PARAMS(tanh_normal) {
  uint rows, cols, pitch_mean, pitch_head;
  uint pitch_eps, pitch_action;
  BRC_REAL tau, log_std_min, log_std_max;
};

// categorical_target, cross_entropy, expected_value: rows B of N atoms per member.
struct BRC_PARAMS(categorical) {
  uint members, rows, atoms, pitch;  // pitch: of logits and dlogits
  uint stride, pitch_target;         // stride: between members of logits
  BRC_REAL v_max, discount,
      scale;  // scale: cross_entropy, expected_value: gradient of the loss by this op's output
};

// policy_loss: mean over rows of alpha logp - q; entropy = -mean logp.
struct BRC_PARAMS(policy_loss) {
  uint rows, pad0;
};

// reduce: x [rows, cols] (cols <= 4). mode 0: out[c] = scale * sum; 1: out[c] = sqrt(sum); 2 (cols = 1): mean, min, max;
// 3: out[c] = sqrt(sum of squares).
struct BRC_PARAMS(reduce) {
  uint rows, cols, pitch, mode;
  BRC_REAL scale;
};

// adamw on a flat group of n elements; `block` elements make one row of the partial sums.
struct BRC_PARAMS(adamw) {
  uint n, block;
  uint c1, c2;  // where in `scalars` the bias corrections are
  BRC_REAL lr, beta1, beta2, one_minus_beta1, one_minus_beta2, eps, decay, tau, one_minus_tau;
};

// temperature: Adam on log_alpha.
struct BRC_PARAMS(temperature) {
  uint c1, c2;
  BRC_REAL lr, beta1, beta2, one_minus_beta1, one_minus_beta2, eps, decay, target_entropy;
};

// advance_scalars: step counts up by one, alpha and bias corrections from them.
struct BRC_PARAMS(advance) {
  uint pad0, pad1;
  BRC_REAL critic_beta1, critic_beta2, actor_beta1, actor_beta2, temperature_beta1, temperature_beta2;
  BRC_REAL critic_1m1, critic_1m2, actor_1m1, actor_1m2, temperature_1m1,
      temperature_1m2;  // 1 - beta, from double
};

// normal: out[r, c] = normal number r*cols + c of (seed, stream, step).
struct BRC_PARAMS(normal) {
  uint rows, cols, pitch, stream;
  uint seed_lo, seed_hi;
};
