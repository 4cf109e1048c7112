// brc compare: what differs between two groups of runs, in configuration and in curves.
#include "base/options.h"
#include "cli/cli.h"
#include "train/results.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct compare_options {
  char column[BRC_TEXT];
  bool json;
} compare_options;

//------------------------ 1. Configuration ----------------------------------------
// The values of a key in a group's runs, each once: "0, 1, 2".
static void values_of(const brc_result_group *g, const char *key, char *out, size_t bytes) {
  *out = 0;
  for (size_t i = 0; i < g->count; i++) {
    char one[256], other[256];
    size_t k = 0, used = strlen(out);
    brc_result_setting(g->runs[i], key, one, sizeof one);
    for (; k < i; k++) {
      brc_result_setting(g->runs[k], key, other, sizeof other);
      if (!strcmp(one, other)) break;
    }
    if (k == i) snprintf(out + used, bytes - used, "%s%s", used ? ", " : "", one);
  }
}

static void add_difference(const brc_result_group g[2], const char *key, cJSON *differences) {
  char a[512], b[512];
  // The words of the command line say the same again.
  if (!strcmp(key, "command_line") || cJSON_HasObjectItem(differences, key)) return;
  values_of(&g[0], key, a, sizeof a);
  values_of(&g[1], key, b, sizeof b);
  if (!strcmp(a, b)) return;
  cJSON *pair = cJSON_AddObjectToObject(differences, key);
  cJSON_AddStringToObject(pair, "a", a);
  cJSON_AddStringToObject(pair, "b", b);
}

static cJSON *differences(const brc_result_group g[2]) {
  cJSON *out = cJSON_CreateObject();
  for (int k = 0; k < 2; k++)
    for (size_t i = 0; i < g[k].count; i++) {
      const cJSON *entry;
      cJSON_ArrayForEach(entry, g[k].runs[i]->config) add_difference(g, entry->string, out);
    }
  return out;
}

//------------------------ 2. Curves -----------------------------------------------
// The steps at which all runs of both groups have a value; the series of both, first those of A.
typedef struct common {
  brc_series *series;
  size_t runs[2];
  double *steps;
  size_t count;
} common;

static void free_common(common *c) {
  for (size_t i = 0; c->series && i < c->runs[0] + c->runs[1]; i++) brc_series_free(&c->series[i]);
  free(c->series);
  free(c->steps);
}

static brc_status read_common(common *c, const brc_result_group g[2], const char *column, const char *task) {
  size_t all = g[0].count + g[1].count;
  *c = (common){.series = calloc(all, sizeof *c->series), .runs = {g[0].count, g[1].count}};
  brc_status st = c->series ? BRC_OK : brc_fail(BRC_E_NOMEM, "out of memory");
  for (size_t i = 0; !st && i < all; i++)
    st =
        brc_series_read(&c->series[i], i < g[0].count ? g[0].runs[i] : g[1].runs[i - g[0].count], column, task);
  if (!st) c->steps = calloc(c->series[0].count + 1, sizeof *c->steps);
  if (!st && !c->steps) st = brc_fail(BRC_E_NOMEM, "out of memory");
  for (size_t i = 0; !st && i < c->series[0].count; i++) {
    size_t have = 0;
    for (size_t k = 0; k < all; k++) have += !isnan(brc_series_at(&c->series[k], c->series[0].step[i]));
    if (have == all) c->steps[c->count++] = c->series[0].step[i];
  }
  return st;
}

static double final_value(const common *c, const brc_series *s) {
  return brc_series_at(s, c->steps[c->count - 1]);
}

// The area under the curve over the steps that it spans: the curve's mean, in its own unit.
static double area(const common *c, const brc_series *s) {
  if (c->count == 1) return final_value(c, s);
  double sum = 0;
  for (size_t i = 1; i < c->count; i++)
    sum += (c->steps[i] - c->steps[i - 1]) *
           (brc_series_at(s, c->steps[i]) + brc_series_at(s, c->steps[i - 1])) / 2;
  return sum / (c->steps[c->count - 1] - c->steps[0]);
}

static void add_interval(cJSON *o, const char *name, brc_interval x) {
  cJSON *i = cJSON_AddObjectToObject(o, name);
  cJSON_AddNumberToObject(i, "mean", x.mean);
  cJSON_AddNumberToObject(i, "low", x.mean - x.half);  // NaN becomes null: too few runs to tell
  cJSON_AddNumberToObject(i, "high", x.mean + x.half);
}

