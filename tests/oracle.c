// Every op in the words of op.h, one function each: clarity before speed.
//
// Legend: E members, B batch (rows), W width, N atoms, A actions, T tasks, D embedding dimension.
#include "tests/oracle.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/philox.h"

struct brc_buffer {
  uint64_t elements;
  double data[];
};

struct brc_exec {
  const brc_program *program;
  uint64_t arena_elements;
  double *arena;
};

// Where a tensor's numbers are while an op runs. data is NULL where an optional tensor is absent.
typedef struct view {
  double *data;
  uint32_t members, rows, cols, pitch;
  uint64_t stride;
} view;

typedef void oracle_fn(const brc_op_params *params, const view *in, const view *out);

// Row r of member e; a tensor of one member is the same for all.
static double *row(const view *v, uint32_t e, uint32_t r) {
  return v->data + (v->members == 1 ? 0 : e * v->stride) + (uint64_t)r * v->pitch;
}
static double *at(const view *v, uint32_t e, uint32_t r, uint32_t c) { return row(v, e, r) + c; }

//------------------------ 1. Products -----------------------------------------
// The nearest number of a precision, ties to even, saturated.
static double rounded(double x, uint32_t precision) {
  static const struct {
    int bits, lowest;  // of the significand, the leading one included; exponent of the least normal number
    double most;
  } formats[BRC_PRECISION_COUNT] = {
      [BRC_TF32] = {11, -126, 0x1.ffcp127}, [BRC_BF16] = {8, -126, 0x1.fep127}, [BRC_FP16] = {11, -14, 65504}};
  int exponent;
  if (isnan(x)) return x;
  x = fmin(fmax(x, -formats[precision].most), formats[precision].most);
  frexp(x, &exponent);  // |x| < 2^exponent
  const double unit =
      ldexp(1, (int)fmax(exponent - 1, formats[precision].lowest) - formats[precision].bits + 1);
  return fmin(fmax(nearbyint(x / unit) * unit, -formats[precision].most), formats[precision].most);
}

// An operand as a product takes it: itself, or a copy of round(scale x) / scale; powers of two divide exactly.
static view factors_of(const view *x, uint32_t precision, double scale) {
  if (precision == BRC_FP32) return *x;
  view f = *x;
  f.pitch = x->cols;
  f.stride = (uint64_t)x->rows * x->cols;
  f.data = malloc(x->members * f.stride * sizeof *f.data);
  assert(f.data);
  for (uint32_t e = 0; e < x->members; e++)
    for (uint32_t r = 0; r < x->rows; r++)
      for (uint32_t c = 0; c < x->cols; c++)
        *at(&f, e, r, c) = rounded(*at(x, e, r, c) * scale, precision) / scale;
  return f;
}
static void factors_free(const view *f, const view *x) {
  if (f->data != x->data) free(f->data);
}

// y = x K + b
static void oracle_dense(const brc_op_params *params, const view *in, const view *out) {
  const struct brc_gemm_params *p = &params->dense;
  const view f0 = factors_of(&in[0], p->precision, p->scale_a), *x = &f0;
  const view f1 = factors_of(&in[1], p->precision, p->scale_b), *kernel = &f1;
  const view *bias = &in[2], *y = &out[0];
  for (uint32_t e = 0; e < y->members; e++)
    for (uint32_t r = 0; r < y->rows; r++) {
      double *y_row = row(y, e, r);
      for (uint32_t c = 0; c < y->cols; c++) {
        if (!p->accumulate) y_row[c] = 0;
        if (bias->data) y_row[c] += *at(bias, e, 0, c);
      }
      for (uint32_t i = 0; i < x->cols; i++) {
        const double x_i = *at(x, e, r, i), *k_row = row(kernel, e, i);
        for (uint32_t c = 0; c < y->cols; c++) y_row[c] += x_i * k_row[c];
      }
    }
  factors_free(x, &in[0]);
  factors_free(kernel, &in[1]);
}

// dx (+)= dy Kᵀ
static void oracle_dense_dx(const brc_op_params *params, const view *in, const view *out) {
  const struct brc_gemm_params *p = &params->dense_dx;
  const view f0 = factors_of(&in[0], p->precision, p->scale_a), *dy = &f0;
  const view f1 = factors_of(&in[1], p->precision, p->scale_b), *kernel = &f1;
  const view *dx = &out[0];
  for (uint32_t e = 0; e < dx->members; e++)
    for (uint32_t r = 0; r < dx->rows; r++)
      for (uint32_t i = 0; i < dx->cols; i++) {
        const double *dy_row = row(dy, e, r), *k_row = row(kernel, e, i);
        double sum = 0;
        for (uint32_t c = 0; c < dy->cols; c++) sum += dy_row[c] * k_row[c];
        double *d = at(dx, e, r, i);
        *d = (p->accumulate ? *d : 0) + sum;
      }
  factors_free(dy, &in[0]);
  factors_free(kernel, &in[1]);
}

