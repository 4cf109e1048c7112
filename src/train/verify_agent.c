#include "train/verify_agent.h"
#include "train/loop.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

//------------------------ 1. What is compared, and how closely -------------------
// Bounds of golden/README.md and golden/tapes/README.md, derived there from the distance between the published float32 code and
// float64. A case with expect/ alone was itself rounded: twice the bound. `wide`: a float64 backend, where expect64/ gradients
// were stored as float32 (6e-8) and everything else is double.
typedef struct bound {
  const char *match;  // the class of every name that begins with it, behind "update{k}/" or "step{k}/"
  const char *name;
  brc_verify_kind kind;
  double fp32, stress, later, wide;  // later: from the second update on
} bound;

// clang-format off
static const bound bounds[] = {
    {"loss/", "losses", BRC_VERIFY_ABS1, 1e-5, 1e-5, 3e-5, 1e-9},
    {"entropy", "entropy", BRC_VERIFY_ABS1, 1e-5, 1e-5, 3e-5, 1e-9},
    {"q_m", "q_mean, q_min, q_max", BRC_VERIFY_ABS1, 1e-5, 1e-5, 3e-5, 1e-9},
    {"temperature", "temperature", BRC_VERIFY_REL, 1e-6, 1e-6, 1e-6, 1e-9},
    {"grad_norm/", "grad_norm", BRC_VERIFY_REL, 3e-5, 3e-5, 3e-5, 1e-9},
    {"param_norm/", "param_norm", BRC_VERIFY_REL, 1e-6, 1e-6, 1e-6, 1e-9},
    {"q_logits", "q_logits", BRC_VERIFY_REL, 3e-6, 3e-6, 3e-6, 1e-9},
    {"action", "action, next_action", BRC_VERIFY_ABS, 2e-5, 2e-5, 2e-5, 1e-9},
    {"next_action", "action, next_action", BRC_VERIFY_ABS, 2e-5, 2e-5, 2e-5, 1e-9},
    {"log_prob", "log_prob, next_log_prob", BRC_VERIFY_REL, 3e-6, 3e-6, 3e-6, 1e-9},
    {"next_log_prob", "log_prob, next_log_prob", BRC_VERIFY_REL, 3e-6, 3e-6, 3e-6, 1e-9},
    {"target_probs", "target_probs", BRC_VERIFY_ABS, 2e-5, 1e-4, 2e-5, 1e-9},
    {"grad/critic/", "grad/critic", BRC_VERIFY_REL, 5e-5, 5e-5, 5e-5, 1e-7},
    {"grad/actor/", "grad/actor", BRC_VERIFY_REL, 2e-4, 2e-4, 2e-4, 1e-7},
    {"grad/log_alpha", "grad/log_alpha", BRC_VERIFY_REL, 2e-6, 2e-6, 2e-6, 1e-7},
};

// clang-format on
typedef struct verify {
  const brc_st_file *f;
  brc_device *device;
  brc_agent *agent;
  brc_verify_report *report;
  brc_st_writer *dump;
  brc_verify_class classes[BRC_COUNT(bounds)];
  bool stress;
  double lr_reach;  // 2 lr per update, summed over updates: how far an element may move by rounding noise alone
  double *scratch;
  uint64_t scratch_count;
  brc_status status;  // sticky
} verify;

static double *scratch(verify *v, uint64_t n) {
  if (n > v->scratch_count) {
    double *bigger = realloc(v->scratch, n * sizeof *bigger);
    if (!bigger) {
      v->status = brc_fail(BRC_E_NOMEM, "out of memory for %llu numbers", (unsigned long long)n);
      return NULL;
    }
    v->scratch = bigger;
    v->scratch_count = n;
  }
  return v->scratch;
}

// The expected tensor for `name`, complete or thinned; *stride is 1 or its thinning. NULL: nothing is expected of it.
static const brc_st_tensor *expected(verify *v, const char *name, uint64_t n, uint64_t *stride, bool *rounded) {
  static const char *const places[] = {"expect64/", "expect/"};
  long thin = 0;
  brc_st_meta_int(v->f, "thin_stride", 1, 1 << 30, &thin);  // absent: nothing is thinned
  for (size_t i = 0; i < BRC_COUNT(places); i++) {
    const brc_st_tensor *t = brc_st_find(v->f, "%s%s", places[i], name);
    *stride = 1;
    if (!t && thin > 0) {
      t = brc_st_find(v->f, "%s%s.every%ld", places[i], name, thin);
      *stride = (uint64_t)thin;
    }
    if (!t) continue;
    *rounded = i == 1;
    if (t->count == (n + *stride - 1) / *stride) return t;
    v->status =
        brc_fail(BRC_E_FORMAT, "%s: tensor '%s' has %llu elements, expected %llu", brc_st_path(v->f), t->name,
                 (unsigned long long)t->count, (unsigned long long)((n + *stride - 1) / *stride));
    return NULL;
  }
  return NULL;
}

// Expected values as doubles beside the matching computed ones: thins `got` in place. NULL: v->status says why.
static double *gather_expected(verify *v, const brc_st_tensor *t, uint64_t stride, double *got) {
  double *want = malloc((t->count + 1) * sizeof *want);
  if (!want) v->status = brc_fail(BRC_E_NOMEM, "out of memory for '%s'", t->name);
  for (uint64_t i = 0; want && i < t->count; i++) {
    want[i] = brc_st_get(t, i);
    got[i] = got[i * stride];
  }
  return want;
}

static void write_dump(verify *v, const char *name, int rank, const uint64_t *shape, const double *got,
                       uint64_t n) {
  if (!v->dump || v->status) return;
  // Where the file has the complete tensor, its shape is the one to write.
  const brc_st_tensor *like = brc_st_find(v->f, "expect64/%s", name);
  if (!like) like = brc_st_find(v->f, "expect/%s", name);
  if (like && like->count == n) rank = like->rank, shape = like->shape;
  if (v->device->backend->wide) {
    v->status = brc_st_writer_copy(v->dump, name, BRC_ST_F64, rank, shape, got);
    return;
  }
  float *narrow = malloc((n + 1) * sizeof *narrow);
  if (!narrow) {
    v->status = brc_fail(BRC_E_NOMEM, "out of memory for the dump of '%s'", name);
    return;
  }
  for (uint64_t i = 0; i < n; i++) narrow[i] = (float)got[i];
  v->status = brc_st_writer_copy(v->dump, name, BRC_ST_F32, rank, shape, narrow);
  free(narrow);
}

