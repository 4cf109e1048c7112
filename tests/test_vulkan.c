// The Vulkan backend beyond what all backends share (test_ops, test_verify): what happens without a loader, a driver, a feature or
// enough memory; copies of all sizes, in order with programs; barriers; several runs in one submission; the pipeline cache.
#include "check.h"
#include "run_brc.h"
#include "testing.h"
#include "agent/agent.h"
#include "base/file.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef BRC_HAVE_VULKAN
#include "backends/vulkan/core.h"

static run_result r;

// Device 0 with some features hidden (NULL: none) and its own cache folder.
static brc_device *open_hiding(const char *features) {
  brc_device *d;
  brc_device_options options = {.cache_dir = check_path("cache")};
  setenv("BRC_VULKAN_HIDE", features ? features : "", 1);
  check_ok(brc_backend_vulkan.open(&d, 0, &options));
  setenv("BRC_VULKAN_HIDE", "", 1);
  return d;
}

static void contains(const char *text, const char *part) {
  if (!strstr(text, part)) fail_msg("'%s' expected in '%s'", part, text);
}

//------------------------ 1. What is not there -----------------------------------
// The backend is listed as absent, with the reason; asking for it fails with the same.
static void absent(const char *env, const char *why) {
  run_brc(&r, env, "devices");
  assert_int_equal(r.status, 0);
  contains(r.out, "host");
  contains(r.out, "vulkan   absent");
  contains(r.out, why);
  run_brc(&r, env, "verify --backend vulkan /dev/null");
  assert_int_equal(r.status, 1);
  contains(r.err, why);
}

static void test_absent(void **state) {
  (void)state;
  absent("BRC_VULKAN_LIBRARY=/nonexistent/libvulkan.so.1", "BRC_VULKAN_LIBRARY");
  absent("VK_ICD_FILENAMES=/nonexistent/driver.json", "Vulkan has no driver");
  absent("BRC_VULKAN_HIDE=nonsense", "'nonsense' is no feature");
  absent("BRC_VULKAN_VALIDATION=nonsense", "not one of 1, sync, gpu");
}

static void test_hidden(void **state) {
  (void)state;
  static const char *const needed[] = {"address", "timeline"};
  for (size_t i = 0; i < BRC_COUNT(needed); i++) {
    brc_device_info info;
    size_t count;
    brc_device *d;
    setenv("BRC_VULKAN_HIDE", needed[i], 1);
    check_ok(brc_backend_vulkan.list(&info, 1, &count));
    contains(info.note, "its driver lacks");
    check_fails(BRC_E_UNSUPPORTED, info.name, brc_backend_vulkan.open(&d, 0, NULL));
    setenv("BRC_VULKAN_HIDE", "", 1);
  }
  brc_device *d = open_hiding("fp16,fp16_storage,bf16,coopmat,coopmat2,subgroup_size_control,memory_budget");
  const vk_device *v = (const vk_device *)d;
  assert_false(v->fp16 || v->fp16_storage || v->bf16 || v->coopmat || v->coopmat2 || v->subgroup_size_control);
  assert_int_equal(v->shape_count, 0);
  assert_false(d->info.fp16);
  assert_true(d->info.precisions & 1u << BRC_FP32);
  brc_device_close(d);
  check_fails(BRC_E_NOT_FOUND, "Vulkan device 99 does not exist; there are: 0 (",
              brc_backend_vulkan.open(&d, 99, NULL));
}

static void test_no_memory(void **state) {
  (void)state;
  brc_device *d = open_hiding(NULL);
  const vk_device *v = (const vk_device *)d;
  brc_buffer *b, *small;
  check_fails(BRC_E_NOMEM, "'huge'", d->backend->alloc(d, "huge", d->info.memory_bytes, &b));
  contains(brc_error(), d->info.name);
  contains(brc_error(), "--batch");
  assert_null(b);
  check_fails(BRC_E_VALUE, "'absurd'", d->backend->alloc(d, "absurd", UINT64_MAX / 2, &b));
  if (v->max_buffer < d->info.memory_bytes)
    check_fails(BRC_E_NOMEM, "maxBufferSize", d->backend->alloc(d, "huge", v->max_buffer / 4, &b));
  // The device is as good as before, and nothing is held for what failed.
  assert_int_equal(v->p->held, v->p->staging.bytes);
  check_ok(d->backend->alloc(d, "small", 1000, &small));
  d->backend->release(d, small);
  brc_device_close(d);
}

