#include "backends/host/schedule.h"

#include "graph/hazard.h"

#include <stdlib.h>
#include <string.h>

// In elements: every root begins on a cache line. Activations are a power of two large: the gap keeps those that an op works on
// from falling onto the same cache sets.
enum { ALIGN = 16, GAP = 80 };
static uint64_t room(uint64_t elements) { return BRC_ROUND_UP(elements, (uint64_t)ALIGN) + GAP; }

//------------------------ 1. What ops do ---------------------------------------
// What the ranges of a call count, and how many an item should have.
static void set_domain(host_step *s) {
  const brc_op *op = s->op;
  const brc_tensor *out = op->out[0];
  s->members = 1;
  s->grain = 1;
  switch (op->kind) {
    case BRC_OP_dense:
    case BRC_OP_dense_dx:
    case BRC_OP_norm:
    case BRC_OP_cross_entropy:
      s->members = out->members;
      s->rows = out->rows;
      break;
    case BRC_OP_norm_backward:
      s->members = out->members;
      s->rows = out->rows;
      s->grain = op->params.norm_backward.block;
      break;
    case BRC_OP_dense_dw:
      s->members = out->members;
      s->rows = out->rows;
      s->grain = 64;
      break;
    case BRC_OP_norm_sums:
    case BRC_OP_colsum:  // columns
      s->members = op->in[0]->members;
      s->rows = out->cols;
      s->grain = 64;
      break;
    case BRC_OP_segment_sum:
      s->rows = out->rows;
      s->grain = 4;
      break;
    case BRC_OP_embed:
    case BRC_OP_embed_backward:
      s->rows = out->rows;
      s->grain = 64;
      break;
    case BRC_OP_adamw:  // blocks of the group
      s->rows = (op->params.adamw.n + op->params.adamw.block - 1) / op->params.adamw.block;
      s->grain = 1 + (1u << 15) / op->params.adamw.block;
      break;
    case BRC_OP_reduce:
    case BRC_OP_temperature:
    case BRC_OP_advance_scalars:
    case BRC_OP_policy_loss: s->rows = 1; break;
    default: s->rows = out->rows;
  }
}

// dlogp of policy_loss is row-local, its sums are not: two steps.
static void policy_gradient(const brc_host_op *op, uint32_t e, uint32_t r0, uint32_t r1, float *scratch) {
  (void)e, (void)scratch;
  const brc_host_view *d = &op->out[1];
  const float share = op->in[2].data[BRC_SCALAR_ALPHA] / (float)op->params.policy_loss.rows;
  for (uint32_t r = r0; r < r1; r++) d->data[(size_t)r * d->pitch] = share;
}

//------------------------ 2. Steps ---------------------------------------------
typedef struct builder {
  host_schedule *s;
  const brc_program *p;
  const host_schedule_options *o;
  unsigned char *conflicts;  // [later * count + earlier]: NONE, ALIGNED, HARD
} builder;

static int find_root(const host_schedule *s, const brc_tensor *t) {
  for (int i = 0; i < s->root_count; i++)
    if (t->storage ? s->roots[i].storage == t->storage : s->roots[i].tensor == t->root) return i;
  return -1;
}

static int root_of(builder *b, const brc_tensor *t) {
  host_schedule *s = b->s;
  int i = find_root(s, t);
  if (i >= 0) return i;
  host_root *r = &s->roots[s->root_count];
  if (t->storage)
    *r = (host_root){.storage = t->storage, .elements = t->storage->elements};
  else {
    const brc_tensor *whole = t->root;
    *r = (host_root){
        .tensor = whole,
        .elements = (uint64_t)(whole->members - 1) * whole->stride + (uint64_t)whole->rows * whole->pitch,
        .rows = whole->rows,
        .pitch = whole->pitch,
        .members = whole->members,
        .stride = whole->stride,
        .keep = whole->tap};
  }
  r->first_phase = -1;
  return s->root_count++;
}

static void use_tensor(builder *b, host_step *s, int operand, const brc_tensor *t, bool reads, bool writes,
                       bool aligned) {
  host_use *u = &s->uses[operand];
  u->root = root_of(b, t);
  u->offset = t->storage ? t->offset : t->offset - t->root->offset;
  u->members = t->members;
  u->rows = t->rows;
  u->cols = t->cols;
  u->pitch = t->pitch;
  u->stride = t->stride;
  u->reads = reads;
  u->writes = writes;
  u->aligned = aligned;
  if (t->tap && !t->storage) b->s->roots[u->root].keep = true;
}

