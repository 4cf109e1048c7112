// BRC: the actor, the ensemble of categorical BroNet critics, their embeddings and the temperature, with the three programs
// that they live in: act, update, inspect. Source: reference/ALGORITHM.md sections 1 and 2; section numbers there.
//
// Legend: E members, B batch, O observation, A action, T tasks, N atoms.
#ifndef BRC_AGENT_H
#define BRC_AGENT_H
#include "backends/backend.h"
#include "base/options.h"
#include "base/safetensors.h"
#include "nn/nn.h"

//------------------------ 1. Configuration -------------------------------------
// clang-format off
//       type  field                  option                    lo     hi      default  help
#define BRC_AGENT_OPTIONS(X)                                                                                                        \
  X(INT,  width,                "width",                1,     65536,  "512",     "critic width W")                                 \
  X(INT,  depth,                "depth",                0,     32,     "2",       "critic BroNet blocks")                           \
  X(INT,  actor_width,          "actor-width",          1,     65536,  "256",     "actor width")                                    \
  X(INT,  actor_depth,          "actor-depth",          0,     32,     "1",       "actor BroNet blocks")                            \
  X(INT,  ensemble,             "ensemble",             1,     16,     "2",       "critics E")                                      \
  X(INT,  atoms,                "atoms",                2,     4096,   "101",     "atoms N of the value distribution")              \
  X(REAL, v_max,                "v-max",                1e-6,  1e9,    "10",      "the atoms span -v_max .. v_max")                 \
  X(INT,  embedding_dim,        "embedding-dim",        1,     4096,   "32",      "task embedding dimension (several tasks)")       \
  X(INT,  batch,                "batch",                0,     1048576, "0",      "batch B; 0: 256 with one task, 1024 with several") \
  X(REAL, discount,             "discount",             0,     0.9999999, "0.99",    "gamma")                                          \
  X(REAL, tau,                  "tau",                  0,     1,      "0.005",   "Polyak averaging of the target critic")          \
  X(REAL, critic_lr,            "critic-lr",            0,     1,      "3e-4",    "AdamW step size of the critic")                  \
  X(REAL, actor_lr,             "actor-lr",             0,     1,      "3e-4",    "AdamW step size of the actor")                   \
  X(REAL, beta1,                "beta1",                0,     0.9999999, "0.9",  "AdamW")                                          \
  X(REAL, beta2,                "beta2",                0,     0.9999999, "0.999", "AdamW")                                         \
  X(REAL, adam_eps,             "adam-eps",             1e-12, 1,      "1e-8",    "AdamW and the temperature's Adam")               \
  X(REAL, weight_decay,         "weight-decay",         0,     1,      "1e-4",    "decoupled decay of every parameter")             \
  X(REAL, temperature_lr,       "temperature-lr",       0,     1,      "3e-4",    "Adam step size of log alpha")                    \
  X(REAL, temperature_beta1,    "temperature-beta1",    0,     0.9999999, "0.5",  "temperature's Adam")                             \
  X(REAL, temperature_beta2,    "temperature-beta2",    0,     0.9999999, "0.999", "temperature's Adam")                            \
  X(REAL, temperature_decay,    "temperature-decay",    0,     1,      "0",       "temperature's weight decay")                     \
  X(REAL, init_temperature,     "init-temperature",     1e-9,  1e9,    "0.1",     "alpha at the start")                             \
  X(REAL, target_entropy_scale, "target-entropy-scale", 0,     100,    "0.5",     "H_target = -scale A")                            \
  X(REAL, layernorm_eps,        "layernorm-eps",        1e-30, 1,      "1e-6",    "LayerNorm epsilon")                              \
  X(REAL, log_std_min,          "log-std-min",          -100,  100,    "-10",     "policy's range of log standard deviations")      \
  X(REAL, log_std_max,          "log-std-max",          -100,  100,    "2",       "policy's range of log standard deviations")

// clang-format on
typedef struct brc_agent_config {
#define FIELD_INT(f)        int64_t f;
#define FIELD_REAL(f)       double f;
#define X(type, field, ...) FIELD_##type(field)
  BRC_AGENT_OPTIONS(X)
#undef X
  char embedding_norm[BRC_TEXT];  // "l2" (the implementation) or "l1" (the paper)
  // Given by the tasks, not by options.
  int64_t obs_dim, action_dim, tasks;
  uint64_t seed;
  double target_entropy;  // set by brc_agent_config_resolve; NaN before: -target_entropy_scale * action_dim
} brc_agent_config;
extern const brc_option brc_agent_options[];
extern const size_t brc_agent_option_count;
// Fill in what depends on the tasks (batch, target entropy) and check the whole. E_VALUE names the option.
brc_status brc_agent_config_resolve(brc_agent_config *c);

