// Products on matrix units (units.c): one program per family of kernels and precision.
//
// Off until exact products of every tile, layout and precision were right on this device with this driver; the verdict is kept
// beside the compiled kernels. A precision whose products are wrong, or whose program the driver does not build, is refused in
// the device's note, and the others go on.
//
// tf32 reads float32 where it lies. For bf16 and fp16 a factor is copied first, rounded, on GPUs by the op that makes it where that can
// (norm, norm_backward); the copy serves every product until something writes what it was made of, then its memory serves another.
// Parameters have copies that last (shadows): the AdamW that steps them writes these too, so that no update makes them anew.
//
// BRC_EMULATE_MMA, for tests, runs all of it on devices without matrix units: "1" (all of NVIDIA's), "hopper" (what a Hopper takes of it) or
// the name of another unit; "wrong" and "hopper-wrong": with products, or wgmma's, that are to be refused.
#ifdef BRC_HAVE_OPENCL
#include "backends/opencl/opencl.h"
#include "backends/product_check.h"
#include "base/cache.h"
#include "graph/hazard.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { UNIT, WGMMA };  // families of kernels: the device's unit's, and Hopper's beside them

static size_t up(size_t a, size_t b) { return (a + b - 1) / b; }

//------------------------ 1. Where ---------------------------------------------
static bool wrong_on_purpose(int family) {
  const char *name = ocl_emulated();
  return name && (!strcmp(name, "wrong") || (family == WGMMA && !strcmp(name, "hopper-wrong")));
}

bool ocl_mma_device(const ocl_device *d) {
  ocl_unit u;
  return ocl_unit_find(d, &u);
}

// Hopper's instructions are of no other generation. Its compiler does not know them. Factors are cast and parts added by the unit's.
static const ocl_unit wgmma = {
    "wgmma", "cl/gemm_nv_wgmma.cl", "", "", 1u << BRC_TF32 | 1u << BRC_BF16 | 1u << BRC_FP16, 256, 9};
static const char *const wgmma_prebuilt[BRC_PRECISION_COUNT] = {[BRC_TF32] = "cl/prebuilt/wgmma_tf32.ptx",
                                                                [BRC_BF16] = "cl/prebuilt/wgmma_bf16.ptx",
                                                                [BRC_FP16] = "cl/prebuilt/wgmma_fp16.ptx"};

static const ocl_unit *family_of(const ocl_device *d, int family) {
  return family == UNIT ? &d->mma.unit : &wgmma;
}

static bool family_here(const ocl_device *d, int family) {
  return family == UNIT || (d->mma.unit.generation && (ocl_emulated() || d->mma.unit.generation == 9));
}

// On Hopper the unit's program has small tiles alone, as wgmma has large ones, unless that is known to be wrong: the driver needs 5 s for
// all of them, 1 s for those.
static bool small_tiles(const ocl_device *d, uint32_t precision) {
  return d->mma.unit.generation == 9 && !((d->mma.known & ~d->mma.trusted[WGMMA]) >> precision & 1);
}

static brc_status program_of(ocl_device *d, int family, brc_precision precision) {
  const ocl_unit *u = family_of(d, family);
  cl_program *p = &d->mma.programs[family][precision];
  if (*p) return BRC_OK;
  if (family == WGMMA && !ocl_emulated()) return ocl_program_prebuilt(d, wgmma_prebuilt[precision], p);
  char options[128];
  ocl_unit_options(u, precision, family == UNIT && small_tiles(d, precision), options, sizeof options);
  return ocl_program_make(d, &u->source, 1, options, p);
}

void ocl_mma_close(ocl_device *d) {
  for (int f = 0; f < OCL_MMA_FAMILIES; f++)
    for (int i = 0; i < BRC_PRECISION_COUNT; i++) ocl_program_drop(d, &d->mma.programs[f][i]);
}

