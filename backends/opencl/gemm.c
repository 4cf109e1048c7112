// Providers of products: rows of a table (where can it run, which shapes, how to append its commands).
//   native   the host's product function as a native kernel, on CPU devices
//   tiled    cl/gemm.cl, everywhere
// These two take precisions below fp32 by rounding in software, for tests: BRC_EMULATE_PRECISION=1.
//   mma      mma.c: tf32, bf16 and fp16 on the matrix units of NVIDIA, AMD and Intel
//   clblast  CLBlast, loaded at run time; on CPU devices only when asked for: slow there, and long in compiling
#ifdef BRC_HAVE_OPENCL
#include "backends/host/gemm.h"
#include "backends/opencl/opencl.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef BRC_HAVE_CLBLAST
#include <clblast_c.h>
#endif

static size_t up(size_t a, size_t b) { return (a + b - 1) / b; }
static bool takes_emulated(const ocl_device *d, const ocl_gemm *g) {
  (void)d;
  return g->p.precision == BRC_FP32 || brc_emulate_precision();
}

static ocl_call gemm_call(const ocl_gemm *g, const char *kernel) {
  return (ocl_call){.name = kernel,
                    .operands = {g->a, g->b, g->bias, g->c},
                    .operand_count = 4,
                    .params = &g->p,
                    .params_bytes = sizeof g->p,
                    .uints = sizeof g->p / 4,
                    .groups = {1, 1, 1},
                    .local = 1};
}

//------------------------ 1. tiled ---------------------------------------------
static bool tiled_device(const ocl_device *d) {
  (void)d;
  return true;
}

static const char *const *tiled_tiles(const ocl_device *d) {
  static const char *const names[] = {"128x128", "64x64", NULL};
  return d->class == OCL_CPU ? NULL : names;
}

static brc_status tiled_add(brc_exec *x, const brc_op *op, const ocl_gemm *g) {
  static const char *const names[2][3] = {{"gemm_nn", "gemm_nt", "gemm_tn"},
                                          {"gemm_nn_large", "gemm_nt_large", "gemm_tn_large"}};
  const bool cpu = x->device->class == OCL_CPU;
  size_t tile_m = 64, tile_n = 64;
  // The large tiles where there are enough of them for all compute units.
  const bool large =
      !cpu && (g->tile ? g->tile == 1
                       : up(g->p.m, 128) * up(g->p.n, 128) * g->p.batch >= x->device->base.info.compute_units);
  if (cpu) {
    tile_m = g->tb ? 4 : 8;
    tile_n = g->tb ? 4 : 32;
  } else if (large) {
    tile_m = tile_n = 128;
  }
  ocl_call c = gemm_call(g, names[large][g->tb ? 1 : g->ta ? 2 : 0]);
  c.groups[0] = up(g->p.n, tile_n);
  c.groups[1] = up(g->p.m, tile_m);
  c.groups[2] = g->p.batch;
  c.local = cpu ? 1 : 256;
  return ocl_call_add(x, op, &c);
}

//------------------------ 2. native --------------------------------------------
static bool native_device(const ocl_device *d) {
  cl_device_exec_capabilities can = 0;
  return d->base.info.is_cpu &&
         ocl.clGetDeviceInfo(d->id, CL_DEVICE_EXECUTION_CAPABILITIES, sizeof can, &can, NULL) == CL_SUCCESS &&
         (can & CL_EXEC_NATIVE_KERNEL);
}

// In bf16 where the CPU knows such numbers.
static bool native_takes(const ocl_device *d, const ocl_gemm *g) {
  return takes_emulated(d, g) || (g->p.precision == BRC_BF16 && brc_host_bf16_offer());
}

typedef struct native_product {
  ocl_device *device;
  brc_pool *pool;
  brc_host_gemm_args args;
} native_product;

// Without a pool member by member, so that what it packs of one is still in cache.
static void CL_CALLBACK native_run(void *data) {
  const native_product *p = data;
  const uint32_t members = p->pool ? 1 : p->args.batch;
  brc_host_gemm_args one = p->args;
  one.batch /= members;
  for (uint32_t e = 0; e < members; e++) {
    if (brc_host_gemm(p->pool, &one)) atomic_store(&p->device->starved, true);
    one.a += one.stride_a;
    one.b += one.stride_b;
    one.c += one.stride_c;
    if (one.bias) one.bias += one.stride_bias;
  }
}

