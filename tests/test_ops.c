// Parity of every op on every backend, device and GEMM provider with the oracle.
//
// The table in op.h is walked: for each op, cases of many shapes are built as programs of one op whose inputs and outputs
// lie in storages with guard bands. The oracle and every device run them from the same float32 inputs. Compared: the
// outputs, within the op's bound; everything else in every storage, which must not have changed.
//
// What fills the space around the data: NaN behind the columns of an activation (a kernel that reads padding into a result
// shows), zeros in a parameter group (which must stay), a number that no result has around outputs.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/philox.h"
#include "graph/graph.h"
#include "tests/testing.h"

//------------------------ 1. One case ------------------------------------------
#define GUARD    128u  // elements before and behind each tensor: 512 bytes, on which every tensor starts
#define SENTINEL (-7777.25)

typedef enum slot_role {
  INPUT,   // an activation or a batch: padding is NaN
  PARAM,   // in a parameter group: padding is zero
  OUTPUT,  // an activation: padding may change
  GRAD,    // an output in a parameter group: padding is zero and stays
  UPDATE,  // a parameter group changed in place
  TOTAL,   // an activation that is added to
} slot_role;

// A tensor under test, alone in its storage between guard bands.
typedef struct slot {
  brc_storage storage;
  brc_tensor *tensor;
  slot_role role;
  double *initial, *want, *got;
  double floor;  // least magnitude that errors are relative to, where results cancel
  uint32_t part,
      part_cols;  // compare columns [k part, k part + part_cols) for each k on their own; part 0: all at once
  uint32_t skip_from;  // columns from here on are free
} slot;

static struct {
  brc_op_kind kind;
  char name[200];
  brc_program *program;
  slot slots[BRC_MAX_IN + BRC_MAX_OUT];
  int count;
  uint32_t extra_pitch, extra_stride;  // beyond what a tensor needs
} the;

typedef struct tally {
  uint64_t count;
  double worst, rms;
} tally;
static tally tallies[BRC_OP_COUNT][64];  // per device
static uint64_t cases_of[BRC_OP_COUNT];
static int failures;

// A program may not be built or run at all: our bug, or a device's.
static void require(brc_status st, const char *what) {
  if (st) fail_msg("%s %s: %s: %s", brc_op_infos[the.kind].name, the.name, what, brc_error());
}

static void begin(brc_op_kind kind, const char *fmt, ...) BRC_PRINTF(2, 3);
static void begin(brc_op_kind kind, const char *fmt, ...) {
  memset(&the, 0, sizeof the);
  the.kind = kind;
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(the.name, sizeof the.name, fmt, ap);
  va_end(ap);
  require(brc_program_create(&the.program, "test"), "create");
}

static slot *slot_of(const brc_tensor *t) {
  for (int i = 0; i < the.count; i++)
    if (the.slots[i].tensor == t) return &the.slots[i];
  fail_msg("%s: no slot of this tensor", the.name);
  return NULL;
}

// The initial value of an element.
static double *value(const brc_tensor *t, uint32_t e, uint32_t r, uint32_t c) {
  return slot_of(t)->initial + GUARD + e * t->stride + (uint64_t)r * t->pitch + c;
}

// What an element of a slot's storage is.
typedef enum place { OUTSIDE, PADDING, INSIDE } place;
static place place_of(const slot *s, uint64_t i, uint32_t *column) {
  const brc_tensor *t = s->tensor;
  *column = 0;
  if (i < GUARD) return OUTSIDE;
  uint64_t in_member = i - GUARD, member = t->stride ? in_member / t->stride : 0;
  if (member >= t->members) return OUTSIDE;
  in_member -= member * t->stride;
  if (in_member >= (uint64_t)t->rows * t->pitch) return OUTSIDE;
  *column = (uint32_t)(in_member % t->pitch);
  return *column < t->cols ? INSIDE : PADDING;
}

typedef double fill(void);
static double unit(void) { return testing_normal(); }
static double zero(void) { return 0; }
static double positive(void) { return testing_uniform(0.5, 1.5); }

static brc_tensor *tensor_at(slot_role role, brc_dtype dtype, const char *name, uint32_t members, uint32_t rows,
                             uint32_t cols, uint32_t pitch, uint32_t stride, fill *f) {
  assert_true((size_t)the.count < BRC_COUNT(the.slots));
  slot *s = &the.slots[the.count++];
  s->role = role;
  uint64_t extent = (members - 1) * (uint64_t)stride + (uint64_t)rows * pitch;
  s->storage = (brc_storage){.name = name, .elements = extent + 2 * GUARD, .dtype = dtype};
  s->initial = calloc(3 * s->storage.elements, sizeof(double));
  assert_non_null(s->initial);
  s->want = s->initial + s->storage.elements;
  s->got = s->want + s->storage.elements;
  s->tensor = brc_external(the.program, &s->storage, name, GUARD, members, rows, cols, pitch, stride);
  require(brc_program_status(the.program), name);
  const bool reads = role == INPUT || role == PARAM;
  const double around = dtype == BRC_I32 ? -7777 : reads ? NAN : SENTINEL;
  const double pad = role == PARAM || role == GRAD || role == UPDATE ? 0 : around;
  for (uint64_t i = 0; i < s->storage.elements; i++) {
    uint32_t column;
    place p = place_of(s, i, &column);
    s->initial[i] = p == OUTSIDE ? around : p == PADDING ? pad : f ? f() : SENTINEL;
  }
  return s->tensor;
}

static brc_tensor *tensor(slot_role role, const char *name, uint32_t members, uint32_t rows, uint32_t cols,
                          fill *f) {
  uint32_t pitch = brc_pitch(cols) + (cols > 1 ? the.extra_pitch : 0);
  uint32_t stride = members > 1 ? rows * pitch + (cols > 1 ? the.extra_stride : 0) : 0;
  return tensor_at(role, BRC_F32, name, members, rows, cols, pitch, stride, f);
}

static brc_tensor *integers(slot_role role, const char *name, uint32_t rows, uint32_t cols) {
  return tensor_at(role, BRC_I32, name, 1, rows, cols, brc_pitch(cols), 0, zero);
}

static void set_floor(const brc_tensor *t, double floor) { slot_of(t)->floor = floor; }
static void set_parts(const brc_tensor *t, uint32_t part, uint32_t part_cols) {
  slot_of(t)->part = part;
  slot_of(t)->part_cols = part_cols;
}

// The scalars with only the named ones set: the others are NaN, so that an op that reads another one shows.
static brc_tensor *scalars_with(int index, double x) {
  brc_tensor *t = tensor(INPUT, "scalars", 1, 1, BRC_SCALAR_COUNT, NULL);
  for (uint32_t c = 0; c < BRC_SCALAR_COUNT; c++) *value(t, 0, 0, c) = NAN;
  *value(t, 0, 0, (uint32_t)index) = testing_f32(x);
  return t;
}

//------------------------ 2. Running and judging -------------------------------
static void run_on(const testing_device *d) {
  for (int i = 0; i < the.count; i++)
    require(testing_storage_write(d->device, &the.slots[i].storage, the.slots[i].initial), d->label);
  require(testing_run(d->device, the.program), d->label);
  for (int i = 0; i < the.count; i++) {
    require(testing_storage_read(d->device, &the.slots[i].storage, the.slots[i].got), d->label);
    testing_storage_release(d->device, &the.slots[i].storage);
  }
}

static bool is_written(const slot *s) { return s->role != INPUT && s->role != PARAM; }

static void report(const testing_device *d, const slot *s, const char *fmt, ...) BRC_PRINTF(3, 4);
static void report(const testing_device *d, const slot *s, const char *fmt, ...) {
  if (failures++ >= 20) return;  // enough to see what is wrong
  fprintf(stderr, "%s [%s] on %s: %s: ", brc_op_infos[the.kind].name, the.name, d->label, s->tensor->name);
  va_list ap;
  va_start(ap, fmt);
  vfprintf(stderr, fmt, ap);
  va_end(ap);
  fputc('\n', stderr);
}

// Nothing but the outputs may have changed.
static void check_unchanged(const testing_device *d, const slot *s) {
  for (uint64_t i = 0; i < s->storage.elements; i++) {
    uint32_t column;
    place p = place_of(s, i, &column);
    if (is_written(s) && p == INSIDE) continue;
    if (p == PADDING && (s->role == OUTPUT || s->role == TOTAL)) continue;
    double before = s->initial[i], after = s->got[i];
    if (before == after || (isnan(before) && isnan(after))) continue;
    report(d, s, "%s element %lld changed from %g to %g",
           p == OUTSIDE   ? "outside,"
           : p == PADDING ? "padding,"
                          : "an input's",
           (long long)i - GUARD, before, after);
    return;
  }
}

// Gather the columns [c0, c0 + n) of an output from `from`; returns how many elements.
static uint64_t gather(const slot *s, const double *from, uint32_t c0, uint32_t n, double *to) {
  const brc_tensor *t = s->tensor;
  uint64_t count = 0;
  for (uint32_t e = 0; e < t->members; e++)
    for (uint32_t r = 0; r < t->rows; r++)
      for (uint32_t c = c0; c < c0 + n && c < t->cols; c++)
        to[count++] = from[GUARD + e * t->stride + (uint64_t)r * t->pitch + c];
  return count;
}

