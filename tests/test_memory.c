// Memory that runs out: the n-th allocation of a reader fails, for n = 1, 2, ... until none is left to fail; once alone, once with all
// that follow. Each time the reader must end with a status and a sentence, having freed everything: no crash, no abort, no leak.
//
// The linker leads the allocations of our code here (--wrap, CMakeLists.txt), cJSON's come through its hooks. What the C library or
// MuJoCo allocate inside a call is theirs.
#include <cjson/cJSON.h>
#include <errno.h>
#include <execinfo.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "backends/host/gemm.h"
#include "base/file.h"
#include "check.h"
#include "testing.h"
#include "train/import.h"
#include "train/published.h"
#include "train/results.h"
#include "train/train.h"
#include "train/verify_agent.h"
#include "train/verify_env.h"
#include "train/verify_normalizer.h"

//------------------------ 1. The allocator ----------------------------------------
static struct {
  bool on, all;  // counting; every allocation from `fail_at` on fails
  long count;    // allocations since it was switched on
  long fail_at;  // 0: none
  long live;     // not freed, of those since then
  void *blocks[1 << 14];
  void *trace[12];  // who asked for the one that failed last
  int depth;
} inject;

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__real_aligned_alloc(size_t alignment, size_t n);
char *__real_strdup(const char *s);
int __real_vasprintf(char **out, const char *fmt, va_list ap);
void *__real_mmap(void *at, size_t n, int protection, int flags, int fd, off_t offset);
FILE *__real_fopen(const char *path, const char *mode);
void __real_free(void *p);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_aligned_alloc(size_t alignment, size_t n);
char *__wrap_strdup(const char *s);
int __wrap_vasprintf(char **out, const char *fmt, va_list ap);
void *__wrap_mmap(void *at, size_t n, int protection, int flags, int fd, off_t offset);
FILE *__wrap_fopen(const char *path, const char *mode);
void __wrap_free(void *p);

static bool fails(void) {
  if (!inject.on) return false;
  long n = ++inject.count;
  bool failing = inject.fail_at && (n == inject.fail_at || (inject.all && n > inject.fail_at));
  if (!failing) return false;
  inject.depth = backtrace(inject.trace, BRC_COUNT(inject.trace));
  errno = ENOMEM;
  return true;
}

// Known blocks, by address, so that what was allocated elsewhere may be freed here.
static void **place_of(const void *p) {
  size_t i = ((uintptr_t)p >> 4) * 2654435761u % BRC_COUNT(inject.blocks);
  for (size_t k = 0; k < BRC_COUNT(inject.blocks); k++, i = (i + 1) % BRC_COUNT(inject.blocks))
    if (inject.blocks[i] == p) return &inject.blocks[i];
  return NULL;
}

static void *born(void *p) {
  if (!inject.on || !p) return p;
  size_t i = ((uintptr_t)p >> 4) * 2654435761u % BRC_COUNT(inject.blocks);
  for (size_t k = 0; k < BRC_COUNT(inject.blocks); k++, i = (i + 1) % BRC_COUNT(inject.blocks))
    if (!inject.blocks[i]) break;
  if (inject.blocks[i]) abort();  // the table is full
  inject.blocks[i] = p;
  inject.live++;
  return p;
}

static void dead(const void *p) {
  void **at = p && inject.live ? place_of(p) : NULL;
  if (!at) return;
  *at = NULL;
  inject.live--;
}

void *__wrap_malloc(size_t n) { return fails() ? NULL : born(__real_malloc(n)); }
void *__wrap_calloc(size_t n, size_t size) { return fails() ? NULL : born(__real_calloc(n, size)); }
void *__wrap_aligned_alloc(size_t alignment, size_t n) {
  return fails() ? NULL : born(__real_aligned_alloc(alignment, n));
}
char *__wrap_strdup(const char *s) { return fails() ? NULL : born(__real_strdup(s)); }
void *__wrap_realloc(void *p, size_t n) {
  if (fails()) return NULL;
  dead(p);
  return born(__real_realloc(p, n));
}
int __wrap_vasprintf(char **out, const char *fmt, va_list ap) {
  if (fails()) return -1;
  int n = __real_vasprintf(out, fmt, ap);
  if (n >= 0) born(*out);
  return n;
}
void *__wrap_mmap(void *at, size_t n, int protection, int flags, int fd, off_t offset) {
  return fails() ? MAP_FAILED : __real_mmap(at, n, protection, flags, fd, offset);
}
// What /proc would tell is done without.
FILE *__wrap_fopen(const char *path, const char *mode) {
  return strncmp(path, "/proc/", 6) != 0 && fails() ? NULL : __real_fopen(path, mode);
}
void __wrap_free(void *p) {
  dead(p);
  __real_free(p);
}