// dK (+)= xᵀ dy
static void oracle_dense_dw(const brc_op_params *params, const view *in, const view *out) {
  const struct brc_gemm_params *p = &params->dense_dw;
  const view f0 = factors_of(&in[0], p->precision, p->scale_a), *x = &f0;
  const view f1 = factors_of(&in[1], p->precision, p->scale_b), *dy = &f1;
  const view *dk = &out[0];
  for (uint32_t e = 0; e < dk->members; e++)
    for (uint32_t i = 0; i < dk->rows; i++) {
      double *dk_row = row(dk, e, i);
      if (!p->accumulate)
        for (uint32_t c = 0; c < dk->cols; c++) dk_row[c] = 0;
      for (uint32_t r = 0; r < dy->rows; r++) {
        const double x_ri = *at(x, e, r, i), *dy_row = row(dy, e, r);
        for (uint32_t c = 0; c < dk->cols; c++) dk_row[c] += x_ri * dy_row[c];
      }
    }
  factors_free(x, &in[0]);
  factors_free(dy, &in[1]);
}

//------------------------ 2. LayerNorm ----------------------------------------
static void oracle_norm(const brc_op_params *params, const view *in, const view *out) {
  const view *x = &in[0], *scale = &in[1], *bias = &in[2], *residual = &in[3];
  const view *y = &out[0], *mean = &out[1], *rstd = &out[2];
  for (uint32_t e = 0; e < x->members; e++)
    for (uint32_t r = 0; r < x->rows; r++) {
      const double *x_row = row(x, e, r);
      double m = 0, variance = 0;
      for (uint32_t c = 0; c < x->cols; c++) m += x_row[c];
      m /= x->cols;
      for (uint32_t c = 0; c < x->cols; c++) variance += (x_row[c] - m) * (x_row[c] - m);
      variance /= x->cols;
      double s = 1 / sqrt(variance + params->norm.eps);
      *at(mean, e, r, 0) = m;
      *at(rstd, e, r, 0) = s;
      for (uint32_t c = 0; c < x->cols; c++) {
        double v = (x_row[c] - m) * s * *at(scale, e, 0, c) + *at(bias, e, 0, c);
        if (params->norm.relu) v = v < 0 ? 0 : v;  // NaN stays
        *at(y, e, r, c) = (residual->data ? *at(residual, e, r, c) : 0) + v;
      }
    }
}

static void oracle_norm_backward(const brc_op_params *params, const view *in, const view *out) {
  const view *dy = &in[0], *x = &in[1], *mean = &in[2], *rstd = &in[3], *scale = &in[4], *bias = &in[5];
  const view *dx = &out[0], *partial = &out[1];
  const uint32_t part = params->norm_backward.pitch, block = params->norm_backward.block;
  for (uint32_t e = 0; e < x->members; e++)
    for (uint32_t r = 0; r < x->rows; r++) {
      const double m = *at(mean, e, r, 0), s = *at(rstd, e, r, 0);
      double mean_gs = 0, mean_gs_xhat = 0;
      for (uint32_t c = 0; c < x->cols; c++) {
        const double xhat = (*at(x, e, r, c) - m) * s, w = *at(scale, e, 0, c);
        const bool open = !params->norm_backward.relu || xhat * w + *at(bias, e, 0, c) > 0;
        const double gs = open ? *at(dy, e, r, c) * w : 0;
        mean_gs += gs / x->cols;
        mean_gs_xhat += gs * xhat / x->cols;
      }
      double *sums =
          partial->data ? row(partial, e, r / block) : NULL;  // of [g xhat | g | dx] over a block's rows
      for (uint32_t c = 0; c < x->cols; c++) {
        const double xhat = (*at(x, e, r, c) - m) * s, w = *at(scale, e, 0, c);
        const bool open = !params->norm_backward.relu || xhat * w + *at(bias, e, 0, c) > 0;
        const double g = open ? *at(dy, e, r, c) : 0, d = s * (g * w - mean_gs - xhat * mean_gs_xhat);
        *at(dx, e, r, c) = d;
        if (!sums) continue;
        if (r % block == 0) sums[c] = sums[part + c] = sums[2 * part + c] = 0;
        sums[c] += g * xhat;
        sums[part + c] += g;
        sums[2 * part + c] += d;
      }
    }
}

