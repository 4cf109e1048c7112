// LayerNorm, forwards and backwards. Rows are the E * B rows of all members, one behind the other.
#include "cl/common.h"
#include "cl/precision.h"
#include "cl/strip.h"

#if BRC_VEC == 16
// Four sums side by side, as one would wait for itself: columns [c, c + 64) at a time, then what is left.
#define WIDE 64
static inline float row_total(__global const float *x, uint cols) {
  vf a = 0.0f, b = 0.0f, d = 0.0f, e = 0.0f;
  uint c = 0;
  for (; c + WIDE <= cols; c += WIDE) {
    a += v_load(x + c, 16);
    b += v_load(x + c + 16, 16);
    d += v_load(x + c + 32, 16);
    e += v_load(x + c + 48, 16);
  }
  for (; c < cols; c += 16) a += v_load(x + c, cols - c);
  return v_sum((a + b) + (d + e));
}
static inline vf square_of(vf x, float mu, vf sum) {
  vf d = x - mu;
  return fma(d, d, sum);
}
static inline float row_squares(__global const float *x, uint cols, float mu) {
  vf a = 0.0f, b = 0.0f, d = 0.0f, e = 0.0f;
  uint c = 0;
  for (; c + WIDE <= cols; c += WIDE) {
    a = square_of(v_load(x + c, 16), mu, a);
    b = square_of(v_load(x + c + 16, 16), mu, b);
    d = square_of(v_load(x + c + 32, 16), mu, d);
    e = square_of(v_load(x + c + 48, 16), mu, e);
  }
  for (; c < cols; c += 16) {
    vf y = v_keep(v_load(x + c, cols - c) - mu, cols - c);
    a = fma(y, y, a);
  }
  return v_sum((a + b) + (d + e));
}
#define ROW_TOTAL(x, cols)       row_total(x, cols)
#define ROW_SQUARES(x, cols, mu) row_squares(x, cols, mu)
#else
static inline float row_total(__global const float *x, uint cols, uint lane, __local float *scratch) {
  float sum = 0.0f;
  FOR_COLS(cols, NORM_LANES) sum += x[c];
  return row_sum(sum, scratch, NORM_LANES);
}
static inline float row_squares(__global const float *x, uint cols, float mu, uint lane,
                                __local float *scratch) {
  float sum = 0.0f;
  FOR_COLS(cols, NORM_LANES) sum = fma(x[c] - mu, x[c] - mu, sum);
  return row_sum(sum, scratch, NORM_LANES);
}
#define ROW_TOTAL(x, cols)       row_total(x, cols, lane, scratch)
#define ROW_SQUARES(x, cols, mu) row_squares(x, cols, mu, lane, scratch)
#endif

// norm_copies, norm_backward_copies (GPUs): also the output as a factor of the products behind it, two bytes a number, each times
// copy_scale (a float's bits), rows `cols` apart (backends/opencl/mma.c).
#if BRC_VEC == 16
#define COPY(copies, x)
#else
#define COPY(copies, x) \
  if (copies) copy[c] = (ushort)two_bytes(as_float(copy_scale) * (x), precision)
#endif
#define USE_COPY __global ushort *copy = (__global ushort *)(copy_buffer + copy_offset) + (ulong)row * P.cols

// y = (residual +) (relu) ((x - mean) rstd scale + bias). Three walks over a row that stays in cache: mean, variance, result.
#define NORM_ARGS                                                                        \
  ARG(x), ARG(scale), ARG(bias), ARG(residual), ARG(y), ARG(mean), ARG(rstd), ARG(copy), \
      const struct brc_norm_params P, const uint precision, const uint copy_scale
#define RESULT(more, copies)                                                                     \
  FOR_COLS(P.cols, NORM_LANES) {                                                                 \
    vf v = fma((v_load(x + c, left) - mu) * s, v_load(scale + c, left), v_load(bias + c, left)); \
    v = select(v, least, v < least) more;                                                        \
    v_store(v, y + c, left);                                                                     \
    COPY(copies, v);                                                                             \
  }