// Run `f` with the n-th allocation failing. False: there is no n-th.
static bool once(const char *name, brc_status (*f)(void), long n, bool all) {
  memset(&inject, 0, sizeof inject);
  brc_fail(BRC_OK, "%s", "");
  inject.fail_at = n;
  inject.all = all;
  inject.on = true;
  brc_status st = f();
  inject.on = false;
  bool failed = n && inject.count >= n;
  if (!inject.live && (failed ? st && *brc_error() : !st)) return failed;
  backtrace_symbols_fd(inject.trace, inject.depth, STDERR_FILENO);  // for addr2line
  if (inject.live) fail_msg("%s: %ld blocks are left when allocation %ld fails", name, inject.live, n);
  if (!failed) fail_msg("%s: %s", name, brc_error());
  fail_msg("%s: allocation %ld fails, and %s", name, n, st ? "no sentence says so" : "nobody notices");
  return false;
}

static void each_allocation(const char *name, brc_status (*f)(void)) {
  once(name, f, 0, false);  // what is made once for all, and whether it works at all
  long n = 1;
  while (once(name, f, n, false)) n++;
  for (long k = 1; k < n; k++) once(name, f, k, true);
  printf("  %-28s %ld allocations\n", name, n - 1);
  assert_true(n > 1);
}

//------------------------ 2. Readers ----------------------------------------------
static const char *seed(const char *name) {
  static char path[4096];
  snprintf(path, sizeof path, BRC_SOURCE_DIR "/tests/fuzz/seeds/%s", name);
  return path;
}

static brc_status safetensors(void) {
  brc_st_file *f;
  brc_st_writer *w = NULL;
  brc_status st = brc_st_open(&f, seed("safetensors/small"));
  if (st) return st;
  st = brc_st_writer_new(&w);
  if (!st) st = brc_st_writer_meta(w, "format", "x");
  for (size_t i = 0; !st && i < brc_st_count(f); i++) {
    const brc_st_tensor *t = brc_st_at(f, i);
    st = brc_st_writer_copy(w, t->name, t->dtype, t->rank, t->shape, t->data);
  }
  if (!st) st = brc_st_write(w, check_path("copy.safetensors"));
  if (w) brc_st_writer_free(w);
  brc_st_close(f);
  return st;
}

static void write_file(const char *path, const char *from) {
  char *data;
  size_t n;
  check_ok(brc_file_read(from, &data, &n));
  check_ok(brc_file_write_all(path, data, n));
  free(data);
}

static brc_status config(void) {
  static brc_train_config c;
  return brc_run_read_config(check_folder(), &c);
}

static brc_status flax(void) {
  brc_flax_file *f;
  brc_status st = brc_flax_open(&f, seed("flax/pieces"));
  if (!st) brc_flax_close(f);
  return st;
}

static brc_status import(void) {
  brc_import m;
  brc_status st = brc_import_open(&m, check_path("agent"));
  if (st) return st;
  st = brc_import_write(&m, check_path("imported.safetensors"));
  brc_import_close(&m);
  return st;
}

static brc_status results(void) {
  const char *words[] = {check_path("run"), check_path("r*")}, **tasks = NULL;
  brc_result_set s;
  brc_point *p = NULL;
  size_t n;
  bool per_task;
  brc_status st = brc_results_select(&s, words, 2, BRC_BY_CONFIGURATION);
  if (st) return st;
  st = brc_results_tasks(&s, &tasks, &n);
  if (!st) st = brc_results_column(&s, "eval_return", &per_task);
  if (!st) st = brc_group_curve(&s.groups[0], "eval_return", BRC_ALL_TASKS, &p, &n);
  free(p);
  free(tasks);
  brc_results_free(&s);
  return st;
}