// Dump and compare what was computed under `name` ("update0/q_logits").
static void check(verify *v, const char *name, int rank, const uint64_t *shape, double *got) {
  uint64_t n = 1, stride;
  bool rounded = false;
  for (int i = 0; i < rank; i++) n *= shape[i];
  write_dump(v, name, rank, shape, got, n);
  if (v->status) return;
  const brc_st_tensor *t = expected(v, name, n, &stride, &rounded);
  if (!t) return;
  const char *slash = strchr(name, '/');
  bool later = strncmp(name, "update0/", 8) != 0;
  for (size_t i = 0; i < BRC_COUNT(bounds); i++) {
    const bound *b = &bounds[i];
    if (strncmp(slash + 1, b->match, strlen(b->match))) continue;
    double tolerance = v->device->backend->wide && !rounded ? b->wide
                                                            : (v->stress ? fmax(b->stress, later ? b->later : 0)
                                                               : later   ? b->later
                                                                         : b->fp32) *
                                                                  (rounded ? 2 : 1);
    double *want = gather_expected(v, t, stride, got);
    if (!want) return;
    size_t at = i;  // names of one class share one row
    for (size_t j = 0; j < i; j++)
      if (!strcmp(bounds[j].name, b->name)) at = j;
    v->classes[at].name = b->name;
    brc_verify_compare(&v->classes[at], b->kind, tolerance, got, want, t->count);
    free(want);
    return;
  }
}

// A whole network after the last update. Elements whose gradient is rounding noise move by up to lr either way, so the bound
// is counted over all elements: 99.9 % (stress: 99 %) within 1e-5, all within that plus 2 lr per update.
static void check_final(verify *v, const char *net, brc_group *g) {
  brc_verify_class c = {.name = net};
  uint64_t close = 0;
  double sum = 0;
  bool wide = v->device->backend->wide,
       tape = brc_st_meta(v->f, "kind") && !strcmp(brc_st_meta(v->f, "kind"), "tape"), any_rounded = false;
  for (size_t i = 0; i < g->count && !v->status; i++) {
    const brc_param *q = &g->params[i];
    char name[128], full[160];
    snprintf(name, sizeof name, "%s/%s", net, q->name);
    snprintf(full, sizeof full, "final/%s", name);
    uint64_t n, stride, shape[3];
    bool rounded = false;
    int rank = brc_param_shape(q, shape);
    if ((v->status = brc_agent_read(v->agent, name, NULL, &n))) return;
    double *got = scratch(v, n);
    if (!got || (v->status = brc_agent_read(v->agent, name, got, &n))) return;
    write_dump(v, full, rank, shape, got, n);
    const brc_st_tensor *t = v->status ? NULL : expected(v, full, n, &stride, &rounded);
    if (!t) continue;
    any_rounded |= rounded;
    double *want = gather_expected(v, t, stride, got);
    if (!want) return;
    for (uint64_t k = 0; k < t->count; k++) {
      double d = fabs(got[k] - want[k]), near = 1e-5 * fmax(1, fabs(want[k]));
      close += d <= near;
      sum += d * d;
      if (!isfinite(d))
        c.worst = INFINITY;  // parameters are finite, also where both sides are not
      else if (!wide && !tape)
        c.worst = fmax(c.worst, d / (near + v->lr_reach));
    }
    double worst = c.worst;
    brc_verify_compare(&c, BRC_VERIFY_ABS1, 1e-9, got, want, t->count);
    if (!wide || rounded) c.worst = worst;
    free(want);
  }
  if (!c.count || v->status) return;
  char label[64];
  double share = (double)close / (double)c.count, rms = sqrt(sum / (double)c.count);
  if (wide && !any_rounded) {
    snprintf(label, sizeof label, "final/%s", net);
    c.tolerance = 1e-9;
  } else if (tape) {  // root mean square over the network (golden/tapes/README.md)
    double tau = v->agent->config.tau / 0.005;
    c.tolerance = strcmp(net, "target") ? 5e-6 : 5e-7 * fmax(1, tau);
    snprintf(label, sizeof label, "final/%s (rms %.1e)", net, rms);
    c.worst = isnan(rms) ? INFINITY : rms / c.tolerance;
  } else {
    c.tolerance = 1e-5 + v->lr_reach;
    snprintf(label, sizeof label, "final/%s (%.3f%% within 1e-5)", net, 100 * share);
    if (share < (v->stress ? 0.99 : 0.999)) c.worst = INFINITY;
  }
  c.name = label;
  v->status = brc_verify_class_add(v->report, &c);
}

//------------------------ 2. Reading a case --------------------------------------
static brc_status need_int(const brc_st_file *f, const char *key, long lo, long hi, int64_t *out) {
  long x;
  brc_status st = brc_st_meta_int(f, key, lo, hi, &x);
  if (!st) *out = x;
  return st;
}

