// The kernels of cl/ as one program, built for a device and cached on disk.
//
// One program for all families: on PoCL a program costs 0.9 s cold whatever its size, on GPUs one binary is one file.
#ifdef BRC_HAVE_OPENCL
#include "backends/opencl/cl_sources.h"
#include "backends/opencl/opencl.h"
#include "base/cache.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// In this order; random.cl is last, as it switches contraction off for what stands behind it.
static const char *const common[] = {"cl/gemm.cl",   "cl/norm.cl",        "cl/reduce.cl",    "cl/input.cl",
                                     "cl/policy.cl", "cl/categorical.cl", "cl/optimiser.cl", "cl/random.cl"};

//------------------------ 1. Sources ------------------------------------------
typedef struct text {
  char *data;
  size_t bytes, cap;
  bool failed;
} text;

static void append(text *t, const char *data, size_t bytes) {
  if (t->failed) return;
  if (t->bytes + bytes + 1 > t->cap) {
    size_t cap = (t->bytes + bytes + 1) * 2;
    char *bigger = realloc(t->data, cap);
    if (!bigger) {
      t->failed = true;
      return;
    }
    t->data = bigger;
    t->cap = cap;
  }
  memcpy(t->data + t->bytes, data, bytes);
  t->bytes += bytes;
  t->data[t->bytes] = 0;
}
static void append_text(text *t, const char *s) { append(t, s, strlen(s)); }

static const brc_cl_source *source_find(const char *name, size_t bytes) {
  for (size_t i = 0; i < brc_cl_source_count; i++)
    if (strlen(brc_cl_sources[i].name) == bytes && !memcmp(brc_cl_sources[i].name, name, bytes))
      return &brc_cl_sources[i];
  return NULL;
}

// Includes are resolved here, as OpenCL C has no files at run time. A file is taken once. Line directives let the
// compiler's messages name file and line.
static brc_status expand(text *out, const char *name, size_t name_bytes, int depth) {
  const brc_cl_source *s = source_find(name, name_bytes);
  if (!s) return brc_fail(BRC_E_NOT_FOUND, "kernel source '%.*s' is not in this build", (int)name_bytes, name);
  if (depth > 8) return brc_fail(BRC_E_FORMAT, "kernel source '%s' includes itself", s->name);
  char line_text[300];
  snprintf(line_text, sizeof line_text, "#line 1 \"%s\"\n", s->name);
  append_text(out, line_text);
  int line = 1;
  for (const char *at = s->text, *end = s->text + s->bytes; at < end; line++) {
    const char *stop = memchr(at, '\n', (size_t)(end - at));
    stop = stop ? stop + 1 : end;
    static const char directive[] = "#include \"";
    const size_t n = sizeof directive - 1;
    const char *close = (size_t)(stop - at) > n && !memcmp(at, directive, n)
                            ? memchr(at + n, '"', (size_t)(stop - at) - n)
                            : NULL;
    if (close) {
      brc_status st = expand(out, at + n, (size_t)(close - at) - n, depth + 1);
      if (st) return brc_fail_prefix(st, "%s:%d: ", s->name, line);
      snprintf(line_text, sizeof line_text, "\n#line %d \"%s\"\n", line + 1, s->name);
      append_text(out, line_text);
    } else {
      append(out, at, (size_t)(stop - at));
    }
    at = stop;
  }
  append_text(out, "\n");
  return BRC_OK;
}

static brc_status sources(text *out, const char *const *files, size_t count) {
  brc_status st = BRC_OK;
  for (size_t i = 0; i < count && !st; i++) st = expand(out, files[i], strlen(files[i]), 0);
  if (!st && out->failed) st = brc_fail(BRC_E_NOMEM, "OpenCL: out of memory");
  return st;
}

