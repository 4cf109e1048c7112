#include "base/statistics.h"
#include "cli/cli.h"
#include "train/train.h"
#include <stdlib.h>
#include <string.h>

enum { MAX_RUNS = 256 };

typedef struct eval_options {
  int64_t episodes, seed;
  bool json;
} eval_options;

// One run's checkpoint and how it did.
typedef struct evaluated {
  const char *run;
  uint64_t step;
  int64_t seed;
  brc_eval_result *tasks;
  double score;
} evaluated;

// All runs, which have the same tasks.
typedef struct evaluation {
  eval_options options;
  evaluated runs[MAX_RUNS];
  size_t count;
  const brc_env_def *const *tasks;  // of the first run
  size_t task_count;
  brc_eval_result *mean;  // per task, over the runs
  brc_bootstrap
      score;  // of the mean over tasks; whole runs are resampled, as the tasks of a run are not independent
} evaluation;

//------------------------ 1. Evaluating -------------------------------------------
static brc_status same_tasks(const evaluation *e, const brc_train_config *c) {
  bool same = c->task_count == e->task_count;
  for (size_t i = 0; same && i < e->task_count; i++) same = c->tasks[i] == e->tasks[i];
  if (same) return BRC_OK;
  return brc_fail(BRC_E_USAGE, "'%s' has other tasks than '%s'; evaluate them one by one", c->run,
                  e->runs[0].run);
}

static brc_status evaluate_run(const evaluation *e, const brc_train_config *c, brc_device *device,
                               brc_pool *pool, const char *assets, evaluated *x) {
  brc_agent *agent = NULL;
  brc_assets where = {*assets ? assets : *c->assets ? c->assets : NULL};
  x->seed = c->seed;
  x->tasks = calloc(e->task_count, sizeof *x->tasks);
  if (!x->tasks) return brc_fail(BRC_E_NOMEM, "out of memory");
  brc_status st = brc_agent_create(&agent, &c->agent, device, (brc_agent_flags){0});
  if (!st) st = brc_checkpoint_load_agent(agent, x->run, &x->step);
  if (!st)
    st = brc_evaluate(agent, e->tasks, e->task_count, (uint32_t)e->options.episodes,
                      brc_eval_seed((uint64_t)e->options.seed, 0), &where, pool, NULL, x->tasks);
  if (!st) x->score = brc_eval_score(x->tasks, e->task_count);
  brc_agent_free(agent);
  return st;
}

static brc_status summarise(evaluation *e) {
  double scores[MAX_RUNS], n = (double)e->count;
  e->mean = calloc(e->task_count, sizeof *e->mean);
  if (!e->mean) return brc_fail(BRC_E_NOMEM, "out of memory");
  for (size_t r = 0; r < e->count; r++) {
    scores[r] = e->runs[r].score;
    for (size_t i = 0; i < e->task_count; i++) {
      const brc_eval_result *x = &e->runs[r].tasks[i];
      brc_eval_result *m = &e->mean[i];
      m->return_mean += x->return_mean / n;
      m->return_std += x->return_std / n;
      m->success += x->success / n;
      m->length += x->length / n;
      m->score += x->score / n;
    }
  }
  return brc_bootstrap95(scores, e->count, &e->score);
}

//------------------------ 2. Telling ----------------------------------------------
static void add_tasks(cJSON *to, const evaluation *e, const brc_eval_result *results) {
  cJSON *tasks = cJSON_AddArrayToObject(to, "tasks");
  for (size_t i = 0; i < e->task_count; i++) {
    cJSON *row = cJSON_CreateObject();
    cJSON_AddStringToObject(row, "task", e->tasks[i]->name);
    cJSON_AddNumberToObject(row, "return", results[i].return_mean);
    cJSON_AddNumberToObject(row, "return_std", results[i].return_std);
    cJSON_AddNumberToObject(row, "success", results[i].success);
    cJSON_AddNumberToObject(row, "length", results[i].length);
    cJSON_AddNumberToObject(row, "score", results[i].score);
    cJSON_AddItemToArray(tasks, row);
  }
}

static void add_run(cJSON *to, const evaluated *x) {
  cJSON_AddStringToObject(to, "run", x->run);
  cJSON_AddNumberToObject(to, "seed", (double)x->seed);
  cJSON_AddNumberToObject(to, "env_steps", (double)x->step);
}

