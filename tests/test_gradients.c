// brc_grad against central finite differences in the oracle, what must be a build error, and the plan of the arena.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/graph.h"
#include "tests/testing.h"

//------------------------ 1. A network under test ------------------------------
// Parameters, their gradients and frozen weights lie in one group each, as an agent's do; inputs alone.
#define MAX_TENSORS    160
#define GROUP_ELEMENTS (1u << 16)
enum { GROUP_PARAMS, GROUP_GRADS, GROUP_FROZEN, GROUP_COUNT };
static const char *const group_names[] = {"params", "grads", "frozen"};

typedef struct store {
  brc_storage storage;
  double *values, *got;
} store;

typedef struct leaf {
  brc_tensor *tensor;
  store *store;
  int grad_of;  // of which leaf this is the gradient; -1: of none
  bool parameter;
} leaf;

typedef struct net {
  brc_program *p;
  store stores[MAX_TENSORS];  // the groups, then others
  uint64_t used[GROUP_COUNT];
  leaf leaves[MAX_TENSORS];
  int store_count, count;
  brc_tensor *loss;    // of a loss op
  brc_tensor *result;  // [1,1,1]: the scalar that is differentiated
  brc_tensor *stops[4];
  size_t stop_count;
  brc_tensor *frozen;  // the stopped activation, or what holds its value fixed:
  const double *frozen_values;
} net;

static leaf *leaf_of(net *n, const brc_tensor *t) {
  for (int i = 0; i < n->count; i++)
    if (n->leaves[i].tensor == t) return &n->leaves[i];
  fail_msg("no leaf of this tensor");
  return NULL;
}
static double *values_of(net *n, const brc_tensor *t) { return leaf_of(n, t)->store->values + t->offset; }

static store *add_store(net *n, const char *name, uint64_t elements, brc_dtype dtype) {
  assert_true(n->store_count < MAX_TENSORS);
  store *s = &n->stores[n->store_count++];
  s->storage = (brc_storage){.name = name, .elements = elements, .dtype = dtype};
  s->values = calloc(2 * elements, sizeof(double));
  assert_non_null(s->values);
  s->got = s->values + elements;
  return s;
}

static brc_tensor *add_leaf_at(net *n, store *s, uint64_t offset, const char *name, uint32_t members,
                               uint32_t rows, uint32_t cols) {
  assert_true(n->count < MAX_TENSORS);
  leaf *l = &n->leaves[n->count++];
  uint32_t pitch = brc_pitch(cols);
  *l = (leaf){.store = s, .grad_of = -1};
  return l->tensor = brc_external(n->p, &s->storage, name, offset, members, rows, cols, pitch,
                                  members > 1 ? rows * pitch : 0);
}

static brc_tensor *add_leaf(net *n, brc_dtype dtype, const char *name, uint32_t members, uint32_t rows,
                            uint32_t cols) {
  store *s = add_store(n, name, (uint64_t)members * rows * brc_pitch(cols), dtype);
  return add_leaf_at(n, s, 0, name, members, rows, cols);
}

static brc_tensor *add_to_group(net *n, int group, const char *name, uint32_t members, uint32_t rows,
                                uint32_t cols) {
  uint64_t at = n->used[group];
  n->used[group] += BRC_ROUND_UP((uint64_t)members * rows * brc_pitch(cols), 128u);
  return add_leaf_at(n, &n->stores[group], at, name, members, rows, cols);
}

// Random, exact in float32, with padding zero.
static brc_tensor *fill(net *n, brc_tensor *t, double scale, double offset) {
  double *x = values_of(n, t);
  for (uint32_t e = 0; e < t->members; e++)
    for (uint32_t r = 0; r < t->rows; r++)
      for (uint32_t c = 0; c < t->cols; c++)
        x[e * t->stride + r * t->pitch + c] = testing_f32(offset + scale * testing_normal());
  return t;
}
static brc_tensor *input(net *n, const char *name, uint32_t rows, uint32_t cols) {
  return fill(n, add_leaf(n, BRC_F32, name, 1, rows, cols), 1, 0);
}
static brc_tensor *constant(net *n, const char *name, uint32_t members, uint32_t rows, uint32_t cols,
                            double scale, double offset) {
  return fill(n, add_to_group(n, GROUP_FROZEN, name, members, rows, cols), scale, offset);
}
// A parameter whose gradient is checked.
static brc_tensor *param(net *n, const char *name, uint32_t members, uint32_t rows, uint32_t cols, double scale,
                         double offset) {
  brc_tensor *t = fill(n, add_to_group(n, GROUP_PARAMS, name, members, rows, cols), scale, offset);
  if (!brc_program_status(n->p)) leaf_of(n, t)->parameter = true;
  return t;
}
static brc_tensor *tasks(net *n, uint32_t rows, uint32_t count) {
  brc_tensor *t = add_leaf(n, BRC_I32, "task", 1, rows, 1);
  for (uint32_t r = 0; r < rows; r++) values_of(n, t)[r] = testing_below(count);
  return t;
}
static brc_tensor *scalars(net *n, double alpha) {
  brc_tensor *t = add_leaf(n, BRC_F32, "scalars", 1, 1, BRC_SCALAR_COUNT);
  for (int i = 0; i < BRC_SCALAR_COUNT; i++) values_of(n, t)[i] = 0.5;
  values_of(n, t)[BRC_SCALAR_ALPHA] = testing_f32(alpha);
  return t;
}
// Rows of probabilities.
static brc_tensor *probabilities(net *n, uint32_t rows, uint32_t atoms) {
  brc_tensor *t = add_leaf(n, BRC_F32, "target", 1, rows, atoms);
  double *x = values_of(n, t);
  for (uint32_t r = 0; r < rows; r++) {
    double sum = 0;
    for (uint32_t c = 0; c < atoms; c++) sum += x[r * t->pitch + c] = testing_uniform(0.01, 1);
    for (uint32_t c = 0; c < atoms; c++) x[r * t->pitch + c] = testing_f32(x[r * t->pitch + c] / sum);
  }
  return t;
}

