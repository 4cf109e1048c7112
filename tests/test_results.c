// Seeing a run: logs and TensorBoard events as readers find them, progress on stderr, and the commands that read runs back.
// BRC_PYTHON: the python with the package tensorboard; without it that reader is skipped by name.
#include "check.h"
#include "run_brc.h"
#include "testing.h"
#include "base/file.h"
#include "train/published.h"
#include "train/tensorboard.h"
#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

static run_result r;

static void expect(int status, const char *words, const char *fmt, ...) BRC_PRINTF(3, 4);
static void expect(int status, const char *words, const char *fmt, ...) {
  char line[4096];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(line, sizeof line, fmt, ap);
  va_end(ap);
  run_brc(&r, NULL, "%s", line);
  if (r.status != status)
    fail_msg("'brc %s' ended with %d, expected %d: %s%s", line, r.status, status, r.out, r.err);
  if (words && !strstr(r.err, words) && !strstr(r.out, words))
    fail_msg("'brc %s' says '%s%s', expected '%s' in it", line, r.out, r.err, words);
}

static void near(double got, double want, double tolerance) {
  if (!(fabs(got - want) <= tolerance)) fail_msg("%.17g, expected %.17g +- %g", got, want, tolerance);
}

static const char *write_text(const char *name, const char *text) {
  const char *path = check_path(name);
  check_ok(brc_file_write_all(path, text, strlen(text)));
  return path;
}

//------------------------ 1. Intervals --------------------------------------------
// Expected numbers: scipy 1.17.1, stats.t.ppf, stats.ttest_ind(equal_var=False).confidence_interval.
static void test_intervals(void **state) {
  (void)state;
  static const double t[][2] = {{1, 12.706204736174694},   {2, 4.302652729749462},    {4, 2.7764451051977934},
                                {9, 2.262157162798205},    {3.7, 2.8675207071911895}, {30, 2.0422724563012378},
                                {10000, 1.960201239890626}};
  for (size_t i = 0; i < BRC_COUNT(t); i++) near(brc_t95(t[i][0]), t[i][1], 1e-9 * t[i][1]);
  static const double a[] = {812.5, 790.25, 845, 771, 830.75}, b[] = {901, 850.5, 876.25}, same[] = {3, 3, 3};
  brc_interval x = brc_mean95(a, 5);
  near(x.mean, 809.9, 1e-9);
  near(x.half, 37.109061040491696, 1e-8);
  x = brc_welch95(a, 5, b, 3);
  near(x.mean, 66.01666666666665, 1e-9);
  near(x.half, 50.822689100243025, 1e-7);
  near(brc_welch95(same, 3, same, 2).half, 0, 0);
  assert_true(isnan(brc_mean95(a, 1).half));
  assert_true(isnan(brc_welch95(a, 1, b, 3).half));
  assert_true(isnan(brc_mean95(a, 0).mean));
}

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

// Against all 5^5 resamples, each once: the 20,000 random ones have quantiles within 0.4% of the probability (three standard
// deviations of 20,000 draws at 2.5%), so between the exact ones at 2.1% and 2.9%.
static void test_bootstrap(void **state) {
  (void)state;
  enum { N = 5, ALL = 3125 };
  static const double x[N] = {0.31, 0.52, 0.48, 0.9, 0.44};
  static double means[ALL];
  for (int k = 0; k < ALL; k++) {
    means[k] = 0;
    for (int i = 0, digits = k; i < N; i++, digits /= N) means[k] += x[digits % N] / N;
  }
  qsort(means, ALL, sizeof *means, ascending);
  brc_bootstrap b, again;
  check_ok(brc_bootstrap95(x, N, &b));
  near(b.mean, 0.53, 1e-12);
  assert_true(b.low >= means[(int)(0.021 * ALL)] - 1e-12 && b.low <= means[(int)(0.029 * ALL)] + 1e-12);
  assert_true(b.high >= means[(int)(0.971 * ALL)] - 1e-12 && b.high <= means[(int)(0.979 * ALL)] + 1e-12);
  check_ok(brc_bootstrap95(x, N, &again));
  assert_true(b.low == again.low && b.high == again.high);
  check_ok(brc_bootstrap95(x, 1, &b));
  assert_true(b.mean == 0.31 && isnan(b.low) && isnan(b.high));
}

