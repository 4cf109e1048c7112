// The program as scripts and people meet it: exit statuses, messages that name the thing, JSON on one line, bad input.
#include "check.h"
#include "run_brc.h"
#include "testing.h"
#include "base/file.h"
#include "base/safetensors.h"
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <signal.h>
#include <unistd.h>

static run_result r;

// Run, and require this exit status and these words in what it says on standard error.
static void expect(int status, const char *words, const char *line) {
  run_brc(&r, NULL, "%s", line);
  if (r.status != status) fail_msg("'brc %s' ended with %d, expected %d: %s", line, r.status, status, r.err);
  if (words && !strstr(r.err, words)) fail_msg("'brc %s' says '%s', expected '%s' in it", line, r.err, words);
  if (status && strncmp(r.err, "brc: ", 5) && !strstr(r.err, "\nbrc: "))
    fail_msg("'brc %s' fails without a message: '%s'", line, r.err);
}

static void test_bad_input(void **state) {
  (void)state;
  expect(2, "did you mean 'train'", "trian");
  expect(2, "did you mean", "train cartpole-swingap --steps 1");
  expect(2, "cartpole-swingup", "train cartpole-swingap --steps 1");
  expect(2, "no task is given", "train --steps 1");
  expect(2, "--widht is unknown; did you mean 'width'", "train probe-action --widht 3");
  expect(2, "--width: 0 is outside", "train probe-action --width 0");
  expect(2, "--width: 'many' is not a whole number", "train probe-action --width many");
  expect(2, "--width needs a value", "train probe-action --width");
  expect(2, "--steps: -5 is outside", "train probe-action --steps -5");
  expect(2, "--batch: 100000 is more than", "train probe-action --batch 100000 --start 100");
  expect(2, "--embedding-norm: 'l3' is not one of l2|l1", "train probe-embedding --embedding-norm l3");
  expect(2, "'cuda' is not one of", "train probe-action --backend cuda");
  expect(1, "no products in bf16; it offers fp32", "train probe-action --backend host --precision bf16");
  expect(2, "tolerances are those of fp32", "verify --backend host --precision bf16 /dev/null");
  expect(1, "device", "train probe-action --backend host --device 7");
  expect(1, "no-such-provider", "verify --backend host --gemm no-such-provider /dev/null");
  expect(2, "which file", "verify");
  expect(1, "/no/such/file.safetensors", "verify /no/such/file.safetensors --backend host");
  expect(1, "/dev/null", "verify /dev/null --backend host");
  expect(1, "is no run folder", "eval /no/such/run");
  expect(1, "is no run folder", "train --resume /no/such/run");
  expect(2, "needs --run", "train probe-action --resume auto");
  expect(2, "bench what", "bench");
  expect(2, "is unknown", "bench nothing");
  expect(1, "matches", "tasks no-such-*");
  // A path below a file cannot become a folder, not even for root.
  expect(1, "/dev/null/run",
         "train probe-action --steps 1 --batch 8 --start 8 --width 8 --backend host --run /dev/null/run");
}

static void test_no_opencl(void **state) {
  (void)state;
#ifdef BRC_HAVE_OPENCL
  // A loader that finds no driver: the backend is listed as absent, with the reason; asking for it fails with the same.
  run_brc(&r, "OCL_ICD_VENDORS=/nonexistent", "devices");
  assert_int_equal(r.status, 0);
  if (!strstr(r.out, "host")) fail_msg("%s", r.out);
  if (!strstr(r.out, "absent")) fail_msg("%s", r.out);
  run_brc(&r, "OCL_ICD_VENDORS=/nonexistent", "verify --backend opencl /dev/null");
  assert_int_equal(r.status, 1);
  if (!strstr(r.err, "OpenCL")) fail_msg("%s", r.err);
#else
  testing_skip("no OpenCL platform: the backend is not in this build");
#endif
}