static void compare_columns(const testing_device *d, size_t device, const slot *s, uint32_t c0, uint32_t n) {
  double *got = malloc(2 * s->storage.elements * sizeof *got), *want = got + s->storage.elements;
  assert_non_null(got);
  uint64_t count = gather(s, s->got, c0, n, got);
  gather(s, s->want, c0, n, want);
  for (uint64_t i = 0; i < count; i++)
    if (!isfinite(want[i])) report(d, s, "the oracle says %g: this case is no test", want[i]);
  testing_error e = testing_compare(got, want, count, s->floor);
  tally *t = &tallies[the.kind][device];
  t->count += count;
  t->worst = fmax(t->worst, e.worst);
  t->rms = fmax(t->rms, e.rms);
  const double bound = brc_op_infos[the.kind].worst;
  if (!(e.worst <= bound) || !(e.rms <= bound))
    report(d, s,
           "columns from %u: element %llu is %.9g, expected %.9g; worst %.2e, mean square %.2e, bound %.0e", c0,
           (unsigned long long)e.at, got[e.at], want[e.at], e.worst, e.rms, bound);
  free(got);
}

static void compare_output(const testing_device *d, size_t device, const slot *s) {
  const uint32_t cols = s->skip_from ? s->skip_from : s->tensor->cols;
  if (!s->part) compare_columns(d, device, s, 0, cols);
  for (uint32_t c = 0; s->part && c < cols; c += s->part) compare_columns(d, device, s, c, s->part_cols);
}

// The one op whose results are promised to have the same bits on every device.
static void compare_bits(const testing_device *d, const testing_device *first, const slot *s, double *bits) {
  uint64_t n = s->storage.elements;
  if (d == first) memcpy(bits, s->got, n * sizeof *bits);
  for (uint64_t i = 0; i < n; i++) {
    uint32_t column;
    if (place_of(s, i, &column) != INSIDE || bits[i] == s->got[i]) continue;
    report(d, s, "element %lld is %.9g, not to the bit the %.9g of %s", (long long)i - GUARD, s->got[i],
           bits[i], first->label);
    return;
  }
}

// Products below fp32 run on the devices that have them; which precisions none has is said at the end.
static bool precision_tested[BRC_PRECISION_COUNT];
static bool offers(const testing_device *d) {
  const uint32_t precision = the.program->ops[0]->params.dense.precision;
  const bool has = d->device->info.precisions >> precision & 1;
  precision_tested[precision] |= has;
  return has;
}

static uint64_t nan_expected;  // elements, of the op under test
static void expect_nan(const testing_device *d, const slot *s, const char *input) {
  for (uint64_t i = 0; is_written(s) && i < s->storage.elements; i++) {
    uint32_t column;
    if (place_of(s, i, &column) != INSIDE || (s->skip_from && column >= s->skip_from)) continue;
    nan_expected += isnan(s->want[i]);
    if (!isnan(s->want[i]) || isnan(s->got[i])) continue;
    report(d, s, "NaN in %s: element %lld is %g, the oracle's is NaN", input, (long long)i - GUARD, s->got[i]);
    return;
  }
}

// NaN in one element of each input in turn: wherever the oracle has NaN then, a device must too. A diverged run must be seen.
static void finish_with_nan(const testing_device *devices, size_t count) {
  for (int i = 0; i < the.count; i++) {
    slot *s = &the.slots[i];
    const brc_tensor *t = s->tensor;
    if (s->storage.dtype != BRC_F32 || s->role == OUTPUT || s->role == GRAD) continue;
    double *x = value(t, testing_below(t->members), testing_below(t->rows), testing_below(t->cols)), was = *x;
    *x = NAN;
    run_on(testing_oracle());
    for (int k = 0; k < the.count; k++)
      memcpy(the.slots[k].want, the.slots[k].got, the.slots[k].storage.elements * sizeof *x);
    for (size_t d = 0; d < count; d++) {
      if (the.kind > BRC_OP_dense_dw ? devices[d].provider > 0 : !offers(&devices[d])) continue;
      run_on(&devices[d]);
      for (int k = 0; k < the.count; k++) expect_nan(&devices[d], &the.slots[k], s->storage.name);
    }
    *x = was;
  }
}

static void finish(brc_tensor *const *in, brc_tensor *const *out, const brc_op_params *params) {
  brc_op_add(the.program, the.kind, in, out, params);
  require(brc_program_finish(the.program), "finish");
  cases_of[the.kind]++;
  run_on(testing_oracle());
  double *bits = NULL;
  for (int i = 0; i < the.count; i++) {
    slot *s = &the.slots[i];
    check_unchanged(testing_oracle(), s);
    memcpy(s->want, s->got, s->storage.elements * sizeof *s->want);
    if (the.kind == BRC_OP_normal && is_written(s)) bits = calloc(s->storage.elements, sizeof *bits);
  }
  testing_device *devices;
  size_t count = testing_devices(&devices);
  const bool product = the.kind <= BRC_OP_dense_dw;
  for (size_t k = 0; k < count; k++) {
    if (!product && devices[k].provider > 0) continue;  // the same kernels as the default
    if (product && !offers(&devices[k])) continue;
    run_on(&devices[k]);
    for (int i = 0; i < the.count; i++) {
      check_unchanged(&devices[k], &the.slots[i]);
      if (!is_written(&the.slots[i])) continue;
      compare_output(&devices[k], k, &the.slots[i]);
      if (bits) compare_bits(&devices[k], &devices[0], &the.slots[i], bits);
    }
  }
  free(bits);
  if (cases_of[the.kind] % 16 == 1) finish_with_nan(devices, count);
  for (int i = 0; i < the.count; i++) free(the.slots[i].initial);
  brc_program_free(the.program);
}

// In quick mode two of three cases are left out, drawn at random: a rule of their number would hit the same variant always.
static bool leave_out(void) { return testing_quick() && testing_below(3) != 0; }

//------------------------ 3. Products -----------------------------------------
static const struct {
  uint32_t rows, in, out;
} gemm_shapes[] = {
    {1, 1, 1},   {7, 31, 33},  {33, 7, 257},   {257, 33, 31},  {31, 257, 7},  {1, 257, 33}, {257, 1, 31},
    {33, 64, 1}, {64, 64, 64}, {256, 48, 101}, {129, 80, 130}, {17, 16, 129}, {2, 300, 2},  {256, 512, 128},
};

static uint32_t stride_of(const brc_tensor *t) { return (uint32_t)t->stride; }

// What surrounds a product: how it is laid out, and which optional parts are there.
typedef struct gemm_variant {
  const char *name;
  bool broadcast, bias, accumulate, view;
  uint32_t extra_pitch, extra_stride;
  brc_precision precision;
  double scale;      // of the factor that is a gradient
  double magnitude;  // of its numbers
} gemm_variant;
static const gemm_variant gemm_variants[] = {
    {"bias", false, true, false, false, 0, 0, BRC_FP32, 1, 1},
    {"broadcast", true, true, false, false, 0, 0, BRC_FP32, 1, 1},
    {"no bias, wide pitch", false, false, false, false, 32, 0, BRC_FP32, 1, 1},
    {"accumulate", false, false, true, false, 0, 0, BRC_FP32, 1, 1},
    {"view, gap between members", false, true, false, true, 16, 128, BRC_FP32, 1, 1},
    {"broadcast, view, accumulate", true, true, true, true, 0, 48, BRC_FP32, 1, 1},
    {"tf32, bias", false, true, false, false, 0, 0, BRC_TF32, 1, 1},
    {"tf32, broadcast, view, accumulate", true, true, true, true, 0, 48, BRC_TF32, 1, 1},
    {"bf16, bias", false, true, false, false, 0, 0, BRC_BF16, 1, 1},
    {"bf16, broadcast, view, accumulate", true, true, true, true, 0, 48, BRC_BF16, 1, 1},
    {"bf16, wide pitch, gap between members", false, false, false, false, 16, 128, BRC_BF16, 1, 1},
    {"fp16, bias", false, true, false, false, 0, 0, BRC_FP16, 1, 1},
    {"fp16, scaled, broadcast, view, accumulate", true, true, true, true, 0, 48, BRC_FP16, 1024, 1},
    {"fp16, subnormals", false, false, false, false, 0, 0, BRC_FP16, 1, 0x1p-18},
    {"fp16, out of subnormals", false, false, false, false, 0, 0, BRC_FP16, 0x1p16, 0x1p-18},
    {"fp16, saturating", false, false, false, false, 0, 0, BRC_FP16, 0x1p16, 1},
};

// Numbers of factors; those of one that is a gradient are of some magnitude. In tf32 none lies half way between two numbers of that
// precision, as the least bit of float32 is set: NVIDIA's tensor cores round those away from zero.
static double magnitude;
static bool odd_numbers;
static double factor(double x) {
  float f = (float)x;
  uint32_t bits;
  memcpy(&bits, &f, sizeof bits);
  bits |= odd_numbers;
  memcpy(&f, &bits, sizeof f);
  return f;
}
static double gradient(void) { return factor(magnitude * testing_normal()); }
static double unit_factor(void) { return factor(testing_normal()); }

static void each_gemm(brc_op_kind kind, void (*one)(uint32_t rows, uint32_t in, uint32_t out, uint32_t members,
                                                    const gemm_variant *v)) {
  for (size_t s = 0; s < BRC_COUNT(gemm_shapes); s++)
    for (uint32_t members = 1; members <= 3; members++)
      for (size_t v = 0; v < BRC_COUNT(gemm_variants); v++) {
        if (leave_out()) continue;
        begin(kind, "rows %u in %u out %u members %u, %s", gemm_shapes[s].rows, gemm_shapes[s].in,
              gemm_shapes[s].out, members, gemm_variants[v].name);
        the.extra_pitch = gemm_variants[v].extra_pitch;
        the.extra_stride = gemm_variants[v].extra_stride;
        magnitude = gemm_variants[v].magnitude;
        odd_numbers = gemm_variants[v].precision == BRC_TF32;
        one(gemm_shapes[s].rows, gemm_shapes[s].in, gemm_shapes[s].out, members, &gemm_variants[v]);
      }
}

