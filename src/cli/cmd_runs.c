// brc runs: a table of the runs below a folder.
#include "base/file.h"
#include "base/options.h"
#include "cli/cli.h"
#include "train/results.h"
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { DEEPEST = 12 };

//------------------------ 1. Which folders ---------------------------------------
typedef struct found {
  char **paths;
  size_t count;
} found;

static brc_status add(found *f, const char *path) {
  char **more = realloc(f->paths, (f->count + 1) * sizeof *more);
  if (more) f->paths = more;
  if (!more || !(f->paths[f->count] = strdup(path))) return brc_fail(BRC_E_NOMEM, "out of memory");
  f->count++;
  return BRC_OK;
}

// Folders with a config.json; nothing is looked for inside one, in hidden folders, or where a link leads.
static brc_status walk(found *f, const char *folder, int depth) {
  char path[4096];
  snprintf(path, sizeof path, "%s/config.json", folder);
  if (brc_path_exists(path)) return add(f, folder);
  DIR *d = depth < DEEPEST ? opendir(folder) : NULL;
  if (!d) return BRC_OK;
  brc_status st = BRC_OK;
  for (struct dirent *x; !st && (x = readdir(d));) {
    struct stat info;
    if (x->d_name[0] == '.' || snprintf(path, sizeof path, "%s/%s", folder, x->d_name) >= (int)sizeof path ||
        lstat(path, &info))
      continue;
    if (S_ISDIR(info.st_mode)) st = walk(f, path, depth + 1);
  }
  closedir(d);
  return st;
}

static int by_name(const void *a, const void *b) { return strverscmp(*(char *const *)a, *(char *const *)b); }

//------------------------ 2. One run ---------------------------------------------
// Of the newest rows of train.csv (else log.csv), so that the quick random steps at the start do not count.
static double steps_per_s(const brc_result *r) {
  const brc_table *t = r->train.row_count ? &r->train : &r->log;
  size_t n = t->row_count, first = n > 10 ? n - 10 : 0;
  if (!n) return NAN;
  double steps = brc_table_at(t, n - 1, "env_steps"), s = brc_table_at(t, n - 1, "wall_s");
  if (n > 1) steps -= brc_table_at(t, first, "env_steps"), s -= brc_table_at(t, first, "wall_s");
  return s > 0 ? steps / s : NAN;
}

static double newest_step(const brc_result *r) {
  double step = 0;
  if (r->log.row_count) step = brc_table_at(&r->log, r->log.row_count - 1, "env_steps");
  if (r->train.row_count) step = fmax(step, brc_table_at(&r->train, r->train.row_count - 1, "env_steps"));
  return step;
}

// The newest evaluation's return of a task; NAN before the first.
static double score(const brc_result *r, size_t task) {
  char column[512];
  snprintf(column, sizeof column, "eval_return/%s", brc_result_task(r, task));
  return r->log.row_count ? brc_table_at(&r->log, r->log.row_count - 1, column) : NAN;
}

// Up to three tasks one by one, more as their mean.
static void scores_text(const brc_result *r, char *out, size_t bytes) {
  double sum = 0;
  size_t used = 0;
  snprintf(out, bytes, "-");
  if (!r->log.row_count) return;
  for (size_t i = 0; i < r->task_count; i++) {
    sum += score(r, i);
    if (r->task_count <= 3 && used < bytes)
      used += (size_t)snprintf(out + used, bytes - used, "%s%.4g", i ? " " : "", score(r, i));
  }
  if (r->task_count > 3) snprintf(out, bytes, "mean %.4g", sum / (double)r->task_count);
}

//------------------------ 3. The table -------------------------------------------
enum { COLUMNS = 7 };
typedef struct table_row {
  char cell[COLUMNS][128];
} table_row;

static void fill(table_row *row, const brc_result *r) {
  char setting[BRC_TEXT], rate[32] = "-";
  snprintf(row->cell[0], sizeof *row->cell, "%.127s", r->path);
  brc_result_tasks_text(r, 2, row->cell[1], sizeof *row->cell);
  brc_result_setting(r, "seed", row->cell[2], sizeof *row->cell);
  brc_result_setting(r, "steps", setting, sizeof setting);
  snprintf(row->cell[3], sizeof *row->cell, "%.0f/%.40s", newest_step(r), setting);
  scores_text(r, row->cell[4], sizeof *row->cell);
  double s = steps_per_s(r);
  if (s > 0) snprintf(rate, sizeof rate, s < 10 ? "%.1f" : "%.0f", s);
  snprintf(row->cell[5], sizeof *row->cell, "%s", rate);
  brc_result_setting(r, "device_name", setting, sizeof setting);
  brc_result_setting(r, "backend", row->cell[6], sizeof *row->cell);
  size_t n = strlen(row->cell[6]);
  snprintf(row->cell[6] + n, sizeof *row->cell - n, ": %.60s", setting);
}