static cJSON *parse_line(const char *text) {
  const char *end = strchr(text, '\n');
  if (!end || end[1]) fail_msg("not one line: %s", text);
  cJSON *o = cJSON_Parse(text);
  if (!o) fail_msg("not JSON: %s", text);
  return o;
}

static void test_json(void **state) {
  (void)state;
  static const char *const lines[] = {
      "devices --json", "tasks --json",
      ("bench update --backend host --width 32 --actor-width 16 --batch 16 --tasks 2 --obs 7 --act 3 "
       "--reps 2 --json"),
      "bench gemm --backend host --gemm-m 33 --gemm-n 17 --gemm-k 9 --json"};
  for (size_t i = 0; i < BRC_COUNT(lines); i++) {
    run_brc(&r, NULL, "%s", lines[i]);
    if (r.status) fail_msg("brc %s: %s", lines[i], r.err);
    cJSON *o = parse_line(r.out);
    const cJSON *device;
    cJSON_ArrayForEach(device, cJSON_GetObjectItem(o, "devices")) {
      const char *name = cJSON_GetStringValue(cJSON_GetObjectItem(device, "name")),
                 *first =
                     cJSON_GetStringValue(cJSON_GetArrayItem(cJSON_GetObjectItem(device, "precisions"), 0));
      const bool usable = !*cJSON_GetStringValue(cJSON_GetObjectItem(device, "note"));
      if (usable && (!first || strcmp(first, "fp32"))) fail_msg("%s: precisions start with %s", name, first);
    }
    if (i == 2) {
      static const char *const keys[] = {"ms_per_update",      "min_ms",
                                         "updates_per_s",      "tflops",
                                         "device_gemm_gflops", "device_copy_gbytes_per_s",
                                         "submit_us"};
      for (size_t k = 0; k < BRC_COUNT(keys); k++)
        if (!(cJSON_GetNumberValue(cJSON_GetObjectItem(o, keys[k])) > 0))
          fail_msg("%s is missing or not positive", keys[k]);
      assert_true(cJSON_GetArraySize(cJSON_GetObjectItem(o, "ops")) > 20);
    }
    cJSON_Delete(o);
  }
}

static void test_run_folder(void **state) {
  (void)state;
  char run[4096], line[8192], path[4200];
  snprintf(run, sizeof run, "%s", check_path("a-run"));
  snprintf(line, sizeof line,
           "train probe-padding --backend host --width 16 --actor-width 16 --batch 16 --start 20 --steps 60 "
           "--eval-interval 20 --eval-episodes 2 --log-interval 10 --json --run %s",
           run);
  run_brc(&r, NULL, "%s", line);
  if (r.status) fail_msg("%s", r.err);
  cJSON_Delete(parse_line(r.out));
  snprintf(path, sizeof path, "%s/log.csv", run);
  char *text;
  size_t n;
  check_ok(brc_file_read(path, &text, &n));
  static const char *const columns[] = {"env_steps,grad_steps,wall_s,device_s,alpha",
                                        "eval_return/probe-padding-a", "eval_success/probe-padding-b",
                                        "train_return/", "critic_gnorm/probe-padding-b\n"};
  for (size_t i = 0; i < BRC_COUNT(columns); i++)
    if (!strstr(text, columns[i])) fail_msg("log.csv has no column %s:\n%s", columns[i], text);
  size_t lines = 0;
  for (char *c = text; *c; c++) lines += *c == '\n';
  free(text);
  assert_int_equal(lines, 1 + 3);
  run_brc(&r, NULL, "%s", line);  // the folder holds a run now
  assert_int_equal(r.status, 2);
  if (!strstr(r.err, "already holds a run")) fail_msg("%s", r.err);
  run_brc(&r, NULL, "train --resume %s --width 32", run);
  assert_int_equal(r.status, 2);
  if (!strstr(r.err, "--width cannot be given with --resume")) fail_msg("%s", r.err);
  run_brc(&r, NULL, "train --resume %s --steps 80 --quiet", run);
  if (r.status) fail_msg("%s", r.err);
  run_brc(&r, NULL, "eval %s --backend host --episodes 2 --json", run);
  if (r.status) fail_msg("%s", r.err);
  cJSON *o = parse_line(r.out);
  assert_true(cJSON_GetNumberValue(cJSON_GetObjectItem(o, "env_steps")) == 80);
  cJSON_Delete(o);
  // A truncated checkpoint is named, and nothing is touched.
  snprintf(path, sizeof path, "%s/checkpoint/state.safetensors", run);
  assert_int_equal(truncate(path, 5000), 0);
  run_brc(&r, NULL, "train --resume %s --steps 90", run);
  assert_int_equal(r.status, 1);
  if (!strstr(r.err, "state.safetensors")) fail_msg("%s", r.err);
}