static void oracle_norm_sums(const brc_op_params *params, const view *in, const view *out) {
  const view *partial = &in[0];
  for (int k = 0; k < 3; k++) {  // scale, bias, sum of dx
    if (!out[k].data) continue;
    for (uint32_t e = 0; e < out[k].members; e++)
      for (uint32_t c = 0; c < out[k].cols; c++) {
        double sum = 0;
        for (uint32_t b = 0; b < partial->rows; b++) sum += *at(partial, e, b, k * params->norm_sums.pitch + c);
        *at(&out[k], e, 0, c) = sum;
      }
  }
}

//------------------------ 3. Sums ---------------------------------------------
static void oracle_colsum(const brc_op_params *params, const view *in, const view *out) {
  (void)params;
  for (uint32_t e = 0; e < out->members; e++)
    for (uint32_t c = 0; c < out->cols; c++) {
      double sum = 0;
      for (uint32_t r = 0; r < in->rows; r++) sum += *at(in, e, r, c);
      *at(out, e, 0, c) = sum;
    }
}

static void oracle_sum_members(const brc_op_params *params, const view *in, const view *out) {
  (void)params;
  for (uint32_t r = 0; r < out->rows; r++)
    for (uint32_t c = 0; c < out->cols; c++) {
      double sum = 0;
      for (uint32_t e = 0; e < in->members; e++) sum += *at(in, e, r, c);
      *at(out, 0, r, c) = sum;
    }
}

static void oracle_segment_sum(const brc_op_params *params, const view *in, const view *out) {
  (void)params;
  const view *x = &in[0], *task = &in[1];
  for (uint32_t t = 0; t < out->rows; t++)
    for (uint32_t c = 0; c < out->cols; c++) {
      double sum = 0;
      for (uint32_t r = 0; r < x->rows; r++)
        if (*at(task, 0, r, 0) == t) sum += *at(x, 0, r, c);
      *at(out, 0, t, c) = sum;
    }
}

static void oracle_reduce(const brc_op_params *params, const view *in, const view *out) {
  double low = INFINITY, high = -INFINITY;
  for (uint32_t c = 0; c < in->cols; c++) {
    double sum = 0;
    for (uint32_t e = 0; e < in->members; e++)
      for (uint32_t r = 0; r < in->rows; r++) {
        double x = *at(in, e, r, c);
        sum += params->reduce.mode == BRC_REDUCE_NORM ? x * x : x;
        low = isnan(x) || isnan(low) ? NAN : fmin(low, x);
        high = isnan(x) || isnan(high) ? NAN : fmax(high, x);
      }
    if (params->reduce.mode == BRC_REDUCE_SUM) *at(out, 0, 0, c) = params->reduce.scale * sum;
    if (params->reduce.mode == BRC_REDUCE_ROOT || params->reduce.mode == BRC_REDUCE_NORM)
      *at(out, 0, 0, c) = sqrt(sum);
    if (params->reduce.mode == BRC_REDUCE_STATS) *at(out, 0, 0, 0) = sum / ((double)in->members * in->rows);
  }
  if (params->reduce.mode == BRC_REDUCE_STATS) {
    *at(out, 0, 0, 1) = low;
    *at(out, 0, 0, 2) = high;
  }
}

//------------------------ 4. Embedding and input ------------------------------
// The L1 or L2 norm of D numbers.
static double row_norm(const double *x, uint32_t n, uint32_t kind) {
  double sum = 0;
  for (uint32_t i = 0; i < n; i++) sum += kind == 1 ? fabs(x[i]) : x[i] * x[i];
  return kind == 1 ? sum : sqrt(sum);
}

static void oracle_embed(const brc_op_params *params, const view *in, const view *out) {
  for (uint32_t t = 0; t < in->rows; t++) {
    double norm = row_norm(row(in, 0, t), in->cols, params->embed.norm);
    for (uint32_t c = 0; c < in->cols; c++) *at(out, 0, t, c) = *at(in, 0, t, c) / norm;
  }
}

static void oracle_embed_backward(const brc_op_params *params, const view *in, const view *out) {
  const view *table = &in[0], *d = &in[1];
  const uint32_t kind = params->embed_backward.norm;
  for (uint32_t t = 0; t < table->rows; t++) {
    double norm = row_norm(row(table, 0, t), table->cols, kind), dot = 0;  // dot = ehat . d
    for (uint32_t c = 0; c < table->cols; c++) dot += *at(table, 0, t, c) / norm * *at(d, 0, t, c);
    for (uint32_t c = 0; c < table->cols; c++) {
      double e = *at(table, 0, t, c), sign = (e > 0) - (e < 0);
      *at(out, 0, t, c) = (*at(d, 0, t, c) - (kind == 1 ? sign : e / norm) * dot) / norm;
    }
  }
}