//------------------------ 2. Logs -------------------------------------------------
static void test_tables(void **state) {
  (void)state;
  brc_table t;
  check_ok(brc_table_read(&t, write_text("good.csv",
                                         "env_steps,alpha,eval_return/a b\r\n10,,-1.5e3\r\n20,nan,inf\r\n30,"
                                         "0.25,7\r\n40,0.2")));
  assert_int_equal(t.column_count, 3);
  assert_int_equal(t.row_count, 3);
  assert_int_equal(t.cut_line, 5);  // being written: left out
  assert_string_equal(t.columns[2], "eval_return/a b");
  assert_true(isnan(brc_table_at(&t, 0, "alpha")) && isnan(brc_table_at(&t, 1, "alpha")));
  near(brc_table_at(&t, 2, "alpha"), 0.25, 0);
  near(brc_table_at(&t, 0, "eval_return/a b"), -1500, 0);
  assert_true(isinf(brc_table_at(&t, 1, "eval_return/a b")));
  assert_true(isnan(brc_table_at(&t, 3, "alpha")) && isnan(brc_table_at(&t, 0, "beta")));
  brc_table_free(&t);
  static const struct {
    const char *text, *words;
  } bad[] = {{"", "bad.csv:1: the header is cut short"},
             {"env_steps,alp", "bad.csv:1: the header is cut short"},
             {"steps,alpha\n1,2\n", "bad.csv:1: the first column is 'steps'"},
             {"env_steps,alpha\n1,2\n2\n3,1\n", "bad.csv:3: 1 fields, the header names 2"},
             {"env_steps,alpha\n1,2\n2,3,4\n", "bad.csv:3: 3 fields"},
             {"env_steps,alpha\n1,2\n\n", "bad.csv:3: 1 fields"},
             {"env_steps,alpha\n1,2\n2,x3\n", "bad.csv:3: column 'alpha': 'x3' is not a number"},
             {"env_steps,alpha\n1,2\n2,3 4\n", "bad.csv:3: column 'alpha'"},
             {"env_steps,alpha\n,2\n", "bad.csv:2: env_steps"},
             {"env_steps,alpha\n5,2\n5,2\n", "bad.csv:3: env_steps does not grow"}};
  for (size_t i = 0; i < BRC_COUNT(bad); i++)
    check_fails(BRC_E_FORMAT, bad[i].words, brc_table_read(&t, write_text("bad.csv", bad[i].text)));
  check_ok(brc_file_write_all(check_path("zero.csv"), "env_steps,a\n1,\0\n", 16));
  check_fails(BRC_E_FORMAT, "zero byte", brc_table_read(&t, check_path("zero.csv")));
  check_fails(BRC_E_NOT_FOUND, "no-such.csv", brc_table_read(&t, check_path("no-such.csv")));
}

// A run folder from texts; `log` NULL: none.
static const char *make_run(const char *name, const char *config, const char *log) {
  char file[512];
  const char *run = check_path(name);
  check_ok(brc_mkdirs(run));
  snprintf(file, sizeof file, "%s/config.json", run);
  check_ok(brc_file_write_all(file, config, strlen(config)));
  snprintf(file, sizeof file, "%s/log.csv", run);
  if (log) check_ok(brc_file_write_all(file, log, strlen(log)));
  return run;
}

// Two tasks, three evaluations; `a` shifts the first task's returns.
static const char *make_seed(const char *name, int width, int seed, double a) {
  char config[512], log[512];
  snprintf(config, sizeof config,
           "{\"tasks\": [\"x\", \"y\"], \"width\": %d, \"seed\": %d, \"steps\": 30, \"device_name\": \"D%d\"}",
           width, seed, seed);
  snprintf(log, sizeof log,
           "env_steps,grad_steps,wall_s,alpha,eval_return/x,eval_return/y\n10,1,1,,%g,1\n20,2,2,0.5,%g,2\n"
           "30,3,3,0.25,%g,3\n",
           a, a + 10, a + 40);
  return make_run(name, config, log);
}

static void test_runs_read_back(void **state) {
  (void)state;
  brc_result *x;
  check_fails(BRC_E_NOT_FOUND, "is no run folder", brc_result_read(&x, check_path("nothing")));
  check_fails(BRC_E_FORMAT, "config.json:3: this is not JSON, or it is cut short",
              brc_result_read(&x, make_run("cut", "{\n\"tasks\": [\"a\"],\n\"seed\": ", NULL)));
  check_fails(BRC_E_FORMAT, "not a run's configuration",
              brc_result_read(&x, make_run("no", "{\"tasks\": []}", NULL)));
  check_fails(BRC_E_FORMAT, "a task is not a text",
              brc_result_read(&x, make_run("one", "{\"tasks\": [1]}", NULL)));
  check_ok(brc_result_read(&x, make_seed("good//", 64, 3, 100)));
  assert_null(x->train.columns);  // not there yet: no error
  char text[256];
  brc_result_tasks_text(x, 1, text, sizeof text);
  assert_string_equal(text, "x and 1 more");
  brc_result_setting(x, "width", text, sizeof text);
  assert_string_equal(text, "64");
  brc_result_setting(x, "height", text, sizeof text);
  assert_string_equal(text, "-");
  brc_series s;
  check_ok(brc_series_read(&s, x, "alpha", NULL));  // the empty field is left out
  assert_int_equal(s.count, 2);
  assert_true(isnan(brc_series_at(&s, 10)) && isnan(brc_series_at(&s, 25)));
  near(brc_series_at(&s, 30), 0.25, 0);
  brc_series_free(&s);
  check_ok(brc_series_read(&s, x, "eval_return", BRC_ALL_TASKS));
  near(brc_series_at(&s, 20), (110 + 2) / 2.0, 0);
  brc_series_free(&s);
  check_ok(brc_series_read(&s, x, "eval_return", "z"));
  assert_int_equal(s.count, 0);
  brc_series_free(&s);
  brc_result_free(x);
}

