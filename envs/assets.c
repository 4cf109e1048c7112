// Where model files come from, and where they are looked for: --assets, each folder of BRC_ASSETS, the data folder,
// ../shared/assets.
#include "base/file.h"
#include "envs/env.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

//------------------------ 1. Suites -------------------------------------------
#define FETCHED(name_) .name = name_, .how_to_get = "brc assets fetch " name_
static const brc_asset_suite suites[] = {
    {.name = "dm_control", .licence = "Apache 2.0", .how_to_get = "tools/setup", .megabytes = 21},
    {FETCHED("dmc_custom"), .licence = "MIT", .url = "https://github.com/naumix/BiggerRegularizedCategorical",
     .commit = "eec512f4e060da63f8a114b91898c554a60ed66b", .inside = "dmc_envs/tasks",
     .parts = {"ball_in_cup.xml", "cheetah.xml", "fish.xml", "hopper.xml", "pendulum.xml",
               "reacher_four_links.xml", "reacher_three_links.xml", "walker.xml"},
     .megabytes = 1},
    {FETCHED("humanoidbench"), .licence = "MIT", .url = "https://github.com/carlosferrazza/humanoid-bench",
     .commit = "791405f5eacf879adbc99105adb3fee73f5a49fc", .inside = "humanoid_bench/assets",
     .parts = {"common", "envs", "h1", "locomotion", "robots", "shadow_hand_menagerie", "shadow_hand_submodel",
               "tasks"},
     .megabytes = 102},
};

const brc_asset_suite *brc_asset_suite_at(size_t i) { return i < BRC_COUNT(suites) ? &suites[i] : NULL; }

const brc_asset_suite *brc_asset_suite_find(const char *name) {
  for (size_t i = 0; i < BRC_COUNT(suites); i++)
    if (strcmp(suites[i].name, name) == 0) return &suites[i];
  return NULL;
}

const brc_asset_suite *brc_asset_suite_of(const char *relative) {
  for (size_t i = 0; i < BRC_COUNT(suites); i++) {
    size_t n = strlen(suites[i].name);
    if (strncmp(relative, suites[i].name, n) == 0 && relative[n] == '/') return &suites[i];
  }
  return NULL;
}

//------------------------ 2. Search -------------------------------------------
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
  const brc_asset_suite *suite = brc_asset_suite_of(relative);
  return brc_fail(BRC_E_NOT_FOUND,
                  "asset '%s' is in none of: %s; %s%s, or name the folder that has it with --assets", relative,
                  s.looked, suite ? "run " : "put it into one", suite ? suite->how_to_get : "");
}
