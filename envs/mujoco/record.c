// MuJoCo's own share of an environment's time. While recording, mj_step and its two halves go through functions that note the
// call and its controls; run again alone, from the same state, they are the raw loop that a step cannot be faster than.
#include "envs/mujoco/mj.h"
#ifdef BRC_HAVE_MUJOCO
#include "envs/mujoco/mj_internal.h"

#include <stdlib.h>
#include <string.h>

typedef void step_fn(const mjModel *m, mjData *d);
typedef struct step_call {
  step_fn *fn;
  const mjModel *model;
  mjData *data;
  size_t ctrl;  // where its controls begin
} step_call;

static struct {
  step_call *calls;
  mjtNum *ctrl;
  size_t count, capacity, ctrl_count, ctrl_capacity;
  bool failed;  // no memory
  step_fn *step, *step1, *step2;
} rec;

static bool grow(void **array, size_t *capacity, size_t need, size_t size) {
  if (need <= *capacity) return true;
  size_t larger = 2 * need + 1024;
  void *moved = realloc(*array, larger * size);
  if (!moved) return false;
  *array = moved;
  *capacity = larger;
  return true;
}

static void note(step_fn *fn, const mjModel *m, mjData *d) {
  size_t nu = (size_t)m->nu;
  if (!grow((void **)&rec.calls, &rec.capacity, rec.count + 1, sizeof *rec.calls) ||
      !grow((void **)&rec.ctrl, &rec.ctrl_capacity, rec.ctrl_count + nu, sizeof *rec.ctrl)) {
    rec.failed = true;
  } else {
    rec.calls[rec.count++] = (step_call){fn, m, d, rec.ctrl_count};
    memcpy(rec.ctrl + rec.ctrl_count, d->ctrl, nu * sizeof *rec.ctrl);
    rec.ctrl_count += nu;
  }
  fn(m, d);
}

static void note_step(const mjModel *m, mjData *d) { note(rec.step, m, d); }
static void note_step1(const mjModel *m, mjData *d) { note(rec.step1, m, d); }
static void note_step2(const mjModel *m, mjData *d) { note(rec.step2, m, d); }

void brc_mj_record_begin(void) {
  rec.count = rec.ctrl_count = 0;
  rec.failed = false;
  if (brc_mj_open()) return;
  rec.step = brc_mj.mj_step;
  rec.step1 = brc_mj.mj_step1;
  rec.step2 = brc_mj.mj_step2;
  brc_mj.mj_step = note_step;
  brc_mj.mj_step1 = note_step1;
  brc_mj.mj_step2 = note_step2;
}

size_t brc_mj_record_end(void) {
  if (!rec.step) return 0;
  brc_mj.mj_step = rec.step;
  brc_mj.mj_step1 = rec.step1;
  brc_mj.mj_step2 = rec.step2;
  rec.step = NULL;
  return rec.failed ? 0 : rec.count;
}

static void replay(void *arg) {
  (void)arg;
  for (size_t i = 0; i < rec.count; i++) {
    const step_call *c = &rec.calls[i];
    memcpy(c->data->ctrl, rec.ctrl + c->ctrl, (size_t)c->model->nu * sizeof *rec.ctrl);
    c->fn(c->model, c->data);
  }
}

brc_status brc_mj_record_replay(void) { return brc_mj_guard(replay, NULL); }

void brc_mj_record_free(void) {
  free(rec.calls);
  free(rec.ctrl);
  memset(&rec, 0, sizeof rec);
}
#else
void brc_mj_record_begin(void) {}
size_t brc_mj_record_end(void) { return 0; }
brc_status brc_mj_record_replay(void) { return BRC_OK; }
void brc_mj_record_free(void) {}
#endif
