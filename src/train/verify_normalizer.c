// The golden cases of the reward normaliser. The file may be hostile: every member is checked before use.
#include "train/verify_normalizer.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "data/normalizer.h"

// Rewards are exact in float32, returns are float64 and rounded to float32 once: 1e-7, and room for another order of sums.
#define TOLERANCE  1e-6
#define MOST_TASKS 65536

enum { RETURNS_MIN, RETURNS_MAX, DENOMINATOR, NORMALIZED, QUANTITIES };
static const char *const quantity_names[QUANTITIES] = {"returns_min", "returns_max", "denominator",
                                                       "sample_normalized"};

struct error {
  double max_abs, max_rel;
  uint64_t count;
  bool ok;
};

struct verify {
  const char *path;
  size_t index;  // of the case, for messages
  struct error error[QUANTITIES];

  // The case at hand.
  uint32_t tasks, steps;
  double target_entropy;
  brc_normalizer *normalizer;
  const cJSON *rewards, *terminal, *truncated, *checks;
  float *reward;        // [T]
  uint8_t *ends;        // [2,T] terminal, truncated
  double *denominator;  // [T]
};

//------------------------ 1. Reading ------------------------------------------
static brc_status malformed(const struct verify *v, const char *what) {
  return brc_fail(BRC_E_FORMAT, "'%s': case %zu: '%s' is missing or malformed", v->path, v->index, what);
}

// A finite number, or the strings of the infinities.
static bool read_number(const cJSON *item, double *out) {
  if (cJSON_IsNumber(item)) {
    *out = item->valuedouble;
    return isfinite(*out);
  }
  if (!cJSON_IsString(item)) return false;
  *out = strcmp(item->valuestring, "inf") == 0 ? INFINITY : -INFINITY;
  return *out > 0 || strcmp(item->valuestring, "-inf") == 0;
}

static bool read_finite(const cJSON *object, const char *key, double *out) {
  const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
  return cJSON_IsNumber(item) && isfinite(*out = item->valuedouble);
}

static bool read_count(const cJSON *object, const char *key, uint32_t least, uint32_t most, uint32_t *out) {
  double x;
  if (!read_finite(object, key, &x) || x != floor(x) || x < least || x > most) return false;
  *out = (uint32_t)x;
  return true;
}

// An array with this many elements; its first, and count 0 has none.
static bool read_array(const cJSON *item, uint32_t count, const cJSON **first) {
  if (!cJSON_IsArray(item) || cJSON_GetArraySize(item) != (int)count) return false;
  *first = item->child;
  return true;
}

static bool read_flags(const cJSON *row, uint32_t tasks, uint8_t *out) {
  const cJSON *item;
  if (!read_array(row, tasks, &item)) return false;
  for (uint32_t t = 0; t < tasks; t++, item = item->next) {
    double x;
    if (cJSON_IsBool(item)) {
      out[t] = cJSON_IsTrue(item) ? 1 : 0;
    } else if (read_number(item, &x) && (x == 0 || x == 1)) {
      out[t] = x != 0;
    } else {
      return false;
    }
  }
  return true;
}

static bool read_rewards(const cJSON *row, uint32_t tasks, float *out) {
  const cJSON *item;
  if (!read_array(row, tasks, &item)) return false;
  for (uint32_t t = 0; t < tasks; t++, item = item->next) {
    if (!cJSON_IsNumber(item) || !(fabs(item->valuedouble) <= 3e38)) return false;
    out[t] = (float)item->valuedouble;
  }
  return true;
}

//------------------------ 2. Comparing ----------------------------------------
static void compare(struct error *e, double got, double want) {
  e->count++;
  if (got == want) return;  // equal infinities too
  double abs_error = fabs(got - want), rel = abs_error / fmax(fabs(want), 1e-30);
  if (isinf(want) || !isfinite(abs_error)) abs_error = rel = INFINITY;
  if (abs_error > e->max_abs) e->max_abs = abs_error;
  if (rel > e->max_rel) e->max_rel = rel;
  if (!(rel <= TOLERANCE)) e->ok = false;
}

