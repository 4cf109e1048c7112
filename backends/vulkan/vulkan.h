// Inside the Vulkan backend, in the order of use:
//   loader.c   libvulkan at run time, result codes in words
//   device.c   what devices there are; open and close
//   memory.c   buffers, staging, submissions in order, waiting
//   shader.c   shaders/ as embedded SPIR-V, pipelines, their cache on disk
//   ops.c      one function per op: which shader, how many work-groups
//   gemm.c     the providers of products
//   vulkan.c   compile (record), run, profile: the table of backend.h
//
// Operands go to shaders as 64-bit addresses in push constants (bufferDeviceAddress, core in Vulkan 1.2): no descriptors, no limit
// on a binding's range, and a recorded command buffer is complete in itself.
#ifndef BRC_VULKAN_H
#define BRC_VULKAN_H
#include "backends/backend.h"
#include "graph/hazard.h"
#define VK_NO_PROTOTYPES
#include <vulkan/vulkan.h>

//------------------------ 1. The library --------------------------------------
// clang-format off
#define VK_GLOBAL_FUNCTIONS(X) X(vkEnumerateInstanceVersion) X(vkEnumerateInstanceLayerProperties)          \
  X(vkEnumerateInstanceExtensionProperties) X(vkCreateInstance)
// clang-format on
// The functions of the instance and of each device are tables too (loader.c owns the lists; extend them as needed).

// Load libvulkan once. E_UNSUPPORTED, with what to install, when it is not there.
brc_status vk_load(void);
// A Vulkan failure as a sentence: the call, the code in words. E_NOMEM for the codes that mean it, else E_DEVICE; a lost device says
// so, and that the last checkpoint is whole.
brc_status vk_fail(const char *call, VkResult code);
const char *vk_result_text(VkResult code);

//------------------------ 2. Devices ------------------------------------------
// A shape that the device's matrix units take: C[m,n] (float32) += A[m,k] B[k,n], of `type`, scope subgroup.
typedef struct vk_matrix_shape {
  uint32_t m, n, k;
  brc_precision type;  // BRC_FP16 or BRC_BF16
} vk_matrix_shape;
#define VK_MAX_SHAPES 32

typedef struct vk_gemm_provider vk_gemm_provider;
#define VK_MAX_PROVIDERS 4

typedef struct vk_device vk_device;  // defined at the end of this header

struct brc_buffer {
  VkBuffer handle;
  VkDeviceMemory memory;
  VkDeviceAddress address;
  void *mapped;  // NULL where the CPU cannot read the memory at full speed
  uint64_t elements, bytes;
  bool counted;  // in the device's `allocated`
};
// Zero-filled; with slack of 64 elements behind it. `what` is for the message.
brc_status vk_buffer_create(vk_device *d, const char *what, uint64_t elements, brc_buffer *out);
void vk_buffer_destroy(vk_device *d, brc_buffer *b);

//------------------------ 3. Shaders ------------------------------------------
// An embedded module. Its name is that of the kernel ("norm_backward_sums"); the family's file is shaders/FAMILY.comp.
typedef struct vk_module {
  const char *name;
  const uint32_t *words;
  size_t bytes;
} vk_module;
extern const vk_module vk_modules[];  // made at build time; ends with a NULL name

// Up to 8 specialisation constants, ids 0..7 in order; id 0 is always local_size_x.
#define VK_MAX_CONSTANTS 8
typedef struct vk_pipeline_key {
  const char *module;
  uint32_t constants[VK_MAX_CONSTANTS];
  uint32_t constant_count;
  uint32_t subgroup_size;  // 0: the driver's choice; else required (full subgroups)
} vk_pipeline_key;
// The pipeline of a key: made at the first use (through the cache on disk), kept by the device.
brc_status vk_pipeline_get(vk_device *d, const vk_pipeline_key *key, VkPipeline *out);

//------------------------ 4. A compiled program -------------------------------
// The smallest maximum that every Vulkan device has.
#define VK_PUSH_BYTES  128
#define VK_MAX_FOREIGN 4

