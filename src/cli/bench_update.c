// brc bench update: whole updates as the trainer runs them, beside what the device can do; the plan of their memory.
#include "base/philox.h"
#include "cli/bench.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

//------------------------ 1. Data --------------------------------------------------
static void fill(float *x, size_t n, uint32_t salt, bool normal) {
  for (size_t i = 0; i < n; i++) {
    if (normal) {
      x[i] = brc_normal_at((uint32_t)i, salt, 1, 0, 7, 7);
      continue;
    }
    brc_u4 r = brc_philox((uint32_t)i, salt, 2, 0, 7, 7);
    x[i] = 2 * brc_uniform(r.x) - 1;
  }
}

// The peer's replay: 100k transitions of random numbers over all tasks.
static brc_status fill_replay(brc_replay *r, const brc_agent_config *c, uint32_t rows) {
  size_t t = (size_t)c->tasks, o = t * (size_t)c->obs_dim, a = t * (size_t)c->action_dim;
  float *data = calloc(2 * o + a + 2 * t, sizeof *data);
  if (!data) return brc_fail(BRC_E_NOMEM, "out of memory");
  float *obs = data, *next = obs + o, *action = next + o, *reward = action + a, *mask = reward + t;
  brc_status st = BRC_OK;
  fill(next, o, 0, true);
  for (size_t i = 0; i < t; i++) mask[i] = 1;
  fill(action, a, 1, false);
  for (uint32_t i = 0; !st && i < rows; i++) {
    memcpy(obs, next, o * sizeof *obs);
    for (size_t k = 0; k < o; k++)
      next[k] =
          (float)((i * 2654435761u + k * 40503u) >> 8 & 0xffff) * 6e-5f - 2;  // cheap: only its size matters
    for (size_t k = 0; k < t; k++) reward[k] = (float)(i % 97) / 97;
    st = brc_replay_insert(r, obs, action, reward, mask, next, NULL);
  }
  free(data);
  return st;
}

//------------------------ 2. Updates -----------------------------------------------
// Rows per task.
static uint32_t bench_rows(const brc_agent_config *c) {
  const uint32_t rows = (uint32_t)(100000 / c->tasks);
  return rows < c->batch ? (uint32_t)c->batch : rows;
}

// As in training, with the replay where --replay says.
static brc_status bench_flags(const brc_train_config *c, const brc_device_info *d, brc_agent_flags *flags) {
  *flags = (brc_agent_flags){.rough = true, .precision = brc_train_precision(c)};
  static brc_train_config small;
  small = *c;
  small.capacity = small.steps = bench_rows(&c->agent);
  return brc_train_fit_device(&small, d, flags);
}

typedef struct update_bench {
  brc_pool *pool;
  brc_device *device;
  brc_agent_flags flags;
  brc_agent *agent;
  brc_replay *replay;
  brc_feed feed;
  brc_batch *batches;
  uint32_t *pairs;
  uint32_t utd;
  uint64_t step;
  brc_tuning tuning;
} update_bench;

// One environment step's learning, as the trainer does it: draw, gather, send and update `utd` batches. *submit_s: what the host
// spent in handing the updates over, until each call returned.
static brc_status learn(update_bench *x, double *submit_s) {
  *submit_s = 0;
  uint32_t b = (uint32_t)x->agent->config.batch;
  brc_status st = brc_replay_sample(x->replay, x->utd * b, 1, ++x->step, 0, x->pairs);
  if (!st) st = brc_feed_rows(&x->feed);
  for (uint32_t u = 0; !st && u < x->utd; u++) {
    brc_batch *t = &x->batches[u];
    st = brc_feed_batch(&x->feed, x->pairs + 2 * (size_t)u * b, t);
    if (!st) st = brc_agent_write_batch(x->agent, t, true);
    double t0 = brc_now_s();
    if (!st) st = brc_agent_update(x->agent);
    *submit_s += brc_now_s() - t0;
  }
  double metrics[BRC_METRIC_COUNT];
  if (!st) st = brc_agent_metrics(x->agent, metrics);
  return st ? st : brc_agent_wait(x->agent);
}

