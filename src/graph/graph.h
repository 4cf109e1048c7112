// A program: a sequence of ops over buffers with known shapes, built once and run many times.
//
// It is a sequence with in-place updates, not a DAG: an op that reads parameters behind an `adamw` sees the new ones.
// Reusing an activation across an update of the parameters it was computed from is a build error.
// Builders record the first error in the program (brc_program_status) and go on, so that a network can be written down
// without a check behind every line.
#ifndef BRC_GRAPH_H
#define BRC_GRAPH_H
#include "base/base.h"
#include "graph/op.h"

//------------------------ 1. Storage and tensors ------------------------------
typedef enum brc_dtype { BRC_F32, BRC_I32, BRC_F64 } brc_dtype;  // F64: host side only (oracle, verify)

// A piece of device memory that outlives a program: a group's parameters, its moments, a batch, ... Shared between
// programs by pointer. Its owner allocates `buffer` on the device before a program that uses it is compiled.
typedef struct brc_storage {
  const char *name;
  uint64_t elements;
  brc_dtype dtype;
  struct brc_buffer *buffer;
  uint32_t version;  // build time: counts in-place updates of parameters
} brc_storage;

typedef struct brc_op brc_op;

// Element (e, r, c) is at offset + e * stride + r * pitch + c of its storage (or of the program's arena).
typedef struct brc_tensor {
  const char *name;
  brc_dtype dtype;
  uint32_t members, rows, cols, pitch;
  uint64_t stride;       // between members; 0 when members == 1
  brc_storage *storage;  // NULL: in the program's arena, placed by the planner
  uint64_t offset;       // final after brc_program_finish
  struct brc_tensor
      *root;         // the tensor this is a view of (itself if none); offset is relative to it until placed
  brc_op *producer;  // NULL: a parameter or an input
  bool tap;          // kept for reading: not aliased by the planner
  struct brc_dep {
    const brc_storage *storage;
    uint32_t version;
  } deps[12];  // external storage it was computed from
  int dep_count;
  int first, last;  // arena: ops that first and last touch it
} brc_tensor;

#define BRC_MAX_IN  6
#define BRC_MAX_OUT 3
struct brc_op {
  brc_op_kind kind;
  int index;                                      // position in the program
  const char *label;                              // for profiles and messages: "critic/block0/dense1"
  brc_tensor *in[BRC_MAX_IN], *out[BRC_MAX_OUT];  // NULL where optional and absent
  brc_op_params params;
};

// Columns between rows: 1 for a column vector, otherwise rounded up to 16 (64 bytes).
uint32_t brc_pitch(uint32_t cols);
uint64_t brc_tensor_elements(const brc_tensor *t);  // from its first to behind its last element

//------------------------ 2. Program ------------------------------------------
// What the factors of products are rounded to; sums, and everything else, are float32.
typedef enum brc_precision { BRC_FP32, BRC_TF32, BRC_BF16, BRC_FP16, BRC_PRECISION_COUNT } brc_precision;
extern const char *const brc_precision_names[BRC_PRECISION_COUNT];  // "fp32", ...

typedef struct brc_program {
  const char *name;
  brc_precision precision;  // of the products that builders add from now on; BRC_FP32 at first
  bool by_shape;            // activations of different shapes share no memory (plan.c); false at first
  double grad_scale;  // power of two that lifts gradients into the range of fp16 inside products; 1 at first
  brc_arena mem;
  brc_op **ops;
  size_t op_count, op_cap;
  brc_tensor **tensors;
  size_t tensor_count, tensor_cap;
  brc_storage **storages;  // those used, in order of first use
  size_t storage_count, storage_cap;
  uint64_t arena_elements;   // planned
  uint64_t arena_unplanned;  // sum of all activations, for the report
  const char *scope;         // prefix of labels
  brc_status status;         // sticky
  char error[512];
  bool finished;
} brc_program;

brc_status brc_program_create(brc_program **out, const char *name);
void brc_program_free(brc_program *p);
brc_status brc_program_status(const brc_program *p);  // sets brc_error() when not OK
// Check, place the arena's tensors by lifetime, fix offsets. Nothing may be added afterwards.
brc_status brc_program_finish(brc_program *p);
void brc_program_scope(brc_program *p,
                       const char *scope);  // labels of the following ops start with it; NULL: none
// Keep a tensor for reading after the run (not aliased).
void brc_program_tap(brc_program *p, brc_tensor *t);

// A tensor on external storage, e.g. a parameter, an input or an output.
brc_tensor *brc_external(brc_program *p, brc_storage *s, const char *name, uint64_t offset, uint32_t members,
                         uint32_t rows, uint32_t cols, uint32_t pitch, uint64_t stride);
