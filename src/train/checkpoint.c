// Checkpoints: RUN/checkpoint/state.safetensors, the commit point, and replay.bin beside it.
// The state's bytes depend on the training state alone: no clock, path, host, thread count.
#include "train/train.h"
#include "base/file.h"
#include <stdlib.h>
#include <string.h>

#define FORMAT_VERSION "1"

static void paths(const char *run, char state[2 * BRC_TEXT], char rows[2 * BRC_TEXT]) {
  snprintf(state, 2 * BRC_TEXT, "%s/checkpoint/state.safetensors", run);
  snprintf(rows, 2 * BRC_TEXT, "%s/checkpoint/replay.bin", run);
}

bool brc_checkpoint_exists(const char *run) {
  char state[2 * BRC_TEXT], rows[2 * BRC_TEXT];
  paths(run, state, rows);
  return brc_path_exists(state);
}

// The totals at the last row of log.csv: of the log, not of the training state, so not in the state file. The file holds those of this
// checkpoint and of the last complete one, each tagged with its step: whichever state file is found, its totals are there. Without
// them the next row tells only what came since.
typedef struct logged_head {
  uint64_t step, tasks;
} logged_head;

static void logged_path(const brc_trainer *t, char path[2 * BRC_TEXT]) {
  snprintf(path, 2 * BRC_TEXT, "%s/checkpoint/logged.bin", t->config.run);
}

static size_t logged_bytes(const brc_trainer *t) {
  return sizeof(logged_head) + t->config.task_count * sizeof *t->logged;
}

// The file's record of `step`; NULL when there is none, or no file. free() *file. Fails: a file that can't be read.
static brc_status find_logged(const brc_trainer *t, uint64_t step, char **file, const char **found) {
  char path[2 * BRC_TEXT];
  size_t bytes = 0, record = logged_bytes(t);
  logged_path(t, path);
  *found = NULL;
  brc_status st = brc_file_read(path, file, &bytes);
  if (st) return st == BRC_E_NOT_FOUND ? BRC_OK : st;
  for (size_t at = 0; !*found && at + record <= bytes; at += record) {
    logged_head head;
    memcpy(&head, *file + at, sizeof head);
    if (head.step == step && head.tasks == t->config.task_count) *found = *file + at;
  }
  return BRC_OK;
}

static brc_status save_logged(const brc_trainer *t) {
  char path[2 * BRC_TEXT], *file = NULL;
  const logged_head head = {t->loop.step, t->config.task_count};
  const char *last = NULL;
  brc_status st = t->committed_step == head.step ? BRC_OK : find_logged(t, t->committed_step, &file, &last);
  brc_file_writer w;
  logged_path(t, path);
  if (!st) st = brc_file_begin(&w, path);
  if (!st) {
    brc_file_write(&w, &head, sizeof head);
    brc_file_write(&w, t->logged, t->config.task_count * sizeof *t->logged);
    if (last) brc_file_write(&w, last, logged_bytes(t));
    st = brc_file_commit(&w);
  }
  free(file);
  return st;
}

static brc_status load_logged(brc_trainer *t) {
  char *file = NULL;
  const char *record;
  brc_status st = find_logged(t, t->loop.step, &file, &record);
  if (record) memcpy(t->logged, record + sizeof(logged_head), t->config.task_count * sizeof *t->logged);
  for (size_t i = 0; !record && i < t->config.task_count; i++) t->logged[i] = t->stats[i].total;
  free(file);
  return st;
}

static brc_status add_loop(brc_trainer *t, brc_st_writer *w) {
  const brc_agent_config *c = &t->config.agent;
  uint64_t tasks = (uint64_t)c->tasks, counters[2] = {t->loop.step, t->loop.updates_done};
  size_t bytes = brc_env_pool_state_bytes(t->envs);
  void *envs = malloc(bytes + 1);
  if (!envs) return brc_fail(BRC_E_NOMEM, "out of memory for the environments' state");
  brc_env_pool_save(t->envs, envs);
  brc_status st = brc_st_writer_copy(w, "loop/envs", BRC_ST_U8, 1, (uint64_t[]){bytes}, envs);
  free(envs);
  if (!st) st = brc_st_writer_copy(w, "loop/steps", BRC_ST_U64, 1, (uint64_t[]){2}, counters);
  if (!st)
    st = brc_st_writer_copy(w, "loop/obs", BRC_ST_F32, 2, (uint64_t[]){tasks, (uint64_t)c->obs_dim},
                            t->loop.obs);
  if (!st)
    st =
        brc_st_writer_copy(w, "loop/stats", BRC_ST_F64, 2, (uint64_t[]){tasks, sizeof *t->stats / 8}, t->stats);
  if (!st)
    st = brc_st_writer_copy(w, "loop/metrics", BRC_ST_F64, 1, (uint64_t[]){BRC_METRIC_COUNT}, t->loop.metrics);
  if (!st) st = brc_st_writer_copy(w, "loop/entropy", BRC_ST_F64, 1, (uint64_t[]){tasks}, t->loop.entropy);
  return st ? st
            : brc_st_writer_copy(w, "loop/denominators", BRC_ST_F64, 1, (uint64_t[]){tasks},
                                 t->loop.denominators);
}

