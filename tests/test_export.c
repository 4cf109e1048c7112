// What leaves a run and what comes into one: exported policies act as brc does, in C, in onnxruntime, in numpy and in flax;
// checkpoints of the published implementation come in bit by bit, and damaged ones end in a message.
// The python of BRC_PYTHON (else DATA/python/bin/python, else python3) has numpy, onnx, onnxruntime, flax and optax; what is
// missing is skipped by name.
#include "check.h"
#include "run_brc.h"
#include "testing.h"
#include "base/file.h"
#include "train/export.h"
#include "train/import.h"
#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static run_result r;

//------------------------ 1. Runs, and brc's own actions ---------------------------
#define ROWS 37
typedef struct policy_case {
  const char *name, *options;
  bool flax;  // of the published architecture, which has the L2 norm only
  char run[512];
  brc_train_config config;
  float *obs, action[ROWS * 3], value[ROWS];  // brc's, of random observations
  int32_t task[ROWS];
} policy_case;
static policy_case cases[] = {
    {.name = "single", .options = "probe-action --width 19 --actor-width 21 --actor-depth 2", .flax = true},
    {.name = "several", .options = "probe-padding --width 24 --actor-width 33", .flax = true},
    {.name = "l1", .options = "probe-padding --width 16 --actor-width 16 --actor-depth 0 --embedding-norm l1"}};

static void act(policy_case *c) {
  const brc_device_options o = {.threads = 1};
  brc_device *device;
  brc_agent *agent;
  brc_actor *actor;
  uint64_t step;
  check_ok(brc_run_read_config(c->run, &c->config));
  check_ok(brc_train_resolve(&c->config));
  const brc_agent_config *a = &c->config.agent;
  assert_true(a->action_dim <= 3);
  c->obs = calloc(ROWS * (size_t)a->obs_dim, sizeof *c->obs);
  testing_reseed(11);
  for (int i = 0; i < ROWS; i++) {
    c->task[i] = (int32_t)(i % a->tasks);
    for (int k = 0; k < c->config.tasks[c->task[i]]->obs_dim; k++)
      c->obs[i * a->obs_dim + k] = (float)testing_normal();
  }
  check_ok(brc_device_open(&device, "host", 0, &o));
  check_ok(brc_agent_create(&agent, a, device, (brc_agent_flags){0}));
  check_ok(brc_checkpoint_load_agent(agent, c->run, &step));
  check_ok(brc_actor_create(&actor, agent, ROWS, BRC_ACT_MEAN, true));
  check_ok(brc_actor_run(actor, BRC_F32, c->obs, c->task, NULL, 0, c->action, c->value));
  brc_actor_free(actor);
  brc_agent_free(agent);
  brc_device_close(device);
}

static int make_runs(void **state) {
  (void)state;
  for (size_t i = 0; i < BRC_COUNT(cases); i++) {
    policy_case *c = &cases[i];
    snprintf(c->run, sizeof c->run, "%s/%s", check_folder(), c->name);
    run_brc(&r, NULL,
            "train %s --backend host --threads 1 --batch 16 --start 20 --steps 80 --utd 1 --eval-interval 40 "
            "--eval-episodes 1 --capacity 1000 --quiet --run %s",
            c->options, c->run);
    if (r.status) fail_msg("%s", r.err);
    act(c);
  }
  return 0;
}

static int free_runs(void **state) {
  (void)state;
  for (size_t i = 0; i < BRC_COUNT(cases); i++) free(cases[i].obs);
  return 0;
}

// The file that export_check.py reads.
static const char *write_data(const policy_case *c, const char *name) {
  const brc_agent_config *a = &c->config.agent;
  const char *path = check_path(name);
  brc_st_writer *w;
  check_ok(brc_st_writer_new(&w));
  check_ok(brc_st_writer_add(w, "obs", BRC_ST_F32, 2, (uint64_t[]){ROWS, (uint64_t)a->obs_dim}, c->obs));
  check_ok(brc_st_writer_add(w, "task", BRC_ST_I32, 1, (uint64_t[]){ROWS}, c->task));
  check_ok(
      brc_st_writer_add(w, "action", BRC_ST_F32, 2, (uint64_t[]){ROWS, (uint64_t)a->action_dim}, c->action));
  check_ok(brc_st_writer_add(w, "value", BRC_ST_F32, 1, (uint64_t[]){ROWS}, c->value));
  check_ok(brc_st_write(w, path));
  brc_st_writer_free(w);
  return path;
}

