#include "backends/tune.h"
#include "base/file.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CANDIDATES = 32 };
static const double least_gain = 0.97;  // of the rule's time: two measurements of the same differ by this

// The distinct products of a program and how often each is there.
static uint32_t products_of(const brc_program *p, brc_tuned *rows) {
  uint32_t n = 0;
  for (size_t i = 0; i < p->op_count; i++) {
    brc_choice c;
    uint32_t k = 0;
    if (!brc_choice_of_op(p->ops[i], &c)) continue;
    while (k < n && !brc_choice_same_product(&rows[k].best, &c)) k++;
    if (k == BRC_CHOICES_MAX) continue;
    if (k == n) rows[n++] = (brc_tuned){.best = c};
    rows[k].calls++;
  }
  return n;
}

static double work(const brc_tuned *t) {
  return (double)t->calls * t->best.m * t->best.n * t->best.k * t->best.members;
}

static int by_work(const void *a, const void *b) {
  const double x = work(a), y = work(b);
  return (x < y) - (x > y);
}

static brc_status tune_product(brc_device *d, char (*candidates)[BRC_CHOICE_TEXT], size_t count, double each_s,
                               brc_tuned *row) {
  brc_timing t;
  d->choices = NULL;
  brc_status st = brc_time_product(d, &row->best, each_s, &t);
  if (st) return st;
  row->rule_s = row->best_s = t.median_s;
  for (size_t i = 0; i < count; i++) {
    brc_choices one = {.count = 1, .rows = {row->best}};
    memcpy(one.rows[0].choice, candidates[i], BRC_CHOICE_TEXT);
    d->choices = &one;
    st = brc_time_product(d, &row->best, each_s, &t);
    d->choices = NULL;
    if (st == BRC_E_UNSUPPORTED) continue;  // this one does not take the product
    if (st) return st;
    row->candidates++;
    if (t.median_s >= row->best_s || t.median_s > least_gain * row->rule_s) continue;
    row->best_s = t.median_s;
    memcpy(row->best.choice, candidates[i], BRC_CHOICE_TEXT);
  }
  return BRC_OK;
}

brc_status brc_tune(brc_device *d, const brc_program *p, double budget_s, brc_choices *out, brc_tuned_fn *tell,
                    void *self) {
  static const double each_s = 0.02;
  const double end = brc_now_s() + budget_s;
  const brc_choices *before = d->choices;
  char candidates[CANDIDATES][BRC_CHOICE_TEXT];
  *out = (brc_choices){0};
  const size_t count = d->backend->gemm_candidates ? d->backend->gemm_candidates(d, candidates, CANDIDATES) : 0;
  if (!count)
    return brc_fail(BRC_E_UNSUPPORTED, "backend %s has no candidates for products to tune", d->backend->name);
  brc_tuned *rows = calloc(BRC_CHOICES_MAX, sizeof *rows);
  if (!rows) return brc_fail(BRC_E_NOMEM, "out of memory");
  const uint32_t n = products_of(p, rows);
  qsort(rows, n, sizeof *rows, by_work);
  brc_status st = BRC_OK;
  for (uint32_t i = 0; !st && i < n && brc_now_s() < end; i++) {
    st = tune_product(d, candidates, count, each_s, &rows[i]);
    if (st) break;
    if (*rows[i].best.choice) st = brc_choices_add(out, &rows[i].best);
    if (tell) tell(self, &rows[i]);
  }
  d->choices = before;
  free(rows);
  return st;
}

//------------------------ The file ------------------------------------------------
static void kernels_text(const brc_device *d, char out[32]) {
  snprintf(out, 32, "%016" PRIx64, d->backend->kernels_hash ? d->backend->kernels_hash() : 0);
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
      st = brc_fail(BRC_E_FORMAT, "it is no file of brc bench tune: the key '%s' is missing", same[i].key);
    else if (strcmp(there, same[i].here))
      st = brc_fail(BRC_E_UNSUPPORTED, "its %s is '%s', here it is '%s'; brc bench tune makes another",
                    same[i].key, there, same[i].here);
  }
  if (!st) st = brc_choices_from_json(out, cJSON_GetObjectItem(o, "products"));
  cJSON_Delete(o);
  return st ? brc_fail_prefix(st, "tuning file %s: ", path) : BRC_OK;
}
