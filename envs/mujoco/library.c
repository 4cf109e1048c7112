// Loads libmujoco at run time, so that the program starts, and says why, where it is absent.
#include "envs/mujoco/mj.h"

#ifndef BRC_HAVE_MUJOCO
brc_status brc_mj_open(void) {
  return brc_fail(BRC_E_UNSUPPORTED,
                  "this build has no MuJoCo (its headers were missing); run tools/setup and build again");
}
#else
#include "base/file.h"
#include "envs/mujoco/mj_internal.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIBRARY_NAME "libmujoco.so.3.1.6"
#define VERSION      316  // of the published results; newer ones change the dynamics

brc_mj_table brc_mj;

//------------------------ 1. MuJoCo's handlers --------------------------------
// The error handler must not return (MuJoCo would go on) and must not exit: it jumps back to brc_mj_guard.
typedef struct guard {
  jmp_buf back;
  char message[512];
} guard;
static _Thread_local guard *active;

static void on_error(const char *message) {
  if (!active) {
    fprintf(stderr, "MuJoCo failed outside of a guarded call: %s\n", message);
    abort();
  }
  snprintf(active->message, sizeof active->message, "%s", message);
  longjmp(active->back, 1);
}

// Warnings are counted in mjData, where brc_mj_check finds them. The default handler writes MUJOCO_LOG.TXT.
static void on_warning(const char *message) { (void)message; }

brc_status brc_mj_guard(void (*fn)(void *), void *arg) {
  guard g;
  g.message[0] = '\0';
  guard *outer = active;
  active = &g;
  volatile bool failed = false;
  if (setjmp(g.back) == 0)
    fn(arg);
  else
    failed = true;
  active = outer;
  return failed ? brc_fail(BRC_E_VALUE, "MuJoCo: %s", g.message) : BRC_OK;
}

//------------------------ 2. Opening ------------------------------------------
static brc_status open_status;
static char open_error[4096];

static void *try_open(const char *path, char *why, size_t bytes) {
  void *lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!lib) {
    size_t used = strlen(why);
    snprintf(why + used, bytes - used, "%s%s", used ? "; " : "", dlerror());
  }
  return lib;
}

static void *find_library(char *why, size_t bytes) {
  const char *forced = getenv("BRC_MUJOCO_LIB");
  if (forced && *forced) return try_open(forced, why, bytes);  // whoever names a library wants no other
  void *lib = NULL;
#ifdef BRC_MUJOCO_LIBRARY
  lib = try_open(BRC_MUJOCO_LIBRARY, why, bytes);
#endif
  if (!lib) {
    char data[3072], path[4096];
    brc_data_dir(data, sizeof data);
    snprintf(path, sizeof path, "%s/mujoco/%s", data, LIBRARY_NAME);
    lib = try_open(path, why, bytes);
  }
  return lib ? lib : try_open(LIBRARY_NAME, why, bytes);
}

// dlsym for a pointer of any kind.
static bool symbol(void *lib, const char *name, void *pointer) {
  void *found = dlsym(lib, name);
  memcpy(pointer, &found, sizeof found);
  return found != NULL;
}

static brc_status fill_table(void *lib) {
  const char *missing = NULL;
#define X(name) \
  if (!symbol(lib, #name, &brc_mj.name)) missing = #name;
  BRC_MJ_FUNCTIONS(X)
#undef X
  if (missing)
    return brc_fail(BRC_E_UNSUPPORTED, "the MuJoCo library lacks %s; BRC needs version 3.1.6", missing);
  int version = brc_mj.mj_version();
  const char *any = getenv("BRC_MUJOCO_ANY_VERSION");
  if (version != VERSION && !(any && strcmp(any, "1") == 0))
    return brc_fail(
        BRC_E_UNSUPPORTED,
        "the MuJoCo library has version %d.%d.%d, the published results need 3.1.6: run tools/setup, or set "
        "BRC_MUJOCO_ANY_VERSION=1 to go on with other dynamics",
        version / 100, version / 10 % 10, version % 10);
  void (**error)(const char *) = NULL, (**warning)(const char *) = NULL;
  if (!symbol(lib, "mju_user_error", &error) || !symbol(lib, "mju_user_warning", &warning))
    return brc_fail(BRC_E_UNSUPPORTED, "the MuJoCo library has no error handlers to set");
  *error = on_error;
  *warning = on_warning;
  return BRC_OK;
}

static void open_once(void) {
  char why[2048] = "";
  void *lib = find_library(why, sizeof why);  // never closed: the program ends with it
  open_status = lib ? fill_table(lib)
                    : brc_fail(BRC_E_UNSUPPORTED, "MuJoCo 3.1.6 is not installed (%s); run tools/setup", why);
  if (open_status) snprintf(open_error, sizeof open_error, "%s", brc_error());
}

brc_status brc_mj_open(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, open_once);
  return open_status ? brc_fail(open_status, "%s", open_error) : BRC_OK;
}
#endif