static host_step *add_step(builder *b, const brc_op *op, brc_host_op_fn *fn) {
  host_step *s = &b->s->steps[b->s->step_count++];
  *s = (host_step){.op = op, .fn = fn, .phase = -1};
  s->host.kind = op->kind;
  s->host.product = b->o->product;
  brc_op_params_to32(op->kind, &op->params, &s->host.params);
  for (int i = 0; i < HOST_OPERANDS; i++) s->uses[i].root = -1;
  return s;
}

#define BIT(i) (1u << (i))
static void use_operands(builder *b, host_step *s, unsigned skip_in, unsigned skip_out) {
  const unsigned written = brc_op_written(s->op->kind);
  const bool product = s->op->kind <= BRC_OP_dense_dw;
  for (int i = 0; i < BRC_MAX_IN; i++)
    if (s->op->in[i] && !(skip_in & BIT(i)))
      use_tensor(b, s, i, s->op->in[i], true, written >> i & 1, s->local && brc_op_rows_per_row(s->op, i) == 1);
  for (int i = 0; i < BRC_MAX_OUT; i++)
    if (s->op->out[i] && !(skip_out & BIT(i)))
      use_tensor(b, s, BRC_MAX_IN + i, s->op->out[i], product && s->op->params.dense.accumulate, true,
                 s->local && brc_op_rows_per_row(s->op, BRC_MAX_IN + i) == 1);
}

// A product of at least this many rows multiplies by a copy of the kernel, made once for all blocks. dense_dx needs it
// transposed; below float32 it is rounded; for dense, rows of a kernel a page or a good part of one apart cost more than copying them
// together. Below, or when the copy would be large, blocks do that for themselves, a panel at a time.
enum { TRANSPOSE_ROWS = 64 };
static const uint64_t COPY_MOST = (uint64_t)1 << 24;  // elements

static const brc_host_bf16 *bf16_of(const builder *b, const brc_op *op) {
  return op->params.dense.precision == BRC_BF16 ? b->o->bf16 : NULL;
}

static bool wants_copy(const builder *b, const brc_op *op) {
  if (bf16_of(b, op)) return true;
  const bool rounded = op->params.dense.precision != BRC_FP32;
  if (op->kind == BRC_OP_dense_dw && !rounded) return false;
  const brc_tensor *kernel = op->in[1], *out = op->out[0];
  if ((uint64_t)kernel->members * kernel->rows * BRC_ROUND_UP(kernel->cols, (uint32_t)ALIGN) > COPY_MOST)
    return false;
  if (rounded || op->kind == BRC_OP_dense_dx) return out->rows >= TRANSPOSE_ROWS;
  return !b->o->bits_from_blocks && out->rows >= BRC_HOST_PACK_ROWS && kernel->pitch >= BRC_HOST_PACK_PITCH;
}

// A provider whose bits depend on its blocks gets B as it lies, or transposed.
static bool wants_plain(const builder *b, const brc_op *op) {
  return b->o->bits_from_blocks && op->params.dense.precision == BRC_FP32;
}

// The step that copies a kernel; returns how the product uses the copy.
static host_use add_copy(builder *b, const brc_op *op) {
  host_schedule *s = b->s;
  const brc_host_kernels *kernels = b->o->kernels;
  const brc_tensor *kernel = op->in[1];
  const bool transposed = op->kind == BRC_OP_dense_dx;
  const uint32_t k = transposed ? kernel->cols : kernel->rows, n = transposed ? kernel->rows : kernel->cols;
  const brc_host_bf16 *bf16 = bf16_of(b, op);
  const uint32_t pitch = bf16 ? BRC_HOST_BF16_COLS(n) : BRC_ROUND_UP(n, (uint32_t)ALIGN),
                 rows = bf16 ? BRC_HOST_BF16_ROWS(k) : k;
  const uint64_t stride = (uint64_t)rows * pitch;
  host_step *t = add_step(b, op,
                          bf16                 ? (transposed ? bf16->pack_rows : bf16->pack_kernel)
                          : !transposed        ? kernels->pack_kernel
                          : wants_plain(b, op) ? kernels->transpose_rows
                                               : kernels->pack_rows);
  t->members = kernel->members;
  t->rows = kernel->rows;
  t->grain = transposed && !bf16 ? 48 : 64;
  t->work = 8.0 * kernel->rows * kernel->cols * kernel->members;
  use_tensor(b, t, 0, kernel, true, false, false);
  s->roots[s->root_count] = (host_root){.elements = stride * kernel->members, .first_phase = -1};
  host_use u = {.root = s->root_count++,
                .members = kernel->members,
                .rows = rows,
                .cols = bf16 ? pitch : n,
                .pitch = pitch,
                .stride = kernel->members > 1 ? stride : 0,
                .writes = true};
  t->uses[BRC_MAX_IN] = u;
  u.writes = false;
  u.reads = true;
  return u;
}