// Run a command line; its exit status, what it says in `out`.
static int run_line(const char *line, char *out, size_t bytes) {
  char full[8300];
  snprintf(full, sizeof full, "%s 2>&1", line);
  FILE *f = popen(full, "r");
  if (!f) return 127;
  size_t n = fread(out, 1, bytes - 1, f);
  out[n] = 0;
  while (fgetc(f) != EOF) continue;
  int status = pclose(f);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

// export_check.py with these words. False, and noted as skipped, if a module is missing.
static bool python(const char *what, const char *fmt, ...) BRC_PRINTF(2, 3);
static bool python(const char *what, const char *fmt, ...) {
  char words[2048], line[8192], out[8192];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(words, sizeof words, fmt, ap);
  va_end(ap);
  // Under the sanitizers python itself must not be watched for leaks.
  snprintf(line, sizeof line, "ASAN_OPTIONS=detect_leaks=0 JAX_PLATFORMS=cpu %s %s/tests/export_check.py %s",
           testing_python(), BRC_SOURCE_DIR, words);
  int status = run_line(line, out, sizeof out);
  if (status == 77) out[strcspn(out, "\n")] = 0;
  if (status == 77) testing_skip("%s: python has no module %s (BRC_PYTHON chooses another python)", what, out);
  if (status == 127) testing_skip("%s: no python", what);
  if (status == 77 || status == 127) return false;
  if (status) fail_msg("%s: %s\n%s", what, line, out);
  printf("%s: %s", what, out);
  return true;
}

//------------------------ 2. Exports ------------------------------------------------
typedef void act_fn(const float *obs, int task, float *action);

// Compile a header as strictly as anybody does; its act function through a library.
static act_fn *compile(const char *header, const char *name, void **library) {
  char source[600], object[600], line[2600], out[8192], text[900];
  const char *compiler = getenv("CC");
  snprintf(source, sizeof source, "%s.c", header);
  snprintf(object, sizeof object, "%s.so", header);
  int n = snprintf(text, sizeof text,
                   "#include \"%s\"\nvoid act(const float *obs, int task, float *action);\n"
                   "void act(const float *obs, int task, float *action) { %s_act(obs, task, action); }\n",
                   header, name);
  check_ok(brc_file_write_all(source, text, (size_t)n));
  snprintf(line, sizeof line, "%s -std=c99 -pedantic -Wall -Wextra -Werror -O2 -shared -fPIC -o %s %s -lm",
           compiler && *compiler ? compiler : "cc", object, source);
  int status = run_line(line, out, sizeof out);
  if (status == 127) {
    testing_skip("the C header: no compiler (CC)");
    return NULL;
  }
  if (status) fail_msg("%s\n%s", line, out);
  *library = dlopen(object, RTLD_NOW | RTLD_LOCAL);
  if (!*library) fail_msg("%s", dlerror());
  act_fn *f;
  *(void **)&f = dlsym(*library, "act");
  return f;
}

// Actions of a header's function beside brc's. `only`: the task that it was exported for, whose rows alone are compared, or -1.
static double header_difference(const policy_case *c, act_fn *f, int only) {
  const brc_agent_config *a = &c->config.agent;
  double worst = 0;
  int compared = 0;
  for (int i = 0; i < ROWS; i++) {
    if (only >= 0 && c->task[i] != only) continue;
    float action[3];
    int n = only < 0 ? (int)a->action_dim : c->config.tasks[only]->act_dim;
    f(c->obs + i * a->obs_dim, c->task[i], action);
    for (int k = 0; k < n; k++) worst = fmax(worst, fabs(action[k] - c->action[i * a->action_dim + k]));
    compared++;
  }
  assert_true(compared > 10);
  return worst;
}

static void test_c_header(void **state) {
  (void)state;
  for (size_t i = 0; i < BRC_COUNT(cases); i++) {
    char header[512];
    snprintf(header, sizeof header, "%s", check_path("policy.h"));
    run_brc(&r, NULL, "export %s --c %s --name walk_%zu", cases[i].run, header, i);
    if (r.status) fail_msg("%s", r.err);
    char name[32];
    snprintf(name, sizeof name, "walk_%zu", i);
    void *library;
    act_fn *f = compile(header, name, &library);
    if (!f) skip();
    double worst = header_difference(&cases[i], f, -1);
    printf("C header, %s: largest difference %.3g\n", cases[i].name, worst);
    assert_true(worst < 2e-6);
    dlclose(library);
  }
}

// One task of several: its own dimensions, the embedding gone into a bias.
static void test_one_task(void **state) {
  (void)state;
  for (size_t i = 1; i < BRC_COUNT(cases); i++)
    for (int task = 0; task < 2; task++) {
      const policy_case *c = &cases[i];
      char header[512], dims[64];
      snprintf(header, sizeof header, "%s", check_path(task ? "one-b.h" : "one-a.h"));
      run_brc(&r, NULL, "export %s --c %s --json --task %s", c->run, header, c->config.tasks[task]->name);
      if (r.status) fail_msg("%s", r.err);
      snprintf(dims, sizeof dims, "\"obs_dim\":%d,\"act_dim\":%d", c->config.tasks[task]->obs_dim,
               c->config.tasks[task]->act_dim);
      if (!strstr(r.out, dims)) fail_msg("%s: %s", dims, r.out);
      void *library;
      act_fn *f = compile(header, "policy", &library);
      if (!f) skip();
      assert_true(header_difference(c, f, task) < 2e-6);
      dlclose(library);
    }
}

static void test_onnx(void **state) {
  (void)state;
  bool ran = true;
  for (size_t i = 0; ran && i < BRC_COUNT(cases); i++) {
    char model[512];
    snprintf(model, sizeof model, "%s", check_path("policy.onnx"));
    run_brc(&r, NULL, "export %s --onnx %s", cases[i].run, model);
    if (r.status) fail_msg("%s", r.err);
    ran = python("ONNX", "onnx %s %s", model, write_data(&cases[i], "data.safetensors"));
  }
  if (!ran) skip();
}

static void expect(int status, const char *words, const char *fmt, ...) BRC_PRINTF(3, 4);
static void expect(int status, const char *words, const char *fmt, ...) {
  char line[2048];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(line, sizeof line, fmt, ap);
  va_end(ap);
  run_brc(&r, NULL, "%s", line);
  if (r.status != status) fail_msg("'brc %s' ended with %d, expected %d: %s", line, r.status, status, r.err);
  if (!strstr(r.err, words)) fail_msg("'brc %s' says '%s', expected '%s' in it", line, r.err, words);
}

static void test_export_errors(void **state) {
  (void)state;
  const char *run = cases[1].run, *out = check_path("refused.h");
  expect(2, "which run", "export");
  expect(2, "nothing to write", "export %s", run);
  expect(1, "is no run folder", "export /no/such/run --c %s", out);
  expect(1, "has no task 'probe-paddin-b'; did you mean 'probe-padding-b'",
         "export %s --c %s --task probe-paddin-b", run, out);
  expect(2, "cannot be a name in C", "export %s --c %s --name 2nd", run, out);
  expect(2, "cannot be a name in C", "export %s --c %s --name a-b", run, out);
  assert_false(brc_path_exists(out));
  expect(1, "/no/such/folder/x.onnx", "export %s --onnx /no/such/folder/x.onnx", run);
  expect(1, "/no/such/folder/x.h", "export %s --c /no/such/folder/x.h", run);
  // A run without a checkpoint, and one whose checkpoint is cut.
  char folder[600], path[1300];
  snprintf(folder, sizeof folder, "%s/bare", check_folder());
  check_ok(brc_mkdirs(folder));
  char *config;
  size_t bytes;
  snprintf(path, sizeof path, "%s/config.json", run);
  check_ok(brc_file_read(path, &config, &bytes));
  snprintf(path, sizeof path, "%s/config.json", folder);
  check_ok(brc_file_write_all(path, config, bytes));
  free(config);
  expect(1, "has no checkpoint yet", "export %s --c %s", folder, out);
  snprintf(path, sizeof path, "%s/checkpoint", folder);
  check_ok(brc_mkdirs(path));
  snprintf(path, sizeof path, "%s/checkpoint/state.safetensors", folder);
  check_ok(brc_file_write_all(path, "12345678", 8));
  expect(1, "state.safetensors", "export %s --c %s", folder, out);
  assert_false(brc_path_exists(out));
}

//------------------------ 3. numpy, flax ---------------------------------------------
static void test_numpy(void **state) {
  (void)state;
  bool ran = true;
  for (size_t i = 0; ran && i < BRC_COUNT(cases); i++)
    ran = python("brc_run.py", "numpy %s %s", cases[i].run, write_data(&cases[i], "data.safetensors"));
  if (!ran) skip();
}

static void test_numpy_golden(void **state) {
  (void)state;
  static const char *const names[] = {"a_tiny", "b_small_multitask", "c_odd_midtraining", "d_stress",
                                      "f_embedding_l1"};
  if (!testing_shared()) {
    testing_skip("brc_run.py on golden cases: no shared folder");
    skip();
  }
  bool ran = true;
  for (size_t i = 0; ran && i < BRC_COUNT(names); i++)
    ran = python("brc_run.py on golden cases", "golden %s/golden/update/%s.safetensors", testing_shared(),
                 names[i]);
  if (!ran) skip();
}

static void test_flax_actor(void **state) {
  (void)state;
  bool ran = true;
  if (testing_shared())
    ran = python(
        "the actor in flax, golden inputs",
        "flax-golden %s/golden/update/b_small_multitask.safetensors %s/golden/update/d_stress.safetensors",
        testing_shared(), testing_shared());
  else
    testing_skip("the actor in flax, golden inputs: no shared folder");
  char one[512];
  snprintf(one, sizeof one, "%s", write_data(&cases[0], "single.safetensors"));
  assert_true(cases[0].flax && cases[1].flax);
  if (ran)
    ran = python("the actor in flax", "flax %s %s %s %s", cases[0].run, one, cases[1].run,
                 write_data(&cases[1], "several.safetensors"));
  if (!ran) skip();
}

//------------------------ 4. Imports: files as flax writes them ------------------------
// A checkpoint of the published implementation, made here from a run's tensors: the names are put down a second time, and the
// lengths are written in other forms than flax's own.
typedef struct blob {
  uint8_t *at;
  size_t used, room;
} blob;

static void put(blob *b, const void *data, size_t n) {
  if (b->used + n > b->room) {
    b->room = 2 * (b->used + n);
    b->at = realloc(b->at, b->room);
    assert_non_null(b->at);
  }
  if (n) memcpy(b->at + b->used, data, n);
  b->used += n;
}
// A first byte and a big-endian number.
static void put_form(blob *b, int byte, uint64_t n, int bytes) {
  uint8_t out[9] = {(uint8_t)byte};
  for (int i = 0; i < bytes; i++) out[1 + i] = (uint8_t)(n >> (8 * (bytes - 1 - i)));
  put(b, out, 1 + (size_t)bytes);
}
static void put_text(blob *b, const char *s, size_t n) {
  put_form(b, 0xd9, n, 1);
  put(b, s, n);
}
static void put_word(blob *b, const char *s) { put_text(b, s, strlen(s)); }

static void put_array(blob *b, const char *type, int rank, const uint64_t *shape, const void *data,
                      size_t bytes) {
  blob in = {0};
  put_form(&in, 0xdc, 3, 2);
  put_form(&in, 0xdc, (uint64_t)rank, 2);
  for (int i = 0; i < rank; i++) put_form(&in, 0xce, shape[i], 4);
  put_word(&in, type);
  put_form(&in, 0xc6, bytes, 4);
  put(&in, data, bytes);
  put_form(b, 0xc9, in.used, 4);
  put(b, &(uint8_t){1}, 1);
  put(b, in.at, in.used);
  free(in.at);
}

// As flax does with arrays beyond 1 GiB, here with pieces of `piece` elements.
static void put_pieces(blob *b, const brc_st_tensor *t, int rank, uint64_t piece) {
  char key[24];
  put_form(b, 0x83, 0, 0);
  put_word(b, "__msgpack_chunked_array__");
  put_form(b, 0xc3, 0, 0);
  put_word(b, "shape");
  put_form(b, 0xde, (uint64_t)rank, 2);
  for (int i = 0; i < rank; i++) {
    snprintf(key, sizeof key, "%d", i);
    put_word(b, key);
    put_form(b, 0xcf, t->shape[i], 8);
  }
  put_word(b, "chunks");
  put_form(b, 0xdf, (t->count + piece - 1) / piece, 4);
  for (uint64_t i = 0; i * piece < t->count; i++) {
    uint64_t n = t->count - i * piece < piece ? t->count - i * piece : piece;
    snprintf(key, sizeof key, "%llu", (unsigned long long)i);
    put_word(b, key);
    put_array(b, "float32", 1, &n, (const char *)t->data + i * piece * 4, n * 4);
  }
}

typedef struct entry {
  char path[192];
  const brc_st_tensor *t;
} entry;
static int by_path(const void *a, const void *b) {
  return strcmp(((const entry *)a)->path, ((const entry *)b)->path);
}

static void put_leaf(blob *b, const entry *e, uint64_t piece) {
  bool scalar = strstr(e->path, "log_temp") || strstr(e->path, "count");
  int rank = scalar ? 0 : e->t->rank;
  if (piece && e->t->count > piece && !scalar)
    put_pieces(b, e->t, rank, piece);
  else
    put_array(b, e->t->dtype == BRC_ST_I32 ? "int32" : "float32", rank, e->t->shape, e->t->data,
              e->t->count * 4);
}

// The map of sorted entries that agree in the first `at` characters of their paths.
static void put_map(blob *b, const entry *e, size_t n, size_t at, uint64_t piece) {
  size_t keys = 0;
  for (int writing = 0; writing < 2; writing++) {
    if (writing) put_form(b, 0xde, keys, 2);
    for (size_t i = 0, end; i < n; i = end) {
      size_t key = strcspn(e[i].path + at, "/");
      for (end = i + 1; end < n && !strncmp(e[i].path + at, e[end].path + at, key + 1);) end++;
      keys++;
      if (!writing) continue;
      put_text(b, e[i].path + at, key);
      if (e[i].path[at + key])
        put_map(b, e + i, end - i, at + key + 1, piece);
      else
        put_leaf(b, &e[i], piece);
    }
  }
}

// "block1/norm0/scale" -> "BronetBlock_1/LayerNorm_0/scale"; `net` 'a' actor, 'c' critic.
static void published_name(char net, const char *layer, char out[160]) {
  static const char *const from[] = {"input/", "input_norm/", "output/", "mean/", "log_std/"},
                           *const to[] = {"Dense_0/", "LayerNorm_0/", "Dense_1/", "Dense_0/", "Dense_1/"};
  const char *net_name = net == 'a' ? "BroNet_0/" : "q_value_ensemble/q_value_ensemble/critic/";
  unsigned block, part;
  char kind[8], leaf[16];
  if (!strcmp(layer, "embedding")) {
    snprintf(out, 160, "task_embedding/embeddings/embedding");
  } else if (sscanf(layer, "block%u/%5[a-z]%u/%15s", &block, kind, &part, leaf) == 4) {
    snprintf(out, 160, "%sBronetBlock_%u/%s_%u/%s", net_name, block, *kind == 'd' ? "Dense" : "LayerNorm", part,
             leaf);
  } else {
    size_t i = 0;
    while (strncmp(layer, from[i], strlen(from[i]))) i++;
    snprintf(out, 160, "%s%s%s", i < 3 ? net_name : "", to[i], layer + strlen(from[i]));
  }
}

static size_t gather(const brc_st_file *f, char net, const char *prefix, const char *under, entry *out) {
  size_t n = 0;
  for (size_t i = 0; i < brc_st_count(f); i++) {
    const brc_st_tensor *t = brc_st_at(f, i);
    char name[160];
    if (strncmp(t->name, prefix, strlen(prefix))) continue;
    published_name(net, t->name + strlen(prefix), name);
    snprintf(out[n].path, sizeof out[n].path, "%s/%s", under, name);
    out[n++].t = t;
  }
  return n;
}

static void add_one(const brc_st_file *f, const char *name, const char *path, entry *out) {
  snprintf(out->path, sizeof out->path, "%s", path);
  out->t = brc_st_find(f, "%s", name);
  assert_non_null(out->t);
}

static void write_file(const char *folder, const char *name, entry *e, size_t n, uint64_t piece, bool opt) {
  char path[600];
  blob b = {0};
  qsort(e, n, sizeof *e, by_path);
  put_map(&b, e, n, 0, piece);
  if (!opt) {  // the map of one key gets a second, whose value is none
    b.at[2] = 2;
    put_word(&b, "opt_state");
    put_form(&b, 0xc0, 0, 0);
  }
  snprintf(path, sizeof path, "%s/%s", folder, name);
  check_ok(brc_file_write_all(path, b.at, b.used));
  free(b.at);
}

enum { WITH_MOMENTS = 1, WITH_TARGET = 2 };
static void write_published(const char *run, const char *folder, uint64_t piece, int with) {
  static entry e[512];
  brc_st_file *f;
  check_ok(brc_mkdirs(folder));
  check_ok(brc_checkpoint_open(run, &f));
  bool opt = with & WITH_MOMENTS;
  size_t n = gather(f, 'a', "actor/", "params", e);
  if (opt) n += gather(f, 'a', "opt/actor/m/", "opt_state/0/mu", e + n);
  if (opt) n += gather(f, 'a', "opt/actor/v/", "opt_state/0/nu", e + n);
  if (opt) add_one(f, "opt/actor/count", "opt_state/0/count", &e[n++]);
  write_file(folder, "actor.txt", e, n, piece, opt);
  n = gather(f, 'c', "critic/", "params", e);
  if (opt) n += gather(f, 'c', "opt/critic/m/", "opt_state/0/mu", e + n);
  if (opt) n += gather(f, 'c', "opt/critic/v/", "opt_state/0/nu", e + n);
  if (opt) add_one(f, "opt/critic/count", "opt_state/0/count", &e[n++]);
  write_file(folder, "critic.txt", e, n, piece, opt);
  n = gather(f, 'c', "target/", "params", e);
  if (with & WITH_TARGET) write_file(folder, "target_critic.txt", e, n, piece, false);
  add_one(f, "log_alpha", "params/log_temp", &e[0]);
  add_one(f, "opt/log_alpha/m", "opt_state/0/mu/log_temp", &e[1]);
  add_one(f, "opt/log_alpha/v", "opt_state/0/nu/log_temp", &e[2]);
  add_one(f, "opt/log_alpha/count", "opt_state/0/count", &e[3]);
  write_file(folder, "temp.txt", e, opt ? 4 : 1, piece, opt);
  brc_st_close(f);
}

// The state of two runs' agents is the same to the bit. Without moments they are zero in `b`, without target it is the critic.
static void same_agents(const char *run_a, const char *run_b, int with) {
  static const char *const prefixes[] = {"critic/", "actor/", "log_alpha", "target/", "opt/"};
  brc_st_file *a, *b;
  size_t compared = 0;
  check_ok(brc_checkpoint_open(run_a, &a));
  check_ok(brc_checkpoint_open(run_b, &b));
  for (size_t i = 0; i < brc_st_count(a); i++) {
    const brc_st_tensor *x = brc_st_at(a, i), *y;
    size_t p = 0;
    while (p < BRC_COUNT(prefixes) && strncmp(x->name, prefixes[p], strlen(prefixes[p]))) p++;
    if (p == BRC_COUNT(prefixes)) continue;
    check_ok(brc_st_need(b, x->dtype, x->count, &y, "%s", x->name));
    if (p == 3 && !(with & WITH_TARGET)) x = brc_st_find(a, "critic/%s", x->name + 7);
    bool zero = p == 4 && !(with & WITH_MOMENTS);
    for (uint64_t k = 0; zero && k < y->count; k++) assert_true(brc_st_get(y, k) == 0);
    if (!zero && memcmp(x->data, y->data, x->count * brc_st_dtype_bytes(x->dtype)))
      fail_msg("tensor '%s' differs", y->name);
    compared++;
  }
  assert_true(compared > 100);
  brc_st_close(a);
  brc_st_close(b);
}

static void import_run(const policy_case *c, const char *folder, const char *run) {
  run_brc(&r, NULL,
          "import %s %s --backend host --threads 1 --batch 16 --start 20 --steps 40 --capacity 1000 "
          "--eval-interval 0 "
          "--run %s",
          folder, c->config.task_count > 1 ? "probe-padding" : "probe-action", run);
  if (r.status) fail_msg("%s", r.err);
}

static void test_import(void **state) {
  (void)state;
  char folder[512], run[512], words[600];
  for (size_t i = 0; i < BRC_COUNT(cases); i++)
    for (int with = 0; with < 4; with++) {
      if (!cases[i].flax) continue;
      snprintf(folder, sizeof folder, "%s/published-%zu-%d", check_folder(), i, with);
      snprintf(run, sizeof run, "%s/imported-%zu-%d", check_folder(), i, with);
      write_published(cases[i].run, folder, with == 3 ? 0 : 50, with);
      import_run(&cases[i], folder, run);
      same_agents(cases[i].run, run, with);
      snprintf(words, sizeof words, "target critic: %s",
               with & WITH_TARGET ? "imported" : "not in the folder: a copy of the critic");
      if (!strstr(r.out, words)) fail_msg("%s", r.out);
      snprintf(words, sizeof words, "moments of the critic: %s",
               with & WITH_MOMENTS ? "imported" : "not in the file: zero");
      if (!strstr(r.out, words)) fail_msg("%s", r.out);
    }
  // The new run is one as any other: it trains on, evaluates, exports.
  run_brc(&r, NULL, "train --resume %s --quiet", run);
  if (r.status) fail_msg("%s", r.err);
  run_brc(&r, NULL, "eval %s --backend host --episodes 1", run);
  if (r.status) fail_msg("%s", r.err);
  run_brc(&r, NULL, "export %s --c %s", run, check_path("imported.h"));
  if (r.status) fail_msg("%s", r.err);
}

static void test_import_from_flax(void **state) {
  (void)state;
  char folders[2][512];
  for (int i = 0; i < 2; i++) {
    snprintf(folders[i], sizeof folders[i], "%s/flax-%d", check_folder(), i);
    check_ok(brc_mkdirs(folders[i]));
  }
  bool ran =
      python("checkpoints of flax", "write %s %s %s %s", cases[0].run, folders[0], cases[1].run, folders[1]);
  for (int i = 0; ran && i < 2; i++) {
    char run[512];
    snprintf(run, sizeof run, "%s/from-flax-%d", check_folder(), i);
    import_run(&cases[i], folders[i], run);
    same_agents(cases[i].run, run, WITH_MOMENTS | WITH_TARGET);
  }
  if (!ran) skip();
}

//------------------------ 5. Imports: damage --------------------------------------------
static void shell(const char *fmt, ...) BRC_PRINTF(1, 2);
static void shell(const char *fmt, ...) {
  char line[4096];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(line, sizeof line, fmt, ap);
  va_end(ap);
  assert_int_equal(system(line), 0);
}

static void test_import_errors(void **state) {
  (void)state;
  char several[512], single[512], mixed[512];
  snprintf(several, sizeof several, "%s/good-several", check_folder());
  snprintf(single, sizeof single, "%s/good-single", check_folder());
  snprintf(mixed, sizeof mixed, "%s/mixed", check_folder());
  write_published(cases[1].run, several, 0, 3);
  write_published(cases[0].run, single, 0, 3);
  const char *run = check_path("no-run");
  expect(2, "which checkpoint", "import");
  expect(2, "no task is given", "import %s", several);
  expect(2, "--width cannot be given: the checkpoint decides it", "import %s probe-padding --width 24",
         several);
  expect(2,
         "the checkpoint is of 2 tasks with 3 observations and 3 actions; the tasks given are 1 with 1 and 2",
         "import %s probe-action --run %s", several, run);
  expect(1, "actor.txt", "import /no/such/folder probe-action --run %s", run);
  expect(2, "already holds a run", "import %s probe-padding --batch 16 --run %s", several, cases[1].run);
  // Files of two agents; a missing file; an unknown array; an array of another shape.
  write_published(cases[0].run, mixed, 0, 3);
  shell("cp %s/critic.txt %s/target_critic.txt %s", several, several, mixed);
  expect(1, "do not belong together", "import %s probe-action --run %s", mixed, run);
  shell("rm %s/temp.txt", mixed);
  expect(1, "temp.txt", "import %s probe-action --run %s", mixed, run);
  shell("cp %s/* %s; cp %s/actor.txt %s/temp.txt", single, mixed, single, mixed);
  expect(1, "is not of the published temp.txt", "import %s probe-action --run %s", mixed, run);
  shell("cp %s/* %s; cp %s/target_critic.txt %s/", single, mixed, several, mixed);
  expect(1, "target/", "import %s probe-action --batch 16 --start 20 --backend host --run %s", mixed, run);
  assert_false(brc_path_exists(run));
}

// What a file says must be checked before memory is taken or anything is read.
static void test_hostile_tokens(void **state) {
  (void)state;
#define BYTES(...) \
  sizeof((const uint8_t[]){__VA_ARGS__}), { __VA_ARGS__ }
  static const struct {
    const char *words;
    size_t n;
    uint8_t at[40];
  } files[] = {{"ends too early", BYTES(0xdf, 0xff, 0xff, 0xff, 0xff)},        // a map of 2^32 pairs
               {"ends too early", BYTES(0xdd, 0xff, 0xff, 0xff, 0xff, 1, 2)},  // an array of 2^32 elements
               {"ends too early", BYTES(0x81, 0xa1, 'a', 0xc6, 0xff, 0xff, 0xff, 0xff)},  // 4 GiB of bytes
               {"ends too early", BYTES(0x81, 0xa1, 'a', 0xc9, 0xff, 0xff, 0xff, 0xff, 1)},
               {"does not use", BYTES(0x81, 0xa1, 'a', 0xc1)},
               {"no text", BYTES(0x81, 1, 1)},
               {"follows the end", BYTES(0x80, 0)},
               {"something else", BYTES(0x81, 0xa1, 'a', 0xd4, 1, 0xc0)},
               {"without a shape", BYTES(0x81, 0xa1, 'a', 0xd6, 1, 0x93, 1, 1, 1)},
               // Shapes: 2^64 elements; negative; too large for the data; nine dimensions.
               {"cannot be", BYTES(0x81, 0xa1, 'a', 0xc7, 23, 1, 0x93, 0x92, 0xcf, 1, 0, 0, 0, 0, 0, 0, 0, 0xcf,
                                   1, 0, 0, 0, 0, 0, 0, 0, 0xa1, 'x', 0xc4)},
               {"cannot be", BYTES(0x81, 0xa1, 'a', 0xc7, 4, 1, 0x93, 0x91, 0xff, 0xc0)},
               {"do not fit", BYTES(0x81, 0xa1, 'a', 0xc7, 17, 1, 0x93, 0x91, 2, 0xa7, 'f', 'l', 'o', 'a', 't',
                                    '3', '2', 0xc4, 4, 0, 0, 0, 0)},
               {"do not fit", BYTES(0x81, 0xa1, 'a', 0xc7, 21, 1, 0x93, 0x91, 0xce, 0x80, 0, 0, 0, 0xa7, 'f',
                                    'l', 'o', 'a', 't', '3', '2', 0xc4, 4, 0, 0, 0, 0)},
               {"without a shape", BYTES(0x81, 0xa1, 'a', 0xc7, 11, 1, 0x93, 0x99, 1, 1, 1, 1, 1, 1, 1, 1, 1)},
               {"type 'float16'", BYTES(0x81, 0xa1, 'a', 0xc7, 11, 1, 0x93, 0x90, 0xa7, 'f', 'l', 'o', 'a', 't',
                                        '1', '6', 0xc0)}};
#undef BYTES
  const char *path = check_path("hostile.txt");
  brc_flax_file *f;
  for (size_t i = 0; i < BRC_COUNT(files); i++) {
    check_ok(brc_file_write_all(path, files[i].at, files[i].n));
    brc_status st = brc_flax_open(&f, path);
    if (st != BRC_E_FORMAT || !strstr(brc_error(), files[i].words) || !strstr(brc_error(), path))
      fail_msg("file %zu: expected '%s', got %d: %s", i, files[i].words, (int)st, st ? brc_error() : "");
  }
  // Maps in maps: an end before the stack's.
  uint8_t nested[30000];
  for (size_t i = 0; i < sizeof nested; i += 3) memcpy(nested + i, "\x81\xa1x", 3);
  check_ok(brc_file_write_all(path, nested, sizeof nested));
  check_fails(BRC_E_FORMAT, "nested too deeply", brc_flax_open(&f, path));
  // Keys beyond any name.
  memset(nested, 'k', sizeof nested);
  memcpy(nested, "\x81\xda\x40\x00", 4);
  check_ok(brc_file_write_all(path, nested, sizeof nested));
  check_fails(BRC_E_FORMAT, "a key that no checkpoint has", brc_flax_open(&f, path));
}

// Every length of a whole file, from all but one byte down to none, ends in a message.
static void test_truncated(void **state) {
  (void)state;
  char folder[512], path[700];
  snprintf(folder, sizeof folder, "%s/cut", check_folder());
  write_published(cases[2].run, folder, 50, WITH_MOMENTS);
  snprintf(path, sizeof path, "%s/actor.txt", folder);
  struct stat info;
  assert_int_equal(stat(path, &info), 0);
  brc_flax_file *f;
  check_ok(brc_flax_open(&f, path));
  brc_flax_close(f);
  for (off_t n = info.st_size - 1; n >= 0; n -= testing_quick() ? 7 : 1) {
    assert_int_equal(truncate(path, n), 0);
    check_fails(BRC_E_FORMAT, "actor.txt", brc_flax_open(&f, path));
  }
}

// Single changed bytes: a whole agent or a message, never a crash or memory without bound.
static void test_changed(void **state) {
  (void)state;
  char folder[512], path[700];
  snprintf(folder, sizeof folder, "%s/changed", check_folder());
  write_published(cases[2].run, folder, 50, WITH_MOMENTS);
  snprintf(path, sizeof path, "%s/actor.txt", folder);
  char *data;
  size_t bytes, refused = 0;
  check_ok(brc_file_read(path, &data, &bytes));
  testing_reseed(12);
  int tries = testing_quick() ? 200 : 1500;
  for (int i = 0; i < tries; i++) {
    FILE *file = fopen(path, "r+b");
    size_t at = testing_below((uint32_t)bytes);
    assert_non_null(file);
    fseek(file, (long)at, SEEK_SET);
    fputc((int)testing_below(256), file);
    fclose(file);
    brc_import m;
    brc_status st = brc_import_open(&m, folder);
    if (st && (st != BRC_E_FORMAT || !strstr(brc_error(), folder)))
      fail_msg("byte %zu: %d: %s", at, (int)st, brc_error());
    refused += st != BRC_OK;
    if (!st) brc_import_close(&m);
    file = fopen(path, "r+b");
    assert_non_null(file);
    fseek(file, (long)at, SEEK_SET);
    fputc(data[at], file);
    fclose(file);
  }
  free(data);
  printf("%d changed bytes, %zu refused\n", tries, refused);
  assert_true(refused > (size_t)tries / 20);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_c_header),
                                     cmocka_unit_test(test_one_task),
                                     cmocka_unit_test(test_onnx),
                                     cmocka_unit_test(test_export_errors),
                                     cmocka_unit_test(test_numpy),
                                     cmocka_unit_test(test_numpy_golden),
                                     cmocka_unit_test(test_flax_actor),
                                     cmocka_unit_test(test_import),
                                     cmocka_unit_test(test_import_from_flax),
                                     cmocka_unit_test(test_import_errors),
                                     cmocka_unit_test(test_hostile_tokens),
                                     cmocka_unit_test(test_truncated),
                                     cmocka_unit_test(test_changed)};
  return testing_finish(cmocka_run_group_tests(tests, make_runs, free_runs));
}
