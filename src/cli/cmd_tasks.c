// brc tasks: what there is to train on. brc assets: the files that takes.
#include "base/options.h"
#include "cli/cli.h"
#include "envs/env.h"
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TASKS = 1024, PATH_BYTES = 4096 };

//------------------------ 1. brc tasks --------------------------------------------
typedef struct tasks_options {
  bool json;
  char assets[BRC_TEXT];
} tasks_options;

// NULL: the files are the user's own.
static const char *how_to_get(const brc_env_def *d) {
  const brc_asset_suite *s = d->asset ? brc_asset_suite_of(d->asset) : NULL;
  return s ? s->how_to_get : NULL;
}

static void show_task(const brc_env_def *d, const brc_assets *assets, bool json, cJSON *list) {
  char path[PATH_BYTES] = "";
  bool found = !d->asset || !brc_assets_find(assets, d->asset, path, sizeof path);
  if (!json) {
    printf("%-28s %-13s %5d %5d %7d  ", d->name, d->suite, d->obs_dim, d->act_dim, d->max_steps);
    if (found)
      printf("%s\n", d->asset ? path : "-");
    else if (how_to_get(d))
      printf("missing; run %s\n", how_to_get(d));
    else
      printf("missing; name the folder that has %s with --assets\n", d->asset);
    return;
  }
  cJSON *x = cJSON_CreateObject();
  cJSON_AddStringToObject(x, "name", d->name);
  cJSON_AddStringToObject(x, "suite", d->suite);
  cJSON_AddNumberToObject(x, "obs_dim", d->obs_dim);
  cJSON_AddNumberToObject(x, "action_dim", d->act_dim);
  cJSON_AddNumberToObject(x, "max_steps", d->max_steps);
  cJSON_AddNumberToObject(x, "random_score", d->random_score);
  cJSON_AddNumberToObject(x, "success_score", d->success_score);
  cJSON_AddBoolToObject(x, "assets_found", found);
  if (d->asset) cJSON_AddStringToObject(x, "asset", found ? path : d->asset);
  if (!found && how_to_get(d)) cJSON_AddStringToObject(x, "how_to_get", how_to_get(d));
  cJSON_AddItemToArray(list, x);
}

// The benchmarks with their members; all, or one by its name.
static void show_benchmarks(const char *only, bool json, cJSON *list) {
  if (!json && !only) printf("\n%-28s %s\n", "benchmark", "tasks, in the order of their embeddings");
  const char *name;
  for (size_t b = 0; (name = brc_benchmark_at(b)); b++) {
    const brc_env_def *tasks[MAX_TASKS];
    size_t n = 0;
    if ((only && strcmp(name, only)) || brc_env_resolve(name, tasks, BRC_COUNT(tasks), &n)) continue;
    if (!json && !only)
      printf("%-28s %zu: %s%s%s\n", name, n, tasks[0]->name, n > 1 ? " ... " : "",
             n > 1 ? tasks[n - 1]->name : "");
    if (!json) continue;
    cJSON *x = cJSON_CreateObject(), *members = NULL;
    cJSON_AddStringToObject(x, "name", name);
    members = cJSON_AddArrayToObject(x, "tasks");
    for (size_t i = 0; i < n; i++) cJSON_AddItemToArray(members, cJSON_CreateString(tasks[i]->name));
    cJSON_AddItemToArray(list, x);
  }
}

static bool is_benchmark(const char *word) {
  const char *name;
  for (size_t b = 0; (name = brc_benchmark_at(b)); b++)
    if (!strcmp(name, word)) return true;
  return false;
}

// The tasks of a word: all (NULL), a benchmark's in its order, or those whose name matches.
static size_t select_tasks(const char *word, bool benchmark, const brc_env_def **tasks) {
  size_t n = 0;
  if (benchmark) {
    brc_env_resolve(word, tasks, MAX_TASKS, &n);
    return n;
  }
  for (size_t i = 0; i < brc_env_count() && n < MAX_TASKS; i++)
    if (!word || !fnmatch(word, brc_env_at(i)->name, 0)) tasks[n++] = brc_env_at(i);
  return n;
}

