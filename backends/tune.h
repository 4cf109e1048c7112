// Tuning: which of a device's candidates is fastest for each product of a program, measured; the file that keeps the choices.
#ifndef BRC_TUNE_H
#define BRC_TUNE_H
#include "backends/rates.h"

// One measured product: the backend's own rule, and the fastest candidate ("" where no candidate beats the rule).
typedef struct brc_tuned {
  brc_choice best;
  uint32_t calls, candidates;  // in one run of the program; those that could compute it
  double rule_s, best_s;
} brc_tuned;
typedef void brc_tuned_fn(void *self, const brc_tuned *row);

// Measure the distinct products of `p`, those with the most work first, until about `budget_s` is spent; what is left follows the
// backend's rules. A candidate is chosen when it is faster than the rule by more than noise. `tell` may be NULL. The device's own choices
// are as before afterwards. E_UNSUPPORTED: the backend has no candidates.
brc_status brc_tune(brc_device *d, const brc_program *p, double budget_s, brc_choices *out, brc_tuned_fn *tell,
                    void *self);
// {device, driver, kernels, products}: written whole or not at all; read back only for the same device, driver and kernels (E_UNSUPPORTED
// names what differs).
brc_status brc_tuning_write(const char *path, const brc_device *d, const brc_choices *t);
brc_status brc_tuning_read(const char *path, const brc_device *d, brc_choices *out);
#endif
