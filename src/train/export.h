// A run's deterministic policy outside of brc: as an ONNX model, as a C header.
#ifndef BRC_EXPORT_H
#define BRC_EXPORT_H
#include "train/train.h"

//------------------------ 1. Policy ----------------------------------------------
// Legend: T tasks, O observation, D embedding, W width, A action; I = O + D inputs (D = 0 with one task).
typedef struct brc_policy_tensor {
  char name[64];        // "input/kernel"; "embedding": rows already normalised
  uint32_t rows, cols;  // a vector has one row
  float *data;          // dense
} brc_policy_tensor;

typedef struct brc_policy {
  const brc_env_def *tasks[256];  // the tasks that it acts on, in the order of their numbers
  uint32_t task_count, obs_dim, act_dim, width, depth, embedding_dim;  // embedding_dim is 0 with one task
  double layernorm_eps;
  uint64_t env_steps;
  brc_policy_tensor tensors[288];  // embedding (T > 1), then the layers from input to mean, in order of use
  uint32_t count;
  brc_arena mem;
} brc_policy;

// The policy of RUN's last checkpoint. `task` NULL: of all its tasks. Else of that one alone, with its own observation and
// action, not padded, and the embedding folded into the first layer. E_NOT_FOUND, E_FORMAT name the thing.
brc_status brc_policy_read(brc_policy **out, const char *run, const char *task);
void brc_policy_free(brc_policy *p);
const brc_policy_tensor *brc_policy_find(const brc_policy *p, const char *fmt, ...) BRC_PRINTF(2, 3);
uint64_t brc_policy_parameters(const brc_policy *p);

//------------------------ 2. Files -----------------------------------------------
// obs float [N,O], with several tasks also task int64 [N] -> action float [N,A]; N is free. Opset 17.
brc_status brc_export_onnx(const brc_policy *p, const char *path);
// `void NAME_act(const float *obs, int task, float *action)` with its weights, in C99 (and C++). `name` is an identifier.
brc_status brc_export_c(const brc_policy *p, const char *name, const char *path);
#endif
