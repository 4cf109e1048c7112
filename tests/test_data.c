// data/: the replay buffer against plain arrays, sampling, checkpoints and crashes; the reward normaliser; recorded loops.
#include "check.h"

#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/philox.h"
#include "base/pool.h"
#include "base/safetensors.h"
#include "data/normalizer.h"
#include "data/replay.h"
#include "tests/testing.h"
#include "train/verify_normalizer.h"

//------------------------ 1. Made-up rows, and a plain buffer -------------------
// Everything of row n of a task is a function of (n, task), so any state can be made again from its length alone.
struct shape {
  uint32_t tasks, obs, action, capacity, slack;
  uint32_t period;  // episodes end with chance 1 / period; 0: never
};

static uint32_t word_of(uint64_t n, uint32_t task, uint32_t what, uint32_t j) {
  return brc_philox((uint32_t)n, (uint32_t)(n >> 32), task * 1000 + what, j, 7, 7).x;
}
static float value_of(uint64_t n, uint32_t task, uint32_t what, uint32_t j) {
  return (float)(word_of(n, task, what, j) >> 8) * 0x1p-20f - 8;
}
static bool ends(const struct shape *s, uint64_t n, uint32_t task) {
  return s->period && word_of(n, task, 9, 0) % s->period == 0;
}

struct row {
  float *obs, *action, *reward, *mask, *next_obs;
  uint8_t *ended;
};

static struct row row_new(const struct shape *s) {
  size_t T = s->tasks;
  return (struct row){calloc(T * s->obs, 4), calloc(T * s->action, 4), calloc(T, 4),
                      calloc(T, 4),          calloc(T * s->obs, 4),    calloc(T, 1)};
}

static void row_free(struct row *x) {
  free(x->obs), free(x->action), free(x->reward), free(x->mask), free(x->next_obs), free(x->ended);
}

static void row_make(const struct shape *s, struct row *x, uint64_t n) {
  for (uint32_t t = 0; t < s->tasks; t++) {
    bool fresh = n == 0 || ends(s, n - 1, t);
    for (uint32_t j = 0; j < s->obs; j++) {
      x->obs[t * s->obs + j] = fresh ? value_of(n, t, 0, j) : value_of(n - 1, t, 1, j);
      x->next_obs[t * s->obs + j] = value_of(n, t, 1, j);
    }
    for (uint32_t j = 0; j < s->action; j++) x->action[t * s->action + j] = value_of(n, t, 2, j);
    x->reward[t] = value_of(n, t, 3, 0);
    x->ended[t] = ends(s, n, t);
    x->mask[t] = x->ended[t] && (word_of(n, t, 4, 0) & 1) ? 0 : 1;
  }
}

// The buffer as published: every field of every row in arrays of its own, [T,capacity,...].
struct plain {
  struct shape s;
  uint64_t total;
  float *obs, *next_obs, *action, *reward, *mask;
};

static struct plain plain_new(const struct shape *s) {
  size_t rows = (size_t)s->tasks * s->capacity;
  return (struct plain){*s,
                        0,
                        calloc(rows * s->obs, 4),
                        calloc(rows * s->obs, 4),
                        calloc(rows * s->action, 4),
                        calloc(rows, 4),
                        calloc(rows, 4)};
}

static void plain_free(struct plain *p) {
  free(p->obs), free(p->next_obs), free(p->action), free(p->reward), free(p->mask);
}

static void plain_insert(struct plain *p, const struct row *x) {
  const struct shape *s = &p->s;
  for (size_t t = 0; t < s->tasks; t++) {
    size_t i = t * s->capacity + p->total % s->capacity;
    memcpy(p->obs + i * s->obs, x->obs + t * s->obs, s->obs * 4);
    memcpy(p->next_obs + i * s->obs, x->next_obs + t * s->obs, s->obs * 4);
    memcpy(p->action + i * s->action, x->action + t * s->action, s->action * 4);
    p->reward[i] = x->reward[t];
    p->mask[i] = x->mask[t];
  }
  p->total++;
}

static uint32_t plain_size(const struct plain *p) {
  return p->total < p->s.capacity ? (uint32_t)p->total : p->s.capacity;
}

static void plain_fill(struct plain *p, uint64_t total) {
  struct row x = row_new(&p->s);
  while (p->total < total) row_make(&p->s, &x, p->total), plain_insert(p, &x);
  row_free(&x);
}

static brc_replay *replay_new(const struct shape *s) {
  brc_replay *r = NULL;
  check_ok(brc_replay_create(&r, s->tasks, s->obs, s->action, s->capacity, s->slack));
  return r;
}

static void replay_fill(brc_replay *r, const struct shape *s, uint64_t total) {
  struct row x = row_new(s);
  while (brc_replay_total(r) < total) {
    row_make(s, &x, brc_replay_total(r));
    check_ok(brc_replay_insert(r, x.obs, x.action, x.reward, x.mask, x.next_obs, x.ended));
  }
  row_free(&x);
}

static brc_replay_rows rows_new(const struct shape *s, uint32_t size) {
  size_t n = (size_t)s->tasks * size + 1;
  return (brc_replay_rows){calloc(n * s->obs, 4), calloc(n * s->obs, 4), calloc(n * s->action, 4), calloc(n, 4),
                           calloc(n, 4)};
}

static void rows_free(brc_replay_rows *x) {
  free(x->obs), free(x->next_obs), free(x->action), free(x->reward), free(x->mask);
}

// Every row, successors included, to the bit.
static void assert_equal(const brc_replay *r, const struct plain *p) {
  const struct shape *s = &p->s;
  uint32_t size = plain_size(p);
  assert_int_equal(brc_replay_size(r), size);
  assert_int_equal(brc_replay_insert_index(r), p->total % s->capacity);
  brc_replay_rows x = rows_new(s, size);
  brc_replay_export(r, &x);
  for (size_t t = 0; t < s->tasks; t++) {
    size_t from = t * size, to = t * s->capacity;
    assert_memory_equal(x.obs + from * s->obs, p->obs + to * s->obs, (size_t)size * s->obs * 4);
    assert_memory_equal(x.next_obs + from * s->obs, p->next_obs + to * s->obs, (size_t)size * s->obs * 4);
    assert_memory_equal(x.action + from * s->action, p->action + to * s->action, (size_t)size * s->action * 4);
    assert_memory_equal(x.reward + from, p->reward + to, size * 4);
    assert_memory_equal(x.mask + from, p->mask + to, size * 4);
  }
  rows_free(&x);
}

// What insert must reproduce for a replay that was filled to `total`.
static void assert_holds(const brc_replay *r, const struct shape *s, uint64_t total) {
  struct plain p = plain_new(s);
  plain_fill(&p, total);
  assert_int_equal(brc_replay_total(r), total);
  assert_equal(r, &p);
  plain_free(&p);
}

//------------------------ 2. Insert, gather -------------------------------------
static void run_against_plain(const struct shape *s, bool flags) {
  brc_replay *r = replay_new(s);
  struct plain p = plain_new(s);
  struct row x = row_new(s);
  assert_equal(r, &p);
  for (uint64_t n = 0; n < 3 * ((uint64_t)s->capacity + s->slack) + 5; n++) {
    row_make(s, &x, n);
    check_ok(brc_replay_insert(r, x.obs, x.action, x.reward, x.mask, x.next_obs, flags ? x.ended : NULL));
    plain_insert(&p, &x);
    assert_equal(r, &p);
  }
  assert_int_equal(brc_replay_total(r), p.total);
  row_free(&x);
  plain_free(&p);
  brc_replay_destroy(r);
}

