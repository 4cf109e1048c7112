#include "cli/cli.h"
#include "cli/dry_run.h"
#include "envs/watch.h"
#include "train/train.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// An environment hangs: its thread cannot be ended, so the process is.
static void give_up(const char *text) {
  fprintf(stderr, "brc: %s\n", text);
  _exit(1);
}

// Options that may stand beside --resume: they do not change the mathematics.
static bool may_resume_with(const char *given) {
  static const char *const fine[] = {"steps",  "threads", "quiet",   "json",        "run",
                                     "resume", "assets",  "backend", "device",      "gemm",
                                     "tuning", "replay",  "dry-run", "env-timeout", NULL};
  char copy[BRC_TEXT];
  snprintf(copy, sizeof copy, "%s", given);
  for (char *word = strtok(copy, ","); word; word = strtok(NULL, ",")) {
    size_t i = 0;
    while (fine[i] && strcmp(fine[i], word)) i++;
    if (fine[i]) continue;
    brc_fail(BRC_E_USAGE,
             "option --%s cannot be given with --resume: the run's own config.json decides (only --steps, "
             "--threads, the device, --replay and reporting options can)",
             word);
    return false;
  }
  return true;
}

static void print_json(const brc_trainer *t) {
  cJSON *o = cJSON_CreateObject(), *tasks = cJSON_AddArrayToObject(o, "tasks");
  cJSON_AddStringToObject(o, "run", t->config.run);
  cJSON_AddNumberToObject(o, "env_steps", (double)t->loop.step);
  cJSON_AddNumberToObject(o, "grad_steps", (double)t->loop.updates_done);
  cJSON_AddStringToObject(o, "backend", t->device->backend->name);
  cJSON_AddStringToObject(o, "device", t->device->info.name);
  cJSON_AddStringToObject(o, "tuning", t->tuning.from);
  cJSON_AddNumberToObject(o, "choices", t->tuning.choices.count);
  cJSON_AddNumberToObject(o, "checkpoint_s", t->checkpoint_s);
  cJSON_AddNumberToObject(o, "checkpoints", t->checkpoints);
  cJSON_AddNumberToObject(o, "wall_s", t->wall_before_s + brc_now_s() - t->started_s);
  for (size_t i = 0; i < t->config.task_count; i++) {
    cJSON *row = cJSON_CreateObject();
    cJSON_AddStringToObject(row, "task", t->config.tasks[i]->name);
    cJSON_AddNumberToObject(row, "last_train_return", t->stats[i].last_return);
    cJSON_AddItemToArray(tasks, row);
  }
  brc_cli_print_json(o);
}

// A run folder's configuration, with what the command line may change.
static brc_status read_resumed(brc_train_config *c, const char *run, const char *given, bool requeued) {
  brc_train_config was = *c;
  if (!requeued && !may_resume_with(given)) return BRC_E_USAGE;
  brc_status st = brc_run_read_config(run, c);
  if (st) return st;
  // A requeued job names its tasks again; another job's folder must not look like its own.
  bool same = !was.task_count || was.task_count == c->task_count;
  for (size_t i = 0; same && i < was.task_count; i++) same = was.tasks[i] == c->tasks[i];
  if (!same)
    return brc_fail(BRC_E_USAGE,
                    "'%s' holds a run of other tasks (%zu, the first is '%s') than the command line names: "
                    "give another --run",
                    run, c->task_count, c->tasks[0]->name);
  c->quiet = was.quiet;
  c->json = was.json;
  if (brc_option_given(given, "steps")) c->steps = was.steps;
  if (brc_option_given(given, "threads")) c->threads = was.threads;
  if (brc_option_given(given, "env-timeout")) c->env_timeout = was.env_timeout;
  if (brc_option_given(given, "assets")) memcpy(c->assets, was.assets, sizeof c->assets);
  if (brc_option_given(given, "backend") && strcmp(was.backend, "auto") && strcmp(was.backend, c->backend)) {
    memcpy(c->backend, was.backend, sizeof c->backend);
    strcpy(c->device, "auto");  // numbers and providers are each backend's own
    *c->gemm = 0;
  }
  if (brc_option_given(given, "replay")) memcpy(c->replay, was.replay, sizeof c->replay);
  if (brc_option_given(given, "device")) memcpy(c->device, was.device, sizeof c->device);
  c->keep_tuning = true;
  const struct {
    const char *option;
    char *own, *asked;
  } products[] = {{"gemm", c->gemm, was.gemm}, {"tuning", c->tuning, was.tuning}};
  for (size_t i = 0; i < BRC_COUNT(products); i++) {
    if (!brc_option_given(given, products[i].option) || !strcmp(products[i].own, products[i].asked)) continue;
    memcpy(products[i].own, products[i].asked, BRC_TEXT);
    c->keep_tuning = false;
  }
  return BRC_OK;
}

