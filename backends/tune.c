#include "backends/tune.h"
#include "base/cache.h"
#include "base/file.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CANDIDATES = 32 };
static const double least_gain = 0.97;  // of the rule's time: two measurements of the same differ by this

// The distinct products of the programs and how often each is there, those with the most work first.
static double work(const brc_tuned *t) {
  return (double)t->calls * t->best.m * t->best.n * t->best.k * t->best.members;
}

static int by_work(const void *a, const void *b) {
  const double x = work(a), y = work(b);
  return (x < y) - (x > y);
}

static uint32_t products_of(const brc_program *const *programs, brc_tuned *rows) {
  uint32_t n = 0;
  for (; *programs; programs++)
    for (size_t i = 0; i < (*programs)->op_count; i++) {
      brc_choice c;
      uint32_t k = 0;
      if (!brc_choice_of_op((*programs)->ops[i], &c)) continue;
      while (k < n && !brc_choice_same_product(&rows[k].best, &c)) k++;
      if (k == BRC_CHOICES_MAX) continue;
      if (k == n) rows[n++] = (brc_tuned){.best = c};
      rows[k].calls++;
    }
  qsort(rows, n, sizeof *rows, by_work);
  return n;
}

static size_t candidates_of(brc_device *d, uint32_t precision, char (*out)[BRC_CHOICE_TEXT]) {
  const brc_backend *b = d->backend;
  return b->gemm_candidates ? b->gemm_candidates(d, (brc_precision)precision, out, CANDIDATES) : 0;
}

// With this choice; "": by the backend's rule.
static brc_status time_choice(brc_device *d, brc_lone_op *x, const brc_choice *product, const char *choice,
                              double budget_s, double *seconds) {
  brc_choices one = {.count = *choice != 0, .rows = {*product}};
  brc_timing t = {0};
  snprintf(one.rows[0].choice, BRC_CHOICE_TEXT, "%s", choice);
  d->choices = &one;
  const brc_status st = brc_lone_op_time(x, budget_s, &t);
  d->choices = NULL;
  *seconds = t.median_s;
  return st;
}

// The rule is measured before and after the others: a clock that rises meanwhile must not speak against it.
static brc_status tune_product(brc_device *d, double end_s, brc_tuned *row) {
  static const double each_s = 0.02;
  char candidates[CANDIDATES][BRC_CHOICE_TEXT];
  const size_t count = candidates_of(d, row->best.precision, candidates);
  double seconds[CANDIDATES], again = 0;
  brc_lone_op *x;
  brc_status st = brc_lone_product_create(&x, d, &row->best);
  if (!st) st = time_choice(d, x, &row->best, "", each_s, &row->rule_s);
  for (size_t i = 0; !st && i < count; i++) {
    const bool left = brc_now_s() < end_s && !time_choice(d, x, &row->best, candidates[i], each_s, &seconds[i]);
    if (!left) seconds[i] = INFINITY;  // no time, or it does not take the product or fails at it
    row->candidates += left;
  }
  if (!st) st = time_choice(d, x, &row->best, "", each_s, &again);
  brc_lone_op_free(x);
  if (st) return st;
  row->best_s = row->rule_s = fmin(row->rule_s, again);
  for (size_t i = 0; i < count; i++) {
    if (seconds[i] >= row->best_s || seconds[i] > least_gain * row->rule_s) continue;
    row->best_s = seconds[i];
    memcpy(row->best.choice, candidates[i], BRC_CHOICE_TEXT);
  }
  return BRC_OK;
}

brc_status brc_tune(brc_device *d, const brc_program *const *programs, double budget_s, brc_choices *out,
                    brc_tune_report *report, brc_tuned_fn *tell, void *self) {
  const double began = brc_now_s();
  const brc_choices *before = d->choices;
  *out = (brc_choices){0};
  *report = (brc_tune_report){0};
  if (!d->backend->gemm_candidates)
    return brc_fail(BRC_E_UNSUPPORTED, "backend %s has no candidates for products to tune", d->backend->name);
  brc_tuned *rows = calloc(BRC_CHOICES_MAX, sizeof *rows);
  if (!rows) return brc_fail(BRC_E_NOMEM, "out of memory");
  report->products = products_of(programs, rows);
  brc_status st = BRC_OK;
  for (uint32_t i = 0; !st && i < report->products && brc_now_s() < began + budget_s; i++) {
    st = tune_product(d, i ? began + budget_s : INFINITY, &rows[i]);
    if (st || (!rows[i].candidates && brc_now_s() >= began + budget_s)) break;  // nothing to compare with
    if (*rows[i].best.choice) st = brc_choices_add(out, &rows[i].best);
    report->measured++;
    report->rule_s += rows[i].calls * rows[i].rule_s;
    report->best_s += rows[i].calls * rows[i].best_s;
    if (tell) tell(self, &rows[i]);
  }
  d->choices = before;
  free(rows);
  report->seconds = brc_now_s() - began;
  return st;
}