static void test_replay_against_plain(void **state) {
  (void)state;
  static const uint32_t capacities[] = {1, 2, 3, 7, 64}, slacks[] = {1, 2, 5, 70}, periods[] = {0, 1, 2, 6};
  for (size_t c = 0; c < BRC_COUNT(capacities); c++)
    for (size_t k = 0; k < BRC_COUNT(slacks); k++)
      for (size_t e = 0; e < BRC_COUNT(periods); e++)
        for (int flags = 0; flags < 2; flags++) {
          if (testing_quick() && c == 4 && k == 3) continue;
          uint32_t tasks = 1 + (uint32_t)((c + k + e) % 3);
          run_against_plain(&(struct shape){tasks, 1 + (uint32_t)(e + k), 1 + (uint32_t)c, capacities[c],
                                            slacks[k], periods[e]},
                            flags);
        }
}

// An environment that restarts at resume ends an episode without a flag; a reset may lead to the state it left.
static void test_replay_unannounced_ends(void **state) {
  (void)state;
  brc_replay *r = NULL;
  check_ok(brc_replay_create(&r, 1, 1, 1, 4, 1));
  const float a = 0, one = 1;
  const float obs[] = {1, 2, 7, 8, 8, 5}, next[] = {2, 3, 8, 8, 4, 6};
  const uint8_t ended[] = {0, 0, 0, 1, 0, 0};
  for (int n = 0; n < 6; n++) check_ok(brc_replay_insert(r, &obs[n], &a, &one, &one, &next[n], &ended[n]));
  for (uint32_t n = 2; n < 6; n++) {
    float x, y;
    check_ok(brc_replay_get(r, 0, n % 4, &x, &y, NULL, NULL, NULL));
    assert_true(x == obs[n] && y == next[n]);
  }
  brc_replay_destroy(r);
}

// Bits count, not values: -0 and 0 are two observations, and NaN equals itself.
static void test_replay_bits(void **state) {
  (void)state;
  brc_replay *r = NULL;
  check_ok(brc_replay_create(&r, 1, 1, 1, 8, 1));
  const float a = 0, obs[] = {1, -0.0f, NAN}, next[] = {0.0f, NAN, -0.0f};
  for (int n = 0; n < 3; n++) check_ok(brc_replay_insert(r, &obs[n], &a, &a, &a, &next[n], NULL));
  for (uint32_t n = 0; n < 3; n++) {
    float x, y;
    check_ok(brc_replay_get(r, 0, n, &x, &y, NULL, NULL, NULL));
    assert_memory_equal(&x, &obs[n], 4);
    assert_memory_equal(&y, &next[n], 4);
  }
  brc_replay_destroy(r);
}

static void test_replay_gather(void **state) {
  (void)state;
  const struct shape s = {3, 13, 5, 40, 3, 4};
  brc_replay *r = replay_new(&s);
  struct plain p = plain_new(&s);
  replay_fill(r, &s, 101);
  plain_fill(&p, 101);
  brc_pool *pool = NULL;
  check_ok(brc_pool_create(&pool, 3));
  enum { B = 333, OP = 16, NP = 20, AP = 8, RP = 2, MP = 3, TP = 2 };
  uint32_t *pairs = calloc(2 * B, sizeof *pairs);
  check_ok(brc_replay_sample(r, B, 5, 6, 0, pairs));
  for (int threads = 0; threads < 2; threads++) {
    float *obs = calloc(B * OP, 4), *next = calloc(B * NP, 4), *action = calloc(B * AP, 4),
          *reward = calloc(B * RP, 4), *mask = calloc(B * MP, 4);
    int32_t *task = calloc(B * TP, 4);
    for (int i = 0; i < B * OP; i++) obs[i] = 77;
    brc_replay_batch out = {obs, next, action, reward, mask, task, OP, NP, AP, RP, MP, TP};
    check_ok(brc_replay_gather(r, threads ? pool : NULL, B, pairs, &out));
    for (size_t i = 0; i < B; i++) {
      size_t k = (size_t)pairs[2 * i] * s.capacity + pairs[2 * i + 1];
      assert_memory_equal(obs + i * OP, p.obs + k * s.obs, s.obs * 4);
      assert_memory_equal(next + i * NP, p.next_obs + k * s.obs, s.obs * 4);
      assert_memory_equal(action + i * AP, p.action + k * s.action, s.action * 4);
      assert_true(reward[i * RP] == p.reward[k] && mask[i * MP] == p.mask[k] &&
                  task[i * TP] == (int32_t)pairs[2 * i]);
      assert_true(reward[i * RP + 1] == 0 && mask[i * MP + 1] == 0 && task[i * TP + 1] == 0);
      for (size_t j = s.obs; j < OP; j++) assert_true(obs[i * OP + j] == 77);  // padding is not ours
    }
    // Dense pitches, and only a part.
    memset(action, 0, B * AP * 4);
    check_ok(brc_replay_gather(r, pool, B, pairs, &(brc_replay_batch){.action = action}));
    for (size_t i = 0; i < B; i++)
      assert_memory_equal(action + i * s.action,
                          p.action + ((size_t)pairs[2 * i] * s.capacity + pairs[2 * i + 1]) * s.action,
                          s.action * 4);
    free(obs), free(next), free(action), free(reward), free(mask), free(task);
  }
  check_ok(brc_replay_gather(r, NULL, 0, NULL, &(brc_replay_batch){0}));
  pairs[2 * 100] = 3;
  check_fails(BRC_E_VALUE, "batch entry 100 is row",
              brc_replay_gather(r, NULL, B, pairs, &(brc_replay_batch){0}));
  pairs[2 * 100] = 0;
  pairs[2 * 100 + 1] = 40;
  check_fails(BRC_E_VALUE, "row 40 of task 0", brc_replay_gather(r, NULL, B, pairs, &(brc_replay_batch){0}));
  free(pairs);
  plain_free(&p);
  brc_pool_destroy(pool);
  brc_replay_destroy(r);
}

// A table that is written slot by slot, and places in it, hold what gathering gives; with a ring that has wrapped and episodes' ends.
static void test_replay_table(void **state) {
  (void)state;
  const struct shape s = {3, 13, 5, 40, 3, 4};
  enum { B = 333, P = 20, T = 3, O = 13, A = 5 };
  brc_replay *r = replay_new(&s);
  const uint64_t slots = brc_replay_slots(r);
  float *table = calloc(slots * T * P, 4);
  for (int n = 0; n < 101; n++) {
    replay_fill(r, &s, n + 1);
    // The row that came, and behind it its successor.
    brc_replay_read_slot(r, (uint64_t)n, table + (uint64_t)n % slots * T * P, P);
    brc_replay_read_slot(r, (uint64_t)n + 1, table + ((uint64_t)n + 1) % slots * T * P, P);
  }
  uint32_t *pairs = calloc(2 * B, sizeof *pairs);
  check_ok(brc_replay_sample(r, B, 5, 6, 0, pairs));
  static float obs[B * O], next[B * O], action[B * A], reward[2][B], mask[2][B], extra[B * P];
  static int32_t task[2][B], index[2 * B];
  check_ok(brc_replay_gather(r, NULL, B, pairs,
                             &(brc_replay_batch){.obs = obs,
                                                 .next_obs = next,
                                                 .action = action,
                                                 .reward = reward[0],
                                                 .mask = mask[0],
                                                 .task = task[0]}));
  brc_replay_places places = {
      .index = index, .extra = extra, .extra_pitch = P, .reward = reward[1], .mask = mask[1], .task = task[1]};
  check_ok(brc_replay_locate(r, B, pairs, &places));
  assert_memory_equal(reward[0], reward[1], sizeof reward[0]);
  assert_memory_equal(mask[0], mask[1], sizeof mask[0]);
  assert_memory_equal(task[0], task[1], sizeof task[0]);
  uint32_t ends = 0;
  for (int i = 0; i < B; i++) {
    const float *row = table + index[2 * i] * P, *after = table + index[2 * i + 1] * P;
    if (index[2 * i + 1] < 0) {
      assert_int_equal(-1 - index[2 * i + 1], ends++);
      after = extra + (-1 - index[2 * i + 1]) * P;
    }
    assert_memory_equal(row, obs + i * O, O * 4);
    assert_memory_equal(row + O, action + i * A, A * 4);
    assert_memory_equal(after, next + i * O, O * 4);
  }
  assert_int_equal(ends, places.extra_rows);
  assert_true(ends > 10 && ends < B);
  pairs[0] = 3;
  check_fails(BRC_E_VALUE, "batch entry 0 is row", brc_replay_locate(r, B, pairs, &places));
  free(pairs);
  free(table);
  brc_replay_destroy(r);
}

