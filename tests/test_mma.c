// NVIDIA's tensor cores, emulated on OpenCL devices that have none: the check of products, what it refuses, its memory, and updates.
#include "check.h"
#include "testing.h"
#ifdef BRC_HAVE_OPENCL
#include "backends/opencl/opencl.h"
#include "backends/product_check.h"
#include "train/train.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static brc_device *device_of(const char *provider, const char *cache) {
  brc_device *d;
  check_ok(brc_backend_opencl.open(&d, 0, &(brc_device_options){.gemm = provider, .cache_dir = cache}));
  return d;
}
static const struct ocl_mma *mma_of(const brc_device *d) { return &((const ocl_device *)d)->mma; }

enum { ALL = (1u << BRC_PRECISION_COUNT) - 1, FP32 = 1u << BRC_FP32 };

// A device's first opening checks every tile, layout and precision; the next takes the verdict, and builds nothing until it is used.
// Elsewhere, and without asking for it, there is no such provider.
static void test_trust(void **state) {
  (void)state;
  const char *cache = check_path("cache");
  brc_device *d = device_of("mma", cache);
  assert_string_equal(d->info.note, "");
  assert_int_equal(d->info.precisions, ALL);
  brc_device_close(d);
  d = device_of("mma", cache);
  assert_int_equal(d->info.precisions, ALL);
  assert_null(mma_of(d)->programs[0][BRC_BF16]);
  brc_device_close(d);
  unsetenv("BRC_EMULATE_MMA");
  check_fails(BRC_E_NOT_FOUND, "GEMM provider 'mma' cannot run",
              brc_backend_opencl.open(&d, 0, &(brc_device_options){.gemm = "mma", .cache_dir = cache}));
  setenv("BRC_EMULATE_MMA", "1", 1);
}

// Wrong products are refused by name, what is left goes on, and the refusal is remembered.
static void test_refused(void **state) {
  (void)state;
  setenv("BRC_EMULATE_MMA", "wrong", 1);
  for (int again = 0; again < 2; again++) {
    brc_device *d = device_of("mma", check_path("cache"));
    printf("  %s\n", d->info.note);
    assert_int_equal(d->info.precisions, FP32);
    assert_non_null(strstr(d->info.note, "mma refused for tf32: nn "));
    assert_non_null(strstr(d->info.note, "mma refused for bf16: "));
    check_ok(brc_check_products(d, BRC_FP32, 40, 50, 60, 2));
    check_fails(BRC_E_UNSUPPORTED, "has no products in bf16", brc_check_products(d, BRC_BF16, 40, 50, 60, 2));
    brc_device_close(d);
  }
  setenv("BRC_EMULATE_MMA", "1", 1);
}

// A Hopper's unit has small tiles alone, where wgmma has large ones; where wgmma is refused, all.
static void test_hopper(void **state) {
  (void)state;
  enum { WGMMA_LARGE = 1, UNIT_LARGE = 4, UNIT_SMALL = 6 };  // of mma.c's tiles
  for (int wrong = 0; wrong < 2; wrong++) {
    setenv("BRC_EMULATE_MMA", wrong ? "hopper-wrong" : "hopper", 1);
    for (int again = 0; again < 2; again++) {
      brc_device *d;
      check_ok(brc_backend_opencl.open(
          &d, 0,
          &(brc_device_options){
              .gemm = "mma", .cache_dir = check_path("cache"), .precisions = 1u << BRC_BF16}));
      assert_int_equal(d->info.precisions, FP32 | 1u << BRC_BF16);
      assert_true(wrong ? strstr(d->info.note, "wgmma refused for bf16: nn ") == d->info.note : !*d->info.note);
      static const uint32_t tiles[] = {WGMMA_LARGE, UNIT_LARGE, UNIT_SMALL};
      for (size_t i = 0; i < BRC_COUNT(tiles); i++) {
        const ocl_gemm g = {.p.precision = BRC_BF16, .tile = tiles[i]};
        assert_int_equal(ocl_mma_takes((const ocl_device *)d, &g),
                         tiles[i] == UNIT_SMALL || (tiles[i] == UNIT_LARGE) == wrong);
      }
      check_ok(brc_check_products(d, BRC_BF16, 300, 200, 70, 2));
      check_ok(brc_check_products(d, BRC_BF16, 40, 30, 70, 2));
      brc_device_close(d);
    }
  }
  setenv("BRC_EMULATE_MMA", "1", 1);
}

