// brc devices, brc tasks: what there is.
#include "backends/backend.h"
#include "base/options.h"
#include "cli/cli.h"
#include "envs/env.h"
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

// The precisions of its products: as text with commas, or into a JSON array.
static void list_precisions(const brc_device_info *d, char *text, size_t bytes, cJSON *array) {
  size_t used = 0;
  if (text) *text = 0;
  for (int i = 0; i < BRC_PRECISION_COUNT; i++) {
    if (!(d->precisions & 1u << i)) continue;
    if (text)
      used += (size_t)snprintf(text + used, bytes - used, "%s%s", used ? ", " : "", brc_precision_names[i]);
    if (array) cJSON_AddItemToArray(array, cJSON_CreateString(brc_precision_names[i]));
  }
}

brc_status brc_cmd_devices(int argc, char **argv) {
  bool json = false;
  const brc_option row = {"json", BRC_OPT_FLAG, 0, 0, 0, "false", NULL, "one JSON object"};
  brc_option_set set = {.tables = {{&row, 1, &json, "Output"}}, .count = 1};
  if (brc_cli_help(argc, argv,
                   "usage: brc devices [--json]\n\nEvery backend's devices and what they can do.\n"))
    return BRC_OK;
  const char *words[1];
  size_t count;
  brc_status st = brc_options_parse(&set, argc, argv, words, 0, &count, NULL);
  if (st) return st;
  cJSON *o = cJSON_CreateObject(), *devices = cJSON_AddArrayToObject(o, "devices"),
        *absent = cJSON_AddObjectToObject(o, "absent");
  for (size_t b = 0; brc_backends[b]; b++) {
    brc_device_info info[64];
    size_t n = 0;
    if (brc_backends[b]->list(info, BRC_COUNT(info), &n)) {
      if (!json) printf("%-8s absent: %s\n", brc_backends[b]->name, brc_error());
      cJSON_AddStringToObject(absent, brc_backends[b]->name, brc_error());
      continue;
    }
    for (size_t i = 0; i < n && i < BRC_COUNT(info); i++) {
      const brc_device_info *d = &info[i];
      if (!json) {
        printf("%-8s %d  %s (%s)\n", d->backend, d->index, d->name, d->vendor);
        printf("            driver %s; %.1f GiB; %u compute units; %s%s%s\n", d->driver,
               (double)d->memory_bytes / (1 << 30), d->compute_units, d->is_cpu ? "CPU" : "GPU",
               d->fp16 ? ", fp16" : "", d->fp64 ? ", fp64" : "");
        char precisions[32];
        list_precisions(d, precisions, sizeof precisions, NULL);
        printf("            products: %s; %s\n", d->gemm, precisions);
        if (*d->details) printf("            %s\n", d->details);
        if (*d->pci || *d->uuid) printf("            %s %s\n", d->pci, d->uuid);
        if (*d->note) printf("            note: %s\n", d->note);
      }
      cJSON *x = cJSON_CreateObject();
      cJSON_AddStringToObject(x, "backend", d->backend);
      cJSON_AddNumberToObject(x, "index", d->index);
      cJSON_AddStringToObject(x, "name", d->name);
      cJSON_AddStringToObject(x, "vendor", d->vendor);
      cJSON_AddStringToObject(x, "driver", d->driver);
      cJSON_AddStringToObject(x, "pci", d->pci);
      cJSON_AddStringToObject(x, "uuid", d->uuid);
      cJSON_AddNumberToObject(x, "memory_bytes", (double)d->memory_bytes);
      cJSON_AddNumberToObject(x, "compute_units", d->compute_units);
      cJSON_AddBoolToObject(x, "cpu", d->is_cpu);
      cJSON_AddBoolToObject(x, "fp16", d->fp16);
      cJSON_AddBoolToObject(x, "fp64", d->fp64);
      cJSON_AddNumberToObject(x, "local_bytes", (double)d->local_bytes);
      cJSON_AddStringToObject(x, "gemm", d->gemm);
      list_precisions(d, NULL, 0, cJSON_AddArrayToObject(x, "precisions"));
      cJSON_AddStringToObject(x, "details", d->details);
      cJSON_AddStringToObject(x, "note", d->note);
      cJSON_AddItemToArray(devices, x);
    }
  }
  if (json)
    brc_cli_print_json(o);
  else
    cJSON_Delete(o);
  return BRC_OK;
}

typedef struct tasks_options {
  bool json;
  char assets[BRC_TEXT];
} tasks_options;

brc_status brc_cmd_tasks(int argc, char **argv) {
  tasks_options opt;
  const brc_option rows[] = {
      {"json", BRC_OPT_FLAG, offsetof(tasks_options, json), 0, 0, "false", NULL, "one JSON object"},
      {"assets", BRC_OPT_TEXT, offsetof(tasks_options, assets), 0, 0, "", NULL,
       "folder with the environments' files, searched first"}};
  brc_option_set set = {.tables = {{rows, BRC_COUNT(rows), &opt, "Options"}}, .count = 1};
  if (brc_cli_help(argc, argv,
                   "usage: brc tasks [PATTERN] [--json]\n\nPATTERN is a shell pattern, e.g. 'cartpole-*'.\n")) {
    brc_options_help(&set);
    return BRC_OK;
  }
  const char *words[1];
  size_t count;
  brc_options_default(&set);
  brc_status st = brc_options_parse(&set, argc, argv, words, 1, &count, NULL);
  if (st) return st;
  brc_assets assets = {*opt.assets ? opt.assets : NULL};
  cJSON *o = cJSON_CreateObject(), *list = cJSON_AddArrayToObject(o, "tasks");
  size_t shown = 0;
  if (!opt.json) printf("%-28s %-8s %5s %5s %7s  %s\n", "task", "suite", "obs", "act", "steps", "assets");
  for (size_t i = 0; i < brc_env_count(); i++) {
    const brc_env_def *d = brc_env_at(i);
    char path[4096];
    if (count && fnmatch(words[0], d->name, 0)) continue;
    bool found = !d->asset || !brc_assets_find(&assets, d->asset, path, sizeof path);
    shown++;
    if (!opt.json)
      printf("%-28s %-8s %5d %5d %7d  %s\n", d->name, d->suite, d->obs_dim, d->act_dim, d->max_steps,
             !d->asset ? "-"
             : found   ? path
                       : "missing; run tools/setup");
    cJSON *x = cJSON_CreateObject();
    cJSON_AddStringToObject(x, "name", d->name);
    cJSON_AddStringToObject(x, "suite", d->suite);
    cJSON_AddNumberToObject(x, "obs_dim", d->obs_dim);
    cJSON_AddNumberToObject(x, "action_dim", d->act_dim);
    cJSON_AddNumberToObject(x, "max_steps", d->max_steps);
    cJSON_AddBoolToObject(x, "assets_found", found);
    cJSON_AddItemToArray(list, x);
  }
  if (opt.json)
    brc_cli_print_json(o);
  else
    cJSON_Delete(o);
  return shown || !count ? BRC_OK : brc_fail(BRC_E_NOT_FOUND, "no task matches '%s'", words[0]);
}