// An input of `cols` columns; as a view, out of the middle of a wider one.
static brc_tensor *columns(const char *name, uint32_t members, uint32_t rows, uint32_t cols, bool view,
                           fill *f) {
  if (!view) return tensor(INPUT, name, members, rows, cols, f);
  brc_tensor *wide = tensor(INPUT, name, members, rows, cols + 8, f);
  // Beyond the view lies what must not be read.
  for (uint32_t e = 0; e < members; e++)
    for (uint32_t r = 0; r < rows; r++)
      for (uint32_t c = 0; c < cols + 8; c++)
        if (c < 3 || c >= cols + 3) *value(wide, e, r, c) = NAN;
  return brc_view_cols(the.program, wide, 3, 3 + cols);
}

static void one_dense(uint32_t rows, uint32_t in, uint32_t out, uint32_t members, const gemm_variant *v) {
  brc_tensor *x = columns("x", v->broadcast ? 1 : members, rows, in, v->view, gradient);
  brc_tensor *kernel = tensor(PARAM, "kernel", members, in, out, unit_factor);
  brc_tensor *bias = v->bias ? tensor(PARAM, "bias", members, 1, out, unit) : NULL;
  brc_tensor *y = tensor(v->accumulate ? TOTAL : OUTPUT, "y", members, rows, out, v->accumulate ? unit : NULL);
  set_floor(y, sqrt(in) * v->magnitude);  // of a sum of `in` products of unit normals
  brc_op_params p = {.dense = {.m = rows,
                               .n = out,
                               .k = in,
                               .batch = members,
                               .lda = x->pitch,
                               .ldb = kernel->pitch,
                               .ldc = y->pitch,
                               .accumulate = v->accumulate,
                               .stride_a = stride_of(x),
                               .stride_b = stride_of(kernel),
                               .stride_c = stride_of(y),
                               .stride_bias = bias ? stride_of(bias) : 0,
                               .precision = v->precision,
                               .scale_a = v->scale,
                               .scale_b = 1}};
  finish((brc_tensor *[]){x, kernel, bias}, (brc_tensor *[]){y}, &p);
}
static void cases_dense(void) { each_gemm(BRC_OP_dense, one_dense); }

static void one_dense_dx(uint32_t rows, uint32_t in, uint32_t out, uint32_t members, const gemm_variant *v) {
  brc_tensor *dy = tensor(INPUT, "dy", members, rows, out, gradient);
  // As the actor's step reads the action's rows of the critic's first kernel.
  brc_tensor *kernel = tensor(PARAM, "kernel", members, v->view ? in + 9 : in, out, unit_factor);
  brc_tensor *part = v->view ? brc_view_rows(the.program, kernel, 5, 5 + in) : kernel;
  brc_tensor *dx = tensor(v->accumulate ? TOTAL : OUTPUT, "dx", members, rows, in, v->accumulate ? unit : NULL);
  set_floor(dx, sqrt(out) * v->magnitude);
  brc_op_params p = {.dense_dx = {.m = rows,
                                  .n = in,
                                  .k = out,
                                  .batch = members,
                                  .lda = dy->pitch,
                                  .ldb = part->pitch,
                                  .ldc = dx->pitch,
                                  .accumulate = v->accumulate,
                                  .stride_a = stride_of(dy),
                                  .stride_b = stride_of(part),
                                  .stride_c = stride_of(dx),
                                  .precision = v->precision,
                                  .scale_a = v->scale,
                                  .scale_b = 1}};
  finish((brc_tensor *[]){dy, part}, (brc_tensor *[]){dx}, &p);
}
static void cases_dense_dx(void) { each_gemm(BRC_OP_dense_dx, one_dense_dx); }

static void one_dense_dw(uint32_t rows, uint32_t in, uint32_t out, uint32_t members, const gemm_variant *v) {
  brc_tensor *x = columns("x", v->broadcast ? 1 : members, rows, in, v->view, unit_factor);
  brc_tensor *dy = tensor(INPUT, "dy", members, rows, out, gradient);
  brc_tensor *dk = tensor(GRAD, "dK", members, in, out, v->accumulate ? unit : NULL);
  set_floor(dk, sqrt(rows) * v->magnitude);
  brc_op_params p = {.dense_dw = {.m = in,
                                  .n = out,
                                  .k = rows,
                                  .batch = members,
                                  .lda = x->pitch,
                                  .ldb = dy->pitch,
                                  .ldc = dk->pitch,
                                  .accumulate = v->accumulate,
                                  .stride_a = stride_of(x),
                                  .stride_b = stride_of(dy),
                                  .stride_c = stride_of(dk),
                                  .precision = v->precision,
                                  .scale_a = 1,
                                  .scale_b = v->scale}};
  finish((brc_tensor *[]){x, dy}, (brc_tensor *[]){dk}, &p);
}
static void cases_dense_dw(void) { each_gemm(BRC_OP_dense_dw, one_dense_dw); }

//------------------------ 4. LayerNorm ----------------------------------------
static const struct {
  uint32_t rows, cols;
} norm_shapes[] = {
    {1, 1},   {1, 7},   {7, 31},   {31, 33}, {33, 257}, {257, 7},
    {5, 512}, {65, 64}, {3, 1000}, {32, 16}, {256, 48}, {2, 4096},
};

// Rows of unit normals; of different scales (up to 100); some rows of zeros.
typedef enum row_kind { ROWS_UNIT, ROWS_SCALED, ROWS_ZERO } row_kind;
static void shape_rows(brc_tensor *x, row_kind kind) {
  for (uint32_t e = 0; e < x->members; e++)
    for (uint32_t r = 0; r < x->rows; r++) {
      double s = kind == ROWS_ZERO && r % 3 == 0 ? 0 : kind == ROWS_SCALED && r % 7 == 1 ? 100 : 1;
      for (uint32_t c = 0; c < x->cols; c++) *value(x, e, r, c) = testing_f32(*value(x, e, r, c) * s);
    }
}

static struct brc_norm_params norm_params(const brc_tensor *x, const brc_tensor *scale, bool relu,
                                          bool residual, uint32_t block) {
  return (struct brc_norm_params){.members = x->members,
                                  .rows = x->rows,
                                  .cols = x->cols,
                                  .pitch = x->pitch,
                                  .stride_p = stride_of(scale),
                                  .relu = relu,
                                  .residual = residual,
                                  .block = block,
                                  .eps = 1e-6};
}

// Scale and bias of a group: members further apart than they must be.
static brc_tensor *vector(slot_role role, const char *name, uint32_t members, uint32_t cols, fill *f) {
  uint32_t pitch = brc_pitch(cols);
  return tensor_at(role, BRC_F32, name, members, 1, cols, pitch, members > 1 ? BRC_ROUND_UP(pitch, 128u) : 0,
                   f);
}

static void cases_norm(void) {
  static const struct {
    const char *name;
    bool relu, residual;
    row_kind kind;
    uint32_t extra_pitch;
  } variants[] = {{"plain", false, false, ROWS_UNIT, 0},
                  {"relu", true, false, ROWS_UNIT, 16},
                  {"residual", false, true, ROWS_UNIT, 0},
                  {"zero rows", true, false, ROWS_ZERO, 0},
                  {"scaled rows", false, false, ROWS_SCALED, 0}};
  for (size_t s = 0; s < BRC_COUNT(norm_shapes); s++)
    for (uint32_t members = 1; members <= 3; members++)
      for (size_t v = 0; v < BRC_COUNT(variants); v++) {
        if (leave_out()) continue;
        const uint32_t rows = norm_shapes[s].rows, cols = norm_shapes[s].cols;
        begin(BRC_OP_norm, "rows %u cols %u members %u, %s", rows, cols, members, variants[v].name);
        the.extra_pitch = variants[v].extra_pitch;
        brc_tensor *x = tensor(INPUT, "x", members, rows, cols, unit);
        shape_rows(x, variants[v].kind);
        brc_tensor *scale = vector(PARAM, "scale", members, cols, positive),
                   *bias = vector(PARAM, "bias", members, cols, unit);
        brc_tensor *residual =
            variants[v].residual ? tensor(INPUT, "residual", members, rows, cols, unit) : NULL;
        brc_tensor *y = tensor(OUTPUT, "y", members, rows, cols, NULL);
        brc_tensor *mean = tensor(OUTPUT, "mean", members, rows, 1, NULL),
                   *rstd = tensor(OUTPUT, "rstd", members, rows, 1, NULL);
        set_floor(y, 1);
        set_floor(mean, (variants[v].kind == ROWS_SCALED ? 100 : 1) / sqrt(cols));
        brc_op_params p = {.norm = norm_params(x, scale, variants[v].relu, residual != NULL, 32)};
        finish((brc_tensor *[]){x, scale, bias, residual}, (brc_tensor *[]){y, mean, rstd}, &p);
      }
}