static brc_status native_launch(ocl_device *d, const ocl_step *s, cl_command_queue queue, ocl_waits waits,
                                cl_event *event) {
  (void)d;
  OCL_TRY(clEnqueueNativeKernel, queue, native_run, s->data, sizeof(native_product), 0, NULL, NULL, waits.count,
          waits.events, event);
  return BRC_OK;
}

static float *host_address(const brc_exec *x, const brc_tensor *t) {
  return ocl_memory(x, t)->host + t->offset;
}

// One command for the product of some members, or of some rows of them.
static brc_status native_step(brc_exec *x, const brc_op *op, const brc_op_part *part,
                              const brc_host_gemm_args *args) {
  native_product *n = calloc(1, sizeof *n);
  ocl_step *s = n ? ocl_step_add(x, op) : NULL;
  if (!s) {
    free(n);
    return brc_fail(BRC_E_NOMEM, "OpenCL: out of memory");
  }
  *n = (native_product){
      .device = x->device, .pool = x->device->shares == 1 ? x->device->pool : NULL, .args = *args};
  s->launch = native_launch;
  s->data = n;
  s->part = *part;
  return BRC_OK;
}

// The part of a product that makes some rows of C of some members.
static brc_host_gemm_args native_part(const brc_host_gemm_args *all, const brc_op_part *part) {
  const size_t e = part->first_member, r = part->first_row;
  brc_host_gemm_args one = *all;
  one.batch = part->members;
  one.m = part->rows;
  one.a += e * all->stride_a + (all->ta ? r : r * all->lda);
  one.b += e * all->stride_b;
  one.c += e * all->stride_c + r * all->ldc;
  if (one.bias) one.bias += e * all->stride_bias;
  return one;
}

static brc_status native_add(brc_exec *x, const brc_op *op, const ocl_gemm *g) {
  const struct brc_gemm_params32 *p = &g->p;
  const brc_host_gemm_args all = {.ta = g->ta,
                                  .tb = g->tb,
                                  .m = p->m,
                                  .n = p->n,
                                  .k = p->k,
                                  .batch = p->batch,
                                  .a = host_address(x, g->a),
                                  .b = host_address(x, g->b),
                                  .bias = g->bias ? host_address(x, g->bias) : NULL,
                                  .c = host_address(x, g->c),
                                  .lda = p->lda,
                                  .ldb = p->ldb,
                                  .ldc = p->ldc,
                                  .stride_a = p->stride_a,
                                  .stride_b = p->stride_b,
                                  .stride_c = p->stride_c,
                                  .stride_bias = p->stride_bias,
                                  .accumulate = p->accumulate,
                                  .precision = (brc_precision)p->precision,
                                  .scale_a = p->scale_a,
                                  .scale_b = p->scale_b};
  brc_op_part part = {0};
  if (x->device->shares == 1) return native_step(x, op, &part, &all);
  brc_status st = BRC_OK;
  for (uint32_t i = 0; !st && ocl_part_at(x->device, p->batch, p->m, i, &part); i++) {
    const brc_host_gemm_args one = native_part(&all, &part);
    st = native_step(x, op, &part, &one);
  }
  return st;
}

//------------------------ 3. CLBlast -------------------------------------------
static bool clblast_takes(const ocl_device *d, const ocl_gemm *g) {
  return g->p.precision == BRC_FP32 && !d->shared;  // waits for nothing that is not in order before it
}

#ifdef BRC_HAVE_CLBLAST
static struct {
  __typeof__(&CLBlastSgemm) gemm;
  __typeof__(&CLBlastSgemmStridedBatched) batched;
} clblast;
static pthread_once_t clblast_once = PTHREAD_ONCE_INIT;

static void clblast_load(void) {
  void *library = dlopen("libclblast.so.1", RTLD_LAZY | RTLD_LOCAL);
  if (!library) return;
  *(void **)&clblast.gemm = dlsym(library, "CLBlastSgemm");
  *(void **)&clblast.batched = dlsym(library, "CLBlastSgemmStridedBatched");
}

static bool clblast_device(const ocl_device *d) {
  (void)d;
  pthread_once(&clblast_once, clblast_load);
  return clblast.gemm && clblast.batched;
}

typedef struct clblast_data {
  ocl_gemm g;
  cl_mem a, b, c;
} clblast_data;