// Layers with parameters of their own; `wanted` false: constants, as the critic in the actor's step.
static brc_tensor *weight(net *n, bool wanted, const char *name, uint32_t members, uint32_t rows, uint32_t cols,
                          double scale, double offset) {
  return wanted ? param(n, name, members, rows, cols, scale, offset)
                : constant(n, name, members, rows, cols, scale, offset);
}
static brc_tensor *dense(net *n, bool wanted, brc_tensor *x, uint32_t members, uint32_t out) {
  brc_tensor *kernel = weight(n, wanted, "kernel", members, x->cols, out, 1 / sqrt(x->cols), 0);
  return brc_dense(n->p, x, kernel, weight(n, wanted, "bias", members, 1, out, 0.3, 0));
}
static brc_tensor *norm(net *n, bool wanted, brc_tensor *x, brc_tensor *residual, bool relu) {
  brc_tensor *scale = weight(n, wanted, "scale", x->members, 1, x->cols, 0.2, 1);
  return brc_norm(n->p, x, scale, weight(n, wanted, "norm_bias", x->members, 1, x->cols, 0.3, 0), residual,
                  relu, 1e-6);
}
static brc_tensor *bronet(net *n, bool wanted, brc_tensor *x, uint32_t members, uint32_t width, int depth) {
  brc_tensor *h = norm(n, wanted, dense(n, wanted, x, members, width), NULL, true);
  for (int i = 0; i < depth; i++) {
    brc_tensor *b = norm(n, wanted, dense(n, wanted, h, members, width), NULL, true);
    h = norm(n, wanted, dense(n, wanted, b, members, width), h, false);
  }
  return h;
}

// Ends: cross-entropy (its sum over members of the mean over the batch as a scalar), or the policy loss.
static void end_cross_entropy(net *n, brc_tensor *logits) {
  n->loss = brc_cross_entropy(n->p, logits, probabilities(n, logits->rows, logits->cols));
  n->result = add_leaf(n, BRC_F32, "result", 1, 1, 1);
  brc_reduce(n->p, n->loss, BRC_REDUCE_SUM, 1.0 / logits->rows, n->result);
}
static void end_policy_loss(net *n, brc_tensor *logp, brc_tensor *q) {
  brc_tensor *stats = add_leaf(n, BRC_F32, "stats", 1, 1, 2);
  n->loss = n->result = brc_policy_loss(n->p, logp, q, scalars(n, 0.3), stats);
}

typedef void build(net *n);

// Build the forward pass, then gradients of every parameter that `keep` (NULL: all) allows.
static void emit_gradients(net *n) {
  brc_wrt wrt[MAX_TENSORS];
  size_t count = 0;
  for (int i = 0, leaves = n->count; i < leaves; i++) {
    if (!n->leaves[i].parameter) continue;
    const brc_tensor *t = n->leaves[i].tensor;
    brc_tensor *grad = add_to_group(n, GROUP_GRADS, t->name, t->members, t->rows, t->cols);
    leaf_of(n, grad)->grad_of = i;
    wrt[count++] = (brc_wrt){n->leaves[i].tensor, grad};
  }
  brc_grad(n->p, n->loss, wrt, count, n->stops, n->stop_count);
}

static void create_net(net *n) {
  assert_int_equal(brc_program_create(&n->p, "net"), BRC_OK);
  for (int i = 0; i < GROUP_COUNT; i++) add_store(n, group_names[i], GROUP_ELEMENTS, BRC_F32);
}

static void open_net(net *n, build *b, uint64_t salt) {
  memset(n, 0, sizeof *n);
  testing_reseed(salt);
  create_net(n);
  b(n);
}

static void finish_net(net *n) {
  if (brc_program_finish(n->p)) fail_msg("%s", brc_error());
}

static void close_net(net *n) {
  for (int i = 0; i < n->store_count; i++) free(n->stores[i].values);
  brc_program_free(n->p);
}

static void require(brc_status st, const char *what) {
  if (st) fail_msg("%s: %s", what, brc_error());
}

//------------------------ 2. Running ------------------------------------------
static void upload(net *n, brc_device *d) {
  for (int i = 0; i < n->store_count; i++)
    require(testing_storage_write(d, &n->stores[i].storage, n->stores[i].values), "write");
}
static void download(net *n, brc_device *d) {
  for (int i = 0; i < n->store_count; i++)
    require(testing_storage_read(d, &n->stores[i].storage, n->stores[i].got), "read");
}
static void release(net *n, brc_device *d) {
  for (int i = 0; i < n->store_count; i++) testing_storage_release(d, &n->stores[i].storage);
}
static void run_once(net *n, brc_device *d) {
  upload(n, d);
  require(testing_run(d, n->p), "run");
  download(n, d);
  release(n, d);
}

//------------------------ 3. Finite differences --------------------------------
static uint64_t differences, redrawn;
static double worst_difference;

// (loss(x + h) - loss(x - h)) / 2h for one element.
static double difference(net *n, brc_device *d, brc_exec *e, leaf *l, uint64_t at, double h) {
  const double x = l->store->values[at];
  double loss[2];
  for (int k = 0; k < 2; k++) {
    const double moved = x + (k ? -h : h);
    require(d->backend->write(d, l->store->storage.buffer, at, 1, &moved, false), "write");
    require(d->backend->run(d, e, 1), "run");
    require(d->backend->read(d, n->result->storage->buffer, n->result->offset, 1, &loss[k]), "read");
  }
  require(d->backend->write(d, l->store->storage.buffer, at, 1, &x, false), "write");
  return (loss[0] - loss[1]) / (2 * h);
}