static void add_product(builder *b, const brc_op *op) {
  const bool copy = wants_copy(b, op);
  host_use u = {.root = -1};
  if (copy) u = add_copy(b, op);
  const brc_host_bf16 *bf16 = bf16_of(b, op);
  host_step *x = add_step(b, op, b->o->kernels->ops[op->kind]);
  x->local = brc_op_is_row_local(op->kind);
  if (op->params.dense.precision != BRC_FP32) x->host.product = bf16 ? bf16->product : b->o->kernels->product;
  use_operands(b, x, copy ? BIT(1) : 0, 0);
  if (!copy) return;
  x->host.b = wants_plain(b, op) ? BRC_HOST_B_TRANSPOSED : BRC_HOST_B_PACKED;
  x->uses[1] = u;
}

static void add_op(builder *b, const brc_op *op) {
  if (op->kind <= BRC_OP_dense_dw) {
    add_product(b, op);
  } else if (op->kind == BRC_OP_policy_loss && op->out[1]) {
    host_step *g = add_step(b, op, policy_gradient);
    g->local = true;
    use_tensor(b, g, 2, op->in[2], true, false, false);
    use_tensor(b, g, BRC_MAX_IN + 1, op->out[1], false, true, true);
    host_step *sums = add_step(b, op, b->o->kernels->ops[op->kind]);
    use_operands(b, sums, 0, BIT(1));
  } else {
    host_step *s = add_step(b, op, b->o->kernels->ops[op->kind]);
    s->local = brc_op_is_row_local(op->kind);
    use_operands(b, s, 0, 0);
  }
}

static void finish_steps(builder *b) {
  for (int i = 0; i < b->s->step_count; i++) {
    host_step *s = &b->s->steps[i];
    if (!s->rows) set_domain(s);
    if (s->fn == policy_gradient) s->rows = s->op->in[0]->rows;
    if (s->work > 0) continue;
    double flops, bytes;
    brc_op_cost(s->op, &flops, &bytes);
    s->work = flops + 2 * bytes;
  }
}

//------------------------ 3. Conflicts -----------------------------------------
enum { NONE, ALIGNED, HARD };

static bool overlap(const host_use *u, const host_use *v) {
  const uint64_t length_u = (uint64_t)(u->rows - 1) * u->pitch + u->cols,
                 length_v = (uint64_t)(v->rows - 1) * v->pitch + v->cols;
  for (uint32_t i = 0; i < u->members; i++)
    for (uint32_t j = 0; j < v->members; j++) {
      const uint64_t lo_u = u->offset + i * u->stride, lo_v = v->offset + j * v->stride;
      if (lo_u < lo_v + length_v && lo_v < lo_u + length_u) return true;
    }
  return false;
}

// Do both touch a row of the same memory for the same row of the batch?
static bool same_rows(const host_use *u, const host_use *v) {
  const uint64_t distance = u->offset > v->offset ? u->offset - v->offset : v->offset - u->offset;
  return u->aligned && v->aligned && u->pitch == v->pitch &&
         (u->stride == v->stride || u->members == 1 || v->members == 1) && distance < u->pitch;
}

static int conflict(const host_step *a, const host_step *b) {
  int worst = NONE;
  for (int i = 0; i < HOST_OPERANDS; i++)
    for (int j = 0; j < HOST_OPERANDS; j++) {
      const host_use *u = &a->uses[i], *v = &b->uses[j];
      if (u->root < 0 || u->root != v->root || (!u->writes && !v->writes) || !overlap(u, v)) continue;
      if (a->rows != b->rows || !same_rows(u, v)) return HARD;
      worst = ALIGNED;
    }
  return worst;
}

static int between(const builder *b, int earlier, int later) {
  return b->conflicts[(size_t)later * b->s->step_count + earlier];
}