//------------------------ 2. Metrics, batch -------------------------------------
// What one update reports, in this order in device memory (ops write neighbours: keep the groups together).
// clang-format off
#define BRC_METRICS(X)                                                                                                       \
  X(loss_critic, "loss/critic") X(loss_actor, "loss/actor") X(entropy, "entropy") X(temperature, "temperature")              \
  X(loss_alpha, "loss/alpha") X(grad_log_alpha, "grad/log_alpha") X(q_mean, "q_mean") X(q_min, "q_min") X(q_max, "q_max")    \
  X(grad_norm_critic, "grad_norm/critic") X(param_norm_critic, "param_norm/critic")                                          \
  X(grad_norm_actor, "grad_norm/actor") X(param_norm_actor, "param_norm/actor") X(reward_mean, "reward_mean")
// clang-format on
enum {
#define X(id, name) BRC_METRIC_##id,
  BRC_METRICS(X)
#undef X
      BRC_METRIC_COUNT
};
extern const char *const brc_metric_names[BRC_METRIC_COUNT];

// Host side of a batch: one block laid out as on the device. Fields point into it; rows have the given pitches.
// Whole: obs, next_obs, action. Or indexed, where the agent has a table: `index` says for each row which rows of the table
// are obs | action and next_obs; -1 - k there: row k of `extra`, which has extra_rows of them.
typedef struct brc_batch {
  uint32_t rows, pitch_obs, pitch_action, extra_rows;
  uint64_t elements;
  float *block, *obs, *next_obs, *action, *reward, *mask;
  float *extra;    // [B,O], of pitch_obs; else NULL
  int32_t *index;  // [B,2]; else NULL
  int32_t *task;
  double *reward64;  // [B] on a wide backend, which takes these in place of `reward`; else NULL
} brc_batch;

//------------------------ 3. Agent ----------------------------------------------
#define BRC_TABLE_PARTS 16
typedef struct brc_actor brc_actor;
typedef struct brc_agent {
  brc_agent_config config;
  brc_device *device;
  brc_group critic, actor, temperature;
  brc_storage scalars, counts, metrics, batch, noise;
  // Rows obs | action to take batches from, table_pitch apart, table_part of them in each storage; table_rows 0: none.
  brc_storage table[BRC_TABLE_PARTS];
  uint64_t table_rows, table_part;
  uint32_t table_pitch;
  brc_program *update_program;
  brc_exec *update_exec;
  bool given_noise;  // the update's noise is an input, not Philox
  bool rough;        // of the flags
  brc_precision precision;
  bool by_shape;  // of the flags
  struct brc_tap {
    const char *name;
    brc_tensor *t;
  } taps[8];
  size_t tap_count;
  struct brc_inspect *inspect;
} brc_agent;

typedef struct brc_agent_flags {
  bool given_noise;  // noise comes from brc_agent_write_noise (verify, tapes)
  bool taps;         // keep what golden cases expect of the first update
  bool rough;  // brc_agent_init makes no kernel orthogonal: for benchmarks, as wide ones take half a minute
  brc_precision
      precision;  // of the products of updates; acting is always in float32, so that a policy is the same everywhere
  bool
      by_shape;  // updates are planned so (brc_program): for devices that run parts of ops side by side; it takes more memory
  // Updates take observations and actions from a table of so many rows on the device, in buffers of table_part rows each (at most
  // BRC_TABLE_PARTS; 0: in one), and batches are indexed. 0: batches are whole.
  uint64_t table_rows, table_part;
} brc_agent_flags;

// `config` is resolved. Parameters are zero until brc_agent_init or a load.
brc_status brc_agent_create(brc_agent **out, const brc_agent_config *config, brc_device *device,
                            brc_agent_flags flags);
void brc_agent_free(brc_agent *a);
// Only what does not lie on a device: layouts and the update program. To look at, not to run.
brc_status brc_agent_plan(brc_agent **out, const brc_agent_config *config, brc_agent_flags flags);
// Fresh networks from config.seed: orthogonal kernels, target = critic, alpha = init_temperature.
brc_status brc_agent_init(brc_agent *a);

// A whole batch. rows: config.batch, or BRC_INSPECT_ROWS for brc_agent_inspect.
brc_status brc_batch_create(const brc_agent *a, uint32_t rows, brc_batch *out);
// A batch for updates: indexed if the agent has a table.
brc_status brc_update_batch_create(const brc_agent *a, brc_batch *out);
// Rows first .. first+count-1 of the table, table_pitch apart; with `async` they must stay unchanged until brc_agent_wait. E_SHAPE.
brc_status brc_agent_write_rows(brc_agent *a, uint64_t first, uint64_t count, const float *rows, bool async);
void brc_batch_free(brc_batch *b);
// Send a batch; with `async` it must stay unchanged until brc_agent_wait.
brc_status brc_agent_write_batch(brc_agent *a, const brc_batch *b, bool async);
// Dense [B,A] normals of the next update: target's (step 1) and actor's (step 4).
brc_status brc_agent_write_noise(brc_agent *a, brc_dtype dtype, const void *target, const void *actor);
brc_status brc_agent_update(
    brc_agent *a);  // one update on the batch last written; may return before it is done