// The configuration in a case's metadata. Limits keep a hostile file from asking for terabytes.
static brc_status read_config(const brc_st_file *f, brc_agent_config *c) {
  brc_option_set set = {.tables = {{brc_agent_options, brc_agent_option_count, c, ""}}, .count = 1};
  brc_options_default(&set);
  int64_t embedding = 0;
  brc_status st = BRC_OK;
  struct {
    const char *key;
    long lo, hi;
    int64_t *out;
  } ints[] = {{"obs_dim", 1, 1 << 20, &c->obs_dim},    {"action_dim", 1, 1 << 16, &c->action_dim},
              {"num_tasks", 1, 1 << 16, &c->tasks},    {"width_critic", 1, 1 << 16, &c->width},
              {"depth_critic", 0, 32, &c->depth},      {"width_actor", 1, 1 << 16, &c->actor_width},
              {"depth_actor", 0, 32, &c->actor_depth}, {"ensemble", 1, 16, &c->ensemble},
              {"num_atoms", 2, 4096, &c->atoms},       {"batch", 1, 1 << 20, &c->batch},
              {"embedding_dim", 0, 4096, &embedding}};
  for (size_t i = 0; !st && i < BRC_COUNT(ints); i++)
    st = need_int(f, ints[i].key, ints[i].lo, ints[i].hi, ints[i].out);
  struct {
    const char *key;
    double *out;
  } reals[] = {{"v_max", &c->v_max},
               {"discount", &c->discount},
               {"tau", &c->tau},
               {"lr_critic", &c->critic_lr},
               {"lr_actor", &c->actor_lr},
               {"lr_alpha", &c->temperature_lr},
               {"adam_beta1", &c->beta1},
               {"adam_beta2", &c->beta2},
               {"adam_eps", &c->adam_eps},
               {"adam_beta1_alpha", &c->temperature_beta1},
               {"weight_decay", &c->weight_decay},
               {"layernorm_eps", &c->layernorm_eps},
               {"target_entropy", &c->target_entropy}};
  for (size_t i = 0; !st && i < BRC_COUNT(reals); i++) st = brc_st_meta_real(f, reals[i].key, reals[i].out);
  if (!st && brc_st_meta(f, "weight_decay_alpha"))
    st = brc_st_meta_real(f, "weight_decay_alpha", &c->temperature_decay);
  if (!st && brc_st_meta(f, "adam_beta2_alpha"))
    st = brc_st_meta_real(f, "adam_beta2_alpha", &c->temperature_beta2);
  else
    c->temperature_beta2 = c->beta2;
  if (st) return st;
  const char *norm = brc_st_meta(f, "embedding_norm");
  if (norm && strcmp(norm, "none")) {
    if (strcmp(norm, "l1") && strcmp(norm, "l2"))
      return brc_fail(BRC_E_FORMAT, "%s: embedding_norm '%s' is not one of l1, l2, none", brc_st_path(f), norm);
    snprintf(c->embedding_norm, sizeof c->embedding_norm, "%s", norm);
  }
  if ((c->tasks > 1) != (embedding > 0))
    return brc_fail(BRC_E_FORMAT, "%s: %lld tasks with an embedding of dimension %lld", brc_st_path(f),
                    (long long)c->tasks, (long long)embedding);
  if (embedding) c->embedding_dim = embedding;
  // What a file cannot hold it cannot ask for: its parameters alone would be larger than it is.
  if (!(c->tau >= 0 && c->tau <= 1) || !(c->adam_eps >= 0) || !(c->layernorm_eps > 0) || !(c->v_max < 1e30) ||
      !(c->v_max > 1e-30) || c->discount < 0 || c->discount > 1 || c->beta1 < 0 || c->beta1 >= 1 ||
      c->beta2 < 0 || c->beta2 >= 1)
    return brc_fail(BRC_E_FORMAT, "%s: v_max, discount, tau, layernorm_eps or an Adam constant is out of range",
                    brc_st_path(f));
  char deep[2][64];
  snprintf(deep[0], sizeof deep[0], "init/critic/block%lld/dense1/kernel", (long long)c->depth - 1);
  snprintf(deep[1], sizeof deep[1], "init/actor/block%lld/dense1/kernel", (long long)c->actor_depth - 1);
  uint64_t e = (uint64_t)c->ensemble, w = (uint64_t)c->width, a = (uint64_t)c->actor_width;
  struct {
    const char *name;
    uint64_t count;
  } sizes[] = {{"init/critic/input/kernel", e * (uint64_t)(c->obs_dim + c->action_dim + embedding) * w},
               {"init/critic/output/kernel", e * w * (uint64_t)c->atoms},
               {"init/actor/input/kernel", (uint64_t)(c->obs_dim + embedding) * a},
               {"init/actor/mean/kernel", a * (uint64_t)c->action_dim},
               {deep[0], e * w * w},
               {deep[1], a * a},
               {"init/critic/embedding", (uint64_t)(c->tasks * embedding)}};
  for (size_t i = 0; i < BRC_COUNT(sizes); i++) {
    const brc_st_tensor *k = brc_st_find(f, "%s", sizes[i].name);
    if ((i == 4 && !c->depth) || (i == 5 && !c->actor_depth) || (i == 6 && !embedding)) continue;
    if (!k || k->count != sizes[i].count)
      return brc_fail(BRC_E_FORMAT, "%s: '%s' is missing or its size does not fit the metadata", brc_st_path(f),
                      sizes[i].name);
  }
  return brc_agent_config_resolve(c);
}

static bool is_stress(const brc_st_file *f) {
  const char *keys[] = {"case", "init_how", "source"};
  for (size_t i = 0; i < BRC_COUNT(keys); i++) {
    const char *s = brc_st_meta(f, keys[i]);
    if (s && strstr(s, "stress")) return true;
  }
  return false;
}

static brc_status begin(verify *v, const brc_st_file *f, brc_device *device, const char *dump,
                        brc_verify_report *r) {
  *v = (verify){.f = f, .device = device, .report = r, .stress = is_stress(f)};
  long thin;
  brc_status st = brc_st_meta(f, "thin_stride") ? brc_st_meta_int(f, "thin_stride", 1, 1 << 30, &thin) : BRC_OK;
  return st || !dump ? st : brc_st_writer_new(&v->dump);
}

static brc_status finish(verify *v, brc_status st, const char *dump) {
  if (!st) st = v->status;
  for (size_t i = 0; !st && i < BRC_COUNT(bounds); i++) st = brc_verify_class_add(v->report, &v->classes[i]);
  if (!st && v->dump) st = brc_st_write(v->dump, dump);
  if (v->dump) brc_st_writer_free(v->dump);
  brc_agent_free(v->agent);
  free(v->scratch);
  return st;
}

static brc_status copy_rows(const brc_st_file *f, float *out, uint32_t rows, uint32_t cols, uint32_t pitch,
                            const char *name, uint64_t k) {
  const brc_st_tensor *t;
  brc_status st =
      brc_st_need(f, BRC_ST_F32, (uint64_t)rows * cols, &t, "update%llu/%s", (unsigned long long)k, name);
  for (uint32_t i = 0; !st && i < rows; i++)
    memcpy(out + (size_t)i * pitch, (const char *)t->data + (size_t)i * cols * 4, (size_t)cols * 4);
  return st;
}

static brc_status check_tasks(const brc_st_file *f, const int32_t *task, uint32_t n, int64_t tasks,
                              const char *what) {
  for (uint32_t i = 0; i < n; i++)
    if (task[i] < 0 || task[i] >= tasks)
      return brc_fail(BRC_E_FORMAT, "%s: %s names task %d of %lld", brc_st_path(f), what, task[i],
                      (long long)tasks);
  return BRC_OK;
}

static brc_status read_batch(verify *v, brc_batch *b, uint64_t k) {
  const brc_agent_config *c = &v->agent->config;
  const brc_st_tensor *t;
  uint32_t o = (uint32_t)c->obs_dim, a = (uint32_t)c->action_dim;
  brc_status st = copy_rows(v->f, b->obs, b->rows, o, b->pitch_obs, "batch/obs", k);
  if (!st) st = copy_rows(v->f, b->next_obs, b->rows, o, b->pitch_obs, "batch/next_obs", k);
  if (!st) st = copy_rows(v->f, b->action, b->rows, a, b->pitch_action, "batch/action", k);
  if (!st) st = copy_rows(v->f, b->reward, b->rows, 1, 1, "batch/reward", k);
  if (!st) st = copy_rows(v->f, b->mask, b->rows, 1, 1, "batch/mask", k);
  if (!st) st = brc_st_need(v->f, BRC_ST_I32, b->rows, &t, "update%llu/batch/task", (unsigned long long)k);
  if (st) return st;
  memcpy(b->task, t->data, b->rows * 4);
  for (uint32_t i = 0; b->reward64 && i < b->rows; i++) b->reward64[i] = (double)b->reward[i];
  return check_tasks(v->f, b->task, b->rows, c->tasks, "the batch");
}

//------------------------ 3. Whole updates ---------------------------------------
static void check_scalars(verify *v, uint64_t k, double *metrics) {
  for (int m = 0; m < BRC_METRIC_COUNT && !v->status; m++) {
    char name[96];
    if (m == BRC_METRIC_grad_log_alpha ? k > 0 : m == BRC_METRIC_reward_mean) continue;
    snprintf(name, sizeof name, "update%llu/%s", (unsigned long long)k, brc_metric_names[m]);
    check(v, name, 1, (uint64_t[]){1}, &metrics[m]);
  }
}