static brc_status add_measure(cJSON *task, const char *name, const common *c,
                              double (*measure)(const common *, const brc_series *)) {
  size_t all = c->runs[0] + c->runs[1];
  double *x = calloc(all, sizeof *x);
  if (!x) return brc_fail(BRC_E_NOMEM, "out of memory");
  for (size_t i = 0; i < all; i++) x[i] = measure(c, &c->series[i]);
  cJSON *o = cJSON_AddObjectToObject(task, name);
  add_interval(o, "a", brc_mean95(x, c->runs[0]));
  add_interval(o, "b", brc_mean95(x + c->runs[0], c->runs[1]));
  add_interval(o, "difference", brc_welch95(x, c->runs[0], x + c->runs[0], c->runs[1]));
  free(x);
  return BRC_OK;
}

static brc_status compare_task(const brc_result_group g[2], const char *column, const char *task, cJSON *list) {
  common c;
  brc_status st = read_common(&c, g, column, task);
  if (!st && c.count) {
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "task", task ? task : "");
    cJSON_AddNumberToObject(o, "first_step", c.steps[0]);
    cJSON_AddNumberToObject(o, "last_step", c.steps[c.count - 1]);
    cJSON_AddNumberToObject(o, "evaluations", (double)c.count);
    st = add_measure(o, "final", &c, final_value);
    if (!st) st = add_measure(o, "area", &c, area);
    cJSON_AddItemToArray(list, o);
  }
  free_common(&c);
  return st;
}

static bool all_have(const brc_result_set *s, size_t tasks) {
  for (size_t i = 0; i < s->count; i++)
    if (s->runs[i]->task_count != tasks) return false;
  return true;
}

static brc_status compare_curves(const brc_result_set *s, const char *column, cJSON *list) {
  const char **tasks = NULL;
  size_t count = 0;
  bool per_task;
  brc_status st = brc_results_column(s, column, &per_task);
  if (!st) st = brc_results_tasks(s, &tasks, &count);
  if (!st && !per_task) st = compare_task(s->groups, column, NULL, list);
  for (size_t i = 0; !st && per_task && i < count; i++) st = compare_task(s->groups, column, tasks[i], list);
  if (!st && per_task && count > 1 && all_have(s, count))
    st = compare_task(s->groups, column, BRC_ALL_TASKS, list);
  free(tasks);
  if (!st && !cJSON_GetArraySize(list))
    st = brc_fail(BRC_E_NOT_FOUND, "there is no step at which all runs have a value of '%s' for the same task",
                  column);
  return st;
}

//------------------------ 3. Output -----------------------------------------------
static void describe_group(const brc_result_group *g, const char *name, bool json, cJSON *o) {
  char seeds[512];
  values_of(g, "seed", seeds, sizeof seeds);
  if (!json)
    printf("%s: %s (%zu run%s, seed%s %s)\n", name, g->label, g->count, g->count > 1 ? "s" : "",
           g->count > 1 ? "s" : "", seeds);
  cJSON *group = cJSON_AddObjectToObject(o, *name == 'A' ? "a" : "b"), *list;
  cJSON_AddStringToObject(group, "label", g->label);
  list = cJSON_AddArrayToObject(group, "runs");
  for (size_t i = 0; i < g->count; i++) cJSON_AddItemToArray(list, cJSON_CreateString(g->runs[i]->path));
}

static void print_differences(const cJSON *all) {
  const cJSON *x;
  int key = 13, a = 1;
  cJSON_ArrayForEach(x, all) {
    int n = (int)strlen(x->string), m = (int)strlen(cJSON_GetObjectItem(x, "a")->valuestring);
    if (n > key) key = n;
    if (m > a) a = m;
  }
  printf("\n%-*s  %-*s  B\n", key, "configuration", a, "A");
  if (!cJSON_GetArraySize(all)) printf("the same\n");
  cJSON_ArrayForEach(x, all)
      printf("%-*s  %-*s  %s\n", key, x->string, a, cJSON_GetObjectItem(x, "a")->valuestring,
             cJSON_GetObjectItem(x, "b")->valuestring);
}