// Columns as wide as their widest cell; numbers to the right.
static void print_table(const table_row *rows, size_t count) {
  int width[COLUMNS] = {0};
  for (size_t i = 0; i < count; i++)
    for (int c = 0; c < COLUMNS; c++)
      if ((int)strlen(rows[i].cell[c]) > width[c]) width[c] = (int)strlen(rows[i].cell[c]);
  for (size_t i = 0; i < count; i++)
    for (int c = 0; c < COLUMNS; c++) {
      bool number = c >= 2 && c <= 5;
      printf("%*s%s",
             number            ? width[c]
             : c + 1 < COLUMNS ? -width[c]
                               : 0,
             rows[i].cell[c], c + 1 < COLUMNS ? "  " : "\n");
    }
}

static cJSON *describe(const brc_result *r) {
  cJSON *o = cJSON_CreateObject(), *scores;
  static const char *const settings[] = {"tasks", "seed", "steps", "backend", "device_name"};
  cJSON_AddStringToObject(o, "run", r->path);
  for (size_t i = 0; i < BRC_COUNT(settings); i++) {
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(r->config, settings[i]);
    cJSON_AddItemToObject(o, settings[i], v ? cJSON_Duplicate(v, true) : cJSON_CreateNull());
  }
  cJSON_AddNumberToObject(o, "env_steps", newest_step(r));
  cJSON_AddNumberToObject(o, "steps_per_s", steps_per_s(r));  // NaN becomes null
  scores = cJSON_AddObjectToObject(o, "eval_return");
  for (size_t i = 0; i < r->task_count; i++)
    cJSON_AddNumberToObject(scores, brc_result_task(r, i), score(r, i));
  return o;
}

//------------------------ 4. The command ------------------------------------------
// What cannot be read is said at once and counted; the others are shown all the same.
static brc_status read_all(const found *f, table_row *rows, size_t *shown, cJSON *list) {
  size_t bad = 0;
  for (size_t i = 0; i < f->count; i++) {
    brc_result *r;
    if (brc_result_read(&r, f->paths[i])) {
      fprintf(stderr, "brc: %s\n", brc_error());
      bad++;
      continue;
    }
    fill(&rows[(*shown)++], r);
    cJSON_AddItemToArray(list, describe(r));
    brc_result_free(r);
  }
  return bad ? brc_fail(BRC_E_FORMAT, "%zu of %zu runs could not be read", bad, f->count) : BRC_OK;
}

static brc_status list_runs(const char *folder, const found *f, bool json) {
  table_row *rows = calloc(f->count + 1, sizeof *rows);
  if (!rows) return brc_fail(BRC_E_NOMEM, "out of memory");
  rows[0] = (table_row){{"run", "tasks", "seed", "step", "return", "steps/s", "device"}};
  cJSON *o = cJSON_CreateObject();
  size_t shown = 1;
  brc_status st = read_all(f, rows, &shown, cJSON_AddArrayToObject(o, "runs"));
  if (json) {
    brc_cli_print_json(o);
  } else {
    if (shown > 1) print_table(rows, shown);
    if (!f->count) printf("no run below %s\n", folder);
    cJSON_Delete(o);
  }
  free(rows);
  return st;
}

static const char usage[] =
    "usage: brc runs [DIR] [--json]\n\n"
    "The runs below DIR (default: runs): tasks, seed, step, the newest evaluation's return of every task (the\n"
    "mean where there are more than three), environment steps per second lately, device.\n";

brc_status brc_cmd_runs(int argc, char **argv) {
  bool json = false;
  const brc_option row = {"json", BRC_OPT_FLAG, 0, 0, 0, "false", NULL, "one JSON object"};
  brc_option_set set = {.tables = {{&row, 1, &json, "Output"}}, .count = 1};
  if (brc_cli_help(argc, argv, usage)) {
    brc_options_help(&set);
    return BRC_OK;
  }
  const char *words[1] = {"runs"};
  size_t count;
  brc_status st = brc_options_parse(&set, argc, argv, words, 1, &count, NULL);
  if (st) return st;
  if (!brc_path_exists(words[0])) return brc_fail(BRC_E_NOT_FOUND, "folder '%s' is not there", words[0]);
  found f = {0};
  st = walk(&f, words[0], 0);
  if (f.count) qsort(f.paths, f.count, sizeof *f.paths, by_name);
  if (!st) st = list_runs(words[0], &f, json);
  for (size_t i = 0; i < f.count; i++) free(f.paths[i]);
  free(f.paths);
  return st;
}
