// Networks: functions that add ops to a program, and the flat parameter groups they draw from.
// A layer is written once: while a group is open, asking for a parameter declares it; once closed, it must exist.
#ifndef BRC_NN_H
#define BRC_NN_H
#include "graph/graph.h"

//------------------------ 1. Parameter groups ----------------------------------
typedef enum brc_init { BRC_INIT_ZERO, BRC_INIT_ONE, BRC_INIT_ORTHOGONAL, BRC_INIT_NORMAL } brc_init;

// One row of a group's layout. Files hold the dense tensor [members, rows, cols] (without the leading 1s).
typedef struct brc_param {
  char name[64];  // "block0/dense1/kernel"
  uint32_t members, rows, cols, pitch;
  uint64_t stride, offset;  // in elements; every tensor starts on 512 bytes
  brc_init init;
  double gain;    // orthogonal: K'K = gain² I; normal: standard deviation
  bool ensemble;  // files keep the leading member axis even for one member
  bool matrix;    // files keep both axes even for one row
} brc_param;

typedef enum brc_role { BRC_PARAM, BRC_GRAD, BRC_M, BRC_V, BRC_TARGET, BRC_ROLES } brc_role;
extern const char *const brc_role_names[BRC_ROLES];

typedef struct brc_group {
  const char *name;       // "critic", "actor", "temperature"
  brc_param params[264];  // an actor of 32 blocks, as many as its option takes, has 264
  size_t count;
  uint64_t elements;
  brc_storage storage[BRC_ROLES];  // equal layout; TARGET only if has_target
  char storage_names[BRC_ROLES][32];
  bool has_target, closed;
} brc_group;

void brc_group_init(brc_group *g, const char *name, bool has_target);
void brc_group_close(brc_group *g);
const brc_param *brc_group_find(const brc_group *g, const char *name);  // NULL if absent
// The shape that files give a parameter; returns the rank, at most 3.
int brc_param_shape(const brc_param *q, uint64_t shape[3]);
// The tensor of a parameter (or of its gradient, moment, target) in a program.
brc_tensor *brc_group_tensor(brc_program *p, brc_group *g, brc_role role, const brc_param *param);
// The whole group as one flat tensor [1,1,elements].
brc_tensor *brc_group_flat(brc_program *p, brc_group *g, brc_role role);
// Every parameter with its gradient; returns the count (at most BRC_COUNT(g->params)).
size_t brc_group_wrt(brc_program *p, brc_group *g, brc_wrt *out);

//------------------------ 2. Layers --------------------------------------------
// Parameters come from `role` of the group (PARAM or TARGET), under `name`.
typedef struct brc_net {
  brc_program *p;
  brc_group *group;
  brc_role role;
  uint32_t members;
  double eps;  // LayerNorm
} brc_net;

brc_tensor *brc_nn_dense(const brc_net *n, const char *name, brc_tensor *x, uint32_t out, double gain);
// Dense, then LayerNorm under the names `dense` and `norm`, then relu or a residual.
brc_tensor *brc_nn_dense_norm(const brc_net *n, const char *dense, const char *norm, brc_tensor *x,
                              uint32_t width, brc_tensor *residual, bool relu);
// h = relu(LN(Dense(x))); depth times: h = h + LN(Dense(relu(LN(Dense(h))))). Source: BRO (Nauman et al. 2024).
brc_tensor *brc_nn_bronet(const brc_net *n, brc_tensor *x, uint32_t width, uint32_t depth);
// Table [tasks, dim] named "embedding", rows normalised.
brc_tensor *brc_nn_embedding(const brc_net *n, uint32_t tasks, uint32_t dim, int norm);
#endif