static void check_taps(verify *v) {
  for (size_t i = 0; i < v->agent->tap_count && !v->status; i++) {
    const brc_tensor *t = v->agent->taps[i].t;
    char name[96];
    snprintf(name, sizeof name, "update0/%s", v->agent->taps[i].name);
    uint64_t shape[3], n = (uint64_t)t->members * t->rows * t->cols;
    int rank = 0;
    if (!strcmp(v->agent->taps[i].name, "q_logits")) shape[rank++] = t->members;
    shape[rank++] = t->rows;
    if (t->cols > 1 || strstr(name, "action")) shape[rank++] = t->cols;
    double *got = scratch(v, n);
    if (got && !(v->status = brc_tensor_read(v->device, v->agent->update_exec, t, BRC_F64, got)))
      check(v, name, rank, shape, got);
  }
}

static void check_gradients(verify *v) {
  brc_group *groups[] = {&v->agent->critic, &v->agent->actor};
  for (size_t g = 0; g < BRC_COUNT(groups); g++)
    for (size_t i = 0; i < groups[g]->count && !v->status; i++) {
      const brc_param *q = &groups[g]->params[i];
      char name[128], full[160];
      snprintf(name, sizeof name, "grad/%s/%s", groups[g]->name, q->name);
      snprintf(full, sizeof full, "update0/%s", name);
      uint64_t n = (uint64_t)q->members * q->rows * q->cols, shape[3];
      int rank = brc_param_shape(q, shape);
      double *got = scratch(v, n);
      if (got && !(v->status = brc_agent_read(v->agent, name, got, &n))) check(v, full, rank, shape, got);
    }
}

static void check_all_final(verify *v) {
  check_final(v, "critic", &v->agent->critic);
  check_final(v, "target", &v->agent->critic);
  check_final(v, "actor", &v->agent->actor);
  double log_alpha;
  uint64_t n, stride;
  bool rounded;
  if (v->status || (v->status = brc_agent_read(v->agent, "log_alpha", &log_alpha, &n))) return;
  write_dump(v, "final/log_alpha", 1, (uint64_t[]){1}, &log_alpha, 1);
  const brc_st_tensor *t = v->status ? NULL : expected(v, "final/log_alpha", 1, &stride, &rounded);
  if (!t) return;
  long updates = 0;
  brc_st_meta_int(v->f, "num_updates", 0, 1L << 30, &updates);
  bool tape = brc_st_meta(v->f, "kind") != NULL;
  double want = brc_st_get(t, 0),
         tolerance = v->device->backend->wide && !rounded
                         ? 1e-9
                         : 1e-6 * (tape ? 1 + (double)updates / 10 : 1) * (rounded ? 2 : 1);
  brc_verify_class c = {.name = "final/log_alpha"};
  brc_verify_compare(&c, BRC_VERIFY_ABS, tolerance, &log_alpha, &want, 1);
  v->status = brc_verify_class_add(v->report, &c);
}

brc_status brc_verify_update(const brc_st_file *f, brc_device *device, const char *dump, brc_verify_report *r) {
  verify v;
  brc_agent_config c = {0};
  int64_t updates = 0;
  brc_batch b = {0};
  brc_status st = begin(&v, f, device, dump, r);
  if (!st) st = read_config(f, &c);
  if (!st) st = need_int(f, "num_updates", 1, 1 << 20, &updates);
  // Before memory is taken for a batch: the file has one of this size.
  struct {
    const char *name;
    int64_t cols;
  } parts[] = {{"batch/obs", c.obs_dim}, {"batch/next_obs", c.obs_dim},  {"batch/action", c.action_dim},
               {"batch/reward", 1},      {"noise/target", c.action_dim}, {"noise/actor", c.action_dim}};
  const brc_st_tensor *part;
  for (size_t i = 0; !st && i < BRC_COUNT(parts); i++)
    st = brc_st_need(f, BRC_ST_F32, (uint64_t)(c.batch * parts[i].cols), &part, "update0/%s", parts[i].name);
  v.lr_reach = 2 * fmax(c.critic_lr, c.actor_lr) * (double)updates;
  if (!st)
    st = brc_agent_create(&v.agent, &c, device,
                          (brc_agent_flags){.given_noise = true, .taps = true, .precision = r->precision});
  if (!st) st = brc_agent_load(v.agent, f, "init/");
  if (!st) st = brc_batch_create(v.agent, (uint32_t)c.batch, &b);
  for (int64_t k = 0; !st && k < updates; k++) {
    const brc_st_tensor *target, *actor;
    uint64_t n = (uint64_t)(c.batch * c.action_dim);
    double metrics[BRC_METRIC_COUNT];
    st = read_batch(&v, &b, (uint64_t)k);
    if (!st) st = brc_st_need(f, BRC_ST_F32, n, &target, "update%lld/noise/target", (long long)k);
    if (!st) st = brc_st_need(f, BRC_ST_F32, n, &actor, "update%lld/noise/actor", (long long)k);
    if (!st) {
      // The file's data need not be aligned.
      float *noise = malloc(2 * n * 4);
      if (!noise)
        st = brc_fail(BRC_E_NOMEM, "out of memory");
      else {
        memcpy(noise, target->data, n * 4);
        memcpy(noise + n, actor->data, n * 4);
        st = brc_agent_write_noise(v.agent, BRC_F32, noise, noise + n);
      }
      free(noise);
    }
    if (!st) st = brc_agent_write_batch(v.agent, &b, false);
    if (!st) st = brc_agent_update(v.agent);
    if (!st) st = brc_agent_metrics(v.agent, metrics);
    if (st) break;
    check_scalars(&v, (uint64_t)k, metrics);
    if (k == 0) {
      check_taps(&v);
      check_gradients(&v);
    }
    st = v.status;
  }
  if (!st) check_all_final(&v);
  brc_batch_free(&b);
  return finish(&v, st, dump);
}