//------------------------ 3. Per op ------------------------------------------------
static void add_profile_row(cJSON *list, const brc_profile_row *r, const brc_op *op, const brc_roofline *roof) {
  const double calls = r->calls ? (double)r->calls : 1, s = r->seconds / calls;
  cJSON *o = cJSON_CreateObject();
  cJSON_AddStringToObject(o, "op", brc_op_infos[op->kind].name);
  cJSON_AddStringToObject(o, "label", op->label);
  cJSON_AddNumberToObject(o, "ms", s * 1e3);
  cJSON_AddNumberToObject(o, "gflops", s > 0 ? r->flops / calls / s * 1e-9 : 0);
  cJSON_AddNumberToObject(o, "gbytes_per_s", s > 0 ? r->bytes / calls / s * 1e-9 : 0);
  cJSON_AddNumberToObject(o, "calls", (double)r->calls);
  cJSON_AddNumberToObject(o, "fraction", s > 0 ? brc_roofline_op_s(roof, op) / s : 0);
  cJSON_AddItemToArray(list, o);
}

static cJSON *profile_rows(update_bench *x, const brc_roofline *roof, size_t reps, double *total_s) {
  const brc_backend *b = x->device->backend;
  const brc_program *p = x->agent->update_program;
  brc_profile_row *rows = calloc(p->op_count, sizeof *rows);
  cJSON *list = cJSON_CreateArray();
  double unused = 0;
  *total_s = 0;
  if (!rows || b->profile(x->device, x->agent->update_exec, true)) {
    free(rows);
    return list;
  }
  for (size_t i = 0; i < reps; i++)
    if (learn(x, &unused)) break;
  if (!b->profile_read(x->device, x->agent->update_exec, rows))
    for (size_t i = 0; i < p->op_count; i++) {
      add_profile_row(list, &rows[i], p->ops[i], roof);
      *total_s += rows[i].seconds / (rows[i].calls ? (double)rows[i].calls : 1);
    }
  b->profile(x->device, x->agent->update_exec, false);
  free(rows);
  return list;
}

// The per-op rows by kind of op, longest first.
static void print_profile(const cJSON *list) {
  struct {
    const char *name;
    double ms, gf, gb;
    int n;
  } kinds[BRC_OP_COUNT] = {0};
  const cJSON *row;
  cJSON_ArrayForEach(row, list) {
    const char *op = cJSON_GetObjectItem(row, "op")->valuestring;
    int k = 0;
    while (strcmp(brc_op_infos[k].name, op)) k++;
    double ms = cJSON_GetObjectItem(row, "ms")->valuedouble;
    kinds[k].name = brc_op_infos[k].name;
    kinds[k].ms += ms;
    kinds[k].gf += cJSON_GetObjectItem(row, "gflops")->valuedouble * ms;
    kinds[k].gb += cJSON_GetObjectItem(row, "gbytes_per_s")->valuedouble * ms;
    kinds[k].n++;
  }
  printf("\n  %-22s %6s %10s %10s %10s\n", "op", "calls", "ms", "GFLOP/s", "GB/s");
  for (int shown = 0; shown < BRC_OP_COUNT; shown++) {
    int best = -1;
    for (int k = 0; k < BRC_OP_COUNT; k++)
      if (kinds[k].name && (best < 0 || kinds[k].ms > kinds[best].ms)) best = k;
    if (best < 0) break;
    printf("  %-22s %6d %10.3f %10.1f %10.1f\n", kinds[best].name, kinds[best].n, kinds[best].ms,
           kinds[best].gf / kinds[best].ms, kinds[best].gb / kinds[best].ms);
    kinds[best].name = NULL;
  }
}

//------------------------ 4. Memory ------------------------------------------------
static const char *const groups[] = {"critic", "actor", "temperature"};
static double gb(uint64_t bytes) { return (double)bytes * 1e-9; }

// bf16, fp16 on matrix units that read two-byte factors: copies of all weights, and of activations, at most of all at once.
static uint64_t copies_of(const brc_agent_memory *m, brc_precision precision) {
  if (precision != BRC_BF16 && precision != BRC_FP16) return 0;
  return (m->groups[0].bytes[BRC_PARAM] + m->groups[0].bytes[BRC_TARGET] + m->groups[1].bytes[BRC_PARAM] +
          m->activations) /
         2;
}

