// Inside the OpenCL backend, in the order of use:
//   loader.c   libOpenCL and CLBlast at run time, error codes in words
//   device.c   what devices there are; open and close
//   program.c  the kernels of cl/ built for a device, cached on disk
//   ops.c      one function per op: which kernel, how many work-groups
//   gemm.c     the providers of products
//   units.c    which matrix units there are, and their kernels
//   mma.c      one of the providers: matrix units
//   order.c    what each step waits for, where a queue is out of order
//   opencl.c   buffers, compile, run, profile: the table of backend.h
#ifndef BRC_OPENCL_H
#define BRC_OPENCL_H
#include "backends/backend.h"
#include "base/pool.h"
#include "graph/hazard.h"
#define CL_USE_DEPRECATED_OPENCL_1_2_APIS
#include <CL/cl.h>
#include <stdatomic.h>

//------------------------ 1. The library --------------------------------------
// Every function that we call. All are in OpenCL 1.2.
// clang-format off
#define OCL_FUNCTIONS(X)                                                                            \
  X(clGetPlatformIDs) X(clGetPlatformInfo) X(clGetDeviceIDs) X(clGetDeviceInfo)                     \
  X(clCreateContext) X(clReleaseContext) X(clCreateCommandQueue) X(clReleaseCommandQueue)           \
  X(clCreateBuffer) X(clReleaseMemObject)                                                           \
  X(clCreateProgramWithSource) X(clCreateProgramWithBinary) X(clBuildProgram) X(clReleaseProgram)   \
  X(clGetProgramInfo) X(clGetProgramBuildInfo)                                                      \
  X(clCreateKernel) X(clReleaseKernel) X(clSetKernelArg)                                            \
  X(clEnqueueNDRangeKernel) X(clEnqueueNativeKernel) X(clEnqueueReadBuffer) X(clEnqueueWriteBuffer) \
  X(clEnqueueCopyBuffer) X(clEnqueueFillBuffer)                                                     \
  X(clEnqueueMarkerWithWaitList) X(clEnqueueBarrierWithWaitList)                                    \
  X(clGetEventProfilingInfo) X(clReleaseEvent) X(clFlush) X(clFinish)
// clang-format on
typedef struct ocl_functions {
#define X(f) __typeof__(&f) f;
  OCL_FUNCTIONS(X)
#undef X
} ocl_functions;
extern ocl_functions ocl;  // filled by ocl_load