//------------------------ 4. The projection alone --------------------------------
static brc_status project(verify *v, long group, brc_verify_class *c) {
  const brc_st_file *f = v->f;
  char key[64];
  int64_t atoms = 0, rows = 0;
  double v_max, discount;
#define KEY(field) (snprintf(key, sizeof key, "group%ld/" field, group), key)
  brc_status st = need_int(f, KEY("num_atoms"), 2, 4096, &atoms);
  if (!st) st = need_int(f, KEY("rows"), 1, 1 << 24, &rows);
  if (!st) st = brc_st_meta_real(f, KEY("v_max"), &v_max);
  if (!st) st = brc_st_meta_real(f, KEY("discount"), &discount);
#undef KEY
  const brc_st_tensor *p, *reward, *mask, *logp;
  uint64_t n = (uint64_t)rows, all = n * (uint64_t)atoms;
  if (!st) st = brc_st_need(f, BRC_ST_F32, all, &p, "group%ld/p", group);
  if (!st) st = brc_st_need(f, BRC_ST_F32, n, &reward, "group%ld/reward", group);
  if (!st) st = brc_st_need(f, BRC_ST_F32, n, &mask, "group%ld/mask", group);
  if (!st) st = brc_st_need(f, BRC_ST_F32, n, &logp, "group%ld/alpha_log_prob", group);
  if (st) return st;
  if (!(v_max > 1e-30 && v_max < 1e30))
    return brc_fail(BRC_E_FORMAT, "%s: group%ld/v_max must be positive", brc_st_path(f), group);
  // The op takes logits of a one-member ensemble: log p, and alpha = 1 beside alpha log pi. softmax(log p) = p.
  brc_device *d = v->device;
  brc_storage in[] = {{.name = "logits", .elements = n * brc_pitch((uint32_t)atoms)},
                      {.name = "reward", .elements = n},
                      {.name = "mask", .elements = n},
                      {.name = "log_prob", .elements = n},
                      {.name = "scalars", .elements = BRC_SCALAR_COUNT}};
  brc_program *g = NULL;
  brc_exec *e = NULL;
  brc_tensor *t[BRC_COUNT(in)] = {0}, *target = NULL, *q = NULL;
  for (size_t i = 0; !st && i < BRC_COUNT(in); i++) st = brc_storage_alloc(d, &in[i]);
  if (!st) st = brc_program_create(&g, "projection");
  if (!st) {
    uint32_t cols[] = {(uint32_t)atoms, 1, 1, 1, BRC_SCALAR_COUNT};
    for (size_t i = 0; i < BRC_COUNT(in); i++) {
      uint32_t pitch = i == 0 ? brc_pitch(cols[i]) : cols[i];
      t[i] = brc_external(g, &in[i], in[i].name, 0, 1, i < 4 ? (uint32_t)rows : 1, cols[i], pitch, 0);
    }
    brc_categorical_target(g, t[0], t[1], t[2], t[3], t[4], v_max, discount, &target, &q);
    brc_program_tap(g, target);
    st = brc_program_finish(g);
  }
  if (!st) st = d->backend->compile(d, g, &e);
  double *x = st ? NULL : scratch(v, all);
  if (!st && !x) st = v->status;
  if (!st) {
    for (uint64_t i = 0; i < all; i++) x[i] = brc_st_get(p, i) > 0 ? log(brc_st_get(p, i)) : -1e30;
    st = brc_tensor_write(d, t[0], BRC_F64, x);
    const brc_st_tensor *rows_of[] = {reward, mask, logp};
    for (size_t k = 0; !st && k < 3; k++) {
      for (uint64_t i = 0; i < n; i++) x[i] = brc_st_get(rows_of[k], i);
      st = brc_tensor_write(d, t[k + 1], BRC_F64, x);
    }
    double scalars[BRC_SCALAR_COUNT] = {1};
    if (!st) st = brc_tensor_write(d, t[4], BRC_F64, scalars);
    if (!st) st = d->backend->run(d, e, 1);
    if (!st) st = brc_tensor_read(d, e, target, BRC_F64, x);
  }
  if (!st) {
    char name[64];
    snprintf(name, sizeof name, "group%ld/target_probs", group);
    write_dump(v, name, 2, (uint64_t[]){n, (uint64_t)atoms}, x, all);
    const brc_st_tensor *w = brc_st_find(f, "%s64", name);
    bool rounded = !w;
    if (!w) w = brc_st_find(f, "%s", name);
    if (w && w->count != all)
      st = brc_fail(BRC_E_FORMAT, "%s: '%s' does not have %llu elements", brc_st_path(f), w->name,
                    (unsigned long long)all);
    double *want = w && !st ? gather_expected(v, w, 1, x) : NULL;
    // 3e-5: b carries about 4e-6 of rounding at b = 100. In float64: a stored row of p sums to 1 within float32 rounding (3e-7),
    // the softmax's row exactly.
    if (want)
      brc_verify_compare(&c[0], BRC_VERIFY_ABS, d->backend->wide && !rounded ? 1e-6 : 3e-5 * (rounded ? 2 : 1),
                         x, want, all);
    for (uint64_t i = 0; want && i < n; i++) {
      double sums[2] = {0, 0};
      for (int64_t j = 0; j < atoms; j++)
        sums[0] += x[i * (uint64_t)atoms + (uint64_t)j], sums[1] += want[i * (uint64_t)atoms + (uint64_t)j];
      brc_verify_compare(&c[1], BRC_VERIFY_ABS, 1e-5, &sums[0], &sums[1], 1);
    }
    free(want);
  }
  if (e) d->backend->exec_free(d, e);
  for (size_t i = 0; i < BRC_COUNT(in); i++) brc_storage_release(d, &in[i]);
  brc_program_free(g);
  return st ? st : v->status;
}

brc_status brc_verify_projection(const brc_st_file *f, brc_device *device, const char *dump,
                                 brc_verify_report *r) {
  verify v;
  int64_t groups = 0;
  brc_status st = begin(&v, f, device, dump, r);
  if (!st) st = need_int(f, "groups", 1, 1 << 16, &groups);
  brc_verify_class c[2] = {{.name = "target_probs"}, {.name = "row sums"}};
  for (long g = 0; !st && g < groups; g++) st = project(&v, g, c);
  for (size_t i = 0; !st && i < 2; i++) st = brc_verify_class_add(r, &c[i]);
  return finish(&v, st, dump);
}

//------------------------ 5. Tapes -----------------------------------------------
enum {
  TAPE_ACTION,
  TAPE_LOSS,
  TAPE_ENTROPY,
  TAPE_ALPHA,
  TAPE_DENOMINATOR,
  TAPE_REWARD,
  TAPE_NORMALIZER,
  TAPE_GRAD_NORM,
  TAPE_PARAM_NORM,
  TAPE_EXACT,
  TAPE_CLASSES
};
// Bounds of golden/tapes/README.md; `growth`: times 1 + n/10 after n updates. wide: minimum and maximum of returns are kept in
// float32, which reaches everything behind the denominator (1e-6, README there).
static const struct {
  const char *name;
  brc_verify_kind kind;
  double fp32;
  bool growth;
  double wide;
} tape_bounds[TAPE_CLASSES] = {
    {"action", BRC_VERIFY_ABS, 5e-5, true, 1e-6},
    {"losses, q_mean", BRC_VERIFY_ABS1, 1e-5, true, 1e-6},
    {"entropy, q_min, q_max", BRC_VERIFY_ABS1, 3e-5, true, 1e-6},
    {"alpha_before, temperature", BRC_VERIFY_REL, 1e-6, true, 1e-6},
    {"denominator", BRC_VERIFY_ABS1, 1e-6, true, 1e-6},
    {"reward_mean", BRC_VERIFY_ABS1, 2e-7, true, 2e-7},
    {"normalizer/min, max", BRC_VERIFY_ABS1, 1e-6, false, 1e-6},
    {"grad_norm", BRC_VERIFY_ABS1, 5e-3, false, 1e-5},
    {"param_norm", BRC_VERIFY_ABS1, 1e-6, false, 1e-6},
    {"final/replay, obs, rewards, counts (exact)", BRC_VERIFY_ABS, 0, false, 0},
};

