#include "envs/watch.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

//------------------------ 1. Records ------------------------------------------
// One thread's. Written by it alone; read by its own signal handler and by the watchdog.
typedef struct record {
  _Alignas(64) _Atomic uint64_t serial;  // odd inside of a call
  const char *_Atomic task, *_Atomic doing;
  _Atomic uint64_t episode, step;
  void *stack;  // for signals: that of a thread may be what has run over
} record;

enum { RECORDS = 4352, STACK_BYTES = 32768 };  // threads: the pool's most, and some
static record records[RECORDS];
static _Atomic uint32_t claimed;
static _Thread_local record *mine;
static atomic_bool crashes_watched;

static void give_stack(record *r) {
  stack_t has;
  if (r->stack || !atomic_load(&crashes_watched)) return;
  if (!sigaltstack(NULL, &has) && !(has.ss_flags & SS_DISABLE)) return;  // a sanitizer's
  r->stack = malloc(STACK_BYTES);
  if (r->stack) sigaltstack(&(stack_t){.ss_sp = r->stack, .ss_size = STACK_BYTES}, NULL);
}

// Threads beyond the table are not watched.
static record *claim(void) {
  if (!mine && atomic_load(&claimed) < RECORDS) {
    const uint32_t i = atomic_fetch_add(&claimed, 1);
    if (i < RECORDS) mine = &records[i];
  }
  if (mine) give_stack(mine);
  return mine;
}

void brc_env_watch_enter(const char *task, const char *doing, uint64_t episode, uint64_t step) {
  record *r = claim();
  if (!r) return;
  atomic_store_explicit(&r->task, task, memory_order_relaxed);
  atomic_store_explicit(&r->doing, doing, memory_order_relaxed);
  atomic_store_explicit(&r->episode, episode, memory_order_relaxed);
  atomic_store_explicit(&r->step, step, memory_order_relaxed);
  atomic_fetch_add_explicit(&r->serial, 1, memory_order_release);
}

void brc_env_watch_leave(void) {
  if (mine) atomic_fetch_add_explicit(&mine->serial, 1, memory_order_release);
}

//------------------------ 2. Text, without what a signal handler may not call --
typedef struct text {
  char s[512];
  size_t n;
} text;
static void put(text *t, const char *s) {
  while (*s && t->n + 1 < sizeof t->s) t->s[t->n++] = *s++;
  t->s[t->n] = 0;
}
static void put_number(text *t, uint64_t x) {
  char digits[24], *at = digits + sizeof digits - 1;
  *at = 0;
  do *--at = (char)('0' + x % 10);
  while (x /= 10);
  put(t, at);
}

// "task 'walker-run', episode 3, step 17"
static void put_where(text *t, record *r) {
  put(t, "task '");
  put(t, atomic_load_explicit(&r->task, memory_order_relaxed));
  put(t, "', ");
  const uint64_t step = atomic_load_explicit(&r->step, memory_order_relaxed);
  const char *doing = atomic_load_explicit(&r->doing, memory_order_relaxed);
  if (strcmp(doing, "creation") != 0) {
    put(t, "episode ");
    put_number(t, atomic_load_explicit(&r->episode, memory_order_relaxed));
    put(t, ", ");
  }
  put(t, doing);
  if (!step) return;
  put(t, " ");
  put_number(t, step);
}

//------------------------ 3. Crashes ------------------------------------------
static const struct {
  int number;
  const char *name;
} fatal[] = {
    {SIGSEGV, "SIGSEGV"}, {SIGBUS, "SIGBUS"}, {SIGFPE, "SIGFPE"}, {SIGILL, "SIGILL"}, {SIGABRT, "SIGABRT"}};
static struct sigaction before[BRC_COUNT(fatal)];

static void on_crash(int number, siginfo_t *info, void *context) {
  (void)context;
  text t = {.n = 0};
  size_t i = 0;
  while (i + 1 < BRC_COUNT(fatal) && fatal[i].number != number) i++;
  put(&t, "brc: ");
  put(&t, fatal[i].name);
  if (mine && (atomic_load(&mine->serial) & 1)) {
    put(&t, " in an environment: ");
    put_where(&t, mine);
  } else {
    put(&t, " outside of the environments");
  }
  put(&t, "\n");
  if (write(STDERR_FILENO, t.s, t.n) < 0) {}
  sigaction(number, &before[i], NULL);
  // An instruction that failed fails again; a signal that was sent is sent again, and comes when this one is done.
  if (info->si_code <= 0) raise(number);
}

