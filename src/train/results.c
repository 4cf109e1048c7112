#include "train/results.h"
#include "base/file.h"
#include "train/train.h"
#include <glob.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

const char BRC_ALL_TASKS[] = "mean over tasks";

//------------------------ 1. Tables -----------------------------------------------
static size_t fields_of(const char *line) {
  size_t n = 1;
  for (; *line; line++) n += *line == ',';
  return n;
}

// Cut the next line of *at off, and its carriage return. NULL at the end; *whole: it had an end of line.
static char *next_line(char **at, bool *whole) {
  char *line = *at, *end = strchr(line, '\n');
  if (!*line) return NULL;
  *whole = end != NULL;
  *at = end ? end + 1 : line + strlen(line);
  if (end) *end = 0;
  if (end && end > line && end[-1] == '\r') end[-1] = 0;
  return line;
}

static brc_status read_header(brc_table *t, const char *path, char *line) {
  t->columns = calloc(fields_of(line), sizeof *t->columns);
  if (!t->columns) return brc_fail(BRC_E_NOMEM, "%s: out of memory", path);
  for (char *name = line; name; t->column_count++) {
    char *comma = strchr(name, ',');
    if (comma) *comma = 0;
    t->columns[t->column_count] = name;
    name = comma ? comma + 1 : NULL;
  }
  if (strcmp(t->columns[0], "env_steps"))
    return brc_fail(BRC_E_FORMAT, "%s:1: the first column is '%.40s', expected 'env_steps'", path,
                    t->columns[0]);
  return BRC_OK;
}

static brc_status read_row(brc_table *t, const char *path, size_t number, char *line, double *row) {
  size_t fields = fields_of(line);
  if (fields != t->column_count)
    return brc_fail(BRC_E_FORMAT, "%s:%zu: %zu fields, the header names %zu", path, number, fields,
                    t->column_count);
  for (size_t i = 0; i < fields; i++) {
    char *end, *comma = strchr(line, ',');
    if (comma) *comma = 0;
    row[i] = *line ? strtod(line, &end) : NAN;
    if (*line && (end == line || *end))
      return brc_fail(BRC_E_FORMAT, "%s:%zu: column '%.80s': '%.40s' is not a number", path, number,
                      t->columns[i], line);
    line = comma ? comma + 1 : line;
  }
  if (!isfinite(row[0]) || (t->row_count && row[0] <= row[-(ptrdiff_t)fields]))
    return brc_fail(BRC_E_FORMAT, "%s:%zu: env_steps does not grow", path, number);
  return BRC_OK;
}

static brc_status parse(brc_table *t, const char *path, size_t bytes) {
  bool whole = false;
  char *at = t->text, *line;
  if (strlen(t->text) != bytes) return brc_fail(BRC_E_FORMAT, "%s holds a zero byte", path);
  size_t lines = 1;
  for (const char *c = t->text; *c; c++) lines += *c == '\n';
  line = next_line(&at, &whole);
  if (!line || !whole) return brc_fail(BRC_E_FORMAT, "%s:1: the header is cut short", path);
  brc_status st = read_header(t, path, line);
  if (st) return st;
  t->values = calloc(lines * t->column_count, sizeof *t->values);
  if (!t->values) return brc_fail(BRC_E_NOMEM, "%s: out of memory", path);
  for (size_t number = 2; !st && (line = next_line(&at, &whole)); number++) {
    if (!whole) {
      t->cut_line = number;
      break;
    }
    st = read_row(t, path, number, line, t->values + t->row_count * t->column_count);
    t->row_count += !st;
  }
  return st;
}

brc_status brc_table_read(brc_table *out, const char *path) {
  size_t bytes;
  *out = (brc_table){0};
  brc_status st = brc_file_read(path, &out->text, &bytes);
  if (!st) st = parse(out, path, bytes);
  if (st) brc_table_free(out);
  return st;
}

void brc_table_free(brc_table *t) {
  free(t->text);
  free(t->columns);
  free(t->values);
  *t = (brc_table){0};
}

// The column of this name, or -1.
static ptrdiff_t find(const brc_table *t, const char *name) {
  for (size_t i = 0; i < t->column_count; i++)
    if (!strcmp(t->columns[i], name)) return (ptrdiff_t)i;
  return -1;
}

double brc_table_at(const brc_table *t, size_t row, const char *column) {
  ptrdiff_t c = find(t, column);
  return c < 0 || row >= t->row_count ? NAN : t->values[row * t->column_count + (size_t)c];
}

