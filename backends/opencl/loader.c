// libOpenCL at run time, and its error codes in words.
#ifdef BRC_HAVE_OPENCL
#include "backends/opencl/opencl.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>

ocl_functions ocl;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static char problem[512];  // why it could not be loaded; empty when it could

static void load(void) {
  const char *const names[] = {"libOpenCL.so.1", "libOpenCL.so"};
  void *library = NULL;
  for (size_t i = 0; i < BRC_COUNT(names) && !library; i++) {
    library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    if (!library && i == 0) snprintf(problem, sizeof problem, "%s", dlerror());
  }
  if (!library) {
    char why[300];
    snprintf(why, sizeof why, "%.299s", problem);
    snprintf(problem, sizeof problem,
             "OpenCL cannot be loaded (%s); install its loader (Debian: ocl-icd-libopencl1)", why);
    return;
  }
  problem[0] = 0;
#define X(f)                             \
  *(void **)&ocl.f = dlsym(library, #f); \
  if (!ocl.f && !problem[0])             \
    snprintf(problem, sizeof problem, "the OpenCL library has no %s; version 1.2 is needed", #f);
  OCL_FUNCTIONS(X)
#undef X
}

brc_status ocl_load(void) {
  pthread_once(&once, load);
  return problem[0] ? brc_fail(BRC_E_UNSUPPORTED, "%s", problem) : BRC_OK;
}

//------------------------ Error codes ------------------------------------------
// clang-format off
#define CODES(X)                                                                                           \
  X(DEVICE_NOT_FOUND) X(DEVICE_NOT_AVAILABLE) X(COMPILER_NOT_AVAILABLE) X(MEM_OBJECT_ALLOCATION_FAILURE)   \
  X(OUT_OF_RESOURCES) X(OUT_OF_HOST_MEMORY) X(PROFILING_INFO_NOT_AVAILABLE) X(MEM_COPY_OVERLAP)            \
  X(BUILD_PROGRAM_FAILURE) X(MAP_FAILURE) X(MISALIGNED_SUB_BUFFER_OFFSET)                                  \
  X(EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST) X(INVALID_VALUE) X(INVALID_DEVICE_TYPE) X(INVALID_PLATFORM) \
  X(INVALID_DEVICE) X(INVALID_CONTEXT) X(INVALID_QUEUE_PROPERTIES) X(INVALID_COMMAND_QUEUE)                \
  X(INVALID_MEM_OBJECT) X(INVALID_BINARY) X(INVALID_BUILD_OPTIONS) X(INVALID_PROGRAM)                      \
  X(INVALID_PROGRAM_EXECUTABLE) X(INVALID_KERNEL_NAME) X(INVALID_KERNEL_DEFINITION) X(INVALID_KERNEL)      \
  X(INVALID_ARG_INDEX) X(INVALID_ARG_VALUE) X(INVALID_ARG_SIZE) X(INVALID_KERNEL_ARGS)                     \
  X(INVALID_WORK_DIMENSION) X(INVALID_WORK_GROUP_SIZE) X(INVALID_WORK_ITEM_SIZE) X(INVALID_GLOBAL_OFFSET)  \
  X(INVALID_EVENT_WAIT_LIST) X(INVALID_EVENT) X(INVALID_OPERATION) X(INVALID_BUFFER_SIZE)                  \
  X(INVALID_GLOBAL_WORK_SIZE) X(INVALID_PROPERTY)
// clang-format on

const char *ocl_code_text(cl_int code) {
  switch (code) {
#define X(name) \
  case CL_##name: return "CL_" #name;
    CODES(X)
#undef X
    case -1001: return "CL_PLATFORM_NOT_FOUND_KHR";
    default: return "unknown code";
  }
}

brc_status ocl_fail(const char *call, cl_int code) {
  bool memory =
      code == CL_MEM_OBJECT_ALLOCATION_FAILURE || code == CL_OUT_OF_RESOURCES || code == CL_OUT_OF_HOST_MEMORY;
  return brc_fail(memory ? BRC_E_NOMEM : BRC_E_DEVICE, "OpenCL: %s failed: %s (%d)", call, ocl_code_text(code),
                  (int)code);
}
#endif
