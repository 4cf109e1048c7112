// cl_source FOLDER: every program of the OpenCL backend as it hands it to a GPU's driver, as FOLDER/NAME.cl and its options in
// FOLDER/NAME.options: "common", what all devices need, and UNIT-PRECISION for matrix units (mma_small: what a Hopper takes of mma). tools/cl_check compiles them.
#include "backends/opencl/opencl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static brc_status write_file(const char *folder, const char *name, const char *ending, const char *text) {
  char path[4096];
  snprintf(path, sizeof path, "%s/%s.%s", folder, name, ending);
  FILE *f = fopen(path, "w");
  if (!f) return brc_fail(BRC_E_IO, "cannot create '%s': %s", path, strerror(errno));
  const bool written = fputs(text, f) >= 0;
  if (fclose(f) || !written) return brc_fail(BRC_E_IO, "cannot write '%s': %s", path, strerror(errno));
  return BRC_OK;
}

static brc_status write_program(const char *folder, const char *name, const char *const *files, size_t count,
                                const char *more) {
  char options[1024], *source = NULL;
  brc_status st = ocl_program_text(files, count, more, options, sizeof options, &source);
  if (!st) st = write_file(folder, name, "cl", source);
  if (!st) st = write_file(folder, name, "options", options);
  free(source);
  return st;
}

static brc_status write_unit(const char *folder, const ocl_unit *u, bool small) {
  brc_status st = BRC_OK;
  for (int p = 0; !st && p < BRC_PRECISION_COUNT; p++) {
    char name[64], more[200];
    if (!(u->precisions >> p & 1)) continue;
    snprintf(name, sizeof name, "%s%s-%s", u->name, small ? "_small" : "", brc_precision_names[p]);
    ocl_unit_options(u, (brc_precision)p, small, more, sizeof more);
    st = write_program(folder, name, &u->source, 1, more);
  }
  return st;
}

int main(int argc, char **argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: cl_source FOLDER\n");
    return 2;
  }
  brc_status st = write_program(argv[1], "common", NULL, 0, "");
  for (size_t i = 0; !st && ocl_unit_at(i); i++) {
    st = write_unit(argv[1], ocl_unit_at(i), false);
    if (!st && ocl_unit_at(i)->generation) st = write_unit(argv[1], ocl_unit_at(i), true);
  }
  if (st) fprintf(stderr, "cl_source: %s\n", brc_error());
  return st ? 1 : 0;
}
