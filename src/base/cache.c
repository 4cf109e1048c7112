#include "base/cache.h"
#include "base/file.h"
#include <stdio.h>
#include <string.h>

typedef struct header {
  char magic[8];
  uint64_t key[2], bytes, sum;
} header;

uint64_t brc_hash(uint64_t h, const void *data, size_t bytes) {
  const unsigned char *p = data;
  for (size_t i = 0; i < bytes; i++) h = (h ^ p[i]) * 0x100000001b3u;
  return h;
}

uint64_t brc_checksum(uint64_t h, const void *data, size_t bytes) {
  const char *p = data;
  for (; bytes; p += 8) {
    const size_t n = bytes < 8 ? bytes : 8;
    uint64_t w = 0;
    if (n == 8)
      memcpy(&w, p, 8);
    else
      memcpy(&w, p, n);
    h = (h ^ w) * 0xD6E8FEB86659FD93u;
    h ^= h >> 32;
    bytes -= n;
  }
  return h;
}

void brc_cache_begin(brc_cache *c, const char *dir, const char *kind, const char *magic) {
  *c = (brc_cache){.key = {BRC_HASH_START, 0x9e3779b97f4a7c15u}};
  snprintf(c->folder, sizeof c->folder, "%.4000s/%s", dir, kind);
  snprintf(c->magic, sizeof c->magic, "%s", magic);
}

void brc_cache_key(brc_cache *c, const void *data, size_t bytes) {
  for (int k = 0; k < 2; k++) c->key[k] = brc_hash(c->key[k], data, bytes);
}

static const char *path_of(brc_cache *c) {
  snprintf(c->path, sizeof c->path, "%s/%016llx%016llx.bin", c->folder, (unsigned long long)c->key[0],
           (unsigned long long)c->key[1]);
  return c->path;
}

const void *brc_cache_read(brc_cache *c, char **file, size_t *bytes) {
  header h;
  size_t size = 0;
  *file = NULL;
  if (!brc_path_exists(path_of(c)) || brc_file_read(c->path, file, &size) || size <= sizeof h) return NULL;
  memcpy(&h, *file, sizeof h);
  *bytes = size - sizeof h;
  const char *data = *file + sizeof h;
  const bool good = !memcmp(h.magic, c->magic, sizeof h.magic) && !memcmp(h.key, c->key, sizeof h.key) &&
                    h.bytes == *bytes && h.sum == brc_hash(0, data, *bytes);
  return good ? data : NULL;
}

bool brc_cache_prepare(const brc_cache *c) { return !brc_mkdirs(c->folder); }

void brc_cache_write(brc_cache *c, const void *data, size_t bytes) {
  header h = {.key = {c->key[0], c->key[1]}, .bytes = bytes, .sum = brc_hash(0, data, bytes)};
  memcpy(h.magic, c->magic, sizeof h.magic);
  brc_file_writer w;
  if (brc_file_begin(&w, path_of(c))) return;
  brc_file_write(&w, &h, sizeof h);
  brc_file_write(&w, data, bytes);
  brc_file_commit(&w);
}
