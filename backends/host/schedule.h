// From a program to phases: what the host backend runs between two barriers.
//
// A step is one op with its operands resolved. Row-local steps compute rows of a batch from the same rows (dense, norm,
// tanh_normal, ...); all others are wide. A phase is either
//   a segment    row-local steps run one behind the other for a block of rows, while that is hot in the cache, all blocks in
//                parallel; or
//   a group      wide steps that do not depend on each other, their items in one parallel loop.
// Steps change places only where the elements they touch allow it. Activations that live in one segment only lie in memory of
// the thread, one block large; the others are placed by the phases they live in.
#ifndef BRC_HOST_SCHEDULE_H
#define BRC_HOST_SCHEDULE_H
#include "backends/backend.h"
#include "backends/host/gemm.h"

enum { HOST_OPERANDS = BRC_MAX_IN + BRC_MAX_OUT };

// What a step does with one tensor. Operand i of an op is input i, operand BRC_MAX_IN + i output i.
typedef struct host_use {
  int root;         // index in schedule.roots; -1: absent
  uint64_t offset;  // in elements, behind the root's first
  uint32_t members, rows, cols, pitch;
  uint64_t stride;
  bool reads, writes;
  bool aligned;  // a row-local step touches row r of it for row r only
} host_use;

typedef struct host_step {
  const brc_op *op;
  brc_host_op host;  // operands in external storage and in the shared arena are final
  brc_host_op_fn *fn;
  bool local;
  uint32_t members, rows;  // what a call's ranges count
  uint32_t grain;          // rows that an item takes at least, and a multiple of it
  double work;             // of the whole step, in about one floating-point operation
  host_use uses[HOST_OPERANDS];
  int phase, stretch;  // stretch: of its segment
} host_step;

// A piece of memory that operands lie in: a storage, an activation, or the transposed copy of a kernel.
typedef struct host_root {
  const brc_storage *storage;  // NULL: an activation or a copy
  const brc_tensor *tensor;
  uint64_t elements;
  uint32_t rows, pitch, members;
  uint64_t stride;
  bool keep;                                           // read after the run
  int first_phase, last_phase, first_step, last_step;  // steps: positions in the phase, for block-local roots
  bool block_local, one_stretch;
  uint64_t place;  // in the arena, or in the thread's memory when block_local
} host_root;

typedef struct host_phase {
  bool segment;
  int *steps, count;     // in order of execution
  uint32_t rows, block;  // segment: rows of the batch, rows of an item
  uint32_t *first_item;  // group: first item of each step, and the number of items behind the last
  uint32_t items;
  int *stretches,
      stretch_count;  // segment: positions where a stretch begins, and the end; members loop inside a stretch
} host_phase;

typedef struct host_schedule {
  brc_arena mem;
  host_step *steps;
  int step_count;
  host_root *roots;
  int root_count;
  host_phase *phases;
  int phase_count;
  uint64_t arena_elements, block_elements;  // shared; per thread
} host_schedule;

typedef struct host_schedule_options {
  const brc_host_kernels *kernels;
  brc_host_product_fn *product;
  const brc_host_bf16 *bf16;  // products in bf16; NULL: by the kernels, rounded, as those in other precisions
  int threads;
  bool fuse;              // otherwise each step is its own phase, in program order
  bool bits_from_blocks;  // the product's bits depend on its blocks: they follow from the shape alone
} host_schedule_options;

brc_status host_schedule_make(host_schedule *s, const brc_program *p, const host_schedule_options *options);
void host_schedule_free(host_schedule *s);
// Where a root begins: only roots with a storage or in the shared arena (base `arena`).
float *host_root_data(const host_root *r, float *arena);
// Elements of the buffer behind a storage (host.c).
float *host_buffer_data(const struct brc_buffer *b);
#endif