//------------------------ 2. Tiles ---------------------------------------------
// In the order of preference: larger ones read less, but there must be enough for all compute units.
static const struct mma_tile {
  int family;
  uint32_t m, n;
  uint32_t fill;           // least number of tiles, in hundredths of the compute units
  const char *kernels[3];  // nn, nt, tn
} tiles[] = {{WGMMA, 128, 256, 90, {"wgmma_nn_128x256", "wgmma_nt_128x256", "wgmma_tn_128x256"}},
             {WGMMA, 128, 128, 90, {"wgmma_nn_128x128", "wgmma_nt_128x128", "wgmma_tn_128x128"}},
             {WGMMA, 128, 64, 45, {"wgmma_nn_128x64", "wgmma_nt_128x64", "wgmma_tn_128x64"}},
             {UNIT, 128, 128, 100, {"mma_nn_128x128", "mma_nt_128x128", "mma_tn_128x128"}},
             {UNIT, 128, 64, 100, {"mma_nn_128x64", "mma_nt_128x64", "mma_tn_128x64"}},
             {UNIT, 64, 64, 0, {"mma_nn_64x64", "mma_nt_64x64", "mma_tn_64x64"}}};
// A tile is named as its nn kernel.
const char *const *ocl_mma_tiles(const ocl_device *d) {
  static const char *names[BRC_COUNT(tiles) + 1];
  for (size_t i = 0; i < BRC_COUNT(tiles); i++) names[i] = tiles[i].kernels[0];
  (void)d;
  return names;
}

static bool is_built(const ocl_device *d, const struct mma_tile *t, uint32_t precision) {
  return t->family != UNIT || t->m < 128 || !small_tiles(d, precision);
}

bool ocl_mma_takes(const ocl_device *d, const ocl_gemm *g) {
  const struct mma_tile *t = g->tile ? &tiles[g->tile - 1] : NULL;
  return (d->mma.trusted[t ? t->family : UNIT] >> g->p.precision & 1) && (!t || is_built(d, t, g->p.precision));
}

enum { THREADS = 128 /* of copies and sums */, SPLIT_MOST = 16, SPLIT_LEAST_K = 256 };

static size_t tiles_of(const struct mma_tile *t, const ocl_gemm *g) {
  return up(g->p.m, t->m) * up(g->p.n, t->n) * g->p.batch;
}

static bool tile_takes(const ocl_device *d, const struct mma_tile *t, const ocl_gemm *g) {
  return (d->mma.trusted[t->family] >> g->p.precision & 1) && is_built(d, t, g->p.precision) &&
         2 * g->p.m > t->m && 2 * g->p.n > t->n &&
         100 * tiles_of(t, g) >= (size_t)t->fill * d->base.info.compute_units;
}

static const struct mma_tile *tile_of(const ocl_device *d, const ocl_gemm *g) {
  if (d->mma.forced_tile) return &tiles[d->mma.forced_tile - 1];
  if (g->tile) return &tiles[g->tile - 1];
  const struct mma_tile *t = tiles, *last = tiles + BRC_COUNT(tiles) - 1;
  while (t < last && !tile_takes(d, t, g)) t++;
  return t;
}

// Elements of a slot of 16 bytes, and of a step along k: as in gemm_nv.cl and gemm_nv_wgmma.cl.
static uint32_t per_slot(brc_precision precision) { return precision == BRC_TF32 ? 4 : 8; }
static uint32_t step_k(int family, brc_precision precision) {
  return (family == WGMMA ? 8 : 4) * per_slot(precision);
}

// How much of k each part takes: all of it where there are tiles enough to fill the device, two for each compute unit (wgmma: the one that
// it has room for). Three quarters of a tile for each are enough: on an H100 parts cost more there than they give (W 512, 128 x 64:
// 21 us in two parts, 15 in one).
static uint32_t split_k(const ocl_device *d, const ocl_gemm *g, const struct mma_tile *t) {
  const uint32_t step = step_k(t->family, (brc_precision)g->p.precision);
  size_t splits = d->mma.forced_splits;
  if (!splits) {
    splits = (t->family == WGMMA ? 1 : 2) * (size_t)d->base.info.compute_units / tiles_of(t, g);
    if (100 * tiles_of(t, g) >= 75 * (size_t)d->base.info.compute_units) splits = 1;
    if (splits > g->p.k / SPLIT_LEAST_K) splits = g->p.k / SPLIT_LEAST_K;
    if (splits > SPLIT_MOST) splits = SPLIT_MOST;
  }
  return (uint32_t)up(up(g->p.k, splits ? splits : 1), step) * step;
}

