// OpenCL: facts; NVIDIA's PTX, inline and as a binary, with the instructions of its matrix units; launches; local memory.
#include "probe.h"

#define CL_TARGET_OPENCL_VERSION 300
#define CL_USE_DEPRECATED_OPENCL_1_2_APIS
#define CL_ENABLE_BETA_EXTENSIONS
#include <CL/cl.h>
#include <CL/cl_ext.h>
#include <dlfcn.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// clang-format off
#define FUNCTIONS(X) X(clGetPlatformIDs) X(clGetPlatformInfo) X(clGetDeviceIDs) X(clGetDeviceInfo) X(clCreateContext)       \
  X(clCreateCommandQueue) X(clCreateBuffer) X(clCreateProgramWithSource) X(clCreateProgramWithBinary) X(clBuildProgram)     \
  X(clGetProgramBuildInfo) X(clGetProgramInfo) X(clCreateKernel) X(clSetKernelArg) X(clEnqueueNDRangeKernel) X(clFinish)    \
  X(clFlush) X(clEnqueueReadBuffer) X(clEnqueueWriteBuffer) X(clGetExtensionFunctionAddressForPlatform)
// clang-format on
static struct {
#define X(f) __typeof__(&f) f;
  FUNCTIONS(X)
#undef X
} cl;

static cl_platform_id platform;
static cl_device_id device;
static cl_context context;
static cl_command_queue queue;

//------------------------ 1. A device ------------------------------------------
static void add_text(cJSON *o, const char *name, cl_device_info what) {
  static char text[65536];
  size_t n = 0;
  if (cl.clGetDeviceInfo(device, what, sizeof text - 1, text, &n)) return;
  text[n < sizeof text ? n : sizeof text - 1] = 0;
  cJSON_AddStringToObject(o, name, text);
}

static void add_number(cJSON *o, const char *name, cl_device_info what) {
  cl_ulong value = 0;  // narrower ones fill its low bytes
  if (!cl.clGetDeviceInfo(device, what, sizeof value, &value, NULL))
    cJSON_AddNumberToObject(o, name, (double)value);
}

static bool has_extension(const char *name) {
  static char text[65536];
  size_t n = 0;
  if (cl.clGetDeviceInfo(device, CL_DEVICE_EXTENSIONS, sizeof text - 1, text, &n)) return false;
  text[n < sizeof text ? n : sizeof text - 1] = 0;
  return strstr(text, name) != NULL;
}

// The n-th device over all platforms, with its name in the answer. False where there is none; "absent" says why there is none at all.
static bool choose_device(int n, cJSON *answer) {
  void *library = probe_library("libOpenCL.so.1", answer);
  if (!library) return false;
#define X(f) *(void **)&cl.f = dlsym(library, #f);
  FUNCTIONS(X)
#undef X
  cl_platform_id platforms[16];
  cl_uint count = 0;
  cl_int code = cl.clGetPlatformIDs(16, platforms, &count);
  for (cl_uint p = 0; !code && p < count && p < 16; p++) {
    cl_device_id ids[16];
    cl_uint here = 0;
    if (cl.clGetDeviceIDs(platforms[p], CL_DEVICE_TYPE_ALL, 16, ids, &here)) continue;
    for (cl_uint i = 0; i < here && i < 16; i++, n--)
      if (n == 0) {
        platform = platforms[p];
        device = ids[i];
        add_text(answer, "name", CL_DEVICE_NAME);
        return true;
      }
  }
  if (code || !count) cJSON_AddStringToObject(answer, "absent", "no OpenCL platform");
  return false;
}

static bool open_device(int n, cJSON *answer) {
  if (!choose_device(n, answer)) return false;
  cl_int code = 0;
  context = cl.clCreateContext(NULL, 1, &device, NULL, NULL, &code);
  if (!code) queue = cl.clCreateCommandQueue(context, device, 0, &code);
  if (code) probe_error(answer, "cannot create a context and queue (%d)", code);
  return true;
}

