// The run folder: config.json, tuning.json, log.csv (a row per evaluation), train.csv, TensorBoard events of the same names.
#include "train/train.h"
#include "base/cache.h"
#include "base/file.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void in_run(const brc_trainer *t, const char *name, char path[2 * BRC_TEXT]) {
  snprintf(path, 2 * BRC_TEXT, "%s/%s", t->config.run, name);
}

bool brc_run_exists(const char *run) {
  char path[2 * BRC_TEXT];
  snprintf(path, sizeof path, "%s/config.json", run);
  return brc_path_exists(path);
}

brc_status brc_run_lock(const char *run, int *lock) {
  char path[2 * BRC_TEXT];
  *lock = -1;
  brc_status st = brc_mkdirs(run);
  if (st) return brc_fail_prefix(st, "run '%.300s': ", run);
  snprintf(path, sizeof path, "%s/.lock", run);
  *lock = brc_file_lock(path, 2);  // the first may meet a process that gives the folder up
  if (*lock >= 0 || errno == EACCES || errno == EROFS)
    return BRC_OK;  // a finished run may lie where nobody writes
  if (errno != EBUSY) return brc_fail(BRC_E_IO, "cannot create '%s': %s", path, brc_write_error(errno));
  return brc_fail(BRC_E_USAGE,
                  "another process trains in '%s' now: wait until it ends or stop it, or give another --run",
                  run);
}

void brc_run_unlock(const char *run, int lock) {
  char path[2 * BRC_TEXT];
  if (lock >= 0 && !brc_run_exists(run)) {  // nothing was begun
    snprintf(path, sizeof path, "%s/.lock", run);
    unlink(path);
    rmdir(run);
  }
  if (lock >= 0) close(lock);
}

//------------------------ 1. config.json -----------------------------------------
// FNV-1a, 64 bits: tells whether a task's file is the one that the run began with.
static void hash_file(const char *path, char out[32]) {
  char *data;
  size_t n;
  snprintf(out, 32, "unreadable");
  if (brc_file_read(path, &data, &n)) return;
  snprintf(out, 32, "%016llx", (unsigned long long)brc_hash(BRC_HASH_START, data, n));
  free(data);
}

// {"ASSET": hash} of the tasks' files.
static cJSON *hash_assets(const brc_trainer *t) {
  cJSON *assets = cJSON_CreateObject();
  for (size_t i = 0; i < t->config.task_count; i++) {
    const brc_env_def *d = t->config.tasks[i];
    char file[4096], hash[32];
    if (!d->asset || cJSON_HasObjectItem(assets, d->asset) ||
        brc_assets_find(&t->assets, d->asset, file, sizeof file))
      continue;
    hash_file(file, hash);
    cJSON_AddStringToObject(assets, d->asset, hash);
  }
  return assets;
}

// Who computes from this step on.
static cJSON *this_part(const brc_trainer *t) {
  const brc_device_info *d = &t->device->info;
  char tuning[64];
  cJSON *o = cJSON_CreateObject();
  cJSON_AddNumberToObject(o, "step", (double)t->loop.step);
  cJSON_AddStringToObject(o, "backend", d->backend);
  cJSON_AddNumberToObject(o, "index", d->index);
  cJSON_AddStringToObject(o, "device", d->name);
  cJSON_AddStringToObject(o, "pci", d->pci);
  cJSON_AddStringToObject(o, "uuid", d->uuid);
  cJSON_AddStringToObject(o, "driver", d->driver);
  cJSON_AddStringToObject(o, "version", BRC_VERSION);
  cJSON_AddStringToObject(o, "gemm", *t->config.gemm ? t->config.gemm : d->gemm);
  brc_tuning_text(&t->tuning, tuning);
  cJSON_AddStringToObject(o, "tuning", tuning);
  cJSON_AddStringToObject(o, "why", *t->device->why ? t->device->why : "asked for");
  return o;
}

