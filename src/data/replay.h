// The replay buffer: the last `capacity` transitions of every task, and the file of rows behind a checkpoint.
//
// Legend: T tasks, O observation, A action, B rows of a batch. Everything is float32.
// Every insert adds one row to each task, at the same index. Rows are numbered two ways:
//   n    absolute: 0, 1, 2, ... in order of insertion, never reused;
//   row  logical: n mod capacity, as published (and as on tapes); rows 0 .. size-1 are valid.
// Memory and file are rings of R = capacity + slack slots; row n lies in slot n mod R. An observation is stored once: the
// successor of row n is the observation in slot n+1. Where it is not (an episode ended there), the true successor lies
// in the task's side table, a FIFO.
//
// Not thread-safe: const functions may run in parallel with each other, nothing else may.
#ifndef BRC_REPLAY_H
#define BRC_REPLAY_H
#include "base/base.h"
#include "base/pool.h"
#include "base/safetensors.h"

typedef struct brc_replay brc_replay;

//------------------------ 1. Create, insert -----------------------------------
// slack >= 1 rows beyond the capacity: how many rows fit between two checkpoints (brc_replay_must_save). Memory is only
// touched as rows come in. Fails: E_VALUE (a dimension is 0; tasks * capacity over 2^32 - 1), E_NOMEM.
brc_status brc_replay_create(brc_replay **out, uint32_t tasks, uint32_t obs_dim, uint32_t action_dim,
                             uint32_t capacity, uint32_t slack);
void brc_replay_destroy(brc_replay *r);
// What such a replay takes when full, without the side tables; for --dry-run. Either pointer may be NULL.
brc_status brc_replay_bytes(uint32_t tasks, uint32_t obs_dim, uint32_t action_dim, uint32_t capacity,
                            uint32_t slack, uint64_t *memory_bytes, uint64_t *file_bytes);

// One transition per task.
//   obs [T,O], action [T,A], reward [T] (raw), mask [T] (0 on termination, 1 on truncation and otherwise)
//   next_obs [T,O] the true successor, never a reset observation
//   ended [T]      != 0: the episode ended, the next row starts from a reset observation. NULL: none. A next row that starts
//                  elsewhere than at next_obs is noticed in any case (an environment restarted at resume).
// Fails: E_NOMEM (a side table cannot grow), and then nothing is inserted.
brc_status brc_replay_insert(brc_replay *r, const float *obs, const float *action, const float *reward,
                             const float *mask, const float *next_obs, const uint8_t *ended);

uint32_t brc_replay_tasks(const brc_replay *r);
uint32_t brc_replay_obs_dim(const brc_replay *r);
uint32_t brc_replay_action_dim(const brc_replay *r);
uint32_t brc_replay_capacity(const brc_replay *r);
uint32_t brc_replay_size(const brc_replay *r);          // valid rows per task: min(total, capacity)
uint32_t brc_replay_insert_index(const brc_replay *r);  // the logical row written next: total mod capacity
uint64_t brc_replay_total(const brc_replay *r);         // rows ever inserted per task
uint64_t brc_replay_slots(const brc_replay *r);         // R

//------------------------ 2. Sample, gather -----------------------------------
// Draws number offset .. offset+count-1 of environment step `step`: count (task, row) pairs, uniform over all T * size rows,
// with replacement. The batches of one step are consecutive ranges of one sequence of draws.
// Draw i: Philox block i/2 of (seed, BRC_STREAM_BATCH, step), words x, y (i even) or z, w (i odd) as a 64-bit fraction
// (first word high); flat = floor(fraction * T * size), task = flat / size, row = flat mod size. No rejection, so any draw
// can be computed alone on any device; the chance of a row is off by less than 2^-32 of itself.
// Fails: E_VALUE when the replay is empty.
brc_status brc_replay_sample(const brc_replay *r, uint32_t count, uint64_t seed, uint64_t step, uint32_t offset,
                             uint32_t *pairs);

// Where a batch goes. A NULL part is left out. Pitches in elements from one row to the next; 0: dense. Padding is not touched.
typedef struct brc_replay_batch {
  float *obs, *next_obs, *action, *reward, *mask;  // [B,O] [B,O] [B,A] [B] [B]
  int32_t *task;                                   // [B]
  size_t obs_pitch, next_obs_pitch, action_pitch, reward_pitch, mask_pitch, task_pitch;
} brc_replay_batch;
// Copy the rows of `pairs` [B] (task, row). `pool` may be NULL. Fails: E_VALUE (a pair outside the replay).
brc_status brc_replay_gather(const brc_replay *r, brc_pool *pool, uint32_t count, const uint32_t *pairs,
                             const brc_replay_batch *out);
