#include "backends/host/gemm.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

//------------------------ 1. The kernels for this CPU --------------------------
static const brc_host_kernels *kernels;
static pthread_once_t kernels_once = PTHREAD_ONCE_INIT;

// The widest that the CPU has, or up to the one named by BRC_HOST_ISA (avx2, baseline): for tests of the others.
static void choose_kernels(void) {
  kernels = &brc_host_kernels_baseline;
#if defined(__x86_64__)
  const char *most = getenv("BRC_HOST_ISA");
  if (most && strcmp(most, "baseline") == 0) return;
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) kernels = &brc_host_kernels_avx2;
  if (most && strcmp(most, "avx2") == 0) return;
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
    kernels = &brc_host_kernels_avx512;
#endif
}

const brc_host_kernels *brc_host_kernels_here(void) {
  pthread_once(&kernels_once, choose_kernels);
  return kernels;
}

static const brc_host_bf16 *bf16;
static const char *bf16_offer;
static pthread_once_t bf16_once = PTHREAD_ONCE_INIT;

// BRC_HOST_ISA=avx512bf16: dot products, whatever is faster; narrower ones have no such products.
static void choose_bf16(void) {
#if defined(__x86_64__)
  const char *most = getenv("BRC_HOST_ISA");
  const bool narrow = most && strcmp(most, "avx512bf16") != 0;
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (narrow || strcmp(brc_host_kernels_here()->isa, "avx512") != 0 ||
      !__get_cpuid_count(7, 1, &a, &b, &c, &d) || !(a >> 5 & 1))
    return;
  if (most || !__builtin_cpu_is("intel")) bf16 = &brc_host_bf16_dot;
  // Linux keeps the tiles' state for processes that ask.
  enum { REQUEST_STATE = 0x1023, TILE_DATA = 18, HAS_BF16 = 1 << 22, HAS_TILES = 1 << 24 };
  if (!most && __get_cpuid_count(7, 0, &a, &b, &c, &d) && d & HAS_BF16 && d & HAS_TILES &&
      !syscall(SYS_arch_prctl, REQUEST_STATE, TILE_DATA))
    bf16 = &brc_host_bf16_amx;
  bf16_offer = bf16 ? bf16->isa : "rounding";
#endif
}

const brc_host_bf16 *brc_host_bf16_here(void) {
  pthread_once(&bf16_once, choose_bf16);
  return bf16;
}

const char *brc_host_bf16_offer(void) {
  pthread_once(&bf16_once, choose_bf16);
  return bf16_offer;
}

//------------------------ 2. oneDNN --------------------------------------------
typedef int dnnl_sgemm_fn(char ta, char tb, int64_t m, int64_t n, int64_t k, float alpha, const float *a,
                          int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc);
static dnnl_sgemm_fn *dnnl_sgemm_loaded;
static void (*set_omp_threads)(int);
static pthread_once_t onednn_once = PTHREAD_ONCE_INIT;

static void load_onednn(void) {
  void *lib = dlopen("libdnnl.so.2", RTLD_NOW | RTLD_LOCAL);
  if (!lib) lib = dlopen("libdnnl.so.3", RTLD_NOW | RTLD_LOCAL);
  if (!lib) return;
  // A symbol looked up through the library is searched in what it was linked with: its own libgomp.
  *(void **)&set_omp_threads = dlsym(lib, "omp_set_num_threads");
  *(void **)&dnnl_sgemm_loaded = dlsym(lib, "dnnl_sgemm");
}

static bool have_onednn(void) {
  pthread_once(&onednn_once, load_onednn);
  return dnnl_sgemm_loaded != NULL;
}

static void onednn_product(const brc_host_product *p) {
  static _Thread_local bool single;  // this thread's team in libgomp has been set to one
  if (!single) {
    if (set_omp_threads) set_omp_threads(1);
    single = true;
  }
  dnnl_sgemm_loaded(p->ta ? 'T' : 'N', p->tb ? 'T' : 'N', p->m, p->n, p->k, 1.0f, p->a, (int64_t)p->lda, p->b,
                    (int64_t)p->ldb, p->accumulate ? 1.0f : 0.0f, p->c, (int64_t)p->ldc);
  if (!p->bias) return;
  for (uint32_t r = 0; r < p->m; r++)
    for (uint32_t c = 0; c < p->n; c++) p->c[r * p->ldc + c] += p->bias[c];
}

