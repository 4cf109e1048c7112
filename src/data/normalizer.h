// The reward normaliser: per task, from the returns of finished episodes, the denominator that rewards are divided by when
// they are sampled (ALGORITHM: D_task). Rewards are stored raw.
//
// Legend: T tasks, L length of an episode. Per finished episode, backwards in float64:
//   G_L = bootstrap, G_t = r_t + gamma G_{t+1}; least and greatest G_t over t < L and all episodes, kept in float32.
//   bootstrap: 0 if terminal only; if truncated (terminal or not) mean(r) / (1 - gamma)        published implementation
//                                                              or the critic's value of s_L    paper
// Source: naumix/BiggerRegularizedCategorical, jaxrl/normalizer.py; paper, Appendix C.2 (Return normalization).
#ifndef BRC_NORMALIZER_H
#define BRC_NORMALIZER_H
#include "base/base.h"
#include "base/safetensors.h"

typedef struct brc_normalizer brc_normalizer;

typedef struct brc_normalizer_config {
  uint32_t tasks;
  double discount;  // in [0, 1)
  double v_max;     // 0: 10, as published whatever the agent's is
  bool paper;       // the paper's bootstrap: truncated episodes need their critic value
} brc_normalizer_config;

//------------------------ 1. Feed ---------------------------------------------
brc_status brc_normalizer_create(brc_normalizer **out, const brc_normalizer_config *config);
void brc_normalizer_destroy(brc_normalizer *n);

// One environment step of all tasks; an episode that ends now counts at once.
//   reward [T] raw; terminal, truncated [T] flags; value [T] critic's expected value at the successor, a ~ pi, mean over
//   members, in raw rewards: read where truncated and with `paper` only, otherwise it may be NULL
// Fails: E_NOMEM, E_VALUE (the paper's bootstrap without values); nothing is taken then.
brc_status brc_normalizer_feed(brc_normalizer *n, const float *reward, const uint8_t *terminal,
                               const uint8_t *truncated, const double *value);

uint32_t brc_normalizer_tasks(const brc_normalizer *n);
// Least and greatest return [T]: +inf, -inf before a task's first finished episode. Valid until destroy.
const float *brc_normalizer_min(const brc_normalizer *n);
const float *brc_normalizer_max(const brc_normalizer *n);
// Rewards of the task's unfinished episode, oldest first; valid until the next feed or load.
const float *brc_normalizer_rewards(const brc_normalizer *n, uint32_t task, size_t *count);

//------------------------ 2. Denominators -------------------------------------
// Published: D[t] = (max(|G_min|, G_max) - alpha target_entropy / (2 (1 - gamma))) / v_max; infinite before the first finished
// episode. A D that would not be positive (no reward was ever seen and alpha is 0) is infinite too.
void brc_normalizer_denominators(const brc_normalizer *n, double alpha, double target_entropy, double *d);
// Paper: D[t] = (G_bar + alpha entropy[t] / (1 - gamma)) / v_max with G_bar = max(|G_min|, G_max).
// Our reading, as the paper leaves it open: entropy[t] is the mean of -log pi over the task's samples in the last update's
// batch, of either sign; where it makes D <= 0 (small returns, negative entropy) the term is dropped, D = G_bar / v_max, and
// if that is 0 as well D is infinite.
void brc_normalizer_denominators_paper(const brc_normalizer *n, double alpha, const double *entropy, double *d);
// reward[i * pitch] /= d[task[i]]; an infinite d gives 0. pitch 0: dense.
void brc_normalizer_apply(uint32_t count, const int32_t *task, const double *d, float *reward, size_t pitch);

//------------------------ 3. State --------------------------------------------
// Tensors PREFIXnormalizer/min, /max F32 [T] and /rewards/{task} F32 [L] (absent when empty), as on tapes. prefix: "" in
// checkpoints, "init/" on tapes.
brc_status brc_normalizer_state_add(const brc_normalizer *n, brc_st_writer *w, const char *prefix);
// Fails: E_FORMAT (absent, of another size or type, NaN), E_NOMEM; the normaliser is as new then.
brc_status brc_normalizer_load(brc_normalizer *n, const brc_st_file *file, const char *prefix);
#endif