// Every cut and many single changed bytes of a golden case: an error that names the file or a comparison that fails, never a crash.
static void test_hostile_case(void **state) {
  (void)state;
  if (!testing_shared()) {
    testing_skip("hostile golden cases: no shared folder");
    skip();
  }
  static const char *const cases[] = {"update/a_tiny", "projection", "tapes/d_boundary",
                                      "envs/dmc/cartpole-swingup"};
  testing_reseed(5);
  for (size_t c = 0; c < BRC_COUNT(cases); c++) {
    char path[4096];
    char *data;
    size_t n;
    snprintf(path, sizeof path, "%s/golden/%s.safetensors", testing_shared(), cases[c]);
    check_ok(brc_file_read(path, &data, &n));
    uint64_t header;
    memcpy(&header, data, 8);
    const char *bad = check_path("hostile.safetensors");
    int tries = testing_quick() ? 6 : 25;
    for (int i = 0; i < tries; i++) {
      char *copy = malloc(n);
      memcpy(copy, data, n);
      size_t keep = n;
      if (i % 2)
        keep = (size_t)testing_below((uint32_t)n);
      else
        copy[8 + testing_below((uint32_t)header)] = (char)testing_below(256);  // in the JSON header
      check_ok(brc_file_write_all(bad, copy, keep));
      free(copy);
      run_brc(&r, NULL, "verify --backend host %s", bad);
      if (r.status > 2) fail_msg("%s, try %d: status %d: %s", cases[c], i, r.status, r.err);
      if (i % 2 && r.status == 0) fail_msg("%s cut to %zu bytes passes", cases[c], keep);
    }
    free(data);
  }
}

static void test_dump(void **state) {
  (void)state;
  if (!testing_shared()) {
    testing_skip("verify --dump: no shared folder");
    skip();
  }
  char out[4096];
  snprintf(out, sizeof out, "%s", check_path("dump.safetensors"));
  run_brc(&r, NULL, "verify --backend host %s/golden/update/b_small_multitask.safetensors --dump %s",
          testing_shared(), out);
  if (r.status) fail_msg("%s", r.err);
  brc_st_file *f;
  check_ok(brc_st_open(&f, out));
  static const struct {
    const char *name;
    uint64_t count;
  } want[] = {{"update2/loss/critic", 1},
              {"update0/q_logits", 2 * 32 * 101},
              {"update0/grad/critic/embedding", 4 * 32},
              {"update0/grad/actor/mean/kernel", 48 * 6},
              {"update0/next_log_prob", 32},
              {"final/target/block1/dense0/kernel", 2 * 64 * 64},
              {"final/log_alpha", 1},
              {"update0/grad/log_alpha", 1}};
  for (size_t i = 0; i < BRC_COUNT(want); i++) {
    const brc_st_tensor *t = brc_st_find(f, "%s", want[i].name);
    if (!t || t->count != want[i].count)
      fail_msg("the dump lacks '%s' with %llu elements", want[i].name, (unsigned long long)want[i].count);
  }
  brc_st_close(f);
}

