// The OpenCL backend: buffers, compile, run, profile.
//
// One in-order queue, and on CPUs of few cores one that is not (order.c); run() only enqueues. Every op of a program has
// kernels of its own with all arguments set, so that nothing is decided, allocated or compiled per step.
#ifdef BRC_HAVE_OPENCL
#include "backends/opencl/opencl.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

// Commands that may be waiting: some runtimes keep memory for each.
#define MOST_IN_FLIGHT 32768

static ocl_device *device_of(brc_device *d) { return (ocl_device *)d; }

//------------------------ 1. Buffers ------------------------------------------
static brc_status no_memory(const ocl_device *d, const char *what, size_t bytes, cl_int code) {
  return brc_fail(BRC_E_NOMEM,
                  "OpenCL: %zu bytes (%.2f GB) for %s could not be allocated on '%s': %s (%d); it has %.2f GB, "
                  "and takes %.2f GB at once",
                  bytes, (double)bytes * 1e-9, what, d->base.info.name, ocl_code_text(code), (int)code,
                  (double)d->base.info.memory_bytes * 1e-9, (double)d->base.info.max_buffer_bytes * 1e-9);
}

static cl_int fill_zero(ocl_device *d, cl_mem mem, size_t bytes) {
  const cl_uint zero = 0;
  return ocl.clEnqueueFillBuffer(d->queue, mem, &zero, sizeof zero, 0, bytes, 0, NULL, NULL);
}

// Memory of our own for a CPU device: page-aligned, so that runtimes use it as it is; huge pages where the system gives them.
static float *host_memory(size_t bytes) {
  const size_t align = bytes >= 8 << 20 ? 2 << 20 : 4096;
  void *p = NULL;
  if (posix_memalign(&p, align, BRC_ROUND_UP(bytes, align))) return NULL;
  if (align > 4096) madvise(p, BRC_ROUND_UP(bytes, align), MADV_HUGEPAGE);
  return p;
}

brc_status ocl_buffer_create(ocl_device *d, const char *what, uint64_t elements, brc_buffer *out) {
  *out = (brc_buffer){.elements = elements};
  if (elements > UINT64_MAX >> 3)
    return brc_fail(BRC_E_VALUE, "OpenCL: %llu elements for %s", (unsigned long long)elements, what);
  size_t bytes = (size_t)(elements + BRC_BUFFER_SLACK) * 4;
  cl_int code = CL_OUT_OF_HOST_MEMORY;
  if (d->base.info.is_cpu) out->host = host_memory(bytes);
  if (out->host || !d->base.info.is_cpu)
    out->mem = ocl.clCreateBuffer(d->context, CL_MEM_READ_WRITE | (out->host ? CL_MEM_USE_HOST_PTR : 0), bytes,
                                  out->host, &code);
  // Many drivers allocate at the first use only.
  if (out->mem) code = fill_zero(d, out->mem, bytes);
  if (out->mem && code == CL_SUCCESS) code = ocl.clFinish(d->queue);
  if (out->mem && code == CL_SUCCESS) {
    out->counted = &d->base.allocated;
    *out->counted += elements * 4;
    return BRC_OK;
  }
  ocl_buffer_destroy(out);
  return no_memory(d, what, bytes, code);
}

void ocl_buffer_destroy(brc_buffer *b) {
  if (b->mem) ocl.clReleaseMemObject(b->mem);
  free(b->host);
  if (b->counted) *b->counted -= b->elements * 4;
  b->counted = NULL;
  b->mem = NULL;
  b->host = NULL;
}

static brc_status cl_alloc(brc_device *d, const char *name, uint64_t elements, brc_buffer **out) {
  *out = NULL;
  brc_buffer *b = calloc(1, sizeof *b);
  if (!b) return brc_fail(BRC_E_NOMEM, "OpenCL: out of memory");
  char what[160];
  snprintf(what, sizeof what, "'%s'", name);
  brc_status st = ocl_buffer_create(device_of(d), what, elements, b);
  if (st)
    free(b);
  else
    *out = b;
  return st;
}