//------------------------ 3. Groups and their curves -------------------------------
static void test_groups(void **state) {
  (void)state;
  static const double start[] = {100, 104, 111};
  char a[512], b[512], words[3][600];
  for (int s = 0; s < 3; s++) {
    char name[32];
    snprintf(name, sizeof name, "g/w64-s%d", s);
    make_seed(name, 64, s, start[s]);
    snprintf(name, sizeof name, "g/w128-s%d", s);
    make_seed(name, 128, s, start[s] + 50);
  }
  make_run("g/begun", "{\"tasks\": [\"x\"], \"seed\": 9}", NULL);
  snprintf(a, sizeof a, "%s", check_path("g/w64-s0"));
  snprintf(b, sizeof b, "%s", check_path("g/*"));
  brc_result_set set;
  // All of them: two groups, told apart by what differs; the one without a log is left out.
  check_ok(brc_results_select(&set, (const char *[]){b}, 1, BRC_BY_CONFIGURATION));
  assert_int_equal(set.count, 6);
  assert_int_equal(set.group_count, 2);
  assert_string_equal(set.groups[0].label, "width 128");
  assert_string_equal(set.groups[1].label, "width 64");
  bool per_task;
  check_ok(brc_results_column(&set, "eval_return", &per_task));
  assert_true(per_task);
  check_ok(brc_results_column(&set, "alpha", &per_task));
  assert_false(per_task);
  check_fails(BRC_E_NOT_FOUND, "did you mean 'eval_return'",
              brc_results_column(&set, "eval_retrun", &per_task));
  brc_point *p;
  size_t n;
  check_ok(brc_group_curve(&set.groups[1], "eval_return", "x", &p, &n));
  assert_int_equal(n, 3);
  near(p[1].step, 20, 0);
  near(p[1].value.mean, 115, 1e-12);
  near(p[1].value.half, 4.302652729749462 * sqrt(31.0 / 3), 1e-9);  // of 110, 114, 121: variance 31
  free(p);
  brc_results_free(&set);
  check_ok(brc_results_select(&set, (const char *[]){b}, 1, BRC_BY_RUN));
  assert_int_equal(set.group_count, 6);
  brc_results_free(&set);
  // Words: a list, a label with a pattern.
  snprintf(words[0], sizeof words[0], "%s,%s", a, check_path("g/w128-s1"));
  snprintf(words[1], sizeof words[1], "all six=%s", check_path("g/w*"));
  check_ok(brc_results_select(&set, (const char *[]){words[0], words[1]}, 2, BRC_BY_WORD));
  assert_int_equal(set.groups[0].count, 2);
  assert_int_equal(set.groups[1].count, 6);
  assert_string_equal(set.groups[1].label, "all six");
  brc_results_free(&set);
  snprintf(words[2], sizeof words[2], "%s", check_path("g/nothing-*"));
  check_fails(BRC_E_NOT_FOUND, "nothing-*",
              brc_results_select(&set, (const char *[]){words[2]}, 1, BRC_BY_WORD));
  snprintf(words[2], sizeof words[2], "%s", check_path("g/begun"));
  check_fails(BRC_E_NOT_FOUND, "no run with an evaluation",
              brc_results_select(&set, (const char *[]){words[2]}, 1, BRC_BY_WORD));
}

static void test_compare(void **state) {
  (void)state;
  char a[512], b[512];
  snprintf(a, sizeof a, "%s", check_path("g/w64-s*"));
  snprintf(b, sizeof b, "%s", check_path("g/w128-s*"));
  expect(0, "width", "compare %s %s", a, b);
  expect(0, NULL, "compare %s %s --json", a, b);
  cJSON *o = cJSON_Parse(r.out), *task = cJSON_GetArrayItem(cJSON_GetObjectItem(o, "tasks"), 0);
  assert_non_null(o);
  // Devices and widths differ between the groups' configurations; seeds are the same in both.
  const cJSON *config = cJSON_GetObjectItem(o, "configuration");
  assert_int_equal(cJSON_GetArraySize(config), 1);
  assert_string_equal(cJSON_GetObjectItem(cJSON_GetObjectItem(config, "width"), "b")->valuestring, "128");
  static const struct {
    const char *measure, *which;
    double mean;
  } want[] = {{"final", "a", 145},
              {"final", "b", 195},
              {"final", "difference", 50},
              // of a, a + 10, a + 40 at 10, 20, 30: (5 + 25) / 2 above a
              {"area", "a", 120},
              {"area", "b", 170},
              {"area", "difference", 50}};
  for (size_t i = 0; i < BRC_COUNT(want); i++) {
    const cJSON *x = cJSON_GetObjectItem(cJSON_GetObjectItem(task, want[i].measure), want[i].which);
    near(cJSON_GetObjectItem(x, "mean")->valuedouble, want[i].mean, 1e-9);
  }
  // Equal variances 31 and counts 3: four degrees of freedom.
  const cJSON *d = cJSON_GetObjectItem(cJSON_GetObjectItem(task, "final"), "difference");
  near(cJSON_GetObjectItem(d, "high")->valuedouble, 50 + 2.7764451051977934 * sqrt(2 * 31.0 / 3), 1e-8);
  assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(o, "tasks")), 3);  // x, y, their mean
  cJSON_Delete(o);
  expect(0, "too few runs", "compare %s/g/w64-s0 %s/g/w64-s1", check_folder(), check_folder());
  expect(0, "the same", "compare %s/g/w64-s0 %s/g/w64-s0", check_folder(), check_folder());
  expect(1, "column 'nonsense' is in neither", "compare %s %s --column nonsense", a, b);
}

//------------------------ 4. Published curves --------------------------------------
static const char *write_npy(const char *header, const double *values, size_t count) {
  char data[1024];
  size_t n = strlen(header);
  memcpy(data, "\x93NUMPY\x01", 8);
  data[8] = (char)n;
  data[9] = 0;
  memcpy(data + 10, header, n);
  memcpy(data + 10 + n, values, count * 8);
  const char *folder = check_path("curves");
  char path[600];
  snprintf(path, sizeof path, "%s/dmc/BRC_multitask", folder);
  check_ok(brc_mkdirs(path));
  snprintf(path, sizeof path, "%s/dmc/BRC_multitask/x.npy", folder);
  check_ok(brc_file_write_all(path, data, 10 + n + count * 8));
  return folder;
}