bool probe_opencl_facts(int n, cJSON *answer) {
  if (!choose_device(n, answer)) return false;
  char text[256] = "";
  cl.clGetPlatformInfo(platform, CL_PLATFORM_NAME, sizeof text, text, NULL);
  cJSON_AddStringToObject(answer, "platform", text);
  add_text(answer, "vendor", CL_DEVICE_VENDOR);
  add_text(answer, "driver", CL_DRIVER_VERSION);
  add_text(answer, "version", CL_DEVICE_VERSION);
  add_text(answer, "c_version", CL_DEVICE_OPENCL_C_VERSION);
  add_text(answer, "il_version", CL_DEVICE_IL_VERSION);
  add_number(answer, "type", CL_DEVICE_TYPE);
  add_number(answer, "compute_units", CL_DEVICE_MAX_COMPUTE_UNITS);
  add_number(answer, "clock_mhz", CL_DEVICE_MAX_CLOCK_FREQUENCY);
  add_number(answer, "memory_bytes", CL_DEVICE_GLOBAL_MEM_SIZE);
  add_number(answer, "largest_buffer_bytes", CL_DEVICE_MAX_MEM_ALLOC_SIZE);
  add_number(answer, "cache_bytes", CL_DEVICE_GLOBAL_MEM_CACHE_SIZE);
  add_number(answer, "local_bytes", CL_DEVICE_LOCAL_MEM_SIZE);
  add_number(answer, "work_group", CL_DEVICE_MAX_WORK_GROUP_SIZE);
  add_number(answer, "timer_ns", CL_DEVICE_PROFILING_TIMER_RESOLUTION);
  if (has_extension("cl_nv_device_attribute_query")) {
    add_number(answer, "nv_capability_major", 0x4000);
    add_number(answer, "nv_capability_minor", 0x4001);
    add_number(answer, "nv_registers_per_group", 0x4002);
  }
  add_text(answer, "extensions", CL_DEVICE_EXTENSIONS);
  return true;
}

//------------------------ 2. Code ----------------------------------------------
// Every kernel `k` below is run by one group of `lanes` work-items on (in, out), arrays of COUNT floats, and its result is compared.
#define COUNT 1024
typedef struct code_test {
  const char *name, *options, *source;
  bool binary;  // the source is PTX
  size_t lanes;
  void (*expect)(const float *in, float *out);  // fills what `out` must be; NaN: not looked at
} code_test;

static void expect_lane(const float *in, float *out) {
  (void)in;
  for (int i = 0; i < 32; i++) out[i] = (float)i;
}
static void expect_plus_one(const float *in, float *out) {
  for (int i = 0; i < 32; i++) out[i] = in[i] + 1;
}
static void expect_copy(const float *in, float *out) {
  for (int i = 0; i < 128; i++) out[i] = in[i];
}
// C [16,8] = A [16,K] B [K,8], A at in, B at in + 256; small integers, exact in every type.
static void expect_product(const float *in, float *out, int k) {
  for (int i = 0; i < 16; i++)
    for (int j = 0; j < 8; j++) {
      float s = 0;
      for (int l = 0; l < k; l++) s += in[i * k + l] * in[256 + l * 8 + j];
      out[i * 8 + j] = s;
    }
}
static void expect_k8(const float *in, float *out) { expect_product(in, out, 8); }
static void expect_k16(const float *in, float *out) { expect_product(in, out, 16); }

// mma.sync by one warp: fragments as the PTX manual lays them out (g = lane / 4 rows, t = lane % 4 columns).
#define MMA_STORE                                                                                  \
  "int r = get_local_id(0) / 4, t = get_local_id(0) % 4; global float *c = out + r * 8 + 2 * t;\n" \
  "c[0] = d[0]; c[1] = d[1]; c[64] = d[2]; c[65] = d[3]; }\n"
