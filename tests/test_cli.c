// The program as scripts and people meet it: exit statuses, messages that name the thing, JSON on one line, bad input.
#include "check.h"
#include "run_brc.h"
#include "testing.h"
#include "base/file.h"
#include "base/safetensors.h"
#include <cjson/cJSON.h>
#include <dirent.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
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
  expect(1, "no products in tf32; it offers fp32", "train probe-action --backend host --precision tf32");
  expect(1, "no products in tf32; it offers fp32", "verify --backend host --precision tf32 /dev/null");
  expect(1, "device", "train probe-action --backend host --device 7");
  expect(1, "no-such-provider", "verify --backend host --gemm no-such-provider /dev/null");
  expect(1, "option --device: 'ab:cd' is no device of backend host",
         "train probe-action --backend host --device ab:cd");
  expect(1, "there is no such GPU for --backend auto", "train probe-action --backend auto --device 99");
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

// Per task and over all: the mean of the scores, its interval (that of equal runs is a point), as often as there are runs.
static void check_scores(const cJSON *o, int runs) {
  static const char *const keys[] = {"return", "return_std", "success", "length", "score"};
  const cJSON *tasks = cJSON_GetObjectItem(o, "tasks"), *score = cJSON_GetObjectItem(o, "score"), *task;
  double sum = 0, mean = cJSON_GetNumberValue(cJSON_GetObjectItem(score, "mean"));
  assert_int_equal(cJSON_GetArraySize(tasks), 2);
  cJSON_ArrayForEach(task, tasks) {
    for (size_t i = 0; i < BRC_COUNT(keys); i++)
      assert_true(cJSON_IsNumber(cJSON_GetObjectItem(task, keys[i])));
    double x = cJSON_GetNumberValue(cJSON_GetObjectItem(task, "score"));
    assert_true(fabs(x - cJSON_GetNumberValue(cJSON_GetObjectItem(task, "return"))) <
                1e-9);  // solved: return 1
    sum += x / 2;
  }
  assert_true(fabs(sum - mean) < 1e-9);
  assert_true(cJSON_GetNumberValue(cJSON_GetObjectItem(score, "runs")) == runs);
  if (runs == 1) {
    assert_true(cJSON_IsNull(cJSON_GetObjectItem(score, "low")));
    return;
  }
  assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(o, "runs")), runs);
  assert_true(fabs(cJSON_GetNumberValue(cJSON_GetObjectItem(score, "low")) - mean) < 1e-9);
  assert_true(fabs(cJSON_GetNumberValue(cJSON_GetObjectItem(score, "high")) - mean) < 1e-9);
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
                                        "eval_return/probe-padding-a",
                                        "eval_success/probe-padding-b",
                                        "eval_score/probe-padding-a",
                                        "train_return/",
                                        "critic_gnorm/probe-padding-b\n"};
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
  check_scores(o, 1);
  cJSON_Delete(o);
  run_brc(&r, NULL, "eval %s %s --backend host --episodes 2 --json", run, run);
  if (r.status) fail_msg("%s", r.err);
  o = parse_line(r.out);
  check_scores(o, 2);
  cJSON_Delete(o);
  // A truncated checkpoint is named, and nothing is touched.
  snprintf(path, sizeof path, "%s/checkpoint/state.safetensors", run);
  assert_int_equal(truncate(path, 5000), 0);
  run_brc(&r, NULL, "train --resume %s --steps 90", run);
  assert_int_equal(r.status, 1);
  if (!strstr(r.err, "state.safetensors")) fail_msg("%s", r.err);
}

static void write_text(const char *path, const char *text) {
  check_ok(brc_file_write_all(path, text, strlen(text)));
}

static cJSON *config_of(const char *run) {
  char path[4200], *text;
  size_t n;
  snprintf(path, sizeof path, "%s/config.json", run);
  check_ok(brc_file_read(path, &text, &n));
  cJSON *o = cJSON_Parse(text);
  free(text);
  assert_non_null(o);
  return o;
}

