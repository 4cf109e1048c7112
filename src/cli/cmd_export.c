// brc export: the deterministic policy of a run, for programs that are not brc.
#include "cli/cli.h"
#include "train/export.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

typedef struct export_options {
  char onnx[BRC_TEXT], c[BRC_TEXT], task[BRC_TEXT], name[BRC_TEXT];
  bool json;
} export_options;

#define TEXT(name, field, fallback, help) \
  { name, BRC_OPT_TEXT, offsetof(export_options, field), 0, 0, fallback, NULL, help }
static const brc_option rows[] = {
    TEXT("onnx", onnx, "",
         "write an ONNX model: obs [N,O] (with several tasks also task [N], int64) -> action [N,A]"),
    TEXT("c", c, "", "write a header of plain C99 with the function NAME_act"),
    TEXT("task", task, "", "this task alone: its own dimensions, no task number"),
    TEXT("name", name, "policy", "prefix of the names in the C header"),
    {"json", BRC_OPT_FLAG, offsetof(export_options, json), 0, 0, "false", NULL, "one JSON object"}};
#undef TEXT

static void report(const export_options *e, const char *run, const brc_policy *p) {
  if (e->json) {
    cJSON *o = cJSON_CreateObject(), *tasks = cJSON_AddArrayToObject(o, "tasks");
    cJSON_AddStringToObject(o, "run", run);
    cJSON_AddNumberToObject(o, "env_steps", (double)p->env_steps);
    cJSON_AddNumberToObject(o, "obs_dim", p->obs_dim);
    cJSON_AddNumberToObject(o, "act_dim", p->act_dim);
    cJSON_AddNumberToObject(o, "parameters", (double)brc_policy_parameters(p));
    for (uint32_t i = 0; i < p->task_count; i++)
      cJSON_AddItemToArray(tasks, cJSON_CreateString(p->tasks[i]->name));
    if (*e->onnx) cJSON_AddStringToObject(o, "onnx", e->onnx);
    if (*e->c) cJSON_AddStringToObject(o, "c", e->c);
    brc_cli_print_json(o);
    return;
  }
  printf("%s at step %" PRIu64 ": %" PRIu32 " task%s, %" PRIu32 " observations, %" PRIu32 " actions, %" PRIu64
         " parameters\n",
         run, p->env_steps, p->task_count, p->task_count == 1 ? "" : "s", p->obs_dim, p->act_dim,
         brc_policy_parameters(p));
  if (*e->onnx) printf("%s: ONNX model\n", e->onnx);
  if (*e->c) printf("%s: C header, void %s_act(const float *obs, int task, float *action)\n", e->c, e->name);
}

brc_status brc_cmd_export(int argc, char **argv) {
  export_options e;
  brc_option_set set = {.tables = {{rows, BRC_COUNT(rows), &e, "Export"}}, .count = 1};
  if (brc_cli_help(
          argc, argv,
          "usage: brc export RUN --onnx FILE | --c FILE.h [options]\n\nWrites the mean policy of RUN's last "
          "checkpoint.\n")) {
    brc_options_help(&set);
    return BRC_OK;
  }
  const char *words[1];
  size_t count;
  brc_policy *p = NULL;
  brc_options_default(&set);
  brc_status st = brc_options_parse(&set, argc, argv, words, 1, &count, NULL);
  if (!st && !count) st = brc_fail(BRC_E_USAGE, "which run? usage: brc export RUN --onnx FILE | --c FILE.h");
  if (!st && !*e.onnx && !*e.c) st = brc_fail(BRC_E_USAGE, "nothing to write: give --onnx FILE or --c FILE.h");
  if (!st && *e.onnx && !strcmp(e.onnx, e.c))
    st = brc_fail(BRC_E_USAGE, "--onnx and --c name the same file, '%s'", e.c);
  if (!st) st = brc_policy_read(&p, words[0], *e.task ? e.task : NULL);
  if (!st && *e.c) st = brc_export_c(p, e.name, e.c);
  if (!st && *e.onnx) st = brc_export_onnx(p, e.onnx);
  if (!st) report(&e, words[0], p);
  brc_policy_free(p);
  return st;
}