static brc_status compare_tasks(struct verify *v, const cJSON *check, int quantity, const float *f32,
                                const double *f64) {
  const cJSON *item;
  const char *name = quantity_names[quantity];
  if (!read_array(cJSON_GetObjectItemCaseSensitive(check, name), v->tasks, &item)) return malformed(v, name);
  for (uint32_t t = 0; t < v->tasks; t++, item = item->next) {
    double want;
    if (!read_number(item, &want)) return malformed(v, name);
    compare(&v->error[quantity], f32 ? (double)f32[t] : f64[t], want);
  }
  return BRC_OK;
}

static brc_status compare_samples(struct verify *v, const cJSON *check) {
  const cJSON *task = cJSON_GetObjectItemCaseSensitive(check, "sample_task");
  const cJSON *reward = cJSON_GetObjectItemCaseSensitive(check, "sample_reward");
  const cJSON *normalized = cJSON_GetObjectItemCaseSensitive(check, "sample_normalized");
  int count = cJSON_IsArray(task) ? cJSON_GetArraySize(task) : -1;
  if (count < 0) return malformed(v, "sample_task");
  if (!read_array(reward, (uint32_t)count, &reward)) return malformed(v, "sample_reward");
  if (!read_array(normalized, (uint32_t)count, &normalized)) return malformed(v, "sample_normalized");
  task = task->child;
  for (int i = 0; i < count; i++, task = task->next, reward = reward->next, normalized = normalized->next) {
    double t, x, want;
    if (!read_number(task, &t) || !(t >= 0 && t < v->tasks) || t != floor(t))
      return malformed(v, "sample_task");
    if (!read_number(reward, &x) || !(fabs(x) <= 3e38)) return malformed(v, "sample_reward");
    if (!read_number(normalized, &want)) return malformed(v, "sample_normalized");
    float got = (float)x;
    brc_normalizer_apply(1, &(int32_t){(int32_t)t}, v->denominator, &got, 1);
    compare(&v->error[NORMALIZED], (double)got, want);
  }
  return BRC_OK;
}

static brc_status run_check(struct verify *v, const cJSON *check) {
  double alpha;
  if (!read_finite(check, "alpha", &alpha)) return malformed(v, "alpha");
  brc_normalizer_denominators(v->normalizer, alpha, v->target_entropy, v->denominator);
  brc_status st = compare_tasks(v, check, RETURNS_MIN, brc_normalizer_min(v->normalizer), NULL);
  if (!st) st = compare_tasks(v, check, RETURNS_MAX, brc_normalizer_max(v->normalizer), NULL);
  if (!st) st = compare_tasks(v, check, DENOMINATOR, NULL, v->denominator);
  return st ? st : compare_samples(v, check);
}

//------------------------ 3. Cases --------------------------------------------
static brc_status run_step(struct verify *v, uint32_t step, const cJSON *reward, const cJSON *terminal,
                           const cJSON *truncated) {
  if (!read_rewards(reward, v->tasks, v->reward)) return malformed(v, "rewards");
  if (!read_flags(terminal, v->tasks, v->ends)) return malformed(v, "terminal");
  if (!read_flags(truncated, v->tasks, v->ends + v->tasks)) return malformed(v, "truncated");
  brc_status st = brc_normalizer_feed(v->normalizer, v->reward, v->ends, v->ends + v->tasks, NULL);
  const cJSON *check;
  cJSON_ArrayForEach(check, v->checks) {
    uint32_t after;
    if (st) return st;
    if (!read_count(check, "after_step", 0, v->steps - 1, &after)) return malformed(v, "after_step");
    if (after == step) st = run_check(v, check);
  }
  return st;
}