// What going on with a run must not lose: the work of a process that is still at it, its number of steps, logs without their checkpoint.
static void test_going_on(void **state) {
  (void)state;
  char run[4096], other[4096], file[4200], *text;
  size_t n;
  snprintf(run, sizeof run, "%s", check_path("going-on"));
  snprintf(other, sizeof other, "%s", check_path("going-elsewhere"));
  static const char small[] =
      "--width 8 --actor-width 8 --batch 8 --start 10 --eval-interval 20 --eval-episodes 1 "
      "--log-interval 20 --backend host --quiet";
  const pid_t first = run_start("train probe-action %s --steps 100000000 --run %s", small, run);
  snprintf(file, sizeof file, "%s/log.csv", run);
  for (int i = 0; i < 2000 && !brc_path_exists(file); i++) usleep(10000);
  run_brc(&r, NULL, "train --resume %s", run);
  assert_int_equal(r.status, 2);
  if (!strstr(r.err, "another process trains in")) fail_msg("%s", r.err);
  kill(first, SIGTERM);
  assert_int_equal(run_wait(first), 75);
  // The steps asked for are kept for whoever goes on next.
  cJSON *o = config_of(run);
  cJSON_ReplaceItemInObject(o, "steps", cJSON_CreateNumber(20));
  text = cJSON_Print(o);
  cJSON_Delete(o);
  snprintf(file, sizeof file, "%s/config.json", run);
  write_text(file, text);
  free(text);
  for (int i = 0; i < 2; i++)  // the first makes an evaluation that the signal may have cut short
    run_brc(&r, NULL, "train --resume %s", run);
  if (r.status || !strstr(r.err, "of 20; --steps N goes on to N")) fail_msg("%d: %s", r.status, r.err);
  const pid_t second = run_start("train --resume %s --steps 100000000", run);
  n = 20;
  for (int i = 0; i < 2000 && n == 20; i++) {
    usleep(10000);
    o = config_of(run);
    n = (size_t)cJSON_GetNumberValue(cJSON_GetObjectItem(o, "steps"));
    cJSON_Delete(o);
  }
  kill(second, SIGHUP);
  assert_int_equal(run_wait(second), 75);
  assert_int_equal(n, 100000000);
  // A seed and a rate of more digits than cJSON prints.
  run_brc(&r, NULL,
          "train probe-action --steps 1 --eval-interval 0 --batch 8 --start 8 --width 8 --actor-width 8 "
          "--backend host --quiet "
          "--seed 8999999999999991 --critic-lr 0.00030000000000000003 --run %s-exact",
          run);
  if (r.status) fail_msg("%s", r.err);
  run_brc(&r, NULL, "train --resume %s-exact --steps 2", run);  // written anew
  if (r.status) fail_msg("%s", r.err);
  char exact[4096];
  snprintf(exact, sizeof exact, "%.4000s-exact", run);
  o = config_of(exact);
  assert_true(cJSON_GetNumberValue(cJSON_GetObjectItem(o, "seed")) == 8999999999999991.0);
  assert_true(cJSON_GetNumberValue(cJSON_GetObjectItem(o, "critic_lr")) == 0.00030000000000000003);
  assert_true(cJSON_GetNumberValue(cJSON_GetObjectItem(o, "steps")) == 2);
  cJSON_Delete(o);
  // A short run's table of the replay on the device is not too short for the steps that a dry run tries.
  run_brc(&r, NULL, "train probe-action --steps 100 --width 8 --replay device --dry-run --backend host");
  if (r.status) fail_msg("%s", r.err);
  // A requeued job's tasks are the run's.
  run_brc(&r, NULL, "train probe-scale --resume auto --run %s", run);
  assert_int_equal(r.status, 2);
  if (!strstr(r.err, "holds a run of other tasks")) fail_msg("%s", r.err);
  // --run beside --resume names the same folder or is refused.
  run_brc(&r, NULL, "train --resume %s --run %s", run, other);
  assert_int_equal(r.status, 2);
  if (!strstr(r.err, other)) fail_msg("%s", r.err);
  assert_false(brc_path_exists(other));
  // A start that fails leaves no folder.
  run_brc(&r, NULL, "train probe-action --backend host --device 7 --run %s", other);
  assert_int_equal(r.status, 1);
  assert_false(brc_path_exists(other));
  // One bit of a damaged checkpoint, in the data of the last tensor.
  snprintf(file, sizeof file, "%s/checkpoint/state.safetensors", run);
  check_ok(brc_file_read(file, &text, &n));
  text[n - 3] ^= 4;
  check_ok(brc_file_write_all(file, text, n));
  free(text);
  run_brc(&r, NULL, "train --resume %s", run);
  assert_int_equal(r.status, 1);
  if (!strstr(r.err, "is damaged")) fail_msg("%s", r.err);
  run_brc(&r, NULL, "eval %s", run);
  if (r.status != 1 || !strstr(r.err, "is damaged")) fail_msg("%d: %s", r.status, r.err);
  // Logs without a checkpoint stay.
  char *before, *after;
  size_t m;
  assert_int_equal(unlink(file), 0);
  snprintf(file, sizeof file, "%s/log.csv", run);
  check_ok(brc_file_read(file, &before, &n));
  run_brc(&r, NULL, "train --resume %s", run);
  assert_int_equal(r.status, 2);
  if (!strstr(r.err, "no checkpoint to go on from")) fail_msg("%s", r.err);
  check_ok(brc_file_read(file, &after, &m));
  assert_int_equal(n, m);
  assert_memory_equal(before, after, n);
  free(before);
  free(after);
}