// Shapes by the table's own choice of tiles and parts of k, one after the other on one device.
static void test_shapes(void **state) {
  (void)state;
  static const uint32_t shapes[][3] = {{1, 1, 1},      {3, 130, 1},   {129, 2, 31},
                                       {1, 101, 1500}, {64, 64, 512}, {200, 70, 33}};
  brc_device *d = device_of("mma", check_path("cache"));
  for (size_t i = 0; i < BRC_COUNT(shapes); i++)
    for (int p = BRC_FP32; p < BRC_PRECISION_COUNT; p++)
      check_ok(brc_check_products(d, (brc_precision)p, shapes[i][0], shapes[i][1], shapes[i][2], 1 + i % 3));
  brc_device_close(d);
}

// Read all parameters and targets and write them back: the same numbers, but the host's.
static void rewrite_parameters(brc_agent *a) {
  brc_group *groups[] = {&a->critic, &a->actor};
  for (size_t g = 0; g < BRC_COUNT(groups); g++)
    for (int role = BRC_PARAM; role < BRC_ROLES; role++) {
      brc_storage *s = &groups[g]->storage[role];
      if ((role != BRC_PARAM && role != BRC_TARGET) || !s->buffer) continue;
      float *all = malloc(s->elements * sizeof *all);
      check_ok(a->device->backend->read(a->device, s->buffer, 0, s->elements, all));
      check_ok(a->device->backend->write(a->device, s->buffer, 0, s->elements, all, false));
      free(all);
    }
}

static brc_agent_config small_agent(void) {
  brc_agent_config c = {.seed = 1};
  brc_option_set set = {.tables = {{brc_agent_options, brc_agent_option_count, &c, ""}}, .count = 1};
  brc_options_default(&set);
  c.tasks = 2, c.obs_dim = 7, c.action_dim = 3, c.width = 40, c.actor_width = 24, c.batch = 48;
  return c;
}

enum { NAMES = 4 };
static const char *const names[NAMES] = {"critic/block0/dense1/kernel", "critic/output/kernel",
                                         "target/block0/dense1/kernel", "actor/input/kernel"};

// These parameters, one behind the other, after some updates: the actor's step reads the critic that its own update has just changed, so copies of
// factors that outlived their source would show. `shadows`: how many of its storages AdamW is to copy.
static double *parameters_after(const char *provider, brc_precision precision, bool rewrite, size_t shadows,
                                uint64_t counts[NAMES]) {
  const brc_agent_config config = small_agent(), *c = &config;
  if (!strcmp(provider, "tiled")) setenv("BRC_EMULATE_PRECISION", "1", 1);
  brc_device *d = device_of(provider, check_path("cache"));
  brc_agent *a;
  brc_batch b;
  check_ok(brc_agent_create(&a, c, d, (brc_agent_flags){.precision = precision}));
  check_ok(brc_agent_init(a));
  check_ok(brc_batch_create(a, (uint32_t)c->batch, &b));
  testing_reseed(7);
  for (uint64_t j = 0; j < b.elements; j++) b.block[j] = (float)testing_normal();
  for (uint32_t j = 0; j < b.rows; j++) {
    b.task[j] = (int32_t)(j % 2), b.mask[j] = 1;
    if (b.reward64) b.reward64[j] = b.reward[j];
  }
  check_ok(brc_agent_write_batch(a, &b, false));
  for (int i = 0; i < 3; i++) {
    check_ok(brc_agent_update(a));
    if (rewrite) rewrite_parameters(a);
  }
  for (const ocl_shadow *s = a->update_exec->shadows; s; s = s->next) shadows--;
  assert_int_equal(shadows, 0);
  uint64_t all = 0;
  for (int i = 0; i < NAMES; i++, all += counts[i - 1]) check_ok(brc_agent_read(a, names[i], NULL, &counts[i]));
  double *out = malloc(all * sizeof *out), *at = out;
  for (int i = 0; i < NAMES; at += counts[i++]) check_ok(brc_agent_read(a, names[i], at, &counts[i]));
  brc_batch_free(&b);
  brc_agent_free(a);
  brc_device_close(d);
  unsetenv("BRC_EMULATE_PRECISION");
  return out;
}