//------------------------ 3. Memory of a compiled program ----------------------
// A factor as a product reads it.
typedef struct factor {
  const brc_tensor *tensor;
  uint32_t members, rows, cols, ld, stride;
  brc_precision precision;
  bool turned;  // read as [cols, rows]
  float scale;
} factor;

// Memory that a copy, or parts of sums, hold from op to op.
typedef struct room {
  brc_storage storage;
  brc_buffer buffer;
  brc_tensor tensor;
  factor copied;  // tensor NULL: no copy
  int last;       // the last op that uses it
  struct room *next;
} room;

void ocl_mma_free(brc_exec *x) {
  for (room *r = x->rooms, *next; r; r = next) {
    next = r->next;
    ocl_buffer_destroy(&r->buffer);
    free(r);
  }
  for (ocl_shadow *s = x->shadows, *next; s; s = next) {
    next = s->next;
    if (s->fill.kernel) ocl.clReleaseKernel(s->fill.kernel);
    ocl_buffer_destroy(&s->buffer);
    free(s);
  }
  x->rooms = NULL;
  x->shadows = NULL;
}

static factor factor_of(const brc_op *op, int which) {
  const struct brc_gemm_params *p = &op->params.dense;
  const bool ta = op->kind == BRC_OP_dense_dw, tb = op->kind == BRC_OP_dense_dx;
  factor f = {.tensor = op->in[which], .precision = (brc_precision)p->precision};
  if (which == 0)
    f.rows = ta ? p->k : p->m, f.cols = ta ? p->m : p->k, f.ld = p->lda, f.stride = p->stride_a;
  else
    f.rows = tb ? p->n : p->k, f.cols = tb ? p->k : p->n, f.ld = p->ldb, f.stride = p->stride_b;
  f.members = f.stride ? p->batch : 1;
  f.scale = f.precision == BRC_TF32 ? 1 : (float)(which == 0 ? p->scale_a : p->scale_b);
  return f;
}

static bool same(const factor *a, const factor *b) {
  return a->tensor->storage == b->tensor->storage && a->tensor->offset == b->tensor->offset &&
         a->members == b->members && a->rows == b->rows && a->cols == b->cols && a->ld == b->ld &&
         a->stride == b->stride && a->precision == b->precision && a->turned == b->turned &&
         a->scale == b->scale;
}

static bool overwrites(const brc_op *op, const brc_access *range) {
  brc_access uses[BRC_MAX_IN + BRC_MAX_OUT];
  const int count = brc_op_accesses(op, uses);
  for (int i = 0; i < count; i++)
    if (uses[i].writes && brc_access_conflict(&uses[i], range)) return true;
  return false;
}

// The last op that takes this factor before something writes to it. The next run of the program makes its copies anew.
static int last_use(const brc_exec *x, const brc_op *op, const factor *f) {
  const uint64_t first = f->tensor->offset, end = first + (f->members - 1) * (uint64_t)f->stride +
                                                  (f->rows - 1) * (uint64_t)f->ld + f->cols;
  const brc_access range = {f->tensor->storage, first, end, true, false};
  int last = op->index;
  for (size_t i = (size_t)op->index; i < x->program->op_count && !overwrites(x->program->ops[i], &range); i++) {
    if (i + 1 == x->program->op_count) break;
    const brc_op *later = x->program->ops[i + 1];
    for (int which = 0; which < 2 && later->kind <= BRC_OP_dense_dw; which++) {
      const factor g = factor_of(later, which);
      if (same(f, &g)) last = later->index;
    }
  }
  return last;
}