static void cl_release(brc_device *d, brc_buffer *b) {
  if (!b) return;
  ocl.clFinish(device_of(d)->queue);  // what is under way may still use it
  ocl_buffer_destroy(b);
  free(b);
}

static brc_status check_range(const char *what, uint64_t offset, uint64_t elements, uint64_t size) {
  return brc_check_range(&brc_backend_opencl, what, offset, elements, size);
}

static brc_status cl_write(brc_device *d, brc_buffer *b, uint64_t offset, uint64_t elements, const void *data,
                           bool async) {
  brc_status st = check_range("write", offset, elements, b->elements);
  if (st || !elements) return st;
  b->changes++;
  OCL_TRY(clEnqueueWriteBuffer, device_of(d)->queue, b->mem, async ? CL_FALSE : CL_TRUE, offset * 4,
          elements * 4, data, 0, NULL, NULL);
  return BRC_OK;
}

static brc_status check_native(ocl_device *d) {
  if (!atomic_load(&d->starved)) return BRC_OK;
  return brc_fail(BRC_E_NOMEM,
                  "OpenCL: a product on '%s' had no memory for its copy of a factor: lower --batch or --width, "
                  "or give this process "
                  "more memory",
                  d->base.info.name);
}

static brc_status read_elements(brc_device *d, cl_mem mem, uint64_t offset, uint64_t elements, void *data) {
  if (!elements) return BRC_OK;
  OCL_TRY(clEnqueueReadBuffer, device_of(d)->queue, mem, CL_TRUE, offset * 4, elements * 4, data, 0, NULL,
          NULL);
  return check_native(device_of(d));
}

static brc_status cl_read(brc_device *d, brc_buffer *b, uint64_t offset, uint64_t elements, void *data) {
  brc_status st = check_range("read", offset, elements, b->elements);
  return st ? st : read_elements(d, b->mem, offset, elements, data);
}

static brc_status cl_copy(brc_device *d, brc_buffer *dst, brc_buffer *src, uint64_t elements) {
  brc_status st = check_range("copy", 0, elements, dst->elements);
  if (!st) st = check_range("copy", 0, elements, src->elements);
  if (st || !elements || dst == src) return st;
  dst->changes++;
  OCL_TRY(clEnqueueCopyBuffer, device_of(d)->queue, src->mem, dst->mem, 0, 0, elements * 4, 0, NULL, NULL);
  return BRC_OK;
}

//------------------------ 2. Compile ------------------------------------------
const brc_buffer *ocl_memory(const brc_exec *x, const brc_tensor *t) {
  return t->storage ? t->storage->buffer : &x->arena;
}

ocl_step *ocl_step_add(brc_exec *x, const brc_op *op) {
  if (x->step_count == x->step_cap) {
    size_t cap = x->step_cap ? 2 * x->step_cap : 64;
    ocl_step *bigger = realloc(x->steps, cap * sizeof *bigger);
    if (!bigger) {
      brc_fail(BRC_E_NOMEM, "OpenCL: out of memory");
      return NULL;
    }
    x->steps = bigger;
    x->step_cap = cap;
  }
  ocl_step *s = &x->steps[x->step_count++];
  *s = (ocl_step){.op = op};
  return s;
}

static brc_status set_argument(cl_kernel kernel, const char *name, cl_uint *index, size_t bytes,
                               const void *value) {
  cl_int code = ocl.clSetKernelArg(kernel, *index, bytes, value);
  if (code == CL_SUCCESS) {
    ++*index;
    return BRC_OK;
  }
  return brc_fail_prefix(ocl_fail("clSetKernelArg", code), "kernel %s, argument %u: ", name, *index);
}

static brc_status set_operand(cl_kernel kernel, const char *name, cl_uint *index, cl_mem mem, uint64_t offset) {
  brc_status st = set_argument(kernel, name, index, sizeof mem, &mem);
  return st ? st : set_argument(kernel, name, index, sizeof offset, &offset);
}

