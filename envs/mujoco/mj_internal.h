// Between library.c, model.c, sim.c and restore.c only.
#ifndef BRC_MJ_INTERNAL_H
#define BRC_MJ_INTERNAL_H
#include "envs/mujoco/mj.h"

#include <setjmp.h>

// Run fn(arg); a fatal error of MuJoCo inside becomes E_VALUE. What fn allocated before it is lost to the caller.
brc_status brc_mj_guard(void (*fn)(void *), void *arg);

// The compiled model of a file, shared by all who ask; each brc_mj_model_get is paid back by a brc_mj_model_put.
brc_status brc_mj_model_get(const mjModel **out, const char *path);
void brc_mj_model_put(const mjModel *m);
#endif
