// Replays golden sequences of rewards through the reward normaliser.
#ifndef BRC_VERIFY_NORMALIZER_H
#define BRC_VERIFY_NORMALIZER_H
#include "train/verify.h"

// `json_path`: { cases[]: { num_tasks, steps, discount, v_max, target_entropy, rewards, terminal, truncated [steps][tasks],
//   checks[]: { after_step, alpha, returns_min, returns_max, denominator [tasks], sample_task, sample_reward, sample_normalized } } }
// where "inf" and "-inf" are strings. Adds one row per quantity, over all cases; an infinity must be met exactly. That a row
// exceeds its tolerance is in the report, not in the status.
// Fails: E_FORMAT (malformed, or nothing to compare), E_NOT_FOUND, E_IO, E_NOMEM.
brc_status brc_verify_normalizer(const char *json_path, brc_verify_report *report);
#endif