static void test_replay_refuses(void **state) {
  (void)state;
  brc_replay *r = NULL;
  check_fails(BRC_E_VALUE, "at least 1", brc_replay_create(&r, 1, 0, 1, 1, 1));
  check_fails(BRC_E_VALUE, "at least 1", brc_replay_create(&r, 1, 1, 1, 1, 0));
  check_fails(BRC_E_VALUE, "lower --capacity", brc_replay_create(&r, 5000, 1, 1, 1000000, 1));
  check_fails(BRC_E_VALUE, "lower --capacity",
              brc_replay_create(&r, 4000, 1u << 28, 1u << 28, 1000000, 1000000));
#ifndef __SANITIZE_ADDRESS__
  check_fails(BRC_E_NOMEM, "100 tasks x 1000001 rows", brc_replay_create(&r, 100, 1u << 20, 6, 1000000, 1));
#endif
  assert_null(r);
  uint64_t memory, file;
  check_ok(brc_replay_bytes(10, 24, 6, 1000000, 10, &memory, &file));
  assert_int_equal(memory, 10 * UINT64_C(1000010) * 36 * 4);
  assert_int_equal(file, 4096 + 10 * UINT64_C(1000010) * 32 * 4);
  // A million rows cost nothing before they come.
  check_ok(brc_replay_create(&r, 10, 24, 6, 1000000, 10));
  check_fails(BRC_E_VALUE, "empty", brc_replay_sample(r, 1, 1, 1, 0, (uint32_t[2]){0}));
  brc_replay_destroy(r);
  brc_replay_destroy(NULL);
}

//------------------------ 3. Explicit rows --------------------------------------
static void test_replay_import(void **state) {
  (void)state;
  static const struct shape shapes[] = {
      {2, 3, 2, 1, 1, 3}, {1, 2, 1, 2, 1, 2}, {3, 4, 2, 64, 9, 5}, {2, 3, 1, 7, 20, 1}};
  for (size_t k = 0; k < BRC_COUNT(shapes); k++) {
    const struct shape *s = &shapes[k];
    for (uint64_t total = 0; total < 3 * s->capacity + 2; total += 1 + (uint64_t)s->capacity / 8) {
      brc_replay *from = replay_new(s), *to = replay_new(s);
      struct plain p = plain_new(s);
      replay_fill(from, s, total);
      plain_fill(&p, total);
      replay_fill(to, s, 5);  // replaced
      brc_replay_rows x = rows_new(s, brc_replay_size(from));
      brc_replay_export(from, &x);
      check_ok(brc_replay_import(to, &x, brc_replay_insert_index(from), brc_replay_size(from)));
      assert_equal(to, &p);
      // And it goes on as if it had always been there.
      struct row row = row_new(s);
      for (uint64_t n = total; n < total + 2 * s->capacity + s->slack; n++) {
        row_make(s, &row, n);
        plain_insert(&p, &row);
        check_ok(brc_replay_insert(to, row.obs, row.action, row.reward, row.mask, row.next_obs, row.ended));
        assert_equal(to, &p);
      }
      row_free(&row);
      rows_free(&x);
      plain_free(&p);
      brc_replay_destroy(from);
      brc_replay_destroy(to);
    }
  }
  brc_replay *r = replay_new(&shapes[2]);
  check_fails(BRC_E_VALUE, "insert index 3 and size 5", brc_replay_import(r, &(brc_replay_rows){0}, 3, 5));
  check_fails(BRC_E_VALUE, "size 65", brc_replay_import(r, &(brc_replay_rows){0}, 0, 65));
  check_fails(BRC_E_VALUE, "insert index 64", brc_replay_import(r, &(brc_replay_rows){0}, 64, 64));
  brc_replay_destroy(r);
}

//------------------------ 4. Sampling -------------------------------------------
static void test_sample_uniform(void **state) {
  (void)state;
  const struct shape s = {7, 1, 1, 100, 1, 0};
  enum { SIZE = 13, CELLS = 7 * SIZE, STEPS = 400, B = 1024 };
  brc_replay *r = replay_new(&s);
  replay_fill(r, &s, SIZE);
  static uint32_t pairs[2 * B];
  static double count[CELLS], follow[CELLS];
  uint32_t before = 0;
  memset(count, 0, sizeof count);
  memset(follow, 0, sizeof follow);
  for (uint64_t step = 0; step < STEPS; step++) {
    check_ok(brc_replay_sample(r, B, 1, step, 0, pairs));
    for (int i = 0; i < B; i++) {
      assert_true(pairs[2 * i] < 7 && pairs[2 * i + 1] < SIZE);
      uint32_t flat = pairs[2 * i] * SIZE + pairs[2 * i + 1];
      count[flat]++;
      follow[(flat + CELLS - before) % CELLS]++;  // from one draw to the next
      before = flat;
    }
  }
  double expected = (double)STEPS * B / CELLS, chi = 0, chi_follow = 0;
  for (int i = 0; i < CELLS; i++) {
    chi += (count[i] - expected) * (count[i] - expected) / expected;
    chi_follow += (follow[i] - expected) * (follow[i] - expected) / expected;
  }
  print_message("chi-square of %d cells: %.1f, of differences %.1f\n", CELLS, chi, chi_follow);
  // 90 degrees of freedom: mean 90, standard deviation 13.4; 51 to 146 leaves out 1e-3.
  assert_true(chi > 51 && chi < 146 && chi_follow > 51 && chi_follow < 146);
  brc_replay_destroy(r);
}

static void test_sample_reproducible(void **state) {
  (void)state;
  const struct shape s = {3, 1, 1, 100, 1, 0};
  brc_replay *r = replay_new(&s);
  replay_fill(r, &s, 57);
  enum { B = 101 };
  uint32_t all[2 * 3 * B], part[2 * 3 * B], other[2 * 3 * B];
  check_ok(brc_replay_sample(r, 3 * B, UINT64_C(0x123456789abcdef0), UINT64_C(0x500000007), 0, all));
  // The batches of a step are stretches of one sequence.
  for (uint32_t u = 0; u < 3; u++)
    check_ok(
        brc_replay_sample(r, B, UINT64_C(0x123456789abcdef0), UINT64_C(0x500000007), u * B, part + 2 * B * u));
  assert_memory_equal(all, part, sizeof all);
  // As documented, in wide arithmetic.
  for (uint32_t i = 0; i < 3 * B; i++) {
    brc_u4 x = brc_philox(i / 2, 7, 5, BRC_STREAM_BATCH, 0x9abcdef0, 0x12345678);
    uint64_t fraction = i % 2 ? (uint64_t)x.z << 32 | x.w : (uint64_t)x.x << 32 | x.y;
    __extension__ typedef unsigned __int128 wide;
    uint32_t flat = (uint32_t)(((wide)fraction * (3 * 57)) >> 64);
    assert_int_equal(all[2 * i], flat / 57);
    assert_int_equal(all[2 * i + 1], flat % 57);
  }
  uint32_t tail[2 * (3 * B - 5)];
  check_ok(brc_replay_sample(r, 3 * B - 5, UINT64_C(0x123456789abcdef0), UINT64_C(0x500000007), 5, tail));
  assert_memory_equal(all + 10, tail, sizeof tail);
  check_ok(brc_replay_sample(r, 3 * B, UINT64_C(0x123456789abcdef1), UINT64_C(0x500000007), 0, other));
  assert_memory_not_equal(all, other, sizeof all);
  check_ok(brc_replay_sample(r, 3 * B, UINT64_C(0x123456789abcdef0), UINT64_C(0x600000007), 0, other));
  assert_memory_not_equal(all, other, sizeof all);
  brc_replay_destroy(r);
}

