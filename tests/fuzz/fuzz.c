#include "tests/fuzz/fuzz.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t most);

//------------------------ 1. Files ------------------------------------------------
const char *fuzz_folder(void) {
  static char folder[256];
  if (*folder) return folder;
  const char *root = getenv("TMPDIR");
  snprintf(folder, sizeof folder, "%s/brc-fuzz-XXXXXX", root && *root ? root : "/tmp");
  if (!mkdtemp(folder)) {
    perror(folder);
    exit(1);
  }
  return folder;
}

const char *fuzz_file(const char *name, const void *data, size_t size) {
  static char paths[4][512];
  static int turn;
  char *path = paths[turn++ % 4];
  snprintf(path, sizeof paths[0], "%s/%s", fuzz_folder(), name);
  if (!data) return path;
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
  if (fd < 0 || write(fd, data, size) != (ssize_t)size) {
    perror(path);
    exit(1);
  }
  close(fd);
  return path;
}

void fuzz_check(brc_status st) {
  if (st && (!*brc_error() || (unsigned)st >= BRC_STATUS_COUNT)) abort();
  brc_fail(BRC_OK, "%s", "");
}

//------------------------ 2. Inputs -----------------------------------------------
void fuzz_split(const uint8_t *data, size_t size, fuzz_part *parts, size_t most) {
  for (size_t i = 0; i < most; i++) {
    const uint8_t *end = i + 1 < most && size ? memchr(data, 0xff, size) : NULL;
    size_t n = end ? (size_t)(end - data) : size;
    // Never NULL, so that an empty part makes an empty file.
    parts[i] = (fuzz_part){n ? data : (const uint8_t *)"", n};
    data += n + (end != NULL);
    size -= n + (end != NULL);
  }
}

// Header and data are mutated apart: where one byte is put in the middle, the numbers behind it would all be wrong.
size_t fuzz_mutate_safetensors(uint8_t *data, size_t size, size_t most, unsigned seed, size_t skip) {
  uint64_t length = 0;
  if (size < skip + 16 || seed % 8 == 0) return LLVMFuzzerMutate(data, size, most);
  for (int k = 0; k < 8; k++) length |= (uint64_t)data[skip + (size_t)k] << (8 * k);
  uint8_t *text = data + skip + 8;
  size_t room = most - skip - 8, left = size - skip - 8;
  if (!length || length > left) return LLVMFuzzerMutate(data, size, most);
  if (seed % 4 == 1 && left > length)
    return skip + 8 + length + LLVMFuzzerMutate(text + length, left - length, left - length);
  uint8_t *tail = malloc(left - length + 1);
  if (!tail) return size;
  memcpy(tail, text + length, left - length);
  size_t header = LLVMFuzzerMutate(text, (size_t)length, room - (left - length));
  memcpy(text + header, tail, left - length);
  free(tail);
  for (int k = 0; k < 8; k++) data[skip + (size_t)k] = (uint8_t)((uint64_t)header >> (8 * k));
  return skip + 8 + header + (left - length);
}