static double number(const cJSON *o, const char *interval, const char *which) {
  const cJSON *x = cJSON_GetObjectItem(cJSON_GetObjectItem(o, interval), which);
  return cJSON_IsNumber(x) ? x->valuedouble : NAN;
}

static void print_measure(int width, const cJSON *task, const char *what) {
  const cJSON *o = cJSON_GetObjectItem(task, what);
  double low = number(o, "difference", "low"), high = number(o, "difference", "high");
  char interval[64] = "too few runs";
  if (!isnan(low) && !isnan(high)) snprintf(interval, sizeof interval, "[%.4g, %.4g]", low, high);
  printf("%-*s  %9.0f  %-5s  %10.4g  %10.4g  %+10.4g  %s%s\n", width,
         cJSON_GetObjectItem(task, "task")->valuestring, cJSON_GetObjectItem(task, "last_step")->valuedouble,
         what, number(o, "a", "mean"), number(o, "b", "mean"), number(o, "difference", "mean"), interval,
         low > 0 || high < 0 ? " *" : "");
}

static void print_curves(const char *column, const cJSON *list) {
  const cJSON *x;
  int width = 4;
  cJSON_ArrayForEach(x, list) {
    int n = (int)strlen(cJSON_GetObjectItem(x, "task")->valuestring);
    if (n > width) width = n;
  }
  printf(
      "\n%s: at the last step that all runs have, and the mean height of the curve up to there (area / "
      "steps)\n",
      column);
  printf("%-*s  %9s  %-5s  %10s  %10s  %10s  95%% interval (Welch)\n", width, "task", "step", "", "A", "B",
         "B - A");
  cJSON_ArrayForEach(x, list) {
    print_measure(width, x, "final");
    print_measure(width, x, "area");
  }
}

static const char usage[] =
    "usage: brc compare A B [options]\n\n"
    "A and B are run folders, several of them with commas between, or quoted shell patterns: the runs of a "
    "group differ\n"
    "in their seed. LABEL=RUNS gives a group a name. Shown are the entries of config.json that differ, and per "
    "task the\n"
    "difference B - A at the last step that all runs have, and of the mean height of the curves up to there, "
    "with 95%\n"
    "intervals (Welch; * where 0 lies outside; intervals are not corrected for the number of tasks). A group "
    "of one run\n"
    "has no interval.\n";

brc_status brc_cmd_compare(int argc, char **argv) {
  compare_options o;
  const brc_option rows[] = {
      {"column", BRC_OPT_TEXT, offsetof(compare_options, column), 0, 0, "eval_return", NULL,
       "column of log.csv (without /TASK) or train.csv"},
      {"json", BRC_OPT_FLAG, offsetof(compare_options, json), 0, 0, "false", NULL, "one JSON object"}};
  brc_option_set set = {.tables = {{rows, BRC_COUNT(rows), &o, "Options"}}, .count = 1};
  if (brc_cli_help(argc, argv, usage)) {
    brc_options_help(&set);
    return BRC_OK;
  }
  const char *words[2];
  size_t count;
  brc_result_set runs;
  brc_options_default(&set);
  brc_status st = brc_options_parse(&set, argc, argv, words, 2, &count, NULL);
  if (!st && count != 2) st = brc_fail(BRC_E_USAGE, "which runs? usage: brc compare A B");
  if (!st) st = brc_results_select(&runs, words, 2, BRC_BY_WORD);
  if (st) return st;
  if (runs.group_count != 2) st = brc_fail(BRC_E_NOT_FOUND, "a side has no run with an evaluation");
  cJSON *object = cJSON_CreateObject(), *curves = cJSON_CreateArray();
  if (!st) st = compare_curves(&runs, o.column, curves);
  if (!st) {
    describe_group(&runs.groups[0], "A", o.json, object);
    describe_group(&runs.groups[1], "B", o.json, object);
    cJSON *different = differences(runs.groups);
    if (!o.json) print_differences(different);
    if (!o.json) print_curves(o.column, curves);
    cJSON_AddStringToObject(object, "column", o.column);
    cJSON_AddItemToObject(object, "configuration", different);
    cJSON_AddItemToObject(object, "tasks", curves);
  } else {
    cJSON_Delete(curves);
  }
  if (!st && o.json)
    brc_cli_print_json(object);
  else
    cJSON_Delete(object);
  brc_results_free(&runs);
  return st;
}
