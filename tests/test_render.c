// Pictures: PNG files read back by libpng, videos by ffmpeg, neither of which wrote what it reads here through our code alone;
// `brc render` with every kind of OpenGL that is here.
#include <cjson/cJSON.h>
#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/picture.h"
#include "check.h"
#include "envs/env.h"
#include "envs/mujoco/render.h"
#include "run_brc.h"
#include "testing.h"

static run_result r;

//------------------------ 1. Reading back --------------------------------------
typedef struct pixels {
  int width, height, frames;
  uint8_t *rgb;
} pixels;

#ifdef BRC_HAVE_PNG
#include <png.h>

static pixels read_png(const char *path) {
  void *lib = dlopen("libpng16.so.16", RTLD_NOW | RTLD_LOCAL);
  __typeof__(png_image_begin_read_from_file) *begin = NULL;
  __typeof__(png_image_finish_read) *finish = NULL;
  if (lib) *(void **)&begin = dlsym(lib, "png_image_begin_read_from_file");
  if (lib) *(void **)&finish = dlsym(lib, "png_image_finish_read");
  assert_non_null(begin);
  assert_non_null(finish);
  png_image image = {.version = PNG_IMAGE_VERSION};
  if (!begin(&image, path)) fail_msg("%s: %s", path, image.message);
  assert_int_equal(image.format & PNG_FORMAT_FLAG_ALPHA, 0);
  image.format = PNG_FORMAT_RGB;
  pixels p = {(int)image.width, (int)image.height, 1, malloc(PNG_IMAGE_SIZE(image))};
  if (!finish(&image, NULL, p.rgb, 0, NULL)) fail_msg("%s: %s", path, image.message);
  return p;
}

static bool have_png(void) {
  void *lib = dlopen("libpng16.so.16", RTLD_NOW | RTLD_LOCAL);
  if (!lib) testing_skip("PNG files: libpng16 is not installed");
  return lib;
}
#else
static pixels read_png(const char *path) { return (void)path, (pixels){0}; }
static bool have_png(void) {
  testing_skip("PNG files: this build has none (no png.h)");
  return false;
}
#endif

static bool have_ffmpeg(void) {
  if (system("ffmpeg -version > /dev/null 2>&1") == 0) return true;
  testing_skip("videos: ffmpeg is not installed");
  return false;
}

static pixels read_video(const char *path, int width, int height) {
  char line[1200];
  size_t frame = (size_t)width * (size_t)height * 3, room = 64 * frame;
  pixels p = {width, height, 0, malloc(room)};
  snprintf(line, sizeof line, "ffmpeg -loglevel error -i '%s' -f rawvideo -pix_fmt rgb24 -vsync passthrough -",
           path);
  FILE *f = popen(line, "r");
  size_t bytes = fread(p.rgb, 1, room, f);
  assert_int_equal(pclose(f), 0);
  assert_int_equal(bytes % frame, 0);  // the size is the right one
  p.frames = (int)(bytes / frame);
  return p;
}

// Worst difference of two frames' channels.
static int difference(const uint8_t *a, const uint8_t *b, size_t bytes) {
  int worst = 0;
  for (size_t i = 0; i < bytes; i++)
    if (abs(a[i] - b[i]) > worst) worst = abs(a[i] - b[i]);
  return worst;
}

static int colours(const pixels *p) {
  static uint8_t seen[1 << 24];
  int count = 0;
  memset(seen, 0, sizeof seen);
  for (int i = 0; i < p->width * p->height; i++) {
    const uint8_t *c = p->rgb + 3 * i;
    uint8_t *s = &seen[c[0] << 16 | c[1] << 8 | c[2]];
    count += !*s;
    *s = 1;
  }
  return count;
}

//------------------------ 2. Files ----------------------------------------------
// Corners, sides and odd sizes: nothing is flipped, shifted or padded.
static void test_png(void **state) {
  (void)state;
  static const int sizes[][2] = {{1, 1}, {7, 3}, {64, 33}};
  if (!have_png()) return;
  for (size_t k = 0; k < BRC_COUNT(sizes); k++) {
    int w = sizes[k][0], h = sizes[k][1];
    size_t bytes = (size_t)w * (size_t)h * 3;
    uint8_t *rgb = malloc(bytes);
    for (size_t i = 0; i < bytes; i++) rgb[i] = (uint8_t)testing_below(256);
    const char *path = check_path("a.png");
    check_ok(brc_png_write(path, w, h, rgb));
    pixels p = read_png(path);
    assert_int_equal(p.width, w);
    assert_int_equal(p.height, h);
    assert_memory_equal(p.rgb, rgb, bytes);
    free(p.rgb);
    free(rgb);
  }
  uint8_t one[3] = {0};
  check_fails(BRC_E_IO, "/dev/null/a.png", brc_png_write("/dev/null/a.png", 1, 1, one));
}

