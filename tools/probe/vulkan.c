// Vulkan: facts; what submitting recorded command buffers, dispatches and barriers cost.
#include "probe.h"

#define VK_NO_PROTOTYPES
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vulkan/vulkan.h>

// clang-format off
#define INSTANCE_FUNCTIONS(X) X(vkEnumeratePhysicalDevices) X(vkGetPhysicalDeviceProperties2) X(vkGetPhysicalDeviceFeatures2)  \
  X(vkGetPhysicalDeviceMemoryProperties) X(vkGetPhysicalDeviceQueueFamilyProperties) X(vkEnumerateDeviceExtensionProperties)   \
  X(vkCreateDevice) X(vkGetDeviceQueue) X(vkCreateShaderModule) X(vkCreatePipelineLayout) X(vkCreateComputePipelines)          \
  X(vkCreateCommandPool) X(vkAllocateCommandBuffers) X(vkBeginCommandBuffer) X(vkEndCommandBuffer) X(vkCmdBindPipeline)        \
  X(vkCmdDispatch) X(vkCmdPipelineBarrier) X(vkQueueSubmit) X(vkQueueWaitIdle) X(vkCreateQueryPool) X(vkCmdResetQueryPool)     \
  X(vkCmdWriteTimestamp) X(vkGetQueryPoolResults)
// clang-format on
static struct {
#define X(f) PFN_##f f;
  INSTANCE_FUNCTIONS(X)
#undef X
} vk;
static PFN_vkGetInstanceProcAddr get_instance_function;
static VkInstance instance;
static VkPhysicalDevice physical;

// Vulkan's results as they are: the code says which call it was by `what`.
static bool failed(cJSON *answer, const char *what, VkResult code) {
  if (code) probe_error(answer, "%s: %d", what, (int)code);
  return code != VK_SUCCESS;
}

//------------------------ 1. A device ------------------------------------------
static bool choose_device(int n, cJSON *answer) {
  void *library = probe_library("libvulkan.so.1", answer);
  if (!library) return false;
  *(void **)&get_instance_function = dlsym(library, "vkGetInstanceProcAddr");
  PFN_vkCreateInstance create = (PFN_vkCreateInstance)get_instance_function(NULL, "vkCreateInstance");
  VkApplicationInfo app = {.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO, .apiVersion = VK_API_VERSION_1_3};
  VkInstanceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO, .pApplicationInfo = &app};
  VkResult code = create(&info, NULL, &instance);
  if (code == VK_ERROR_INCOMPATIBLE_DRIVER) {
    cJSON_AddStringToObject(answer, "absent", "no Vulkan driver");
    return false;
  }
  if (failed(answer, "vkCreateInstance", code)) return n == 0;
#define X(f) vk.f = (PFN_##f)get_instance_function(instance, #f);
  INSTANCE_FUNCTIONS(X)
#undef X
  VkPhysicalDevice all[16];
  uint32_t count = 16;
  code = vk.vkEnumeratePhysicalDevices(instance, &count, all);
  if (code < 0 && failed(answer, "vkEnumeratePhysicalDevices", code)) return n == 0;
  if (!count) cJSON_AddStringToObject(answer, "absent", "no Vulkan device");
  if ((uint32_t)n >= count) return false;
  physical = all[n];
  VkPhysicalDeviceProperties2 p = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2};
  vk.vkGetPhysicalDeviceProperties2(physical, &p);
  cJSON_AddStringToObject(answer, "name", p.properties.deviceName);
  return true;
}

//------------------------ 2. Facts ---------------------------------------------
// Of extensions newer than the headers that this is built with: their structures, as the specification has them.
#define COOPMAT_PROPERTIES ((VkStructureType)1000506001)
typedef struct matrix_shape {
  VkStructureType type;
  void *next;
  uint32_t m, n, k;
  int32_t a, b, c, result;
  VkBool32 saturating;
  int32_t scope;
} matrix_shape;
#define FLEXIBLE_PROPERTIES ((VkStructureType)1000593001)
typedef struct flexible_shape {
  VkStructureType type;
  void *next;
  uint32_t m_step, n_step, k_step;
  int32_t a, b, c, result;
  VkBool32 saturating;
  int32_t scope;
  uint32_t work_group;
} flexible_shape;

