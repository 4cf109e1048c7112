// Gets a suite's files with git: the pinned commit alone, no history, no other folders. All of it happens in a folder of
// its own beside the place where the files shall lie; a rename at the end puts them there.
#include "base/file.h"
#include "envs/env.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define STAGE   ".fetch"  // below the root; whoever holds the lock on STAGE.lock may remove what was left there
#define ORIGIN  "ORIGIN.txt"  // beside the files: repository and commit
#define LICENCE "LICENSE"     // in the repository's root, and beside the files

extern char **environ;

typedef struct fetch {
  const brc_asset_fetch *call;
  const char *url, *commit;
  char root[2048], stage[2100], git[2120], files[2120], log[2120];
  int lock;  // held while >= 0
} fetch;

//------------------------ 1. git ----------------------------------------------
// What git printed last, in one line, for messages.
static void read_log(const fetch *f, char *out, size_t bytes) {
  char *text;
  size_t n;
  snprintf(out, bytes, "no message");
  if (brc_file_read(f->log, &text, &n)) return;
  while (n && (text[n - 1] == '\n' || text[n - 1] == ' ')) text[--n] = '\0';
  const char *tail = n > 600 ? text + n - 600 : text;
  if (*tail) snprintf(out, bytes, "%s", tail);
  for (char *c = out; *c; c++)
    if (*c == '\n') *c = ' ';
  free(text);
}

static brc_status start_git(const fetch *f, char *const *argv, pid_t *pid) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, f->log, O_WRONLY | O_CREAT | O_TRUNC, 0666);
  posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO);
  // A group of its own: a signal to it reaches git's helpers too, and Ctrl-C reaches us alone.
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
  int error = posix_spawnp(pid, "git", &actions, &attributes, argv, environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  if (error == ENOENT)
    return brc_fail(BRC_E_NOT_FOUND,
                    "git, which fetches, is not installed (package git); install it and try again");
  return error ? brc_fail(BRC_E_IO, "git could not be started: %s", strerror(error)) : BRC_OK;
}

// Until git ends, or is ended because somebody asked us to stop.
static brc_status wait_git(const fetch *f, pid_t pid, int *status) {
  bool stopping = false;
  for (;;) {
    pid_t got = waitpid(pid, status, WNOHANG);
    if (got == pid) break;
    if (got < 0 && errno != EINTR) return brc_fail(BRC_E_IO, "git was lost: %s", strerror(errno));
    if (f->call->stop && *f->call->stop && !stopping) {
      stopping = true;
      kill(-pid, SIGTERM);
    }
    nanosleep(&(struct timespec){.tv_nsec = 20 * 1000 * 1000}, NULL);
  }
  if (stopping || (f->call->stop && *f->call->stop))
    return brc_fail(BRC_E_STOPPED, "interrupted; nothing was installed");
  return BRC_OK;
}

// Run `git ARGS...` (up to a NULL) on the repository under way. *ok: it succeeded; else its words are in the log.
static brc_status run_git(const fetch *f, bool *ok, const char *const *args) {
  // Nothing of the user's other repositories, no question that nobody answers, a dead connection given up after a minute.
  const char *const fixed[] = {"git",
                               "--git-dir",
                               f->git,
                               "--work-tree",
                               f->files,
                               "-c",
                               "core.hooksPath=/dev/null",
                               "-c",
                               "core.autocrlf=false",
                               "-c",
                               "http.lowSpeedLimit=1000",
                               "-c",
                               "http.lowSpeedTime=60"};
  char *argv[64];
  size_t n = 0;
  for (; n < BRC_COUNT(fixed); n++) argv[n] = (char *)fixed[n];
  for (; *args && n + 1 < BRC_COUNT(argv); args++) argv[n++] = (char *)*args;
  argv[n] = NULL;
  pid_t pid;
  int status = 0;
  brc_status st = start_git(f, argv, &pid);
  if (!st) st = wait_git(f, pid, &status);
  *ok = !st && WIFEXITED(status) && WEXITSTATUS(status) == 0;
  return st;
}
#define GIT(f, ok, ...) run_git(f, ok, (const char *const[]){__VA_ARGS__, NULL})

// As above; failing is an error that begins with `what`.
static brc_status need_git(const fetch *f, const char *what, const char *const *args) {
  bool ok;
  char words[700];
  brc_status st = run_git(f, &ok, args);
  if (st || ok) return st;
  read_log(f, words, sizeof words);
  return brc_fail(BRC_E_IO, "%s: git says: %s", what, words);
}
#define NEED_GIT(f, what, ...) need_git(f, what, (const char *const[]){__VA_ARGS__, NULL})

