#ifndef BRC_CLI_DRY_RUN_H
#define BRC_CLI_DRY_RUN_H
#include "train/train.h"
// Print what a run of this resolved configuration would take; nothing is written. E_NOMEM: it does not fit.
brc_status brc_cli_dry_run(const brc_train_config *c);
#endif