//------------------------ 3. Providers -----------------------------------------
static void blocked_product(const brc_host_product *p) { brc_host_kernels_here()->product(p); }

// Measured: with AVX-512 our kernels are the faster ones (and their bits depend on nothing but the operands), with AVX2 oneDNN.
static bool blocked_is_default(void) { return strcmp(brc_host_kernels_here()->isa, "avx512") == 0; }

const char *const *brc_host_gemm_providers(void) {
  static const char *const both[] = {"blocked", "onednn", NULL}, *const reversed[] = {"onednn", "blocked",
                                                                                      NULL};
  static const char *const own[] = {"blocked", NULL};
  if (!have_onednn()) return own;
  return blocked_is_default() ? both : reversed;
}

brc_host_product_fn *brc_host_gemm_provider(const char *name) {
  if (!name) name = brc_host_gemm_providers()[0];
  if (strcmp(name, "blocked") == 0) return brc_host_kernels_here()->product;
  if (strcmp(name, "onednn") == 0 && have_onednn()) return onednn_product;
  return NULL;
}

//------------------------ 4. A whole product -----------------------------------
enum { BLOCK_M = 64, BLOCK_N = 480, SLAB = 96 };  // SLAB: rows of B that one item copies, a multiple of 32

typedef struct job {
  brc_host_gemm_args g;
  brc_host_product_fn *product;
  const brc_host_kernels *kernels;
  const brc_host_bf16 *bf16;  // NULL: our kernels, or a provider of float32
  uint32_t blocks_m, blocks_n, block_m, block_n, slabs;
  float *copy;  // B of every member as [k, ld_t], or packed for our own kernels, or NULL
  bool packed;
  size_t ld_t, copy_size;  // copy_size: of one member
  float *scratch;          // BRC_HOST_SCRATCH for each thread
} job;

static void copy_item(void *arg, uint32_t item, uint32_t thread) {
  (void)thread;
  const job *j = arg;
  const uint32_t rows = j->g.tb ? j->g.n : j->g.k, e = item / j->slabs, r0 = item % j->slabs * SLAB,
                 r1 = rows - r0 < SLAB ? rows : r0 + SLAB;
  const float *b = j->g.b + e * j->g.stride_b;
  float *out = j->copy + e * j->copy_size;
  const brc_host_rounding round = {j->g.precision, j->g.scale_b};
  if (j->bf16)
    j->bf16->pack(b, j->g.ldb, j->g.tb, j->g.n, j->g.k, r0, r1, out);
  else if (!j->packed)
    j->kernels->transpose(b + (size_t)r0 * j->g.ldb, j->g.ldb, out + r0, j->ld_t, r1 - r0, j->g.k);
  else if (j->g.tb)
    j->kernels->pack_transposed(b, j->g.ldb, j->g.n, j->g.k, r0, r1, round, out);
  else
    j->kernels->pack(b, j->g.ldb, j->g.n, j->g.k, r0, r1, round, out);
}

static void product_item(void *arg, uint32_t item, uint32_t thread) {
  const job *j = arg;
  const brc_host_gemm_args *g = &j->g;
  const uint32_t per_member = j->blocks_m * j->blocks_n, e = item / per_member, block = item % per_member;
  const uint32_t m0 = block / j->blocks_n * j->block_m, n0 = block % j->blocks_n * j->block_n;
  brc_host_product p = {.round_a = {g->precision, g->scale_a},
                        .round_b = {g->precision, g->scale_b},
                        .ta = g->ta,
                        .tb = g->tb && !j->copy,
                        .b_packed = j->packed,
                        .accumulate = g->accumulate,
                        .m = g->m - m0 < j->block_m ? g->m - m0 : j->block_m,
                        .n = g->n - n0 < j->block_n ? g->n - n0 : j->block_n,
                        .k = g->k,
                        .a = g->a + e * g->stride_a + (g->ta ? m0 : (size_t)m0 * g->lda),
                        .lda = g->lda,
                        .c = g->c + e * g->stride_c + (size_t)m0 * g->ldc + n0,
                        .ldc = g->ldc,
                        .bias = g->bias ? g->bias + e * g->stride_bias + n0 : NULL,
                        .scratch = j->scratch + (size_t)thread * BRC_HOST_SCRATCH};
  if (j->copy) {
    p.b = j->copy + e * j->copy_size + n0;
    p.ldb = j->ld_t;
  } else {
    p.b = g->b + e * g->stride_b + (g->tb ? (size_t)n0 * g->ldb : n0);
    p.ldb = g->ldb;
  }
  j->product(&p);
}

