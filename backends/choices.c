#include "backends/choices.h"
#include "backends/backend.h"
#include "base/cache.h"
#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const layouts[] = {
    [BRC_OP_dense] = "NN", [BRC_OP_dense_dx] = "NT", [BRC_OP_dense_dw] = "TN"};
static_assert(BRC_OP_dense == 0 && BRC_OP_dense_dx == 1 && BRC_OP_dense_dw == 2, "products come first");

bool brc_choice_of_op(const brc_op *op, brc_choice *out) {
  *out = (brc_choice){0};
  if (op->kind > BRC_OP_dense_dw) return false;
  const struct brc_gemm_params *g = &op->params.dense;
  *out = (brc_choice){
      .kind = op->kind, .m = g->m, .n = g->n, .k = g->k, .members = g->batch, .precision = g->precision};
  return true;
}

bool brc_choice_same_product(const brc_choice *a, const brc_choice *b) {
  return a->kind == b->kind && a->m == b->m && a->n == b->n && a->k == b->k && a->members == b->members &&
         a->precision == b->precision;
}

void brc_choice_text(const brc_choice *c, char *out, size_t bytes) {
  snprintf(out, bytes, "%s %u x %u x %u, %u member%s, %s", layouts[c->kind], c->m, c->n, c->k, c->members,
           c->members == 1 ? "" : "s", brc_precision_names[c->precision]);
}

static brc_choice *find(const brc_choices *t, const brc_choice *product) {
  for (uint32_t i = 0; i < t->count; i++)
    if (brc_choice_same_product(&t->rows[i], product)) return (brc_choice *)&t->rows[i];
  return NULL;
}

const char *brc_choices_find(const brc_choices *t, const brc_op *op) {
  brc_choice product;
  if (!t || !t->count || !brc_choice_of_op(op, &product)) return NULL;
  const brc_choice *row = find(t, &product);
  return row ? row->choice : NULL;
}

void brc_choices_hash(const brc_choices *t, char out[17]) {
  uint64_t h = BRC_HASH_START;
  for (uint32_t i = 0; i < t->count; i++) {
    const brc_choice *c = &t->rows[i];
    const uint32_t numbers[] = {c->kind, c->m, c->n, c->k, c->members, c->precision};
    h = brc_hash(h, numbers, sizeof numbers);
    h = brc_hash(h, c->choice, strlen(c->choice) + 1);
  }
  snprintf(out, 17, "%016" PRIx64, h);
}

brc_status brc_choices_add(brc_choices *t, const brc_choice *row) {
  brc_choice *at = find(t, row);
  if (!at && t->count == BRC_CHOICES_MAX)
    return brc_fail(BRC_E_SHAPE, "more than %d choices of products", BRC_CHOICES_MAX);
  if (!at) at = &t->rows[t->count++];
  *at = *row;
  return BRC_OK;
}

//------------------------ For backends ------------------------------------------
void brc_choice_name(const char *provider, const char *const *tiles, uint32_t tile, char out[BRC_CHOICE_TEXT]) {
  snprintf(out, BRC_CHOICE_TEXT, "%s%s%s", provider, tile ? "/" : "", tile ? tiles[tile - 1] : "");
}

bool brc_choice_is(const char *choice, const char *provider, const char *const *tiles, uint32_t *tile) {
  const size_t n = strlen(provider);
  *tile = 0;
  if (strncmp(choice, provider, n)) return false;
  if (!choice[n]) return true;
  if (choice[n] != '/') return false;
  for (uint32_t i = 0; tiles && tiles[i]; i++)
    if (!strcmp(choice + n + 1, tiles[i])) *tile = i + 1;
  return *tile > 0;
}

brc_status brc_choice_missing(const brc_op *op, const char *choice, const brc_device_info *device) {
  brc_choice product;
  char text[96];
  brc_choice_of_op(op, &product);
  brc_choice_text(&product, text, sizeof text);
  return brc_fail(BRC_E_UNSUPPORTED,
                  "the product %s was chosen to come from '%s', which device %d of backend %s (%s) does not "
                  "have; it has %s",
                  text, choice, device->index, device->backend, device->name, device->gemm);
}

//------------------------ JSON --------------------------------------------------
cJSON *brc_choices_to_json(const brc_choices *t) {
  cJSON *array = cJSON_CreateArray();
  for (uint32_t i = 0; i < t->count; i++) {
    const brc_choice *c = &t->rows[i];
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "layout", layouts[c->kind]);
    cJSON_AddNumberToObject(o, "m", c->m);
    cJSON_AddNumberToObject(o, "n", c->n);
    cJSON_AddNumberToObject(o, "k", c->k);
    cJSON_AddNumberToObject(o, "members", c->members);
    cJSON_AddStringToObject(o, "precision", brc_precision_names[c->precision]);
    cJSON_AddStringToObject(o, "choice", c->choice);
    cJSON_AddItemToArray(array, o);
  }
  return array;
}

static bool read_number(const cJSON *o, const char *key, uint32_t *out) {
  const double x = cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(o, key));
  if (!(x >= 1 && x <= UINT32_MAX && x == floor(x))) return false;
  *out = (uint32_t)x;
  return true;
}

static bool read_name(const cJSON *o, const char *key, const char *const *names, uint32_t count,
                      uint32_t *out) {
  const char *s = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, key));
  for (uint32_t i = 0; s && i < count; i++)
    if (!strcmp(s, names[i])) {
      *out = i;
      return true;
    }
  return false;
}

static bool read_row(const cJSON *o, brc_choice *c) {
  const char *choice = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, "choice"));
  *c = (brc_choice){0};
  if (!choice || !*choice || strlen(choice) >= sizeof c->choice) return false;
  snprintf(c->choice, sizeof c->choice, "%s", choice);
  return read_name(o, "layout", layouts, BRC_COUNT(layouts), &c->kind) && read_number(o, "m", &c->m) &&
         read_number(o, "n", &c->n) && read_number(o, "k", &c->k) && read_number(o, "members", &c->members) &&
         read_name(o, "precision", brc_precision_names, BRC_PRECISION_COUNT, &c->precision);
}

brc_status brc_choices_from_json(brc_choices *t, const cJSON *array) {
  *t = (brc_choices){0};
  const cJSON *o;
  if (!cJSON_IsArray(array)) return brc_fail(BRC_E_FORMAT, "the choices of products are not an array");
  cJSON_ArrayForEach(o, array) {
    brc_choice c;
    if (!read_row(o, &c))
      return brc_fail(BRC_E_FORMAT,
                      "choice %u of products is not {layout, m, n, k, members, precision, choice}", t->count);
    const brc_status st = brc_choices_add(t, &c);
    if (st) return st;
  }
  return BRC_OK;
}
