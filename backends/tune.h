// Tuning: which of a device's candidates is fastest for each product of some programs, measured; the file that keeps the choices.
// `programs` are NULL-terminated.
#ifndef BRC_TUNE_H
#define BRC_TUNE_H
#include "backends/rates.h"

//------------------------ 1. Measuring ----------------------------------------
// One measured product: the backend's own rule, and the fastest candidate ("" where no candidate beats the rule).
typedef struct brc_tuned {
  brc_choice best;
  uint32_t calls, candidates;  // in one run of the programs; those that could compute it
  double rule_s, best_s;
} brc_tuned;
typedef void brc_tuned_fn(void *self, const brc_tuned *row);

typedef struct brc_tune_report {
  uint32_t products, measured;  // distinct ones of the programs; those for which there was time
  double seconds;               // it took
  double rule_s, best_s;        // of the measured products in one run of the programs: by the rules, as chosen
} brc_tune_report;

// Measure the distinct products, those with the most work first, until about `budget_s` is spent (the first one in any case); what is
// left follows the backend's rules. A candidate is chosen when it is faster than the rule by more than noise; one that fails is
// left out. `tell` may be NULL. The device's own choices are as before afterwards. E_UNSUPPORTED: the backend has no candidates.
brc_status brc_tune(brc_device *d, const brc_program *const *programs, double budget_s, brc_choices *out,
                    brc_tune_report *report, brc_tuned_fn *tell, void *self);
// Take out the rows whose choice the device does not have; their number, and the first of them (where there is one).
uint32_t brc_tune_prune(brc_device *d, brc_choices *t, brc_choice *first);

//------------------------ 2. The file -----------------------------------------
// {device, driver, kernels, products}: written whole or not at all; read back only for the same device, driver and kernels (E_UNSUPPORTED
// names what differs).
brc_status brc_tuning_write(const char *path, const brc_device *d, const brc_choices *t);
brc_status brc_tuning_read(const char *path, const brc_device *d, brc_choices *out);
// Where the cache keeps the choices for these programs: BRC_CACHE/tuning/KEY.json, the key a hash of device, driver, kernels, the
// providers there, and every product with its precision.
#define BRC_TUNING_PATH 4200
brc_status brc_tuning_path(const brc_device *d, const brc_program *const *programs, char *out, size_t bytes);
#endif
