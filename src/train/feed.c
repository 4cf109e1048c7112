#include "train/feed.h"
#include <stdlib.h>

enum { STAGING_BYTES = 4 << 20 };

brc_status brc_feed_init(brc_feed *f, brc_agent *agent, const brc_replay *replay, brc_pool *pool) {
  *f = (brc_feed){.agent = agent, .replay = replay, .pool = pool};
  if (!agent->table_rows) return BRC_OK;
  const uint64_t slot_bytes = (uint64_t)brc_replay_tasks(replay) * agent->table_pitch * 4;
  f->staging_slots = STAGING_BYTES / slot_bytes > 2 ? STAGING_BYTES / slot_bytes : 2;
  f->staging = calloc(f->staging_slots, slot_bytes);
  return f->staging ? BRC_OK : brc_fail(BRC_E_NOMEM, "out of memory for rows of the replay");
}

void brc_feed_free(brc_feed *f) {
  free(f->staging);
  *f = (brc_feed){0};
}

static uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }

brc_status brc_feed_rows(brc_feed *f) {
  const brc_replay *r = f->replay;
  brc_agent *a = f->agent;
  const uint64_t total = brc_replay_total(r), slots = brc_replay_slots(r), tasks = brc_replay_tasks(r),
                 oldest = total - brc_replay_size(r);
  if (!a->table_rows || f->sent == total) return BRC_OK;
  brc_status st = BRC_OK;
  uint64_t n = f->sent < total && f->sent > oldest ? f->sent : oldest;
  while (!st && n <= total) {  // up to the successors of the newest rows, which lie where the next ones will
    const uint64_t slot = n % slots, count = least(least(total + 1 - n, slots - slot), f->staging_slots);
    for (uint64_t k = 0; k < count; k++)
      brc_replay_read_slot(r, n + k, f->staging + k * tasks * a->table_pitch, a->table_pitch);
    st = brc_agent_write_rows(a, slot * tasks, count * tasks, f->staging, true);
    n += count;
    if (!st && n <= total) st = brc_agent_wait(a);  // the staging is used again
  }
  if (!st) f->sent = total;
  return st;
}

brc_status brc_feed_batch(brc_feed *f, const uint32_t *pairs, brc_batch *b) {
  if (b->index) {
    brc_replay_places out = {.index = b->index,
                             .extra = b->extra,
                             .extra_pitch = b->pitch_obs,
                             .reward = b->reward,
                             .mask = b->mask,
                             .task = b->task};
    const brc_status st = brc_replay_locate(f->replay, b->rows, pairs, &out);
    b->extra_rows = out.extra_rows;
    return st;
  }
  const brc_replay_batch out = {.obs = b->obs,
                                .next_obs = b->next_obs,
                                .action = b->action,
                                .reward = b->reward,
                                .mask = b->mask,
                                .task = b->task,
                                .obs_pitch = b->pitch_obs,
                                .next_obs_pitch = b->pitch_obs,
                                .action_pitch = b->pitch_action};
  return brc_replay_gather(f->replay, f->pool, b->rows, pairs, &out);
}