brc_status brc_cmd_tasks(int argc, char **argv) {
  tasks_options opt;
  const brc_option rows[] = {
      {"json", BRC_OPT_FLAG, offsetof(tasks_options, json), 0, 0, "false", NULL, "one JSON object"},
      {"assets", BRC_OPT_TEXT, offsetof(tasks_options, assets), 0, 0, "", NULL,
       "folder with the environments' files, searched first"}};
  brc_option_set set = {.tables = {{rows, BRC_COUNT(rows), &opt, "Options"}}, .count = 1};
  if (brc_cli_help(
          argc, argv,
          "usage: brc tasks [PATTERN|BENCHMARK] [--json]\n\nPATTERN is a shell pattern, e.g. 'cartpole-*'; a "
          "benchmark's name lists its tasks.\n")) {
    brc_options_help(&set);
    return BRC_OK;
  }
  const char *words[1];
  size_t count;
  brc_options_default(&set);
  brc_status st = brc_options_parse(&set, argc, argv, words, 1, &count, NULL);
  if (st) return st;
  const char *word = count ? words[0] : NULL;
  const brc_env_def *tasks[MAX_TASKS];
  bool benchmark = word && is_benchmark(word);
  size_t n = select_tasks(word, benchmark, tasks);
  if (!n) return brc_fail(BRC_E_NOT_FOUND, "no task or benchmark matches '%s'", word);
  brc_assets assets = {*opt.assets ? opt.assets : NULL};
  cJSON *o = cJSON_CreateObject(), *list = cJSON_AddArrayToObject(o, "tasks"),
        *benchmarks = cJSON_AddArrayToObject(o, "benchmarks");
  if (!opt.json) printf("%-28s %-13s %5s %5s %7s  %s\n", "task", "suite", "obs", "act", "steps", "assets");
  for (size_t i = 0; i < n; i++) show_task(tasks[i], &assets, opt.json, list);
  if (!word || benchmark) show_benchmarks(word, opt.json, benchmarks);
  if (opt.json)
    brc_cli_print_json(o);
  else
    cJSON_Delete(o);
  return BRC_OK;
}

//------------------------ 2. brc assets -------------------------------------------
typedef struct assets_options {
  bool json;
  char assets[BRC_TEXT], from[BRC_TEXT], commit[BRC_TEXT], to[BRC_TEXT];
} assets_options;

// The models of a suite's tasks: how many there are and are found, the folder of the first found, one that is missing.
typedef struct suite_state {
  size_t models, found;
  char root[PATH_BYTES];
  const char *missing;
} suite_state;

static suite_state look(const brc_asset_suite *s, const brc_assets *assets) {
  suite_state x = {0};
  for (size_t i = 0; i < brc_env_count(); i++) {
    const char *asset = brc_env_at(i)->asset;
    char path[PATH_BYTES];
    if (!asset || brc_asset_suite_of(asset) != s) continue;
    x.models++;
    if (brc_assets_find(assets, asset, path, sizeof path)) {
      if (!x.missing) x.missing = asset;
      continue;
    }
    if (!x.found++)
      snprintf(x.root, sizeof x.root, "%.*s", (int)(strlen(path) - strlen(asset) + strlen(s->name)), path);
  }
  return x;
}

static brc_status list_assets(const assets_options *opt) {
  brc_assets assets = {*opt->assets ? opt->assets : NULL};
  cJSON *o = cJSON_CreateObject(), *list = cJSON_AddArrayToObject(o, "suites");
  const brc_asset_suite *s;
  if (!opt->json) printf("%-14s %-11s %-10s %s\n", "suite", "tasks", "licence", "where");
  for (size_t i = 0; (s = brc_asset_suite_at(i)); i++) {
    suite_state x = look(s, &assets);
    if (!opt->json) {
      char tasks[64];
      snprintf(tasks, sizeof tasks, "%zu of %zu", x.found, x.models);
      printf("%-14s %-11s %-10s %s\n", s->name, tasks, s->licence, x.found ? x.root : "-");
      if (x.missing) printf("%14s missing: %s; run %s (%d MB)\n", "", x.missing, s->how_to_get, s->megabytes);
      continue;
    }
    cJSON *row = cJSON_CreateObject();
    cJSON_AddStringToObject(row, "name", s->name);
    cJSON_AddStringToObject(row, "licence", s->licence);
    cJSON_AddNumberToObject(row, "tasks", (double)x.models);
    cJSON_AddNumberToObject(row, "tasks_found", (double)x.found);
    if (x.found) cJSON_AddStringToObject(row, "path", x.root);
    if (x.missing) cJSON_AddStringToObject(row, "missing", x.missing);
    cJSON_AddStringToObject(row, "how_to_get", s->how_to_get);
    if (s->url) cJSON_AddStringToObject(row, "repository", s->url);
    if (s->commit) cJSON_AddStringToObject(row, "commit", s->commit);
    cJSON_AddItemToArray(list, row);
  }
  if (opt->json)
    brc_cli_print_json(o);
  else
    cJSON_Delete(o);
  return BRC_OK;
}

// Whose the files are: the licence's first lines.
static void print_licence(const brc_asset_suite *s, const brc_asset_fetched *x) {
  FILE *f = fopen(x->licence, "r");
  char line[256];
  fprintf(stderr, "brc: %s comes under its own licence (%s), kept in %s:\n", s->name, s->licence, x->licence);
  for (int i = 0; f && i < 4 && fgets(line, sizeof line, f); i++)
    if (*line != '\n') fprintf(stderr, "  %s", line);
  if (f) fclose(f);
}