// Numbers as texts that read back to the bit: cJSON prints 15 digits where the rest is less than a rounding error.
static bool make_exact(cJSON *item) {
  bool done = true;
  if (cJSON_IsNumber(item) && isfinite(item->valuedouble)) {
    char text[40];
    snprintf(text, sizeof text, "%.15g", item->valuedouble);
    if (strtod(text, NULL) != item->valuedouble) snprintf(text, sizeof text, "%.17g", item->valuedouble);
    char *own = cJSON_malloc(strlen(text) + 1);
    if (!own) return false;
    item->valuestring = strcpy(own, text);
    item->type = (item->type & ~0xff) | cJSON_Raw;
  }
  for (cJSON *child = item->child; child && done; child = child->next) done = make_exact(child);
  return done;
}

static brc_status write_config(const brc_trainer *t, cJSON *root) {
  char path[2 * BRC_TEXT], *text = make_exact(root) ? cJSON_Print(root) : NULL;
  cJSON_Delete(root);
  if (!text) return brc_fail(BRC_E_NOMEM, "out of memory for config.json");
  in_run(t, "config.json", path);
  brc_status st = brc_file_write_all(path, text, strlen(text));
  free(text);
  return st;
}

brc_status brc_run_create(brc_trainer *t, int argc, char **argv) {
  brc_status st = brc_mkdirs(t->config.run);
  if (st) return st;
  cJSON *root = cJSON_CreateObject(), *tasks = cJSON_AddArrayToObject(root, "tasks"), *assets = hash_assets(t),
        *words = NULL;
  cJSON_AddItemToObject(root, "assets_fnv1a64", assets);
  for (size_t i = 0; i < t->config.task_count; i++)
    cJSON_AddItemToArray(tasks, cJSON_CreateString(t->config.tasks[i]->name));
  brc_option_set set = brc_train_option_set(&t->config);
  // The backend is fixed from here on, but "auto" stays the device: a requeued job keeps to what it is granted then.
  if (!strcmp(t->config.backend, "auto") &&
      strcmp(t->config.device, "auto"))  // a number of GPUs, not of devices
    snprintf(t->config.device, sizeof t->config.device, "%d", t->device->info.index);
  snprintf(t->config.backend, sizeof t->config.backend, "%s", t->device->backend->name);
  brc_options_to_json(&set, root);
  cJSON_DeleteItemFromObject(root, "run");
  cJSON_AddNumberToObject(root, "target_entropy", t->config.agent.target_entropy);
  cJSON_AddStringToObject(root, "version", BRC_VERSION);
  cJSON_AddStringToObject(root, "device_name", t->device->info.name);
  cJSON_AddStringToObject(root, "driver", t->device->info.driver);
  if (cJSON_GetArraySize(assets))
    cJSON_AddStringToObject(root, "mujoco", "3.1.6");  // the one that the suites take
  words = cJSON_AddArrayToObject(root, "command_line");
  for (int i = 0; i < argc; i++) cJSON_AddItemToArray(words, cJSON_CreateString(argv[i]));
  cJSON_AddItemToArray(cJSON_AddArrayToObject(root, "parts"), this_part(t));
  st = brc_tuning_save(&t->tuning, t->device, t->config.run);
  if (!st) return write_config(t, root);
  cJSON_Delete(root);
  return st;
}

// What config.json tells beside tasks and options: a record, read by nobody here.
static const char *const recorded[] = {"tasks",  "assets_fnv1a64", "target_entropy", "version", "device_name",
                                       "driver", "mujoco",         "command_line",   "parts",   NULL};

// A file's JSON object. E_FORMAT with the file and the line.
static brc_status read_object(const char *path, cJSON **out) {
  char *text;
  size_t bytes;
  brc_status st = brc_file_read(path, &text, &bytes);
  if (st) return st;
  const char *end = NULL;
  cJSON *root = cJSON_ParseWithLengthOpts(text, bytes + 1, &end, true);
  if (root && !cJSON_IsObject(root)) end = text;
  if (!cJSON_IsObject(root)) {
    size_t line = 1;
    for (const char *c = text; c < end; c++) line += *c == '\n';
    st = brc_fail(BRC_E_FORMAT, "%s, line %zu: this is no JSON object", path, line);
    cJSON_Delete(root);
  } else {
    *out = root;
  }
  free(text);
  return st;
}

