// The Vulkan backend: compile, run, profile, the table of backend.h.
//
// A program is recorded once, with barriers only where an op touches what an op since the last barrier has written (or
// writes what it has read); run() submits that recording as often as asked, in one submission.
#ifdef BRC_HAVE_VULKAN
#include "backends/vulkan/core.h"
#include "graph/hazard.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static vk_device *device_of(brc_device *d) { return (vk_device *)d; }

//------------------------ 1. Buffers ------------------------------------------------
static brc_status vk_alloc(brc_device *d, const char *name, uint64_t elements, brc_buffer **out) {
  *out = NULL;
  brc_buffer *b = calloc(1, sizeof *b);
  if (!b) return brc_fail(BRC_E_NOMEM, "Vulkan: out of memory");
  char what[160];
  snprintf(what, sizeof what, "'%s'", name);
  brc_status st = vk_buffer_create(device_of(d), what, elements, b);
  if (st)
    free(b);
  else
    *out = b;
  return st;
}

static void vk_release(brc_device *d, brc_buffer *b) {
  if (!b) return;
  vk_buffer_destroy(device_of(d), b);
  free(b);
}

static brc_status check_range(const char *what, uint64_t offset, uint64_t elements, uint64_t size) {
  return brc_check_range(&brc_backend_vulkan, what, offset, elements, size);
}

// `data` has been copied when this returns, whether or not the caller would wait.
static brc_status vk_write(brc_device *d, brc_buffer *b, uint64_t offset, uint64_t elements, const void *data,
                           bool async) {
  (void)async;
  brc_status st = check_range("write", offset, elements, b->elements);
  return st || !elements ? st : vk_bytes_write(device_of(d), b, offset * 4, elements * 4, data);
}

static brc_status read_elements(brc_device *d, brc_buffer *b, uint64_t offset, uint64_t elements, void *data) {
  if (!elements) return BRC_OK;
  brc_status st = vk_bytes_read(device_of(d), b, offset * 4, elements * 4, data);
  return st ? st : vk_validation_check();
}

static brc_status vk_read(brc_device *d, brc_buffer *b, uint64_t offset, uint64_t elements, void *data) {
  brc_status st = check_range("read", offset, elements, b->elements);
  return st ? st : read_elements(d, b, offset, elements, data);
}

static brc_status vk_copy(brc_device *d, brc_buffer *dst, brc_buffer *src, uint64_t elements) {
  brc_status st = check_range("copy", 0, elements, dst->elements);
  if (!st) st = check_range("copy", 0, elements, src->elements);
  if (st || !elements || dst == src) return st;
  return vk_bytes_copy(device_of(d), dst, src, elements * 4);
}

//------------------------ 2. Steps --------------------------------------------------
vk_device *vk_exec_device(brc_exec *x) { return x->device; }

static const brc_buffer *memory_of(const brc_exec *x, const brc_tensor *t) {
  return t->storage ? t->storage->buffer : &x->arena;
}

static bool is_operand(const brc_op *op, const brc_tensor *t) {
  for (int i = 0; i < BRC_MAX_IN; i++)
    if (op->in[i] == t) return true;
  for (int i = 0; i < BRC_MAX_OUT; i++)
    if (op->out[i] == t) return true;
  return false;
}

// Addresses, parameters, extra numbers, packed.
static brc_status fill_push(const brc_exec *x, vk_step *s, const vk_call *c) {
  const size_t bytes = 8u * (size_t)c->operand_count + c->params_bytes + 4u * (size_t)c->extra_count;
  if (bytes > VK_PUSH_BYTES)
    return brc_fail(BRC_E_UNSUPPORTED, "shader '%s': %zu bytes of push constants; %d is the most", c->module,
                    bytes, VK_PUSH_BYTES);
  char *at = (char *)s->push;
  for (int i = 0; i < c->operand_count; i++, at += 8) {
    const brc_tensor *t = c->operands[i];
    const uint64_t address = t ? memory_of(x, t)->address + t->offset * 4 : 0;
    memcpy(at, &address, 8);
    if (!t || is_operand(s->op, t)) continue;
    if (s->foreign_count == VK_MAX_FOREIGN)
      return brc_fail(BRC_E_UNSUPPORTED, "shader '%s': more than %d operands that are not its op's", c->module,
                      VK_MAX_FOREIGN);
    s->foreign[s->foreign_count++] =
        (brc_access){t->storage, t->offset, t->offset + brc_tensor_elements(t), true, true};
  }
  memcpy(at, c->params, c->params_bytes);
  memcpy(at + c->params_bytes, c->extra, 4u * (size_t)c->extra_count);
  s->push_bytes = (uint32_t)bytes;
  return BRC_OK;
}

