// The embedded SPIR-V of shaders/, pipelines, their cache on disk.
#ifdef BRC_HAVE_VULKAN
#include "backends/vulkan/core.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

//------------------------ 1. Cache -------------------------------------------------
static void cache_begin(vk_device *d, const char *dir) {
  brc_cache *c = &d->p->cache_file;
  const VkPhysicalDeviceProperties *of = &d->properties;
  const brc_device_info *info = &d->base.info;
  brc_cache_begin(c, dir, "vulkan", "BRCVLK1");
  brc_cache_key(c, of->pipelineCacheUUID, VK_UUID_SIZE);
  brc_cache_key(c, &of->vendorID, sizeof of->vendorID);
  brc_cache_key(c, &of->deviceID, sizeof of->deviceID);
  brc_cache_key(c, &of->driverVersion, sizeof of->driverVersion);
  brc_cache_key(c, info->name, strlen(info->name));
  brc_cache_key(c, info->driver, strlen(info->driver));
  for (const vk_module *m = vk_modules; m->name; m++) brc_cache_key(c, m->words, m->bytes);
}

static brc_status create_cache(vk_device *d) {
  char *file;
  size_t bytes = 0;
  const void *data = brc_cache_read(&d->p->cache_file, &file, &bytes);
  const VkPipelineCacheCreateInfo info = {.sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO,
                                          .initialDataSize = data ? bytes : 0,
                                          .pInitialData = data};
  VkResult code = d->p->vk.vkCreatePipelineCache(d->handle, &info, NULL, &d->p->cache);
  free(file);
  return code == VK_SUCCESS ? BRC_OK : vk_fail("vkCreatePipelineCache", code);
}

void vk_shaders_save(vk_device *d) {
  struct vk_private *p = d->p;
  if (p->pipelines_saved == p->pipeline_count) return;
  p->pipelines_saved = p->pipeline_count;
  size_t bytes = 0;
  if (p->vk.vkGetPipelineCacheData(d->handle, p->cache, &bytes, NULL) != VK_SUCCESS || !bytes) return;
  char *data = malloc(bytes);
  if (data && p->vk.vkGetPipelineCacheData(d->handle, p->cache, &bytes, data) == VK_SUCCESS &&
      brc_cache_prepare(&p->cache_file))
    brc_cache_write(&p->cache_file, data, bytes);
  free(data);
}

//------------------------ 2. Pipelines ---------------------------------------------
static brc_status module_get(vk_device *d, const char *name, VkShaderModule *out) {
  size_t k = 0;
  while (vk_modules[k].name && strcmp(vk_modules[k].name, name) != 0) k++;
  const vk_module *m = &vk_modules[k];
  if (!m->name) return brc_fail(BRC_E_NOT_FOUND, "shader '%s' is not in this build", name);
  if (!d->p->modules[k]) {
    const VkShaderModuleCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO, .codeSize = m->bytes, .pCode = m->words};
    VK_TRY(d, vkCreateShaderModule, d->handle, &info, NULL, &d->p->modules[k]);
  }
  *out = d->p->modules[k];
  return BRC_OK;
}

// What the compiler made of a pipeline: registers, spills, shared memory, by BRC_VULKAN_STATISTICS=1.
static void print_statistics(vk_device *d, const vk_pipeline_key *key, VkPipeline pipeline) {
  const VkPipelineInfoKHR info = {.sType = VK_STRUCTURE_TYPE_PIPELINE_INFO_KHR, .pipeline = pipeline};
  VkPipelineExecutablePropertiesKHR of[4];
  uint32_t count = BRC_COUNT(of);
  for (uint32_t i = 0; i < count; i++)
    of[i] = (VkPipelineExecutablePropertiesKHR){.sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_PROPERTIES_KHR};
  if (d->p->vk.vkGetPipelineExecutablePropertiesKHR(d->handle, &info, &count, of) < VK_SUCCESS) return;
  for (uint32_t i = 0; i < count; i++) {
    const VkPipelineExecutableInfoKHR which = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_INFO_KHR, .pipeline = pipeline, .executableIndex = i};
    VkPipelineExecutableStatisticKHR rows[48];
    uint32_t n = BRC_COUNT(rows);
    for (uint32_t k = 0; k < n; k++)
      rows[k] =
          (VkPipelineExecutableStatisticKHR){.sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_STATISTIC_KHR};
    if (d->p->vk.vkGetPipelineExecutableStatisticsKHR(d->handle, &which, &n, rows) < VK_SUCCESS) continue;
    fprintf(stderr, "%s(", key->module);
    for (uint32_t k = 0; k < key->constant_count; k++) fprintf(stderr, k ? ", %u" : "%u", key->constants[k]);
    fprintf(stderr, "), %s, subgroup %u:", of[i].name, of[i].subgroupSize);
    for (uint32_t k = 0; k < n; k++) {
      const bool real = rows[k].format == VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_FLOAT64_KHR;
      fprintf(stderr, " %s=%.10g;", rows[k].name, real ? rows[k].value.f64 : (double)rows[k].value.u64);
    }
    fputc('\n', stderr);
  }
}

