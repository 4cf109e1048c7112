// cl_source OUT.cl [MORE-OPTIONS FILE...]: a program of cl/ as the OpenCL backend hands it to a GPU's driver. The source goes into
// OUT.cl, the options to standard output. No files: the kernels that all devices need. tools/cl_check compiles them.
#include "backends/opencl/opencl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static brc_status write_file(const char *path, const char *source) {
  FILE *f = fopen(path, "w");
  if (!f) return brc_fail(BRC_E_IO, "cannot create '%s': %s", path, strerror(errno));
  const bool written = fputs(source, f) >= 0;
  if (fclose(f) || !written) return brc_fail(BRC_E_IO, "cannot write '%s': %s", path, strerror(errno));
  return BRC_OK;
}

int main(int argc, char **argv) {
  if (argc < 2 || argc == 3) {
    fprintf(stderr, "usage: cl_source OUT.cl [MORE-OPTIONS FILE...]\n");
    return 2;
  }
  const bool files = argc > 3;
  char more[300] = "", options[1024], *source = NULL;
  if (files) snprintf(more, sizeof more, " %s", argv[2]);
  brc_status st = ocl_program_text((const char *const *)argv + 3, files ? (size_t)argc - 3 : 0, more, options,
                                   sizeof options, &source);
  if (!st) st = write_file(argv[1], source);
  free(source);
  if (st) {
    fprintf(stderr, "cl_source: %s\n", brc_error());
    return 1;
  }
  puts(options);
  return 0;
}