// No -cl-fast-relaxed-math: its divisions, roots and infinities are not ours.
static void build_options(bool cpu, bool exact_division, const char *more, char *out, size_t bytes) {
  snprintf(out, bytes,
           "-cl-std=CL1.2 -DBRC_VEC=%d -DNORM_LANES=%d -DROW_LANES=%d -DREDUCE_LANES=%d -DADAM_LANES=%d "
           "-DMEMBERS_MAX=%d -DATOMS_MAX=%d",
           cpu ? 16 : 1, cpu ? 1 : OCL_NORM_LANES, cpu ? 1 : OCL_ROW_LANES, cpu ? 1 : OCL_REDUCE_LANES,
           cpu ? 1 : OCL_ADAM_LANES, OCL_MEMBERS_MAX, OCL_ATOMS_MAX);
  if (exact_division)
    snprintf(out + strlen(out), bytes - strlen(out), " -cl-fp32-correctly-rounded-divide-sqrt");
  if (brc_emulate_precision()) snprintf(out + strlen(out), bytes - strlen(out), " -DEMULATE_PRECISION");
  snprintf(out + strlen(out), bytes - strlen(out), "%s", more);
}

// What a program is made of.
typedef struct recipe {
  char options[512];
  text source;
} recipe;

static brc_status recipe_make(recipe *r, const ocl_device *d, const char *const *files, size_t count, bool cpu,
                              const char *options) {
  *r = (recipe){0};
  cl_device_fp_config config = 0;
  ocl.clGetDeviceInfo(d->id, CL_DEVICE_SINGLE_FP_CONFIG, sizeof config, &config, NULL);
  build_options(cpu, config & CL_FP_CORRECTLY_ROUNDED_DIVIDE_SQRT, options, r->options, sizeof r->options);
  return sources(&r->source, files, count);
}

brc_status ocl_program_text(const char *const *files, size_t count, const char *more, char *options,
                            size_t options_bytes, char **source) {
  text t = {0};
  build_options(false, true, more, options, options_bytes);
  const brc_status st = count ? sources(&t, files, count) : sources(&t, common, BRC_COUNT(common));
  *source = t.data;
  return st;
}

//------------------------ 2. Cache --------------------------------------------
static void cache_begin(brc_cache *c, const ocl_device *d, const recipe *r, const char *magic) {
  char version[256] = "", platform[256] = "";
  ocl.clGetDeviceInfo(d->id, CL_DEVICE_VERSION, sizeof version - 1, version, NULL);
  ocl.clGetPlatformInfo(d->platform, CL_PLATFORM_VERSION, sizeof platform - 1, platform, NULL);
  const char *parts[] = {d->base.info.name, d->base.info.vendor, d->base.info.driver, version,
                         platform,          r->options,          r->source.data};
  brc_cache_begin(c, d->cache, "opencl", magic);
  for (size_t i = 0; i < BRC_COUNT(parts); i++) brc_cache_key(c, parts[i], strlen(parts[i]) + 1);
}

brc_status ocl_cache_begin(brc_cache *c, const ocl_device *d, const char *const *files, size_t count,
                           const char *options, const char *magic) {
  recipe r;
  const brc_status st = recipe_make(&r, d, files, count, false, options);
  if (!st) cache_begin(c, d, &r, magic);
  free(r.source.data);
  return st;
}

static cl_int load_binary(ocl_device *d, const unsigned char *binary, size_t bytes, const char *options,
                          cl_program *out) {
  cl_int status = CL_SUCCESS, code;
  *out = ocl.clCreateProgramWithBinary(d->context, 1, &d->id, &bytes, &binary, &status, &code);
  if (code == CL_SUCCESS) code = status;
  return code == CL_SUCCESS ? ocl.clBuildProgram(*out, 1, &d->id, options, NULL, NULL) : code;
}

// The program from the cache, built; NULL when there is none, or it is damaged, or the driver does not want it any more.
static cl_program cache_load(brc_cache *c, ocl_device *d, const char *options) {
  char *file;
  size_t bytes;
  cl_program program = NULL;
  const unsigned char *binary = brc_cache_read(c, &file, &bytes);
  if (binary && load_binary(d, binary, bytes, options, &program) != CL_SUCCESS && program) {
    ocl.clReleaseProgram(program);
    program = NULL;
  }
  free(file);
  return program;
}