brc_status brc_train_read_config(const char *path, brc_train_config *c) {
  cJSON *root = NULL, *item;
  brc_status st = read_object(path, &root);
  if (st) return st;
  const cJSON *tasks = cJSON_GetObjectItemCaseSensitive(root, "tasks");
  brc_option_set set = brc_train_option_set(c);
  brc_options_default(&set);
  st = brc_options_from_json(&set, root, recorded);
  c->task_count = 0;
  if (!st && tasks && !cJSON_IsArray(tasks))
    st = brc_fail(BRC_E_FORMAT, "the key 'tasks' must be a list of texts");
  cJSON_ArrayForEach(item, tasks) {
    if (!st && !cJSON_IsString(item)) st = brc_fail(BRC_E_FORMAT, "the key 'tasks' must be a list of texts");
    if (!st) st = brc_train_add_tasks(c, item->valuestring);
  }
  cJSON_Delete(root);
  return st ? brc_fail_prefix(st, "%s: ", path) : BRC_OK;
}

brc_status brc_run_read_config(const char *run, brc_train_config *c) {
  char path[2 * BRC_TEXT];
  snprintf(path, sizeof path, "%s/config.json", run);
  brc_status st = brc_train_read_config(path, c);
  if (st == BRC_E_NOT_FOUND && !brc_path_exists(path))
    return brc_fail(st, "'%s' is no run folder: it has no config.json", run);
  if (!st && !c->task_count) st = brc_fail(BRC_E_FORMAT, "%s: the key 'tasks' is missing", path);
  snprintf(c->run, sizeof c->run, "%s", run);
  return st;
}

brc_status brc_run_read_trained(const char *run, brc_train_config *c) {
  brc_status st = brc_run_read_config(run, c);
  if (!st && !brc_checkpoint_exists(run)) st = brc_fail(BRC_E_NOT_FOUND, "'%s' has no checkpoint yet", run);
  return st ? st : brc_train_resolve(c);
}

static const char *part_text(const cJSON *part, const char *key, const char *absent) {
  const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(part, key));
  return text ? text : absent;
}

static const cJSON *last_part(const cJSON *root) {
  const cJSON *parts = cJSON_GetObjectItemCaseSensitive(root, "parts");
  return cJSON_GetArrayItem(parts, cJSON_GetArraySize(parts) - 1);
}

bool brc_run_last_tuning(const char *run, const brc_device *d, char out[64]) {
  char path[2 * BRC_TEXT];
  cJSON *root = NULL;
  snprintf(path, sizeof path, "%s/config.json", run);
  const bool readable = !read_object(path, &root);
  const cJSON *last = readable ? last_part(root) : NULL;
  snprintf(out, 64, "%s", part_text(last, "tuning", "none"));
  const bool here = !strcmp(part_text(last, "backend", ""), d->info.backend) &&
                    !strcmp(part_text(last, "device", ""), d->info.name) &&
                    !strcmp(part_text(last, "driver", ""), d->info.driver);
  if (readable) cJSON_Delete(root);
  return here;
}

// Tasks' files that are others now than at the beginning, or at the last part that found such: told, and kept in this part.
static void compare_assets(const brc_trainer *t, const cJSON *root, cJSON *now) {
  static const char key[] = "assets_fnv1a64";
  const cJSON *was = cJSON_GetObjectItemCaseSensitive(root, key), *part, *is;
  cJSON_ArrayForEach(part, cJSON_GetObjectItemCaseSensitive(root, "parts")) {
    if (cJSON_HasObjectItem(part, key)) was = cJSON_GetObjectItemCaseSensitive(part, key);
  }
  cJSON *assets = hash_assets(t);
  bool changed = false;
  cJSON_ArrayForEach(is, assets) {
    const char *before = part_text(was, is->string, NULL);
    if (!before || !strcmp(before, cJSON_GetStringValue(is))) continue;
    fprintf(stderr, "brc: goes on at step %llu with another file %s than before: its tasks may be others now\n",
            (unsigned long long)t->loop.step, is->string);
    changed = true;
  }
  if (changed)
    cJSON_AddItemToObject(now, key, assets);
  else
    cJSON_Delete(assets);
}

