// Memory plan: activations share one arena by lifetime. `by_shape`: only those of one shape share with each other, so that parts of ops
// that run side by side (hazard.h) need to wait for none but those of the same members and rows; that takes more memory, most often up to
// half as much again.
#include "graph/graph.h"
#include <stdlib.h>
#include <string.h>

// Every tensor starts on 512 bytes.
#define ALIGN 128u

static void touch(brc_tensor *t, int op) {
  if (!t || t->storage) return;
  brc_tensor *r = t->root;
  if (r->first < 0) r->first = op;
  r->last = op;
}

static int by_size(const void *a, const void *b) {
  const brc_tensor *x = *(brc_tensor *const *)a, *y = *(brc_tensor *const *)b;
  uint64_t nx = brc_tensor_elements(x), ny = brc_tensor_elements(y);
  if (nx != ny) return nx > ny ? -1 : 1;
  return x->first != y->first ? (x->first < y->first ? -1 : 1) : 0;
}

static int by_offset(const void *a, const void *b) {
  const brc_tensor *x = *(brc_tensor *const *)a, *y = *(brc_tensor *const *)b;
  return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static bool may_share(const brc_program *p, const brc_tensor *x, const brc_tensor *y) {
  const bool same = x->members == y->members && x->rows == y->rows && x->pitch == y->pitch;
  return (same || !p->by_shape) && (x->first > y->last || y->first > x->last);
}

// Lowest offset at which t fits between the placed tensors that may not share with it (`busy`, sorted by offset).
static uint64_t lowest_gap(brc_tensor *const *busy, size_t count, uint64_t need) {
  uint64_t at = 0;
  for (size_t i = 0; i < count; i++) {
    if (busy[i]->offset >= at + need) break;
    uint64_t end = BRC_ROUND_UP(busy[i]->offset + brc_tensor_elements(busy[i]), ALIGN);
    if (end > at) at = end;
  }
  return at;
}

brc_status brc_program_finish(brc_program *p) {
  if (p->status) return brc_program_status(p);
  if (p->finished) return BRC_OK;
  p->finished = true;
  for (size_t i = 0; i < p->op_count; i++) {
    const brc_op_info *info = &brc_op_infos[p->ops[i]->kind];
    for (int j = 0; j < info->inputs; j++) touch(p->ops[i]->in[j], (int)i);
    for (int j = 0; j < info->outputs; j++) touch(p->ops[i]->out[j], (int)i);
  }
  brc_tensor **list = calloc(2 * p->tensor_count + 1, sizeof *list),
             **busy = list ? list + p->tensor_count : NULL;
  if (!list) return brc_fail(BRC_E_NOMEM, "out of memory while planning program '%s'", p->name);
  size_t count = 0;
  for (size_t i = 0; i < p->tensor_count; i++) {
    brc_tensor *t = p->tensors[i];
    if (t->storage || t->root != t || t->first < 0) continue;
    if (t->tap) t->last = (int)p->op_count;  // read after the run
    p->arena_unplanned += BRC_ROUND_UP(brc_tensor_elements(t), ALIGN);
    list[count++] = t;
  }
  // Largest first, each at the lowest place that it may have.
  qsort(list, count, sizeof *list, by_size);
  for (size_t i = 0; i < count; i++) {
    size_t n = 0;
    for (size_t j = 0; j < i; j++)
      if (!may_share(p, list[i], list[j])) busy[n++] = list[j];
    qsort(busy, n, sizeof *busy, by_offset);
    list[i]->offset = lowest_gap(busy, n, brc_tensor_elements(list[i]));
    uint64_t end = BRC_ROUND_UP(list[i]->offset + brc_tensor_elements(list[i]), ALIGN);
    if (end > p->arena_elements) p->arena_elements = end;
  }
  for (size_t i = 0; i < p->tensor_count; i++) {
    brc_tensor *t = p->tensors[i];
    if (!t->storage && t->root != t) t->offset += t->root->offset;
  }
  free(list);
  return BRC_OK;
}
