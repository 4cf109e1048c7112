// Source: dm_control 1.0.20, utils/rewards.py.
#include "envs/mujoco/mj.h"

#include <assert.h>
#include <math.h>

#define PI 3.141592653589793

// 1 at x = 0, value_at_1 at x = 1.
static double fall_off(double x, double value_at_1, brc_sigmoid sigmoid) {
  switch (sigmoid) {
    case BRC_GAUSSIAN: {
      double y = x * sqrt(-2 * log(value_at_1));
      return exp(-0.5 * (y * y));
    }
    case BRC_HYPERBOLIC: return 1 / cosh(x * acosh(1 / value_at_1));
    case BRC_LONG_TAIL: {
      double y = x * sqrt(1 / value_at_1 - 1);
      return 1 / (y * y + 1);
    }
    case BRC_RECIPROCAL: return 1 / (fabs(x) * (1 / value_at_1 - 1) + 1);
    case BRC_COSINE: {
      double y = x * (acos(2 * value_at_1 - 1) / PI);
      return fabs(y) < 1 ? (1 + cos(PI * y)) / 2 : 0;
    }
    case BRC_LINEAR: {
      double y = x * (1 - value_at_1);
      return fabs(y) < 1 ? 1 - y : 0;
    }
    case BRC_QUADRATIC: {
      double y = x * sqrt(1 - value_at_1);
      return fabs(y) < 1 ? 1 - y * y : 0;
    }
    case BRC_TANH_SQUARED: {
      double y = tanh(x * atanh(sqrt(1 - value_at_1)));
      return 1 - y * y;
    }
  }
  return 0;
}

double brc_tolerance(double x, double low, double high, double margin, brc_sigmoid sigmoid,
                     double value_at_margin) {
  assert(low <= high && margin >= 0);
  if (low <= x && x <= high) return 1;
  if (margin == 0) return 0;
  double d = (x < low ? low - x : x - high) / margin;
  return fall_off(d, value_at_margin, sigmoid);
}