// `forward` gives the loss, `n` the gradients (the same program, save where a stopped value is held fixed). False, and
// nothing is judged, if a relu turns within the step: then differences of two step sizes disagree.
static bool check_gradients(net *n, net *forward) {
  bool smooth = true;
  brc_device *d = testing_oracle()->device;
  run_once(n, d);
  upload(forward, d);
  brc_exec *e;
  require(d->backend->compile(d, forward->p, &e), "compile");
  for (int g = 0; g < n->count && smooth; g++) {
    if (n->leaves[g].grad_of < 0) continue;
    leaf *grad = &n->leaves[g], *p = &forward->leaves[grad->grad_of];
    const brc_tensor *t = p->tensor;
    const uint64_t all = (uint64_t)t->members * t->rows * t->cols, most = testing_quick() ? 20 : 60;
    const uint64_t step = all > most ? all / most : 1;
    double got[128], want[128], wider[128];
    uint64_t count = 0;
    for (uint64_t i = 0; i < all && count < BRC_COUNT(got); i += step, count++) {
      uint64_t member = i / ((uint64_t)t->rows * t->cols), row = i / t->cols % t->rows, col = i % t->cols;
      uint64_t at = member * t->stride + row * t->pitch + col;
      got[count] = grad->store->got[grad->tensor->offset + at];
      want[count] = difference(forward, d, e, p, t->offset + at, 5e-6);
      wider[count] = difference(forward, d, e, p, t->offset + at, 1e-5);
    }
    smooth = testing_compare(wider, want, count, 1e-3).worst < 2e-7;
    if (!smooth) break;
    testing_error error = testing_compare(got, want, count, 1e-3);
    differences += count;
    worst_difference = fmax(worst_difference, error.worst);
    if (!(error.worst < 1e-6))
      fail_msg("d loss / d %s [%u, %u, %u], sample %llu: %.12g, by differences %.12g", t->name, t->members,
               t->rows, t->cols, (unsigned long long)error.at, got[error.at], want[error.at]);
  }
  d->backend->exec_free(d, e);
  release(forward, d);
  return smooth;
}

// Elements that rows may be written to, padding included.
static uint64_t extent(const brc_tensor *t) {
  return (t->members - 1) * t->stride + (uint64_t)t->rows * t->pitch;
}

// The gradients of float32 devices, with their own roundings on the way; and zeros in the padding between them.
static void check_devices(net *n) {
  const store *grads = &n->stores[GROUP_GRADS];
  double *want = malloc(GROUP_ELEMENTS * sizeof *want);
  assert_non_null(want);
  run_once(n, testing_oracle()->device);
  memcpy(want, grads->got, GROUP_ELEMENTS * sizeof *want);
  testing_device *devices;
  for (size_t k = 0, count = testing_devices(&devices); k < count; k++) {
    run_once(n, devices[k].device);
    for (int i = 0; i < n->count; i++) {
      const brc_tensor *t = n->leaves[i].tensor;
      if (n->leaves[i].grad_of < 0) continue;
      testing_error e = testing_compare(grads->got + t->offset, want + t->offset, extent(t), 1e-3);
      if (!(e.worst < 1e-4)) fail_msg("%s: gradient of %s: worst %.2e", devices[k].label, t->name, e.worst);
    }
    for (uint64_t i = n->used[GROUP_GRADS]; i < GROUP_ELEMENTS; i++) assert_true(grads->got[i] == 0);
  }
  free(want);
}

static void check(build *b) {
  const int wanted = testing_quick() ? 1 : 3;
  int judged = 0;
  // A network whose relus turn too near is drawn anew.
  for (uint64_t salt = 1; salt <= 12 && judged < wanted; salt++) {
    net n;
    open_net(&n, b, salt);
    emit_gradients(&n);
    finish_net(&n);
    if (check_gradients(&n, &n)) {
      check_devices(&n);
      judged++;
    } else {
      redrawn++;
    }
    close_net(&n);
  }
  assert_int_equal(judged, wanted);
}

//------------------------ 4. Networks ------------------------------------------
static void build_dense(net *n) { end_cross_entropy(n, dense(n, true, input(n, "x", 5, 7), 1, 11)); }

static void build_dense_stack(net *n) {
  brc_tensor *h = dense(n, true, input(n, "x", 33, 7), 1, 9);
  h = brc_dense(n->p, h, param(n, "kernel", 1, 9, 13, 0.3, 0), NULL);  // without a bias
  end_cross_entropy(n, dense(n, true, h, 1, 3));
}

static void build_norm(net *n) {
  end_cross_entropy(
      n, dense(n, true, norm(n, true, dense(n, true, input(n, "x", 6, 5), 1, 9), NULL, false), 1, 4));
}
static void build_norm_relu(net *n) {
  end_cross_entropy(
      n, dense(n, true, norm(n, true, dense(n, true, input(n, "x", 70, 5), 1, 17), NULL, true), 1, 4));
}
static void build_norm_frozen(net *n) {  // only what stands before the norm is wanted: no partial sums
  brc_tensor *y = norm(n, false, dense(n, true, input(n, "x", 6, 5), 1, 9), NULL, true);
  end_cross_entropy(n, dense(n, false, y, 1, 4));
}
static void build_bias_only(net *n) {
  brc_tensor *kernel = constant(n, "kernel", 1, 5, 9, 0.4, 0), *x = input(n, "x", 40, 5);
  brc_tensor *h = brc_dense(n->p, x, kernel, param(n, "bias", 1, 1, 9, 0.3, 0));
  end_cross_entropy(n, dense(n, false, norm(n, false, h, NULL, true), 1, 4));
}
static void build_shared_kernel(net *n) {  // used twice: the second gradient adds to the first
  brc_tensor *kernel = param(n, "kernel", 2, 6, 6, 0.4, 0);
  brc_tensor *h = norm(n, true, brc_dense(n->p, input(n, "x", 9, 6), kernel, NULL), NULL, true);
  end_cross_entropy(n, dense(n, true, brc_dense(n->p, h, kernel, NULL), 2, 4));
}
static void build_norm_residual(net *n) {
  brc_tensor *x = input(n, "x", 6, 5), *h = dense(n, true, x, 1, 9);
  end_cross_entropy(n, dense(n, true, norm(n, true, dense(n, true, h, 1, 9), h, false), 1, 4));
}