// One dispatch. An op has one or more, one behind the other.
typedef struct vk_step {
  const brc_op *op;
  VkPipeline pipeline;
  uint32_t groups[3];
  uint32_t push_bytes;
  uint32_t push[VK_PUSH_BYTES / 4];
  bool after_previous;                 // reads what the op's previous step wrote
  brc_access foreign[VK_MAX_FOREIGN];  // operands that are not the op's (scratch): taken for read and written
  int foreign_count;
  bool barrier;  // one stands before it (vulkan.c)
} vk_step;

// Append a dispatch of `module` over `groups` work-groups of `local` work-items. Push constants: one 64-bit address per
// operand in order (NULL: 0), then `params`, then `extra` uints, packed. groups[0] may be larger than the device's limit: it is folded
// over y then, so shaders take group_index() (common.glsl) and return where it is behind the last; groups[1], groups[2]
// must be 1 in that case. An operand that is none of the op's, such as scratch shared between ops, is ordered against all
// other ops that touch the same storage; its storage needs a buffer.
typedef struct vk_call {
  const char *module;
  const brc_tensor *operands[BRC_MAX_IN + BRC_MAX_OUT];
  int operand_count;
  const void *params;
  size_t params_bytes;
  uint32_t extra[4];
  int extra_count;
  uint32_t constants[VK_MAX_CONSTANTS - 1];  // specialisation constants 1..7
  uint32_t constant_count;
  uint32_t subgroup_size;
  uint64_t groups[3];
  uint32_t local;  // specialisation constant 0
  bool after_previous;
} vk_call;
brc_status vk_call_add(brc_exec *x, const brc_op *op, const vk_call *call);
vk_device *vk_exec_device(brc_exec *x);

// Append the steps of an op. vk_ops is the dispatch table made from BRC_OPS.
typedef brc_status vk_op_fn(brc_exec *x, const brc_op *op);
extern vk_op_fn *const vk_ops[BRC_OP_COUNT];

//------------------------ 5. Products -----------------------------------------
// Operands of one product; `p` as in op_params.h (its precision and scale too).
typedef struct vk_gemm {
  const brc_tensor *a, *b, *bias, *c;  // bias may be NULL
  bool ta, tb;
  struct brc_gemm_params32 p;
  uint32_t tile;  // 1 + its number among the provider's tiles, as chosen; 0: the provider's own rule
} vk_gemm;

struct vk_gemm_provider {
  const char *name;
  bool (*device)(const vk_device *d);                   // can it run there?
  bool (*takes)(const vk_device *d, const vk_gemm *g);  // and this product, in its precision?
  brc_status (*add)(brc_exec *x, const brc_op *op, const vk_gemm *g);
  const char *const *(*tiles)(
      const vk_device *d);  // names of its tiles there, NULL-terminated; NULL: nothing to choose
};
// Fill d's providers: the static table's order, or only `forced` (NULL: not), and d->base.info.precisions from them.
// E_NOT_FOUND if it can't run there.
brc_status vk_gemm_choose(vk_device *d, const char *forced);
// Names of those that can run, in order, into d's provider_names and info.
void vk_gemm_names(vk_device *d);
brc_status vk_gemm_add(brc_exec *x, const brc_op *op, const vk_gemm *g);
size_t vk_gemm_candidates(brc_device *d, brc_precision precision, char (*out)[BRC_CHOICE_TEXT], size_t max);

//------------------------ 6. The device ----------------------------------------
struct vk_device {
  brc_device base;
  VkPhysicalDevice physical;
  VkDevice handle;
  VkPhysicalDeviceProperties properties;
  // What it can do beyond the minimum (false, 0 where the driver lacks it or our loader's headers do not know it).
  bool fp16, fp16_storage, bf16, coopmat, coopmat2, subgroup_size_control;
  bool subgroup_fixed;  // with that control: there is only the one size, and it must not be asked for
  bool few_lanes;       // a CPU: work-groups are kept small
  uint32_t subgroup_size, subgroup_min, subgroup_max, shared_bytes;
  uint64_t max_buffer, max_allocation;  // bytes
  vk_matrix_shape shapes[VK_MAX_SHAPES];
  uint32_t shape_count;
  const vk_gemm_provider *providers[VK_MAX_PROVIDERS + 1];  // to try in order
  const char *provider_names[VK_MAX_PROVIDERS + 1];
  struct vk_private
      *p;  // queue, pools, timeline, staging, pipelines, functions: private to the core files (core.h)
};
#endif