//------------------------ 5. Checkpoints ----------------------------------------
static brc_status save_state(const brc_replay *r, const char *path) {
  brc_st_writer *w = NULL;
  brc_status st = brc_st_writer_new(&w);
  if (!st) st = brc_replay_state_add(r, w);
  if (!st) st = brc_st_write(w, path);
  brc_st_writer_free(w);
  return st;
}

static brc_status save(brc_replay *r, const char *rows, const char *path) {
  brc_status st = brc_replay_save_rows(r, rows);
  if (!st) st = save_state(r, path);
  if (!st) brc_replay_committed(r);
  return st;
}

static brc_status load(brc_replay *r, const char *rows, const char *path) {
  brc_st_file *f = NULL;
  brc_status st = brc_st_open(&f, path);
  if (!st) st = brc_replay_load(r, f, rows);
  if (f) brc_st_close(f);
  return st;
}

static void assert_same_file(const char *a, const char *b) {
  char *x, *y;
  size_t n, m;
  check_ok(brc_file_read(a, &x, &n));
  check_ok(brc_file_read(b, &y, &m));
  assert_int_equal(n, m);
  assert_memory_equal(x, y, n);
  free(x), free(y);
}

static void copy_file(const char *from, const char *to) {
  char *x;
  size_t n;
  check_ok(brc_file_read(from, &x, &n));
  check_ok(brc_file_write_all(to, x, n));
  free(x);
}

// Checkpoints every few rows. Between them a "crash" at every stage: rows inserted; rows also in the file, state not. What is
// loaded then is the last checkpoint, to the bit, and going on from it leads where the first run went.
static void run_crashes(const struct shape *s, uint64_t interval, uint64_t until) {
  char rows[512], old[512], copy[512];
  snprintf(rows, sizeof rows, "%s", check_path("rows"));
  snprintf(old, sizeof old, "%s", check_path("state"));
  snprintf(copy, sizeof copy, "%s", check_path("rows-copy"));
  unlink(rows);
  brc_replay *r = replay_new(s), *loaded = replay_new(s);
  check_ok(save(r, rows, old));
  check_ok(load(loaded, rows, old));
  assert_holds(loaded, s, 0);
  uint64_t complete = 0;
  while (complete < until) {
    uint64_t next = complete + interval;
    for (uint64_t total = complete; total <= next; total++) {
      assert_false(brc_replay_must_save(r) && total < next && interval <= s->slack);
      replay_fill(r, s, total);
      if (total == next || total % 3 == 0) check_ok(brc_replay_save_rows(r, rows));
      check_ok(load(loaded, rows, old));
      assert_holds(loaded, s, complete);
    }
    // The crashed run goes on in a copy of the file and reaches the same checkpoint.
    copy_file(rows, copy);
    check_ok(load(loaded, copy, old));
    replay_fill(loaded, s, next);
    check_ok(brc_replay_save_rows(loaded, copy));
    assert_same_file(rows, copy);
    check_ok(save_state(loaded, check_path("state-copy")));
    check_ok(save_state(r, old));
    brc_replay_committed(r);
    assert_same_file(old, check_path("state-copy"));
    complete = next;
  }
  brc_replay_destroy(r);
  brc_replay_destroy(loaded);
}

static void test_checkpoint_crashes(void **state) {
  (void)state;
  run_crashes(&(struct shape){2, 3, 2, 16, 5, 3}, 5, 90);
  run_crashes(&(struct shape){1, 2, 1, 16, 5, 0}, 3, 60);
  run_crashes(&(struct shape){2, 2, 1, 1, 1, 2}, 1, 9);
  run_crashes(&(struct shape){1, 2, 1, 2, 1, 1}, 1, 11);
  run_crashes(&(struct shape){1, 3, 2, 4, 30, 2}, 27, 200);  // more rows between checkpoints than the capacity
  run_crashes(&(struct shape){3, 5, 2, 64, 8, 1}, 8, testing_quick() ? 80 : 240);
}

// must_save comes on exactly when one more insert would make the file unsafe; then saving in place is refused.
static void test_checkpoint_promise(void **state) {
  (void)state;
  const struct shape s = {1, 2, 1, 8, 3, 4};
  char rows[512], path[512];
  snprintf(rows, sizeof rows, "%s", check_path("promise"));
  snprintf(path, sizeof path, "%s", check_path("promise-state"));
  brc_replay *r = replay_new(&s), *loaded = replay_new(&s);
  replay_fill(r, &s, 100);
  assert_false(brc_replay_must_save(r));  // no checkpoint, no promise
  check_ok(save(r, rows, path));
  for (uint64_t total = 100; total <= 103; total++) {
    replay_fill(r, &s, total);
    assert_int_equal(brc_replay_must_save(r), total == 103);
  }
  check_ok(brc_replay_save_rows(r, rows));
  assert_true(brc_replay_must_save(r));  // saved, not complete
  check_ok(load(loaded, rows, path));
  assert_holds(loaded, &s, 100);
  for (uint64_t total = 100; total <= 103; total++) {  // it is bound by the promise as well
    replay_fill(loaded, &s, total);
    assert_int_equal(brc_replay_must_save(loaded), total == 103);
  }
  replay_fill(r, &s, 104);
  check_fails(BRC_E_VALUE, "last complete checkpoint", brc_replay_save_rows(r, rows));
  check_fails(BRC_E_VALUE, "save it first", save_state(r, check_path("no")));
  check_ok(load(loaded, rows, path));
  assert_holds(loaded, &s, 100);
  // Elsewhere there is nothing to destroy.
  check_ok(save(r, check_path("promise2"), check_path("promise2-state")));
  check_ok(load(loaded, check_path("promise2"), check_path("promise2-state")));
  assert_holds(loaded, &s, 104);
  assert_false(brc_replay_must_save(r));
  // A rows file that somebody removed is written anew.
  assert_int_equal(unlink(check_path("promise2")), 0);
  replay_fill(r, &s, 105);
  check_ok(save(r, check_path("promise2"), check_path("promise2-state")));
  check_ok(load(loaded, check_path("promise2"), check_path("promise2-state")));
  assert_holds(loaded, &s, 105);
  brc_replay_destroy(r);
  brc_replay_destroy(loaded);

  // While the ring is not full nothing can be overwritten.
  r = replay_new(&s);
  replay_fill(r, &s, 2);
  check_ok(save(r, rows, path));
  for (uint64_t total = 2; total <= 11; total++) {
    replay_fill(r, &s, total);
    assert_int_equal(brc_replay_must_save(r), total == 11);
  }
  check_ok(brc_replay_save_rows(r, rows));
  brc_replay_destroy(r);
}

static void poke(const char *path, long at, unsigned char byte) {
  FILE *f = fopen(path, "r+b");
  assert_non_null(f);
  fseek(f, at, at < 0 ? SEEK_END : SEEK_SET);
  fputc(byte, f);
  fclose(f);
}

