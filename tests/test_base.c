// base/: failures' sentences, arena, nearest names, files, safetensors and its hostile files, the pool, Philox.
#include "tests/check.h"

#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "backends/grant.h"
#include "base/file.h"
#include "base/helper.h"
#include "base/philox.h"
#include "base/pool.h"
#include "base/safetensors.h"
#include "tests/testing.h"

//------------------------ 1. Status, memory, text ------------------------------
static void test_fail_stores_the_sentence(void **state) {
  (void)state;
  assert_int_equal(brc_fail(BRC_E_VALUE, "option '%s': %d", "--x", 7), BRC_E_VALUE);
  assert_string_equal(brc_error(), "option '--x': 7");
  assert_int_equal(brc_fail(BRC_E_IO, "%s", brc_error()), BRC_E_IO);  // the sentence may be its own argument
  assert_string_equal(brc_error(), "option '--x': 7");
  assert_int_equal(brc_fail_prefix(BRC_E_FORMAT, "file '%s': ", "a"), BRC_E_FORMAT);
  assert_string_equal(brc_error(), "file 'a': option '--x': 7");
  char *longest = malloc(100000);
  memset(longest, 'x', 99999);
  longest[99999] = '\0';
  brc_fail(BRC_E_IO, "%s", longest);
  brc_fail_prefix(BRC_E_IO, "%s", longest);
  assert_in_range(strlen(brc_error()), 1000, 99998);
  free(longest);
}

static void *fail_elsewhere(void *arg) {
  brc_fail(BRC_E_IO, "of another thread");
  return arg;
}

static void test_sentences_are_per_thread(void **state) {
  (void)state;
  brc_fail(BRC_E_IO, "mine");
  pthread_t id;
  assert_int_equal(pthread_create(&id, NULL, fail_elsewhere, NULL), 0);
  pthread_join(id, NULL);
  assert_string_equal(brc_error(), "mine");
}

static void test_status_texts(void **state) {
  (void)state;
  for (int code = 0; code < BRC_STATUS_COUNT; code++)
    assert_true(strlen(brc_status_text((brc_status)code)) > 1);
  assert_string_equal(brc_status_text(BRC_OK), "ok");
  assert_string_equal(brc_status_text(BRC_E_STOPPED), "stopped on request");
  assert_non_null(brc_status_text((brc_status)1000));
}

static void test_arena(void **state) {
  (void)state;
  brc_arena a = {0};
  unsigned char *kept[500];
  size_t sizes[500];
  for (size_t i = 0; i < 500; i++) {
    sizes[i] = i % 50 == 49 ? 200000 : i * 7 % 1000;
    kept[i] = brc_arena_alloc(&a, sizes[i]);
    assert_non_null(kept[i]);
    assert_int_equal((uintptr_t)kept[i] % 16, 0);
    for (size_t k = 0; k < sizes[i]; k++) assert_int_equal(kept[i][k], 0);
    memset(kept[i], (int)i & 255, sizes[i]);
  }
  for (size_t i = 0; i < 500; i++)
    for (size_t k = 0; k < sizes[i]; k++) assert_int_equal(kept[i][k], i & 255);
  assert_string_equal(brc_arena_printf(&a, "%d-%s", 5, "x"), "5-x");
  assert_null(brc_arena_alloc(&a, SIZE_MAX));
  assert_null(brc_arena_alloc(&a, SIZE_MAX / 2 + 1));
  brc_arena_free(&a);
  brc_arena_free(&a);  // an empty one
  assert_non_null(brc_arena_alloc(&a, 1));
  brc_arena_free(&a);
}

static void test_alloc_aligned(void **state) {
  (void)state;
  const size_t sizes[] = {0, 1, 63, 64, 65, 100000};
  for (size_t i = 0; i < BRC_COUNT(sizes); i++) {
    char *p = brc_alloc_aligned(sizes[i], "a test");
    assert_non_null(p);
    assert_int_equal((uintptr_t)p % 64, 0);
    for (size_t k = 0; k < sizes[i]; k++) assert_int_equal(p[k], 0);
    free(p);
  }
  assert_null(brc_alloc_aligned(SIZE_MAX - 5, "the moon"));
  assert_non_null(strstr(brc_error(), "the moon"));
}

static void test_nearest(void **state) {
  (void)state;
  static const char *const names[] = {"walker-run", "walker-walk", "walker-stand",
                                      "dog-run",    "dog-trot",    "humanoid-run"};
  static const struct {
    const char *word, *expected;
  } rows[] = {
      {"walker-rum", "'walker-run'"},
      {"Dog-Run", "'dog-run'"},
      {"dog-torp", "'dog-trot'"},
      {"zzzzzzzzz", ""},
      {"", ""},
  };
  char out[256];
  for (size_t i = 0; i < BRC_COUNT(rows); i++) {
    brc_nearest(rows[i].word, names, BRC_COUNT(names), 1, out, sizeof out);
    assert_string_equal(out, rows[i].expected);
  }
  brc_nearest("walker", names, BRC_COUNT(names), 3, out, sizeof out);
  assert_string_equal(out, "'walker-run', 'walker-walk' or 'walker-stand'");
  brc_nearest("dog-ru", names, BRC_COUNT(names), 2, out, sizeof out);
  assert_string_equal(out, "'dog-run' or 'dog-trot'");
  brc_nearest("walker", names, BRC_COUNT(names), 3, out, 20);  // room for one name
  assert_string_equal(out, "'walker-run'");
  brc_nearest("walker", names, 0, 3, out, sizeof out);
  assert_string_equal(out, "");
}

//------------------------ 2. Files ----------------------------------------------
static void assert_content(const char *path, const char *expected) {
  char *data;
  size_t bytes;
  check_ok(brc_file_read(path, &data, &bytes));
  assert_int_equal(bytes, strlen(expected));
  assert_string_equal(data, expected);
  free(data);
}

static void test_file_round_trip(void **state) {
  (void)state;
  const char *path = check_path("plain");
  check_ok(brc_file_write_all(path, "hello", 5));
  assert_content(path, "hello");
  check_ok(brc_file_write_all(path, "", 0));
  assert_content(path, "");
  struct stat info;
  mode_t mask = umask(0);
  umask(mask);
  assert_int_equal(stat(path, &info), 0);
  assert_int_equal(info.st_mode & 0777, 0666 & ~mask);

  // Some megabytes, and a file whose size is not known beforehand.
  size_t bytes = 5 * 1000 * 1000 + 1;
  char *big = malloc(bytes), *back;
  for (size_t i = 0; i < bytes; i++) big[i] = (char)(i * 31 >> 3);
  check_ok(brc_file_write_all(path, big, bytes));
  size_t got;
  check_ok(brc_file_read(path, &back, &got));
  assert_int_equal(got, bytes);
  assert_memory_equal(back, big, bytes);
  free(back);
  free(big);
  check_ok(brc_file_read("/proc/self/status", &back, &got));
  assert_true(got > 100 && strstr(back, "VmRSS"));
  free(back);
}

