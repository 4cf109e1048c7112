// The host backend: memory is memory, a program is a schedule of loops on the thread pool. Nothing is asynchronous.
//
// This file is compiled without contraction of multiply-adds: normal numbers have the same bits on every device.
#include "backends/backend.h"
#include "backends/host/gemm.h"
#include "backends/host/schedule.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef struct host_device {
  brc_device base;
  brc_pool *pool;
  bool own_pool;
  const brc_host_kernels *kernels;
  brc_host_product_fn *product;
  bool bits_from_blocks;
} host_device;

//------------------------ 1. Memory --------------------------------------------
typedef struct memory {
  float *data;
  size_t mapped;  // bytes; 0: from malloc
} memory;

enum { HUGE_PAGE = 2 << 20 };

// Zeroed. Large pieces begin on a huge page and ask for such pages: a kernel's rows lie kilobytes apart.
static brc_status memory_take(memory *m, uint64_t elements, const char *what) {
  const size_t bytes = elements * sizeof(float) + 64;  // behind the last row a whole vector may be read
  *m = (memory){0};
  if (bytes >= HUGE_PAGE) {
    const size_t size = BRC_ROUND_UP(bytes, (size_t)HUGE_PAGE), room = size + HUGE_PAGE;
    char *p = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return brc_fail(BRC_E_NOMEM, "no memory for %s: %zu bytes", what, bytes);
    char *begin = (char *)BRC_ROUND_UP((uintptr_t)p, (uintptr_t)HUGE_PAGE);
    if (begin > p) munmap(p, (size_t)(begin - p));
    if (begin + size < p + room) munmap(begin + size, (size_t)(p + room - begin - size));
    madvise(begin, size, MADV_HUGEPAGE);
    *m = (memory){(float *)begin, size};
    return BRC_OK;
  }
  m->data = brc_alloc_aligned(bytes, what);
  return m->data ? BRC_OK : BRC_E_NOMEM;
}

static void memory_release(memory *m) {
  if (m->mapped)
    munmap(m->data, m->mapped);
  else
    free(m->data);
  *m = (memory){0};
}

struct brc_buffer {
  memory memory;
  uint64_t elements;
};

float *host_buffer_data(const brc_buffer *b) { return b->memory.data; }

static brc_status host_alloc(brc_device *d, const char *name, uint64_t elements, brc_buffer **out) {
  brc_buffer *b = calloc(1, sizeof *b);
  *out = NULL;
  if (!b) return brc_fail(BRC_E_NOMEM, "no memory for buffer '%s'", name);
  b->elements = elements;
  brc_status st = memory_take(&b->memory, elements, name);
  if (st) {
    free(b);
    return st;
  }
  d->allocated += elements * sizeof(float);
  *out = b;
  return BRC_OK;
}

static void host_release(brc_device *d, brc_buffer *b) {
  if (!b) return;
  d->allocated -= b->elements * sizeof(float);
  memory_release(&b->memory);
  free(b);
}

static brc_status check_range(uint64_t offset, uint64_t elements, uint64_t size) {
  if (offset <= size && elements <= size - offset) return BRC_OK;
  return brc_fail(BRC_E_SHAPE, "host: elements %llu to %llu of a buffer of %llu", (unsigned long long)offset,
                  (unsigned long long)(offset + elements), (unsigned long long)size);
}

static brc_status host_write(brc_device *d, brc_buffer *b, uint64_t offset, uint64_t elements, const void *data,
                             bool async) {
  (void)d, (void)async;
  brc_status st = check_range(offset, elements, b->elements);
  if (!st) memcpy(b->memory.data + offset, data, elements * sizeof(float));
  return st;
}

static brc_status host_read(brc_device *d, brc_buffer *b, uint64_t offset, uint64_t elements, void *data) {
  (void)d;
  brc_status st = check_range(offset, elements, b->elements);
  if (!st) memcpy(data, b->memory.data + offset, elements * sizeof(float));
  return st;
}

