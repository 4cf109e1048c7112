// Any file as flax's msgpack.
#include "train/flax.h"
#include <stdlib.h>
#include <string.h>
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  brc_flax_file *f;
  brc_status st = brc_flax_open(&f, fuzz_file("in.msgpack", data, size));
  fuzz_check(st);
  if (st) return 0;
  for (size_t i = 0; i < brc_flax_count(f); i++) {
    const brc_flax_array *a = brc_flax_at(f, i);
    const brc_st_tensor t = {.dtype = a->dtype, .count = a->count, .data = a->data};
    double sum = 0;
    for (uint64_t k = 0; k < a->count; k++) sum += brc_st_get(&t, k);
    if (sum == 1e300 || strlen(a->path) >= sizeof a->path || !brc_flax_find(f, "%s", a->path)) abort();
  }
  brc_flax_close(f);
  return 0;
}
