// EGL and OSMesa, loaded at run time: few enough functions that their headers are not needed. The libraries are never closed, nor
// is EGL's display. The library that gave the context has global symbols: libmujoco looks there for eglGetProcAddress or
// OSMesaGetProcAddress.
#include "envs/mujoco/gl.h"

#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

//------------------------ 1. Libraries ----------------------------------------
// `names`: what to try, up to a NULL, unless the environment names one. found: which it was.
static void *open_library(const char *variable, const char *const *names, const char **found, char *why,
                          size_t bytes) {
  const char *forced = getenv(variable);
  const char *const only[] = {forced, NULL};
  if (forced && *forced) names = only;
  void *lib = NULL;
  for (; !lib && *names; names++) lib = dlopen(*found = *names, RTLD_NOW | RTLD_LOCAL);
  if (!lib) snprintf(why, bytes, "%s", dlerror());
  return lib;
}

static void make_global(const char *name) { dlopen(name, RTLD_NOW | RTLD_GLOBAL | RTLD_NOLOAD); }

static bool symbol(void *lib, const char *name, void *pointer, char *why, size_t bytes) {
  void *found = dlsym(lib, name);
  memcpy(pointer, &found, sizeof found);
  if (!found) snprintf(why, bytes, "%s is missing", name);
  return found != NULL;
}

//------------------------ 2. EGL ----------------------------------------------
// Khronos' egl.h: EGLint is int, EGLenum and EGLBoolean are unsigned, handles are pointers.
enum {
  EGL_SURFACE_TYPE = 0x3033,
  EGL_PBUFFER_BIT = 1,
  EGL_RENDERABLE_TYPE = 0x3040,
  EGL_OPENGL_BIT = 8,
  EGL_RED_SIZE = 0x3024,
  EGL_GREEN_SIZE = 0x3023,
  EGL_BLUE_SIZE = 0x3022,
  EGL_DEPTH_SIZE = 0x3025,
  EGL_STENCIL_SIZE = 0x3026,
  EGL_NONE = 0x3038,
  EGL_OPENGL_API = 0x30A2,
  EGL_PLATFORM_SURFACELESS_MESA = 0x31DD,
  EGL_PLATFORM_DEVICE_EXT = 0x313F
};
#define EGL_FUNCTIONS(X)                                                                                     \
  X(eglGetProcAddress, void *, (const char *name))                                                           \
  X(eglInitialize, unsigned, (void *display, int *major, int *minor))                                        \
  X(eglBindAPI, unsigned, (unsigned api))                                                                    \
  X(eglChooseConfig, unsigned, (void *display, const int *attributes, void **configs, int most, int *count)) \
  X(eglCreateContext, void *, (void *display, void *config, void *share, const int *attributes))             \
  X(eglDestroyContext, unsigned, (void *display, void *context))                                             \
  X(eglMakeCurrent, unsigned, (void *display, void *draw, void *read, void *context))                        \
  X(eglGetError, int, (void))
static struct {
#define X(name, type, arguments) type(*name) arguments;
  EGL_FUNCTIONS(X)
#undef X
} egl;

typedef void *platform_display_fn(unsigned platform, void *native, const int *attributes);
typedef unsigned query_devices_fn(int most, void **devices, int *count);

// Initialise the display of a platform; NULL if it can't be.
static void *open_display(platform_display_fn *get, unsigned platform, void *native) {
  void *display = get(platform, native, NULL);
  return display && egl.eglInitialize(display, NULL, NULL) ? display : NULL;
}

// A GPU of its own (NVIDIA's driver has only these), else Mesa's surfaceless platform, which also draws in software.
static void *find_display(void) {
  enum { MOST = 16 };
  void *devices[MOST], *display = NULL, *address;
  int count = 0;
  platform_display_fn *get;
  query_devices_fn *query;
  address = egl.eglGetProcAddress("eglGetPlatformDisplayEXT");
  memcpy(&get, &address, sizeof get);
  address = egl.eglGetProcAddress("eglQueryDevicesEXT");
  memcpy(&query, &address, sizeof query);
  if (!get) return NULL;
  if (query && query(MOST, devices, &count))
    for (int i = 0; !display && i < count; i++)
      display = open_display(get, EGL_PLATFORM_DEVICE_EXT, devices[i]);
  return display ? display : open_display(get, EGL_PLATFORM_SURFACELESS_MESA, NULL);
}