// The residual's gradient has several consumers: the block's dense, and heads that read it earlier in the program.
static void build_residual_many(net *n) {
  brc_tensor *h = norm(n, true, dense(n, true, input(n, "x", 9, 5), 2, 12), NULL, true);
  brc_tensor *a = norm(n, true, dense(n, true, h, 2, 10), NULL, true);
  brc_tensor *c = brc_dense(n->p, h, param(n, "kernel_c", 2, 12, 12, 0.3, 0), NULL);
  brc_tensor *b = norm(n, true, dense(n, true, a, 2, 12), c, false);
  brc_tensor *y = norm(n, true, dense(n, true, b, 2, 12), h, false);
  brc_tensor *z = norm(n, true, dense(n, true, y, 2, 12), y, false);
  end_cross_entropy(n, dense(n, true, z, 2, 6));
}

static void build_embed(net *n, int kind) {
  const uint32_t rows = 13, count = 5;
  brc_tensor *table = param(n, "table", 1, count, 6, 0.4, 0), *emb = brc_embed(n->p, table, kind);
  brc_tensor *x =
      brc_concat_input(n->p, input(n, "obs", rows, 4), input(n, "action", rows, 3), emb, tasks(n, rows, count));
  end_cross_entropy(n, dense(n, true, x, 1, 7));
}
static void build_embed_l1(net *n) { build_embed(n, 1); }
static void build_embed_l2(net *n) { build_embed(n, 2); }

// The critic's step: an input broadcast to two members, the embedding's gradient summed over both.
static void build_critic(net *n) {
  const uint32_t rows = 37, count = 4;
  brc_tensor *emb = brc_embed(n->p, param(n, "table", 1, count, 8, 0.3, 0), 2);
  brc_tensor *x =
      brc_concat_input(n->p, input(n, "obs", rows, 7), input(n, "action", rows, 3), emb, tasks(n, rows, count));
  end_cross_entropy(n, dense(n, true, bronet(n, true, x, 2, 16, 2), 2, 11));
}

// The actor's step: two heads on one trunk; the gradient goes through the action's columns of a frozen critic's input.
static void build_actor(net *n) {
  const uint32_t rows = 21, count = 3, actions = 5;
  brc_tensor *obs = input(n, "obs", rows, 6), *task = tasks(n, rows, count);
  brc_tensor *emb = brc_embed(n->p, constant(n, "table", 1, count, 8, 0.3, 0), 2);
  brc_tensor *h = bronet(n, true, brc_concat_input(n->p, obs, NULL, emb, task), 1, 12, 1);
  brc_tensor *mean = dense(n, true, h, 1, actions), *head = dense(n, true, h, 1, actions);
  brc_tensor *action, *logp;
  brc_tanh_normal(n->p, mean, head, input(n, "eps", rows, actions), 1, -10, 2, &action, &logp);
  brc_tensor *x = brc_concat_input(n->p, obs, action, emb, task);
  brc_tensor *logits = dense(n, false, bronet(n, false, x, 2, 16, 2), 2, 11);
  end_policy_loss(n, logp, brc_expected_value(n->p, logits, 10));
}

// One critic, one task: no embedding, no sum over members.
static void build_actor_single(net *n) {
  brc_tensor *obs = input(n, "obs", 8, 3), *h = dense(n, true, obs, 1, 6), *action, *logp;
  brc_tanh_normal(n->p, dense(n, true, h, 1, 2), dense(n, true, h, 1, 2), input(n, "eps", 8, 2), 1, -5, 1,
                  &action, &logp);
  brc_tensor *logits = dense(n, false, brc_concat_input(n->p, obs, action, NULL, NULL), 1, 2);
  end_policy_loss(n, logp, brc_expected_value(n->p, logits, 3));
}

// Three dense layers on one input.
static void build_shared_input(net *n) {
  brc_tensor *x = dense(n, true, input(n, "x", 10, 4), 2, 8);
  brc_tensor *a = norm(n, true, dense(n, true, x, 2, 8), NULL, true), *b = dense(n, true, x, 2, 8);
  brc_tensor *c = norm(n, true, dense(n, true, a, 2, 8), b, false), *d = dense(n, true, x, 2, 8);
  end_cross_entropy(n, dense(n, true, norm(n, true, dense(n, true, c, 2, 8), d, false), 2, 5));
}

// clang-format off
#define GRADIENT_TESTS(X) \
  X(dense) X(dense_stack) X(norm) X(norm_relu) X(norm_frozen) X(bias_only) X(shared_kernel) X(norm_residual) \
  X(residual_many) X(embed_l1) X(embed_l2) X(critic) X(actor) X(actor_single) X(shared_input)
// clang-format on
#define X(name) \
  static void test_##name(void **state) { (void)state, check(build_##name); }
GRADIENT_TESTS(X)
#undef X