static void test_help(void **state) {
  (void)state;
  static const char *const commands[] = {"", "train", "eval", "devices", "tasks", "assets", "verify", "bench"};
  for (size_t i = 0; i < BRC_COUNT(commands); i++) {
    run_brc(&r, NULL, "%s --help", commands[i]);
    assert_int_equal(r.status, 0);
    if (!strstr(r.out, "brc")) fail_msg("%s", r.out);
  }
}

//------------------------ Tasks and their files -----------------------------------
static void test_tasks(void **state) {
  (void)state;
  run_brc(&r, NULL, "tasks dmc-dogs");
  assert_int_equal(r.status, 0);
  // A benchmark's tasks in its own order, and no others.
  const char *stand = strstr(r.out, "dog-stand"), *run = strstr(r.out, "dog-run");
  if (!stand || !run || stand > run || strstr(r.out, "humanoid")) fail_msg("%s", r.out);
  run_brc(&r, NULL, "tasks h1-*a* --assets /no/such/folder --json");
  assert_int_equal(r.status, 0);
  cJSON *o = parse_line(r.out);
  const cJSON *task, *tasks = cJSON_GetObjectItem(o, "tasks");
  assert_true(cJSON_GetArraySize(tasks) > 3);
  cJSON_ArrayForEach(task, tasks) {
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(task, "suite")), "humanoidbench");
    assert_true(cJSON_GetNumberValue(cJSON_GetObjectItem(task, "obs_dim")) >= 51);
    const bool found = cJSON_IsTrue(cJSON_GetObjectItem(task, "assets_found"));
    const char *how = cJSON_GetStringValue(cJSON_GetObjectItem(task, "how_to_get"));
    if (found ? how != NULL : !how || strcmp(how, "brc assets fetch humanoidbench")) fail_msg("%s", r.out);
  }
  cJSON_Delete(o);
  run_brc(&r, NULL, "tasks --json");
  o = parse_line(r.out);
  const cJSON *b, *dogs = NULL;
  cJSON_ArrayForEach(
      b, cJSON_GetObjectItem(o, "benchmarks")) if (!strcmp(cJSON_GetStringValue(cJSON_GetObjectItem(b, "name")),
                                                           "dmc-dogs")) dogs = cJSON_GetObjectItem(b, "tasks");
  assert_int_equal(cJSON_GetArraySize(dogs), 4);
  assert_string_equal(cJSON_GetStringValue(cJSON_GetArrayItem(dogs, 3)), "dog-run");
  cJSON_Delete(o);
}

// The command itself fails if a task's mj_step calls alone end in another state than the task.
static void test_bench_env(void **state) {
  (void)state;
  run_brc(&r, NULL, "tasks cartpole-swingup --json");
  cJSON *o = parse_line(r.out);
  bool found =
      cJSON_IsTrue(cJSON_GetObjectItem(cJSON_GetArrayItem(cJSON_GetObjectItem(o, "tasks"), 0), "assets_found"));
  cJSON_Delete(o);
  run_brc(&r, NULL, "bench env probe-action %s --seconds 0.02 --threads 2 --json",
          found ? "cartpole-swingup finger-spin" : "");
  if (strstr(r.err, "MuJoCo")) {
    testing_skip("bench env: %s", r.err);
    skip();
  }
  if (r.status) fail_msg("%s", r.err);
  o = parse_line(r.out);
  const cJSON *task, *tasks = cJSON_GetObjectItem(o, "tasks");
  assert_int_equal(cJSON_GetArraySize(tasks), found ? 3 : 1);
  cJSON_ArrayForEach(task, tasks) {
    const cJSON *share = cJSON_GetObjectItem(task, "share_of_mj_step");
    assert_true(cJSON_GetNumberValue(cJSON_GetObjectItem(task, "steps_per_s")) > 0);
    assert_true((share == NULL) ==
                !strcmp(cJSON_GetStringValue(cJSON_GetObjectItem(task, "task")), "probe-action"));
    if (!share) continue;
    assert_true(share->valuedouble > 0.5 && share->valuedouble < 1.5);
    assert_true(cJSON_GetNumberValue(cJSON_GetObjectItem(task, "mj_steps_per_step")) >= 2);
  }
  static const char *const keys[] = {"environments", "threads", "steps_per_s", "steps_per_s_one_thread",
                                     "scaling"};
  for (size_t k = 0; k < BRC_COUNT(keys); k++)
    if (!(cJSON_GetNumberValue(cJSON_GetObjectItem(o, keys[k])) > 0))
      fail_msg("%s is missing or not positive", keys[k]);
  cJSON_Delete(o);
}