static brc_status fetch_one(const brc_asset_suite *s, const assets_options *opt, cJSON *list) {
  const char *from = *opt->from ? opt->from : getenv("BRC_ASSETS_URL");
  brc_asset_fetched x;
  brc_asset_fetch f = {.suite = s,
                       .url = from && *from ? from : s->url,
                       .commit = *opt->commit ? opt->commit : s->commit,
                       .to = *opt->to ? opt->to : NULL,
                       .stop = brc_cli_stop()};
  if (s->url)
    fprintf(stderr, "brc: %s: fetching commit %.12s of %s (about %d MB)\n", s->name, f.commit, f.url,
            s->megabytes);
  brc_status st = brc_assets_fetch(&f, &x);
  if (st) return st;
  if (!x.already) print_licence(s, &x);
  if (!opt->json) printf("%s %s\n", x.already ? "already there:" : "installed", x.path);
  cJSON *row = cJSON_CreateObject();
  cJSON_AddStringToObject(row, "name", s->name);
  cJSON_AddStringToObject(row, "path", x.path);
  cJSON_AddStringToObject(row, "commit", x.commit);
  cJSON_AddStringToObject(row, "licence", x.licence);
  cJSON_AddBoolToObject(row, "already", x.already);
  cJSON_AddItemToArray(list, row);
  return BRC_OK;
}

// The suites named; none: those that lack something and can be fetched.
static brc_status select_suites(const char *const *words, size_t count, const assets_options *opt,
                                const brc_asset_suite **suites, size_t *n) {
  const brc_asset_suite *s;
  *n = 0;
  if (!count) {
    brc_assets assets = {*opt->to ? opt->to : NULL};
    for (size_t i = 0; (s = brc_asset_suite_at(i)); i++)
      if (s->url && (*opt->to || look(s, &assets).missing)) suites[(*n)++] = s;
    return BRC_OK;
  }
  for (size_t w = 0; w < count; w++) {
    const char *names[16];
    char near[128];
    size_t all = 0;
    for (; (s = brc_asset_suite_at(all)) && all < BRC_COUNT(names); all++) names[all] = s->name;
    s = brc_asset_suite_find(words[w]);
    brc_nearest(words[w], names, all, 2, near, sizeof near);
    if (!s)
      return brc_fail(BRC_E_USAGE, "suite '%s' is unknown%s%s%s", words[w],
                      *near ? "; did you mean " : "; 'brc assets' lists them", near, *near ? "?" : "");
    suites[(*n)++] = s;
  }
  return BRC_OK;
}

static brc_status fetch_assets(const char *const *words, size_t count, const assets_options *opt) {
  const brc_asset_suite *suites[16];
  size_t n;
  brc_status st = select_suites(words, count, opt, suites, &n);
  if (st) return st;
  const char *from = getenv("BRC_ASSETS_URL");
  if (n > 1 && (*opt->from || *opt->commit || (from && *from)))
    return brc_fail(BRC_E_USAGE,
                    "--from, --commit and BRC_ASSETS_URL are about one repository: name one suite");
  cJSON *o = cJSON_CreateObject(), *list = cJSON_AddArrayToObject(o, "suites");
  for (size_t i = 0; !st && i < n; i++) st = fetch_one(suites[i], opt, list);
  if (!st && !n && !opt->json) printf("nothing is missing\n");
  if (!st && opt->json)
    brc_cli_print_json(o);
  else
    cJSON_Delete(o);
  return st;
}

brc_status brc_cmd_assets(int argc, char **argv) {
  assets_options opt;
#define TEXT(field, help) \
  { #field, BRC_OPT_TEXT, offsetof(assets_options, field), 0, 0, "", NULL, help }
  const brc_option rows[] = {
      {"json", BRC_OPT_FLAG, offsetof(assets_options, json), 0, 0, "false", NULL, "one JSON object"},
      TEXT(assets, "folder with the environments' files, searched first"),
      TEXT(from, "fetch: another repository (address or path) than the suite's own; default BRC_ASSETS_URL"),
      TEXT(commit, "fetch: another commit than the pinned one, whose files the results were checked with"),
      TEXT(to, "fetch: the folder that gets SUITE/; default the data folder")};
#undef TEXT
  brc_option_set set = {.tables = {{rows, BRC_COUNT(rows), &opt, "Options"}}, .count = 1};
  if (brc_cli_help(
          argc, argv,
          "usage: brc assets [--json]\n       brc assets fetch [SUITE...] [--from URL] [--to DIR]\n\nWithout a "
          "word: where the files of every suite's tasks were found, what is missing and how to get it.\nfetch "
          "gets "
          "them with git from their authors' repository, at the commit that this program was checked with; "
          "without SUITE\nwhat is missing. Nothing is half installed, whatever happens.\n")) {
    brc_options_help(&set);
    return BRC_OK;
  }
  const char *words[16];
  size_t count;
  brc_options_default(&set);
  brc_status st = brc_options_parse(&set, argc, argv, words, BRC_COUNT(words), &count, NULL);
  if (st) return st;
  if (!count) return list_assets(&opt);
  if (strcmp(words[0], "fetch"))
    return brc_fail(BRC_E_USAGE, "assets '%s' is unknown; there is fetch", words[0]);
  return fetch_assets(words + 1, count - 1, &opt);
}
