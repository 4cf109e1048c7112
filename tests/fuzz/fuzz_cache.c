// Any file as a cache of compiled kernels. Every second input gets a header that fits, which random bytes would never have.
#include "base/cache.h"
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  brc_cache c;
  char *file;
  size_t bytes;
  uint64_t head[5];
  brc_cache_begin(&c, fuzz_folder(), "kind", "BRCFUZZ");
  brc_cache_key(&c, "key", 3);
  if (!brc_cache_prepare(&c)) abort();
  brc_cache_read(&c, &file, &bytes);  // makes the path
  free(file);
  uint8_t *copy = malloc(size + 1);
  if (!copy) return 0;
  if (size) memcpy(copy, data, size);
  bool mended = size > sizeof head && data[size - 1] & 1;
  if (mended) {
    memcpy(head, c.magic, 8);
    head[1] = c.key[0], head[2] = c.key[1];
    head[3] = size - sizeof head;
    head[4] = brc_hash(0, copy + sizeof head, size - sizeof head);
    memcpy(copy, head, sizeof head);
  }
  if (brc_file_write_all(c.path, copy, size)) abort();
  const void *content = brc_cache_read(&c, &file, &bytes);
  if (content ? memcmp(content, copy + sizeof head, bytes) != 0 || bytes != size - sizeof head : mended)
    abort();
  free(file);
  free(copy);
  return 0;
}