//------------------------ 5. Stopping ------------------------------------------
// Two ways from the table to the loss, one of them stopped. The loss by differences holds the stopped value fixed.
static void build_two_ways(net *n) {
  const uint32_t rows = 9, count = 4;
  brc_tensor *table = param(n, "table", 1, count, 6, 0.4, 0), *task = tasks(n, rows, count);
  brc_tensor *held = n->frozen_values ? add_leaf(n, BRC_F32, "held", 1, count, 6) : brc_embed(n->p, table, 2);
  if (n->frozen_values) memcpy(values_of(n, held), n->frozen_values, extent(held) * sizeof(double));
  n->frozen = held;
  brc_tensor *x = brc_concat_input(n->p, input(n, "obs", rows, 4), NULL, held, task);
  brc_tensor *x2 = brc_concat_input(n->p, input(n, "obs2", rows, 3), NULL, brc_embed(n->p, table, 2), task);
  brc_tensor *y = norm(n, true, dense(n, true, x, 1, 8), dense(n, true, x2, 1, 8), false);
  end_cross_entropy(n, dense(n, true, y, 1, 5));
}

static void test_stop_gradient(void **state) {
  (void)state;
  net n, held;
  open_net(&n, build_two_ways, 5);
  n.stops[n.stop_count++] = n.frozen;
  emit_gradients(&n);
  brc_program_tap(n.p, n.frozen);
  finish_net(&n);
  // The stopped value, then the same network with it as a constant.
  brc_device *d = testing_oracle()->device;
  brc_exec *e;
  double values[4 * 16] = {0};
  upload(&n, d);
  require(d->backend->compile(d, n.p, &e), "compile");
  require(d->backend->run(d, e, 1), "run");
  for (uint32_t r = 0; r < n.frozen->rows; r++)
    require(
        d->backend->read_arena(d, e, n.frozen->offset + r * n.frozen->pitch, n.frozen->cols, values + 16 * r),
        "tap");
  d->backend->exec_free(d, e);
  release(&n, d);
  memset(&held, 0, sizeof held);
  testing_reseed(5);
  create_net(&held);
  held.frozen_values = values;
  build_two_ways(&held);
  finish_net(&held);
  // Leaves are the same in both but for the held one, which stands third.
  for (int i = 0; i < n.count; i++)
    if (n.leaves[i].grad_of >= 2) n.leaves[i].grad_of++;
  assert_true(check_gradients(&n, &held));
  close_net(&n);
  close_net(&held);
}

// Runs a builder that must fail; the sentence must name what it is about.
static void expect_error(build *b, brc_status code, const char *word) {
  net n;
  open_net(&n, b, 1);
  brc_status st = brc_program_status(n.p);
  if (st != code)
    fail_msg("expected '%s' about %s, got '%s'%s%s", brc_status_text(code), word, brc_status_text(st),
             st ? ": " : "", st ? brc_error() : "");
  if (!strstr(brc_error(), word)) fail_msg("the message should name '%s': %s", word, brc_error());
  // A broken program can't be finished either.
  assert_int_equal(brc_program_finish(n.p), code);
  close_net(&n);
}

// A stop before each kind of op that passes gradients on: what stands before it is not reached.
static void stop_and_differentiate(net *n, brc_tensor *stopped) {
  n->stops[n->stop_count++] = stopped;
  emit_gradients(n);
}
static void build_stop_dense(net *n) {
  brc_tensor *h = brc_dense(n->p, input(n, "x", 4, 3), param(n, "early", 1, 3, 5, 1, 0), NULL);
  end_cross_entropy(n, dense(n, true, h, 1, 4));
  stop_and_differentiate(n, h);
}
static void build_stop_norm(net *n) {
  brc_tensor *h = brc_dense(n->p, input(n, "x", 4, 3), param(n, "early", 1, 3, 5, 1, 0), NULL);
  end_cross_entropy(n, dense(n, true, norm(n, true, h, NULL, true), 1, 4));
  stop_and_differentiate(n, h);
}
static void build_stop_residual(net *n) {
  brc_tensor *x = input(n, "x", 4, 3), *h = brc_dense(n->p, x, param(n, "early", 1, 3, 5, 1, 0), NULL);
  end_cross_entropy(n, dense(n, true, norm(n, true, dense(n, true, x, 1, 5), h, false), 1, 4));
  stop_and_differentiate(n, h);
}
static void build_stop_concat(net *n) {
  brc_tensor *emb = brc_embed(n->p, param(n, "early", 1, 3, 5, 1, 0), 2);
  end_cross_entropy(
      n, dense(n, true, brc_concat_input(n->p, input(n, "obs", 4, 3), NULL, emb, tasks(n, 4, 3)), 1, 4));
  stop_and_differentiate(n, emb);
}
static void build_stop_policy(net *n) {
  brc_tensor *obs = input(n, "obs", 4, 3), *h = dense(n, true, obs, 1, 5), *action, *logp;
  brc_tensor *mean = brc_dense(n->p, h, param(n, "early", 1, 5, 2, 1, 0), NULL);
  brc_tanh_normal(n->p, mean, dense(n, true, h, 1, 2), input(n, "eps", 4, 2), 1, -5, 2, &action, &logp);
  brc_tensor *logits = dense(n, false, brc_concat_input(n->p, obs, action, NULL, NULL), 1, 5);
  end_policy_loss(n, logp, brc_expected_value(n->p, logits, 10));
  stop_and_differentiate(n, mean);
}