brc_status brc_run_add_part(brc_trainer *t) {
  char path[2 * BRC_TEXT];
  cJSON *root = NULL;
  in_run(t, "config.json", path);
  brc_status st = read_object(path, &root);
  if (st) return st;
  cJSON *parts = cJSON_GetObjectItemCaseSensitive(root, "parts"), *now = this_part(t);
  if (!parts) parts = cJSON_AddArrayToObject(root, "parts");
  const cJSON *last = last_part(root);
  // What decides the bits, and what it was where a run of an older version does not say.
  const struct {
    const char *key, *absent;
  } bits[] = {{"backend", "?"},
              {"device", "?"},
              {"driver", "?"},
              {"version", "?"},
              {"gemm", part_text(now, "gemm", "?")},
              {"tuning", "none"}};
  for (size_t i = 0; last && i < BRC_COUNT(bits); i++) {
    const char *was = part_text(last, bits[i].key, bits[i].absent), *is = part_text(now, bits[i].key, "?");
    if (strcmp(was, is))
      fprintf(stderr, "brc: goes on at step %llu with %s %s instead of %s: no longer equal to the bit\n",
              (unsigned long long)t->loop.step, bits[i].key, is, was);
  }
  compare_assets(t, root, now);
  cJSON_AddItemToArray(parts, now);
  cJSON *steps = cJSON_CreateNumber((double)t->config.steps);  // as --steps may have changed them
  if (!cJSON_ReplaceItemInObjectCaseSensitive(root, "steps", steps))
    cJSON_AddItemToObject(root, "steps", steps);
  st = brc_tuning_save(&t->tuning, t->device, t->config.run);
  if (!st) return write_config(t, root);
  cJSON_Delete(root);
  return st;
}

//------------------------ 2. Logs -------------------------------------------------
// A growing line of text.
typedef struct text {
  char *s;
  size_t n;
  bool failed;  // out of memory: a piece is missing
} text;
static void put(text *x, const char *fmt, ...) BRC_PRINTF(2, 3);
static void put(text *x, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  char *more = NULL;
  int n = vasprintf(&more, fmt, ap);
  va_end(ap);
  char *s = n < 0 ? NULL : realloc(x->s, x->n + (size_t)n + 1);
  x->failed |= !s;
  if (s) {
    memcpy(s + x->n, more, (size_t)n + 1);
    x->s = s;
    x->n += (size_t)n;
  }
  if (n >= 0) free(more);
}

// One row of a log: text for the CSV file; names and values for TensorBoard, without the first column, which is the step.
typedef struct row {
  text header, line;
  brc_arena names_arena;
  const char **names;
  double *values;
  size_t count, capacity;
  bool failed;  // out of memory
} row;

// Decimals: of seconds 3, of whole numbers 0, else what a float32 holds. NaN, nothing to report yet, is an empty field.
typedef enum column_kind { WHOLE, SECONDS, REAL } column_kind;
static void add(row *r, column_kind kind, double value, const char *name, ...) BRC_PRINTF(4, 5);
static void add(row *r, column_kind kind, double value, const char *name, ...) {
  static const char *const formats[] = {"%.0f", "%.3f", "%.9g"};
  char full[512], number[64] = "";
  va_list ap;
  va_start(ap, name);
  vsnprintf(full, sizeof full, name, ap);
  va_end(ap);
  const char *format = formats[kind];
  if (!isnan(value)) snprintf(number, sizeof number, format, value);
  put(&r->header, "%s%s", r->header.n ? "," : "", full);
  put(&r->line, "%s%s", r->count ? "," : "", number);
  if (r->count == r->capacity) {
    size_t more = 2 * r->capacity + 32;
    const char **names = realloc(r->names, more * sizeof *names);
    if (names) r->names = names;
    double *values = realloc(r->values, more * sizeof *values);
    if (values) r->values = values;
    r->failed |= !names || !values;
    if (r->failed) return;
    r->capacity = more;
  }
  r->names[r->count] = brc_arena_printf(&r->names_arena, "%s", full);
  r->failed |= !r->names[r->count];
  r->values[r->count++] = value;
}

