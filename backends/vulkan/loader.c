// libvulkan at run time, the instance, messages of the validation layer, result codes in words.
#ifdef BRC_HAVE_VULKAN
#include "backends/vulkan/core.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

vk_instance_table vk;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static brc_status outcome = BRC_OK;
static char problem[1024];  // why Vulkan cannot be used

static void give_up(brc_status st) {
  outcome = st;
  snprintf(problem, sizeof problem, "%s", brc_error());
}

//------------------------ 1. Validation ------------------------------------------
#define LAYER        "VK_LAYER_KHRONOS_validation"
#define MAX_FEATURES 8

// BRC_VULKAN_VALIDATION, a list with commas: 1 (the layer's standard checks), and what the others add to them.
static const struct {
  const char *word;
  VkValidationFeatureEnableEXT features[2];
  uint32_t count;
} validation_words[] = {
    {"1", {0}, 0},
    {"sync", {VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT}, 1},
    {"gpu",
     {VK_VALIDATION_FEATURE_ENABLE_GPU_ASSISTED_EXT,
      VK_VALIDATION_FEATURE_ENABLE_GPU_ASSISTED_RESERVE_BINDING_SLOT_EXT},
     2},
};

static struct {
  pthread_mutex_t lock;
  unsigned count;    // of messages since the last check
  char first[4096];  // of them
} said = {.lock = PTHREAD_MUTEX_INITIALIZER};

static VkBool32 VKAPI_CALL on_message(VkDebugUtilsMessageSeverityFlagBitsEXT severity,
                                      VkDebugUtilsMessageTypeFlagsEXT types,
                                      const VkDebugUtilsMessengerCallbackDataEXT *data, void *user) {
  (void)severity, (void)types, (void)user;
  fprintf(stderr, "brc: Vulkan validation: %s\n", data->pMessage);
  pthread_mutex_lock(&said.lock);
  if (said.count++ == 0) snprintf(said.first, sizeof said.first, "%s", data->pMessage);
  pthread_mutex_unlock(&said.lock);
  return VK_FALSE;
}

brc_status vk_validation_check(void) {
  pthread_mutex_lock(&said.lock);
  unsigned count = said.count;
  said.count = 0;
  brc_status st = count ? brc_fail(BRC_E_DEVICE, "Vulkan validation (%u message%s): %s", count,
                                   count == 1 ? "" : "s", said.first)
                        : BRC_OK;
  pthread_mutex_unlock(&said.lock);
  return st;
}

// The words of BRC_VULKAN_VALIDATION as features; *on is false where it is not set.
static brc_status parse_validation(bool *on, VkValidationFeatureEnableEXT *features, uint32_t *count) {
  const char *words = getenv("BRC_VULKAN_VALIDATION");
  *on = words && *words && strcmp(words, "0") != 0;
  *count = 0;
  char text[256];
  snprintf(text, sizeof text, "%s", *on ? words : "");
  char *rest = NULL;
  for (char *word = strtok_r(text, ",", &rest); word; word = strtok_r(NULL, ",", &rest)) {
    size_t k = 0;
    while (k < BRC_COUNT(validation_words) && strcmp(validation_words[k].word, word) != 0) k++;
    if (k == BRC_COUNT(validation_words))
      return brc_fail(BRC_E_VALUE, "BRC_VULKAN_VALIDATION: '%s' is not one of 1, sync, gpu", word);
    for (uint32_t i = 0; i < validation_words[k].count && *count < MAX_FEATURES; i++)
      features[(*count)++] = validation_words[k].features[i];
  }
  return BRC_OK;
}

static bool has_layer(void) {
  VkLayerProperties layers[64];
  uint32_t count = BRC_COUNT(layers);
  if (vk.vkEnumerateInstanceLayerProperties(&count, layers) < VK_SUCCESS) return false;
  for (uint32_t i = 0; i < count; i++)
    if (!strcmp(layers[i].layerName, LAYER)) return true;
  return false;
}