// Load libOpenCL once. E_UNSUPPORTED, with what to install, when it is not there.
brc_status ocl_load(void);
// An OpenCL failure as a sentence: the call, the code in words. E_NOMEM for the codes that mean it, else E_DEVICE.
brc_status ocl_fail(const char *call, cl_int code);
const char *ocl_code_text(cl_int code);
#define OCL_TRY(f, ...)                                  \
  do {                                                   \
    cl_int code_ = ocl.f(__VA_ARGS__);                   \
    if (code_ != CL_SUCCESS) return ocl_fail(#f, code_); \
  } while (0)

//------------------------ 2. Devices ------------------------------------------
// What kernels are built for. A device's class follows from its type; BRC_OPENCL_CLASS=cpu|gpu overrides it (tests run the
// GPUs' kernels on a CPU with it).
typedef enum ocl_class { OCL_CPU, OCL_GPU } ocl_class;

typedef struct ocl_gemm_provider ocl_gemm_provider;
#define OCL_MAX_PROVIDERS 8
#define OCL_MMA_FAMILIES  2

typedef struct ocl_device ocl_device;

// A kind of matrix units and the kernels for it.
typedef struct ocl_unit {
  const char *name, *source;
  const char *options;  // of the source
  const char *real;     // more of them where it is not emulated
  unsigned precisions;  // bits
  uint32_t threads;     // of a work-group of a product
  cl_uint generation;   // NVIDIA's: compute capability, the major number; 0: another vendor's
} ocl_unit;

// On CPU devices the memory is ours, as native kernels need its address, and PoCL 3.1 hands them the addresses of several
// buffers in the wrong order.
struct brc_buffer {
  cl_mem mem;
  float *host;  // NULL on other devices
  uint64_t elements;
  uint64_t
      changes;  // how often something has written to it: by the host, as a copy, runs of a program that does
  uint64_t *counted;  // the device's `allocated`, while this is in it
};
// A zero-filled buffer with slack behind it. `what` is for the message.
brc_status ocl_buffer_create(ocl_device *d, const char *what, uint64_t elements, brc_buffer *out);
void ocl_buffer_destroy(brc_buffer *b);

struct ocl_device {
  brc_device base;
  cl_platform_id platform;
  cl_device_id id;
  cl_context context;
  cl_command_queue queue;  // in order
  cl_command_queue timed;  // records times, for profiles
  cl_command_queue
      shared;  // out of order, for commands of one program side by side on a CPU's cores; else NULL
  uint32_t
      shares;  // cores that commands of one program run on side by side; 1: products are one command, on the pool
  cl_program program;
  char cache[4096];  // folder of compiled kernels
  struct ocl_mma {
    ocl_unit unit;
    cl_program programs[OCL_MMA_FAMILIES][BRC_PRECISION_COUNT];  // made at the first use
    unsigned known;                                              // precisions that were checked, as bits
    unsigned trusted[OCL_MMA_FAMILIES];   // precisions whose products were right here, as bits
    uint32_t forced_tile, forced_splits;  // by the check: 1 + index of the tile, parts of k; 0: by the table
  } mma;
  brc_buffer none;  // stands for absent operands; also where kernels run once to be compiled
  ocl_class class;
  brc_pool *pool;  // for native kernels
  bool owns_pool;
  atomic_bool starved;  // a native kernel had no memory to work with: nothing after it is to be trusted
  const ocl_gemm_provider *providers[OCL_MAX_PROVIDERS + 1];  // to try in order
  const char *provider_names[OCL_MAX_PROVIDERS + 1];          // that can run here
  struct ocl_warm {
    const char *name;
    cl_program program;
    size_t local;
    struct ocl_warm *next;
  } * warm;            // kernels that have run once
  uint64_t in_flight;  // commands since the last wait
};

brc_status ocl_list(brc_device_info *out, size_t max, size_t *count);
brc_status ocl_open(brc_device **out, int index, const brc_device_options *options);
void ocl_close(brc_device *d);
bool ocl_has_extension(cl_device_id id, const char *name);

//------------------------ 3. Kernels ------------------------------------------
// Build (or take from d's cache) the kernels that all devices need.
brc_status ocl_program_build(ocl_device *d);
// A program of other files in the GPUs' form, with options of its own behind the common ones; d is open.
brc_status ocl_program_make(ocl_device *d, const char *const *files, size_t count, const char *options,
                            cl_program *out);
// A program of a file that is a binary for the driver's loader: PTX.
brc_status ocl_program_prebuilt(ocl_device *d, const char *file, cl_program *out);
// Give such a program back; NULL is fine.
void ocl_program_drop(ocl_device *d, cl_program *program);
// What a GPU's driver gets for such a program (no files: the kernels that all devices need): options, and the source, which the caller
// frees. Needs no device.
brc_status ocl_program_text(const char *const *files, size_t count, const char *more, char *options,
                            size_t options_bytes, char **source);
// Hash of all kernels' sources in this build.
uint64_t ocl_kernels_hash(void);
struct brc_cache;
// A key of the device, the driver, and the program as it would be made; d need not be open.
brc_status ocl_cache_begin(struct brc_cache *c, const ocl_device *d, const char *const *files, size_t count,
                           const char *options, const char *magic);

// Work-items per row, by the build constants of the same names; 1 on CPU devices.
enum {
  OCL_NORM_LANES = 128,
  OCL_ROW_LANES = 32,
  OCL_REDUCE_LANES = 256,
  OCL_ADAM_LANES = 256,
  OCL_STRIP_LANES = 256
};
// Bounds of the kernels' private and local memory.
enum { OCL_MEMBERS_MAX = 16, OCL_ATOMS_MAX = 1024 };
// Most cores that take parts of ops.
enum { OCL_SHARES_MOST = 8 };

//------------------------ 4. A compiled program -------------------------------
typedef struct ocl_step ocl_step;
typedef struct ocl_waits {
  cl_uint count;
  const cl_event *events;  // NULL when there are none
} ocl_waits;
typedef brc_status ocl_launch(ocl_device *d, const ocl_step *s, cl_command_queue queue, ocl_waits waits,
                              cl_event *event);

// One command. An op has one or more: one behind the other, or parts of it side by side.
struct ocl_step {
  const brc_op *op;
  cl_kernel kernel;  // NULL: `launch` does it
  cl_uint dims;
  size_t global[3], local[3];
  ocl_launch *launch;
  void *data;        // of `launch`, freed with the step
  bool by_clock;     // its event does not tell its time: profiles wait for it and look at the clock
  brc_op_part part;  // of the op: it does not wait for the op's other parts
};

// On a shared queue: what steps wait for.
typedef struct ocl_order {
  struct ocl_step_waits {
    uint32_t first, count;  // in `waits`; none: wait for the run's start
  } * steps;
  uint32_t *waits;  // numbers of earlier steps
  uint32_t *last;   // steps that none waits for: their end is the run's
  uint32_t last_count;
  cl_event *events, *list;  // one per step; of the step at hand
} ocl_order;

// What a program's AdamW keeps up to date: a copy of all parameters of a storage as factors of products (mma.c). Where others have
// written to the storage, `fill` makes it anew before the program runs.
typedef struct ocl_shadow {
  const brc_storage *of;
  brc_precision precision;
  uint64_t seen;  // changes of the storage's buffer that are in it
  ocl_step fill;
  brc_storage storage;
  brc_buffer buffer;
  brc_tensor tensor;
  struct ocl_shadow *next;
} ocl_shadow;

struct brc_exec {
  const brc_program *program;
  ocl_device *device;
  brc_buffer arena;
  brc_buffer **written;  // by its ops, outside of the arena
  size_t written_count;
  ocl_shadow *shadows;
  ocl_step *steps;
  size_t step_count, step_cap;
  ocl_order order;
  struct room *rooms;  // of mma.c
  bool profiling;
  double *seconds;  // per op
  uint64_t *calls;
};

// Do two steps belong to the same part of the same op?
bool ocl_same_part(const ocl_step *a, const ocl_step *b);
// Work out x->order once all steps are there.
brc_status ocl_order_make(brc_exec *x);
void ocl_order_free(ocl_order *o);

// Append an empty step for `op`; NULL when out of memory (brc_error is set).
ocl_step *ocl_step_add(brc_exec *x, const brc_op *op);
// On a shared queue an op is cut into parts, a command each, so that chains of ops run side by side on a CPU's cores and need not meet
// between two ops: as many as there are cores, each for as many members; or, where the members are no multiple of these, for some rows of
// one member, the same ones in every op. Part `i` of work on `members` with `rows` each (0: not to be cut by rows); false behind the last.
bool ocl_part_at(const ocl_device *d, uint32_t members, uint32_t rows, uint32_t i, brc_op_part *out);
// Where a tensor lies.
const brc_buffer *ocl_memory(const brc_exec *x, const brc_tensor *t);

// Append kernel `name` over `groups` work-groups of `local` work-items: operands in order (NULL: absent), then `params`,
// then `extra` uints.
typedef struct ocl_call {
  const char *name;
  cl_program program;  // NULL: the device's
  const brc_tensor *operands[BRC_MAX_IN + 2 * BRC_MAX_OUT];
  int operand_count;
  const void *params;
  size_t params_bytes;
  unsigned uints;  // leading uint fields of params
  uint32_t extra[3];
  int extra_count;
  size_t groups[3], local;
} ocl_call;
brc_status ocl_call_add(brc_exec *x, const brc_op *op, const ocl_call *call);

// Append the steps of an op. ocl_ops is the dispatch table made from BRC_OPS.
typedef brc_status ocl_op_fn(brc_exec *x, const brc_op *op);
extern ocl_op_fn *const ocl_ops[BRC_OP_COUNT];

//------------------------ 5. Products -----------------------------------------
// Operands of one product; `p` as in op_params.h.
typedef struct ocl_gemm {
  const brc_tensor *a, *b, *bias, *c;  // bias may be NULL
  bool ta, tb;
  struct brc_gemm_params32 p;
  uint32_t tile;  // 1 + its number among the provider's tiles, as chosen; 0: the provider's own rule
} ocl_gemm;

struct ocl_gemm_provider {
  const char *name;
  bool (*device)(const ocl_device *d);                    // can it run there? (needs class, id and info only)
  bool (*takes)(const ocl_device *d, const ocl_gemm *g);  // and this product?
  brc_status (*add)(brc_exec *x, const brc_op *op, const ocl_gemm *g);
  const char *const *(*tiles)(
      const ocl_device *d);  // names of its tiles there, NULL-terminated; NULL: nothing to choose
};
// Fill d's providers: the static table's order for its class, or only `forced` (NULL: not) and what float32 products need
// beside it. E_NOT_FOUND if it can't run there.
brc_status ocl_gemm_choose(ocl_device *d, const char *forced);
// Names of those that can run, in order, into `names` (OCL_MAX_PROVIDERS + 1, NULL-terminated).
void ocl_gemm_names(const ocl_device *d, const char **names);
// Then, on an open device or for a list: what its matrix units are good for in these precisions (bits), and with that which it has.
void ocl_gemm_trust(ocl_device *d, unsigned precisions);
bool ocl_mma_chosen(const ocl_device *d);  // may products go to matrix units?
brc_status ocl_gemm_add(brc_exec *x, const brc_op *op, const ocl_gemm *g);
// Does `op`, a product, go to matrix units?
bool ocl_gemm_by_mma(const ocl_device *d, const brc_op *op);
size_t ocl_gemm_candidates(brc_device *d, brc_precision precision, char (*out)[BRC_CHOICE_TEXT], size_t max);

//------------------------ 6. Matrix units --------------------------------------
// A device's; false: none that we have kernels for. In tests BRC_EMULATE_MMA names one that is emulated.
bool ocl_unit_find(const ocl_device *d, ocl_unit *out);
const char *ocl_emulated(void);         // what BRC_EMULATE_MMA says; NULL: nothing
const ocl_unit *ocl_unit_at(size_t i);  // all of them; NULL behind the last
// Options of its program for a precision, behind the common ones; `small`: with the smallest tiles alone (NVIDIA's).
void ocl_unit_options(const ocl_unit *u, brc_precision precision, bool small, char *out, size_t bytes);

bool ocl_mma_device(const ocl_device *d);
bool ocl_mma_takes(const ocl_device *d, const ocl_gemm *g);
brc_status ocl_mma_add(brc_exec *x, const brc_op *op, const ocl_gemm *g);
const char *const *ocl_mma_tiles(const ocl_device *d);
void ocl_mma_free(brc_exec *x);
// The shadow of a storage that an earlier product of the program reads; NULL: there is none.
const ocl_shadow *ocl_mma_shadow(const brc_exec *x, const brc_storage *of);
// For an op that makes y: where it is to leave y as a factor too, two bytes a number, each times `scale`, in rows of y's columns one behind
// the other, because products behind it read that. `tensor` NULL: nowhere. Only on GPUs.
typedef struct ocl_copy {
  const brc_tensor *tensor;
  brc_precision precision;
  float scale;
} ocl_copy;
brc_status ocl_mma_copy(brc_exec *x, const brc_op *op, const brc_tensor *y, ocl_copy *out);
// Fill d->mma.trusted and the note for these precisions: from the cache; else by the check, or, where the device is not open,
// info.unchecked. A refusal is no failure.
void ocl_mma_trust(ocl_device *d, unsigned precisions);
void ocl_mma_close(ocl_device *d);
#endif
