// The replay buffer's ring in memory, its side tables, sampling and gathering, and the file of rows.
//
// In memory the rows of a task follow each other: [T][R slots][pitch], a row being obs [O], action [A], reward, mask and one
// word `side` that leads to the side table. So a row and its successor are one contiguous read.
#include "data/replay.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cache.h"
#include "base/file.h"
#include "base/philox.h"

// True successors that the following row does not hold, oldest first. Entry e (0, 1, 2, ...) lies at e mod cap.
struct side {
  uint64_t head, tail;  // entries head .. tail-1
  uint64_t cap;         // a power of two, or 0
  uint64_t *n;          // [cap] the rows they belong to
  float *obs;           // [cap,O]
};
// A row's word: 0 for none, else 1 + the entry's number mod 2^31 (cap <= 2^31, so that finds the place).
#define SIDE_BITS 0x7fffffffu

struct brc_replay {
  uint32_t tasks, obs_dim, action_dim, capacity, slack;
  uint64_t ring;    // R = capacity + slack
  uint32_t floats;  // of a row in the file: O + A + 2
  uint32_t pitch;   // from row to row in memory
  uint64_t total;   // rows inserted per task
  uint32_t size;    // valid rows per task
  float *rows;      // [T,R,pitch], mapped
  size_t rows_bytes;
  struct side *side;   // [T]
  uint64_t *checksum;  // [T] over the valid rows

  // The file of rows.
  char *path;          // where the rows were saved last; NULL: nowhere
  uint64_t saved;      // total at the last save
  uint64_t committed;  // total of the last complete checkpoint; 0: none, or an empty one
};

//------------------------ 1. Rows ---------------------------------------------
static float *row_at(const brc_replay *r, uint32_t task, uint64_t slot) {
  return r->rows + ((uint64_t)task * r->ring + slot) * r->pitch;
}

static uint32_t side_word(const brc_replay *r, const float *row) {
  uint32_t word;
  memcpy(&word, row + r->floats, sizeof word);
  return word;
}

static void set_side_word(const brc_replay *r, float *row, uint32_t word) {
  memcpy(row + r->floats, &word, sizeof word);
}

static uint64_t next_slot(const brc_replay *r, uint64_t slot) { return slot + 1 == r->ring ? 0 : slot + 1; }

// Slot of a logical row: as many slots behind the newest row as the row is older than it.
static uint64_t slot_of(const brc_replay *r, uint64_t newest_slot, uint32_t newest_row, uint32_t row) {
  uint64_t age = row <= newest_row ? newest_row - row : (uint64_t)newest_row + r->capacity - row;
  return newest_slot >= age ? newest_slot - age : newest_slot + r->ring - age;
}

static const float *successor(const brc_replay *r, uint32_t task, uint64_t slot, const float *row) {
  uint32_t word = side_word(r, row);
  if (!word) return row_at(r, task, next_slot(r, slot));
  const struct side *s = &r->side[task];
  return s->obs + ((word - 1) & (s->cap - 1)) * r->obs_dim;
}

// Mixes every bit of the row and its number; not cryptographic.
static uint64_t row_hash(const brc_replay *r, const float *row, uint64_t n) {
  return brc_checksum((n + 1) * 0x9E3779B97F4A7C15u, row, r->floats * sizeof *row) * 0x9E3779B97F4A7C15u;
}

//------------------------ 2. Side tables --------------------------------------
// Room for `more` entries, doubling; entries keep their numbers and move to their new places.
static brc_status side_reserve(struct side *s, uint32_t obs_dim, uint64_t more) {
  uint64_t need = s->tail - s->head + more;
  if (need <= s->cap) return BRC_OK;
  uint64_t cap = s->cap ? s->cap : 4;
  while (cap < need) cap *= 2;
  uint64_t *n = NULL;
  float *obs = NULL;
  if (cap <= (uint64_t)SIDE_BITS + 1 && cap <= SIZE_MAX / sizeof(float) / obs_dim) {
    n = malloc(cap * sizeof *n);
    obs = malloc(cap * obs_dim * sizeof *obs);
  }
  if (!n || !obs) {
    free(n);
    free(obs);
    return brc_fail(BRC_E_NOMEM,
                    "no memory for the final observations of %llu episodes in the replay (%u floats each)",
                    (unsigned long long)need, obs_dim);
  }
  for (uint64_t e = s->head; e < s->tail; e++) {
    n[e & (cap - 1)] = s->n[e & (s->cap - 1)];
    memcpy(obs + (e & (cap - 1)) * obs_dim, s->obs + (e & (s->cap - 1)) * obs_dim, obs_dim * sizeof *obs);
  }
  free(s->n);
  free(s->obs);
  s->n = n;
  s->obs = obs;
  s->cap = cap;
  return BRC_OK;
}

// Room must have been reserved. `row` is row n of the task.
static void side_push(const brc_replay *r, uint32_t task, float *row, uint64_t n, const float *obs) {
  struct side *s = &r->side[task];
  uint64_t at = s->tail & (s->cap - 1);
  s->n[at] = n;
  memcpy(s->obs + at * r->obs_dim, obs, r->obs_dim * sizeof *obs);
  set_side_word(r, row, 1 + (uint32_t)(s->tail & SIDE_BITS));
  s->tail++;
}

//------------------------ 3. Create, insert -----------------------------------
static uint32_t row_floats(uint32_t obs_dim, uint32_t action_dim) { return obs_dim + action_dim + 2; }

