// What the test files share: settings, random numbers, skips, devices to test, comparisons.
#ifndef BRC_TESTING_H
#define BRC_TESTING_H
#include "backends/backend.h"

//------------------------ 1. Settings -----------------------------------------
bool testing_quick(void);     // BRC_TEST_QUICK=1: fewer shapes
uint64_t testing_seed(void);  // BRC_TEST_SEED, default 1; printed when first asked for
const char *testing_shared(
    void);  // golden data: BRC_SHARED or BRC_SOURCE_DIR/../shared; NULL when it isn't there
// A python for what is checked by other people's code: BRC_PYTHON, else the virtual environment that tools/setup --test makes, else
// python3.
const char *testing_python(void);

// BRC_TEST_ONLY=PATTERN: only the tests whose names match it, with * and ?; every executable obeys it.
// Note something that this run can't test. Listed by testing_finish.
void testing_skip(const char *fmt, ...) BRC_PRINTF(1, 2);
// At the end of main, with cmocka's result: closes the devices, lists what was skipped, returns the exit status.
int testing_finish(int failed);

//------------------------ 2. Random numbers ------------------------------------
// One seeded sequence. All results are exact in float32, so that float32 devices and the oracle get the same inputs.
void testing_reseed(
    uint64_t salt);  // (seed, salt) starts the sequence anew: a test does not depend on those before it
double testing_uniform(double low, double high);
double testing_normal(void);
uint32_t testing_below(uint32_t n);
double testing_f32(double x);  // rounded to float32

//------------------------ 3. Devices -------------------------------------------
typedef struct testing_device {
  brc_device *device;
  char label[128];  // "host:0/onednn": backend, device, GEMM provider
  int provider;     // number in the device's list, 0 the default: enough for ops that are not products
} testing_device;

testing_device *testing_oracle(void);
// Every float32 device with every GEMM provider (BRC_TEST_BACKEND=NAME: only that backend). A backend that can't work
// here, and a device that can't be used, is skipped by name; one that fails to open for another reason is a failure.
size_t testing_devices(testing_device **out);

// Allocate a storage on a device and write it from doubles; read it back into doubles. Any dtype, the oracle too.
brc_status testing_storage_write(brc_device *d, brc_storage *s, const double *values);
brc_status testing_storage_read(brc_device *d, const brc_storage *s, double *values);
void testing_storage_release(brc_device *d, brc_storage *s);

// Compile, run once and wait.
brc_status testing_run(brc_device *d, const brc_program *p);

//------------------------ 4. Comparisons ---------------------------------------
// Two bounds together: worst element relative to the largest magnitude, and root of the relative mean square. A mean alone
// lets one bad element in a million pass; the worst alone does not see a small error everywhere.
typedef struct testing_error {
  uint64_t count;
  double worst, rms;
  uint64_t at;  // where the worst is
} testing_error;
// `floor`: the least magnitude to be relative to, where a result may cancel; 0: none. NaN is an infinite error.
testing_error testing_compare(const double *got, const double *want, uint64_t count, double floor);
#endif