// A shell line of the test's own; its first word of output into `word`, if wanted.
static bool shell(char *word, const char *fmt, ...) BRC_PRINTF(2, 3);
static bool shell(char *word, const char *fmt, ...) {
  char line[8192];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(line, sizeof line, fmt, ap);
  va_end(ap);
  FILE *f = popen(line, "r");
  if (!f) return false;
  if (word && fscanf(f, "%127s", word) != 1) *word = 0;
  return pclose(f) == 0;
}

// A repository in the test's folder with `files` (a shell line that puts them into it); its commit.
static const char *make_repository(const char *name, char *commit, const char *files) {
  static char path[4096];
  snprintf(path, sizeof path, "%s", check_path(name));
  if (!shell(NULL,
             "mkdir -p %s && cd %s && git init -q && %s && echo 'MIT License, of the test' > LICENSE && git "
             "add -A && "
             "git -c user.name=t -c user.email=t@t -c commit.gpgsign=false commit -q -m t",
             path, path, files) ||
      !shell(commit, "git -C %s rev-parse HEAD", path))
    fail_msg("cannot make the repository %s", path);
  return path;
}

static void need_repositories(void) {
  if (!shell(NULL, "git --version > /dev/null 2>&1")) {
    testing_skip("brc assets fetch: no git");
    skip();
  }
  if (!testing_shared() || !shell(NULL, "test -d %s/assets/dmc_custom", testing_shared())) {
    testing_skip("brc assets fetch: no shared/assets");
    skip();
  }
}

// Nothing in a root but what is expected there: no half of anything.
static void expect_root(const char *root, const char *names) {
  char out[4096] = "", line[4300];
  snprintf(line, sizeof line, "ls -A %s 2>/dev/null | grep -v '^.fetch.lock$' | tr '\\n' ' '", root);
  FILE *f = popen(line, "r");
  if (!f || !fgets(out, sizeof out, f)) *out = 0;
  if (f) pclose(f);
  if (strcmp(out, names)) fail_msg("%s holds '%s', expected '%s'", root, out, names);
}