//------------------------ 2. Copies ----------------------------------------------
static void fill(float *data, uint64_t n, uint32_t seed) {
  for (uint64_t i = 0; i < n; i++) data[i] = (float)((uint32_t)i * 2654435761u + seed);
}

static void same(const char *what, const float *got, const float *want, uint64_t n) {
  for (uint64_t i = 0; i < n; i++)
    if (got[i] != want[i])
      fail_msg("%s: element %llu is %g, expected %g", what, (unsigned long long)i, (double)got[i],
               (double)want[i]);
}

// Around the sizes of a slot of the staging memory, and beyond all of it.
static void copies_of_all_sizes(const char *hidden) {
  const uint64_t slot = VK_SLOT_BYTES / 4, most = (VK_SLOTS + 2) * slot + 77;
  const uint64_t sizes[] = {1, 2, 63, 1000, slot - 1, slot, slot + 1, 3 * slot + 5, VK_SLOTS * slot, most};
  brc_device *d = open_hiding(hidden);
  assert_int_equal(((vk_device *)d)->p->maps, hidden == NULL && d->info.is_cpu);
  brc_buffer *b, *other;
  float *data = malloc(2 * (most + 10) * sizeof *data), *got = data + most + 10;
  assert_non_null(data);
  check_ok(d->backend->alloc(d, "data", most + 10, &b));
  check_ok(d->backend->alloc(d, "other", most + 10, &other));
  check_ok(d->backend->read(d, b, 0, most + 10, got));
  for (uint64_t i = 0; i < most + 10; i++)
    if (got[i] != 0) fail_msg("a new buffer is not zero");
  for (size_t k = 0; k < BRC_COUNT(sizes); k++) {
    fill(data, sizes[k], (uint32_t)k);
    check_ok(d->backend->write(d, b, 7, sizes[k], data, k % 2));
    check_ok(d->backend->read(d, b, 7, sizes[k], got));
    same("read", got, data, sizes[k]);
    check_ok(d->backend->copy(d, other, b, sizes[k] + 7));
    check_ok(d->backend->read(d, other, 7, sizes[k], got));
    same("copy", got, data, sizes[k]);
  }
  check_fails(BRC_E_SHAPE, "elements [7, +", d->backend->write(d, b, 7, most + 4, data, false));
  d->backend->release(d, b);
  d->backend->release(d, other);
  brc_device_close(d);
  free(data);
}

static void test_copies(void **state) {
  (void)state;
  copies_of_all_sizes(NULL);
  copies_of_all_sizes("mapped");
}

// A program of one op: the sum of x.
typedef struct sum_program {
  brc_storage x, out;
  brc_program *program;
  brc_exec *exec;
} sum_program;

static void sum_create(sum_program *s, brc_device *d, uint32_t rows) {
  *s = (sum_program){.x = {.name = "x", .elements = rows}, .out = {.name = "out", .elements = 1}};
  check_ok(brc_storage_alloc(d, &s->x));
  check_ok(brc_storage_alloc(d, &s->out));
  check_ok(brc_program_create(&s->program, "sum"));
  brc_tensor *x = brc_external(s->program, &s->x, "x", 0, 1, rows, 1, 1, 0);
  brc_reduce(s->program, x, BRC_REDUCE_SUM, 1, brc_external(s->program, &s->out, "out", 0, 1, 1, 1, 1, 0));
  check_ok(brc_program_finish(s->program));
  check_ok(d->backend->compile(d, s->program, &s->exec));
}

static void sum_free(sum_program *s, brc_device *d) {
  d->backend->exec_free(d, s->exec);
  brc_program_free(s->program);
  brc_storage_release(d, &s->x);
  brc_storage_release(d, &s->out);
}