static brc_status clblast_call(const clblast_data *k, float alpha, float beta, cl_command_queue queue) {
  const struct brc_gemm_params32 *p = &k->g.p;
  const CLBlastTranspose ta = k->g.ta ? CLBlastTransposeYes : CLBlastTransposeNo,
                         tb = k->g.tb ? CLBlastTransposeYes : CLBlastTransposeNo;
  CLBlastStatusCode code =
      p->batch == 1
          ? clblast.gemm(CLBlastLayoutRowMajor, ta, tb, p->m, p->n, p->k, alpha, k->a, k->g.a->offset, p->lda,
                         k->b, k->g.b->offset, p->ldb, beta, k->c, k->g.c->offset, p->ldc, &queue, NULL)
          : clblast.batched(CLBlastLayoutRowMajor, ta, tb, p->m, p->n, p->k, alpha, k->a, k->g.a->offset,
                            p->lda, p->stride_a, k->b, k->g.b->offset, p->ldb, p->stride_b, beta, k->c,
                            k->g.c->offset, p->ldc, p->stride_c, p->batch, &queue, NULL);
  if (code == CLBlastSuccess) return BRC_OK;
  return brc_fail(
      code == CLBlastTempBufferAllocFailure || code == CLBlastOpenCLOutOfResources ? BRC_E_NOMEM : BRC_E_DEVICE,
      "OpenCL: CLBlast's SGEMM of %u x %u x %u (batch %u) failed: status %d; --gemm tiled does without CLBlast",
      p->m, p->n, p->k, p->batch, (int)code);
}

static brc_status clblast_launch(ocl_device *d, const ocl_step *s, cl_command_queue queue, ocl_waits waits,
                                 cl_event *event) {
  (void)d, (void)waits, (void)event;  // only on queues in order
  const clblast_data *k = s->data;
  return clblast_call(k, 1, k->g.p.accumulate ? 1 : 0, queue);
}

static brc_status clblast_add(brc_exec *x, const brc_op *op, const ocl_gemm *g) {
  clblast_data *k = calloc(1, sizeof *k);
  ocl_step *s = k ? ocl_step_add(x, op) : NULL;
  if (!s) {
    free(k);
    return brc_fail(BRC_E_NOMEM, "OpenCL: out of memory");
  }
  *k = (clblast_data){
      .g = *g, .a = ocl_memory(x, g->a)->mem, .b = ocl_memory(x, g->b)->mem, .c = ocl_memory(x, g->c)->mem};
  s->launch = clblast_launch;
  s->data = k;
  s->by_clock = true;  // its event covers the last of its kernels only
  // Compiles and allocates what this shape needs, and leaves C as it is.
  brc_status st = clblast_call(k, 0, 1, x->device->queue);
  if (!st && g->bias) {
    ocl_call c = gemm_call(g, "gemm_bias");
    c.groups[0] = (size_t)g->p.m * g->p.batch;
    c.local = x->device->class == OCL_CPU ? 1 : OCL_ROW_LANES;
    st = ocl_call_add(x, op, &c);
  }
  return st;
}
#else
static bool clblast_device(const ocl_device *d) {
  (void)d;
  return false;
}
static brc_status clblast_add(brc_exec *x, const brc_op *op, const ocl_gemm *g) {
  (void)x, (void)op, (void)g;
  return brc_fail(BRC_E_UNSUPPORTED, "this build has no CLBlast");
}
#endif

//------------------------ 4. The table -----------------------------------------
static const ocl_gemm_provider tiled = {"tiled", tiled_device, takes_emulated, tiled_add, tiled_tiles};
static const ocl_gemm_provider native = {"native", native_device, native_takes, native_add, NULL};
static const ocl_gemm_provider mma = {"mma", ocl_mma_device, ocl_mma_takes, ocl_mma_add, ocl_mma_tiles};
static const ocl_gemm_provider blast = {"clblast", clblast_device, clblast_takes, clblast_add, NULL};

// Which to try, in order, per class of device.
static const ocl_gemm_provider *const order[][OCL_MAX_PROVIDERS] = {
    [OCL_CPU] = {&native, &tiled, &blast, &mma},
    [OCL_GPU] = {&mma, &blast, &tiled, &native},
};

void ocl_gemm_names(const ocl_device *d, const char **names) {
  int n = 0;
  for (int i = 0; i < OCL_MAX_PROVIDERS && order[d->class][i]; i++)
    if (order[d->class][i]->device(d)) names[n++] = order[d->class][i]->name;
  names[n] = NULL;
}

