// One simulation: its data, its view of the model, stepping, state.
#include "envs/mujoco/mj.h"
#ifdef BRC_HAVE_MUJOCO
#include "envs/mujoco/mj_internal.h"

#include <mujoco/mjxmacro.h>

#include <assert.h>
#include <stdlib.h>
#include <string.h>

//------------------------ 1. Guarded calls ------------------------------------
typedef struct run_call {
  brc_mj_sim *sim;
  brc_mj_fn *fn;
  void *arg;
} run_call;

static void run(void *arg) {
  run_call *c = arg;
  c->fn(c->sim, c->arg);
}

brc_status brc_mj_run(brc_mj_sim *s, brc_mj_fn *fn, void *arg) {
  run_call c = {s, fn, arg};
  brc_status st = brc_mj_guard(run, &c);
  if (st) s->raised = true;
  return st;
}

brc_status brc_mj_check(const brc_mj_sim *s) {
  static const char *const what[mjNWARNING] = {
      [mjWARN_INERTIA] = "inertia matrix close to singular", [mjWARN_CONTACTFULL] = "too many contacts",
      [mjWARN_CNSTRFULL] = "too many constraints",           [mjWARN_VGEOMFULL] = "too many geoms to draw",
      [mjWARN_BADQPOS] = "position not finite or huge",      [mjWARN_BADQVEL] = "velocity not finite or huge",
      [mjWARN_BADQACC] = "acceleration not finite or huge",  [mjWARN_BADCTRL] = "control not finite or huge",
  };
  for (int i = 0; i < mjNWARNING; i++)
    if (s->data->warning[i].number > 0) return brc_fail(BRC_E_VALUE, "physics became invalid (%s)", what[i]);
  return BRC_OK;
}

//------------------------ 2. Life ---------------------------------------------
static void make_data(brc_mj_sim *s, void *arg) {
  (void)arg;
  s->data = brc_mj.mj_makeData(&s->model);
}

brc_status brc_mj_sim_init(brc_mj_sim *s, const brc_mj_source *source) {
  brc_status st = brc_mj_model_get(&s->shared, source);
  if (st) return st;
  s->model = *s->shared;
  st = brc_mj_run(s, make_data, NULL);
  if (st) return st;
  if (!s->data) return brc_fail(BRC_E_NOMEM, "simulation of %s", source->path);
  s->state_size = brc_mj.mj_stateSize(&s->model, mjSTATE_INTEGRATION);
  s->state = calloc((size_t)s->state_size + 1, sizeof *s->state);
  return s->state ? BRC_OK : brc_fail(BRC_E_NOMEM, "simulation state of %s", source->path);
}

void brc_mj_sim_free(brc_mj_sim *s) {
  if (s->data) brc_mj.mj_deleteData(s->data);
  free(s->own);
  brc_mj_model_put(s->shared);
  free(s->state);
  memset(s, 0, sizeof *s);
}

// Copies of a model's arrays as compiled, into `block` and into the simulation's view; returns the bytes that takes (block
// NULL: only that). Large ones (meshes, textures, bounding volumes), which nothing writes, stay shared.
static size_t copy_arrays(brc_mj_sim *s, char *block) {
  enum { LARGEST_BYTES = 1 << 16 };
  const mjModel *m = s->shared;
  size_t used = 0;
  MJMODEL_POINTERS_PREAMBLE(m)
#define X(type, member, nr, nc)                                            \
  {                                                                        \
    size_t bytes = sizeof(type) * (size_t)(m->nr) * (size_t)(nc);          \
    if (bytes > 0 && bytes <= LARGEST_BYTES) {                             \
      if (block) s->model.member = memcpy(block + used, m->member, bytes); \
      used += BRC_ROUND_UP(bytes, 64);                                     \
    }                                                                      \
  }
  MJMODEL_POINTERS
#undef X
  return used;
}

brc_status brc_mj_own_model(brc_mj_sim *s) {
  if (s->own) return BRC_OK;
  s->own = brc_alloc_aligned(copy_arrays(s, NULL), "a private copy of a model");
  if (!s->own) return BRC_E_NOMEM;
  copy_arrays(s, s->own);
  return BRC_OK;
}

static void reset(brc_mj_sim *s, void *arg) {
  (void)arg;
  brc_mj.mj_resetData(&s->model, s->data);
}

brc_status brc_mj_sim_reset(brc_mj_sim *s) {
  s->model = *s->shared;
  if (s->own) copy_arrays(s, s->own);
  s->raised = false;
  return brc_mj_run(s, reset, NULL);
}

//------------------------ 3. Names --------------------------------------------
static int joint_size(const mjModel *m, int joint, bool velocity) {
  switch (m->jnt_type[joint]) {
    case mjJNT_FREE: return velocity ? 6 : 7;
    case mjJNT_BALL: return velocity ? 3 : 4;
    default: return 1;
  }
}