// Free memory of at least so many floats from `op` to the op numbered `last`; the smallest that is there, or new.
static brc_status room_get(brc_exec *x, const brc_op *op, uint64_t floats, int last, room **out) {
  room *best = NULL;
  for (room *r = x->rooms; r; r = r->next)
    if (r->last < op->index && r->buffer.elements >= floats &&
        (!best || r->buffer.elements < best->buffer.elements))
      best = r;
  if (!best) {
    best = calloc(1, sizeof *best);
    if (!best) return brc_fail(BRC_E_NOMEM, "OpenCL: out of memory");
    const brc_status st = ocl_buffer_create(x->device, "factors of products", floats, &best->buffer);
    if (st) {
      free(best);
      return st;
    }
    best->next = x->rooms;
    x->rooms = best;
    best->storage = (brc_storage){.name = "factors", .elements = floats, .buffer = &best->buffer};
    best->tensor = (brc_tensor){.name = "factors", .storage = &best->storage};
  }
  best->last = last;
  best->copied = (factor){0};
  *out = best;
  return BRC_OK;
}

//------------------------ 4. The commands --------------------------------------
static ocl_call call_of(const brc_exec *x, int family, const char *kernel, const struct brc_gemm_params32 *p) {
  return (ocl_call){.name = kernel,
                    .program = x->device->mma.programs[family][p->precision],
                    .params = p,
                    .params_bytes = sizeof *p,
                    .uints = sizeof *p / 4,
                    .groups = {1, 1, 1}};
}

static uint32_t copy_pitch(const factor *f) {
  return (uint32_t)BRC_ROUND_UP(f->turned ? f->rows : f->cols, per_slot(f->precision));
}
static uint32_t copy_rows(const factor *f) { return f->turned ? f->cols : f->rows; }

// A copy of a factor, made here if there is none.
static brc_status copy_get(brc_exec *x, const brc_op *op, const factor *f, const brc_tensor **out) {
  for (room *r = x->rooms; r; r = r->next)
    if (r->copied.tensor && r->last >= op->index && same(&r->copied, f)) {
      *out = &r->tensor;
      return BRC_OK;
    }
  const uint32_t pitch = copy_pitch(f), stride = copy_rows(f) * pitch;
  room *r;
  brc_status st =
      room_get(x, op, (uint64_t)f->members * stride * 4 / per_slot(f->precision), last_use(x, op, f), &r);
  if (st) return st;
  r->copied = *f;
  *out = &r->tensor;
  const struct brc_gemm_params32 p = {.m = f->rows,
                                      .n = f->cols,
                                      .lda = f->ld,
                                      .ldb = pitch,
                                      .stride_a = f->stride,
                                      .stride_b = stride,
                                      .precision = f->precision,
                                      .scale_a = f->scale};
  ocl_call c = call_of(x, UNIT, f->turned ? "mma_turn" : "mma_cast", &p);
  c.operands[0] = f->tensor;
  c.operands[1] = &r->tensor;
  c.operand_count = 2;
  c.groups[0] = f->turned ? up(f->cols, 32) : up((size_t)f->rows * pitch / per_slot(f->precision), THREADS);
  c.groups[1] = f->turned ? up(f->rows, 32) : 1;
  c.groups[2] = f->members;
  c.local = THREADS;
  return ocl_call_add(x, op, &c);
}

const ocl_shadow *ocl_mma_shadow(const brc_exec *x, const brc_storage *of) {
  const ocl_shadow *s = x->shadows;
  while (s && s->of != of) s = s->next;
  return s;
}

// Does an AdamW behind `op` step all of this storage, and nothing else in the program write to it?
static bool stepped_behind(const brc_exec *x, const brc_op *op, const brc_storage *of) {
  bool found = false;
  for (size_t i = 0; of && i < x->program->op_count; i++) {
    const brc_op *writer = x->program->ops[i];
    if (!overwrites(writer, &(brc_access){of, 0, UINT64_MAX, true, false})) continue;
    if (writer->kind != BRC_OP_adamw || writer->index < op->index) return false;
    const brc_tensor *t = writer->in[1]->storage == of ? writer->in[1] : writer->in[4];
    if (t->offset || t->cols != of->elements) return false;
    found = true;
  }
  return found;
}