// A file of options and tasks; the command line goes before it, and a run's config.json is such a file.
static void test_config(void **state) {
  (void)state;
  char file[4096], run[4096], again[4096], line[9000];
  snprintf(file, sizeof file, "%s", check_path("options.json"));
  snprintf(run, sizeof run, "%s", check_path("run-of-config"));
  snprintf(again, sizeof again, "%s", check_path("run-of-config-again"));
  write_text(
      file,
      "{\"tasks\": [\"probe-padding\"], \"width\": 24, \"actor_width\": 8, \"batch\": 16, \"start\": 20,\n"
      " \"steps\": 30, \"eval_interval\": 0, \"backend\": \"host\", \"quiet\": true, \"tau\": 0.5}");
  run_brc(&r, NULL, "train --config %s --width 8 --run %s", file, run);
  if (r.status) fail_msg("%s", r.err);
  cJSON *o = config_of(run);
  assert_true(cJSON_GetNumberValue(cJSON_GetObjectItem(o, "width")) == 8);
  assert_true(cJSON_GetNumberValue(cJSON_GetObjectItem(o, "actor_width")) == 8);
  assert_true(cJSON_GetNumberValue(cJSON_GetObjectItem(o, "tau")) == 0.5);
  assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(o, "tasks")), 2);
  cJSON_Delete(o);
  // The run's own, with other tasks and one option changed.
  run_brc(&r, NULL, "train probe-action --config %s/config.json --tau 0.25 --run %s", run, again);
  if (r.status) fail_msg("%s", r.err);
  o = config_of(again);
  assert_true(cJSON_GetNumberValue(cJSON_GetObjectItem(o, "width")) == 8);
  assert_true(cJSON_GetNumberValue(cJSON_GetObjectItem(o, "tau")) == 0.25);
  assert_string_equal(cJSON_GetStringValue(cJSON_GetArrayItem(cJSON_GetObjectItem(o, "tasks"), 0)),
                      "probe-action");
  assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(o, "tasks")), 1);
  cJSON_Delete(o);
  // Who computes is recorded, part by part.
  run_brc(&r, NULL, "train --resume %s --steps 40", again);
  if (r.status) fail_msg("%s", r.err);
  o = config_of(again);
  const cJSON *parts = cJSON_GetObjectItem(o, "parts"), *part = cJSON_GetArrayItem(parts, 1);
  assert_int_equal(cJSON_GetArraySize(parts), 2);
  assert_true(cJSON_GetNumberValue(cJSON_GetObjectItem(part, "step")) == 30);
  assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(part, "backend")), "host");
  static const char *const told[] = {"device", "driver", "version", "why"};
  for (size_t i = 0; i < BRC_COUNT(told); i++)
    assert_true(strlen(cJSON_GetStringValue(cJSON_GetObjectItem(part, told[i]))) > 0);
  cJSON_Delete(o);
  run_brc(&r, NULL, "train --resume %s", again);  // nothing left to do: nothing to record
  o = config_of(again);
  assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(o, "parts")), 2);
  cJSON_Delete(o);
  // A requeued job's file may be gone; beside a plain --resume there is none to give.
  run_brc(&r, NULL, "train --config /no/such/file.json --run %s --resume auto", run);
  if (r.status) fail_msg("%s", r.err);
  snprintf(line, sizeof line, "train --config %s --resume %s", file, run);
  expect(2, "--config cannot be given with --resume", line);
  static const struct {
    int status;
    const char *text, *words;
  } bad[] = {{1, "{\"widht\": 3}", "options.json: the key 'widht' is unknown; did you mean 'width'"},
             {1, "{\"width\": \"many\"}", "options.json: the key 'width' must be a number"},
             {1, "{\"quiet\": 1}", "options.json: the key 'quiet' must be true or false"},
             {1, "{\"backend\": [1]}", "options.json: the key 'backend' must be a text"},
             {1, "{\"width\": 0}", "options.json: the key 'width': option --width: 0 is outside"},
             {1, "{\"width\": 8.5}", "options.json: the key 'width'"},
             {1, "{\"actor_width\": 8, \"actor-width\": 9}", "the key 'actor_width' is there twice"},
             {1, "{\"tasks\": \"probe-action\"}", "options.json: the key 'tasks' must be a list"},
             {1, "{\"tasks\": [\"probe-actoin\"]}", "did you mean 'probe-action'"},
             {1, "{\"width\": 8,\n\"depth\" 2}", "options.json, line 2: this is no JSON object"},
             {1, "{\"width\": 8} {}", "options.json, line 1"},
             {1, "[1]", "this is no JSON object"},
             {2, "{\"width\": 8}", "no task is given"}};
  snprintf(line, sizeof line, "train --config %s", file);
  for (size_t i = 0; i < BRC_COUNT(bad); i++) {
    write_text(file, bad[i].text);
    expect(bad[i].status, bad[i].words, line);
  }
  expect(1, "/no/such/file.json", "train --config /no/such/file.json");
}