static brc_status host_copy(brc_device *d, brc_buffer *dst, brc_buffer *src, uint64_t elements) {
  (void)d;
  brc_status st = check_range(0, elements, dst->elements < src->elements ? dst->elements : src->elements);
  if (!st) memcpy(dst->memory.data, src->memory.data, elements * sizeof(float));
  return st;
}

//------------------------ 2. Devices -------------------------------------------
static void cpu_model(char *name, size_t bytes, char *vendor, size_t vendor_bytes) {
  snprintf(name, bytes, "CPU");
  snprintf(vendor, vendor_bytes, "unknown");
  FILE *f = fopen("/proc/cpuinfo", "r");
  if (!f) return;
  char line[256];
  while (fgets(line, sizeof line, f) && line[0] != '\n') {  // the first processor
    char *value = strchr(line, ':');
    if (!value) continue;
    value += value[1] == ' ' ? 2 : 1;
    value[strcspn(value, "\n")] = 0;
    if (strncmp(line, "model name", 10) == 0) snprintf(name, bytes, "%s", value);
    if (strncmp(line, "vendor_id", 9) == 0) snprintf(vendor, vendor_bytes, "%s", value);
  }
  fclose(f);
}

static int cores_here(void) {
  long n = sysconf(_SC_NPROCESSORS_ONLN);
  return n > 0 ? (int)n : 1;
}

static void fill_info(brc_device_info *info) {
  *info = (brc_device_info){
      .backend = "host", .is_cpu = true, .fp64 = true, .precisions = 1u << BRC_FP32, .max_work_group = 1};
  cpu_model(info->name, sizeof info->name, info->vendor, sizeof info->vendor);
  const char *bf16 = brc_host_bf16_offer();
  snprintf(info->driver, sizeof info->driver, "C, %s kernels%s%s", brc_host_kernels_here()->isa,
           bf16 ? ", bf16 by " : "", bf16 ? bf16 : "");
  if (bf16) info->precisions |= 1u << BRC_BF16;
  if (brc_emulate_precision()) info->precisions = (1u << BRC_PRECISION_COUNT) - 1;
  info->memory_bytes = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
  info->compute_units = (uint32_t)cores_here();
  long l2 = sysconf(_SC_LEVEL2_CACHE_SIZE);
  info->local_bytes = l2 > 0 ? (uint64_t)l2 : 0;
  size_t at = 0;
  bool onednn = false;
  for (const char *const *p = brc_host_gemm_providers(); *p; p++) {
    at += (size_t)snprintf(info->gemm + at, sizeof info->gemm - at, "%s%s", at ? " " : "", *p);
    onednn |= strcmp(*p, "onednn") == 0;
  }
  if (!onednn)
    snprintf(info->note, sizeof info->note, "oneDNN (libdnnl.so.2) not found: products with our own kernels");
}

static brc_status host_list(brc_device_info *out, size_t max, size_t *count) {
  if (max > 0) fill_info(out);
  *count = 1;
  return BRC_OK;
}

static brc_status host_open(brc_device **out, int index, const brc_device_options *options) {
  *out = NULL;
  if (index != 0) return brc_fail(BRC_E_NOT_FOUND, "host: no device %d; there is only device 0", index);
  const char *gemm = options ? options->gemm : NULL;
  brc_host_product_fn *product = brc_host_gemm_provider(gemm);
  if (!product) {
    char names[128] = "";
    for (const char *const *p = brc_host_gemm_providers(); *p; p++) {
      size_t at = strlen(names);
      snprintf(names + at, sizeof names - at, "%s'%s'", at ? ", " : "", *p);
    }
    return brc_fail(BRC_E_NOT_FOUND, "host: no GEMM provider '%s' here; there is %s", gemm, names);
  }
  host_device *d = calloc(1, sizeof *d);
  if (!d) return brc_fail(BRC_E_NOMEM, "host: no memory for a device");
  d->base.backend = &brc_backend_host;
  fill_info(&d->base.info);
  d->kernels = brc_host_kernels_here();
  d->product = product;
  d->bits_from_blocks = product != d->kernels->product;
  d->pool = options ? options->pool : NULL;
  if (!d->pool) {
    brc_status st = brc_pool_create(&d->pool, options ? options->threads : 0);
    if (st) {
      free(d);
      return st;
    }
    d->own_pool = true;
  }
  *out = &d->base;
  return BRC_OK;
}

