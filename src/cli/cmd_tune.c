// brc tune: every candidate for every product of an update and of acting, measured again; the fastest replace those in the cache.
#include "cli/bench.h"
#include <math.h>
#include <string.h>

typedef struct tune_options {
  int64_t obs, act, tasks;
  double seconds;
  char out[BRC_TEXT];
  bool json;
} tune_options;

static void print_row(const char *product, const brc_tuned *t) {
  const double flop = 2.0 * t->best.m * t->best.n * t->best.k * t->best.members;
  printf("  %-44s %5u %10u %10.4f %10.1f %10.4f %10.1f  %s\n", product, t->calls, t->candidates,
         t->rule_s * 1e3, flop / t->rule_s * 1e-9, t->best_s * 1e3, flop / t->best_s * 1e-9,
         *t->best.choice ? t->best.choice : "-");
}

static cJSON *row_json(const char *product, const brc_tuned *t) {
  cJSON *x = cJSON_CreateObject();
  cJSON_AddStringToObject(x, "product", product);
  cJSON_AddStringToObject(x, "choice", t->best.choice);
  cJSON_AddNumberToObject(x, "calls", t->calls);
  cJSON_AddNumberToObject(x, "candidates", t->candidates);
  cJSON_AddNumberToObject(x, "rule_ms", t->rule_s * 1e3);
  cJSON_AddNumberToObject(x, "best_ms", t->best_s * 1e3);
  return x;
}

// `self`: with --json the array of rows, else NULL.
static void tell(void *self, const brc_tuned *t) {
  char product[96];
  brc_choice_text(&t->best, product, sizeof product);
  if (self)
    cJSON_AddItemToArray(self, row_json(product, t));
  else
    print_row(product, t);
}

static void tell_end(cJSON *report, const brc_tune_report *r, const brc_choices *choices, const char *path) {
  if (!report) {
    printf(
        "  %u of %u products in %.1f s; together %.3f ms by the built-in table, %.3f ms with these %u "
        "choices\n",
        r->measured, r->products, r->seconds, r->rule_s * 1e3, r->best_s * 1e3, choices->count);
    if (*path) printf("  kept in %s\n", path);
    return;
  }
  cJSON_AddNumberToObject(report, "distinct", r->products);
  cJSON_AddNumberToObject(report, "measured", r->measured);
  cJSON_AddNumberToObject(report, "choices", choices->count);
  cJSON_AddNumberToObject(report, "seconds", r->seconds);
  cJSON_AddNumberToObject(report, "rule_ms", r->rule_s * 1e3);
  cJSON_AddNumberToObject(report, "best_ms", r->best_s * 1e3);
  cJSON_AddStringToObject(report, "file", path);
}

static brc_status tune(const brc_train_config *c, const tune_options *o) {
  char path[BRC_TUNING_PATH] = "";
  brc_device *d = NULL;
  brc_tuned_programs programs = {0};
  brc_choices choices;
  brc_tune_report r;
  brc_status st = brc_open_device(c, NULL, &d);
  if (!st) st = brc_tuned_programs_plan(&programs, c);
  // What is chosen among forced providers is not what a run without --gemm looks for.
  if (!st && !*c->gemm) st = brc_tuning_path(d, programs.list, path, sizeof path);
  cJSON *report = !st && o->json ? bench_report("tune", d, c->precision) : NULL;
  if (!st && !o->json)
    printf("products of a step on %s (%s), %s: W %lld, B %lld\n  %-44s %5s %10s %10s %10s %10s %10s  %s\n",
           d->info.name, d->backend->name, c->precision, (long long)c->agent.width, (long long)c->agent.batch,
           "", "calls", "candidates", "rule ms", "GFLOP/s", "best ms", "GFLOP/s", "choice");
  if (!st)
    st = brc_tune(d, programs.list, o->seconds, &choices, &r, tell,
                  report ? cJSON_AddArrayToObject(report, "products") : NULL);
  if (!st && *o->out) st = brc_tuning_write(o->out, d, &choices);
  if (!st && *path) st = brc_tuning_keep(path, d, &choices);
  if (!st) tell_end(report, &r, &choices, path);
  if (!st && report)
    brc_cli_print_json(report);
  else
    cJSON_Delete(report);
  brc_tuned_programs_free(&programs);
  brc_device_close(d);
  return st;
}

brc_status brc_cmd_tune(int argc, char **argv) {
  static brc_train_config c;
  static tune_options o;
  const brc_option rows[] = {
      {"obs", BRC_OPT_INT, offsetof(tune_options, obs), 1, 1 << 20, "223", NULL,
       "observation dimension, where no tasks are named"},
      {"act", BRC_OPT_INT, offsetof(tune_options, act), 1, 1 << 16, "38", NULL, "action dimension"},
      {"tasks", BRC_OPT_INT, offsetof(tune_options, tasks), 1, 65536, "4", NULL, "number of tasks"},
      {"seconds", BRC_OPT_REAL, offsetof(tune_options, seconds), 0.001, 3600, "30", NULL,
       "time for measuring; products with the most work come first"},
      {"out", BRC_OPT_TEXT, offsetof(tune_options, out), 0, 0, "", NULL,
       "also write the choices to this file, for --tuning FILE"},
      {"json", BRC_OPT_FLAG, offsetof(tune_options, json), 0, 0, "false", NULL, "one JSON object"}};
  brc_option_set set = {.tables = {{rows, BRC_COUNT(rows), &o, "Tune"},
                                   {brc_agent_options, brc_agent_option_count, &c.agent, "BRC"},
                                   {brc_device_option_rows, brc_device_option_count, &c, "Device"}},
                        .count = 3};
  if (brc_cli_help(argc, argv,
                   "usage: brc tune [TASKS...] [options]\n\nMeasures who computes each matrix product of a "
                   "training step fastest on the device, and keeps the choices in the\ncache, where brc train "
                   "looks for them. A run that has begun keeps its own.\n")) {
    brc_options_help(&set);
    return BRC_OK;
  }
  const char *words[256];
  size_t count;
  brc_options_default(&set);
  brc_status st = brc_options_parse(&set, argc, argv, words, BRC_COUNT(words), &count, NULL);
  for (size_t i = 0; !st && i < count; i++) {
    st = brc_train_add_tasks(&c, words[i]);
    if (st == BRC_E_NOT_FOUND) st = BRC_E_USAGE;
  }
  if (st) return st;
  if (c.task_count) {
    st = brc_train_resolve(&c);
  } else {
    c.agent.obs_dim = o.obs;
    c.agent.action_dim = o.act;
    c.agent.tasks = o.tasks;
    c.agent.target_entropy = NAN;
    st = brc_agent_config_resolve(&c.agent);
  }
  return st ? st : tune(&c, &o);
}