typedef struct tape {
  verify v;
  brc_loop loop;
  brc_verify_class c[TAPE_CLASSES];
  uint64_t first, done;  // first environment step; updates made in the window so far
  brc_status status;     // of observers
} tape;

static void tape_check(tape *t, int which, double *got, uint64_t n, uint64_t k, const char *name) {
  char full[128];
  uint64_t stride;
  bool rounded;
  snprintf(full, sizeof full, "step%llu/%s", (unsigned long long)k, name);
  write_dump(&t->v, full, 1, (uint64_t[]){n}, got, n);
  const brc_st_tensor *w = t->v.status ? NULL : expected(&t->v, full, n, &stride, &rounded);
  double *want = w ? gather_expected(&t->v, w, stride, got) : NULL;
  if (!want) return;
  double tolerance = t->v.device->backend->wide && !rounded
                         ? tape_bounds[which].wide
                         : tape_bounds[which].fp32 *
                               (tape_bounds[which].growth ? 1 + (double)t->done / 10 : 1) * (rounded ? 2 : 1);
  brc_verify_compare(&t->c[which], tape_bounds[which].kind, tolerance, got, want, w->count);
  free(want);
}

static brc_status tape_floats(tape *t, float *out, uint64_t n, const char *name, uint64_t k) {
  const brc_st_tensor *x;
  brc_status st = brc_st_need(t->v.f, BRC_ST_F32, n, &x, "step%llu/%s", (unsigned long long)k, name);
  if (!st) memcpy(out, x->data, n * 4);
  return st;
}

static uint64_t act_count(const tape *t) {
  return (uint64_t)(t->v.agent->config.tasks * t->v.agent->config.action_dim);
}

static brc_status tape_random(void *self, uint64_t step, float *action) {
  tape *t = self;
  return tape_floats(t, action, act_count(t), "random_action", step - t->first);
}
static brc_status tape_act_noise(void *self, uint64_t step, float *noise) {
  tape *t = self;
  return tape_floats(t, noise, act_count(t), "noise/act", step - t->first);
}
static brc_status tape_update_noise(void *self, uint64_t step, uint32_t u, float *target, float *actor) {
  tape *t = self;
  char name[64];
  uint64_t n = (uint64_t)(t->v.agent->config.batch * t->v.agent->config.action_dim);
  snprintf(name, sizeof name, "update%u/noise/target", u);
  brc_status st = tape_floats(t, target, n, name, step - t->first);
  snprintf(name, sizeof name, "update%u/noise/actor", u);
  return st ? st : tape_floats(t, actor, n, name, step - t->first);
}

static brc_status tape_flags(tape *t, uint8_t *out, const char *name, uint64_t k) {
  const brc_st_tensor *x;
  uint64_t tasks = (uint64_t)t->v.agent->config.tasks;
  brc_status st = brc_st_need(t->v.f, BRC_ST_I32, tasks, &x, "step%llu/%s", (unsigned long long)k, name);
  for (uint64_t i = 0; !st && i < tasks; i++) out[i] = brc_st_get(x, i) != 0;
  return st;
}

// Teacher-forced: compare our action, go on with the recorded one, which the recorded results belong to.
static brc_status tape_step(void *self, uint64_t step, const double *chosen, float *action, float *next_obs,
                            float *reward, uint8_t *terminal, uint8_t *truncated) {
  tape *t = self;
  uint64_t k = step - t->first, n = act_count(t), tasks = (uint64_t)t->v.agent->config.tasks;
  double *got = malloc(n * sizeof *got);
  if (!got) return brc_fail(BRC_E_NOMEM, "out of memory");
  memcpy(got, chosen, n * sizeof *got);
  tape_check(t, TAPE_ACTION, got, n, k, "action");
  free(got);
  const brc_st_tensor *recorded;
  brc_status st = t->v.status;
  if (!st) st = brc_st_need(t->v.f, BRC_ST_F32, n, &recorded, "expect/step%llu/action", (unsigned long long)k);
  if (!st) memcpy(action, recorded->data, n * 4);
  if (!st) st = tape_floats(t, next_obs, tasks * (uint64_t)t->v.agent->config.obs_dim, "next_obs", k);
  if (!st) st = tape_floats(t, reward, tasks, "reward", k);
  if (!st) st = tape_flags(t, terminal, "terminal", k);
  return st ? st : tape_flags(t, truncated, "truncated", k);
}

static brc_status tape_reset(void *self, uint64_t step, size_t task, float *obs) {
  tape *t = self;
  char name[64];
  snprintf(name, sizeof name, "reset_obs/%zu", task);
  return tape_floats(t, obs, (uint64_t)t->v.agent->config.obs_dim, name, step - t->first);
}

static brc_status tape_sample(void *self, const brc_replay *replay, uint64_t step, uint32_t count,
                              uint32_t *pairs) {
  tape *t = self;
  const brc_st_tensor *x;
  brc_status st = brc_st_need(t->v.f, BRC_ST_I32, 2 * (uint64_t)count, &x, "step%llu/indices",
                              (unsigned long long)(step - t->first));
  for (uint64_t i = 0; !st && i < 2 * (uint64_t)count; i++) {
    double limit = i % 2 ? brc_replay_size(replay) : brc_replay_tasks(replay), at = brc_st_get(x, i);
    if (at < 0 || at >= limit)
      return brc_fail(BRC_E_FORMAT, "%s: '%s' names %s %g of %g", brc_st_path(t->v.f), x->name,
                      i % 2 ? "row" : "task", at, limit);
    pairs[i] = (uint32_t)at;
  }
  return st;
}

static void tape_saw_denominators(void *self, uint64_t step, double alpha, const double *d) {
  tape *t = self;
  uint64_t n = (uint64_t)t->v.agent->config.tasks;
  tape_check(t, TAPE_ALPHA, &alpha, 1, step - t->first, "alpha_before");
  double *copy = scratch(&t->v, n);
  if (!copy) return;
  memcpy(copy, d, n * sizeof *copy);
  tape_check(t, TAPE_DENOMINATOR, copy, n, step - t->first, "denominator");
}