//------------------------ 2. Steps --------------------------------------------
static brc_status download(const fetch *f) {
  char what[700];
  snprintf(what, sizeof what, "cannot get commit %.64s of %.500s", f->commit, f->url);
  brc_status st = NEED_GIT(f, "cannot make a repository", "init", "-q");
  if (!st) st = NEED_GIT(f, "cannot make a repository", "remote", "add", "origin", f->url);
  // Without the files' contents, which come with the checkout (next step), if the server can do that; else with all of them.
  if (!st)
    st = NEED_GIT(f, what, "fetch", "-q", "--depth", "1", "--no-tags", "--filter=blob:none", "origin",
                  f->commit);
  return st;
}

static brc_status check_part(const fetch *f, const char *part) {
  char object[512];
  bool ok;
  snprintf(object, sizeof object, "FETCH_HEAD:%s", part);
  brc_status st = GIT(f, &ok, "rev-parse", "-q", "--verify", object);
  return st || ok ? st
                  : brc_fail(BRC_E_FORMAT, "%s has no '%s' in commit %.64s: is this the right repository?",
                             f->url, part, f->commit);
}

// A sparse checkout: read-tree asks for the contents of all its files at once, not one by one.
static brc_status check_out(const fetch *f) {
  const brc_asset_suite *s = f->call->suite;
  char patterns[4096] = "/" LICENCE "\n", path[2200];
  size_t used = strlen(patterns);
  brc_status st = check_part(f, LICENCE);
  for (size_t i = 0; !st && i < BRC_COUNT(s->parts) && s->parts[i]; i++) {
    char part[256];
    snprintf(part, sizeof part, "%s/%s", s->inside, s->parts[i]);
    st = check_part(f, part);
    used += (size_t)snprintf(patterns + used, sizeof patterns - used, "/%s\n", part);
  }
  snprintf(path, sizeof path, "%s/info", f->git);
  if (!st) st = brc_mkdirs(path);
  snprintf(path, sizeof path, "%s/info/sparse-checkout", f->git);
  if (!st) st = brc_file_write_all(path, patterns, used);
  if (!st) st = NEED_GIT(f, "cannot make a repository", "config", "core.sparseCheckout", "true");
  return st ? st : NEED_GIT(f, "cannot get the files", "read-tree", "-m", "-u", "FETCH_HEAD");
}

// The commit's full name, from FETCH_HEAD's first word.
static brc_status read_commit(const fetch *f, char *out, size_t bytes) {
  char path[2200], *text;
  size_t n;
  snprintf(path, sizeof path, "%s/FETCH_HEAD", f->git);
  brc_status st = brc_file_read(path, &text, &n);
  if (st) return st;
  snprintf(out, bytes, "%.*s", (int)strspn(text, "0123456789abcdef"), text);
  free(text);
  return BRC_OK;
}

// The licence and where it all came from, into the folder that will be installed.
static brc_status complete(const fetch *f, const char *folder, const char *commit) {
  char from[2200], to[2500], text[1024];
  snprintf(from, sizeof from, "%s/" LICENCE, f->files);
  snprintf(to, sizeof to, "%s/" LICENCE, folder);
  if (rename(from, to) != 0) return brc_fail(BRC_E_IO, "cannot write '%s': %s", to, strerror(errno));
  snprintf(to, sizeof to, "%s/" ORIGIN, folder);
  int n = snprintf(text, sizeof text, "repository %.500s\ncommit %s\nfolder %s\n", f->url, commit,
                   f->call->suite->inside);
  return brc_file_write_all(to, text, (size_t)n);
}

// The folder takes its name; an earlier one steps aside first, and back if that fails.
static brc_status install(const fetch *f, const char *folder, const char *path) {
  char old[2200];
  snprintf(old, sizeof old, "%s/old", f->stage);
  bool had = brc_path_exists(path);
  if (had && rename(path, old) != 0)
    return brc_fail(BRC_E_IO, "cannot replace '%s': %s", path, strerror(errno));
  if (rename(folder, path) == 0) return BRC_OK;
  int error = errno;
  if (had) rename(old, path);
  return brc_fail(BRC_E_IO, "cannot install '%s': %s", path, strerror(error));
}

