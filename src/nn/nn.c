#include "nn/nn.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

const char *const brc_role_names[BRC_ROLES] = {"params", "grad", "m", "v", "target"};

void brc_group_init(brc_group *g, const char *name, bool has_target) {
  memset(g, 0, sizeof *g);
  g->name = name;
  g->has_target = has_target;
  for (int r = 0; r < BRC_ROLES; r++) {
    snprintf(g->storage_names[r], sizeof g->storage_names[r], "%s/%s", name, brc_role_names[r]);
    g->storage[r].name = g->storage_names[r];
  }
}

void brc_group_close(brc_group *g) { g->closed = true; }

const brc_param *brc_group_find(const brc_group *g, const char *name) {
  for (size_t i = 0; i < g->count; i++)
    if (!strcmp(g->params[i].name, name)) return &g->params[i];
  return NULL;
}

int brc_param_shape(const brc_param *q, uint64_t shape[3]) {
  int rank = 0;
  if (q->ensemble) shape[rank++] = q->members;
  if (q->matrix) shape[rank++] = q->rows;
  shape[rank++] = q->cols;
  return rank;
}

brc_tensor *brc_group_tensor(brc_program *p, brc_group *g, brc_role role, const brc_param *q) {
  return brc_external(p, &g->storage[role], q->name, q->offset, q->members, q->rows, q->cols, q->pitch,
                      q->stride);
}

brc_tensor *brc_group_flat(brc_program *p, brc_group *g, brc_role role) {
  if (g->elements > UINT32_MAX - 64 && !p->status) {  // kernels index a group with 32 bits
    p->status = BRC_E_SHAPE;
    snprintf(p->error, sizeof p->error, "group '%s' has %llu elements, more than 2^32", g->name,
             (unsigned long long)g->elements);
  }
  uint32_t n = (uint32_t)g->elements;
  return brc_external(p, &g->storage[role], g->storage_names[role], 0, 1, 1, n, n, 0);
}

size_t brc_group_wrt(brc_program *p, brc_group *g, brc_wrt *out) {
  for (size_t i = 0; i < g->count; i++)
    out[i] = (brc_wrt){brc_group_tensor(p, g, BRC_PARAM, &g->params[i]),
                       brc_group_tensor(p, g, BRC_GRAD, &g->params[i])};
  return g->count;
}

// Find a parameter, or declare it while the group is open.
static brc_tensor *param(const brc_net *n, const char *name, const char *leaf, uint32_t members, uint32_t rows,
                         uint32_t cols, brc_init init, double gain, bool ensemble) {
  brc_group *g = n->group;
  char full[64];
  snprintf(full, sizeof full, "%s%s%s", name, *leaf ? "/" : "", leaf);
  const brc_param *found = brc_group_find(g, full);
  if (!found && !g->closed && g->count < BRC_COUNT(g->params)) {
    brc_param *q = &g->params[g->count++];
    *q = (brc_param){.members = members,
                     .rows = rows,
                     .cols = cols,
                     .pitch = brc_pitch(cols),
                     .offset = g->elements,
                     .init = init,
                     .gain = gain,
                     .ensemble = ensemble,
                     .matrix = init == BRC_INIT_ORTHOGONAL || init == BRC_INIT_NORMAL};
    snprintf(q->name, sizeof q->name, "%s", full);
    uint64_t one = (uint64_t)rows * q->pitch;
    q->stride = members > 1 ? BRC_ROUND_UP(one, 16u) : 0;
    g->elements += BRC_ROUND_UP((members - 1) * q->stride + one, 128u);
    for (int r = 0; r < BRC_ROLES; r++) g->storage[r].elements = g->elements;
    found = q;
  }
  if (!found || found->members != members || found->rows != rows || found->cols != cols) {
    if (!n->p->status) {
      n->p->status = BRC_E_SHAPE;
      snprintf(n->p->error, sizeof n->p->error, "group '%s' has no parameter '%s' [%u, %u, %u]", g->name, full,
               members, rows, cols);
    }
    found = &g->params[0];
  }
  return brc_group_tensor(n->p, g, n->role, found);
}

brc_tensor *brc_nn_dense(const brc_net *n, const char *name, brc_tensor *x, uint32_t out, double gain) {
  brc_program_scope(
      n->p, brc_arena_printf(&n->p->mem, "%s/%s", n->role == BRC_TARGET ? "target" : n->group->name, name));
  bool e = n->members > 1 || n->group->has_target;  // critics keep their member axis
  brc_tensor *kernel = param(n, name, "kernel", n->members, x->cols, out, BRC_INIT_ORTHOGONAL, gain, e);
  brc_tensor *bias = param(n, name, "bias", n->members, 1, out, BRC_INIT_ZERO, 0, e);
  brc_tensor *y = brc_dense(n->p, x, kernel, bias);
  brc_program_scope(n->p, NULL);
  return y;
}

brc_tensor *brc_nn_dense_norm(const brc_net *n, const char *dense, const char *norm, brc_tensor *x,
                              uint32_t width, brc_tensor *residual, bool relu) {
  brc_tensor *y = brc_nn_dense(n, dense, x, width, sqrt(2.0));
  bool e = n->members > 1 || n->group->has_target;
  brc_program_scope(
      n->p, brc_arena_printf(&n->p->mem, "%s/%s", n->role == BRC_TARGET ? "target" : n->group->name, norm));
  brc_tensor *scale = param(n, norm, "scale", n->members, 1, width, BRC_INIT_ONE, 0, e);
  brc_tensor *bias = param(n, norm, "bias", n->members, 1, width, BRC_INIT_ZERO, 0, e);
  y = brc_norm(n->p, y, scale, bias, residual, relu, n->eps);
  brc_program_scope(n->p, NULL);
  return y;
}

brc_tensor *brc_nn_bronet(const brc_net *n, brc_tensor *x, uint32_t width, uint32_t depth) {
  brc_tensor *h = brc_nn_dense_norm(n, "input", "input_norm", x, width, NULL, true);
  for (uint32_t i = 0; i < depth; i++) {
    char name[4][32];
    for (int j = 0; j < 4; j++)
      snprintf(name[j], sizeof name[j], "block%u/%s%d", i, j % 2 ? "norm" : "dense", j / 2);
    brc_tensor *r = brc_nn_dense_norm(n, name[0], name[1], h, width, NULL, true);
    h = brc_nn_dense_norm(n, name[2], name[3], r, width, h, false);
  }
  return h;
}

brc_tensor *brc_nn_embedding(const brc_net *n, uint32_t tasks, uint32_t dim, int norm) {
  brc_program_scope(n->p, n->role == BRC_TARGET ? "target/embedding" : "critic/embedding");
  brc_tensor *table = param(n, "embedding", "", 1, tasks, dim, BRC_INIT_NORMAL, 1.0 / sqrt(dim), false);
  brc_tensor *e = brc_embed(n->p, table, norm);
  brc_program_scope(n->p, NULL);
  return e;
}
