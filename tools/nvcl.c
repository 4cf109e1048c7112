// nvcl LIBRARY ARCHITECTURE OPTIONS FILE.cl OUT.ptx: OpenCL C to PTX by the compiler of NVIDIA's own OpenCL driver, which needs no card:
// LIBRARY is its libnvidia-nvvm.so.4, ARCHITECTURE as in sm_90, OPTIONS those of clBuildProgram. tools/cl_check uses it.
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// How libnvidia-opencl calls it; documented nowhere, the same in 535, 550 and 555. 0: compiled; the two texts are the caller's.
typedef int compile_program(const char **strings, unsigned count, const size_t *lengths, const char *options,
                            char **log, char **ptx);

static int fail(const char *what, const char *why) {
  fprintf(stderr, "nvcl: %s: %s\n", what, why);
  return 1;
}

// The whole file with a 0 behind it, or NULL and errno.
static char *read_file(const char *path, size_t *bytes) {
  FILE *f = fopen(path, "rb");
  if (!f) return NULL;
  char *text = NULL;
  long size = -1;
  if (!fseek(f, 0, SEEK_END) && (size = ftell(f)) >= 0 && !fseek(f, 0, SEEK_SET))
    text = malloc((size_t)size + 1);
  if (text) {
    *bytes = fread(text, 1, (size_t)size, f);
    text[*bytes] = 0;
  }
  fclose(f);
  return text;
}

int main(int argc, char **argv) {
  if (argc != 6) {
    fprintf(stderr, "usage: nvcl LIBRARY ARCHITECTURE OPTIONS FILE.cl OUT.ptx\n");
    return 2;
  }
  void *library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
  if (!library) return fail("cannot load the compiler", dlerror());
  compile_program *compile = NULL;
  *(void **)&compile = dlsym(library, "NvCliCompileProgram");
  if (!compile) return fail(argv[1], "has no NvCliCompileProgram");

  size_t length = 0;
  char *source = read_file(argv[4], &length), *log = NULL, *ptx = NULL;
  if (!source) return fail(argv[4], strerror(errno));
  char options[4096];
  const int n =
      snprintf(options, sizeof options, "-cl-nv-cstd=CL1.2 -nv-m64 -cl-nv-arch %s %s", argv[2], argv[3]);
  if (n < 0 || (size_t)n >= sizeof options) return fail(argv[4], "its options are too long");
  const int status = compile((const char **)&source, 1, &length, options, &log, &ptx);
  if (log && *log) fprintf(stderr, "%s\n", log);
  free(source);
  if (status || !ptx) return fail(argv[4], "does not compile");

  FILE *f = fopen(argv[5], "w");
  if (!f) return fail(argv[5], strerror(errno));
  const int written = fputs(ptx, f);
  return fclose(f) || written < 0 ? fail(argv[5], "cannot be written") : 0;
}