// Writes, runs and copies take effect in the order of the calls, however many are under way, and `data` may change at once.
static void in_order(const char *hidden) {
  enum { ROWS = 3000, TIMES = 200 };
  brc_device *d = open_hiding(hidden);
  sum_program s;
  brc_buffer *results[TIMES];
  float data[ROWS];
  sum_create(&s, d, ROWS);
  for (int i = 0; i < TIMES; i++) {
    check_ok(d->backend->alloc(d, "result", 1, &results[i]));
    for (int k = 0; k < ROWS; k++) data[k] = (float)i;
    check_ok(d->backend->write(d, s.x.buffer, 0, ROWS / 2, data, true));
    check_ok(d->backend->write(d, s.x.buffer, ROWS / 2, ROWS - ROWS / 2, data + ROWS / 2, true));
    check_ok(d->backend->run(d, s.exec, 1));
    check_ok(d->backend->copy(d, results[i], s.out.buffer, 1));
  }
  check_ok(d->backend->wait(d));
  for (int i = 0; i < TIMES; i++) {
    float got, want = (float)i * ROWS;
    check_ok(d->backend->read(d, results[i], 0, 1, &got));
    same("sum", &got, &want, 1);
    d->backend->release(d, results[i]);
  }
  sum_free(&s, d);
  brc_device_close(d);
}

static void test_order(void **state) {
  (void)state;
  in_order(NULL);
  in_order("mapped");
}

static void test_two_devices(void **state) {
  (void)state;
  brc_device *d[2] = {open_hiding(NULL), open_hiding("mapped")};
  sum_program s[2];
  float data[100];
  for (int i = 0; i < 2; i++) {
    sum_create(&s[i], d[i], 100);
    for (int k = 0; k < 100; k++) data[k] = (float)(k + i);
    check_ok(d[i]->backend->write(d[i], s[i].x.buffer, 0, 100, data, true));
  }
  for (int i = 0; i < 2; i++) check_ok(d[i]->backend->run(d[i], s[i].exec, 3));
  sum_free(&s[1], d[1]);
  brc_device_close(d[1]);
  float got, want = 4950;
  check_ok(d[0]->backend->read(d[0], s[0].out.buffer, 0, 1, &got));
  same("sum", &got, &want, 1);
  sum_free(&s[0], d[0]);
  brc_device_close(d[0]);
}

//------------------------ 3. The update ------------------------------------------
static brc_agent *create_agent(brc_device *d) {
  brc_agent_config c = {0};
  brc_option_set set = {.tables = {{brc_agent_options, brc_agent_option_count, &c, ""}}, .count = 1};
  brc_options_default(&set);
  c.width = 16;
  c.actor_width = 16;
  c.batch = 8;
  c.tasks = 2;
  c.obs_dim = 5;
  c.action_dim = 3;
  c.seed = 7;
  c.target_entropy = NAN;
  check_ok(brc_agent_config_resolve(&c));
  brc_agent *a;
  brc_batch b;
  check_ok(brc_agent_create(&a, &c, d, (brc_agent_flags){0}));
  check_ok(brc_agent_init(a));
  check_ok(brc_batch_create(a, (uint32_t)c.batch, &b));
  testing_reseed(1);
  for (uint64_t i = 0; i < b.elements; i++) b.block[i] = (float)testing_normal();
  for (uint32_t i = 0; i < b.rows; i++) b.task[i] = (int32_t)i % 2;
  check_ok(brc_agent_write_batch(a, &b, false));
  brc_batch_free(&b);
  return a;
}

// All parameters of the critic after some updates on a device of its own. free() it.
static float *trained(const char *hidden, void (*train)(brc_device *d, brc_exec *x), uint64_t *count) {
  brc_device *d = open_hiding(hidden);
  brc_agent *a = create_agent(d);
  train(d, a->update_exec);
  *count = a->critic.storage[BRC_PARAM].elements;
  float *all = malloc(*count * sizeof *all);
  assert_non_null(all);
  check_ok(d->backend->read(d, a->critic.storage[BRC_PARAM].buffer, 0, *count, all));
  brc_agent_free(a);
  brc_device_close(d);
  return all;
}

