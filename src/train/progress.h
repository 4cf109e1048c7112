// What a run shows on stderr while it trains: on a terminal one line that is written over, every evaluation kept above it;
// else plain lines. Rates and the time left are those of the last half minute.
#ifndef BRC_PROGRESS_H
#define BRC_PROGRESS_H
#include "train/train.h"

typedef struct brc_progress {
  const brc_trainer *trainer;
  bool terminal, open;  // open: the line on the terminal has no end yet
  double shown_s;
  double at_s[32];  // a ring of the last times and steps, one a second
  uint64_t at_step[32];
  size_t marks;
} brc_progress;
void brc_progress_begin(brc_progress *p, const brc_trainer *t);
void brc_progress_step(brc_progress *p);  // after every step: shows what is due
void brc_progress_eval(brc_progress *p, const brc_eval_result *eval);
void brc_progress_end(brc_progress *p);
#endif
