// One environment step of the training loop, in the order of ALGORITHM.md section 3.
//
// Everything random and everything that an environment returns enters through brc_world: the trainer plugs in environments
// and Philox, `brc verify TAPE` a recorded window of the published loop. The rest is one and the same code.
//
// Strict order, the published one, is the default: step i draws its actions, steps the environments, stores the transitions,
// then makes its updates. With `overlap` the environments step on a thread of their own while the device updates:
//
//   actions of step i        by the policy as it is: after the updates of step i-2
//   environments of step i   beside   the updates of step i-1, with that step's samples, noise and denominators
//   both joined: normaliser and replay get the transitions of step i; episodes that ended begin anew
//
// So nothing differs from the strict order but that actions lag one step's updates behind: an update sees the same replay and the
// same normaliser as there. Threads meet where nothing is under way, so results do not depend on timing. A call of
// brc_loop_step ends joined, with the updates of the newest step still to come: a checkpoint taken there continues to the bit,
// and a run of N steps ends with the updates of step N-1.
//
// Legend: T tasks, O, A the largest observation and action dimension, U updates per step, B batch.
#ifndef BRC_LOOP_H
#define BRC_LOOP_H
#include "agent/agent.h"
#include "base/helper.h"
#include "data/normalizer.h"
#include "train/feed.h"

typedef struct brc_world {
  void *self;
  // Uniform actions in [-1, 1] of a step before `start`: [T,A].
  brc_status (*random_action)(void *self, uint64_t step, float *action);
  // Given noise of acting [T,A], or of update u [B,A] twice. NULL: the device draws it with Philox.
  brc_status (*act_noise)(void *self, uint64_t step, float *noise);
  brc_status (*update_noise)(void *self, uint64_t step, uint32_t u, float *target, float *actor);
  // Step all tasks. action [T,A] is what the loop chose (as double: `chosen`); the world may replace it by the action that its
  // results belong to, which is then stored. next_obs [T,O] zero-padded true successors.
  brc_status (*step)(void *self, uint64_t step, const double *chosen, float *action, float *next_obs,
                     float *reward, uint8_t *terminal, uint8_t *truncated);
  // The observation of task t's next episode.
  brc_status (*reset)(void *self, uint64_t step, size_t t, float *obs_row);
  // (task, row) of all U*B samples of this step.
  brc_status (*sample)(void *self, const brc_replay *replay, uint64_t step, uint32_t count, uint32_t *pairs);
  // Observers; may be NULL. alpha and D [T] of this step, then the metrics of every update.
  void (*saw_denominators)(void *self, uint64_t step, double alpha, const double *d);
  void (*saw_update)(void *self, uint64_t step, uint32_t u, const double *metrics);
  void (*saw_episode_end)(void *self, uint64_t step, const brc_normalizer *n);
  const char *const *task_names;  // for messages; may be NULL
} brc_world;

typedef struct brc_loop_config {
  uint64_t start;    // first step with the policy and with updates
  uint32_t updates;  // per environment step (UTD)
  bool paper_normalizer;
  bool overlap;  // then world.step runs on another thread, beside world.sample and the observers of updates
} brc_loop_config;

typedef struct brc_loop {
  brc_loop_config config;
  brc_agent *agent;
  brc_replay *replay;
  brc_normalizer *normalizer;
  brc_world world;
  brc_feed feed;  // from the replay to the device
  uint64_t step;  // environment steps done; the next one is step + 1
  uint64_t updates_done;
  float *obs;                        // [T,O] what is acted on next
  double metrics[BRC_METRIC_COUNT];  // of the last update
  // A metric of an update was not finite: step + 1 failed. With `watch` set, updates run op by op until `first` is found.
  bool diverged, watch;
  brc_not_finite first;
  double phase_s[4];   // acting, environments, data, updates: seconds so far. Overlapped, environments
                       // count for what was left to wait for when the updates were done
  brc_helper *helper;  // steps the environments when overlapped
  // Work space, allocated once.
  brc_actor *actor, *bootstrap;
  brc_batch *batches;
  double *chosen, *act_in, *denominators, *values, *entropy;
  float *action, *next_obs, *reward, *mask, *noise, *noise2;
  uint8_t *terminal, *truncated, *ended;
  int32_t *task;
  uint32_t *pairs;
} brc_loop;

enum { BRC_PHASE_ACT, BRC_PHASE_ENV, BRC_PHASE_DATA, BRC_PHASE_UPDATE };

// Borrows agent, replay, normaliser, pool. loop->obs is zero until the caller (or a load) fills it.
brc_status brc_loop_init(brc_loop *l, const brc_loop_config *config, brc_agent *agent, brc_replay *replay,
                         brc_normalizer *normalizer, const brc_world *world, brc_pool *pool);
void brc_loop_free(brc_loop *l);
// Fails with E_VALUE, naming step and task, where a reward, observation or action is not finite, and where an update's metric is not.
brc_status brc_loop_step(brc_loop *l);
// E_VALUE if task t's observation obs_row [O] has an entry that is not finite.
brc_status brc_loop_check_obs(const brc_loop *l, uint64_t step, size_t t, const float *obs_row);
#endif