// Against the tiled kernel, which rounds the same factors in software where they lie. A gradient's sums differ in the last bits, a factor
// near a tie is then rounded either way, and AdamW makes the learning rate (3e-4) of what is noise: the mean square tells.
static void compare_to_tiled(const double *got, brc_precision precision) {
  uint64_t counts[NAMES];
  double *want = parameters_after("tiled", precision, false, 0, counts);
  double *fp32 = parameters_after("tiled", BRC_FP32, false, 0, counts);
  for (uint64_t i = 0, at = 0; i < NAMES; at += counts[i++]) {
    const double error = testing_compare(got + at, want + at, counts[i], 0).rms,
                 effect = testing_compare(fp32 + at, want + at, counts[i], 0).rms;
    printf("  %s, %s: %.1e from tiled, which is %.1e from fp32\n", brc_precision_names[precision], names[i],
           error, effect);
    assert_true(error < effect / 2);
  }
  free(want), free(fp32);
}

static void test_updates(void **state) {
  (void)state;
  uint64_t counts[NAMES];
  for (int p = BRC_TF32; p < BRC_PRECISION_COUNT; p++) {
    double *got = parameters_after("mma", (brc_precision)p, false, 0, counts);
    compare_to_tiled(got, (brc_precision)p);
    free(got);
  }
}

// In the GPUs' form AdamW writes the copies of its parameters itself: bit for bit those that are made anew before an update because the
// host has written to the parameters.
static void test_shadows(void **state) {
  (void)state;
  enum { SHADOWS = 3 /* critic, target, actor */ };
  uint64_t counts[NAMES], all = 0;
  setenv("BRC_OPENCL_CLASS", "gpu", 1);
  for (int p = BRC_BF16; p < BRC_PRECISION_COUNT; p++) {
    double *got = parameters_after("mma", (brc_precision)p, false, SHADOWS, counts);
    double *anew = parameters_after("mma", (brc_precision)p, true, SHADOWS, counts);
    for (int i = 0; i < NAMES; i++) all += counts[i];
    assert_memory_equal(got, anew, all * sizeof *got);
    compare_to_tiled(got, (brc_precision)p);
    free(got), free(anew);
    all = 0;
  }
  unsetenv("BRC_OPENCL_CLASS");
}

//------------------------ Copies of activations --------------------------------
enum { MEMBERS = 2, ROWS = 70, COLS = 48, BLOCK = 2 };
enum { X, SCALE, BIAS, Y, MEAN, RSTD, W, Z, DY, DX, PARTIAL, DSCALE, DBIAS, DXSUM, DK, DH, OPERANDS };
static const struct {
  const char *name;
  uint32_t rows, cols;
} operands[OPERANDS] = {{"x", ROWS, COLS},
                        {"scale", 1, COLS},
                        {"bias", 1, COLS},
                        {"y", ROWS, COLS},
                        {"mean", ROWS, 1},
                        {"rstd", ROWS, 1},
                        {"w", COLS, COLS},
                        {"z", ROWS, COLS},
                        {"dy", ROWS, COLS},
                        {"dx", ROWS, COLS},
                        {"partial", ROWS / BLOCK, 3 * COLS},
                        {"dscale", 1, COLS},
                        {"dbias", 1, COLS},
                        {"dxsum", 1, COLS},
                        {"dk", COLS, COLS},
                        {"dh", ROWS, COLS}};

