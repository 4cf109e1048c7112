// Which matrix units a device has, and which kernels are written for them. One row per kind of unit.
#ifdef BRC_HAVE_OPENCL
#include "backends/opencl/opencl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TF32 = 1u << BRC_TF32, SHORT = 1u << BRC_BF16 | 1u << BRC_FP16 };

//------------------------ 1. Whose are they? -----------------------------------
// Numbers of the vendors' extensions are written out, as not every header has them.
static bool nvidia(const ocl_device *d, ocl_unit *u) {
  return ocl_has_extension(d->id, "cl_nv_device_attribute_query") &&
         ocl.clGetDeviceInfo(d->id, 0x4000, sizeof u->generation, &u->generation, NULL) == CL_SUCCESS &&
         u->generation >= 8;
}

// AMD's driver calls devices by their instruction set: "gfx90a:sramecc+:xnack-". `which`: first letters of some.
static bool amd(const ocl_device *d, const char *const *which) {
  if (!ocl_has_extension(d->id, "cl_amd_device_attribute_query")) return false;
  while (*which && strncmp(d->base.info.name, *which, strlen(*which))) which++;
  return *which != NULL;
}
static bool cdna2(const ocl_device *d, ocl_unit *u) {
  (void)u;
  return amd(d, (const char *const[]){"gfx90a", "gfx950", NULL});
}
static bool cdna3(const ocl_device *d, ocl_unit *u) {
  (void)u;
  return amd(d, (const char *const[]){"gfx94", NULL});
}
static bool rdna3(const ocl_device *d, ocl_unit *u) {
  (void)u;
  return amd(d, (const char *const[]){"gfx110", "gfx115", NULL});
}
static bool rdna4(const ocl_device *d, ocl_unit *u) {
  (void)u;
  return amd(d, (const char *const[]){"gfx120", NULL});
}

// Intel's instructions work in sub-groups of the smallest size that a device has.
static bool intel(const ocl_device *d, size_t sub_group) {
  size_t sizes[16], bytes = 0, least = SIZE_MAX;
  if (!ocl_has_extension(d->id, "cl_intel_subgroup_matrix_multiply_accumulate") ||
      !ocl_has_extension(d->id, "cl_intel_required_subgroup_size") ||
      ocl.clGetDeviceInfo(d->id, 0x4108, sizeof sizes, sizes, &bytes) != CL_SUCCESS)
    return false;
  for (size_t i = 0; i < bytes / sizeof *sizes; i++)
    if (sizes[i] < least) least = sizes[i];
  return least == sub_group;
}
static bool intel8(const ocl_device *d, ocl_unit *u) {
  (void)u;
  return intel(d, 8);
}
static bool intel16(const ocl_device *d, ocl_unit *u) {
  if (!ocl_has_extension(d->id, "cl_intel_subgroup_matrix_multiply_accumulate_tf32")) u->precisions &= ~TF32;
  return intel(d, 16);
}

//------------------------ 2. The table -----------------------------------------
#define LARGE_REGISTERS " -cl-intel-256-GRF-per-thread"
static const struct row {
  ocl_unit unit;
  bool (*here)(const ocl_device *d, ocl_unit *u);  // may take precisions away
} rows[] = {
    {{"mma", "cl/gemm_nv.cl", "", "", TF32 | SHORT, 128, 8}, nvidia},
    {{"mfma", "cl/gemm_amd.cl", " -DUNITS=1", "", SHORT, 256, 0}, cdna2},
    {{"mfma3", "cl/gemm_amd.cl", " -DUNITS=1", "", TF32 | SHORT, 256, 0}, cdna3},
    {{"wmma", "cl/gemm_amd.cl", " -DUNITS=2", "", SHORT, 256, 0}, rdna3},
    {{"wmma12", "cl/gemm_amd.cl", " -DUNITS=3", "", SHORT, 256, 0}, rdna4},
    {{"dpas8", "cl/gemm_intel.cl", " -DWAVE=8", LARGE_REGISTERS, SHORT, 256, 0}, intel8},
    {{"dpas16", "cl/gemm_intel.cl", " -DWAVE=16", LARGE_REGISTERS, TF32 | SHORT, 256, 0}, intel16},
};

const ocl_unit *ocl_unit_at(size_t i) { return i < BRC_COUNT(rows) ? &rows[i].unit : NULL; }

const char *ocl_emulated(void) {
  const char *name = getenv("BRC_EMULATE_MMA");
  return name && *name ? name : NULL;
}

// "1", "wrong", "hopper" and "hopper-wrong" are no names: NVIDIA's.
static const struct row *row_named(const char *name) {
  const struct row *r = rows, *end = rows + BRC_COUNT(rows);
  while (r < end && strcmp(r->unit.name, name)) r++;
  return r < end ? r : rows;
}

bool ocl_unit_find(const ocl_device *d, ocl_unit *out) {
  const char *name = ocl_emulated();
  if (name) {
    *out = row_named(name)->unit;
    if (!strncmp(name, "hopper", 6)) out->generation = 9;
    return true;
  }
  for (const struct row *r = rows; r < rows + BRC_COUNT(rows); r++) {
    *out = r->unit;
    if (r->here(d, out)) return true;
  }
  *out = (ocl_unit){0};
  return false;
}

void ocl_unit_options(const ocl_unit *u, brc_precision precision, bool small, char *out, size_t bytes) {
  snprintf(out, bytes, "%s -DPRECISION=%d%s%s", u->options, precision,
           ocl_emulated() ? " -DMMA_EMULATED" : u->real, small ? " -DSMALL_TILES" : "");
}
#endif
