// brc import: a run from a checkpoint of the published implementation. The run starts at environment step 0 with an empty
// replay; networks, target, temperature and optimiser go on where they were.
#include "cli/cli.h"
#include "base/file.h"
#include "train/import.h"
#include "train/train.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// The shapes decide these: given beside, they could only agree or be wrong.
static brc_status check_given(const char *given) {
  char copy[BRC_TEXT];
  snprintf(copy, sizeof copy, "%s", given);
  for (char *word = strtok(copy, ","); word; word = strtok(NULL, ","))
    for (int i = 0; brc_import_options[i]; i++)
      if (!strcmp(word, brc_import_options[i]))
        return brc_fail(BRC_E_USAGE, "option --%s cannot be given: the checkpoint decides it", word);
  return BRC_OK;
}

// The agent takes the arrays by name from a file of ours, which is gone afterwards.
static brc_status load(brc_trainer *t, const brc_import *m) {
  char path[2 * BRC_TEXT];
  brc_st_file *f;
  snprintf(path, sizeof path, "%s/imported.safetensors", t->config.run);
  brc_status st = brc_mkdirs(t->config.run);
  if (!st) st = brc_import_write(m, path);
  if (st) return st;
  st = brc_st_open(&f, path);
  unlink(path);
  if (st) return st;
  st = brc_agent_load(t->agent, f, "");
  brc_st_close(f);
  if (st) rmdir(t->config.run);  // only if nothing else is there
  return st;
}

static const char *moments_text(const brc_import *m, int net) {
  return m->moments[net] ? "imported" : "not in the file: zero";
}

static void report(const brc_trainer *t, const brc_import *m) {
  const char *target = m->files[BRC_IMPORT_TARGET] ? "imported" : "not in the folder: a copy of the critic";
  if (t->config.json) {
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "run", t->config.run);
    cJSON_AddNumberToObject(o, "adam_steps", (double)m->adam_steps);
    cJSON_AddBoolToObject(o, "target_imported", m->files[BRC_IMPORT_TARGET] != NULL);
    cJSON_AddBoolToObject(o, "actor_moments_imported", m->moments[BRC_IMPORT_ACTOR]);
    cJSON_AddBoolToObject(o, "critic_moments_imported", m->moments[BRC_IMPORT_CRITIC]);
    cJSON_AddBoolToObject(o, "temperature_moments_imported", m->moments[BRC_IMPORT_TEMP]);
    brc_cli_print_json(o);
    return;
  }
  printf("%s: %" PRIu64 " task%s, critics %" PRIu64 " of width %" PRIu64 " and depth %" PRIu64
         ", actor of width %" PRIu64 " and depth %" PRIu64 ", %" PRIu64 " optimiser steps\n",
         t->config.run, m->tasks, m->tasks == 1 ? "" : "s", m->ensemble, m->width, m->depth, m->actor_width,
         m->actor_depth, m->adam_steps);
  printf(
      "target critic: %s\nmoments of the actor: %s\nmoments of the critic: %s\nmoments of the temperature: "
      "%s\n",
      target, moments_text(m, BRC_IMPORT_ACTOR), moments_text(m, BRC_IMPORT_CRITIC),
      moments_text(m, BRC_IMPORT_TEMP));
}

brc_status brc_cmd_import(int argc, char **argv) {
  static brc_train_config c;
  brc_option_set set = brc_train_option_set(&c);
  if (brc_cli_help(
          argc, argv,
          "usage: brc import FOLDER TASKS... [--run RUN] [options]\n\nFOLDER holds a checkpoint of the "
          "published implementation (actor.txt, critic.txt, temp.txt and, if there,\ntarget_critic.txt); "
          "TASKS are the tasks it was trained on, in that order. The new run has these networks at\nstep 0 "
          "and an empty replay: brc train --resume, brc eval and brc export take it.\n")) {
    brc_options_help(&set);
    return BRC_OK;
  }
  const char *words[257];
  char given[BRC_TEXT];
  size_t count;
  brc_import m;
  brc_options_default(&set);
  brc_status st = brc_options_parse(&set, argc, argv, words, BRC_COUNT(words), &count, given);
  if (!st && !count) st = brc_fail(BRC_E_USAGE, "which checkpoint? usage: brc import FOLDER TASKS...");
  if (!st) st = check_given(given);
  for (size_t i = 1; !st && i < count; i++) st = brc_train_add_tasks(&c, words[i]);
  if (st) return st == BRC_E_NOT_FOUND ? BRC_E_USAGE : st;
  st = brc_import_open(&m, words[0]);
  if (st) return st;
  brc_trainer *t = NULL;
  c.may_tune = true;
  st = brc_import_set_options(&m, &set);
  if (!st) st = brc_train_resolve(&c);
  if (!st) st = brc_import_fits(&m, &c.agent);
  if (!st && brc_run_exists(c.run))
    st = brc_fail(BRC_E_USAGE, "'%s' already holds a run; give another --run", c.run);
  if (!st) st = brc_trainer_create(&t, &c);
  if (!st) st = load(t, &m);
  if (!st) st = brc_env_pool_reset(t->envs, t->loop.obs);
  if (!st) st = brc_checkpoint_save(t);
  // Last: a folder is a run once config.json is there, and one without a checkpoint would start with fresh networks.
  if (!st) st = brc_run_create(t, brc_main_argc, brc_main_argv);
  if (!st) report(t, &m);
  brc_trainer_free(t);
  brc_import_close(&m);
  return st;
}