static void test_published(void **state) {
  (void)state;
  static const double values[] = {1, 2, 3, 4, 5, 6};
  static const char rows[] = "{'descr': '<f8', 'fortran_order': False, 'shape': (2, 3), }",
                    columns[] = "{'descr': '<f8', 'fortran_order': True, 'shape': (2, 3), }";
  brc_published p;
  const char *root = write_npy(rows, values, 6);
  brc_point *c;
  size_t n;
  check_ok(brc_published_read(&p, root, "x", "eval_return", true));
  check_ok(brc_published_curve(&p, &c, &n));
  assert_int_equal(n, 3);
  near(c[2].step, 75000, 0);
  near(c[2].value.mean, 4.5, 0);  // of 3 and 6
  free(c);
  brc_published_free(&p);
  check_fails(BRC_E_NOT_FOUND, "no published curve", brc_published_read(&p, root, "x", "eval_return", false));
  check_fails(BRC_E_NOT_FOUND, "no published curve", brc_published_read(&p, root, "x", "alpha", true));
  check_ok(brc_published_read(&p, write_npy(columns, values, 6), "x", "eval_return", true));
  near(p.values[2], 5, 0);  // first seed, last evaluation
  near(p.values[3], 2, 0);
  brc_published_free(&p);
  static const struct {
    const char *header, *words;
    size_t count;
  } bad[] = {
      {rows, "x.npy is cut short: 40 bytes of values, expected 48", 5},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", "expected an array of float64", 6},
      {"{'descr': '<f8', 'fortran_order': False, 'shape': (6,), }", "expected an array of float64", 6},
      {"{'descr': '<f8', 'fortran_order': False, 'shape': (2, 3, 1), }", "expected an array of float64", 6}};
  for (size_t i = 0; i < BRC_COUNT(bad); i++)
    check_fails(
        BRC_E_FORMAT, bad[i].words,
        brc_published_read(&p, write_npy(bad[i].header, values, bad[i].count), "x", "eval_return", true));
  char path[600];
  snprintf(path, sizeof path, "%s/dmc/BRC_multitask/x.npy", root);
  check_ok(brc_file_write_all(path, "text", 4));
  check_fails(BRC_E_FORMAT, "not a NumPy array", brc_published_read(&p, root, "x", "eval_return", true));
  write_npy(rows, values, 6);
  if (!testing_shared()) {
    testing_skip("the published curves themselves: no shared folder");
    return;
  }
  char real[4096];
  snprintf(real, sizeof real, "%s/reference/curves", testing_shared());
  for (int multi = 0; multi < 2; multi++) {
    check_ok(brc_published_read(&p, real, "dog-run", "eval_return", multi));
    assert_int_equal(p.seeds, 5);
    assert_int_equal(p.count, 20);
    for (size_t i = 0; i < 100; i++) assert_true(p.values[i] >= 0 && p.values[i] <= 1000);
    brc_published_free(&p);
  }
}

// Cut and changed files: an error or numbers, never a crash.
static void test_hostile_files(void **state) {
  (void)state;
  static const double values[] = {1, 2, 3, 4, 5, 6};
  write_npy("{'descr': '<f8', 'fortran_order': False, 'shape': (2, 3), }", values, 6);
  make_seed("hostile", 64, 0, 100);
  static const char *const files[] = {"curves/dmc/BRC_multitask/x.npy", "hostile/log.csv",
                                      "hostile/config.json"};
  char run[512], root[512];
  snprintf(run, sizeof run, "%s", check_path("hostile"));
  snprintf(root, sizeof root, "%s", check_path("curves"));
  testing_reseed(9);
  size_t refused = 0, rounds = testing_quick() ? 100 : 400;
  for (size_t f = 0; f < BRC_COUNT(files); f++) {
    char path[512], *data;
    size_t n;
    snprintf(path, sizeof path, "%s", check_path(files[f]));
    check_ok(brc_file_read(path, &data, &n));
    for (size_t i = 0; i < rounds; i++) {
      char *copy = malloc(n);
      memcpy(copy, data, n);
      for (int k = 0; k < 3; k++) copy[testing_below((uint32_t)n)] = (char)testing_below(256);
      FILE *out = fopen(path, "wb");  // not synced, as it is not to last
      fwrite(copy, 1, i % 2 ? n : testing_below((uint32_t)n), out);
      fclose(out);
      free(copy);
      brc_published p;
      brc_result *x;
      brc_status st = f ? brc_result_read(&x, run) : brc_published_read(&p, root, "x", "eval_return", true);
      refused += st != BRC_OK;
      if (!st && f) brc_result_free(x);
      if (!st && !f) brc_published_free(&p);
    }
    check_ok(brc_file_write_all(path, data, n));
    free(data);
  }
  assert_true(refused > rounds);  // of three times as many
}

//------------------------ 5. TensorBoard -------------------------------------------
typedef struct event {
  double wall;
  uint64_t step;
  char version[32];
  bool start;
  const unsigned char *summary;
  size_t summary_bytes;
} event;

static uint64_t varint(const unsigned char **p) {
  uint64_t x = 0;
  for (int shift = 0;; shift += 7) {
    unsigned char c = *(*p)++;
    x |= (uint64_t)(c & 0x7f) << shift;
    if (!(c & 0x80)) return x;
  }
}

