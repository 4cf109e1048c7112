// brc bench: the measurements. Times are medians over repeats; compiling and warming up are outside.
#include "base/philox.h"
#include "cli/bench_env.h"
#include "cli/cli.h"
#include "graph/grad.h"
#include "train/train.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct bench_options {
  int64_t obs, act, tasks, reps, m, n, k, batch;
  double seconds;
  bool json, memory;
} bench_options;

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

// Median and least of `count` times, which are sorted.
static double median(double *t, size_t count, double *least) {
  qsort(t, count, sizeof *t, by_value);
  *least = t[0];
  return count % 2 ? t[count / 2] : (t[count / 2 - 1] + t[count / 2]) / 2;
}

//------------------------ 1. Rates of a device ------------------------------------
// Seconds of one product op of this kind and shape (batch members), median over about `budget_s`.
static brc_status time_gemm(brc_device *d, brc_precision precision, brc_op_kind kind, uint32_t m, uint32_t n,
                            uint32_t k, uint32_t batch, double budget_s, double *seconds) {
  const brc_backend *b = d->backend;
  uint32_t ar = kind == BRC_OP_dense_dw ? k : m, ac = kind == BRC_OP_dense_dw ? m : k,
           br = kind == BRC_OP_dense_dx ? n : k, bc = kind == BRC_OP_dense_dx ? k : n;
  uint32_t pa = brc_pitch(ac), pb = brc_pitch(bc), pc = brc_pitch(n);
  brc_storage s[3] = {{.name = "a", .elements = (uint64_t)batch * ar * pa},
                      {.name = "b", .elements = (uint64_t)batch * br * pb},
                      {.name = "c", .elements = (uint64_t)batch * m * pc}};
  brc_program *p = NULL;
  brc_exec *e = NULL;
  brc_status st = brc_program_create(&p, "gemm");
  for (int i = 0; !st && i < 3; i++) st = brc_storage_alloc(d, &s[i]);
  if (!st) {
    brc_tensor *x = brc_external(p, &s[0], "a", 0, batch, ar, ac, pa, (uint64_t)ar * pa),
               *y = brc_external(p, &s[1], "b", 0, batch, br, bc, pb, (uint64_t)br * pb);
    brc_tensor *z = brc_external(p, &s[2], "c", 0, batch, m, n, pc, (uint64_t)m * pc);
    p->precision = precision;
    if (kind == BRC_OP_dense) brc_dense(p, x, y, NULL);
    if (kind == BRC_OP_dense_dx) brc_dense_dx(p, x, y, z, false);
    if (kind == BRC_OP_dense_dw) brc_dense_dw(p, x, y, z, false);
    st = brc_program_finish(p);
  }
  // Numbers that are no zeros: some units skip work or save power on those.
  for (int i = 0; !st && i < 2; i++) {
    float *data = malloc(s[i].elements * 4);
    if (!data) st = brc_fail(BRC_E_NOMEM, "out of memory");
    for (uint64_t j = 0; !st && j < s[i].elements; j++)
      data[j] = (float)((j * 2654435761u >> 8) & 0xffff) * 3e-5f - 1;
    if (!st) st = b->write(d, s[i].buffer, 0, s[i].elements, data, false);
    free(data);
  }
  if (!st) st = b->compile(d, p, &e);
  double times[64], start = brc_now_s(), least;
  size_t count = 0;
  for (int warm = 0; !st && warm < 2; warm++) st = b->run(d, e, 1);
  if (!st) st = b->wait(d);
  while (!st && count < BRC_COUNT(times) && (count < 5 || brc_now_s() - start < budget_s)) {
    double t = brc_now_s();
    st = b->run(d, e, 4);
    if (!st) st = b->wait(d);
    times[count++] = (brc_now_s() - t) / 4;
  }
  *seconds = st ? NAN : median(times, count, &least);
  if (e) b->exec_free(d, e);
  for (int i = 0; i < 3; i++) brc_storage_release(d, &s[i]);
  brc_program_free(p);
  return st;
}