static double number_at(const cJSON *o, const char *part, const char *name) {
  const cJSON *x = cJSON_GetObjectItem(part ? cJSON_GetObjectItem(o, part) : o, name);
  if (!cJSON_IsNumber(x)) fail_msg("no number %s/%s", part ? part : "", name);
  return x->valuedouble;
}

static double file_bytes(const char *run, const char *name) {
  char path[8600];
  struct stat s;
  snprintf(path, sizeof path, "%s/%s", run, name);
  if (stat(path, &s)) fail_msg("%s is missing", path);
  return (double)s.st_size;
}

// Most memory that the child ended last held, in bytes, without what a run of the smallest size holds.
static double run_resident(const char *line) {
  struct rusage u;
  pid_t pid = run_start("%s", line);
  int s;
  if (wait4(pid, &s, 0, &u) != pid || s) fail_msg("brc %s: status %d", line, s);
  return 1024.0 * (double)u.ru_maxrss;
}

// What --dry-run predicts, beside what the same run then takes.
static void test_dry_run(void **state) {
  (void)state;
  char run[4096], line[9000], words[8192];
  snprintf(run, sizeof run, "%s", check_path("dry"));
  // Memory: networks large enough to stand out. The bounds are those of what is not predicted: libraries, threads, huge pages.
  static const char big[] =
      "train probe-padding --backend host --width 768 --actor-width 256 --batch 256 --start 200 --steps 202 "
      "--capacity 100000 --eval-interval 0 --log-interval 100000 --quiet";
  static const char small[] =
      "train probe-padding --backend host --width 8 --actor-width 8 --batch 8 --start 200 --steps 202 "
      "--capacity 10 --eval-interval 0 --log-interval 100000 --quiet";
  run_brc(&r, NULL, "%s --run %s --dry-run --json", big, run);
  if (r.status) fail_msg("%s", r.err);
  cJSON *o = parse_line(r.out);
  assert_int_not_equal(access(run, F_OK), 0);  // no run folder
  snprintf(line, sizeof line, "%s --run %s", big, run);
  snprintf(words, sizeof words, "%s --run %s-small", small, run);
  const double base = run_resident(words), took = run_resident(line) - base,
               said = number_at(o, "device_memory", "total") + number_at(o, "host_memory", "replay") +
                      number_at(o, "host_memory", "saving");
  printf("  memory: predicted %.1f MB, taken %.1f MB beside the %.1f MB of a tiny run\n", said * 1e-6,
         took * 1e-6, base * 1e-6);
#ifndef __SANITIZE_ADDRESS__  // whose own memory is many times ours
  if (!(took > 0.8 * said && took < 1.25 * said)) fail_msg("predicted %g bytes, taken %g", said, took);
#endif
  assert_true(number_at(o, "parameters", "critic") > 4.5e6);  // 2 members, 4 products of 768 x 768
  assert_true(number_at(o, "host_memory", "total") >= said);
  const double state_said = number_at(o, "disk", "state"),
               state_took = file_bytes(run, "checkpoint/state.safetensors");
  if (fabs(state_said - state_took) > 0.01 * state_took)
    fail_msg("state: predicted %g bytes, written %g", state_said, state_took);
  assert_true(number_at(o, "seconds", "total") > 0 &&
              number_at(o, "seconds", "update") > number_at(o, "seconds", "act"));
  cJSON_Delete(o);

  // Disk, with a ring that has come round and logs of some rows.
  static const char logs[] =
      "train probe-padding probe-truncated --backend host --width 8 --actor-width 8 --batch 8 --start 4400 "
      "--steps 4500 "
      "--capacity 64 --eval-interval 100 --eval-episodes 1 --log-interval 50 --utd 1 --quiet";
  run_brc(&r, NULL, "%s --run %s-logs --dry-run --json", logs, run);
  if (r.status) fail_msg("%s", r.err);
  o = parse_line(r.out);
  snprintf(words, sizeof words, "%s-logs", run);
  run_brc(&r, NULL, "%s --run %s", logs, words);
  if (r.status) fail_msg("%s", r.err);
  double written = file_bytes(words, "log.csv") + file_bytes(words, "train.csv");
  DIR *folder = opendir(words);
  for (struct dirent *e; (e = readdir(folder));)
    if (!strncmp(e->d_name, "events.", 7)) written += file_bytes(words, e->d_name);
  closedir(folder);
  printf("  logs: predicted %.0f bytes, written %.0f\n", number_at(o, "disk", "logs"), written);
  // Before learning many fields are empty; the rest is how many digits a number has.
  assert_true(number_at(o, "disk", "logs") < 3 * written && number_at(o, "disk", "logs") > 0.8 * written);
  assert_true(number_at(o, "disk", "replay") == file_bytes(words, "checkpoint/replay.bin"));
  // A run may go on as far as its plan says.
  cJSON_Delete(o);
  run_brc(&r, NULL, "train --resume %s --dry-run", words);
  if (r.status) fail_msg("%s", r.err);
  if (!strstr(r.out, "4500 steps: ")) fail_msg("%s", r.out);

  // What does not fit is named, with what to lower; the numbers are told all the same, as one object where asked for.
  expect(1, "lower --width", "train probe-action --backend host --dry-run --width 16384");
  expect(
      1, "lower --batch",
      "train probe-padding --backend host --dry-run --batch 1000000 --start 1000000 --width 512 --atoms 4096");
  expect(1, "lower --capacity",
         "train probe-action --backend host --dry-run --width 8 --batch 8 --capacity 4e9 --steps 4e9 --json");
  o = parse_line(r.out);
  assert_true(cJSON_IsFalse(cJSON_GetObjectItem(o, "fits")) &&
              cJSON_IsNull(cJSON_GetObjectItem(cJSON_GetObjectItem(o, "seconds"), "total")));
  cJSON_Delete(o);
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

//------------------------ Measurements --------------------------------------------
static double number_of(const cJSON *o, const char *key) {
  const cJSON *x = cJSON_GetObjectItem(o, key);
  if (!cJSON_IsNumber(x)) fail_msg("%s is missing", key);
  return x->valuedouble;
}

static cJSON *plan_of(const char *options) {
  run_brc(&r, NULL, "bench update --memory --json %s", options);
  if (r.status) fail_msg("%s", r.err);
  return parse_line(r.out);
}

// The largest networks that are promised to fit, planned without allocating; the replay stays on the host.
static void test_memory_plan(void **state) {
  (void)state;
  static const struct { double width, most; } promised[] = {{8192, 16e9}, {16384, 80e9}};
  for (size_t i = 0; i < BRC_COUNT(promised); i++) {
    const double w = promised[i].width, inputs = 223 + 38 + 32, atoms = 101, tasks = 4;
    char options[96];
    snprintf(options, sizeof options, "--width %.0f --batch 1024 --precision bf16", w);
    cJSON *plan = plan_of(options);
    // Two members: first layer, two blocks of two, output; a LayerNorm's scale and bias behind all but the output.
    const double critic = 2 * ((inputs + 3) * w + 4 * (w + 3) * w + (w + 1) * atoms) + tasks * 32;
    assert_true(number_of(cJSON_GetObjectItem(plan, "critic"), "count") == critic);
    // Parameters, gradient, two moments, target; rows and tensors are padded to 64 and 512 bytes.
    const double state_bytes = number_of(plan, "state_bytes"), copies = number_of(plan, "copies_bytes_at_most");
    assert_true(state_bytes >= 5 * 4 * critic && state_bytes < 1.01 * 5 * 4 * critic);
    assert_true(copies >= 2 * 2 * critic);
    const double all = number_of(plan, "total_bytes") + copies;
    if (all > promised[i].most) fail_msg("W %.0f takes %.2f GB", w, all * 1e-9);
    assert_true(number_of(plan, "total_bytes") < state_bytes + 0.2 * promised[i].most);
    cJSON_Delete(plan);
  }
}

// What the plan says is what a device then holds.
static void test_memory_held(void **state) {
  (void)state;
  static const char line[] = "--backend host --width 256 --batch 512 --tasks 2 --obs 31 --act 7";
  cJSON *plan = plan_of(line);
  run_brc(&r, NULL, "bench update --json --reps 1 %s", line);
  if (r.status) fail_msg("%s", r.err);
  cJSON *o = parse_line(r.out);
  const double planned = number_of(plan, "state_bytes") + number_of(plan, "activation_bytes") +
                         number_of(plan, "batch_bytes"),
               held = number_of(o, "device_bytes");
  // Between them: activations that the host keeps block by block in its threads' scratch instead, and that scratch.
  if (!(held > 0.75 * planned && held < 1.25 * planned))
    fail_msg("planned %.0f bytes, held %.0f", planned, held);
  cJSON_Delete(o);
  cJSON_Delete(plan);
}

// Choices that are measured, kept in the cache and a file, and used again; another device's are refused by name.
static void test_tune(void **state) {
  (void)state;
  static const char line[] = "--width 32 --actor-width 16 --batch 16 --tasks 2 --obs 7 --act 3 --json";
  char path[4096], *text;
  size_t bytes;
  snprintf(path, sizeof path, "%s", check_path("tuning.json"));
  char cache[4200];
  snprintf(cache, sizeof cache, "BRC_CACHE=%s", check_path("cache"));
  run_brc(&r, NULL, "tune --backend host %s", line);
  assert_int_equal(r.status, 1);
  if (!strstr(r.err, "backend host has no candidates")) fail_msg("%s", r.err);
  run_brc(&r, cache, "tune --backend opencl --seconds 0.1 %s --out %s", line, path);
  if (r.status && strstr(r.err, "OpenCL")) {
    testing_skip("brc tune: %s", r.err);
    skip();
  }
  if (r.status) fail_msg("%s", r.err);
  cJSON *o = parse_line(r.out);
  const cJSON *row;
  assert_true(cJSON_GetArraySize(cJSON_GetObjectItem(o, "products")) > 0);
  cJSON_ArrayForEach(row, cJSON_GetObjectItem(o, "products"))
      assert_true(number_of(row, "best_ms") <= number_of(row, "rule_ms") && number_of(row, "candidates") > 0);
  cJSON_Delete(o);
  // By itself bench update takes what the cache has.
  static const char *const tunings[] = {"", "--tuning off", "--tuning"};
  for (int i = 0; i < 3; i++) {
    run_brc(&r, cache, "bench update --backend opencl --reps 1 %s %s %s", line, tunings[i], i == 2 ? path : "");
    if (r.status) fail_msg("%s", r.err);
    o = parse_line(r.out);
    const char *from = cJSON_GetStringValue(cJSON_GetObjectItem(o, "tuning"));
    if (i == 0 && !strstr(from, "/cache/tuning/")) fail_msg("%s", from);
    if (i) assert_string_equal(from, i == 1 ? "off" : path);
    cJSON_Delete(o);
  }
  run_brc(&r, NULL, "bench update --backend host --reps 1 %s --tuning %s", line, path);
  assert_int_equal(r.status, 1);
  if (!strstr(r.err, "its device is") && !strstr(r.err, "its driver is")) fail_msg("%s", r.err);
  // A choice that the device does not have.
  check_ok(brc_file_read(path, &text, &bytes));
  cJSON *file = cJSON_Parse(text), *products = cJSON_GetObjectItem(file, "products"),
        *given = cJSON_CreateObject();
  free(text);
  const char *const texts[] = {"layout", "NN", "precision", "fp32", "choice", "gone/64x64"};
  for (size_t i = 0; i < BRC_COUNT(texts); i += 2) cJSON_AddStringToObject(given, texts[i], texts[i + 1]);
  const struct {
    const char *key;
    double value;
  } sizes[] = {{"m", 16}, {"n", 32}, {"k", 32}, {"members", 2}};
  for (size_t i = 0; i < BRC_COUNT(sizes); i++) cJSON_AddNumberToObject(given, sizes[i].key, sizes[i].value);
  cJSON_AddItemToArray(products, given);
  text = cJSON_Print(file);
  check_ok(brc_file_write_all(path, text, strlen(text)));
  free(text);
  cJSON_Delete(file);
  run_brc(&r, NULL, "bench update --backend opencl --reps 1 %s --tuning %s", line, path);
  assert_int_equal(r.status, 1);
  if (!strstr(r.err, "chosen to come from 'gone/64x64'")) fail_msg("%s", r.err);
}

static void test_bench_compare(void **state) {
  (void)state;
  static const char line[] = "--backend host --width 32 --actor-width 16 --batch 16 --tasks 2 --obs 7 --act 3";
  char path[4096];
  snprintf(path, sizeof path, "%s", check_path("former.json"));
  run_brc(&r, NULL, "bench op adamw norm --json %s", line);
  if (r.status) fail_msg("%s", r.err);
  FILE *f = fopen(path, "w");
  assert_non_null(f);
  fputs(r.out, f);
  fclose(f);
  cJSON *o = parse_line(r.out);
  const int rows = cJSON_GetArraySize(cJSON_GetObjectItem(o, "rows"));
  const cJSON *row;
  cJSON_ArrayForEach(row, cJSON_GetObjectItem(o, "rows"))
      assert_true(number_of(row, "ms") > 0 && number_of(row, "fraction") > 0);
  assert_true(rows >= 5 && number_of(cJSON_GetObjectItem(o, "roofline"), "copy_gbytes_per_s") > 0);
  cJSON_Delete(o);
  // Every row finds itself again.
  run_brc(&r, NULL, "bench op adamw norm --json --compare %s %s", path, line);
  if (r.status) fail_msg("%s", r.err);
  o = parse_line(r.out);
  const cJSON *compared = cJSON_GetObjectItem(cJSON_GetObjectItem(o, "compare"), "rows");
  assert_int_equal(cJSON_GetArraySize(compared), rows);
  cJSON_ArrayForEach(row, compared) assert_true(number_of(row, "ratio") > 0);
  cJSON_Delete(o);
  run_brc(&r, NULL, "bench update --json --reps 1 --compare %s %s", path, line);
  assert_int_equal(r.status, 1);
  if (!strstr(r.err, "is a report of bench op")) fail_msg("%s", r.err);
  expect(2, "did you mean 'adamw'? src", "bench op adamq");
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
    // Two measurements of 20 ms; on a busy machine either may be interrupted for longer than that.
    assert_true(share->valuedouble > 0.05 && share->valuedouble < 20);
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

// The man page has every command with every option, and troff takes it without a warning.
static void test_man_page(void **state) {
  (void)state;
  static run_result page;
  char path[4200], line[9000], name[64], *text;
  size_t bytes, options = 0, commands = 0;
  run_brc(&page, NULL, "help --man");
  assert_int_equal(page.status, 0);
  assert_string_equal(page.err, "");
  run_brc(&r, NULL, "help");
  for (const char *at = strstr(r.out, "\n  "); at; at = strstr(at + 1, "\n  ")) {
    assert_int_equal(sscanf(at, " %63s", name), 1);
    snprintf(line, sizeof line, "\n.SS brc %s\n", name);
    const char *section = strstr(page.out, line);
    if (!section) fail_msg("no section of %s", name);
    const char *next = strstr(section + 1, "\n.S");
    assert_non_null(next);
    static run_result help;
    run_brc(&help, NULL, "%s --help", name);
    for (const char *o = strstr(help.out, "\n  --"); o; o = strstr(o + 1, "\n  --")) {
      char option[64];
      size_t n = 0;
      for (o += 3; *o != ' ' && n + 3 < sizeof option; o++) {
        if (*o == '-') option[n++] = '\\';
        option[n++] = *o;
      }
      option[n] = 0;
      snprintf(line, sizeof line, "\n\\fB%s\\fR ", option);
      const char *found = strstr(section, line);
      if (!found || found > next) fail_msg("%s: no entry of %s", name, option);
      options++;
    }
    commands++;
  }
  assert_true(commands > 10 && options > 100);
  if (system("groff -v > /dev/null 2>&1") != 0) {
    testing_skip("warnings of the man page: no groff");
    return;
  }
  snprintf(path, sizeof path, "%s", check_path("brc.1"));
  check_ok(brc_file_write_all(path, page.out, strlen(page.out)));
  snprintf(line, sizeof line, "groff -man -ww -z '%s' > '%s.warnings' 2>&1", path, path);
  assert_int_equal(system(line), 0);
  snprintf(line, sizeof line, "%s.warnings", path);
  check_ok(brc_file_read(line, &text, &bytes));
  if (bytes) fail_msg("%s", text);
  free(text);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_man_page),
                                     cmocka_unit_test(test_tasks),
                                     cmocka_unit_test(test_bench_env),
                                     cmocka_unit_test(test_memory_plan),
                                     cmocka_unit_test(test_memory_held),
                                     cmocka_unit_test(test_tune),
                                     cmocka_unit_test(test_bench_compare),
                                     cmocka_unit_test(test_assets_listed),
                                     cmocka_unit_test(test_assets_fetch),
                                     cmocka_unit_test(test_assets_fetch_fails),
                                     cmocka_unit_test(test_assets_fetch_interrupted),
                                     cmocka_unit_test(test_help),
                                     cmocka_unit_test(test_bad_input),
                                     cmocka_unit_test(test_no_opencl),
                                     cmocka_unit_test(test_json),
                                     cmocka_unit_test(test_run_folder),
                                     cmocka_unit_test(test_going_on),
                                     cmocka_unit_test(test_config),
                                     cmocka_unit_test(test_dry_run),
                                     cmocka_unit_test(test_dump),
                                     cmocka_unit_test(test_hostile_case)};
  return testing_finish(cmocka_run_group_tests_name("cli", tests, NULL, NULL));
}