static void find_conflicts(builder *b) {
  const int n = b->s->step_count;
  for (int j = 0; j < n; j++)
    for (int i = 0; i < j; i++)
      b->conflicts[(size_t)j * n + i] = (unsigned char)conflict(&b->s->steps[i], &b->s->steps[j]);
}

//------------------------ 4. Phases --------------------------------------------
static host_phase *open_phase(builder *b, bool segment) {
  host_schedule *s = b->s;
  host_phase *ph = &s->phases[s->phase_count++];
  ph->segment = segment;
  ph->steps = brc_arena_alloc(&s->mem, sizeof(int) * (size_t)s->step_count);
  return ph->steps ? ph : NULL;
}

static void join(builder *b, host_phase *ph, int step) {
  ph->steps[ph->count++] = step;
  b->s->steps[step].phase = b->s->phase_count - 1;
}

// Wide steps all of whose predecessors ran in earlier phases.
static bool ready(const builder *b, int step, int phase) {
  for (int i = 0; i < step; i++)
    if (between(b, i, step) && (b->s->steps[i].phase < 0 || b->s->steps[i].phase == phase)) return false;
  return true;
}

static brc_status make_group(builder *b) {
  host_schedule *s = b->s;
  host_phase *ph = open_phase(b, false);
  if (!ph) return brc_fail(BRC_E_NOMEM, "no memory for the schedule of program '%s'", b->p->name);
  for (int i = 0; i < s->step_count; i++)
    if (s->steps[i].phase < 0 && !s->steps[i].local && ready(b, i, s->phase_count - 1)) join(b, ph, i);
  if (!ph->count) s->phase_count--;
  return BRC_OK;
}

// Row-local steps whose predecessors ran before, or stand before them in the segment on the same rows.
static bool can_join(const builder *b, int step, int phase) {
  for (int i = 0; i < step; i++) {
    const int c = between(b, i, step);
    if (c && (b->s->steps[i].phase < 0 || (b->s->steps[i].phase == phase && c == HARD))) return false;
  }
  return true;
}

static brc_status make_segment(builder *b, bool single) {
  host_schedule *s = b->s;
  host_phase *ph = open_phase(b, true);
  if (!ph) return brc_fail(BRC_E_NOMEM, "no memory for the schedule of program '%s'", b->p->name);
  for (int i = 0; i < s->step_count; i++) {
    host_step *t = &s->steps[i];
    if (t->phase >= 0 || !t->local || (ph->count && t->rows != ph->rows) || !can_join(b, i, s->phase_count - 1))
      continue;
    ph->rows = t->rows;
    join(b, ph, i);
    if (single) break;
  }
  if (!ph->count) s->phase_count--;
  return BRC_OK;
}

static int steps_left(const host_schedule *s) {
  int n = 0;
  for (int i = 0; i < s->step_count; i++) n += s->steps[i].phase < 0;
  return n;
}

static brc_status make_phases(builder *b) {
  host_schedule *s = b->s;
  if (!b->o->fuse) {  // one by one, in program order
    for (int i = 0; i < s->step_count; i++) {
      host_phase *ph = open_phase(b, s->steps[i].local);
      if (!ph) return brc_fail(BRC_E_NOMEM, "no memory for the schedule of program '%s'", b->p->name);
      ph->rows = s->steps[i].rows;
      join(b, ph, i);
    }
    return BRC_OK;
  }
  // The first step left is always ready, so that each round makes at least one phase.
  while (steps_left(s)) {
    for (int before = -1; before != s->phase_count;) {
      before = s->phase_count;
      brc_status st = make_group(b);
      if (st) return st;
    }
    brc_status st = make_segment(b, false);
    if (st) return st;
  }
  return BRC_OK;
}

//------------------------ 5. Items ---------------------------------------------
static uint32_t gcd(uint32_t a, uint32_t b) { return b ? gcd(b, a % b) : a; }

// Rows of an item, a multiple of `step` and at most `most`: as many as amortise what streams past each item, as few as keep all threads
// busy to the end.
static uint32_t item_rows(const builder *b, uint32_t members, uint32_t rows, uint32_t step, uint32_t most) {
  enum { ITEM_ROWS = 4 };  // an item costs what so many more rows of it would: measured at W 256 on 2 cores
  const uint32_t threads = (uint32_t)b->o->threads;
  uint64_t least = UINT64_MAX;
  uint32_t best = step;
  for (uint32_t n = step; n <= most; n += step) {
    const uint64_t items = (uint64_t)members * ((rows + n - 1) / n),
                   time = (items + threads - 1) / threads * (n + ITEM_ROWS);
    if (time > least) continue;
    least = time;
    best = n;
  }
  return best;
}