static void test_checkpoint_damaged(void **state) {
  (void)state;
  const struct shape s = {2, 3, 2, 8, 3, 4};
  char rows[512], path[512], bad[512];
  snprintf(rows, sizeof rows, "%s", check_path("good"));
  snprintf(path, sizeof path, "%s", check_path("good-state"));
  snprintf(bad, sizeof bad, "%s", check_path("bad"));
  brc_replay *r = replay_new(&s), *loaded = replay_new(&s);
  replay_fill(r, &s, 30);
  check_ok(save(r, rows, path));

  check_fails(BRC_E_IO, "/nowhere", load(loaded, check_path("nowhere"), path));
  check_fails(BRC_E_IO, check_folder(), load(loaded, check_folder(), path));
  struct stat info;
  assert_int_equal(stat(rows, &info), 0);
  assert_int_equal(info.st_size, 4096 + 11 * 2 * 7 * 4);
  static const long cuts[] = {0, 7, 100, 4095, 4096, 4097, 4096 + 11 * 2 * 7 * 4 - 1};
  for (size_t i = 0; i < BRC_COUNT(cuts); i++) {
    copy_file(rows, bad);
    assert_int_equal(truncate(bad, cuts[i]), 0);
    check_fails(BRC_E_FORMAT, bad, load(loaded, bad, path));
    assert_int_equal(brc_replay_size(loaded), 0);
  }
  copy_file(rows, bad);
  assert_int_equal(truncate(bad, info.st_size + 4), 0);
  check_fails(BRC_E_FORMAT, bad, load(loaded, bad, path));
  copy_file(rows, bad);
  poke(bad, 8, 9);
  check_fails(BRC_E_FORMAT, "version 9", load(loaded, bad, path));
  copy_file(rows, bad);
  poke(bad, 16, 9);
  check_fails(BRC_E_FORMAT, "observation 9", load(loaded, bad, path));
  copy_file(rows, bad);
  // Row 25 (slot 3) is valid: a changed byte in it is noticed.
  poke(bad, 4096 + 3 * 2 * 7 * 4 + 5, 0x55);
  check_fails(BRC_E_FORMAT, "checksum of task 0", load(loaded, bad, path));
  // A file of another run, same shape.
  struct shape other = s;
  other.period = 2;
  brc_replay *o = replay_new(&other);
  replay_fill(o, &other, 30);
  check_ok(save(o, bad, check_path("other-state")));
  check_fails(BRC_E_FORMAT, bad, load(loaded, bad, path));
  brc_replay_destroy(o);
  // Another shape of buffer.
  static const struct shape shapes[] = {
      {1, 3, 2, 8, 3, 4}, {2, 4, 2, 8, 3, 4}, {2, 3, 1, 8, 3, 4}, {2, 3, 2, 9, 3, 4}, {2, 3, 2, 8, 4, 4}};
  static const char *const names[] = {"tasks is 2, expected 1", "observation is 3, expected 4",
                                      "action is 2, expected 1", "capacity is 8", "slack is 3"};
  for (size_t i = 0; i < BRC_COUNT(shapes); i++) {
    o = replay_new(&shapes[i]);
    check_fails(BRC_E_FORMAT, names[i], load(o, rows, path));
    replay_fill(o, &shapes[i], 3);  // and it can be used
    assert_holds(o, &shapes[i], 3);
    brc_replay_destroy(o);
  }
  // Another program's file in the place of ours is not written over.
  check_ok(load(loaded, rows, path));
  check_ok(brc_file_write_all(rows, "hello", 5));
  replay_fill(loaded, &s, 31);
  check_fails(BRC_E_FORMAT, "not a file of replay rows", brc_replay_save_rows(loaded, rows));
  brc_replay_destroy(r);
  brc_replay_destroy(loaded);
}

// A state file whose side tables lie. The tensors' own form is the reader's business.
static void test_checkpoint_hostile_state(void **state) {
  (void)state;
  const struct shape s = {1, 2, 1, 8, 3, 1};
  char rows[512], path[512];
  snprintf(rows, sizeof rows, "%s", check_path("hostile"));
  snprintf(path, sizeof path, "%s", check_path("hostile-state"));
  brc_replay *r = replay_new(&s), *loaded = replay_new(&s);
  replay_fill(r, &s, 30);
  check_ok(save(r, rows, path));
  brc_st_file *f = NULL;
  check_ok(brc_st_open(&f, path));
  static const struct {
    const char *name;
    uint64_t at, value;
  } lies[] = {{"replay/final/0/n", 0, 21},     {"replay/final/0/n", 7, 30},
              {"replay/final/0/n", 3, 24},     {"replay/final/0/n", 2, UINT64_MAX},
              {"replay/total", 0, UINT64_MAX}, {"replay/total", 0, 29},
              {"replay/total", 0, 0},          {"replay/dims", 3, 0},
              {"replay/checksum", 0, 1}};
  for (size_t k = 0; k < BRC_COUNT(lies); k++) {
    brc_st_writer *w = NULL;
    check_ok(brc_st_writer_new(&w));
    for (size_t i = 0; i < brc_st_count(f); i++) {
      const brc_st_tensor *t = brc_st_at(f, i);
      size_t bytes = (size_t)t->count * brc_st_dtype_bytes(t->dtype);
      char *data = malloc(bytes);
      memcpy(data, t->data, bytes);
      if (strcmp(t->name, lies[k].name) == 0) memcpy(data + 8 * lies[k].at, &lies[k].value, 8);
      check_ok(brc_st_writer_copy(w, t->name, t->dtype, t->rank, t->shape, data));
      free(data);
    }
    check_ok(brc_st_write(w, check_path("lie")));
    brc_st_writer_free(w);
    check_fails(BRC_E_FORMAT, "", load(loaded, rows, check_path("lie")));
  }
  brc_st_close(f);
  check_ok(load(loaded, rows, path));
  assert_holds(loaded, &s, 30);
  brc_replay_destroy(r);
  brc_replay_destroy(loaded);
}

// Save where no file may be longer than this, as on a disk that runs full.
static brc_status save_rows_within(brc_replay *r, const char *path, rlim_t bytes) {
  struct rlimit was, limit;
  getrlimit(RLIMIT_FSIZE, &was);
  limit = was;
  limit.rlim_cur = bytes;
  void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
  setrlimit(RLIMIT_FSIZE, &limit);
  brc_status st = brc_replay_save_rows(r, path);
  setrlimit(RLIMIT_FSIZE, &was);
  signal(SIGXFSZ, handler);
  return st;
}

static void test_checkpoint_full_disk(void **state) {
  (void)state;
  const struct shape s = {1, 100, 20, 200, 50, 4};
  char rows[512], path[512], tmp[520];
  snprintf(rows, sizeof rows, "%s", check_path("fullrows"));
  snprintf(path, sizeof path, "%s", check_path("fullrows-state"));
  snprintf(tmp, sizeof tmp, "%s.tmp", rows);
  brc_replay *r = replay_new(&s), *loaded = replay_new(&s);
  replay_fill(r, &s, 20);
  check_fails(BRC_E_IO, rows, save_rows_within(r, rows, 4096 + 5 * 122 * 4));
  assert_false(brc_path_exists(rows));
  assert_false(brc_path_exists(tmp));
  check_ok(save(r, rows, path));
  replay_fill(r, &s, 60);
  // The file may not grow: some of the new rows arrive, then the write fails.
  check_fails(BRC_E_IO, rows, save_rows_within(r, rows, 4096 + 33 * 122 * 4 + 17));
  check_ok(load(loaded, rows, path));
  assert_holds(loaded, &s, 20);
  // With room again the same save works.
  check_ok(save(r, rows, path));
  check_ok(load(loaded, rows, path));
  assert_holds(loaded, &s, 60);
  brc_replay_destroy(r);
  brc_replay_destroy(loaded);
}