static void oracle_concat_input(const brc_op_params *params, const view *in, const view *out) {
  (void)params;
  const view *obs = &in[0], *action = &in[1], *emb = &in[2], *task = &in[3];
  for (uint32_t r = 0; r < out->rows; r++) {
    double *x = row(out, 0, r);
    for (uint32_t c = 0; c < obs->cols; c++) *x++ = *at(obs, 0, r, c);
    for (uint32_t c = 0; action->data && c < action->cols; c++) *x++ = *at(action, 0, r, c);
    for (uint32_t c = 0; emb->data && c < emb->cols; c++) *x++ = *at(emb, 0, (uint32_t)*at(task, 0, r, 0), c);
  }
}

static void oracle_gather_batch(const brc_op_params *params, const view *in, const view *out) {
  const view *table = &in[0], *extra = &in[1], *index = &in[2], *obs = &out[0], *action = &out[1];
  const double first = params->gather_batch.first, end = first + params->gather_batch.count;
  for (uint32_t r = 0; r < obs->rows; r++) {
    const double from = *at(index, 0, r, 0), next = *at(index, 0, r, 1);
    for (uint32_t c = 0; from >= first && from < end && c < obs->cols + action->cols; c++)
      *(c < obs->cols ? at(obs, 0, r, c) : at(action, 0, r, c - obs->cols)) =
          *at(table, 0, (uint32_t)(from - first), c);
    for (uint32_t c = 0; c < obs->cols; c++)
      if (next < 0 && first == 0)
        *at(&out[2], 0, r, c) = *at(extra, 0, (uint32_t)(-1 - next), c);
      else if (next >= first && next < end)
        *at(&out[2], 0, r, c) = *at(table, 0, (uint32_t)(next - first), c);
  }
}

//------------------------ 5. Policy -------------------------------------------
static double softplus(double x) { return fmax(x, 0) + log1p(exp(-fabs(x))); }

// 1 - tanh(u)² without the cancellation at large |u|.
static double tanh_slope(double u) {
  double z = exp(-2 * fabs(u));
  return 4 * z / ((1 + z) * (1 + z));
}

// One sample: its standard deviation, and u before the squashing.
typedef struct gauss {
  double log_std, std, u;
} gauss;
static gauss gauss_at(const struct brc_tanh_normal_params *p, double mean, double head, double eps) {
  gauss g;
  g.log_std = p->log_std_min + (p->log_std_max - p->log_std_min) / 2 * (1 + tanh(head));
  g.std = exp(g.log_std);
  g.u = mean + p->tau * g.std * eps;
  return g;
}

static void oracle_tanh_normal(const brc_op_params *params, const view *in, const view *out) {
  const view *mean = &in[0], *head = &in[1], *eps = &in[2], *action = &out[0], *logp = &out[1];
  for (uint32_t r = 0; r < mean->rows; r++) {
    double sum = 0;
    for (uint32_t c = 0; c < mean->cols; c++) {
      double e = eps->data ? *at(eps, 0, r, c) : 0;
      gauss g = gauss_at(&params->tanh_normal, *at(mean, 0, r, c), *at(head, 0, r, c), e);
      *at(action, 0, r, c) = tanh(g.u);
      sum += -e * e / 2 - g.log_std - log(2 * M_PI) / 2 - 2 * (log(2) - g.u - softplus(-2 * g.u));
    }
    if (logp->data) *at(logp, 0, r, 0) = sum;
  }
}

static void oracle_tanh_normal_backward(const brc_op_params *params, const view *in, const view *out) {
  const view *mean = &in[0], *head = &in[1], *eps = &in[2], *da = &in[3], *dlogp = &in[4];
  const view *dmean = &out[0], *dhead = &out[1];
  const struct brc_tanh_normal_params *p = &params->tanh_normal_backward;
  for (uint32_t r = 0; r < mean->rows; r++)
    for (uint32_t c = 0; c < mean->cols; c++) {
      double e = *at(eps, 0, r, c), h = *at(head, 0, r, c), dl = *at(dlogp, 0, r, 0);
      gauss g = gauss_at(p, *at(mean, 0, r, c), h, e);
      double du = *at(da, 0, r, c) * tanh_slope(g.u) + dl * 2 * tanh(g.u);
      double dlog_std = du * g.std * e - dl;
      *at(dmean, 0, r, c) = du;
      *at(dhead, 0, r, c) = dlog_std * (p->log_std_max - p->log_std_min) / 2 * tanh_slope(h);
    }
}