//------------------------ 2. The instance -----------------------------------------
static brc_status instance_failed(VkResult code) {
  if (code == VK_ERROR_INCOMPATIBLE_DRIVER)
    return brc_fail(
        BRC_E_UNSUPPORTED,
        "Vulkan has no driver: NVIDIA's comes with its driver package; AMD, Intel and CPUs: install "
        "mesa-vulkan-drivers (Debian)");
  return vk_fail("vkCreateInstance", code);
}

static brc_status create_instance(uint32_t version) {
  bool validate;
  VkValidationFeatureEnableEXT enabled[MAX_FEATURES];
  uint32_t count;
  brc_status st = parse_validation(&validate, enabled, &count);
  if (st) return st;
  if (validate && !has_layer())
    return brc_fail(BRC_E_NOT_FOUND, "BRC_VULKAN_VALIDATION is set, but " LAYER
                                     " is not installed (Debian: vulkan-validationlayers)");
  static const char *const layers[] = {LAYER};
  static const char *const extensions[] = {"VK_EXT_debug_utils", "VK_EXT_validation_features"};
  // Not its general messages: the loader reports drivers without a device there.
  const VkDebugUtilsMessengerCreateInfoEXT messenger = {
      .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT,
      .messageSeverity =
          VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT | VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT,
      .messageType =
          VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT | VK_DEBUG_UTILS_MESSAGE_TYPE_PERFORMANCE_BIT_EXT,
      .pfnUserCallback = on_message};
  const VkValidationFeaturesEXT features = {.sType = VK_STRUCTURE_TYPE_VALIDATION_FEATURES_EXT,
                                            .pNext = &messenger,
                                            .enabledValidationFeatureCount = count,
                                            .pEnabledValidationFeatures = enabled};
  const VkApplicationInfo application = {.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
                                         .pApplicationName = "brc",
                                         .pEngineName = "brc",
                                         .apiVersion = version};
  const VkInstanceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
                                     .pNext = validate ? &features : NULL,
                                     .pApplicationInfo = &application,
                                     .enabledLayerCount = validate,
                                     .ppEnabledLayerNames = layers,
                                     .enabledExtensionCount = validate ? BRC_COUNT(extensions) : 0,
                                     .ppEnabledExtensionNames = extensions};
  VkResult code = vk.vkCreateInstance(&info, NULL, &vk.handle);
  if (code != VK_SUCCESS) return instance_failed(code);
  if (validate) {
    PFN_vkCreateDebugUtilsMessengerEXT create = (PFN_vkCreateDebugUtilsMessengerEXT)vk.vkGetInstanceProcAddr(
        vk.handle, "vkCreateDebugUtilsMessengerEXT");
    VkDebugUtilsMessengerEXT handle;  // lives as long as the process, like the instance
    code = create ? create(vk.handle, &messenger, NULL, &handle) : VK_ERROR_EXTENSION_NOT_PRESENT;
    if (code != VK_SUCCESS) return vk_fail("vkCreateDebugUtilsMessengerEXT", code);
  }
  return BRC_OK;
}

//------------------------ 3. The library -------------------------------------------
static brc_status missing_function(const char *name) {
  return brc_fail(BRC_E_UNSUPPORTED, "the Vulkan library has no %s; version 1.2 or later is needed", name);
}

