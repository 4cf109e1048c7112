// A thread that does one thing at a time beside its owner: environments step there while the owner drives a device.
#ifndef BRC_HELPER_H
#define BRC_HELPER_H
#include "base/base.h"

typedef struct brc_helper brc_helper;
typedef brc_status brc_helper_fn(void *arg);

brc_status brc_helper_create(brc_helper **out);
void brc_helper_destroy(brc_helper *h);  // waits for what is under way; NULL is fine
// Begin fn(arg) over there. Nothing may be under way.
void brc_helper_start(brc_helper *h, brc_helper_fn *fn, void *arg);
// Wait for it: its status, and its sentence as this thread's (brc_error).
brc_status brc_helper_join(brc_helper *h);
#endif