// mean and rstd of x, as the forward pass leaves them (in float32).
static void norm_forward(brc_tensor *x, brc_tensor *mean, brc_tensor *rstd) {
  for (uint32_t e = 0; e < x->members; e++)
    for (uint32_t r = 0; r < x->rows; r++) {
      double m = 0, variance = 0;
      for (uint32_t c = 0; c < x->cols; c++) m += *value(x, e, r, c) / x->cols;
      for (uint32_t c = 0; c < x->cols; c++) variance += pow(*value(x, e, r, c) - m, 2) / x->cols;
      *value(mean, e, r, 0) = testing_f32(m);
      *value(rstd, e, r, 0) = testing_f32(1 / sqrt(variance + 1e-6));
    }
}

static void cases_norm_backward(void) {
  static const struct {
    const char *name;
    bool relu, partial;
    row_kind kind;
    uint32_t block, extra_pitch;
  } variants[] = {{"plain", false, true, ROWS_UNIT, 32, 0},
                  {"relu", true, true, ROWS_UNIT, 32, 16},
                  {"block 8", true, true, ROWS_SCALED, 8, 0},
                  {"zero rows, no partial", true, false, ROWS_ZERO, 32, 0},
                  {"zero rows", false, true, ROWS_ZERO, 32, 0}};
  for (size_t s = 0; s < BRC_COUNT(norm_shapes); s++)
    for (uint32_t members = 1; members <= 3; members++)
      for (size_t v = 0; v < BRC_COUNT(variants); v++) {
        if (leave_out()) continue;
        const uint32_t rows = norm_shapes[s].rows, cols = norm_shapes[s].cols, block = variants[v].block;
        begin(BRC_OP_norm_backward, "rows %u cols %u members %u, %s", rows, cols, members, variants[v].name);
        the.extra_pitch = variants[v].extra_pitch;
        brc_tensor *dy = tensor(INPUT, "dy", members, rows, cols, unit),
                   *x = tensor(INPUT, "x", members, rows, cols, unit);
        shape_rows(x, variants[v].kind);
        brc_tensor *scale = vector(PARAM, "scale", members, cols, positive);
        brc_tensor *mean = tensor(INPUT, "mean", members, rows, 1, zero),
                   *rstd = tensor(INPUT, "rstd", members, rows, 1, zero);
        brc_tensor *bias = variants[v].relu ? vector(PARAM, "bias", members, cols, unit) : NULL;
        norm_forward(x, mean, rstd);
        brc_tensor *dx = tensor(OUTPUT, "dx", members, rows, cols, NULL), *partial = NULL;
        // dx is what is left of rstd g scale when its projections are taken away.
        double largest = 0;
        for (uint32_t e = 0; e < members; e++)
          for (uint32_t r = 0; r < rows; r++) largest = fmax(largest, *value(rstd, e, r, 0));
        set_floor(dx, largest);
        if (variants[v].partial) {
          uint32_t pitch = 3 * x->pitch, blocks = (rows + block - 1) / block;
          partial = tensor_at(OUTPUT, BRC_F32, "partial", members, blocks, pitch, pitch,
                              members > 1 ? blocks * pitch : 0, NULL);
          set_parts(partial, x->pitch, cols);
          set_floor(partial, 1);
          // The sum of dx cancels too, but it stands in the last part alone.
          if (largest > 100 || cols < 16) set_floor(partial, largest);
        }
        brc_op_params p = {.norm_backward = norm_params(x, scale, variants[v].relu, false, block)};
        finish((brc_tensor *[]){dy, x, mean, rstd, scale, bias}, (brc_tensor *[]){dx, partial}, &p);
      }
}

static void cases_norm_sums(void) {
  static const struct {
    uint32_t blocks, cols;
  } shapes[] = {{1, 1}, {1, 7}, {7, 31}, {8, 33}, {32, 257}, {3, 512}, {33, 64}};
  for (size_t s = 0; s < BRC_COUNT(shapes); s++)
    for (uint32_t members = 1; members <= 3; members++)
      for (int all = 0; all < 2; all++) {
        const uint32_t blocks = shapes[s].blocks, cols = shapes[s].cols, pitch = brc_pitch(cols),
                       wide = 3 * pitch;
        begin(BRC_OP_norm_sums, "blocks %u cols %u members %u, %s", blocks, cols, members,
              all ? "all" : "no dxsum");
        brc_tensor *partial = tensor_at(INPUT, BRC_F32, "partial", members, blocks, wide, wide,
                                        members > 1 ? blocks * wide : 0, unit);
        for (uint32_t e = 0; e < members; e++)  // between the parts nothing is defined
          for (uint32_t b = 0; b < blocks; b++)
            for (uint32_t c = 0; c < wide; c++)
              if (c % pitch >= cols) *value(partial, e, b, c) = NAN;
        brc_tensor *dscale = vector(GRAD, "dscale", members, cols, NULL),
                   *dbias = vector(GRAD, "dbias", members, cols, NULL);
        brc_tensor *dxsum = all ? vector(GRAD, "dxsum", members, cols, NULL) : NULL;
        for (int i = 1; i < the.count; i++) the.slots[i].floor = sqrt(blocks);
        brc_op_params p = {.norm_sums = {.members = members,
                                         .blocks = blocks,
                                         .cols = cols,
                                         .pitch = pitch,
                                         .stride_p = stride_of(dscale)}};
        finish((brc_tensor *[]){partial}, (brc_tensor *[]){dscale, dbias, dxsum}, &p);
      }
}

//------------------------ 5. Sums ---------------------------------------------
static void cases_colsum(void) {
  static const struct {
    uint32_t rows, cols;
  } shapes[] = {{1, 1}, {7, 31}, {31, 33}, {33, 257}, {257, 7}, {1024, 101}, {1025, 2}};
  for (size_t s = 0; s < BRC_COUNT(shapes); s++)
    for (uint32_t members = 1; members <= 3; members++)
      for (int loose = 0; loose < 2; loose++) {
        begin(BRC_OP_colsum, "rows %u cols %u members %u, %s", shapes[s].rows, shapes[s].cols, members,
              loose ? "loose" : "tight");
        the.extra_pitch = loose ? 16 : 0;
        the.extra_stride = loose ? 64 : 0;
        brc_tensor *x = tensor(INPUT, "x", members, shapes[s].rows, shapes[s].cols, unit);
        brc_tensor *out = vector(GRAD, "out", members, shapes[s].cols, NULL);
        set_floor(out, sqrt(shapes[s].rows));
        brc_op_params p = {.colsum = {.members = members,
                                      .rows = x->rows,
                                      .cols = x->cols,
                                      .pitch = x->pitch,
                                      .stride_x = stride_of(x),
                                      .stride_p = stride_of(out)}};
        finish((brc_tensor *[]){x}, (brc_tensor *[]){out}, &p);
      }
}

static void cases_sum_members(void) {
  static const struct { uint32_t rows, cols; } shapes[] = {{1, 1}, {7, 31}, {31, 33}, {33, 257}, {257, 7}};
  for (size_t s = 0; s < BRC_COUNT(shapes); s++)
    for (uint32_t members = 1; members <= 5; members++) {
      begin(BRC_OP_sum_members, "rows %u cols %u members %u", shapes[s].rows, shapes[s].cols, members);
      the.extra_pitch = members % 2 ? 16 : 0;
      the.extra_stride = members % 2 ? 0 : 64;
      brc_tensor *x = tensor(INPUT, "x", members, shapes[s].rows, shapes[s].cols, unit);
      the.extra_pitch = 0;
      brc_tensor *out = tensor(OUTPUT, "out", 1, shapes[s].rows, shapes[s].cols, NULL);
      set_floor(out, 1);
      brc_op_params p = {.sum_members = {.members = members,
                                         .rows = x->rows,
                                         .cols = x->cols,
                                         .pitch = x->pitch,
                                         .pitch_out = out->pitch,
                                         .stride_x = stride_of(x)}};
      finish((brc_tensor *[]){x}, (brc_tensor *[]){out}, &p);
    }
}

// Tasks at random, of which some may not occur.
static brc_tensor *random_tasks(uint32_t rows, uint32_t tasks) {
  brc_tensor *t = integers(INPUT, "task", rows, 1);
  for (uint32_t r = 0; r < rows; r++) *value(t, 0, r, 0) = testing_below(tasks);
  return t;
}

static void cases_segment_sum(void) {
  static const struct {
    uint32_t rows, cols, tasks;
  } shapes[] = {{1, 1, 1}, {7, 31, 3}, {33, 32, 50}, {257, 32, 7}, {31, 33, 1}, {1024, 32, 20}};
  for (size_t s = 0; s < BRC_COUNT(shapes); s++)
    for (int view = 0; view < 2; view++) {
      begin(BRC_OP_segment_sum, "rows %u cols %u tasks %u%s", shapes[s].rows, shapes[s].cols, shapes[s].tasks,
            view ? ", view" : "");
      brc_tensor *x = columns("x", 1, shapes[s].rows, shapes[s].cols, view != 0, unit);
      brc_tensor *task = random_tasks(shapes[s].rows, shapes[s].tasks);
      brc_tensor *out = tensor(OUTPUT, "out", 1, shapes[s].tasks, shapes[s].cols, NULL);
      set_floor(out, sqrt((double)shapes[s].rows / shapes[s].tasks + 1));
      brc_op_params p = {.segment_sum = {.rows = x->rows,
                                         .cols = x->cols,
                                         .pitch = x->pitch,
                                         .segments = shapes[s].tasks,
                                         .pitch_out = out->pitch}};
      finish((brc_tensor *[]){x, task}, (brc_tensor *[]){out}, &p);
    }
}

