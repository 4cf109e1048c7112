// Whole-file reads, files that appear only when complete, folders.
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

//------------------------ 1. Read ---------------------------------------------
// Read to the end, whatever the size was said to be: files of /proc claim 0 bytes, others grow.
static brc_status read_to_end(int fd, const char *path, size_t expected, char **data, size_t *bytes) {
  size_t capacity = expected + 1, used = 0;
  char *buffer = malloc(capacity);
  while (buffer) {
    if (used + 1 >= capacity) {
      char *larger = capacity > SIZE_MAX / 2 ? NULL : realloc(buffer, capacity * 2 + 4096);
      if (!larger) break;
      buffer = larger;
      capacity = capacity * 2 + 4096;
    }
    size_t room = capacity - used - 1;
    ssize_t n = read(fd, buffer + used, room < ((size_t)1 << 30) ? room : (size_t)1 << 30);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      int error = errno;
      free(buffer);
      return brc_fail(BRC_E_IO, "cannot read '%s': %s", path, strerror(error));
    }
    if (n == 0) {
      buffer[used] = '\0';
      *data = buffer;
      *bytes = used;
      return BRC_OK;
    }
    used += (size_t)n;
  }
  free(buffer);
  return brc_fail(BRC_E_NOMEM, "no memory to read '%s' (more than %zu bytes)", path, used);
}

brc_status brc_file_read(const char *path, char **data, size_t *bytes) {
  *data = NULL;
  *bytes = 0;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    brc_status code = errno == ENOENT ? BRC_E_NOT_FOUND : BRC_E_IO;
    return brc_fail(code, "cannot open '%s': %s", path, strerror(errno));
  }
  struct stat info;
  size_t expected = 0;
  // One byte more than the size, so that the end is seen without growing the buffer.
  if (fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && (uint64_t)info.st_size < SIZE_MAX / 2)
    expected = (size_t)info.st_size + 1;
  brc_status st = read_to_end(fd, path, expected, data, bytes);
  close(fd);
  return st;
}

//------------------------ 2. Write --------------------------------------------
const char *brc_write_error(int error) {
  return error == ENOSPC   ? "No space left on device: make room on its file system"
         : error == EDQUOT ? "Disk quota exceeded: make room or raise the quota"
                           : strerror(error);
}

static brc_status writer_fail(brc_file_writer *w, const char *what, int error) {
  if (w->fd >= 0) close(w->fd);
  w->fd = -1;
  if (w->tmp[0]) unlink(w->tmp);
  w->tmp[0] = '\0';
  w->status = BRC_E_IO;
  return brc_fail(BRC_E_IO, "cannot %s '%.2000s': %s", what, w->path, brc_write_error(error));
}

static bool is_file_at(int fd, const char *path) {
  struct stat a, b;
  return fstat(fd, &a) == 0 && stat(path, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

int brc_file_lock(const char *path, int tries) {
  for (int i = 0; i < tries; i++) {
    if (i) nanosleep(&(struct timespec){.tv_nsec = 10 * 1000 * 1000}, NULL);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0) return -1;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
      if (is_file_at(fd, path)) return fd;  // else who had it renamed or removed it just now
    } else if (errno != EWOULDBLOCK && errno != EINTR) {
      return fd;  // a file system without locks
    }
    close(fd);
  }
  errno = EBUSY;
  return -1;
}

brc_status brc_file_begin(brc_file_writer *w, const char *path) {
  w->fd = -1;
  w->written = 0;
  w->tmp[0] = '\0';
  w->status = BRC_OK;
  int n = snprintf(w->path, sizeof w->path, "%s", path);
  if (n < 0 || (size_t)n >= sizeof w->path) return writer_fail(w, "write", ENAMETOOLONG);
  if (n == 0) return writer_fail(w, "write", ENOENT);
  struct stat info;
  if (stat(path, &info) == 0) {
    if (S_ISDIR(info.st_mode)) return writer_fail(w, "write", EISDIR);
    if (!S_ISREG(info.st_mode)) {  // a device, a pipe: nothing to put in its place
      w->fd = open(path, O_WRONLY | O_CLOEXEC);
      return w->fd < 0 ? writer_fail(w, "write", errno) : BRC_OK;
    }
    char target[PATH_MAX];  // a link stays one
    if (lstat(path, &info) == 0 && S_ISLNK(info.st_mode) && realpath(path, target)) {
      n = snprintf(w->path, sizeof w->path, "%s", target);
      if (n < 0 || (size_t)n >= sizeof w->path) return writer_fail(w, "write", ENAMETOOLONG);
    }
  }
  char tmp[sizeof w->tmp];
  snprintf(tmp, sizeof tmp, "%s.tmp", w->path);
  w->fd = brc_file_lock(
      tmp,
      200);  // two processes may write the same file (a cache, a tuning file): the second waits up to two seconds
  if (w->fd < 0) return writer_fail(w, "create", errno);
  memcpy(w->tmp, tmp, strlen(tmp) + 1);
  if (ftruncate(w->fd, 0) != 0) return writer_fail(w, "write", errno);
  return BRC_OK;
}