static void oracle_policy_loss(const brc_op_params *params, const view *in, const view *out) {
  (void)params;
  const view *logp = &in[0], *q = &in[1], *scalars = &in[2], *stats = &out[0], *dlogp = &out[1];
  const double alpha = *at(scalars, 0, 0, BRC_SCALAR_ALPHA);
  double loss = 0, entropy = 0;
  for (uint32_t r = 0; r < logp->rows; r++) {
    loss += alpha * *at(logp, 0, r, 0) - *at(q, 0, r, 0);
    entropy -= *at(logp, 0, r, 0);
    if (dlogp->data) *at(dlogp, 0, r, 0) = alpha / logp->rows;
  }
  *at(stats, 0, 0, 0) = loss / logp->rows;
  *at(stats, 0, 0, 1) = entropy / logp->rows;
}

//------------------------ 6. Categorical values -------------------------------
static double atom(uint32_t i, uint32_t atoms, double v_max) { return -v_max + i * (2 * v_max / (atoms - 1)); }

// max and log(sum(exp(x - max))) of N logits: log softmax_i = x_i - max - log_sum.
typedef struct softmax {
  double max, log_sum;
} softmax;
static softmax softmax_of(const double *x, uint32_t n) {
  softmax s = {.max = -INFINITY};
  double sum = 0;
  for (uint32_t i = 0; i < n; i++) s.max = fmax(s.max, x[i]);
  for (uint32_t i = 0; i < n; i++) sum += exp(x[i] - s.max);
  s.log_sum = log(sum);
  return s;
}
static double log_softmax(softmax s, double x) { return x - s.max - s.log_sum; }

static void oracle_categorical_target(const brc_op_params *params, const view *in, const view *out) {
  const view *logits = &in[0], *reward = &in[1], *mask = &in[2], *logp = &in[3], *scalars = &in[4];
  const view *target = &out[0], *q = &out[1];
  const struct brc_categorical_params *p = &params->categorical_target;
  const uint32_t n = logits->cols;
  const double dz = 2 * p->v_max / (n - 1);
  for (uint32_t r = 0; r < logits->rows; r++) {
    double *t = row(target, 0, r);
    for (uint32_t i = 0; i < n; i++) t[i] = 0;
    double shift = *at(scalars, 0, 0, BRC_SCALAR_ALPHA) * *at(logp, 0, r, 0);
    // The projection is linear: each member's probabilities, divided by E, are projected on their own.
    for (uint32_t e = 0; e < logits->members; e++) {
      softmax s = softmax_of(row(logits, e, r), n);
      for (uint32_t i = 0; i < n; i++) {
        double prob = exp(log_softmax(s, *at(logits, e, r, i))) / logits->members;
        double z = *at(reward, 0, r, 0) + p->discount * *at(mask, 0, r, 0) * (atom(i, n, p->v_max) - shift);
        if (isnan(z) || isnan(prob)) {  // no atom to go to: every one is unknown
          for (uint32_t j = 0; j < n; j++) t[j] = NAN;
          continue;
        }
        double b = (fmin(fmax(z, -p->v_max), p->v_max) + p->v_max) / dz;
        double lower = fmin(floor(b), n - 1),
               upper = fmin(ceil(b), n - 1);  // rounding may take b a hair too far
        t[(uint32_t)lower] += prob * (upper - b + (lower == upper));
        t[(uint32_t)upper] += prob * (b - lower);
      }
    }
    double value = 0;
    for (uint32_t i = 0; i < n; i++) value += atom(i, n, p->v_max) * t[i];
    *at(q, 0, r, 0) = value;
  }
}

static void oracle_cross_entropy(const brc_op_params *params, const view *in, const view *out) {
  const view *logits = &in[0], *target = &in[1], *loss = &out[0], *dlogits = &out[1];
  for (uint32_t e = 0; e < logits->members; e++)
    for (uint32_t r = 0; r < logits->rows; r++) {
      softmax s = softmax_of(row(logits, e, r), logits->cols);
      double sum = 0, mass = 0;
      for (uint32_t i = 0; i < logits->cols; i++) {
        double t = *at(target, 0, r, i);
        sum -= t * log_softmax(s, *at(logits, e, r, i));
        mass += t;
      }
      *at(loss, e, r, 0) = sum;
      for (uint32_t i = 0; dlogits->data && i < logits->cols; i++)
        *at(dlogits, e, r, i) = params->cross_entropy.scale *
                                (exp(log_softmax(s, *at(logits, e, r, i))) * mass - *at(target, 0, r, i));
    }
}

