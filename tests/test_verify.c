// Golden cases: whole updates, the projection and tapes of the training loop, on the float64 oracle and on every device.
#include "agent/agent.h"
#include "check.h"
#include "oracle.h"
#include "testing.h"
#include "train/verify_agent.h"
#include "train/verify_normalizer.h"
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// One rounding of a factor is off by up to u relative; what a few layers make of it stays within 8 u, where no gradient that passes
// a relu at a tie makes it more. In fp32 the same quantities are within 1e-6: a precision that is not used shows as well.
static void in_bounds(brc_precision precision, brc_device *d, const brc_verify_report *r) {
  static const char *const classes[] = {"losses", "q_mean, q_min, q_max", "q_logits"};
  const double u = precision == BRC_BF16 ? 0x1p-9 : 0x1p-12;
  for (size_t i = 0; i < r->count; i++)
    for (size_t k = 0; k < BRC_COUNT(classes); k++)
      if (!strcmp(r->rows[i].name, classes[k]) &&
          !(r->rows[i].max_rel <= 8 * u && r->rows[i].max_rel >= u / 100))
        fail_msg("%s in %s: %s is off by %.2g, expected %.2g to %.2g", d->backend->name,
                 brc_precision_names[precision], classes[k], r->rows[i].max_rel, u / 100, 8 * u);
}

static void replay_in(brc_precision precision, const char *path, brc_device *d) {
  brc_st_file *f = NULL;
  brc_verify_report r = {.precision = precision};
  if (brc_st_open(&f, path)) fail_msg("%s", brc_error());
  brc_status st = brc_verify_agent_file(f, d, NULL, &r);
  const char *name = strrchr(path, '/') + 1;
  for (size_t i = 0; i < r.count; i++)
    printf("  %-28s %-8s %-44s abs %.1e rel %.1e tol %.1e n %llu%s\n", name, d->backend->name, r.rows[i].name,
           r.rows[i].max_abs, r.rows[i].max_rel, r.rows[i].tolerance, (unsigned long long)r.rows[i].count,
           r.rows[i].ok ? "" : "  EXCEEDED");
  bool ok = !st && brc_verify_passed(&r);
  if (ok && precision != BRC_FP32) in_bounds(precision, d, &r);
  free(r.rows);
  brc_st_close(f);
  if (!ok) fail_msg("%s on %s: %s", name, d->backend->name, st ? brc_error() : "a tolerance is exceeded");
}

static void replay(const char *path, brc_device *d) { replay_in(BRC_FP32, path, d); }

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

static void test_precisions(void **state) {
  (void)state;
  if (!testing_shared()) {
    testing_skip("golden cases in lower precisions: no shared folder");
    skip();
  }
  static const char *const cases[] = {"b_small_multitask", "c_odd_midtraining", "f_embedding_l1"};
  testing_device *devices;
  size_t n = testing_devices(&devices), replayed = 0;
  char path[4096];
  for (size_t i = 0; i < n; i++)
    for (int p = BRC_TF32; p < BRC_PRECISION_COUNT; p++)
      for (size_t k = 0; k < BRC_COUNT(cases); k++) {
        if (devices[i].provider || !(devices[i].device->info.precisions & 1u << p)) continue;
        snprintf(path, sizeof path, "%s/golden/update/%s.safetensors", testing_shared(), cases[k]);
        replay_in((brc_precision)p, path, devices[i].device);
        replayed++;
      }
  assert_int_not_equal(replayed, 0);
}

// What users get without an option is what the published code ran with (golden/update/e_default_width: defaults but for widths, batch).
static void test_defaults(void **state) {
  (void)state;
  if (!testing_shared()) {
    testing_skip("defaults: no shared folder");
    skip();
  }
  char path[4096];
  snprintf(path, sizeof path, "%s/golden/update/e_default_width.safetensors", testing_shared());
  brc_agent_config c = {.tasks = 2, .obs_dim = 1, .action_dim = 6, .target_entropy = NAN};
  brc_option_set set = {.tables = {{brc_agent_options, brc_agent_option_count, &c, ""}}, .count = 1};
  brc_options_default(&set);
  check_ok(brc_agent_config_resolve(&c));
  brc_st_file *f;
  check_ok(brc_st_open(&f, path));
  const struct {
    const char *key;
    double ours;
  } defaults[] = {{"adam_beta1", c.beta1},
                  {"adam_beta2", c.beta2},
                  {"adam_eps", c.adam_eps},
                  {"adam_beta1_alpha", c.temperature_beta1},
                  {"adam_beta2", c.temperature_beta2},
                  {"weight_decay", c.weight_decay},
                  {"weight_decay_alpha", c.temperature_decay},
                  {"lr_critic", c.critic_lr},
                  {"lr_actor", c.actor_lr},
                  {"lr_alpha", c.temperature_lr},
                  {"discount", c.discount},
                  {"tau", c.tau},
                  {"v_max", c.v_max},
                  {"layernorm_eps", c.layernorm_eps},
                  {"target_entropy", c.target_entropy},
                  {"num_atoms", (double)c.atoms},
                  {"ensemble", (double)c.ensemble},
                  {"embedding_dim", (double)c.embedding_dim},
                  {"depth_critic", (double)c.depth},
                  {"depth_actor", (double)c.actor_depth},
                  {"width_actor", (double)c.actor_width}};
  for (size_t i = 0; i < BRC_COUNT(defaults); i++) {
    double published;
    check_ok(brc_st_meta_real(f, defaults[i].key, &published));
    if (published != defaults[i].ours)
      fail_msg("%s is %g by default, published %g", defaults[i].key, defaults[i].ours, published);
  }
  assert_string_equal(brc_st_meta(f, "embedding_norm"), c.embedding_norm);
  brc_st_close(f);
}

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
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_updates),  cmocka_unit_test(test_projection),
                                     cmocka_unit_test(test_defaults), cmocka_unit_test(test_normalizer),
                                     cmocka_unit_test(test_tapes),    cmocka_unit_test(test_precisions)};
  setenv("BRC_EMULATE_PRECISION", "1", 0);  // where a device has no matrix units for them
  return testing_finish(cmocka_run_group_tests_name("verify", tests, NULL, NULL));
}