static void test_file_appears_only_when_complete(void **state) {
  (void)state;
  const char *path = check_path("atomic"), *tmp = check_path("atomic.tmp");
  check_ok(brc_file_write_all(path, "old", 3));
  brc_file_writer w;
  check_ok(brc_file_begin(&w, path));
  check_ok(brc_file_write(&w, "new", 3));
  assert_content(path, "old");
  assert_true(brc_path_exists(tmp));
  brc_file_abort(&w);
  assert_false(brc_path_exists(tmp));
  assert_content(path, "old");

  // What a killed process left is taken over, also when it is longer.
  check_ok(brc_file_write_all(tmp, "left behind, longer", 19));
  check_ok(brc_file_begin(&w, path));
  check_ok(brc_file_write(&w, "new", 3));
  check_ok(brc_file_write(&w, "er", 2));
  assert_int_equal(w.written, 5);
  check_ok(brc_file_commit(&w));
  assert_content(path, "newer");
  assert_false(brc_path_exists(tmp));
}

static void test_file_failures(void **state) {
  (void)state;
  char *data;
  size_t bytes;
  char text[600];
  check_ok(brc_file_write_all(check_path("plain"), "x", 1));
  check_fails(BRC_E_NOT_FOUND, "absent'", brc_file_read(check_path("absent"), &data, &bytes));
  check_fails(BRC_E_IO, check_folder(), brc_file_read(check_folder(), &data, &bytes));
  check_fails(BRC_E_IO, "plain/under'", brc_file_write_all(check_path("plain/under"), "x", 1));
  check_fails(BRC_E_IO, "No such file or directory", brc_file_write_all(check_path("no/folder"), "x", 1));
  check_fails(BRC_E_IO, "/proc/brc'", brc_file_write_all("/proc/brc", "x", 1));
  check_fails(BRC_E_IO, "Is a directory", brc_file_write_all(check_folder(), "x", 1));
  snprintf(text, sizeof text, "%s.tmp", check_folder());
  assert_false(brc_path_exists(text));
  check_fails(BRC_E_IO, "''", brc_file_write_all("", "x", 1));
  char *longest = malloc(10000);
  memset(longest, 'p', 9999);
  longest[9999] = '\0';
  check_fails(BRC_E_IO, "name too long", brc_file_write_all(longest, "x", 1));
  free(longest);
}

// A link's target is replaced and the link stays; into a pipe it is written as it comes.
static void test_file_special(void **state) {
  (void)state;
  char target[4096], link[4096], pipe[4096], got[8] = "";
  struct stat info;
  snprintf(target, sizeof target, "%s", check_path("target"));
  snprintf(link, sizeof link, "%s", check_path("link"));
  snprintf(pipe, sizeof pipe, "%s", check_path("pipe"));
  check_ok(brc_file_write_all(target, "old", 3));
  assert_int_equal(symlink("target", link), 0);
  check_ok(brc_file_write_all(link, "new", 3));
  assert_true(!lstat(link, &info) && S_ISLNK(info.st_mode));
  char *data;
  size_t n;
  check_ok(brc_file_read(target, &data, &n));
  assert_string_equal(data, "new");
  free(data);
  assert_int_equal(mkfifo(pipe, 0600), 0);
  const int fd = open(pipe, O_RDONLY | O_NONBLOCK);
  assert_true(fd >= 0);
  check_ok(brc_file_write_all(pipe, "bytes", 5));
  assert_int_equal(read(fd, got, sizeof got), 5);
  close(fd);
  assert_string_equal(got, "bytes");
  assert_true(!lstat(pipe, &info) && S_ISFIFO(info.st_mode));
}

// A limit on file sizes fails a write half-way, as a full disk does.
static void test_file_full_disk(void **state) {
  (void)state;
  const char *path = check_path("full"), *tmp = check_path("full.tmp");
  check_ok(brc_file_write_all(path, "old", 3));
  struct rlimit was, small;
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
  small = (struct rlimit){.rlim_cur = 100000, .rlim_max = was.rlim_max};
  signal(SIGXFSZ, SIG_IGN);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);

  char *data = calloc(1, 200000);
  brc_file_writer w;
  check_ok(brc_file_begin(&w, path));
  check_ok(brc_file_write(&w, data, 60000));
  check_fails(BRC_E_IO, "full': File too large", brc_file_write(&w, data, 60000));
  assert_false(brc_path_exists(tmp));
  assert_int_equal(brc_file_write(&w, data, 1), BRC_E_IO);  // the first failure stays
  assert_int_equal(brc_file_commit(&w), BRC_E_IO);
  assert_content(path, "old");
  brc_st_writer *st;
  check_ok(brc_st_writer_new(&st));
  check_ok(brc_st_writer_add(st, "t", BRC_ST_U8, 1, (const uint64_t[]){200000}, data));
  check_fails(BRC_E_IO, "full': File too large", brc_st_write(st, path));
  assert_content(path, "old");
  assert_false(brc_path_exists(tmp));
  brc_st_writer_free(st);
  free(data);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
}

static void *write_often(void *arg) {
  const char *path = arg;
  char text[65];
  for (int i = 0; i < 20; i++) {
    memset(text, 'a' + i, 64);
    text[64] = '\0';
    if (brc_file_write_all(path, text, 64)) return "failed";
  }
  return NULL;
}

static void test_file_two_writers(void **state) {
  (void)state;
  const char *path = check_path("shared");
  pthread_t ids[2];
  for (int i = 0; i < 2; i++)
    assert_int_equal(pthread_create(&ids[i], NULL, write_often, (void *)(uintptr_t)path), 0);
  for (int i = 0; i < 2; i++) {
    void *failed;
    pthread_join(ids[i], &failed);
    assert_null(failed);
  }
  char *data;
  size_t bytes;
  check_ok(brc_file_read(path, &data, &bytes));
  assert_int_equal(bytes, 64);
  for (int i = 1; i < 64; i++) assert_int_equal(data[i], data[0]);
  free(data);
}

static void test_mkdirs(void **state) {
  (void)state;
  check_ok(brc_mkdirs(check_path("a/b//c/")));
  assert_true(brc_path_exists(check_path("a/b/c")));
  check_ok(brc_mkdirs(check_path("a/b/c")));
  check_ok(brc_mkdirs("/"));
  check_ok(brc_file_write_all(check_path("a/file"), "x", 1));
  check_fails(BRC_E_IO, "a/file': Not a directory", brc_mkdirs(check_path("a/file/d")));
  check_fails(BRC_E_IO, "a/file': Not a directory", brc_mkdirs(check_path("a/file")));
  check_fails(BRC_E_IO, "/proc/brc", brc_mkdirs("/proc/brc/x"));
  check_fails(BRC_E_IO, "''", brc_mkdirs(""));
}

static void test_folders_of_the_user(void **state) {
  (void)state;
  char out[256];
  setenv("XDG_DATA_HOME", "/data", 1);
  brc_data_dir(out, sizeof out);
  assert_string_equal(out, "/data/brc");
  unsetenv("XDG_DATA_HOME");
  setenv("HOME", "/home/x", 1);
  brc_data_dir(out, sizeof out);
  assert_string_equal(out, "/home/x/.local/share/brc");
  setenv("BRC_CACHE", "/c", 1);
  brc_cache_dir(out, sizeof out);
  assert_string_equal(out, "/c");
  unsetenv("BRC_CACHE");
  brc_cache_dir(out, sizeof out);
  assert_string_equal(out, "/home/x/.cache/brc");
}