static brc_status append(const brc_trainer *t, const char *name, const row *r) {
  char path[2 * BRC_TEXT];
  in_run(t, name, path);
  struct stat info;
  const bool fresh = stat(path, &info) || !info.st_size;  // a full disk may have kept the first row out
  FILE *f = fopen(path, "a");
  if (!f) return brc_fail(BRC_E_IO, "%s: %s", path, brc_write_error(errno));
  bool bad = (fresh && fputs(r->header.s, f) < 0) || fputs(r->line.s, f) < 0;
  bad |= fclose(f) != 0;
  return bad ? brc_fail(BRC_E_IO, "%s: a row could not be written: %s", path, brc_write_error(errno)) : BRC_OK;
}

// Unless `st` tells of a failure, the row goes into its file and into the events (begun with the first row, so that a
// finished run gets no new file). Freed either way.
static brc_status finish(row *r, brc_trainer *t, const char *name, brc_status st) {
  put(&r->header, "\n");
  put(&r->line, "\n");
  if (!st && (r->failed || r->header.failed || r->line.failed))
    st = brc_fail(BRC_E_NOMEM, "out of memory for a row of %s", name);
  if (!st) st = append(t, name, r);
  if (!st && !t->events) st = brc_events_open(&t->events, t->config.run, t->first_step);
  if (!st) st = brc_events_write(t->events, t->loop.step, r->names + 1, r->values + 1, r->count - 1);
  free(r->header.s);
  free(r->line.s);
  free(r->names);
  free(r->values);
  brc_arena_free(&r->names_arena);
  return st;
}

static double wall_s(const brc_trainer *t) { return t->wall_before_s + brc_now_s() - t->started_s; }

// What the networks look like from 32 stored rows of one task, nothing applied.
static brc_status inspect(brc_trainer *t, size_t task, brc_batch *b, double metrics[BRC_METRIC_COUNT]) {
  uint32_t pairs[2 * BRC_INSPECT_ROWS];
  uint64_t step = t->loop.step;
  brc_status st = brc_replay_sample(t->replay, BRC_INSPECT_ROWS, t->config.agent.seed ^ 0x5bd1e995u, step,
                                    (uint32_t)task * BRC_INSPECT_ROWS, pairs);
  for (int i = 0; i < BRC_INSPECT_ROWS; i++) pairs[2 * i] = (uint32_t)task;
  if (!st) st = brc_feed_batch(&t->loop.feed, pairs, b);
  if (!st) brc_normalizer_apply(BRC_INSPECT_ROWS, b->task, t->loop.denominators, b->reward, 0);
  return st ? st : brc_agent_inspect(t->agent, b, step * t->config.task_count + task, metrics);
}

static void add_steps(row *r, const brc_trainer *t) {
  add(r, WHOLE, (double)t->loop.step, "env_steps");
  add(r, WHOLE, (double)t->loop.updates_done, "grad_steps");
  add(r, SECONDS, wall_s(t), "wall_s");
}

