// What a device can do, measured: time of programs, ops and products; the roofline that an update is held against.
#ifndef BRC_RATES_H
#define BRC_RATES_H
#include "backends/backend.h"

typedef struct brc_timing {
  double median_s, min_s;
} brc_timing;
// Median and least of `count` > 0 times, which are sorted.
brc_timing brc_timing_of(double *seconds, size_t count);

// One run of a compiled program, over about `budget_s` (at least one sample, behind one to warm up). Short programs run several times
// between two looks at the clock, so that waiting for the device does not count.
brc_status brc_time_exec(brc_device *d, brc_exec *e, double budget_s, brc_timing *out);
// One op alone, with operands of its shapes, pitches and strides in memory of its own. The device's choices hold.
brc_status brc_time_op(brc_device *d, const brc_op *op, double budget_s, brc_timing *out);
// One product; its row's choice is not looked at.
brc_status brc_time_product(brc_device *d, const brc_choice *product, double budget_s, brc_timing *out);
// The same in steps, where one product is timed several times: its operands in memory; compiled as the device's choices are now,
// and run; freed. A failed create leaves NULL.
typedef struct brc_lone_op brc_lone_op;
brc_status brc_lone_product_create(brc_lone_op **out, brc_device *d, const brc_choice *product);
brc_status brc_lone_op_time(brc_lone_op *x, double budget_s, brc_timing *out);
void brc_lone_op_free(brc_lone_op *x);

typedef struct brc_roofline {
  double product_flops
      [BRC_PRECISION_COUNT];  // flop/s of the fastest square product (`product_size`); 0: not offered
  uint32_t product_size[BRC_PRECISION_COUNT];
  double copy_bytes;      // bytes/s of a copy on the device, read and written bytes counted
  double launch_s;        // a command that does almost nothing, behind another that it waits for
  uint32_t side_by_side;  // so many of them at once
  double run_s;           // a program of one such command, from handing it over until it is known to be done
} brc_roofline;
// `precisions`: bits; those that the device does not offer are left out.
brc_status brc_roofline_measure(brc_device *d, unsigned precisions, brc_roofline *out);

// The least time of a program on such a device: products at the measured peak of their precision, what all other ops must move at
// the measured bandwidth, `commands` launches.
typedef struct brc_roofline_time {
  double products_s, bytes_s, launches_s, total_s;
} brc_roofline_time;
brc_roofline_time brc_roofline_of(const brc_roofline *r, const brc_program *p, uint32_t commands);
// Of one op, with one launch.
double brc_roofline_op_s(const brc_roofline *r, const brc_op *op);
#endif