// Bytes per second of a copy on the device, read and written bytes counted.
static brc_status copy_rate(brc_device *d, double *rate) {
  const brc_backend *b = d->backend;
  brc_storage s[2] = {{.name = "copy/from", .elements = 16u << 20}, {.name = "copy/to", .elements = 16u << 20}};
  brc_status st = brc_storage_alloc(d, &s[0]);
  if (!st) st = brc_storage_alloc(d, &s[1]);
  double times[9], least;
  for (int i = -2; !st && i < (int)BRC_COUNT(times); i++) {
    double t = brc_now_s();
    st = b->copy(d, s[1].buffer, s[0].buffer, s[0].elements);
    if (!st) st = b->wait(d);
    if (i >= 0) times[i] = brc_now_s() - t;
  }
  *rate = st ? NAN : 8.0 * (double)s[0].elements / median(times, BRC_COUNT(times), &least);
  brc_storage_release(d, &s[0]);
  brc_storage_release(d, &s[1]);
  return st;
}

//------------------------ 2. bench update -----------------------------------------
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

typedef struct update_bench {
  brc_pool *pool;
  brc_device *device;
  brc_agent *agent;
  brc_replay *replay;
  brc_batch *batches;
  uint32_t *pairs;
  uint32_t utd;
  uint64_t step;
} update_bench;

// One environment step's learning, as the trainer does it: draw, gather, send and update `utd` batches. *submit_s: what the host
// spent in handing the updates over, until each call returned.
static brc_status learn(update_bench *x, double *submit_s) {
  *submit_s = 0;
  uint32_t b = (uint32_t)x->agent->config.batch;
  brc_status st = brc_replay_sample(x->replay, x->utd * b, 1, ++x->step, 0, x->pairs);
  for (uint32_t u = 0; !st && u < x->utd; u++) {
    brc_batch *t = &x->batches[u];
    brc_replay_batch out = {.obs = t->obs,
                            .next_obs = t->next_obs,
                            .action = t->action,
                            .reward = t->reward,
                            .mask = t->mask,
                            .task = t->task,
                            .obs_pitch = t->pitch_obs,
                            .next_obs_pitch = t->pitch_obs,
                            .action_pitch = t->pitch_action};
    st = brc_replay_gather(x->replay, x->pool, b, x->pairs + 2 * (size_t)u * b, &out);
    if (!st) st = brc_agent_write_batch(x->agent, t, true);
    double t0 = brc_now_s();
    if (!st) st = brc_agent_update(x->agent);
    *submit_s += brc_now_s() - t0;
  }
  double metrics[BRC_METRIC_COUNT];
  if (!st) st = brc_agent_metrics(x->agent, metrics);
  return st ? st : brc_agent_wait(x->agent);
}