// A handful of a block's activations is to stay in L2.
static void set_block(const builder *b, host_phase *ph) {
  enum { TILE_ROWS = 8, MOST_ROWS = 64 };
  uint32_t grain = 1;
  for (int i = 0; i < ph->count; i++) {
    const uint32_t g = b->s->steps[ph->steps[i]].grain;
    grain = grain / gcd(grain, g) * g;
  }
  ph->block = b->o->bits_from_blocks
                  ? BRC_ROUND_UP((uint32_t)MOST_ROWS, grain)
                  : item_rows(b, 1, ph->rows, BRC_ROUND_UP((uint32_t)TILE_ROWS, grain), MOST_ROWS);
  ph->items = (ph->rows + ph->block - 1) / ph->block;
}

// A stretch ends where the number of members changes: its steps run for one member after the other.
static brc_status set_stretches(builder *b, host_phase *ph) {
  host_step *steps = b->s->steps;
  ph->stretches = brc_arena_alloc(&b->s->mem, sizeof(int) * (size_t)(ph->count + 1));
  if (!ph->stretches) return brc_fail(BRC_E_NOMEM, "no memory for the schedule of program '%s'", b->p->name);
  for (int i = 0; i < ph->count; i++) {
    host_step *t = &steps[ph->steps[i]];
    if (!i || t->members != steps[ph->steps[i - 1]].members) ph->stretches[ph->stretch_count++] = i;
    t->stretch = ph->stretch_count - 1;
  }
  ph->stretches[ph->stretch_count] = ph->count;
  return BRC_OK;
}

static brc_status set_group_items(builder *b, host_phase *ph) {
  host_step *steps = b->s->steps;
  // Steps with large items first, so that no thread is left with one at the end.
  for (int i = 1; i < ph->count; i++)
    for (int j = i; j > 0 && steps[ph->steps[j]].work > steps[ph->steps[j - 1]].work; j--) {
      int t = ph->steps[j];
      ph->steps[j] = ph->steps[j - 1];
      ph->steps[j - 1] = t;
    }
  ph->first_item = brc_arena_alloc(&b->s->mem, sizeof(uint32_t) * (size_t)(ph->count + 1));
  if (!ph->first_item) return brc_fail(BRC_E_NOMEM, "no memory for the schedule of program '%s'", b->p->name);
  for (int i = 0; i < ph->count; i++) {
    host_step *t = &steps[ph->steps[i]];
    if (t->op->kind == BRC_OP_dense_dw && !b->o->bits_from_blocks)
      t->grain = item_rows(b, t->members, t->rows, 16, BRC_HOST_BLOCK_M);
    ph->first_item[i] = ph->items;
    ph->items += t->members * ((t->rows + t->grain - 1) / t->grain);
  }
  ph->first_item[ph->count] = ph->items;
  return BRC_OK;
}

//------------------------ 6. Memory --------------------------------------------
static void note_use(host_schedule *s, const host_use *u, int phase, int position, bool first_seen_local) {
  host_root *r = &s->roots[u->root];
  if (r->first_phase < 0) {
    r->first_phase = phase;
    r->first_step = position;
    r->block_local = first_seen_local && !r->storage && !r->keep && r->tensor;
  }
  if (phase != r->first_phase) r->block_local = false;
  if (!u->aligned || u->pitch != r->pitch || u->rows != r->rows || u->offset + u->cols > r->pitch ||
      (u->members > 1 && u->stride != r->stride))
    r->block_local = false;
  r->last_phase = phase;
  r->last_step = position;
}