void brc_env_watch_crashes(void) {
  if (atomic_exchange(&crashes_watched, true)) return;
  struct sigaction action = {.sa_sigaction = on_crash, .sa_flags = SA_SIGINFO | SA_ONSTACK};
  for (size_t i = 0; i < BRC_COUNT(fatal); i++) sigaction(fatal[i].number, &action, &before[i]);
  claim();
}

//------------------------ 4. Hangs --------------------------------------------
static struct {
  pthread_t id;
  pthread_mutex_t lock;
  pthread_cond_t wake;
  bool running, stop;
  double limit_s, every_s;
  void (*give_up)(const char *text);
} dog = {.lock = PTHREAD_MUTEX_INITIALIZER};

// What the watchdog knows of a record.
typedef struct seen {
  uint64_t serial;
  double since_s;
  bool warned;
} seen;

// Text of a call that is still the one with this serial number; false if it has ended meanwhile.
static bool describe(record *r, uint64_t serial, text *t) {
  put_where(t, r);
  atomic_thread_fence(memory_order_acquire);
  return atomic_load(&r->serial) == serial;
}

static void look(record *r, seen *s, double passed_s) {
  const uint64_t serial = atomic_load_explicit(&r->serial, memory_order_acquire);
  if (serial != s->serial || !(serial & 1)) {
    *s = (seen){.serial = serial};
    return;
  }
  s->since_s += passed_s;
  const bool over = s->since_s >= 10 * dog.limit_s;
  if (s->since_s < dog.limit_s || (s->warned && !over)) return;
  text where = {.n = 0};
  char line[700];
  if (!describe(r, serial, &where)) return;
  if (over) {
    snprintf(line, sizeof line,
             "%s has taken more than %.3g s and is taken to hang; the last checkpoint is kept", where.s,
             10 * dog.limit_s);
    dog.stop = true;
    dog.give_up(line);
  } else {
    fprintf(stderr, "brc: %s has been taking %.3g s and goes on (--env-timeout %.3g)\n", where.s, s->since_s,
            dog.limit_s);
  }
  s->warned = true;
}

static void *watch(void *arg) {
  seen *known = arg;
  double last = brc_now_s();
  pthread_mutex_lock(&dog.lock);
  while (!dog.stop) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    const double end = (double)until.tv_nsec * 1e-9 + dog.every_s;
    until.tv_sec += (time_t)end;
    until.tv_nsec = (long)((end - (double)(time_t)end) * 1e9);
    pthread_cond_timedwait(&dog.wake, &dog.lock, &until);
    const double now = brc_now_s(), passed = now - last < 2 * dog.every_s ? now - last : 2 * dog.every_s;
    last = now;
    const uint32_t n = atomic_load(&claimed) < RECORDS ? atomic_load(&claimed) : RECORDS;
    for (uint32_t i = 0; !dog.stop && i < n; i++) look(&records[i], &known[i], passed);
  }
  pthread_mutex_unlock(&dog.lock);
  free(known);
  return NULL;
}

brc_status brc_env_watch_start(double limit_s, void (*give_up)(const char *text)) {
  brc_env_watch_stop();
  seen *known = calloc(RECORDS, sizeof *known);
  if (!known) return brc_fail(BRC_E_NOMEM, "out of memory for the watch over environments");
  dog.limit_s = limit_s;
  dog.every_s = limit_s / 10 < 1 ? limit_s / 10 : 1;
  dog.give_up = give_up;
  dog.stop = false;
  pthread_condattr_t monotonic;
  pthread_condattr_init(&monotonic);
  pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
  pthread_cond_init(&dog.wake, &monotonic);
  pthread_condattr_destroy(&monotonic);
  sigset_t all, old;  // signals are for the thread that asked for them
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  const int error = pthread_create(&dog.id, NULL, watch, known);
  pthread_sigmask(SIG_SETMASK, &old, NULL);
  dog.running = !error;
  if (!error) return BRC_OK;
  free(known);
  return brc_fail(BRC_E_NOMEM, "cannot start the thread that watches environments: %s", strerror(error));
}

void brc_env_watch_stop(void) {
  if (!dog.running) return;
  pthread_mutex_lock(&dog.lock);
  dog.stop = true;
  pthread_cond_signal(&dog.wake);
  pthread_mutex_unlock(&dog.lock);
  pthread_join(dog.id, NULL);
  pthread_cond_destroy(&dog.wake);
  dog.running = false;
}
