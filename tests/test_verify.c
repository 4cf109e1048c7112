// Golden cases: whole updates, the projection and tapes of the training loop, on the float64 oracle and on every device.
#include "check.h"
#include "oracle.h"
#include "testing.h"
#include "train/verify_agent.h"
#include "train/verify_normalizer.h"
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void replay(const char *path, brc_device *d) {
  brc_st_file *f = NULL;
  brc_verify_report r = {0};
  if (brc_st_open(&f, path)) fail_msg("%s", brc_error());
  brc_status st = brc_verify_agent_file(f, d, NULL, &r);
  const char *name = strrchr(path, '/') + 1;
  for (size_t i = 0; i < r.count; i++)
    printf("  %-28s %-8s %-44s abs %.1e rel %.1e tol %.1e n %llu%s\n", name, d->backend->name, r.rows[i].name,
           r.rows[i].max_abs, r.rows[i].max_rel, r.rows[i].tolerance, (unsigned long long)r.rows[i].count,
           r.rows[i].ok ? "" : "  EXCEEDED");
  bool ok = !st && brc_verify_passed(&r);
  free(r.rows);
  brc_st_close(f);
  if (!ok) fail_msg("%s on %s: %s", name, d->backend->name, st ? brc_error() : "a tolerance is exceeded");
}

static void replay_folder(const char *folder, brc_device *d) {
  char dir[4096], path[4096 + 300];
  snprintf(dir, sizeof dir, "%s/%s", testing_shared(), folder);
  struct dirent **list;
  int n = scandir(dir, &list, NULL, alphasort), seen = 0;
  for (int i = 0; i < n; i++) {
    if (strstr(list[i]->d_name, ".safetensors")) {
      snprintf(path, sizeof path, "%s/%s", dir, list[i]->d_name);
      replay(path, d);
      seen++;
    }
    free(list[i]);
  }
  if (n >= 0) free(list);
  assert_int_not_equal(seen, 0);
}

// Each golden folder on the oracle, then on every device with its default GEMM provider.
static void each_device(const char *folder) {
  if (!testing_shared()) {
    testing_skip("%s: no shared folder", folder);
    skip();
  }
  replay_folder(folder, testing_oracle()->device);
  testing_device *devices;
  size_t n = testing_devices(&devices);
  for (size_t i = 0; i < n; i++)
    if (devices[i].provider == 0) replay_folder(folder, devices[i].device);
}

static void test_updates(void **state) { (void)state, each_device("golden/update"); }
static void test_tapes(void **state) { (void)state, each_device("golden/tapes"); }
static void test_projection(void **state) { (void)state, each_device("golden"); }

static void test_normalizer(void **state) {
  (void)state;
  if (!testing_shared()) {
    testing_skip("golden/normalizer.json: no shared folder");
    skip();
  }
  char path[4096];
  brc_verify_report r = {0};
  snprintf(path, sizeof path, "%s/golden/normalizer.json", testing_shared());
  brc_status st = brc_verify_normalizer(path, &r);
  bool ok = !st && brc_verify_passed(&r);
  free(r.rows);
  if (!ok) fail_msg("%s", st ? brc_error() : "a tolerance is exceeded");
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_updates), cmocka_unit_test(test_projection),
                                     cmocka_unit_test(test_normalizer), cmocka_unit_test(test_tapes)};
  return testing_finish(cmocka_run_group_tests_name("verify", tests, NULL, NULL));
}