static void cases_reduce(void) {
  static const uint32_t rows[] = {1, 7, 33, 257, 1025};
  for (uint32_t mode = BRC_REDUCE_SUM; mode <= BRC_REDUCE_NORM; mode++)
    for (size_t s = 0; s < BRC_COUNT(rows); s++)
      for (uint32_t cols = 1; cols <= (mode == BRC_REDUCE_STATS ? 1 : 4); cols++)
        for (uint32_t members = 1; members <= 2; members++) {
          begin(BRC_OP_reduce, "mode %u rows %u cols %u members %u", mode, rows[s], cols, members);
          brc_tensor *x = tensor(INPUT, "x", members, rows[s], cols, mode == BRC_REDUCE_ROOT ? positive : unit);
          brc_tensor *out = tensor(OUTPUT, "out", 1, 1, mode == BRC_REDUCE_STATS ? 3 : cols, NULL);
          double scale = mode == BRC_REDUCE_SUM ? 1.0 / rows[s] : 1;
          if (mode == BRC_REDUCE_SUM) set_floor(out, scale * sqrt(rows[s] * members));
          // The mean of normals is small beside their extremes: on its own.
          if (mode == BRC_REDUCE_STATS) set_parts(out, 1, 1), set_floor(out, 1 / sqrt(rows[s]));
          brc_op_params p = {
              .reduce = {
                  .rows = rows[s] * members, .cols = cols, .pitch = x->pitch, .mode = mode, .scale = scale}};
          finish((brc_tensor *[]){x}, (brc_tensor *[]){out}, &p);
        }
}

//------------------------ 6. Embedding and input ------------------------------
static const struct {
  uint32_t tasks, dim;
} embed_shapes[] = {{1, 1}, {1, 32}, {7, 31}, {50, 32}, {33, 33}, {257, 7}, {3, 257}};

// Rows from 1e-2 to 1e2 of the usual size.
static double table_scale(uint32_t t) { return pow(10, (int)(t % 5) - 2); }
static brc_tensor *random_table(uint32_t tasks, uint32_t dim) {
  brc_tensor *table = tensor(PARAM, "table", 1, tasks, dim, unit);
  for (uint32_t t = 0; t < tasks; t++)
    for (uint32_t c = 0; c < dim; c++)
      *value(table, 0, t, c) = testing_f32(*value(table, 0, t, c) * table_scale(t));
  return table;
}

static void cases_embed(void) {
  for (uint32_t norm = 1; norm <= 2; norm++)
    for (size_t s = 0; s < BRC_COUNT(embed_shapes); s++) {
      begin(BRC_OP_embed, "L%u tasks %u dim %u", norm, embed_shapes[s].tasks, embed_shapes[s].dim);
      brc_tensor *table = random_table(embed_shapes[s].tasks, embed_shapes[s].dim);
      the.extra_pitch = 16;
      brc_tensor *out = tensor(OUTPUT, "out", 1, table->rows, table->cols, NULL);
      brc_op_params p = {.embed = {.rows = table->rows,
                                   .cols = table->cols,
                                   .pitch = table->pitch,
                                   .pitch_out = out->pitch,
                                   .norm = norm}};
      finish((brc_tensor *[]){table}, (brc_tensor *[]){out}, &p);
    }
}

static void cases_embed_backward(void) {
  for (uint32_t norm = 1; norm <= 2; norm++)
    for (size_t s = 0; s < BRC_COUNT(embed_shapes); s++) {
      begin(BRC_OP_embed_backward, "L%u tasks %u dim %u", norm, embed_shapes[s].tasks, embed_shapes[s].dim);
      brc_tensor *table = random_table(embed_shapes[s].tasks, embed_shapes[s].dim);
      if (table->cols > 4) *value(table, 0, 0, 2) = 0;  // L1: sign(0) = 0
      brc_tensor *out = tensor(GRAD, "out", 1, table->rows, table->cols, NULL);
      the.extra_pitch = 16;
      brc_tensor *d = tensor(INPUT, "d", 1, table->rows, table->cols, unit);
      // A difference of two parts, each about |d| / |row| in size.
      double largest = 0;
      for (uint32_t t = 0; t < table->rows; t++) {
        double length = 0;
        for (uint32_t c = 0; c < table->cols; c++)
          length += norm == 1 ? fabs(*value(table, 0, t, c)) : pow(*value(table, 0, t, c), 2);
        largest = fmax(largest, 1 / (norm == 1 ? length : sqrt(length)));
      }
      set_floor(out, largest);
      brc_op_params p = {.embed_backward = {.rows = table->rows,
                                            .cols = table->cols,
                                            .pitch = table->pitch,
                                            .pitch_out = d->pitch,
                                            .norm = norm}};
      finish((brc_tensor *[]){table, d}, (brc_tensor *[]){out}, &p);
    }
}

static void cases_concat_input(void) {
  static const struct {
    uint32_t rows, obs, action, tasks, dim;
  } shapes[] = {{1, 1, 1, 1, 1},      {7, 31, 0, 0, 0},    {33, 17, 6, 0, 0},   {31, 7, 0, 3, 32},
                {257, 33, 7, 50, 32}, {5, 223, 38, 3, 33}, {1024, 24, 6, 5, 32}};
  for (size_t s = 0; s < BRC_COUNT(shapes); s++)
    for (int loose = 0; loose < 2; loose++) {
      const uint32_t rows = shapes[s].rows;
      begin(BRC_OP_concat_input, "rows %u obs %u action %u tasks %u dim %u", rows, shapes[s].obs,
            shapes[s].action, shapes[s].tasks, shapes[s].dim);
      the.extra_pitch = loose ? 16 : 0;
      brc_tensor *obs = tensor(INPUT, "obs", 1, rows, shapes[s].obs, unit);
      brc_tensor *action = shapes[s].action ? tensor(INPUT, "action", 1, rows, shapes[s].action, unit) : NULL;
      brc_tensor *emb = shapes[s].dim ? tensor(INPUT, "emb", 1, shapes[s].tasks, shapes[s].dim, unit) : NULL;
      brc_tensor *task = emb ? random_tasks(rows, shapes[s].tasks) : NULL;
      brc_tensor *x = tensor(OUTPUT, "x", 1, rows, shapes[s].obs + shapes[s].action + shapes[s].dim, NULL);
      brc_op_params p = {.concat_input = {.rows = rows,
                                          .pitch = x->pitch,
                                          .cols_obs = obs->cols,
                                          .pitch_obs = obs->pitch,
                                          .cols_action = shapes[s].action,
                                          .pitch_action = action ? action->pitch : 0,
                                          .cols_emb = shapes[s].dim,
                                          .pitch_emb = emb ? emb->pitch : 0}};
      finish((brc_tensor *[]){obs, action, emb, task}, (brc_tensor *[]){x}, &p);
    }
}

// The whole table, its first part, its last: rows of the batch that lie elsewhere keep what was there.
static void cases_gather_batch(void) {
  static const struct {
    uint32_t rows, table, first, all, obs, action, extra;
  } shapes[] = {{1, 1, 0, 1, 1, 1, 1},        {7, 9, 0, 9, 31, 5, 3},          {33, 20, 0, 45, 17, 6, 4},
                {33, 25, 20, 45, 17, 6, 4},   {257, 100, 300, 900, 67, 17, 9}, {5, 3, 0, 3, 223, 38, 5},
                {1024, 500, 0, 700, 24, 6, 7}};
  for (size_t s = 0; s < BRC_COUNT(shapes); s++)
    for (int loose = 0; loose < 2; loose++) {
      const uint32_t rows = shapes[s].rows, obs_cols = shapes[s].obs, action_cols = shapes[s].action;
      begin(BRC_OP_gather_batch, "rows %u table %u from %u of %u obs %u action %u", rows, shapes[s].table,
            shapes[s].first, shapes[s].all, obs_cols, action_cols);
      the.extra_pitch = loose ? 16 : 0;
      brc_tensor *table = tensor(INPUT, "table", 1, shapes[s].table, obs_cols + action_cols, unit);
      brc_tensor *extra = tensor(INPUT, "extra", 1, shapes[s].extra, obs_cols, unit);
      brc_tensor *index = tensor_at(INPUT, BRC_I32, "index", 1, rows, 2, 2, 0, zero);
      for (uint32_t r = 0; r < rows; r++) {
        *value(index, 0, r, 0) = testing_below(shapes[s].all);
        *value(index, 0, r, 1) =
            testing_below(4) ? testing_below(shapes[s].all) : -1.0 - testing_below(shapes[s].extra);
      }
      brc_tensor *obs = tensor(OUTPUT, "obs", 1, rows, obs_cols, NULL);
      brc_tensor *action = tensor(OUTPUT, "action", 1, rows, action_cols, NULL);
      brc_tensor *next_obs = tensor(OUTPUT, "next_obs", 1, rows, obs_cols, NULL);
      brc_op_params p = {.gather_batch = {.rows = rows,
                                          .pitch_table = table->pitch,
                                          .first = shapes[s].first,
                                          .count = shapes[s].table,
                                          .cols_obs = obs_cols,
                                          .pitch_obs = obs->pitch,
                                          .cols_action = action_cols,
                                          .pitch_action = action->pitch}};
      finish((brc_tensor *[]){table, extra, index}, (brc_tensor *[]){obs, action, next_obs}, &p);
    }
}

//------------------------ 7. Policy -------------------------------------------
static const struct {
  uint32_t rows, actions;
} policy_shapes[] = {{1, 1}, {7, 31}, {33, 6}, {257, 7}, {31, 33}, {5, 257}, {1024, 38}};