#define NORM(copies)                                                                    \
  ROW(NORM_LANES);                                                                      \
  USE(x);                                                                               \
  USE(scale);                                                                           \
  USE(bias);                                                                            \
  USE(residual);                                                                        \
  USE(y);                                                                               \
  USE_COPY;                                                                             \
  const ulong at = (ulong)row * P.pitch, member = (ulong)(row / P.rows) * P.stride_p;   \
  x += at;                                                                              \
  y += at;                                                                              \
  residual += at;                                                                       \
  scale += member;                                                                      \
  bias += member;                                                                       \
  const float mu = ROW_TOTAL(x, P.cols) / (float)P.cols;                                \
  const float s = 1.0f / sqrt(ROW_SQUARES(x, P.cols, mu) / (float)P.cols + P.eps);      \
  const vf least = P.relu ? 0.0f : -INFINITY; /* by a comparison: max would drop NaN */ \
  if (HAS(residual))                                                                    \
    RESULT(+v_load(residual + c, left), copies)                                         \
  else                                                                                  \
    RESULT(, copies)                                                                    \
  if (FIRST_LANE) {                                                                     \
    mean_buffer[mean_offset + row] = mu;                                                \
    rstd_buffer[rstd_offset + row] = s;                                                 \
  }
__kernel void norm(NORM_ARGS) { NORM(false); }
#if BRC_VEC == 1
__kernel void norm_copies(NORM_ARGS) { NORM(true); }
#endif

#define BACKWARD_OPERANDS ARG(dy), ARG(x), ARG(mean), ARG(rstd), ARG(scale), ARG(bias), ARG(dx), ARG(partial)
#define BACKWARD_ARGS                                                                     \
  BACKWARD_OPERANDS, ARG(copy), const struct brc_norm_params P, const uint partial_pitch, \
      const uint precision, const uint copy_scale
#define USE_BACKWARD \
  USE(dy);           \
  USE(x);            \
  USE(mean);         \
  USE(rstd);         \
  USE(scale);        \
  USE(bias);         \
  USE(dx);           \
  USE(partial)

#if BRC_VEC == 16
// g: the gradient behind the relu, which was open where norm's v, the same number here, is positive.
static inline vf masked(vf dy, vf xhat, vf scale, __global const float *bias, uint left, uint relu) {
  return relu ? select((vf)0.0f, dy, fma(xhat, scale, v_load(bias, left)) > (vf)0.0f) : dy;
}

// One row's two sums over columns: of gs, and of gs (x - mean).
static inline float2 backward_sums(__global const float *dy, __global const float *x,
                                   __global const float *scale, __global const float *bias, float m, float s,
                                   uint cols, uint relu) {
  vf a0 = 0.0f, b0 = 0.0f, a1 = 0.0f, b1 = 0.0f;
#define COLUMN(a, b, c, left)                                                            \
  {                                                                                      \
    const vf d = v_keep(v_load(x + (c), left) - m, left), w = v_load(scale + (c), left); \
    const vf gs = masked(v_load(dy + (c), left), d * s, w, bias + (c), left, relu) * w;  \
    a += gs;                                                                             \
    b = fma(gs, d, b);                                                                   \
  }
  uint c = 0;
  for (; c + 32 <= cols; c += 32) {
    COLUMN(a0, b0, c, 16)
    COLUMN(a1, b1, c + 16, 16)
  }
  for (; c < cols; c += 16) COLUMN(a0, b0, c, cols - c)
#undef COLUMN
  return (float2)(v_sum(a0 + a1), v_sum(b0 + b1));
}

// dx of n rows, and their sums added to the block's in row order.
static inline void backward_rows(const uint n, __global const float *dy, __global const float *x,
                                 __global const float *scale, __global const float *bias, __global float *dx,
                                 __global float *partial, const float *m, const float *s, const float2 *means,
                                 uint cols, uint pitch, uint relu, bool sums, bool first) {
  FOR_COLS(cols, 1) {
    const vf w = v_load(scale + c, left);
    vf sum_gx = 0.0f, sum_g = 0.0f, sum_dx = 0.0f;
    if (sums && !first) {
      sum_gx = v_load(partial + c, left);
      sum_g = v_load(partial + pitch + c, left);
      sum_dx = v_load(partial + 2 * pitch + c, left);
    }
    for (uint i = 0; i < n; i++) {
      const ulong at = (ulong)i * pitch + c;
      const vf xhat = (v_load(x + at, left) - m[i]) * s[i];
      const vf g = masked(v_load(dy + at, left), xhat, w, bias + c, left, relu);
      const vf d = s[i] * (fma(g, w, (vf)-means[i].x) - xhat * means[i].y);
      v_store(d, dx + at, left);
      sum_gx = fma(g, xhat, sum_gx);
      sum_g += g;
      sum_dx += d;
    }
    if (sums) {
      v_store(sum_gx, partial + c, left);
      v_store(sum_g, partial + pitch + c, left);
      v_store(sum_dx, partial + 2 * pitch + c, left);
    }
  }
}