// More groups than one dimension holds go on in the second.
static brc_status fill_groups(const vk_device *d, vk_step *s, const vk_call *c) {
  const uint32_t *most = d->properties.limits.maxComputeWorkGroupCount;
  uint64_t groups[3] = {c->groups[0], c->groups[1], c->groups[2]};
  assert(groups[0] && groups[1] && groups[2] && c->local);
  if (groups[0] > most[0] && groups[1] == 1 && groups[2] == 1) {
    groups[1] = (groups[0] + most[0] - 1) / most[0];
    groups[0] = (groups[0] + groups[1] - 1) / groups[1];
  }
  for (int i = 0; i < 3; i++) {
    if (groups[i] > most[i])
      return brc_fail(BRC_E_UNSUPPORTED, "shader '%s': %llu work-groups in dimension %d; '%s' takes %u",
                      c->module, (unsigned long long)groups[i], i, d->base.info.name, most[i]);
    s->groups[i] = (uint32_t)groups[i];
  }
  return BRC_OK;
}

static vk_step *step_add(brc_exec *x, const brc_op *op) {
  if (x->step_count == x->step_cap) {
    size_t cap = x->step_cap ? 2 * x->step_cap : 256;
    vk_step *bigger = realloc(x->steps, cap * sizeof *bigger);
    if (!bigger) {
      brc_fail(BRC_E_NOMEM, "Vulkan: out of memory");
      return NULL;
    }
    x->steps = bigger;
    x->step_cap = cap;
  }
  vk_step *s = &x->steps[x->step_count++];
  *s = (vk_step){.op = op};
  return s;
}

brc_status vk_call_add(brc_exec *x, const brc_op *op, const vk_call *c) {
  vk_device *d = x->device;
  if (c->local > d->base.info.max_work_group)
    return brc_fail(BRC_E_UNSUPPORTED, "shader '%s': work-groups of %u work-items; '%s' takes %u", c->module,
                    c->local, d->base.info.name, d->base.info.max_work_group);
  vk_step *s = step_add(x, op);
  if (!s) return BRC_E_NOMEM;
  s->after_previous = c->after_previous;
  vk_pipeline_key key = {.module = c->module,
                         .constants = {c->local},
                         .constant_count = c->constant_count + 1,
                         .subgroup_size = c->subgroup_size};
  assert(key.constant_count <= VK_MAX_CONSTANTS);
  memcpy(key.constants + 1, c->constants, 4 * c->constant_count);
  brc_status st = fill_groups(d, s, c);
  if (!st) st = fill_push(x, s, c);
  return st ? st : vk_pipeline_get(d, &key, &s->pipeline);
}

// A tensor must lie inside its storage, with its buffer at hand, or inside the arena.
static brc_status check_tensor(const brc_program *p, const brc_op *op, const brc_tensor *t) {
  if (t->storage && !t->storage->buffer)
    return brc_fail(BRC_E_VALUE, "Vulkan: %s: storage '%s' has no buffer", op->label, t->storage->name);
  brc_status st = check_range(t->name, t->offset, brc_tensor_elements(t),
                              t->storage ? t->storage->buffer->elements : p->arena_elements);
  return st ? brc_fail_prefix(st, "%s: ", op->label) : BRC_OK;
}

static brc_status add_op(brc_exec *x, const brc_op *op) {
  for (int k = 0; k < BRC_MAX_IN + BRC_MAX_OUT; k++) {
    const brc_tensor *t = k < BRC_MAX_IN ? op->in[k] : op->out[k - BRC_MAX_IN];
    brc_status st = t ? check_tensor(x->program, op, t) : BRC_OK;
    if (st) return st;
  }
  brc_status st = vk_ops[op->kind](x, op);
  return st ? brc_fail_prefix(st, "op %d (%s): ", op->index, op->label) : BRC_OK;
}