enum { UPDATES = 20 };
static void one_submission(brc_device *d, brc_exec *x) {
  const uint64_t before = ((vk_device *)d)->p->submitted;
  check_ok(d->backend->run(d, x, UPDATES));
  assert_int_equal(((vk_device *)d)->p->submitted, before + 1);
}
static void many_submissions(brc_device *d, brc_exec *x) {
  for (int i = 0; i < UPDATES; i++) check_ok(d->backend->run(d, x, 1));
}
static void profiled(brc_device *d, brc_exec *x) {
  static brc_profile_row rows[1000];
  check_ok(d->backend->profile(d, x, true));
  check_ok(d->backend->run(d, x, UPDATES / 2));
  check_ok(d->backend->profile_read(d, x, rows));
  double seconds = 0;
  for (size_t i = 0; i < x->program->op_count; i++) {
    assert_int_equal(rows[i].calls, UPDATES / 2);
    assert_true(rows[i].seconds >= 0);
    seconds += rows[i].seconds;
  }
  assert_true(seconds > 0 && seconds < 100);
  check_ok(d->backend->profile(d, x, false));
  check_ok(d->backend->run(d, x, UPDATES - UPDATES / 2));
}

// The same bits however the updates are submitted, from mapped and from other memory, again, and with a barrier before every dispatch.
static void test_same_bits(void **state) {
  (void)state;
  static const struct {
    const char *what, *hidden;
    void (*train)(brc_device *d, brc_exec *x);
  } ways[] = {{"again", NULL, one_submission},
              {"one submission each", NULL, many_submissions},
              {"barriers everywhere", "hazards", one_submission},
              {"not mapped", "mapped", many_submissions},
              {"profiled", NULL, profiled},
              {"profiled by the clock", "timestamps", profiled}};
  uint64_t count, n;
  float *want = trained(NULL, one_submission, &count);
  for (size_t i = 0; i < BRC_COUNT(ways); i++) {
    float *got = trained(ways[i].hidden, ways[i].train, &n);
    assert_int_equal(n, count);
    if (memcmp(got, want, count * sizeof *got)) same(ways[i].what, got, want, count);
    free(got);
  }
  free(want);
}

// Do two steps touch the same memory, one of them writing? *reuse: only through the arena's reuse, as no tensor connects them.
static bool in_conflict(const vk_step *a, const vk_step *b, bool *reuse) {
  brc_access x[BRC_MAX_IN + BRC_MAX_OUT], y[BRC_MAX_IN + BRC_MAX_OUT];
  const int n = brc_op_accesses(a->op, x), m = brc_op_accesses(b->op, y);
  bool found = false;
  *reuse = true;
  for (int i = 0; i < n; i++)
    for (int k = 0; k < m; k++)
      if (brc_access_conflict(&x[i], &y[k])) {
        found = true;
        *reuse &= !x[i].storage && !x[i].writes && y[k].writes;
      }
  return found;
}

// Every conflict has a barrier between, and barriers are fewer than dispatches.
static void test_barriers(void **state) {
  (void)state;
  brc_device *d = open_hiding(NULL);
  brc_agent *a = create_agent(d);
  const brc_exec *x = a->update_exec;
  size_t conflicts = 0, reuses = 0;
  for (size_t j = 0; j < x->step_count; j++) {
    bool between = false;
    for (size_t i = j; i-- > 0;) {
      bool reuse;
      between |= x->steps[i + 1].barrier;
      if (x->steps[i].op == x->steps[j].op || !in_conflict(&x->steps[i], &x->steps[j], &reuse)) continue;
      conflicts++;
      reuses += reuse;
      if (!between) fail_msg("no barrier between %s and %s", x->steps[i].op->label, x->steps[j].op->label);
    }
  }
  printf("  %zu ops, %zu dispatches, %u barriers; %zu conflicts, %zu by reuse of the arena alone\n",
         x->program->op_count, x->step_count, x->barriers, conflicts, reuses);
  const struct vk_private *p = ((const vk_device *)d)->p;
  double least = 1;
  for (int i = 0; i < 10; i++) {
    const double start = brc_now_s();
    check_ok(d->backend->run(d, a->update_exec, 1));
    least = fmin(least, brc_now_s() - start);
  }
  printf("  handed over in %.1f us; %zu pipelines made in %.3f s\n", least * 1e6, p->pipeline_count,
         p->pipeline_seconds);
  assert_true(conflicts > x->program->op_count / 2);
  assert_true(reuses > 0);
  assert_true(x->barriers < x->step_count * 9 / 10);
  brc_agent_free(a);
  brc_device_close(d);
}