// What stands beside the tables of training: for this command alone, not in config.json.
typedef struct train_command {
  char resume[BRC_TEXT], config[BRC_TEXT];
  bool dry_run;
} train_command;
static const brc_option command_rows[] = {
    {"config", BRC_OPT_TEXT, offsetof(train_command, config), 0, 0, "", NULL,
     "JSON file with tasks and options, as a run's config.json; what is given here goes before it"},
    {"resume", BRC_OPT_TEXT, offsetof(train_command, resume), 0, 0, "", NULL,
     "run folder to go on with; auto with --run: start or go on"},
    {"dry-run", BRC_OPT_FLAG, offsetof(train_command, dry_run), 0, 0, "false", NULL,
     "only tell what the run would take: memory, disk, time"}};

// The words of the command line over those of --config.
static brc_status read_words(brc_option_set *set, brc_train_config *c, train_command *o, int argc, char **argv,
                             char *given) {
  const char *words[256];
  size_t count;
  brc_options_default(set);
  brc_status st = brc_options_parse(set, argc, argv, words, BRC_COUNT(words), &count, given);
  // A requeued job repeats its first command line; what counts then is in the run, and the file may be gone.
  bool anew = !*o->resume || (!strcmp(o->resume, "auto") && !brc_run_exists(c->run));
  if (!st && *o->config && anew) {
    char path[BRC_TEXT];
    memcpy(path, o->config, sizeof path);
    st = brc_train_read_config(path, c);
    if (!st) st = brc_options_parse(set, argc, argv, words, BRC_COUNT(words), &count, given);
    if (count) c->task_count = 0;
  }
  for (size_t i = 0; !st && i < count; i++) {
    st = brc_train_add_tasks(c, words[i]);
    if (st == BRC_E_NOT_FOUND) st = BRC_E_USAGE;
  }
  return st;
}

// A run without its checkpoint, which has been there from its first step on: to begin anew would erase its logs.
static brc_status refuse_logs(const char *run) {
  static const char *const logs[] = {"log.csv", "train.csv"};
  for (size_t i = 0; i < BRC_COUNT(logs); i++) {
    uint64_t step;
    brc_status st = brc_run_last_row(run, logs[i], &step);
    if (!st && step)
      st = brc_fail(
          BRC_E_USAGE,
          "'%s' has rows up to step %llu in %s, but no checkpoint to go on from: bring %s/checkpoint back, or "
          "begin anew under another --run",
          run, (unsigned long long)step, logs[i], run);
    if (st) return st;
  }
  return BRC_OK;
}

