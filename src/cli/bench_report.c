// What the measurements of brc bench have in common: reports, the roofline in them, ratios to a former one.
#include "base/file.h"
#include "cli/bench.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

cJSON *bench_report(const char *bench, const brc_device *d, const char *precision) {
  cJSON *r = cJSON_CreateObject();
  cJSON_AddStringToObject(r, "bench", bench);
  cJSON_AddStringToObject(r, "backend", d->backend->name);
  cJSON_AddStringToObject(r, "device", d->info.name);
  cJSON_AddStringToObject(r, "driver", d->info.driver);
  cJSON_AddStringToObject(r, "precision", precision);
  return r;
}

void bench_report_roofline(cJSON *report, const brc_roofline *r, bool json) {
  cJSON *o = cJSON_AddObjectToObject(report, "roofline"), *peaks = cJSON_AddArrayToObject(o, "products");
  if (!json) printf("  device:");
  for (int p = 0; p < BRC_PRECISION_COUNT; p++) {
    if (!(r->product_flops[p] > 0)) continue;
    cJSON *x = cJSON_CreateObject();
    cJSON_AddStringToObject(x, "precision", brc_precision_names[p]);
    cJSON_AddNumberToObject(x, "gflops", r->product_flops[p] * 1e-9);
    cJSON_AddNumberToObject(x, "size", r->product_size[p]);
    cJSON_AddItemToArray(peaks, x);
    if (!json)
      printf(" products in %s %.1f GFLOP/s (%u cubed),", brc_precision_names[p], r->product_flops[p] * 1e-9,
             r->product_size[p]);
  }
  cJSON_AddNumberToObject(o, "copy_gbytes_per_s", r->copy_bytes * 1e-9);
  cJSON_AddNumberToObject(o, "launch_us", r->launch_s * 1e6);
  cJSON_AddNumberToObject(o, "run_us", r->run_s * 1e6);
  if (!json)
    printf(" copy %.1f GB/s, launch %.2f us, a run of one %.1f us\n", r->copy_bytes * 1e-9, r->launch_s * 1e6,
           r->run_s * 1e6);
}

//------------------------ Ratios --------------------------------------------------
brc_status bench_former(const bench_options *o, const char *bench, cJSON **former) {
  *former = NULL;
  if (!*o->compare) return BRC_OK;
  char *text;
  size_t bytes;
  brc_status st = brc_file_read(o->compare, &text, &bytes);
  if (st) return st;
  cJSON *was = cJSON_Parse(text);
  free(text);
  const char *kind = cJSON_GetStringValue(cJSON_GetObjectItem(was, "bench"));
  if (kind && !strcmp(kind, bench)) {
    *former = was;
    return BRC_OK;
  }
  st = brc_fail(BRC_E_FORMAT, "option --compare: %s is %s%s%s: brc bench %s --json writes what it takes",
                o->compare, was ? "a report of " : "no JSON",
                kind  ? "bench "
                : was ? "something else"
                      : "",
                kind ? kind : "", bench);
  cJSON_Delete(was);
  return st;
}

// What a row measures; all its other fields say of what.
static const char *const measured[] = {"ms", "min_ms", "gflops", "gbytes_per_s", "calls", "fraction"};

static bool is_measured(const char *key) {
  for (size_t i = 0; i < BRC_COUNT(measured); i++)
    if (!strcmp(measured[i], key)) return true;
  return false;
}

// "dense critic/block0/dense0 1024 512": the row's texts and shapes.
static void key_of(const cJSON *row, char *out, size_t bytes) {
  size_t n = 0;
  const cJSON *x;
  *out = 0;
  cJSON_ArrayForEach(x, row) {
    if (is_measured(x->string) || n >= bytes) continue;
    if (cJSON_IsString(x)) n += (size_t)snprintf(out + n, bytes - n, "%s%s", n ? " " : "", x->valuestring);
    if (cJSON_IsNumber(x)) n += (size_t)snprintf(out + n, bytes - n, " %.0f", x->valuedouble);
  }
}

// The row of the same key; several may have it (the same layer more than once): the n-th of them.
static const cJSON *same_row(const cJSON *rows, const char *key, int nth) {
  char other[512];
  const cJSON *row;
  cJSON_ArrayForEach(row, rows) {
    key_of(row, other, sizeof other);
    if (!strcmp(key, other) && !nth--) return row;
  }
  return NULL;
}

static void add_ratio(cJSON *list, const char *name, double was, double is, bool json) {
  if (!(was > 0) || !(is > 0)) return;
  cJSON *x = cJSON_CreateObject();
  cJSON_AddStringToObject(x, "name", name);
  cJSON_AddNumberToObject(x, "was", was);
  cJSON_AddNumberToObject(x, "is", is);
  cJSON_AddNumberToObject(x, "ratio", is / was);
  cJSON_AddItemToArray(list, x);
  if (!json) printf("  %-72s %12.4g %12.4g %8.3f\n", name, was, is, is / was);
}

static void compare_rows(cJSON *list, const cJSON *was, const cJSON *is, bool json) {
  char key[512], other[512];
  const cJSON *row, *before;
  cJSON_ArrayForEach(row, is) {
    key_of(row, key, sizeof key);
    int nth = 0;
    for (before = is->child; before != row; before = before->next) {
      key_of(before, other, sizeof other);
      nth += !strcmp(key, other);
    }
    const cJSON *old = same_row(was, key, nth);
    if (old)
      add_ratio(list, key, cJSON_GetNumberValue(cJSON_GetObjectItem(old, "ms")),
                cJSON_GetNumberValue(cJSON_GetObjectItem(row, "ms")), json);
  }
}

static void compare(cJSON *report, const cJSON *former, const bench_options *o) {
  static const char *const same[] = {"backend", "device", "driver", "precision"};
  static const char *const arrays[] = {"ops", "rows"};
  cJSON *c = cJSON_CreateObject(), *list;
  cJSON_AddStringToObject(c, "file", o->compare);
  if (!o->json) printf("\n  compared with %s\n", o->compare);
  for (size_t i = 0; i < BRC_COUNT(same); i++) {
    const char *was = cJSON_GetStringValue(cJSON_GetObjectItem(former, same[i])),
               *is = cJSON_GetStringValue(cJSON_GetObjectItem(report, same[i]));
    if (was && is && strcmp(was, is) && !o->json) printf("  %s: was %s, is %s\n", same[i], was, is);
  }
  if (!o->json) printf("  %-72s %12s %12s %8s\n", "", "was", "is", "is/was");
  list = cJSON_AddArrayToObject(c, "figures");
  const cJSON *x;
  cJSON_ArrayForEach(x, report) if (cJSON_IsNumber(x)) add_ratio(
      list, x->string, cJSON_GetNumberValue(cJSON_GetObjectItem(former, x->string)), x->valuedouble, o->json);
  list = cJSON_AddArrayToObject(c, "rows");
  for (size_t i = 0; i < BRC_COUNT(arrays); i++)
    compare_rows(list, cJSON_GetObjectItem(former, arrays[i]), cJSON_GetObjectItem(report, arrays[i]), o->json);
  cJSON_AddItemToObject(report, "compare", c);
}

void bench_finish(cJSON *report, cJSON *former, const bench_options *o) {
  if (former) compare(report, former, o);
  cJSON_Delete(former);
  if (o->json)
    brc_cli_print_json(report);
  else
    cJSON_Delete(report);
}
