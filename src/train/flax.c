// flax's msgpack: maps with text keys; an array is an extension of type 1 (or 3, a scalar) whose bytes are again msgpack:
// [shape, name of the type, data]. Arrays of more than 1 GiB are maps of flat pieces, put together here.
#include "train/flax.h"
#include "base/file.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MOST  32    // of nested maps; the published checkpoints have 9
#define ARRAYS_MOST 8192  // leaves; the published ones have about 100
#define PIECES_MARK "__msgpack_chunked_array__"

// A leaf: an array, or one whole number (the shape of an array in pieces is made of them).
typedef struct leaf {
  brc_flax_array array;
  bool integer;
  uint64_t value;
} leaf;

struct brc_flax_file {
  char *name, *image;
  size_t bytes;
  leaf *leaves;
  size_t count, room;
};

typedef struct reader {
  brc_flax_file *f;
  const uint8_t *at, *end;
  char path[sizeof((brc_flax_array *)0)->path];
  size_t path_bytes;
} reader;

//------------------------ 1. Tokens ----------------------------------------------
typedef enum kind { NIL, BOOL, INTEGER, REAL, TEXT, BINARY, ARRAY, MAP, EXTENSION } kind;
typedef struct token {
  kind kind;
  uint64_t n;           // bytes of data, elements of an array or map; an integer's value
  bool negative;        // an integer below zero
  int type;             // of an extension
  const uint8_t *data;  // text, binary, extension
} token;

static brc_status malformed(const reader *r, const char *what) {
  return brc_fail(BRC_E_FORMAT, "'%.200s' is not a whole checkpoint of flax: at byte %zu ('%s') %s", r->f->name,
                  (size_t)(r->at - (const uint8_t *)r->f->image), r->path, what);
}

static brc_status take(reader *r, uint64_t n, const uint8_t **out) {
  if ((uint64_t)(r->end - r->at) < n) return malformed(r, "it ends too early");
  *out = r->at;
  r->at += n;
  return BRC_OK;
}

static brc_status big_endian(reader *r, int bytes, uint64_t *out) {
  const uint8_t *p = NULL;
  brc_status st = take(r, (uint64_t)bytes, &p);
  *out = 0;
  for (int i = 0; !st && i < bytes; i++) *out = *out << 8 | p[i];
  return st;
}

// The first byte's meaning above the small ranges: kind, bytes of the length (or of the number), and for extensions of fixed
// size, that size.
static const struct {
  int first, last;  // first bytes; `bytes` doubles from one to the next
  kind kind;
  int bytes;
} forms[] = {{0xc4, 0xc6, BINARY, 1},  {0xc7, 0xc9, EXTENSION, 1}, {0xca, 0xcb, REAL, 4},
             {0xcc, 0xcf, INTEGER, 1}, {0xd0, 0xd3, INTEGER, 1},   {0xd9, 0xdb, TEXT, 1},
             {0xdc, 0xdd, ARRAY, 2},   {0xde, 0xdf, MAP, 2}};

static brc_status long_form(reader *r, int byte, token *t) {
  size_t i = 0;
  while (i < BRC_COUNT(forms) && (byte < forms[i].first || byte > forms[i].last)) i++;
  if (i == BRC_COUNT(forms)) return malformed(r, "has a byte that msgpack does not use");
  int bytes = forms[i].bytes << (byte - forms[i].first);
  t->kind = forms[i].kind;
  brc_status st = big_endian(r, bytes, &t->n);
  t->negative = byte >= 0xd0 && byte <= 0xd3 && t->n >> (8 * bytes - 1);
  return st;
}

// What `n` counts must fit into the rest of the file: an element has at least one byte, a pair of a map two.
static brc_status read_payload(reader *r, token *t) {
  const uint8_t *type = NULL;
  brc_status st = BRC_OK;
  if (t->kind == EXTENSION) {
    st = take(r, 1, &type);
    if (!st) t->type = (int8_t)*type;
  }
  if (st) return st;
  if (t->kind == TEXT || t->kind == BINARY || t->kind == EXTENSION) return take(r, t->n, &t->data);
  uint64_t left = (uint64_t)(r->end - r->at);
  if ((t->kind == ARRAY && t->n > left) || (t->kind == MAP && t->n > left / 2))
    return malformed(r, "it ends too early");
  return BRC_OK;
}