static brc_status set_tail(cl_kernel kernel, const ocl_call *c, cl_uint *index, const void *params,
                           const uint32_t *extra) {
  brc_status st = set_argument(kernel, c->name, index, c->params_bytes, params);
  for (int i = 0; i < c->extra_count && !st; i++)
    st = set_argument(kernel, c->name, index, sizeof extra[i], &extra[i]);
  return st;
}

static brc_status set_arguments(brc_exec *x, cl_kernel kernel, const ocl_call *c) {
  cl_uint index = 0;
  brc_status st = BRC_OK;
  for (int i = 0; i < c->operand_count && !st; i++) {
    const brc_tensor *t = c->operands[i];
    st = set_operand(kernel, c->name, &index, (t ? ocl_memory(x, t) : &x->device->none)->mem,
                     t ? t->offset : UINT64_MAX);
  }
  return st ? st : set_tail(kernel, c, &index, c->params, c->extra);
}

// Run a kernel once on nothing (sizes of 1, operands in a small buffer of zeros), as runtimes compile at the first launch.
static brc_status warm_up(ocl_device *d, cl_kernel kernel, const ocl_call *c) {
  for (struct ocl_warm *w = d->warm; w; w = w->next)
    if (w->local == c->local && w->program == c->program && !strcmp(w->name, c->name)) return BRC_OK;
  struct ocl_warm *w = calloc(1, sizeof *w);
  if (!w) return brc_fail(BRC_E_NOMEM, "OpenCL: out of memory");
  *w = (struct ocl_warm){c->name, c->program, c->local, d->warm};
  d->warm = w;

  uint32_t words[sizeof(brc_op_params32) / 4];
  const float one = 1;
  for (unsigned i = 0; i < c->params_bytes / 4; i++) {
    words[i] = 1;
    if (i >= c->uints) memcpy(&words[i], &one, 4);
  }
  const uint32_t extra[BRC_COUNT(c->extra)] = {1, 1, 1};
  cl_uint index = 0;
  brc_status st = BRC_OK;
  for (int i = 0; i < c->operand_count && !st; i++)
    st = set_operand(kernel, c->name, &index, d->none.mem, (uint64_t)i * 1024);
  if (!st) st = set_tail(kernel, c, &index, words, extra);
  if (st) return st;
  const size_t size[3] = {c->local, 1, 1};
  cl_int code = fill_zero(d, d->none.mem, 16384 * 4);
  if (code == CL_SUCCESS)
    code = ocl.clEnqueueNDRangeKernel(d->queue, kernel, 3, NULL, size, size, 0, NULL, NULL);
  if (code == CL_SUCCESS) code = ocl.clFinish(d->queue);
  return code == CL_SUCCESS ? BRC_OK
                            : brc_fail_prefix(ocl_fail("clEnqueueNDRangeKernel", code), "kernel %s: ", c->name);
}

brc_status ocl_call_add(brc_exec *x, const brc_op *op, const ocl_call *c) {
  ocl_step *s = ocl_step_add(x, op);
  if (!s) return BRC_E_NOMEM;
  cl_int code;
  s->kernel = ocl.clCreateKernel(c->program ? c->program : x->device->program, c->name, &code);
  if (!s->kernel) return brc_fail_prefix(ocl_fail("clCreateKernel", code), "kernel %s: ", c->name);
  s->dims = 3;
  for (int i = 0; i < 3; i++) {
    s->local[i] = i == 0 ? c->local : 1;
    s->global[i] = c->groups[i] * s->local[i];
  }
  brc_status st = warm_up(x->device, s->kernel, c);
  return st ? st : set_arguments(x, s->kernel, c);
}

// A tensor must lie inside its storage, with its buffer at hand, or inside the arena.
static brc_status check_tensor(const brc_program *p, const brc_op *op, const brc_tensor *t) {
  if (t->storage && !t->storage->buffer)
    return brc_fail(BRC_E_VALUE, "OpenCL: %s: storage '%s' has no buffer", op->label, t->storage->name);
  brc_status st = check_range(t->name, t->offset, brc_tensor_elements(t),
                              t->storage ? t->storage->buffer->elements : p->arena_elements);
  return st ? brc_fail_prefix(st, "%s: ", op->label) : BRC_OK;
}

