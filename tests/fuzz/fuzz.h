// What the fuzz targets share: a folder of this process for the files that the readers are given, inputs of several parts, a
// mutator that keeps safetensors whole enough to get past the first bytes.
//
// A target is LLVMFuzzerTestOneInput in one file of this folder: it writes the input to a file, has it read, looks at everything that the
// reader hands out, and frees it. A crash, a leak, undefined behaviour or a hang is a finding; so is a failure without a sentence.
#ifndef BRC_FUZZ_H
#define BRC_FUZZ_H
#include <stddef.h>
#include <stdint.h>
#include "base/base.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// A file's path in this process's folder (static, four in turn), with these bytes in it if `data` is not NULL.
const char *fuzz_file(const char *name, const void *data, size_t size);
const char *fuzz_folder(void);

// A failure must have left a sentence; a success must not.
void fuzz_check(brc_status st);

// Cut `data` at bytes 0xff (which UTF-8 does not use) into at most `most` parts; the rest belongs to the last. Parts that are not
// there are empty.
typedef struct fuzz_part {
  const uint8_t *data;
  size_t size;
} fuzz_part;
void fuzz_split(const uint8_t *data, size_t size, fuzz_part *parts, size_t most);

// For LLVMFuzzerCustomMutator of targets whose input is, or ends with, safetensors: changes the header or the data, and mends the
// header's length afterwards. The file starts at byte `skip`.
size_t fuzz_mutate_safetensors(uint8_t *data, size_t size, size_t most, unsigned seed, size_t skip);
#endif