static brc_status run_steps(struct verify *v) {
  const cJSON *reward, *terminal, *truncated;
  if (!read_array(v->rewards, v->steps, &reward)) return malformed(v, "rewards");
  if (!read_array(v->terminal, v->steps, &terminal)) return malformed(v, "terminal");
  if (!read_array(v->truncated, v->steps, &truncated)) return malformed(v, "truncated");
  brc_status st = BRC_OK;
  for (uint32_t i = 0; i < v->steps && !st; i++) {
    st = run_step(v, i, reward, terminal, truncated);
    reward = reward->next;
    terminal = terminal->next;
    truncated = truncated->next;
  }
  return st;
}

static brc_status run_case(struct verify *v, const cJSON *item) {
  brc_normalizer_config config = {0};
  if (!read_count(item, "num_tasks", 1, MOST_TASKS, &v->tasks)) return malformed(v, "num_tasks");
  if (!read_count(item, "steps", 1, INT32_MAX, &v->steps)) return malformed(v, "steps");
  if (!read_finite(item, "discount", &config.discount)) return malformed(v, "discount");
  if (!read_finite(item, "v_max", &config.v_max)) return malformed(v, "v_max");
  if (!read_finite(item, "target_entropy", &v->target_entropy)) return malformed(v, "target_entropy");
  v->rewards = cJSON_GetObjectItemCaseSensitive(item, "rewards");
  v->terminal = cJSON_GetObjectItemCaseSensitive(item, "terminal");
  v->truncated = cJSON_GetObjectItemCaseSensitive(item, "truncated");
  v->checks = cJSON_GetObjectItemCaseSensitive(item, "checks");
  if (!cJSON_IsArray(v->checks)) return malformed(v, "checks");

  config.tasks = v->tasks;
  brc_status st = brc_normalizer_create(&v->normalizer, &config);
  if (st == BRC_E_VALUE) st = brc_fail_prefix(BRC_E_FORMAT, "'%s': case %zu: ", v->path, v->index);
  if (st) return st;
  v->reward = calloc(v->tasks, sizeof *v->reward);
  v->ends = calloc(v->tasks, 2);
  v->denominator = calloc(v->tasks, sizeof *v->denominator);
  if (!v->reward || !v->ends || !v->denominator) {
    st = brc_fail(BRC_E_NOMEM, "no memory to verify '%s'", v->path);
  } else {
    st = run_steps(v);
  }
  free(v->reward);
  free(v->ends);
  free(v->denominator);
  brc_normalizer_destroy(v->normalizer);
  return st;
}

brc_status brc_verify_normalizer(const char *json_path, brc_verify_report *report) {
  char *text;
  size_t bytes;
  brc_status st = brc_file_read(json_path, &text, &bytes);
  if (st) return st;
  cJSON *json = cJSON_ParseWithLength(text, bytes);
  free(text);
  if (!json) return brc_fail(BRC_E_FORMAT, "'%s' is not valid JSON", json_path);

  struct verify v = {.path = json_path};
  for (int q = 0; q < QUANTITIES; q++) v.error[q].ok = true;
  const cJSON *cases = cJSON_GetObjectItemCaseSensitive(json, "cases"), *item;
  if (!cJSON_IsArray(cases)) st = brc_fail(BRC_E_FORMAT, "'%s': 'cases' is missing or malformed", json_path);
  cJSON_ArrayForEach(item, cases) {
    if (!st) st = run_case(&v, item);
    v.index++;
  }
  uint64_t compared = 0;
  for (int q = 0; q < QUANTITIES; q++) compared += v.error[q].count;
  if (!st && !compared) st = brc_fail(BRC_E_FORMAT, "'%s' holds nothing to compare", json_path);
  for (int q = 0; q < QUANTITIES && !st; q++) {
    const struct error *e = &v.error[q];
    st = brc_verify_add(report, quantity_names[q], e->max_abs, e->max_rel, TOLERANCE, e->ok, e->count);
  }
  cJSON_Delete(json);
  return st;
}