static void tape_saw_update(void *self, uint64_t step, uint32_t u, const double *metrics) {
  tape *t = self;
  static const int which[BRC_METRIC_COUNT] = {[BRC_METRIC_loss_critic] = TAPE_LOSS,
                                              [BRC_METRIC_loss_actor] = TAPE_LOSS,
                                              [BRC_METRIC_loss_alpha] = TAPE_LOSS,
                                              [BRC_METRIC_q_mean] = TAPE_LOSS,
                                              [BRC_METRIC_entropy] = TAPE_ENTROPY,
                                              [BRC_METRIC_q_min] = TAPE_ENTROPY,
                                              [BRC_METRIC_q_max] = TAPE_ENTROPY,
                                              [BRC_METRIC_temperature] = TAPE_ALPHA,
                                              [BRC_METRIC_reward_mean] = TAPE_REWARD,
                                              [BRC_METRIC_grad_norm_critic] = TAPE_GRAD_NORM,
                                              [BRC_METRIC_grad_norm_actor] = TAPE_GRAD_NORM,
                                              [BRC_METRIC_param_norm_critic] = TAPE_PARAM_NORM,
                                              [BRC_METRIC_param_norm_actor] = TAPE_PARAM_NORM};
  for (int m = 0; m < BRC_METRIC_COUNT; m++) {
    if (m == BRC_METRIC_grad_log_alpha) continue;  // the same number as loss/alpha
    char name[96];
    double x = metrics[m];
    snprintf(name, sizeof name, "update%u/%s", u, brc_metric_names[m]);
    tape_check(t, which[m], &x, 1, step - t->first, name);
  }
  t->done++;
}

static void tape_saw_episode_end(void *self, uint64_t step, const brc_normalizer *n) {
  tape *t = self;
  uint64_t tasks = (uint64_t)t->v.agent->config.tasks;
  const float *from[] = {brc_normalizer_min(n), brc_normalizer_max(n)};
  const char *names[] = {"normalizer/min", "normalizer/max"};
  for (int i = 0; i < 2; i++) {
    double *x = scratch(&t->v, tasks);
    if (!x) return;
    for (uint64_t k = 0; k < tasks; k++) x[k] = (double)from[i][k];
    tape_check(t, TAPE_NORMALIZER, x, tasks, step - t->first, names[i]);
  }
}

// The start: replay rows, normaliser, current observations.
static brc_status tape_start(tape *t, uint32_t capacity) {
  const brc_st_file *f = t->v.f;
  const brc_agent_config *c = &t->v.agent->config;
  const brc_st_tensor *index, *size, *x;
  uint64_t tasks = (uint64_t)c->tasks;
  brc_status st = brc_st_need(f, BRC_ST_I32, 1, &index, "init/replay/insert_index");
  if (!st) st = brc_st_need(f, BRC_ST_I32, 1, &size, "init/replay/size");
  if (st) return st;
  double rows = brc_st_get(size, 0), at = brc_st_get(index, 0);
  if (rows < 0 || rows > capacity || at < 0 || at >= capacity)
    return brc_fail(BRC_E_FORMAT, "%s: init/replay/size or insert_index is outside the capacity",
                    brc_st_path(f));
  uint64_t n = (uint64_t)rows;
  brc_replay_rows in = {0};
  if (n) {
    struct {
      const char *name;
      uint64_t cols;
      float **out;
    } parts[] = {{"obs", (uint64_t)c->obs_dim, &in.obs},
                 {"next_obs", (uint64_t)c->obs_dim, &in.next_obs},
                 {"action", (uint64_t)c->action_dim, &in.action},
                 {"reward", 1, &in.reward},
                 {"mask", 1, &in.mask}};
    for (size_t i = 0; !st && i < BRC_COUNT(parts); i++) {
      st = brc_st_need(f, BRC_ST_F32, tasks * n * parts[i].cols, &x, "init/replay/%s", parts[i].name);
      if (!st && !(*parts[i].out = malloc(x->count * 4))) st = brc_fail(BRC_E_NOMEM, "out of memory");
      if (!st) memcpy(*parts[i].out, x->data, x->count * 4);
    }
    if (!st) st = brc_replay_import(t->loop.replay, &in, (uint32_t)at, (uint32_t)n);
    float *all[] = {in.obs, in.next_obs, in.action, in.reward, in.mask};
    for (size_t i = 0; i < BRC_COUNT(all); i++) free(all[i]);
  }
  if (!st) st = brc_normalizer_load(t->loop.normalizer, f, "init/");
  if (!st) st = brc_st_need(f, BRC_ST_F32, tasks * (uint64_t)c->obs_dim, &x, "init/obs");
  if (!st) memcpy(t->loop.obs, x->data, x->count * 4);
  return st;
}

// Compare floats with a recorded tensor to the bit.
static void tape_exact(tape *t, const char *name, const float *got, uint64_t n) {
  double *x = scratch(&t->v, n + 1);
  if (!x) return;
  for (uint64_t i = 0; i < n; i++) x[i] = (double)got[i];
  write_dump(&t->v, name, 1, (uint64_t[]){n}, x, n);
  const brc_st_tensor *w = brc_st_find(t->v.f, "expect/%s", name);
  if (!w) return;
  if (w->count != n || w->dtype != BRC_ST_F32) {  // a different number of rows is a finding, not a damaged file
    t->c[TAPE_EXACT].worst = t->c[TAPE_EXACT].max_abs = INFINITY;
    t->c[TAPE_EXACT].count++;
    return;
  }
  double *want = gather_expected(&t->v, w, 1, x);
  if (want) brc_verify_compare(&t->c[TAPE_EXACT], BRC_VERIFY_ABS, 0, x, want, n);
  free(want);
}

static void tape_exact_int(tape *t, const char *name, double got) {
  int32_t whole = (int32_t)got;
  if (t->v.dump && !t->v.status)
    t->v.status = brc_st_writer_copy(t->v.dump, name, BRC_ST_I32, 1, (uint64_t[]){1}, &whole);
  const brc_st_tensor *w = brc_st_find(t->v.f, "expect/%s", name);
  if (!w || !w->count) return;
  double want = brc_st_get(w, 0);
  brc_verify_compare(&t->c[TAPE_EXACT], BRC_VERIFY_ABS, 0, &got, &want, 1);
}

static brc_status tape_exact_replay(tape *t) {
  const brc_agent_config *c = &t->v.agent->config;
  const brc_replay *r = t->loop.replay;
  uint64_t n = (uint64_t)c->tasks * brc_replay_size(r), o = (uint64_t)c->obs_dim, a = (uint64_t)c->action_dim;
  brc_replay_rows rows = {malloc((n * o + 1) * 4), malloc((n * o + 1) * 4), malloc((n * a + 1) * 4),
                          malloc((n + 1) * 4), malloc((n + 1) * 4)};
  bool ok = rows.obs && rows.next_obs && rows.action && rows.reward && rows.mask;
  if (ok) {
    brc_replay_export(r, &rows);
    tape_exact(t, "final/replay/obs", rows.obs, n * o);
    tape_exact(t, "final/replay/next_obs", rows.next_obs, n * o);
    tape_exact(t, "final/replay/action", rows.action, n * a);
    tape_exact(t, "final/replay/reward", rows.reward, n);
    tape_exact(t, "final/replay/mask", rows.mask, n);
  }
  float *all[] = {rows.obs, rows.next_obs, rows.action, rows.reward, rows.mask};
  for (size_t i = 0; i < BRC_COUNT(all); i++) free(all[i]);
  return ok ? BRC_OK : brc_fail(BRC_E_NOMEM, "out of memory for the replay buffer's rows");
}

