// A fresh agent: orthogonal kernels, normal embedding, target = critic.
#include "agent/agent.h"
#include "backends/host/gemm.h"
#include "base/philox.h"
#include "base/pool.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

// Rows of a panel that are made orthogonal among themselves in double; products with what stands before it are GEMMs.
#define PANEL 64u

static void orthonormal_panel(float *v, uint32_t rows, uint32_t n) {
  for (uint32_t i = 0; i < rows; i++) {
    float *x = v + (size_t)i * n;
    for (uint32_t j = 0; j < i; j++) {
      const float *q = v + (size_t)j * n;
      double dot = 0;
      for (uint32_t k = 0; k < n; k++) dot += (double)x[k] * q[k];
      for (uint32_t k = 0; k < n; k++) x[k] = (float)(x[k] - dot * q[k]);
    }
    double sum = 0;
    for (uint32_t k = 0; k < n; k++) sum += (double)x[k] * x[k];
    double scale = 1 / sqrt(sum);
    for (uint32_t k = 0; k < n; k++) x[k] = (float)(x[k] * scale);
  }
}

// Gaussian rows made orthonormal one after the other (Gram and Schmidt, by panels): the Q of a QR whose R has a positive
// diagonal, which is what the sign correction of Q by R's signs gives (Haar-distributed). Everything twice: what is left of
// the last rows of a square matrix is small, and its rounding errors with it are not.
static brc_status orthonormal_rows(brc_pool *pool, float *v, uint32_t rows, uint32_t n, float *scratch) {
  brc_status st = BRC_OK;
  for (uint32_t r = 0; !st && r < rows; r += PANEL) {
    uint32_t b = rows - r < PANEL ? rows - r : PANEL;
    float *panel = v + (size_t)r * n;
    for (int pass = 0; !st && pass < 2; pass++) {
      if (r) {  // scratch [b, r] = panel Vᵀ; panel -= scratch V
        st = brc_host_gemm(pool, &(brc_host_gemm_args){.tb = true,
                                                       .m = b,
                                                       .n = r,
                                                       .k = n,
                                                       .batch = 1,
                                                       .a = panel,
                                                       .b = v,
                                                       .c = scratch,
                                                       .lda = n,
                                                       .ldb = n,
                                                       .ldc = r});
        for (size_t i = 0; i < (size_t)b * r; i++) scratch[i] = -scratch[i];
        if (st) break;
        st = brc_host_gemm(pool, &(brc_host_gemm_args){.m = b,
                                                       .n = n,
                                                       .k = r,
                                                       .batch = 1,
                                                       .a = scratch,
                                                       .b = v,
                                                       .c = panel,
                                                       .lda = r,
                                                       .ldb = n,
                                                       .ldc = n,
                                                       .accumulate = true});
      }
      if (!st) orthonormal_panel(panel, b, n);
    }
  }
  return st;
}

// K [in, out] with K'K = gain² I (in >= out) or KK' = gain² I.
static brc_status orthogonal(brc_pool *pool, float *kernel, uint32_t in, uint32_t out, double gain, float *v,
                             float *scratch) {
  uint32_t rows = in < out ? in : out, n = in < out ? out : in;
  brc_status st = orthonormal_rows(pool, v, rows, n, scratch);
  for (uint32_t i = 0; !st && i < in; i++)
    for (uint32_t j = 0; j < out; j++)
      kernel[(size_t)i * out + j] = (float)(gain * v[in < out ? (size_t)i * n + j : (size_t)j * n + i]);
  return st;
}

enum { ROUGH = 65521 };  // of a rough kernel's numbers are its own

static brc_status init_param(brc_agent *a, brc_group *g, const brc_param *q, uint32_t number, brc_pool *pool) {
  uint64_t one = (uint64_t)q->rows * q->cols, n = one * q->members;
  uint32_t small = q->rows < q->cols ? q->rows : q->cols, seed_lo = (uint32_t)a->config.seed,
           seed_hi = (uint32_t)(a->config.seed >> 32);
  float *data = calloc(n, sizeof *data), *v = calloc(one + (size_t)PANEL * small, sizeof *v);
  brc_status st =
      data && v ? BRC_OK : brc_fail(BRC_E_NOMEM, "out of memory for the initial value of '%s'", q->name);
  for (uint32_t e = 0; !st && e < q->members; e++) {
    float *x = data + e * one;
    if (q->init == BRC_INIT_ONE)
      for (uint64_t i = 0; i < one; i++) x[i] = 1;
    const bool rough = a->rough && q->init == BRC_INIT_ORTHOGONAL;
    const double gain = rough ? q->gain / sqrt(q->rows > q->cols ? q->rows : q->cols) : q->gain;
    if (q->init == BRC_INIT_NORMAL || q->init == BRC_INIT_ORTHOGONAL)
      for (uint64_t i = 0; i < one; i++)
        v[i] = rough && i >= ROUGH ? v[i - ROUGH]
                                   : brc_normal_at((uint32_t)i, number, e, BRC_STREAM_INIT, seed_lo, seed_hi);
    if (q->init == BRC_INIT_NORMAL || rough)
      for (uint64_t i = 0; i < one; i++) x[i] = (float)(gain * v[i]);
    if (q->init == BRC_INIT_ORTHOGONAL && !rough)
      st = orthogonal(pool, x, q->rows, q->cols, q->gain, v, v + one);
  }
  for (int r = 0; !st && r < BRC_ROLES; r++) {
    if (r != BRC_PARAM && !(r == BRC_TARGET && g->has_target)) continue;
    brc_tensor t = {.name = q->name,
                    .members = q->members,
                    .rows = q->rows,
                    .cols = q->cols,
                    .pitch = q->pitch,
                    .stride = q->stride,
                    .storage = &g->storage[r],
                    .offset = q->offset};
    st = brc_tensor_write(a->device, &t, BRC_F32, data);
  }
  free(data);
  free(v);
  return st;
}

brc_status brc_agent_init(brc_agent *a) {
  brc_pool *pool;
  brc_status st = brc_pool_create(&pool, 0);
  if (st) return st;
  brc_group *groups[] = {&a->critic, &a->actor};
  uint32_t number = 0;
  for (size_t g = 0; g < BRC_COUNT(groups); g++)
    for (size_t i = 0; !st && i < groups[g]->count; i++)
      st = init_param(a, groups[g], &groups[g]->params[i], number++, pool);
  brc_pool_destroy(pool);
  if (st) return st;
  double log_alpha = log(a->config.init_temperature);
  brc_tensor t = {.name = "log_alpha",
                  .members = 1,
                  .rows = 1,
                  .cols = 1,
                  .pitch = 1,
                  .storage = &a->temperature.storage[BRC_PARAM]};
  return brc_tensor_write(a->device, &t, BRC_F64, &log_alpha);
}