//------------------------ 3. safetensors ----------------------------------------
// A file of every type, a scalar, an empty tensor and rank 8.
static void write_sample(const char *path, bool other_order) {
  static const float f32[6] = {0, 1.5f, -2, 3, 4, 5};
  static const double f64[1] = {-0.1};
  static const int32_t i32[2] = {-7, INT32_MAX};
  static const uint8_t u8[3] = {1, 2, 255};
  static const int64_t i64[1] = {-(1LL << 40)};
  static const uint32_t u32[1] = {UINT32_MAX};
  uint64_t u64[1] = {1ull << 52};
  const uint64_t ones[8] = {1, 1, 1, 1, 1, 1, 1, 1};
  brc_st_writer *w;
  check_ok(brc_st_writer_new(&w));
  if (other_order) check_ok(brc_st_writer_meta(w, "gamma", "0.99"));
  check_ok(brc_st_writer_meta(w, "batch", "256"));
  if (!other_order) check_ok(brc_st_writer_meta(w, "gamma", "0.99"));
  check_ok(brc_st_writer_meta(w, "quote\"\\\n", "tab\t\"end\""));
  if (other_order) check_ok(brc_st_writer_add(w, "b/scalar", BRC_ST_F64, 0, NULL, f64));
  check_ok(brc_st_writer_add(w, "critic/w", BRC_ST_F32, 2, (const uint64_t[]){2, 3}, f32));
  if (!other_order) check_ok(brc_st_writer_add(w, "b/scalar", BRC_ST_F64, 0, NULL, f64));
  check_ok(brc_st_writer_add(w, "a/int", BRC_ST_I32, 1, (const uint64_t[]){2}, i32));
  check_ok(brc_st_writer_add(w, "bytes", BRC_ST_U8, 1, (const uint64_t[]){3}, u8));
  check_ok(brc_st_writer_add(w, "empty", BRC_ST_F32, 2, (const uint64_t[]){0, 5}, NULL));
  check_ok(brc_st_writer_add(w, "long", BRC_ST_I64, 1, ones, i64));
  check_ok(brc_st_writer_add(w, "u32", BRC_ST_U32, 8, ones, u32));
  check_ok(brc_st_writer_copy(w, "u64", BRC_ST_U64, 1, ones, u64));
  u64[0] = 0;  // the copy is the writer's own
  check_ok(brc_st_write(w, path));
  brc_st_writer_free(w);
}

static void test_st_round_trip(void **state) {
  (void)state;
  const char *path = check_path("sample.safetensors");
  write_sample(path, false);
  brc_st_file *f;
  check_ok(brc_st_open(&f, path));
  assert_string_equal(brc_st_path(f), path);
  assert_int_equal(brc_st_count(f), 8);
  for (size_t i = 1; i < brc_st_count(f); i++)
    assert_true(strcmp(brc_st_at(f, i - 1)->name, brc_st_at(f, i)->name) < 0);
  assert_null(brc_st_at(f, 8));

  const brc_st_tensor *t = brc_st_find(f, "%s/%c", "critic", 'w');
  assert_non_null(t);
  assert_int_equal(t->dtype, BRC_ST_F32);
  assert_int_equal(t->rank, 2);
  assert_int_equal(t->shape[0], 2);
  assert_int_equal(t->shape[1], 3);
  assert_int_equal(t->count, 6);
  assert_true(brc_st_get(t, 1) == 1.5 && brc_st_get(t, 2) == -2);
  assert_true(brc_st_get(brc_st_find(f, "b/scalar"), 0) == -0.1);
  assert_true(brc_st_get(brc_st_find(f, "a/int"), 1) == INT32_MAX);
  assert_true(brc_st_get(brc_st_find(f, "bytes"), 2) == 255);
  assert_true(brc_st_get(brc_st_find(f, "long"), 0) == -1099511627776.0);
  assert_true(brc_st_get(brc_st_find(f, "u32"), 0) == UINT32_MAX);
  assert_true(brc_st_get(brc_st_find(f, "u64"), 0) == 4503599627370496.0);
  assert_int_equal(brc_st_find(f, "empty")->count, 0);
  assert_int_equal(brc_st_find(f, "u32")->rank, 8);
  assert_null(brc_st_find(f, "critic"));
  assert_null(brc_st_find(f, "critic/w2"));

  assert_string_equal(brc_st_meta(f, "quote\"\\\n"), "tab\t\"end\"");
  assert_null(brc_st_meta(f, "absent"));
  long n;
  double x;
  check_ok(brc_st_meta_int(f, "batch", 1, 256, &n));
  assert_int_equal(n, 256);
  check_ok(brc_st_meta_real(f, "gamma", &x));
  assert_true(x == 0.99);
  check_fails(BRC_E_FORMAT, "'batch' is '256'", brc_st_meta_int(f, "batch", 1, 255, &n));
  check_fails(BRC_E_FORMAT, path, brc_st_meta_int(f, "gamma", 0, 10, &n));
  check_fails(BRC_E_FORMAT, "'absent'", brc_st_meta_int(f, "absent", 0, 10, &n));
  check_fails(BRC_E_FORMAT, "finite", brc_st_meta_real(f, "quote\"\\\n", &x));

  check_ok(brc_st_need(f, BRC_ST_F32, 6, &t, "critic/%s", "w"));
  check_fails(BRC_E_FORMAT, "expected F32 of 7 elements", brc_st_need(f, BRC_ST_F32, 7, &t, "critic/w"));
  check_fails(BRC_E_FORMAT, "F32 of 6 elements", brc_st_need(f, BRC_ST_F64, 6, &t, "critic/w"));
  assert_null(t);
  check_fails(BRC_E_FORMAT, "no tensor 'x'", brc_st_need(f, BRC_ST_F64, 6, &t, "x"));
  brc_st_close(f);
  brc_st_close(NULL);
}

// The bytes depend on the content alone, not on the order of the calls; the data starts on a multiple of 8.
static void test_st_bytes(void **state) {
  (void)state;
  const char *paths[2] = {check_path("one"), check_path("two")};
  char *data[2];
  size_t bytes[2];
  for (int i = 0; i < 2; i++) {
    write_sample(paths[i], i == 1);
    check_ok(brc_file_read(paths[i], &data[i], &bytes[i]));
  }
  assert_int_equal(bytes[0], bytes[1]);
  assert_memory_equal(data[0], data[1], bytes[0]);
  assert_int_equal(data[0][0] % 8, 0);
  free(data[0]);
  free(data[1]);

  // A file without tensors.
  brc_st_writer *w;
  check_ok(brc_st_writer_new(&w));
  check_ok(brc_st_write(w, paths[0]));
  brc_st_writer_free(w);
  check_ok(brc_file_read(paths[0], &data[0], &bytes[0]));
  assert_int_equal(bytes[0], 16);
  assert_memory_equal(data[0], "\10\0\0\0\0\0\0\0{}      ", 16);
  free(data[0]);
  brc_st_file *f;
  check_ok(brc_st_open(&f, paths[0]));
  assert_int_equal(brc_st_count(f), 0);
  assert_null(brc_st_find(f, "x"));
  assert_null(brc_st_meta(f, "x"));
  brc_st_close(f);
}