static void host_close(brc_device *base) {
  host_device *d = (host_device *)base;
  if (!d) return;
  if (d->own_pool) brc_pool_destroy(d->pool);
  free(d);
}

static const char *const *host_gemm_providers(brc_device *d) {
  (void)d;
  return brc_host_gemm_providers();
}

//------------------------ 3. Compiled programs ---------------------------------
// An operand in a thread's own memory: its address depends on the rows at hand.
typedef struct patch {
  brc_host_view *view;
  float *row0;  // where row 0 of the batch would be
} patch;

// What one thread needs to run a segment's step.
typedef struct worker_step {
  brc_host_op op;
  patch patches[HOST_OPERANDS];
  int patch_count;
} worker_step;

typedef struct worker {
  worker_step *steps;  // all of the schedule; only those of segments are used
  float *scratch;      // BRC_HOST_SCRATCH
  double *seconds;     // per step, while profiling
} worker;

struct brc_exec {
  const brc_program *program;
  host_device *device;
  host_schedule schedule;
  memory arena, blocks;  // blocks: scratch and block-local activations of every thread
  uint64_t elements;     // of both
  worker *workers;
  int threads;
  bool profiling;
  uint64_t calls;
  double *seconds;          // per step
  const host_phase *phase;  // running now
};

static void bind(const brc_exec *x, const host_use *u, brc_host_view *v, float *block_memory, patch *out) {
  const host_root *r = &x->schedule.roots[u->root];
  *v = (brc_host_view){.members = u->members,
                       .rows = u->rows,
                       .cols = u->cols,
                       .pitch = u->pitch,
                       .stride = u->members > 1 ? u->stride : 0};
  if (!r->block_local) {
    v->data = host_root_data(r, x->arena.data) + u->offset;
    return;
  }
  if (u->members > 1) v->stride = r->stride;
  *out = (patch){v, block_memory + r->place + u->offset};
}

static void bind_step(const brc_exec *x, const host_step *s, worker_step *w, float *block_memory) {
  w->op = s->host;
  for (int k = 0; k < HOST_OPERANDS; k++) {
    if (s->uses[k].root < 0) continue;
    patch p = {0};
    bind(x, &s->uses[k], k < BRC_MAX_IN ? &w->op.in[k] : &w->op.out[k - BRC_MAX_IN], block_memory, &p);
    if (p.view) w->patches[w->patch_count++] = p;
  }
}

static void host_exec_free(brc_device *d, brc_exec *x) {
  if (!x) return;
  d->allocated -= x->elements * sizeof(float);
  for (int t = 0; x->workers && t < x->threads; t++) {
    free(x->workers[t].steps);
    free(x->workers[t].seconds);
  }
  free(x->workers);
  free(x->seconds);
  memory_release(&x->arena);
  memory_release(&x->blocks);
  host_schedule_free(&x->schedule);
  free(x);
}

