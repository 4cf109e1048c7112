// Where model files are looked for: --assets, each folder of BRC_ASSETS, the data folder, ../shared/assets.
#include "base/file.h"
#include "envs/env.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct search {
  const char *relative;
  char *path;
  size_t bytes;
  char looked[2048];  // the roots tried, for the message
} search;

static bool try_root(search *s, const char *root, size_t root_bytes) {
  if (root_bytes == 0) return false;
  while (root_bytes > 1 && root[root_bytes - 1] == '/') root_bytes--;
  int n = snprintf(s->path, s->bytes, "%.*s/%s", (int)root_bytes, root, s->relative);
  size_t used = strlen(s->looked);
  snprintf(s->looked + used, sizeof s->looked - used, "%s%.*s", used ? ", " : "", (int)root_bytes, root);
  return n > 0 && (size_t)n < s->bytes && brc_path_exists(s->path);
}

static bool try_list(search *s, const char *list) {
  while (list && *list) {
    const char *end = strchr(list, ':');
    size_t n = end ? (size_t)(end - list) : strlen(list);
    if (try_root(s, list, n)) return true;
    list = end ? end + 1 : NULL;
  }
  return false;
}

// Most come with tools/setup; some are in no package.
static const char *how_to_get(const char *relative) {
  if (strncmp(relative, "dmc_custom/", 11) == 0)
    return "the published BRC code (naumix/BiggerRegularizedCategorical) has it in dmc_envs/tasks: "
           "copy that folder as dmc_custom and name the folder above it with --assets";
  if (strncmp(relative, "humanoidbench/", 14) == 0)
    return "the public repository carlosferrazza/humanoid-bench has it in humanoid_bench/assets: "
           "copy that folder as humanoidbench and name the folder above it with --assets";
  return "run tools/setup, or name the folder that has it with --assets";
}

brc_status brc_assets_find(const brc_assets *a, const char *relative, char *path, size_t bytes) {
  search s = {.relative = relative, .path = path, .bytes = bytes};
  if (a && a->extra && try_root(&s, a->extra, strlen(a->extra))) return BRC_OK;
  if (try_list(&s, getenv("BRC_ASSETS"))) return BRC_OK;
  char data[4096];
  brc_data_dir(data, sizeof data);
  if (try_root(&s, data, strlen(data))) return BRC_OK;
  const char *shared = "../shared/assets";
  if (try_root(&s, shared, strlen(shared))) return BRC_OK;
#ifdef BRC_SOURCE_DIR
  const char *beside = BRC_SOURCE_DIR "/../shared/assets";  // the same, from any working directory
  if (try_root(&s, beside, strlen(beside))) return BRC_OK;
#endif
  if (bytes) path[0] = '\0';
  return brc_fail(BRC_E_NOT_FOUND, "asset '%s' is in none of: %s; %s", relative, s.looked,
                  how_to_get(relative));
}