static bool open_egl(brc_gl *g, char *why, size_t bytes) {
  static const char *const names[] = {"libEGL.so.1", "libEGL.so", NULL};
  static const int wanted[] = {EGL_SURFACE_TYPE,
                               EGL_PBUFFER_BIT,
                               EGL_RENDERABLE_TYPE,
                               EGL_OPENGL_BIT,
                               EGL_RED_SIZE,
                               8,
                               EGL_GREEN_SIZE,
                               8,
                               EGL_BLUE_SIZE,
                               8,
                               EGL_DEPTH_SIZE,
                               24,
                               EGL_STENCIL_SIZE,
                               8,
                               EGL_NONE};
  const char *name;
  void *lib = open_library("BRC_EGL_LIB", names, &name, why, bytes), *config;
  int count;
  if (!lib) return false;
#define X(name, type, arguments) \
  if (!symbol(lib, #name, &egl.name, why, bytes)) return false;
  EGL_FUNCTIONS(X)
#undef X
  snprintf(why, bytes, "no display without a window");
  if (!(g->display = find_display())) return false;
  bool ok =
      egl.eglBindAPI(EGL_OPENGL_API) && egl.eglChooseConfig(g->display, wanted, &config, 1, &count) && count;
  if (ok) g->context = egl.eglCreateContext(g->display, config, NULL, NULL);
  ok = ok && g->context && egl.eglMakeCurrent(g->display, NULL, NULL, g->context);
  if (ok)
    make_global(name);
  else
    snprintf(why, bytes, "no OpenGL context (error 0x%x)", (unsigned)egl.eglGetError());
  return ok;
}

//------------------------ 3. OSMesa -------------------------------------------
#define OSMESA_FUNCTIONS(X)                                                                                \
  X(OSMesaCreateContextExt, void *, (unsigned format, int depth, int stencil, int accum, void *share))     \
  X(OSMesaMakeCurrent, unsigned char, (void *context, void *buffer, unsigned type, int width, int height)) \
  X(OSMesaDestroyContext, void, (void *context))
static struct {
#define X(name, type, arguments) type(*name) arguments;
  OSMESA_FUNCTIONS(X)
#undef X
} osmesa;

// What is drawn goes into MuJoCo's own buffer: the context's is as small as can be.
static bool open_osmesa(brc_gl *g, char *why, size_t bytes) {
  static const char *const names[] = {"libOSMesa.so.8", "libOSMesa.so", NULL};
  static uint8_t buffer[16 * 16 * 4];
  enum { RGBA = 0x1908, UNSIGNED_BYTE = 0x1401 };
  const char *name;
  void *lib = open_library("BRC_OSMESA_LIB", names, &name, why, bytes);
  if (!lib) return false;
#define X(name, type, arguments) \
  if (!symbol(lib, #name, &osmesa.name, why, bytes)) return false;
  OSMESA_FUNCTIONS(X)
#undef X
  g->osmesa = osmesa.OSMesaCreateContextExt(RGBA, 24, 8, 0, NULL);
  bool ok = g->osmesa && osmesa.OSMesaMakeCurrent(g->osmesa, buffer, UNSIGNED_BYTE, 16, 16);
  if (ok)
    make_global(name);
  else
    snprintf(why, bytes, "no OpenGL context");
  return ok;
}

//------------------------ 4. Either -------------------------------------------
brc_status brc_gl_open(brc_gl *g, const char *which) {
  static const struct {
    const char *name;
    bool (*open)(brc_gl *g, char *why, size_t bytes);
  } kinds[] = {{"egl", open_egl}, {"osmesa", open_osmesa}};
  char all[640] = "";
  for (size_t i = 0; i < BRC_COUNT(kinds); i++) {
    char why[256];
    *g = (brc_gl){0};
    if (which && strcmp(which, kinds[i].name) != 0) continue;
    if (kinds[i].open(g, why, sizeof why)) return BRC_OK;
    brc_gl_close(g);
    snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s: %s", *all ? "; " : "", kinds[i].name, why);
  }
  return brc_fail(
      BRC_E_UNSUPPORTED,
      "drawing needs OpenGL without a window, and there is none (%s); install the package libegl1 (GPUs) or "
      "libosmesa6 (CPUs)",
      all);
}

void brc_gl_close(brc_gl *g) {
  if (g->display) {
    egl.eglMakeCurrent(g->display, NULL, NULL, NULL);
    if (g->context) egl.eglDestroyContext(g->display, g->context);
  }
  if (g->osmesa) osmesa.OSMesaDestroyContext(g->osmesa);
  *g = (brc_gl){0};
}
