// Between library.c, edit.c, model.c, sim.c and restore.c only.
#ifndef BRC_MJ_INTERNAL_H
#define BRC_MJ_INTERNAL_H
#include "envs/mujoco/mj.h"

#include <setjmp.h>

// Run fn(arg); a fatal error of MuJoCo inside becomes E_VALUE. What fn allocated before it is lost to the caller.
brc_status brc_mj_guard(void (*fn)(void *), void *arg);

// Apply `edits` to an MJCF's text, which the caller took from malloc and frees; it may move.
brc_status brc_mj_edit_text(char **text, const brc_mj_edit *edits);

// The compiled model of a source, shared by all who ask; each brc_mj_model_get is paid back by a brc_mj_model_put.
brc_status brc_mj_model_get(const mjModel **out, const brc_mj_source *source);
void brc_mj_model_put(const mjModel *m);
#endif