// A process that trains and saves is killed at any moment: its folder holds a checkpoint that loads to the bit.
static void test_checkpoint_killed(void **state) {
  (void)state;
  const struct shape s = {2, 50, 10, 64, 16, 5};
  char rows[512], path[512];
  snprintf(rows, sizeof rows, "%s", check_path("killrows"));
  snprintf(path, sizeof path, "%s", check_path("killrows-state"));
  brc_replay *r = replay_new(&s), *loaded = replay_new(&s);
  check_ok(save(r, rows, path));
  uint64_t total = 0, checkpoints = 0;
  // Where syncing is slow the lives grow longer, until checkpoints get done.
  int lives = testing_quick() ? 10 : 60;
  for (int life = 0; life < lives || (total <= s.capacity && life < 1000); life++) {
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
      if (load(r, rows, path)) _exit(1);
      struct row x = row_new(&s);
      for (;;) {
        row_make(&s, &x, brc_replay_total(r));
        if (brc_replay_insert(r, x.obs, x.action, x.reward, x.mask, x.next_obs, x.ended)) _exit(2);
        if (brc_replay_total(r) % 16 == 0 && save(r, rows, path)) _exit(3);
      }
    }
    uint32_t wait_us = word_of((uint64_t)life, 0, 5, 0) % 30000;
    if (life > lives) wait_us += (uint32_t)(life - lives) * 900;
    nanosleep(&(struct timespec){.tv_nsec = 1000000 + (long)wait_us * 1000}, NULL);
    kill(child, SIGKILL);
    int status;
    waitpid(child, &status, 0);
    assert_true(WIFSIGNALED(status));
    check_ok(load(loaded, rows, path));
    assert_true(brc_replay_total(loaded) >= total);
    checkpoints += brc_replay_total(loaded) != total;
    total = brc_replay_total(loaded);
    assert_holds(loaded, &s, total);
  }
  print_message("%" PRIu64 " rows, a newer checkpoint in %" PRIu64 " lives\n", total, checkpoints);
  assert_true(total > s.capacity);
  brc_replay_destroy(r);
  brc_replay_destroy(loaded);
}

//------------------------ 6. Normaliser -----------------------------------------
static brc_normalizer *normalizer_new(uint32_t tasks, double discount, bool paper) {
  brc_normalizer *n = NULL;
  check_ok(brc_normalizer_create(
      &n, &(brc_normalizer_config){.tasks = tasks, .discount = discount, .paper = paper}));
  return n;
}

static void assert_near(double got, double want, double relative) {
  if (got == want) return;
  if (!(fabs(got - want) <= relative * fabs(want))) fail_msg("%.17g, expected %.17g", got, want);
}

static void test_normalizer_episodes(void **state) {
  (void)state;
  brc_normalizer *n = normalizer_new(2, 0.5, false);
  double d[2];
  // Task 0: rewards 1, -8, 4, terminal: G = (-2, -6, 4). Task 1 goes on.
  check_ok(brc_normalizer_feed(n, (float[]){1, 3}, (uint8_t[]){0, 0}, (uint8_t[]){0, 0}, NULL));
  check_ok(brc_normalizer_feed(n, (float[]){-8, 3}, (uint8_t[]){0, 0}, (uint8_t[]){0, 0}, NULL));
  brc_normalizer_denominators(n, 0.1, -3, d);
  assert_true(d[0] == INFINITY && d[1] == INFINITY);
  float rewards[] = {5, -5};
  brc_normalizer_apply(2, (int32_t[]){0, 1}, d, rewards, 1);
  assert_true(rewards[0] == 0 && rewards[1] == 0);
  check_ok(brc_normalizer_feed(n, (float[]){4, 3}, (uint8_t[]){1, 0}, (uint8_t[]){0, 0}, NULL));
  assert_true(brc_normalizer_min(n)[0] == -6 && brc_normalizer_max(n)[0] == 4);
  assert_true(brc_normalizer_min(n)[1] == INFINITY && brc_normalizer_max(n)[1] == -INFINITY);
  brc_normalizer_denominators(n, 0.1, -3, d);
  assert_near(d[0], (6 + 0.1 * 3 / (2 * 0.5)) / 10, 1e-15);
  assert_true(d[1] == INFINITY);
  // Truncated: bootstrap mean / (1 - gamma) = 6, and the bootstrap itself does not count. Both flags: truncated.
  for (int both = 0; both < 2; both++) {
    check_ok(brc_normalizer_feed(n, (float[]){0, 3}, (uint8_t[]){0, (uint8_t)both}, (uint8_t[]){0, 1}, NULL));
    assert_true(brc_normalizer_min(n)[1] == 6 && brc_normalizer_max(n)[1] == 6);
  }
  size_t count;
  brc_normalizer_rewards(n, 1, &count);
  assert_int_equal(count, 0);
  brc_normalizer_rewards(n, 0, &count);
  assert_int_equal(count, 2);
  // An episode of one step, terminal.
  check_ok(brc_normalizer_feed(n, (float[]){0, 0.25f}, (uint8_t[]){0, 1}, (uint8_t[]){0, 0}, NULL));
  assert_true(brc_normalizer_min(n)[1] == 0.25f && brc_normalizer_max(n)[1] == 6);
  // Rewards that are all zero, without temperature: nothing to scale by.
  brc_normalizer_destroy(n);
  n = normalizer_new(1, 0.9, false);
  check_ok(brc_normalizer_feed(n, (float[]){0}, (uint8_t[]){1}, (uint8_t[]){0}, NULL));
  brc_normalizer_denominators(n, 0, -3, d);
  assert_true(d[0] == INFINITY);
  brc_normalizer_denominators(n, 0.1, -3, d);
  assert_near(d[0], 0.1 * 3 / (2 * 0.1) / 10, 1e-14);
  brc_normalizer_destroy(n);
  check_fails(BRC_E_VALUE, "discount 1",
              brc_normalizer_create(&n, &(brc_normalizer_config){.tasks = 1, .discount = 1}));
  check_fails(BRC_E_VALUE, "v_max -1",
              brc_normalizer_create(&n, &(brc_normalizer_config){.tasks = 1, .discount = 0.9, .v_max = -1}));
  check_fails(BRC_E_VALUE, "at least one",
              brc_normalizer_create(&n, &(brc_normalizer_config){.discount = 0.9}));
}

static void test_normalizer_paper(void **state) {
  (void)state;
  brc_normalizer *n = normalizer_new(3, 0.5, true);
  double d[3], value[] = {-20, 100, 7};
  const float rewards[] = {1, 1, 1};
  check_fails(BRC_E_VALUE, "critic's value",
              brc_normalizer_feed(n, rewards, (uint8_t[]){0, 0, 0}, (uint8_t[]){1, 0, 0}, NULL));
  check_ok(brc_normalizer_feed(n, rewards, (uint8_t[]){0, 1, 0}, (uint8_t[]){1, 0, 0}, value));
  assert_true(brc_normalizer_min(n)[0] == -9 && brc_normalizer_max(n)[0] == -9);  // 1 + 0.5 * -20
  assert_true(brc_normalizer_max(n)[1] == 1);                                     // terminal: no value
  brc_normalizer_denominators_paper(n, 0.1, (double[]){5, -2, 1}, d);
  assert_near(d[0], (9 + 0.1 * 5 / 0.5) / 10, 1e-15);
  assert_near(d[1], (1 - 0.1 * 2 / 0.5) / 10, 1e-15);
  assert_true(d[2] == INFINITY);
  brc_normalizer_denominators_paper(n, 0.1, (double[]){5, -20, 1}, d);
  assert_near(d[1], 0.1, 1e-15);  // the entropy would make it negative
  brc_normalizer_destroy(n);
}