enum { W = 32, H = 16, FRAME = W * H * 3 };

// Frame k: upper half red, lower half of brightness 40 k.
static void paint(uint8_t *rgb, int k) {
  for (int i = 0; i < W * H; i++) {
    bool upper = i < W * H / 2;
    rgb[3 * i] = upper ? 220 : (uint8_t)(40 * k);
    rgb[3 * i + 1] = rgb[3 * i + 2] = upper ? 20 : (uint8_t)(40 * k);
  }
}

static void test_video(void **state) {
  (void)state;
  enum { FRAMES = 5 };
  uint8_t rgb[FRAME];
  brc_video *v;
  if (!have_ffmpeg()) return;
  const char *path = check_path("a.mp4");
  check_ok(brc_video_begin(&v, path, W, H, 66.6666666));
  for (int k = 0; k < FRAMES; k++) {
    paint(rgb, k);
    check_ok(brc_video_frame(v, rgb));
  }
  assert_false(brc_path_exists(path));  // not before it is whole
  check_ok(brc_video_end(v));
  pixels p = read_video(path, W, H);
  assert_int_equal(p.frames, FRAMES);
  for (int k = 0; k < FRAMES; k++) {
    paint(rgb, k);
    // 24: H.264 is lossy and halves the resolution of colour, which shows at the border of red and grey only: leave that out.
    assert_true(difference(p.rgb + k * FRAME, rgb, FRAME * 3 / 8) < 24);
    assert_true(difference(p.rgb + k * FRAME + FRAME * 5 / 8, rgb + FRAME * 5 / 8, FRAME * 3 / 8) < 24);
  }
  free(p.rgb);

  // What failed or was given up leaves the older file alone, and nothing beside it.
  char *before, *after, tmp[600];
  size_t bytes, bytes2;
  snprintf(tmp, sizeof tmp, "%s.tmp", path);
  check_ok(brc_file_read(path, &before, &bytes));
  check_ok(brc_video_begin(&v, path, W, H, 30));
  check_ok(brc_video_frame(v, rgb));
  brc_video_abort(v);
  check_ok(brc_file_read(path, &after, &bytes2));
  assert_int_equal(bytes, bytes2);
  assert_memory_equal(before, after, bytes);
  assert_false(brc_path_exists(tmp));
  free(before);
  free(after);
  check_fails(BRC_E_USAGE, "even", brc_video_begin(&v, path, 31, 16, 30));
  check_fails(BRC_E_VALUE, "frames per second", brc_video_begin(&v, path, W, H, INFINITY));

  // ffmpeg ends before we do: an error, no signal.
  brc_status st = brc_video_begin(&v, "/dev/null/a.mp4", W, H, 30);
  for (int k = 0; !st && k < 10000; k++) st = brc_video_frame(v, rgb);
  check_fails(BRC_E_IO, "ffmpeg could not write '/dev/null/a.mp4'", st);
  brc_video_abort(v);
}

//------------------------ 3. brc render -----------------------------------------
static bool have_task(const char *name) {
  const brc_env_def *d = brc_env_find(name);
  char path[4096];
  if (d && !brc_assets_find(&(brc_assets){0}, d->asset, path, sizeof path)) return true;
  testing_skip("pictures of %s: its model is not here", name);
  return false;
}

// `brc render WORDS`; false: this kind of OpenGL is not here, which is skipped by name.
static bool render(const char *gl, const char *words) {
  run_brc(&r, NULL, "render %s --gl %s", words, gl);
  if (r.status == 1 && strstr(r.err, "drawing needs OpenGL")) {
    testing_skip("pictures by %s: it is not installed", gl);
    return false;
  }
  if (r.status) fail_msg("brc render %s: %s", words, r.err);
  return true;
}

static pixels picture(const char *words, const char *gl) {
  char line[1024];
  const char *path = check_path("picture.png");
  snprintf(line, sizeof line, "%s --out %s", words, path);
  return render(gl, line) ? read_png(path) : (pixels){0};
}

// Mean row of what has the cart's and pole's colour, tan.
static double tan_row(const pixels *p) {
  double sum = 0, count = 0;
  for (int i = 0; i < p->width * p->height; i++) {
    const uint8_t *c = p->rgb + 3 * i;
    if (c[0] < c[2] + 60) continue;
    sum += i / p->width;
    count++;
  }
  assert_true(count > 20);
  return sum / count;
}