// Heads and means of a network, or driven to their ends: heads at +-30, means at +-20.
static double wild_head(void) { return testing_below(3) ? testing_normal() : testing_below(2) ? 30 : -30; }
static double wild_mean(void) { return testing_below(3) ? testing_normal() : testing_uniform(-20, 20); }

static struct brc_tanh_normal_params policy_params(const brc_tensor *mean, const brc_tensor *head,
                                                   const brc_tensor *eps, const brc_tensor *action,
                                                   double tau) {
  return (struct brc_tanh_normal_params){.rows = mean->rows,
                                         .cols = mean->cols,
                                         .pitch_mean = mean->pitch,
                                         .pitch_head = head->pitch,
                                         .pitch_eps = eps ? eps->pitch : 0,
                                         .pitch_action = action->pitch,
                                         .tau = tau,
                                         .log_std_min = -10,
                                         .log_std_max = 2};
}

static void cases_tanh_normal(void) {
  static const struct {
    const char *name;
    bool wild, eps, logp;
    double tau;
  } variants[] = {{"sample", false, true, true, 1},
                  {"wild", true, true, true, 1},
                  {"no logp", true, true, false, 1},
                  {"mode", false, false, false, 0},
                  {"half", false, true, false, 0.5}};
  for (size_t s = 0; s < BRC_COUNT(policy_shapes); s++)
    for (size_t v = 0; v < BRC_COUNT(variants); v++) {
      const uint32_t rows = policy_shapes[s].rows, actions = policy_shapes[s].actions;
      begin(BRC_OP_tanh_normal, "rows %u actions %u, %s", rows, actions, variants[v].name);
      the.extra_pitch = v % 2 ? 16 : 0;
      brc_tensor *mean = tensor(INPUT, "mean", 1, rows, actions, variants[v].wild ? wild_mean : unit);
      the.extra_pitch = 0;
      brc_tensor *head = tensor(INPUT, "head", 1, rows, actions, variants[v].wild ? wild_head : unit);
      brc_tensor *eps = variants[v].eps ? tensor(INPUT, "eps", 1, rows, actions, unit) : NULL;
      the.extra_pitch = 32;
      brc_tensor *action = tensor(OUTPUT, "action", 1, rows, actions, NULL);
      brc_tensor *logp = variants[v].logp ? tensor(OUTPUT, "logp", 1, rows, 1, NULL) : NULL;
      set_floor(action,
                variants[v].wild ? 8 : 1);  // u = mean + std eps cancels where std is e² and the mean far out
      if (logp) set_floor(logp, sqrt(actions));
      brc_op_params p = {.tanh_normal = policy_params(mean, head, eps, action, variants[v].tau)};
      finish((brc_tensor *[]){mean, head, eps}, (brc_tensor *[]){action, logp}, &p);
    }
}

static void cases_tanh_normal_backward(void) {
  for (size_t s = 0; s < BRC_COUNT(policy_shapes); s++)
    for (int wild = 0; wild < 2; wild++) {
      const uint32_t rows = policy_shapes[s].rows, actions = policy_shapes[s].actions;
      begin(BRC_OP_tanh_normal_backward, "rows %u actions %u%s", rows, actions, wild ? ", wild" : "");
      // dmean has the pitch of mean, dhead that of head, da that of the action.
      the.extra_pitch = wild ? 16 : 0;
      brc_tensor *mean = tensor(INPUT, "mean", 1, rows, actions, wild ? wild_mean : unit);
      brc_tensor *dmean = tensor(OUTPUT, "dmean", 1, rows, actions, NULL);
      the.extra_pitch = 0;
      brc_tensor *head = tensor(INPUT, "head", 1, rows, actions, wild ? wild_head : unit);
      brc_tensor *dhead = tensor(OUTPUT, "dhead", 1, rows, actions, NULL);
      brc_tensor *eps = tensor(INPUT, "eps", 1, rows, actions, unit);
      the.extra_pitch = wild ? 32 : 0;
      brc_tensor *da = tensor(INPUT, "da", 1, rows, actions, unit),
                 *dlogp = tensor(INPUT, "dlogp", 1, rows, 1, unit);
      set_floor(dmean, 1);
      set_floor(dhead, 6);  // half of log-std's range times order one
      brc_op_params p = {.tanh_normal_backward = policy_params(mean, head, eps, da, 1)};
      finish((brc_tensor *[]){mean, head, eps, da, dlogp}, (brc_tensor *[]){dmean, dhead}, &p);
    }
}

static double three(void) { return testing_f32(3 * testing_normal()); }

static void cases_policy_loss(void) {
  static const uint32_t rows[] = {1, 7, 33, 257, 1024};
  for (size_t s = 0; s < BRC_COUNT(rows); s++)
    for (int gradient = 0; gradient < 2; gradient++) {
      begin(BRC_OP_policy_loss, "rows %u%s", rows[s], gradient ? "" : ", no gradient");
      brc_tensor *logp = tensor(INPUT, "logp", 1, rows[s], 1, three),
                 *q = tensor(INPUT, "q", 1, rows[s], 1, three);
      brc_tensor *scalars = scalars_with(BRC_SCALAR_ALPHA, 0.3);
      brc_tensor *stats = tensor(OUTPUT, "stats", 1, 1, 2, NULL);
      brc_tensor *dlogp = gradient ? tensor(OUTPUT, "dlogp", 1, rows[s], 1, NULL) : NULL;
      set_parts(stats, 1, 1);
      set_floor(stats, 3 / sqrt(rows[s]));
      brc_op_params p = {.policy_loss = {.rows = rows[s]}};
      finish((brc_tensor *[]){logp, q, scalars}, (brc_tensor *[]){stats, dlogp}, &p);
    }
}

//------------------------ 8. Categorical values -------------------------------
static const uint32_t atom_counts[] = {2, 3, 7, 31, 33, 51, 64, 65, 101, 128, 129};
static const uint32_t categorical_rows[] = {1, 7, 33, 257};

// Kinds of logits: as a network makes them, sharp, huge, and with atoms that are ruled out.
enum { LOGITS_UNIT, LOGITS_SHARP, LOGITS_HUGE, LOGITS_OUT, LOGITS_KINDS };
static const char *const logits_names[] = {"unit", "sharp", "huge", "ruled out"};
static brc_tensor *random_logits(uint32_t members, uint32_t rows, uint32_t atoms, int kind) {
  static const double scale[] = {1, 30, 1e4, 1};
  brc_tensor *t = tensor(INPUT, "logits", members, rows, atoms, unit);
  for (uint32_t e = 0; e < members; e++)
    for (uint32_t r = 0; r < rows; r++)
      for (uint32_t c = 0; c < atoms; c++) {
        double *x = value(t, e, r, c);
        *x = testing_f32(*x * scale[kind]);
        if (kind == LOGITS_OUT && c % 3 == 1) *x = testing_f32(-1e30);
        if (kind == LOGITS_OUT && r % 5 == 4) *x = testing_f32(-1e30);  // all of them: a uniform distribution
      }
  return t;
}

static struct brc_categorical_params categorical_params(const brc_tensor *logits, const brc_tensor *target,
                                                        double discount, double scale) {
  return (struct brc_categorical_params){.members = logits->members,
                                         .rows = logits->rows,
                                         .atoms = logits->cols,
                                         .pitch = logits->pitch,
                                         .stride = stride_of(logits),
                                         .pitch_target = target ? target->pitch : 0,
                                         .v_max = 10,
                                         .discount = discount,
                                         .scale = scale};
}

// Each runs `one` for many shapes, layouts and kinds of logits.
static void each_categorical(brc_op_kind kind,
                             void (*one)(uint32_t members, uint32_t rows, uint32_t atoms, int logits)) {
  for (size_t a = 0; a < BRC_COUNT(atom_counts); a++)
    for (size_t s = 0; s < BRC_COUNT(categorical_rows); s++)
      for (int logits = 0; logits < LOGITS_KINDS; logits++) {
        if (leave_out()) continue;
        const uint32_t members = 1 + testing_below(3), rows = categorical_rows[s], atoms = atom_counts[a];
        begin(kind, "members %u rows %u atoms %u, %s logits", members, rows, atoms, logits_names[logits]);
        the.extra_pitch = testing_below(2) ? 16 : 0;
        the.extra_stride = testing_below(4) == 0 ? 64 : 0;
        one(members, rows, atoms, logits);
      }
}

static void one_categorical_target(uint32_t members, uint32_t rows, uint32_t atoms, int kind) {
  // In every third case all atoms land on atoms: discount 1, no entropy, rewards of whole atoms.
  const bool exact = rows % 3 == 0;
  const double dz = 20.0 / (atoms - 1);
  brc_tensor *logits = random_logits(members, rows, atoms, kind);
  brc_tensor *reward = tensor(INPUT, "reward", 1, rows, 1, unit),
             *mask = tensor(INPUT, "mask", 1, rows, 1, zero);
  brc_tensor *logp = tensor(INPUT, "logp", 1, rows, 1, three), *scalars = scalars_with(BRC_SCALAR_ALPHA, 0.1);
  for (uint32_t r = 0; r < rows; r++) {
    static const double edges[] = {0, 10, -10, 1000, -1000, 5, -5, 1e-6, -1e-6, 9.999, -9.999};
    double *x = value(reward, 0, r, 0);
    *value(mask, 0, r, 0) = r % 4 != 1;
    if (r % 3 == 1) *x = testing_f32(edges[testing_below(BRC_COUNT(edges))]);
    if (!exact) continue;
    *x = testing_f32(dz * ((int)(r % 7) - 3));
    *value(logp, 0, r, 0) = 0;
  }
  the.extra_pitch = rows % 2 ? 0 : 32;
  brc_tensor *target = tensor(OUTPUT, "target", 1, rows, atoms, NULL),
             *q = tensor(OUTPUT, "q", 1, rows, 1, NULL);
  set_floor(q, 1);
  brc_op_params p = {.categorical_target = categorical_params(logits, target, exact ? 1 : 0.99, 1)};
  finish((brc_tensor *[]){logits, reward, mask, logp, scalars}, (brc_tensor *[]){target, q}, &p);
}
static void cases_categorical_target(void) {
  each_categorical(BRC_OP_categorical_target, one_categorical_target);
}

