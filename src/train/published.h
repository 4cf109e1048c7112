// The published learning curves, to draw beside one's own: ROOT/SUITE/METHOD/TASK.npy, float64 [seeds, evaluations].
#ifndef BRC_PUBLISHED_H
#define BRC_PUBLISHED_H
#include "train/results.h"

typedef struct brc_published {
  size_t seeds, count;
  double *values;          // [seeds, count]
  double first, interval;  // steps of the first value and between two
} brc_published;

// Where they are: `option` if it is not empty, BRC_REFERENCE, reference/curves in the folder BRC_SHARED or ../shared. False: nowhere.
bool brc_published_root(const char *option, char *out, size_t bytes);
// Of one task and column ("eval_return" or, by suite, a success rate), by the multi-task or the single-task method.
// E_NOT_FOUND: there is none. E_FORMAT: the file and what is wrong with it.
brc_status brc_published_read(brc_published *out, const char *root, const char *task, const char *column,
                              bool multitask);
void brc_published_free(brc_published *p);
// Mean and interval over seeds at every evaluation.
brc_status brc_published_curve(const brc_published *p, brc_point **out, size_t *count);
#endif