//------------------------ 2. One run ----------------------------------------------
static brc_status read_config(brc_result *r) {
  char path[2 * BRC_TEXT], *text;
  size_t bytes;
  snprintf(path, sizeof path, "%s/config.json", r->path);
  brc_status st = brc_file_read(path, &text, &bytes);
  if (st == BRC_E_NOT_FOUND) return brc_fail(st, "'%s' is no run folder: it has no config.json", r->path);
  if (st) return st;
  const char *end = text;
  r->config = cJSON_ParseWithLengthOpts(text, bytes, &end, false);
  size_t line = 1;
  for (const char *c = text; c < end && c < text + bytes; c++) line += *c == '\n';
  free(text);
  if (!r->config) return brc_fail(BRC_E_FORMAT, "%s:%zu: this is not JSON, or it is cut short", path, line);
  const cJSON *tasks = cJSON_GetObjectItemCaseSensitive(r->config, "tasks"), *task;
  r->task_count = (size_t)cJSON_GetArraySize(tasks);
  if (!cJSON_IsArray(tasks) || !r->task_count)
    return brc_fail(BRC_E_FORMAT, "%s is not a run's configuration (a JSON object with \"tasks\")", path);
  cJSON_ArrayForEach(task, tasks) if (!cJSON_IsString(task)) st =
      brc_fail(BRC_E_FORMAT, "%s: a task is not a text", path);
  return st;
}

static brc_status read_log(const brc_result *r, const char *name, brc_table *out) {
  char path[2 * BRC_TEXT];
  snprintf(path, sizeof path, "%s/%s", r->path, name);
  struct stat info;
  if (!stat(path, &info) && S_ISREG(info.st_mode) && !info.st_size)
    return BRC_OK;  // a full disk kept its first row out
  brc_status st = brc_table_read(out, path);
  return st == BRC_E_NOT_FOUND ? BRC_OK : st;  // not begun yet
}

brc_status brc_result_read(brc_result **out, const char *run) {
  *out = NULL;
  brc_result *r = calloc(1, sizeof *r);
  if (!r) return brc_fail(BRC_E_NOMEM, "out of memory");
  snprintf(r->path, sizeof r->path, "%s", run);
  for (size_t n = strlen(r->path); n > 1 && r->path[n - 1] == '/'; n--) r->path[n - 1] = 0;
  brc_status st = read_config(r);
  if (!st) st = read_log(r, "log.csv", &r->log);
  if (!st) st = read_log(r, "train.csv", &r->train);
  if (st)
    brc_result_free(r);
  else
    *out = r;
  return st;
}

void brc_result_free(brc_result *r) {
  if (!r) return;
  cJSON_Delete(r->config);
  brc_table_free(&r->log);
  brc_table_free(&r->train);
  free(r);
}

const char *brc_result_task(const brc_result *r, size_t i) {
  return cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(r->config, "tasks"), (int)i)->valuestring;
}

void brc_result_tasks_text(const brc_result *r, size_t most, char *out, size_t bytes) {
  size_t shown = r->task_count <= most ? r->task_count : most, used = 0;
  for (size_t i = 0; i < shown && used < bytes; i++)
    used += (size_t)snprintf(out + used, bytes - used, "%s%s", i ? ", " : "", brc_result_task(r, i));
  if (shown < r->task_count && used < bytes)
    snprintf(out + used, bytes - used, " and %zu more", r->task_count - shown);
}

void brc_result_setting(const brc_result *r, const char *key, char *out, size_t bytes) {
  const cJSON *v = cJSON_GetObjectItemCaseSensitive(r->config, key);
  snprintf(out, bytes, "-");
  if (cJSON_IsNumber(v)) snprintf(out, bytes, "%.9g", v->valuedouble);
  if (cJSON_IsBool(v)) snprintf(out, bytes, "%s", cJSON_IsTrue(v) ? "true" : "false");
  if (cJSON_IsString(v)) snprintf(out, bytes, "%s", v->valuestring);
  if (!cJSON_IsArray(v) && !cJSON_IsObject(v)) return;
  char *text = cJSON_PrintUnformatted(v);
  if (text) snprintf(out, bytes, "%s", text);
  cJSON_free(text);
}

