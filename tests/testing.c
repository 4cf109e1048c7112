#include "tests/testing.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/philox.h"
#include "base/pool.h"
#include "tests/check.h"
#include "tests/oracle.h"

//------------------------ 1. Settings -----------------------------------------
bool testing_quick(void) {
  const char *s = getenv("BRC_TEST_QUICK");
  return s && *s && strcmp(s, "0") != 0;
}

uint64_t testing_seed(void) {
  static uint64_t seed;
  static bool known;
  if (!known) {
    const char *s = getenv("BRC_TEST_SEED");
    seed = s ? strtoull(s, NULL, 0) : 1;
    known = true;
    printf("seed %llu (BRC_TEST_SEED)\n", (unsigned long long)seed);
  }
  return seed;
}

const char *testing_shared(void) {
  static char path[4096];
  const char *s = getenv("BRC_SHARED");
  snprintf(path, sizeof path, "%s", s && *s ? s : BRC_SOURCE_DIR "/../shared");
  return brc_path_exists(path) ? path : NULL;
}

const char *testing_python(void) {
  static char path[4200];
  char data[4096];
  const char *chosen = getenv("BRC_PYTHON");
  brc_data_dir(data, sizeof data);
  snprintf(path, sizeof path, "%s/python/bin/python", data);
  return chosen && *chosen ? chosen : brc_path_exists(path) ? path : "python3";
}

// Before main, as cmocka wants it.
__attribute__((constructor)) static void choose_tests(void) {
  const char *s = getenv("BRC_TEST_ONLY");
  if (s && *s) cmocka_set_test_filter(s);
}

static char skipped[64][256];
static size_t skip_count;

void testing_skip(const char *fmt, ...) {
  char line[sizeof *skipped];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(line, sizeof line, fmt, ap);
  va_end(ap);
  for (size_t i = 0; i < skip_count; i++)
    if (strcmp(skipped[i], line) == 0) return;
  if (skip_count < BRC_COUNT(skipped)) memcpy(skipped[skip_count++], line, sizeof line);
}

//------------------------ 2. Random numbers ------------------------------------
static uint64_t stream, position;

void testing_reseed(uint64_t salt) {
  stream = salt;
  position = 0;
}

static uint32_t word(void) {
  uint64_t seed = testing_seed(), block = position >> 2;
  brc_u4 r = brc_philox((uint32_t)block, (uint32_t)(block >> 32), (uint32_t)stream, (uint32_t)(stream >> 32),
                        (uint32_t)seed, (uint32_t)(seed >> 32));
  const uint32_t words[4] = {r.x, r.y, r.z, r.w};
  return words[position++ & 3];
}

double testing_f32(double x) { return (float)x; }
uint32_t testing_below(uint32_t n) { return (uint32_t)((uint64_t)word() * n >> 32); }
double testing_uniform(double low, double high) { return testing_f32(low + (high - low) * (word() * 0x1p-32)); }
double testing_normal(void) {
  double radius = sqrt(-2 * log((word() + 1.0) * 0x1p-32));
  return testing_f32(radius * cos(2 * M_PI * (word() * 0x1p-32)));
}

//------------------------ 3. Devices -------------------------------------------
#define MAX_DEVICES 64
static testing_device devices[MAX_DEVICES];
static size_t device_count;
static brc_pool *pool;  // one for all of them

static void fatal(const char *what) {
  fprintf(stderr, "%s: %s\n", what, brc_error());
  exit(1);
}

testing_device *testing_oracle(void) {
  static testing_device oracle = {.label = "oracle"};
  if (!oracle.device && brc_backend_oracle.open(&oracle.device, 0, NULL)) fatal("oracle");
  return &oracle;
}

static void add_device(brc_device *d, int index, const char *provider, int number) {
  if (device_count == MAX_DEVICES) {
    testing_skip("%s:%d/%s: more than %d devices", d->backend->name, index, provider, MAX_DEVICES);
    d->backend->close(d);
    return;
  }
  testing_device *t = &devices[device_count++];
  t->device = d;
  t->provider = number;
  snprintf(t->label, sizeof t->label, "%s:%d/%.64s", d->backend->name, index, provider);
  printf("device %s: %s\n", t->label, d->info.name);
}

// The default first, then the same device once for every other provider.
static void open_device(const brc_backend *b, const brc_device_info *info) {
  brc_device_options options = {.pool = pool};
  brc_device *d;
  brc_status st = b->open(&d, info->index, &options);
  if (st == BRC_E_UNSUPPORTED || (st && info->note[0])) {
    testing_skip("%s:%d (%s): %s", b->name, info->index, info->name, brc_error());
    return;
  }
  if (st) fatal(b->name);
  char names[16][64];  // copies: the list belongs to the device
  int count = 0;
  for (const char *const *p = b->gemm_providers(d); *p && count < 16; p++)
    snprintf(names[count++], sizeof *names, "%s", *p);
  if (count == 0) {
    fprintf(stderr, "%s:%d has no GEMM provider\n", b->name, info->index);
    exit(1);
  }
  b->close(d);
  for (int i = 0; i < count; i++) {
    options.gemm = names[i];
    if (b->open(&d, info->index, &options)) fatal(names[i]);
    add_device(d, info->index, names[i], i);
  }
}