static brc_status published(void) {
  brc_published p;
  brc_point *curve = NULL;
  size_t n;
  brc_status st = brc_published_read(&p, check_folder(), "task", "eval_return", true);
  if (st) return st;
  st = brc_published_curve(&p, &curve, &n);
  free(curve);
  brc_published_free(&p);
  return st;
}

static brc_status normalizer_cases(void) {
  brc_verify_report r = {0};
  brc_status st = brc_verify_normalizer(seed("normalizer/case"), &r);
  free(r.rows);
  return st;
}

static brc_device *host;
static const char *golden_case;
static brc_status agent_case(void) {
  brc_verify_report r = {0};
  brc_st_file *f;
  brc_status st = brc_st_open(&f, seed(golden_case));
  if (st) return st;
  st = brc_verify_agent_file(f, host, check_path("dump.safetensors"), &r);
  free(r.rows);
  brc_st_close(f);
  return st;
}

static brc_status environment(void) {
  brc_env *e;
  brc_status st = brc_env_create(&e, brc_env_find("cartpole-swingup"), &(brc_assets){0});
  double obs[16];
  if (!st) {
    st = brc_env_reset(e, 1, 0, obs);
    brc_env_destroy(e);
  }
  return st;
}

// C = A B', whose B is copied, on a thread that is new to products and owns no scratch of them.
static struct {
  brc_status status;
  char why[256];
} product_of;
static void *product_on_thread(void *arg) {
  (void)arg;
  static float a[32], b[32], c[4];
  product_of.status = brc_host_gemm(NULL, &(brc_host_gemm_args){.tb = true,
                                                                .m = 2,
                                                                .n = 2,
                                                                .k = 16,
                                                                .batch = 1,
                                                                .a = a,
                                                                .b = b,
                                                                .c = c,
                                                                .lda = 16,
                                                                .ldb = 16,
                                                                .ldc = 2});
  snprintf(product_of.why, sizeof product_of.why, "%s", brc_error());
  return NULL;
}
static brc_status product(void) {
  pthread_t thread;
  if (pthread_create(&thread, NULL, product_on_thread, NULL)) return BRC_E_NOMEM;
  pthread_join(thread, NULL);
  return product_of.status ? brc_fail(product_of.status, "%s", product_of.why) : BRC_OK;
}

static brc_train_config trained;
static brc_trainer *trainer;
static brc_status create(void) {
  brc_trainer *t;
  brc_status st = brc_trainer_create(&t, &trained);
  if (st) return st;
  st = brc_checkpoint_load(t);
  brc_trainer_free(t);
  return st;
}
static brc_status save(void) { return brc_checkpoint_save(trainer); }
static brc_status evaluate(void) {
  brc_eval_result e;
  return brc_evaluate(trainer->agent, trained.tasks, 1, 2, 1, &trainer->assets, trainer->pool, NULL, &e);
}
static brc_status log_row(void) {
  brc_eval_result e = {0};
  return brc_run_log_eval(trainer, &e);
}

//------------------------ 3. Tests ------------------------------------------------
static void test_files(void **state) {
  (void)state;
  write_file(check_path("config.json"), seed("config/run"));
  each_allocation("safetensors", safetensors);
  each_allocation("config.json", config);
  each_allocation("msgpack", flax);
  check_ok(brc_mkdirs(check_path("dmc/BRC_multitask")));
  write_file(check_path("dmc/BRC_multitask/task.npy"), seed("published/curve"));
  each_allocation("published curve", published);
  each_allocation("cases of the normaliser", normalizer_cases);
  each_allocation("product on the host", product);
}

