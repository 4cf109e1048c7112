// What Vulkan devices there are; open and close.
#ifdef BRC_HAVE_VULKAN
#include "backends/vulkan/core.h"
#include "base/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_DEVICES    64
#define MAX_EXTENSIONS 512

//------------------------ 1. Hidden features --------------------------------------
// BRC_VULKAN_HIDE=feature,feature: be a driver without them.
static const char *const hideable[] = {"address",    "timeline", "fp16",     "fp16_storage",
                                       "bf16",       "coopmat",  "coopmat2", "subgroup_size_control",
                                       "timestamps", "mapped",   "hazards",  "memory_budget",
                                       "cpu"};

static bool in_list(const char *list, const char *word) {
  const size_t n = strlen(word);
  for (const char *at = list; at; at = strchr(at, ',')) {
    at += *at == ',';
    if (!strncmp(at, word, n) && (at[n] == 0 || at[n] == ',')) return true;
  }
  return false;
}

bool vk_hidden(const char *feature) { return in_list(getenv("BRC_VULKAN_HIDE"), feature); }

// A misspelt feature would silently test nothing.
static brc_status check_hidden(void) {
  char text[256];
  const char *list = getenv("BRC_VULKAN_HIDE");
  snprintf(text, sizeof text, "%s", list ? list : "");
  char *rest = NULL;
  for (char *word = strtok_r(text, ",", &rest); word; word = strtok_r(NULL, ",", &rest)) {
    size_t k = 0;
    while (k < BRC_COUNT(hideable) && strcmp(hideable[k], word) != 0) k++;
    if (k < BRC_COUNT(hideable)) continue;
    char near[256];
    brc_nearest(word, hideable, BRC_COUNT(hideable), 3, near, sizeof near);
    return brc_fail(BRC_E_VALUE, "BRC_VULKAN_HIDE: '%s' is no feature%s%s", word,
                    *near ? "; did you mean " : "", near);
  }
  return BRC_OK;
}

//------------------------ 2. Enumeration ------------------------------------------
static brc_status enumerate(VkPhysicalDevice *out, uint32_t *count) {
  *count = 0;
  brc_status st = vk_load();
  if (!st) st = check_hidden();
  if (st) return st;
  *count = MAX_DEVICES;
  VkResult code = vk.vkEnumeratePhysicalDevices(vk.handle, count, out);
  return code < VK_SUCCESS ? vk_fail("vkEnumeratePhysicalDevices", code) : BRC_OK;
}

// Extensions beyond Vulkan 1.2 that we use where they are there.
// clang-format off
#define EXTENSIONS(X)                                                                                            \
  X(pci_bus_info, "VK_EXT_pci_bus_info") X(memory_budget, "VK_EXT_memory_budget")                                \
  X(subgroup_size_control, "VK_EXT_subgroup_size_control") X(maintenance4, "VK_KHR_maintenance4")                \
  X(coopmat, "VK_KHR_cooperative_matrix") X(bf16, "VK_KHR_shader_bfloat16")                                      \
  X(coopmat2, "VK_NV_cooperative_matrix2") X(statistics, "VK_KHR_pipeline_executable_properties")                \
  X(nv_units, "VK_NV_shader_sm_builtins") X(amd_units, "VK_AMD_shader_core_properties")
// clang-format on
typedef struct extension_set {
#define X(field, name) bool field;
  EXTENSIONS(X)
#undef X
} extension_set;

