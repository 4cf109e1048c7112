// What OpenCL devices there are; open and close.
#ifdef BRC_HAVE_OPENCL
#include "backends/opencl/opencl.h"
#include "base/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_PLATFORMS 32
#define MAX_DEVICES   64

//------------------------ 1. Enumeration --------------------------------------
typedef struct ocl_place {
  cl_platform_id platform;
  cl_device_id id;
} ocl_place;

// Every device of every platform, in the platforms' order: the index counts them.
static brc_status enumerate(ocl_place *out, size_t *count) {
  *count = 0;
  brc_status st = ocl_load();
  if (st) return st;
  cl_platform_id platforms[MAX_PLATFORMS];
  cl_uint n = 0;
  cl_int code = ocl.clGetPlatformIDs(MAX_PLATFORMS, platforms, &n);
  if (code != CL_SUCCESS || n == 0)
    return brc_fail(BRC_E_UNSUPPORTED,
                    "OpenCL has no platform: install the GPU's driver (NVIDIA and AMD: it comes with OpenCL; "
                    "Intel: intel-opencl-icd), or pocl-opencl-icd for CPUs");
  for (cl_uint i = 0; i < n && i < MAX_PLATFORMS; i++) {
    cl_device_id ids[MAX_DEVICES];
    cl_uint devices = 0;
    // A platform without a device answers with an error: that is normal.
    if (ocl.clGetDeviceIDs(platforms[i], CL_DEVICE_TYPE_ALL, MAX_DEVICES, ids, &devices) != CL_SUCCESS)
      continue;
    for (cl_uint j = 0; j < devices && j < MAX_DEVICES && *count < MAX_DEVICES; j++)
      out[(*count)++] = (ocl_place){platforms[i], ids[j]};
  }
  return BRC_OK;
}

static void info_text(cl_device_id id, cl_device_info what, char *out, size_t bytes) {
  char text[1024] = "";
  if (ocl.clGetDeviceInfo(id, what, sizeof text - 1, text, NULL) != CL_SUCCESS) text[0] = 0;
  const char *from = text + strspn(text, " ");
  snprintf(out, bytes, "%.*s", (int)bytes - 1, from);
  for (size_t n = strlen(out); n > 0 && out[n - 1] == ' '; n--) out[n - 1] = 0;
}

static uint64_t info_number(cl_device_id id, cl_device_info what) {
  cl_ulong value = 0;  // narrower values fill its low bytes
  size_t bytes = 0;
  if (ocl.clGetDeviceInfo(id, what, sizeof value, &value, &bytes) != CL_SUCCESS) return 0;
  return bytes == 4 ? (uint32_t)value : value;
}

bool ocl_has_extension(cl_device_id id, const char *name) {
  size_t bytes = 0;
  if (ocl.clGetDeviceInfo(id, CL_DEVICE_EXTENSIONS, 0, NULL, &bytes) != CL_SUCCESS || !bytes) return false;
  char *all = calloc(bytes + 1, 1);
  bool found = false;
  if (all && ocl.clGetDeviceInfo(id, CL_DEVICE_EXTENSIONS, bytes, all, NULL) == CL_SUCCESS) {
    size_t n = strlen(name);
    for (const char *at = all; (at = strstr(at, name)) && !found; at += n)
      found = (at == all || at[-1] == ' ') && (at[n] == 0 || at[n] == ' ');
  }
  free(all);
  return found;
}

// PCI address, by whichever extension knows it. Numbers of the vendors' extensions are written out, as not every header has them.
static void fill_pci(cl_device_id id, char *out, size_t bytes) {
  struct {
    uint32_t domain, bus, device, function;
  } khr = {0};
  if (ocl_has_extension(id, "cl_khr_pci_bus_info") &&
      ocl.clGetDeviceInfo(id, 0x410F, sizeof khr, &khr, NULL) == CL_SUCCESS) {
    snprintf(out, bytes, "%04x:%02x:%02x.%x", khr.domain, khr.bus & 0xff, khr.device & 0xff,
             khr.function & 0xf);
  } else if (ocl_has_extension(id, "cl_nv_device_attribute_query")) {
    cl_uint bus = 0, slot = 0, domain = 0;
    if (ocl.clGetDeviceInfo(id, 0x4008, sizeof bus, &bus, NULL) != CL_SUCCESS) return;
    if (ocl.clGetDeviceInfo(id, 0x4009, sizeof slot, &slot, NULL) != CL_SUCCESS) return;
    ocl.clGetDeviceInfo(id, 0x400A, sizeof domain, &domain, NULL);
    snprintf(out, bytes, "%04x:%02x:%02x.%x", domain, bus & 0xff, slot >> 3 & 0x1f, slot & 7);
  } else if (ocl_has_extension(id, "cl_amd_device_attribute_query")) {
    struct {
      uint32_t type;
      uint8_t unused[17], bus, device, function;
    } amd = {0};
    if (ocl.clGetDeviceInfo(id, 0x4037, sizeof amd, &amd, NULL) != CL_SUCCESS || amd.type != 1) return;
    snprintf(out, bytes, "0000:%02x:%02x.%x", amd.bus, amd.device, amd.function & 0xf);
  }
}