// The plan of an agent's memory as an object.
static cJSON *memory_json(const brc_agent_memory *m, brc_precision precision) {
  cJSON *o = cJSON_CreateObject();
  uint64_t state = 0;
  for (size_t g = 0; g < BRC_COUNT(groups); g++) {
    cJSON *x = cJSON_AddObjectToObject(o, groups[g]);
    cJSON_AddNumberToObject(x, "count", (double)m->groups[g].parameters);
    for (int r = 0; r < BRC_ROLES; r++) {
      if (m->groups[g].bytes[r]) cJSON_AddNumberToObject(x, brc_role_names[r], (double)m->groups[g].bytes[r]);
      state += m->groups[g].bytes[r];
    }
  }
  const struct {
    const char *name;
    uint64_t bytes;
  } rows[] = {{"state_bytes", state},
              {"activation_bytes", m->activations},
              {"batch_bytes", m->batch},
              {"replay_bytes", m->table},
              {"act_bytes", m->acting},
              {"inspect_bytes", m->inspect},
              {"total_bytes", brc_agent_memory_total(m)},
              {"copies_bytes_at_most", copies_of(m, precision)}};
  for (size_t i = 0; i < BRC_COUNT(rows); i++) cJSON_AddNumberToObject(o, rows[i].name, (double)rows[i].bytes);
  return o;
}

static void print_memory(const brc_agent_memory *m, const brc_train_config *c) {
  printf("memory on the device, planned: W %lld, B %lld, T %lld, obs %lld, act %lld, %s\n  %-12s %14s",
         (long long)c->agent.width, (long long)c->agent.batch, (long long)c->agent.tasks,
         (long long)c->agent.obs_dim, (long long)c->agent.action_dim, c->precision, "GB", "count");
  for (int r = 0; r < BRC_ROLES; r++) printf(" %10s", brc_role_names[r]);
  for (size_t g = 0; g < BRC_COUNT(groups); g++) {
    printf("\n  %-12s %14llu", groups[g], (unsigned long long)m->groups[g].parameters);
    for (int r = 0; r < BRC_ROLES; r++) printf(" %10.4f", gb(m->groups[g].bytes[r]));
  }
  uint64_t state = 0;
  for (size_t g = 0; g < BRC_COUNT(groups); g++)
    for (int r = 0; r < BRC_ROLES; r++) state += m->groups[g].bytes[r];
  printf(
      "\n  state %.3f, activations of an update %.3f, batch %.4f, acting %.4f, inspecting %.4f: together %.3f "
      "GB\n",
      gb(state), gb(m->activations), gb(m->batch), gb(m->acting), gb(m->inspect),
      gb(brc_agent_memory_total(m)));
  const uint64_t copies = copies_of(m, brc_train_precision(c));
  if (copies)
    printf("  and copies of factors in %s where matrix units read such: at most %.3f GB\n", c->precision,
           gb(copies));
}

static brc_status plan_memory(const brc_train_config *c, brc_agent_flags flags, brc_agent_memory *out) {
  return brc_agent_memory_of(&c->agent, flags, (uint32_t)c->agent.tasks, false, 0, out);
}

brc_status bench_memory(const brc_train_config *c, const bench_options *o) {
  brc_agent_memory m;
  const brc_status st = plan_memory(c, (brc_agent_flags){.precision = brc_train_precision(c)}, &m);
  if (st) return st;
  if (o->json)
    brc_cli_print_json(memory_json(&m, brc_train_precision(c)));
  else
    print_memory(&m, c);
  return BRC_OK;
}

//------------------------ 5. The measurement ---------------------------------------
static void close_bench(update_bench *x) {
  for (uint32_t u = 0; x->batches && u < x->utd; u++) brc_batch_free(&x->batches[u]);
  free(x->batches);
  free(x->pairs);
  brc_feed_free(&x->feed);
  brc_replay_destroy(x->replay);
  brc_agent_free(x->agent);
  brc_device_close(x->device);
  brc_pool_destroy(x->pool);
}