//------------------------ 4. Cache, validation -------------------------------------
// A damaged cache file is not looked at, and replaced.
static void test_cache(void **state) {
  (void)state;
  brc_device *d = open_hiding(NULL);
  sum_program s;
  sum_create(&s, d, 10);
  char path[sizeof((vk_device *)d)->p->cache_file.path], *good, *now;
  size_t good_bytes, bytes;
  snprintf(path, sizeof path, "%s", ((vk_device *)d)->p->cache_file.path);
  sum_free(&s, d);
  brc_device_close(d);
  check_ok(brc_file_read(path, &good, &good_bytes));
  for (int k = 0; k < 4; k++) {
    char *bad = malloc(good_bytes + 1000);
    assert_non_null(bad);
    memcpy(bad, good, good_bytes);
    memset(bad + good_bytes, 0x5a, 1000);
    if (k == 1) bad[good_bytes - 1] ^= 1;  // in what the driver gave
    if (k == 2) bad[3] ^= 1;               // in the header
    check_ok(brc_file_write_all(path, bad, k == 0 ? good_bytes / 2 : k == 3 ? good_bytes + 1000 : good_bytes));
    free(bad);
    d = open_hiding(NULL);
    sum_create(&s, d, 10);
    sum_free(&s, d);
    brc_device_close(d);
    check_ok(brc_file_read(path, &now, &bytes));
    assert_true(bytes != good_bytes / 2 && bytes != good_bytes + 1000);
    free(now);
  }
  free(good);
}

// A whole update under the validation layer, with mapped and with staged copies: any message fails it.
static void test_validation(void **state) {
  (void)state;
  const char *shared = testing_shared();
  run_brc(&r, "BRC_VULKAN_VALIDATION=1", "devices");
  if (strstr(r.out, "VK_LAYER_KHRONOS_validation")) {
    contains(r.out, "vulkan-validationlayers");
    testing_skip("validation: the layer is not installed");
    return;
  }
  if (!shared) {
    testing_skip("validation: no golden data");
    return;
  }
  setenv("BRC_VULKAN_VALIDATION", "sync", 1);
  static const char *const hidden[] = {"BRC_VULKAN_HIDE=", "BRC_VULKAN_HIDE=mapped"};
  for (size_t i = 0; i < BRC_COUNT(hidden); i++) {
    run_brc(&r, hidden[i], "verify --backend vulkan %s/golden/update/a_tiny.safetensors", shared);
    if (r.status) fail_msg("%s", r.err);
    if (strstr(r.err, "validation")) fail_msg("%s", r.err);
  }
  unsetenv("BRC_VULKAN_VALIDATION");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_absent),     cmocka_unit_test(test_hidden),   cmocka_unit_test(test_no_memory),
      cmocka_unit_test(test_copies),     cmocka_unit_test(test_order),    cmocka_unit_test(test_two_devices),
      cmocka_unit_test(test_same_bits),  cmocka_unit_test(test_barriers), cmocka_unit_test(test_cache),
      cmocka_unit_test(test_validation),
  };
  brc_device_info info;
  size_t count = 0;
  brc_status st = brc_backend_vulkan.list(&info, 1, &count);
  if (st || !count || info.note[0]) {
    testing_skip("vulkan: %s", st ? brc_error() : count ? info.note : "no devices");
    return testing_finish(0);
  }
  return testing_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
#else
int main(void) {
  testing_skip("vulkan: not in this build");
  return testing_finish(0);
}
#endif
