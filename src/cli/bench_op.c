// brc bench op: each op of an update alone, at the update's shapes.
#include "cli/bench.h"
#include <stdlib.h>
#include <string.h>

// Do two ops do the same work: kind, parameters, shapes of what they read and write?
static bool same_shape(const brc_tensor *a, const brc_tensor *b) {
  if (!a || !b) return a == b;
  return a->members == b->members && a->rows == b->rows && a->cols == b->cols && a->pitch == b->pitch &&
         a->stride == b->stride;
}

static bool same_work(const brc_op *a, const brc_op *b) {
  bool same = a->kind == b->kind && !memcmp(&a->params, &b->params, brc_op_infos[a->kind].params_bytes);
  for (int i = 0; same && i < BRC_MAX_IN; i++) same = same_shape(a->in[i], b->in[i]);
  for (int i = 0; same && i < BRC_MAX_OUT; i++) same = same_shape(a->out[i], b->out[i]);
  return same;
}

// The largest operand's shape says what is worked on.
static void shape_of(const brc_op *op, char *out, size_t bytes) {
  const brc_tensor *largest = NULL;
  if (op->kind <= BRC_OP_dense_dw) {
    const struct brc_gemm_params *g = &op->params.dense;
    snprintf(out, bytes, "%u x %u x %u, %u", g->m, g->n, g->k, g->batch);
    return;
  }
  for (int i = 0; i < BRC_MAX_IN + BRC_MAX_OUT; i++) {
    const brc_tensor *t = i < BRC_MAX_IN ? op->in[i] : op->out[i - BRC_MAX_IN];
    if (t && (!largest || brc_tensor_elements(t) > brc_tensor_elements(largest))) largest = t;
  }
  snprintf(out, bytes, "%u x %u x %u", largest->members, largest->rows, largest->cols);
}

static bool wanted(const char *name, const char *const *names, size_t count) {
  bool found = !count;
  for (size_t i = 0; i < count; i++) found |= !strcmp(names[i], name);
  return found;
}

static brc_status check_names(const char *const *names, size_t count) {
  const char *known[BRC_OP_COUNT];
  for (int k = 0; k < BRC_OP_COUNT; k++) known[k] = brc_op_infos[k].name;
  for (size_t i = 0; i < count; i++) {
    char near[256];
    if (wanted(names[i], known, BRC_OP_COUNT)) continue;
    brc_nearest(names[i], known, BRC_OP_COUNT, 3, near, sizeof near);
    return brc_fail(BRC_E_USAGE, "op '%s' is unknown%s%s%s src/graph/op.h lists all", names[i],
                    *near ? "; did you mean " : ";", near, *near ? "?" : "");
  }
  return BRC_OK;
}

typedef struct op_row {
  const brc_op *op;
  int calls;  // in one update
} op_row;

// One row per kind and shape, in the table's order of kinds and, within one, in the program's.
static size_t rows_of(const brc_program *p, const char *const *names, size_t count, op_row *rows) {
  size_t n = 0;
  for (int kind = 0; kind < BRC_OP_COUNT; kind++) {
    const size_t first = n;
    for (size_t i = 0; i < p->op_count && wanted(brc_op_infos[kind].name, names, count); i++) {
      if ((int)p->ops[i]->kind != kind) continue;
      size_t k = first;
      while (k < n && !same_work(rows[k].op, p->ops[i])) k++;
      if (k == n) rows[n++] = (op_row){.op = p->ops[i]};
      rows[k].calls++;
    }
  }
  return n;
}

