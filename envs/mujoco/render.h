// Pictures of a simulation, drawn off-screen by MuJoCo's own renderer. OpenGL comes from EGL (no display needed) or OSMesa (software),
// loaded when the first picture is asked for.
#ifndef BRC_MJ_RENDER_H
#define BRC_MJ_RENDER_H
#include "base/base.h"

struct brc_mj_sim;

typedef struct brc_mj_renderer brc_mj_renderer;
typedef struct brc_mj_render_options {
  int width, height;  // pixels
  const char *
      camera;  // a camera's name or number, "free" for MuJoCo's free camera; NULL: the first one, free if there is none
  const char *
      gl;  // "egl", "osmesa"; NULL: what is there, EGL before OSMesa. BRC_EGL_LIB, BRC_OSMESA_LIB: other libraries
} brc_mj_render_options;

// Borrows the simulation. One at a time, used by the thread that made it. E_UNSUPPORTED: no OpenGL, and what to install;
// E_NOT_FOUND: no such camera, and which there are.
brc_status brc_mj_renderer_create(brc_mj_renderer **out, struct brc_mj_sim *s, const brc_mj_render_options *o);
void brc_mj_renderer_free(brc_mj_renderer *r);
// The simulation as it is: rgb [height, width, 3], the top row first.
brc_status brc_mj_renderer_draw(brc_mj_renderer *r, uint8_t *rgb);
// Seconds that the simulation has run since its reset.
double brc_mj_time(const struct brc_mj_sim *s);
#endif
