#include "cli/cli.h"
#include "train/train.h"
#include "train/verify_agent.h"
#include "train/verify_env.h"
#include "train/verify_normalizer.h"
#include <stdlib.h>
#include <string.h>

typedef struct verify_options {
  char dump[BRC_TEXT];
  bool json;
} verify_options;

static brc_status verify_file(const char *path, const verify_options *o, const brc_assets *assets,
                              brc_device *device, brc_verify_report *r) {
  const char *dump = *o->dump ? o->dump : NULL;
  size_t n = strlen(path);
  if (n > 5 && !strcmp(path + n - 5, ".json")) {
    if (dump) return brc_fail(BRC_E_USAGE, "option --dump: '%s' has no tensors to dump", path);
    r->precision = BRC_FP32;  // as of all that has no products
    return brc_verify_normalizer(path, r);
  }
  brc_st_file *f;
  brc_status st = brc_st_open(&f, path);
  if (st) return st;
  const bool env = brc_verify_env_is(f);
  if (env) r->precision = BRC_FP32;
  st = env ? brc_verify_env(f, assets, dump, NULL, r) : brc_verify_agent_file(f, device, dump, r);
  if (st == BRC_E_TOLERANCE) st = BRC_OK;  // the report says so
  brc_st_close(f);
  return st;
}

// A file whose expected values were taken out can still be computed and dumped.
static bool nothing_compared(const brc_verify_report *r) {
  for (size_t i = 0; i < r->count; i++)
    if (r->rows[i].count) return false;
  return true;
}

static void print_rows(const char *path, const brc_verify_report *r, bool json, cJSON *files) {
  if (json) {
    cJSON *f = cJSON_CreateObject(), *rows = NULL;
    cJSON_AddStringToObject(f, "file", path);
    cJSON_AddBoolToObject(f, "passed", brc_verify_passed(r));
    rows = cJSON_AddArrayToObject(f, "classes");
    for (size_t i = 0; i < r->count; i++) {
      cJSON *x = cJSON_CreateObject();
      cJSON_AddStringToObject(x, "class", r->rows[i].name);
      cJSON_AddNumberToObject(x, "max_abs", r->rows[i].max_abs);
      cJSON_AddNumberToObject(x, "max_rel", r->rows[i].max_rel);
      cJSON_AddNumberToObject(x, "tolerance", r->rows[i].tolerance);
      cJSON_AddNumberToObject(x, "count", (double)r->rows[i].count);
      cJSON_AddBoolToObject(x, "ok", r->rows[i].ok);
      cJSON_AddItemToArray(rows, x);
    }
    cJSON_AddItemToArray(files, f);
    return;
  }
  printf("%s\n  %-46s %10s %10s %10s %9s\n", path, "class", "max abs", "max rel", "tolerance", "elements");
  for (size_t i = 0; i < r->count; i++)
    printf("  %-46s %10.2e %10.2e %10.1e %9llu  %s\n", r->rows[i].name, r->rows[i].max_abs, r->rows[i].max_rel,
           r->rows[i].tolerance, (unsigned long long)r->rows[i].count,
           !r->rows[i].ok             ? "EXCEEDED"
           : r->precision != BRC_FP32 ? "measured"
                                      : "ok");
}

brc_status brc_cmd_verify(int argc, char **argv) {
  static brc_train_config c;
  static verify_options o;
  const brc_option rows[] = {
      {"dump", BRC_OPT_TEXT, offsetof(verify_options, dump), 0, 0, "", NULL,
       "write all that was computed to this safetensors file"},
      {"json", BRC_OPT_FLAG, offsetof(verify_options, json), 0, 0, "false", NULL, "one JSON object"}};
  const brc_option assets_row = {"assets",
                                 BRC_OPT_TEXT,
                                 offsetof(brc_train_config, assets),
                                 0,
                                 0,
                                 "",
                                 NULL,
                                 "folder with the environments' files, searched first"};
  brc_option_set set = {.tables = {{rows, BRC_COUNT(rows), &o, "Verify"},
                                   {brc_device_option_rows, brc_device_option_count, &c, "Device"},
                                   {&assets_row, 1, &c, "Files"}},
                        .count = 3};
  if (brc_cli_help(argc, argv,
                   "usage: brc verify FILE... [options]\n\nReplays golden cases (updates, projections, tapes, "
                   "environments, normaliser) and compares every number.\n"
                   "Exit status 1 when a tolerance is exceeded. In another --precision than fp32 the "
                   "agent's errors are measured, not judged.\n")) {
    brc_options_help(&set);
    return BRC_OK;
  }
  const char *words[1024];
  size_t count, failed = 0, only_computed = 0;
  brc_options_default(&set);
  brc_status st = brc_options_parse(&set, argc, argv, words, BRC_COUNT(words), &count, NULL), last = BRC_OK;
  if (!st && !count) st = brc_fail(BRC_E_USAGE, "which file? usage: brc verify FILE...");
  if (!st && *o.dump && count > 1)
    st = brc_fail(BRC_E_USAGE, "option --dump takes the results of one file, not of %zu", count);
  brc_assets assets = {*c.assets ? c.assets : NULL};
  brc_device *device = NULL;
  brc_pool *pool = NULL;
  if (!st) st = brc_pool_create(&pool, (int)c.threads);
  if (!st) st = brc_open_device(&c, pool, &device);
  cJSON *object = cJSON_CreateObject(), *files = cJSON_AddArrayToObject(object, "files");
  for (size_t i = 0; !st && i < count; i++) {
    brc_verify_report r = {.precision = brc_train_precision(&c)};
    last = verify_file(words[i], &o, &assets, device, &r);
    if (last) {
      fprintf(stderr, "brc: %s\n", brc_error());
      failed++;
      cJSON *x = cJSON_CreateObject();
      cJSON_AddStringToObject(x, "file", words[i]);
      cJSON_AddBoolToObject(x, "passed", false);
      cJSON_AddStringToObject(x, "error", brc_error());
      cJSON_AddItemToArray(files, x);
    } else if (nothing_compared(&r)) {
      fprintf(stderr, "brc: %s: no expected values, nothing was compared\n", words[i]);
      only_computed++;
      if (!*o.dump) failed++;
    } else {
      print_rows(words[i], &r, o.json, files);
      failed += !brc_verify_passed(&r);
    }
    free(r.rows);
  }
  if (!st && o.json) {
    cJSON_AddStringToObject(object, "backend", device->backend->name);
    cJSON_AddStringToObject(object, "device", device->info.name);
    cJSON_AddBoolToObject(object, "passed", failed == 0);
    brc_cli_print_json(object);
  } else {
    cJSON_Delete(object);
  }
  if (!st && failed)
    st = brc_fail(BRC_E_TOLERANCE, "%zu of %zu files failed on %s", failed, count, device->backend->name);
  else if (!st && !o.json && only_computed)
    printf("computed on %s (%s) and written to %s\n", device->backend->name, device->info.name, o.dump);
  else if (!st && !o.json)
    printf("%zu file%s passed on %s (%s)\n", count, count > 1 ? "s" : "", device->backend->name,
           device->info.name);
  brc_device_close(device);
  brc_pool_destroy(pool);
  return st;
}