// The same update to the bit, op by op, for finding out why numbers are not finite: the first op with such an output. `b` is the
// batch last written. Slow, as every op is compiled for itself.
typedef struct brc_not_finite {
  char where[512];  // op, tensor, element and its value, in words; empty: every output was finite
  int task;  // whose samples (rows of the batch) have such elements there; -1: several tasks', or it has no such rows
} brc_not_finite;
brc_status brc_agent_update_watched(brc_agent *a, const brc_batch *b, brc_not_finite *first);
brc_status brc_agent_wait(brc_agent *a);
brc_status brc_agent_metrics(brc_agent *a, double out[BRC_METRIC_COUNT]);  // of the last update
brc_status brc_agent_alpha(brc_agent *a, double *alpha);                   // exp(log_alpha) now

// Acting on `rows` observations at once. Modes: the mean action; sampling with Philox; sampling with given noise.
typedef enum brc_act_mode { BRC_ACT_MEAN, BRC_ACT_SAMPLE, BRC_ACT_GIVEN_NOISE } brc_act_mode;
// `value`: also the critic's expected value of (obs, action), for the normaliser of the paper.
brc_status brc_actor_create(brc_actor **out, brc_agent *a, uint32_t rows, brc_act_mode mode, bool value);
void brc_actor_free(brc_actor *x);
// Only its program, of an agent that may be a plan. To look at, not to run.
brc_status brc_actor_plan(brc_actor **out, brc_agent *a, uint32_t rows, brc_act_mode mode, bool value);
const brc_program *brc_actor_program(const brc_actor *x);
// obs [rows,O], task [rows] (ignored with one task), noise [rows,A] or NULL, action out [rows,A] (all dense; obs, noise and
// action of type `dtype`), value out [rows] or NULL. `step` picks the Philox draws.
brc_status brc_actor_run(brc_actor *x, brc_dtype dtype, const void *obs, const int32_t *task, const void *noise,
                         uint64_t step, void *action, void *value);

// Losses, entropy, q and gradient norms of BRC_INSPECT_ROWS rows (one task), applying nothing. `step` picks the noise.
brc_status brc_agent_inspect(brc_agent *a, const brc_batch *b, uint64_t step, double out[BRC_METRIC_COUNT]);
// Rows per task that inspecting takes.
#define BRC_INSPECT_ROWS 32

//------------------------ 4. Memory ----------------------------------------------
// What an agent takes on its device, in bytes, before anything is allocated. Backends add little of their own (scratch per thread on CPUs).
typedef struct brc_agent_memory {
  struct {
    uint64_t parameters, tensors;  // their numbers, without padding
    uint64_t bytes[BRC_ROLES];     // parameters, gradients, moments, target; 0 where there is none
  } groups[3];                     // critic with embedding, actor, temperature
  uint64_t activations, batch;     // of the update program
  uint64_t table;                  // that batches are taken from
  uint64_t acting, inspect;        // programs beside it, with what they read
  uint64_t evaluation;             // while evaluating
} brc_agent_memory;
// act_rows, act_value: of the actor that samples (act_value: a second one, with the critic's value); eval_rows: of evaluation, 0: none.
brc_status brc_agent_memory_of(const brc_agent_config *config, brc_agent_flags flags, uint32_t act_rows,
                               bool act_value, uint32_t eval_rows, brc_agent_memory *out);
uint64_t brc_agent_memory_total(const brc_agent_memory *m);

//------------------------ 5. State by name --------------------------------------
// Names: critic/LAYER, target/LAYER, actor/LAYER, log_alpha, opt/{critic,actor}/{m,v}/LAYER, opt/log_alpha/{m,v},
// opt/{critic,actor,log_alpha}/count, draw (update counter behind the noise). reference: golden/README.md.
// Read tensors PREFIXname from a file; what is absent keeps the rule of golden/README.md (target: copy of critic; moments, counts: 0).
// Shapes are checked; critic, actor and log_alpha must be there.
brc_status brc_agent_load(brc_agent *a, const brc_st_file *f, const char *prefix);
// Add all state as PREFIXname to a writer (F32; F64 from a wide backend; counts I32).
brc_status brc_agent_save(brc_agent *a, brc_st_writer *w, const char *prefix);
// One tensor by its name ("target/block0/dense0/kernel", "grad/critic/output/bias", "log_alpha"), dense, as double; returns its
// element count in *count; `out` must hold that many (NULL: only count). E_NOT_FOUND for unknown names.
brc_status brc_agent_read(brc_agent *a, const char *name, double *out, uint64_t *count);
#endif