#define MMA_16(type, pack)                                                                           \
  "inline uint pair(float lo, float hi) { " pack                                                     \
  " }\n"                                                                                             \
  "kernel void k(global const float *a, global float *out) {\n"                                      \
  "  int g = get_local_id(0) / 4, q = get_local_id(0) % 4 * 2; global const float *b = a + 256;\n"   \
  "  uint a0 = pair(a[g*16+q], a[g*16+q+1]), a1 = pair(a[(g+8)*16+q], a[(g+8)*16+q+1]);\n"           \
  "  uint a2 = pair(a[g*16+q+8], a[g*16+q+9]), a3 = pair(a[(g+8)*16+q+8], a[(g+8)*16+q+9]);\n"       \
  "  uint b0 = pair(b[q*8+g], b[(q+1)*8+g]), b1 = pair(b[(q+8)*8+g], b[(q+9)*8+g]);\n"               \
  "  float d[4] = {0, 0, 0, 0};\n"                                                                   \
  "  asm volatile(\"mma.sync.aligned.m16n8k16.row.col.f32." type "." type                            \
  ".f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\"\n"                                   \
  "    : \"+f\"(d[0]), \"+f\"(d[1]), \"+f\"(d[2]), \"+f\"(d[3]) : \"r\"(a0), \"r\"(a1), \"r\"(a2), " \
  "\"r\"(a3), "                                                                                      \
  "\"r\"(b0), \"r\"(b1));\n" MMA_STORE
#define PTX_PLUS_ONE(version, target, extra)                                                                \
  ".version " version "\n.target " target                                                                   \
  "\n.address_size 64\n"                                                                                    \
  ".entry k(.param .u64 .ptr .global .align 4 k_param_0, .param .u64 .ptr .global .align 4 k_param_1)\n{\n" \
  ".reg .b64 %p<5>; .reg .b32 %t; .reg .f32 %x;\n"                                                          \
  "ld.param.u64 %p0, [k_param_0];\nld.param.u64 %p1, [k_param_1];\nmov.u32 %t, %tid.x;\n"                   \
  "mul.wide.u32 %p2, %t, 4;\nadd.s64 %p3, %p0, %p2;\nadd.s64 %p4, %p1, %p2;\n" extra                        \
  "ld.global.f32 %x, [%p3];\nadd.f32 %x, %x, 0f3F800000;\nst.global.f32 [%p4], %x;\nret;\n}\n"

