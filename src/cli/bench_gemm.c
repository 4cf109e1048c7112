// brc bench gemm: every provider at the products of an update.
#include "cli/bench.h"
#include <string.h>

typedef struct shape {
  uint32_t m, n, k, members;
  const char *what;
} shape;

static const char *const layouts[] = {"NN y = x K", "NT dx = dy K'", "TN dK = x' dy"};

// The products of layers, forward m x n x k: the layer's dx is m x k x n, its dK k x n x m. Given shapes are taken as they are.
static size_t shapes_of(const brc_agent_config *a, const bench_options *o, shape out[4]) {
  const uint32_t b = (uint32_t)a->batch, w = (uint32_t)a->width, e = (uint32_t)a->ensemble,
                 aw = (uint32_t)a->actor_width,
                 in = (uint32_t)(a->obs_dim + a->action_dim + (a->tasks > 1 ? a->embedding_dim : 0));
  if (o->m) {
    out[0] = (shape){(uint32_t)o->m, (uint32_t)o->n, (uint32_t)o->k, (uint32_t)(o->members ? o->members : 1),
                     "given"};
    return 1;
  }
  out[0] = (shape){b, w, in, e, "critic/input"};
  out[1] = (shape){b, w, w, e, "critic/block"};
  out[2] = (shape){b, (uint32_t)a->atoms, w, e, "critic/output"};
  out[3] = (shape){b, aw, aw, 1, "actor/block"};
  return 4;
}

static shape laid_out(shape s, uint32_t kind, bool given) {
  if (given || kind == BRC_OP_dense) return s;
  if (kind == BRC_OP_dense_dx) return (shape){s.m, s.k, s.n, s.members, s.what};
  return (shape){s.k, s.n, s.m, s.members, s.what};
}

static brc_status measure(brc_device *d, const brc_train_config *c, const char *provider, shape s,
                          uint32_t kind, bool json, cJSON *rows) {
  const brc_choice product = {
      .kind = kind, .m = s.m, .n = s.n, .k = s.k, .members = s.members, .precision = brc_train_precision(c)};
  brc_timing t;
  const brc_status st = brc_time_product(d, &product, 0.3, &t);
  if (st) return st;
  const double gflops = 2e-9 * s.m * s.n * s.k * s.members / t.median_s;
  if (!json)
    printf("  %-14s %-14s %-16s %6u %6u %6u %3u %10.3f %10.1f\n", provider, layouts[kind], s.what, s.m, s.n,
           s.k, s.members, t.median_s * 1e3, gflops);
  cJSON *x = cJSON_CreateObject();
  cJSON_AddStringToObject(x, "provider", provider);
  cJSON_AddStringToObject(x, "layout", layouts[kind]);
  cJSON_AddStringToObject(x, "where", s.what);
  cJSON_AddNumberToObject(x, "m", s.m);
  cJSON_AddNumberToObject(x, "n", s.n);
  cJSON_AddNumberToObject(x, "k", s.k);
  cJSON_AddNumberToObject(x, "batch", s.members);
  cJSON_AddNumberToObject(x, "ms", t.median_s * 1e3);
  cJSON_AddNumberToObject(x, "min_ms", t.min_s * 1e3);
  cJSON_AddNumberToObject(x, "gflops", gflops);
  cJSON_AddItemToArray(rows, x);
  return BRC_OK;
}

// All products on the device opened with this provider; the first one also tells the device's roofline.
static brc_status with_provider(const brc_train_config *c, const bench_options *o, const char *provider,
                                cJSON *rows) {
  brc_device *d;
  shape shapes[4];
  const size_t count = shapes_of(&c->agent, o, shapes);
  brc_status st = brc_open_device(c, NULL, &d);
  for (size_t i = 0; !st && i < count; i++)
    for (uint32_t kind = BRC_OP_dense; !st && kind <= BRC_OP_dense_dw; kind++)
      st = measure(d, c, provider, laid_out(shapes[i], kind, o->m != 0), kind, o->json, rows);
  brc_device_close(d);
  return st;
}

brc_status bench_gemm(brc_train_config *c, const bench_options *o) {
  brc_device *d;
  brc_roofline roof;
  char names[8][64], forced[BRC_TEXT];
  size_t providers = 0;
  cJSON *former, *report = NULL;
  snprintf(forced, sizeof forced, "%s", c->gemm);
  brc_status st = bench_former(o, "gemm", &former);
  if (st) return st;
  st = brc_open_device(c, NULL, &d);
  if (!st) {
    for (const char *const *p = d->backend->gemm_providers(d); *p && providers < BRC_COUNT(names); p++)
      if (!*forced || !strcmp(forced, *p)) snprintf(names[providers++], sizeof *names, "%s", *p);
    report = bench_report("gemm", d, c->precision);
    if (!o->json) printf("products in %s on %s (%s)\n", c->precision, d->info.name, d->backend->name);
    st = brc_roofline_measure(d, 1u << brc_train_precision(c), &roof);
    if (!st) bench_report_roofline(report, &roof, o->json);
    brc_device_close(d);
  }
  if (!st && !o->json)
    printf("  %-14s %-14s %-16s %6s %6s %6s %3s %10s %10s\n", "provider", "layout", "where", "m", "n", "k", "E",
           "ms", "GFLOP/s");
  cJSON *rows = cJSON_AddArrayToObject(report, "rows");
  for (size_t p = 0; !st && p < providers; p++) {
    snprintf(c->gemm, sizeof c->gemm, "%s", names[p]);
    st = with_provider(c, o, names[p], rows);
    if (st == BRC_E_UNSUPPORTED && providers > 1) {  // not in this precision
      if (!o->json) printf("  %-14s (none in %s)\n", names[p], c->precision);
      st = BRC_OK;
    }
  }
  if (!st) {
    bench_finish(report, former, o);
    return BRC_OK;
  }
  cJSON_Delete(report);
  cJSON_Delete(former);
  return st;
}