static void oracle_expected_value(const brc_op_params *params, const view *in, const view *out) {
  const view *logits = &in[0], *q = &out[0], *dlogits = &out[1];
  const struct brc_categorical_params *p = &params->expected_value;
  const uint32_t n = logits->cols;
  for (uint32_t r = 0; r < logits->rows; r++) {
    double mean = 0;
    for (uint32_t e = 0; e < logits->members; e++) {
      softmax s = softmax_of(row(logits, e, r), n);
      double q_e = 0;
      for (uint32_t i = 0; i < n; i++) q_e += atom(i, n, p->v_max) * exp(log_softmax(s, *at(logits, e, r, i)));
      mean += q_e / logits->members;
      for (uint32_t i = 0; dlogits->data && i < n; i++)
        *at(dlogits, e, r, i) = p->scale / logits->members * exp(log_softmax(s, *at(logits, e, r, i))) *
                                (atom(i, n, p->v_max) - q_e);
    }
    *at(q, 0, r, 0) = mean;
  }
}

//------------------------ 7. Optimisers, scalars, noise -----------------------
// One element of Adam: moments in place; returns the normalised direction.
static double adam(double grad, double *m, double *v, double beta1, double beta2, double c1, double c2,
                   double eps) {
  *m = beta1 * *m + (1 - beta1) * grad;
  *v = beta2 * *v + (1 - beta2) * grad * grad;
  return *m / c1 / (sqrt(*v / c2) + eps);
}

static void oracle_adamw(const brc_op_params *params, const view *in, const view *out) {
  const view *grad = &in[0], *param = &in[1], *m = &in[2], *v = &in[3], *target = &in[4], *scalars = &in[5];
  const struct brc_adamw_params *p = &params->adamw;
  const double c1 = *at(scalars, 0, 0, p->c1), c2 = *at(scalars, 0, 0, p->c2);
  for (uint32_t i = 0; i < grad->cols; i++) {
    double g = *at(grad, 0, 0, i), *x = at(param, 0, 0, i);
    if (out->data) {
      double *sums = row(out, 0, i / p->block);  // of grad², of p² before the step
      if (i % p->block == 0) sums[0] = sums[1] = 0;
      sums[0] += g * g;
      sums[1] += *x * *x;
    }
    double step = adam(g, at(m, 0, 0, i), at(v, 0, 0, i), p->beta1, p->beta2, c1, c2, p->eps);
    *x -= p->lr * (step + p->decay * *x);
    if (target->data) *at(target, 0, 0, i) = p->tau * *x + (1 - p->tau) * *at(target, 0, 0, i);
  }
}

static void oracle_temperature(const brc_op_params *params, const view *in, const view *out) {
  const view *log_alpha = &in[0], *m = &in[1], *v = &in[2], *scalars = &in[3], *entropy = &in[4];
  const struct brc_temperature_params *p = &params->temperature;
  const double alpha = *at(scalars, 0, 0, BRC_SCALAR_ALPHA);
  const double loss =
      alpha * (*at(entropy, 0, 0, 0) - p->target_entropy);  // d loss / d log_alpha is the same number
  double step = adam(loss, m->data, v->data, p->beta1, p->beta2, *at(scalars, 0, 0, p->c1),
                     *at(scalars, 0, 0, p->c2), p->eps);
  *log_alpha->data -= p->lr * (step + p->decay * *log_alpha->data);
  *at(out, 0, 0, 0) = alpha;
  *at(out, 0, 0, 1) = *at(out, 0, 0, 2) = loss;
}

// 1 - beta^t without cancellation when beta is near 1.
static double bias_correction(double beta, double t) { return beta > 0 ? -expm1(t * log(beta)) : 1; }

static void oracle_advance_scalars(const brc_op_params *params, const view *in, const view *out) {
  const view *counts = &in[0], *log_alpha = &in[1];
  const struct brc_advance_params *p = &params->advance_scalars;
  double *t = counts->data, *s = out->data;
  for (int i = 0; i < BRC_COUNT_COUNT; i++) t[i] += 1;
  s[BRC_SCALAR_ALPHA] = exp(*log_alpha->data);
  s[BRC_SCALAR_CRITIC_C1] = bias_correction(p->critic_beta1, t[BRC_COUNT_CRITIC]);
  s[BRC_SCALAR_CRITIC_C2] = bias_correction(p->critic_beta2, t[BRC_COUNT_CRITIC]);
  s[BRC_SCALAR_ACTOR_C1] = bias_correction(p->actor_beta1, t[BRC_COUNT_ACTOR]);
  s[BRC_SCALAR_ACTOR_C2] = bias_correction(p->actor_beta2, t[BRC_COUNT_ACTOR]);
  s[BRC_SCALAR_TEMPERATURE_C1] = bias_correction(p->temperature_beta1, t[BRC_COUNT_TEMPERATURE]);
  s[BRC_SCALAR_TEMPERATURE_C2] = bias_correction(p->temperature_beta2, t[BRC_COUNT_TEMPERATURE]);
}