static const code_test code_tests[] = {
    {"ptx_inline", "",
     "kernel void k(global const float *in, global float *out) { uint lane;\n"
     "asm volatile(\"mov.u32 %0, %%laneid;\" : \"=r\"(lane)); out[get_local_id(0)] = lane; }",
     false, 32, expect_lane},
    {"mma_tf32", "",
     "kernel void k(global const float *a, global float *out) {\n"
     "  int g = get_local_id(0) / 4, q = get_local_id(0) % 4; global const float *b = a + 256;\n"
     "  uint a0 = as_uint(a[g*8+q]), a1 = as_uint(a[(g+8)*8+q]), a2 = as_uint(a[g*8+q+4]), a3 = "
     "as_uint(a[(g+8)*8+q+4]);\n"
     "  uint b0 = as_uint(b[q*8+g]), b1 = as_uint(b[(q+4)*8+g]); float d[4] = {0, 0, 0, 0};\n"
     "  asm volatile(\"mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
     "{%8,%9}, "
     "{%0,%1,%2,%3};\"\n"
     "    : \"+f\"(d[0]), \"+f\"(d[1]), \"+f\"(d[2]), \"+f\"(d[3]) : \"r\"(a0), \"r\"(a1), \"r\"(a2), "
     "\"r\"(a3), \"r\"(b0), "
     "\"r\"(b1));\n" MMA_STORE,
     false, 32, expect_k8},
    {"mma_bf16", "", MMA_16("bf16", "return as_uint(lo) >> 16 | (as_uint(hi) & 0xffff0000u);"), false, 32,
     expect_k16},
    {"mma_fp16", "",
     MMA_16("f16",
            "ushort l, h; asm(\"cvt.rn.f16.f32 %0, %1;\" : \"=h\"(l) : \"f\"(lo)); asm(\"cvt.rn.f16.f32 %0, "
            "%1;\" : "
            "\"=h\"(h) : \"f\"(hi)); return l | (uint)h << 16;"),
     false, 32, expect_k16},
    {"cp_async", "",
     "kernel void k(global const float *in, global float *out) { local float s[128] "
     "__attribute__((aligned(16)));\n"
     "int i = get_local_id(0); uint to = (uint)(ulong)(s + 4 * i);\n"
     "asm volatile(\"{ .reg .u64 g; cvta.to.global.u64 g, %1; cp.async.cg.shared.global [%0], [g], 16; }\" :: "
     "\"r\"(to), "
     "\"l\"(in + 4 * i) : \"memory\");\n"
     "asm volatile(\"cp.async.commit_group; cp.async.wait_group 0;\" ::: \"memory\"); "
     "barrier(CLK_LOCAL_MEM_FENCE);\n"
     "for (int j = 0; j < 4; j++) out[j * 32 + i] = s[j * 32 + i]; }",
     false, 32, expect_copy},
    {"wgmma_inline", "-cl-nv-arch sm_90a",
     "kernel void k(global const float *in, global float *out) {\n"
     "asm volatile(\"wgmma.fence.sync.aligned; wgmma.commit_group.sync.aligned; wgmma.wait_group.sync.aligned "
     "0;\" ::: "
     "\"memory\");\n"
     "out[get_local_id(0)] = in[get_local_id(0)]; }",
     false, 128, expect_copy},
    {"ptx_binary", "", PTX_PLUS_ONE("6.0", "sm_50", ""), true, 32, expect_plus_one},
    {"ptx_binary_sm_80", "", PTX_PLUS_ONE("7.0", "sm_80", "cp.async.wait_all;\n"), true, 32, expect_plus_one},
    {"ptx_binary_sm_90a", "",
     PTX_PLUS_ONE("8.0", "sm_90a",
                  "wgmma.fence.sync.aligned;\nwgmma.commit_group.sync.aligned;\n"
                  "wgmma.wait_group.sync.aligned 0;\n"),
     true, 128, expect_plus_one},
};

// The program built; NULL, and "error" with the build log, when it can't be.
static cl_program build(const char *source, bool binary, const char *options, cJSON *answer) {
  cl_int code = 0, status = 0;
  size_t n = strlen(source) + binary;  // PTX ends with a zero byte
  const unsigned char *bytes = (const unsigned char *)source;
  cl_program p = binary ? cl.clCreateProgramWithBinary(context, 1, &device, &n, &bytes, &status, &code)
                        : cl.clCreateProgramWithSource(context, 1, &source, &n, &code);
  if (code || status) {
    probe_error(answer, "the driver does not take it (%d, %d)", code, status);
    return NULL;
  }
  double start = probe_now_s();
  code = cl.clBuildProgram(p, 1, &device, options, NULL, NULL);
  cJSON_AddNumberToObject(answer, "build_ms", 1e3 * (probe_now_s() - start));
  if (!code) return p;
  char log[400] = "";
  static char all[65536];
  if (!cl.clGetProgramBuildInfo(p, device, CL_PROGRAM_BUILD_LOG, sizeof all, all, NULL))
    snprintf(log, sizeof log, "%.399s", all);
  probe_error(answer, "does not build (%d): %s", code, log);
  return NULL;
}