static uint64_t fixed(const unsigned char *p, int n) {
  uint64_t x = 0;
  for (int i = 0; i < n; i++) x |= (uint64_t)p[i] << 8 * i;
  return x;
}

static double as_double(uint64_t bits) {
  double x;
  memcpy(&x, &bits, 8);
  return x;
}

// The event in the record at *p, by the words of the formats; its checksums must hold.
static event next_event(const unsigned char **p, const unsigned char *end) {
  event e = {0};
  assert_true(end - *p > 16);
  uint64_t n = fixed(*p, 8);
  assert_int_equal(fixed(*p + 8, 4), brc_events_checksum(*p, 8));
  assert_true(n <= (uint64_t)(end - *p) - 16);
  const unsigned char *at = *p + 12, *stop = at + n;
  assert_int_equal(fixed(stop, 4), brc_events_checksum(at, n));
  *p = stop + 4;
  while (at < stop) {
    uint64_t key = varint(&at), bytes;
    if (key == (1 << 3 | 1)) {
      e.wall = as_double(fixed(at, 8));
      at += 8;
    } else if (key == (2 << 3 | 0)) {
      e.step = varint(&at);
    } else {
      assert_true(key == (3 << 3 | 2) || key == (5 << 3 | 2) || key == (7 << 3 | 2));
      bytes = varint(&at);
      if (key >> 3 == 3) snprintf(e.version, sizeof e.version, "%.*s", (int)bytes, (const char *)at);
      if (key >> 3 == 5) e.summary = at, e.summary_bytes = bytes;
      if (key >> 3 == 7) e.start = bytes == 2 && at[0] == 8 && at[1] == 1;
      at += bytes;
    }
  }
  assert_true(at == stop);
  return e;
}

// The value of a tag in an event's summary; how often it is there is added to *found.
static double tag_value(const event *e, const char *tag, int *found) {
  double value = NAN;
  const unsigned char *p = e->summary, *end = p + e->summary_bytes;
  while (p < end) {
    assert_int_equal(*p++, 1 << 3 | 2);
    uint64_t all = varint(&p);
    const unsigned char *next = p + all;
    assert_int_equal(*p++, 1 << 3 | 2);
    uint64_t n = varint(&p);
    bool same = strlen(tag) == n && !memcmp(tag, p, n);
    p += n;
    assert_int_equal(*p++, 2 << 3 | 5);
    uint32_t bits = (uint32_t)fixed(p, 4);
    float x;
    memcpy(&x, &bits, 4);
    assert_true(p + 4 == next);
    p = next;
    if (!same) continue;
    value = x;
    ++*found;
  }
  return value;
}

static int by_name(const void *a, const void *b) { return strcmp(a, b); }
static size_t event_files(const char *run, char out[16][600]) {
  DIR *d = opendir(run);
  size_t n = 0;
  assert_non_null(d);
  for (struct dirent *x; (x = readdir(d));)
    if (strstr(x->d_name, "tfevents") && n < 16) snprintf(out[n++], sizeof out[0], "%s/%s", run, x->d_name);
  closedir(d);
  qsort(out, n, sizeof out[0], by_name);
  return n;
}

static void test_event_bytes(void **state) {
  (void)state;
  assert_int_equal(brc_events_checksum("123456789", 9), 0xc78ab0e5);  // CRC-32C 0xe3069283, masked
  const char *folder = check_path("events");
  check_ok(brc_mkdirs(folder));
  brc_events *e;
  static const char *const names[] = {"alpha", "gone", "eval_return/x"}, *const again[] = {"alpha", "q"};
  check_ok(brc_events_open(&e, folder, 300));
  check_ok(brc_events_write(e, 1000, names, (double[]){0.5, NAN, -2}, 3));
  check_ok(brc_events_write(e, 1000, again, (double[]){7, 8}, 2));
  brc_events_close(e);
  char files[16][600];
  assert_int_equal(event_files(folder, files), 1);
  char *data;
  size_t n;
  check_ok(brc_file_read(files[0], &data, &n));
  const unsigned char *p = (const unsigned char *)data, *end = p + n;
  event x = next_event(&p, end);
  assert_string_equal(x.version, "brain.Event:2");
  assert_int_equal(x.step, 300);
  assert_true(x.wall > 1.6e9);
  x = next_event(&p, end);
  assert_true(x.start);
  assert_int_equal(x.step, 301);
  // The bytes of the third, by hand. step 1000 is e8 07; 0.5f is 3f000000, -2f c0000000.
  static const unsigned char want[] =
      "\x10\xe8\x07\x2a\x24\x0a\x0c\x0a\x05"
      "alpha\x15\0\0\0\x3f\x0a\x14\x0a\x0d"
      "eval_return/x\x15\0\0\0\xc0";
  assert_memory_equal(p + 12 + 9, want, sizeof want - 1);
  assert_int_equal(fixed(p, 8), 9 + sizeof want - 1);
  x = next_event(&p, end);
  int found = 0;
  near(tag_value(&x, "eval_return/x", &found), -2, 0);
  assert_int_equal(found, 1);
  x = next_event(&p, end);  // the same step again: only what is new
  tag_value(&x, "alpha", &found);
  assert_int_equal(found, 1);
  near(tag_value(&x, "q", &found), 8, 0);
  assert_true(p == end);
  free(data);
}

