// Any three files as a run folder's config.json, log.csv and train.csv (cut at bytes 0xff), read as plot, runs and compare do; and
// the logs cut back as a resumed run does.
#include "train/results.h"
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "tests/fuzz/fuzz.h"
#include "train/train.h"

static void look(const brc_result_set *s) {
  static const char *const columns[] = {"eval_return", "env_steps", "loss/critic", "alpha"};
  const char **tasks;
  size_t task_count, points;
  if (brc_results_tasks(s, &tasks, &task_count)) return;
  for (size_t i = 0; i < BRC_COUNT(columns); i++) {
    bool per_task;
    brc_results_column(s, columns[i], &per_task);
    for (size_t g = 0; g < s->group_count; g++) {
      const char *const which[] = {NULL, BRC_ALL_TASKS, task_count ? tasks[0] : NULL};
      for (size_t k = 0; k < BRC_COUNT(which); k++) {
        brc_point *p;
        fuzz_check(brc_group_curve(&s->groups[g], columns[i], which[k], &p, &points));
        free(p);
      }
    }
  }
  free(tasks);
  char text[64];
  for (size_t i = 0; i < s->count; i++) {
    brc_result_setting(s->runs[i], "tasks", text, sizeof text);
    brc_result_tasks_text(s->runs[i], 2, text, sizeof text);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const char *const names[] = {"config.json", "log.csv", "train.csv"};
  static brc_trainer t;
  static bool silent;
  if (!silent) silent = !freopen("/dev/null", "w", stdout);
  fuzz_part parts[3];
  fuzz_split(data, size, parts, 3);
  for (size_t i = 0; i < 3; i++) fuzz_file(names[i], parts[i].data, parts[i].size);
  const char *words[] = {fuzz_folder()};
  brc_result_set s;
  brc_status st = brc_results_select(&s, words, 1, size % 2 ? BRC_BY_CONFIGURATION : BRC_BY_RUN);
  fuzz_check(st);
  if (!st) look(&s);
  if (!st) brc_results_free(&s);
  snprintf(t.config.run, sizeof t.config.run, "%s", fuzz_folder());
  t.loop.step = 25000;
  st = brc_run_rewind(&t);
  fuzz_check(st);
  return 0;
}
