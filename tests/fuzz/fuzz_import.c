// Any four files as a published checkpoint: their sizes in the first eight bytes, then one behind the other. What opens is written as
// safetensors and opened again.
#include "train/import.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "tests/fuzz/fuzz.h"
#include "train/train.h"

#define HEAD 8  // four lengths of two bytes, little-endian

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const char *const names[BRC_IMPORT_FILES] = {"actor.txt", "critic.txt", "target_critic.txt",
                                                      "temp.txt"};
  if (size < HEAD) return 0;
  size_t at = HEAD;
  for (int i = 0; i < BRC_IMPORT_FILES; i++) {
    size_t n = (size_t)data[2 * i] | (size_t)data[2 * i + 1] << 8;
    if (n > size - at) n = size - at;
    const char *path = fuzz_file(names[i], data + at, n);
    if (!n) unlink(path);
    at += n;
  }
  brc_import m;
  brc_status st = brc_import_open(&m, fuzz_folder());
  fuzz_check(st);
  if (st) return 0;
  static brc_train_config c;
  brc_option_set set = brc_train_option_set(&c);
  brc_options_default(&set);
  fuzz_check(brc_import_set_options(&m, &set));
  fuzz_check(brc_import_fits(&m, &c.agent));
  const char *path = fuzz_file("state.safetensors", NULL, 0);
  st = brc_import_write(&m, path);
  fuzz_check(st);
  brc_import_close(&m);
  brc_st_file *f;
  if (!st) {
    if (brc_st_open(&f, path)) abort();
    brc_st_close(f);
  }
  return 0;
}
