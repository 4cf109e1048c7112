// What a backend is: devices, buffers, compile(program), run, profile. The trainer meets a backend only through here.
// A new backend is one folder and one line in backends/backend.c.
#ifndef BRC_BACKEND_H
#define BRC_BACKEND_H
#include "backends/choices.h"
#include "graph/graph.h"

//------------------------ 1. Devices ------------------------------------------
typedef struct brc_device_info {
  const char *backend;
  int index;
  char name[128], vendor[64], driver[160];
  char pci[24], uuid[40];                   // empty when unknown
  uint64_t memory_bytes, max_buffer_bytes;  // of what one alloc asks for; 0: no limit of its own
  uint32_t compute_units, max_work_group;
  uint64_t local_bytes;
  bool is_cpu, fp16, fp64;
  uint32_t side_by_side;  // commands of a program that it runs at once; 0: one
  bool tunes;             // has kernels for GPUs: which provider is fastest is worth measuring before training
  unsigned precisions;    // of products: bits 1 << BRC_FP32, ...
  bool unchecked;         // what it may have beyond them shows when it is opened
  char gemm[128];         // GEMM providers that can run here, the default first
  char details[512];      // what else matters there, in words: subgroups, shared memory, matrix shapes, heaps
  char note[256];         // why it can't be used, or what is remarkable; empty if nothing
} brc_device_info;

typedef struct brc_device_options {
  int threads;            // host: CPU threads, 0 all
  const char *gemm;       // force this GEMM provider; NULL: the static table's choice
  const char *cache_dir;  // compiled kernels; NULL: brc_cache_dir()
  unsigned precisions;    // of the products that will be wanted, as bits: others may go unchecked; 0: all
  struct brc_pool *pool;  // the thread pool to use on CPUs (borrowed); NULL: the device makes one
} brc_device_options;

typedef struct brc_backend brc_backend;
// First member of every backend's device.
typedef struct brc_device {
  const brc_backend *backend;
  brc_device_info info;
  char why[640];       // why this one was chosen, by whoever chose; empty: it was asked for
  uint64_t allocated;  // bytes that buffers and compiled programs hold now, slack not counted
  const brc_choices
      *choices;  // which provider computes which product; borrowed, NULL: the backend's own rules.
                 // Consulted by compile, so that it can be set on an open device
} brc_device;
typedef struct brc_buffer brc_buffer;  // opaque, per backend
typedef struct brc_exec brc_exec;      // a compiled program, opaque, per backend

// One row of a profile: all runs of one op since profiling was switched on.
typedef struct brc_profile_row {
  const brc_op *op;
  uint64_t calls;
  double seconds, flops, bytes;  // totals
} brc_profile_row;