static void test_st_writer_refuses(void **state) {
  (void)state;
  const float x[1] = {1};
  const uint64_t huge[2] = {1ull << 40, 1ull << 40}, one[9] = {1, 1, 1, 1, 1, 1, 1, 1, 1};
  brc_st_writer *w;
  check_ok(brc_st_writer_new(&w));
  check_fails(BRC_E_SHAPE, "'t': rank 9", brc_st_writer_add(w, "t", BRC_ST_F32, 9, one, x));
  check_fails(BRC_E_SHAPE, "'t'", brc_st_writer_add(w, "t", BRC_ST_F32, 2, huge, x));
  check_fails(BRC_E_VALUE, "__metadata__", brc_st_writer_add(w, "__metadata__", BRC_ST_F32, 1, one, x));
  check_fails(BRC_E_VALUE, "dtype 99", brc_st_writer_add(w, "t", (brc_st_dtype)99, 1, one, x));
  check_ok(brc_st_writer_add(w, "t", BRC_ST_F32, 1, one, x));
  check_fails(BRC_E_IO, "no/folder'", brc_st_write(w, check_path("no/folder")));
  check_ok(brc_st_writer_copy(w, "t", BRC_ST_F32, 1, one, x));
  check_fails(BRC_E_VALUE, "'t' was added twice", brc_st_write(w, check_path("twice")));
  assert_false(brc_path_exists(check_path("twice")));
  brc_st_writer_free(w);
  check_ok(brc_st_writer_new(&w));
  check_ok(brc_st_writer_meta(w, "k", "1"));
  check_ok(brc_st_writer_meta(w, "k", "2"));
  check_fails(BRC_E_VALUE, "'k' was added twice", brc_st_write(w, check_path("twice")));
  brc_st_writer_free(w);
}

// A file of this header and `data_bytes` bytes of data; `length` replaces the header's length unless it is 0.
static const char *write_raw(const char *header, size_t data_bytes, uint64_t length) {
  const char *path = check_path("hostile.safetensors");
  size_t n = strlen(header);
  char *image = calloc(1, 8 + n + data_bytes + 1);
  if (!length) length = n;
  for (int k = 0; k < 8; k++) image[k] = (char)(unsigned char)(length >> (8 * k));
  memcpy(image + 8, header, n);
  check_ok(brc_file_write_all(path, image, 8 + n + data_bytes));
  free(image);
  return path;
}

// clang-format off: a row is a file
// Every one must be refused with a sentence that names the file and contains `part`.
static const struct {
  const char *part, *header;
  size_t data_bytes;
  uint64_t length;
} hostile[] = {
    {"claims", "{}", 0, 3},
    {"claims", "{}", 0, UINT64_MAX},
    {"claims", "{}", 0, 1ull << 63},
    {"claims", "{}", 0, UINT64_MAX - 7},
    {"start with '{'", "", 8, 0},
    {"start with '{'", "[]", 0, 0},
    {"start with '{'", " {}", 0, 0},
    {"not JSON", "{", 0, 0},
    {"not JSON", "{\"a\":}", 0, 0},
    {"not JSON", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}", 4, 0},
    {"follows", "{} x", 0, 0},
    {"follows", "{}{}", 0, 0},
    {"zero byte", "{}", 4, 4},
    {"JSON object", "{\"a\":1}", 0, 0},
    {"JSON object", "{\"a\":[1,2]}", 0, 0},
    {"JSON object", "{\"a\":null}", 0, 0},
    {"'dtype' is missing", "{\"a\":{}}", 0, 0},
    {"'shape' is missing", "{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, 0},
    {"'data_offsets' is missing", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, 0},
    {"unknown field", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"x\":{\"y\":{}}}}", 4,
     0},
    {"given twice", "{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, 0},
    {"dtype 'BF16'", "{\"a\":{\"dtype\":\"BF16\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4, 0},
    {"dtype ''", "{\"a\":{\"dtype\":\"\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4, 0},
    {"dtype is not", "{\"a\":{\"dtype\":7,\"shape\":[2],\"data_offsets\":[0,4]}}", 4, 0},
    {"shape is not", "{\"a\":{\"dtype\":\"F32\",\"shape\":1,\"data_offsets\":[0,4]}}", 4, 0},
    {"shape is not", "{\"a\":{\"dtype\":\"F32\",\"shape\":{\"x\":1},\"data_offsets\":[0,4]}}", 4, 0},
    {"whole number", "{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4, 0},
    {"whole number", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1.5],\"data_offsets\":[0,4]}}", 4, 0},
    {"whole number", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1e300],\"data_offsets\":[0,4]}}", 4, 0},
    {"whole number", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1e999],\"data_offsets\":[0,4]}}", 4, 0},
    {"whole number", "{\"a\":{\"dtype\":\"F32\",\"shape\":[18446744073709551616],\"data_offsets\":[0,4]}}", 4,
     0},
    {"whole number", "{\"a\":{\"dtype\":\"F32\",\"shape\":[\"1\"],\"data_offsets\":[0,4]}}", 4, 0},
    {"whole number", "{\"a\":{\"dtype\":\"F32\",\"shape\":[[[[1]]]],\"data_offsets\":[0,4]}}", 4, 0},
    {"more than 8", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}", 4, 0},
    {"64 bits", "{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", 0, 0},
    {"64 bits", "{\"a\":{\"dtype\":\"F64\",\"shape\":[4294967296,1073741824],\"data_offsets\":[0,0]}}", 0, 0},
    {"64 bits", "{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296,0],\"data_offsets\":[0,0]}}", 0, 0},
    {"two whole", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":4}}", 4, 0},
    {"two whole", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4]}}", 4, 0},
    {"two whole", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[]}}", 4, 0},
    {"two whole", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,8]}}", 4, 0},
    {"two whole", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[-4,0]}}", 4, 0},
    {"two whole", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,\"4\"]}}", 4, 0},
    {"two whole", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[18446744073709551612,4]}}", 4, 0},
    {"outside", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", 4, 0},
    {"outside", "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 4, 0},
    {"outside",
     "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[9007199254740988,9007199254740992]}}", 4, 0},
    {"its shape takes 4", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,8]}}", 8, 0},
    {"its shape takes 8", "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4, 0},
    {"its shape takes 4", "{\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,0]}}", 0, 0},
    {"overlaps",
     "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
     "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[2,6]}}",
     6, 0},
    {"overlaps",
     "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
     "\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}",
     4, 0},
    {"belong to none", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8, 0},
    {"belong to no tensor", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 5, 0},
    {"belong to no tensor", "{}", 1, 0},
    {"there twice",
     "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
     "\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}",
     2, 0},
    {"there twice",
     "{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]},"
     "\"\\u0061\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}",
     0, 0},
    {"__metadata__ is not", "{\"__metadata__\":\"x\"}", 0, 0},
    {"__metadata__ is not", "{\"__metadata__\":[]}", 0, 0},
    {"value of 'k' is not a string", "{\"__metadata__\":{\"k\":1}}", 0, 0},
    {"value of 'k' is not a string", "{\"__metadata__\":{\"k\":{\"deep\":\"er\"}}}", 0, 0},
    {"'k' is there twice", "{\"__metadata__\":{\"k\":\"1\",\"k\":\"2\"}}", 0, 0},
    {"given twice", "{\"__metadata__\":{\"k\":\"1\"},\"__metadata__\":{}}", 0, 0},
};
// clang-format on

static void test_st_hostile(void **state) {
  (void)state;
  for (size_t i = 0; i < BRC_COUNT(hostile); i++) {
    const char *path = write_raw(hostile[i].header, hostile[i].data_bytes, hostile[i].length);
    brc_st_file *f = NULL;
    brc_status st = brc_st_open(&f, path);
    if (st != BRC_E_FORMAT || !strstr(brc_error(), hostile[i].part) || !strstr(brc_error(), path))
      print_error("row %zu: %s\n  %s: %s\n", i, hostile[i].header, brc_status_text(st), st ? brc_error() : "");
    assert_int_equal(st, BRC_E_FORMAT);
    assert_non_null(strstr(brc_error(), hostile[i].part));
    assert_non_null(strstr(brc_error(), path));
    assert_null(f);
  }
}