static void run_code(const code_test *t, cJSON *answer) {
  cl_program p = build(t->source, t->binary, t->options, answer);
  if (!p) return;
  static float in[COUNT], out[COUNT], expected[COUNT];
  for (int i = 0; i < COUNT; i++) {
    in[i] = (float)(i * 7 % 13 - 6);
    out[i] = expected[i] = NAN;
  }
  t->expect(in, expected);
  cl_int code[9] = {0};
  cl_kernel k = cl.clCreateKernel(p, "k", &code[0]);
  cl_mem from = cl.clCreateBuffer(context, CL_MEM_COPY_HOST_PTR, sizeof in, in, &code[1]),
         to = cl.clCreateBuffer(context, CL_MEM_COPY_HOST_PTR, sizeof out, out, &code[2]);
  if (!code[0] && !code[1] && !code[2]) {
    code[3] = cl.clSetKernelArg(k, 0, sizeof from, &from);
    code[4] = cl.clSetKernelArg(k, 1, sizeof to, &to);
    code[5] = cl.clEnqueueNDRangeKernel(queue, k, 1, NULL, &t->lanes, &t->lanes, 0, NULL, NULL);
    code[6] = cl.clEnqueueReadBuffer(queue, to, CL_TRUE, 0, sizeof out, out, 0, NULL, NULL);
  }
  for (int i = 0; i < 7; i++)
    if (code[i]) {
      probe_error(answer, "builds but does not run (step %d: %d)", i, code[i]);
      return;
    }
  for (int i = 0; i < COUNT; i++)
    if (!isnan(expected[i]) && out[i] != expected[i]) {
      probe_error(answer, "wrong result: element %d is %g, expected %g", i, (double)out[i],
                  (double)expected[i]);
      return;
    }
  cJSON_AddBoolToObject(answer, "works", true);
}

// One answer per test: a refusal is an answer, not a failure of the question.
bool probe_opencl_code(int n, cJSON *answer) {
  if (!open_device(n, answer)) return false;
  if (!has_extension("cl_nv_")) {
    cJSON_AddStringToObject(answer, "skipped", "PTX is NVIDIA's");
    return true;
  }
  cJSON *tests = cJSON_AddObjectToObject(answer, "tests");
  for (size_t i = 0; queue && i < sizeof code_tests / sizeof *code_tests; i++)
    run_code(&code_tests[i], cJSON_AddObjectToObject(tests, code_tests[i].name));
  return true;
}

//------------------------ 3. Launches ------------------------------------------
static void time_command_buffer(cl_kernel k, int count, cJSON *answer) {
#define F(f) f##_fn f = (f##_fn)cl.clGetExtensionFunctionAddressForPlatform(platform, #f)
  F(clCreateCommandBufferKHR);
  F(clCommandNDRangeKernelKHR);
  F(clFinalizeCommandBufferKHR);
  F(clEnqueueCommandBufferKHR);
#undef F
  cJSON *o = cJSON_AddObjectToObject(answer, "command_buffer");
  if (!has_extension("cl_khr_command_buffer") || !clCreateCommandBufferKHR || !clCommandNDRangeKernelKHR ||
      !clFinalizeCommandBufferKHR || !clEnqueueCommandBufferKHR) {
    cJSON_AddStringToObject(o, "absent", "no cl_khr_command_buffer");
    return;
  }
  cl_int code = 0;
  size_t one = 64;
  cl_command_buffer_khr b = clCreateCommandBufferKHR(1, &queue, NULL, &code);
  for (int i = 0; !code && i < count; i++)
    code = clCommandNDRangeKernelKHR(b, NULL, NULL, k, 1, NULL, &one, &one, 0, NULL, NULL, NULL);
  if (!code) code = clFinalizeCommandBufferKHR(b);
  for (int i = 0; !code && i < 3; i++) {
    double start = probe_now_s(), sent;
    code = clEnqueueCommandBufferKHR(0, NULL, b, 0, NULL, NULL);
    sent = probe_now_s();
    cl.clFinish(queue);
    if (i < 2) continue;  // the first ones warm up
    cJSON_AddNumberToObject(o, "kernels", count);
    cJSON_AddNumberToObject(o, "enqueue_us", 1e6 * (sent - start));
    cJSON_AddNumberToObject(o, "us_per_kernel", 1e6 * (probe_now_s() - start) / count);
  }
  if (code) probe_error(o, "advertised, but does not work (%d)", code);
}