static brc_status find_extensions(VkPhysicalDevice physical, extension_set *set) {
  *set = (extension_set){0};
  uint32_t count = MAX_EXTENSIONS;
  VkExtensionProperties *all = calloc(MAX_EXTENSIONS, sizeof *all);
  if (!all) return brc_fail(BRC_E_NOMEM, "Vulkan: out of memory");
  VkResult code = vk.vkEnumerateDeviceExtensionProperties(physical, NULL, &count, all);
  for (uint32_t i = 0; code >= VK_SUCCESS && i < count; i++) {
#define X(field, name) \
  if (!strcmp(all[i].extensionName, name)) set->field = !vk_hidden(#field);
    EXTENSIONS(X)
#undef X
  }
  free(all);
  set->coopmat2 = set->coopmat2 && set->coopmat;  // the one needs the other
  const char *asked = getenv("BRC_VULKAN_STATISTICS");
  set->statistics = set->statistics && asked && *asked && strcmp(asked, "0") != 0;
  return code < VK_SUCCESS ? vk_fail("vkEnumerateDeviceExtensionProperties", code) : BRC_OK;
}

static uint32_t extension_names(const extension_set *set, const char **names) {
  uint32_t n = 0;
#define X(field, name) \
  if (set->field) names[n++] = name;
  EXTENSIONS(X)
#undef X
  return n;
}

static void chain(void *head, void *next) {
  VkBaseOutStructure *at = head;
  while (at->pNext) at = at->pNext;
  at->pNext = next;
}

//------------------------ 3. Features ----------------------------------------------
typedef struct feature_set {
  VkPhysicalDeviceFeatures2 core;
  VkPhysicalDeviceVulkan11Features v11;
  VkPhysicalDeviceVulkan12Features v12;
  VkPhysicalDeviceSubgroupSizeControlFeaturesEXT subgroup;
  VkPhysicalDeviceMaintenance4FeaturesKHR maintenance4;
  VkPhysicalDeviceCooperativeMatrixFeaturesKHR coopmat;
  VkPhysicalDeviceShaderBfloat16FeaturesKHR bf16;
  VkPhysicalDeviceCooperativeMatrix2FeaturesNV coopmat2;
  VkPhysicalDevicePipelineExecutablePropertiesFeaturesKHR statistics;
} feature_set;

// An empty set with those structures chained that the device knows.
static void features_init(feature_set *f, const extension_set *has) {
  *f = (feature_set){
      .core.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2,
      .v11.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES,
      .v12.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES,
      .subgroup.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES_EXT,
      .maintenance4.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_4_FEATURES_KHR,
      .coopmat.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR,
      .bf16.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_BFLOAT16_FEATURES_KHR,
      .coopmat2.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_2_FEATURES_NV,
      .statistics.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PIPELINE_EXECUTABLE_PROPERTIES_FEATURES_KHR};
  chain(&f->core, &f->v11);
  chain(&f->core, &f->v12);
  if (has->subgroup_size_control) chain(&f->core, &f->subgroup);
  if (has->maintenance4) chain(&f->core, &f->maintenance4);
  if (has->coopmat) chain(&f->core, &f->coopmat);
  if (has->bf16) chain(&f->core, &f->bf16);
  if (has->coopmat2) chain(&f->core, &f->coopmat2);
  if (has->statistics) chain(&f->core, &f->statistics);
}

// Of the features that the device has, those that we switch on. The small extensions are taken as they are.
static void features_wanted(feature_set *want, const feature_set *have, const extension_set *has) {
  features_init(want, has);
  want->core.features.shaderInt16 = have->core.features.shaderInt16;
  want->v11.storageBuffer16BitAccess = have->v11.storageBuffer16BitAccess && !vk_hidden("fp16_storage");
  want->v12.bufferDeviceAddress = have->v12.bufferDeviceAddress && !vk_hidden("address");
  want->v12.timelineSemaphore = have->v12.timelineSemaphore && !vk_hidden("timeline");
  want->v12.shaderFloat16 = have->v12.shaderFloat16 && !vk_hidden("fp16");
  want->v12.vulkanMemoryModel = have->v12.vulkanMemoryModel;
  want->v12.vulkanMemoryModelDeviceScope = have->v12.vulkanMemoryModelDeviceScope;
  want->subgroup.subgroupSizeControl = have->subgroup.subgroupSizeControl;
  want->subgroup.computeFullSubgroups = have->subgroup.computeFullSubgroups;
  want->maintenance4.maintenance4 = have->maintenance4.maintenance4;
  want->coopmat.cooperativeMatrix = have->coopmat.cooperativeMatrix && have->v12.vulkanMemoryModel;
  want->bf16.shaderBFloat16Type = have->bf16.shaderBFloat16Type;
  want->bf16.shaderBFloat16CooperativeMatrix = have->bf16.shaderBFloat16CooperativeMatrix;
  want->statistics.pipelineExecutableInfo = have->statistics.pipelineExecutableInfo;
  void *next = want->coopmat2.pNext;
  want->coopmat2 = have->coopmat2;
  want->coopmat2.pNext = next;
}

static brc_precision precision_of(VkComponentTypeKHR type) {
  return type == VK_COMPONENT_TYPE_FLOAT16_KHR    ? BRC_FP16
         : type == VK_COMPONENT_TYPE_BFLOAT16_KHR ? BRC_BF16
                                                  : BRC_PRECISION_COUNT;
}

// The matrix units' shapes that a float32 sum of 16-bit factors takes.
static void find_shapes(vk_device *d) {
  uint32_t count = 0;
  if (!vk.vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR ||
      vk.vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR(d->physical, &count, NULL) < VK_SUCCESS || !count)
    return;
  VkCooperativeMatrixPropertiesKHR *all = calloc(count, sizeof *all);
  if (!all) return;
  for (uint32_t i = 0; i < count; i++) all[i].sType = VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_PROPERTIES_KHR;
  if (vk.vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR(d->physical, &count, all) < VK_SUCCESS) count = 0;
  for (uint32_t i = 0; i < count && d->shape_count < VK_MAX_SHAPES; i++) {
    const VkCooperativeMatrixPropertiesKHR *c = &all[i];
    const brc_precision type = precision_of(c->AType);
    if (type == BRC_PRECISION_COUNT || c->BType != c->AType || c->CType != VK_COMPONENT_TYPE_FLOAT32_KHR ||
        c->ResultType != VK_COMPONENT_TYPE_FLOAT32_KHR || c->scope != VK_SCOPE_SUBGROUP_KHR ||
        c->saturatingAccumulation || !d->fp16 || (type == BRC_BF16 && !d->bf16))
      continue;
    d->shapes[d->shape_count++] = (vk_matrix_shape){c->MSize, c->NSize, c->KSize, type};
  }
  free(all);
}

static void fill_features(vk_device *d, const extension_set *has, feature_set *want) {
  feature_set have;
  features_init(&have, has);
  vk.vkGetPhysicalDeviceFeatures2(d->physical, &have.core);
  features_wanted(want, &have, has);
  d->fp16 = want->v12.shaderFloat16;
  d->fp16_storage = want->v11.storageBuffer16BitAccess;
  d->bf16 = want->bf16.shaderBFloat16Type && want->bf16.shaderBFloat16CooperativeMatrix;
  d->coopmat = want->coopmat.cooperativeMatrix;
  d->coopmat2 = want->coopmat2.cooperativeMatrixWorkgroupScope &&
                want->coopmat2.cooperativeMatrixFlexibleDimensions &&
                want->coopmat2.cooperativeMatrixTensorAddressing && want->coopmat.cooperativeMatrix;
  d->subgroup_size_control = want->subgroup.subgroupSizeControl && want->subgroup.computeFullSubgroups;
  d->base.info.fp16 = d->fp16;
  d->base.info.fp64 = have.core.features.shaderFloat64;
  if (d->coopmat) find_shapes(d);
  if (!d->shape_count) d->coopmat = false;
}

//------------------------ 4. Properties ---------------------------------------------
typedef struct property_set {
  VkPhysicalDeviceProperties2 core;
  VkPhysicalDeviceVulkan11Properties v11;
  VkPhysicalDeviceVulkan12Properties v12;
  VkPhysicalDevicePCIBusInfoPropertiesEXT pci;
  VkPhysicalDeviceSubgroupSizeControlPropertiesEXT subgroup;
  VkPhysicalDeviceMaintenance4PropertiesKHR maintenance4;
  VkPhysicalDeviceShaderSMBuiltinsPropertiesNV nv;
  VkPhysicalDeviceShaderCorePropertiesAMD amd;
} property_set;

static void find_properties(VkPhysicalDevice physical, const extension_set *has, property_set *p) {
  *p = (property_set){.core.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2,
                      .v11.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_PROPERTIES,
                      .v12.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_PROPERTIES,
                      .pci.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PCI_BUS_INFO_PROPERTIES_EXT,
                      .subgroup.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_PROPERTIES_EXT,
                      .maintenance4.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_4_PROPERTIES_KHR,
                      .nv.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_SM_BUILTINS_PROPERTIES_NV,
                      .amd.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_CORE_PROPERTIES_AMD};
  chain(&p->core, &p->v11);
  chain(&p->core, &p->v12);
  if (has->pci_bus_info) chain(&p->core, &p->pci);
  if (has->subgroup_size_control) chain(&p->core, &p->subgroup);
  if (has->maintenance4) chain(&p->core, &p->maintenance4);
  if (has->nv_units) chain(&p->core, &p->nv);
  if (has->amd_units) chain(&p->core, &p->amd);
  vk.vkGetPhysicalDeviceProperties2(physical, &p->core);
}

static const char *vendor_name(uint32_t id) {
  static const struct {
    uint32_t id;
    const char *name;
  } vendors[] = {{0x10de, "NVIDIA"},   {0x1002, "AMD"},   {0x8086, "Intel"},       {0x13b5, "Arm"},
                 {0x5143, "Qualcomm"}, {0x106b, "Apple"}, {0x1010, "Imagination"}, {VK_VENDOR_ID_MESA, "Mesa"}};
  for (size_t i = 0; i < BRC_COUNT(vendors); i++)
    if (vendors[i].id == id) return vendors[i].name;
  return "unknown vendor";
}

static uint64_t largest_local_heap(VkPhysicalDevice physical) {
  VkPhysicalDeviceMemoryProperties2 memory = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2};
  vk.vkGetPhysicalDeviceMemoryProperties2(physical, &memory);
  uint64_t most = 0;
  for (uint32_t i = 0; i < memory.memoryProperties.memoryHeapCount; i++) {
    const VkMemoryHeap *heap = &memory.memoryProperties.memoryHeaps[i];
    if ((heap->flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT) && heap->size > most) most = heap->size;
  }
  return most;
}

