// Any file as the JSON of reward-normaliser cases.
#include <stdlib.h>
#include "tests/fuzz/fuzz.h"
#include "train/verify_normalizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  brc_verify_report r = {0};
  fuzz_check(brc_verify_normalizer(fuzz_file("cases.json", data, size), &r));
  free(r.rows);
  return 0;
}
