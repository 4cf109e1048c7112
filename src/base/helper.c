#include "base/helper.h"
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

struct brc_helper {
  pthread_t id;
  pthread_mutex_t lock;
  pthread_cond_t changed;
  brc_helper_fn *fn;  // to do or being done; NULL: nothing
  void *arg;
  bool stop;
  brc_status status;
  char error[1024];  // sentences are kept per thread
};

static void *helper_main(void *arg) {
  brc_helper *h = arg;
  pthread_mutex_lock(&h->lock);
  for (;;) {
    while (!h->fn && !h->stop) pthread_cond_wait(&h->changed, &h->lock);
    if (!h->fn) break;
    pthread_mutex_unlock(&h->lock);
    brc_status st = h->fn(h->arg);
    pthread_mutex_lock(&h->lock);
    h->status = st;
    if (st) snprintf(h->error, sizeof h->error, "%s", brc_error());
    h->fn = NULL;
    pthread_cond_signal(&h->changed);
  }
  pthread_mutex_unlock(&h->lock);
  return NULL;
}

brc_status brc_helper_create(brc_helper **out) {
  *out = NULL;
  brc_helper *h = calloc(1, sizeof *h);
  if (!h) return brc_fail(BRC_E_NOMEM, "out of memory for a thread");
  pthread_mutex_init(&h->lock, NULL);
  pthread_cond_init(&h->changed, NULL);
  // Signals are for the main thread.
  sigset_t all, was;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &was);
  bool failed = pthread_create(&h->id, NULL, helper_main, h) != 0;
  pthread_sigmask(SIG_SETMASK, &was, NULL);
  if (failed) {
    pthread_cond_destroy(&h->changed);
    pthread_mutex_destroy(&h->lock);
    free(h);
    return brc_fail(BRC_E_NOMEM, "a thread could not be started");
  }
  *out = h;
  return BRC_OK;
}

void brc_helper_destroy(brc_helper *h) {
  if (!h) return;
  pthread_mutex_lock(&h->lock);
  h->stop = true;
  pthread_cond_signal(&h->changed);
  pthread_mutex_unlock(&h->lock);
  pthread_join(h->id, NULL);
  pthread_cond_destroy(&h->changed);
  pthread_mutex_destroy(&h->lock);
  free(h);
}

void brc_helper_start(brc_helper *h, brc_helper_fn *fn, void *arg) {
  pthread_mutex_lock(&h->lock);
  h->fn = fn;
  h->arg = arg;
  pthread_cond_signal(&h->changed);
  pthread_mutex_unlock(&h->lock);
}

brc_status brc_helper_join(brc_helper *h) {
  pthread_mutex_lock(&h->lock);
  while (h->fn) pthread_cond_wait(&h->changed, &h->lock);
  pthread_mutex_unlock(&h->lock);
  return h->status ? brc_fail(h->status, "%s", h->error) : BRC_OK;
}