// Box and Muller in double from the words that brc_normal2 takes: radius from `a`, angle from `b` (a quarter turn's
// number, and v in [-1/2, 1/2) quarter turns around its middle). The two are cosine and sine of the same angle.
static void normal2(uint32_t a, uint32_t b, double z[2]) {
  double radius = sqrt(-2 * log(((a >> 8) + 1) * 0x1p-24));
  double v = (b >> 6 & 0xffffff) * 0x1p-24 - 0.5, s = sin(v * (M_PI / 2)), c = cos(v * (M_PI / 2));
  uint32_t quarter = b >> 30;
  double cosine[4] = {c, -s, -c, s}, sine[4] = {s, c, -s, -c};
  z[0] = radius * cosine[quarter];
  z[1] = radius * sine[quarter];
}

static void oracle_normal(const brc_op_params *params, const view *in, const view *out) {
  const struct brc_normal_params *p = &params->normal;
  const uint32_t step = (uint32_t)(int64_t)*in->data;
  for (uint32_t r = 0; r < out->rows; r++)
    for (uint32_t c = 0; c < out->cols; c++) {
      uint32_t element = r * out->cols + c;
      brc_u4 words = brc_philox(element >> 2, step, 0, p->stream, p->seed_lo, p->seed_hi);
      double z[2];
      if (element & 2)
        normal2(words.z, words.w, z);
      else
        normal2(words.x, words.y, z);
      *at(out, 0, r, c) = z[element & 1];
    }
}

//------------------------ 8. The backend --------------------------------------
#define OP(name, ...) [BRC_OP_##name] = oracle_##name,
static oracle_fn *const oracle_ops[BRC_OP_COUNT] = {BRC_OPS(OP)};
#undef OP

static void fill_info(brc_device_info *info) {
  *info = (brc_device_info){.backend = "oracle",
                            .name = "oracle",
                            .vendor = "OpenBRC",
                            .compute_units = 1,
                            .is_cpu = true,
                            .fp64 = true,
                            .precisions = (1u << BRC_PRECISION_COUNT) - 1,
                            .gemm = "loops"};
}

static brc_status oracle_list(brc_device_info *out, size_t max, size_t *count) {
  if (max > 0) fill_info(out);
  *count = 1;
  return BRC_OK;
}

static brc_status oracle_open(brc_device **out, int index, const brc_device_options *options) {
  *out = NULL;
  if (index != 0) return brc_fail(BRC_E_NOT_FOUND, "oracle: no device %d; there is only device 0", index);
  if (options && options->gemm && strcmp(options->gemm, "loops") != 0)
    return brc_fail(BRC_E_NOT_FOUND, "oracle: no GEMM provider '%s'; there is only 'loops'", options->gemm);
  brc_device *d = calloc(1, sizeof *d);
  if (!d) return brc_fail(BRC_E_NOMEM, "oracle: out of memory");
  d->backend = &brc_backend_oracle;
  fill_info(&d->info);
  *out = d;
  return BRC_OK;
}

static void oracle_close(brc_device *d) { free(d); }

static brc_status oracle_alloc(brc_device *d, const char *name, uint64_t elements, brc_buffer **out) {
  (void)d;
  *out = calloc(1, sizeof **out + elements * sizeof(double));
  if (!*out) return brc_fail(BRC_E_NOMEM, "oracle: %llu elements for %s", (unsigned long long)elements, name);
  (*out)->elements = elements;
  return BRC_OK;
}

static void oracle_release(brc_device *d, brc_buffer *b) {
  (void)d;
  free(b);
}

static brc_status check_range(uint64_t offset, uint64_t elements, uint64_t size) {
  if (offset <= size && elements <= size - offset) return BRC_OK;
  return brc_fail(BRC_E_SHAPE, "oracle: elements [%llu, +%llu) of a buffer of %llu", (unsigned long long)offset,
                  (unsigned long long)elements, (unsigned long long)size);
}

static brc_status oracle_write(brc_device *d, brc_buffer *b, uint64_t offset, uint64_t elements,
                               const void *data, bool async) {
  (void)d, (void)async;
  brc_status st = check_range(offset, elements, b->elements);
  if (!st) memcpy(b->data + offset, data, elements * sizeof(double));
  return st;
}

static brc_status oracle_read(brc_device *d, brc_buffer *b, uint64_t offset, uint64_t elements, void *data) {
  (void)d;
  brc_status st = check_range(offset, elements, b->elements);
  if (!st) memcpy(data, b->data + offset, elements * sizeof(double));
  return st;
}

static brc_status oracle_copy(brc_device *d, brc_buffer *dst, brc_buffer *src, uint64_t elements) {
  (void)d;
  brc_status st = check_range(0, elements, dst->elements);
  if (!st) st = check_range(0, elements, src->elements);
  if (!st) memmove(dst->data, src->data, elements * sizeof(double));
  return st;
}