// Vulkan has no count of compute units; some vendors' extensions have.
static uint32_t compute_units(const property_set *p, bool cpu) {
  if (cpu) return (uint32_t)sysconf(_SC_NPROCESSORS_ONLN);
  if (p->nv.shaderSMCount) return p->nv.shaderSMCount;
  return p->amd.shaderEngineCount * p->amd.shaderArraysPerEngineCount * p->amd.computeUnitsPerShaderArray;
}

static void fill_properties(vk_device *d, const extension_set *has) {
  property_set p;
  find_properties(d->physical, has, &p);
  d->properties = p.core.properties;
  const VkPhysicalDeviceLimits *limits = &d->properties.limits;
  brc_device_info *info = &d->base.info;
  snprintf(info->driver, sizeof info->driver, "%.75s %.75s", p.v12.driverName, p.v12.driverInfo);
  info->max_work_group = limits->maxComputeWorkGroupInvocations;
  if (limits->maxComputeWorkGroupSize[0] < info->max_work_group)
    info->max_work_group = limits->maxComputeWorkGroupSize[0];
  info->local_bytes = d->shared_bytes = limits->maxComputeSharedMemorySize;
  info->compute_units = compute_units(&p, info->is_cpu);
  if (has->pci_bus_info)
    snprintf(info->pci, sizeof info->pci, "%04x:%02x:%02x.%x", p.pci.pciDomain, p.pci.pciBus & 0xff,
             p.pci.pciDevice & 0xff, p.pci.pciFunction & 0xf);
  brc_uuid_text(p.v11.deviceUUID, info->uuid);
  d->subgroup_size = d->subgroup_min = d->subgroup_max = p.v11.subgroupSize;
  d->subgroup_fixed = !(p.subgroup.requiredSubgroupSizeStages & VK_SHADER_STAGE_COMPUTE_BIT);
  if (d->subgroup_fixed && p.subgroup.minSubgroupSize != p.subgroup.maxSubgroupSize)
    d->subgroup_size_control = false;
  if (d->subgroup_size_control) {
    d->subgroup_min = p.subgroup.minSubgroupSize;
    d->subgroup_max = p.subgroup.maxSubgroupSize;
  }
  d->max_allocation = p.v11.maxMemoryAllocationSize;
  d->max_buffer = has->maintenance4 ? p.maintenance4.maxBufferSize : UINT64_MAX;
  d->base.info.max_buffer_bytes =
      brc_without_slack(d->max_buffer < d->max_allocation ? d->max_buffer : d->max_allocation);
}

