// Providers of products: rows of a table (where can it run, which products, how to append its dispatches).
//   coopmat  shaders/gemm_coopmat.comp: fp16 and bf16 on matrix units; off until its products are seen to be right
//   tiled    shaders/gemm.comp: float32, everywhere. BRC_EMULATE_PRECISION=1, for tests: the other precisions too, their
//            rounding done in software
// Vulkan has no tf32: no provider takes it but by emulation.
#ifdef BRC_HAVE_VULKAN
#include "backends/product_check.h"
#include "backends/vulkan/vulkan.h"

#include <stdio.h>
#include <string.h>

// Bits of the shaders' FLAGS; 16 is VECTORS_C of gemm.comp and SCALED of gemm_coopmat.comp.
enum { TRANSPOSED_A = 1, TRANSPOSED_B = 2, VECTORS_A = 4, VECTORS_B = 8, VECTORS_C = 16, SCALED = 16 };

static uint64_t up(uint64_t a, uint64_t b) { return (a + b - 1) / b; }

// Four neighbours of an operand lie on 16 bytes, as buffers do, in every row and member.
static bool quads(const brc_tensor *t, uint32_t ld, uint32_t stride) {
  return t->offset % 4 == 0 && ld % 4 == 0 && stride % 4 == 0;
}

static uint32_t flags_of(const vk_gemm *g) {
  return (g->ta ? TRANSPOSED_A : 0) | (g->tb ? TRANSPOSED_B : 0) |
         (quads(g->a, g->p.lda, g->p.stride_a) ? VECTORS_A : 0) |
         (quads(g->b, g->p.ldb, g->p.stride_b) ? VECTORS_B : 0);
}

// Compute units, or a guess where the driver does not tell.
static uint32_t units_of(const vk_device *d) {
  return d->base.info.compute_units ? d->base.info.compute_units : 32;
}

static uint64_t tiles_of(const vk_gemm *g, uint32_t tile_m, uint32_t tile_n) {
  return up(g->p.m, tile_m) * up(g->p.n, tile_n) * g->p.batch;
}

static vk_call call_of(const vk_gemm *g, const char *module, uint32_t tile_m, uint32_t tile_n, uint32_t local) {
  return (vk_call){.module = module,
                   .operands = {g->a, g->b, g->bias, g->c},
                   .operand_count = 4,
                   .params = &g->p,
                   .params_bytes = sizeof g->p,
                   .groups = {up(g->p.n, tile_n), up(g->p.m, tile_m), g->p.batch},
                   .local = local};
}

//------------------------ 1. tiled ---------------------------------------------
// Tiles in the order of preference: larger ones read less, but must be enough for all compute units. The last is for thin
// products: its work-items share the sum over k.
static const struct tiled_shape {
  const char *module;
  uint32_t tile, lanes;
  uint32_t per_unit;  // work-groups that a compute unit wants
} tiled_shapes[] = {
    {"gemm_128", 128, 256, 1}, {"gemm_64", 64, 256, 1}, {"gemm_32", 32, 64, 2}, {"gemm_16", 16, 256, 0}};
// For CPUs' drivers.
static const struct tiled_shape tiled_few = {"gemm_few", 32, 16, 0};

static bool tiled_device(const vk_device *d) {
  (void)d;
  return true;
}

static bool tiled_takes(const vk_device *d, const vk_gemm *g) {
  (void)d;
  return g->p.precision == BRC_FP32 || brc_emulate_precision();
}

static const char *const *tiled_tiles(const vk_device *d) {
  static const char *const names[BRC_COUNT(tiled_shapes) + 1] = {"128", "64", "32", "16"};
  return d->few_lanes ? NULL : names;
}

static brc_status tiled_add(brc_exec *x, const brc_op *op, const vk_gemm *g) {
  const vk_device *d = vk_exec_device(x);
  const struct tiled_shape *s = d->few_lanes ? &tiled_few : tiled_shapes;
  if (g->tile) s = &tiled_shapes[g->tile - 1];
  while (!g->tile && tiles_of(g, s->tile, s->tile) < (uint64_t)s->per_unit * units_of(d)) s++;
  vk_call c = call_of(g, s->module, s->tile, s->tile, s->lanes);
  const bool vectors = g->p.n % 4 == 0 && quads(g->c, g->p.ldc, g->p.stride_c) &&
                       (!g->bias || quads(g->bias, 0, g->p.stride_bias));
  const uint32_t constants[] = {flags_of(g) | (vectors ? VECTORS_C : 0), g->p.precision};
  memcpy(c.constants, constants, sizeof constants);
  c.constant_count = BRC_COUNT(constants);
  return vk_call_add(x, op, &c);
}