typedef struct scratch {
  float *memory;
  size_t floats;
} scratch;

static pthread_key_t scratch_key;
static bool have_scratch_key;
static pthread_once_t scratch_once = PTHREAD_ONCE_INIT;
static void free_scratch(void *of_thread) { free(((scratch *)of_thread)->memory); }
static void make_scratch_key(void) { have_scratch_key = !pthread_key_create(&scratch_key, free_scratch); }

// Memory of the calling thread for `floats` numbers, NULL if there is none: grows, keeps nothing when it does, and is freed when the thread
// ends.
static float *own_scratch(size_t floats) {
  static _Thread_local scratch own;
  scratch *s = &own;
  if (floats > s->floats) {
    pthread_once(&scratch_once, make_scratch_key);
    free(s->memory);
    *s = (scratch){0};
    if (!have_scratch_key || pthread_setspecific(scratch_key, s)) return NULL;
    s->memory = brc_alloc_aligned(floats * sizeof(float), "scratch of a product");
    if (s->memory) s->floats = floats;
  }
  return s->memory;
}

static void each_item(brc_pool *pool, uint32_t items, brc_pool_fn *fn, job *j) {
  if (pool)
    brc_pool_run(pool, items, fn, j);
  else
    for (uint32_t i = 0; i < items; i++) fn(j, i, 0);
}

brc_status brc_host_gemm(brc_pool *pool, const brc_host_gemm_args *args) {
  job j = {.g = *args,
           .product = brc_host_gemm_provider(args->provider),
           .kernels = brc_host_kernels_here(),
           .bf16 = args->precision == BRC_BF16 ? brc_host_bf16_here() : NULL};
  const bool rounded = args->precision != BRC_FP32 && !j.bf16;
  if (j.bf16) j.product = j.bf16->product;
  if (rounded) j.product = j.kernels->product;
  if (!j.product) j.product = blocked_product;
  if (!args->m || !args->n || !args->batch) return BRC_OK;
  const bool own = j.product == j.kernels->product || j.product == blocked_product,
             far = !args->ta && args->m >= BRC_HOST_PACK_ROWS && args->ldb >= BRC_HOST_PACK_PITCH;
  j.packed = j.bf16 || rounded || (own && (args->tb || far));
  j.block_m = BLOCK_M;
  j.block_n = j.packed || args->n < BLOCK_N + BLOCK_N / 2 ? args->n : BLOCK_N;
  j.blocks_m = (args->m + j.block_m - 1) / j.block_m;
  j.blocks_n = (args->n + j.block_n - 1) / j.block_n;
  j.ld_t = BRC_ROUND_UP(args->n, 16u);
  j.copy_size = j.bf16 ? (size_t)BRC_HOST_BF16_ROWS(args->k) * BRC_HOST_BF16_COLS(args->n) : j.ld_t * args->k;
  const size_t threads = pool ? (size_t)brc_pool_threads(pool) : 1,
               copy = args->tb || j.packed ? j.copy_size * args->batch : 0;
  j.scratch = own_scratch(threads * BRC_HOST_SCRATCH + copy);
  if (!j.scratch)
    return brc_fail(BRC_E_NOMEM, "no memory for a product's copy of its factor [%u, %u, %u]: %.2f GB",
                    args->batch, args->k, args->n, (double)copy * sizeof(float) * 1e-9);
  if (copy) {
    j.copy = j.scratch + threads * BRC_HOST_SCRATCH;
    j.slabs = ((args->tb ? args->n : args->k) + SLAB - 1) / SLAB;
    each_item(pool, j.slabs * args->batch, copy_item, &j);
  }
  each_item(pool, j.blocks_m * j.blocks_n * args->batch, product_item, &j);
  return BRC_OK;
}
