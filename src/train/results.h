// What runs left behind, read back: configuration and logs, series out of them, groups of runs that differ in their seed.
// For `brc plot`, `brc runs` and `brc compare`. A run may still be going on: nothing is locked, nothing changed.
#ifndef BRC_RESULTS_H
#define BRC_RESULTS_H
#include "base/options.h"
#include "base/statistics.h"

//------------------------ 1. One run ---------------------------------------------
// A log: a header of names, rows of numbers; an empty field is NAN. The first column is env_steps and grows.
typedef struct brc_table {
  char *text;  // what the names point into
  const char **columns;
  double *values;  // [rows, columns]
  size_t column_count, row_count;
  size_t
      cut_line;  // number of a last line without its end (being written, or its writer was killed), left out; 0: none
} brc_table;
// E_NOT_FOUND, E_IO, or E_FORMAT with the file, the line and what is wrong with it.
brc_status brc_table_read(brc_table *out, const char *path);
void brc_table_free(brc_table *t);
double brc_table_at(const brc_table *t, size_t row, const char *column);  // NAN where there is none

typedef struct brc_result {
  char path[BRC_TEXT];  // of the run's folder, as it was given
  cJSON *config;        // an object with "tasks", texts
  size_t task_count;
  brc_table log, train;  // no columns: the run has not written one yet
} brc_result;
brc_status brc_result_read(brc_result **out, const char *run);
void brc_result_free(brc_result *r);
const char *brc_result_task(const brc_result *r, size_t i);
// "cartpole-swingup", "walker-run, walker-walk and 5 more": at most `most` names.
void brc_result_tasks_text(const brc_result *r, size_t most, char *out, size_t bytes);

//------------------------ 2. Series ----------------------------------------------
// Values over environment steps; steps without a value are left out.
typedef struct brc_series {
  double *step, *value;
  size_t count;
} brc_series;
// Of log.csv, else train.csv: column COLUMN/TASK; task NULL: COLUMN itself; task BRC_ALL_TASKS: the mean over the run's tasks
// where all have a value. A run without the column has an empty series.
extern const char BRC_ALL_TASKS[];
brc_status brc_series_read(brc_series *out, const brc_result *r, const char *column, const char *task);
void brc_series_free(brc_series *s);
double brc_series_at(const brc_series *s, double step);  // NAN where it has no value

//------------------------ 3. Groups ----------------------------------------------
typedef struct brc_result_group {
  char label[256];
  brc_result **runs;  // of the set
  size_t count;
} brc_result_group;
typedef struct brc_result_set {
  brc_result **runs;
  size_t count;
  brc_result_group *groups;
  size_t group_count;
} brc_result_set;

typedef enum brc_grouping {
  BRC_BY_CONFIGURATION,  // runs that differ in nothing but seed, length, machine
  BRC_BY_RUN,            // every run for itself
  BRC_BY_WORD            // the runs of one word
} brc_grouping;
// A word is a run folder, several with commas between, a shell pattern; LABEL=WORD makes one group with this label of it.
// Runs without a row in log.csv are left out, with a note on stderr; E_NOT_FOUND where nothing is left.
brc_status brc_results_select(brc_result_set *out, const char *const *words, size_t count, brc_grouping how);
void brc_results_free(brc_result_set *s);

// The names that stand before a '/' in front of one of the set's tasks, and the columns that stand alone: is `column` one of
// these? *per_task: the former. Else E_NOT_FOUND with the nearest.
brc_status brc_results_column(const brc_result_set *s, const char *column, bool *per_task);
// Tasks of all groups, each once, in order of appearance: pointers into the set, `free` the array.
brc_status brc_results_tasks(const brc_result_set *s, const char ***out, size_t *count);

// One point of a group's curve: mean over the runs that have a value at this step, with its interval.
typedef struct brc_point {
  double step;
  brc_interval value;
} brc_point;
brc_status brc_group_curve(const brc_result_group *g, const char *column, const char *task, brc_point **out,
                           size_t *count);
// The value of option or entry `key` in a run's configuration, as text; "-" where it has none.
void brc_result_setting(const brc_result *r, const char *key, char *out, size_t bytes);
#endif