static void test_assets_fetch(void **state) {
  (void)state;
  need_repositories();
  char commit[128], files[4096], repository[4096], root[4096], line[12400], env[4200];
  snprintf(
      files, sizeof files,
      "mkdir -p dmc_envs/tasks other && cp %s/assets/dmc_custom/*.xml dmc_envs/tasks && echo x > other/large "
      "&& echo x > dmc_envs/tasks/hopper.py",
      testing_shared());
  snprintf(repository, sizeof repository, "%s", make_repository("repository", commit, files));
  snprintf(root, sizeof root, "%s", check_path("fetched"));
  snprintf(line, sizeof line, "assets fetch dmc_custom --from %s --to %s --commit %s", repository, root,
           commit);
  // Installed: the files and the licence alone, found by --assets and good for a golden trajectory.
  expect(0, "its own licence (MIT)", line);
  if (!strstr(r.err, "MIT License, of the test") || !strstr(r.out, "installed")) fail_msg("%s%s", r.out, r.err);
  expect_root(root, "dmc_custom ");
  if (!shell(NULL,
             "cd %s/dmc_custom && diff -r . %s/assets/dmc_custom > list; test $(grep -c '^Only in \\.: ' list) "
             "= 3 && "
             "test $(wc -l < list) = 3 && grep -q 'commit %s' ORIGIN.txt",
             root, testing_shared(), commit))
    fail_msg("%s/dmc_custom is not what the repository has", root);
  run_brc(&r, NULL, "verify --assets %s %s/golden/envs/dmc/hopper-hop_backwards.safetensors", root,
          testing_shared());
  if (r.status && !strstr(r.err, "MuJoCo")) fail_msg("%s%s", r.out, r.err);
  // Again: nothing to do. Another commit, by the environment variable: replaced. One's own files: left alone.
  expect(0, NULL, line);
  if (!strstr(r.out, "already there")) fail_msg("%s", r.out);
  snprintf(env, sizeof env, "BRC_ASSETS_URL=file://%s", repository);
  run_brc(&r, env, "assets fetch dmc_custom --to %s --commit HEAD --json", root);
  if (r.status) fail_msg("%s", r.err);
  cJSON *o = parse_line(r.out);
  const cJSON *row = cJSON_GetArrayItem(cJSON_GetObjectItem(o, "suites"), 0);
  assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(row, "commit")), commit);
  assert_true(cJSON_IsFalse(cJSON_GetObjectItem(row, "already")));
  cJSON_Delete(o);
  expect_root(root, "dmc_custom ");
  shell(NULL, "rm %s/dmc_custom/ORIGIN.txt", root);
  expect(2, "did not come from 'brc assets fetch'", line);
  if (testing_quick()) return;
  // The largest suite, whole.
  snprintf(files, sizeof files, "mkdir humanoid_bench && cp -r %s/assets/humanoidbench humanoid_bench/assets",
           testing_shared());
  snprintf(repository, sizeof repository, "%s", make_repository("humanoid", commit, files));
  snprintf(line, sizeof line, "assets fetch humanoidbench --from file://%s --to %s --commit %s", repository,
           root, commit);
  expect(0, "its own licence", line);
  run_brc(&r, NULL, "verify --assets %s %s/golden/envs/humanoidbench/h1-walk-v0.safetensors", root,
          testing_shared());
  if (r.status && !strstr(r.err, "MuJoCo")) fail_msg("%s%s", r.out, r.err);
}

static void test_assets_fetch_fails(void **state) {
  (void)state;
  need_repositories();
  char commit[128], repository[4096], root[4096], line[12400];
  snprintf(
      repository, sizeof repository, "%s",
      make_repository("other", commit, "mkdir -p dmc_envs/tasks && echo x > dmc_envs/tasks/ball_in_cup.xml"));
  snprintf(root, sizeof root, "%s", check_path("untouched"));
  const struct {
    const char *from, *commit, *words;
  } cases[] = {{"/no/such/repository", "HEAD", "cannot get commit HEAD of /no/such/repository: git says: "},
               {repository, "0123456789012345678901234567890123456789", "cannot get commit 0123456789"},
               {repository, "HEAD", "has no 'dmc_envs/tasks/cheetah.xml'"},
               // No network: nobody listens there.
               {"http://127.0.0.1:9/x", "HEAD", "cannot get commit HEAD of http://127.0.0.1:9/x: git says: "}};
  for (size_t i = 0; i < BRC_COUNT(cases); i++) {
    snprintf(line, sizeof line, "assets fetch dmc_custom --from %s --commit %s --to %s", cases[i].from,
             cases[i].commit, root);
    expect(1, cases[i].words, line);
    expect_root(root, "");
  }
  run_brc(&r, "PATH=/nonexistent", "assets fetch dmc_custom --to %s", root);
  assert_int_equal(r.status, 1);
  if (!strstr(r.err, "git, which fetches, is not installed")) fail_msg("%s", r.err);
  expect_root(root, "");
  expect(2, "did you mean 'humanoidbench'", "assets fetch humanoidbnech");
  expect(2, "run tools/setup", "assets fetch dm_control");
  expect(2, "name one suite", "assets fetch dmc_custom humanoidbench --from /no/such");
  expect(2, "is no repository", "assets fetch dmc_custom --from=--upload-pack=x");
  expect(2, "is unknown; there is fetch", "assets get");
}