static void find_lifetimes(host_schedule *s) {
  for (int ph = 0; ph < s->phase_count; ph++)
    for (int i = 0; i < s->phases[ph].count; i++) {
      const host_step *t = &s->steps[s->phases[ph].steps[i]];
      for (int k = 0; k < HOST_OPERANDS; k++)
        if (t->uses[k].root >= 0) note_use(s, &t->uses[k], ph, i, s->phases[ph].segment);
    }
  for (int i = 0; i < s->root_count; i++) {
    host_root *r = &s->roots[i];
    if (r->keep) r->last_phase = s->phase_count;
    if (!r->block_local) continue;
    // Alive from its first to its last step when it lives in one stretch: then one member's memory serves all. Otherwise
    // from the begin of the first stretch to the end of the last.
    const host_phase *ph = &s->phases[r->first_phase];
    const int a = s->steps[ph->steps[r->first_step]].stretch, b = s->steps[ph->steps[r->last_step]].stretch;
    r->one_stretch = a == b && s->steps[ph->steps[r->first_step]].members == r->members;
    r->elements = (uint64_t)ph->block * r->pitch * (r->one_stretch ? 1 : r->members);
    r->stride = r->one_stretch ? 0 : (uint64_t)ph->block * r->pitch;
    if (!r->one_stretch) {
      r->first_step = ph->stretches[a];
      r->last_step = ph->stretches[b + 1] - 1;
    }
  }
}

static bool alive_together(const host_root *a, const host_root *b) {
  if (a->block_local)
    return a->first_phase == b->first_phase && a->first_step <= b->last_step && b->first_step <= a->last_step;
  return a->first_phase <= b->last_phase && b->first_phase <= a->last_phase;
}

// The lowest place that is free for the root's whole life, the large ones first.
static brc_status place_roots(builder *b, bool block_local, uint64_t *total) {
  host_schedule *s = b->s;
  int *order = brc_arena_alloc(&s->mem, sizeof(int) * (size_t)(s->root_count + 1)), n = 0;
  if (!order) return brc_fail(BRC_E_NOMEM, "no memory for the schedule of program '%s'", b->p->name);
  for (int i = 0; i < s->root_count; i++) {
    host_root *r = &s->roots[i];
    if (r->storage || r->first_phase < 0 || r->block_local != block_local) continue;
    int at = n++;
    for (; at > 0 && s->roots[order[at - 1]].elements < r->elements; at--) order[at] = order[at - 1];
    order[at] = i;
  }
  *total = 0;
  for (int i = 0; i < n; i++) {
    host_root *r = &s->roots[order[i]];
    const uint64_t size = room(r->elements);
    r->place = 0;
    for (bool moved = true; moved;) {
      moved = false;
      for (int j = 0; j < i; j++) {
        const host_root *q = &s->roots[order[j]];
        const uint64_t end = q->place + room(q->elements);
        if (!alive_together(r, q) || r->place >= end || q->place >= r->place + size) continue;
        r->place = end;
        moved = true;
      }
    }
    if (r->place + size > *total) *total = r->place + size;
  }
  return BRC_OK;
}

//------------------------ 7. All of it -----------------------------------------
brc_status host_schedule_make(host_schedule *s, const brc_program *p, const host_schedule_options *options) {
  *s = (host_schedule){0};
  builder b = {.s = s, .p = p, .o = options};
  const size_t most = 2 * p->op_count + 1;
  s->steps = calloc(most, sizeof *s->steps);
  s->roots = calloc(p->tensor_count + p->op_count + p->storage_count + 1, sizeof *s->roots);
  s->phases = calloc(most + 1, sizeof *s->phases);
  b.conflicts = calloc(most * most, 1);
  brc_status st = BRC_OK;
  if (!s->steps || !s->roots || !s->phases || !b.conflicts) {
    st = brc_fail(BRC_E_NOMEM, "no memory for the schedule of program '%s'", p->name);
    goto out;
  }
  for (size_t i = 0; i < p->op_count; i++) add_op(&b, p->ops[i]);
  finish_steps(&b);
  find_conflicts(&b);
  st = make_phases(&b);
  for (int i = 0; !st && i < s->phase_count; i++) {
    host_phase *ph = &s->phases[i];
    if (ph->segment) {
      set_block(&b, ph);
      st = set_stretches(&b, ph);
    } else {
      st = set_group_items(&b, ph);
    }
  }
  if (st) goto out;
  find_lifetimes(s);
  st = place_roots(&b, false, &s->arena_elements);
  if (!st) st = place_roots(&b, true, &s->block_elements);
out:
  free(b.conflicts);
  if (st) host_schedule_free(s);
  return st;
}

void host_schedule_free(host_schedule *s) {
  free(s->steps);
  free(s->roots);
  free(s->phases);
  brc_arena_free(&s->mem);
  *s = (host_schedule){0};
}

float *host_root_data(const host_root *r, float *arena) {
  return r->storage ? host_buffer_data(r->storage->buffer) : arena + r->place;
}
