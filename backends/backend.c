// The list of backends, and what the trainer needs on top of them.
#include "backends/backend.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const brc_backend *const brc_backends[] = {
    &brc_backend_host,
#ifdef BRC_HAVE_OPENCL
    &brc_backend_opencl,
#endif
#ifdef BRC_HAVE_VULKAN
    &brc_backend_vulkan,
#endif
    NULL,
};

const brc_backend *brc_backend_find(const char *name) {
  for (size_t i = 0; brc_backends[i]; i++)
    if (!strcmp(brc_backends[i]->name, name)) return brc_backends[i];
  return NULL;
}

brc_status brc_check_range(const brc_backend *b, const char *what, uint64_t offset, uint64_t elements,
                           uint64_t size) {
  if (offset <= size && elements <= size - offset) return BRC_OK;
  return brc_fail(BRC_E_SHAPE, "%s: %s: elements [%llu, +%llu) of a buffer of %llu", b->name, what,
                  (unsigned long long)offset, (unsigned long long)elements, (unsigned long long)size);
}

brc_profile_row brc_profile_of(const brc_op *op, uint64_t calls, double seconds) {
  double flops, bytes;
  brc_op_cost(op, &flops, &bytes);
  return (brc_profile_row){.op = op,
                           .calls = calls,
                           .seconds = seconds,
                           .flops = flops * (double)calls,
                           .bytes = bytes * (double)calls};
}

uint64_t brc_without_slack(uint64_t bytes) {
  const uint64_t slack = 4 * BRC_BUFFER_SLACK;
  return bytes > slack ? bytes - slack : bytes;
}

void brc_uuid_text(const uint8_t u[16], char out[40]) {
  snprintf(out, 40, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", u[0], u[1], u[2],
           u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12], u[13], u[14], u[15]);
}

brc_status brc_device_open(brc_device **out, const char *backend, int index,
                           const brc_device_options *options) {
  const brc_backend *b = brc_backend_find(backend);
  *out = NULL;
  return b ? b->open(out, index, options)
           : brc_fail(BRC_E_NOT_FOUND, "backend '%s' is not in this build", backend);
}

void brc_device_close(brc_device *d) {
  if (d) d->backend->close(d);
}

brc_status brc_storage_alloc(brc_device *d, brc_storage *s) {
  return d->backend->alloc(d, s->name, s->elements, &s->buffer);
}

void brc_storage_release(brc_device *d, brc_storage *s) {
  if (s->buffer) d->backend->release(d, s->buffer);
  s->buffer = NULL;
}

bool brc_env_is_one(const char *name) {
  const char *on = getenv(name);
  return on && !strcmp(on, "1");
}
bool brc_emulate_precision(void) { return brc_env_is_one("BRC_EMULATE_PRECISION"); }

//------------------------ Tensors between host and device ----------------------
static double get(brc_dtype t, const void *data, uint64_t i) {
  return t == BRC_F64   ? ((const double *)data)[i]
         : t == BRC_I32 ? ((const int32_t *)data)[i]
                        : (double)((const float *)data)[i];
}
static void put(brc_dtype t, void *data, uint64_t i, double x) {
  if (t == BRC_F64)
    ((double *)data)[i] = x;
  else if (t == BRC_I32)
    ((int32_t *)data)[i] = (int32_t)x;
  else
    ((float *)data)[i] = (float)x;
}

// Move between dense host data and the padded image of a tensor's extent (`type`: the image's element type).
static void convert(const brc_tensor *t, brc_dtype type, void *image, brc_dtype dtype, void *data,
                    bool to_image) {
  uint64_t i = 0;
  for (uint32_t e = 0; e < t->members; e++)
    for (uint32_t r = 0; r < t->rows; r++)
      for (uint32_t c = 0; c < t->cols; c++, i++) {
        uint64_t at = e * t->stride + (uint64_t)r * t->pitch + c;
        if (to_image)
          put(type, image, at, get(dtype, data, i));
        else
          put(dtype, data, i, get(type, image, at));
      }
}

brc_status brc_tensor_write(brc_device *d, const brc_tensor *t, brc_dtype dtype, const void *data) {
  const brc_backend *b = d->backend;
  brc_dtype type = b->wide ? BRC_F64 : t->dtype;
  uint64_t n = brc_tensor_elements(t);
  bool dense = t->members == 1 && (t->pitch == t->cols || t->rows == 1);
  if (dense && type == dtype) return b->write(d, t->storage->buffer, t->offset, n, data, false);
  void *image = calloc(n, b->wide ? 8 : 4);
  if (!image)
    return brc_fail(BRC_E_NOMEM, "out of memory for %llu elements of '%s'", (unsigned long long)n, t->name);
  convert(t, type, image, dtype, (void *)(uintptr_t)data, true);
  brc_status st = b->write(d, t->storage->buffer, t->offset, n, image, false);
  free(image);
  return st;
}

brc_status brc_tensor_read(brc_device *d, brc_exec *e, const brc_tensor *t, brc_dtype dtype, void *data) {
  const brc_backend *b = d->backend;
  brc_dtype type = b->wide ? BRC_F64 : t->dtype;
  uint64_t n = brc_tensor_elements(t);
  bool dense = t->members == 1 && (t->pitch == t->cols || t->rows == 1);
  void *image = dense && type == dtype ? data : malloc(n * (b->wide ? 8 : 4));
  if (!image)
    return brc_fail(BRC_E_NOMEM, "out of memory for %llu elements of '%s'", (unsigned long long)n, t->name);
  brc_status st = t->storage ? b->read(d, t->storage->buffer, t->offset, n, image)
                             : b->read_arena(d, e, t->offset, n, image);
  if (image != data) {
    if (!st) convert(t, type, image, dtype, data, false);
    free(image);
  }
  return st;
}