// Wait up to ten seconds for a file.
static bool appears(const char *path) {
  for (int i = 0; i < 1000 && !brc_path_exists(path); i++) usleep(10000);
  return brc_path_exists(path);
}

// Interrupted while git works (here one that only waits): nothing installed, nothing left; killed: the next one cleans up.
static void test_assets_fetch_interrupted(void **state) {
  (void)state;
  need_repositories();
  char root[4096], bin[4096], begun[4200], path[8192], *old = strdup(getenv("PATH"));
  snprintf(root, sizeof root, "%s", check_path("interrupted"));
  snprintf(bin, sizeof bin, "%s", check_path("bin"));
  snprintf(begun, sizeof begun, "%s/begun", bin);
  if (!shell(NULL, "mkdir %s && printf '#!/bin/sh\\ntouch %s\\nsleep 20\\n' > %s/git && chmod +x %s/git", bin,
             begun, bin, bin))
    fail_msg("cannot write %s", bin);
  snprintf(path, sizeof path, "%s:%s", bin, old);
  static const int signals[] = {SIGTERM, SIGINT, SIGKILL};
  for (size_t i = 0; i < BRC_COUNT(signals); i++) {
    unlink(begun);
    setenv("PATH", path, 1);
    pid_t pid = run_start("assets fetch dmc_custom --to %s", root);
    setenv("PATH", old, 1);
    if (!appears(begun)) fail_msg("git was not started");
    if (i == 0) {  // a second one meanwhile
      run_brc(&r, NULL, "assets fetch dmc_custom --to %s", root);
      assert_int_equal(r.status, 1);
      if (!strstr(r.err, "another 'brc assets fetch' is at work")) fail_msg("%s", r.err);
    }
    kill(pid, signals[i]);
    assert_int_equal(run_wait(pid), signals[i] == SIGKILL ? 128 + SIGKILL : 75);
    expect_root(root, signals[i] == SIGKILL ? ".fetch " : "");
  }
  free(old);
  run_brc(&r, NULL, "assets fetch dmc_custom --from /no/such/repository --to %s", root);
  assert_int_equal(r.status, 1);
  expect_root(root, "");
}

static void test_assets_listed(void **state) {
  (void)state;
  run_brc(&r, "BRC_ASSETS=/no/such", "assets --json");
  assert_int_equal(r.status, 0);
  cJSON *o = parse_line(r.out);
  const cJSON *s, *suites = cJSON_GetObjectItem(o, "suites");
  assert_int_equal(cJSON_GetArraySize(suites), 3);
  cJSON_ArrayForEach(s, suites) {
    double tasks = cJSON_GetNumberValue(cJSON_GetObjectItem(s, "tasks")),
           found = cJSON_GetNumberValue(cJSON_GetObjectItem(s, "tasks_found"));
    assert_true(tasks > 8 && found <= tasks);
    assert_true((found > 0) == (cJSON_GetObjectItem(s, "path") != NULL));
    assert_true((found < tasks) == (cJSON_GetObjectItem(s, "missing") != NULL));
  }
  cJSON_Delete(o);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_tasks),
                                     cmocka_unit_test(test_bench_env),
                                     cmocka_unit_test(test_assets_listed),
                                     cmocka_unit_test(test_assets_fetch),
                                     cmocka_unit_test(test_assets_fetch_fails),
                                     cmocka_unit_test(test_assets_fetch_interrupted),
                                     cmocka_unit_test(test_help),
                                     cmocka_unit_test(test_bad_input),
                                     cmocka_unit_test(test_no_opencl),
                                     cmocka_unit_test(test_json),
                                     cmocka_unit_test(test_run_folder),
                                     cmocka_unit_test(test_dump),
                                     cmocka_unit_test(test_hostile_case)};
  return testing_finish(cmocka_run_group_tests_name("cli", tests, NULL, NULL));
}