static const char *component(int32_t type) {
  static const char *const names[] = {"fp16", "fp32", "fp64", "s8",  "s16", "s32",
                                      "s64",  "u8",   "u16",  "u32", "u64"};
  static char other[4][16];
  static int next;
  if (type >= 0 && type < 11) return names[type];
  if (type == 1000141000) return "bf16";
  char *text = other[next++ % 4];
  snprintf(text, sizeof *other, "%d", type);
  return text;
}

// "16x16x16 fp16 fp16 fp32 fp32 scope 3" per shape.
static void add_shapes(cJSON *answer) {
  typedef VkResult(VKAPI_PTR * shapes_fn)(VkPhysicalDevice, uint32_t *, matrix_shape *);
  typedef VkResult(VKAPI_PTR * flexible_fn)(VkPhysicalDevice, uint32_t *, flexible_shape *);
  shapes_fn shapes =
      (shapes_fn)get_instance_function(instance, "vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR");
  flexible_fn flexible = (flexible_fn)get_instance_function(
      instance, "vkGetPhysicalDeviceCooperativeMatrixFlexibleDimensionsPropertiesNV");
  char text[160];
  uint32_t count = 128;
  matrix_shape *s = calloc(count, sizeof *s);
  for (uint32_t i = 0; s && i < count; i++) s[i].type = COOPMAT_PROPERTIES;
  if (s && shapes && shapes(physical, &count, s) >= 0) {
    cJSON *list = cJSON_AddArrayToObject(answer, "matrix_shapes");
    for (uint32_t i = 0; i < count; i++) {
      snprintf(text, sizeof text, "%ux%ux%u %s %s %s %s scope %d%s", s[i].m, s[i].n, s[i].k, component(s[i].a),
               component(s[i].b), component(s[i].c), component(s[i].result), s[i].scope,
               s[i].saturating ? " saturating" : "");
      cJSON_AddItemToArray(list, cJSON_CreateString(text));
    }
  }
  free(s);
  count = 128;
  flexible_shape *f = calloc(count, sizeof *f);
  for (uint32_t i = 0; f && i < count; i++) f[i].type = FLEXIBLE_PROPERTIES;
  if (f && flexible && flexible(physical, &count, f) >= 0) {
    cJSON *list = cJSON_AddArrayToObject(answer, "flexible_matrix_shapes");
    for (uint32_t i = 0; i < count; i++) {
      snprintf(text, sizeof text, "multiples of %ux%ux%u %s %s %s %s scope %d, groups of %u", f[i].m_step,
               f[i].n_step, f[i].k_step, component(f[i].a), component(f[i].b), component(f[i].c),
               component(f[i].result), f[i].scope, f[i].work_group);
      cJSON_AddItemToArray(list, cJSON_CreateString(text));
    }
  }
  free(f);
}

// Every extension; true in *has for the two that are asked about matrices.
static void add_extensions(cJSON *answer, bool *matrices) {
  uint32_t count = 0;
  vk.vkEnumerateDeviceExtensionProperties(physical, NULL, &count, NULL);
  VkExtensionProperties *all = calloc(count + 1, sizeof *all);
  cJSON *list = cJSON_AddArrayToObject(answer, "extensions");
  if (!all || vk.vkEnumerateDeviceExtensionProperties(physical, NULL, &count, all) < 0) count = 0;
  for (uint32_t i = 0; i < count; i++) {
    cJSON_AddItemToArray(list, cJSON_CreateString(all[i].extensionName));
    *matrices |= !strcmp(all[i].extensionName, "VK_KHR_cooperative_matrix");
  }
  free(all);
}