static void open_backend(const brc_backend *b) {
  brc_device_info infos[MAX_DEVICES];
  size_t count = 0;
  brc_status st = b->list(infos, MAX_DEVICES, &count);
  if (st && strcmp(b->name, "host") == 0) fatal("host");
  if (st)
    testing_skip("%s: %s", b->name, brc_error());
  else if (count == 0)
    testing_skip("%s: no devices", b->name);
  for (size_t i = 0; !st && i < count && i < MAX_DEVICES; i++) open_device(b, &infos[i]);
}

size_t testing_devices(testing_device **out) {
  static bool open;
  const char *only = getenv("BRC_TEST_BACKEND");
  if (!open && brc_pool_create(&pool, 0)) fatal("thread pool");
  for (const brc_backend *const *b = brc_backends; !open && *b; b++) {
    if (only && strcmp(only, (*b)->name) != 0)
      testing_skip("%s: BRC_TEST_BACKEND=%s", (*b)->name, only);
    else
      open_backend(*b);
  }
  open = true;
  *out = devices;
  return device_count;
}

int testing_finish(int failed) {
  for (size_t i = 0; i < device_count; i++) devices[i].device->backend->close(devices[i].device);
  device_count = 0;
  testing_device *oracle = testing_oracle();
  oracle->device->backend->close(oracle->device);
  oracle->device = NULL;
  if (pool) brc_pool_destroy(pool);
  pool = NULL;
  for (size_t i = 0; i < skip_count; i++) printf("skipped: %s\n", skipped[i]);
  return failed ? 1 : 0;
}

brc_status testing_storage_write(brc_device *d, brc_storage *s, const double *values) {
  const brc_backend *b = d->backend;
  brc_status st = b->alloc(d, s->name, s->elements, &s->buffer);
  if (st) return st;
  if (b->wide) return b->write(d, s->buffer, 0, s->elements, values, false);
  union {
    float f;
    int32_t i;
  } *raw = malloc(s->elements * sizeof *raw);
  if (!raw) return brc_fail(BRC_E_NOMEM, "out of memory");
  for (uint64_t i = 0; i < s->elements; i++)
    if (s->dtype == BRC_I32)
      raw[i].i = (int32_t)values[i];
    else
      raw[i].f = (float)values[i];
  st = b->write(d, s->buffer, 0, s->elements, raw, false);
  free(raw);
  return st;
}

brc_status testing_storage_read(brc_device *d, const brc_storage *s, double *values) {
  const brc_backend *b = d->backend;
  if (b->wide) return b->read(d, s->buffer, 0, s->elements, values);
  union {
    float f;
    int32_t i;
  } *raw = malloc(s->elements * sizeof *raw);
  if (!raw) return brc_fail(BRC_E_NOMEM, "out of memory");
  brc_status st = b->read(d, s->buffer, 0, s->elements, raw);
  for (uint64_t i = 0; !st && i < s->elements; i++)
    values[i] = s->dtype == BRC_I32 ? (double)raw[i].i : (double)raw[i].f;
  free(raw);
  return st;
}

void testing_storage_release(brc_device *d, brc_storage *s) {
  if (s->buffer) d->backend->release(d, s->buffer);
  s->buffer = NULL;
}

brc_status testing_run(brc_device *d, const brc_program *p) {
  brc_exec *e;
  brc_status st = d->backend->compile(d, p, &e);
  if (st) return st;
  st = d->backend->run(d, e, 1);
  if (!st) st = d->backend->wait(d);
  d->backend->exec_free(d, e);
  return st;
}

//------------------------ 4. Comparisons ---------------------------------------
testing_error testing_compare(const double *got, const double *want, uint64_t count, double floor) {
  testing_error e = {.count = count};
  double largest = floor, squares = 0, error_squares = 0;
  for (uint64_t i = 0; i < count; i++) {
    largest = fmax(largest, fabs(want[i]));
    squares += want[i] * want[i];
    double error = got[i] == want[i] ? 0 : fabs(got[i] - want[i]);
    if (!(error <= INFINITY)) error = INFINITY;  // NaN
    error_squares += error * error;
    if (error > e.worst) {
      e.worst = error;
      e.at = i;
    }
  }
  // Relative to nothing but zeros, any error is infinite.
  if (e.worst > 0) e.worst /= largest;
  if (error_squares > 0) e.rms = sqrt(error_squares / fmax(squares, floor * floor * (double)count));
  return e;
}