static bool is_here(brc_device *d, const brc_choice *row) {
  char candidates[CANDIDATES][BRC_CHOICE_TEXT];
  const size_t count = candidates_of(d, row->precision, candidates), n = strlen(row->choice);
  for (size_t i = 0; i < count; i++)
    if (!strncmp(candidates[i], row->choice, n) && (!candidates[i][n] || candidates[i][n] == '/')) return true;
  return false;
}

uint32_t brc_tune_prune(brc_device *d, brc_choices *t, brc_choice *first) {
  const uint32_t before = t->count;
  t->count = 0;
  for (uint32_t i = 0; i < before; i++) {
    if (is_here(d, &t->rows[i]))
      t->rows[t->count++] = t->rows[i];
    else if (t->count == i)
      *first = t->rows[i];
  }
  return before - t->count;
}

//------------------------ The file ------------------------------------------------
static void kernels_text(const brc_device *d, char out[32]) {
  snprintf(out, 32, "%016" PRIx64, d->backend->kernels_hash ? d->backend->kernels_hash() : 0);
}

static uint64_t hash_text(uint64_t h, const char *text) { return brc_hash(h, text, strlen(text) + 1); }

brc_status brc_tuning_path(const brc_device *d, const brc_program *const *programs, char *out, size_t bytes) {
  char kernels[32], folder[4096];
  brc_tuned *rows = calloc(BRC_CHOICES_MAX, sizeof *rows);
  if (!rows) return brc_fail(BRC_E_NOMEM, "out of memory");
  const uint32_t n = products_of(programs, rows);
  kernels_text(d, kernels);
  uint64_t h = BRC_HASH_START;
  const char *const texts[] = {d->backend->name, d->info.name, d->info.driver, d->info.gemm, kernels};
  for (size_t i = 0; i < BRC_COUNT(texts); i++) h = hash_text(h, texts[i]);
  for (uint32_t i = 0; i < n; i++) {
    char product[96];
    brc_choice_text(&rows[i].best, product, sizeof product);
    h = hash_text(h, product);
  }
  free(rows);
  brc_cache_dir(folder, sizeof folder);
  const int length = snprintf(out, bytes, "%s/tuning/%016" PRIx64 ".json", folder, h);
  return length > 0 && (size_t)length < bytes ? BRC_OK : brc_fail(BRC_E_IO, "BRC_CACHE is too long a path");
}

brc_status brc_tuning_write(const char *path, const brc_device *d, const brc_choices *t) {
  char kernels[32];
  kernels_text(d, kernels);
  cJSON *o = cJSON_CreateObject();
  cJSON_AddStringToObject(o, "device", d->info.name);
  cJSON_AddStringToObject(o, "driver", d->info.driver);
  cJSON_AddStringToObject(o, "kernels", kernels);
  cJSON_AddItemToObject(o, "products", brc_choices_to_json(t));
  char *text = cJSON_Print(o);
  cJSON_Delete(o);
  if (!text) return brc_fail(BRC_E_NOMEM, "out of memory");
  const brc_status st = brc_file_write_all(path, text, strlen(text));
  free(text);
  return st;
}

brc_status brc_tuning_read(const char *path, const brc_device *d, brc_choices *out) {
  char kernels[32], *text;
  size_t bytes;
  kernels_text(d, kernels);
  *out = (brc_choices){0};
  const struct {
    const char *key, *here;
  } same[] = {{"device", d->info.name}, {"driver", d->info.driver}, {"kernels", kernels}};
  brc_status st = brc_file_read(path, &text, &bytes);
  if (st) return st;
  cJSON *o = cJSON_Parse(text);
  free(text);
  for (size_t i = 0; !st && i < BRC_COUNT(same); i++) {
    const char *there = cJSON_GetStringValue(cJSON_GetObjectItem(o, same[i].key));
    if (!there)
      st = brc_fail(BRC_E_FORMAT, "it is no file of brc tune: the key '%s' is missing", same[i].key);
    else if (strcmp(there, same[i].here))
      st = brc_fail(BRC_E_UNSUPPORTED, "its %s is '%s', here it is '%s'; brc tune makes another", same[i].key,
                    there, same[i].here);
  }
  if (!st) st = brc_choices_from_json(out, cJSON_GetObjectItem(o, "products"));
  cJSON_Delete(o);
  if (st) out->count = 0;
  return st ? brc_fail_prefix(st, "tuning file %s: ", path) : BRC_OK;
}
