// Reader of flax's checkpoints (flax.serialization): a msgpack tree of maps whose leaves are arrays. It takes hostile
// files: every length, shape and type is checked against the file before use, and memory is bounded by the file's size.
#ifndef BRC_FLAX_H
#define BRC_FLAX_H
#include "base/safetensors.h"

typedef struct brc_flax_array {
  char path[192];  // keys from the root: "params/BroNet_0/Dense_0/kernel"
  brc_st_dtype dtype;
  int rank;  // 0: a scalar
  uint64_t shape[8];
  uint64_t count;    // elements
  const void *data;  // valid until brc_flax_close; not necessarily aligned
  void *owned;       // data of an array that flax had cut into pieces; else NULL
} brc_flax_array;

typedef struct brc_flax_file brc_flax_file;
// Fails: E_NOT_FOUND, E_IO, E_NOMEM; E_FORMAT with the file and the byte or the array.
brc_status brc_flax_open(brc_flax_file **out, const char *path);
void brc_flax_close(brc_flax_file *f);
size_t brc_flax_count(const brc_flax_file *f);
const brc_flax_array *brc_flax_at(const brc_flax_file *f, size_t i);  // in the file's order
const brc_flax_array *brc_flax_find(const brc_flax_file *f, const char *fmt, ...)
    BRC_PRINTF(2, 3);  // NULL if absent
const char *brc_flax_path(const brc_flax_file *f);
#endif