static void fill_uuid(cl_device_id id, char out[40]) {
  uint8_t u[16];
  if (!ocl_has_extension(id, "cl_khr_device_uuid") ||
      ocl.clGetDeviceInfo(id, 0x106A, sizeof u, u, NULL) != CL_SUCCESS)
    return;
  brc_uuid_text(u, out);
}

static ocl_class class_of(const brc_device_info *info) {
  const char *forced = getenv("BRC_OPENCL_CLASS");
  if (forced && !strcmp(forced, "gpu")) return OCL_GPU;
  if (forced && !strcmp(forced, "cpu")) return OCL_CPU;
  return info->is_cpu ? OCL_CPU : OCL_GPU;
}

// Why a device can't be used; the smallest work-group that our kernels need is known here.
static void fill_note(ocl_device *d) {
  brc_device_info *info = &d->base.info;
  const char *note = "";
  if (!info_number(d->id, CL_DEVICE_AVAILABLE))
    note = "not available";
  else if (!info_number(d->id, CL_DEVICE_COMPILER_AVAILABLE))
    note = "its driver has no OpenCL C compiler";
  else if (!info_number(d->id, CL_DEVICE_ENDIAN_LITTLE))
    note = "big-endian";
  else if (d->class == OCL_GPU && info->max_work_group < 256)
    note = "work-groups of fewer than 256 work-items";
  snprintf(info->note, sizeof info->note, "%s", note);
}

static void fill_info(ocl_device *d, int index) {
  brc_device_info *info = &d->base.info;
  *info = (brc_device_info){.backend = "opencl", .index = index};
  char version[160], platform[160] = "";
  info_text(d->id, CL_DEVICE_NAME, info->name, sizeof info->name);
  info_text(d->id, CL_DEVICE_VENDOR, info->vendor, sizeof info->vendor);
  info_text(d->id, CL_DRIVER_VERSION, version, sizeof version);
  ocl.clGetPlatformInfo(d->platform, CL_PLATFORM_NAME, sizeof platform - 1, platform, NULL);
  snprintf(info->driver, sizeof info->driver, "%.80s, %.70s", version, platform);
  info->memory_bytes = info_number(d->id, CL_DEVICE_GLOBAL_MEM_SIZE);
  info->compute_units = (uint32_t)info_number(d->id, CL_DEVICE_MAX_COMPUTE_UNITS);
  info->max_work_group = (uint32_t)info_number(d->id, CL_DEVICE_MAX_WORK_GROUP_SIZE);
  info->local_bytes = info_number(d->id, CL_DEVICE_LOCAL_MEM_SIZE);
  info->is_cpu = info_number(d->id, CL_DEVICE_TYPE) & CL_DEVICE_TYPE_CPU;
  info->fp16 = ocl_has_extension(d->id, "cl_khr_fp16");
  info->fp64 = ocl_has_extension(d->id, "cl_khr_fp64");
  fill_pci(d->id, info->pci, sizeof info->pci);
  fill_uuid(d->id, info->uuid);
  d->class = class_of(info);
  info->tunes = d->class == OCL_GPU;
  info->max_buffer_bytes = brc_without_slack(info_number(d->id, CL_DEVICE_MAX_MEM_ALLOC_SIZE));
  fill_note(d);
  ocl_gemm_names(d, d->provider_names);
  for (int i = 0; d->provider_names[i]; i++) {
    size_t used = strlen(info->gemm);
    snprintf(info->gemm + used, sizeof info->gemm - used, "%s%s", i ? "," : "", d->provider_names[i]);
  }
}

static void find_cache(ocl_device *d, const char *dir) {
  if (dir)
    snprintf(d->cache, sizeof d->cache, "%s", dir);
  else
    brc_cache_dir(d->cache, sizeof d->cache);
}

brc_status ocl_list(brc_device_info *out, size_t max, size_t *count) {
  ocl_place places[MAX_DEVICES];
  brc_status st = enumerate(places, count);
  if (st) return st;
  for (size_t i = 0; i < *count && i < max; i++) {
    ocl_device d = {.platform = places[i].platform, .id = places[i].id};
    fill_info(&d, (int)i);
    find_cache(&d, NULL);
    if (!*d.base.info.note && !ocl_gemm_choose(&d, NULL)) ocl_gemm_trust(&d, ~0u);
    out[i] = d.base.info;
  }
  return BRC_OK;
}