// {"episodes", "tasks": [means over the runs], "score": {"mean", "low", "high", "runs"}}; a single run is described beside
// these, several in "runs". NaN, no interval, becomes null.
static void print_json(const evaluation *e) {
  cJSON *o = cJSON_CreateObject();
  if (e->count == 1) add_run(o, &e->runs[0]);
  cJSON_AddNumberToObject(o, "episodes", (double)e->options.episodes);
  add_tasks(o, e, e->mean);
  cJSON *score = cJSON_AddObjectToObject(o, "score");
  cJSON_AddNumberToObject(score, "mean", e->score.mean);
  cJSON_AddNumberToObject(score, "low", e->score.low);
  cJSON_AddNumberToObject(score, "high", e->score.high);
  cJSON_AddNumberToObject(score, "runs", (double)e->count);
  cJSON *runs = e->count > 1 ? cJSON_AddArrayToObject(o, "runs") : NULL;
  for (size_t r = 0; runs && r < e->count; r++) {
    cJSON *row = cJSON_CreateObject();
    add_run(row, &e->runs[r]);
    cJSON_AddNumberToObject(row, "score", e->runs[r].score);
    add_tasks(row, e, e->runs[r].tasks);
    cJSON_AddItemToArray(runs, row);
  }
  brc_cli_print_json(o);
}

static void print_text(const evaluation *e) {
  for (size_t r = 0; r < e->count; r++)
    printf("%s at step %llu, seed %lld: score %.3f\n", e->runs[r].run, (unsigned long long)e->runs[r].step,
           (long long)e->runs[r].seed, e->runs[r].score);
  printf("%lld episodes per task%s\n%-28s %12s %10s %9s %9s %8s\n", (long long)e->options.episodes,
         e->count > 1 ? " and run; means over the runs" : "", "task", "return", "std", "success", "length",
         "score");
  for (size_t i = 0; i < e->task_count; i++) {
    const brc_eval_result *m = &e->mean[i];
    printf("%-28s %12.3f %10.3f %9.2f %9.1f %8.3f\n", e->tasks[i]->name, m->return_mean, m->return_std,
           m->success, m->length, m->score);
  }
  printf("%-28s %51.3f", "mean over tasks", e->score.mean);
  if (e->count > 1)
    printf("  95%% bootstrap interval over %zu runs: %.3f to %.3f", e->count, e->score.low, e->score.high);
  printf("\n");
}

//------------------------ 3. The command ------------------------------------------
brc_status brc_cmd_eval(int argc, char **argv) {
  static brc_train_config c, first, other;
  static evaluation e;
  const brc_option rows[] = {
      {"episodes", BRC_OPT_INT, offsetof(eval_options, episodes), 1, 100000, "10", NULL, "episodes per task"},
      {"seed", BRC_OPT_INT, offsetof(eval_options, seed), 0, 9e15, "0", NULL, "seed of the episodes' starts"},
      {"json", BRC_OPT_FLAG, offsetof(eval_options, json), 0, 0, "false", NULL, "one JSON object"}};
  brc_option assets = {"assets", BRC_OPT_TEXT, offsetof(brc_train_config, assets),   0, 0,
                       "",       NULL,         "folder with the environments' files"};
  brc_option_set set = {.tables = {{rows, BRC_COUNT(rows), &e.options, "Evaluation"},
                                   {brc_device_option_rows, brc_device_option_count, &c, "Device"},
                                   {&assets, 1, &c, "Files"}},
                        .count = 3};
  if (brc_cli_help(
          argc, argv,
          "usage: brc eval RUN... [options]\n\nRuns the mean policy of RUN's last checkpoint; every episode "
          "counts once. A score is 0 at a suite's lower\nreference and 1 at its upper one (DM Control: return "
          "/ "
          "1000; HumanoidBench: random policy to solved; otherwise the\nshare of successes). Several runs, "
          "which differ in their seed: means, and a 95% bootstrap interval over runs.\n")) {
    brc_options_help(&set);
    return BRC_OK;
  }
  const char *words[MAX_RUNS];
  brc_options_default(&set);
  brc_status st = brc_options_parse(&set, argc, argv, words, MAX_RUNS, &e.count, NULL);
  if (!st && !e.count) st = brc_fail(BRC_E_USAGE, "which run? usage: brc eval RUN...");
  for (size_t r = 0; !st && r < e.count; r++) {  // everything that can be wrong, before anything is computed
    brc_train_config *config = r ? &other : &first;
    e.runs[r].run = words[r];
    st = brc_run_read_trained(words[r], config);
    if (r == 0) {
      e.tasks = first.tasks;
      e.task_count = first.task_count;
    } else if (!st) {
      st = same_tasks(&e, config);
    }
  }
  if (st) return st;
  brc_pool *pool = NULL;
  brc_device *device = NULL;
  st = brc_pool_create(&pool, (int)c.threads);
  if (!st) st = brc_open_device(&c, pool, &device);
  for (size_t r = 0; !st && r < e.count; r++) {
    if (r) st = brc_run_read_trained(words[r], &other);
    if (!st) st = evaluate_run(&e, r ? &other : &first, device, pool, c.assets, &e.runs[r]);
  }
  if (!st) st = summarise(&e);
  if (!st && e.options.json) print_json(&e);
  if (!st && !e.options.json) print_text(&e);
  brc_device_close(device);
  brc_pool_destroy(pool);
  for (size_t r = 0; r < e.count; r++) free(e.runs[r].tasks);
  free(e.mean);
  return st;
}