static brc_status sizes(uint32_t tasks, uint32_t obs_dim, uint32_t action_dim, uint32_t capacity,
                        uint32_t slack, uint64_t *memory_bytes, uint64_t *file_bytes) {
  if (!tasks || !obs_dim || !action_dim || !capacity || !slack)
    return brc_fail(
        BRC_E_VALUE,
        "replay: tasks %u, observation %u, action %u, capacity %u and slack %u must all be at least 1", tasks,
        obs_dim, action_dim, capacity, slack);
  if (obs_dim > 1u << 28 || action_dim > 1u << 28)
    return brc_fail(BRC_E_VALUE, "replay: an observation of %u and an action of %u floats are too large",
                    obs_dim, action_dim);
  if ((uint64_t)tasks * capacity > UINT32_MAX || (uint64_t)capacity + slack > UINT32_MAX)
    return brc_fail(
        BRC_E_VALUE,
        "replay: %u tasks x %u rows (and %u between checkpoints) are more than 2^32; lower --capacity", tasks,
        capacity, slack);
  uint64_t rows = (uint64_t)tasks * (capacity + slack);  // below 2^64
  uint32_t floats = row_floats(obs_dim, action_dim), pitch = BRC_ROUND_UP(floats + 1, 4);
  if (__builtin_mul_overflow(rows, (uint64_t)pitch * sizeof(float), memory_bytes) ||
      *memory_bytes > SIZE_MAX / 2 || *memory_bytes > INT64_MAX / 2)
    return brc_fail(BRC_E_VALUE, "replay: %llu rows of %u floats do not fit into memory; lower --capacity",
                    (unsigned long long)rows, pitch);
  *file_bytes = 4096 + rows * floats * sizeof(float);
  return BRC_OK;
}

brc_status brc_replay_bytes(uint32_t tasks, uint32_t obs_dim, uint32_t action_dim, uint32_t capacity,
                            uint32_t slack, uint64_t *memory_bytes, uint64_t *file_bytes) {
  uint64_t memory = 0, file = 0;
  brc_status st = sizes(tasks, obs_dim, action_dim, capacity, slack, &memory, &file);
  if (st) return st;
  if (memory_bytes) *memory_bytes = memory;
  if (file_bytes) *file_bytes = file;
  return BRC_OK;
}

