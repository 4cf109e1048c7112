// An OpenGL context without a window, current in the calling thread. For render.c only.
#ifndef BRC_MJ_GL_H
#define BRC_MJ_GL_H
#include "base/base.h"

typedef struct brc_gl {
  void *display, *context;  // EGL's
  void *osmesa;             // OSMesa's
} brc_gl;
// `which`: "egl", "osmesa", NULL for the first that works. E_UNSUPPORTED says what failed and what to install.
brc_status brc_gl_open(brc_gl *g, const char *which);
void brc_gl_close(brc_gl *g);
#endif
