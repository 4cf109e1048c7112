// What a run would take, before it begins: memory of device and host, disk, time. Nothing is written.
#ifndef BRC_DRY_RUN_H
#define BRC_DRY_RUN_H
#include "train/train.h"

typedef struct brc_dry_run {
  brc_device_info device;
  char why[640];  // why this device; empty: it was asked for
  // Bytes.
  brc_agent_memory agent;
  uint64_t device_total, device_has;  // a CPU device's memory is the host's: it counts there too
  uint64_t replay,
      environments;     // rows that `steps` fill, at most the ring; the tasks' environments as measured here
  uint64_t evaluation;  // more environments while evaluating, as measured here
  uint64_t saving;      // the state's copy while a checkpoint is written
  uint64_t host_total, host_has;  // available now, within the limits of this process's cgroup
  uint64_t state_file, rows_file, logs;
  uint64_t disk_total, disk_has;  // with the new state file beside the old one
  // Measured, seconds; NAN where memory or disk does not suffice.
  double act_s, env_s, data_s, update_s;  // of one environment step of all tasks, all its updates included
  double evaluation_s;                    // one, if no episode ends early
  double total_s;                         // from step 0 on; without writing checkpoints
  int threads;
} brc_dry_run;

// `c` is resolved. Opens the device and makes the environments; networks only if they fit. E_NOMEM: what does not suffice, and
// what to lower; `out` is then filled but for the times.
brc_status brc_dry_run_measure(brc_dry_run *out, const brc_train_config *c);
#endif