//------------------------ 3. Barriers ------------------------------------------------
#define MOST_ACCESSES (BRC_MAX_IN + BRC_MAX_OUT + VK_MAX_FOREIGN)

// What has been touched since the last barrier, and by which op.
typedef struct touched {
  struct {
    brc_access access;
    const brc_op *op;
  } * rows;
  size_t count;
} touched;

static int step_accesses(const vk_step *s, brc_access *out) {
  int n = brc_op_accesses(s->op, out);
  for (int i = 0; i < s->foreign_count; i++) out[n++] = s->foreign[i];
  return n;
}

// Steps of one op do not wait for each other unless they say so.
static bool must_wait(const touched *t, const vk_step *s, const brc_access *accesses, int count) {
  for (size_t i = 0; i < t->count; i++)
    for (int k = 0; k < count && t->rows[i].op != s->op; k++)
      if (brc_access_conflict(&t->rows[i].access, &accesses[k])) return true;
  return false;
}

// Mark the steps that a barrier must stand before.
static brc_status place_barriers(brc_exec *x) {
  touched t = {.rows = calloc(x->step_count * MOST_ACCESSES + 1, sizeof *t.rows)};
  if (!t.rows) return brc_fail(BRC_E_NOMEM, "Vulkan: out of memory");
  for (size_t i = 0; i < x->step_count; i++) {
    vk_step *s = &x->steps[i];
    brc_access accesses[MOST_ACCESSES];
    const int n = step_accesses(s, accesses);
    s->barrier =
        i > 0 && (s->after_previous || x->device->p->barrier_everywhere || must_wait(&t, s, accesses, n));
    x->barriers += s->barrier;
    if (s->barrier) t.count = 0;
    for (int k = 0; k < n; k++) {
      t.rows[t.count].access = accesses[k];
      t.rows[t.count++].op = s->op;
    }
  }
  free(t.rows);
  return BRC_OK;
}

//------------------------ 4. Compile -------------------------------------------------
static void record_step(brc_exec *x, VkCommandBuffer commands, const vk_step *s, VkPipeline *bound) {
  const vk_device_table *f = &x->device->p->vk;
  if (s->pipeline != *bound) f->vkCmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE, s->pipeline);
  *bound = s->pipeline;
  f->vkCmdPushConstants(commands, x->device->p->layout, VK_SHADER_STAGE_COMPUTE_BIT, 0, s->push_bytes, s->push);
  f->vkCmdDispatch(commands, s->groups[0], s->groups[1], s->groups[2]);
}

static brc_status record(brc_exec *x) {
  vk_device *d = x->device;
  VkPipeline bound = VK_NULL_HANDLE;
  brc_status st = vk_commands_begin(d, &x->commands);
  if (st) return st;
  for (size_t i = 0; i < x->step_count; i++) {
    if (x->steps[i].barrier) vk_barrier(d, x->commands);
    record_step(x, x->commands, &x->steps[i], &bound);
  }
  return vk_commands_end(d, x->commands);
}

// Drivers may take a submission that runs for many seconds for a hang: at most about 1e13 operations in one.
static uint32_t most_at_once(const brc_program *p) {
  const double flops = brc_program_gemm_flops(p);
  const double most = flops > 0 ? 1e13 / flops : VK_MAX_TIMES;
  return most < 1 ? 1 : most > VK_MAX_TIMES ? VK_MAX_TIMES : (uint32_t)most;
}

static void free_profile(brc_exec *x) {
  vk_device *d = x->device;
  for (size_t i = 0; i < x->timed_count; i++)
    if (x->timed[i]) d->p->vk.vkFreeCommandBuffers(d->handle, d->p->pool, 1, &x->timed[i]);
  d->p->vk.vkDestroyQueryPool(d->handle, x->queries, NULL);
  free(x->timed);
  free(x->stamps);
  x->queries = VK_NULL_HANDLE;
  x->timed = NULL;
  x->stamps = NULL;
  x->timed_count = 0;
}