// What a program consists of: the norm and its backward pass; the sums behind that; something that changes y behind it; products of y and
// of dx.
enum { NORMS = 1, SUMS = 2, CHANGE = 4, PRODUCTS = 8 };

static void add_product(brc_program *p, brc_op_kind kind, brc_precision precision, brc_tensor *a, brc_tensor *b,
                        brc_tensor *c, bool accumulate) {
  const float scale = precision == BRC_FP16 ? 16 : 1;  // of gradients
  const brc_op_params q = {.dense = {.m = c->rows,
                                     .n = c->cols,
                                     .k = kind == BRC_OP_dense_dw ? a->rows : a->cols,
                                     .batch = MEMBERS,
                                     .lda = a->pitch,
                                     .ldb = b->pitch,
                                     .ldc = c->pitch,
                                     .accumulate = accumulate,
                                     .stride_a = (uint32_t)a->stride,
                                     .stride_b = (uint32_t)b->stride,
                                     .stride_c = (uint32_t)c->stride,
                                     .precision = precision,
                                     .scale_a = kind == BRC_OP_dense_dx ? scale : 1,
                                     .scale_b = kind == BRC_OP_dense_dw ? scale : 1}};
  brc_op_add(p, kind, (brc_tensor *[]){a, b, NULL}, (brc_tensor *[]){c}, &q);
}

// Run such a program on storages; its number of commands.
static size_t run_parts(brc_device *d, brc_storage *storages, int parts, brc_precision precision) {
  brc_program *p;
  brc_exec *x;
  brc_tensor *t[OPERANDS];
  check_ok(brc_program_create(&p, "copies"));
  for (int i = 0; i < OPERANDS; i++) {
    const uint32_t pitch = brc_pitch(operands[i].cols), stride = operands[i].rows * pitch;
    brc_storage *s = &storages[i];
    if (!s->buffer) {
      *s = (brc_storage){.name = operands[i].name, .elements = (uint64_t)MEMBERS * stride};
      check_ok(brc_storage_alloc(d, s));
      float *data = malloc(s->elements * sizeof *data);
      for (uint64_t j = 0; j < s->elements; j++) data[j] = (float)testing_normal();
      check_ok(d->backend->write(d, s->buffer, 0, s->elements, data, false));
      free(data);
    }
    t[i] = brc_external(p, s, s->name, 0, MEMBERS, operands[i].rows, operands[i].cols, pitch, stride);
    if (i == MEAN || i == RSTD) t[i] = brc_external(p, s, s->name, 0, MEMBERS, ROWS, 1, 1, ROWS);
  }
  const brc_op_params q = {.norm = {.members = MEMBERS,
                                    .rows = ROWS,
                                    .cols = COLS,
                                    .pitch = t[X]->pitch,
                                    .stride_p = (uint32_t)t[SCALE]->stride,
                                    .relu = 1,
                                    .block = BLOCK,
                                    .eps = 1e-6}};
  if (parts & NORMS) {
    brc_op_add(p, BRC_OP_norm, (brc_tensor *[]){t[X], t[SCALE], t[BIAS], NULL},
               (brc_tensor *[]){t[Y], t[MEAN], t[RSTD]}, &q);
    brc_op_add(p, BRC_OP_norm_backward, (brc_tensor *[]){t[DY], t[X], t[MEAN], t[RSTD], t[SCALE], t[BIAS]},
               (brc_tensor *[]){t[DX], t[PARTIAL]}, &q);
  }
  if (parts & SUMS)
    brc_op_add(p, BRC_OP_norm_sums, (brc_tensor *[]){t[PARTIAL]},
               (brc_tensor *[]){t[DSCALE], t[DBIAS], t[DXSUM]},
               &(brc_op_params){.norm_sums = {.members = MEMBERS,
                                              .blocks = ROWS / BLOCK,
                                              .cols = COLS,
                                              .pitch = t[X]->pitch,
                                              .stride_p = (uint32_t)t[DSCALE]->stride}});
  if (parts & CHANGE) add_product(p, BRC_OP_dense_dx, precision, t[DY], t[W], t[Y], true);
  if (parts & PRODUCTS) {
    add_product(p, BRC_OP_dense, precision, t[Y], t[W], t[Z], false);
    add_product(p, BRC_OP_dense_dw, precision, t[Y], t[DX], t[DK], false);
    add_product(p, BRC_OP_dense_dx, precision, t[DX], t[W], t[DH], false);
  }
  check_ok(brc_program_finish(p));
  check_ok(d->backend->compile(d, p, &x));
  check_ok(d->backend->run(d, x, 1));
  const size_t commands = x->step_count;
  d->backend->exec_free(d, x);
  brc_program_free(p);
  return commands;
}