//------------------------ 3. Series -----------------------------------------------
static double value_at(const brc_table *t, size_t row, const ptrdiff_t *columns, size_t count) {
  double sum = 0;
  for (size_t i = 0; i < count; i++)
    sum += columns[i] < 0 ? NAN : t->values[row * t->column_count + (size_t)columns[i]];
  return sum / (double)count;
}

// The columns that make up the series, in one of the two tables.
static const brc_table *find_columns(const brc_result *r, const char *column, const char *task, ptrdiff_t *out,
                                     size_t *count) {
  const brc_table *const tables[] = {&r->log, &r->train};
  *count = task == BRC_ALL_TASKS ? r->task_count : 1;
  for (size_t k = 0; k < 2; k++) {
    bool any = false;
    for (size_t i = 0; i < *count; i++) {
      char name[512];
      const char *which = task == BRC_ALL_TASKS ? brc_result_task(r, i) : task;
      snprintf(name, sizeof name, "%s%s%s", column, which ? "/" : "", which ? which : "");
      out[i] = find(tables[k], name);
      any |= out[i] >= 0;
    }
    if (any) return tables[k];
  }
  return NULL;
}

brc_status brc_series_read(brc_series *out, const brc_result *r, const char *column, const char *task) {
  *out = (brc_series){0};
  size_t count;
  ptrdiff_t *columns = calloc(r->task_count + 1, sizeof *columns);
  const brc_table *t = columns ? find_columns(r, column, task, columns, &count) : NULL;
  size_t rows = t ? t->row_count : 0;
  out->step = calloc(rows + 1, sizeof *out->step);
  out->value = calloc(rows + 1, sizeof *out->value);
  brc_status st =
      columns && out->step && out->value ? BRC_OK : brc_fail(BRC_E_NOMEM, "%s: out of memory", r->path);
  for (size_t i = 0; !st && i < rows; i++) {
    double x = value_at(t, i, columns, count);
    if (isnan(x)) continue;
    out->step[out->count] = t->values[i * t->column_count];
    out->value[out->count++] = x;
  }
  free(columns);
  if (st) brc_series_free(out);
  return st;
}

void brc_series_free(brc_series *s) {
  free(s->step);
  free(s->value);
  *s = (brc_series){0};
}

double brc_series_at(const brc_series *s, double step) {
  size_t low = 0, high = s->count;
  while (low < high) {
    size_t middle = (low + high) / 2;
    if (s->step[middle] < step)
      low = middle + 1;
    else
      high = middle;
  }
  return low < s->count && s->step[low] == step ? s->value[low] : NAN;
}

//------------------------ 4. Which runs -------------------------------------------
static bool is_run(const char *path) {
  char config[4096];
  return snprintf(config, sizeof config, "%s/config.json", path) < (int)sizeof config &&
         brc_path_exists(config);
}

static brc_status add_run(brc_result_set *s, const char *path) {
  brc_result *r;
  brc_status st = brc_result_read(&r, path);
  if (st) return st;
  if (r->log.cut_line)
    fprintf(stderr, "brc: note: %s/log.csv:%zu is cut short and left out\n", r->path, r->log.cut_line);
  if (!r->log.row_count) {
    fprintf(stderr, "brc: note: '%s' has no evaluation yet and is left out (no row in its log.csv)\n", r->path);
    brc_result_free(r);
    return BRC_OK;
  }
  brc_result **more = realloc(s->runs, (s->count + 1) * sizeof *more);
  if (!more) {
    brc_result_free(r);
    return brc_fail(BRC_E_NOMEM, "out of memory");
  }
  s->runs = more;
  s->runs[s->count++] = r;
  return BRC_OK;
}

// The runs among what a pattern matches.
static brc_status add_pattern(brc_result_set *s, const char *pattern) {
  glob_t found;
  size_t runs = 0;
  brc_status st = BRC_OK;
  if (glob(pattern, 0, NULL, &found)) return brc_fail(BRC_E_NOT_FOUND, "'%s' is no run folder", pattern);
  for (size_t i = 0; !st && i < found.gl_pathc; i++) {
    if (!is_run(found.gl_pathv[i])) continue;
    runs++;
    st = add_run(s, found.gl_pathv[i]);
  }
  globfree(&found);
  if (!st && !runs)
    st = brc_fail(BRC_E_NOT_FOUND, "'%s' is no run folder, nor matches one: there is no config.json", pattern);
  return st;
}