static void vk_exec_free(brc_device *base, brc_exec *x) {
  if (!x) return;
  vk_device *d = device_of(base);
  vk_drain(d);
  if (x->commands) d->p->vk.vkFreeCommandBuffers(d->handle, d->p->pool, 1, &x->commands);
  free_profile(x);
  vk_buffer_destroy(d, &x->arena);
  free(x->steps);
  free(x->seconds);
  free(x->calls);
  free(x);
}

static brc_status compile(brc_exec *x) {
  const brc_program *p = x->program;
  char what[160];
  snprintf(what, sizeof what, "the activations of program '%s'", p->name);
  brc_status st = vk_buffer_create(x->device, what, p->arena_elements, &x->arena);
  for (size_t i = 0; i < p->op_count && !st; i++) st = add_op(x, p->ops[i]);
  if (!st) st = place_barriers(x);
  if (!st) st = record(x);
  if (!st) st = vk_validation_check();
  if (!st) vk_shaders_save(x->device);
  return st;
}

static brc_status vk_compile(brc_device *base, const brc_program *p, brc_exec **out) {
  *out = NULL;
  if (!p->finished) return brc_fail(BRC_E_VALUE, "program '%s' is not finished", p->name);
  brc_exec *x = calloc(1, sizeof *x);
  if (!x) return brc_fail(BRC_E_NOMEM, "Vulkan: out of memory");
  *x = (brc_exec){.program = p,
                  .device = device_of(base),
                  .most_at_once = most_at_once(p),
                  .seconds = calloc(p->op_count + 1, sizeof(double)),
                  .calls = calloc(p->op_count + 1, sizeof(uint64_t))};
  brc_status st = x->seconds && x->calls ? compile(x) : brc_fail(BRC_E_NOMEM, "Vulkan: out of memory");
  if (st)
    vk_exec_free(base, x);
  else
    *out = x;
  return st;
}

//------------------------ 5. Profiles -------------------------------------------------
// Commands for the steps of the ops [first, end), each op alone: a full barrier before it, and its end stamped behind it.
static brc_status record_timed(brc_exec *x, size_t first, size_t end, VkCommandBuffer *out) {
  vk_device *d = x->device;
  const vk_device_table *f = &d->p->vk;
  VkPipeline bound = VK_NULL_HANDLE;
  brc_status st = vk_commands_begin(d, out);
  if (st) return st;
  if (x->queries) {
    f->vkCmdResetQueryPool(*out, x->queries, 0, (uint32_t)x->program->op_count + 1);
    f->vkCmdWriteTimestamp(*out, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, x->queries, 0);
  }
  size_t step = 0;
  while (step < x->step_count && (size_t)x->steps[step].op->index < first) step++;
  for (size_t op = first; op < end; op++) {
    vk_barrier(d, *out);
    for (; step < x->step_count && (size_t)x->steps[step].op->index == op; step++) {
      if (x->steps[step].after_previous) vk_barrier(d, *out);
      record_step(x, *out, &x->steps[step], &bound);
    }
    if (x->queries)
      f->vkCmdWriteTimestamp(*out, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, x->queries, (uint32_t)op + 1);
  }
  return vk_commands_end(d, *out);
}

static brc_status prepare_profile(brc_exec *x) {
  const size_t ops = x->program->op_count;
  const bool stamps = x->device->p->timestamp_bits > 0;
  x->timed = calloc(ops + 1, sizeof *x->timed);
  x->stamps = calloc(ops + 1, sizeof *x->stamps);
  if (!x->timed || !x->stamps) return brc_fail(BRC_E_NOMEM, "Vulkan: out of memory");
  if (!stamps) {
    brc_status st = BRC_OK;
    for (size_t i = 0; i < ops && !st; i++) st = record_timed(x, i, i + 1, &x->timed[x->timed_count++]);
    return st;
  }
  const VkQueryPoolCreateInfo info = {.sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO,
                                      .queryType = VK_QUERY_TYPE_TIMESTAMP,
                                      .queryCount = (uint32_t)ops + 1};
  VK_TRY(x->device, vkCreateQueryPool, x->device->handle, &info, NULL, &x->queries);
  x->timed_count = 1;
  return record_timed(x, 0, ops, &x->timed[0]);
}