static void add_memory(cJSON *answer) {
  VkPhysicalDeviceMemoryProperties m;
  vk.vkGetPhysicalDeviceMemoryProperties(physical, &m);
  cJSON *heaps = cJSON_AddArrayToObject(answer, "heaps");
  for (uint32_t h = 0; h < m.memoryHeapCount; h++) {
    cJSON *o = cJSON_CreateObject(), *types = NULL;
    cJSON_AddNumberToObject(o, "bytes", (double)m.memoryHeaps[h].size);
    cJSON_AddBoolToObject(o, "device_local", m.memoryHeaps[h].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT);
    types = cJSON_AddArrayToObject(o, "type_flags");
    for (uint32_t t = 0; t < m.memoryTypeCount; t++)
      if (m.memoryTypes[t].heapIndex == h)
        cJSON_AddItemToArray(types, cJSON_CreateNumber(m.memoryTypes[t].propertyFlags));
    cJSON_AddItemToArray(heaps, o);
  }
}

static void add_features(cJSON *answer) {
  VkPhysicalDeviceVulkan13Features f13 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_3_FEATURES};
  VkPhysicalDeviceVulkan12Features f12 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES,
                                          .pNext = &f13};
  VkPhysicalDeviceVulkan11Features f11 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES,
                                          .pNext = &f12};
  VkPhysicalDeviceFeatures2 f = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = &f11};
  vk.vkGetPhysicalDeviceFeatures2(physical, &f);
  const struct {
    const char *name;
    VkBool32 has;
  } rows[] = {{"buffer_device_address", f12.bufferDeviceAddress},
              {"timeline_semaphore", f12.timelineSemaphore},
              {"fp16", f12.shaderFloat16},
              {"int8", f12.shaderInt8},
              {"fp64", f.features.shaderFloat64},
              {"int64", f.features.shaderInt64},
              {"int16", f.features.shaderInt16},
              {"storage_16bit", f11.storageBuffer16BitAccess},
              {"memory_model", f12.vulkanMemoryModel},
              {"memory_model_device_scope", f12.vulkanMemoryModelDeviceScope},
              {"scalar_layout", f12.scalarBlockLayout},
              {"subgroup_size_control", f13.subgroupSizeControl},
              {"full_subgroups", f13.computeFullSubgroups},
              {"synchronization2", f13.synchronization2},
              {"maintenance4", f13.maintenance4}};
  cJSON *o = cJSON_AddObjectToObject(answer, "features");
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) cJSON_AddBoolToObject(o, rows[i].name, rows[i].has);
}

bool probe_vulkan_facts(int n, cJSON *answer) {
  if (!choose_device(n, answer)) return false;
  if (!physical) return true;
  VkPhysicalDeviceVulkan13Properties p13 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_3_PROPERTIES};
  VkPhysicalDeviceVulkan12Properties p12 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_PROPERTIES,
                                            .pNext = &p13};
  VkPhysicalDeviceVulkan11Properties p11 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_PROPERTIES,
                                            .pNext = &p12};
  VkPhysicalDeviceProperties2 p = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &p11};
  vk.vkGetPhysicalDeviceProperties2(physical, &p);
  const VkPhysicalDeviceLimits *limits = &p.properties.limits;
  char text[64];
  uint32_t api = p.properties.apiVersion;
  snprintf(text, sizeof text, "%u.%u.%u", VK_API_VERSION_MAJOR(api), VK_API_VERSION_MINOR(api),
           VK_API_VERSION_PATCH(api));
  cJSON_AddStringToObject(answer, "api", text);
  cJSON_AddStringToObject(answer, "driver", p12.driverName);
  cJSON_AddStringToObject(answer, "driver_info", p12.driverInfo);
  const struct {
    const char *name;
    double value;
  } rows[] = {{"vendor_id", p.properties.vendorID},
              {"device_id", p.properties.deviceID},
              {"type", p.properties.deviceType},
              {"subgroup", p11.subgroupSize},
              {"subgroup_min", p13.minSubgroupSize},
              {"subgroup_max", p13.maxSubgroupSize},
              {"subgroup_operations", p11.subgroupSupportedOperations},
              {"shared_bytes", limits->maxComputeSharedMemorySize},
              {"work_group", limits->maxComputeWorkGroupInvocations},
              {"largest_group_count_x", limits->maxComputeWorkGroupCount[0]},
              {"storage_range_bytes", limits->maxStorageBufferRange},
              {"largest_allocation_bytes", (double)p11.maxMemoryAllocationSize},
              {"push_bytes", limits->maxPushConstantsSize},
              {"timestamp_ns", limits->timestampPeriod},
              {"timestamps", limits->timestampComputeAndGraphics}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    cJSON_AddNumberToObject(answer, rows[i].name, rows[i].value);
  bool matrices = false;
  add_features(answer);
  add_memory(answer);
  VkQueueFamilyProperties families[16];
  uint32_t count = 16;
  vk.vkGetPhysicalDeviceQueueFamilyProperties(physical, &count, families);
  cJSON *list = cJSON_AddArrayToObject(answer, "queue_families");
  for (uint32_t i = 0; i < count; i++) {
    snprintf(text, sizeof text, "flags 0x%x, %u queues, %u timestamp bits", families[i].queueFlags,
             families[i].queueCount, families[i].timestampValidBits);
    cJSON_AddItemToArray(list, cJSON_CreateString(text));
  }
  add_extensions(answer, &matrices);
  if (matrices) add_shapes(answer);
  return true;
}