// A forced provider stands before `tiled`, which takes what it does not.
static bool choose(ocl_device *d, const char *forced) {
  int n = 0;
  bool found = !forced;
  for (int i = 0; i < OCL_MAX_PROVIDERS && order[d->class][i]; i++) {
    const ocl_gemm_provider *p = order[d->class][i];
    const bool named = forced && !strcmp(p->name, forced);
    if (p->device(d) && (!forced || named)) d->providers[n++] = p;
    found |= named && p->device(d);
  }
  if (forced && found && d->providers[0] != &tiled) d->providers[n++] = &tiled;
  d->providers[n] = NULL;
  return found;
}

static unsigned precisions_of(const ocl_device *d) {
  unsigned bits = 0;
  for (uint32_t i = 0; i < BRC_PRECISION_COUNT; i++) {
    const ocl_gemm g = {.p.precision = i};
    for (const ocl_gemm_provider *const *p = d->providers; *p; p++)
      if ((*p)->takes(d, &g)) bits |= 1u << i;
  }
  return bits;
}

bool ocl_mma_chosen(const ocl_device *d) {
  for (const ocl_gemm_provider *const *p = d->providers; *p; p++)
    if (*p == &mma) return true;
  return false;
}

brc_status ocl_gemm_choose(ocl_device *d, const char *forced) {
  if (choose(d, forced)) return BRC_OK;
  return brc_fail(BRC_E_NOT_FOUND, "GEMM provider '%s' cannot run on OpenCL device %d (%s); those that can: %s",
                  forced, d->base.info.index, d->base.info.name, d->base.info.gemm);
}

void ocl_gemm_trust(ocl_device *d, unsigned precisions) {
  if (ocl_mma_chosen(d)) {
    const ocl_gemm_provider *chosen[BRC_COUNT(d->providers)];
    memcpy(chosen, d->providers, sizeof chosen);
    d->providers[0] = &mma;  // what the check asks
    d->providers[1] = NULL;
    ocl_mma_trust(d, precisions);
    memcpy(d->providers, chosen, sizeof chosen);
  }
  d->base.info.precisions = precisions_of(d);
}

size_t ocl_gemm_candidates(brc_device *base, brc_precision precision, char (*out)[BRC_CHOICE_TEXT],
                           size_t max) {
  const ocl_device *d = (const ocl_device *)base;
  size_t n = 0;
  for (const ocl_gemm_provider *const *p = d->providers; *p; p++) {
    const char *const *tiles = (*p)->tiles ? (*p)->tiles(d) : NULL;
    ocl_gemm g = {.p.precision = precision, .tile = tiles ? 1 : 0};
    do {
      if (n < max && (*p)->takes(d, &g)) brc_choice_name((*p)->name, tiles, g.tile, out[n++]);
    } while (tiles && tiles[g.tile++]);
  }
  return n;
}

// By the device's table of choices, else the first that takes it. NULL, with an error: nobody does.
static const ocl_gemm_provider *provider_of(const ocl_device *d, const brc_op *op, ocl_gemm *g) {
  const char *choice = brc_choices_find(d->base.choices, op);
  for (const ocl_gemm_provider *const *p = d->providers; *p; p++)
    if ((!choice || brc_choice_is(choice, (*p)->name, (*p)->tiles ? (*p)->tiles(d) : NULL, &g->tile)) &&
        (*p)->takes(d, g))
      return *p;
  if (choice)
    brc_choice_missing(op, choice, &d->base.info);
  else
    brc_fail(BRC_E_UNSUPPORTED, "OpenCL device %d (%s) has no products in %s", d->base.info.index,
             d->base.info.name, brc_precision_names[g->p.precision]);
  return NULL;
}

brc_status ocl_gemm_add(brc_exec *x, const brc_op *op, const ocl_gemm *g) {
  ocl_gemm h = *g;
  const ocl_gemm_provider *p = provider_of(x->device, op, &h);
  return p ? p->add(x, op, &h) : BRC_E_UNSUPPORTED;
}

bool ocl_gemm_by_mma(const ocl_device *d, const brc_op *op) {
  ocl_gemm g = {.p.precision = op->params.dense.precision};
  return provider_of(d, op, &g) == &mma;
}
#endif