static cJSON *profile_rows(update_bench *x, size_t reps, double *total_s) {
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
      const brc_profile_row *r = &rows[i];
      double calls = r->calls ? (double)r->calls : 1, s = r->seconds / calls;
      cJSON *o = cJSON_CreateObject();
      cJSON_AddStringToObject(o, "op", brc_op_infos[p->ops[i]->kind].name);
      cJSON_AddStringToObject(o, "label", p->ops[i]->label);
      cJSON_AddNumberToObject(o, "ms", s * 1e3);
      cJSON_AddNumberToObject(o, "gflops", s > 0 ? r->flops / calls / s * 1e-9 : 0);
      cJSON_AddNumberToObject(o, "gbytes_per_s", s > 0 ? r->bytes / calls / s * 1e-9 : 0);
      cJSON_AddNumberToObject(o, "calls", (double)r->calls);
      cJSON_AddItemToArray(list, o);
      *total_s += s;
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

static void print_memory(const brc_agent *a, cJSON *o, bool json) {
  uint64_t state = 0;
  const brc_group *groups[] = {&a->critic, &a->actor, &a->temperature};
  for (size_t g = 0; g < BRC_COUNT(groups); g++)
    for (int r = 0; r < BRC_ROLES; r++) state += groups[g]->storage[r].buffer ? groups[g]->elements * 4 : 0;
  uint64_t arena = a->update_program->arena_elements * 4, whole = a->update_program->arena_unplanned * 4,
           batch = a->batch.elements * 4;
  cJSON *m = cJSON_AddObjectToObject(o, "memory");
  cJSON_AddNumberToObject(m, "state_bytes", (double)state);
  cJSON_AddNumberToObject(m, "activation_bytes", (double)arena);
  cJSON_AddNumberToObject(m, "activation_bytes_without_sharing", (double)whole);
  cJSON_AddNumberToObject(m, "batch_bytes", (double)batch);
  if (!json)
    printf(
        "\n  memory on the device: state %.1f MB (parameters, gradients, moments, target), activations %.1f MB "
        "(%.1f MB without sharing), batch %.1f MB\n",
        (double)state * 1e-6, (double)arena * 1e-6, (double)whole * 1e-6, (double)batch * 1e-6);
}

static brc_status bench_update(const brc_train_config *c, const bench_options *o) {
  update_bench x = {.utd = (uint32_t)c->utd};
  uint32_t rows = (uint32_t)(100000 / c->agent.tasks);
  if (rows < c->agent.batch) rows = (uint32_t)c->agent.batch;
  const brc_agent_config *a = &c->agent;
  brc_status st = brc_pool_create(&x.pool, (int)c->threads);
  double began = brc_now_s();
  if (!st) st = brc_open_device(c, x.pool, &x.device);
  if (!st)
    st = brc_agent_create(&x.agent, a, x.device,
                          (brc_agent_flags){.rough = true, .precision = brc_train_precision(c)});
  double compiled = brc_now_s() - began;
  if (!st) st = brc_agent_init(x.agent);
  if (!st)
    st = brc_replay_create(&x.replay, (uint32_t)a->tasks, (uint32_t)a->obs_dim, (uint32_t)a->action_dim, rows,
                           1);
  if (!st) st = fill_replay(x.replay, a, rows);
  x.batches = calloc(x.utd, sizeof *x.batches);
  x.pairs = calloc((size_t)x.utd * (size_t)a->batch * 2, sizeof *x.pairs);
  double *times = calloc((size_t)o->reps, sizeof *times), *submits = calloc((size_t)o->reps, sizeof *submits),
         least = 0, least_submit = 0, profiled = 0, gemm_s = 0, copy = 0;
  if (!st && (!x.batches || !x.pairs || !times || !submits)) st = brc_fail(BRC_E_NOMEM, "out of memory");
  for (uint32_t u = 0; !st && u < x.utd; u++) st = brc_batch_create(x.agent, (uint32_t)a->batch, &x.batches[u]);
  for (int i = 0; !st && i < 3; i++) st = learn(&x, &submits[0]);
  for (int64_t i = 0; !st && i < o->reps; i++) {
    double t = brc_now_s();
    st = learn(&x, &submits[i]);
    times[i] = (brc_now_s() - t) / x.utd;
  }
  double ms = st ? NAN : 1e3 * median(times, (size_t)o->reps, &least);
  double submit = st ? NAN : median(submits, (size_t)o->reps, &least_submit) / x.utd;
  cJSON *ops = st ? cJSON_CreateArray() : profile_rows(&x, (size_t)(o->reps < 10 ? o->reps : 10), &profiled);
  // Beside it what the device can do: a product of the update's own size, a copy.
  uint32_t w = (uint32_t)(a->width < 2048 ? a->width : 2048), b = (uint32_t)a->batch;
  if (!st)
    st =
        time_gemm(x.device, brc_train_precision(c), BRC_OP_dense, b, w, w, (uint32_t)a->ensemble, 0.5, &gemm_s);
  if (!st) st = copy_rate(x.device, &copy);
  if (!st) {
    double flops = brc_program_gemm_flops(x.agent->update_program),
           gemm = 2.0 * b * w * w * (double)a->ensemble / gemm_s;
    cJSON *r = cJSON_CreateObject();
    cJSON_AddStringToObject(r, "backend", x.device->backend->name);
    cJSON_AddStringToObject(r, "device", x.device->info.name);
    cJSON_AddStringToObject(r, "driver", x.device->info.driver);
    cJSON_AddStringToObject(r, "precision", c->precision);
    const char *const *providers = x.device->backend->gemm_providers(x.device);
    cJSON_AddStringToObject(r, "gemm", *c->gemm ? c->gemm : providers[0]);
    struct {
      const char *name;
      double value;
    } numbers[] = {{"width", (double)a->width},
                   {"actor_width", (double)a->actor_width},
                   {"batch", (double)a->batch},
                   {"tasks", (double)a->tasks},
                   {"obs", (double)a->obs_dim},
                   {"act", (double)a->action_dim},
                   {"ms_per_update", ms},
                   {"min_ms", least * 1e3},
                   {"updates_per_s", 1e3 / ms},
                   {"tflops", flops / ms * 1e-9},
                   {"gflops", flops / ms * 1e-6},
                   {"gflop_per_update", flops * 1e-9},
                   {"launches_per_update", (double)x.agent->update_program->op_count},
                   {"submit_us", submit * 1e6},
                   {"compile_s", compiled},
                   {"device_gemm_gflops", gemm * 1e-9},
                   {"device_copy_gbytes_per_s", copy * 1e-9},
                   {"fraction_of_gemm_rate", flops / (ms * 1e-3) / gemm},
                   {"profiled_ms", profiled * 1e3}};
    for (size_t i = 0; i < BRC_COUNT(numbers); i++)
      cJSON_AddNumberToObject(r, numbers[i].name, numbers[i].value);
    if (!o->json) {
      printf("update on %s (%s), %s: W %lld, B %lld, T %lld, obs %lld, act %lld\n", x.device->info.name,
             x.device->backend->name, c->precision, (long long)a->width, (long long)a->batch,
             (long long)a->tasks, (long long)a->obs_dim, (long long)a->action_dim);
      printf(
          "  %.3f ms per update (least %.3f), %.2f updates/s, %.1f GFLOP/s of products (%.2f GFLOP per "
          "update)\n",
          ms, least * 1e3, 1e3 / ms, flops / ms * 1e-6, flops * 1e-9);
      printf(
          "  device: products %.1f GFLOP/s at %u x %u x %u (%.0f%% reached over the whole update), copy %.1f "
          "GB/s; %zu ops, handed over in %.1f us; compiled in %.2f s\n",
          gemm * 1e-9, b, w, w, 100 * flops / (ms * 1e-3) / gemm, copy * 1e-9,
          x.agent->update_program->op_count, submit * 1e6, compiled);
      print_profile(ops);
    }
    cJSON_AddItemToObject(r, "ops", ops);
    if (o->memory || o->json) print_memory(x.agent, r, o->json);
    if (o->json)
      brc_cli_print_json(r);
    else
      cJSON_Delete(r);
  } else {
    cJSON_Delete(ops);
  }
  for (uint32_t u = 0; x.batches && u < x.utd; u++) brc_batch_free(&x.batches[u]);
  free(x.batches);
  free(x.pairs);
  free(times);
  free(submits);
  brc_replay_destroy(x.replay);
  brc_agent_free(x.agent);
  brc_device_close(x.device);
  brc_pool_destroy(x.pool);
  return st;
}

//------------------------ 3. bench gemm -------------------------------------------
typedef struct shape {
  uint32_t m, n, k, batch;
  const char *what;
} shape;

// Every provider at the products of an update (or at one given shape), three layouts each.
static brc_status bench_gemm(brc_train_config *c, const bench_options *o) {
  static const struct {
    brc_op_kind kind;
    const char *name;
  } layouts[] = {
      {BRC_OP_dense, "NN y = x K"}, {BRC_OP_dense_dx, "NT dx = dy K'"}, {BRC_OP_dense_dw, "TN dK = x' dy"}};
  const brc_agent_config *a = &c->agent;
  uint32_t b = (uint32_t)a->batch, w = (uint32_t)a->width, e = (uint32_t)a->ensemble,
           in = (uint32_t)(a->obs_dim + a->action_dim + (a->tasks > 1 ? a->embedding_dim : 0));
  shape shapes[] = {{b, w, in, e, "critic/input"},
                    {b, w, w, e, "critic/block"},
                    {b, (uint32_t)a->atoms, w, e, "critic/output"},
                    {b, (uint32_t)a->actor_width, (uint32_t)a->actor_width, 1, "actor/block"}};
  size_t count = BRC_COUNT(shapes);
  if (o->m)
    shapes[0] =
        (shape){(uint32_t)o->m, (uint32_t)o->n, (uint32_t)o->k, (uint32_t)(o->batch ? o->batch : 1), "given"},
    count = 1;
  brc_device *d;
  brc_status st = brc_open_device(c, NULL, &d);
  if (st) return st;
  char names[8][64], forced[BRC_TEXT];
  size_t providers = 0;
  snprintf(forced, sizeof forced, "%s", c->gemm);
  for (const char *const *p = d->backend->gemm_providers(d); *p && providers < BRC_COUNT(names); p++)
    if (!*forced || !strcmp(forced, *p)) snprintf(names[providers++], sizeof *names, "%s", *p);
  if (!o->json)
    printf("products on %s (%s)\n  %-14s %-14s %-16s %6s %6s %6s %3s %10s %10s\n", d->info.name,
           d->backend->name, "provider", "layout", "where", "m", "n", "k", "E", "ms", "GFLOP/s");
  cJSON *r = cJSON_CreateObject(), *rows = NULL;
  cJSON_AddStringToObject(r, "backend", d->backend->name);
  cJSON_AddStringToObject(r, "device", d->info.name);
  rows = cJSON_AddArrayToObject(r, "rows");
  brc_device_close(d);
  for (size_t p = 0; !st && p < providers; p++) {
    snprintf(c->gemm, sizeof c->gemm, "%s", names[p]);
    st = brc_open_device(c, NULL, &d);
    for (size_t i = 0; !st && i < count; i++)
      for (size_t l = 0; !st && l < BRC_COUNT(layouts); l++) {
        shape s = shapes[i];
        // The same layer's three products: forward m x n x k; dx m x k x n; dK k x n x m.
        if (!o->m && l == 1) s = (shape){s.m, s.k, s.n, s.batch, s.what};
        if (!o->m && l == 2) s = (shape){s.k, s.n, s.m, s.batch, s.what};
        double t;
        st = time_gemm(d, brc_train_precision(c), layouts[l].kind, s.m, s.n, s.k, s.batch, 0.3, &t);
        if (st) break;
        double gf = 2e-9 * s.m * s.n * s.k * s.batch / t;
        if (!o->json)
          printf("  %-14s %-14s %-16s %6u %6u %6u %3u %10.3f %10.1f\n", names[p], layouts[l].name, s.what, s.m,
                 s.n, s.k, s.batch, t * 1e3, gf);
        cJSON *x = cJSON_CreateObject();
        cJSON_AddStringToObject(x, "provider", names[p]);
        cJSON_AddStringToObject(x, "layout", layouts[l].name);
        cJSON_AddStringToObject(x, "where", s.what);
        cJSON_AddNumberToObject(x, "m", s.m);
        cJSON_AddNumberToObject(x, "n", s.n);
        cJSON_AddNumberToObject(x, "k", s.k);
        cJSON_AddNumberToObject(x, "batch", s.batch);
        cJSON_AddNumberToObject(x, "ms", t * 1e3);
        cJSON_AddNumberToObject(x, "gflops", gf);
        cJSON_AddItemToArray(rows, x);
      }
    if (d) brc_device_close(d);
    d = NULL;
  }
  if (!st && o->json)
    brc_cli_print_json(r);
  else
    cJSON_Delete(r);
  return st;
}

//------------------------ 4. The command ------------------------------------------
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
      {"memory", BRC_OPT_FLAG, offsetof(bench_options, memory), 0, 0, "false", NULL, "print the memory plan"},
      {"json", BRC_OPT_FLAG, offsetof(bench_options, json), 0, 0, "false", NULL, "one JSON object"},
      {"gemm-m", BRC_OPT_INT, offsetof(bench_options, m), 0, 1 << 20, "0", NULL,
       "bench gemm: one shape instead of the update's"},
      {"gemm-n", BRC_OPT_INT, offsetof(bench_options, n), 0, 1 << 20, "0", NULL, "bench gemm: one shape"},
      {"gemm-k", BRC_OPT_INT, offsetof(bench_options, k), 0, 1 << 20, "0", NULL, "bench gemm: one shape"},
      {"gemm-members", BRC_OPT_INT, offsetof(bench_options, batch), 0, 1024, "0", NULL,
       "bench gemm: one shape, this many at once"}};
  const brc_option loop_rows[] = {{"utd", BRC_OPT_INT, offsetof(brc_train_config, utd), 1, 1024, "2", NULL,
                                   "updates between two reads of the metrics"},
                                  {"assets", BRC_OPT_TEXT, offsetof(brc_train_config, assets), 0, 0, "", NULL,
                                   "bench env: folder with the environments' files"}};
  brc_option_set set = {.tables = {{rows, BRC_COUNT(rows), &o, "Bench"},
                                   {loop_rows, BRC_COUNT(loop_rows), &c, "Loop"},
                                   {brc_agent_options, brc_agent_option_count, &c.agent, "BRC"},
                                   {brc_device_option_rows, brc_device_option_count, &c, "Device"}},
                        .count = 4};
  if (brc_cli_help(argc, argv,
                   "usage: brc bench update|gemm [options]\n       brc bench env TASKS... [options]\n\nMedians "
                   "over repeats, with the device's measured product and copy rates beside them.\n")) {
    brc_options_help(&set);
    return BRC_OK;
  }
  const char *words[257];
  size_t count;
  brc_options_default(&set);
  brc_status st = brc_options_parse(&set, argc, argv, words, BRC_COUNT(words), &count, NULL);
  if (st) return st;
  if (!count) return brc_fail(BRC_E_USAGE, "bench what? update, gemm or env");
  c.agent.obs_dim = o.obs;
  c.agent.action_dim = o.act;
  c.agent.tasks = o.tasks;
  c.agent.target_entropy = NAN;
  st = brc_agent_config_resolve(&c.agent);
  if (!st && o.m && (!o.n || !o.k)) st = brc_fail(BRC_E_USAGE, "option --gemm-m needs --gemm-n and --gemm-k");
  if (st) return st;
  bool one = !strcmp(words[0], "update") || !strcmp(words[0], "gemm");
  if (one && count > 1)
    return brc_fail(BRC_E_USAGE, "bench %s takes no further words ('%s')", words[0], words[1]);
  if (!strcmp(words[0], "update")) return bench_update(&c, &o);
  if (!strcmp(words[0], "gemm")) return bench_gemm(&c, &o);
  if (!strcmp(words[0], "env")) {
    for (size_t i = 1; !st && i < count; i++) st = brc_train_add_tasks(&c, words[i]);
    if (!st && !c.task_count) st = brc_fail(BRC_E_USAGE, "which tasks? usage: brc bench env TASKS...");
    return st ? st : brc_bench_env(&c, o.seconds, o.json);
  }
  return brc_fail(BRC_E_USAGE, "bench '%s' is unknown; there are update, gemm, env", words[0]);
}
