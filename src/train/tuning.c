// --tuning: which provider computes which product of a run. Measured once per device, kernels and shapes, and kept in the cache; a run
// keeps the choices that it began with beside its config.json, so that going on computes the same bits.
#include "backends/tune.h"
#include "base/file.h"
#include "train/train.h"
#include <stdlib.h>
#include <string.h>

//------------------------ 1. What is tuned ----------------------------------------
brc_status brc_tuned_programs_plan(brc_tuned_programs *out, const brc_train_config *c) {
  *out = (brc_tuned_programs){0};
  brc_status st =
      brc_agent_plan(&out->agent, &c->agent, (brc_agent_flags){.precision = brc_train_precision(c)});
  if (!st) st = brc_actor_plan(&out->actor, out->agent, (uint32_t)c->agent.tasks, BRC_ACT_SAMPLE, false);
  if (st) {
    brc_tuned_programs_free(out);
    return st;
  }
  out->list[0] = out->agent->update_program;
  out->list[1] = brc_actor_program(out->actor);
  return BRC_OK;
}

void brc_tuned_programs_free(brc_tuned_programs *p) {
  brc_actor_free(p->actor);
  brc_agent_free(p->agent);
  *p = (brc_tuned_programs){0};
}

void brc_tuning_text(const brc_tuning *t, char out[64]) {
  char hash[17];
  brc_choices_hash(&t->choices, hash);
  if (t->choices.count)
    snprintf(out, 64, "%u choices, %s", t->choices.count, hash);
  else
    snprintf(out, 64, "none");
}

//------------------------ 2. The cache ---------------------------------------------
static void missing_text(const brc_choice *c, uint32_t count, char out[256]) {
  char product[96], more[32] = "";
  brc_choice_text(c, product, sizeof product);
  if (count > 1) snprintf(more, sizeof more, " (and %u more)", count - 1);
  snprintf(out, 256, "'%s', chosen for %s%s, is not there on this device", c->choice, product, more);
}

// A file that can be used as it is. E_NOT_FOUND: there is none.
static brc_status read_cached(const char *path, brc_device *d, brc_choices *out) {
  brc_choice gone;
  char text[256];
  brc_status st = brc_tuning_read(path, d, out);
  const uint32_t count = st ? 0 : brc_tune_prune(d, out, &gone);
  if (!count) return st;
  missing_text(&gone, count, text);
  return brc_fail(BRC_E_UNSUPPORTED, "tuning file %s: %s", path, text);
}

brc_status brc_tuning_keep(const char *path, const brc_device *d, const brc_choices *t) {
  char folder[BRC_TUNING_PATH];
  snprintf(folder, sizeof folder, "%.*s", (int)(strrchr(path, '/') - path), path);
  const brc_status st = brc_mkdirs(folder);
  return st ? st : brc_tuning_write(path, d, t);
}

// BRC_TUNING_SECONDS is for tests.
static double budget_s(void) {
  const char *text = getenv("BRC_TUNING_SECONDS");
  return text && *text ? strtod(text, NULL) : 10;
}

// Measured, unless it fails: a run must not end by what was to make it faster.
static void measure(brc_tuning *t, const brc_train_config *c, brc_device *d, const brc_program *const *programs,
                    const char *path) {
  brc_tune_report r;
  brc_choices first;
  if (!c->quiet) fprintf(stderr, "brc: tuning ...");
  if (brc_tune(d, programs, budget_s(), &t->choices, &r, NULL, NULL)) {
    fprintf(stderr, "%s failed: %s; products come from the built-in table\n", c->quiet ? "brc: tuning" : "",
            brc_error());
    t->choices.count = 0;
    return;
  }
  if (!c->quiet) {
    char of[32] = "";
    if (r.measured < r.products) snprintf(of, sizeof of, " of %u", r.products);
    fprintf(stderr, " %u%s products, %.1f s: %u chosen, together %.2f times as fast as by the built-in table\n",
            r.measured, of, r.seconds, t->choices.count, r.rule_s / r.best_s);
  }
  snprintf(t->from, sizeof t->from, "%s", path);
  // Runs that began together compute alike: with the choices of the one that was ready first.
  if (!read_cached(path, d, &first))
    t->choices = first;
  else if (brc_tuning_keep(path, d, &t->choices)) {
    fprintf(stderr, "brc: %s; the next run measures again\n", brc_error());
    snprintf(t->from, sizeof t->from, "measured");
  }
}

static brc_status automatic(brc_tuning *t, const brc_train_config *c, brc_device *d) {
  char path[BRC_TUNING_PATH];
  brc_tuned_programs programs;
  brc_status st = brc_tuned_programs_plan(&programs, c);
  if (st) return st;
  st = brc_tuning_path(d, programs.list, path, sizeof path);
  if (!st) {
    const brc_status found = read_cached(path, d, &t->choices);
    if (!found)
      snprintf(t->from, sizeof t->from, "%s", path);
    else
      t->choices.count = 0;
    if (found && brc_path_exists(path)) fprintf(stderr, "brc: %s; it is not used\n", brc_error());
    if (found && c->may_tune && d->info.tunes) measure(t, c, d, programs.list, path);
  }
  brc_tuned_programs_free(&programs);
  return st;
}

//------------------------ 3. A run --------------------------------------------------
// Go on with what the run's last part had. False: that does not apply here, and a note has said why.
static bool keep_to_run(brc_tuning *t, const brc_train_config *c, brc_device *d) {
  char had[64], path[2 * BRC_TEXT], text[256];
  brc_choice gone;
  const bool here = brc_run_last_tuning(c->run, d, had);
  if (!strcmp(had, "none")) return here;
  snprintf(path, sizeof path, "%s/tuning.json", c->run);
  if (brc_tuning_read(path, d, &t->choices)) {
    fprintf(stderr, "brc: %s; products are chosen afresh\n", brc_error());
    return false;
  }
  const uint32_t count = brc_tune_prune(d, &t->choices, &gone);
  if (count) {
    missing_text(&gone, count, text);
    fprintf(stderr, "brc: tuning file %s: %s; the built-in table decides instead\n", path, text);
  }
  snprintf(t->from, sizeof t->from, "%s", path);
  return true;
}

brc_status brc_tuning_choose(brc_tuning *t, const brc_train_config *c, brc_device *d) {
  const bool off = !strcmp(c->tuning, "off"), file = !off && strcmp(c->tuning, "auto");
  brc_status st = BRC_OK;
  *t = (brc_tuning){0};
  snprintf(t->from, sizeof t->from, "%s", off ? "off" : "none");
  const bool kept = c->keep_tuning && keep_to_run(t, c, d);
  if (!kept && file && !c->keep_tuning) {  // a run's file may be gone, or another device's
    st = brc_tuning_read(c->tuning, d, &t->choices);
    if (st) return brc_fail_prefix(st, "option --tuning: ");
    snprintf(t->from, sizeof t->from, "%s", c->tuning);
  } else if (!kept && !off && !*c->gemm && d->backend->gemm_candidates) {
    st = automatic(t, c, d);
  }
  d->choices = t->choices.count ? &t->choices : NULL;
  return st;
}

brc_status brc_tuning_save(const brc_tuning *t, const brc_device *d, const char *run) {
  char path[2 * BRC_TEXT];
  snprintf(path, sizeof path, "%s/tuning.json", run);
  if (t->choices.count) return brc_tuning_write(path, d, &t->choices);
  remove(path);  // of a part before
  return BRC_OK;
}
