// Matrix units of OpenCL devices: which a device has, and the kernels of each, emulated where there is none.
#include "check.h"
#include "testing.h"
#ifdef BRC_HAVE_OPENCL
#include "backends/opencl/opencl.h"
#include "backends/product_check.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TF32 = 1u << BRC_TF32, SHORT = 1u << BRC_BF16 | 1u << BRC_FP16 };

//------------------------ 1. Which does a device have? --------------------------
static struct described {
  const char *name, *extensions;
  size_t sub_groups[4];
  const char *unit;  // NULL: none
  unsigned precisions;
} described;

// Answers for the device above, under the numbers that the vendors' extensions gave their questions.
static cl_int CL_API_CALL answer(cl_device_id id, cl_device_info what, size_t room, void *out, size_t *bytes) {
  (void)id;
  static const cl_uint major = 8;
  size_t sub_groups = 0, n = 0;
  while (sub_groups < 4 && described.sub_groups[sub_groups]) sub_groups++;
  const void *data = NULL;
  if (what == CL_DEVICE_EXTENSIONS) data = described.extensions, n = strlen(described.extensions) + 1;
  if (what == 0x4000) data = &major, n = sizeof major;
  if (what == 0x4108) data = described.sub_groups, n = sub_groups * sizeof(size_t);
  if (!data) return CL_INVALID_VALUE;
  if (bytes) *bytes = n;
  if (!out) return CL_SUCCESS;
  if (room < n) return CL_INVALID_VALUE;
  memcpy(out, data, n);
  return CL_SUCCESS;
}

#define AMD   "cl_khr_fp64 cl_amd_device_attribute_query"
#define INTEL "cl_intel_required_subgroup_size cl_intel_subgroup_matrix_multiply_accumulate"
static const struct described devices[] = {
    {"NVIDIA A100", "cl_nv_device_attribute_query", {0}, "mma", TF32 | SHORT},
    {"gfx90a:sramecc+:xnack-", AMD, {0}, "mfma", SHORT},
    {"gfx950:sramecc+:xnack-", AMD, {0}, "mfma", SHORT},
    {"gfx942:sramecc+:xnack-", AMD, {0}, "mfma3", TF32 | SHORT},
    {"gfx1100", AMD, {0}, "wmma", SHORT},
    {"gfx1151", AMD, {0}, "wmma", SHORT},
    {"gfx1201", AMD, {0}, "wmma12", SHORT},
    {"gfx1030", AMD, {0}, NULL, 0},
    {"gfx906:sramecc+:xnack-", AMD, {0}, NULL, 0},
    {"gfx1100", "cl_khr_fp64", {0}, NULL, 0},  // another vendor's compiler
    {"Intel(R) Arc(TM) A770 Graphics", INTEL, {8, 16, 32}, "dpas8", SHORT},
    {"Intel(R) Arc(TM) B580 Graphics", INTEL " " INTEL "_tf32", {16, 32}, "dpas16", TF32 | SHORT},
    {"Intel(R) Data Center GPU Max 1550", INTEL, {16, 32}, "dpas16", SHORT},
    {"Intel(R) UHD Graphics 770", "cl_intel_required_subgroup_size", {8, 16, 32}, NULL, 0},
};

static void test_found(void **state) {
  (void)state;
  unsetenv("BRC_EMULATE_MMA");
  const __typeof__(ocl.clGetDeviceInfo) real = ocl.clGetDeviceInfo;
  ocl.clGetDeviceInfo = answer;
  for (size_t i = 0; i < BRC_COUNT(devices); i++) {
    ocl_unit u;
    ocl_device d = {0};
    described = devices[i];
    snprintf(d.base.info.name, sizeof d.base.info.name, "%s", described.name);
    const bool found = ocl_unit_find(&d, &u);
    if (found != (described.unit != NULL)) fail_msg("%s: %s", described.name, found ? u.name : "nothing");
    if (!found) continue;
    assert_string_equal(u.name, described.unit);
    assert_int_equal(u.precisions, described.precisions);
  }
  ocl.clGetDeviceInfo = real;
}

