// brc bench: the measurements, one file each (bench.h).
#include "cli/bench.h"
#include "cli/bench_env.h"
#include <math.h>
#include <string.h>

brc_status brc_cmd_bench(int argc, char **argv) {
  static brc_train_config c;
  static bench_options o;
  const brc_option rows[] = {
      {"obs", BRC_OPT_INT, offsetof(bench_options, obs), 1, 1 << 20, "223", NULL, "observation dimension"},
      {"act", BRC_OPT_INT, offsetof(bench_options, act), 1, 1 << 16, "38", NULL, "action dimension"},
      {"tasks", BRC_OPT_INT, offsetof(bench_options, tasks), 1, 65536, "4", NULL, "number of tasks"},
      {"reps", BRC_OPT_INT, offsetof(bench_options, reps), 1, 100000, "30", NULL, "repeats; the median counts"},
      {"seconds", BRC_OPT_REAL, offsetof(bench_options, seconds), 0.001, 3600, "1", NULL,
       "bench env: for each task, and for each number of threads"},
      {"memory", BRC_OPT_FLAG, offsetof(bench_options, memory), 0, 0, "false", NULL,
       "bench update: only the plan of its memory, for any width; nothing is allocated"},
      {"compare", BRC_OPT_TEXT, offsetof(bench_options, compare), 0, 0, "", NULL,
       "a former --json report of the same bench: print the ratios to it"},
      {"json", BRC_OPT_FLAG, offsetof(bench_options, json), 0, 0, "false", NULL, "one JSON object"},
      {"gemm-m", BRC_OPT_INT, offsetof(bench_options, m), 0, 1 << 20, "0", NULL,
       "bench gemm: one shape instead of the update's"},
      {"gemm-n", BRC_OPT_INT, offsetof(bench_options, n), 0, 1 << 20, "0", NULL, "bench gemm: one shape"},
      {"gemm-k", BRC_OPT_INT, offsetof(bench_options, k), 0, 1 << 20, "0", NULL, "bench gemm: one shape"},
      {"gemm-members", BRC_OPT_INT, offsetof(bench_options, members), 0, 1024, "0", NULL,
       "bench gemm: one shape, this many at once"}};
  const brc_option loop_rows[] = {
      {"utd", BRC_OPT_INT, offsetof(brc_train_config, utd), 1, 1024, "2", NULL,
       "updates between two reads of the metrics"},
      {"tuning", BRC_OPT_TEXT, offsetof(brc_train_config, tuning), 0, 0, "auto", NULL,
       "bench update: products as in training; auto: what the cache has, nothing is measured"},
      {"replay", BRC_OPT_TEXT, offsetof(brc_train_config, replay), 0, 0, "host", "auto|host|device",
       "bench update: where updates take observations and actions from, as in training"},
      {"assets", BRC_OPT_TEXT, offsetof(brc_train_config, assets), 0, 0, "", NULL,
       "bench env: folder with the environments' files"}};
  brc_option_set set = {.tables = {{rows, BRC_COUNT(rows), &o, "Bench"},
                                   {loop_rows, BRC_COUNT(loop_rows), &c, "Loop"},
                                   {brc_agent_options, brc_agent_option_count, &c.agent, "BRC"},
                                   {brc_device_option_rows, brc_device_option_count, &c, "Device"}},
                        .count = 4};
  if (brc_cli_help(
          argc, argv,
          "usage: brc bench update|gemm [options]\n       brc bench op [OP...] [options]\n       brc "
          "bench env "
          "TASKS... [options]\n\nMedians over repeats, beside the device's measured roofline: its own peak of "
          "products, copies, launches.\n")) {
    brc_options_help(&set);
    return BRC_OK;
  }
  const char *words[257];
  size_t count;
  brc_options_default(&set);
  brc_status st = brc_options_parse(&set, argc, argv, words, BRC_COUNT(words), &count, NULL);
  if (st) return st;
  if (!count) return brc_fail(BRC_E_USAGE, "bench what? update, gemm, op or env");
  c.agent.obs_dim = o.obs;
  c.agent.action_dim = o.act;
  c.agent.tasks = o.tasks;
  c.agent.target_entropy = NAN;
  st = brc_agent_config_resolve(&c.agent);
  if (!st && (o.m || o.n || o.k || o.members) && (!o.m || !o.n || !o.k))
    st = brc_fail(BRC_E_USAGE, "a product needs all of --gemm-m, --gemm-n and --gemm-k");
  if (st) return st;
  bool one = !strcmp(words[0], "update") || !strcmp(words[0], "gemm");
  if (one && count > 1)
    return brc_fail(BRC_E_USAGE, "bench %s takes no further words ('%s')", words[0], words[1]);
  if (!strcmp(words[0], "update")) return o.memory ? bench_memory(&c, &o) : bench_update(&c, &o);
  if (!strcmp(words[0], "gemm")) return bench_gemm(&c, &o);
  if (!strcmp(words[0], "op")) return bench_op(&c, &o, words + 1, count - 1);
  if (!strcmp(words[0], "env")) {
    for (size_t i = 1; !st && i < count; i++) st = brc_train_add_tasks(&c, words[i]);
    if (!st && !c.task_count) st = brc_fail(BRC_E_USAGE, "which tasks? usage: brc bench env TASKS...");
    return st ? st : brc_bench_env(&c, o.seconds, o.json);
  }
  return brc_fail(BRC_E_USAGE, "bench '%s' is unknown; there are update, gemm, op, env", words[0]);
}
