// The order of a program's commands on a queue that has none: a step waits for those steps before it that touch the same elements
// (graph/hazard.h), and for those on the same members and rows, less those that another one it waits for has waited for already.
#ifdef BRC_HAVE_OPENCL
#include "backends/opencl/opencl.h"

#include <stdlib.h>
#include <string.h>

// The steps of a part of an op, one behind the other.
typedef struct op_node {
  const brc_op *op;
  brc_access uses[BRC_MAX_IN + BRC_MAX_OUT];
  int use_count;
  uint32_t first, end;  // its steps
  uint32_t number, of;  // among the op's parts, from 1 on
  bool kernel_rows;     // cut by rows of a kernel
  bool waited_for;
} op_node;

// Where two ops are cut into as many parts, those of one number work on the same members and rows, but for rows of a kernel in dense_dw. They
// are chained, so that these stay in one core's cache while another core takes the other chain (two cores, W 256: 1 % of an update).
static bool of_one_chain(const op_node *a, const op_node *b) {
  return a->of > 1 && a->of == b->of && a->number == b->number && !a->kernel_rows && !b->kernel_rows;
}

static bool comes_before(const op_node *a, const op_node *b) {
  if (a->op == b->op) return false;
  if (of_one_chain(a, b)) return true;
  for (int i = 0; i < a->use_count; i++)
    for (int j = 0; j < b->use_count; j++)
      if (brc_access_conflict(&a->uses[i], &b->uses[j])) return true;
  return false;
}

static bool get(const uint64_t *set, size_t i) { return set[i / 64] >> (i % 64) & 1; }
static void put(uint64_t *set, size_t i) { set[i / 64] |= (uint64_t)1 << (i % 64); }

// What each step waits for, one behind the other in `waits`. done[i]: nodes that are done when node i may begin.
static void make_waits(ocl_order *o, op_node *nodes, size_t count, uint64_t *done, size_t words) {
  uint32_t used = 0;
  for (size_t i = 0; i < count; i++) {
    const uint32_t first = used;
    for (size_t j = i; j-- > 0;) {
      if (get(done + i * words, j) || !comes_before(&nodes[j], &nodes[i])) continue;
      o->waits[used++] = nodes[j].end - 1;
      put(done + i * words, j);
      for (size_t w = 0; w < words; w++) done[i * words + w] |= done[j * words + w];
      nodes[j].waited_for = true;
    }
    o->steps[nodes[i].first] = (struct ocl_step_waits){first, used - first};
    for (uint32_t s = nodes[i].first + 1; s < nodes[i].end; s++) {
      o->waits[used] = s - 1;
      o->steps[s] = (struct ocl_step_waits){used++, 1};
    }
  }
  for (size_t i = 0; i < count; i++)
    if (!nodes[i].waited_for) o->last[o->last_count++] = nodes[i].end - 1;
}

bool ocl_same_part(const ocl_step *a, const ocl_step *b) {
  return a->op == b->op && !memcmp(&a->part, &b->part, sizeof a->part);
}

brc_status ocl_order_make(brc_exec *x) {
  const size_t steps = x->step_count, words = steps / 64 + 1;
  ocl_order *o = &x->order;
  op_node *nodes = calloc(steps + 1, sizeof *nodes);
  uint64_t *done = calloc(steps * words + 1, sizeof *done);
  // A node waits for at most all steps before it.
  *o = (ocl_order){.steps = calloc(steps + 1, sizeof *o->steps),
                   .waits = calloc(steps * (steps + 1) + 1, sizeof *o->waits),
                   .last = calloc(steps + 1, sizeof *o->last),
                   .events = calloc(steps + 1, sizeof *o->events),
                   .list = calloc(steps + 1, sizeof *o->list)};
  brc_status st = BRC_OK;
  if (!nodes || !done || !o->steps || !o->waits || !o->last || !o->events || !o->list) {
    st = brc_fail(BRC_E_NOMEM, "OpenCL: out of memory");
  } else {
    size_t count = 0;
    for (uint32_t s = 0; s < steps; count++) {
      const ocl_step *one = &x->steps[s];
      op_node *n = &nodes[count];
      *n = (op_node){.op = one->op, .first = s};
      n->use_count = brc_op_accesses_of(one->op, &one->part, n->uses);
      while (s < steps && ocl_same_part(one, &x->steps[s])) s++;
      n->end = s;
      n->number = 1 + (count && n[-1].op == n->op ? n[-1].number : 0);
      for (uint32_t i = 0; i < n->number; i++) nodes[count - i].of = n->number;
      n->kernel_rows = n->op->kind == BRC_OP_dense_dw && one->part.rows < n->op->out[0]->rows;
    }
    make_waits(o, nodes, count, done, words);
  }
  free(nodes);
  free(done);
  return st;
}

void ocl_order_free(ocl_order *o) {
  free(o->steps);
  free(o->waits);
  free(o->last);
  free(o->events);
  free(o->list);
}
#endif