static brc_status add_list(brc_result_set *s, const char *list) {
  if (brc_path_exists(list)) return add_run(s, list);
  char *copy = strdup(list), *rest = copy, *part;
  brc_status st = copy ? BRC_OK : brc_fail(BRC_E_NOMEM, "out of memory");
  while (!st && (part = strsep(&rest, ",")))
    if (*part) st = brc_path_exists(part) ? add_run(s, part) : add_pattern(s, part);
  free(copy);
  return st;
}

static brc_status add_group(brc_result_set *s, brc_result_group **out) {
  brc_result_group *more = realloc(s->groups, (s->group_count + 1) * sizeof *more);
  if (!more) return brc_fail(BRC_E_NOMEM, "out of memory");
  s->groups = more;
  *out = &s->groups[s->group_count++];
  **out = (brc_result_group){.label = ""};
  return BRC_OK;
}

static bool same_folder(const char *a, const char *b) {
  struct stat x, y;
  return !stat(a, &x) && !stat(b, &y) && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

// A run counts once in a group, however often it was named.
static brc_status add_to_group(brc_result_group *g, brc_result *r) {
  for (size_t i = 0; i < g->count; i++) {
    if (!same_folder(g->runs[i]->path, r->path)) continue;
    fprintf(stderr, "brc: note: '%s' is named more than once and counts once\n", r->path);
    return BRC_OK;
  }
  brc_result **more = realloc(g->runs, (g->count + 1) * sizeof *more);
  if (!more) return brc_fail(BRC_E_NOMEM, "out of memory");
  g->runs = more;
  g->runs[g->count++] = r;
  return BRC_OK;
}

//------------------------ 5. Same configuration -----------------------------------
// Settings that say how long, where and how a run is watched, not what it computes.
static bool decides(const char *option) {
  static const char *const others[] = {"seed",         "steps",  "run",    "threads",    "quiet",
                                       "json",         "gemm",   "tuning", "assets",     "checkpoint-interval",
                                       "log-interval", "device", "replay", "env-timeout"};
  for (size_t i = 0; i < BRC_COUNT(others); i++)
    if (!strcmp(option, others[i])) return false;
  return true;
}

// The deciding options of `brc train`: their keys in config.json, and defaults for configurations older than the option.
typedef struct setting {
  char key[64], fallback[64];
} setting;
static size_t settings(setting out[128]) {
  static brc_train_config unused;
  brc_option_set set = brc_train_option_set(&unused);
  size_t n = 0;
  for (size_t t = 0; t < set.count; t++)
    for (size_t i = 0; i < set.tables[t].count && n < 128; i++) {
      const brc_option *o = &set.tables[t].rows[i];
      if (!decides(o->name)) continue;
      snprintf(out[n].key, sizeof out[n].key, "%s", o->name);
      for (char *c = out[n].key; *c; c++) *c = *c == '-' ? '_' : *c;
      if (o->type == BRC_OPT_INT || o->type == BRC_OPT_REAL)
        snprintf(out[n].fallback, sizeof out[n].fallback, "%.9g", strtod(o->fallback, NULL));
      else
        snprintf(out[n].fallback, sizeof out[n].fallback, "%s", o->fallback);
      n++;
    }
  return n;
}

static void setting_text(const brc_result *r, const setting *s, char *out, size_t bytes) {
  if (cJSON_HasObjectItem(r->config, s->key))
    brc_result_setting(r, s->key, out, bytes);
  else
    snprintf(out, bytes, "%s", s->fallback);
}

static bool same_setting(const brc_result *a, const brc_result *b, const setting *s) {
  char x[BRC_TEXT], y[BRC_TEXT];
  setting_text(a, s, x, sizeof x);
  setting_text(b, s, y, sizeof y);
  return !strcmp(x, y);
}

static bool same_tasks(const brc_result *a, const brc_result *b) {
  return cJSON_Compare(cJSON_GetObjectItemCaseSensitive(a->config, "tasks"),
                       cJSON_GetObjectItemCaseSensitive(b->config, "tasks"), true);
}

static bool same_configuration(const brc_result *a, const brc_result *b) {
  setting list[128];
  size_t n = settings(list), i = 0;
  while (i < n && same_setting(a, b, &list[i])) i++;
  return i == n && same_tasks(a, b);
}

// A new group for a run, or that of its configuration. Groups that the user labelled take nobody in.
static brc_status sort_in(brc_result_set *s, brc_result *r, brc_grouping how) {
  brc_result_group *g = NULL;
  for (size_t i = 0; how == BRC_BY_CONFIGURATION && !g && i < s->group_count; i++)
    if (!*s->groups[i].label && same_configuration(s->groups[i].runs[0], r)) g = &s->groups[i];
  brc_status st = g ? BRC_OK : add_group(s, &g);
  if (!st && how == BRC_BY_RUN) snprintf(g->label, sizeof g->label, "%.255s", r->path);
  return st ? st : add_to_group(g, r);
}

//------------------------ 6. Labels -----------------------------------------------
static void append(char *label, size_t bytes, const char *fmt, const char *a, const char *b) {
  size_t n = strlen(label);
  snprintf(label + n, bytes - n, fmt, n ? ", " : "", a, b);
}

// What sets a group apart from the others without a label: the settings and tasks in which they differ.
static void label_by_difference(const brc_result_set *s, brc_result_group *g) {
  const brc_result *me = g->runs[0];
  setting list[128];
  size_t n = settings(list);
  char label[sizeof g->label] = "", text[BRC_TEXT];
  bool tasks_differ = false;
  for (size_t k = 0; k < s->group_count; k++) tasks_differ |= !same_tasks(s->groups[k].runs[0], me);
  brc_result_tasks_text(me, 2, text, sizeof text);
  if (tasks_differ) append(label, sizeof label, "%s%.100s%s", text, "");
  for (size_t i = 0; i < n; i++) {
    bool differ = false;
    for (size_t k = 0; k < s->group_count; k++) differ |= !same_setting(s->groups[k].runs[0], me, &list[i]);
    setting_text(me, &list[i], text, sizeof text);
    if (differ) append(label, sizeof label, "%s%.64s %.64s", list[i].key, text);
  }
  for (char *c = label; *c; c++) *c = *c == '_' ? ' ' : *c;
  if (!*label) append(label, sizeof label, "%s%.250s%s", g->count == 1 ? me->path : "mean", "");
  snprintf(g->label, sizeof g->label, "%s", label);
}

// Is it a folder, a pattern that matches something, or a list that begins with such? Else "=" ends a label.
static bool names_runs(const char *word) {
  char first[BRC_TEXT];
  glob_t found;
  snprintf(first, sizeof first, "%.*s", (int)strcspn(word, ","), word);
  if (brc_path_exists(word) || brc_path_exists(first)) return true;
  if (glob(first, 0, NULL, &found)) return false;
  globfree(&found);
  return true;
}

static brc_status take_word(brc_result_set *s, const char *word, brc_grouping how) {
  const char *equals = names_runs(word) ? NULL : strchr(word, '=');
  size_t first = s->count;
  brc_status st = add_list(s, equals ? equals + 1 : word);
  if (st || first == s->count) return st;
  if (!equals && how != BRC_BY_WORD) {
    for (size_t i = first; !st && i < s->count; i++) st = sort_in(s, s->runs[i], how);
    return st;
  }
  brc_result_group *g = NULL;
  st = add_group(s, &g);
  if (!st) snprintf(g->label, sizeof g->label, "%.*s", equals ? (int)(equals - word) : 255, word);
  for (size_t i = first; !st && i < s->count; i++) st = add_to_group(g, s->runs[i]);
  return st;
}

brc_status brc_results_select(brc_result_set *out, const char *const *words, size_t count, brc_grouping how) {
  *out = (brc_result_set){0};
  brc_status st = BRC_OK;
  for (size_t i = 0; !st && i < count; i++) st = take_word(out, words[i], how);
  if (!st && !out->count) st = brc_fail(BRC_E_NOT_FOUND, "no run with an evaluation is left");
  // Labels are told apart before any is set: "" marks those to come.
  for (size_t i = 0; !st && i < out->group_count; i++)
    if (!*out->groups[i].label) label_by_difference(out, &out->groups[i]);
  if (st) brc_results_free(out);
  return st;
}

void brc_results_free(brc_result_set *s) {
  for (size_t i = 0; i < s->group_count; i++) free(s->groups[i].runs);
  for (size_t i = 0; i < s->count; i++) brc_result_free(s->runs[i]);
  free(s->groups);
  free(s->runs);
  *s = (brc_result_set){0};
}

//------------------------ 7. Columns, tasks, curves -------------------------------
brc_status brc_results_tasks(const brc_result_set *s, const char ***out, size_t *count) {
  size_t most = 0, n = 0;
  for (size_t i = 0; i < s->count; i++) most += s->runs[i]->task_count;
  const char **tasks = calloc(most + 1, sizeof *tasks);
  if (!tasks) return brc_fail(BRC_E_NOMEM, "out of memory");
  for (size_t i = 0; i < s->count; i++)
    for (size_t k = 0; k < s->runs[i]->task_count; k++) {
      const char *task = brc_result_task(s->runs[i], k);
      size_t j = 0;
      while (j < n && strcmp(tasks[j], task)) j++;
      if (j == n) tasks[n++] = task;
    }
  *out = tasks;
  *count = n;
  return BRC_OK;
}

// A column's name without "/TASK" of one of the run's tasks. True: it was per task.
static bool base_name(const brc_result *r, const char *column, char *out, size_t bytes) {
  snprintf(out, bytes, "%s", column);
  for (size_t i = 0; i < r->task_count; i++) {
    const char *task = brc_result_task(r, i);
    size_t n = strlen(out), m = strlen(task);
    if (n <= m + 1 || out[n - m - 1] != '/' || strcmp(out + n - m, task)) continue;
    out[n - m - 1] = 0;
    return true;
  }
  return false;
}

brc_status brc_results_column(const brc_result_set *s, const char *column, bool *per_task) {
  const char *names[512];
  static char texts[512][256];
  size_t n = 0;
  for (size_t i = 0; i < s->count; i++) {
    const brc_table *const tables[] = {&s->runs[i]->log, &s->runs[i]->train};
    for (size_t k = 0; k < 2; k++)
      for (size_t c = 1; c < tables[k]->column_count; c++) {
        char base[256];
        *per_task = base_name(s->runs[i], tables[k]->columns[c], base, sizeof base);
        if (!strcmp(base, column)) return BRC_OK;
        size_t j = 0;
        while (j < n && strcmp(texts[j], base)) j++;
        if (j < n || n == BRC_COUNT(names)) continue;
        memcpy(texts[n], base, sizeof base);
        names[n] = texts[n];
        n++;
      }
  }
  char near[256];
  brc_nearest(column, names, n, 3, near, sizeof near);
  return brc_fail(BRC_E_NOT_FOUND, "column '%s' is in neither log.csv nor train.csv of these runs%s%s%s",
                  column, *near ? "; did you mean " : "", near, *near ? "?" : "");
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

// Every step at which one of the series has a value, once; `free` it.
static double *all_steps(const brc_series *series, size_t runs, size_t *count) {
  size_t most = 0, n = 0;
  for (size_t i = 0; i < runs; i++) most += series[i].count;
  double *steps = calloc(most + 1, sizeof *steps);
  *count = 0;
  if (!steps) return NULL;
  for (size_t i = 0; i < runs; i++) {
    memcpy(steps + n, series[i].step, series[i].count * sizeof *steps);
    n += series[i].count;
  }
  qsort(steps, n, sizeof *steps, by_value);
  for (size_t i = 0; i < n; i++)
    if (!*count || steps[i] != steps[*count - 1]) steps[(*count)++] = steps[i];
  return steps;
}

static brc_point point_at(const brc_series *series, size_t runs, double step, double *scratch) {
  size_t n = 0;
  for (size_t i = 0; i < runs; i++) {
    scratch[n] = brc_series_at(&series[i], step);
    n += !isnan(scratch[n]);
  }
  return (brc_point){step, brc_mean95(scratch, n)};
}

brc_status brc_group_curve(const brc_result_group *g, const char *column, const char *task, brc_point **out,
                           size_t *count) {
  brc_series *series = calloc(g->count, sizeof *series);
  double *scratch = calloc(g->count, sizeof *scratch), *steps = NULL;
  *out = NULL;
  *count = 0;
  brc_status st = series && scratch ? BRC_OK : brc_fail(BRC_E_NOMEM, "out of memory");
  for (size_t i = 0; !st && i < g->count; i++) st = brc_series_read(&series[i], g->runs[i], column, task);
  if (!st) steps = all_steps(series, g->count, count);
  if (!st) *out = calloc(*count + 1, sizeof **out);
  if (!st && (!steps || !*out)) st = brc_fail(BRC_E_NOMEM, "out of memory");
  for (size_t i = 0; !st && i < *count; i++) (*out)[i] = point_at(series, g->count, steps[i], scratch);
  for (size_t i = 0; series && i < g->count; i++) brc_series_free(&series[i]);
  free(series);
  free(scratch);
  free(steps);
  return st;
}
