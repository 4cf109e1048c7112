// Status texts and the last failure's sentence, the arena, nearest names, the clock.
#include "base/base.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

//------------------------ 1. Status -------------------------------------------
static _Thread_local char last_error[4096];

static void store_error(const char *text) {
  size_t n = strlen(text);
  if (n >= sizeof last_error) n = sizeof last_error - 1;
  memcpy(last_error, text, n);
  last_error[n] = '\0';
}

// The sentence is made apart from its store, as the arguments may be the last sentence itself.
brc_status brc_fail(brc_status code, const char *fmt, ...) {
  char text[sizeof last_error];
  va_list args;
  va_start(args, fmt);
  vsnprintf(text, sizeof text, fmt, args);
  va_end(args);
  store_error(text);
  return code;
}

brc_status brc_fail_prefix(brc_status code, const char *fmt, ...) {
  char text[sizeof last_error];
  va_list args;
  va_start(args, fmt);
  int n = vsnprintf(text, sizeof text, fmt, args);
  va_end(args);
  size_t used = n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
  snprintf(text + used, sizeof text - used, "%s", last_error);
  store_error(text);
  return code;
}

const char *brc_error(void) { return last_error; }

const char *brc_status_text(brc_status code) {
#define X(name, text) [BRC_##name] = text,
  static const char *const texts[BRC_STATUS_COUNT] = {BRC_STATUS_MAP(X)};
#undef X
  return (unsigned)code < BRC_STATUS_COUNT ? texts[code] : "unknown status";
}

//------------------------ 2. Memory -------------------------------------------
struct brc_arena_block {
  struct brc_arena_block *next;
  size_t used, capacity;  // of the bytes behind this header
  size_t pad;             // keeps what follows 16-byte aligned
};

#define ARENA_BLOCK_BYTES ((size_t)64 << 10)

void *brc_arena_alloc(brc_arena *a, size_t bytes) {
  if (bytes > SIZE_MAX / 2) return NULL;
  bytes = BRC_ROUND_UP(bytes ? bytes : 1, 16);
  struct brc_arena_block *b = a->head;
  if (!b || b->capacity - b->used < bytes) {
    size_t capacity = bytes > ARENA_BLOCK_BYTES ? bytes : ARENA_BLOCK_BYTES;
    b = calloc(1, sizeof *b + capacity);
    if (!b) return NULL;
    b->capacity = capacity;
    b->next = a->head;
    a->head = b;
    // A block made for one large request must not hide the room left in the one before it.
    if (capacity > ARENA_BLOCK_BYTES && b->next) {
      a->head = b->next;
      b->next = a->head->next;
      a->head->next = b;
    }
  }
  char *p = (char *)(b + 1) + b->used;
  b->used += bytes;
  return p;
}

char *brc_arena_printf(brc_arena *a, const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  int n = vsnprintf(NULL, 0, fmt, args);
  va_end(args);
  char *text = n < 0 ? NULL : brc_arena_alloc(a, (size_t)n + 1);
  if (!text) return NULL;
  va_start(args, fmt);
  vsnprintf(text, (size_t)n + 1, fmt, args);
  va_end(args);
  return text;
}

void brc_arena_free(brc_arena *a) {
  for (struct brc_arena_block *b = a->head, *next; b; b = next) {
    next = b->next;
    free(b);
  }
  a->head = NULL;
}

void *brc_alloc_aligned(size_t bytes, const char *what) {
  size_t room = bytes ? bytes : 1;
  void *p = room > SIZE_MAX - 64 ? NULL : aligned_alloc(64, BRC_ROUND_UP(room, 64));
  if (!p) {
    brc_fail(BRC_E_NOMEM, "no memory for %s (%zu bytes)", what, bytes);
    return NULL;
  }
  memset(p, 0, BRC_ROUND_UP(room, 64));
  return p;
}

//------------------------ 3. Text, time ---------------------------------------
double brc_now_s(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#define WORD_MAX 96

static int fold(char c) { return tolower((unsigned char)c); }

// Edits (insert, delete, replace, swap two neighbours) between two words, case aside; words are cut at WORD_MAX.
static int edit_distance(const char *a, const char *b) {
  int n = (int)strnlen(a, WORD_MAX), m = (int)strnlen(b, WORD_MAX);
  int rows[3][WORD_MAX + 1];
  for (int j = 0; j <= m; j++) rows[0][j] = j;
  for (int i = 1; i <= n; i++) {
    int *row = rows[i % 3], *above = rows[(i + 2) % 3], *above2 = rows[(i + 1) % 3];
    row[0] = i;
    for (int j = 1; j <= m; j++) {
      int d = above[j - 1] + (fold(a[i - 1]) != fold(b[j - 1]));
      if (above[j] + 1 < d) d = above[j] + 1;
      if (row[j - 1] + 1 < d) d = row[j - 1] + 1;
      bool swapped = i > 1 && j > 1 && fold(a[i - 1]) == fold(b[j - 2]) && fold(a[i - 2]) == fold(b[j - 1]);
      if (swapped && above2[j - 2] + 1 < d) d = above2[j - 2] + 1;
      row[j] = d;
    }
  }
  return rows[n % 3][m];
}

// A name is near when a third of the word's letters lead to it, or when it contains the word.
static bool is_near(const char *word, const char *name, int *distance) {
  size_t length = strlen(word);
  *distance = edit_distance(word, name);
  if (length >= 3 && strstr(name, word)) return true;
  return *distance <= 1 + (int)(length / 3) && *distance < (int)length;
}

void brc_nearest(const char *word, const char *const *names, size_t count, size_t n, char *out,
                 size_t out_bytes) {
  enum { MOST = 8 };
  const char *best[MOST];
  int best_distance[MOST];
  size_t found = 0;
  if (n > MOST) n = MOST;
  if (!out_bytes) return;
  out[0] = '\0';

  // Insertion into a short sorted list; equal distances keep the order of `names`.
  for (size_t i = 0; i < count; i++) {
    int d;
    if (!is_near(word, names[i], &d)) continue;
    size_t at = found;
    while (at > 0 && best_distance[at - 1] > d) at--;
    if (at >= n) continue;
    if (found < n) found++;
    for (size_t k = found - 1; k > at; k--) best[k] = best[k - 1], best_distance[k] = best_distance[k - 1];
    best[at] = names[i];
    best_distance[at] = d;
  }

  size_t used = 0;
  for (size_t i = 0; i < found; i++) {
    const char *link = i == 0 ? "" : i + 1 == found ? " or " : ", ";
    int wrote = snprintf(out + used, out_bytes - used, "%s'%s'", link, best[i]);
    if (wrote < 0 || (size_t)wrote >= out_bytes - used) {
      out[used] = '\0';  // no room for another whole name
      return;
    }
    used += (size_t)wrote;
  }
}