//------------------------ 2. coopmat -------------------------------------------
// How many matrices along m and n a subgroup owns, and the grid of subgroups that share a tile; in the order of preference. Kernels and
// tiles are called by the matrices of a subgroup: how large they are is the device's.
static const struct coopmat_tile {
  const char *fp16, *bf16;  // modules
  uint32_t count_m, count_n, subgroups_m, subgroups_n;
} coopmat_tiles[] = {{"gemm_coopmat_fp16_4x2", "gemm_coopmat_bf16_4x2", 4, 2, 2, 4},
                     {"gemm_coopmat_fp16_2x2", "gemm_coopmat_bf16_2x2", 2, 2, 2, 2},
                     {"gemm_coopmat_fp16_1x1", "gemm_coopmat_bf16_1x1", 1, 1, 2, 2}};
enum { COOPMAT_STEP_K = 32, COOPMAT_QUADS_MOST = 8 };  // of the shader

static uint32_t coopmat_m(const struct coopmat_tile *t, const vk_matrix_shape *s) {
  return t->count_m * t->subgroups_m * s->m;
}
static uint32_t coopmat_n(const struct coopmat_tile *t, const vk_matrix_shape *s) {
  return t->count_n * t->subgroups_n * s->n;
}

// Intel's matrix units want narrow subgroups where its compilers default to wide ones.
static uint32_t coopmat_subgroup(const vk_device *d) {
  const bool intel = d->properties.vendorID == 0x8086;
  return intel && d->subgroup_min <= 16 && 16 <= d->subgroup_max ? 16 : d->subgroup_size;
}

static uint32_t coopmat_lanes(const vk_device *d, const struct coopmat_tile *t) {
  return coopmat_subgroup(d) * t->subgroups_m * t->subgroups_n;
}

static uint32_t coopmat_shared_bytes(const struct coopmat_tile *t, const vk_matrix_shape *s) {
  // Rows of k or of the tile, 8 elements to spare in each, whichever is more; two copies of two bytes.
  const uint32_t by_k = COOPMAT_STEP_K + 8, tile_m = coopmat_m(t, s), tile_n = coopmat_n(t, s);
  const uint32_t m = tile_m * by_k, n = tile_n * by_k;
  const uint32_t m_along = COOPMAT_STEP_K * (tile_m + 8), n_along = COOPMAT_STEP_K * (tile_n + 8);
  return 4 * ((m > m_along ? m : m_along) + (n > n_along ? n : n_along)) +
         4 * t->subgroups_m * t->subgroups_n * s->m * s->n;
}

// Do a work-group's lanes share a step of so many rows in whole quads, and in no more than a lane has registers for?
static bool coopmat_quads(uint32_t rows, uint32_t lanes) {
  const uint32_t quads = rows * COOPMAT_STEP_K / 4;
  return quads % lanes == 0 && quads / lanes <= COOPMAT_QUADS_MOST;
}

// Can subgroups of this device hold such a tile in matrices of such a shape?
static bool coopmat_fits(const vk_device *d, const struct coopmat_tile *t, const vk_matrix_shape *s) {
  const uint32_t lanes = coopmat_lanes(d, t);
  return COOPMAT_STEP_K % s->k == 0 && s->n % 4 == 0 && s->m % 4 == 0 && s->k % 4 == 0 &&
         lanes <= d->base.info.max_work_group && coopmat_quads(coopmat_m(t, s), lanes) &&
         coopmat_quads(coopmat_n(t, s), lanes) && coopmat_shared_bytes(t, s) <= d->shared_bytes &&
         t->count_m * t->count_n * s->m * s->n <= 64 * coopmat_subgroup(d);  // registers of each lane for sums
}

// The largest shape of matrices that fits; NULL if none does.
static const vk_matrix_shape *coopmat_shape(const vk_device *d, const struct coopmat_tile *t,
                                            brc_precision type) {
  const vk_matrix_shape *best = NULL;
  for (uint32_t i = 0; i < d->shape_count; i++) {
    const vk_matrix_shape *s = &d->shapes[i];
    if (s->type == type && coopmat_fits(d, t, s) && (!best || s->m * s->n * s->k > best->m * best->n * best->k))
      best = s;
  }
  return best;
}

// The first tile that fits, of which there are enough for all compute units and which is not mostly edge; else the smallest
// that fits.
static const struct coopmat_tile *coopmat_tile(const vk_device *d, const vk_gemm *g) {
  const struct coopmat_tile *chosen = NULL;
  for (size_t i = 0; i < BRC_COUNT(coopmat_tiles); i++) {
    const struct coopmat_tile *t = &coopmat_tiles[i];
    const vk_matrix_shape *s = coopmat_shape(d, t, g->p.precision);
    if (!s) continue;
    chosen = t;
    const uint32_t m = coopmat_m(t, s), n = coopmat_n(t, s);
    if (2 * g->p.m > m && 2 * g->p.n > n && tiles_of(g, m, n) >= units_of(d)) break;
  }
  return chosen;
}