// A queue family that computes; one that does not also draw, where there is one.
static bool find_family(const vk_device *d, uint32_t *family, uint32_t *timestamp_bits) {
  VkQueueFamilyProperties families[32];
  uint32_t count = BRC_COUNT(families);
  vk.vkGetPhysicalDeviceQueueFamilyProperties(d->physical, &count, families);
  bool found = false, draws = false;
  for (uint32_t i = 0; i < count; i++) {
    if (!(families[i].queueFlags & VK_QUEUE_COMPUTE_BIT) || !families[i].queueCount) continue;
    const bool graphics = families[i].queueFlags & VK_QUEUE_GRAPHICS_BIT;
    if (found && (!draws || graphics)) continue;
    found = true;
    draws = graphics;
    *family = i;
    *timestamp_bits = vk_hidden("timestamps") ? 0 : families[i].timestampValidBits;
  }
  return found;
}

// Why a device can't be used.
static const char *unusable(const vk_device *d, const feature_set *want) {
  uint32_t family, bits;
  if (!want->v12.bufferDeviceAddress) return "its driver lacks bufferDeviceAddress";
  if (!want->v12.timelineSemaphore) return "its driver lacks timelineSemaphore";
  if (!find_family(d, &family, &bits)) return "it has no queue that computes";
  if (d->base.info.max_work_group < 256) return "work-groups of fewer than 256 work-items";
  if (d->shared_bytes < 27 << 10) return "less than 27 KiB of shared memory";  // tiles of products
  return "";
}

