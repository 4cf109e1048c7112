// Replays golden cases of the agent on any backend: whole updates, the projection alone, tapes of the training loop.
// Formats: golden/README.md, golden/tapes/README.md.
#ifndef BRC_VERIFY_AGENT_H
#define BRC_VERIFY_AGENT_H
#include "backends/backend.h"
#include "base/safetensors.h"
#include "train/verify.h"

// Each replays `f` on `device`, compares with expect64/ where it exists, else with expect/, and adds a row per class of tensors.
// dump: file for everything computed, under the expected names without expect/ (NULL: none); written when a tolerance is exceeded,
// too. On a wide (float64) backend the bounds are those of float64 arithmetic.
// That a row exceeds its tolerance is in the report, not in the status. Fails: E_FORMAT (names tensor or key), E_IO, E_NOMEM, E_DEVICE.
brc_status brc_verify_update(const brc_st_file *f, brc_device *device, const char *dump, brc_verify_report *r);
brc_status brc_verify_projection(const brc_st_file *f, brc_device *device, const char *dump,
                                 brc_verify_report *r);
brc_status brc_verify_tape(const brc_st_file *f, brc_device *device, const char *dump, brc_verify_report *r);
// Which of the three a file is, by its metadata; E_FORMAT if none.
brc_status brc_verify_agent_file(const brc_st_file *f, brc_device *device, const char *dump,
                                 brc_verify_report *r);
#endif
