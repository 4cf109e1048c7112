// One thread pool for everything that runs on CPU cores: products, row kernels, environments.
// Work is handed out as numbered items; which thread takes which item is left open, so an item's result
// must depend on its number alone: then results do not depend on the thread count.
#ifndef BRC_POOL_H
#define BRC_POOL_H
#include "base/base.h"

typedef struct brc_pool brc_pool;
typedef void brc_pool_fn(void *arg, uint32_t item, uint32_t thread);  // thread in [0, brc_pool_threads)

// `threads` counts the caller; 0 takes the cores this process may run on.
brc_status brc_pool_create(brc_pool **out, int threads);
void brc_pool_destroy(brc_pool *p);
int brc_pool_threads(const brc_pool *p);
// Run fn(arg, 0..items-1, thread); returns when all are done. Several threads may call: they take
// turns. Not from inside an item.
void brc_pool_run(brc_pool *p, uint32_t items, brc_pool_fn *fn, void *arg);
#endif
