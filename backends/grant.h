// Which device a run takes: what was asked for, and what a scheduler or container has granted.
//
// Schedulers grant GPUs by environment variables of the vendors' own runtimes. Those runtimes hide the other devices; Vulkan, and OpenCL
// drivers of other makers, show them all. So the variables are read here, and a granted device is found again under
// every backend by its PCI address or UUID. An index counts the vendor's devices in the order of their PCI addresses.
#ifndef BRC_GRANT_H
#define BRC_GRANT_H
#include "backends/backend.h"

//       variable                  vendor
#define BRC_GRANTS(X)                 \
  X(NVIDIA_VISIBLE_DEVICES, "NVIDIA") \
  X(CUDA_VISIBLE_DEVICES, "NVIDIA")   \
  X(ROCR_VISIBLE_DEVICES, "AMD")      \
  X(HIP_VISIBLE_DEVICES, "AMD")       \
  X(GPU_DEVICE_ORDINAL, "AMD")        \
  X(ZE_AFFINITY_MASK, "Intel")
enum {
#define X(name, vendor) BRC_GRANT_##name,
  BRC_GRANTS(X)
#undef X
      BRC_GRANT_COUNT
};
// The variables' values; NULL: not set.
typedef struct brc_grants {
  const char *value[BRC_GRANT_COUNT];
} brc_grants;
brc_grants brc_grants_here(void);  // of this process; valid until its environment changes

// What "auto" takes among the devices of all backends, listed backend by backend in order of preference: position in `d`, or -1.
//   backend  only devices of this one; NULL: the first backend that has a granted GPU
//   nth      >= 0: the n-th granted GPU, in the order of the grant; -1: the one with most memory, the first of several
// Without a grant every GPU counts. With one, only what it names: another vendor's GPUs are then not granted. Within one vendor a
// variable counts what the one above it in the list has left; a number beyond that counts all devices, and where as many are named as
// are seen, but not all found, the runtime or container has hidden the others already: all seen are granted.
// CPUs are never subject to a grant: a named backend without a GPU gives its first CPU device. `why` tells the reason in either case.
int brc_device_pick(const brc_device_info *d, size_t count, const brc_grants *g, const char *backend, int nth,
                    char *why, size_t why_bytes);

// Position of the device with this PCI address ("0000:3b:00.0", "3B:00.0") or UUID ("GPU-8932f937-..." or its beginning, at least 4
// digits), or -1; -2 when several devices of one backend begin so.
int brc_device_match(const brc_device_info *d, size_t count, const char *backend, const char *text);

// Backend and index of what options name. backend: "auto" or a name; device: "auto", a number (with backend "auto": of granted GPUs; else
// of the backend's devices), PCI address or UUID. `why` is empty where nothing was left to choose. E_NOT_FOUND names the option.
brc_status brc_device_select(const char *backend, const char *device, const brc_backend **out, int *index,
                             char *why, size_t why_bytes);
#endif