// Rows of a part: a multiple of this, so that products' blocks are full, and norm_backward's whole.
enum { PART_ROWS = 64 };

bool ocl_part_at(const ocl_device *d, uint32_t members, uint32_t rows, uint32_t i, brc_op_part *out) {
  const uint32_t parts = members % d->shares ? members : d->shares, pieces = (d->shares + parts - 1) / parts,
                 each = BRC_ROUND_UP((rows + pieces - 1) / pieces, (uint32_t)PART_ROWS),
                 used = rows ? (rows - 1) / each + 1 : 1, first_row = i % used * each;
  *out = (brc_op_part){.first_member = i / used * (members / parts),
                       .members = members / parts,
                       .first_row = first_row,
                       .rows = rows - first_row < each ? rows - first_row : each};
  return i < parts * used;
}

// Where its parameters say how many members an op works on, and rows; NULL: it is not cut by them.
typedef struct op_counts {
  uint32_t *members, *rows;
} op_counts;

static op_counts counts_of(brc_op *op) {
  brc_op_params *p = &op->params;
  switch (op->kind) {
    case BRC_OP_norm: return (op_counts){&p->norm.members, &p->norm.rows};
    case BRC_OP_norm_backward:
      return (op_counts){&p->norm_backward.members,
                         PART_ROWS % p->norm_backward.block ? NULL : &p->norm_backward.rows};
    case BRC_OP_norm_sums: return (op_counts){.members = &p->norm_sums.members};
    case BRC_OP_colsum: return (op_counts){.members = &p->colsum.members};
    case BRC_OP_cross_entropy: return (op_counts){&p->cross_entropy.members, &p->cross_entropy.rows};
    case BRC_OP_sum_members: return (op_counts){.rows = &p->sum_members.rows};
    case BRC_OP_concat_input: return (op_counts){.rows = &p->concat_input.rows};
    case BRC_OP_tanh_normal: return (op_counts){.rows = &p->tanh_normal.rows};
    case BRC_OP_tanh_normal_backward: return (op_counts){.rows = &p->tanh_normal_backward.rows};
    default: return (op_counts){0};
  }
}

static brc_status add_part(brc_exec *x, const brc_op *op, const brc_op_part *part) {
  brc_op one = *op;
  brc_tensor tensors[BRC_MAX_IN + BRC_MAX_OUT];
  const op_counts counts = counts_of(&one);
  if (counts.members) *counts.members = part->members;
  if (counts.rows) *counts.rows = part->rows;
  for (int k = 0; k < BRC_MAX_IN + BRC_MAX_OUT; k++) {
    brc_tensor **t = k < BRC_MAX_IN ? &one.in[k] : &one.out[k - BRC_MAX_IN];
    if (!*t) continue;
    tensors[k] = brc_op_operand_of(op, k, part);
    *t = &tensors[k];
  }
  const size_t before = x->step_count;
  const brc_status st = ocl_ops[op->kind](x, &one);
  for (size_t s = before; s < x->step_count; s++) {
    x->steps[s].op = op;
    x->steps[s].part = *part;
  }
  return st;
}

static brc_status add_steps(brc_exec *x, const brc_op *op) {
  brc_op copy = *op;
  const op_counts counts = counts_of(&copy);
  const uint32_t members = counts.members ? *counts.members : 1, rows = counts.rows ? *counts.rows : 0;
  double flops, bytes;
  brc_op_cost(op, &flops, &bytes);
  // Below that, in floating-point operations of which a byte stands for two, a command costs more than its work. BRC_CUT_OPS, for tests:
  // all are cut.
  const double least = brc_env_is_one("BRC_CUT_OPS") ? 0 : 1 << 18;
  if (!x->device->shared || (!counts.members && !counts.rows) || flops + 2 * bytes < least)
    return ocl_ops[op->kind](x, op);
  brc_op_part part;
  brc_status st = BRC_OK;
  for (uint32_t i = 0; !st && ocl_part_at(x->device, members, rows, i, &part); i++) {
    if (!counts.members) part.members = 0;  // of one, or of some all of which go into each row
    st = add_part(x, op, &part);
  }
  return st;
}