static const char probe_run[] =
    "train probe-padding --backend host --threads 1 --width 16 --actor-width 16 --batch 16 --start 40 "
    "--eval-interval 100 --eval-episodes 2 --log-interval 50 --checkpoint-interval 250";

// What a reader keeps of the run's event files: for every row of log.csv exactly one value, the row's.
static void check_events(const char *run) {
  brc_result *x;
  check_ok(brc_result_read(&x, run));
  char files[16][600];
  size_t count = event_files(run, files);
  static double kept[4096];  // of eval_return/probe-padding-a, by step
  for (size_t i = 0; i < BRC_COUNT(kept); i++) kept[i] = NAN;
  for (size_t i = 0; i < count; i++) {
    char *data;
    size_t n;
    check_ok(brc_file_read(files[i], &data, &n));
    for (const unsigned char *p = (const unsigned char *)data, *end = p + n; p < end;) {
      event e = next_event(&p, end);
      int found = 0;
      for (size_t k = e.step; e.start && k < BRC_COUNT(kept); k++) kept[k] = NAN;
      double value = e.summary ? tag_value(&e, "eval_return/probe-padding-a", &found) : NAN;
      if (!found) continue;
      assert_true(e.step < BRC_COUNT(kept) && isnan(kept[e.step]));  // once
      kept[e.step] = value;
    }
    free(data);
  }
  size_t values = 0;
  for (size_t i = 0; i < BRC_COUNT(kept); i++) values += !isnan(kept[i]);
  assert_int_equal(values, x->log.row_count);
  for (size_t i = 0; i < x->log.row_count; i++) {
    double want = brc_table_at(&x->log, i, "eval_return/probe-padding-a");
    near(kept[(size_t)x->log.values[i * x->log.column_count]], want, 1e-6 * fabs(want));
  }
  brc_result_free(x);
}

// TensorBoard's own reader, which purges what a later session voids.
static const char reader[] =
    "import sys\n"
    "try:\n"
    "  from tensorboard.backend.event_processing.event_accumulator import EventAccumulator\n"
    "except ImportError: sys.exit(77)\n"
    "e = EventAccumulator(sys.argv[1], size_guidance={'scalars': 0})\n"
    "e.Reload()\n"
    "for t in sorted(e.Tags()['scalars']):\n"
    "  for x in e.Scalars(t): print(t, x.step, '%.6g' % x.value)\n";

// Its lines for both runs must be the same: one was killed and went on, the other was not.
static char *tensorboard_lines(const char *run) {
  char command[8192], *text = NULL;
  size_t n = 0;
  const char *script = write_text("reader.py", reader);
  snprintf(command, sizeof command, "ASAN_OPTIONS= LD_PRELOAD= '%s' '%s' '%s' 2>/dev/null", testing_python(),
           script, run);
  FILE *f = popen(command, "r"), *all = open_memstream(&text, &n);
  for (int c; (c = fgetc(f)) != EOF;) fputc(c, all);
  fclose(all);
  int status = pclose(f);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return text;
  if (!WIFEXITED(status) || (WEXITSTATUS(status) != 77 && WEXITSTATUS(status) != 127))
    fail_msg("TensorBoard's reader failed on %s with status %d", run, status);
  testing_skip("TensorBoard's own reader: no python with the package tensorboard (BRC_PYTHON chooses another)");
  free(text);
  return NULL;
}

static size_t count_lines(const char *text, const char *start) {
  size_t n = 0;
  for (const char *at = text; at && *at; at = strchr(at, '\n') ? strchr(at, '\n') + 1 : NULL)
    n += !strncmp(at, start, strlen(start));
  return n;
}

static void test_events_of_a_killed_run(void **state) {
  (void)state;
  char whole[512], cut[512], path[600];
  snprintf(whole, sizeof whole, "%s", check_path("whole"));
  snprintf(cut, sizeof cut, "%s", check_path("killed"));
  expect(0, NULL, "%s --steps 1000 --quiet --run %s", probe_run, whole);
  check_events(whole);
  // Killed behind a row that follows the newest checkpoint: steps behind it are written twice.
  pid_t pid = run_start("%s --steps 3000 --run %s", probe_run, cut);
  for (int i = 0; i < 3000; i++) {
    brc_table t;
    snprintf(path, sizeof path, "%s/log.csv", cut);
    bool there = !brc_table_read(&t, path);
    double step = there && t.row_count ? brc_table_at(&t, t.row_count - 1, "env_steps") : 0;
    if (there) brc_table_free(&t);
    if (step >= 600) break;
    usleep(2000);
  }
  kill(pid, SIGKILL);
  assert_int_equal(run_wait(pid), 128 + SIGKILL);
  expect(0, NULL, "train --resume %s --steps 3000 --quiet", cut);
  check_events(cut);
  char files[16][600], *a = tensorboard_lines(whole), *b = tensorboard_lines(cut);
  size_t before = event_files(cut, files);
  assert_true(before >= 2);
  if (a && b) {
    assert_int_equal(count_lines(a, "eval_return/probe-padding-b "), 10);
    assert_int_equal(count_lines(a, "wall_s "), 20);  // rows of both logs at the same step share it
    assert_int_equal(count_lines(b, "eval_return/probe-padding-b "), 30);
    assert_int_equal(count_lines(b, "loss/critic "), 60);
    assert_int_equal(count_lines(b, "wall_s "), 60);
  }
  free(a);
  free(b);
  // A finished run that is resumed changes nothing.
  expect(0, NULL, "train --resume %s --quiet --steps 3000", cut);
  assert_int_equal(event_files(cut, files), before);
}