// Everything that an update needs, compiled; *compile_s: the device's part of that.
static brc_status open_bench(update_bench *x, const brc_train_config *c, double *compile_s) {
  const brc_agent_config *a = &c->agent;
  *x = (update_bench){.utd = (uint32_t)c->utd};
  const uint32_t rows = bench_rows(a);
  brc_status st = brc_pool_create(&x->pool, (int)c->threads);
  const double began = brc_now_s();
  if (!st) st = brc_open_device(c, x->pool, &x->device);
  if (!st) st = brc_tuning_choose(&x->tuning, c, x->device);
  if (!st) st = bench_flags(c, &x->device->info, &x->flags);
  if (!st) st = brc_agent_create(&x->agent, a, x->device, x->flags);
  *compile_s = brc_now_s() - began;
  if (!st) st = brc_agent_init(x->agent);
  if (!st)
    st = brc_replay_create(&x->replay, (uint32_t)a->tasks, (uint32_t)a->obs_dim, (uint32_t)a->action_dim, rows,
                           1);
  if (!st) st = fill_replay(x->replay, a, rows);
  if (!st) st = brc_feed_init(&x->feed, x->agent, x->replay, x->pool);
  x->batches = calloc(x->utd, sizeof *x->batches);
  x->pairs = calloc((size_t)x->utd * (size_t)a->batch * 2, sizeof *x->pairs);
  if (!st && (!x->batches || !x->pairs)) st = brc_fail(BRC_E_NOMEM, "out of memory");
  for (uint32_t u = 0; !st && u < x->utd; u++) st = brc_update_batch_create(x->agent, &x->batches[u]);
  return st;
}

// Per update: the whole, and what the host spent in handing it over.
static brc_status time_updates(update_bench *x, size_t reps, brc_timing *update, brc_timing *submit) {
  enum { WARM = 3 };
  double *times = calloc(2 * reps, sizeof *times), *submits = times + reps, unused;
  brc_status st = times ? BRC_OK : brc_fail(BRC_E_NOMEM, "out of memory");
  for (int i = 0; i < WARM && !st; i++) st = learn(x, &unused);
  for (size_t i = 0; !st && i < reps; i++) {
    const double t = brc_now_s();
    st = learn(x, &submits[i]);
    times[i] = (brc_now_s() - t) / x->utd;
    submits[i] /= x->utd;
  }
  if (!st) {
    *update = brc_timing_of(times, reps);
    *submit = brc_timing_of(submits, reps);
  }
  free(times);
  return st;
}

// What was measured, of one update.
typedef struct figures {
  brc_timing update, submit, block;  // block: a product of the critic's own blocks
  brc_roofline roof;
  brc_roofline_time least;
  double compile_s, profiled_s, flops, block_flops;
  uint32_t commands;
} figures;

static brc_status measure(update_bench *x, const brc_train_config *c, size_t reps, figures *f, cJSON **ops) {
  const brc_agent_config *a = &c->agent;
  const brc_program *p = x->agent->update_program;
  const uint32_t w = (uint32_t)(a->width < 2048 ? a->width : 2048);
  const brc_choice block = {.kind = BRC_OP_dense,
                            .m = (uint32_t)a->batch,
                            .n = w,
                            .k = w,
                            .members = (uint32_t)a->ensemble,
                            .precision = brc_train_precision(c)};
  brc_status st = time_updates(x, reps, &f->update, &f->submit);
  if (!st) st = brc_roofline_measure(x->device, ~0u, &f->roof);
  if (!st) st = brc_time_product(x->device, &block, 0.3, &f->block);
  if (st) return st;
  f->commands = x->device->backend->commands(x->agent->update_exec);
  f->least = brc_roofline_of(&f->roof, p, f->commands);
  f->flops = brc_program_gemm_flops(p);
  f->block_flops = 2.0 * block.m * block.n * block.k * block.members / f->block.median_s;
  *ops = profile_rows(x, &f->roof, reps < 10 ? reps : 10, &f->profiled_s);
  return BRC_OK;
}