static void one_cross_entropy(uint32_t members, uint32_t rows, uint32_t atoms, int kind) {
  brc_tensor *logits = random_logits(members, rows, atoms, kind);
  const uint32_t loose = the.extra_pitch;
  the.extra_pitch = 16;
  brc_tensor *target = tensor(INPUT, "target", 1, rows, atoms, positive);
  double largest = 0;
  for (uint32_t r = 0; r < rows; r++) {
    double sum = 0;
    for (uint32_t c = 0; c < atoms; c++) {
      double *x = value(target, 0, r, c);
      *x = pow(*x, 6);
      if (r % 4 == 3) *x = c == r % atoms;  // all on one atom
      if (kind == LOGITS_OUT && c % 3 == 1 && r % 5 != 4) *x = 0;
      sum += *x;
    }
    for (uint32_t c = 0; c < atoms; c++) {
      double *x = value(target, 0, r, c);
      *x = sum > 0 ? testing_f32(*x / sum) : c == 0;
      largest = fmax(largest, *x);
    }
  }
  the.extra_pitch = loose;
  const double scale = 1.0 / rows;
  brc_tensor *loss = tensor(OUTPUT, "loss", members, rows, 1, NULL);
  brc_tensor *dlogits = rows == 7 ? NULL : tensor(OUTPUT, "dlogits", members, rows, atoms, NULL);
  set_floor(loss, 1);
  if (dlogits) set_floor(dlogits, scale * largest);  // a difference of probabilities
  brc_op_params p = {.cross_entropy = categorical_params(logits, target, 0, scale)};
  finish((brc_tensor *[]){logits, target}, (brc_tensor *[]){loss, dlogits}, &p);
}
static void cases_cross_entropy(void) { each_categorical(BRC_OP_cross_entropy, one_cross_entropy); }

static void one_expected_value(uint32_t members, uint32_t rows, uint32_t atoms, int kind) {
  brc_tensor *logits = random_logits(members, rows, atoms, kind);
  const double scale = -1.0 / rows;
  brc_tensor *q = tensor(OUTPUT, "q", 1, rows, 1, NULL);
  brc_tensor *dlogits = rows == 7 ? NULL : tensor(OUTPUT, "dlogits", members, rows, atoms, NULL);
  set_floor(q, 1);
  if (dlogits) set_floor(dlogits, fabs(scale) / members);  // sharp distributions: z - q cancels
  brc_op_params p = {.expected_value = categorical_params(logits, NULL, 0, scale)};
  finish((brc_tensor *[]){logits}, (brc_tensor *[]){q, dlogits}, &p);
}
static void cases_expected_value(void) { each_categorical(BRC_OP_expected_value, one_expected_value); }

//------------------------ 9. Optimisers, scalars, noise -----------------------
static double small(void) { return testing_below(8) ? testing_f32(1e-2 * testing_normal()) : 0; }
static double small_square(void) { return testing_below(8) ? testing_f32(1e-4 * testing_uniform(0.01, 1)) : 0; }

static void cases_adamw(void) {
  static const struct {
    uint32_t n, block;
  } shapes[] = {{1, 4096},    {7, 4096},     {257, 4096},  {4096, 4096},
                {4097, 4096}, {10007, 4096}, {3000, 1024}, {33, 1024}};
  static const struct {
    const char *name;
    bool target, partial;
    double count;
  } variants[] = {{"first step", true, true, 1},
                  {"later", true, true, 25},
                  {"no target", false, true, 1000},
                  {"nothing optional", false, false, 3}};
  for (size_t s = 0; s < BRC_COUNT(shapes); s++)
    for (size_t v = 0; v < BRC_COUNT(variants); v++) {
      const uint32_t n = shapes[s].n, block = shapes[s].block,
                     c1 = v % 2 ? BRC_SCALAR_ACTOR_C1 : BRC_SCALAR_CRITIC_C1;
      begin(BRC_OP_adamw, "n %u block %u, %s", n, block, variants[v].name);
      const bool first = variants[v].count == 1;
      brc_tensor *grad = tensor(PARAM, "grad", 1, 1, n, small), *param = tensor(UPDATE, "p", 1, 1, n, unit);
      brc_tensor *m = tensor(UPDATE, "m", 1, 1, n, first ? zero : small),
                 *sq = tensor(UPDATE, "v", 1, 1, n, first ? zero : small_square);
      brc_tensor *target = variants[v].target ? tensor(UPDATE, "target", 1, 1, n, unit) : NULL;
      brc_tensor *scalars = scalars_with((int)c1, 1 - pow(0.9, variants[v].count));
      *value(scalars, 0, 0, c1 + 1) = testing_f32(1 - pow(0.999, variants[v].count));
      brc_tensor *partial =
          variants[v].partial ? tensor(OUTPUT, "partial", 1, (n + block - 1) / block, 2, NULL) : NULL;
      if (partial) set_parts(partial, 1, 1);
      set_floor(m, 1e-2);
      set_floor(param, 0.1);
      if (target) set_floor(target, 0.1);
      brc_op_params p = {.adamw = {.n = n,
                                   .block = block,
                                   .c1 = c1,
                                   .c2 = c1 + 1,
                                   .lr = 3e-4,
                                   .beta1 = 0.9,
                                   .beta2 = 0.999,
                                   .one_minus_beta1 = 1 - 0.9,
                                   .one_minus_beta2 = 1 - 0.999,
                                   .eps = 1e-8,
                                   .decay = 1e-4,
                                   .tau = 0.005,
                                   .one_minus_tau = 1 - 0.005}};
      finish((brc_tensor *[]){grad, param, m, sq, target, scalars}, (brc_tensor *[]){partial}, &p);
    }
}

static void cases_temperature(void) {
  for (int s = 0; s < 12; s++) {
    const double count = s % 3 == 0 ? 1 : 10 * s, alpha = testing_f32(exp(testing_uniform(-5, 1)));
    begin(BRC_OP_temperature, "alpha %g count %g", alpha, count);
    brc_tensor *log_alpha = tensor(UPDATE, "log_alpha", 1, 1, 1, NULL),
               *m = tensor(UPDATE, "m", 1, 1, 1, count == 1 ? zero : small);
    brc_tensor *v = tensor(UPDATE, "v", 1, 1, 1, count == 1 ? zero : small_square),
               *entropy = tensor(INPUT, "entropy", 1, 1, 1, three);
    *value(log_alpha, 0, 0, 0) = testing_f32(log(alpha));
    brc_tensor *scalars = scalars_with(BRC_SCALAR_ALPHA, alpha);
    *value(scalars, 0, 0, BRC_SCALAR_TEMPERATURE_C1) = testing_f32(1 - pow(0.5, count));
    *value(scalars, 0, 0, BRC_SCALAR_TEMPERATURE_C2) = testing_f32(1 - pow(0.999, count));
    brc_tensor *stats = tensor(OUTPUT, "stats", 1, 1, 3, NULL);
    set_parts(stats, 1, 1);
    // m adds two numbers that may cancel; log_alpha may be near 0.
    set_floor(m, 0.5 * fmax(fabs(*value(m, 0, 0, 0)), alpha * fabs(*value(entropy, 0, 0, 0) + 3)));
    set_floor(log_alpha, 0.1);
    brc_op_params p = {.temperature = {.c1 = BRC_SCALAR_TEMPERATURE_C1,
                                       .c2 = BRC_SCALAR_TEMPERATURE_C2,
                                       .lr = 3e-4,
                                       .beta1 = 0.5,
                                       .beta2 = 0.999,
                                       .one_minus_beta1 = 0.5,
                                       .one_minus_beta2 = 1 - 0.999,
                                       .eps = 1e-8,
                                       .decay = s % 2 ? 1e-4 : 0,
                                       .target_entropy = -3}};
    finish((brc_tensor *[]){log_alpha, m, v, scalars, entropy}, (brc_tensor *[]){stats}, &p);
  }
}