static void test_stop_before_dense(void **state) {
  (void)state, expect_error(build_stop_dense, BRC_E_SHAPE, "early");
}
static void test_stop_before_norm(void **state) {
  (void)state, expect_error(build_stop_norm, BRC_E_SHAPE, "early");
}
static void test_stop_before_residual(void **state) {
  (void)state, expect_error(build_stop_residual, BRC_E_SHAPE, "early");
}
static void test_stop_before_concat(void **state) {
  (void)state, expect_error(build_stop_concat, BRC_E_SHAPE, "early");
}
static void test_stop_before_policy(void **state) {
  (void)state, expect_error(build_stop_policy, BRC_E_SHAPE, "early");
}

//------------------------ 6. Build errors --------------------------------------
static void build_unreached(net *n) {
  param(n, "lonely", 1, 3, 3, 1, 0);
  build_dense(n);
  emit_gradients(n);
}
static void build_no_loss(net *n) {
  n->loss = dense(n, true, input(n, "x", 5, 7), 1, 11);
  emit_gradients(n);
}
static void test_unreached_parameter(void **state) {
  (void)state, expect_error(build_unreached, BRC_E_SHAPE, "lonely");
}
static void test_not_a_loss(void **state) { (void)state, expect_error(build_no_loss, BRC_E_SHAPE, "loss"); }

static const brc_adam adam = {3e-4, 0.9, 0.999, 1e-8, 1e-4};

// One step of AdamW on a flat group that holds an [8, 8] kernel and its bias; returns both.
typedef struct group {
  brc_tensor *kernel, *bias, *flat[5];
  brc_tensor *scalars;
} group;
static group make_group(net *n) {
  static const char *const names[] = {"grad", "group", "m", "v", "copy"};
  group g;
  for (int i = 0; i < 5; i++) g.flat[i] = add_leaf(n, BRC_F32, names[i], 1, 1, 8 * 16 + 16);
  brc_storage *s = g.flat[1]->storage;
  g.kernel = brc_external(n->p, s, "kernel", 0, 1, 8, 8, 16, 0);
  g.bias = brc_external(n->p, s, "bias", 8 * 16, 1, 1, 8, 16, 0);
  g.scalars = scalars(n, 0.1);
  return g;
}
static void step(net *n, const group *g) {
  brc_adamw(n->p, g->flat[0], g->flat[1], g->flat[2], g->flat[3], g->flat[4], g->scalars, BRC_SCALAR_CRITIC_C1,
            &adam, 0.005);
}

static void build_stale(net *n) {
  group g = make_group(n);
  brc_tensor *h = brc_dense(n->p, input(n, "x", 4, 8), g.kernel, g.bias);
  step(n, &g);
  dense(n, true, h, 1, 3);  // h is of the kernel before its step
}
static void build_stale_far(net *n) {  // through other ops, and with the target's storage
  group g = make_group(n);
  brc_tensor *old = brc_external(n->p, g.flat[4]->storage, "old kernel", 0, 1, 8, 8, 16, 0);
  brc_tensor *h = norm(n, false, brc_dense(n->p, input(n, "x", 4, 8), old, NULL), NULL, true);
  brc_tensor *y = dense(n, false, h, 1, 3);
  step(n, &g);
  dense(n, false, y, 1, 3);
}
static void build_stale_gradient(net *n) {  // the backward pass needs activations of the old parameters
  group g = make_group(n);
  brc_tensor *h = brc_dense(n->p, input(n, "x", 4, 8), g.kernel, g.bias);
  end_cross_entropy(n, dense(n, true, norm(n, true, h, NULL, true), 1, 3));
  step(n, &g);
  emit_gradients(n);
}
static void build_stale_temperature(net *n) {
  brc_tensor *log_alpha = constant(n, "log_alpha", 1, 1, 1, 1, 0), *s = scalars(n, 0.1),
             *h = dense(n, false, input(n, "x", 1, 1), 1, 1);
  brc_tensor *y = brc_dense(n->p, h, log_alpha, NULL);  // any activation of it
  brc_temperature(n->p, log_alpha, constant(n, "m", 1, 1, 1, 0, 0), constant(n, "v", 1, 1, 1, 0, 0), s,
                  constant(n, "entropy", 1, 1, 1, 1, 0), &adam, -1, add_leaf(n, BRC_F32, "stats", 1, 1, 3));
  dense(n, false, y, 1, 3);
}
static void build_fresh(net *n) {  // computed anew behind the step: no error
  group g = make_group(n);
  brc_tensor *x = input(n, "x", 4, 8);
  brc_dense(n->p, x, g.kernel, g.bias);
  step(n, &g);
  dense(n, true, brc_dense(n->p, x, g.kernel, g.bias), 1, 3);
}
static void test_stale_activation(void **state) {
  (void)state;
  expect_error(build_stale, BRC_E_SHAPE, "before its update");
  expect_error(build_stale_far, BRC_E_SHAPE, "before its update");
  expect_error(build_stale_gradient, BRC_E_SHAPE, "before its update");
  expect_error(build_stale_temperature, BRC_E_SHAPE, "before its update");
  net n;
  open_net(&n, build_fresh, 1);
  finish_net(&n);
  close_net(&n);
}