static void say(brc_device_info *info, const char *fmt, ...) BRC_PRINTF(2, 3);
static void say(brc_device_info *info, const char *fmt, ...) {
  const size_t used = strlen(info->details);
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(info->details + used, sizeof info->details - used, fmt, ap);
  va_end(ap);
}

static void fill_details(vk_device *d) {
  brc_device_info *info = &d->base.info;
  const uint32_t version = d->properties.apiVersion;
  say(info, "Vulkan %u.%u; subgroups of %u", VK_API_VERSION_MAJOR(version), VK_API_VERSION_MINOR(version),
      d->subgroup_size);
  if (d->subgroup_min < d->subgroup_max) say(info, " (%u to %u)", d->subgroup_min, d->subgroup_max);
  say(info, "; %u KiB shared memory; matrices:%s", d->shared_bytes >> 10, d->shape_count ? "" : " none");
  for (uint32_t i = 0; i < d->shape_count; i++)
    say(info, " %ux%ux%u %s", d->shapes[i].m, d->shapes[i].n, d->shapes[i].k,
        d->shapes[i].type == BRC_BF16 ? "bf16" : "fp16");
  if (d->coopmat2) say(info, ", of work-groups too");
  VkPhysicalDeviceMemoryProperties2 memory = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2};
  vk.vkGetPhysicalDeviceMemoryProperties2(d->physical, &memory);
  say(info, "; heaps:");
  for (uint32_t i = 0; i < memory.memoryProperties.memoryHeapCount; i++) {
    const VkMemoryHeap *heap = &memory.memoryProperties.memoryHeaps[i];
    say(info, " %.1f GiB%s", (double)heap->size / (1 << 30),
        heap->flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT ? " (device)" : "");
  }
}