static void test_normalizer_state(void **state) {
  (void)state;
  enum { T = 3 };
  brc_normalizer *a = normalizer_new(T, 0.97, false), *b = normalizer_new(T, 0.97, false);
  for (uint64_t i = 0; i < 3000; i++) {
    float r[T];
    uint8_t terminal[T], truncated[T];
    for (uint32_t t = 0; t < T; t++) {
      r[t] = value_of(i, t, 1, 0);
      terminal[t] = t == 2 ? 0 : word_of(i, t, 2, 0) % 50 == 0;
      truncated[t] = t == 2 ? 0 : word_of(i, t, 3, 0) % 70 == 0;
    }
    check_ok(brc_normalizer_feed(a, r, terminal, truncated, NULL));
    if (i < 1234) continue;
    if (i == 1234) {
      brc_st_writer *w = NULL;
      brc_st_file *f = NULL;
      check_ok(brc_st_writer_new(&w));
      check_ok(brc_normalizer_state_add(a, w, "x/"));
      check_ok(brc_st_write(w, check_path("normalizer")));
      brc_st_writer_free(w);
      check_ok(brc_st_open(&f, check_path("normalizer")));
      assert_non_null(brc_st_find(f, "x/normalizer/rewards/2"));
      assert_int_equal(brc_st_find(f, "x/normalizer/rewards/2")->count, 1235);
      check_ok(brc_normalizer_load(b, f, "x/"));
      brc_normalizer *small = normalizer_new(2, 0.97, false);
      check_fails(BRC_E_FORMAT, "x/normalizer/min", brc_normalizer_load(small, f, "x/"));
      check_fails(BRC_E_FORMAT, "'normalizer/min'", brc_normalizer_load(small, f, ""));
      brc_normalizer_destroy(small);
      brc_st_close(f);
    } else {
      check_ok(brc_normalizer_feed(b, r, terminal, truncated, NULL));
    }
    assert_memory_equal(brc_normalizer_min(a), brc_normalizer_min(b), T * 4);
    assert_memory_equal(brc_normalizer_max(a), brc_normalizer_max(b), T * 4);
  }
  size_t n, m;
  const float *x = brc_normalizer_rewards(a, 2, &n), *y = brc_normalizer_rewards(b, 2, &m);
  assert_int_equal(n, 3000);
  assert_int_equal(m, 3000);
  assert_memory_equal(x, y, n * 4);
  brc_normalizer_destroy(a);
  brc_normalizer_destroy(b);
}

//------------------------ 7. Golden data ----------------------------------------
// A path in the golden data; the test is skipped by name where that is missing.
static const char *golden(const char *name) {
  static char path[4096 + 256];
  snprintf(path, sizeof path, "%s/golden/%s", testing_shared() ? testing_shared() : "../shared", name);
  if (brc_path_exists(path)) return path;
  testing_skip("data: %s is not there", path);
  skip();
  return NULL;
}

static void test_golden_normalizer(void **state) {
  (void)state;
  const char *path = golden("normalizer.json");
  brc_verify_report report = {0};
  check_ok(brc_verify_normalizer(path, &report));
  assert_int_equal(report.count, 4);
  for (size_t i = 0; i < report.count; i++) {
    const brc_verify_row *row = &report.rows[i];
    print_message("%-18s %" PRIu64 " values, max abs %.3g, rel %.3g\n", row->name, row->count, row->max_abs,
                  row->max_rel);
    assert_true(row->ok && row->count >= 40 &&
                row->max_rel <= 2e-7);  // D and the quotient are rounded to float32 there
  }
  free(report.rows);
}

static void verify_text(const char *text, size_t bytes, brc_status *st, brc_verify_report *report) {
  const char *path = check_path("case.json");
  FILE *f = fopen(path, "wb");
  assert_non_null(f);
  assert_int_equal(fwrite(text, 1, bytes, f), bytes);
  fclose(f);
  *report = (brc_verify_report){0};
  *st = brc_verify_normalizer(path, report);
}

#define CASE(rest) "{\"cases\":[{\"num_tasks\":1,\"steps\":2,\"discount\":0.5,\"v_max\":10," rest "}]}"
#define DATA       "\"target_entropy\":-1,\"rewards\":[[1],[2]],\"terminal\":[[0],[1]],\"truncated\":[[0],[0]],"
#define CHECK(min)                                                  \
  "\"checks\":[{\"after_step\":1,\"alpha\":0,\"returns_min\":[" min \
  "],\"returns_max\":[2],\"denominator\":[0.2],"                    \
  "\"sample_task\":[0],\"sample_reward\":[1],\"sample_normalized\":[5]}]"

static void test_golden_hostile(void **state) {
  (void)state;
  brc_status st;
  brc_verify_report report;
  static const char good[] = CASE(DATA CHECK("2")), wrong[] = CASE(DATA CHECK("2.001")),
                    infinite[] = CASE(DATA CHECK("\"inf\""));
  verify_text(good, sizeof good - 1, &st, &report);
  check_ok(st);
  assert_true(report.count == 4 && report.rows[0].ok && report.rows[3].ok && report.rows[0].count == 1);
  free(report.rows);
  verify_text(wrong, sizeof wrong - 1, &st, &report);
  check_ok(st);
  assert_false(report.rows[0].ok);
  free(report.rows);
  verify_text(infinite, sizeof infinite - 1, &st, &report);
  check_ok(st);
  assert_true(!report.rows[0].ok && report.rows[0].max_abs == INFINITY);
  free(report.rows);
  // Every prefix, and every byte changed: a status, never a crash.
  for (size_t n = 0; n < sizeof good - 1; n++) {
    verify_text(good, n, &st, &report);
    assert_int_equal(st, BRC_E_FORMAT);
    assert_null(report.rows);
  }
  static const char bytes[] = "-9\"[]{}n,\0";
  for (size_t n = 0; n < sizeof good - 1; n += testing_quick() ? 7 : 1)
    for (size_t k = 0; k < sizeof bytes; k++) {
      char text[sizeof good];
      memcpy(text, good, sizeof good);
      text[n] = bytes[k];
      verify_text(text, sizeof good - 1, &st, &report);
      assert_true(st == BRC_OK || st == BRC_E_FORMAT);
      free(report.rows);
    }
  static const char *const texts[] = {"[]",
                                      "1",
                                      "{}",
                                      "{\"cases\":1}",
                                      "{\"cases\":[]}",
                                      "{\"cases\":[1,null,[]]}",
                                      CASE(DATA "\"checks\":[]"),
                                      CASE(DATA "\"checks\":[3]"),
                                      "{\"cases\":[{\"num_tasks\":1e9,\"steps\":2}]}",
                                      "{\"cases\":[{\"num_tasks\":1,\"steps\":1e308}]}"};
  for (size_t i = 0; i < BRC_COUNT(texts); i++) {
    verify_text(texts[i], strlen(texts[i]), &st, &report);
    assert_int_equal(st, BRC_E_FORMAT);
  }
  assert_int_equal(brc_verify_normalizer(check_path("absent.json"), &report), BRC_E_NOT_FOUND);
}

// The data side of a recorded loop: rows and rewards of every step go in, what the published program held at the end must come out.
static const float *tensor(const brc_st_file *f, uint64_t count, const char *fmt, int a, int b) {
  char name[128];
  snprintf(name, sizeof name, fmt, a, b);
  const brc_st_tensor *t = NULL;
  check_ok(brc_st_need(f, BRC_ST_F32, count, &t, "%s", name));
  return t->data;
}

static int32_t integer(const brc_st_file *f, const char *fmt, int step, uint64_t i) {
  char name[128];
  snprintf(name, sizeof name, fmt, step);
  const brc_st_tensor *t = brc_st_find(f, "%s", name);
  assert_non_null(t);
  return (int32_t)brc_st_get(t, i);
}

static long meta(const brc_st_file *f, const char *key) {
  long x = 0;
  check_ok(brc_st_meta_int(f, key, 0, 1 << 30, &x));
  return x;
}

static void load_tape(const brc_st_file *f, brc_replay *r, brc_normalizer *n, uint64_t T, uint64_t O,
                      uint64_t A) {
  uint32_t size = (uint32_t)integer(f, "init/replay/size", 0, 0),
           index = (uint32_t)integer(f, "init/replay/insert_index", 0, 0);
  brc_replay_rows rows = {0};
  if (size) {
    // The library only reads these.
    rows.obs = (float *)(uintptr_t)tensor(f, T * size * O, "init/replay/obs", 0, 0);
    rows.next_obs = (float *)(uintptr_t)tensor(f, T * size * O, "init/replay/next_obs", 0, 0);
    rows.action = (float *)(uintptr_t)tensor(f, T * size * A, "init/replay/action", 0, 0);
    rows.reward = (float *)(uintptr_t)tensor(f, T * size, "init/replay/reward", 0, 0);
    rows.mask = (float *)(uintptr_t)tensor(f, T * size, "init/replay/mask", 0, 0);
  }
  check_ok(brc_replay_import(r, &rows, index, size));
  check_ok(brc_normalizer_load(n, f, "init/"));
}