static brc_status add_op(brc_exec *x, const brc_op *op) {
  for (int k = 0; k < BRC_MAX_IN + BRC_MAX_OUT; k++) {
    const brc_tensor *t = k < BRC_MAX_IN ? op->in[k] : op->out[k - BRC_MAX_IN];
    brc_status st = t ? check_tensor(x->program, op, t) : BRC_OK;
    if (st) return st;
  }
  brc_status st = add_steps(x, op);
  return st ? brc_fail_prefix(st, "op %d (%s): ", op->index, op->label) : BRC_OK;
}

static bool has(brc_buffer *const *list, size_t count, const brc_buffer *b) {
  for (size_t i = 0; i < count; i++)
    if (list[i] == b) return true;
  return false;
}

static brc_status list_written(brc_exec *x) {
  const brc_program *p = x->program;
  x->written = calloc(p->op_count * (BRC_MAX_IN + BRC_MAX_OUT) + 1, sizeof(brc_buffer *));
  if (!x->written) return brc_fail(BRC_E_NOMEM, "OpenCL: out of memory");
  for (size_t i = 0; i < p->op_count; i++) {
    brc_access uses[BRC_MAX_IN + BRC_MAX_OUT];
    const int count = brc_op_accesses(p->ops[i], uses);
    for (int k = 0; k < count; k++) {
      brc_buffer *b = uses[k].storage ? uses[k].storage->buffer : NULL;
      if (b && uses[k].writes && !has(x->written, x->written_count, b)) x->written[x->written_count++] = b;
    }
  }
  return BRC_OK;
}

static void cl_exec_free(brc_device *d, brc_exec *x) {
  if (!x) return;
  ocl.clFinish(device_of(d)->queue);
  for (size_t i = 0; i < x->step_count; i++) {
    if (x->steps[i].kernel) ocl.clReleaseKernel(x->steps[i].kernel);
    free(x->steps[i].data);
  }
  ocl_buffer_destroy(&x->arena);
  ocl_order_free(&x->order);
  ocl_mma_free(x);
  free(x->written);
  free(x->steps);
  free(x->seconds);
  free(x->calls);
  free(x);
}

static brc_status cl_compile(brc_device *base, const brc_program *p, brc_exec **out) {
  *out = NULL;
  if (!p->finished) return brc_fail(BRC_E_VALUE, "program '%s' is not finished", p->name);
  ocl_device *d = device_of(base);
  brc_exec *x = calloc(1, sizeof *x);
  if (!x) return brc_fail(BRC_E_NOMEM, "OpenCL: out of memory");
  *x = (brc_exec){.program = p,
                  .device = d,
                  .seconds = calloc(p->op_count + 1, sizeof(double)),
                  .calls = calloc(p->op_count + 1, sizeof(uint64_t))};
  brc_status st = x->seconds && x->calls ? BRC_OK : brc_fail(BRC_E_NOMEM, "OpenCL: out of memory");
  char what[160];
  snprintf(what, sizeof what, "the activations of program '%s'", p->name);
  if (!st) st = ocl_buffer_create(d, what, p->arena_elements, &x->arena);
  for (size_t i = 0; i < p->op_count && !st; i++) st = add_op(x, p->ops[i]);
  if (!st) st = list_written(x);
  if (!st && d->shared) st = ocl_order_make(x);
  if (!st && ocl.clFinish(d->queue) != CL_SUCCESS)
    st = brc_fail(BRC_E_DEVICE, "OpenCL: warming program '%s' failed", p->name);
  if (st)
    cl_exec_free(base, x);
  else
    *out = x;
  return st;
}

