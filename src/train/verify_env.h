// Replays what a golden file recorded of an original environment, and compares every number.
#ifndef BRC_VERIFY_ENV_H
#define BRC_VERIFY_ENV_H
#include <stdio.h>

#include "base/safetensors.h"
#include "envs/env.h"
#include "train/verify.h"

// True if the file is an environment's: its metadata has "spec" (trajectories t0, t1, ...) or "episode" (one episode).
bool brc_verify_env_is(const brc_st_file *f);

// Restore each recorded state, replay the recorded actions, and compare with what the original returned: observations within
// 1e-12, rewards within 1e-10, everything else (flags, contacts, qpos, qvel) exactly.
//   dump  file for the computed tensors, under the names that the file gives them; NULL: none. Written when a tolerance is
//         exceeded, too.
//   log   one line per tensor; NULL: none
// Adds a row per tensor to `report`. Fails: E_TOLERANCE; E_FORMAT (damaged file), E_NOT_FOUND (task not in the registry).
brc_status brc_verify_env(const brc_st_file *f, const brc_assets *assets, const char *dump, FILE *log,
                          brc_verify_report *report);
#endif