static brc_status next(reader *r, token *t) {
  const uint8_t *first = NULL;
  *t = (token){0};
  brc_status st = take(r, 1, &first);
  if (st) return st;
  int b = *first;
  if (b <= 0x7f || b >= 0xe0) {
    *t = (token){.kind = INTEGER, .n = (uint64_t)b, .negative = b >= 0xe0};
  } else if (b <= 0x8f) {
    *t = (token){.kind = MAP, .n = b & 15};
  } else if (b <= 0x9f) {
    *t = (token){.kind = ARRAY, .n = b & 15};
  } else if (b <= 0xbf) {
    *t = (token){.kind = TEXT, .n = b & 31};
  } else if (b == 0xc0) {
    t->kind = NIL;
  } else if (b == 0xc2 || b == 0xc3) {
    t->kind = BOOL;
  } else if (b >= 0xd4 && b <= 0xd8) {
    *t = (token){.kind = EXTENSION, .n = (uint64_t)1 << (b - 0xd4)};
  } else {
    st = long_form(r, b, t);
  }
  return st ? st : read_payload(r, t);
}

//------------------------ 2. Leaves ----------------------------------------------
static brc_status add_leaf(reader *r, leaf **out) {
  brc_flax_file *f = r->f;
  if (f->count == ARRAYS_MOST) return malformed(r, "it holds more arrays than any checkpoint of this program");
  if (f->count == f->room) {
    size_t room = f->room ? 2 * f->room : 128;
    leaf *more = realloc(f->leaves, room * sizeof *more);
    if (!more) return brc_fail(BRC_E_NOMEM, "out of memory for the arrays of '%.200s'", f->name);
    f->leaves = more;
    f->room = room;
  }
  *out = &f->leaves[f->count++];
  **out = (leaf){0};
  memcpy((*out)->array.path, r->path, r->path_bytes + 1);
  return BRC_OK;
}

static const struct {
  const char *name;
  brc_st_dtype dtype;
} types[] = {{"float32", BRC_ST_F32}, {"float64", BRC_ST_F64}, {"int32", BRC_ST_I32}, {"int64", BRC_ST_I64},
             {"uint8", BRC_ST_U8},    {"uint32", BRC_ST_U32},  {"uint64", BRC_ST_U64}};

static brc_status read_type(reader *r, brc_st_dtype *out) {
  token t;
  brc_status st = next(r, &t);
  if (st) return st;
  if (t.kind != TEXT && t.kind != BINARY) return malformed(r, "has an array without a type");
  for (size_t i = 0; i < BRC_COUNT(types); i++)
    if (t.n == strlen(types[i].name) && !memcmp(t.data, types[i].name, (size_t)t.n)) {
      *out = types[i].dtype;
      return BRC_OK;
    }
  char said[96];
  snprintf(said, sizeof said, "has an array of the type '%.*s', which is not read here",
           (int)(t.n < 20 ? t.n : 20), (const char *)t.data);
  return malformed(r, said);
}

static brc_status read_shape(reader *r, brc_flax_array *a) {
  token t;
  brc_status st = next(r, &t);
  if (!st && (t.kind != ARRAY || t.n > BRC_COUNT(a->shape))) st = malformed(r, "has an array without a shape");
  a->count = 1;
  for (a->rank = 0; !st && (uint64_t)a->rank < t.n; a->rank++) {
    token size;
    st = next(r, &size);
    if (!st && (size.kind != INTEGER || size.negative || __builtin_mul_overflow(a->count, size.n, &a->count)))
      st = malformed(r, "has an array with a shape that cannot be");
    a->shape[a->rank] = size.n;
  }
  return st;
}

