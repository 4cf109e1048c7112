// Files of what a driver has compiled, DIR/KIND/KEY.bin. The key is a hash of all that the content depends on; a sum covers the
// content, as drivers do not take damaged binaries kindly. Without such a file, or with a damaged one, a start takes longer, nothing else.
#ifndef BRC_CACHE_H
#define BRC_CACHE_H
#include "base/base.h"

#define BRC_HASH_START 0xcbf29ce484222325u
uint64_t brc_hash(uint64_t h, const void *data, size_t bytes);  // FNV-1a, 64 bits
// Eight bytes at a time, zeros behind the last: some gigabytes per second. Mixes every bit; not cryptographic.
uint64_t brc_checksum(uint64_t h, const void *data, size_t bytes);

typedef struct brc_cache {
  char folder[4200], path[4300];
  char magic[8];  // of the content's format
  uint64_t key[2];
} brc_cache;

void brc_cache_begin(brc_cache *c, const char *dir, const char *kind, const char *magic);
void brc_cache_key(brc_cache *c, const void *data,
                   size_t bytes);  // what the content depends on, piece by piece
// The key is complete: the file's content, behind its header, or NULL. free() *file.
const void *brc_cache_read(brc_cache *c, char **file, size_t *bytes);
// Make the folder; false where nothing can be kept.
bool brc_cache_prepare(const brc_cache *c);
void brc_cache_write(brc_cache *c, const void *data, size_t bytes);  // fails silently
#endif
