// TensorBoard's event files, written by hand: records of TFRecord framing, each a protobuf Event.
#ifndef BRC_TENSORBOARD_H
#define BRC_TENSORBOARD_H
#include "base/base.h"

typedef struct brc_events brc_events;

// A new file FOLDER/events.out.tfevents.SECONDS.brc that sorts behind those already there. It says that what earlier files
// hold behind `step` is void: a run that goes on from its checkpoint writes those steps again.
brc_status brc_events_open(brc_events **out, const char *folder, uint64_t step);
// The values of one step, handed to the system before this returns. NaN: no value. A name given before at this step is left
// out: rows of two logs share columns.
brc_status brc_events_write(brc_events *e, uint64_t step, const char *const *names, const double *values,
                            size_t count);
void brc_events_close(brc_events *e);

// The checksum of a record's length and of its bytes: CRC-32C, rotated and shifted as TFRecord wants it.
uint32_t brc_events_checksum(const void *data, size_t bytes);
#endif