static bool coopmat_type(const vk_device *d, brc_precision type) {
  for (size_t i = 0; i < BRC_COUNT(coopmat_tiles); i++)
    if (coopmat_shape(d, &coopmat_tiles[i], type)) return true;
  return false;
}

static bool coopmat_device(const vk_device *d) {
  return d->coopmat && d->subgroup_size_control && (coopmat_type(d, BRC_FP16) || coopmat_type(d, BRC_BF16));
}

static const char *const *coopmat_names(const vk_device *d) {
  static const char *const names[BRC_COUNT(coopmat_tiles) + 1] = {"4x2", "2x2", "1x1"};
  (void)d;
  return names;
}

static bool coopmat_takes(const vk_device *d, const vk_gemm *g) {
  if (g->tile) return coopmat_shape(d, &coopmat_tiles[g->tile - 1], g->p.precision) != NULL;
  return (g->p.precision == BRC_FP16 || g->p.precision == BRC_BF16) && coopmat_type(d, g->p.precision);
}

static brc_status coopmat_add(brc_exec *x, const brc_op *op, const vk_gemm *g) {
  const vk_device *d = vk_exec_device(x);
  const struct coopmat_tile *t = g->tile ? &coopmat_tiles[g->tile - 1] : coopmat_tile(d, g);
  const vk_matrix_shape *s = coopmat_shape(d, t, g->p.precision);
  vk_call c = call_of(g, g->p.precision == BRC_FP16 ? t->fp16 : t->bf16, coopmat_m(t, s), coopmat_n(t, s),
                      coopmat_lanes(d, t));
  const bool scaled = g->p.scale_a != 1 || g->p.scale_b != 1;
  const uint32_t constants[] = {
      flags_of(g) | (scaled ? SCALED : 0), t->subgroups_m, t->subgroups_n, s->m, s->n, s->k};
  memcpy(c.constants, constants, sizeof constants);
  c.constant_count = BRC_COUNT(constants);
  c.subgroup_size = coopmat_subgroup(d);
  return vk_call_add(x, op, &c);
}

//------------------------ 3. Trust ---------------------------------------------
// Matrix units are off until a product of every tile and layout is right. One product takes the given tile, with edges on both
// sides.
enum { CHECK_K = 40 };
static brc_status check_tile(vk_device *d, brc_precision precision, const struct coopmat_tile *t) {
  const vk_matrix_shape *s = coopmat_shape(d, t, precision);
  if (!s) return BRC_OK;
  return brc_check_products(&d->base, precision, coopmat_m(t, s) - 3, coopmat_n(t, s) * units_of(d) - 3,
                            CHECK_K, 1);
}

// Check the precisions of the matrix units on an open device; a wrong one is refused, by name.
static void coopmat_check(vk_device *d) {
  static const brc_precision types[] = {BRC_BF16, BRC_FP16};
  brc_device_info *info = &d->base.info;
  for (size_t i = 0; i < BRC_COUNT(types); i++) {
    brc_status st = BRC_OK;
    for (size_t t = 0; !st && t < BRC_COUNT(coopmat_tiles); t++)
      st = check_tile(d, types[i], &coopmat_tiles[t]);
    if (!st) continue;
    const size_t used = strlen(info->note);
    snprintf(info->note + used, sizeof info->note - used, "%scoopmat refused for %s: %s", used ? "; " : "",
             brc_precision_names[types[i]], brc_error());
    // Its shapes are as good as not there.
    for (uint32_t s = 0; s < d->shape_count; s++)
      if (d->shapes[s].type == types[i]) d->shapes[s].type = BRC_PRECISION_COUNT;
  }
}

//------------------------ 4. The table -----------------------------------------
static const vk_gemm_provider coopmat = {"coopmat", coopmat_device, coopmat_takes, coopmat_add, coopmat_names};
static const vk_gemm_provider tiled = {"tiled", tiled_device, tiled_takes, tiled_add, tiled_tiles};
static const vk_gemm_provider *const order[] = {&coopmat, &tiled};

void vk_gemm_names(vk_device *d) {
  brc_device_info *info = &d->base.info;
  int n = 0;
  info->gemm[0] = 0;
  for (size_t i = 0; i < BRC_COUNT(order); i++) {
    if (!order[i]->device(d)) continue;
    const size_t used = strlen(info->gemm);
    snprintf(info->gemm + used, sizeof info->gemm - used, "%s%s", n ? "," : "", order[i]->name);
    d->provider_names[n++] = order[i]->name;
  }
  d->provider_names[n] = NULL;
}

