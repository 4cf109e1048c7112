// From the replay to the device: whole batches, or new rows into the agent's table and batches of indices into it. Either way an update
// sees the same numbers.
#ifndef BRC_FEED_H
#define BRC_FEED_H
#include "agent/agent.h"
#include "data/replay.h"

typedef struct brc_feed {
  brc_agent *agent;
  const brc_replay *replay;
  brc_pool *pool;  // for gathering; may be NULL
  uint64_t sent;   // the table has the rows of the replay before this one; 0: none, as after a restore
  float *staging;  // rows on their way
  uint64_t staging_slots;
} brc_feed;

// Borrows all three. E_NOMEM.
brc_status brc_feed_init(brc_feed *f, brc_agent *agent, const brc_replay *replay, brc_pool *pool);
void brc_feed_free(brc_feed *f);
// The table follows the replay; before the first batch after an insert. Nothing without a table. Rows may be on their way until
// brc_agent_wait: between two calls there must be one.
brc_status brc_feed_rows(brc_feed *f);
// Fill a batch made by brc_update_batch_create, or a whole one, with the rows of `pairs` [B] (task, row). Rewards are raw.
brc_status brc_feed_batch(brc_feed *f, const uint32_t *pairs, brc_batch *b);
#endif