// A work-item owns a block of rows of one member, ROWS at a time: dx, and the block's sums [g xhat | g | dx] in row order,
// which stay in cache.
#define ROWS 4
__kernel void norm_backward(BACKWARD_ARGS) {
  USE_BACKWARD;
  const uint blocks = (P.rows + P.block - 1) / P.block, group = (uint)get_group_id(0);
  const uint member = group / blocks, begin = (group % blocks) * P.block, end = min(begin + P.block, P.rows);
  const bool sums = HAS(partial);
  scale += (ulong)member * P.stride_p;
  bias += (ulong)member * P.stride_p;
  partial += (ulong)group * partial_pitch;

  for (uint r = begin; r < end;) {
    const uint n = end - r >= ROWS ? ROWS : 1;
    const ulong row = (ulong)member * P.rows + r, at = row * P.pitch;
    float m[ROWS], s[ROWS];
    float2 means[ROWS];
    for (uint i = 0; i < n; i++) {
      const ulong at_i = at + (ulong)i * P.pitch;
      m[i] = mean[row + i];
      s[i] = rstd[row + i];
      means[i] = backward_sums(dy + at_i, x + at_i, scale, bias, m[i], s[i], P.cols, P.relu) / (float)P.cols;
      means[i].y *= s[i];
    }
    if (n == ROWS)
      backward_rows(ROWS, dy + at, x + at, scale, bias, dx + at, partial, m, s, means, P.cols, P.pitch, P.relu,
                    sums, r == begin);
    else
      backward_rows(1, dy + at, x + at, scale, bias, dx + at, partial, m, s, means, P.cols, P.pitch, P.relu,
                    sums, r == begin);
    r += n;
  }
}
#else
// g: the gradient behind the relu, which was open where norm's v, the same number here, is positive.
static inline float masked(float dy, float xhat, float scale, float bias) {
  return fma(xhat, scale, bias) > 0.0f ? dy : 0.0f;
}

// A work-group owns a row: dx.
#define NORM_BACKWARD(copies)                                                                       \
  ROW(NORM_LANES);                                                                                  \
  USE(dy);                                                                                          \
  USE(x);                                                                                           \
  USE(scale);                                                                                       \
  USE(bias);                                                                                        \
  USE(dx);                                                                                          \
  USE_COPY;                                                                                         \
  const ulong at = (ulong)row * P.pitch, member = (ulong)(row / P.rows) * P.stride_p;               \
  const float m = mean_buffer[mean_offset + row], s = rstd_buffer[rstd_offset + row];               \
  scale += member;                                                                                  \
  bias += member;                                                                                   \
  dy += at;                                                                                         \
  x += at;                                                                                          \
  dx += at;                                                                                         \
  float a = 0.0f, b = 0.0f;                                                                         \
  FOR_COLS(P.cols, NORM_LANES) {                                                                    \
    const float d = x[c] - m, g = P.relu ? masked(dy[c], d * s, scale[c], bias[c]) : dy[c];         \
    a = fma(g, scale[c], a);                                                                        \
    b = fma(g * scale[c], d, b);                                                                    \
  }                                                                                                 \
  const float mean_gs = row_sum(a, scratch, NORM_LANES) / (float)P.cols;                            \
  const float mean_gs_xhat = row_sum(b, scratch, NORM_LANES) / (float)P.cols * s;                   \
  FOR_COLS(P.cols, NORM_LANES) {                                                                    \
    const float xhat = (x[c] - m) * s, g = P.relu ? masked(dy[c], xhat, scale[c], bias[c]) : dy[c]; \
    const float d = s * (fma(g, scale[c], -mean_gs) - xhat * mean_gs_xhat);                         \
    dx[c] = d;                                                                                      \
    COPY(copies, d);                                                                                \
  }