brc_tensor *brc_activation(brc_program *p, const char *name, uint32_t members, uint32_t rows, uint32_t cols);
// Rows [r0, r1) of each member, or columns [c0, c1): views on the same data.
brc_tensor *brc_view_rows(brc_program *p, brc_tensor *t, uint32_t r0, uint32_t r1);
brc_tensor *brc_view_cols(brc_program *p, brc_tensor *t, uint32_t c0, uint32_t c1);

// Work of an op for rooflines: products count 2 m n k; bytes is what it must move at least.
void brc_op_cost(const brc_op *op, double *flops, double *bytes);
double brc_program_gemm_flops(const brc_program *p);

//------------------------ 3. Builders: one per op (shapes: op.h) ---------------
brc_tensor *brc_dense(brc_program *p, brc_tensor *x, brc_tensor *kernel, brc_tensor *bias);
brc_tensor *brc_norm(brc_program *p, brc_tensor *x, brc_tensor *scale, brc_tensor *bias, brc_tensor *residual,
                     bool relu, double eps);
brc_tensor *brc_embed(brc_program *p, brc_tensor *table, int norm);
brc_tensor *brc_concat_input(brc_program *p, brc_tensor *obs, brc_tensor *action, brc_tensor *emb,
                             brc_tensor *task);
// The outputs are external. A table in several parts: one call for each, `first` being its first row.
void brc_gather_batch(brc_program *p, brc_tensor *table, uint32_t first, brc_tensor *extra, brc_tensor *index,
                      brc_tensor *obs, brc_tensor *action, brc_tensor *next_obs);
void brc_tanh_normal(brc_program *p, brc_tensor *mean, brc_tensor *head, brc_tensor *eps, double tau,
                     double log_std_min, double log_std_max, brc_tensor **action, brc_tensor **logp);
void brc_categorical_target(brc_program *p, brc_tensor *logits, brc_tensor *reward, brc_tensor *mask,
                            brc_tensor *logp, brc_tensor *scalars, double v_max, double discount,
                            brc_tensor **target, brc_tensor **q);
brc_tensor *brc_cross_entropy(brc_program *p, brc_tensor *logits, brc_tensor *target);
brc_tensor *brc_expected_value(brc_program *p, brc_tensor *logits, double v_max);
// stats: an external [1,2] that takes loss and entropy. Returns it.
brc_tensor *brc_policy_loss(brc_program *p, brc_tensor *logp, brc_tensor *q, brc_tensor *scalars,
                            brc_tensor *stats);
enum { BRC_REDUCE_SUM, BRC_REDUCE_ROOT, BRC_REDUCE_STATS, BRC_REDUCE_NORM };
void brc_reduce(brc_program *p, brc_tensor *x, int mode, double scale, brc_tensor *out);
typedef struct brc_adam {
  double lr, beta1, beta2, eps, decay;
} brc_adam;
// All five are whole-group tensors [1,1,n]. Returns the partial sums.
brc_tensor *brc_adamw(brc_program *p, brc_tensor *grad, brc_tensor *param, brc_tensor *m, brc_tensor *v,
                      brc_tensor *target, brc_tensor *scalars, uint32_t c1, const brc_adam *adam, double tau);
void brc_temperature(brc_program *p, brc_tensor *log_alpha, brc_tensor *m, brc_tensor *v, brc_tensor *scalars,
                     brc_tensor *entropy, const brc_adam *adam, double target_entropy, brc_tensor *stats);
void brc_advance_scalars(brc_program *p, brc_tensor *counts, brc_tensor *log_alpha, brc_tensor *scalars,
                         const brc_adam *critic, const brc_adam *actor, const brc_adam *temperature);
brc_tensor *brc_normal(brc_program *p, brc_tensor *step, uint32_t rows, uint32_t cols, uint64_t seed,
                       uint32_t stream);

// For tests and gradient rules: an op from its parts. The caller has checked the shapes.
brc_op *brc_op_add(brc_program *p, brc_op_kind kind, brc_tensor *const *in, brc_tensor *const *out,
                   const brc_op_params *params);

//------------------------ 4. Gradients ----------------------------------------
// A parameter whose gradient is wanted, and where it goes.
typedef struct brc_wrt {
  brc_tensor *param, *grad;
} brc_wrt;
// Emit the ops that compute d loss / d wrt[i].param into wrt[i].grad, for every parameter on a way to the loss. `loss` is the
// output of cross_entropy (loss = sum over members of the mean over the batch) or of policy_loss. Gradients flow through
// activations only towards `wrt`: everything else is constant (stop_gradient names more, e.g. an embedding).
// A wanted parameter that the loss does not reach is an error. An activation with several consumers: later ones must be `dense`,
// which add to the gradient in place (a norm's residual passes its gradient on, so it must be the last consumer); else an error.
void brc_grad(brc_program *p, brc_tensor *loss, const brc_wrt *wrt, size_t count,
              brc_tensor *const *stop_gradient, size_t stops);
#endif
