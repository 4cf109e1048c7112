// brc bench tune: every candidate for every product of an update; the fastest are kept in a file.
#include "backends/tune.h"
#include "cli/bench.h"
#include <string.h>

typedef struct told {
  cJSON *rows;
  double rule_s, best_s;
  bool json;
} told;

static void tell(void *self, const brc_tuned *t) {
  told *to = self;
  char product[96];
  brc_choice_text(&t->best, product, sizeof product);
  const double flop = 2.0 * t->best.m * t->best.n * t->best.k * t->best.members;
  to->rule_s += t->calls * t->rule_s;
  to->best_s += t->calls * t->best_s;
  if (!to->json)
    printf("  %-44s %5u %10u %10.4f %10.1f %10.4f %10.1f  %s\n", product, t->calls, t->candidates,
           t->rule_s * 1e3, flop / t->rule_s * 1e-9, t->best_s * 1e3, flop / t->best_s * 1e-9,
           *t->best.choice ? t->best.choice : "-");
  cJSON *x = cJSON_CreateObject();
  cJSON_AddStringToObject(x, "product", product);
  cJSON_AddStringToObject(x, "choice", t->best.choice);
  cJSON_AddNumberToObject(x, "calls", t->calls);
  cJSON_AddNumberToObject(x, "candidates", t->candidates);
  cJSON_AddNumberToObject(x, "rule_ms", t->rule_s * 1e3);
  cJSON_AddNumberToObject(x, "best_ms", t->best_s * 1e3);
  cJSON_AddItemToArray(to->rows, x);
}

brc_status bench_tune(const brc_train_config *c, const bench_options *o) {
  brc_device *d = NULL;
  brc_agent *a = NULL;
  brc_choices choices;
  brc_status st = brc_open_device(c, NULL, &d);
  if (!st) st = brc_agent_plan(&a, &c->agent, (brc_agent_flags){.precision = brc_train_precision(c)});
  if (!st) {
    cJSON *report = bench_report("tune", d, c->precision);
    told to = {.rows = cJSON_AddArrayToObject(report, "products"), .json = o->json};
    if (!o->json)
      printf("products of an update on %s (%s), %s: W %lld, B %lld\n  %-44s %5s %10s %10s %10s %10s %10s  %s\n",
             d->info.name, d->backend->name, c->precision, (long long)c->agent.width, (long long)c->agent.batch,
             "", "calls", "candidates", "rule ms", "GFLOP/s", "best ms", "GFLOP/s", "choice");
    st = brc_tune(d, a->update_program, 10 * o->seconds, &choices, tell, &to);
    if (!st && *o->out) st = brc_tuning_write(o->out, d, &choices);
    cJSON_AddNumberToObject(report, "rule_ms", to.rule_s * 1e3);
    cJSON_AddNumberToObject(report, "best_ms", to.best_s * 1e3);
    if (!st && !o->json)
      printf(
          "  all measured products of one update: %.3f ms by the backend's rules, %.3f ms with these %u "
          "choices\n",
          to.rule_s * 1e3, to.best_s * 1e3, choices.count);
    if (!st && o->json)
      brc_cli_print_json(report);
    else
      cJSON_Delete(report);
  }
  brc_agent_free(a);
  brc_device_close(d);
  return st;
}