brc_status brc_replay_create(brc_replay **out, uint32_t tasks, uint32_t obs_dim, uint32_t action_dim,
                             uint32_t capacity, uint32_t slack) {
  *out = NULL;
  uint64_t memory = 0, file = 0;
  brc_status st = sizes(tasks, obs_dim, action_dim, capacity, slack, &memory, &file);
  if (st) return st;

  brc_replay *r = calloc(1, sizeof *r);
  if (!r) return brc_fail(BRC_E_NOMEM, "no memory for a replay");
  *r = (brc_replay){.tasks = tasks,
                    .obs_dim = obs_dim,
                    .action_dim = action_dim,
                    .capacity = capacity,
                    .slack = slack,
                    .ring = (uint64_t)capacity + slack,
                    .floats = row_floats(obs_dim, action_dim),
                    .rows_bytes = (size_t)memory};
  r->pitch = BRC_ROUND_UP(r->floats + 1, 4);
  r->side = calloc(tasks, sizeof *r->side);
  r->checksum = calloc(tasks, sizeof *r->checksum);
  // Mapped, so that only rows that came in take memory.
  void *rows = mmap(NULL, r->rows_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  r->rows = rows == MAP_FAILED ? NULL : rows;
  if (!r->rows || !r->side || !r->checksum) {
    brc_replay_destroy(r);
    return brc_fail(
        BRC_E_NOMEM, "no memory for the replay: %u tasks x %llu rows x %u bytes = %.2f GiB; lower --capacity",
        tasks, (unsigned long long)capacity + slack,
        (unsigned)BRC_ROUND_UP(row_floats(obs_dim, action_dim) + 1, 4) * 4, (double)memory / (1 << 30));
  }
#ifdef MADV_HUGEPAGE
  madvise(r->rows, r->rows_bytes, MADV_HUGEPAGE);  // random rows: fewer address translations; only a hint
#endif
  *out = r;
  return BRC_OK;
}

static void clear(brc_replay *r) {
  for (uint32_t t = 0; t < r->tasks; t++) {
    r->side[t].head = r->side[t].tail = 0;
    r->checksum[t] = 0;
  }
  r->total = r->size = 0;
  free(r->path);
  r->path = NULL;
  r->saved = r->committed = 0;
}

void brc_replay_destroy(brc_replay *r) {
  if (!r) return;
  if (r->rows) munmap(r->rows, r->rows_bytes);
  for (uint32_t t = 0; r->side && t < r->tasks; t++) {
    free(r->side[t].n);
    free(r->side[t].obs);
  }
  free(r->side);
  free(r->checksum);
  free(r->path);
  free(r);
}

// Row n - capacity leaves, before anything of it is overwritten.
static void evict(brc_replay *r, uint32_t task, uint64_t n) {
  const float *row = row_at(r, task, n % r->ring);
  r->checksum[task] -= row_hash(r, row, n);
  if (!side_word(r, row)) return;
  struct side *s = &r->side[task];
  assert(s->head < s->tail && s->n[s->head & (s->cap - 1)] == n);
  s->head++;
}

brc_status brc_replay_insert(brc_replay *r, const float *obs, const float *action, const float *reward,
                             const float *mask, const float *next_obs, const uint8_t *ended) {
  const size_t O = r->obs_dim, A = r->action_dim, obs_bytes = O * sizeof *obs;
  // At most two entries come in: of the row before, and of this one.
  for (uint32_t t = 0; t < r->tasks; t++) {
    brc_status st = side_reserve(&r->side[t], r->obs_dim, 2);
    if (st) return st;
  }
  const uint64_t n = r->total, slot = n % r->ring, after = next_slot(r, slot),
                 before = slot ? slot - 1 : r->ring - 1;
  const bool full = r->size == r->capacity, has_before = r->size > 0 && r->capacity > 1;
  for (uint32_t t = 0; t < r->tasks; t++) {
    if (full) evict(r, t, n - r->capacity);
    float *row = row_at(r, t, slot), *row_before = row_at(r, t, before);
    // The slot holds the successor of the row before. It moves to the side table if this row does not start there.
    if (has_before && !side_word(r, row_before) && memcmp(row, obs + t * O, obs_bytes) != 0)
      side_push(r, t, row_before, n - 1, row);
    memcpy(row, obs + t * O, obs_bytes);
    memcpy(row + O, action + t * A, A * sizeof *action);
    row[O + A] = reward[t];
    row[O + A + 1] = mask[t];
    set_side_word(r, row, 0);
    r->checksum[t] += row_hash(r, row, n);
    if (ended && ended[t]) side_push(r, t, row, n, next_obs + t * O);
    memcpy(row_at(r, t, after), next_obs + t * O, obs_bytes);
  }
  r->total++;
  if (!full) r->size++;
  return BRC_OK;
}

uint32_t brc_replay_tasks(const brc_replay *r) { return r->tasks; }
uint32_t brc_replay_obs_dim(const brc_replay *r) { return r->obs_dim; }
uint32_t brc_replay_action_dim(const brc_replay *r) { return r->action_dim; }
uint32_t brc_replay_capacity(const brc_replay *r) { return r->capacity; }
uint32_t brc_replay_size(const brc_replay *r) { return r->size; }
uint32_t brc_replay_insert_index(const brc_replay *r) { return (uint32_t)(r->total % r->capacity); }
uint64_t brc_replay_total(const brc_replay *r) { return r->total; }
uint64_t brc_replay_slots(const brc_replay *r) { return r->ring; }

//------------------------ 4. Sample, gather -----------------------------------
// floor(fraction * n / 2^64), the product's upper 64 bits.
static uint32_t below(uint32_t n, brc_uint high, brc_uint low) {
  uint64_t carry = ((uint64_t)low * n) >> 32;
  return (uint32_t)(((uint64_t)high * n + carry) >> 32);
}

brc_status brc_replay_sample(const brc_replay *r, uint32_t count, uint64_t seed, uint64_t step, uint32_t offset,
                             uint32_t *pairs) {
  if (!r->size) return brc_fail(BRC_E_VALUE, "cannot sample from an empty replay");
  const uint32_t rows = r->size * r->tasks;  // fits: checked at creation
  brc_u4 x = {0};                            // one block serves two draws
  for (uint32_t k = 0; k < count; k++) {
    uint64_t i = (uint64_t)offset + k;
    if (k == 0 || !(i & 1))
      x = brc_philox((brc_uint)(i >> 1), (brc_uint)step, (brc_uint)(step >> 32), BRC_STREAM_BATCH,
                     (brc_uint)seed, (brc_uint)(seed >> 32));
    uint32_t flat = (i & 1) ? below(rows, x.z, x.w) : below(rows, x.x, x.y);
    pairs[2 * (size_t)k] = flat / r->size;
    pairs[2 * (size_t)k + 1] = flat % r->size;
  }
  return BRC_OK;
}

#define GATHER_ROWS  64  // of one pool item
#define GATHER_AHEAD 4   // rows asked for before they are needed
#define LINE_FLOATS  16  // of a cache line
#define LOCATE_AHEAD 16  // of each row only the line with reward, mask and side word is read

struct gather {
  const brc_replay *r;
  const uint32_t *pairs;
  brc_replay_batch out;
  uint32_t count;
  uint64_t newest_slot;
  uint32_t newest_row;
};

// A row and, mostly, its successor are one contiguous stretch.
static void prefetch_pair(const struct gather *g, uint32_t i) {
  const brc_replay *r = g->r;
  uint32_t task = g->pairs[2 * (size_t)i], row = g->pairs[2 * (size_t)i + 1];
  const float *x = row_at(r, task, slot_of(r, g->newest_slot, g->newest_row, row));
  uint32_t floats = g->out.next_obs ? r->pitch + r->obs_dim : r->floats + 1;
  for (uint32_t k = 0; k < floats; k += LINE_FLOATS) __builtin_prefetch((const char *)x + k * sizeof *x);
}

static void gather_rows(void *arg, uint32_t item, uint32_t thread) {
  (void)thread;
  const struct gather *g = arg;
  const brc_replay *r = g->r;
  const brc_replay_batch *out = &g->out;
  const size_t O = r->obs_dim, A = r->action_dim;
  uint32_t first = item * GATHER_ROWS, end = g->count - first < GATHER_ROWS ? g->count : first + GATHER_ROWS;
  for (uint32_t i = first; i < end && i < first + GATHER_AHEAD; i++) prefetch_pair(g, i);
  for (uint32_t k = first; k < end; k++) {
    if (k + GATHER_AHEAD < end) prefetch_pair(g, k + GATHER_AHEAD);
    const size_t i = k;
    uint32_t task = g->pairs[2 * i];
    uint64_t slot = slot_of(r, g->newest_slot, g->newest_row, g->pairs[2 * i + 1]);
    const float *x = row_at(r, task, slot);
    if (out->obs) memcpy(out->obs + i * out->obs_pitch, x, O * sizeof *x);
    if (out->action) memcpy(out->action + i * out->action_pitch, x + O, A * sizeof *x);
    if (out->reward) out->reward[i * out->reward_pitch] = x[O + A];
    if (out->mask) out->mask[i * out->mask_pitch] = x[O + A + 1];
    if (out->task) out->task[i * out->task_pitch] = (int32_t)task;
    if (out->next_obs)
      memcpy(out->next_obs + i * out->next_obs_pitch, successor(r, task, slot, x), O * sizeof *x);
  }
}

static brc_status check_pairs(const brc_replay *r, uint32_t count, const uint32_t *pairs) {
  for (size_t i = 0; i < count; i++)
    if (pairs[2 * i] >= r->tasks || pairs[2 * i + 1] >= r->size)
      return brc_fail(BRC_E_VALUE,
                      "batch entry %zu is row %u of task %u, but the replay holds %u tasks with %u rows", i,
                      pairs[2 * i + 1], pairs[2 * i], r->tasks, r->size);
  return BRC_OK;
}

brc_status brc_replay_gather(const brc_replay *r, brc_pool *pool, uint32_t count, const uint32_t *pairs,
                             const brc_replay_batch *out) {
  const brc_status st = check_pairs(r, count, pairs);
  if (st || !count) return st;
  struct gather g = {.r = r, .pairs = pairs, .out = *out, .count = count};
  g.newest_slot = (r->total - 1) % r->ring;
  g.newest_row = (uint32_t)((r->total - 1) % r->capacity);
  if (!g.out.obs_pitch) g.out.obs_pitch = r->obs_dim;
  if (!g.out.next_obs_pitch) g.out.next_obs_pitch = r->obs_dim;
  if (!g.out.action_pitch) g.out.action_pitch = r->action_dim;
  if (!g.out.reward_pitch) g.out.reward_pitch = 1;
  if (!g.out.mask_pitch) g.out.mask_pitch = 1;
  if (!g.out.task_pitch) g.out.task_pitch = 1;
  uint32_t items = (uint32_t)(((uint64_t)count + GATHER_ROWS - 1) / GATHER_ROWS);
  if (pool) {
    brc_pool_run(pool, items, gather_rows, &g);
  } else {
    for (uint32_t i = 0; i < items; i++) gather_rows(&g, i, 0);
  }
  return BRC_OK;
}

brc_status brc_replay_get(const brc_replay *r, uint32_t task, uint32_t row, float *obs, float *next_obs,
                          float *action, float *reward, float *mask) {
  const brc_replay_batch out = {
      .obs = obs, .next_obs = next_obs, .action = action, .reward = reward, .mask = mask};
  return brc_replay_gather(r, NULL, 1, (const uint32_t[2]){task, row}, &out);
}

void brc_replay_read_slot(const brc_replay *r, uint64_t n, float *out, size_t pitch) {
  const uint64_t slot = n % r->ring;
  const size_t floats = r->obs_dim + (n < r->total ? r->action_dim : 0);
  for (uint32_t t = 0; t < r->tasks; t++) memcpy(out + t * pitch, row_at(r, t, slot), floats * sizeof *out);
}

brc_status brc_replay_locate(const brc_replay *r, uint32_t count, const uint32_t *pairs,
                             brc_replay_places *out) {
  const uint32_t T = r->tasks, O = r->obs_dim, end = O + r->action_dim;
  brc_status st = check_pairs(r, count, pairs);
  const uint64_t slots = r->total < r->ring ? r->total + 1 : r->ring;  // that are in use
  if (!st && slots * T > INT32_MAX)
    st = brc_fail(BRC_E_VALUE, "replay: %llu rows are too many for a table on a device",
                  (unsigned long long)slots * T);
  out->extra_rows = 0;
  if (st || !count) return st;
  const uint64_t newest_slot = (r->total - 1) % r->ring;
  const uint32_t newest_row = (uint32_t)((r->total - 1) % r->capacity);
  for (uint32_t k = 0; k < count; k++) {
    const size_t i = k, ahead = k + LOCATE_AHEAD < count ? k + LOCATE_AHEAD : count - 1;
    __builtin_prefetch(row_at(r, pairs[2 * ahead], slot_of(r, newest_slot, newest_row, pairs[2 * ahead + 1])) +
                       end);
    const uint32_t task = pairs[2 * i];
    const uint64_t slot = slot_of(r, newest_slot, newest_row, pairs[2 * i + 1]);
    const float *x = row_at(r, task, slot);
    out->reward[i] = x[end];
    out->mask[i] = x[end + 1];
    out->task[i] = (int32_t)task;
    out->index[2 * i] = (int32_t)(slot * T + task);
    if (!side_word(r, x)) {
      out->index[2 * i + 1] = (int32_t)(next_slot(r, slot) * T + task);
      continue;
    }
    memcpy(out->extra + out->extra_rows * out->extra_pitch, successor(r, task, slot, x), O * sizeof *x);
    out->index[2 * i + 1] = -1 - (int32_t)out->extra_rows++;
  }
  return BRC_OK;
}

//------------------------ 5. Explicit rows ------------------------------------
void brc_replay_export(const brc_replay *r, const brc_replay_rows *out) {
  for (uint32_t t = 0; t < r->tasks; t++)
    for (uint32_t row = 0; row < r->size; row++) {
      size_t i = (size_t)t * r->size + row;
      brc_replay_get(r, t, row, out->obs ? out->obs + i * r->obs_dim : NULL,
                     out->next_obs ? out->next_obs + i * r->obs_dim : NULL,
                     out->action ? out->action + i * r->action_dim : NULL, out->reward ? out->reward + i : NULL,
                     out->mask ? out->mask + i : NULL);
    }
}

// Insert the rows in the order in which they came; insert itself notices where a row's next_obs is not the next row's obs.
static brc_status insert_all(brc_replay *r, const brc_replay_rows *rows, uint32_t size, float *scratch) {
  const size_t T = r->tasks, O = r->obs_dim, A = r->action_dim;
  float *obs = scratch, *next_obs = obs + T * O, *action = next_obs + T * O, *reward = action + T * A,
        *mask = reward + T;
  for (uint32_t k = 0; k < size; k++) {
    uint32_t row = (uint32_t)(r->total % r->capacity);
    for (size_t t = 0; t < T; t++) {
      size_t i = t * size + row;
      memcpy(obs + t * O, rows->obs + i * O, O * sizeof *obs);
      memcpy(next_obs + t * O, rows->next_obs + i * O, O * sizeof *obs);
      memcpy(action + t * A, rows->action + i * A, A * sizeof *action);
      reward[t] = rows->reward[i];
      mask[t] = rows->mask[i];
    }
    brc_status st = brc_replay_insert(r, obs, action, reward, mask, next_obs, NULL);
    if (st) return st;
  }
  return BRC_OK;
}

brc_status brc_replay_import(brc_replay *r, const brc_replay_rows *rows, uint32_t insert_index, uint32_t size) {
  clear(r);
  if (size > r->capacity || insert_index >= r->capacity || (size < r->capacity && insert_index != size))
    return brc_fail(BRC_E_VALUE, "replay of capacity %u: insert index %u and size %u do not belong together",
                    r->capacity, insert_index, size);
  if (!size) return BRC_OK;
  size_t floats = (size_t)r->tasks * (2 * (size_t)r->obs_dim + r->action_dim + 2);
  float *scratch = malloc(floats * sizeof *scratch);
  if (!scratch) return brc_fail(BRC_E_NOMEM, "no memory to import a replay row (%zu floats)", floats);
  r->total = size == r->capacity ? insert_index : 0;  // the oldest row
  brc_status st = insert_all(r, rows, size, scratch);
  free(scratch);
  if (st) clear(r);
  return st;
}

//------------------------ 6. The rows file ------------------------------------
#define HEADER_BYTES 4096
#define ROWS_VERSION 1u
#define CHUNK_BYTES  ((size_t)4 << 20)

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the rows file is little-endian"
#endif

static size_t record_bytes(const brc_replay *r) { return (size_t)r->tasks * r->floats * sizeof(float); }

static void make_header(const brc_replay *r, unsigned char *h) {
  const uint32_t fields[6] = {ROWS_VERSION,  r->tasks,    r->obs_dim,
                              r->action_dim, r->capacity, (uint32_t)r->ring};
  const uint64_t record = record_bytes(r);
  memset(h, 0, HEADER_BYTES);
  memcpy(h, "BRCROWS\n", 8);
  memcpy(h + 8, fields, sizeof fields);
  memcpy(h + 32, &record, sizeof record);
}

// Reads until `bytes` or the end of the file; *got says how many.
static brc_status read_at(int fd, const char *path, void *data, size_t bytes, uint64_t at, size_t *got) {
  *got = 0;
  while (*got < bytes) {
    ssize_t n = pread(fd, (char *)data + *got, bytes - *got, (off_t)(at + *got));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return brc_fail(BRC_E_IO, "cannot read replay rows '%s': %s", path, strerror(errno));
    if (n == 0) break;
    *got += (size_t)n;
  }
  return BRC_OK;
}

static brc_status write_at(int fd, const char *path, const void *data, size_t bytes, uint64_t at) {
  for (size_t done = 0; done < bytes;) {
    ssize_t n = pwrite(fd, (const char *)data + done, bytes - done, (off_t)(at + done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0)
      return brc_fail(BRC_E_IO, "cannot write replay rows '%s': %s; the last checkpoint is still whole", path,
                      brc_write_error(n < 0 ? errno : ENOSPC));
    done += (size_t)n;
  }
  return BRC_OK;
}

static brc_status check_header(const brc_replay *r, int fd, const char *path) {
  unsigned char want[HEADER_BYTES], have[HEADER_BYTES];
  size_t got;
  brc_status st = read_at(fd, path, have, sizeof have, 0, &got);
  if (st) return st;
  make_header(r, want);
  uint32_t f[6];
  memcpy(f, have + 8, sizeof f);
  if (got < sizeof have || memcmp(have, want, 8) != 0)
    return brc_fail(BRC_E_FORMAT, "'%s' is not a file of replay rows", path);
  if (f[0] != ROWS_VERSION)
    return brc_fail(BRC_E_FORMAT, "replay rows '%s' have format version %u, this program reads %u", path, f[0],
                    ROWS_VERSION);
  if (memcmp(have, want, sizeof have) != 0)
    return brc_fail(BRC_E_FORMAT,
                    "replay rows '%s' are for %u tasks, observation %u, action %u, capacity %u, ring %u; "
                    "expected %u, %u, %u, "
                    "%u, %u",
                    path, f[1], f[2], f[3], f[4], f[5], r->tasks, r->obs_dim, r->action_dim, r->capacity,
                    (uint32_t)r->ring);
  return BRC_OK;
}

// Slots slot .. slot+count-1 of all tasks, between memory and the file's records.
static void pack(const brc_replay *r, uint64_t slot, uint64_t count, float *records) {
  for (uint32_t t = 0; t < r->tasks; t++)
    for (uint64_t k = 0; k < count; k++)
      memcpy(records + (k * r->tasks + t) * r->floats, row_at(r, t, slot + k), r->floats * sizeof *records);
}

static void unpack(brc_replay *r, uint64_t slot, uint64_t count, const float *records) {
  for (uint32_t t = 0; t < r->tasks; t++)
    for (uint64_t k = 0; k < count; k++) {
      float *row = row_at(r, t, slot + k);
      memcpy(row, records + (k * r->tasks + t) * r->floats, r->floats * sizeof *records);
      set_side_word(r, row, 0);
    }
}

static uint64_t chunk_records(const brc_replay *r) {
  size_t n = CHUNK_BYTES / record_bytes(r);
  return n ? n : 1;
}

// How many rows from n on lie in consecutive slots and fit into a chunk.
static uint64_t stretch(const brc_replay *r, uint64_t n, uint64_t end) {
  uint64_t count = end - n, to_wrap = r->ring - n % r->ring, most = chunk_records(r);
  if (count > to_wrap) count = to_wrap;
  return count < most ? count : most;
}

static brc_status no_chunk(const brc_replay *r) {
  return brc_fail(BRC_E_NOMEM, "no memory for a chunk of replay rows (%zu bytes)",
                  (size_t)chunk_records(r) * record_bytes(r));
}

// The first save: a new file, complete or not there. Slots without a valid row are zero.
static brc_status save_all(const brc_replay *r, const char *path, float *chunk) {
  unsigned char header[HEADER_BYTES];
  make_header(r, header);
  brc_file_writer w;
  brc_status st = brc_file_begin(&w, path);
  if (!st) st = brc_file_write(&w, header, sizeof header);
  const size_t record = record_bytes(r);
  const uint64_t oldest = r->total - r->size, slots = r->total < r->ring ? r->total : r->ring,
                 most = chunk_records(r);
  for (uint64_t slot = 0; slot < slots && !st;) {
    uint64_t count = slots - slot < most ? slots - slot : most;
    pack(r, slot, count, chunk);
    for (uint64_t k = 0; k < count && r->size; k++) {
      // The age of the newest row in this slot.
      uint64_t age = ((r->total - 1) % r->ring + r->ring - (slot + k)) % r->ring;
      if (r->total - 1 - age < oldest || age >= r->total) memset((char *)chunk + k * record, 0, record);
    }
    st = brc_file_write(&w, chunk, (size_t)count * record);
    slot += count;
  }
  return st ? (brc_file_abort(&w), st) : brc_file_commit(&w);
}

static bool promise_broken(const brc_replay *r, uint64_t total) {
  if (!r->committed) return false;
  uint64_t oldest = r->committed > r->capacity ? r->committed - r->capacity : 0;
  return total > r->ring + oldest;  // row oldest + R would be written, over row `oldest`
}

bool brc_replay_must_save(const brc_replay *r) { return promise_broken(r, r->total + 1); }

static brc_status save_new(const brc_replay *r, int fd, const char *path, float *chunk) {
  brc_status st = check_header(r, fd, path);
  if (st) return st;
  if (promise_broken(r, r->total))
    return brc_fail(BRC_E_VALUE,
                    "replay rows '%s': %llu rows came in since the last complete checkpoint, %u may; saving "
                    "them would destroy it",
                    path, (unsigned long long)(r->total - r->committed), r->slack);
  // Rows that left the buffer since the last save are written too, as far as memory has them. (The oldest slot's
  // observation already is the newest row's successor.)
  uint64_t n = r->saved;
  if (r->total - n >= r->ring) n = r->total - r->ring + 1;
  while (n < r->total) {
    uint64_t count = stretch(r, n, r->total), slot = n % r->ring;
    pack(r, slot, count, chunk);
    st = write_at(fd, path, chunk, (size_t)count * record_bytes(r), HEADER_BYTES + slot * record_bytes(r));
    if (st) return st;
    n += count;
  }
  // The slot skipped above may be the last: the file has every slot that was ever used.
  const uint64_t slots = r->total < r->ring ? r->total : r->ring;
  if (ftruncate(fd, (off_t)(HEADER_BYTES + slots * record_bytes(r))) != 0)
    return brc_fail(BRC_E_IO, "cannot write replay rows '%s': %s; the last checkpoint is still whole", path,
                    brc_write_error(errno));
  // After a failed sync pages may be lost: as `saved` stays where it is, the next try writes them all again.
  if (fdatasync(fd) != 0 && errno != EINVAL && errno != ENOTSUP)
    return brc_fail(BRC_E_IO, "cannot write replay rows '%s': %s; the last checkpoint is still whole", path,
                    brc_write_error(errno));
  return BRC_OK;
}

brc_status brc_replay_save_rows(brc_replay *r, const char *path) {
  bool same = r->path && strcmp(r->path, path) == 0;
  char *kept = same ? NULL : strdup(path);
  float *chunk = malloc((size_t)chunk_records(r) * record_bytes(r));
  brc_status st = BRC_OK;
  if (!chunk || (!same && !kept)) {
    st = no_chunk(r);
    goto free_chunk;
  }
  int fd = same ? open(path, O_RDWR | O_CLOEXEC) : -1;
  if (fd >= 0) {
    st = save_new(r, fd, path, chunk);
    if (close(fd) != 0 && !st && errno != EINTR)
      st = brc_fail(BRC_E_IO, "cannot write replay rows '%s': %s; the last checkpoint is still whole", path,
                    brc_write_error(errno));
  } else if (same && errno != ENOENT) {
    st = brc_fail(BRC_E_IO, "cannot open replay rows '%s': %s", path, strerror(errno));
  } else {
    st = save_all(r, path, chunk);
    if (!st) r->committed = 0;  // whatever checkpoint there was does not refer to this file
    if (!st && !same) {
      free(r->path);
      r->path = kept;
      kept = NULL;
    }
  }
  if (!st) r->saved = r->total;
free_chunk:
  free(chunk);
  free(kept);
  return st;
}

void brc_replay_committed(brc_replay *r) { r->committed = r->saved; }

//------------------------ 7. State --------------------------------------------
brc_status brc_replay_state_add(const brc_replay *r, brc_st_writer *w) {
  if (!r->path || r->saved != r->total)
    return brc_fail(BRC_E_VALUE,
                    "replay: %llu rows were inserted, but only %llu are in the rows file; save it first",
                    (unsigned long long)r->total, (unsigned long long)(r->path ? r->saved : 0));
  const uint64_t T = r->tasks, O = r->obs_dim, dims[5] = {T, O, r->action_dim, r->capacity, r->slack};
  brc_status st = brc_st_writer_copy(w, "replay/dims", BRC_ST_U64, 1, (const uint64_t[]){5}, dims);
  if (!st) st = brc_st_writer_copy(w, "replay/total", BRC_ST_U64, 1, (const uint64_t[]){1}, &r->total);
  if (!st) st = brc_st_writer_copy(w, "replay/checksum", BRC_ST_U64, 1, &T, r->checksum);
  if (st || !r->size) return st;

  // The newest successors and, unrolled, one side table at a time.
  uint64_t most = T;
  for (uint32_t t = 0; t < r->tasks; t++)
    if (r->side[t].tail - r->side[t].head > most) most = r->side[t].tail - r->side[t].head;
  float *obs = malloc((size_t)(most * O) * sizeof *obs);
  uint64_t *n = malloc((size_t)most * sizeof *n);
  if (!obs || !n) {
    st = brc_fail(BRC_E_NOMEM, "no memory to save %llu final observations of the replay",
                  (unsigned long long)most);
    goto done;
  }
  for (uint32_t t = 0; t < r->tasks; t++)
    memcpy(obs + t * O, row_at(r, t, r->total % r->ring), O * sizeof *obs);
  st = brc_st_writer_copy(w, "replay/successor", BRC_ST_F32, 2, (const uint64_t[]){T, O}, obs);
  for (uint32_t t = 0; t < r->tasks && !st; t++) {
    const struct side *s = &r->side[t];
    uint64_t count = s->tail - s->head;
    if (!count) continue;
    for (uint64_t k = 0; k < count; k++) {
      uint64_t at = (s->head + k) & (s->cap - 1);
      n[k] = s->n[at];
      memcpy(obs + k * O, s->obs + at * O, O * sizeof *obs);
    }
    char name[64];
    snprintf(name, sizeof name, "replay/final/%u/n", t);
    st = brc_st_writer_copy(w, name, BRC_ST_U64, 1, &count, n);
    snprintf(name, sizeof name, "replay/final/%u/obs", t);
    if (!st) st = brc_st_writer_copy(w, name, BRC_ST_F32, 2, (const uint64_t[]){count, O}, obs);
  }
done:
  free(obs);
  free(n);
  return st;
}

static uint64_t u64_at(const brc_st_tensor *t, uint64_t i) {
  uint64_t x;
  memcpy(&x, (const char *)t->data + 8 * i, sizeof x);
  return x;
}

static brc_status load_counters(brc_replay *r, const brc_st_file *state) {
  const brc_st_tensor *dims, *total;
  brc_status st = brc_st_need(state, BRC_ST_U64, 5, &dims, "replay/dims");
  if (!st) st = brc_st_need(state, BRC_ST_U64, 1, &total, "replay/total");
  if (st) return st;
  const uint64_t want[5] = {r->tasks, r->obs_dim, r->action_dim, r->capacity, r->slack};
  static const char *const names[5] = {"tasks", "observation", "action", "capacity", "slack"};
  for (int i = 0; i < 5; i++)
    if (u64_at(dims, (uint64_t)i) != want[i])
      return brc_fail(BRC_E_FORMAT, "'%s': the replay's %s is %llu, expected %llu", brc_st_path(state),
                      names[i], (unsigned long long)u64_at(dims, (uint64_t)i), (unsigned long long)want[i]);
  r->total = u64_at(total, 0);
  if (r->total > (uint64_t)1 << 62)
    return brc_fail(BRC_E_FORMAT, "'%s': replay/total is out of range", brc_st_path(state));
  r->size = r->total < r->capacity ? (uint32_t)r->total : r->capacity;
  return BRC_OK;
}

static brc_status load_rows(brc_replay *r, int fd, const char *path) {
  brc_status st = check_header(r, fd, path);
  if (st) return st;
  struct stat info;
  if (fstat(fd, &info) != 0)
    return brc_fail(BRC_E_IO, "cannot read replay rows '%s': %s", path, strerror(errno));
  const size_t record = record_bytes(r);
  uint64_t slots = r->total < r->ring ? r->total : r->ring, need = HEADER_BYTES + slots * record;
  if ((uint64_t)info.st_size < need || (uint64_t)info.st_size > HEADER_BYTES + r->ring * record)
    return brc_fail(BRC_E_FORMAT,
                    "replay rows '%s' have %lld bytes, the checkpoint refers to %llu and the ring ends at %llu",
                    path, (long long)info.st_size, (unsigned long long)need,
                    (unsigned long long)(HEADER_BYTES + r->ring * record));
  float *chunk = malloc((size_t)chunk_records(r) * record);
  if (!chunk) return no_chunk(r);
  for (uint64_t n = r->total - r->size; n < r->total && !st;) {
    uint64_t count = stretch(r, n, r->total), slot = n % r->ring;
    size_t got;
    st = read_at(fd, path, chunk, (size_t)count * record, HEADER_BYTES + slot * record, &got);
    if (!st && got < count * record) st = brc_fail(BRC_E_FORMAT, "replay rows '%s' are truncated", path);
    if (!st) unpack(r, slot, count, chunk);
    n += count;
  }
  free(chunk);
  return st;
}

static brc_status load_side(brc_replay *r, const brc_st_file *state, uint32_t task) {
  const brc_st_tensor *n = brc_st_find(state, "replay/final/%u/n", task), *obs;
  if (!n) return BRC_OK;
  const uint64_t count = n->count, oldest = r->total - r->size;
  if (n->dtype != BRC_ST_U64 || count > r->size)
    return brc_fail(BRC_E_FORMAT, "'%s': replay/final/%u/n is malformed", brc_st_path(state), task);
  brc_status st = brc_st_need(state, BRC_ST_F32, count * r->obs_dim, &obs, "replay/final/%u/obs", task);
  if (!st) st = side_reserve(&r->side[task], r->obs_dim, count);
  if (st) return st;
  for (uint64_t k = 0; k < count; k++) {
    uint64_t row = u64_at(n, k);
    if (row < oldest || row >= r->total || (k && row <= u64_at(n, k - 1)))
      return brc_fail(BRC_E_FORMAT, "'%s': replay/final/%u/n refers to rows that are not there",
                      brc_st_path(state), task);
    struct side *s = &r->side[task];
    uint64_t at = s->tail & (s->cap - 1);
    s->n[at] = row;
    memcpy(s->obs + at * r->obs_dim, (const char *)obs->data + k * r->obs_dim * sizeof(float),
           r->obs_dim * sizeof(float));
    set_side_word(r, row_at(r, task, row % r->ring), 1 + (uint32_t)(s->tail & SIDE_BITS));
    s->tail++;
  }
  return BRC_OK;
}

static brc_status load_successors(brc_replay *r, const brc_st_file *state) {
  if (!r->size) return BRC_OK;
  const uint64_t O = r->obs_dim;
  const brc_st_tensor *x;
  brc_status st = brc_st_need(state, BRC_ST_F32, r->tasks * O, &x, "replay/successor");
  for (uint32_t t = 0; t < r->tasks && !st; t++) {
    memcpy(row_at(r, t, r->total % r->ring), (const char *)x->data + t * O * sizeof(float), O * sizeof(float));
    st = load_side(r, state, t);
  }
  return st;
}

static brc_status check_sums(brc_replay *r, const brc_st_file *state, const char *path) {
  const brc_st_tensor *sums;
  brc_status st = brc_st_need(state, BRC_ST_U64, r->tasks, &sums, "replay/checksum");
  if (st) return st;
  for (uint32_t t = 0; t < r->tasks; t++) {
    for (uint64_t n = r->total - r->size; n < r->total; n++)
      r->checksum[t] += row_hash(r, row_at(r, t, n % r->ring), n);
    if (r->checksum[t] != u64_at(sums, t))
      return brc_fail(BRC_E_FORMAT,
                      "replay rows '%s' are not those that '%s' was saved with (checksum of task %u)", path,
                      brc_st_path(state), t);
  }
  return BRC_OK;
}

brc_status brc_replay_load(brc_replay *r, const brc_st_file *state, const char *path) {
  clear(r);
  brc_status st = load_counters(r, state);
  int fd = -1;
  if (st) goto fail;
  fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    st = brc_fail(BRC_E_IO, "cannot open replay rows '%s': %s", path, strerror(errno));
    goto fail;
  }
  st = load_rows(r, fd, path);
  close(fd);
  // The checksum before the successors: these overwrite nothing of it, but read rows that must be right.
  if (!st) st = check_sums(r, state, path);
  if (!st) st = load_successors(r, state);
  if (st) goto fail;
  r->path = strdup(path);
  if (!r->path) {
    st = brc_fail(BRC_E_NOMEM, "no memory for the path '%s'", path);
    goto fail;
  }
  r->saved = r->committed = r->total;
  return BRC_OK;
fail:
  clear(r);
  return st;
}