//------------------------ 6. Progress ----------------------------------------------
static void test_plain_progress(void **state) {
  (void)state;
  expect(0, "evaluation probe-padding-a ", "%s --steps 300 --run %s", probe_run, check_path("plain"));
  if (strpbrk(r.err, "\r\033")) fail_msg("control characters without a terminal: %s", r.err);
  assert_int_equal(count_lines(r.err, "step "), 3);  // quick runs: one per evaluation
  if (!strstr(r.err, "step 300/300  ") || !strstr(r.err, " steps/s  ETA 0:00:00")) fail_msg("%s", r.err);
  expect(0, NULL, "%s --steps 100 --quiet --run %s", probe_run, check_path("quiet"));
  assert_string_equal(r.err, "");
}

// On a terminal of 60 columns: what is written over is no longer than that; evaluations stay.
static void test_terminal_progress(void **state) {
  (void)state;
  int terminal = posix_openpt(O_RDWR | O_NOCTTY);
  if (terminal < 0 || grantpt(terminal) || unlockpt(terminal)) {
    testing_skip("progress on a terminal: no pseudo-terminals here");
    skip();
  }
  struct winsize size = {.ws_col = 60, .ws_row = 20};
  char name[128], run[512], all[1 << 16];
  snprintf(name, sizeof name, "%s", ptsname(terminal));
  snprintf(run, sizeof run, "%s", check_path("terminal"));
  fflush(NULL);
  pid_t pid = fork();
  if (!pid) {
    int fd = open(name, O_RDWR | O_NOCTTY);
    ioctl(fd, TIOCSWINSZ, &size);
    dup2(fd, STDERR_FILENO);
    execl(BRC_BINARY, BRC_BINARY, "train", "probe-padding", "--backend", "host", "--threads", "1", "--width",
          "128", "--batch", "128", "--start", "128", "--steps", "600", "--eval-interval", "400",
          "--eval-episodes", "1", "--run", run, (char *)NULL);
    _exit(127);
  }
  size_t n = 0;
  int other = open(name, O_RDWR | O_NOCTTY);  // keeps the terminal open until all is read
  int s;
  for (pid_t done = 0; n + 1 < sizeof all;) {
    fcntl(terminal, F_SETFL, O_NONBLOCK);
    ssize_t got = read(terminal, all + n, sizeof all - 1 - n);
    if (got > 0) n += (size_t)got;
    if (got <= 0 && done) break;
    if (!done) done = waitpid(pid, &s, WNOHANG);
    if (got <= 0) usleep(5000);
  }
  close(other);
  close(terminal);
  all[n] = 0;
  if (!WIFEXITED(s) || WEXITSTATUS(s)) fail_msg("training on a terminal failed: %s", all);
  if (!strstr(all, "\r\033[Kstep 400/600") || !strstr(all, "evaluation probe-padding-a")) fail_msg("%s", all);
  assert_true(n > 2 && all[n - 1] == '\n');
  for (char *line = strstr(all, "\033[K"); line; line = strstr(line + 1, "\033[K")) {
    size_t length = strcspn(line + 3, "\r\n");
    if (line[3 + length] == '\r' && line[4 + length] != '\n' && length >= 60)
      fail_msg("%zu characters on a line that is to be written over: %s", length, line);
  }
}

//------------------------ 7. Commands ----------------------------------------------
static void test_help_and_usage(void **state) {
  (void)state;
  expect(0, "usage: brc plot RUNS...", "plot --help");
  expect(0, "usage: brc runs [DIR]", "runs --help");
  expect(0, "usage: brc compare A B", "compare --help");
  expect(0, "--published auto|none", "plot --help");
  expect(2, "which runs?", "plot");
  expect(2, "which runs?", "compare");
  expect(2, "which runs?", "compare %s/g/w64-s0", check_folder());
  expect(2, "too many arguments", "compare a b c");
  expect(2, "'sometimes' is not one of", "plot x --published sometimes");
  expect(2, "--colum is unknown; did you mean 'column'", "plot x --colum alpha");
  expect(2, "ends neither in .png nor in .svg", "plot %s/g/w64-s0 --out %s/a.jpg", check_folder(),
         check_folder());
  expect(1, "'/no/such/run' is no run folder", "plot /no/such/run");
  expect(1, "is not there", "runs /no/such/folder");
  expect(1, "column 'nonsense' is in neither", "plot %s/g/w64-s0 --column nonsense", check_folder());
  expect(1, "is no run folder", "compare %s/g/w64-s0 /no/such/run", check_folder());
  expect(1, "a side has no run", "compare %s/g/w64-s0 %s/g/begun", check_folder(), check_folder());
}

