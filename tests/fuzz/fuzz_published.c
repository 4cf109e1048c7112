// Any file as a published learning curve in NumPy's format.
#include "train/published.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  char folder[512];
  snprintf(folder, sizeof folder, "%s/dmc/BRC_multitask", fuzz_folder());
  if (brc_mkdirs(folder)) abort();
  fuzz_file("dmc/BRC_multitask/task.npy", data, size);
  brc_published p;
  brc_point *points;
  size_t count;
  brc_status st = brc_published_read(&p, fuzz_folder(), "task", "eval_return", true);
  fuzz_check(st);
  if (st) return 0;
  if (!brc_published_curve(&p, &points, &count)) free(points);
  brc_published_free(&p);
  return 0;
}