static brc_status shadow_add(brc_exec *x, const brc_op *op, const brc_storage *of, brc_precision precision) {
  ocl_shadow *s = calloc(1, sizeof *s);
  if (!s) return brc_fail(BRC_E_NOMEM, "OpenCL: out of memory");
  *s = (ocl_shadow){.of = of, .precision = precision, .seen = UINT64_MAX, .next = x->shadows};
  x->shadows = s;
  brc_status st = ocl_buffer_create(x->device, "parameters as factors", of->elements / 2, &s->buffer);
  if (st) return st;
  s->storage = (brc_storage){.name = "shadow", .elements = of->elements / 2, .buffer = &s->buffer};
  s->tensor = (brc_tensor){.name = "shadow", .storage = &s->storage};
  // The whole storage, as rows of one slot.
  const brc_tensor whole = {.name = "parameters", .storage = (brc_storage *)of};
  const uint32_t slot = per_slot(precision);
  const struct brc_gemm_params32 p = {.m = (uint32_t)(of->elements / slot),
                                      .n = slot,
                                      .lda = slot,
                                      .ldb = slot,
                                      .precision = precision,
                                      .scale_a = 1};
  ocl_call c = call_of(x, UNIT, "mma_cast", &p);
  c.operands[0] = &whole;
  c.operands[1] = &s->tensor;
  c.operand_count = 2;
  c.groups[0] = up(p.m, THREADS);
  c.local = THREADS;
  st = ocl_call_add(x, op, &c);
  if (!st) s->fill = x->steps[--x->step_count];  // no step of the program
  return st;
}

// Two-byte parameters that lie in a shadow as they do in their storage.
static brc_status shadow_get(brc_exec *x, const brc_op *op, const factor *f, brc_tensor *view, bool *found) {
  const brc_storage *of = f->tensor->storage;
  *found = false;
  if (x->device->class != OCL_GPU || f->turned || f->scale != 1 || (f->tensor->offset | f->ld | f->stride) % 8)
    return BRC_OK;
  if (!ocl_mma_shadow(x, of)) {
    if (!stepped_behind(x, op, of) || of->elements % 8 || of->elements / 8 > UINT32_MAX) return BRC_OK;
    const brc_status st = shadow_add(x, op, of, f->precision);
    if (st) return st;
  }
  const ocl_shadow *s = ocl_mma_shadow(x, of);
  if (s->precision != f->precision) return BRC_OK;
  *view = s->tensor;
  view->offset = f->tensor->offset / 2;  // counted in floats
  *found = true;
  return BRC_OK;
}

// What the kernel reads: the factor where it lies, if it is float32 whose rows start on 16 bytes, `view` of a shadow, or a copy.
static brc_status operand_get(brc_exec *x, const brc_op *op, int which, bool turned, brc_tensor *view,
                              const brc_tensor **out, uint32_t *ld, uint32_t *stride) {
  factor f = factor_of(op, which);
  f.turned = turned;
  *out = f.tensor;
  *ld = f.ld;
  *stride = f.stride;
  if (!turned && f.precision == BRC_TF32 && f.tensor->offset % 4 == 0 && f.ld % 4 == 0 && f.stride % 4 == 0)
    return BRC_OK;
  if (f.precision != BRC_TF32) {
    bool found;
    const brc_status st = shadow_get(x, op, &f, view, &found);
    if (found) *out = view;
    if (st || found) return st;
  }
  *ld = copy_pitch(&f);
  *stride = f.members > 1 ? copy_rows(&f) * *ld : 0;
  return copy_get(x, op, &f, out);
}

// Is the factor all of an activation whose rows stand one behind the other, and its copy without padding?
static bool is_all_of(const factor *f, const brc_tensor *y) {
  return f->tensor->storage == y->storage && f->tensor->offset == y->offset && f->members == y->members &&
         f->rows == y->rows && f->cols == y->cols && f->ld == y->pitch &&
         (f->members == 1 || f->stride == (uint64_t)f->rows * f->ld) && copy_pitch(f) == f->cols;
}

