#include "train/progress.h"
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { FEW = 4 };  // tasks shown one by one; more as a mean
static const double terminal_every_s = 0.5, plain_every_s = 10, mark_every_s = 1;

typedef struct line {
  char text[1024];
  size_t n;
} line;
static void put(line *l, const char *fmt, ...) BRC_PRINTF(2, 3);
static void put(line *l, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  int n = vsnprintf(l->text + l->n, sizeof l->text - l->n, fmt, ap);
  va_end(ap);
  if (n > 0) l->n = l->n + (size_t)n < sizeof l->text ? l->n + (size_t)n : sizeof l->text - 1;
}

//------------------------ 1. Speed --------------------------------------------------
static void mark(brc_progress *p, double now) {
  size_t slots = BRC_COUNT(p->at_s), last = p->marks ? (p->marks - 1) % slots : 0;
  if (p->marks && now - p->at_s[last] < mark_every_s) return;
  p->at_s[p->marks % slots] = now;
  p->at_step[p->marks++ % slots] = p->trainer->loop.step;
}

// Since the oldest mark: the random steps at the start are quick and soon out of the window.
static double steps_per_s(const brc_progress *p, double now) {
  size_t slots = BRC_COUNT(p->at_s), oldest = p->marks > slots ? p->marks % slots : 0;
  double s = now - p->at_s[oldest];
  return s > 0 ? (double)(p->trainer->loop.step - p->at_step[oldest]) / s : 0;
}

//------------------------ 2. The line -----------------------------------------------
static void put_head(line *l, const brc_progress *p) {
  const brc_trainer *t = p->trainer;
  double rate = steps_per_s(p, brc_now_s()), left = (double)t->config.steps - (double)t->loop.step;
  put(l, "step %llu/%lld  %.*f steps/s", (unsigned long long)t->loop.step, (long long)t->config.steps,
      rate < 10 ? 1 : 0, rate);
  double s = rate > 0 ? left / rate : 0;
  if (rate > 0) put(l, "  ETA %.0f:%02d:%02d", (double)(long)(s / 3600), (int)(s / 60) % 60, (int)s % 60);
  if (t->loop.updates_done) put(l, "  alpha %.3g", t->loop.metrics[BRC_METRIC_temperature]);
}

// Per task, or the mean over those that have a value. `eval` NULL: the newest episodes of training.
static void put_returns(line *l, const brc_trainer *t, const brc_eval_result *eval) {
  size_t n = t->config.task_count, known = 0;
  double sum = 0;
  put(l, "  %s", eval ? "evaluation" : "return");
  for (size_t i = 0; i < n; i++) {
    if (!eval && !(t->stats[i].total.episodes > 0)) continue;
    double x = eval ? eval[i].return_mean : t->stats[i].last_return;
    if (n > 1 && n <= FEW) put(l, "%s %s", known ? "," : "", t->config.tasks[i]->name);
    if (n <= FEW) put(l, " %.4g", x);
    sum += x;
    known++;
  }
  if (!known) put(l, " -");
  if (known && n > FEW) put(l, " %.4g (mean of %zu tasks)", sum / (double)known, known);
}

// On a terminal no longer than it is wide: a line that wraps could not be written over.
static void show(brc_progress *p, line *l, bool keep) {
  struct winsize size = {0};
  if (p->terminal && !keep && !ioctl(STDERR_FILENO, TIOCGWINSZ, &size) && size.ws_col > 1 &&
      l->n >= size.ws_col)
    l->text[size.ws_col - 1] = 0;
  fprintf(stderr, "%s%s%s", p->terminal ? "\r\033[K" : "", l->text, p->terminal && !keep ? "" : "\n");
  fflush(stderr);
  p->open = p->terminal && !keep;
  p->shown_s = brc_now_s();
}

//------------------------ 3. When ---------------------------------------------------
void brc_progress_begin(brc_progress *p, const brc_trainer *t) {
  *p = (brc_progress){.trainer = t, .terminal = isatty(STDERR_FILENO), .shown_s = brc_now_s()};
  mark(p, p->shown_s);
}

void brc_progress_step(brc_progress *p) {
  if (p->trainer->config.quiet) return;
  double now = brc_now_s();
  mark(p, now);
  if (now - p->shown_s < (p->terminal ? terminal_every_s : plain_every_s)) return;
  line l = {0};
  put_head(&l, p);
  put_returns(&l, p->trainer, NULL);
  show(p, &l, false);
}

void brc_progress_eval(brc_progress *p, const brc_eval_result *eval) {
  if (p->trainer->config.quiet) return;
  line l = {0};
  put_head(&l, p);
  put_returns(&l, p->trainer, eval);
  show(p, &l, true);
}

void brc_progress_end(brc_progress *p) {
  if (p->open) fprintf(stderr, "\n");
  p->open = false;
}