static void cases_advance_scalars(void) {
  static const int32_t counts[] = {0, 1, 2, 6, 24, 99, 999, 1000, 65535, 1000000, 16777217, 2147483000};
  for (size_t s = 0; s < BRC_COUNT(counts); s++) {
    begin(BRC_OP_advance_scalars, "count %d", counts[s]);
    brc_tensor *count = integers(UPDATE, "counts", 1, BRC_COUNT_COUNT),
               *log_alpha = tensor(PARAM, "log_alpha", 1, 1, 1, unit);
    for (uint32_t c = 0; c < BRC_COUNT_COUNT; c++) *value(count, 0, 0, c) = counts[(s + c) % BRC_COUNT(counts)];
    *value(log_alpha, 0, 0, 0) = testing_uniform(-10, 5);
    brc_tensor *scalars = tensor(OUTPUT, "scalars", 1, 1, BRC_SCALAR_COUNT, NULL);
    slot_of(scalars)->skip_from = BRC_SCALAR_TEMPERATURE_C2 + 1;  // one is spare
    set_parts(scalars, 1, 1);
    set_parts(count, 1, 1);
    brc_op_params p = {.advance_scalars = {.critic_beta1 = 0.9,
                                           .critic_beta2 = 0.999,
                                           .actor_beta1 = 0.95,
                                           .actor_beta2 = 0.99,
                                           .temperature_beta1 = 0.5,
                                           .temperature_beta2 = 0.999,
                                           .critic_1m1 = 1 - 0.9,
                                           .critic_1m2 = 1 - 0.999,
                                           .actor_1m1 = 1 - 0.95,
                                           .actor_1m2 = 1 - 0.99,
                                           .temperature_1m1 = 0.5,
                                           .temperature_1m2 = 1 - 0.999}};
    finish((brc_tensor *[]){count, log_alpha}, (brc_tensor *[]){scalars}, &p);
  }
}

static void cases_normal(void) {
  static const struct {
    uint32_t rows, cols, stream;
    int32_t step;
    uint32_t seed_lo, seed_hi;
  } shapes[] = {{1, 1, 0, 0, 0, 0},         {7, 31, 1, 1, 42, 0},
                {33, 6, 0, 123456, 1, 7},   {257, 7, 2, 2147483647, 0xffffffffu, 0xffffffffu},
                {31, 33, 3, 1000000, 0, 1}, {1024, 38, 1, 5, 0x12345678u, 0x9abcdef0u},
                {1, 257, 5, 17, 3, 3},      {500, 500, 0, 9, 11, 0}};
  for (size_t s = 0; s < BRC_COUNT(shapes); s++) {
    begin(BRC_OP_normal, "rows %u cols %u stream %u step %d", shapes[s].rows, shapes[s].cols, shapes[s].stream,
          shapes[s].step);
    the.extra_pitch = s % 2 ? 16 : 0;
    brc_tensor *step = integers(INPUT, "step", 1, 1),
               *z = tensor(OUTPUT, "z", 1, shapes[s].rows, shapes[s].cols, NULL);
    *value(step, 0, 0, 0) = shapes[s].step;
    set_floor(z, 1);
    brc_op_params p = {.normal = {.rows = z->rows,
                                  .cols = z->cols,
                                  .pitch = z->pitch,
                                  .stream = shapes[s].stream,
                                  .seed_lo = shapes[s].seed_lo,
                                  .seed_hi = shapes[s].seed_hi}};
    finish((brc_tensor *[]){step}, (brc_tensor *[]){z}, &p);
  }
}

//------------------------ 10. The walk ----------------------------------------
// An op without cases does not compile.
#define OP(name, ...) [BRC_OP_##name] = cases_##name,
static void (*const cases[BRC_OP_COUNT])(void) = {BRC_OPS(OP)};
#undef OP

static void test_op(void **state) {
  const brc_op_kind kind = (brc_op_kind)(intptr_t)*state;
  testing_device *devices;
  size_t count = testing_devices(&devices);
  testing_reseed(1000 + kind);
  failures = 0;
  nan_expected = 0;
  cases[kind]();
  if (cases_of[kind] == 0) fail_msg("%s: no shapes tested", brc_op_infos[kind].name);
  if (nan_expected == 0 && kind != BRC_OP_normal) fail_msg("%s: no NaN came out", brc_op_infos[kind].name);
  if (count == 0) fail_msg("%s: no device to compare with the oracle", brc_op_infos[kind].name);
  for (size_t k = 0; k < count; k++) {
    if (kind > BRC_OP_dense_dw && devices[k].provider > 0) continue;
    const tally *t = &tallies[kind][k];
    printf("  %-22s %-28s %4llu cases %9llu compared, worst %.1e, mean square %.1e (bound %.0e)\n",
           brc_op_infos[kind].name, devices[k].label, (unsigned long long)cases_of[kind],
           (unsigned long long)t->count, t->worst, t->rms, brc_op_infos[kind].worst);
    if (t->count == 0) fail_msg("%s: nothing compared on %s", brc_op_infos[kind].name, devices[k].label);
  }
  if (failures) fail_msg("%s: %d results are wrong", brc_op_infos[kind].name, failures);
}

// The float version of parameters: the uint fields, then every real rounded.
static void test_params32(void **state) {
  (void)state;
  const brc_op_params p = {.adamw = {.n = 5,
                                     .block = 4096,
                                     .c1 = 1,
                                     .c2 = 2,
                                     .lr = 3e-4,
                                     .beta1 = 0.9,
                                     .beta2 = 0.999,
                                     .tau = 0.005,
                                     .one_minus_tau = 0.995}};
  brc_op_params32 f;
  assert_int_equal(brc_op_params_to32(BRC_OP_adamw, &p, &f), sizeof f.adamw);
  assert_true(f.adamw.n == 5 && f.adamw.block == 4096 && f.adamw.c1 == 1 && f.adamw.c2 == 2);
  assert_true(f.adamw.lr == 3e-4f && f.adamw.beta2 == 0.999f && f.adamw.eps == 0 &&
              f.adamw.one_minus_tau == 0.995f);
  const brc_op_params c = {
      .categorical_target = {.atoms = 101, .pitch_target = 112, .v_max = 10, .discount = 0.99, .scale = 2}};
  assert_int_equal(brc_op_params_to32(BRC_OP_categorical_target, &c, &f), sizeof f.categorical_target);
  assert_true(f.categorical_target.atoms == 101 && f.categorical_target.pitch_target == 112);
  assert_true(f.categorical_target.v_max == 10 && f.categorical_target.discount == 0.99f &&
              f.categorical_target.scale == 2);
}

// base/philox.h promises the same bits on every device.
static void test_normal_bits(void **state) {
  (void)state;
  enum { ROWS = 37, COLS = 45, STEP = 1234567 };
  static double z[ROWS * COLS];
  testing_device *devices;
  const size_t count = testing_devices(&devices);
  for (size_t k = 0; k < count; k++) {
    if (devices[k].provider > 0) continue;
    brc_program *p;
    brc_storage s = {.name = "step", .elements = 1, .dtype = BRC_I32},
                out = {.name = "z", .elements = ROWS * COLS};
    assert_int_equal(brc_program_create(&p, "normal"), BRC_OK);
    brc_tensor *step = brc_external(p, &s, "step", 0, 1, 1, 1, 1, 0),
               *t = brc_external(p, &out, "z", 0, 1, ROWS, COLS, COLS, 0);
    const brc_op_params q = {
        .normal = {.rows = ROWS, .cols = COLS, .pitch = COLS, .stream = 3, .seed_lo = 42, .seed_hi = 7}};
    brc_op_add(p, BRC_OP_normal, (brc_tensor *[]){step}, (brc_tensor *[]){t}, &q);
    assert_int_equal(brc_program_finish(p), BRC_OK);
    assert_int_equal(testing_storage_write(devices[k].device, &s, (double[]){STEP}), BRC_OK);
    assert_int_equal(testing_storage_write(devices[k].device, &out, z), BRC_OK);
    assert_int_equal(testing_run(devices[k].device, p), BRC_OK);
    assert_int_equal(testing_storage_read(devices[k].device, &out, z), BRC_OK);
    for (uint32_t i = 0; i < ROWS * COLS; i++) {
      const float want = brc_normal_at(i, STEP, 0, 3, 42, 7);
      if (z[i] != want) fail_msg("%s: number %u is %a, not %a", devices[k].label, i, z[i], (double)want);
    }
    testing_storage_release(devices[k].device, &s);
    testing_storage_release(devices[k].device, &out);
    brc_program_free(p);
  }
}

static bool on_matrix_units(void) {
  testing_device *devices;
  const size_t count = testing_devices(&devices);
  for (size_t k = 0; k < count; k++)
    if (strstr(devices[k].label, "/coopmat")) return true;
  return false;
}

// Names of ops as arguments: only these.
int main(int argc, char **argv) {
  struct CMUnitTest tests[BRC_OP_COUNT + 2];
  size_t count = 0;
  for (int i = 0; i < BRC_OP_COUNT; i++) {
    bool wanted = argc == 1;
    for (int a = 1; a < argc; a++) wanted |= strcmp(argv[a], brc_op_infos[i].name) == 0;
    if (wanted)
      tests[count++] = (struct CMUnitTest){
          .name = brc_op_infos[i].name, .test_func = test_op, .initial_state = (void *)(intptr_t)i};
  }
  if (argc == 1) tests[count++] = (struct CMUnitTest){.name = "params32", .test_func = test_params32};
  if (argc == 1) tests[count++] = (struct CMUnitTest){.name = "normal bits", .test_func = test_normal_bits};
  setenv("BRC_CUT_OPS", "1", 0);            // by members, however small they are, where a backend does
  setenv("BRC_EMULATE_PRECISION", "1", 0);  // where a device has no matrix units for them
  setenv("BRC_EMULATE_MMA", "1", 0);        // and the kernels of NVIDIA's, but for their instructions
  int failed = _cmocka_run_group_tests("ops", tests, count, NULL, NULL);
  for (int i = 0; i < BRC_PRECISION_COUNT; i++)
    if (!precision_tested[i]) testing_skip("products in %s: no device offers them", brc_precision_names[i]);
  if (!on_matrix_units())
    testing_skip("products on matrix units: no Vulkan device has them (tools/newer_mesa run has)");
  return testing_finish(failed || count == 0);
}