//------------------------ 3. Launches ------------------------------------------
// `void main() {}` in groups of 64, as SPIR-V 1.0.
static const uint32_t empty_shader[] = {
    0x07230203, 0x00010000, 0,          5,                 // header, ids below 5
    0,          0x00020011, 1,                             // OpCapability Shader
    0x0003000e, 0,          1,                             // OpMemoryModel Logical GLSL450
    0x0005000f, 5,          1,          0x6e69616d, 0,     // OpEntryPoint GLCompute %1 "main"
    0x00060010, 1,          17,         64,         1, 1,  // OpExecutionMode %1 LocalSize 64 1 1
    0x00020013, 2,                                         // %2 = OpTypeVoid
    0x00030021, 3,          2,                             // %3 = OpTypeFunction %2
    0x00050036, 2,          1,          0,          3,     // %1 = OpFunction
    0x000200f8, 4,          0x000100fd, 0x00010038};       // OpLabel, OpReturn, OpFunctionEnd

static VkDevice device;
static VkQueue queue;
static uint32_t family;

static bool open_device(cJSON *answer) {
  VkQueueFamilyProperties families[16];
  uint32_t count = 16;
  vk.vkGetPhysicalDeviceQueueFamilyProperties(physical, &count, families);
  while (family < count && !(families[family].queueFlags & VK_QUEUE_COMPUTE_BIT)) family++;
  float priority = 1;
  VkDeviceQueueCreateInfo q = {.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
                               .queueFamilyIndex = family,
                               .queueCount = 1,
                               .pQueuePriorities = &priority};
  VkDeviceCreateInfo info = {
      .sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO, .queueCreateInfoCount = 1, .pQueueCreateInfos = &q};
  if (failed(answer, "vkCreateDevice", vk.vkCreateDevice(physical, &info, NULL, &device))) return false;
  vk.vkGetDeviceQueue(device, family, 0, &queue);
  return true;
}

static bool create_pipeline(VkPipeline *out, cJSON *answer) {
  VkShaderModuleCreateInfo m = {.sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO,
                                .codeSize = sizeof empty_shader,
                                .pCode = empty_shader};
  VkPipelineLayoutCreateInfo l = {.sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO};
  VkComputePipelineCreateInfo info = {.sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
                                      .stage = {.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                                                .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                                                .pName = "main"}};
  return !failed(answer, "vkCreateShaderModule",
                 vk.vkCreateShaderModule(device, &m, NULL, &info.stage.module)) &&
         !failed(answer, "vkCreatePipelineLayout", vk.vkCreatePipelineLayout(device, &l, NULL, &info.layout)) &&
         !failed(answer, "vkCreateComputePipelines",
                 vk.vkCreateComputePipelines(device, VK_NULL_HANDLE, 1, &info, NULL, out));
}