// JSON nested deeper than a parser's stack.
static void test_st_nested(void **state) {
  (void)state;
  for (int kind = 0; kind < 2; kind++) {
    size_t depth = 2000000, at = 0;
    char *header = malloc(6 * depth + 16);
    header[at++] = '{';
    for (size_t i = 0; i < depth; i++)
      at += (size_t)sprintf(header + at, "%s", kind ? "\"a\":{" : i ? "[" : "\"a\":[");
    header[at] = '\0';
    brc_st_file *f;
    check_fails(BRC_E_FORMAT, "hostile.safetensors", brc_st_open(&f, write_raw(header, 0, 0)));
    free(header);
  }
}

static void test_st_not_a_file(void **state) {
  (void)state;
  brc_st_file *f;
  check_fails(BRC_E_NOT_FOUND, "absent'", brc_st_open(&f, check_path("absent")));
  check_fails(BRC_E_IO, "Is a directory", brc_st_open(&f, check_folder()));
  check_fails(BRC_E_IO, "/dev/null", brc_st_open(&f, "/dev/null"));
  check_fails(BRC_E_IO, "/dev/zero", brc_st_open(&f, "/dev/zero"));
}

// Cut at every byte, and longer by one: never accepted, never a crash.
static void test_st_truncated(void **state) {
  (void)state;
  const char *path = check_path("whole"), *cut = check_path("cut");
  write_sample(path, false);
  char *data;
  size_t bytes;
  check_ok(brc_file_read(path, &data, &bytes));
  for (size_t n = 0; n <= bytes + 1; n++) {
    FILE *out = fopen(cut, "wb");
    assert_non_null(out);
    fwrite(data, 1, n < bytes ? n : bytes, out);
    if (n > bytes) fputc(0, out);
    fclose(out);
    brc_st_file *f;
    if (n == bytes) {
      check_ok(brc_st_open(&f, cut));
      brc_st_close(f);
    } else {
      check_fails(BRC_E_FORMAT, cut, brc_st_open(&f, cut));
    }
  }
  free(data);
}

// One byte of the header changed, everywhere, to a few values: accepted or refused, and what is accepted can be read.
static void test_st_changed_bytes(void **state) {
  (void)state;
  static const char values[] = {0, ' ', '"', '9', '-', '{', ']', ',', (char)0xff};
  const char *path = check_path("whole"), *changed = check_path("changed");
  write_sample(path, false);
  char *data;
  size_t bytes, step = testing_quick() ? 7 : 1;
  check_ok(brc_file_read(path, &data, &bytes));
  double sum = 0;
  int refused = 0;
  for (size_t at = 0; at < bytes; at += step) {
    for (size_t v = 0; v < sizeof values; v++) {
      char was = data[at];
      data[at] = values[v];
      FILE *out = fopen(changed, "wb");
      assert_non_null(out);
      fwrite(data, 1, bytes, out);
      fclose(out);
      data[at] = was;
      brc_st_file *f;
      brc_status st = brc_st_open(&f, changed);
      refused += st != BRC_OK;
      if (st) {
        assert_int_equal(st, BRC_E_FORMAT);
        continue;
      }
      for (size_t i = 0; i < brc_st_count(f); i++)
        for (uint64_t k = 0; k < brc_st_at(f, i)->count; k++) sum += brc_st_get(brc_st_at(f, i), k) != 0;
      brc_st_close(f);
    }
  }
  assert_true(refused > 100 && sum > 0);
  free(data);
}

//------------------------ 4. Pool -----------------------------------------------
#define MOST_ITEMS 5000
struct counts {
  _Atomic int times[MOST_ITEMS];
  _Atomic int wrong_thread;
  int threads;
};

static void count_item(void *arg, uint32_t item, uint32_t thread) {
  struct counts *c = arg;
  atomic_fetch_add(&c->times[item], 1);
  if ((int)thread >= c->threads) atomic_fetch_add(&c->wrong_thread, 1);
}

static void test_pool_each_item_once(void **state) {
  (void)state;
  static const uint32_t items[] = {0, 1, 2, 3, 7, 64, 1000, MOST_ITEMS};
  static struct counts c;
  for (int threads = 1; threads <= 9; threads += threads < 4 ? 1 : 5) {
    brc_pool *p;
    check_ok(brc_pool_create(&p, threads));
    assert_int_equal(brc_pool_threads(p), threads);
    for (size_t k = 0; k < BRC_COUNT(items); k++) {
      memset(&c, 0, sizeof c);
      c.threads = threads;
      for (int repeat = 1; repeat <= 3; repeat++) {
        brc_pool_run(p, items[k], count_item, &c);
        for (uint32_t i = 0; i < MOST_ITEMS; i++) assert_int_equal(c.times[i], i < items[k] ? repeat : 0);
      }
      assert_int_equal(c.wrong_thread, 0);
    }
    brc_pool_destroy(p);
  }
  brc_pool_destroy(NULL);
}

static void add_one(void *arg, uint32_t item, uint32_t thread) {
  (void)thread;
  ((int *)arg)[item]++;  // not atomic: an item belongs to one thread, and jobs follow one another
}