static cJSON *report_of(const update_bench *x, const brc_train_config *c, const figures *f) {
  const brc_agent_config *a = &c->agent;
  cJSON *r = bench_report("update", x->device, c->precision);
  const char *const *providers = x->device->backend->gemm_providers(x->device);
  cJSON_AddStringToObject(r, "gemm", *c->gemm ? c->gemm : providers[0]);
  cJSON_AddStringToObject(r, "tuning", x->tuning.from);
  cJSON_AddNumberToObject(r, "choices", x->tuning.choices.count);
  cJSON_AddStringToObject(r, "replay", x->agent->table_rows ? "device" : "host");
  const double ms = f->update.median_s * 1e3;
  const struct {
    const char *name;
    double value;
  } numbers[] = {{"width", (double)a->width},
                 {"actor_width", (double)a->actor_width},
                 {"batch", (double)a->batch},
                 {"tasks", (double)a->tasks},
                 {"obs", (double)a->obs_dim},
                 {"act", (double)a->action_dim},
                 {"ms_per_update", ms},
                 {"min_ms", f->update.min_s * 1e3},
                 {"updates_per_s", 1e3 / ms},
                 {"tflops", f->flops / ms * 1e-9},
                 {"gflops", f->flops / ms * 1e-6},
                 {"gflop_per_update", f->flops * 1e-9},
                 {"ops_per_update", (double)x->agent->update_program->op_count},
                 {"launches_per_update", f->commands},
                 {"submit_us", f->submit.median_s * 1e6},
                 {"compile_s", f->compile_s},
                 {"device_gemm_gflops", f->block_flops * 1e-9},
                 {"device_copy_gbytes_per_s", f->roof.copy_bytes * 1e-9},
                 {"fraction_of_gemm_rate", f->flops / f->update.median_s / f->block_flops},
                 {"roofline_ms", f->least.total_s * 1e3},
                 {"roofline_products_ms", f->least.products_s * 1e3},
                 {"roofline_bytes_ms", f->least.bytes_s * 1e3},
                 {"roofline_launches_ms", f->least.launches_s * 1e3},
                 {"fraction_of_roofline", f->least.total_s / f->update.median_s},
                 {"device_bytes", (double)x->device->allocated},
                 {"profiled_ms", f->profiled_s * 1e3}};
  for (size_t i = 0; i < BRC_COUNT(numbers); i++) cJSON_AddNumberToObject(r, numbers[i].name, numbers[i].value);
  return r;
}

static void print_figures(const update_bench *x, const brc_train_config *c, const figures *f) {
  const brc_agent_config *a = &c->agent;
  const double ms = f->update.median_s * 1e3;
  printf("update on %s (%s), %s: W %lld, B %lld, T %lld, obs %lld, act %lld\n", x->device->info.name,
         x->device->backend->name, c->precision, (long long)a->width, (long long)a->batch, (long long)a->tasks,
         (long long)a->obs_dim, (long long)a->action_dim);
  printf(
      "  %.3f ms per update (least %.3f), %.2f updates/s, %.1f GFLOP/s of products (%.2f GFLOP per update)\n",
      ms, f->update.min_s * 1e3, 1e3 / ms, f->flops / ms * 1e-6, f->flops * 1e-9);
  printf("  %zu ops, %u commands, handed over in %.1f us; compiled in %.2f s; %.3f GB on the device\n",
         x->agent->update_program->op_count, f->commands, f->submit.median_s * 1e6, f->compile_s,
         gb(x->device->allocated));
  printf("  observations and actions from the replay on the %s\n", x->agent->table_rows ? "device" : "host");
  printf("  who computes which product: %s\n", x->tuning.choices.count ? x->tuning.from : "the built-in table");
  printf("  products of the blocks alone %.1f GFLOP/s: %.0f%% of that over the whole update\n",
         f->block_flops * 1e-9, 100 * f->flops / f->update.median_s / f->block_flops);
  printf("  roofline %.3f ms (products %.3f, other ops' bytes %.3f, launches %.3f): %.0f%% reached\n",
         f->least.total_s * 1e3, f->least.products_s * 1e3, f->least.bytes_s * 1e3, f->least.launches_s * 1e3,
         100 * f->least.total_s / f->update.median_s);
}

brc_status bench_update(const brc_train_config *c, const bench_options *o) {
  update_bench x = {0};
  figures f = {0};
  brc_agent_memory memory;
  cJSON *former, *ops = NULL;
  brc_status st = bench_former(o, "update", &former);
  if (!st) st = open_bench(&x, c, &f.compile_s);
  if (!st) st = plan_memory(c, x.flags, &memory);
  if (!st) st = measure(&x, c, (size_t)o->reps, &f, &ops);
  if (!st) {
    cJSON *report = report_of(&x, c, &f);
    if (!o->json) print_figures(&x, c, &f);
    bench_report_roofline(report, &f.roof, o->json);
    if (!o->json) print_profile(ops);
    cJSON_AddItemToObject(report, "ops", ops);
    cJSON_AddItemToObject(report, "memory", memory_json(&memory, brc_train_precision(c)));
    bench_finish(report, former, o);
  } else {
    cJSON_Delete(former);
  }
  close_bench(&x);
  return st;
}
