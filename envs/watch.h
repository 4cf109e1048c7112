// What each thread does in an environment now, so that one that crashes or hangs is named.
#ifndef BRC_ENV_WATCH_H
#define BRC_ENV_WATCH_H
#include "base/base.h"

// Around a call into an environment, on the thread that makes it. `doing`: "step", "reset" or "creation"; it and `task` must outlive
// the call. Cheap: a few stores, no clock.
void brc_env_watch_enter(const char *task, const char *doing, uint64_t episode, uint64_t step);
void brc_env_watch_leave(void);

// From now on SIGSEGV, SIGBUS, SIGFPE, SIGILL and SIGABRT first tell on stderr which task the thread was in; what follows is what would
// have followed (the process ends by the signal).
void brc_env_watch_crashes(void);

// A thread that looks about: after limit_s in one call it warns on stderr, after ten times that it calls give_up(text), once, which
// should end the process: nothing else ends a call that hangs. Time during which the process is stopped does not count.
brc_status brc_env_watch_start(double limit_s, void (*give_up)(const char *text));
void brc_env_watch_stop(void);  // nothing if it was not started
#endif