//------------------------ 2. Open, close --------------------------------------
static brc_status no_such_device(const ocl_place *places, size_t count, int index) {
  char have[512] = "none";
  for (size_t i = 0, used = 0; i < count && used < sizeof have; i++) {
    char name[128];
    info_text(places[i].id, CL_DEVICE_NAME, name, sizeof name);
    used += (size_t)snprintf(have + used, sizeof have - used, "%s%zu (%s)", i ? ", " : "", i, name);
  }
  return brc_fail(BRC_E_NOT_FOUND, "OpenCL device %d does not exist; there are: %s", index, have);
}

// A native product runs on the runtime's own threads, a part on each: threads of ours beside them would contend for the cores (W 512
// on two cores: 189 ms an update with, 165 without). With many cores the commands would cost more than that: one command, our pool.
// Side by side, commands wait for what graph/hazard.h knows of: not for the memory that mma.c reuses.
static uint32_t native_shares(const ocl_device *d) {
  cl_command_queue_properties can = 0;
  const uint32_t cores = d->base.info.compute_units;
  if (d->class != OCL_CPU || strcmp(d->providers[0]->name, "native") || ocl_mma_chosen(d) ||
      cores > OCL_SHARES_MOST ||
      ocl.clGetDeviceInfo(d->id, CL_DEVICE_QUEUE_PROPERTIES, sizeof can, &can, NULL) != CL_SUCCESS ||
      !(can & CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE))
    return 1;
  return cores;
}

static brc_status create_queues(ocl_device *d) {
  cl_int code;
  d->context = ocl.clCreateContext(NULL, 1, &d->id, NULL, NULL, &code);
  if (!d->context) return ocl_fail("clCreateContext", code);
  d->queue = ocl.clCreateCommandQueue(d->context, d->id, 0, &code);
  if (!d->queue) return ocl_fail("clCreateCommandQueue", code);
  const cl_command_queue_properties any_order = d->shares > 1 ? CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE : 0;
  d->timed = ocl.clCreateCommandQueue(d->context, d->id, CL_QUEUE_PROFILING_ENABLE | any_order, &code);
  if (!d->timed) return ocl_fail("clCreateCommandQueue", code);
  if (!any_order) return BRC_OK;
  d->shared = ocl.clCreateCommandQueue(d->context, d->id, any_order, &code);
  return d->shared ? BRC_OK : ocl_fail("clCreateCommandQueue", code);
}

static brc_status take_pool(ocl_device *d, brc_pool *given) {
  d->pool = given;
  if (given || !d->base.info.is_cpu) return BRC_OK;
  brc_status st = brc_pool_create(&d->pool, (int)d->base.info.compute_units);
  d->owns_pool = !st;
  return st;
}

brc_status ocl_open(brc_device **out, int index, const brc_device_options *options) {
  static const brc_device_options defaults;
  *out = NULL;
  if (!options) options = &defaults;
  ocl_place places[MAX_DEVICES];
  size_t count = 0;
  brc_status st = enumerate(places, &count);
  if (st) return st;
  if (index < 0 || (size_t)index >= count) return no_such_device(places, count, index);
  ocl_device *d = calloc(1, sizeof *d);
  if (!d) return brc_fail(BRC_E_NOMEM, "OpenCL: out of memory");
  d->base.backend = &brc_backend_opencl;
  d->platform = places[index].platform;
  d->id = places[index].id;
  fill_info(d, index);
  find_cache(d, options->cache_dir);
  if (d->base.info.note[0])
    st = brc_fail(BRC_E_UNSUPPORTED, "OpenCL device %d (%s) cannot be used: %s", index, d->base.info.name,
                  d->base.info.note);
  if (!st) st = ocl_gemm_choose(d, options->gemm);
  if (!st) {
    d->shares = d->base.info.side_by_side = native_shares(d);
    st = create_queues(d);
  }
  if (!st) st = take_pool(d, options->pool);
  if (!st) st = ocl_program_build(d);
  if (!st) st = ocl_buffer_create(d, "operands that are absent", 16384, &d->none);
  if (!st) ocl_gemm_trust(d, options->precisions ? options->precisions : ~0u);
  if (st) {
    ocl_close(&d->base);
    return st;
  }
  *out = &d->base;
  return BRC_OK;
}

void ocl_close(brc_device *base) {
  if (!base) return;
  ocl_device *d = (ocl_device *)base;
  if (d->queue) ocl.clFinish(d->queue);
  ocl_buffer_destroy(&d->none);
  ocl_mma_close(d);
  if (d->program) ocl.clReleaseProgram(d->program);
  if (d->shared) ocl.clReleaseCommandQueue(d->shared);
  if (d->timed) ocl.clReleaseCommandQueue(d->timed);
  if (d->queue) ocl.clReleaseCommandQueue(d->queue);
  if (d->context) ocl.clReleaseContext(d->context);
  if (d->owns_pool) brc_pool_destroy(d->pool);
  while (d->warm) {
    struct ocl_warm *next = d->warm->next;
    free(d->warm);
    d->warm = next;
  }
  free(d);
}
#endif
