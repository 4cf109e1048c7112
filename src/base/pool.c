// The thread pool. Workers watch one 64-bit word, the gate: [epoch:32 | open:1 | workers inside:31].
// A run writes the job, then opens the gate under a new epoch; a worker that enters (count + 1, only while open) may
// read the job, takes items from an atomic counter until none is left, and leaves (count - 1). The caller takes items
// too, closes the gate when none is left and waits for the count to fall to zero: a worker that comes late finds
// the gate closed, so it never sees a job half replaced, and a worker that sleeps through a small job costs nothing.
// Idle workers spin for a moment, as the next operation of an update follows within microseconds, then sleep.
#include "base/pool.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GATE_OPEN    ((uint64_t)1 << 31)
#define GATE_INSIDE  (GATE_OPEN - 1)
#define SPIN_S       50e-6
#define MOST_THREADS 4096

struct worker {
  brc_pool *pool;
  pthread_t id;
  uint32_t thread;
};

struct brc_pool {
  // What spinning threads read and write often lies on cache lines of its own.
  _Alignas(64) _Atomic uint64_t gate;
  _Alignas(64) _Atomic uint32_t next;      // the next item; runs past `items` by the number of threads
  _Alignas(64) _Atomic uint32_t sleepers;  // workers asleep or about to be
  _Atomic bool caller_sleeps, stop;

  // The job: written while the gate is closed and nobody is inside.
  brc_pool_fn *fn;
  void *arg;
  uint32_t items;

  int threads;
  double spin_s;
  pthread_mutex_t
      turn;  // held by the caller of a run: others wait, e.g. the trainer while a device's thread computes
  pthread_mutex_t lock;
  pthread_cond_t wake, done;
  struct worker *workers;  // threads - 1
};

static void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

static uint32_t epoch_of(uint64_t gate) { return (uint32_t)(gate >> 32); }
static bool is_new_job(uint64_t gate, uint32_t seen) { return (gate & GATE_OPEN) && epoch_of(gate) != seen; }

//------------------------ 1. Workers ------------------------------------------
static bool wait_ends(brc_pool *p, uint32_t seen) {
  return is_new_job(atomic_load(&p->gate), seen) || atomic_load(&p->stop);
}

// Until there is a job not seen yet, or the pool stops.
static void wait_for_job(brc_pool *p, uint32_t seen) {
  if (p->spin_s > 0) {
    double end = brc_now_s() + p->spin_s;
    do {
      for (int i = 0; i < 64; i++) {
        if (wait_ends(p, seen)) return;
        relax();
      }
    } while (brc_now_s() < end);
  }
  // The count of sleepers goes up before the gate is read again, and the caller reads it after opening the gate
  // (both sequentially consistent): one of the two sees the other, so that no wake-up is lost.
  pthread_mutex_lock(&p->lock);
  atomic_fetch_add(&p->sleepers, 1);
  while (!wait_ends(p, seen)) pthread_cond_wait(&p->wake, &p->lock);
  atomic_fetch_sub(&p->sleepers, 1);
  pthread_mutex_unlock(&p->lock);
}

static bool enter(brc_pool *p, uint32_t *seen) {
  uint64_t gate = atomic_load(&p->gate);
  while (is_new_job(gate, *seen)) {
    if (!atomic_compare_exchange_weak(&p->gate, &gate, gate + 1)) continue;
    *seen = epoch_of(gate);
    return true;
  }
  return false;
}

static void leave(brc_pool *p) {
  uint64_t gate = atomic_fetch_sub(&p->gate, 1) - 1;
  if ((gate & (GATE_OPEN | GATE_INSIDE)) == 0 && atomic_load(&p->caller_sleeps)) {
    pthread_mutex_lock(&p->lock);
    pthread_cond_signal(&p->done);
    pthread_mutex_unlock(&p->lock);
  }
}

static void take_items(brc_pool *p, uint32_t thread) {
  for (uint32_t i; (i = atomic_fetch_add_explicit(&p->next, 1, memory_order_relaxed)) < p->items;)
    p->fn(p->arg, i, thread);
}

static void *worker_main(void *arg) {
  struct worker *w = arg;
  brc_pool *p = w->pool;
  uint32_t seen = 0;
  while (!atomic_load(&p->stop)) {
    wait_for_job(p, seen);
    if (!enter(p, &seen)) continue;
    take_items(p, w->thread);
    leave(p);
  }
  return NULL;
}

//------------------------ 2. Runs ---------------------------------------------
static void open_gate(brc_pool *p, brc_pool_fn *fn, void *arg, uint32_t items) {
  p->fn = fn;
  p->arg = arg;
  p->items = items;
  atomic_store_explicit(&p->next, 0, memory_order_relaxed);
  uint64_t epoch = (uint32_t)(epoch_of(atomic_load(&p->gate)) + 1);
  atomic_store(&p->gate, epoch << 32 | GATE_OPEN);  // publishes the job

  // Wake no more workers than there is work for: the caller takes an item as well.
  uint32_t asleep = atomic_load(&p->sleepers);
  if (asleep) {
    pthread_mutex_lock(&p->lock);
    if (items - 1 >= asleep) {
      pthread_cond_broadcast(&p->wake);
    } else {
      for (uint32_t i = 0; i < items - 1; i++) pthread_cond_signal(&p->wake);
    }
    pthread_mutex_unlock(&p->lock);
  }
}