brc_status ocl_mma_copy(brc_exec *x, const brc_op *op, const brc_tensor *y, ocl_copy *out) {
  *out = (ocl_copy){.scale = 1};
  if (x->device->class != OCL_GPU) return BRC_OK;
  const brc_access range = {y->storage, y->offset, y->offset + brc_tensor_elements(y), true, false};
  for (size_t i = (size_t)op->index + 1; i < x->program->op_count; i++) {
    const brc_op *later = x->program->ops[i];
    for (int which = 0; which < 2 && later->kind <= BRC_OP_dense_dw; which++) {
      const factor f = factor_of(later, which);
      if (f.precision < BRC_BF16 || !is_all_of(&f, y) || !ocl_gemm_by_mma(x->device, later)) continue;
      room *r;
      const brc_status st =
          room_get(x, op, (uint64_t)f.members * f.rows * f.cols / 2, last_use(x, later, &f), &r);
      if (st) return st;
      r->copied = f;
      *out = (ocl_copy){&r->tensor, f.precision, f.scale};
      return BRC_OK;
    }
    if (overwrites(later, &range)) break;
  }
  return BRC_OK;
}

brc_status ocl_mma_add(brc_exec *x, const brc_op *op, const ocl_gemm *g) {
  const struct mma_tile *t = tile_of(x->device, g);
  struct brc_gemm_params32 p = g->p;
  const uint32_t part = split_k(x->device, g, t), splits = (uint32_t)up(p.k, part);
  if (p.precision == BRC_TF32) p.scale_a = p.scale_b = 1;
  p.k -= wrong_on_purpose(t->family);  // the last one is forgotten
  // Hopper's tf32 (gemm_nv_wgmma.cl): nn is computed with rows and columns swapped, tn takes its second factor turned.
  const bool k_major = t->family == WGMMA && p.precision == BRC_TF32, swapped = k_major && !g->ta && !g->tb;
  const brc_tensor *a, *b;
  brc_tensor views[2];
  room *work = NULL;
  brc_status st = program_of(x->device, UNIT, (brc_precision)p.precision);
  if (!st) st = program_of(x->device, t->family, (brc_precision)p.precision);
  if (!st) st = operand_get(x, op, 0, false, &views[0], &a, &p.lda, &p.stride_a);
  if (!st) st = operand_get(x, op, 1, k_major && g->ta, &views[1], &b, &p.ldb, &p.stride_b);
  if (!st && splits > 1) st = room_get(x, op, (uint64_t)splits * p.batch * p.m * p.n, op->index, &work);
  if (st) return st;
  ocl_call c = call_of(x, t->family, t->kernels[g->tb ? 1 : g->ta ? 2 : 0], &p);
  const brc_tensor *const operands[] = {a, b, g->bias, g->c, work ? &work->tensor : NULL};
  memcpy(c.operands, operands, sizeof operands);
  c.operand_count = BRC_COUNT(operands);
  c.extra[0] = splits;
  c.extra[1] = part;
  c.extra_count = 2;
  c.groups[0] = up(p.n, swapped ? t->m : t->n);
  c.groups[1] = up(p.m, swapped ? t->n : t->m);
  c.groups[2] = (size_t)p.batch * splits;
  c.local = family_of(x->device, t->family)->threads;
  st = ocl_call_add(x, op, &c);
  if (st || splits == 1) return st;
  c.name = "mma_sum";
  c.program = x->device->mma.programs[UNIT][p.precision];
  c.extra_count = 1;
  c.groups[0] = up((size_t)p.m * p.n, THREADS);
  c.groups[1] = 1;
  c.groups[2] = p.batch;
  c.local = THREADS;
  return ocl_call_add(x, op, &c);
}

//------------------------ 5. Trust ---------------------------------------------
// Every tile, larger than one and with edges on both sides, over more steps than there are stages; then parts of k.
static brc_status check_products(ocl_device *d, int family, brc_precision precision) {
  brc_status st = program_of(d, family, precision);
  const uint32_t step = step_k(family, precision);
  for (uint32_t t = 0; !st && t < BRC_COUNT(tiles); t++) {
    if (tiles[t].family != family || !is_built(d, &tiles[t], precision)) continue;
    d->mma.forced_tile = t + 1;
    d->mma.forced_splits = 1;
    st = brc_check_products(&d->base, precision, tiles[t].m + 13, tiles[t].n + 29, 10 * step + 5, 2);
    d->mma.forced_splits = 3;
    if (!st) st = brc_check_products(&d->base, precision, 50, 101, 7 * step + 3, 2);
  }
  d->mma.forced_tile = d->mma.forced_splits = 0;
  return st;
}