static float *values(brc_device *d, const brc_storage *s) {
  float *all = malloc(s->elements * sizeof *all);
  check_ok(d->backend->read(d, s->buffer, 0, s->elements, all));
  return all;
}

// On GPUs, what one program of all these parts leaves in some storages is bit for bit what two programs do, and has so many commands less.
static void same_in_two(brc_device *d, int first, int second, brc_precision precision, const int *made,
                        size_t count, size_t less) {
  brc_storage storages[OPERANDS] = {{0}};
  float *got[OPERANDS];
  testing_reseed(3);
  const size_t whole = run_parts(d, storages, first | second, precision);
  for (size_t i = 0; i < count; i++) got[i] = values(d, &storages[made[i]]);
  const size_t commands = run_parts(d, storages, first, precision) + run_parts(d, storages, second, precision);
  assert_int_equal(whole, commands - less);
  for (size_t i = 0; i < count; i++) {
    float *want = values(d, &storages[made[i]]);
    assert_memory_equal(got[i], want, storages[made[i]].elements * sizeof *want);
    free(want), free(got[i]);
  }
  for (int i = 0; i < OPERANDS; i++) brc_storage_release(d, &storages[i]);
}

// A norm and its backward pass leave the two-byte copies of what they make. Where something changes y in between, products are of the
// changed one. Sums over rows that stay in cache are one command, with those of their blocks.
static void test_outputs(void **state) {
  (void)state;
  static const int products[] = {Z, DK, DH}, sums[] = {PARTIAL, DSCALE, DBIAS, DXSUM};
  setenv("BRC_OPENCL_CLASS", "gpu", 1);
  brc_device *d = device_of("mma", check_path("cache"));
  for (int p = BRC_BF16; p < BRC_PRECISION_COUNT; p++) {
    // Casts: of y and dx; of w, which the change needs, too, and dx.
    same_in_two(d, NORMS, PRODUCTS, (brc_precision)p, products, BRC_COUNT(products), 2);
    same_in_two(d, NORMS | CHANGE, PRODUCTS, (brc_precision)p, products, BRC_COUNT(products), 2);
  }
  same_in_two(d, NORMS, SUMS, BRC_FP32, sums, BRC_COUNT(sums), 1);
  brc_device_close(d);
  unsetenv("BRC_OPENCL_CLASS");
}

int main(void) {
  size_t count = 0;
  brc_device_info info[8];
  unsetenv("BRC_EMULATE_PRECISION");
  unsetenv("BRC_EMULATE_MMA");
  if (brc_backend_opencl.list(info, BRC_COUNT(info), &count) || !count || !info[0].is_cpu) {
    testing_skip("NVIDIA's tensor cores, emulated: no OpenCL device that is a CPU");
    return testing_finish(0);
  }
  setenv("BRC_EMULATE_MMA", "1", 1);
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_trust),   cmocka_unit_test(test_refused),
                                     cmocka_unit_test(test_hopper),  cmocka_unit_test(test_shapes),
                                     cmocka_unit_test(test_updates), cmocka_unit_test(test_shadows),
                                     cmocka_unit_test(test_outputs)};
  return testing_finish(cmocka_run_group_tests_name("mma", tests, NULL, NULL));
}
#else
int main(void) {
  testing_skip("NVIDIA's tensor cores, emulated: this build has no OpenCL");
  return testing_finish(0);
}
#endif