static brc_status host_compile(brc_device *base, const brc_program *p, brc_exec **out) {
  host_device *d = (host_device *)base;
  *out = NULL;
  for (size_t i = 0; i < p->storage_count; i++)
    if (!p->storages[i]->buffer)
      return brc_fail(BRC_E_VALUE, "program '%s': storage '%s' has no buffer", p->name, p->storages[i]->name);
  brc_exec *x = calloc(1, sizeof *x);
  if (!x) return brc_fail(BRC_E_NOMEM, "no memory to compile program '%s'", p->name);
  x->program = p;
  x->device = d;
  x->threads = brc_pool_threads(d->pool);
  const char *fuse = getenv("BRC_HOST_FUSE");  // 0: each op on its own, to compare; the results are the same
  const host_schedule_options o = {.kernels = d->kernels,
                                   .product = d->product,
                                   .bf16 = brc_host_bf16_here(),
                                   .threads = x->threads,
                                   .fuse = !fuse || strcmp(fuse, "0") != 0,
                                   .bits_from_blocks = d->bits_from_blocks};
  brc_status st = host_schedule_make(&x->schedule, p, &o);
  const host_schedule *s = &x->schedule;
  const size_t steps = (size_t)s->step_count + 1;
  const uint64_t per_thread = BRC_ROUND_UP(BRC_HOST_SCRATCH + s->block_elements + 1024, (uint64_t)1024);
  if (!st) st = memory_take(&x->arena, s->arena_elements, p->name);
  if (!st) st = memory_take(&x->blocks, per_thread * (uint64_t)x->threads, p->name);
  if (st) goto fail;
  x->elements = s->arena_elements + per_thread * (uint64_t)x->threads;
  base->allocated += x->elements * sizeof(float);
  x->workers = calloc((size_t)x->threads, sizeof *x->workers);
  x->seconds = calloc(steps, sizeof *x->seconds);
  if (!x->workers || !x->seconds) goto nomem;
  for (int t = 0; t < x->threads; t++) {
    worker *w = &x->workers[t];
    w->steps = calloc(steps, sizeof *w->steps);
    w->seconds = calloc(steps, sizeof *w->seconds);
    w->scratch = x->blocks.data + per_thread * (uint64_t)t;
    if (!w->steps || !w->seconds) goto nomem;
    for (int i = 0; i < s->step_count; i++)
      bind_step(x, &s->steps[i], &w->steps[i], w->scratch + BRC_HOST_SCRATCH);
  }
  *out = x;
  return BRC_OK;
nomem:
  st = brc_fail(BRC_E_NOMEM, "no memory to compile program '%s'", p->name);
fail:
  host_exec_free(base, x);
  return st;
}

//------------------------ 4. Running -------------------------------------------
static void call(brc_exec *x, worker *w, int step, uint32_t e, uint32_t r0, uint32_t r1) {
  brc_host_op_fn *fn = x->schedule.steps[step].fn;
  if (!x->profiling) {
    fn(&w->steps[step].op, e, r0, r1, w->scratch);
    return;
  }
  const double begin = brc_now_s();
  fn(&w->steps[step].op, e, r0, r1, w->scratch);
  w->seconds[step] += brc_now_s() - begin;
}

// All steps of a segment for a block of rows.
static void segment_item(void *arg, uint32_t item, uint32_t thread) {
  brc_exec *x = arg;
  const host_phase *ph = x->phase;
  worker *w = &x->workers[thread];
  const uint32_t r0 = item * ph->block, r1 = ph->rows - r0 < ph->block ? ph->rows : r0 + ph->block;
  for (int i = 0; i < ph->count; i++) {
    worker_step *s = &w->steps[ph->steps[i]];
    for (int k = 0; k < s->patch_count; k++)
      s->patches[k].view->data =
          (float *)((uintptr_t)s->patches[k].row0 - sizeof(float) * r0 * s->patches[k].view->pitch);
  }
  for (int b = 0; b < ph->stretch_count; b++) {
    const int begin = ph->stretches[b], end = ph->stretches[b + 1];
    const uint32_t members = x->schedule.steps[ph->steps[begin]].members;
    for (uint32_t e = 0; e < members; e++)
      for (int i = begin; i < end; i++) call(x, w, ph->steps[i], e, r0, r1);
  }
}

// One item of one of a group's steps.
static void group_item(void *arg, uint32_t item, uint32_t thread) {
  brc_exec *x = arg;
  const host_phase *ph = x->phase;
  int i = 0;
  while (item >= ph->first_item[i + 1]) i++;
  const host_step *s = &x->schedule.steps[ph->steps[i]];
  const uint32_t blocks = (s->rows + s->grain - 1) / s->grain, local = item - ph->first_item[i];
  const uint32_t e = local / blocks, r0 = local % blocks * s->grain,
                 r1 = s->rows - r0 < s->grain ? s->rows : r0 + s->grain;
  call(x, &x->workers[thread], ph->steps[i], e, r0, r1);
}