//------------------------ 3. Run ----------------------------------------------
static brc_status launch(ocl_device *d, const ocl_step *s, cl_command_queue queue, ocl_waits waits,
                         cl_event *event) {
  brc_status st = BRC_OK;
  if (s->launch) {
    st = s->launch(d, s, queue, waits, event);
  } else {
    cl_int code = ocl.clEnqueueNDRangeKernel(queue, s->kernel, s->dims, NULL, s->global, s->local, waits.count,
                                             waits.events, event);
    if (code != CL_SUCCESS) st = ocl_fail("clEnqueueNDRangeKernel", code);
  }
  return st ? brc_fail_prefix(st, "op %d (%s): ", s->op->index, s->op->label) : BRC_OK;
}
static const ocl_waits nothing;

// The seconds from the first start to the last end of some commands; 0 if their events do not tell.
static double event_seconds(const cl_event *events, size_t count) {
  cl_ulong first = UINT64_MAX, last = 0;
  for (size_t i = 0; i < count; i++) {
    cl_ulong from = 0, to = 0;
    if (!events[i] ||
        ocl.clGetEventProfilingInfo(events[i], CL_PROFILING_COMMAND_START, sizeof from, &from, NULL) ||
        ocl.clGetEventProfilingInfo(events[i], CL_PROFILING_COMMAND_END, sizeof to, &to, NULL))
      return 0;
    if (from < first) first = from;
    if (to > last) last = to;
  }
  return last > first ? (double)(last - first) * 1e-9 : 0;
}

enum { TIMED_MOST = 256 };
static_assert(TIMED_MOST >= OCL_SHARES_MOST * OCL_MEMBERS_MAX, "events of one op's parts");

// In a profiled run, one step or all parts of an op: on the timed queue, waited for. Their own time from their events, or else from
// the clock.
static brc_status launch_timed(brc_exec *x, const ocl_step *s, size_t count) {
  ocl_device *d = x->device;
  cl_event events[TIMED_MOST] = {NULL};
  double start = brc_now_s();
  brc_status st = BRC_OK;
  for (size_t i = 0; i < count && !st; i++)
    st = launch(d, &s[i], d->timed, nothing, s[i].by_clock ? NULL : &events[i]);
  if (!st) {
    cl_int code = ocl.clFinish(d->timed);
    if (code != CL_SUCCESS) st = ocl_fail("clFinish", code);
  }
  double by_clock = brc_now_s() - start, by_event = event_seconds(events, count);
  for (size_t i = 0; i < count; i++)
    if (events[i]) ocl.clReleaseEvent(events[i]);
  x->seconds[s->op->index] += by_event > 0 ? by_event : by_clock;
  return st;
}

static brc_status run_timed(brc_exec *x) {
  OCL_TRY(clFinish, x->device->queue);
  for (size_t i = 0, n; i < x->step_count; i += n) {
    const ocl_step *s = &x->steps[i];
    n = 1;
    while (n < TIMED_MOST && i + n < x->step_count && s[n].op == s->op && !ocl_same_part(&s[n - 1], &s[n])) n++;
    brc_status st = launch_timed(x, s, n);
    if (st) return st;
  }
  for (size_t i = 0; i < x->program->op_count; i++) x->calls[i]++;
  return BRC_OK;
}

static brc_status run_in_order(brc_exec *x) {
  for (size_t i = 0; i < x->step_count; i++) {
    brc_status st = launch(x->device, &x->steps[i], x->device->queue, nothing, NULL);
    if (st) return st;
  }
  return BRC_OK;
}

// On the shared queue, between what is on the queue in order before and after.
static brc_status launch_shared(brc_exec *x, cl_event start) {
  const ocl_order *o = &x->order;
  for (size_t i = 0; i < x->step_count; i++) {
    const struct ocl_step_waits *w = &o->steps[i];
    for (uint32_t k = 0; k < w->count; k++) o->list[k] = o->events[o->waits[w->first + k]];
    const ocl_waits waits = w->count ? (ocl_waits){w->count, o->list} : (ocl_waits){1, &start};
    brc_status st = launch(x->device, &x->steps[i], x->device->shared, waits, &o->events[i]);
    if (st) return st;
  }
  for (uint32_t k = 0; k < o->last_count; k++) o->list[k] = o->events[o->last[k]];
  OCL_TRY(clFlush, x->device->shared);
  OCL_TRY(clEnqueueBarrierWithWaitList, x->device->queue, o->last_count, o->last_count ? o->list : NULL, NULL);
  return BRC_OK;
}