static void test_runs(void **state) {
  (void)state;
  check_ok(brc_mkdirs(check_path("none")));
  expect(0, "no run below", "runs %s", check_path("none"));
  expect(0, "w128-s2", "runs %s", check_path("g"));
  expect(0, " 151 3 ", "runs %s", check_path("g"));  // the newest returns of both tasks: seed 2, width 64
  expect(0, NULL, "runs %s --json", check_path("g"));
  cJSON *o = cJSON_Parse(r.out), *runs = cJSON_GetObjectItem(o, "runs"), *run;
  assert_int_equal(cJSON_GetArraySize(runs), 7);
  assert_true(strchr(r.out, '\n')[1] == 0);
  int seen = 0;
  cJSON_ArrayForEach(run, runs) {
    if (!strstr(cJSON_GetObjectItem(run, "run")->valuestring, "w64-s1")) continue;
    seen++;
    near(cJSON_GetObjectItem(run, "env_steps")->valuedouble, 30, 0);
    near(cJSON_GetObjectItem(run, "steps_per_s")->valuedouble, 10, 0);
    near(cJSON_GetObjectItem(cJSON_GetObjectItem(run, "eval_return"), "x")->valuedouble, 144, 0);
    assert_string_equal(cJSON_GetObjectItem(run, "device_name")->valuestring, "D1");
  }
  assert_int_equal(seen, 1);
  cJSON_Delete(o);
  // One that cannot be read is named; the others are listed.
  make_run("mixed/good", "{\"tasks\": [\"x\"], \"seed\": 4}", NULL);
  make_run("mixed/bad", "{\"tasks\": [\"x\"], \"seed\": 4}", "env_steps,eval_return/x\n1,2\n2,two\n");
  expect(1, "log.csv:3: column 'eval_return/x': 'two' is not a number", "runs %s", check_path("mixed"));
  if (!strstr(r.out, "mixed/good") || !strstr(r.err, "1 of 2 runs could not be read"))
    fail_msg("%s%s", r.out, r.err);
}

static void test_plot(void **state) {
  (void)state;
  char groups[512], out[512], *data;
  size_t n;
  snprintf(groups, sizeof groups, "%s", check_path("g/w*"));
  run_brc(&r, "PATH=/nonexistent", "plot %s --out %s", groups, check_path("no.png"));
  if (r.status != 1 || !strstr(r.err, "gnuplot")) fail_msg("%d %s", r.status, r.err);
  run_brc(&r, NULL, "plot %s --out %s", groups, check_path("p.png"));
  if (r.status && strstr(r.err, "is not installed")) {
    testing_skip("pictures: no gnuplot");
    skip();
  }
  static const struct {
    const char *options, *file, *magic;
  } cases[] = {{"--published none", "p.png", "\x89PNG"},
               {"--published none", "p.svg", "<?xml"},
               {"--column alpha", "alpha.png", "\x89PNG"},
               {"--each --until 20", "each.svg", "<?xml"}};
  for (size_t i = 0; i < BRC_COUNT(cases); i++) {
    snprintf(out, sizeof out, "%s", check_path(cases[i].file));
    expect(0, out, "plot %s %s --out %s", groups, cases[i].options, out);
    if (*r.err && !strstr(r.err, "brc: note")) fail_msg("gnuplot says: %s", r.err);
    check_ok(brc_file_read(out, &data, &n));
    assert_true(n > 2000 && !memcmp(data, cases[i].magic, strlen(cases[i].magic)));
    if (strstr(cases[i].file, "p.svg") &&
        (!strstr(data, "width 128 (3 runs)") || !strstr(data, "95% interval")))
      fail_msg("%s lacks the key or the method", out);
    free(data);
  }
  // Published curves are drawn where there are any, and named; a broken file is an error.
  snprintf(out, sizeof out, "%s", check_path("published.svg"));
  expect(0, out, "plot %s --reference %s --out %s", groups, check_path("curves"), out);
  check_ok(brc_file_read(out, &data, &n));
  assert_non_null(strstr(data, "published, multi-task"));
  free(data);
  check_ok(brc_file_write_all(check_path("curves/dmc/BRC_multitask/x.npy"), "x", 1));
  expect(1, "x.npy is not a NumPy array", "plot %s --reference %s --out %s", groups, check_path("curves"), out);
  // The only run's own folder takes the picture; a name with a quote does no harm.
  const char *run = make_seed("it's", 8, 0, 1);
  expect(0, "plots/eval_return.png", "plot %s --each", run);
}

static void test_a_real_run(void **state) {
  (void)state;
  char run[512], other[512];
  snprintf(run, sizeof run, "%s", check_path("real/s0"));
  snprintf(other, sizeof other, "%s", check_path("real/s1"));
  expect(0, NULL, "%s --steps 200 --quiet --run %s", probe_run, run);
  expect(0, NULL, "%s --steps 200 --quiet --seed 1 --run %s", probe_run, other);
  expect(0, "200/200", "runs %s", check_path("real"));
  if (!strstr(r.out, "probe-padding-a, probe-padding-b") || !strstr(r.out, "host: ")) fail_msg("%s", r.out);
  expect(0, "seed ", "compare %s %s", run, other);
  brc_result_set set;
  check_ok(brc_results_select(&set, (const char *[]){run, other}, 2, BRC_BY_CONFIGURATION));
  assert_int_equal(set.group_count, 1);
  brc_results_free(&set);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_intervals),      cmocka_unit_test(test_bootstrap),
      cmocka_unit_test(test_tables),         cmocka_unit_test(test_runs_read_back),
      cmocka_unit_test(test_groups),         cmocka_unit_test(test_compare),
      cmocka_unit_test(test_published),      cmocka_unit_test(test_hostile_files),
      cmocka_unit_test(test_event_bytes),    cmocka_unit_test(test_events_of_a_killed_run),
      cmocka_unit_test(test_plain_progress), cmocka_unit_test(test_terminal_progress),
      cmocka_unit_test(test_help_and_usage), cmocka_unit_test(test_runs),
      cmocka_unit_test(test_plot),           cmocka_unit_test(test_a_real_run)};
  return testing_finish(cmocka_run_group_tests_name("results", tests, NULL, NULL));
}