// Threads' times of a phase's steps, scaled so that they add up to the time that passed.
static void collect_times(brc_exec *x, const host_phase *ph, double passed) {
  double sum = 0;
  for (int i = 0; i < ph->count; i++)
    for (int t = 0; t < x->threads; t++) sum += x->workers[t].seconds[ph->steps[i]];
  for (int i = 0; i < ph->count; i++)
    for (int t = 0; t < x->threads; t++) {
      double *s = &x->workers[t].seconds[ph->steps[i]];
      if (sum > 0) x->seconds[ph->steps[i]] += *s / sum * passed;
      *s = 0;
    }
}

static brc_status host_run(brc_device *base, brc_exec *x, uint32_t times) {
  host_device *d = (host_device *)base;
  for (uint32_t n = 0; n < times; n++) {
    for (int i = 0; i < x->schedule.phase_count; i++) {
      x->phase = &x->schedule.phases[i];
      const double begin = x->profiling ? brc_now_s() : 0;
      brc_pool_run(d->pool, x->phase->items, x->phase->segment ? segment_item : group_item, x);
      if (x->profiling) collect_times(x, x->phase, brc_now_s() - begin);
    }
    x->calls++;
  }
  return BRC_OK;
}

static brc_status host_wait(brc_device *d) {
  (void)d;
  return BRC_OK;
}

//------------------------ 5. Profile, taps -------------------------------------
static brc_status host_profile(brc_device *d, brc_exec *x, bool on) {
  (void)d;
  x->profiling = on;
  if (on) {
    x->calls = 0;
    memset(x->seconds, 0, sizeof *x->seconds * (size_t)x->schedule.step_count);
  }
  return BRC_OK;
}

static brc_status host_profile_read(brc_device *d, brc_exec *x, brc_profile_row *rows) {
  (void)d;
  for (size_t i = 0; i < x->program->op_count; i++) rows[i] = brc_profile_of(x->program->ops[i], x->calls, 0);
  for (int i = 0; i < x->schedule.step_count; i++)
    rows[x->schedule.steps[i].op->index].seconds += x->seconds[i];
  return BRC_OK;
}

// Taps lie elsewhere than the program's plan says: find the one that holds the range.
static brc_status host_read_arena(brc_device *d, brc_exec *x, uint64_t offset, uint64_t elements, void *data) {
  (void)d;
  for (int i = 0; i < x->schedule.root_count; i++) {
    const host_root *r = &x->schedule.roots[i];
    if (!r->keep || r->storage || offset < r->tensor->offset ||
        offset + elements > r->tensor->offset + r->elements)
      continue;
    memcpy(data, x->arena.data + r->place + (offset - r->tensor->offset), elements * sizeof(float));
    return BRC_OK;
  }
  return brc_fail(BRC_E_VALUE, "host: elements %llu to %llu of the arena of program '%s' belong to no tap",
                  (unsigned long long)offset, (unsigned long long)(offset + elements), x->program->name);
}

static uint32_t host_commands(const brc_exec *x) { return (uint32_t)x->schedule.step_count; }

const brc_backend brc_backend_host = {.name = "host",
                                      .list = host_list,
                                      .open = host_open,
                                      .close = host_close,
                                      .alloc = host_alloc,
                                      .release = host_release,
                                      .write = host_write,
                                      .read = host_read,
                                      .copy = host_copy,
                                      .compile = host_compile,
                                      .exec_free = host_exec_free,
                                      .run = host_run,
                                      .wait = host_wait,
                                      .profile = host_profile,
                                      .profile_read = host_profile_read,
                                      .read_arena = host_read_arena,
                                      .gemm_providers = host_gemm_providers,
                                      .commands = host_commands};