//------------------------ 2. Their kernels --------------------------------------
// Exact products of every layout; quick: by one tile, in bf16; else by all, in the other precisions by one.
static void check_unit(const ocl_unit *u) {
  enum { FIRST = 3, LAST = 5 };  // of mma.c's tiles, behind those of Hopper's own kernels
  brc_device *base;
  setenv("BRC_EMULATE_MMA", u->name, 1);
  check_ok(brc_backend_opencl.open(&base, 0,
                                   &(brc_device_options){.gemm = "mma", .cache_dir = check_path("cache")}));
  ocl_device *d = (ocl_device *)base;
  assert_string_equal(d->mma.unit.name, u->name);
  assert_int_equal(base->info.precisions, u->precisions | 1u << BRC_FP32);
  size_t products = 0;
  for (uint32_t p = 0; p < BRC_PRECISION_COUNT; p++) {
    if (!(u->precisions >> p & 1) || (testing_quick() && p != BRC_BF16)) continue;
    for (uint32_t t = testing_quick() || p != BRC_BF16 ? LAST : FIRST; t <= LAST; t++) {
      d->mma.forced_tile = t;
      d->mma.forced_splits = 1;
      check_ok(brc_check_products(base, (brc_precision)p, 141, 157, 199, 2));
      d->mma.forced_splits = 3;
      check_ok(brc_check_products(base, (brc_precision)p, 67, 131, 227, 2));
      products += 2;
    }
  }
  assert_true(products > 0);
  printf("  %s: %zu products in 3 layouts\n", u->name, products);
  brc_device_close(base);
}

// But for the first one, gemm_nv.cl, which is emulated in its own way. PoCL takes 15 s to compile one: quick,
// MI300's alone.
static void test_products(void **state) {
  (void)state;
  setenv("BRC_TRUST_PRODUCTS", "1", 1);
  for (size_t i = 1; ocl_unit_at(i); i++) {
    const ocl_unit *u = ocl_unit_at(i);
    if (!testing_quick() || !strcmp(u->name, "mfma3")) check_unit(u);
  }
  unsetenv("BRC_TRUST_PRODUCTS");
}

// A unit whose products are wrong is refused by name, and float32 goes on: sub-groups of 8 have no tf32.
static void test_refused(void **state) {
  (void)state;
  brc_device *d;
  setenv("BRC_EMULATE_MMA", "dpas8", 1);
  setenv("BRC_TRUST_PRODUCTS", "1", 1);
  check_ok(
      brc_backend_opencl.open(&d, 0, &(brc_device_options){.gemm = "mma", .cache_dir = check_path("cache")}));
  ((ocl_device *)d)->mma.trusted[0] |= TF32;
  check_fails(BRC_E_VALUE, "nn 40x50x60: ", brc_check_products(d, BRC_TF32, 40, 50, 60, 1));
  check_ok(brc_check_products(d, BRC_FP32, 40, 50, 60, 1));
  brc_device_close(d);
  unsetenv("BRC_TRUST_PRODUCTS");
}

int main(void) {
  size_t count = 0;
  brc_device_info info[8];
  unsetenv("BRC_EMULATE_PRECISION");
  unsetenv("BRC_EMULATE_MMA");
  if (brc_backend_opencl.list(info, BRC_COUNT(info), &count) || !count || !info[0].is_cpu) {
    testing_skip("matrix units, emulated: no OpenCL device that is a CPU");
    return testing_finish(0);
  }
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_found), cmocka_unit_test(test_products),
                                     cmocka_unit_test(test_refused)};
  if (testing_quick()) testing_skip("the other matrix units, and wrong products: BRC_TEST_QUICK");
  return testing_finish(
      _cmocka_run_group_tests("units", tests, BRC_COUNT(tests) - testing_quick(), NULL, NULL));
}
#else
int main(void) {
  testing_skip("matrix units, emulated: this build has no OpenCL");
  return testing_finish(0);
}
#endif
