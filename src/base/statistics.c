#include "base/statistics.h"
#include "base/philox.h"
#include <math.h>
#include <stdlib.h>

// The continued fraction of the incomplete beta function, by Lentz's method (Numerical Recipes 6.4).
static double beta_fraction(double a, double b, double x) {
  const double tiny = 1e-300;
  double c = 1, d = 1 - (a + b) * x / (a + 1);
  d = 1 / (fabs(d) < tiny ? tiny : d);
  double h = d;
  for (int m = 1; m < 1000; m++) {
    double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
    double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
    double was = h;
    for (int i = 0; i < 2; i++) {
      double step = i ? odd : even;
      d = 1 + step * d;
      d = 1 / (fabs(d) < tiny ? tiny : d);
      c = 1 + step / c;
      c = fabs(c) < tiny ? tiny : c;
      h *= d * c;
    }
    if (fabs(h - was) <= 1e-16 * fabs(h)) break;
  }
  return h;
}

// The regularised incomplete beta function; the fraction converges quickly on one side of the mean.
static double beta(double a, double b, double x) {
  double front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x));
  return x < (a + 1) / (a + b + 2) ? front * beta_fraction(a, b, x) / a
                                   : 1 - front * beta_fraction(b, a, 1 - x) / b;
}

double brc_t95(double df) {
  // P(|T| > t) = I_x(df/2, 1/2) with x = df / (df + t^2), by bisection.
  double low = 0, high = 1e6;
  for (int i = 0; i < 200 && high - low > 1e-14 * high; i++) {
    double t = (low + high) / 2;
    if (beta(df / 2, 0.5, df / (df + t * t)) > 0.05)
      low = t;
    else
      high = t;
  }
  return (low + high) / 2;
}

static void moments(const double *x, size_t n, double *mean, double *variance) {
  double sum = 0, squares = 0;
  for (size_t i = 0; i < n; i++) sum += x[i];
  *mean = n ? sum / (double)n : NAN;
  for (size_t i = 0; i < n; i++) squares += (x[i] - *mean) * (x[i] - *mean);
  *variance = n > 1 ? squares / (double)(n - 1) : NAN;
}

brc_interval brc_mean95(const double *x, size_t count) {
  double mean, variance;
  moments(x, count, &mean, &variance);
  double half = count > 1 ? brc_t95((double)(count - 1)) * sqrt(variance / (double)count) : NAN;
  return (brc_interval){mean, half, count};
}

brc_interval brc_welch95(const double *a, size_t a_count, const double *b, size_t b_count) {
  double mean_a, mean_b, va, vb;
  moments(a, a_count, &mean_a, &va);
  moments(b, b_count, &mean_b, &vb);
  brc_interval d = {mean_b - mean_a, NAN, a_count + b_count};
  if (a_count < 2 || b_count < 2) return d;
  va /= (double)a_count;
  vb /= (double)b_count;
  double v = va + vb, df = v * v / (va * va / (double)(a_count - 1) + vb * vb / (double)(b_count - 1));
  d.half = v > 0 ? brc_t95(df) * sqrt(v) : 0;
  return d;
}

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

brc_status brc_bootstrap95(const double *x, size_t count, brc_bootstrap *out) {
  enum { RESAMPLES = 20000, TAIL = RESAMPLES / 40 };  // 2.5% on either side
  double variance, *means;
  *out = (brc_bootstrap){NAN, NAN, NAN, count};
  moments(x, count, &out->mean, &variance);
  if (count < 2) return BRC_OK;
  means = malloc(RESAMPLES * sizeof *means);
  if (!means) return brc_fail(BRC_E_NOMEM, "out of memory for a bootstrap");
  for (uint32_t r = 0; r < RESAMPLES; r++) {
    double sum = 0;
    for (uint32_t i = 0; i < count; i++) sum += x[(uint64_t)brc_philox(i, r, 0, 0, 0, 0).x * count >> 32];
    means[r] = sum / (double)count;
  }
  qsort(means, RESAMPLES, sizeof *means, ascending);
  out->low = means[TAIL];
  out->high = means[RESAMPLES - 1 - TAIL];
  free(means);
  return BRC_OK;
}
