// For those who implement an environment: the struct each one begins with, and its random numbers.
#ifndef BRC_ENV_IMPL_H
#define BRC_ENV_IMPL_H
#include "envs/env.h"
#include "base/philox.h"

// First member of every environment's own struct. create() zeroes it and sets def; env.c keeps the rest.
struct brc_env {
  const brc_env_def *def;
  uint64_t steps;  // control steps of this episode
  bool running;    // between a reset and the step that ends the episode
};

// Random numbers of one episode. Draw n is one Philox block: counter (n, episode low, episode high, BRC_STREAM_ENV),
// key seed. All of it is state: an env that draws during an episode saves it.
typedef struct brc_env_random {
  uint64_t seed, episode;
  uint64_t draws;  // blocks used; the counter has 32 bits
} brc_env_random;

static inline brc_env_random brc_env_random_start(uint64_t seed, uint64_t episode) {
  return (brc_env_random){.seed = seed, .episode = episode, .draws = 0};
}
// Uniform in [low, high): 53 random bits.
double brc_env_uniform(brc_env_random *r, double low, double high);
// Standard normal (Box and Muller, in double).
double brc_env_normal(brc_env_random *r);

// Tables of tasks end with a row whose name is NULL.
#define BRC_ENV_END \
  { .name = NULL }
#endif