//------------------------ 3. The whole ----------------------------------------
// Words that git would take for options, and places that are no names of commits.
static brc_status check_words(const fetch *f) {
  if (!*f->url || *f->url == '-') return brc_fail(BRC_E_USAGE, "'%s' is no repository", f->url);
  size_t n = strlen(f->commit);
  if (!n || *f->commit == '-' ||
      strspn(f->commit, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ._/-") != n)
    return brc_fail(BRC_E_USAGE, "'%s' is no commit", f->commit);
  return BRC_OK;
}

// What lies there already: nothing, the same (*already), an older one of ours, or somebody's own, which is left alone.
static brc_status look_there(const fetch *f, const char *path, bool *already) {
  char origin[4200], *text;
  size_t n;
  *already = false;
  if (!brc_path_exists(path)) return BRC_OK;
  snprintf(origin, sizeof origin, "%s/" ORIGIN, path);
  if (brc_file_read(origin, &text, &n))
    return brc_fail(BRC_E_USAGE,
                    "'%s' is there and did not come from 'brc assets fetch'; move it away, or name another "
                    "folder with --to",
                    path);
  char commit[128];
  snprintf(commit, sizeof commit, "\ncommit %.64s\n", f->commit);
  *already = strstr(text, commit) != NULL;
  free(text);
  return BRC_OK;
}

// One at a time per root; what a killed one left is removed.
static brc_status take_lock(fetch *f) {
  char path[2200];
  brc_status st = brc_mkdirs(f->root);
  if (st) return st;
  snprintf(path, sizeof path, "%s.lock", f->stage);
  f->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (f->lock < 0) return brc_fail(BRC_E_IO, "cannot write '%s': %s", path, strerror(errno));
  if (flock(f->lock, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    close(f->lock);
    f->lock = -1;
    return brc_fail(BRC_E_IO, "another 'brc assets fetch' is at work in '%s'; wait for it", f->root);
  }
  brc_remove_tree(f->stage);
  return brc_mkdirs(f->files);
}

static brc_status fetch_suite(fetch *f, brc_asset_fetched *out) {
  char folder[2400];
  snprintf(folder, sizeof folder, "%s/%s", f->files, f->call->suite->inside);
  brc_status st = download(f);
  if (!st) st = check_out(f);
  if (!st) st = read_commit(f, out->commit, sizeof out->commit);
  if (!st) st = complete(f, folder, out->commit);
  return st ? st : install(f, folder, out->path);
}

static void clean_environment(void) {
  // Set by git for its hooks; they would lead it to another repository.
  static const char *const names[] = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY",
                                      "GIT_PREFIX"};
  for (size_t i = 0; i < BRC_COUNT(names); i++) unsetenv(names[i]);
  setenv("GIT_TERMINAL_PROMPT", "0", 1);
  setenv("LC_ALL", "C", 1);
}

brc_status brc_assets_fetch(const brc_asset_fetch *call, brc_asset_fetched *out) {
  const brc_asset_suite *s = call->suite;
  memset(out, 0, sizeof *out);
  if (!s->url) return brc_fail(BRC_E_USAGE, "'%s' is not fetched with git: run %s", s->name, s->how_to_get);
  fetch f = {.call = call,
             .url = call->url ? call->url : s->url,
             .commit = call->commit ? call->commit : s->commit,
             .lock = -1};
  char data[2048];
  brc_data_dir(data, sizeof data);
  snprintf(f.root, sizeof f.root, "%s", call->to ? call->to : data);
  snprintf(f.stage, sizeof f.stage, "%s/" STAGE, f.root);
  snprintf(f.git, sizeof f.git, "%s/git", f.stage);
  snprintf(f.files, sizeof f.files, "%s/files", f.stage);
  snprintf(f.log, sizeof f.log, "%s/log", f.stage);
  snprintf(out->path, sizeof out->path, "%s/%s", f.root, s->name);
  snprintf(out->licence, sizeof out->licence, "%s/" LICENCE, out->path);
  snprintf(out->commit, sizeof out->commit, "%s", f.commit);
  brc_status st = check_words(&f);
  if (!st) st = look_there(&f, out->path, &out->already);
  if (!st && !out->already) {
    clean_environment();
    st = take_lock(&f);
    if (!st) st = fetch_suite(&f, out);
    if (f.lock >= 0) {
      brc_remove_tree(f.stage);
      close(f.lock);
    }
  }
  return st ? brc_fail_prefix(st, "%s: ", s->name) : BRC_OK;
}