static brc_status measure(brc_device *d, const brc_roofline *roof, const op_row *row, bool json, cJSON *list) {
  double flops, bytes;
  char shape[64];
  brc_timing t;
  const brc_status st = brc_time_op(d, row->op, 0.1, &t);
  if (st) return brc_fail_prefix(st, "%s: ", row->op->label);
  brc_op_cost(row->op, &flops, &bytes);
  shape_of(row->op, shape, sizeof shape);
  const double fraction = brc_roofline_op_s(roof, row->op) / t.median_s;
  if (!json)
    printf("  %-22s %-26s %5d %11.4f %11.4f %10.1f %9.1f %9.0f%%  %s\n", brc_op_infos[row->op->kind].name,
           shape, row->calls, t.median_s * 1e3, t.min_s * 1e3, flops / t.median_s * 1e-9,
           bytes / t.median_s * 1e-9, 100 * fraction, row->op->label);
  cJSON *x = cJSON_CreateObject();
  cJSON_AddStringToObject(x, "op", brc_op_infos[row->op->kind].name);
  cJSON_AddStringToObject(x, "label", row->op->label);
  cJSON_AddStringToObject(x, "shape", shape);
  cJSON_AddNumberToObject(x, "calls", row->calls);
  cJSON_AddNumberToObject(x, "ms", t.median_s * 1e3);
  cJSON_AddNumberToObject(x, "min_ms", t.min_s * 1e3);
  cJSON_AddNumberToObject(x, "gflops", flops / t.median_s * 1e-9);
  cJSON_AddNumberToObject(x, "gbytes_per_s", bytes / t.median_s * 1e-9);
  cJSON_AddNumberToObject(x, "fraction", fraction);
  cJSON_AddItemToArray(list, x);
  return BRC_OK;
}

// Ops of the table that an update of this configuration has not: listed, so that nobody takes them for measured.
static void list_absent(const brc_program *p, const char *const *names, size_t count, bool json,
                        cJSON *report) {
  cJSON *absent = cJSON_AddArrayToObject(report, "not_in_this_update");
  for (int kind = 0; kind < BRC_OP_COUNT; kind++) {
    bool there = !wanted(brc_op_infos[kind].name, names, count);
    for (size_t i = 0; i < p->op_count && !there; i++) there = (int)p->ops[i]->kind == kind;
    if (there) continue;
    cJSON_AddItemToArray(absent, cJSON_CreateString(brc_op_infos[kind].name));
    if (!json) printf("  %-22s not in this update\n", brc_op_infos[kind].name);
  }
}

brc_status bench_op(const brc_train_config *c, const bench_options *o, const char *const *names, size_t count) {
  brc_device *d = NULL;
  brc_agent *a = NULL;
  brc_roofline roof;
  cJSON *former = NULL, *report = NULL;
  op_row *rows = NULL;
  size_t n = 0;
  double total = 0;
  brc_status st = check_names(names, count);
  if (!st) st = bench_former(o, "op", &former);
  if (!st) st = brc_open_device(c, NULL, &d);
  if (!st) st = brc_agent_plan(&a, &c->agent, (brc_agent_flags){.precision = brc_train_precision(c)});
  if (!st) st = brc_roofline_measure(d, 1u << brc_train_precision(c), &roof);
  if (!st && !(rows = calloc(a->update_program->op_count + 1, sizeof *rows)))
    st = brc_fail(BRC_E_NOMEM, "out of memory");
  if (!st) {
    n = rows_of(a->update_program, names, count, rows);
    report = bench_report("op", d, c->precision);
    if (!o->json)
      printf("ops of an update on %s (%s), %s: W %lld, B %lld, T %lld\n", d->info.name, d->backend->name,
             c->precision, (long long)c->agent.width, (long long)c->agent.batch, (long long)c->agent.tasks);
    bench_report_roofline(report, &roof, o->json);
    if (!o->json)
      printf("  %-22s %-26s %5s %11s %11s %10s %9s %10s  %s\n", "op", "shape", "calls", "ms", "least ms",
             "GFLOP/s", "GB/s", "roofline", "first");
  }
  cJSON *list = st ? NULL : cJSON_AddArrayToObject(report, "rows");
  for (size_t i = 0; !st && i < n; i++) {
    st = measure(d, &roof, &rows[i], o->json, list);
    if (!st) total += rows[i].calls * cJSON_GetObjectItem(cJSON_GetArrayItem(list, (int)i), "ms")->valuedouble;
  }
  if (!st) {
    cJSON_AddNumberToObject(report, "ms_of_all_calls", total);
    const bool rounds = !d->info.is_cpu && brc_train_precision(c) >= BRC_BF16;
    cJSON_AddBoolToObject(report, "products_round_alone", rounds);
    if (!o->json)
      printf("  all calls of one update, each alone: %.3f ms%s\n", total,
             rounds ? "; alone, a product rounds its factors itself, which in an update norms and AdamW may do"
                    : "");
    list_absent(a->update_program, names, count, o->json, report);
    bench_finish(report, former, o);
  } else {
    cJSON_Delete(report);
    cJSON_Delete(former);
  }
  free(rows);
  brc_agent_free(a);
  brc_device_close(d);
  return st;
}