// All that can be known without opening it. `has` and `want`: for opening.
static brc_status describe(vk_device *d, int index, extension_set *has, feature_set *want) {
  brc_device_info *info = &d->base.info;
  *info = (brc_device_info){.backend = "vulkan", .index = index};
  vk.vkGetPhysicalDeviceProperties(d->physical, &d->properties);
  const uint32_t version = d->properties.apiVersion;
  snprintf(info->name, sizeof info->name, "%.127s", d->properties.deviceName);
  snprintf(info->vendor, sizeof info->vendor, "%s", vendor_name(d->properties.vendorID));
  info->is_cpu = d->properties.deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU;
  d->few_lanes = info->is_cpu && !vk_hidden("cpu");
  info->tunes = !d->few_lanes;
  info->memory_bytes = largest_local_heap(d->physical);
  if (version < VK_API_VERSION_1_2) {
    snprintf(info->note, sizeof info->note, "its driver has Vulkan %u.%u; 1.2 or later is needed",
             VK_API_VERSION_MAJOR(version), VK_API_VERSION_MINOR(version));
    return BRC_OK;
  }
  brc_status st = find_extensions(d->physical, has);
  if (st) return st;
  fill_features(d, has, want);
  fill_properties(d, has);
  snprintf(info->note, sizeof info->note, "%s", unusable(d, want));
  fill_details(d);
  vk_gemm_names(d);
  return BRC_OK;
}

brc_status vk_list(brc_device_info *out, size_t max, size_t *count) {
  VkPhysicalDevice physical[MAX_DEVICES];
  uint32_t found;
  *count = 0;
  brc_status st = enumerate(physical, &found);
  for (uint32_t i = 0; i < found && !st; i++) {
    vk_device d = {.physical = physical[i]};
    extension_set has;
    feature_set want;
    st = describe(&d, (int)i, &has, &want);
    if (!st && !d.base.info.note[0]) st = vk_gemm_choose(&d, NULL);  // fills in the precisions
    if (i < max) out[i] = d.base.info;
  }
  if (!st) *count = found;
  return st;
}

//------------------------ 5. Open, close --------------------------------------------
static brc_status no_such_device(const VkPhysicalDevice *physical, uint32_t count, int index) {
  char have[512] = "none";
  for (size_t i = 0, used = 0; i < count && used < sizeof have; i++) {
    VkPhysicalDeviceProperties p;
    vk.vkGetPhysicalDeviceProperties(physical[i], &p);
    used += (size_t)snprintf(have + used, sizeof have - used, "%s%zu (%s)", i ? ", " : "", i, p.deviceName);
  }
  return brc_fail(BRC_E_NOT_FOUND, "Vulkan device %d does not exist; there are: %s", index, have);
}

