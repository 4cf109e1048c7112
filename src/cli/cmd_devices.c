// brc devices: what there is to compute with.
#include "backends/backend.h"
#include "base/options.h"
#include "cli/cli.h"
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

// What only opening finds out, once per device and driver.
static void look_closer(const brc_backend *b, brc_device_info *info) {
  brc_device *d;
  if (!info->unchecked || b->open(&d, info->index, NULL)) return;
  *info = d->info;
  brc_device_close(d);
}

brc_status brc_cmd_devices(int argc, char **argv) {
  bool json = false;
  const brc_option row = {"json", BRC_OPT_FLAG, 0, 0, 0, "false", NULL, "one JSON object"};
  brc_option_set set = {.tables = {{&row, 1, &json, "Output"}}, .count = 1};
  if (brc_cli_help(argc, argv,
                   "usage: brc devices [--json]\n\nEvery backend's devices and what they can do.\n")) {
    brc_options_help(&set);
    return BRC_OK;
  }
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
      look_closer(brc_backends[b], &info[i]);
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