static double seconds_of_process(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static brc_status count_up(void *arg) {
  int *n = arg;
  return ++*n % 3 ? BRC_OK : brc_fail(BRC_E_VALUE, "at %d", *n);
}

// Beside this thread, one after the other; a failure's sentence comes over.
static void test_helper(void **state) {
  (void)state;
  brc_helper *h;
  int n = 0;
  check_ok(brc_helper_create(&h));
  for (int i = 1; i <= 3000; i++) {
    brc_helper_start(h, count_up, &n);
    brc_status st = brc_helper_join(h);
    assert_int_equal(n, i);
    assert_int_equal(st, i % 3 ? BRC_OK : BRC_E_VALUE);
    char want[32];
    snprintf(want, sizeof want, "at %d", i);
    if (st) assert_string_equal(brc_error(), want);
  }
  brc_helper_start(h, count_up, &n);
  brc_helper_destroy(h);  // not before it is done
  assert_int_equal(n, 3001);
  brc_helper_destroy(NULL);
}

static void test_pool_tiny_jobs(void **state) {
  (void)state;
  for (int threads = 1; threads <= 4; threads++) {
    brc_pool *p;
    check_ok(brc_pool_create(&p, threads));
    int sums[16] = {0}, jobs = 10000;
    double start = brc_now_s();
    for (int i = 0; i < jobs; i++) brc_pool_run(p, (uint32_t)(i % 16) + 1, add_one, sums);
    print_message("%d threads: %.2f us for a job of 1 to 16 empty items\n", threads,
                  (brc_now_s() - start) / jobs * 1e6);
    for (int k = 0; k < 16; k++) assert_int_equal(sums[k], jobs / 16 * (16 - k));
    brc_pool_destroy(p);
  }
}

// Jobs after pauses of every length around the spinning time: no wake-up is lost.
static void test_pool_sleeps_and_wakes(void **state) {
  (void)state;
  brc_pool *p;
  check_ok(brc_pool_create(&p, 0));
  int sums[3] = {0}, jobs = testing_quick() ? 300 : 2000;
  for (int i = 0; i < jobs; i++) {
    double end = brc_now_s() + (i % 100) * 1e-6;
    while (brc_now_s() < end) {}
    brc_pool_run(p, 3, add_one, sums);
  }
  for (int k = 0; k < 3; k++) assert_int_equal(sums[k], jobs);

  // An idle pool takes no processor time.
  usleep(20000);
  double before = seconds_of_process();
  usleep(200000);
  assert_true(seconds_of_process() - before < 0.05);
  brc_pool_destroy(p);
}

static void sleep_item(void *arg, uint32_t item, uint32_t thread) {
  (void)thread;
  usleep(item ? 20000 : 0);
  ((int *)arg)[item] = 1;
}

// The caller has its item done at once and must wait for the others.
static void test_pool_waits_for_all(void **state) {
  (void)state;
  brc_pool *p;
  check_ok(brc_pool_create(&p, 3));
  for (int i = 0; i < 5; i++) {
    int done[3] = {0};
    brc_pool_run(p, 3, sleep_item, done);
    for (int k = 0; k < 3; k++) assert_int_equal(done[k], 1);
  }
  brc_pool_destroy(p);
}

// Two threads use one pool at the same time, as the trainer and an OpenCL runtime's thread do: every item of both, once.
typedef struct shared_use {
  brc_pool *pool;
  _Atomic int sum;
} shared_use;
static void count_shared(void *arg, uint32_t item, uint32_t thread) {
  (void)item, (void)thread;
  ((shared_use *)arg)->sum++;
}
static void *use_pool(void *arg) {
  shared_use *u = arg;
  for (int i = 0; i < 2000; i++) brc_pool_run(u->pool, 1 + (uint32_t)i % 7, count_shared, u);
  return NULL;
}
static void test_pool_two_callers(void **state) {
  (void)state;
  brc_pool *pool;
  check_ok(brc_pool_create(&pool, 2));
  shared_use a = {.pool = pool}, b = {.pool = pool};
  pthread_t other;
  assert_int_equal(pthread_create(&other, NULL, use_pool, &a), 0);
  use_pool(&b);
  pthread_join(other, NULL);
  int want = 0;
  for (int i = 0; i < 2000; i++) want += 1 + i % 7;
  assert_int_equal(a.sum, want);
  assert_int_equal(b.sum, want);
  brc_pool_destroy(pool);
}

static void test_pool_bad_counts(void **state) {
  (void)state;
  brc_pool *p;
  check_fails(BRC_E_VALUE, "-1", brc_pool_create(&p, -1));
  check_fails(BRC_E_VALUE, "1000000", brc_pool_create(&p, 1000000));
  assert_null(p);
  for (int i = 0; i < 50; i++) {  // created and destroyed without a job
    check_ok(brc_pool_create(&p, 1 + i % 4));
    brc_pool_destroy(p);
  }
}

//------------------------ 5. Random numbers -------------------------------------
// The known answers of the Random123 distribution for philox4x32-10.
static void test_philox_known_answers(void **state) {
  (void)state;
  static const uint32_t rows[3][10] = {
      {0, 0, 0, 0, 0, 0, 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8},
      {~0u, ~0u, ~0u, ~0u, ~0u, ~0u, 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
      {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0, 0xd16cfe09, 0x94fdcceb,
       0x5001e420, 0x24126ea1},
  };
  for (int i = 0; i < 3; i++) {
    const uint32_t *r = rows[i];
    brc_u4 got = brc_philox(r[0], r[1], r[2], r[3], r[4], r[5]);
    assert_int_equal(got.x, r[6]);
    assert_int_equal(got.y, r[7]);
    assert_int_equal(got.z, r[8]);
    assert_int_equal(got.w, r[9]);
  }
}

static void test_uniform(void **state) {
  (void)state;
  assert_true(brc_uniform(0) == 0.0f);
  assert_true(brc_uniform(~0u) < 1.0f);
  assert_true(brc_uniform(1u << 31) == 0.5f);
  double sum = 0, squares = 0;
  int n = 1 << 20;
  for (int i = 0; i < n / 4; i++) {
    brc_u4 r = brc_philox((uint32_t)i, 0, 0, 99, 1, 2);
    const uint32_t words[4] = {r.x, r.y, r.z, r.w};
    for (int k = 0; k < 4; k++) {
      double u = brc_uniform(words[k]) - 0.5;
      sum += u, squares += u * u;
    }
  }
  assert_true(fabs(sum / n) < 5 * sqrt(1.0 / 12 / n));
  assert_true(fabs(squares / n - 1.0 / 12) < 5 * sqrt(1.0 / 180 / n));
}

static void test_log_and_sqrt(void **state) {
  (void)state;
  double worst_log = 0, worst_sqrt = 0;
  // Every float in (0, 1] that a radius can start from, in steps prime to the mantissa; and the ones next to 1.
  for (uint32_t k = 1; k <= 1u << 24; k += k < 100000 || k > (1u << 24) - 100000 ? 1 : 37) {
    float u = (float)k * 5.9604644775390625e-8f;
    double exact = log((double)u), l = brc_log_unit(u);
    double error = exact == 0 ? fabs(l) : fabs(l - exact) / fabs(exact);
    if (error > worst_log) worst_log = error;
    float x = (float)(-2 * exact);
    if (x <= 0) continue;
    error = fabs(brc_sqrt_newton(x) / sqrt((double)x) - 1);
    if (error > worst_sqrt) worst_sqrt = error;
  }
  print_message("worst relative error: log %.2e, sqrt %.2e\n", worst_log, worst_sqrt);
  assert_true(worst_log < 3e-7);
  assert_true(worst_sqrt < 2e-7);
  assert_true(brc_log_unit(1.0f) == 0.0f);
}

static void test_normals(void **state) {
  (void)state;
  const double turn = 6.283185307179586477;
  double worst = 0, sums[5] = {0};
  int n = testing_quick() ? 1 << 19 : 1 << 22;
  for (int i = 0; i < n / 2; i++) {
    brc_u4 r = brc_philox((uint32_t)i, 3, 0, BRC_STREAM_TARGET_NOISE, 7, 8);
    brc_f2 z = brc_normal2(r.x, r.y);
    // Box and Muller in double from the same words: the angle's quarter turn is centred, a fixed eighth of a turn on.
    double u = ((r.x >> 8) + 1.0) / 16777216.0;
    double radius = sqrt(-2 * log(u)),
           angle = (double)(r.y >> 30) / 4 + ((double)((r.y >> 6) & 0xffffff) / 16777216.0 - 0.5) / 4;
    double error = fmax(fabs(z.x - radius * cos(turn * angle)), fabs(z.y - radius * sin(turn * angle)));
    if (error > worst) worst = error;
    for (int k = 0; k < 2; k++) {
      double x = k ? z.y : z.x;
      sums[1] += x, sums[2] += x * x, sums[3] += x * x * x, sums[4] += x * x * x * x;
    }
  }
  print_message("worst error of a normal: %.2e\n", worst);
  assert_true(worst < 2e-6);
  // Five standard errors of each moment.
  assert_true(fabs(sums[1] / n) < 5 * sqrt(1.0 / n));
  assert_true(fabs(sums[2] / n - 1) < 5 * sqrt(2.0 / n));
  assert_true(fabs(sums[3] / n) < 5 * sqrt(15.0 / n));
  assert_true(fabs(sums[4] / n - 3) < 5 * sqrt(96.0 / n));
}

// The extremes of both words, and how numbered normals are laid out in blocks.
static void test_normal_layout(void **state) {
  (void)state;
  brc_f2 z = brc_normal2(~0u, 1u << 29);
  assert_true(z.x == 0.0f && z.y == 0.0f);  // u = 1: radius 0
  z = brc_normal2(0, 1u << 29);
  assert_true(fabs(z.x - sqrt(48 * 0.6931471805599453)) < 2e-6);  // u = 2^-24, angle 0
  assert_true(fabs(z.y) < 1e-6);
  brc_u4 r = brc_philox(5, 11, 12, 13, 14, 15);
  const float expected[4] = {brc_normal2(r.x, r.y).x, brc_normal2(r.x, r.y).y, brc_normal2(r.z, r.w).x,
                             brc_normal2(r.z, r.w).y};
  for (uint32_t k = 0; k < 4; k++) assert_true(brc_normal_at(20 + k, 11, 12, 13, 14, 15) == expected[k]);
}

// The bits themselves: a checksum that every compiler, option and machine must reproduce.
static void test_normal_bits(void **state) {
  (void)state;
  uint64_t sum = 0;
  for (uint32_t i = 0; i < 100000; i++) {
    uint32_t bits = brc_float_bits(brc_normal_at(i, 1, 0, BRC_STREAM_INIT, 42, 0));
    sum = (sum ^ bits) * 0x100000001b3ull;
  }
  assert_int_equal(sum, 0x1dad9aee1ccb5523ull);
}

//------------------------ Granted devices ------------------------------------------
// A machine with cards of three vendors, seen by two backends: OpenCL in the drivers' order, Vulkan in another one and with PoCL's
// counterpart. B is what OpenCL's drivers show without a grant.
#define CARD(backend_, index_, vendor_, pci_, uuid_, gib)                                                \
  {                                                                                                      \
    .backend = backend_, .index = index_, .name = "card", .vendor = vendor_, .pci = pci_, .uuid = uuid_, \
    .memory_bytes = (uint64_t)(gib) << 30, .precisions = 1                                               \
  }
#define CPU(backend_, index_)                                                                      \
  {                                                                                                \
    .backend = backend_, .index = index_, .name = "cpu", .vendor = "GenuineIntel", .is_cpu = true, \
    .precisions = 1                                                                                \
  }
static const char u0[] = "aaaa0000-0000-0000-0000-000000000000", u1[] = "aaaa1111-0000-0000-0000-000000000000",
                  u2[] = "bbbb2222-0000-0000-0000-000000000000";
static const brc_device_info machine[] = {
    CARD("opencl", 0, "NVIDIA Corporation", "0000:c1:00.0", "bbbb2222-0000-0000-0000-000000000000", 80),
    CARD("opencl", 1, "NVIDIA Corporation", "0000:3b:00.0", "aaaa0000-0000-0000-0000-000000000000", 24),
    CARD("opencl", 2, "NVIDIA Corporation", "0000:5e:00.0", "aaaa1111-0000-0000-0000-000000000000", 24),
    CARD("opencl", 3, "Advanced Micro Devices, Inc.", "0000:83:00.0", "", 64),
    CARD("opencl", 4, "Advanced Micro Devices, Inc.", "0000:03:00.0", "", 64),
    CPU("opencl", 5),
    CARD("opencl", 6, "Intel(R) Corporation", "0000:9a:00.0", "", 16),
    CARD("vulkan", 0, "AMD", "0000:03:00.0", "00000000-0300-0000-0000-000000000000", 64),
    CARD("vulkan", 1, "NVIDIA", "0000:3b:00.0", "aaaa0000-0000-0000-0000-000000000000", 24),
    CARD("vulkan", 2, "NVIDIA", "0000:5e:00.0", "aaaa1111-0000-0000-0000-000000000000", 24),
    CARD("vulkan", 3, "AMD", "0000:83:00.0", "00000000-8300-0000-0000-000000000000", 64),
    CARD("vulkan", 4, "NVIDIA", "0000:c1:00.0", "bbbb2222-0000-0000-0000-000000000000", 80),
    CARD("vulkan", 5, "Intel", "0000:9a:00.0", "00000000-9a00-0000-0000-000000000000", 16),
    CPU("vulkan", 6)};

// What is picked of these devices when the environment holds "NAME=VALUE;NAME=VALUE".
static int pick(const brc_device_info *d, size_t count, const char *environment, const char *backend, int nth,
                char why[640]) {
  static const char *const names[] = {
#define X(name, vendor) #name,
      BRC_GRANTS(X)
#undef X
  };
  char copy[512], *rest = NULL;
  brc_grants g = {{NULL}};
  snprintf(copy, sizeof copy, "%s", environment);
  for (char *e = strtok_r(copy, ";", &rest); e; e = strtok_r(NULL, ";", &rest)) {
    char *value = strchr(e, '=');
    *value++ = 0;
    size_t i = 0;
    while (strcmp(names[i], e)) i++;
    g.value[i] = value;
  }
  return brc_device_pick(d, count, &g, backend, nth, why, 640);
}

static void test_grants(void **state) {
  (void)state;
  static const struct {
    const char *environment, *backend;
    int nth, want;  // position in `machine`, -1: none
    const char *why;
  } cases[] = {
      {"", NULL, -1, 0, "most memory; no scheduler granted any"},
      {"", "vulkan", -1, 11, "most memory"},
      {"", NULL, 1, 1, "number 1 of 6 GPUs"},
      {"", NULL, 6, -1, "there are fewer GPUs"},
      // Indices count in PCI order: 3b, 5e, c1.
      {"CUDA_VISIBLE_DEVICES=1", NULL, -1, 2, "the only GPU granted by CUDA_VISIBLE_DEVICES=1"},
      {"CUDA_VISIBLE_DEVICES=1", "vulkan", -1, 9, "CUDA_VISIBLE_DEVICES=1"},
      {"CUDA_VISIBLE_DEVICES=0,1", NULL, -1, 1, "the one of 2 GPUs with most memory granted by"},
      {"CUDA_VISIBLE_DEVICES=1,0", NULL, -1, 2, NULL},
      {"CUDA_VISIBLE_DEVICES=1,0", "vulkan", 1, 8, NULL},
      {"CUDA_VISIBLE_DEVICES=0,2", "vulkan", -1, 11, NULL},
      {"CUDA_VISIBLE_DEVICES= 1 , 2", "vulkan", 0, 9, NULL},
      {"CUDA_VISIBLE_DEVICES=0,-1,2", "vulkan", 1, -1, "grants fewer"},
      {"CUDA_VISIBLE_DEVICES=GPU-bbbb2222-0000-0000-0000-000000000000", NULL, -1, 0, NULL},
      {"CUDA_VISIBLE_DEVICES=GPU-aaaa11", "vulkan", -1, 9, NULL},
      {"CUDA_VISIBLE_DEVICES=0000:5E:00.0", "vulkan", -1, 9, NULL},
      // None: no other vendor's card is taken for it, and no CPU by "auto".
      {"CUDA_VISIBLE_DEVICES=", NULL, -1, -1, "CUDA_VISIBLE_DEVICES= grants none"},
      {"CUDA_VISIBLE_DEVICES=-1", NULL, -1, -1, NULL},
      {"CUDA_VISIBLE_DEVICES=NoDevFiles", NULL, -1, -1, NULL},
      {"NVIDIA_VISIBLE_DEVICES=void", "opencl", -1, 5, NULL},
      {"CUDA_VISIBLE_DEVICES=7", NULL, -1, -1, NULL},
      // A container's list, then CUDA's within it; both in the numbering of the machine.
      {"NVIDIA_VISIBLE_DEVICES=all", NULL, -1, 0, NULL},
      {"NVIDIA_VISIBLE_DEVICES=1,2;CUDA_VISIBLE_DEVICES=0", NULL, -1, 2, NULL},
      {"NVIDIA_VISIBLE_DEVICES=2;CUDA_VISIBLE_DEVICES=2", NULL, -1, 0, NULL},
      {"NVIDIA_VISIBLE_DEVICES=0;CUDA_VISIBLE_DEVICES=GPU-bbbb2222", NULL, -1, -1, NULL},
      // AMD's, in PCI order 03, 83; Intel's with a part of a device.
      {"ROCR_VISIBLE_DEVICES=1", NULL, -1, 3, "ROCR_VISIBLE_DEVICES=1"},
      {"ROCR_VISIBLE_DEVICES=0", "vulkan", -1, 7, NULL},
      {"ROCR_VISIBLE_DEVICES=1;HIP_VISIBLE_DEVICES=0", NULL, -1, 3, NULL},
      {"ROCR_VISIBLE_DEVICES=1;GPU_DEVICE_ORDINAL=1", NULL, -1, 3, NULL},
      {"GPU_DEVICE_ORDINAL=0", NULL, -1, 4, NULL},
      {"ZE_AFFINITY_MASK=0.1", NULL, -1, 6, NULL},
      {"ZE_AFFINITY_MASK=0", "vulkan", -1, 12, NULL},
      // Of two vendors at once.
      {"CUDA_VISIBLE_DEVICES=0;ROCR_VISIBLE_DEVICES=0", NULL, -1, 4, NULL},
      {"CUDA_VISIBLE_DEVICES=0;ROCR_VISIBLE_DEVICES=0", NULL, 0, 1, NULL},
  };
  for (size_t i = 0; i < BRC_COUNT(cases); i++) {
    char why[640] = "";
    int got = pick(machine, BRC_COUNT(machine), cases[i].environment, cases[i].backend, cases[i].nth, why);
    if (got != cases[i].want || (cases[i].why && !strstr(why, cases[i].why)))
      fail_msg("case %zu, '%s', %s, %d: picked %d, expected %d (%s); says '%s'", i, cases[i].environment,
               cases[i].backend ? cases[i].backend : "auto", cases[i].nth, got, cases[i].want,
               cases[i].why ? cases[i].why : "", why);
  }
  // OpenCL alone, whose driver has hidden all but the granted card: it is that one, whatever its number on the machine.
  char why[640];
  assert_int_equal(pick(machine + 2, 1, "CUDA_VISIBLE_DEVICES=2", NULL, -1, why), 0);
  assert_int_equal(pick(machine + 1, 2, "CUDA_VISIBLE_DEVICES=1,2", NULL, 1, why), 1);
  assert_int_equal(pick(machine + 1, 2, "NVIDIA_VISIBLE_DEVICES=GPU-ffff,GPU-eeee", NULL, -1, why), 0);
  // Cards without address and UUID: by their number where no other is seen, else only where all are granted.
  brc_device_info nameless[] = {
      CARD("opencl", 0, "NVIDIA Corporation", "", "", 8), CARD("opencl", 1, "NVIDIA Corporation", "", "", 8),
      CARD("vulkan", 0, "NVIDIA", "0000:3b:00.0", "", 8), CARD("vulkan", 1, "NVIDIA", "0000:5e:00.0", "", 8)};
  assert_int_equal(pick(nameless, 2, "CUDA_VISIBLE_DEVICES=1", NULL, -1, why), 1);
  assert_int_equal(pick(nameless, 4, "CUDA_VISIBLE_DEVICES=1", NULL, -1, why), 3);
  assert_int_equal(pick(nameless, 4, "CUDA_VISIBLE_DEVICES=0,1", NULL, -1, why), 0);
  // A card that cannot be used is not taken.
  nameless[0].precisions = 0;
  assert_int_equal(pick(nameless, 2, "", NULL, -1, why), 1);
  assert_int_equal(pick(NULL, 0, "", NULL, -1, why), -1);
  assert_string_equal(why, "there is no GPU");
}

static void test_device_names(void **state) {
  (void)state;
  const size_t n = BRC_COUNT(machine);
  assert_int_equal(brc_device_match(machine, n, NULL, "0000:5E:00.0"), 2);
  assert_int_equal(brc_device_match(machine, n, "vulkan", "5e:00.0"), 9);
  assert_int_equal(brc_device_match(machine, n, "vulkan", "00000000:5E:00.0"), 9);  // as nvidia-smi writes it
  assert_int_equal(brc_device_match(machine, n, "vulkan", u2), 11);
  assert_int_equal(brc_device_match(machine, n, "opencl", "GPU-AAAA0000"), 1);
  assert_int_equal(brc_device_match(machine, n, "opencl", u0), 1);
  assert_int_equal(brc_device_match(machine, n, NULL, u1), 2);
  assert_int_equal(brc_device_match(machine, n, "opencl", "aaaa"), -2);
  assert_int_equal(brc_device_match(machine, n, "opencl", "aaa"), -1);
  assert_int_equal(brc_device_match(machine, n, NULL, "0000:5e:00.1"), -1);
  assert_int_equal(brc_device_match(machine, n, NULL, "no such"), -1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_grants),
      cmocka_unit_test(test_helper),
      cmocka_unit_test(test_device_names),
      cmocka_unit_test(test_fail_stores_the_sentence),
      cmocka_unit_test(test_sentences_are_per_thread),
      cmocka_unit_test(test_status_texts),
      cmocka_unit_test(test_arena),
      cmocka_unit_test(test_alloc_aligned),
      cmocka_unit_test(test_nearest),
      cmocka_unit_test(test_file_round_trip),
      cmocka_unit_test(test_file_appears_only_when_complete),
      cmocka_unit_test(test_file_failures),
      cmocka_unit_test(test_file_special),
      cmocka_unit_test(test_file_full_disk),
      cmocka_unit_test(test_file_two_writers),
      cmocka_unit_test(test_mkdirs),
      cmocka_unit_test(test_folders_of_the_user),
      cmocka_unit_test(test_st_round_trip),
      cmocka_unit_test(test_st_bytes),
      cmocka_unit_test(test_st_writer_refuses),
      cmocka_unit_test(test_st_hostile),
      cmocka_unit_test(test_st_nested),
      cmocka_unit_test(test_st_not_a_file),
      cmocka_unit_test(test_st_truncated),
      cmocka_unit_test(test_st_changed_bytes),
      cmocka_unit_test(test_pool_each_item_once),
      cmocka_unit_test(test_pool_tiny_jobs),
      cmocka_unit_test(test_pool_two_callers),
      cmocka_unit_test(test_pool_sleeps_and_wakes),
      cmocka_unit_test(test_pool_waits_for_all),
      cmocka_unit_test(test_pool_bad_counts),
      cmocka_unit_test(test_philox_known_answers),
      cmocka_unit_test(test_uniform),
      cmocka_unit_test(test_log_and_sqrt),
      cmocka_unit_test(test_normals),
      cmocka_unit_test(test_normal_layout),
      cmocka_unit_test(test_normal_bits),
  };
  return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