// One line of what was wrong, for the device's note.
static void refuse(brc_device_info *info, const char *family, brc_precision precision) {
  const size_t used = strlen(info->note);
  char why[120];
  snprintf(why, sizeof why, "%s", brc_error());
  why[strcspn(why, "\n")] = 0;
  snprintf(info->note + used, sizeof info->note - used, "%s%s refused for %s: %s", used ? "; " : "", family,
           brc_precision_names[precision], why);
}

// What was found out before, about the precisions `known`.
typedef struct verdict {
  unsigned known, trusted[OCL_MMA_FAMILIES];
  char note[256];
} verdict;

static brc_status verdict_begin(brc_cache *c, const ocl_device *d) {
  const char *files[] = {d->mma.unit.source, wgmma.source, wgmma_prebuilt[BRC_TF32], wgmma_prebuilt[BRC_BF16],
                         wgmma_prebuilt[BRC_FP16]};
  char options[160];
  ocl_unit_options(&d->mma.unit, BRC_FP32, false, options, sizeof options);
  if (ocl_emulated())
    snprintf(options + strlen(options), sizeof options - strlen(options), " %s", ocl_emulated());
  return ocl_cache_begin(c, d, files, d->mma.unit.generation ? BRC_COUNT(files) : 1, options, "BRCMMA5");
}

static void verdict_read(ocl_device *d) {
  brc_cache c;
  char *file = NULL;
  size_t bytes;
  if (!verdict_begin(&c, d)) {
    const verdict *v = brc_cache_read(&c, &file, &bytes);
    if (v && bytes == sizeof *v) {
      d->mma.known = v->known;
      memcpy(d->mma.trusted, v->trusted, sizeof v->trusted);
      memcpy(d->base.info.note, v->note, sizeof v->note);
    }
  }
  free(file);
}

static void verdict_write(const ocl_device *d) {
  brc_cache c;
  verdict v = {.known = d->mma.known};
  memcpy(v.trusted, d->mma.trusted, sizeof v.trusted);
  memcpy(v.note, d->base.info.note, sizeof v.note);
  if (!verdict_begin(&c, d) && brc_cache_prepare(&c)) brc_cache_write(&c, &v, sizeof v);
}

static bool check_family(ocl_device *d, int family, brc_precision precision) {
  const unsigned bit = 1u << precision;
  d->mma.trusted[UNIT] |= bit;  // so that the check's products come here
  if (!check_products(d, family, precision)) {
    d->mma.trusted[family] |= bit;
    return true;
  }
  d->mma.trusted[family] &= ~bit;
  refuse(&d->base.info, family_of(d, family)->name, precision);
  return false;
}

// The unit's first, as Hopper's own cast and add with its kernels. Where these are refused the unit's large tiles take their place.
static void check_precision(ocl_device *d, brc_precision precision) {
  if (!check_family(d, UNIT, precision) || !family_here(d, WGMMA) || check_family(d, WGMMA, precision)) return;
  const bool had_all = !small_tiles(d, precision);
  d->mma.known |= 1u << precision;
  if (had_all) return;
  ocl_program_drop(d, &d->mma.programs[UNIT][precision]);
  check_family(d, UNIT, precision);
}

void ocl_mma_trust(ocl_device *d, unsigned precisions) {
  ocl_unit_find(d, &d->mma.unit);
  if (brc_env_is_one("BRC_TRUST_PRODUCTS")) {
    for (int f = 0; f < OCL_MMA_FAMILIES; f++)
      d->mma.trusted[f] = family_here(d, f) ? family_of(d, f)->precisions : 0;
    return;
  }
  verdict_read(d);
  const unsigned missing = precisions & d->mma.unit.precisions & ~d->mma.known;
  if (!missing) return;
  if (!d->context) {
    d->base.info.unchecked = true;
    return;
  }
  for (int p = 0; p < BRC_PRECISION_COUNT; p++)
    if (missing >> p & 1) check_precision(d, (brc_precision)p);
  d->mma.known |= missing;
  verdict_write(d);
}
#endif