// Does the driver's choice give the subgroup size that is asked for, or can it be told?
static brc_status check_subgroup(const vk_device *d, const vk_pipeline_key *key) {
  const uint32_t size = key->subgroup_size;
  if (size == 0 || (d->subgroup_size_control && size >= d->subgroup_min && size <= d->subgroup_max) ||
      (!d->subgroup_size_control && size == d->subgroup_size))
    return BRC_OK;
  return brc_fail(BRC_E_UNSUPPORTED, "shader '%s' wants subgroups of %u, and '%s' has %u to %u", key->module,
                  size, d->base.info.name, d->subgroup_min, d->subgroup_max);
}

static brc_status create_pipeline(vk_device *d, const vk_pipeline_key *key, VkPipeline *out) {
  VkShaderModule module = VK_NULL_HANDLE;
  brc_status st = check_subgroup(d, key);
  if (!st) st = module_get(d, key->module, &module);
  if (st) return st;
  VkSpecializationMapEntry entries[VK_MAX_CONSTANTS];
  for (uint32_t i = 0; i < key->constant_count; i++) entries[i] = (VkSpecializationMapEntry){i, 4 * i, 4};
  const VkSpecializationInfo constants = {.mapEntryCount = key->constant_count,
                                          .pMapEntries = entries,
                                          .dataSize = 4 * key->constant_count,
                                          .pData = key->constants};
  const VkPipelineShaderStageRequiredSubgroupSizeCreateInfoEXT subgroup = {
      .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO_EXT,
      .requiredSubgroupSize = key->subgroup_size};
  const bool sized = key->subgroup_size && d->subgroup_size_control;
  const bool statistics = d->p->vk.vkGetPipelineExecutablePropertiesKHR != NULL;
  const VkComputePipelineCreateInfo info = {
      .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
      .flags = statistics ? VK_PIPELINE_CREATE_CAPTURE_STATISTICS_BIT_KHR : 0,
      .stage = {.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                .pNext = sized && !d->subgroup_fixed ? &subgroup : NULL,
                .flags = sized ? VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT_EXT : 0,
                .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                .module = module,
                .pName = "main",
                .pSpecializationInfo = &constants},
      .layout = d->p->layout};
  const double start = brc_now_s();
  VkResult code = d->p->vk.vkCreateComputePipelines(d->handle, d->p->cache, 1, &info, NULL, out);
  d->p->pipeline_seconds += brc_now_s() - start;
  if (code != VK_SUCCESS)
    return brc_fail_prefix(vk_fail("vkCreateComputePipelines", code), "shader '%s': ", key->module);
  if (statistics) print_statistics(d, key, *out);
  return BRC_OK;
}

static bool same_key(const vk_pipeline_key *a, const vk_pipeline_key *b) {
  return a->constant_count == b->constant_count && a->subgroup_size == b->subgroup_size &&
         !memcmp(a->constants, b->constants, 4 * a->constant_count) && !strcmp(a->module, b->module);
}

brc_status vk_pipeline_get(vk_device *d, const vk_pipeline_key *key, VkPipeline *out) {
  struct vk_private *p = d->p;
  for (size_t i = 0; i < p->pipeline_count; i++)
    if (same_key(&p->pipelines[i].key, key)) {
      *out = p->pipelines[i].handle;
      return BRC_OK;
    }
  if (p->pipeline_count == p->pipeline_cap) {
    size_t cap = p->pipeline_cap ? 2 * p->pipeline_cap : 64;
    vk_pipeline_row *bigger = realloc(p->pipelines, cap * sizeof *bigger);
    if (!bigger) return brc_fail(BRC_E_NOMEM, "Vulkan: out of memory");
    p->pipelines = bigger;
    p->pipeline_cap = cap;
  }
  brc_status st = create_pipeline(d, key, out);
  if (st) return st;
  p->pipelines[p->pipeline_count++] = (vk_pipeline_row){*key, *out};
  return BRC_OK;
}

//------------------------ 3. Open, close -------------------------------------------
brc_status vk_shaders_open(vk_device *d, const char *cache_dir) {
  size_t count = 0;
  while (vk_modules[count].name) count++;
  d->p->modules = calloc(count + 1, sizeof *d->p->modules);
  if (!d->p->modules) return brc_fail(BRC_E_NOMEM, "Vulkan: out of memory");
  const VkPushConstantRange range = {.stageFlags = VK_SHADER_STAGE_COMPUTE_BIT, .size = VK_PUSH_BYTES};
  const VkPipelineLayoutCreateInfo layout = {.sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
                                             .pushConstantRangeCount = 1,
                                             .pPushConstantRanges = &range};
  VK_TRY(d, vkCreatePipelineLayout, d->handle, &layout, NULL, &d->p->layout);
  cache_begin(d, cache_dir);
  return create_cache(d);
}

void vk_shaders_close(vk_device *d) {
  struct vk_private *p = d->p;
  for (size_t i = 0; i < p->pipeline_count; i++)
    p->vk.vkDestroyPipeline(d->handle, p->pipelines[i].handle, NULL);
  for (size_t i = 0; p->modules && vk_modules[i].name; i++)
    p->vk.vkDestroyShaderModule(d->handle, p->modules[i], NULL);
  p->vk.vkDestroyPipelineCache(d->handle, p->cache, NULL);
  p->vk.vkDestroyPipelineLayout(d->handle, p->layout, NULL);
  free(p->modules);
  free(p->pipelines);
}
#endif
