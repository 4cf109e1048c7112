// brc bench: one file per measurement, and what they share. Times are medians over repeats; compiling and warming up are outside.
#ifndef BRC_CLI_BENCH_H
#define BRC_CLI_BENCH_H
#include "backends/rates.h"
#include "cli/cli.h"
#include "train/train.h"

typedef struct bench_options {
  int64_t obs, act, tasks, reps, m, n, k, members;
  double seconds;
  char compare[BRC_TEXT];
  bool json, memory;
} bench_options;

// bench update: whole updates, as the trainer runs them. --memory: only the plan of its memory, nothing is allocated.
brc_status bench_update(const brc_train_config *c, const bench_options *o);
brc_status bench_memory(const brc_train_config *c, const bench_options *o);
// bench gemm: every provider at the products of an update, or at one given shape.
brc_status bench_gemm(brc_train_config *c, const bench_options *o);
// bench op: each op of the update alone; `names`: only these.
brc_status bench_op(const brc_train_config *c, const bench_options *o, const char *const *names, size_t count);

//------------------------ Reports -------------------------------------------------
// A report begins with which bench, device and precision.
cJSON *bench_report(const char *bench, const brc_device *d, const char *precision);
// Add the measured roofline to a report; print it without --json.
void bench_report_roofline(cJSON *report, const brc_roofline *r, bool json);
// The figures of --compare FILE; NULL without that option. E_FORMAT: it is no report of this bench.
brc_status bench_former(const bench_options *o, const char *bench, cJSON **former);
// Put the ratios to `former` (freed) into the report, or print them; print the report with --json; delete it.
void bench_finish(cJSON *report, cJSON *former, const bench_options *o);
#endif
