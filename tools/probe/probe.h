// driver_probe: what a machine's OpenCL and Vulkan drivers answer to the questions that our kernels' design hangs on. Each
// question is asked in a process of its own, as a driver may crash or hang over one. Answers are JSON.
#ifndef BRC_PROBE_H
#define BRC_PROBE_H
#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>

// One question, put to one device. `answer` is an empty object to fill; false where no such device exists.
typedef bool probe_fn(int device, cJSON *answer);
probe_fn probe_opencl_facts, probe_opencl_code, probe_opencl_launch, probe_opencl_local;
probe_fn probe_vulkan_facts, probe_vulkan_launch;

double probe_now_s(void);
// dlopen; NULL, and "absent" with the reason in the answer, where the library is not there.
void *probe_library(const char *library, cJSON *answer);
// "error" of an answer, in the manner of printf.
void probe_error(cJSON *answer, const char *format, ...) __attribute__((format(printf, 2, 3)));
#endif