brc_status brc_run_log_eval(brc_trainer *t, const brc_eval_result *eval) {
  static const char *const columns[] = {"eval_return",   "eval_success",   "eval_score",  "train_return",
                                        "train_success", "episode_length", "critic_loss", "entropy",
                                        "q_mean",        "reward_scale",   "critic_gnorm"};
  bool learning = t->loop.updates_done > 0;
  row r = {0};
  brc_batch b = {0};
  double alpha = NAN;
  brc_status st = brc_agent_alpha(t->agent, &alpha);
  if (!st && learning) st = brc_batch_create(t->agent, BRC_INSPECT_ROWS, &b);
  add_steps(&r, t);
  add(&r, SECONDS, t->loop.phase_s[BRC_PHASE_UPDATE] + t->loop.phase_s[BRC_PHASE_ACT], "device_s");
  add(&r, REAL, alpha, "alpha");
  for (size_t i = 0; !st && i < t->config.task_count; i++) {
    const brc_task_totals *now = &t->stats[i].total, *was = &t->logged[i];
    double m[BRC_METRIC_COUNT], e = now->episodes - was->episodes;
    for (int k = 0; k < BRC_METRIC_COUNT; k++) m[k] = NAN;
    if (learning) st = inspect(t, i, &b, m);
    double values[] = {eval[i].return_mean,
                       eval[i].success,
                       eval[i].score,
                       (now->return_sum - was->return_sum) / e,
                       (now->success_sum - was->success_sum) / e,
                       (now->length_sum - was->length_sum) / e,
                       m[BRC_METRIC_loss_critic],
                       m[BRC_METRIC_entropy],
                       m[BRC_METRIC_q_mean],
                       learning ? t->loop.denominators[i] : NAN,
                       m[BRC_METRIC_grad_norm_critic]};
    for (size_t k = 0; k < BRC_COUNT(columns); k++)
      add(&r, REAL, values[k], "%s/%s", columns[k], t->config.tasks[i]->name);
    t->logged[i] = *now;
  }
  brc_batch_free(&b);
  return finish(&r, t, "log.csv", st);
}

brc_status brc_run_log_train(brc_trainer *t) {
  static const char *const phases[] = {"act_s", "env_s", "data_s", "update_s"};
  row r = {0};
  add_steps(&r, t);
  for (int m = 0; m < BRC_METRIC_COUNT; m++)
    add(&r, REAL, t->loop.updates_done ? t->loop.metrics[m] : NAN, "%s", brc_metric_names[m]);
  for (size_t i = 0; i < BRC_COUNT(phases); i++) add(&r, SECONDS, t->loop.phase_s[i], "%s", phases[i]);
  return finish(&r, t, "train.csv", BRC_OK);
}

// A log's text, and what its header and whole rows up to `step` are: their bytes, the last one's step and greatest wall_s (0: no row). No file is
// no text. free() text.
typedef struct rows {
  char *text;
  size_t bytes, keep;
  uint64_t last;
  double wall;
} rows;
static brc_status read_rows(const char *run, const char *name, uint64_t step, rows *out) {
  char path[2 * BRC_TEXT];
  snprintf(path, sizeof path, "%s/%s", run, name);
  *out = (rows){0};
  brc_status st = brc_file_read(path, &out->text, &out->bytes);
  if (st) return st == BRC_E_NOT_FOUND ? BRC_OK : st;
  for (char *line = out->text, *end; (end = strchr(line, '\n')); line = end + 1) {
    if (line != out->text) {
      const uint64_t at = strtoull(line, NULL, 10);
      if (at > step) break;
      out->last = at;
      const char *second = strchr(line, ','), *third = second ? strchr(second + 1, ',') : NULL;
      if (third) out->wall = fmax(out->wall, strtod(third + 1, NULL));
    }
    out->keep = (size_t)(end + 1 - out->text);
  }
  return BRC_OK;
}

// Keep the header and the rows up to `step`; a half-written last row goes too. *wall: that of the last row kept.
static brc_status rewind_file(const brc_trainer *t, const char *name, uint64_t step, double *wall) {
  char path[2 * BRC_TEXT];
  rows r;
  in_run(t, name, path);
  brc_status st = read_rows(t->config.run, name, step, &r);
  if (!st && r.keep != r.bytes) st = brc_file_write_all(path, r.text, r.keep);
  *wall = fmax(*wall, r.wall);
  free(r.text);
  return st;
}

brc_status brc_run_last_row(const char *run, const char *log, uint64_t *step) {
  rows r;
  brc_status st = read_rows(run, log, UINT64_MAX, &r);
  *step = r.last;
  free(r.text);
  return st;
}

brc_status brc_run_rewind(brc_trainer *t) {
  t->first_step = t->loop.step;
  brc_status st = rewind_file(t, "log.csv", t->loop.step, &t->wall_before_s);
  return st ? st : rewind_file(t, "train.csv", t->loop.step, &t->wall_before_s);
}