// `dispatches` of the pipeline, with a full compute barrier between two if asked, timestamps around all if there is a pool.
static bool record(VkCommandBuffer b, VkPipeline pipeline, int dispatches, bool barriers, VkQueryPool pool,
                   cJSON *answer) {
  VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
  VkMemoryBarrier all = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                         .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT,
                         .dstAccessMask = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT};
  if (failed(answer, "vkBeginCommandBuffer", vk.vkBeginCommandBuffer(b, &begin))) return false;
  vk.vkCmdBindPipeline(b, VK_PIPELINE_BIND_POINT_COMPUTE, pipeline);
  if (pool) {
    vk.vkCmdResetQueryPool(b, pool, 0, 2);
    vk.vkCmdWriteTimestamp(b, VK_PIPELINE_STAGE_TOP_OF_PIPE_BIT, pool, 0);
  }
  for (int i = 0; i < dispatches; i++) {
    if (i && barriers)
      vk.vkCmdPipelineBarrier(b, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, 0,
                              1, &all, 0, NULL, 0, NULL);
    vk.vkCmdDispatch(b, 1, 1, 1);
  }
  if (pool) vk.vkCmdWriteTimestamp(b, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, pool, 1);
  return !failed(answer, "vkEndCommandBuffer", vk.vkEndCommandBuffer(b));
}

static void time_submits(VkCommandBuffer b, int dispatches, VkQueryPool pool, double tick_ns, const char *name,
                         cJSON *answer) {
  cJSON *o = cJSON_AddObjectToObject(answer, name);
  const int times = 20;
  VkSubmitInfo submit = {
      .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO, .commandBufferCount = 1, .pCommandBuffers = &b};
  double submit_s = 0, total_s = 0;
  for (int i = -3; i < times; i++) {
    double start = probe_now_s(), sent;
    if (failed(o, "vkQueueSubmit", vk.vkQueueSubmit(queue, 1, &submit, VK_NULL_HANDLE))) return;
    sent = probe_now_s();
    if (failed(o, "vkQueueWaitIdle", vk.vkQueueWaitIdle(queue))) return;
    if (i < 0) continue;  // the first ones warm up
    submit_s += sent - start;
    total_s += probe_now_s() - start;
  }
  cJSON_AddNumberToObject(o, "dispatches", dispatches);
  cJSON_AddNumberToObject(o, "submit_us", 1e6 * submit_s / times);
  cJSON_AddNumberToObject(o, "submit_and_wait_us", 1e6 * total_s / times);
  uint64_t ticks[2];
  if (pool && !vk.vkGetQueryPoolResults(device, pool, 0, 2, sizeof ticks, ticks, 8, VK_QUERY_RESULT_64_BIT))
    cJSON_AddNumberToObject(o, "device_us_per_dispatch",
                            1e-3 * tick_ns * (double)(ticks[1] - ticks[0]) / dispatches);
}

bool probe_vulkan_launch(int n, cJSON *answer) {
  VkPipeline pipeline;
  if (!choose_device(n, answer)) return false;
  if (!physical || !open_device(answer) || !create_pipeline(&pipeline, answer)) return true;
  VkPhysicalDeviceProperties2 p = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2};
  vk.vkGetPhysicalDeviceProperties2(physical, &p);
  VkCommandPoolCreateInfo pool = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                  .queueFamilyIndex = family};
  VkQueryPoolCreateInfo query = {
      .sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO, .queryType = VK_QUERY_TYPE_TIMESTAMP, .queryCount = 2};
  VkCommandBuffer buffers[3];
  VkCommandBufferAllocateInfo allocate = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                          .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
                                          .commandBufferCount = 3};
  VkQueryPool times = VK_NULL_HANDLE;
  if (failed(answer, "vkCreateCommandPool",
             vk.vkCreateCommandPool(device, &pool, NULL, &allocate.commandPool)) ||
      failed(answer, "vkAllocateCommandBuffers", vk.vkAllocateCommandBuffers(device, &allocate, buffers)))
    return true;
  if (p.properties.limits.timestampComputeAndGraphics &&
      failed(answer, "vkCreateQueryPool", vk.vkCreateQueryPool(device, &query, NULL, &times)))
    return true;
  const struct {
    const char *name;
    int dispatches;
    bool barriers;
  } rows[3] = {{"one", 1, false}, {"many", 200, false}, {"many_with_barriers", 200, true}};
  for (int i = 0; i < 3; i++)
    if (record(buffers[i], pipeline, rows[i].dispatches, rows[i].barriers, times, answer))
      time_submits(buffers[i], rows[i].dispatches, times, (double)p.properties.limits.timestampPeriod,
                   rows[i].name, answer);
  return true;
}