// Float32 products need `tiled` whatever is forced for the others.
static bool choose(vk_device *d, const char *forced) {
  int n = 0;
  bool found = !forced;
  for (size_t i = 0; i < BRC_COUNT(order); i++) {
    const vk_gemm_provider *p = order[i];
    const bool named = forced && !strcmp(p->name, forced);
    if (!p->device(d) || (forced && !named && p != &tiled)) continue;
    d->providers[n++] = p;
    found |= named;
  }
  d->providers[n] = NULL;
  return found;
}

static unsigned precisions_of(const vk_device *d) {
  unsigned bits = 0;
  for (uint32_t i = 0; i < BRC_PRECISION_COUNT; i++) {
    const vk_gemm g = {.p.precision = i};
    for (const vk_gemm_provider *const *p = d->providers; *p; p++)
      if ((*p)->takes(d, &g)) bits |= 1u << i;
  }
  return bits;
}

// What opening the device finds out, for a list of devices.
static void verdict_of(vk_device *d) {
  brc_device *open;
  if (brc_backend_vulkan.open(&open, d->base.info.index, &(brc_device_options){0})) {
    snprintf(d->base.info.note, sizeof d->base.info.note, "coopmat is unchecked: %s", brc_error());
    d->shape_count = 0;
    return;
  }
  memcpy(d->base.info.note, open->info.note, sizeof d->base.info.note);
  memcpy(d->shapes, ((vk_device *)open)->shapes, sizeof d->shapes);
  brc_backend_vulkan.close(open);
}

// Drivers without their card compile but compute nothing: BRC_TRUST_PRODUCTS=1 takes their matrix units as good, so that
// the machine code can be looked at.
static bool trusting(void) { return brc_env_is_one("BRC_TRUST_PRODUCTS"); }

brc_status vk_gemm_choose(vk_device *d, const char *forced) {
  bool found = choose(d, forced);
  if (d->providers[0] == &coopmat && !trusting()) {
    if (d->handle)
      coopmat_check(d);
    else
      verdict_of(d);
    found = choose(d, forced);
    vk_gemm_names(d);
  }
  d->base.info.precisions = precisions_of(d);
  if (found) return BRC_OK;
  return brc_fail(BRC_E_NOT_FOUND,
                  "GEMM provider '%s' cannot run on Vulkan device %d (%s); those that can: %s%s%s", forced,
                  d->base.info.index, d->base.info.name, d->base.info.gemm, *d->base.info.note ? "; " : "",
                  d->base.info.note);
}

size_t vk_gemm_candidates(brc_device *base, brc_precision precision, char (*out)[BRC_CHOICE_TEXT], size_t max) {
  const vk_device *d = (const vk_device *)base;
  size_t n = 0;
  for (const vk_gemm_provider *const *p = d->providers; *p; p++) {
    const char *const *tiles = (*p)->tiles ? (*p)->tiles(d) : NULL;
    vk_gemm g = {.p.precision = precision, .tile = tiles ? 1 : 0};
    do {
      if (n < max && (*p)->takes(d, &g)) brc_choice_name((*p)->name, tiles, g.tile, out[n++]);
    } while (tiles && tiles[g.tile++]);
  }
  return n;
}

// By the device's table of choices.
static brc_status add_chosen(brc_exec *x, const brc_op *op, const vk_gemm *g, const char *choice) {
  const vk_device *d = vk_exec_device(x);
  vk_gemm h = *g;
  for (const vk_gemm_provider *const *p = d->providers; *p; p++)
    if (brc_choice_is(choice, (*p)->name, (*p)->tiles ? (*p)->tiles(d) : NULL, &h.tile) && (*p)->takes(d, &h))
      return (*p)->add(x, op, &h);
  return brc_choice_missing(op, choice, &d->base.info);
}

brc_status vk_gemm_add(brc_exec *x, const brc_op *op, const vk_gemm *g) {
  const vk_device *d = vk_exec_device(x);
  const char *choice = brc_choices_find(d->base.choices, op);
  if (choice) return add_chosen(x, op, g, choice);
  const vk_gemm_provider *const *p = d->providers;
  while (*p && !(*p)->takes(d, g)) p++;
  if (*p) return (*p)->add(x, op, g);
  return brc_fail(BRC_E_UNSUPPORTED, "Vulkan device %d (%s) has no products in %s%s", d->base.info.index,
                  d->base.info.name, brc_precision_names[g->p.precision],
                  g->p.precision == BRC_TF32 ? ": Vulkan knows no such numbers" : "");
}
#endif
