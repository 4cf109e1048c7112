// safetensors, read and written. The reader maps the file, checks the whole header before anything points into it, and
// never touches tensor data itself.
#include "base/safetensors.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cache.h"
#include "base/file.h"

#define HEADER_MOST  ((uint64_t)100 * 1000 * 1000)  // bytes, as in the format's reference implementation
#define INTEGER_MOST 9007199254740992.0             // 2^53: above, the JSON reader's doubles are not exact
#define RANK_MOST    8
#define NAME_BYTES   512
#define METADATA     "__metadata__"

//                   enum  name   bytes  C type
#define ST_DTYPES(X)         \
  X(F32, "F32", 4, float)    \
  X(F64, "F64", 8, double)   \
  X(I32, "I32", 4, int32_t)  \
  X(U8, "U8", 1, uint8_t)    \
  X(I64, "I64", 8, int64_t)  \
  X(U32, "U32", 4, uint32_t) \
  X(U64, "U64", 8, uint64_t)

static const struct {
  const char *name;
  size_t bytes;
} dtypes[] = {
#define X(id, text, size, type) [BRC_ST_##id] = {text, size},
    ST_DTYPES(X)
#undef X
};

size_t brc_st_dtype_bytes(brc_st_dtype t) { return (unsigned)t < BRC_COUNT(dtypes) ? dtypes[t].bytes : 0; }

double brc_st_get(const brc_st_tensor *t, uint64_t i) {
  const char *p = t->data;
  switch (t->dtype) {
#define X(id, text, size, type)             \
  case BRC_ST_##id: {                       \
    type value;                             \
    memcpy(&value, p + i * (size), (size)); \
    return (double)value;                   \
  }
    ST_DTYPES(X)
#undef X
  }
  return NAN;
}

// Elements of a shape and its bytes; false when either does not fit 64 bits.
static bool shape_bytes(brc_st_dtype dtype, int rank, const uint64_t *shape, uint64_t *count, uint64_t *bytes) {
  *count = 1;
  for (int k = 0; k < rank; k++)
    if (__builtin_mul_overflow(*count, shape[k], count)) return false;
  return !__builtin_mul_overflow(*count, (uint64_t)brc_st_dtype_bytes(dtype), bytes);
}

//------------------------ 1. Reader -------------------------------------------
struct brc_st_file {
  char *path;
  void *image;  // the mapped file
  size_t bytes;
  const char *data;  // behind the header
  uint64_t data_bytes;
  cJSON *header;           // owns names and metadata
  brc_st_tensor *tensors;  // sorted by name
  size_t count;
  const cJSON **meta;  // strings, sorted by key
  size_t meta_count;
};

static brc_status BRC_PRINTF(2, 3) malformed(const brc_st_file *f, const char *fmt, ...) {
  char text[1024];
  va_list args;
  va_start(args, fmt);
  vsnprintf(text, sizeof text, fmt, args);
  va_end(args);
  return brc_fail(BRC_E_FORMAT, "'%s' is not a valid safetensors file: %s", f->path, text);
}