static brc_status read_stamps(brc_exec *x) {
  vk_device *d = x->device;
  const uint32_t n = (uint32_t)x->program->op_count + 1;
  VK_TRY(d, vkGetQueryPoolResults, d->handle, x->queries, 0, n, n * sizeof *x->stamps, x->stamps,
         sizeof *x->stamps, VK_QUERY_RESULT_64_BIT | VK_QUERY_RESULT_WAIT_BIT);
  const uint32_t bits = d->p->timestamp_bits;
  const uint64_t mask = bits < 64 ? (UINT64_C(1) << bits) - 1 : UINT64_MAX;
  for (uint32_t i = 0; i + 1 < n; i++)
    x->seconds[i] += (double)((x->stamps[i + 1] - x->stamps[i]) & mask) *
                     (double)d->properties.limits.timestampPeriod * 1e-9;
  return BRC_OK;
}

static brc_status run_timed(brc_exec *x) {
  vk_device *d = x->device;
  brc_status st = vk_drain(d);
  for (size_t i = 0; i < x->timed_count && !st; i++) {
    const double start = brc_now_s();
    st = vk_submit(d, x->timed[i], 1);
    if (!st) st = vk_drain(d);
    if (!x->queries) x->seconds[i] += brc_now_s() - start;
  }
  if (!st && x->queries) st = read_stamps(x);
  for (size_t i = 0; i < x->program->op_count && !st; i++) x->calls[i]++;
  return st;
}

static brc_status vk_profile(brc_device *d, brc_exec *x, bool on) {
  (void)d;
  x->profiling = false;
  if (!on) return BRC_OK;
  memset(x->seconds, 0, x->program->op_count * sizeof *x->seconds);
  memset(x->calls, 0, x->program->op_count * sizeof *x->calls);
  brc_status st = x->timed ? BRC_OK : prepare_profile(x);
  if (st) free_profile(x);
  x->profiling = !st;
  return st;
}

static brc_status vk_profile_read(brc_device *d, brc_exec *x, brc_profile_row *rows) {
  (void)d;
  for (size_t i = 0; i < x->program->op_count; i++)
    rows[i] = brc_profile_of(x->program->ops[i], x->calls[i], x->seconds[i]);
  return BRC_OK;
}

//------------------------ 6. Run ------------------------------------------------------
static brc_status vk_run(brc_device *base, brc_exec *x, uint32_t times) {
  brc_status st = vk_validation_check();
  while (times && !st) {
    const uint32_t n = x->profiling ? 1 : times < x->most_at_once ? times : x->most_at_once;
    st = x->profiling ? run_timed(x) : vk_submit(device_of(base), x->commands, n);
    times -= n;
  }
  return st;
}

static brc_status vk_wait(brc_device *base) {
  brc_status st = vk_drain(device_of(base));
  return st ? st : vk_validation_check();
}

static brc_status vk_read_arena(brc_device *d, brc_exec *x, uint64_t offset, uint64_t elements, void *data) {
  brc_status st = check_range("read of an activation", offset, elements, x->program->arena_elements);
  return st ? st : read_elements(d, &x->arena, offset, elements, data);
}

static const char *const *vk_gemm_providers(brc_device *d) { return device_of(d)->provider_names; }

static uint64_t vk_kernels_hash(void) {
  uint64_t h = BRC_HASH_START;
  for (const vk_module *m = vk_modules; m->name; m++) h = brc_hash(h, m->words, m->bytes);
  return h;
}

static uint32_t vk_commands(const brc_exec *x) { return (uint32_t)x->step_count; }

const brc_backend brc_backend_vulkan = {
    .name = "vulkan",
    .wide = false,
    .list = vk_list,
    .open = vk_open,
    .close = vk_close,
    .alloc = vk_alloc,
    .release = vk_release,
    .write = vk_write,
    .read = vk_read,
    .copy = vk_copy,
    .compile = vk_compile,
    .exec_free = vk_exec_free,
    .run = vk_run,
    .wait = vk_wait,
    .profile = vk_profile,
    .profile_read = vk_profile_read,
    .read_arena = vk_read_arena,
    .gemm_providers = vk_gemm_providers,
    .gemm_candidates = vk_gemm_candidates,
    .kernels_hash = vk_kernels_hash,
    .commands = vk_commands,
};
#endif