brc_status brc_file_write(brc_file_writer *w, const void *data, size_t bytes) {
  if (w->status) return w->status;
  const char *p = data;
  while (bytes) {
    ssize_t n = write(w->fd, p, bytes < ((size_t)1 << 30) ? bytes : (size_t)1 << 30);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return writer_fail(w, "write", n < 0 ? errno : ENOSPC);
    p += n;
    bytes -= (size_t)n;
    w->written += (uint64_t)n;
  }
  return BRC_OK;
}

// Make the rename itself durable. Some file systems cannot sync a folder; the file is complete either way.
static void sync_folder_of(const char *path) {
  char folder[4096];
  const char *slash = strrchr(path, '/');
  if (!slash) {
    strcpy(folder, ".");
  } else {
    size_t n = slash == path ? 1 : (size_t)(slash - path);
    memcpy(folder, path, n);
    folder[n] = '\0';
  }
  int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  fsync(fd);
  close(fd);
}

brc_status brc_file_commit(brc_file_writer *w) {
  if (w->status) return w->status;
  // Errors of delayed writes (full disk on a network file system) show at the sync.
  if (fsync(w->fd) != 0 && errno != EINVAL && errno != ENOTSUP) return writer_fail(w, "write", errno);
  // Renamed while the lock is held, so that nobody else takes the temporary name before.
  const bool in_place = !w->tmp[0];
  if (!in_place && rename(w->tmp, w->path) != 0) return writer_fail(w, "write", errno);
  w->tmp[0] = '\0';
  int fd = w->fd;
  w->fd = -1;
  close(fd);
  if (!in_place) sync_folder_of(w->path);
  return BRC_OK;
}

void brc_file_abort(brc_file_writer *w) {
  if (w->tmp[0]) unlink(w->tmp);
  if (w->fd >= 0) close(w->fd);
  w->tmp[0] = '\0';
  w->fd = -1;
  if (!w->status) w->status = BRC_E_IO;
}

brc_status brc_file_write_all(const char *path, const void *data, size_t bytes) {
  brc_file_writer w;
  brc_status st = brc_file_begin(&w, path);
  if (!st) st = brc_file_write(&w, data, bytes);
  if (!st) st = brc_file_commit(&w);
  return st;
}

//------------------------ 3. Folders ------------------------------------------
static bool is_folder(const char *path) {
  struct stat info;
  return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

brc_status brc_mkdirs(const char *path) {
  char part[4096];
  size_t n = strlen(path);
  if (n == 0 || n >= sizeof part)
    return brc_fail(BRC_E_IO, "cannot create folder '%.200s': %s", path, strerror(n ? ENAMETOOLONG : ENOENT));
  memcpy(part, path, n + 1);
  for (size_t i = 1; i <= n; i++) {
    if (part[i] != '/' && part[i] != '\0') continue;
    char was = part[i];
    part[i] = '\0';
    if (mkdir(part, 0777) != 0) {
      int error = errno;  // also EROFS or EACCES for a folder that is there
      if (!is_folder(part)) {
        error = error == EEXIST ? ENOTDIR : error;
        return brc_fail(BRC_E_IO, "cannot create folder '%s': %s", part, brc_write_error(error));
      }
    }
    part[i] = was;
  }
  return BRC_OK;
}

bool brc_path_exists(const char *path) {
  struct stat info;
  return stat(path, &info) == 0;
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *at) {
  (void)info, (void)kind, (void)at;
  remove(path);
  return 0;
}

void brc_remove_tree(const char *path) { nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS); }

// `under` below the home folder; /tmp where there is none.
static void home_dir(const char *under, char *out, size_t bytes) {
  const char *home = getenv("HOME");
  struct passwd *user = home && *home ? NULL : getpwuid(getuid());
  if (!home || !*home) home = user && user->pw_dir ? user->pw_dir : "/tmp";
  snprintf(out, bytes, "%s/%s", home, under);
}

void brc_data_dir(char *out, size_t bytes) {
  const char *data = getenv("XDG_DATA_HOME");
  if (data && *data) {
    snprintf(out, bytes, "%s/brc", data);
  } else {
    home_dir(".local/share/brc", out, bytes);
  }
}

void brc_cache_dir(char *out, size_t bytes) {
  const char *cache = getenv("BRC_CACHE");
  if (cache && *cache) {
    snprintf(out, bytes, "%s", cache);
  } else {
    home_dir(".cache/brc", out, bytes);
  }
}
