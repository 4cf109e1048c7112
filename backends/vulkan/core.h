// What the core of the Vulkan backend shares between its files; ops.c and gemm.c do without it.
#ifndef BRC_VULKAN_CORE_H
#define BRC_VULKAN_CORE_H
#include "backends/vulkan/vulkan.h"
#include "base/cache.h"

//------------------------ 1. Functions, newer extensions ------------------------
// clang-format off
#define VK_INSTANCE_FUNCTIONS(X)                                                                        \
  X(vkEnumeratePhysicalDevices) X(vkGetPhysicalDeviceProperties) X(vkGetPhysicalDeviceProperties2)      \
  X(vkGetPhysicalDeviceFeatures2) X(vkGetPhysicalDeviceMemoryProperties2)                               \
  X(vkGetPhysicalDeviceQueueFamilyProperties) X(vkEnumerateDeviceExtensionProperties)                   \
  X(vkCreateDevice) X(vkGetDeviceProcAddr)
#define VK_DEVICE_FUNCTIONS(X)                                                                          \
  X(vkDestroyDevice) X(vkGetDeviceQueue) X(vkDeviceWaitIdle) X(vkQueueSubmit)                           \
  X(vkCreateSemaphore) X(vkDestroySemaphore) X(vkWaitSemaphores) X(vkGetSemaphoreCounterValue)          \
  X(vkCreateCommandPool) X(vkDestroyCommandPool) X(vkAllocateCommandBuffers) X(vkFreeCommandBuffers)    \
  X(vkBeginCommandBuffer) X(vkEndCommandBuffer) X(vkCmdBindPipeline) X(vkCmdPushConstants)              \
  X(vkCmdDispatch) X(vkCmdPipelineBarrier) X(vkCmdCopyBuffer) X(vkCmdFillBuffer)                        \
  X(vkCmdResetQueryPool) X(vkCmdWriteTimestamp) X(vkCreateQueryPool) X(vkDestroyQueryPool)              \
  X(vkGetQueryPoolResults) X(vkCreateBuffer) X(vkDestroyBuffer) X(vkGetBufferMemoryRequirements)        \
  X(vkAllocateMemory) X(vkFreeMemory) X(vkBindBufferMemory) X(vkMapMemory) X(vkGetBufferDeviceAddress)  \
  X(vkCreateShaderModule) X(vkDestroyShaderModule) X(vkCreatePipelineLayout) X(vkDestroyPipelineLayout) \
  X(vkCreatePipelineCache) X(vkDestroyPipelineCache) X(vkGetPipelineCacheData)                          \
  X(vkCreateComputePipelines) X(vkDestroyPipeline)
// clang-format on

// Headers of distributions lag behind: what we use of newer extensions, from the registry.
#ifndef VK_KHR_cooperative_matrix
#define VK_KHR_cooperative_matrix                                         1
#define VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR ((VkStructureType)1000506000)
#define VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_PROPERTIES_KHR               ((VkStructureType)1000506001)
typedef struct VkPhysicalDeviceCooperativeMatrixFeaturesKHR {
  VkStructureType sType;
  void *pNext;
  VkBool32 cooperativeMatrix, cooperativeMatrixRobustBufferAccess;
} VkPhysicalDeviceCooperativeMatrixFeaturesKHR;
typedef enum VkComponentTypeKHR {
  VK_COMPONENT_TYPE_FLOAT16_KHR = 0,
  VK_COMPONENT_TYPE_FLOAT32_KHR = 1,
  VK_COMPONENT_TYPE_MAX_ENUM_KHR = 0x7fffffff
} VkComponentTypeKHR;
typedef enum VkScopeKHR { VK_SCOPE_SUBGROUP_KHR = 3, VK_SCOPE_MAX_ENUM_KHR = 0x7fffffff } VkScopeKHR;
typedef struct VkCooperativeMatrixPropertiesKHR {
  VkStructureType sType;
  void *pNext;
  uint32_t MSize, NSize, KSize;
  VkComponentTypeKHR AType, BType, CType, ResultType;
  VkBool32 saturatingAccumulation;
  VkScopeKHR scope;
} VkCooperativeMatrixPropertiesKHR;
typedef VkResult(VKAPI_PTR *PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR)(
    VkPhysicalDevice physical, uint32_t *count, VkCooperativeMatrixPropertiesKHR *properties);
#endif
#ifndef VK_KHR_shader_bfloat16
#define VK_KHR_shader_bfloat16                                         1
#define VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_BFLOAT16_FEATURES_KHR ((VkStructureType)1000141000)
#define VK_COMPONENT_TYPE_BFLOAT16_KHR                                 ((VkComponentTypeKHR)1000141000)
typedef struct VkPhysicalDeviceShaderBfloat16FeaturesKHR {
  VkStructureType sType;
  void *pNext;
  VkBool32 shaderBFloat16Type, shaderBFloat16DotProduct, shaderBFloat16CooperativeMatrix;
} VkPhysicalDeviceShaderBfloat16FeaturesKHR;
#endif
#ifndef VK_NV_cooperative_matrix2
#define VK_NV_cooperative_matrix2                                          1
#define VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_2_FEATURES_NV ((VkStructureType)1000593000)
typedef struct VkPhysicalDeviceCooperativeMatrix2FeaturesNV {
  VkStructureType sType;
  void *pNext;
  VkBool32 cooperativeMatrixWorkgroupScope, cooperativeMatrixFlexibleDimensions, cooperativeMatrixReductions,
      cooperativeMatrixConversions, cooperativeMatrixPerElementOperations, cooperativeMatrixTensorAddressing,
      cooperativeMatrixBlockLoads;
} VkPhysicalDeviceCooperativeMatrix2FeaturesNV;
#endif