static bool anyone_inside(brc_pool *p) { return (atomic_load(&p->gate) & GATE_INSIDE) != 0; }

static void close_gate(brc_pool *p) {
  if (!(atomic_fetch_and(&p->gate, ~GATE_OPEN) & GATE_INSIDE)) return;
  if (p->spin_s > 0) {
    double end = brc_now_s() + p->spin_s;
    do {
      for (int i = 0; i < 64; i++) {
        if (!anyone_inside(p)) return;
        relax();
      }
    } while (brc_now_s() < end);
  }
  pthread_mutex_lock(&p->lock);
  atomic_store(&p->caller_sleeps, true);
  while (anyone_inside(p)) pthread_cond_wait(&p->done, &p->lock);
  atomic_store(&p->caller_sleeps, false);
  pthread_mutex_unlock(&p->lock);
}

static void run(brc_pool *p, uint32_t items, brc_pool_fn *fn, void *arg) {
  if (p->threads == 1 || items <= 1) {
    for (uint32_t i = 0; i < items; i++) fn(arg, i, 0);
    return;
  }
  // The counter passes `items` by one per thread: the last few numbers of 2^32 are done first, apart.
  while (items > UINT32_MAX - MOST_THREADS) fn(arg, --items, 0);
  open_gate(p, fn, arg, items);
  take_items(p, 0);
  close_gate(p);
}

void brc_pool_run(brc_pool *p, uint32_t items, brc_pool_fn *fn, void *arg) {
  pthread_mutex_lock(&p->turn);
  run(p, items, fn, arg);
  pthread_mutex_unlock(&p->turn);
}

//------------------------ 3. Create, destroy ----------------------------------
// Cores this process may run on: the affinity mask, whose size is not known beforehand on large machines.
static int allowed_cores(void) {
  for (int cpus = 1024; cpus <= 1 << 20; cpus *= 4) {
    cpu_set_t *set = CPU_ALLOC(cpus);
    if (!set) break;
    size_t bytes = CPU_ALLOC_SIZE(cpus);
    CPU_ZERO_S(bytes, set);
    int got = sched_getaffinity(0, bytes, set), error = errno;
    int count = got == 0 ? CPU_COUNT_S(bytes, set) : 0;
    CPU_FREE(set);
    if (count > 0) return count;
    if (error != EINVAL) break;
  }
  long online = sysconf(_SC_NPROCESSORS_ONLN);
  return online > 0 ? (int)online : 1;
}

// Signals stay with the thread that asked for them: workers block all but those that a thread's own instructions raise, which would
// else end the process before a handler of theirs.
static int start_worker(struct worker *w) {
  sigset_t all, old;
  sigfillset(&all);
  static const int own[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP};
  for (size_t i = 0; i < BRC_COUNT(own); i++) sigdelset(&all, own[i]);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  int error = pthread_create(&w->id, NULL, worker_main, w);
  pthread_sigmask(SIG_SETMASK, &old, NULL);
  return error;
}

static void stop_workers(brc_pool *p, int started) {
  pthread_mutex_lock(&p->lock);
  atomic_store(&p->stop, true);
  pthread_cond_broadcast(&p->wake);
  pthread_mutex_unlock(&p->lock);
  for (int i = 0; i < started; i++) pthread_join(p->workers[i].id, NULL);
  pthread_cond_destroy(&p->done);
  pthread_cond_destroy(&p->wake);
  pthread_mutex_destroy(&p->lock);
  pthread_mutex_destroy(&p->turn);
  free(p->workers);
  free(p);
}

brc_status brc_pool_create(brc_pool **out, int threads) {
  *out = NULL;
  int cores = allowed_cores();
  if (threads == 0) threads = cores < MOST_THREADS ? cores : MOST_THREADS;
  if (threads < 1 || threads > MOST_THREADS)
    return brc_fail(BRC_E_VALUE, "threads: %d is not in 1 to %d (0 takes every core)", threads, MOST_THREADS);

  brc_pool *p = brc_alloc_aligned(sizeof *p, "the thread pool");
  struct worker *workers = calloc((size_t)threads, sizeof *workers);
  if (!p || !workers) {
    free(workers);
    free(p);
    return brc_fail(BRC_E_NOMEM, "no memory for a pool of %d threads", threads);
  }
  p->threads = threads;
  p->workers = workers;
  p->spin_s = threads <= cores ? SPIN_S : 0;  // beside a thread that waits for the core, spinning only delays
  pthread_mutex_init(&p->turn, NULL);
  pthread_mutex_init(&p->lock, NULL);
  pthread_cond_init(&p->wake, NULL);
  pthread_cond_init(&p->done, NULL);

  for (int i = 0; i < threads - 1; i++) {
    workers[i] = (struct worker){.pool = p, .thread = (uint32_t)i + 1};
    int error = start_worker(&workers[i]);
    if (error) {
      stop_workers(p, i);
      return brc_fail(BRC_E_NOMEM, "cannot start thread %d of %d: %s; give fewer with --threads", i + 2,
                      threads, strerror(error));
    }
  }
  *out = p;
  return BRC_OK;
}

void brc_pool_destroy(brc_pool *p) {
  if (p) stop_workers(p, p->threads - 1);
}

int brc_pool_threads(const brc_pool *p) { return p->threads; }
