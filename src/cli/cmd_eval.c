#include "cli/cli.h"
#include "train/train.h"
#include <stdlib.h>
#include <string.h>

typedef struct eval_options {
  int64_t episodes, seed;
  bool json;
} eval_options;

brc_status brc_cmd_eval(int argc, char **argv) {
  static brc_train_config c, run;
  eval_options e;
  const brc_option rows[] = {
      {"episodes", BRC_OPT_INT, offsetof(eval_options, episodes), 1, 100000, "10", NULL, "episodes per task"},
      {"seed", BRC_OPT_INT, offsetof(eval_options, seed), 0, 9e15, "0", NULL, "seed of the episodes' starts"},
      {"json", BRC_OPT_FLAG, offsetof(eval_options, json), 0, 0, "false", NULL, "one JSON object"}};
  brc_option assets = {"assets", BRC_OPT_TEXT, offsetof(brc_train_config, assets),   0, 0,
                       "",       NULL,         "folder with the environments' files"};
  brc_option_set set = {.tables = {{rows, BRC_COUNT(rows), &e, "Evaluation"},
                                   {brc_device_option_rows, brc_device_option_count, &c, "Device"},
                                   {&assets, 1, &c, "Files"}},
                        .count = 3};
  if (brc_cli_help(argc, argv,
                   "usage: brc eval RUN [options]\n\nRuns the mean policy of RUN's last checkpoint; every "
                   "episode counts once.\n")) {
    brc_options_help(&set);
    return BRC_OK;
  }
  const char *words[1];
  size_t count;
  brc_options_default(&set);
  brc_status st = brc_options_parse(&set, argc, argv, words, 1, &count, NULL);
  if (!st && !count) st = brc_fail(BRC_E_USAGE, "which run? usage: brc eval RUN");
  if (!st) st = brc_run_read_config(words[0], &run);
  if (!st && !brc_checkpoint_exists(words[0]))
    st = brc_fail(BRC_E_NOT_FOUND, "'%s' has no checkpoint yet", words[0]);
  if (!st) st = brc_train_resolve(&run);
  if (st) return st;
  brc_assets where = {*c.assets ? c.assets : *run.assets ? run.assets : NULL};
  brc_pool *pool = NULL;
  brc_device *device = NULL;
  brc_agent *agent = NULL;
  uint64_t step;
  brc_eval_result *out = calloc(run.task_count, sizeof *out);
  if (!out) return brc_fail(BRC_E_NOMEM, "out of memory");
  st = brc_pool_create(&pool, (int)c.threads);
  if (!st) st = brc_open_device(&c, pool, &device);
  if (!st) st = brc_agent_create(&agent, &run.agent, device, (brc_agent_flags){0});
  if (!st) st = brc_checkpoint_load_agent(agent, words[0], &step);
  if (!st)
    st = brc_evaluate(agent, run.tasks, run.task_count, (uint32_t)e.episodes, (uint64_t)e.seed, &where, pool,
                      out);
  if (!st && e.json) {
    cJSON *o = cJSON_CreateObject(), *tasks = cJSON_AddArrayToObject(o, "tasks");
    cJSON_AddStringToObject(o, "run", words[0]);
    cJSON_AddNumberToObject(o, "env_steps", (double)step);
    cJSON_AddNumberToObject(o, "episodes", (double)e.episodes);
    for (size_t i = 0; i < run.task_count; i++) {
      cJSON *row = cJSON_CreateObject();
      cJSON_AddStringToObject(row, "task", run.tasks[i]->name);
      cJSON_AddNumberToObject(row, "return", out[i].return_mean);
      cJSON_AddNumberToObject(row, "return_std", out[i].return_std);
      cJSON_AddNumberToObject(row, "success", out[i].success);
      cJSON_AddNumberToObject(row, "length", out[i].length);
      cJSON_AddItemToArray(tasks, row);
    }
    brc_cli_print_json(o);
  } else if (!st) {
    printf("%s at step %llu, %lld episodes per task\n%-28s %12s %10s %9s %9s\n", words[0],
           (unsigned long long)step, (long long)e.episodes, "task", "return", "std", "success", "length");
    for (size_t i = 0; i < run.task_count; i++)
      printf("%-28s %12.3f %10.3f %9.2f %9.1f\n", run.tasks[i]->name, out[i].return_mean, out[i].return_std,
             out[i].success, out[i].length);
  }
  brc_agent_free(agent);
  brc_device_close(device);
  brc_pool_destroy(pool);
  free(out);
  return st;
}