// Each builder with one operand of a wrong shape.
#define SHAPE_ERRORS(X)                                                                                       \
  X(dense_in, E_SHAPE, "dense", brc_dense(n->p, input(n, "x", 4, 3), constant(n, "k", 1, 5, 2, 1, 0), NULL))  \
  X(dense_bias, E_SHAPE, "bias",                                                                              \
    brc_dense(n->p, input(n, "x", 4, 3), constant(n, "k", 1, 3, 2, 1, 0), constant(n, "b", 1, 1, 3, 1, 0)))   \
  X(dense_members, E_SHAPE, "dense",                                                                          \
    brc_dense(n->p, constant(n, "x", 3, 4, 3, 1, 0), constant(n, "k", 2, 3, 2, 1, 0), NULL))                  \
  X(norm_scale, E_SHAPE, "norm",                                                                              \
    brc_norm(n->p, input(n, "x", 4, 3), input(n, "s", 1, 4), input(n, "b", 1, 3), NULL, true, 1e-6))          \
  X(norm_residual, E_SHAPE, "residual",                                                                       \
    brc_norm(n->p, input(n, "x", 4, 3), input(n, "s", 1, 3), input(n, "b", 1, 3), input(n, "r", 5, 3), false, \
             1e-6))                                                                                           \
  X(norm_relu_residual, E_SHAPE, "relu",                                                                      \
    brc_norm(n->p, input(n, "x", 4, 3), input(n, "s", 1, 3), input(n, "b", 1, 3), input(n, "r", 4, 3), true,  \
             1e-6))                                                                                           \
  X(embed_norm, E_VALUE, "embed", brc_embed(n->p, input(n, "table", 4, 3), 3))                                \
  X(concat_rows, E_SHAPE, "concat_input",                                                                     \
    brc_concat_input(n->p, input(n, "obs", 4, 3), input(n, "a", 5, 2), NULL, NULL))                           \
  X(concat_task, E_SHAPE, "concat_input",                                                                     \
    brc_concat_input(n->p, input(n, "obs", 4, 3), NULL, input(n, "e", 2, 5), tasks(n, 3, 2)))                 \
  X(gather_table, E_SHAPE, "table",                                                                           \
    brc_gather_batch(n->p, input(n, "table", 9, 6), 0, input(n, "x", 4, 4),                                   \
                     add_leaf(n, BRC_I32, "index", 1, 4, 2), input(n, "o", 4, 4), input(n, "a", 4, 3),        \
                     input(n, "o2", 4, 4)))                                                                   \
  X(tanh_head, E_SHAPE, "tanh_normal",                                                                        \
    brc_tanh_normal(n->p, input(n, "m", 4, 3), input(n, "h", 4, 2), input(n, "eps", 4, 3), 1, -5, 2, &t, &t)) \
  X(tanh_noise, E_SHAPE, "noise",                                                                             \
    brc_tanh_normal(n->p, input(n, "m", 4, 3), input(n, "h", 4, 3), NULL, 1, -5, 2, &t, &t))                  \
  X(target_mask, E_SHAPE, "mask",                                                                             \
    brc_categorical_target(n->p, input(n, "l", 4, 5), input(n, "r", 4, 1), input(n, "k", 3, 1),               \
                           input(n, "p", 4, 1), scalars(n, 1), 10, 0.99, &t, &t))                             \
  X(target_scalars, E_SHAPE, "scalars",                                                                       \
    brc_categorical_target(n->p, input(n, "l", 4, 5), input(n, "r", 4, 1), input(n, "k", 4, 1),               \
                           input(n, "p", 4, 1), input(n, "s", 1, 3), 10, 0.99, &t, &t))                       \
  X(entropy_atoms, E_SHAPE, "cross_entropy",                                                                  \
    brc_cross_entropy(n->p, input(n, "l", 4, 5), input(n, "target", 4, 6)))                                   \
  X(value_atoms, E_VALUE, "atoms", brc_expected_value(n->p, input(n, "l", 4, 1), 10))                         \
  X(policy_q, E_SHAPE, "policy_loss",                                                                         \
    brc_policy_loss(n->p, input(n, "p", 4, 1), input(n, "q", 3, 1), scalars(n, 1), input(n, "s", 1, 2)))      \
  X(reduce_out, E_SHAPE, "reduce",                                                                            \
    brc_reduce(n->p, input(n, "x", 4, 2), BRC_REDUCE_SUM, 1, input(n, "out", 1, 3)))                          \
  X(reduce_wide, E_SHAPE, "reduce",                                                                           \
    brc_reduce(n->p, input(n, "x", 4, 5), BRC_REDUCE_SUM, 1, input(n, "out", 1, 5)))                          \
  X(adamw_m, E_SHAPE, "adamw",                                                                                \
    brc_adamw(n->p, input(n, "g", 1, 9), input(n, "p", 1, 9), input(n, "m", 1, 8), input(n, "v", 1, 9), NULL, \
              scalars(n, 1), 1, &adam, 0))                                                                    \
  X(view_rows, E_SHAPE, "view", brc_view_rows(n->p, input(n, "x", 4, 5), 2, 5))                               \
  X(view_cols, E_SHAPE, "view", brc_view_cols(n->p, input(n, "x", 4, 5), 3, 3))                               \
  X(activation, E_SHAPE, "empty", brc_activation(n->p, "nothing", 1, 0, 4))                                   \
  X(storage_end, E_SHAPE, "storage",                                                                          \
    brc_external(n->p, input(n, "x", 4, 5)->storage, "beyond", 1, 1, 4, 16, 16, 0))

#define X(name, code, word, call)                                                     \
  static void build_bad_##name(net *n) {                                              \
    brc_tensor *t = NULL;                                                             \
    (void)t;                                                                          \
    call;                                                                             \
    dense(n, true, input(n, "y", 3, 3), 1, 2); /* building goes on behind an error */ \
  }
SHAPE_ERRORS(X)
#undef X

static void test_shape_errors(void **state) {
  (void)state;
#define X(name, code, word, call) expect_error(build_bad_##name, BRC_##code, word);
  SHAPE_ERRORS(X)
#undef X
}

static void test_finished_is_final(void **state) {
  (void)state;
  net n;
  open_net(&n, build_dense, 1);
  finish_net(&n);
  brc_tensor *x = n.leaves[0].tensor;
  brc_op_params p = {0};
  brc_op_add(n.p, BRC_OP_sum_members, (brc_tensor *[]){x}, (brc_tensor *[]){x}, &p);
  assert_int_equal(brc_program_status(n.p), BRC_E_SHAPE);
  close_net(&n);
}

