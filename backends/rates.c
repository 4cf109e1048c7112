#include "backends/rates.h"
#include "graph/grad.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

//------------------------ 1. Times ------------------------------------------------
static int by_value(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

brc_timing brc_timing_of(double *t, size_t count) {
  qsort(t, count, sizeof *t, by_value);
  return (brc_timing){.median_s = count % 2 ? t[count / 2] : (t[count / 2 - 1] + t[count / 2]) / 2,
                      .min_s = t[0]};
}

static brc_status run_and_wait(brc_device *d, brc_exec *e, uint32_t times, double *seconds) {
  const double start = brc_now_s();
  brc_status st = d->backend->run(d, e, times);
  if (!st) st = d->backend->wait(d);
  *seconds = brc_now_s() - start;
  return st;
}

brc_status brc_time_exec(brc_device *d, brc_exec *e, double budget_s, brc_timing *out) {
  static const double least_sample_s = 2e-3;
  enum { SAMPLES = 64, AT_ONCE = 256 };
  double t[SAMPLES], once = 0;
  *out = (brc_timing){NAN, NAN};
  brc_status st = run_and_wait(d, e, 1, &once);
  if (!st && once < budget_s) st = run_and_wait(d, e, 1, &once);
  const double wanted = ceil(least_sample_s / (once + 1e-9));
  const uint32_t times = wanted < 1 ? 1 : wanted > AT_ONCE ? AT_ONCE : (uint32_t)wanted;
  const double end = brc_now_s() + budget_s;
  size_t n = 0;
  while (!st && n < SAMPLES && (!n || brc_now_s() < end)) {
    st = run_and_wait(d, e, times, &t[n]);
    t[n++] /= times;
  }
  if (!st) *out = brc_timing_of(t, n);
  return st;
}

//------------------------ 2. One op alone ------------------------------------------
enum { OPERANDS = BRC_MAX_IN + BRC_MAX_OUT };

// The op with operands on storages of its own.
struct brc_lone_op {
  brc_device *device;
  brc_program *source, *program;  // source: that of a product, else NULL
  brc_storage storage[OPERANDS];
  brc_tensor *operand[OPERANDS];
};

static brc_status copy_op(brc_lone_op *x, const brc_op *op) {
  brc_status st = brc_program_create(&x->program, "one op");
  for (int i = 0; !st && i < OPERANDS; i++) {
    const brc_tensor *t = i < BRC_MAX_IN ? op->in[i] : op->out[i - BRC_MAX_IN];
    if (!t) continue;
    for (int k = 0; k < i && !x->operand[i]; k++)  // what is changed in place stands there twice
      if ((k < BRC_MAX_IN ? op->in[k] : op->out[k - BRC_MAX_IN]) == t) x->operand[i] = x->operand[k];
    if (x->operand[i]) continue;
    x->storage[i] = (brc_storage){.name = t->name, .elements = brc_tensor_elements(t), .dtype = t->dtype};
    x->operand[i] =
        brc_external(x->program, &x->storage[i], t->name, 0, t->members, t->rows, t->cols, t->pitch, t->stride);
    x->operand[i]->dtype = t->dtype;
  }
  if (st) return st;
  brc_op_add(x->program, op->kind, x->operand, x->operand + BRC_MAX_IN, &op->params);
  return brc_program_finish(x->program);
}

// Whole numbers are tasks of rows: as many as the op has, so that every index is one of its rows.
static uint32_t tasks_of(const brc_op *op) {
  const brc_tensor *table = op->kind == BRC_OP_concat_input  ? op->in[2]
                            : op->kind == BRC_OP_segment_sum ? op->out[0]
                                                             : NULL;
  return table ? table->rows : 1;
}

// Numbers that are no zeros (some units skip work or save power on those), and positive, as second moments are.
static brc_status fill(brc_device *d, brc_storage *s, uint32_t tasks) {
  union {
    float f;
    int32_t i;
  } *data = malloc(s->elements * 4);
  if (!data) return brc_fail(BRC_E_NOMEM, "out of memory for %llu numbers", (unsigned long long)s->elements);
  for (uint64_t i = 0; i < s->elements; i++)
    if (s->dtype == BRC_I32)
      data[i].i = (int32_t)(i % tasks);
    else
      data[i].f = (float)((i * 2654435761u >> 8) & 0xffff) * 1e-5f + 0.25f;
  const brc_status st = d->backend->write(d, s->buffer, 0, s->elements, data, false);
  free(data);
  return st;
}

static brc_status lone_op_create(brc_lone_op **out, brc_device *d, const brc_op *op) {
  brc_lone_op *x = *out = calloc(1, sizeof *x);
  if (!x) return brc_fail(BRC_E_NOMEM, "out of memory");
  x->device = d;
  brc_status st = copy_op(x, op);
  for (int i = 0; !st && i < OPERANDS; i++) {
    if (!x->storage[i].elements) continue;
    st = brc_storage_alloc(d, &x->storage[i]);
    if (!st) st = fill(d, &x->storage[i], tasks_of(op));
  }
  if (!st) return BRC_OK;
  brc_lone_op_free(x);
  *out = NULL;
  return st;
}

brc_status brc_lone_op_time(brc_lone_op *x, double budget_s, brc_timing *out) {
  brc_exec *e = NULL;
  brc_status st = x->device->backend->compile(x->device, x->program, &e);
  if (!st) st = brc_time_exec(x->device, e, budget_s, out);
  if (e) x->device->backend->exec_free(x->device, e);
  return st;
}

void brc_lone_op_free(brc_lone_op *x) {
  if (!x) return;
  for (int i = 0; i < OPERANDS; i++) brc_storage_release(x->device, &x->storage[i]);
  brc_program_free(x->program);
  brc_program_free(x->source);
  free(x);
}

brc_status brc_time_op(brc_device *d, const brc_op *op, double budget_s, brc_timing *out) {
  brc_lone_op *x;
  brc_status st = lone_op_create(&x, d, op);
  if (!st) st = brc_lone_op_time(x, budget_s, out);
  brc_lone_op_free(x);
  return st;
}

brc_status brc_lone_product_create(brc_lone_op **out, brc_device *d, const brc_choice *c) {
  const bool ta = c->kind == BRC_OP_dense_dw, tb = c->kind == BRC_OP_dense_dx;
  const uint32_t e = c->members, ar = ta ? c->k : c->m, ac = ta ? c->m : c->k, br = tb ? c->n : c->k,
                 bc = tb ? c->k : c->n;
  const uint32_t pa = brc_pitch(ac), pb = brc_pitch(bc), pc = brc_pitch(c->n);
  const uint64_t sa = (uint64_t)ar * pa, sb = (uint64_t)br * pb, sc = (uint64_t)c->m * pc;
  brc_storage s[] = {
      {.name = "a", .elements = e * sa}, {.name = "b", .elements = e * sb}, {.name = "c", .elements = e * sc}};
  brc_program *p;
  *out = NULL;
  brc_status st = brc_program_create(&p, "product");
  if (st) return st;
  p->precision = (brc_precision)c->precision;
  brc_tensor *x = brc_external(p, &s[0], "a", 0, e, ar, ac, pa, e > 1 ? sa : 0),
             *y = brc_external(p, &s[1], "b", 0, e, br, bc, pb, e > 1 ? sb : 0),
             *z = brc_external(p, &s[2], "c", 0, e, c->m, c->n, pc, e > 1 ? sc : 0);
  if (c->kind == BRC_OP_dense) brc_dense(p, x, y, NULL);
  if (tb) brc_dense_dx(p, x, y, z, false);
  if (ta) brc_dense_dw(p, x, y, z, false);
  st = brc_program_status(p);
  if (!st) st = lone_op_create(out, d, p->ops[0]);
  if (*out)
    (*out)->source = p;  // its names are in use
  else
    brc_program_free(p);
  return st;
}

brc_status brc_time_product(brc_device *d, const brc_choice *c, double budget_s, brc_timing *out) {
  brc_lone_op *x;
  brc_status st = brc_lone_product_create(&x, d, c);
  if (!st) st = brc_lone_op_time(x, budget_s, out);
  brc_lone_op_free(x);
  return st;
}

//------------------------ 3. The roofline ------------------------------------------
static const double rate_budget_s = 0.15;

// Larger and larger squares, until one takes long enough to hide what is not the product's.
static brc_status product_peak(brc_device *d, brc_precision precision, brc_roofline *r) {
  static const double enough_s = 2e-3;
  brc_status st = BRC_OK;
  double took = 0;
  for (uint32_t n = 512; n <= 8192 && took < enough_s; n *= 2) {
    const brc_choice c = {.kind = BRC_OP_dense, .m = n, .n = n, .k = n, .members = 1, .precision = precision};
    brc_timing t;
    st = brc_time_product(d, &c, rate_budget_s, &t);
    if (st) break;
    took = t.min_s;
    const double rate = 2.0 * n * n * n / t.median_s;
    if (rate < r->product_flops[precision]) continue;
    r->product_flops[precision] = rate;
    r->product_size[precision] = n;
  }
  return st == BRC_E_NOMEM && r->product_size[precision] ? BRC_OK : st;  // the largest that it holds
}

// More than caches hold: 64 MB each on CPUs, 256 MB each on GPUs with memory for it.
static brc_status copy_rate(brc_device *d, double *rate) {
  const uint64_t elements = !d->info.is_cpu && d->info.memory_bytes > 4ull << 30 ? 64u << 20 : 16u << 20;
  brc_storage s[2] = {{.name = "copy/from", .elements = elements}, {.name = "copy/to", .elements = elements}};
  brc_status st = brc_storage_alloc(d, &s[0]);
  if (!st) st = brc_storage_alloc(d, &s[1]);
  double t[9];
  for (int i = -2; !st && i < (int)BRC_COUNT(t); i++) {
    const double start = brc_now_s();
    st = d->backend->copy(d, s[1].buffer, s[0].buffer, elements);
    if (!st) st = d->backend->wait(d);
    if (i >= 0) t[i] = brc_now_s() - start;
  }
  *rate = st ? NAN : 8.0 * (double)elements / brc_timing_of(t, BRC_COUNT(t)).median_s;
  brc_storage_release(d, &s[0]);
  brc_storage_release(d, &s[1]);
  return st;
}

// A program of `ops` sums of one number, each of what the one before wrote.
static brc_status time_chain(brc_device *d, uint32_t ops, double *seconds, uint32_t *commands) {
  brc_storage s[2] = {{.name = "one", .elements = 16}, {.name = "other", .elements = 16}};
  brc_program *p;
  brc_exec *e = NULL;
  brc_timing t = {NAN, NAN};
  brc_status st = brc_program_create(&p, "launches");
  if (st) return st;
  for (int i = 0; !st && i < 2; i++) st = brc_storage_alloc(d, &s[i]);
  for (uint32_t i = 0; !st && i < ops; i++)
    brc_reduce(p, brc_external(p, &s[i % 2], "x", 0, 1, 1, 1, 1, 0), BRC_REDUCE_SUM, 1,
               brc_external(p, &s[1 - i % 2], "y", 0, 1, 1, 1, 1, 0));
  if (!st) st = brc_program_finish(p);
  if (!st) st = d->backend->compile(d, p, &e);
  if (!st) st = brc_time_exec(d, e, rate_budget_s, &t);
  *seconds = t.min_s;  // a bound
  *commands = e ? d->backend->commands(e) : ops;
  if (e) d->backend->exec_free(d, e);
  for (int i = 0; i < 2; i++) brc_storage_release(d, &s[i]);
  brc_program_free(p);
  return st;
}

// What waiting for one run costs on top of its command.
static brc_status run_cost(brc_device *d, brc_roofline *r) {
  enum { CHAIN = 129 };
  double one = 0, many = 0;
  uint32_t few = 1, commands = CHAIN;
  brc_status st = time_chain(d, 1, &one, &few);
  if (!st) st = time_chain(d, CHAIN, &many, &commands);
  r->run_s = one;
  r->side_by_side = d->info.side_by_side ? d->info.side_by_side : 1;
  r->launch_s = commands > few ? fmax(0, many - one) / (commands - few) : 0;
  return st;
}

brc_status brc_roofline_measure(brc_device *d, unsigned precisions, brc_roofline *r) {
  *r = (brc_roofline){0};
  brc_status st = copy_rate(d, &r->copy_bytes);
  if (!st) st = run_cost(d, r);
  for (int p = 0; !st && p < BRC_PRECISION_COUNT; p++)
    if (precisions & d->info.precisions & 1u << p) st = product_peak(d, (brc_precision)p, r);
  return st;
}

static void add_op(const brc_roofline *r, const brc_op *op, brc_roofline_time *t) {
  double flops, bytes;
  brc_op_cost(op, &flops, &bytes);
  if (op->kind <= BRC_OP_dense_dw)
    t->products_s += flops / r->product_flops[op->params.dense.precision];
  else
    t->bytes_s += bytes / r->copy_bytes;
}

brc_roofline_time brc_roofline_of(const brc_roofline *r, const brc_program *p, uint32_t commands) {
  brc_roofline_time t = {.launches_s = commands * r->launch_s / r->side_by_side};
  for (size_t i = 0; i < p->op_count; i++) add_op(r, p->ops[i], &t);
  t.total_s = t.products_s + t.bytes_s + t.launches_s;
  return t;
}

double brc_roofline_op_s(const brc_roofline *r, const brc_op *op) {
  brc_roofline_time t = {0};
  add_op(r, op, &t);
  return t.products_s + t.bytes_s + r->launch_s;
}
