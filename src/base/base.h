// OpenBRC base: status codes and the sentence behind the last failure, memory, text.
// Knows nothing of learning; everything else stands on it.
#ifndef BRC_BASE_H
#define BRC_BASE_H
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

//------------------------ 1. Status -------------------------------------------
#define BRC_STATUS_MAP(X)                \
  X(OK, "ok")                            \
  X(E_USAGE, "wrong usage")              \
  X(E_NOMEM, "out of memory")            \
  X(E_IO, "file error")                  \
  X(E_FORMAT, "malformed file")          \
  X(E_SHAPE, "shape mismatch")           \
  X(E_NOT_FOUND, "not found")            \
  X(E_UNSUPPORTED, "not supported here") \
  X(E_DEVICE, "device error")            \
  X(E_VALUE, "bad value")                \
  X(E_TOLERANCE, "tolerance exceeded")   \
  X(E_STOPPED, "stopped on request")
#define X(name, text) BRC_##name,
typedef enum brc_status { BRC_STATUS_MAP(X) BRC_STATUS_COUNT } brc_status;
#undef X

#if defined(__GNUC__)
#define BRC_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define BRC_PRINTF(fmt, args)
#endif

// Store the sentence that a user can act on (what, which file or option, expected, got, what to do)
// and return `code`. The sentence is kept per thread until the next failure on that thread.
brc_status brc_fail(brc_status code, const char *fmt, ...) BRC_PRINTF(2, 3);
// Put words in front of the stored sentence ("file x.safetensors: ..."); returns `code`.
brc_status brc_fail_prefix(brc_status code, const char *fmt, ...) BRC_PRINTF(2, 3);
const char *brc_error(void);                   // the last sentence of this thread; never NULL
const char *brc_status_text(brc_status code);  // the code in words

//------------------------ 2. Memory -------------------------------------------
// Bump allocator for one lifetime; everything in it is freed at once. Zero-initialise the struct.
typedef struct brc_arena {
  struct brc_arena_block *head;
} brc_arena;
void *brc_arena_alloc(brc_arena *a, size_t bytes);  // zeroed, 16-byte aligned; NULL when out of memory
char *brc_arena_printf(brc_arena *a, const char *fmt, ...) BRC_PRINTF(2, 3);
void brc_arena_free(brc_arena *a);

// `bytes` zeroed bytes aligned to 64, or NULL with brc_fail(E_NOMEM) naming `what`. Free with free().
void *brc_alloc_aligned(size_t bytes, const char *what);

#define BRC_COUNT(array)    (sizeof(array) / sizeof *(array))
#define BRC_ROUND_UP(x, to) (((x) + (to)-1) / (to) * (to))

//------------------------ 3. Text, time ---------------------------------------
double brc_now_s(void);  // monotonic clock
// The `n` names in `names` nearest to `word` by edit distance, as "'a', 'b' or 'c'" in `out`; empty if none is near.
void brc_nearest(const char *word, const char *const *names, size_t count, size_t n, char *out,
                 size_t out_bytes);
#endif