static brc_status run_shared(brc_exec *x) {
  cl_event start;
  OCL_TRY(clEnqueueMarkerWithWaitList, x->device->queue, 0, NULL, &start);
  OCL_TRY(clFlush, x->device->queue);
  brc_status st = launch_shared(x, start);
  if (st) ocl.clFinish(x->device->shared);  // nothing waits for what is on it
  ocl.clReleaseEvent(start);
  for (size_t i = 0; i < x->step_count; i++) {
    if (x->order.events[i]) ocl.clReleaseEvent(x->order.events[i]);
    x->order.events[i] = NULL;
  }
  return st;
}

static brc_status run_once(brc_exec *x) {
  ocl_device *d = x->device;
  brc_status st = d->shared ? run_shared(x) : run_in_order(x);
  if (st) return st;
  d->in_flight += x->step_count;
  if (d->in_flight > MOST_IN_FLIGHT) {
    OCL_TRY(clFinish, d->queue);
    d->in_flight = 0;
  }
  return BRC_OK;
}

static brc_status cl_run(brc_device *base, brc_exec *x, uint32_t times) {
  ocl_device *d = device_of(base);
  for (ocl_shadow *s = x->shadows; s; s = s->next) {
    if (s->seen == s->of->buffer->changes) continue;
    brc_status st = launch(d, &s->fill, d->queue, nothing, NULL);
    if (st) return st;
  }
  for (size_t i = 0; i < x->written_count; i++) x->written[i]->changes++;
  for (uint32_t i = 0; i < times; i++) {
    brc_status st = x->profiling ? run_timed(x) : run_once(x);
    if (st) return st;
  }
  for (ocl_shadow *s = x->shadows; s; s = s->next) s->seen = s->of->buffer->changes;
  OCL_TRY(clFlush, d->queue);
  return BRC_OK;
}

static brc_status cl_wait(brc_device *base) {
  ocl_device *d = device_of(base);
  OCL_TRY(clFinish, d->queue);
  d->in_flight = 0;
  return check_native(d);
}

static brc_status cl_profile(brc_device *d, brc_exec *x, bool on) {
  (void)d;
  x->profiling = on;
  if (on) {
    memset(x->seconds, 0, x->program->op_count * sizeof *x->seconds);
    memset(x->calls, 0, x->program->op_count * sizeof *x->calls);
  }
  return BRC_OK;
}

static brc_status cl_profile_read(brc_device *d, brc_exec *x, brc_profile_row *rows) {
  (void)d;
  for (size_t i = 0; i < x->program->op_count; i++)
    rows[i] = brc_profile_of(x->program->ops[i], x->calls[i], x->seconds[i]);
  return BRC_OK;
}

static brc_status cl_read_arena(brc_device *d, brc_exec *x, uint64_t offset, uint64_t elements, void *data) {
  brc_status st = check_range("read of an activation", offset, elements, x->program->arena_elements);
  return st ? st : read_elements(d, x->arena.mem, offset, elements, data);
}

static const char *const *cl_gemm_providers(brc_device *d) { return device_of(d)->provider_names; }

static uint32_t cl_commands(const brc_exec *x) { return (uint32_t)x->step_count; }

const brc_backend brc_backend_opencl = {
    .name = "opencl",
    .wide = false,
    .list = ocl_list,
    .open = ocl_open,
    .close = ocl_close,
    .alloc = cl_alloc,
    .release = cl_release,
    .write = cl_write,
    .read = cl_read,
    .copy = cl_copy,
    .compile = cl_compile,
    .exec_free = cl_exec_free,
    .run = cl_run,
    .wait = cl_wait,
    .profile = cl_profile,
    .profile_read = cl_profile_read,
    .read_arena = cl_read_arena,
    .gemm_providers = cl_gemm_providers,
    .gemm_candidates = ocl_gemm_candidates,
    .kernels_hash = ocl_kernels_hash,
    .commands = cl_commands,
};
#endif