// Begin or go on, to the end or a signal.
static brc_status train(brc_trainer *t, bool going_on, volatile const int *stop) {
  const brc_train_config *c = &t->config;
  if (!c->quiet && *t->device->why)
    fprintf(stderr, "brc: takes %s device %d: %s\n", t->device->backend->name, t->device->info.index,
            t->device->why);
  if (!c->quiet)
    fprintf(stderr, "brc: %zu task%s on %s (%s), run %s\n", c->task_count, c->task_count > 1 ? "s" : "",
            t->device->info.name, t->device->backend->name, c->run);
  brc_status st = BRC_OK;
  if (going_on && brc_checkpoint_exists(c->run)) {
    st = brc_checkpoint_load(t);
    bool more = false;
    if (!st) st = brc_trainer_unfinished(t, &more);
    if (!st && !more && !c->quiet)
      fprintf(stderr, "brc: the run is at step %llu of %lld; --steps N goes on to N\n",
              (unsigned long long)t->loop.step, (long long)c->steps);
    if (!st && more) st = brc_run_rewind(t);
    if (!st && more) st = brc_run_add_part(t);
  } else {
    st = going_on ? refuse_logs(c->run) : BRC_OK;
    if (!st) st = going_on ? brc_run_add_part(t) : brc_run_create(t, brc_main_argc, brc_main_argv);
    if (!st) st = brc_run_rewind(t);  // a run that died before its first checkpoint starts anew
    if (!st) st = brc_trainer_init(t);
    if (!st) st = brc_checkpoint_save(t);
  }
  if (!st) st = brc_trainer_run(t, stop);
  if (c->json && (!st || st == BRC_E_STOPPED)) print_json(t);
  return st;
}

brc_status brc_cmd_train(int argc, char **argv) {
  static brc_train_config c;
  static train_command o;
  char given[BRC_TEXT];
  char *const resume = o.resume;
  brc_option_set set = brc_train_option_set(&c);
  set.tables[set.count].rows = command_rows;
  set.tables[set.count].count = BRC_COUNT(command_rows);
  set.tables[set.count].target = &o;
  set.tables[set.count++].title = "Configuration, going on";
  if (brc_cli_help(argc, argv,
                   "usage: brc train TASKS... [options]\n       brc train --config FILE [TASKS...] [options]\n"
                   "       brc train --resume RUN\n\nTASKS are tasks or benchmarks (brc tasks).\n")) {
    brc_options_help(&set);
    return BRC_OK;
  }
  brc_status st = read_words(&set, &c, &o, argc, argv, given);
  if (st) return st;
  bool going_on = *resume != 0, requeued = false;
  if (!strcmp(resume, "auto")) {
    if (!*c.run) return brc_fail(BRC_E_USAGE, "option --resume auto needs --run DIR");
    going_on = brc_run_exists(c.run);
    if (going_on) memcpy(o.resume, c.run, sizeof o.resume);
    requeued = going_on;
  }
  if (brc_option_given(given, "run") && !*c.run)
    return brc_fail(BRC_E_USAGE, "option --run: the folder's name is empty");
  if (going_on && !requeued && brc_option_given(given, "run") && strcmp(c.run, resume))
    return brc_fail(BRC_E_USAGE, "--resume %s goes on in that folder, and --run names another, '%s'", resume,
                    c.run);
  if (going_on) {
    if (c.task_count && !requeued)
      return brc_fail(BRC_E_USAGE, "tasks cannot be given with --resume: '%s' has its own", resume);
    st = read_resumed(&c, resume, given, requeued);
  }
  if (!st) st = brc_train_resolve(&c);
  if (!st && !going_on && brc_run_exists(c.run))
    st = brc_fail(BRC_E_USAGE, "'%s' already holds a run; go on with --resume %s, or give another --run", c.run,
                  c.run);
  if (st || o.dry_run) return st ? st : brc_cli_dry_run(&c);

  c.may_tune = true;
  volatile const int *stop = brc_cli_stop();
  brc_trainer *t = NULL;
  int lock;
  st = brc_run_lock(c.run, &lock);
  if (!st && !going_on && brc_run_exists(c.run))
    st = brc_fail(BRC_E_USAGE, "'%s' holds a run now, which another process began", c.run);
  if (!st && c.env_timeout) st = brc_env_watch_start((double)c.env_timeout, give_up);
  if (!st) st = brc_trainer_create(&t, &c);
  if (!st) st = train(t, going_on, stop);
  brc_env_watch_stop();
  brc_trainer_free(t);
  brc_run_unlock(c.run, lock);
  return st;
}