static brc_status load_functions(vk_device *d) {
#define X(f)                                                   \
  d->p->vk.f = (PFN_##f)vk.vkGetDeviceProcAddr(d->handle, #f); \
  if (!d->p->vk.f)                                             \
    return brc_fail(BRC_E_UNSUPPORTED, "Vulkan: the driver of '%s' has no %s", d->base.info.name, #f);
  VK_DEVICE_FUNCTIONS(X)
#undef X
  return BRC_OK;
}

static void load_statistics(vk_device *d) {
  d->p->vk.vkGetPipelineExecutablePropertiesKHR =
      (PFN_vkGetPipelineExecutablePropertiesKHR)vk.vkGetDeviceProcAddr(d->handle,
                                                                       "vkGetPipelineExecutablePropertiesKHR");
  d->p->vk.vkGetPipelineExecutableStatisticsKHR =
      (PFN_vkGetPipelineExecutableStatisticsKHR)vk.vkGetDeviceProcAddr(d->handle,
                                                                       "vkGetPipelineExecutableStatisticsKHR");
}

static brc_status create_device(vk_device *d, const extension_set *has, const feature_set *want) {
  const char *names[sizeof(extension_set)];
  const float priority = 1;
  const VkDeviceQueueCreateInfo queue = {.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
                                         .queueFamilyIndex = d->p->family,
                                         .queueCount = 1,
                                         .pQueuePriorities = &priority};
  const VkDeviceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
                                   .pNext = &want->core,
                                   .queueCreateInfoCount = 1,
                                   .pQueueCreateInfos = &queue,
                                   .enabledExtensionCount = extension_names(has, names),
                                   .ppEnabledExtensionNames = names};
  VkResult code = vk.vkCreateDevice(d->physical, &info, NULL, &d->handle);
  if (code != VK_SUCCESS)
    return brc_fail_prefix(vk_fail("vkCreateDevice", code), "Vulkan device %d (%s): ", d->base.info.index,
                           d->base.info.name);
  brc_status st = load_functions(d);
  if (st) return st;
  if (has->statistics) load_statistics(d);
  d->p->vk.vkGetDeviceQueue(d->handle, d->p->family, 0, &d->p->queue);
  return BRC_OK;
}

// The parts in order; vk_close undoes as many as were done.
static brc_status open_parts(vk_device *d, int index, const brc_device_options *options) {
  extension_set has;
  feature_set want;
  brc_status st = describe(d, index, &has, &want);
  if (st) return st;
  if (d->base.info.note[0])
    return brc_fail(BRC_E_UNSUPPORTED, "Vulkan device %d (%s) cannot be used: %s", index, d->base.info.name,
                    d->base.info.note);
  find_family(d, &d->p->family, &d->p->timestamp_bits);
  d->p->tells_budget = has.memory_budget;
  d->p->barrier_everywhere = vk_hidden("hazards");
  st = create_device(d, &has, &want);
  // Drivers without their card have no memory: pipelines can be made there (tools/isa_check), nothing can run.
  if (!st && d->base.info.memory_bytes) st = vk_memory_open(d);
  char cache[4096];
  if (options->cache_dir)
    snprintf(cache, sizeof cache, "%s", options->cache_dir);
  else
    brc_cache_dir(cache, sizeof cache);
  if (!st) st = vk_shaders_open(d, cache);
  if (!st) st = vk_gemm_choose(d, options->gemm);
  return st ? st : vk_validation_check();
}

brc_status vk_open(brc_device **out, int index, const brc_device_options *options) {
  static const brc_device_options defaults;
  *out = NULL;
  VkPhysicalDevice physical[MAX_DEVICES];
  uint32_t count;
  brc_status st = enumerate(physical, &count);
  if (st) return st;
  if (index < 0 || (uint32_t)index >= count) return no_such_device(physical, count, index);
  vk_device *d = calloc(1, sizeof *d);
  if (d) d->p = calloc(1, sizeof *d->p);
  if (!d || !d->p) {
    free(d);
    return brc_fail(BRC_E_NOMEM, "Vulkan: out of memory");
  }
  d->base.backend = &brc_backend_vulkan;
  d->physical = physical[index];
  st = open_parts(d, index, options ? options : &defaults);
  if (st) {
    vk_close(&d->base);
    return st;
  }
  *out = &d->base;
  return BRC_OK;
}

void vk_close(brc_device *base) {
  if (!base) return;
  vk_device *d = (vk_device *)base;
  if (d->handle && d->p->vk.vkDestroyPipeline) {  // the last of the functions: all are there
    d->p->vk.vkDeviceWaitIdle(d->handle);
    vk_shaders_close(d);
    vk_memory_close(d);
    d->p->vk.vkDestroyDevice(d->handle, NULL);
  }
  free(d->p);
  free(d);
}
#endif
