// safetensors: 8 bytes little-endian header length, a JSON header, raw little-endian row-major data.
// The reader takes hostile files: every offset, length, shape and type is checked against the file before use.
#ifndef BRC_SAFETENSORS_H
#define BRC_SAFETENSORS_H
#include "base/base.h"

typedef enum brc_st_dtype {
  BRC_ST_F32,
  BRC_ST_F64,
  BRC_ST_I32,
  BRC_ST_U8,
  BRC_ST_I64,
  BRC_ST_U32,
  BRC_ST_U64
} brc_st_dtype;
size_t brc_st_dtype_bytes(brc_st_dtype t);

typedef struct brc_st_tensor {
  const char *name;
  brc_st_dtype dtype;
  int rank;
  uint64_t shape[8];
  uint64_t count;    // elements
  const void *data;  // inside the file's image, valid until brc_st_close; not necessarily aligned
} brc_st_tensor;

typedef struct brc_st_file brc_st_file;
brc_status brc_st_open(brc_st_file **out, const char *path);
void brc_st_close(brc_st_file *f);
size_t brc_st_count(const brc_st_file *f);
const brc_st_tensor *brc_st_at(const brc_st_file *f, size_t i);  // in name order
const brc_st_tensor *brc_st_find(const brc_st_file *f, const char *fmt, ...)
    BRC_PRINTF(2, 3);                                            // NULL if absent
const char *brc_st_meta(const brc_st_file *f, const char *key);  // NULL if absent
const char *brc_st_path(const brc_st_file *f);
// E_FORMAT if the file has a checksum (brc_st_writer_seal) that is not that of its tensors.
brc_status brc_st_check_seal(const brc_st_file *f);
// Numbers of the metadata; E_FORMAT naming the file and key if absent or malformed or outside [lo, hi].
brc_status brc_st_meta_int(const brc_st_file *f, const char *key, long lo, long hi, long *out);
brc_status brc_st_meta_real(const brc_st_file *f, const char *key, double *out);
// Element i as double, whatever the type.
double brc_st_get(const brc_st_tensor *t, uint64_t i);
// A tensor that must be there with this type and element count; E_FORMAT otherwise.
brc_status brc_st_need(const brc_st_file *f, brc_st_dtype dtype, uint64_t count, const brc_st_tensor **out,
                       const char *fmt, ...) BRC_PRINTF(5, 6);

// Writer: collect tensors (data is borrowed until brc_st_write), then write the file atomically, sorted by name.
typedef struct brc_st_writer brc_st_writer;
brc_status brc_st_writer_new(brc_st_writer **out);
brc_status brc_st_writer_meta(brc_st_writer *w, const char *key, const char *value);
brc_status brc_st_writer_add(brc_st_writer *w, const char *name, brc_st_dtype t, int rank,
                             const uint64_t *shape, const void *data);
// As add, but the writer keeps its own copy of the data.
brc_status brc_st_writer_copy(brc_st_writer *w, const char *name, brc_st_dtype t, int rank,
                              const uint64_t *shape, const void *data);
// The name of the first tensor of floats among those collected with an element that is not finite; NULL: there is none.
const char *brc_st_writer_not_finite(const brc_st_writer *w);
brc_status brc_st_write(brc_st_writer *w, const char *path);
// Add the metadata "checksum", of all tensors collected: names, types, shapes, data.
brc_status brc_st_writer_seal(brc_st_writer *w);
void brc_st_writer_free(brc_st_writer *w);
#endif
