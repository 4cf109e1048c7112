// The order of a program's commands on a queue that has none: a step waits for those steps before it that touch the same elements
// (graph/hazard.h), less those that another one it waits for has waited for already.
#ifdef BRC_HAVE_OPENCL
#include "backends/opencl/opencl.h"
#include "graph/hazard.h"

#include <stdlib.h>
#include <string.h>

// The steps of an op, or, where it is cut, those of some members of it: then these do not wait for the others.
typedef struct op_node {
  brc_access uses[BRC_MAX_IN + BRC_MAX_OUT];
  int use_count;
  uint32_t first, end;  // its steps
  bool waited_for;
} op_node;

static bool conflict(const op_node *a, const op_node *b) {
  for (int i = 0; i < a->use_count; i++)
    for (int j = 0; j < b->use_count; j++)
      if (brc_access_conflict(&a->uses[i], &b->uses[j])) return true;
  return false;
}

static bool get(const uint64_t *set, size_t i) { return set[i / 64] >> (i % 64) & 1; }
static void put(uint64_t *set, size_t i) { set[i / 64] |= (uint64_t)1 << (i % 64); }

// The steps at whose end an op is done: its shares, or its last step.
static uint32_t first_of_end(const brc_exec *x, const op_node *n) {
  return x->steps[n->first].share ? n->first : n->end - 1;
}

// What each step waits for, one behind the other in `waits`. done[i]: nodes that are done when node i may begin.
static void make_waits(brc_exec *x, op_node *nodes, size_t count, uint64_t *done, size_t words) {
  ocl_order *o = &x->order;
  uint32_t used = 0;
  for (size_t i = 0; i < count; i++) {
    const uint32_t first = used;
    for (size_t j = i; j-- > 0;) {
      if (get(done + i * words, j) || !conflict(&nodes[j], &nodes[i])) continue;
      for (uint32_t s = first_of_end(x, &nodes[j]); s < nodes[j].end; s++) o->waits[used++] = s;
      put(done + i * words, j);
      for (size_t w = 0; w < words; w++) done[i * words + w] |= done[j * words + w];
      nodes[j].waited_for = true;
    }
    for (uint32_t s = nodes[i].first; s < nodes[i].end; s++) {
      o->steps[s] = (struct ocl_step_waits){first, used - first};
      if (s == nodes[i].first || x->steps[s].share) continue;
      o->waits[used + s - nodes[i].first - 1] = s - 1;
      o->steps[s] = (struct ocl_step_waits){used + s - nodes[i].first - 1, 1};
    }
    if (!x->steps[nodes[i].first].share) used += nodes[i].end - nodes[i].first - 1;
  }
  for (size_t i = 0; i < count; i++)
    for (uint32_t s = first_of_end(x, &nodes[i]); s < nodes[i].end && !nodes[i].waited_for; s++)
      o->last[o->last_count++] = s;
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
      n->use_count = brc_op_accesses_of(one->op, one->first_member, one->members, n->uses);
      n->first = s;
      while (s < steps && x->steps[s].op == one->op && x->steps[s].first_member == one->first_member) s++;
      n->end = s;
    }
    make_waits(x, nodes, count, done, words);
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