// The instance, one for the process, made by vk_load. The last function is NULL where no driver knows it.
typedef struct vk_instance_table {
  PFN_vkGetInstanceProcAddr vkGetInstanceProcAddr;
  VkInstance handle;
#define X(f) PFN_##f f;
  VK_GLOBAL_FUNCTIONS(X)
  VK_INSTANCE_FUNCTIONS(X)
#undef X
  PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR;
} vk_instance_table;
extern vk_instance_table vk;

typedef struct vk_device_table {
#define X(f) PFN_##f f;
  VK_DEVICE_FUNCTIONS(X)
#undef X
  PFN_vkGetPipelineExecutablePropertiesKHR vkGetPipelineExecutablePropertiesKHR;  // NULL unless asked for
  PFN_vkGetPipelineExecutableStatisticsKHR vkGetPipelineExecutableStatisticsKHR;
} vk_device_table;

// Call a function of the device; leave with the sentence when it fails.
#define VK_TRY(d, f, ...)                              \
  do {                                                 \
    VkResult code_ = (d)->p->vk.f(__VA_ARGS__);        \
    if (code_ < VK_SUCCESS) return vk_fail(#f, code_); \
  } while (0)

// BRC_VULKAN_VALIDATION: what the validation layer has said since the last call becomes an error.
brc_status vk_validation_check(void);

//------------------------ 2. The device ------------------------------------------
// Staging memory: a ring of slots. A slot is packed with copies until it is full, and taken again when the device is
// done with the last submission that used it.
enum { VK_SLOTS = 8, VK_SLOT_BYTES = 4 << 20, VK_TRANSFERS = 16, VK_TOUCHED = 16, VK_MAX_TIMES = 256 };

typedef struct vk_pipeline_row {
  vk_pipeline_key key;
  VkPipeline handle;
} vk_pipeline_row;

struct vk_private {
  vk_device_table vk;
  VkQueue queue;
  uint32_t family, timestamp_bits;
  bool maps;                // device memory that the CPU reads at full speed is mapped
  bool barrier_everywhere;  // do without hazard.h: to find mistakes in it
  uint64_t held;            // bytes allocated
  bool tells_budget;

  // Submissions in order: one timeline counts them.
  VkSemaphore timeline;
  uint64_t submitted, done;
  VkCommandPool pool;
  // Copies: recorded into `pending`, submitted in front of what comes next.
  struct {
    VkCommandBuffer commands;
    uint64_t value;
  } transfers[VK_TRANSFERS];
  uint32_t transfer;
  bool pending;                  // transfers[transfer] is being recorded
  VkBuffer touched[VK_TOUCHED];  // by copies since the last barrier in it
  uint32_t touched_count;
  brc_buffer staging;
  struct {
    uint64_t used, value;
  } slots[VK_SLOTS];
  uint32_t slot;

  // Shaders
  VkPipelineLayout layout;
  VkPipelineCache cache;
  VkShaderModule *modules;  // parallel to vk_modules; made at the first use
  vk_pipeline_row *pipelines;
  size_t pipeline_count, pipeline_cap, pipelines_saved;
  brc_cache cache_file;
  double pipeline_seconds;  // spent on making them
};

brc_status vk_list(brc_device_info *out, size_t max, size_t *count);
brc_status vk_open(brc_device **out, int index, const brc_device_options *options);
void vk_close(brc_device *d);
// Is a feature hidden by BRC_VULKAN_HIDE, for tests?
bool vk_hidden(const char *feature);

//------------------------ 3. Memory, submissions ---------------------------------
brc_status vk_memory_open(vk_device *d);
void vk_memory_close(vk_device *d);
// Submit what is pending and then `commands`, `times` (at most VK_MAX_TIMES; 0: only what is pending), at once.
brc_status vk_submit(vk_device *d, VkCommandBuffer commands, uint32_t times);
// Wait until everything is done.
brc_status vk_drain(vk_device *d);
// Bytes, in order with all that has been submitted.
brc_status vk_bytes_write(vk_device *d, brc_buffer *b, uint64_t offset, uint64_t bytes, const void *data);
brc_status vk_bytes_read(vk_device *d, brc_buffer *b, uint64_t offset, uint64_t bytes, void *data);
brc_status vk_bytes_copy(vk_device *d, brc_buffer *dst, brc_buffer *src, uint64_t bytes);
// Command buffers for a program. Those of copies are begun with a barrier behind everything before; so are these.
brc_status vk_commands_begin(vk_device *d, VkCommandBuffer *out);
brc_status vk_commands_end(vk_device *d, VkCommandBuffer commands);
void vk_barrier(vk_device *d, VkCommandBuffer commands);  // between dispatches

//------------------------ 4. Shaders ---------------------------------------------
brc_status vk_shaders_open(vk_device *d, const char *cache_dir);
void vk_shaders_close(vk_device *d);
// Write the cache file if pipelines have been made since it was.
void vk_shaders_save(vk_device *d);

//------------------------ 5. Programs ---------------------------------------------
struct brc_exec {
  const brc_program *program;
  vk_device *device;
  brc_buffer arena;
  vk_step *steps;
  size_t step_count, step_cap;
  VkCommandBuffer commands;
  uint32_t barriers;      // in it
  uint32_t most_at_once;  // runs in one submission
  // Profiles: one command buffer with times around every op, or, where the device tells no times, one for each op.
  bool profiling;
  VkQueryPool queries;
  VkCommandBuffer *timed;
  size_t timed_count;
  uint64_t *stamps;
  double *seconds;  // per op
  uint64_t *calls;
};
#endif
