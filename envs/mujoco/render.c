#include "envs/mujoco/render.h"
#include "envs/mujoco/mj.h"

#ifndef BRC_HAVE_MUJOCO
brc_status brc_mj_renderer_create(brc_mj_renderer **out, struct brc_mj_sim *s, const brc_mj_render_options *o) {
  (void)s, (void)o;
  *out = NULL;
  return brc_mj_open();
}
void brc_mj_renderer_free(brc_mj_renderer *r) { (void)r; }
brc_status brc_mj_renderer_draw(brc_mj_renderer *r, uint8_t *rgb) { return (void)r, (void)rgb, brc_mj_open(); }
double brc_mj_time(const struct brc_mj_sim *s) { return (void)s, 0; }
#else
#include "envs/mujoco/gl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_GEOMS = 20000 };  // of a scene, decoration included

struct brc_mj_renderer {
  brc_mj_sim *sim;
  brc_gl gl;
  bool made;  // scene and context exist
  mjvScene scene;
  mjrContext context;
  mjvCamera camera;
  mjvOption option;
  mjrRect all;
  uint8_t *bottom_up;  // what OpenGL gives
};

static brc_status no_camera(const mjModel *m, const char *name) {
  char have[512] = "";
  for (int i = 0; i < m->ncam; i++) {
    const char *known = brc_mj.mj_id2name(m, mjOBJ_CAMERA, i);
    snprintf(have + strlen(have), sizeof have - strlen(have), ", %d%s%s", i, known ? " " : "",
             known ? known : "");
  }
  return brc_fail(BRC_E_NOT_FOUND, "there is no camera '%s'; there are: free%s", name, have);
}

static brc_status choose_camera(brc_mj_renderer *r, const char *name) {
  const mjModel *m = &r->sim->model;
  brc_mj.mjv_defaultFreeCamera(m, &r->camera);
  if ((!name && m->ncam == 0) || (name && !strcmp(name, "free"))) return BRC_OK;
  int id = 0;
  if (name) {
    char *end;
    id = brc_mj.mj_name2id(m, mjOBJ_CAMERA, name);
    long number = strtol(name, &end, 10);
    if (id < 0 && *name && !*end && number >= 0 && number < m->ncam) id = (int)number;
  }
  if (id < 0) return no_camera(m, name);
  r->camera.type = mjCAMERA_FIXED;
  r->camera.fixedcamid = id;
  return BRC_OK;
}

static void make(brc_mj_sim *s, void *arg) {
  brc_mj_renderer *r = arg;
  brc_mj.mjv_defaultScene(&r->scene);
  brc_mj.mjr_defaultContext(&r->context);
  brc_mj.mjv_defaultOption(&r->option);
  r->made = true;
  brc_mj.mjv_makeScene(&s->model, &r->scene, MOST_GEOMS);
  brc_mj.mjr_makeContext(&s->model, &r->context, mjFONTSCALE_100);
  brc_mj.mjr_setBuffer(mjFB_OFFSCREEN, &r->context);
}

brc_status brc_mj_renderer_create(brc_mj_renderer **out, struct brc_mj_sim *s, const brc_mj_render_options *o) {
  *out = NULL;
  brc_mj_renderer *r = calloc(1, sizeof *r);
  if (r) r->bottom_up = malloc((size_t)o->width * (size_t)o->height * 3);
  if (!r || !r->bottom_up) {
    free(r);
    return brc_fail(BRC_E_NOMEM, "a picture of %d x %d", o->width, o->height);
  }
  r->sim = s;
  r->all = (mjrRect){0, 0, o->width, o->height};
  s->model.vis.global.offwidth = o->width;  // the simulation's own copy of the struct
  s->model.vis.global.offheight = o->height;
  brc_status st = choose_camera(r, o->camera);
  if (!st) st = brc_gl_open(&r->gl, o->gl);
  if (!st) st = brc_mj_run(s, make, r);
  if (!st && r->context.currentBuffer != mjFB_OFFSCREEN)
    st = brc_fail(BRC_E_UNSUPPORTED, "this OpenGL has no off-screen buffer of %d x %d", o->width, o->height);
  if (st)
    brc_mj_renderer_free(r);
  else
    *out = r;
  return st;
}

void brc_mj_renderer_free(brc_mj_renderer *r) {
  if (!r) return;
  if (r->made) {
    brc_mj.mjr_freeContext(&r->context);
    brc_mj.mjv_freeScene(&r->scene);
  }
  brc_gl_close(&r->gl);
  free(r->bottom_up);
  free(r);
}

static void draw(brc_mj_sim *s, void *arg) {
  brc_mj_renderer *r = arg;
  brc_mj.mjv_updateScene(&s->model, s->data, &r->option, NULL, &r->camera, mjCAT_ALL, &r->scene);
  s->data->warning[mjWARN_VGEOMFULL].number = 0;  // of the picture: no news for who checks the physics
  brc_mj.mjr_render(r->all, &r->scene, &r->context);
  brc_mj.mjr_readPixels(r->bottom_up, NULL, r->all, &r->context);
}

brc_status brc_mj_renderer_draw(brc_mj_renderer *r, uint8_t *rgb) {
  brc_status st = brc_mj_run(r->sim, draw, r);
  size_t row = (size_t)r->all.width * 3, rows = (size_t)r->all.height;
  for (size_t y = 0; !st && y < rows; y++) memcpy(rgb + y * row, r->bottom_up + (rows - 1 - y) * row, row);
  return st;
}

double brc_mj_time(const struct brc_mj_sim *s) { return s->data->time; }
#endif