static void picture_case(const char *gl) {
  pixels start = picture("cartpole-swingup --size 161x120", gl);
  if (!start.rgb) return;
  assert_int_equal(start.width, 161);
  assert_int_equal(start.height, 120);
  assert_true(colours(&start) > 200);  // floor, sky with stars, rail, cart, pole, shadows
  size_t bytes = 161 * 120 * 3;
  pixels again = picture("cartpole-swingup --size 161x120", gl);
  assert_memory_equal(start.rgb, again.rgb, bytes);
  pixels later = picture("cartpole-swingup --size 161x120 --steps 30", gl);
  assert_true(difference(start.rgb, later.rgb, bytes) > 60);
  pixels other = picture("cartpole-swingup --size 161x120 --camera free", gl);
  assert_true(difference(start.rgb, other.rgb, bytes) > 60);
  pixels seed = picture("cartpole-swingup --size 161x120 --steps 30 --seed 1", gl);
  assert_true(difference(later.rgb, seed.rgb, bytes) > 60);
  // The right way up: a pole hangs below the cart in one task and stands above it in the other.
  pixels up = picture("cartpole-balance --size 161x120", gl);
  assert_true(tan_row(&up) < tan_row(&start) - 10);
  pixels *all[] = {&start, &again, &later, &other, &seed, &up};
  for (size_t i = 0; i < BRC_COUNT(all); i++) free(all[i]->rgb);
}

static void test_pictures(void **state) {
  (void)state;
  if (!have_png() || !have_task("cartpole-swingup")) return;
  picture_case("egl");
  picture_case("osmesa");
}

// A texture that is missing is drawn grey, as everywhere.
static void test_missing_texture(void **state) {
  (void)state;
  if (!have_png() || !have_task("h1hand-push-v0")) return;
  pixels p = picture("h1hand-push-v0 --size 64x48", "auto");
  if (p.rgb) assert_true(colours(&p) > 50);
  free(p.rgb);
}

static void test_videos(void **state) {
  (void)state;
  if (!have_ffmpeg() || !have_task("cartpole-swingup")) return;
  const char *path = check_path("c.mp4");
  char line[1024];
  snprintf(line, sizeof line, "cartpole-swingup --size 64x48 --steps 90 --every 30 --json --out %s", path);
  if (!render("auto", line)) return;
  cJSON *o = cJSON_Parse(r.out);
  assert_non_null(o);
  assert_true(cJSON_GetObjectItem(o, "frames")->valuedouble == 4);  // the start and three more
  // A control step of cartpole is 0.01 s.
  assert_true(fabs(cJSON_GetObjectItem(o, "fps")->valuedouble - 1 / 0.3) < 1e-6);
  assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(o, "policy")), "random");
  cJSON_Delete(o);
  pixels p = read_video(path, 64, 48);
  assert_int_equal(p.frames, 4);
  for (int k = 1; k < 4; k++) assert_true(difference(p.rgb, p.rgb + k * 64 * 48 * 3, 64 * 48 * 3) > 20);
  free(p.rgb);
  // Without ffmpeg on the path.
  run_brc(&r, "PATH=/nonexistent", "render %s", line);
  assert_int_equal(r.status, 1);
  if (!strstr(r.err, "(package ffmpeg)")) fail_msg("%s", r.err);
}

static double number(const char *key) {
  cJSON *o = cJSON_Parse(r.out);
  if (!o) fail_msg("%s%s", r.out, r.err);
  double x = cJSON_GetNumberValue(cJSON_GetObjectItem(o, key));
  cJSON_Delete(o);
  return x;
}

// A run's policy, of one of its tasks.
static void test_run(void **state) {
  (void)state;
  if (!have_png() || !have_task("cartpole-swingup")) return;
  const char *run = check_path("run"), *path = check_path("run.png");
  run_brc(&r, NULL,
          "train probe-padding-a cartpole-swingup --backend host --width 16 --actor-width 16 --batch 16 "
          "--start 20 --steps "
          "40 --eval-interval 0 --quiet --run %s",
          run);
  if (r.status) fail_msg("%s", r.err);
  run_brc(&r, NULL, "render %s --out %s", run, path);
  assert_int_equal(r.status, 2);
  if (!strstr(r.err, "probe-padding-a, cartpole-swingup")) fail_msg("%s", r.err);
  run_brc(&r, NULL, "render %s --out %s --task cartpole-balance", run, path);
  assert_int_equal(r.status, 2);
  static const char *const policies[] = {"mean", "zero", "random"};
  double returns[3];
  for (int k = 0; k < 3; k++) {
    char line[2048];
    snprintf(line, sizeof line,
             "%s --out %s --task cartpole-swingup --backend host --json --steps 200 --policy %s", run, path,
             policies[k]);
    if (!render("auto", line)) return;
    returns[k] = number("return");
    if (k == 0) assert_true(number("env_steps") == 40);
  }
  assert_true(returns[0] != returns[1] && returns[1] != returns[2] && returns[0] != returns[2]);
}