// One row; NULL parts are left out.
brc_status brc_replay_get(const brc_replay *r, uint32_t task, uint32_t row, float *obs, float *next_obs,
                          float *action, float *reward, float *mask);

// For a table of rows elsewhere (a device's memory), in which the rows of slot s of all tasks follow each other: row n of task t lies
// at (n mod R) T + t, and its observation's successor T rows further on, around the ring.
// Row n of every task into `out`, `pitch` apart: obs [O], action [A]. n = total: only obs, the successors of the newest rows.
void brc_replay_read_slot(const brc_replay *r, uint64_t n, float *out, size_t pitch);
// Where the rows of `pairs` [B] lie in that table, and what is not there.
typedef struct brc_replay_places {
  int32_t *index;  // [B,2] the row's place, its successor's; -1 - k: row k of `extra`
  float *extra;    // [up to B,O], extra_pitch apart: true successors from the side tables
  size_t extra_pitch;
  uint32_t extra_rows;   // set: how many came
  float *reward, *mask;  // [B]
  int32_t *task;         // [B]
} brc_replay_places;
// Fails: E_VALUE (a pair outside the replay; T * R over 2^31 - 1).
brc_status brc_replay_locate(const brc_replay *r, uint32_t count, const uint32_t *pairs,
                             brc_replay_places *out);

//------------------------ 3. Explicit rows (tapes) ----------------------------
// All valid rows in logical order, as `init/replay/` of a tape: obs, next_obs [T,size,O], action [T,size,A],
// reward, mask [T,size].
typedef struct brc_replay_rows {
  float *obs, *next_obs, *action, *reward, *mask;
} brc_replay_rows;
void brc_replay_export(const brc_replay *r, const brc_replay_rows *out);
// Replace the contents. Row numbers restart: total is size, or capacity + insert_index in a full ring.
// Fails: E_VALUE (insert_index and size do not belong together), E_NOMEM; the replay is empty then.
brc_status brc_replay_import(brc_replay *r, const brc_replay_rows *rows, uint32_t insert_index, uint32_t size);

//------------------------ 4. Checkpoints --------------------------------------
// The rows live in one file beside the small state file, written in place and only where they changed. A checkpoint is
//   brc_replay_save_rows(r, rows); brc_replay_state_add(r, w); ...; brc_st_write(w, state); brc_replay_committed(r);
// A crash at any point leaves the last complete checkpoint whole: a row that it refers to is overwritten in the file only
// after the next one is complete.
//
// The rows file, little-endian: a header of 4096 bytes (zero beyond these fields)
//   0 "BRCROWS\n"   8 u32 version = 1   12 u32 T   16 u32 O   20 u32 A   24 u32 capacity   28 u32 slots R   32 u64 record bytes
// then R records, one per slot, each T times { obs [O], action [A], reward, mask } float32. The file ends behind the last slot ever
// written. Which slots are valid, and the successors that the rows do not hold, is in the state file:
//   replay/dims U64 [5]            T, O, A, capacity, slack
//   replay/total U64 [1]           rows inserted
//   replay/checksum U64 [T]        sum over the valid rows of a hash of (n, row): a file of another run, or with lost pages, is noticed
//   replay/successor F32 [T,O]     true successor of the newest row; absent when empty
//   replay/final/{task}/n U64 [k], replay/final/{task}/obs F32 [k,O]   the side tables; absent when empty

// Write the rows inserted since the last save to this path (all, through a temporary file, the first time), and sync.
// Fails: E_IO (full disk included), E_FORMAT (the file was replaced), E_VALUE (the promise above cannot be kept in this file
// any more; another path works). The last checkpoint stays valid and the call may be repeated.
brc_status brc_replay_save_rows(brc_replay *r, const char *path);
// Add the state's tensors; right after save_rows, without an insert between (E_VALUE).
brc_status brc_replay_state_add(const brc_replay *r, brc_st_writer *w);
// The state file of the last save_rows is complete (renamed).
void brc_replay_committed(brc_replay *r);
// The slack is used up: one more insert without a complete checkpoint and the rows file cannot be saved in place. Always
// false when no checkpoint was ever completed.
bool brc_replay_must_save(const brc_replay *r);
// Go on from a checkpoint; this replay must have been created with the same dimensions. Later saves to `path` go on there.
// Fails: E_IO, E_FORMAT (either file missing, truncated, of other dimensions, or not of this checkpoint), E_NOMEM; the replay is empty then.
brc_status brc_replay_load(brc_replay *r, const brc_st_file *state, const char *path);
#endif