static brc_status map_file(brc_st_file *f) {
  int fd = open(f->path, O_RDONLY | O_CLOEXEC);
  if (fd < 0)
    return brc_fail(errno == ENOENT ? BRC_E_NOT_FOUND : BRC_E_IO, "cannot open '%s': %s", f->path,
                    strerror(errno));
  brc_status st = BRC_OK;
  struct stat info;
  if (fstat(fd, &info) != 0) {
    st = brc_fail(BRC_E_IO, "cannot read '%s': %s", f->path, strerror(errno));
  } else if (!S_ISREG(info.st_mode)) {
    st = brc_fail(BRC_E_IO, "cannot read '%s': %s", f->path,
                  S_ISDIR(info.st_mode) ? strerror(EISDIR) : "not a regular file");
  } else if ((uint64_t)info.st_size > SIZE_MAX / 2) {
    st = malformed(f, "it has %" PRIu64 " bytes, more than this machine can address", (uint64_t)info.st_size);
  } else if (info.st_size < 8) {
    st = malformed(f, "it has %d bytes; the header's length alone takes 8", (int)info.st_size);
  } else {
    f->bytes = (size_t)info.st_size;
    f->image = mmap(NULL, f->bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    if (f->image == MAP_FAILED) {
      f->image = NULL;
      st = brc_fail(BRC_E_IO, "cannot map '%s': %s", f->path, strerror(errno));
    }
  }
  close(fd);
  return st;
}

static brc_status parse_header(brc_st_file *f) {
  const unsigned char *raw = f->image;
  uint64_t length = 0;
  for (int k = 0; k < 8; k++) length |= (uint64_t)raw[k] << (8 * k);
  if (length > f->bytes - 8)
    return malformed(f, "its header claims %" PRIu64 " bytes, but %zu follow: cut short, or another format",
                     length, f->bytes - 8);
  if (length > HEADER_MOST)
    return malformed(f, "its header of %" PRIu64 " bytes is longer than the format allows", length);

  const char *text = (const char *)raw + 8, *end = NULL, *stop = text + length;
  if (length == 0 || text[0] != '{') return malformed(f, "its header does not start with '{'");
  if (memchr(text, 0, length)) return malformed(f, "its header holds a zero byte");
  f->header = cJSON_ParseWithLengthOpts(text, length, &end, 0);
  if (!f->header) {
    long at = end && end >= text && end <= stop ? (long)(end - text) : 0;
    return malformed(f, "its header is not JSON at byte %ld", at);
  }
  while (end < stop && strchr(" \t\r\n", *end)) end++;
  if (end != stop) return malformed(f, "something follows its header's JSON at byte %ld", (long)(end - text));
  if (!cJSON_IsObject(f->header)) return malformed(f, "its header is not a JSON object");
  f->data = stop;
  f->data_bytes = f->bytes - 8 - length;
  return BRC_OK;
}

// A JSON number that is a whole one in [0, 2^53].
static bool whole_number(const cJSON *item, uint64_t *out) {
  if (!cJSON_IsNumber(item)) return false;
  double x = item->valuedouble;
  if (!(x >= 0 && x <= INTEGER_MOST) || x != floor(x)) return false;
  *out = (uint64_t)x;
  return true;
}

static brc_status parse_dtype(const brc_st_file *f, const cJSON *item, brc_st_tensor *t) {
  const char *name = cJSON_IsString(item) ? item->valuestring : NULL;
  for (size_t k = 0; name && k < BRC_COUNT(dtypes); k++) {
    if (strcmp(name, dtypes[k].name) != 0) continue;
    t->dtype = (brc_st_dtype)k;
    return BRC_OK;
  }
  if (!name) return malformed(f, "tensor '%.200s': dtype is not a string", t->name);
  return malformed(f, "tensor '%.200s': dtype '%.40s' is none of F32, F64, I32, I64, U8, U32, U64", t->name,
                   name);
}

static brc_status parse_shape(const brc_st_file *f, const cJSON *item, brc_st_tensor *t) {
  if (!cJSON_IsArray(item)) return malformed(f, "tensor '%.200s': shape is not a list", t->name);
  const cJSON *size;
  cJSON_ArrayForEach(size, item) {
    if (t->rank == RANK_MOST)
      return malformed(f, "tensor '%.200s': shape has more than %d dimensions", t->name, RANK_MOST);
    if (!whole_number(size, &t->shape[t->rank]))
      return malformed(f, "tensor '%.200s': dimension %d of its shape is not a whole number in 0 to 2^53",
                       t->name, t->rank);
    t->rank++;
  }
  return BRC_OK;
}

static brc_status parse_offsets(const brc_st_file *f, const cJSON *item, brc_st_tensor *t, uint64_t *begin,
                                uint64_t *end) {
  const cJSON *first = cJSON_IsArray(item) ? item->child : NULL, *second = first ? first->next : NULL;
  if (!second || second->next || !whole_number(first, begin) || !whole_number(second, end))
    return malformed(f, "tensor '%.200s': data_offsets is not a list of two whole numbers", t->name);
  if (*begin > *end || *end > f->data_bytes)
    return malformed(f,
                     "tensor '%.200s': data_offsets %" PRIu64 " to %" PRIu64 " are outside the %" PRIu64
                     " bytes of data: cut short?",
                     t->name, *begin, *end, f->data_bytes);
  return BRC_OK;
}

static brc_status parse_tensor(const brc_st_file *f, const cJSON *entry, brc_st_tensor *t) {
  static const char *const fields[3] = {"dtype", "shape", "data_offsets"};
  const cJSON *found[3] = {NULL, NULL, NULL}, *item;
  t->name = entry->string;
  if (!cJSON_IsObject(entry)) return malformed(f, "tensor '%.200s' is not described by a JSON object", t->name);
  cJSON_ArrayForEach(item, entry) {
    size_t k = 0;
    while (k < 3 && strcmp(item->string, fields[k]) != 0) k++;
    if (k == 3) return malformed(f, "tensor '%.200s': unknown field '%.40s'", t->name, item->string);
    if (found[k]) return malformed(f, "tensor '%.200s': field '%s' is given twice", t->name, fields[k]);
    found[k] = item;
  }
  for (size_t k = 0; k < 3; k++)
    if (!found[k]) return malformed(f, "tensor '%.200s': field '%s' is missing", t->name, fields[k]);

  uint64_t begin = 0, end = 0, bytes = 0;
  brc_status st = parse_dtype(f, found[0], t);
  if (!st) st = parse_shape(f, found[1], t);
  if (!st) st = parse_offsets(f, found[2], t, &begin, &end);
  if (st) return st;
  if (!shape_bytes(t->dtype, t->rank, t->shape, &t->count, &bytes))
    return malformed(f, "tensor '%.200s': the product of its shape does not fit 64 bits", t->name);
  if (bytes != end - begin)
    return malformed(f, "tensor '%.200s': its shape takes %" PRIu64 " bytes, its data_offsets span %" PRIu64,
                     t->name, bytes, end - begin);
  t->data = f->data + begin;
  return BRC_OK;
}

static brc_status parse_metadata(brc_st_file *f, const cJSON *entry) {
  if (!cJSON_IsObject(entry)) return malformed(f, "%s is not a JSON object", METADATA);
  if (f->meta) return malformed(f, "%s is given twice", METADATA);
  const cJSON *item;
  size_t count = 0;
  cJSON_ArrayForEach(item, entry) count++;
  f->meta = calloc(count + 1, sizeof *f->meta);
  if (!f->meta) return brc_fail(BRC_E_NOMEM, "no memory to read '%s'", f->path);
  cJSON_ArrayForEach(item, entry) {
    if (!cJSON_IsString(item))
      return malformed(f, "%s: the value of '%.200s' is not a string", METADATA, item->string);
    f->meta[f->meta_count++] = item;
  }
  return BRC_OK;
}

static int by_name(const void *a, const void *b) {
  return strcmp(((const brc_st_tensor *)a)->name, ((const brc_st_tensor *)b)->name);
}
static int by_key(const void *a, const void *b) {
  return strcmp((*(const cJSON *const *)a)->string, (*(const cJSON *const *)b)->string);
}
// Where tensors start in the file; empty ones before the tensor that starts at the same byte.
static int by_place(const void *a, const void *b) {
  const brc_st_tensor *s = a, *t = b;
  if (s->data != t->data) return (const char *)s->data < (const char *)t->data ? -1 : 1;
  return (s->count > 0) - (t->count > 0);
}

// The format wants the data covered exactly: neither overlaps nor holes.
static brc_status check_cover(const brc_st_file *f) {
  const char *at = f->data;
  for (size_t i = 0; i < f->count; i++) {
    const brc_st_tensor *t = &f->tensors[i];
    const char *begin = t->data;
    if (begin < at) return malformed(f, "tensor '%.200s': its data overlaps another tensor's", t->name);
    if (begin > at)
      return malformed(f, "%" PRIu64 " bytes before tensor '%.200s' belong to none", (uint64_t)(begin - at),
                       t->name);
    at = begin + t->count * brc_st_dtype_bytes(t->dtype);
  }
  uint64_t left = f->data_bytes - (uint64_t)(at - f->data);
  return left ? malformed(f, "%" PRIu64 " bytes at its end belong to no tensor", left) : BRC_OK;
}

static brc_status read_entries(brc_st_file *f) {
  const cJSON *entry;
  size_t most = 0;
  cJSON_ArrayForEach(entry, f->header) most++;
  f->tensors = calloc(most + 1, sizeof *f->tensors);
  if (!f->tensors) return brc_fail(BRC_E_NOMEM, "no memory to read '%s'", f->path);
  cJSON_ArrayForEach(entry, f->header) {
    brc_status st;
    if (strcmp(entry->string, METADATA) == 0) {
      st = parse_metadata(f, entry);
    } else {
      st = parse_tensor(f, entry, &f->tensors[f->count]);
      f->count += !st;
    }
    if (st) return st;
  }

  qsort(f->tensors, f->count, sizeof *f->tensors, by_place);
  brc_status st = check_cover(f);
  if (st) return st;
  qsort(f->tensors, f->count, sizeof *f->tensors, by_name);
  for (size_t i = 1; i < f->count; i++)
    if (strcmp(f->tensors[i - 1].name, f->tensors[i].name) == 0)
      return malformed(f, "tensor '%.200s' is there twice", f->tensors[i].name);
  if (f->meta_count) qsort(f->meta, f->meta_count, sizeof *f->meta, by_key);
  for (size_t i = 1; i < f->meta_count; i++)
    if (strcmp(f->meta[i - 1]->string, f->meta[i]->string) == 0)
      return malformed(f, "%s: '%.200s' is there twice", METADATA, f->meta[i]->string);
  return BRC_OK;
}

brc_status brc_st_open(brc_st_file **out, const char *path) {
  *out = NULL;
  brc_st_file *f = calloc(1, sizeof *f);
  if (f) f->path = strdup(path);
  if (!f || !f->path) {
    free(f);
    return brc_fail(BRC_E_NOMEM, "no memory to read '%s'", path);
  }
  brc_status st = map_file(f);
  if (!st) st = parse_header(f);
  if (!st) st = read_entries(f);
  if (st) {
    brc_st_close(f);
    return st;
  }
  *out = f;
  return BRC_OK;
}

void brc_st_close(brc_st_file *f) {
  if (!f) return;
  cJSON_Delete(f->header);
  if (f->image) munmap(f->image, f->bytes);
  free(f->tensors);
  free(f->meta);
  free(f->path);
  free(f);
}

size_t brc_st_count(const brc_st_file *f) { return f->count; }
const brc_st_tensor *brc_st_at(const brc_st_file *f, size_t i) { return i < f->count ? &f->tensors[i] : NULL; }
const char *brc_st_path(const brc_st_file *f) { return f->path; }

static const brc_st_tensor *find_name(const brc_st_file *f, const char *name) {
  const brc_st_tensor key = {.name = name};
  return f->count ? bsearch(&key, f->tensors, f->count, sizeof key, by_name) : NULL;
}

const brc_st_tensor *brc_st_find(const brc_st_file *f, const char *fmt, ...) {
  char name[NAME_BYTES];
  va_list args;
  va_start(args, fmt);
  int n = vsnprintf(name, sizeof name, fmt, args);
  va_end(args);
  return n < 0 || (size_t)n >= sizeof name ? NULL : find_name(f, name);
}

// "F32 of 12 elements"
static const char *describe(brc_st_dtype dtype, uint64_t count, char *out, size_t bytes) {
  snprintf(out, bytes, "%s of %" PRIu64 " elements",
           (unsigned)dtype < BRC_COUNT(dtypes) ? dtypes[dtype].name : "?", count);
  return out;
}

brc_status brc_st_need(const brc_st_file *f, brc_st_dtype dtype, uint64_t count, const brc_st_tensor **out,
                       const char *fmt, ...) {
  char name[NAME_BYTES], expected[64], got[64];
  va_list args;
  va_start(args, fmt);
  vsnprintf(name, sizeof name, fmt, args);
  va_end(args);
  *out = NULL;
  const brc_st_tensor *t = find_name(f, name);
  describe(dtype, count, expected, sizeof expected);
  if (!t) return brc_fail(BRC_E_FORMAT, "'%s' has no tensor '%s' (expected %s)", f->path, name, expected);
  if (t->dtype != dtype || t->count != count)
    return brc_fail(BRC_E_FORMAT, "'%s': tensor '%s' is %s; expected %s", f->path, name,
                    describe(t->dtype, t->count, got, sizeof got), expected);
  *out = t;
  return BRC_OK;
}

const char *brc_st_meta(const brc_st_file *f, const char *key) {
  size_t low = 0, high = f->meta_count;
  while (low < high) {
    size_t mid = low + (high - low) / 2;
    int order = strcmp(f->meta[mid]->string, key);
    if (order == 0) return f->meta[mid]->valuestring;
    if (order < 0) {
      low = mid + 1;
    } else {
      high = mid;
    }
  }
  return NULL;
}

brc_status brc_st_meta_int(const brc_st_file *f, const char *key, long lo, long hi, long *out) {
  const char *text = brc_st_meta(f, key);
  if (!text) return brc_fail(BRC_E_FORMAT, "'%s' lacks '%s' in its metadata", f->path, key);
  char *end;
  errno = 0;
  long value = strtol(text, &end, 10);
  if (end == text || *end || errno || value < lo || value > hi)
    return brc_fail(BRC_E_FORMAT, "'%s': metadata '%s' is '%.100s'; expected a whole number in %ld to %ld",
                    f->path, key, text, lo, hi);
  *out = value;
  return BRC_OK;
}

brc_status brc_st_meta_real(const brc_st_file *f, const char *key, double *out) {
  const char *text = brc_st_meta(f, key);
  if (!text) return brc_fail(BRC_E_FORMAT, "'%s' lacks '%s' in its metadata", f->path, key);
  char *end;
  double value = strtod(text, &end);
  if (end == text || *end || !isfinite(value))
    return brc_fail(BRC_E_FORMAT, "'%s': metadata '%s' is '%.100s'; expected a finite number", f->path, key,
                    text);
  *out = value;
  return BRC_OK;
}

//------------------------ 2. Writer -------------------------------------------
struct entry {
  char *name;
  brc_st_dtype dtype;
  int rank;
  uint64_t shape[RANK_MOST], bytes;
  const void *data;
  void *owned;  // the writer's copy, or NULL
};

struct pair {
  char *key, *value;
};

struct brc_st_writer {
  struct entry *entries;
  size_t count, room;
  struct pair *pairs;
  size_t pair_count, pair_room;
};

brc_status brc_st_writer_new(brc_st_writer **out) {
  *out = calloc(1, sizeof **out);
  return *out ? BRC_OK : brc_fail(BRC_E_NOMEM, "no memory for a safetensors writer");
}

void brc_st_writer_free(brc_st_writer *w) {
  if (!w) return;
  for (size_t i = 0; i < w->count; i++) {
    free(w->entries[i].name);
    free(w->entries[i].owned);
  }
  for (size_t i = 0; i < w->pair_count; i++) {
    free(w->pairs[i].key);
    free(w->pairs[i].value);
  }
  free(w->entries);
  free(w->pairs);
  free(w);
}

// Room for one more element of `size` bytes behind `count`; false when out of memory.
static bool grow(void **array, size_t count, size_t *room, size_t size) {
  if (count < *room) return true;
  size_t more = *room ? 2 * *room : 32;
  void *larger = realloc(*array, more * size);
  if (!larger) return false;
  *array = larger;
  *room = more;
  return true;
}

static brc_status no_memory(const char *name) {
  return brc_fail(BRC_E_NOMEM, "no memory to write '%.200s'", name);
}

brc_status brc_st_writer_meta(brc_st_writer *w, const char *key, const char *value) {
  if (!grow((void **)&w->pairs, w->pair_count, &w->pair_room, sizeof *w->pairs)) return no_memory(key);
  struct pair *p = &w->pairs[w->pair_count];
  p->key = strdup(key);
  p->value = strdup(value);
  if (!p->key || !p->value) {
    free(p->key);
    free(p->value);
    return no_memory(key);
  }
  w->pair_count++;
  return BRC_OK;
}

brc_status brc_st_writer_add(brc_st_writer *w, const char *name, brc_st_dtype dtype, int rank,
                             const uint64_t *shape, const void *data) {
  uint64_t count, bytes;
  if (rank < 0 || rank > RANK_MOST)
    return brc_fail(BRC_E_SHAPE, "tensor '%.200s': rank %d is not in 0 to %d", name, rank, RANK_MOST);
  if (!brc_st_dtype_bytes(dtype))
    return brc_fail(BRC_E_VALUE, "tensor '%.200s': unknown dtype %d", name, (int)dtype);
  if (strlen(name) >= NAME_BYTES || strcmp(name, METADATA) == 0)
    return brc_fail(BRC_E_VALUE, "'%.200s' cannot be a tensor's name", name);
  if (!shape_bytes(dtype, rank, shape, &count, &bytes) || (double)bytes > INTEGER_MOST)
    return brc_fail(BRC_E_SHAPE, "tensor '%.200s': its shape is too large for a file", name);
  if (!grow((void **)&w->entries, w->count, &w->room, sizeof *w->entries)) return no_memory(name);

  struct entry *e = &w->entries[w->count];
  *e = (struct entry){.name = strdup(name), .dtype = dtype, .rank = rank, .bytes = bytes, .data = data};
  if (!e->name) return no_memory(name);
  for (int k = 0; k < rank; k++) e->shape[k] = shape[k];
  w->count++;
  return BRC_OK;
}

brc_status brc_st_writer_copy(brc_st_writer *w, const char *name, brc_st_dtype dtype, int rank,
                              const uint64_t *shape, const void *data) {
  brc_status st = brc_st_writer_add(w, name, dtype, rank, shape, data);
  if (st) return st;
  struct entry *e = &w->entries[w->count - 1];
  e->owned = malloc(e->bytes ? e->bytes : 1);
  if (!e->owned) {
    free(e->name);
    w->count--;
    return no_memory(name);
  }
  if (e->bytes) memcpy(e->owned, data, e->bytes);
  e->data = e->owned;
  return BRC_OK;
}

const char *brc_st_writer_not_finite(const brc_st_writer *w) {
  for (size_t k = 0; k < w->count; k++) {
    const struct entry *e = &w->entries[k];
    if (e->dtype != BRC_ST_F32 && e->dtype != BRC_ST_F64) continue;
    const brc_st_tensor t = {.dtype = e->dtype, .data = e->data};
    for (uint64_t i = 0; i < e->bytes / brc_st_dtype_bytes(e->dtype); i++)
      if (!isfinite(brc_st_get(&t, i))) return e->name;
  }
  return NULL;
}

// The header's text; sticky when out of memory.
struct text {
  char *at;
  size_t used, room;
  bool failed;
};

static void put(struct text *t, const char *bytes, size_t n) {
  if (t->failed) return;
  if (t->used + n > t->room) {
    size_t more = 2 * t->room + n + 4096;
    char *larger = realloc(t->at, more);
    if (!larger) {
      t->failed = true;
      return;
    }
    t->at = larger;
    t->room = more;
  }
  memcpy(t->at + t->used, bytes, n);
  t->used += n;
}

static void put_text(struct text *t, const char *s) { put(t, s, strlen(s)); }

static void put_number(struct text *t, uint64_t x) {
  char digits[24];
  put(t, digits, (size_t)snprintf(digits, sizeof digits, "%" PRIu64, x));
}

static void put_string(struct text *t, const char *s) {
  put_text(t, "\"");
  for (; *s; s++) {
    char escape[8];
    if (*s == '"' || *s == '\\') {
      put(t, (char[]){'\\', *s}, 2);
    } else if ((unsigned char)*s < 0x20) {
      put(t, escape, (size_t)snprintf(escape, sizeof escape, "\\u%04x", (unsigned char)*s));
    } else {
      put(t, s, 1);
    }
  }
  put_text(t, "\"");
}

static void put_metadata(struct text *t, const brc_st_writer *w) {
  put_text(t, "\"" METADATA "\":{");
  for (size_t i = 0; i < w->pair_count; i++) {
    if (i) put_text(t, ",");
    put_string(t, w->pairs[i].key);
    put_text(t, ":");
    put_string(t, w->pairs[i].value);
  }
  put_text(t, "}");
}

static void put_entry(struct text *t, const struct entry *e, uint64_t offset) {
  put_string(t, e->name);
  put_text(t, ":{\"dtype\":\"");
  put_text(t, dtypes[e->dtype].name);
  put_text(t, "\",\"shape\":[");
  for (int k = 0; k < e->rank; k++) {
    if (k) put_text(t, ",");
    put_number(t, e->shape[k]);
  }
  put_text(t, "],\"data_offsets\":[");
  put_number(t, offset);
  put_text(t, ",");
  put_number(t, offset + e->bytes);
  put_text(t, "]}");
}

static int by_entry_name(const void *a, const void *b) {
  return strcmp(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}
static int by_pair_key(const void *a, const void *b) {
  return strcmp(((const struct pair *)a)->key, ((const struct pair *)b)->key);
}

static brc_status sort_all(brc_st_writer *w, const char *path) {
  if (w->count) qsort(w->entries, w->count, sizeof *w->entries, by_entry_name);
  if (w->pair_count) qsort(w->pairs, w->pair_count, sizeof *w->pairs, by_pair_key);
  for (size_t i = 1; i < w->count; i++)
    if (strcmp(w->entries[i - 1].name, w->entries[i].name) == 0)
      return brc_fail(BRC_E_VALUE, "cannot write '%s': tensor '%.200s' was added twice", path,
                      w->entries[i].name);
  for (size_t i = 1; i < w->pair_count; i++)
    if (strcmp(w->pairs[i - 1].key, w->pairs[i].key) == 0)
      return brc_fail(BRC_E_VALUE, "cannot write '%s': metadata '%.200s' was added twice", path,
                      w->pairs[i].key);
  return BRC_OK;
}

// The 8 bytes of length, left open, then the JSON, padded so that the data starts on a multiple of 8.
static brc_status build_header(struct text *t, const brc_st_writer *w, const char *path) {
  uint64_t offset = 0;
  put(t, "\0\0\0\0\0\0\0\0", 8);
  put_text(t, "{");
  if (w->pair_count) put_metadata(t, w);
  for (size_t i = 0; i < w->count; i++) {
    if (i || w->pair_count) put_text(t, ",");
    put_entry(t, &w->entries[i], offset);
    offset += w->entries[i].bytes;
  }
  put_text(t, "}");
  while (!t->failed && t->used % 8) put_text(t, " ");
  if (t->failed) return no_memory(path);
  uint64_t length = t->used - 8;
  if (length > HEADER_MOST)
    return brc_fail(BRC_E_VALUE, "cannot write '%s': a header of %" PRIu64 " bytes is too long", path, length);
  for (int k = 0; k < 8; k++) t->at[k] = (char)(unsigned char)(length >> (8 * k));
  return BRC_OK;
}

//------------------------ 3. Seal ------------------------------------------------
// Sums of tensors' hashes: in whatever order they come.
static uint64_t tensor_hash(const char *name, brc_st_dtype dtype, int rank, const uint64_t *shape,
                            const void *data, uint64_t bytes) {
  const uint64_t kind[] = {(uint64_t)dtype, (uint64_t)rank, bytes};
  uint64_t h = brc_checksum(BRC_HASH_START, name, strlen(name));
  h = brc_checksum(h, kind, sizeof kind);
  h = brc_checksum(h, shape, (size_t)rank * sizeof *shape);
  return brc_checksum(h, data, (size_t)bytes) * 0x9E3779B97F4A7C15u;
}

enum { SEAL_TEXT = 17 };
static void seal_text(uint64_t sum, char out[SEAL_TEXT]) { snprintf(out, SEAL_TEXT, "%016" PRIx64, sum); }

brc_status brc_st_writer_seal(brc_st_writer *w) {
  uint64_t sum = 0;
  char text[SEAL_TEXT];
  for (size_t i = 0; i < w->count; i++) {
    const struct entry *e = &w->entries[i];
    sum += tensor_hash(e->name, e->dtype, e->rank, e->shape, e->data, e->bytes);
  }
  seal_text(sum, text);
  return brc_st_writer_meta(w, "checksum", text);
}

brc_status brc_st_check_seal(const brc_st_file *f) {
  const char *said = brc_st_meta(f, "checksum");
  uint64_t sum = 0;
  char text[SEAL_TEXT];
  if (!said) return BRC_OK;
  for (size_t i = 0; i < brc_st_count(f); i++) {
    const brc_st_tensor *t = brc_st_at(f, i);
    sum += tensor_hash(t->name, t->dtype, t->rank, t->shape, t->data, t->count * brc_st_dtype_bytes(t->dtype));
  }
  seal_text(sum, text);
  if (!strcmp(said, text)) return BRC_OK;
  return brc_fail(BRC_E_FORMAT,
                  "%s is damaged: its checksum is %s, that of what it holds %s; take a copy of it",
                  brc_st_path(f), said, text);
}

brc_status brc_st_write(brc_st_writer *w, const char *path) {
  struct text header = {0};
  brc_file_writer file;
  brc_status st = sort_all(w, path);
  if (!st) st = build_header(&header, w, path);
  if (!st) st = brc_file_begin(&file, path);
  if (!st) {
    brc_file_write(&file, header.at, header.used);
    for (size_t i = 0; i < w->count; i++) brc_file_write(&file, w->entries[i].data, w->entries[i].bytes);
    st = brc_file_commit(&file);  // tells the first failure
  }
  free(header.at);
  return st;
}