brc_status brc_checkpoint_save(brc_trainer *t) {
  const double start_s = brc_now_s();
  char state[2 * BRC_TEXT], rows[2 * BRC_TEXT], folder[2 * BRC_TEXT];
  paths(t->config.run, state, rows);
  snprintf(folder, sizeof folder, "%s/checkpoint", t->config.run);
  brc_st_writer *w = NULL;
  brc_status st = brc_mkdirs(folder);
  if (!st) st = brc_st_writer_new(&w);
  if (!st) st = brc_st_writer_meta(w, "format", "brc-checkpoint");
  if (!st) st = brc_st_writer_meta(w, "format_version", FORMAT_VERSION);
  if (!st) st = brc_agent_save(t->agent, w, "");
  const char *bad = st ? NULL : brc_st_writer_not_finite(w);
  if (bad)
    st = brc_fail(BRC_E_VALUE, "step %llu: '%s' is not finite; the run diverged, and no checkpoint is written",
                  (unsigned long long)t->loop.step, bad);
  if (!st) st = brc_normalizer_state_add(t->normalizer, w, "");
  if (!st) st = add_loop(t, w);
  if (!st) st = brc_replay_save_rows(t->replay, rows);
  if (!st) st = brc_replay_state_add(t->replay, w);
  if (!st) st = brc_st_writer_seal(w);
  if (!st) st = save_logged(t);
  if (!st) st = brc_st_write(w, state);
  if (!st) {
    brc_replay_committed(t->replay);
    t->committed_step = t->loop.step;
  }
  if (w) brc_st_writer_free(w);
  t->checkpoint_s += brc_now_s() - start_s;
  t->checkpoints += !st;
  return st;
}

static brc_status open_state(const char *path, brc_st_file **f) {
  brc_status st = brc_st_open(f, path);
  if (st) return st;
  const char *format = brc_st_meta(*f, "format"), *version = brc_st_meta(*f, "format_version");
  if (!format || strcmp(format, "brc-checkpoint"))
    st = brc_fail(BRC_E_FORMAT, "%s is not a checkpoint of brc", path);
  else if (!version || strcmp(version, FORMAT_VERSION))
    st = brc_fail(BRC_E_FORMAT, "%s has format version %s; this brc reads " FORMAT_VERSION, path,
                  version ? version : "(none)");
  if (st) brc_st_close(*f);
  return st;
}

brc_status brc_checkpoint_open(const char *run, brc_st_file **out) {
  char state[2 * BRC_TEXT], rows[2 * BRC_TEXT];
  paths(run, state, rows);
  if (!brc_path_exists(state)) return brc_fail(BRC_E_NOT_FOUND, "'%s' has no checkpoint yet", run);
  return open_state(state, out);
}

static brc_status take(const brc_st_file *f, const char *name, brc_st_dtype type, uint64_t count, void *out) {
  const brc_st_tensor *t;
  brc_status st = brc_st_need(f, type, count, &t, "%s", name);
  if (!st) memcpy(out, t->data, count * brc_st_dtype_bytes(type));
  return st;
}

brc_status brc_checkpoint_load(brc_trainer *t) {
  char state[2 * BRC_TEXT], rows[2 * BRC_TEXT];
  paths(t->config.run, state, rows);
  const brc_agent_config *c = &t->config.agent;
  uint64_t tasks = (uint64_t)c->tasks, counters[2];
  size_t bytes = brc_env_pool_state_bytes(t->envs);
  brc_st_file *f;
  brc_status st = open_state(state, &f);
  if (st) return st;
  void *envs = malloc(bytes + 1);
  if (!envs) st = brc_fail(BRC_E_NOMEM, "out of memory for the environments' state");
  if (!st) st = take(f, "loop/envs", BRC_ST_U8, bytes, envs);
  if (!st) st = brc_env_pool_load(t->envs, envs, bytes);
  free(envs);
  if (!st) st = take(f, "loop/steps", BRC_ST_U64, 2, counters);
  if (!st) st = take(f, "loop/obs", BRC_ST_F32, tasks * (uint64_t)c->obs_dim, t->loop.obs);
  if (!st) st = take(f, "loop/stats", BRC_ST_F64, tasks * sizeof *t->stats / 8, t->stats);
  if (!st) st = take(f, "loop/metrics", BRC_ST_F64, BRC_METRIC_COUNT, t->loop.metrics);
  if (!st) st = take(f, "loop/entropy", BRC_ST_F64, tasks, t->loop.entropy);
  if (!st) st = take(f, "loop/denominators", BRC_ST_F64, tasks, t->loop.denominators);
  if (!st) st = brc_agent_load(t->agent, f, "");
  if (!st) st = brc_normalizer_load(t->normalizer, f, "");
  if (!st) st = brc_replay_load(t->replay, f, rows);
  if (!st) st = brc_st_check_seal(f);
  t->loop.feed.sent = 0;
  if (!st) {
    t->loop.step = t->committed_step = counters[0];
    t->loop.updates_done = counters[1];
    st = load_logged(t);
  }
  // A task without saved state starts a new episode, and the log says so.
  for (size_t i = 0; !st && i < t->config.task_count; i++) {
    if (t->config.tasks[i]->save) continue;
    fprintf(stderr, "brc: task '%s' cannot save its state: its episode starts anew\n",
            t->config.tasks[i]->name);
    st = brc_env_pool_reset_one(t->envs, i, t->loop.obs + i * (size_t)c->obs_dim);
  }
  brc_st_close(f);
  return st;
}

brc_status brc_checkpoint_load_agent(brc_agent *agent, const char *run, uint64_t *step) {
  char state[2 * BRC_TEXT], rows[2 * BRC_TEXT];
  paths(run, state, rows);
  uint64_t counters[2] = {0};
  brc_st_file *f;
  brc_status st = open_state(state, &f);
  if (st) return st;
  st = take(f, "loop/steps", BRC_ST_U64, 2, counters);
  if (!st) st = brc_agent_load(agent, f, "");
  if (!st) st = brc_st_check_seal(f);
  *step = counters[0];
  brc_st_close(f);
  return st;
}