// The parts of a seed: four lengths of two bytes, then the files.
static void test_import(void **state) {
  (void)state;
  static const char *const names[] = {"actor.txt", "critic.txt", "target_critic.txt", "temp.txt"};
  char *data, path[600];
  size_t n, at = 8;
  check_ok(brc_mkdirs(check_path("agent")));
  check_ok(brc_file_read(seed("import/agent"), &data, &n));
  for (int i = 0; i < 4; i++) {
    size_t part = (size_t)(unsigned char)data[2 * i] | (size_t)(unsigned char)data[2 * i + 1] << 8;
    snprintf(path, sizeof path, "%s/%s", check_path("agent"), names[i]);
    check_ok(brc_file_write_all(path, data + at, part));
    at += part;
  }
  free(data);
  each_allocation("published checkpoint", import);
}

static void test_results(void **state) {
  (void)state;
  char *data, path[600];
  size_t n;
  check_ok(brc_mkdirs(check_path("run")));
  check_ok(brc_file_read(seed("results/run"), &data, &n));
  const char *names[] = {"config.json", "log.csv", "train.csv"};
  for (char *part = data, i = 0; i < 3; i++) {
    char *end = i < 2 ? memchr(part, 0xff, (size_t)(data + n - part)) : data + n;
    snprintf(path, sizeof path, "%s/%s", check_path("run"), names[(int)i]);
    check_ok(brc_file_write_all(path, part, (size_t)(end - part)));
    part = end + 1;
  }
  free(data);
  each_allocation("results", results);
}

static void test_verify(void **state) {
  (void)state;
  static const char *const cases[] = {"verify/update", "verify/tape", "verify/projection"};
  check_ok(brc_device_open(&host, "host", 0, &(brc_device_options){.threads = 1}));
  for (size_t i = 0; i < BRC_COUNT(cases); i++) {
    golden_case = cases[i];
    each_allocation(golden_case, agent_case);
  }
  brc_device_close(host);
}

static void test_environment(void **state) {
  (void)state;
  char path[4096];
  const brc_env_def *d = brc_env_find("cartpole-swingup");
  if (!d || brc_assets_find(&(brc_assets){0}, d->asset, path, sizeof path)) {
    testing_skip("memory of an environment: the assets of cartpole are not installed");
    skip();
  }
  each_allocation("cartpole's model", environment);
}

static void test_trainer(void **state) {
  (void)state;
  char *words[] = {"--width",   "2",    "--actor-width", "2", "--depth", "1", "--ensemble", "1",
                   "--atoms",   "2",    "--batch",       "2", "--start", "4", "--capacity", "8",
                   "--backend", "host", "--threads",     "1", "--utd",   "1"};
  size_t count;
  brc_option_set set = brc_train_option_set(&trained);
  brc_options_default(&set);
  check_ok(brc_options_parse(&set, (int)BRC_COUNT(words), words, NULL, 0, &count, NULL));
  check_ok(brc_train_add_tasks(&trained, "probe-wrap"));
  snprintf(trained.run, sizeof trained.run, "%s", check_path("trained"));
  check_ok(brc_train_resolve(&trained));
  check_ok(brc_mkdirs(trained.run));
  check_ok(brc_trainer_create(&trainer, &trained));
  check_ok(brc_trainer_init(trainer));
  for (int i = 0; i < 30; i++) check_ok(brc_loop_step(&trainer->loop));
  check_ok(brc_checkpoint_save(trainer));
  check_ok(log_row());
  each_allocation("a trainer, resumed", create);
  each_allocation("a checkpoint, saved", save);
  each_allocation("evaluation", evaluate);
  each_allocation("a row of log.csv", log_row);
  check_ok(brc_checkpoint_load(trainer));  // what failed half-way has left a whole one
  brc_trainer_free(trainer);
}

int main(void) {
  cJSON_InitHooks(&(cJSON_Hooks){.malloc_fn = __wrap_malloc, .free_fn = __wrap_free});
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_files),       cmocka_unit_test(test_import),
                                     cmocka_unit_test(test_results),     cmocka_unit_test(test_verify),
                                     cmocka_unit_test(test_environment), cmocka_unit_test(test_trainer)};
  return testing_finish(cmocka_run_group_tests_name("memory", tests, NULL, NULL));
}