// The folder comes first, as asking PoCL for a binary makes it compile every kernel.
static void cache_store(brc_cache *c, cl_program program) {
  size_t bytes = 0;
  if (!brc_cache_prepare(c) ||
      ocl.clGetProgramInfo(program, CL_PROGRAM_BINARY_SIZES, sizeof bytes, &bytes, NULL) != CL_SUCCESS ||
      !bytes)
    return;
  unsigned char *binary = malloc(bytes);
  if (binary && ocl.clGetProgramInfo(program, CL_PROGRAM_BINARIES, sizeof binary, &binary, NULL) == CL_SUCCESS)
    brc_cache_write(c, binary, bytes);
  free(binary);
}

uint64_t ocl_kernels_hash(void) {
  uint64_t h = BRC_HASH_START;
  for (size_t i = 0; i < brc_cl_source_count; i++)
    h = brc_hash(h, brc_cl_sources[i].text, brc_cl_sources[i].bytes);
  return h;
}

//------------------------ 3. Build --------------------------------------------
static brc_status build_failed(ocl_device *d, cl_program program, cl_int code) {
  size_t bytes = 0;
  ocl.clGetProgramBuildInfo(program, d->id, CL_PROGRAM_BUILD_LOG, 0, NULL, &bytes);
  char *log = calloc(bytes + 1, 1);
  if (log) ocl.clGetProgramBuildInfo(program, d->id, CL_PROGRAM_BUILD_LOG, bytes, log, NULL);
  brc_status st = brc_fail(BRC_E_DEVICE, "OpenCL: building the kernels for '%s' failed: %s (%d)\n%s",
                           d->base.info.name, ocl_code_text(code), (int)code, log ? log : "");
  free(log);
  return st;
}

static brc_status build_from_source(ocl_device *d, const recipe *r, cl_program *out) {
  cl_int code;
  const char *strings[] = {r->source.data};
  cl_program program = ocl.clCreateProgramWithSource(d->context, 1, strings, &r->source.bytes, &code);
  if (!program) return ocl_fail("clCreateProgramWithSource", code);
  code = ocl.clBuildProgram(program, 1, &d->id, r->options, NULL, NULL);
  if (code == CL_SUCCESS) {
    *out = program;
    return BRC_OK;
  }
  const brc_status st = build_failed(d, program, code);
  ocl.clReleaseProgram(program);
  return st;
}

static brc_status build(ocl_device *d, const recipe *r, cl_program *out) {
  brc_cache c;
  cache_begin(&c, d, r, "BRCOCL1");
  *out = cache_load(&c, d, r->options);
  if (*out) return BRC_OK;
  const brc_status st = build_from_source(d, r, out);
  if (!st) cache_store(&c, *out);
  return st;
}

brc_status ocl_program_build(ocl_device *d) {
  recipe r;
  brc_status st = recipe_make(&r, d, common, BRC_COUNT(common), d->class == OCL_CPU, "");
  if (!st) st = build(d, &r, &d->program);
  free(r.source.data);
  return st;
}

brc_status ocl_program_make(ocl_device *d, const char *const *files, size_t count, const char *options,
                            cl_program *out) {
  recipe r;
  brc_status st = recipe_make(&r, d, files, count, false, options);
  if (!st) st = build(d, &r, out);
  free(r.source.data);
  return st;
}

void ocl_program_drop(ocl_device *d, cl_program *program) {
  for (struct ocl_warm **w = &d->warm, *gone; *program && *w;) {
    if ((*w)->program != *program) {
      w = &(*w)->next;
      continue;
    }
    gone = *w;
    *w = gone->next;
    free(gone);
  }
  if (*program) ocl.clReleaseProgram(*program);
  *program = NULL;
}

brc_status ocl_program_prebuilt(ocl_device *d, const char *file, cl_program *out) {
  const brc_cl_source *s = source_find(file, strlen(file));
  if (!s) return brc_fail(BRC_E_NOT_FOUND, "kernels '%s' are not in this build", file);
  // With its closing zero byte, as the driver wants of PTX.
  const cl_int code = load_binary(d, (const unsigned char *)s->text, s->bytes + 1, "", out);
  if (code == CL_SUCCESS) return BRC_OK;
  const brc_status st = *out ? build_failed(d, *out, code) : ocl_fail("clCreateProgramWithBinary", code);
  if (*out) ocl.clReleaseProgram(*out);
  *out = NULL;
  return st;
}
#endif