// A tensor must lie inside its storage, with its buffer at hand, or inside the arena.
static brc_status check_tensor(const brc_program *p, const brc_op *op, const brc_tensor *t) {
  if (t->storage && !t->storage->buffer)
    return brc_fail(BRC_E_VALUE, "oracle: %s: storage %s has no buffer", op->label, t->storage->name);
  brc_status st = check_range(t->offset, brc_tensor_elements(t),
                              t->storage ? t->storage->buffer->elements : p->arena_elements);
  return st ? brc_fail_prefix(st, "%s: tensor %s: ", op->label, t->name) : BRC_OK;
}

static brc_status oracle_compile(brc_device *d, const brc_program *p, brc_exec **out) {
  (void)d;
  *out = NULL;
  for (size_t i = 0; i < p->op_count; i++) {
    const brc_op *op = p->ops[i];
    for (int k = 0; k < BRC_MAX_IN + BRC_MAX_OUT; k++) {
      const brc_tensor *t = k < BRC_MAX_IN ? op->in[k] : op->out[k - BRC_MAX_IN];
      brc_status st = t ? check_tensor(p, op, t) : BRC_OK;
      if (st) return st;
    }
  }
  brc_exec *e = calloc(1, sizeof *e);
  double *arena = malloc((p->arena_elements + 1) * sizeof *arena);
  if (!e || !arena) {
    free(e), free(arena);
    return brc_fail(BRC_E_NOMEM, "oracle: arena of %s", p->name);
  }
  *e = (brc_exec){.program = p, .arena_elements = p->arena_elements, .arena = arena};
  *out = e;
  return BRC_OK;
}

static void oracle_exec_free(brc_device *d, brc_exec *e) {
  (void)d;
  if (!e) return;
  free(e->arena);
  free(e);
}

static view view_of(const brc_exec *e, const brc_tensor *t) {
  if (!t) return (view){0};
  double *base = t->storage ? t->storage->buffer->data : e->arena;
  return (view){base + t->offset, t->members, t->rows, t->cols, t->pitch, t->stride};
}

static void run_op(const brc_exec *e, const brc_op *op) {
  view in[BRC_MAX_IN], out[BRC_MAX_OUT];
  for (int k = 0; k < BRC_MAX_IN; k++) in[k] = view_of(e, op->in[k]);
  for (int k = 0; k < BRC_MAX_OUT; k++) out[k] = view_of(e, op->out[k]);
  oracle_ops[op->kind](&op->params, in, out);
}

static brc_status oracle_run(brc_device *d, brc_exec *e, uint32_t times) {
  (void)d;
  while (times--) {
    // Whatever is read before it is written, or from padding, comes out as NaN.
    for (uint64_t i = 0; i < e->arena_elements; i++) e->arena[i] = NAN;
    for (size_t i = 0; i < e->program->op_count; i++) run_op(e, e->program->ops[i]);
  }
  return BRC_OK;
}

static brc_status oracle_wait(brc_device *d) {
  (void)d;
  return BRC_OK;
}

static brc_status oracle_profile(brc_device *d, brc_exec *e, bool on) {
  (void)d, (void)e, (void)on;
  return BRC_OK;
}

// The judge keeps no time: all zeros.
static brc_status oracle_profile_read(brc_device *d, brc_exec *e, brc_profile_row *rows) {
  (void)d;
  for (size_t i = 0; i < e->program->op_count; i++) rows[i] = (brc_profile_row){.op = e->program->ops[i]};
  return BRC_OK;
}

static brc_status oracle_read_arena(brc_device *d, brc_exec *e, uint64_t offset, uint64_t elements,
                                    void *data) {
  (void)d;
  brc_status st = check_range(offset, elements, e->arena_elements);
  if (!st) memcpy(data, e->arena + offset, elements * sizeof(double));
  return st;
}

static const char *const *oracle_gemm_providers(brc_device *d) {
  static const char *const names[] = {"loops", NULL};
  (void)d;
  return names;
}

const brc_backend brc_backend_oracle = {
    .name = "oracle",
    .wide = true,
    .list = oracle_list,
    .open = oracle_open,
    .close = oracle_close,
    .alloc = oracle_alloc,
    .release = oracle_release,
    .write = oracle_write,
    .read = oracle_read,
    .copy = oracle_copy,
    .compile = oracle_compile,
    .exec_free = oracle_exec_free,
    .run = oracle_run,
    .wait = oracle_wait,
    .profile = oracle_profile,
    .profile_read = oracle_profile_read,
    .read_arena = oracle_read_arena,
    .gemm_providers = oracle_gemm_providers,
};