// The bytes of an extension: [shape, type, data].
static brc_status read_array(reader *r, const token *ext) {
  reader in = *r;
  in.at = ext->data;
  in.end = ext->data + ext->n;
  brc_flax_array a;
  token t = {0};
  uint64_t bytes;
  brc_status st = next(&in, &t);
  if (!st && (t.kind != ARRAY || t.n != 3))
    st = malformed(&in, "has something else where an array was expected");
  if (!st) st = read_shape(&in, &a);
  if (!st) st = read_type(&in, &a.dtype);
  if (!st) st = next(&in, &t);
  if (st) return st;
  if ((t.kind != BINARY && t.kind != TEXT) ||
      __builtin_mul_overflow(a.count, (uint64_t)brc_st_dtype_bytes(a.dtype), &bytes) || bytes != t.n)
    return malformed(&in, "has an array whose data do not fit its shape");
  leaf *l;
  st = add_leaf(r, &l);
  if (st) return st;
  memcpy(a.path, l->array.path, sizeof a.path);
  a.data = t.data;
  a.owned = NULL;
  l->array = a;
  return BRC_OK;
}

//------------------------ 3. Arrays in pieces -------------------------------------
// The leaf PATH/name/i among those from `first` on.
static leaf *piece(reader *r, size_t first, const char *name, size_t i) {
  char path[sizeof r->path + 32];
  snprintf(path, sizeof path, "%s/%s/%zu", r->path, name, i);
  for (size_t k = first; k < r->f->count; k++)
    if (!strcmp(r->f->leaves[k].array.path, path)) return &r->f->leaves[k];
  return NULL;
}

// Leaves from `first` on are the shape and the flat pieces of one array: they become that array.
static brc_status join(reader *r, size_t first) {
  brc_flax_array a = {.count = 1};
  for (leaf *l; (l = piece(r, first, "shape", (size_t)a.rank)); a.rank++) {
    if (!l->integer || a.rank == BRC_COUNT(a.shape) || __builtin_mul_overflow(a.count, l->value, &a.count))
      return malformed(r, "has an array in pieces with a shape that cannot be");
    a.shape[a.rank] = l->value;
  }
  uint64_t count = 0, bytes = 0;
  size_t pieces = 0;
  for (leaf *l; (l = piece(r, first, "chunks", pieces)); pieces++) {
    if (!pieces) a.dtype = l->array.dtype;
    if (l->integer || l->array.dtype != a.dtype) return malformed(r, "has an array in pieces of several types");
    count += l->array.count;
    bytes += l->array.count * brc_st_dtype_bytes(a.dtype);
  }
  if (!pieces || count != a.count) return malformed(r, "has an array in pieces that do not fit its shape");
  uint8_t *data = malloc(bytes ? bytes : 1);
  if (!data) return brc_fail(BRC_E_NOMEM, "out of memory for '%s' of '%.200s'", r->path, r->f->name);
  size_t at = 0;
  for (size_t i = 0; i < pieces; i++) {
    const brc_flax_array *p = &piece(r, first, "chunks", i)->array;
    size_t n = p->count * brc_st_dtype_bytes(a.dtype);
    if (n) memcpy(data + at, p->data, n);
    at += n;
  }
  for (size_t k = first; k < r->f->count; k++) free(r->f->leaves[k].array.owned);
  r->f->count = first;
  leaf *l;
  brc_status st = add_leaf(r, &l);
  if (st) {
    free(data);
    return st;
  }
  memcpy(a.path, l->array.path, sizeof a.path);
  a.data = a.owned = data;
  l->array = a;
  return BRC_OK;
}

//------------------------ 4. The tree ---------------------------------------------
static brc_status push_key(reader *r, const token *key) {
  size_t slash = r->path_bytes > 0;
  if (key->kind != TEXT) return malformed(r, "has a map with a key that is no text");
  if (key->n + slash >= sizeof r->path - r->path_bytes || memchr(key->data, 0, (size_t)key->n))
    return malformed(r, "has a key that no checkpoint has");
  if (slash) r->path[r->path_bytes] = '/';
  memcpy(r->path + r->path_bytes + slash, key->data, (size_t)key->n);
  r->path_bytes += (size_t)key->n + slash;
  r->path[r->path_bytes] = '\0';
  return BRC_OK;
}

