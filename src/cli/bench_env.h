// brc bench env: how fast tasks step, beside MuJoCo's own rate.
#ifndef BRC_CLI_BENCH_ENV_H
#define BRC_CLI_BENCH_ENV_H
#include "train/train.h"

// Each task alone on one thread for about `seconds`: control steps per second through the pool (resets included), the rate of its
// mj_step calls alone, their share of a step's time. Then all tasks together on one thread and on config.threads.
// Prints a table or one JSON object.
brc_status brc_bench_env(const brc_train_config *c, double seconds, bool json);
#endif