struct brc_backend {
  const char *name;
  bool wide;  // elements are doubles (the oracle); otherwise 4 bytes each
  // Up to `max` infos into `out`; *count says how many devices there are (0 is no error). Fails with E_UNSUPPORTED and the
  // reason if the backend cannot work at all here (no loader, no platform).
  brc_status (*list)(brc_device_info *out, size_t max, size_t *count);
  brc_status (*open)(brc_device **out, int index, const brc_device_options *options);
  void (*close)(brc_device *d);
  brc_status (*alloc)(brc_device *d, const char *name, uint64_t elements, brc_buffer **out);  // zero-filled
  void (*release)(brc_device *d, brc_buffer *b);
  // Raw copies of elements. Ordered after all work already submitted; write may return before it is done but has then copied
  // or no longer needs `data` only after wait() when `async` is set.
  brc_status (*write)(brc_device *d, brc_buffer *b, uint64_t offset, uint64_t elements, const void *data,
                      bool async);
  brc_status (*read)(brc_device *d, brc_buffer *b, uint64_t offset, uint64_t elements, void *data);
  brc_status (*copy)(brc_device *d, brc_buffer *dst, brc_buffer *src,
                     uint64_t elements);  // device to device, in order
  // All storages of the program have their buffers. Nothing is allocated or compiled after this.
  brc_status (*compile)(brc_device *d, const brc_program *p, brc_exec **out);
  void (*exec_free)(brc_device *d, brc_exec *e);
  brc_status (*run)(brc_device *d, brc_exec *e, uint32_t times);  // may return before it is done
  brc_status (*wait)(brc_device *d);
  // Switch per-op timing on (and reset it) or off; rows: op_count entries, in program order.
  brc_status (*profile)(brc_device *d, brc_exec *e, bool on);
  brc_status (*profile_read)(brc_device *d, brc_exec *e, brc_profile_row *rows);
  // Read elements of the exec's arena (tapped tensors).
  brc_status (*read_arena)(brc_device *d, brc_exec *e, uint64_t offset, uint64_t elements, void *data);
  // Names of the GEMM providers that can run on the device, NULL-terminated.
  const char *const *(*gemm_providers)(brc_device *d);
  // What a choice for a product (choices.h) in `precision` can be on the device, as it was opened: up to `max` texts "PROVIDER" or
  // "PROVIDER/TILE", the number returned. NULL: the backend makes no use of choices.
  size_t (*gemm_candidates)(brc_device *d, brc_precision precision, char (*out)[BRC_CHOICE_TEXT], size_t max);
  // Hash of the kernels' sources in this build; 0: none that choices depend on.
  uint64_t (*kernels_hash)(void);
  // Commands that one run hands to the device.
  uint32_t (*commands)(const brc_exec *e);
};

extern const brc_backend brc_backend_host, brc_backend_opencl, brc_backend_vulkan;
extern const brc_backend *const brc_backends[];         // NULL-terminated: every backend in this build
const brc_backend *brc_backend_find(const char *name);  // NULL if unknown

//------------------------ 2. What backends share -------------------------------
// Elements behind every buffer of a device: vectors of 16 may be read from the last element on.
enum { BRC_BUFFER_SLACK = 64 };
// What an alloc may ask for where a buffer has at most `bytes`.
uint64_t brc_without_slack(uint64_t bytes);
// Elements [offset, offset + elements) of a buffer of `size`; E_SHAPE otherwise. `what` is for the message.
brc_status brc_check_range(const brc_backend *b, const char *what, uint64_t offset, uint64_t elements,
                           uint64_t size);
// The profile of an op that ran `calls` times in `seconds`.
brc_profile_row brc_profile_of(const brc_op *op, uint64_t calls, double seconds);
void brc_uuid_text(const uint8_t uuid[16], char out[40]);
bool brc_env_is_one(const char *name);  // is this environment variable "1"?
// BRC_EMULATE_PRECISION=1, for tests: products below fp32 also where there are no matrix units, rounded in software.
bool brc_emulate_precision(void);

//------------------------ 3. Helpers on top ------------------------------------
// Open by name (grant.h finds what is meant by "auto"). Unknown backend, absent device: E_NOT_FOUND.
brc_status brc_device_open(brc_device **out, const char *backend, int index, const brc_device_options *options);
void brc_device_close(brc_device *d);
brc_status brc_storage_alloc(brc_device *d, brc_storage *s);
void brc_storage_release(brc_device *d, brc_storage *s);
// Copy dense host data [members, rows, cols] of type `dtype` (F32, I32, F64) to or from a tensor on external storage, or from
// a tap in the arena of `e` (read only; e may be NULL for external tensors). Conversions happen on the host. Writing sets the
// padding between a tensor's rows and members to zero, so it is for whole tensors, not for views of columns.
brc_status brc_tensor_write(brc_device *d, const brc_tensor *t, brc_dtype dtype, const void *data);
brc_status brc_tensor_read(brc_device *d, brc_exec *e, const brc_tensor *t, brc_dtype dtype, void *data);
#endif
