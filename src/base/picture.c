#include "base/picture.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"

extern char **environ;

//------------------------ 1. PNG ----------------------------------------------
#ifdef BRC_HAVE_PNG
#include <dlfcn.h>
#include <png.h>

brc_status brc_png_write(const char *path, int width, int height, const uint8_t *rgb) {
  void *lib = dlopen("libpng16.so.16", RTLD_NOW | RTLD_LOCAL);
  __typeof__(png_image_write_to_memory) *encode = NULL;
  if (lib) *(void **)&encode = dlsym(lib, "png_image_write_to_memory");
  if (!encode)
    return brc_fail(BRC_E_UNSUPPORTED,
                    "libpng 1.6, which writes PNG files, is not installed (package libpng16-16)");
  png_image image = {.version = PNG_IMAGE_VERSION,
                     .width = (png_uint_32)width,
                     .height = (png_uint_32)height,
                     .format = PNG_FORMAT_RGB};
  png_alloc_size_t bytes = PNG_IMAGE_PNG_SIZE_MAX(image);
  void *file = malloc(bytes);
  brc_status st = file ? BRC_OK : brc_fail(BRC_E_NOMEM, "a picture of %d x %d", width, height);
  if (!st && !encode(&image, file, &bytes, 0, rgb, 0, NULL))
    st = brc_fail(BRC_E_IO, "'%s': %s", path, image.message);
  if (!st) st = brc_file_write_all(path, file, bytes);
  free(file);
  return st;
}
#else
brc_status brc_png_write(const char *path, int width, int height, const uint8_t *rgb) {
  (void)path, (void)width, (void)height, (void)rgb;
  return brc_fail(BRC_E_UNSUPPORTED,
                  "this build has no PNG (libpng's header was missing); run tools/setup and build again");
}
#endif

//------------------------ 2. Video --------------------------------------------
// Frames go over a socket and not over a pipe, so that an ffmpeg that has ended is an error here and no signal.
struct brc_video {
  pid_t ffmpeg;
  int to;
  size_t frame_bytes;
  char path[4096], tmp[4096 + 8];
};

static brc_status start(brc_video *v, int from, int width, int height, double fps) {
  char size[32], rate[32];
  snprintf(size, sizeof size, "%dx%d", width, height);
  snprintf(rate, sizeof rate, "1000000/%.0f", fmax(1, 1e6 / fps));  // a step is a whole number of microseconds
  const char *const words[] = {
      "ffmpeg",  "-loglevel",   "error",   "-nostdin",   "-y",         "-f", "rawvideo", "-pixel_format",
      "rgb24",   "-video_size", size,      "-framerate", rate,         "-i", "pipe:0",   "-c:v",
      "libx264", "-pix_fmt",    "yuv420p", "-movflags",  "+faststart", "-f", "mp4",      v->tmp,
      NULL};
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, from, STDIN_FILENO);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  // A group of its own: Ctrl-C reaches us alone.
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
  int error = posix_spawnp(&v->ffmpeg, "ffmpeg", &actions, &attributes, (char *const *)words, environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  if (error == ENOENT)
    return brc_fail(BRC_E_UNSUPPORTED,
                    "ffmpeg, which makes videos, is not installed (package ffmpeg); a .png needs none");
  return error ? brc_fail(BRC_E_IO, "ffmpeg could not be started: %s", strerror(error)) : BRC_OK;
}

brc_status brc_video_begin(brc_video **out, const char *path, int width, int height, double fps) {
  *out = NULL;
  int ends[2];
  if (width % 2 || height % 2)
    return brc_fail(BRC_E_USAGE, "a video's width and height are even, %dx%d is not", width, height);
  if (!isfinite(fps) || fps <= 0) return brc_fail(BRC_E_VALUE, "a video of %g frames per second", fps);
  brc_video *v = calloc(1, sizeof *v);
  if (!v) return brc_fail(BRC_E_NOMEM, "out of memory");
  snprintf(v->path, sizeof v->path, "%s", path);
  snprintf(v->tmp, sizeof v->tmp, "%s.tmp", v->path);
  v->frame_bytes = (size_t)width * (size_t)height * 3;
  brc_status st = BRC_OK;
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends)) {
    st = brc_fail(BRC_E_IO, "ffmpeg could not be started: %s", strerror(errno));
  } else {
    st = start(v, ends[0], width, height, fps);
    close(ends[0]);
    v->to = ends[1];
    if (st) close(v->to);
  }
  if (st)
    free(v);
  else
    *out = v;
  return st;
}

brc_status brc_video_frame(brc_video *v, const uint8_t *rgb) {
  for (size_t done = 0; done < v->frame_bytes;) {
    ssize_t n = send(v->to, rgb + done, v->frame_bytes - done, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return brc_fail(BRC_E_IO, "ffmpeg could not write '%s' (its own words stand above)", v->path);
    done += (size_t)n;
  }
  return BRC_OK;
}

static int wait_for(pid_t pid) {
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {}
  return status;
}

brc_status brc_video_end(brc_video *v) {
  close(v->to);
  int status = wait_for(v->ffmpeg);
  brc_status st = BRC_OK;
  if (status)
    st = brc_fail(BRC_E_IO, "ffmpeg could not write '%s' (status %d; its own words stand above)", v->path,
                  status);
  else if (rename(v->tmp, v->path))
    st = brc_fail(BRC_E_IO, "'%s' cannot be written: %s", v->path, strerror(errno));
  if (st) unlink(v->tmp);
  free(v);
  return st;
}

void brc_video_abort(brc_video *v) {
  if (!v) return;
  kill(v->ffmpeg, SIGKILL);
  close(v->to);
  wait_for(v->ffmpeg);
  unlink(v->tmp);
  free(v);
}