__kernel void norm_backward(BACKWARD_ARGS) { NORM_BACKWARD(false); }
__kernel void norm_backward_copies(BACKWARD_ARGS) { NORM_BACKWARD(true); }

// Of one column of a block of rows, in row order: the sums of g xhat, of g, and of dx, which lies there already.
static inline float3 block_sums(__global const float *dy, __global const float *x, __global const float *mean,
                                __global const float *rstd, float scale, float bias, __global const float *dx,
                                uint rows, uint pitch, uint relu) {
  float sum_gx = 0.0f, sum_g = 0.0f, sum_dx = 0.0f;
  _Pragma("unroll 8") for (uint r = 0; r < rows; r++) {
    const ulong at = (ulong)r * pitch;
    const float xhat = (x[at] - mean[r]) * rstd[r], g = relu ? masked(dy[at], xhat, scale, bias) : dy[at];
    sum_gx = fma(g, xhat, sum_gx);
    sum_g += g;
    sum_dx += dx[at];
  }
  return (float3)(sum_gx, sum_g, sum_dx);
}
// Column c of block `block` of a member; the sums also go to partial.
static inline float3 block_to_partial(__global const float *dy, __global const float *x,
                                      __global const float *mean, __global const float *rstd,
                                      __global const float *scale, __global const float *bias,
                                      __global const float *dx, __global float *partial,
                                      const struct brc_norm_params *P, uint partial_pitch, uint member,
                                      uint block, uint c) {
  const uint blocks = (P->rows + P->block - 1) / P->block, first = block * P->block;
  const ulong row = (ulong)member * P->rows + first, at = row * P->pitch + c;
  const ulong of_member = (ulong)member * P->stride_p + c;
  const float3 sums =
      block_sums(dy + at, x + at, mean + row, rstd + row, P->relu ? scale[of_member] : 0.0f,
                 P->relu ? bias[of_member] : 0.0f, dx + at, min(P->block, P->rows - first), P->pitch, P->relu);
  partial += ((ulong)member * blocks + block) * partial_pitch + c;
  partial[0] = sums.x;
  partial[P->pitch] = sums.y;
  partial[2 * P->pitch] = sums.z;
  return sums;
}

// A work-item owns a column of a block of rows. Behind norm_backward, whose dx it reads.
__kernel void norm_backward_sums(BACKWARD_ARGS) {
  USE_BACKWARD;
  const uint c = (uint)get_global_id(0), group = (uint)get_group_id(1);
  const uint blocks = (P.rows + P.block - 1) / P.block;
  if (c < P.cols)
    block_to_partial(dy, x, mean, rstd, scale, bias, dx, partial, &P, partial_pitch, group / blocks,
                     group % blocks, c);
}

// norm_backward_sums and norm_sums in one, bit for bit, for activations that stay in cache: group (strip, member), each of whose slices
// (cl/strip.h) takes every 32nd block.
__kernel void norm_backward_all_sums(BACKWARD_OPERANDS, ARG(dscale), ARG(dbias), ARG(dxsum),
                                     const struct brc_norm_params P, const uint partial_pitch,
                                     const uint stride_out) {
  STRIP;
  USE_BACKWARD;
  USE(dscale);
  USE(dbias);
  USE(dxsum);
  const uint member = (uint)get_group_id(1), blocks = (P.rows + P.block - 1) / P.block;
  float3 own = 0.0f;
  if (c < P.cols)
    for (uint block = (uint)get_local_id(0) / STRIP_COLS; block < blocks; block += SLICES)
      own += block_to_partial(dy, x, mean, rstd, scale, bias, dx, partial, &P, partial_pitch, member, block, c);
  const float sum_gx = slices_sum(own.x, scratch), sum_g = slices_sum(own.y, scratch),
              sum_dx = slices_sum(own.z, scratch);
  if (!STRIP_OWNER || c >= P.cols) return;
  const ulong to = (ulong)member * stride_out + c;
  if (HAS(dscale)) dscale[to] = sum_gx;
  if (HAS(dbias)) dbias[to] = sum_g;
  if (HAS(dxsum)) dxsum[to] = sum_dx;
}
#endif