//------------------------ 7. The plan ------------------------------------------
// The critic's and the actor's step in one program.
static void build_both(net *n) {
  build_critic(n);
  emit_gradients(n);
  for (int i = 0; i < n->count; i++) n->leaves[i].parameter = false;
  build_actor(n);
  emit_gradients(n);
}

// First and last op that touch the data of `t`, by looking at every op.
static void lifetime(const brc_program *p, const brc_tensor *t, int *first, int *last) {
  *first = *last = -1;
  for (size_t i = 0; i < p->op_count; i++)
    for (int k = 0; k < BRC_MAX_IN + BRC_MAX_OUT; k++) {
      const brc_tensor *u = k < BRC_MAX_IN ? p->ops[i]->in[k] : p->ops[i]->out[k - BRC_MAX_IN];
      if (!u || u->storage || u->root != t) continue;
      if (*first < 0) *first = (int)i;
      *last = (int)i;
    }
}

static void test_plan(void **state) {
  (void)state;
  net n;
  open_net(&n, build_both, 1);
  finish_net(&n);
  const brc_program *p = n.p;
  uint64_t pairs = 0, lower = 0;
  for (size_t i = 0; i < p->tensor_count; i++) {
    const brc_tensor *a = p->tensors[i];
    int a_first, a_last;
    if (a->storage) continue;
    if (a->root != a) {  // a view lies inside its tensor
      assert_true(a->offset >= a->root->offset &&
                  a->offset + brc_tensor_elements(a) <= a->root->offset + extent(a->root));
      continue;
    }
    lifetime(p, a, &a_first, &a_last);
    if (a_first < 0) continue;
    assert_true(a->first == a_first && a->last == a_last);
    assert_true(a->offset % 128 == 0);
    if (a->offset + extent(a) > p->arena_elements) fail_msg("%s ends behind the arena", a->name);
    lower = extent(a) > lower ? extent(a) : lower;
    for (size_t j = 0; j < i; j++) {
      const brc_tensor *b = p->tensors[j];
      int b_first, b_last;
      if (b->storage || b->root != b) continue;
      lifetime(p, b, &b_first, &b_last);
      if (b_first < 0 || a_last < b_first || b_last < a_first) continue;
      pairs++;
      if (a->offset < b->offset + extent(b) && b->offset < a->offset + extent(a))
        fail_msg("%s of ops %d to %d and %s of ops %d to %d overlap in the arena", a->name, a_first, a_last,
                 b->name, b_first, b_last);
    }
  }
  printf("  %zu ops, %zu tensors, %llu pairs live at the same time; arena %llu of %llu elements\n", p->op_count,
         p->tensor_count, (unsigned long long)pairs, (unsigned long long)p->arena_elements,
         (unsigned long long)p->arena_unplanned);
  assert_true(pairs > 100);
  assert_true(p->arena_elements >= lower && p->arena_elements < p->arena_unplanned);
  close_net(&n);
}

// Bit-equal results with and without every activation tapped; so no two of them share memory that matters.
static void compare_taps(const testing_device *d) {
  net plain, tapped;
  open_net(&plain, build_both, 1);
  finish_net(&plain);
  open_net(&tapped, build_both, 1);
  for (size_t i = 0; i < tapped.p->tensor_count; i++)
    if (!tapped.p->tensors[i]->storage) brc_program_tap(tapped.p, tapped.p->tensors[i]);
  finish_net(&tapped);
  assert_true(tapped.p->arena_elements > plain.p->arena_elements);
  run_once(&plain, d->device);
  run_once(&tapped, d->device);
  uint64_t moved = 0;
  for (int i = 0; i < plain.store_count; i++) {
    const store *a = &plain.stores[i], *b = &tapped.stores[i];
    for (uint64_t k = 0; k < a->storage.elements; k++) {
      if (a->got[k] != b->got[k])
        fail_msg("%s: %s[%llu] is %.17g, tapped %.17g", d->label, a->storage.name, (unsigned long long)k,
                 a->got[k], b->got[k]);
      moved += a->got[k] != a->values[k];
    }
  }
  assert_true(moved > 1000);  // gradients and results
  close_net(&plain);
  close_net(&tapped);
}

static void test_taps(void **state) {
  (void)state;
  compare_taps(testing_oracle());
  testing_device *devices;
  for (size_t k = 0, count = testing_devices(&devices); k < count; k++) compare_taps(&devices[k]);
}

static void test_count(void **state) {
  (void)state;
  printf("  %llu derivatives compared, worst relative difference %.1e; %llu networks drawn anew\n",
         (unsigned long long)differences, worst_difference, (unsigned long long)redrawn);
  assert_true(differences > 500);
}

int main(void) {
  const struct CMUnitTest tests[] = {
#define X(name) cmocka_unit_test(test_##name),
      GRADIENT_TESTS(X)
#undef X
          cmocka_unit_test(test_stop_gradient),
      cmocka_unit_test(test_stop_before_dense),
      cmocka_unit_test(test_stop_before_norm),
      cmocka_unit_test(test_stop_before_residual),
      cmocka_unit_test(test_stop_before_concat),
      cmocka_unit_test(test_stop_before_policy),
      cmocka_unit_test(test_unreached_parameter),
      cmocka_unit_test(test_not_a_loss),
      cmocka_unit_test(test_stale_activation),
      cmocka_unit_test(test_shape_errors),
      cmocka_unit_test(test_finished_is_final),
      cmocka_unit_test(test_plan),
      cmocka_unit_test(test_taps),
      cmocka_unit_test(test_count),
  };
  return testing_finish(cmocka_run_group_tests_name("gradients", tests, NULL, NULL));
}