// Index and size of object `i` as its kind has it; bodies and the like count as one entry.
static void place(const mjModel *m, brc_mj_kind kind, int i, int *id, int *size) {
  *id = i;
  *size = 1;
  if (kind == BRC_MJ_QPOS) *id = m->jnt_qposadr[i], *size = joint_size(m, i, false);
  if (kind == BRC_MJ_DOF) *id = m->jnt_dofadr[i], *size = joint_size(m, i, true);
  if (kind == BRC_MJ_SENSOR) *id = m->sensor_adr[i], *size = m->sensor_dim[i];
}

brc_status brc_mj_lookup(const brc_mj_sim *s, const brc_mj_name *names, int *id, size_t max) {
  static const struct {
    mjtObj type;
    const char *word;
  } kinds[] = {
      [BRC_MJ_BODY] = {mjOBJ_BODY, "body"},  [BRC_MJ_GEOM] = {mjOBJ_GEOM, "geom"},
      [BRC_MJ_SITE] = {mjOBJ_SITE, "site"},  [BRC_MJ_QPOS] = {mjOBJ_JOINT, "joint"},
      [BRC_MJ_DOF] = {mjOBJ_JOINT, "joint"}, [BRC_MJ_SENSOR] = {mjOBJ_SENSOR, "sensor"},
  };
  for (size_t i = 0; names[i].name; i++) {
    const brc_mj_name *n = &names[i];
    assert(i < max);
    int found = brc_mj.mj_name2id(&s->model, kinds[n->kind].type, n->name), size;
    if (found < 0)
      return brc_fail(BRC_E_FORMAT, "the model has no %s '%s': is this the file of the right version?",
                      kinds[n->kind].word, n->name);
    place(&s->model, n->kind, found, &id[i], &size);
    if (size != n->size)
      return brc_fail(BRC_E_FORMAT,
                      "%s '%s' has %d entries, expected %d: is this the file of the right version?",
                      kinds[n->kind].word, n->name, size, n->size);
  }
  (void)max;
  return BRC_OK;
}

//------------------------ 4. dm_control's stepping ----------------------------
// Source: dm_control mujoco/engine.py, Physics._step_with_up_to_date_position_velocity.
void brc_mj_dmc_control(brc_mj_sim *s, const float *action) {
  const mjModel *m = &s->model;
  for (int i = 0; i < m->nu; i++) {
    double low = -1, high = 1, a = (double)action[i];
    if (m->actuator_ctrllimited[i]) {
      low = m->actuator_ctrlrange[2 * i];
      high = m->actuator_ctrlrange[2 * i + 1];
    }
    double c = low + (high - low) * (a + 1) / 2;
    s->data->ctrl[i] = c < low ? low : c > high ? high : c;
  }
}

static void dmc_step(brc_mj_sim *s, void *arg) {
  const mjModel *m = &s->model;
  int plain = *(const int *)arg;
  // mj_step1 has run for this state: Euler only has to finish the step. RK4 cannot be split.
  if (m->opt.integrator != mjINT_RK4) {
    brc_mj.mj_step2(m, s->data);
    plain--;
  }
  for (int i = 0; i < plain; i++) brc_mj.mj_step(m, s->data);
  brc_mj.mj_step1(m, s->data);
}

brc_status brc_mj_dmc_step(brc_mj_sim *s, int n) {
  brc_status st = brc_mj_run(s, dmc_step, &n);
  return st ? st : brc_mj_check(s);
}

static void forward(brc_mj_sim *s, void *arg) {
  (void)arg;
  brc_mj.mj_forward(&s->model, s->data);
}

brc_status brc_mj_dmc_forward(brc_mj_sim *s) {
  int flags = s->model.opt.disableflags;
  s->model.opt.disableflags = flags | mjDSBL_ACTUATION;
  brc_status st = brc_mj_run(s, forward, NULL);
  s->model.opt.disableflags = flags;
  return st ? st : brc_mj_check(s);
}

//------------------------ 5. State --------------------------------------------
size_t brc_mj_state_bytes(const brc_mj_sim *s) { return (size_t)s->state_size * sizeof(mjtNum); }

void brc_mj_save(const brc_mj_sim *s, void *state) {
  brc_mj.mj_getState(&s->model, s->data, s->state, mjSTATE_INTEGRATION);
  memcpy(state, s->state, brc_mj_state_bytes(s));  // `state` may be unaligned
}

static void set_state(brc_mj_sim *s, void *arg) {
  (void)arg;
  brc_mj.mj_setState(&s->model, s->data, s->state, mjSTATE_INTEGRATION);
}

brc_status brc_mj_load(brc_mj_sim *s, const void *state) {
  memcpy(s->state, state, brc_mj_state_bytes(s));
  return brc_mj_run(s, set_state, NULL);
}

// The warm start alone, out of the whole state: time, qpos, qvel, act come before it (mjtState's order).
static void set_warmstart(brc_mj_sim *s, void *arg) {
  (void)arg;
  int before = brc_mj.mj_stateSize(&s->model, mjSTATE_TIME | mjSTATE_QPOS | mjSTATE_QVEL | mjSTATE_ACT);
  brc_mj.mj_setState(&s->model, s->data, s->state + before, mjSTATE_WARMSTART);
}

brc_status brc_mj_load_warmstart(brc_mj_sim *s) { return brc_mj_run(s, set_warmstart, NULL); }
#else
typedef int brc_mj_sim_is_empty;
#endif