// Relative errors of minimum and maximum, the largest over the tasks; infinities must agree.
static double range_error(const brc_st_file *f, const brc_normalizer *n, uint64_t T, const char *prefix) {
  const brc_st_tensor *min = brc_st_find(f, "%s/normalizer/min", prefix),
                      *max = brc_st_find(f, "%s/normalizer/max", prefix);
  if (!min || !max) return 0;
  double worst = 0;
  for (uint64_t t = 0; t < T; t++)
    for (int k = 0; k < 2; k++) {
      double got = (double)(k ? brc_normalizer_max(n) : brc_normalizer_min(n))[t],
             want = brc_st_get(k ? max : min, t);
      if (got != want) worst = fmax(worst, fabs(got - want) / fmax(1, fabs(want)));
    }
  return worst;
}

static void replay_tape(const char *path) {
  brc_st_file *f = NULL;
  check_ok(brc_st_open(&f, path));
  const uint32_t T = (uint32_t)meta(f, "num_tasks"), O = (uint32_t)meta(f, "obs_dim"),
                 A = (uint32_t)meta(f, "action_dim");
  const int steps = (int)meta(f, "steps"), first = (int)meta(f, "first_step"),
            start = (int)meta(f, "start_training");
  double discount, worst = 0, worst_d = 0, d[64];
  check_ok(brc_st_meta_real(f, "discount", &discount));
  const struct shape s = {T, O, A, (uint32_t)meta(f, "capacity"), 3, 0};
  brc_replay *r = replay_new(&s);
  brc_normalizer *n = normalizer_new(T, discount, false);
  load_tape(f, r, n, T, O, A);
  struct row x = row_new(&s);
  memcpy(x.obs, tensor(f, T * O, "init/obs", 0, 0), T * O * 4);
  uint64_t checks = 0;
  for (int k = 0; k < steps; k++) {
    uint8_t terminal[64], truncated[64];
    memcpy(x.next_obs, tensor(f, T * O, "step%d/next_obs", k, 0), T * O * 4);
    memcpy(x.reward, tensor(f, T, "step%d/reward", k, 0), T * 4);
    memcpy(x.action, tensor(f, T * A, "expect/step%d/action", k, 0), T * A * 4);
    for (uint32_t t = 0; t < T; t++) {
      terminal[t] = integer(f, "step%d/terminal", k, t) != 0;
      truncated[t] = integer(f, "step%d/truncated", k, t) != 0;
      x.ended[t] = terminal[t] || truncated[t];
      x.mask[t] = terminal[t] && !truncated[t] ? 0 : 1;
    }
    check_ok(brc_normalizer_feed(n, x.reward, terminal, truncated, NULL));
    char prefix[64];
    snprintf(prefix, sizeof prefix, "expect64/step%d", k);
    worst = fmax(worst, range_error(f, n, T, prefix));
    check_ok(brc_replay_insert(r, x.obs, x.action, x.reward, x.mask, x.next_obs, x.ended));
    memcpy(x.obs, x.next_obs, T * O * 4);
    for (uint32_t t = 0; t < T; t++)
      if (x.ended[t]) memcpy(x.obs + t * O, tensor(f, O, "step%d/reset_obs/%d", k, (int)t), O * 4);
    if (first + k < start) continue;
    double alpha = brc_st_get(brc_st_find(f, "expect64/step%d/alpha_before", k), 0), entropy;
    check_ok(brc_st_meta_real(f, "target_entropy", &entropy));
    brc_normalizer_denominators(n, alpha, entropy, d);
    const brc_st_tensor *want = brc_st_find(f, "expect64/step%d/denominator", k);
    assert_non_null(want);
    for (uint32_t t = 0; t < T; t++, checks++)
      if (d[t] != brc_st_get(want, t))
        worst_d = fmax(worst_d, fabs(d[t] - brc_st_get(want, t)) / brc_st_get(want, t));
  }
  print_message("%s: range %.2g, denominator %.2g (%" PRIu64 " values)\n", brc_st_meta(f, "case"), worst,
                worst_d, checks);
  assert_true(checks > 0 && worst <= 1e-7 && worst_d <= 1e-7 && range_error(f, n, T, "expect64/final") <= 1e-7);

  // The end, to the bit.
  uint32_t size = brc_replay_size(r);
  assert_int_equal(integer(f, "expect/final/replay/size", 0, 0), size);
  assert_int_equal(integer(f, "expect/final/replay/insert_index", 0, 0), brc_replay_insert_index(r));
  brc_replay_rows rows = rows_new(&s, size);
  brc_replay_export(r, &rows);
  const size_t all = (size_t)T * size;
  assert_memory_equal(rows.obs, tensor(f, all * O, "expect/final/replay/obs", 0, 0), all * O * 4);
  assert_memory_equal(rows.next_obs, tensor(f, all * O, "expect/final/replay/next_obs", 0, 0), all * O * 4);
  assert_memory_equal(rows.action, tensor(f, all * A, "expect/final/replay/action", 0, 0), all * A * 4);
  assert_memory_equal(rows.reward, tensor(f, all, "expect/final/replay/reward", 0, 0), all * 4);
  assert_memory_equal(rows.mask, tensor(f, all, "expect/final/replay/mask", 0, 0), all * 4);
  assert_memory_equal(x.obs, tensor(f, T * O, "expect/final/obs", 0, 0), T * O * 4);
  for (uint32_t t = 0; t < T; t++) {
    size_t count;
    const float *unfinished = brc_normalizer_rewards(n, t, &count);
    if (brc_st_find(f, "expect/final/normalizer/rewards/%u", t))
      assert_memory_equal(unfinished, tensor(f, count, "expect/final/normalizer/rewards/%d", (int)t, 0),
                          count * 4);
    else
      assert_int_equal(count, 0);
  }
  rows_free(&rows);
  row_free(&x);
  brc_normalizer_destroy(n);
  brc_replay_destroy(r);
  brc_st_close(f);
}

static void test_golden_tapes(void **state) {
  (void)state;
  static const char *const names[] = {"a_start", "b_single", "c_four_tasks", "d_boundary"};
  for (size_t i = 0; i < BRC_COUNT(names); i++) {
    char name[64];
    snprintf(name, sizeof name, "tapes/%s.safetensors", names[i]);
    replay_tape(golden(name));
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_replay_against_plain),
      cmocka_unit_test(test_replay_unannounced_ends),
      cmocka_unit_test(test_replay_bits),
      cmocka_unit_test(test_replay_gather),
      cmocka_unit_test(test_replay_table),
      cmocka_unit_test(test_replay_refuses),
      cmocka_unit_test(test_replay_import),
      cmocka_unit_test(test_sample_uniform),
      cmocka_unit_test(test_sample_reproducible),
      cmocka_unit_test(test_checkpoint_crashes),
      cmocka_unit_test(test_checkpoint_promise),
      cmocka_unit_test(test_checkpoint_damaged),
      cmocka_unit_test(test_checkpoint_hostile_state),
      cmocka_unit_test(test_checkpoint_full_disk),
      cmocka_unit_test(test_checkpoint_killed),
      cmocka_unit_test(test_normalizer_episodes),
      cmocka_unit_test(test_normalizer_paper),
      cmocka_unit_test(test_normalizer_state),
      cmocka_unit_test(test_golden_normalizer),
      cmocka_unit_test(test_golden_hostile),
      cmocka_unit_test(test_golden_tapes),
  };
  return testing_finish(cmocka_run_group_tests_name("data", tests, NULL, NULL));
}
