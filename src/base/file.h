// Files: whole-file reads, atomic writes, folders, the places where assets and caches live.
#ifndef BRC_FILE_H
#define BRC_FILE_H
#include "base/base.h"

// Read a whole file; *data is NUL-terminated behind *bytes, free() it. Fails: E_NOT_FOUND, E_IO, E_NOMEM.
brc_status brc_file_read(const char *path, char **data, size_t *bytes);

// A file that appears under its name only when complete: written to PATH.tmp, synced, renamed, folder synced. A link's target is replaced, not
// the link; into a device or a pipe it is written as it comes.
typedef struct brc_file_writer {
  int fd;
  char path[4096], tmp[4096 + 8];
  uint64_t written;
  brc_status status;  // sticky: the first failure
} brc_file_writer;
brc_status brc_file_begin(brc_file_writer *w, const char *path);
brc_status brc_file_write(brc_file_writer *w, const void *data, size_t bytes);
brc_status brc_file_commit(
    brc_file_writer *w);  // on failure the old file is untouched and the temporary one removed
void brc_file_abort(brc_file_writer *w);
// The three above for one block of memory.
brc_status brc_file_write_all(const char *path, const void *data, size_t bytes);

// The file at `path`, made if need be, opened for writing and locked: by nobody else while the descriptor is open, if the file system has
// locks. What a killed process left is taken over. `tries`, 10 ms apart; -1 and errno: EBUSY if another process has it all the time.
int brc_file_lock(const char *path, int tries);

// What `error` (errno of a write) means, and what to do where the file system is full. Static or of strerror.
const char *brc_write_error(int error);

brc_status brc_mkdirs(const char *path);  // like mkdir -p
bool brc_path_exists(const char *path);
void brc_remove_tree(
    const char *path);  // a folder with all in it, or a file; links are not followed, errors ignored
// DIR of `XDG_DATA_HOME`/brc or ~/.local/share/brc, and of BRC_CACHE or ~/.cache/brc (not created).
void brc_data_dir(char *out, size_t bytes);
void brc_cache_dir(char *out, size_t bytes);
#endif