static brc_status open_library(void) {
  const char *forced = getenv("BRC_VULKAN_LIBRARY");
  const char *name = forced && *forced ? forced : "libvulkan.so.1";
  void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  if (!library)
    return brc_fail(BRC_E_UNSUPPORTED, "Vulkan cannot be loaded (%s); %s", dlerror(),
                    name == forced ? "BRC_VULKAN_LIBRARY names it" : "install its loader (Debian: libvulkan1)");
  *(void **)&vk.vkGetInstanceProcAddr = dlsym(library, "vkGetInstanceProcAddr");
  if (!vk.vkGetInstanceProcAddr) return missing_function("vkGetInstanceProcAddr");
#define X(f)                                          \
  vk.f = (PFN_##f)vk.vkGetInstanceProcAddr(NULL, #f); \
  if (!vk.f) return missing_function(#f);
  VK_GLOBAL_FUNCTIONS(X)
#undef X
  return BRC_OK;
}

static brc_status load_all(void) {
  brc_status st = open_library();
  if (st) return st;
  uint32_t version = VK_API_VERSION_1_0;
  vk.vkEnumerateInstanceVersion(&version);
  if (version < VK_API_VERSION_1_2)
    return brc_fail(BRC_E_UNSUPPORTED, "the Vulkan library has version %u.%u; 1.2 or later is needed",
                    VK_API_VERSION_MAJOR(version), VK_API_VERSION_MINOR(version));
  st = create_instance(version < VK_API_VERSION_1_3 ? VK_API_VERSION_1_2 : VK_API_VERSION_1_3);
  if (st) return st;
#define X(f)                                               \
  vk.f = (PFN_##f)vk.vkGetInstanceProcAddr(vk.handle, #f); \
  if (!vk.f) return missing_function(#f);
  VK_INSTANCE_FUNCTIONS(X)
#undef X
  vk.vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR =
      (PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR)vk.vkGetInstanceProcAddr(
          vk.handle, "vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR");
  return BRC_OK;
}

static void load(void) {
  brc_status st = load_all();
  if (st) give_up(st);
}

brc_status vk_load(void) {
  pthread_once(&once, load);
  return outcome ? brc_fail(outcome, "%s", problem) : BRC_OK;
}

//------------------------ 4. Result codes ------------------------------------------
// clang-format off
#define CODES(X)                                                                                          \
  X(NOT_READY) X(TIMEOUT) X(INCOMPLETE) X(ERROR_OUT_OF_HOST_MEMORY) X(ERROR_OUT_OF_DEVICE_MEMORY)         \
  X(ERROR_INITIALIZATION_FAILED) X(ERROR_DEVICE_LOST) X(ERROR_MEMORY_MAP_FAILED)                          \
  X(ERROR_LAYER_NOT_PRESENT) X(ERROR_EXTENSION_NOT_PRESENT) X(ERROR_FEATURE_NOT_PRESENT)                  \
  X(ERROR_INCOMPATIBLE_DRIVER) X(ERROR_TOO_MANY_OBJECTS) X(ERROR_FORMAT_NOT_SUPPORTED)                    \
  X(ERROR_FRAGMENTED_POOL) X(ERROR_UNKNOWN) X(ERROR_OUT_OF_POOL_MEMORY)                                   \
  X(ERROR_INVALID_EXTERNAL_HANDLE) X(ERROR_FRAGMENTATION) X(ERROR_INVALID_OPAQUE_CAPTURE_ADDRESS)         \
  X(PIPELINE_COMPILE_REQUIRED) X(ERROR_NOT_PERMITTED_KHR) X(ERROR_VALIDATION_FAILED_EXT)                  \
  X(ERROR_INVALID_SHADER_NV)
// clang-format on

const char *vk_result_text(VkResult code) {
  switch (code) {
    case VK_SUCCESS: return "VK_SUCCESS";
#define X(name) \
  case VK_##name: return "VK_" #name;
      CODES(X)
#undef X
    default: return "unknown code";
  }
}

brc_status vk_fail(const char *call, VkResult code) {
  if (code == VK_ERROR_DEVICE_LOST)
    return brc_fail(
        BRC_E_DEVICE,
        "Vulkan: %s failed: the device was lost (VK_ERROR_DEVICE_LOST): it failed or its driver reset "
        "it, the system's log (dmesg) says more; the run's last checkpoint is whole, and "
        "'brc train --resume' goes on from it",
        call);
  bool memory = code == VK_ERROR_OUT_OF_HOST_MEMORY || code == VK_ERROR_OUT_OF_DEVICE_MEMORY ||
                code == VK_ERROR_TOO_MANY_OBJECTS || code == VK_ERROR_OUT_OF_POOL_MEMORY ||
                code == VK_ERROR_FRAGMENTATION;
  return brc_fail(memory ? BRC_E_NOMEM : BRC_E_DEVICE, "Vulkan: %s failed: %s (%d)", call, vk_result_text(code),
                  (int)code);
}
#endif
