// Means with 95% intervals from few samples, and differences of means.
#ifndef BRC_STATISTICS_H
#define BRC_STATISTICS_H
#include "base/base.h"

// The t that |T| of Student's distribution with df > 0 degrees of freedom (not necessarily whole) exceeds with probability
// 0.05: 12.706 at 1, 1.960 at infinity.
double brc_t95(double df);

typedef struct brc_interval {
  double mean, half;  // mean +- half; half is NAN where the samples are too few to tell
  size_t count;
} brc_interval;
// The mean of x[count] with its interval, t(count - 1) s / sqrt(count), s the sample's standard deviation.
brc_interval brc_mean95(const double *x, size_t count);
// The mean of x[count] with its 95% percentile bootstrap interval (Efron 1979): 20,000 resamples, the same ones every time.
// low and high are NAN for a single sample.
typedef struct brc_bootstrap {
  double mean, low, high;
  size_t count;
} brc_bootstrap;
brc_status brc_bootstrap95(const double *x, size_t count, brc_bootstrap *out);
// mean(b) - mean(a), variances not assumed equal (Welch 1947; degrees of freedom of Welch and Satterthwaite).
brc_interval brc_welch95(const double *a, size_t a_count, const double *b, size_t b_count);
#endif