bool probe_opencl_launch(int n, cJSON *answer) {
  if (!open_device(n, answer)) return false;
  if (!queue) return true;
  cl_program p =
      build("kernel void k(global float *a) { if (get_global_id(0) == 0) a[0] += 1; }", false, "", answer);
  if (!p) return true;
  cl_int code = 0;
  size_t one = 64;
  const int count = 1000;
  cl_kernel k = cl.clCreateKernel(p, "k", &code);
  cl_mem m = code ? NULL : cl.clCreateBuffer(context, 0, 4096, NULL, &code);
  if (!code) code = cl.clSetKernelArg(k, 0, sizeof m, &m);
  for (int round = 0; !code && round < 3; round++) {
    double start = probe_now_s(), sent;
    for (int i = 0; !code && i < count; i++)
      code = cl.clEnqueueNDRangeKernel(queue, k, 1, NULL, &one, &one, 0, NULL, NULL);
    sent = probe_now_s();
    cl.clFinish(queue);
    if (round < 2) continue;  // the first ones warm up
    cJSON_AddNumberToObject(answer, "kernels", count);
    cJSON_AddNumberToObject(answer, "enqueue_us", 1e6 * (sent - start) / count);
    cJSON_AddNumberToObject(answer, "us_per_kernel", 1e6 * (probe_now_s() - start) / count);
  }
  // From an enqueue on an idle queue to its result on the host.
  float value;
  double start = probe_now_s();
  for (int i = 0; !code && i < 50; i++) {
    code = cl.clEnqueueNDRangeKernel(queue, k, 1, NULL, &one, &one, 0, NULL, NULL);
    if (!code) code = cl.clEnqueueReadBuffer(queue, m, CL_TRUE, 0, 4, &value, 0, NULL, NULL);
  }
  if (code)
    probe_error(answer, "an empty kernel does not run (%d)", code);
  else
    cJSON_AddNumberToObject(answer, "round_trip_us", 1e6 * (probe_now_s() - start) / 50);
  if (!code) time_command_buffer(k, 100, answer);
  return true;
}

//------------------------ 4. Local memory ---------------------------------------
bool probe_opencl_local(int n, cJSON *answer) {
  if (!open_device(n, answer)) return false;
  if (!queue) return true;
  cl_program p = build(
      "kernel void k(global float *a, local float *s, int n) { int i = get_local_id(0); s[i] = 1; s[n - 1 - i] "
      "= i;\n"
      "barrier(CLK_LOCAL_MEM_FENCE); a[i] = s[n - 64 + i] + s[i]; }",
      false, "", answer);
  if (!p) return true;
  add_number(answer, "said_bytes", CL_DEVICE_LOCAL_MEM_SIZE);
  cl_int code = 0;
  cl_kernel k = cl.clCreateKernel(p, "k", &code);
  cl_mem m = code ? NULL : cl.clCreateBuffer(context, 0, 4096, NULL, &code);
  size_t lanes = 64, most = 0;
  if (!code) code = cl.clSetKernelArg(k, 0, sizeof m, &m);
  for (size_t kib = 16; !code && kib <= 228; kib += kib < 64 ? 16 : 4) {
    int count = (int)(kib * 256);
    float out[64] = {0};
    code = cl.clSetKernelArg(k, 1, kib * 1024, NULL);
    if (!code) code = cl.clSetKernelArg(k, 2, sizeof count, &count);
    if (!code) code = cl.clEnqueueNDRangeKernel(queue, k, 1, NULL, &lanes, &lanes, 0, NULL, NULL);
    if (!code) code = cl.clEnqueueReadBuffer(queue, m, CL_TRUE, 0, sizeof out, out, 0, NULL, NULL);
    for (int i = 0; !code && i < 64; i++)
      if (out[i] != (float)(63 - i) + 1) code = CL_INVALID_VALUE;
    if (!code) most = kib * 1024;
  }
  cJSON_AddNumberToObject(answer, "works_bytes", (double)most);
  cJSON_AddNumberToObject(answer, "code_beyond", code);
  return true;
}