static brc_status tape_end(tape *t) {
  const brc_replay *r = t->loop.replay;
  uint64_t tasks = (uint64_t)t->v.agent->config.tasks;
  brc_status st = tape_exact_replay(t);
  if (st) return st;
  tape_exact(t, "final/obs", t->loop.obs, tasks * (uint64_t)t->v.agent->config.obs_dim);
  for (uint32_t k = 0; k < tasks; k++) {
    char name[64];
    size_t count;
    const float *rewards = brc_normalizer_rewards(t->loop.normalizer, k, &count);
    snprintf(name, sizeof name, "final/normalizer/rewards/%u", k);
    if (count || brc_st_find(t->v.f, "expect/%s", name)) tape_exact(t, name, rewards, count);
  }
  tape_exact_int(t, "final/replay/insert_index", brc_replay_insert_index(r));
  tape_exact_int(t, "final/replay/size", brc_replay_size(r));
  static const char *const counts[] = {"opt/critic/count", "opt/actor/count", "opt/log_alpha/count"};
  for (size_t i = 0; i < BRC_COUNT(counts); i++) {
    double x;
    uint64_t one;
    char name[64];
    st = brc_agent_read(t->v.agent, counts[i], &x, &one);
    if (st) return st;
    snprintf(name, sizeof name, "final/%s", counts[i]);
    tape_exact_int(t, name, x);
  }
  const float *bounds_of[] = {brc_normalizer_min(t->loop.normalizer), brc_normalizer_max(t->loop.normalizer)};
  const char *names[] = {"final/normalizer/min", "final/normalizer/max"};
  for (int i = 0; i < 2; i++) {
    uint64_t stride;
    bool rounded;
    double *x = scratch(&t->v, tasks);
    if (!x) return t->v.status;
    for (uint64_t k = 0; k < tasks; k++) x[k] = (double)bounds_of[i][k];
    write_dump(&t->v, names[i], 1, (uint64_t[]){tasks}, x, tasks);
    const brc_st_tensor *w = expected(&t->v, names[i], tasks, &stride, &rounded);
    double *want = w ? gather_expected(&t->v, w, stride, x) : NULL;
    if (want) brc_verify_compare(&t->c[TAPE_NORMALIZER], BRC_VERIFY_ABS1, 1e-6, x, want, tasks);
    free(want);
  }
  check_all_final(&t->v);
  return t->v.status;
}

brc_status brc_verify_tape(const brc_st_file *f, brc_device *device, const char *dump, brc_verify_report *r) {
  tape t = {0};
  brc_agent_config c = {0};
  int64_t steps = 0, first = 0, updates = 0, capacity = 0, start = 0;
  brc_replay *replay = NULL;
  brc_normalizer *normalizer = NULL;
  brc_status st = begin(&t.v, f, device, dump, r);
  if (!st) st = read_config(f, &c);
  if (!st) st = need_int(f, "steps", 1, 1 << 20, &steps);
  if (!st) st = need_int(f, "first_step", 1, 1L << 40, &first);
  if (!st) st = need_int(f, "updates_per_step", 0, 1 << 10, &updates);
  if (!st) st = need_int(f, "capacity", 1, 1 << 24, &capacity);
  if (!st) st = need_int(f, "start_training", 0, 1L << 40, &start);
  t.first = (uint64_t)first;
  // Before memory is taken for a batch: the first step with updates has that many indices.
  int64_t k0 = start > first ? start - first : 0;
  const brc_st_tensor *drawn;
  if (!updates || k0 >= steps)
    c.batch = 1;  // no update in this window
  else if (!st)
    st = brc_st_need(f, BRC_ST_I32, 2 * (uint64_t)(updates * c.batch), &drawn, "step%lld/indices",
                     (long long)k0);
  for (int i = 0; i < TAPE_CLASSES; i++) t.c[i].name = tape_bounds[i].name;
  if (!st)
    st = brc_agent_create(&t.v.agent, &c, device,
                          (brc_agent_flags){.given_noise = true, .precision = r->precision});
  if (!st) st = brc_agent_load(t.v.agent, f, "init/");
  if (!st)
    st = brc_replay_create(&replay, (uint32_t)c.tasks, (uint32_t)c.obs_dim, (uint32_t)c.action_dim,
                           (uint32_t)capacity, 1);
  if (!st)
    st = brc_normalizer_create(&normalizer,
                               &(brc_normalizer_config){.tasks = (uint32_t)c.tasks, .discount = c.discount});
  brc_world world = {&t,         tape_random, tape_act_noise,        tape_update_noise, tape_step,
                     tape_reset, tape_sample, tape_saw_denominators, tape_saw_update,   tape_saw_episode_end,
                     NULL};
  brc_loop_config lc = {.start = (uint64_t)start, .updates = (uint32_t)updates};
  bool looping = false;
  if (!st) {
    st = brc_loop_init(&t.loop, &lc, t.v.agent, replay, normalizer, &world, NULL);
    looping = !st;
  }
  if (!st) st = tape_start(&t, (uint32_t)capacity);
  t.loop.step = (uint64_t)first - 1;
  for (int64_t k = 0; !st && k < steps; k++) {
    st = brc_loop_step(&t.loop);
    if (!st) st = t.v.status;
  }
  if (!st) st = tape_end(&t);
  for (int i = 0; !st && i < TAPE_CLASSES; i++) st = brc_verify_class_add(r, &t.c[i]);
  if (looping) brc_loop_free(&t.loop);
  brc_normalizer_destroy(normalizer);
  brc_replay_destroy(replay);
  return finish(&t.v, st, dump);
}

brc_status brc_verify_agent_file(const brc_st_file *f, brc_device *device, const char *dump,
                                 brc_verify_report *r) {
  const char *kind = brc_st_meta(f, "kind");
  if (kind && !strcmp(kind, "tape")) return brc_verify_tape(f, device, dump, r);
  if (brc_st_meta(f, "groups")) return brc_verify_projection(f, device, dump, r);
  if (brc_st_meta(f, "num_updates")) return brc_verify_update(f, device, dump, r);
  return brc_fail(BRC_E_FORMAT,
                  "%s: neither an update case (num_updates), a projection (groups), a tape (kind=tape) nor an "
                  "environment (spec, episode)",
                  brc_st_path(f));
}