static brc_status walk(reader *r, int depth);

static brc_status walk_map(reader *r, uint64_t pairs, int depth) {
  size_t first = r->f->count, path_bytes = r->path_bytes;
  bool in_pieces = false;
  brc_status st = BRC_OK;
  for (uint64_t i = 0; !st && i < pairs; i++) {
    token key;
    st = next(r, &key);
    if (!st) st = push_key(r, &key);
    if (!st) in_pieces |= key.n == strlen(PIECES_MARK) && !memcmp(key.data, PIECES_MARK, (size_t)key.n);
    if (!st) st = walk(r, depth + 1);
    if (st) return st;
    r->path_bytes = path_bytes;
    r->path[path_bytes] = '\0';
  }
  return in_pieces ? join(r, first) : BRC_OK;
}

// One value with all below it. Texts, reals and the like are no part of a network: they are passed over.
static brc_status walk(reader *r, int depth) {
  token t;
  if (depth > DEPTH_MOST) return malformed(r, "has maps nested too deeply");
  brc_status st = next(r, &t);
  if (st) return st;
  if (t.kind == MAP) return walk_map(r, t.n, depth);
  if (t.kind == EXTENSION && (t.type == 1 || t.type == 3)) return read_array(r, &t);
  if (t.kind == INTEGER && !t.negative) {
    leaf *l;
    st = add_leaf(r, &l);
    if (!st) l->integer = true, l->value = t.n;
  } else if (t.kind == ARRAY) {
    for (uint64_t i = 0; !st && i < t.n; i++) st = walk(r, depth + 1);
  }
  return st;
}

//------------------------ 5. File -------------------------------------------------
// Whole numbers have served where they were shapes; what is left are arrays.
static void drop_integers(brc_flax_file *f) {
  size_t kept = 0;
  for (size_t i = 0; i < f->count; i++)
    if (!f->leaves[i].integer) f->leaves[kept++] = f->leaves[i];
  f->count = kept;
}

brc_status brc_flax_open(brc_flax_file **out, const char *path) {
  brc_flax_file *f = calloc(1, sizeof *f);
  if (!f || !(f->name = strdup(path))) {
    free(f);
    return brc_fail(BRC_E_NOMEM, "out of memory for '%.200s'", path);
  }
  brc_status st = brc_file_read(path, &f->image, &f->bytes);
  if (!st) {
    reader r = {.f = f, .at = (const uint8_t *)f->image, .end = (const uint8_t *)f->image + f->bytes};
    st = walk(&r, 0);
    if (!st && r.at != r.end) st = malformed(&r, "something follows the end");
  }
  if (st) {
    brc_flax_close(f);
    return st;
  }
  drop_integers(f);
  *out = f;
  return BRC_OK;
}

void brc_flax_close(brc_flax_file *f) {
  if (!f) return;
  for (size_t i = 0; i < f->count; i++) free(f->leaves[i].array.owned);
  free(f->leaves);
  free(f->image);
  free(f->name);
  free(f);
}

size_t brc_flax_count(const brc_flax_file *f) { return f->count; }
const brc_flax_array *brc_flax_at(const brc_flax_file *f, size_t i) { return &f->leaves[i].array; }
const char *brc_flax_path(const brc_flax_file *f) { return f->name; }

const brc_flax_array *brc_flax_find(const brc_flax_file *f, const char *fmt, ...) {
  char path[2 * sizeof((brc_flax_array *)0)->path];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(path, sizeof path, fmt, ap);
  va_end(ap);
  for (size_t i = 0; i < f->count; i++)
    if (!strcmp(f->leaves[i].array.path, path)) return &f->leaves[i].array;
  return NULL;
}