static void test_bad_words(void **state) {
  (void)state;
  static const struct {
    int status;
    const char *line, *says;
  } cases[] = {
      {2, "", "which task or run"},
      {1, "cartpole-swingap", "did you mean 'cartpole-swingup'"},
      {2, "dmc-dogs", "choose one with --task: dog-stand"},
      {1, "probe-action --out a.png", "there is nothing to see"},
      {2, "cartpole-swingup --out a.gif", "neither in .png nor in .mp4"},
      {2, "cartpole-swingup --size 640", "--size: '640'"},
      {2, "cartpole-swingup --size 640x0", "--size: '640x0'"},
      {2, "cartpole-swingup --policy mean", "random and zero"},
      {2, "cartpole-swingup --steps 0 --out a.mp4", "at least one"},
  };
  for (size_t i = 0; i < BRC_COUNT(cases); i++) {
    run_brc(&r, NULL, "render %s", cases[i].line);
    if (r.status != cases[i].status || !strstr(r.err, cases[i].says))
      fail_msg("brc render %s: status %d, %s", cases[i].line, r.status, r.err);
  }
  if (!have_task("cartpole-swingup")) return;
  run_brc(&r, "BRC_EGL_LIB=/nonexistent/libEGL.so.1", "render cartpole-swingup --gl egl --out %s",
          check_path("n.png"));
  assert_int_equal(r.status, 1);
  if (!strstr(r.err, "libegl1") || !strstr(r.err, "/nonexistent/libEGL.so.1")) fail_msg("%s", r.err);
  run_brc(&r, NULL, "render cartpole-swingup --camera no-such --out %s", check_path("n.png"));
  assert_int_equal(r.status, 1);
  if (!strstr(r.err, "there is no camera 'no-such'; there are: free, 0 fixed")) fail_msg("%s", r.err);
}

//------------------------ 4. Drawing changes nothing ------------------------------
static void test_drawing_is_looking(void **state) {
  (void)state;
  enum { STEPS = 20 };
  if (!have_task("dog-run")) return;
  const brc_env_def *def = brc_env_find("dog-run");
  brc_env *env[2];
  double *obs[2];
  float *action = calloc((size_t)def->act_dim, sizeof *action);
  for (int k = 0; k < 2; k++) {
    obs[k] = calloc((size_t)def->obs_dim, sizeof **obs);
    check_ok(brc_env_create(&env[k], def, &(brc_assets){0}));
    check_ok(brc_env_reset(env[k], 3, 0, obs[k]));
  }
  brc_mj_renderer *renderer;
  uint8_t rgb[FRAME];
  brc_status st = brc_mj_renderer_create(&renderer, def->simulation(env[0]),
                                         &(brc_mj_render_options){.width = W, .height = H});
  if (st == BRC_E_UNSUPPORTED) {
    testing_skip("drawing between steps: %s", brc_error());
  } else {
    check_ok(st);
    for (int i = 0; i < STEPS; i++) {
      brc_env_result result[2];
      for (int j = 0; j < def->act_dim; j++) action[j] = (float)testing_uniform(-1, 1);
      check_ok(brc_mj_renderer_draw(renderer, rgb));
      for (int k = 0; k < 2; k++) check_ok(brc_env_step(env[k], action, obs[k], &result[k]));
      assert_true(result[0].reward == result[1].reward);
      assert_memory_equal(obs[0], obs[1], (size_t)def->obs_dim * sizeof **obs);
    }
    brc_mj_renderer_free(renderer);
  }
  for (int k = 0; k < 2; k++) {
    brc_env_destroy(env[k]);
    free(obs[k]);
  }
  free(action);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_png),       cmocka_unit_test(test_video),
      cmocka_unit_test(test_pictures),  cmocka_unit_test(test_missing_texture),
      cmocka_unit_test(test_videos),    cmocka_unit_test(test_run),
      cmocka_unit_test(test_bad_words), cmocka_unit_test(test_drawing_is_looking)};
  return testing_finish(cmocka_run_group_tests_name("render", tests, NULL, NULL));
}
