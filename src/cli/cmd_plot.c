// brc plot: learning curves, drawn by gnuplot.
#include "base/file.h"
#include "base/options.h"
#include "cli/cli.h"
#include "train/published.h"
#include "train/results.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

typedef struct plot_options {
  char out[BRC_TEXT], column[BRC_TEXT], published[BRC_TEXT], reference[BRC_TEXT];
  double until;
  bool each;
} plot_options;

// Legible for the colour-blind, and apart in print (Okabe and Ito 2008, black and yellow left out).
static const char *const colours[] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00"};
static const struct {
  const char *name, *label, *colour;
  int dash;
} methods[] = {{"singletask", "published, single-task", "#666666", 2},
               {"multitask", "published, multi-task", "#222222", 4}};

//------------------------ 1. What is drawn ----------------------------------------
typedef struct curve {
  brc_point *points;
  size_t count;
} curve;
typedef struct panel {
  const char *task;                     // NULL: the column alone
  curve *groups;                        // [group_count]
  curve published[BRC_COUNT(methods)];  // no points: not there
} panel;
typedef struct figure {
  const brc_result_set *set;
  const plot_options *options;
  panel *panels;
  size_t count, columns;
  double last_step;                                                // where the axes end
  int width, height, top, key_columns, panel_width, panel_height;  // pixels
} figure;

// Curves of the method that the runs use, or those that were asked for.
static bool wants_method(const figure *f, size_t method) {
  const char *asked = f->options->published;
  if (strcmp(asked, "auto")) return !strcmp(asked, "both") || !strcmp(asked, methods[method].name);
  for (size_t i = 0; i < f->set->count; i++)
    if ((f->set->runs[i]->task_count > 1) == (method == 1)) return true;
  return false;
}

static brc_status add_published(const figure *f, panel *p, const char *root) {
  brc_status st = BRC_OK;
  for (size_t m = 0; !st && m < BRC_COUNT(methods); m++) {
    brc_published x;
    if (!wants_method(f, m)) continue;
    st = brc_published_read(&x, root, p->task, f->options->column, m == 1);
    if (st == BRC_E_NOT_FOUND) {
      st = BRC_OK;
      continue;
    }
    if (!st) st = brc_published_curve(&x, &p->published[m].points, &p->published[m].count);
    brc_published_free(&x);
  }
  return st;
}

static bool has_values(const panel *p, size_t groups) {
  for (size_t k = 0; k < groups; k++)
    if (p->groups[k].count) return true;
  return false;
}

static void free_panel(panel *p, size_t groups) {
  for (size_t k = 0; p->groups && k < groups; k++) free(p->groups[k].points);
  for (size_t m = 0; m < BRC_COUNT(methods); m++) free(p->published[m].points);
  free(p->groups);
  *p = (panel){0};
}

// A panel without any value of one's own is left out.
static brc_status add_panel(figure *f, const char *task, const char *root) {
  panel *p = &f->panels[f->count++];
  size_t n = f->set->group_count;
  p->task = task;
  p->groups = calloc(n, sizeof *p->groups);
  brc_status st = p->groups ? BRC_OK : brc_fail(BRC_E_NOMEM, "out of memory");
  for (size_t i = 0; !st && i < n; i++)
    st = brc_group_curve(&f->set->groups[i], f->options->column, task, &p->groups[i].points,
                         &p->groups[i].count);
  if (!st && root && task && task != BRC_ALL_TASKS) st = add_published(f, p, root);
  if (!st && !has_values(p, n)) free_panel(&f->panels[--f->count], n);
  return st;
}

// A mean over tasks can be compared only between runs of the same tasks.
static bool all_have(const brc_result_set *s, size_t tasks) {
  for (size_t i = 0; i < s->count; i++)
    if (s->runs[i]->task_count != tasks) return false;
  return true;
}

static brc_status collect(figure *f) {
  const plot_options *o = f->options;
  char root[4096];
  const char **tasks = NULL;
  size_t count = 0;
  bool per_task;
  bool published = strcmp(o->published, "none") && brc_published_root(o->reference, root, sizeof root);
  brc_status st = brc_results_column(f->set, o->column, &per_task);
  if (!st) st = brc_results_tasks(f->set, &tasks, &count);
  f->panels = calloc(count + 2, sizeof *f->panels);
  if (!st && !f->panels) st = brc_fail(BRC_E_NOMEM, "out of memory");
  if (!st && !per_task) st = add_panel(f, NULL, NULL);
  for (size_t i = 0; !st && per_task && i < count; i++) st = add_panel(f, tasks[i], published ? root : NULL);
  if (!st && per_task && count > 1 && all_have(f->set, count)) st = add_panel(f, BRC_ALL_TASKS, NULL);
  if (!st && !f->count) st = brc_fail(BRC_E_NOT_FOUND, "column '%s' has no value yet", o->column);
  free(tasks);
  return st;
}

static void free_figure(figure *f) {
  for (size_t i = 0; i < f->count; i++) free_panel(&f->panels[i], f->set->group_count);
  free(f->panels);
}

//------------------------ 2. gnuplot's script -------------------------------------
// In gnuplot's single quotes a quote is written twice.
static void quoted(FILE *f, const char *text) {
  fputc('\'', f);
  for (; *text; text++) {
    if (*text == '\'') fputc('\'', f);
    if ((unsigned char)*text >= ' ') fputc(*text, f);
  }
  fputc('\'', f);
}

// step, mean, lower and upper end of the interval; the mean for both where there is none.
static void write_data(FILE *f, const curve *c, const char *name, size_t at, size_t k) {
  if (!c->count) return;
  fprintf(f, "$%s_%zu_%zu << END\n", name, at, k);
  for (size_t i = 0; i < c->count; i++) {
    const brc_point *p = &c->points[i];
    double half = isnan(p->value.half) ? 0 : p->value.half;
    fprintf(f, "%.15g %.9g %.9g %.9g\n", p->step, p->value.mean, p->value.mean - half, p->value.mean + half);
  }
  fprintf(f, "END\n");
}

static bool is_shown(const figure *f, size_t method) {
  for (size_t i = 0; i < f->count; i++)
    if (f->panels[i].published[method].count) return true;
  return false;
}

static void group_label(const brc_result_group *g, char *out, size_t bytes) {
  snprintf(out, bytes, g->count > 1 ? "%s (%zu runs)" : "%s", g->label, g->count);
}

static bool has_band(const figure *f) {
  bool any = is_shown(f, 0) || is_shown(f, 1);
  for (size_t k = 0; k < f->set->group_count; k++) any |= f->set->groups[k].count > 1;
  return any;
}

// The key, above the panels: a plot of its own, as wide as the picture, of entries without data.
static void write_key(FILE *f, const figure *x) {
  fprintf(f,
          "set lmargin at screen 0\nset rmargin at screen 1\nset tmargin at screen 1\nset bmargin at screen 0\n"
          "unset border\nunset tics\nset xrange [0:1]\nset yrange [0:1]\n"
          "set key at screen 0.5,%.5f center top horizontal maxcols %d samplen 2.5\nplot NaN notitle",
          1 - 6.0 / x->height, x->key_columns);
  for (size_t k = 0; k < x->set->group_count; k++) {
    char label[400];
    group_label(&x->set->groups[k], label, sizeof label);
    fprintf(f, ", NaN with lines lw 2 lc rgb '%s' title ", colours[k % BRC_COUNT(colours)]);
    quoted(f, label);
  }
  for (size_t m = 0; m < BRC_COUNT(methods); m++)
    if (is_shown(x, m))
      fprintf(f, ", NaN with lines lw 2 dt %d lc rgb '%s' title '%s'", methods[m].dash, methods[m].colour,
              methods[m].label);
  fprintf(f, "\nunset key\nunset label\n");
}

static void write_band(FILE *f, const curve *c, const char *name, size_t at, size_t k, const char *colour) {
  if (!c->count) return;
  fprintf(f,
          ", $%s_%zu_%zu using 1:3:4 with filledcurves lc rgb '%s' fs transparent solid 0.18 noborder notitle",
          name, at, k, colour);
}

// Few evaluations are marked one by one.
static void write_line(FILE *f, const curve *c, const char *name, size_t at, size_t k, const char *colour,
                       int dash) {
  if (!c->count) return;
  fprintf(f, ", $%s_%zu_%zu using 1:2 with %s dt %d lw 2 lc rgb '%s' notitle", name, at, k,
          c->count <= 30 && dash == 1 ? "linespoints pt 7 ps 0.5" : "lines", dash, colour);
}

static void widen(const curve *c, double *least, double *most) {
  for (size_t i = 0; i < c->count; i++) {
    double half = isnan(c->points[i].value.half) ? 0 : c->points[i].value.half;
    *least = fmin(*least, c->points[i].value.mean - half);
    *most = fmax(*most, c->points[i].value.mean + half);
  }
}

// Returns and rates begin at 0 where no mean is below it; a constant gets some room.
static void write_value_range(FILE *f, const figure *x, const panel *p) {
  const char *column = x->options->column;
  bool zero = !strncmp(column, "eval_", 5) || !strncmp(column, "train_", 6);
  double least = INFINITY, most = -INFINITY;
  for (size_t k = 0; k < x->set->group_count; k++) {
    widen(&p->groups[k], &least, &most);
    for (size_t i = 0; i < p->groups[k].count; i++) zero &= p->groups[k].points[i].value.mean >= 0;
  }
  for (size_t m = 0; m < BRC_COUNT(methods); m++) widen(&p->published[m], &least, &most);
  double room = most > least ? 0.04 * (most - least) : most != 0 ? 0.1 * fabs(most) : 1;
  fprintf(f, "set yrange [%.9g:%.9g]\n", zero ? 0 : least - room, most + room);
}

// Marks of the axis of steps at 1, 2 or 5 times a power of ten, written short: 500k, 1.5M.
static void write_step_tics(FILE *f, double last) {
  double apart = pow(10, floor(log10(last / 4)));
  if (last / apart > 20)
    apart *= 5;
  else if (last / apart > 8)
    apart *= 2;
  fprintf(f, "set xrange [0:%.15g]\nset xtics nomirror (", last);
  for (int i = 0; i * apart <= last * (1 + 1e-9); i++) {
    double x = i * apart;
    const char *unit = x >= 1e9 ? "G" : x >= 1e6 ? "M" : x >= 1e3 ? "k" : "";
    double scale = x >= 1e9 ? 1e9 : x >= 1e6 ? 1e6 : x >= 1e3 ? 1e3 : 1;
    fprintf(f, "%s'%g%s' %.15g", i ? ", " : "", x / scale, unit, x);
  }
  fprintf(f, ")\n");
}

// Pixels around the panels' axes. The axes' names stand at the left and at the bottom only.
enum { LEFT = 84, RIGHT = 28, TITLE = 30, BESIDE = 62, TICS = 40, BOTTOM = 76, KEY_LINE = 22, LETTER = 8 };

// How many entries of the key fit side by side, and how high it gets.
static void lay_out_key(figure *f) {
  size_t longest = 0, entries = f->set->group_count;
  for (size_t k = 0; k < f->set->group_count; k++) {
    char label[400];
    group_label(&f->set->groups[k], label, sizeof label);
    if (strlen(label) > longest) longest = strlen(label);
  }
  for (size_t m = 0; m < BRC_COUNT(methods); m++) {
    if (!is_shown(f, m)) continue;
    entries++;
    if (strlen(methods[m].label) > longest) longest = strlen(methods[m].label);
  }
  f->key_columns = f->width / (int)(LETTER * longest + 70);
  if (f->key_columns < 1) f->key_columns = 1;
  f->top = 12 + KEY_LINE * (((int)entries + f->key_columns - 1) / f->key_columns);
}

static double last_step(const curve *c) { return c->count ? c->points[c->count - 1].step : 0; }

static void lay_out(figure *f) {
  f->columns = f->count <= 3 ? f->count : (size_t)ceil(sqrt((double)f->count));
  size_t rows = (f->count + f->columns - 1) / f->columns;
  f->panel_width = f->count == 1 ? 760 : f->columns <= 3 ? 400 : 280;
  f->panel_height = f->panel_width * 5 / 8 - (f->count == 1 ? 75 : 0);
  f->width = LEFT + (int)f->columns * (f->panel_width + BESIDE) - BESIDE + RIGHT;
  lay_out_key(f);
  f->height = f->top + (int)rows * (f->panel_height + TITLE + TICS) - TICS + BOTTOM;
  f->last_step = f->options->until;
  for (size_t i = 0; !(f->options->until > 0) && i < f->count; i++) {
    const panel *p = &f->panels[i];
    for (size_t k = 0; k < f->set->group_count; k++)
      f->last_step = fmax(f->last_step, last_step(&p->groups[k]));
    for (size_t m = 0; m < BRC_COUNT(methods); m++)
      f->last_step = fmax(f->last_step, last_step(&p->published[m]));
  }
}

static void write_panel(FILE *f, const figure *x, size_t i) {
  const panel *p = &x->panels[i];
  size_t column = i % x->columns, row = i / x->columns;
  double left = LEFT + (double)column * (x->panel_width + BESIDE),
         above = x->top + TITLE + (double)row * (x->panel_height + TITLE + TICS);
  fprintf(f, "set lmargin at screen %.5f\nset rmargin at screen %.5f\n", left / x->width,
          (left + x->panel_width) / x->width);
  fprintf(f, "set tmargin at screen %.5f\nset bmargin at screen %.5f\nset title ", 1 - above / x->height,
          1 - (above + x->panel_height) / x->height);
  quoted(f, p->task ? p->task : "");
  if (!column) {  // not with `set ylabel`, whose place depends on the marks' width
    fprintf(f, "\nset label ");
    quoted(f, x->options->column);
    fprintf(f, " at screen %.5f,%.5f center rotate by 90", 18.0 / x->width,
            1 - (above + x->panel_height / 2.0) / x->height);
  }
  fprintf(f, "\nset xlabel '%s'\n", i + x->columns >= x->count ? "environment steps per task" : "");
  write_value_range(f, x, p);
  fprintf(f, "plot NaN notitle");
  // Bands below, lines above; one's own above the published.
  for (size_t m = 0; m < BRC_COUNT(methods); m++)
    write_band(f, &p->published[m], "published", i, m, methods[m].colour);
  for (size_t k = 0; k < x->set->group_count; k++)
    write_band(f, &p->groups[k], "group", i, k, colours[k % BRC_COUNT(colours)]);
  for (size_t m = 0; m < BRC_COUNT(methods); m++)
    write_line(f, &p->published[m], "published", i, m, methods[m].colour, methods[m].dash);
  for (size_t k = 0; k < x->set->group_count; k++)
    write_line(f, &p->groups[k], "group", i, k, colours[k % BRC_COUNT(colours)], 1);
  fprintf(f, "\nunset label\n");
}

static void write_script(FILE *f, const figure *x, const char *path, bool svg) {
  fprintf(f, "set terminal %s size %d,%d font '%s' noenhanced\nset output ",
          svg ? "svg background '#ffffff'" : "pngcairo", x->width, x->height,
          svg ? "sans-serif,13" : "sans,11");
  quoted(f, path);
  fprintf(f, "\n");
  for (size_t i = 0; i < x->count; i++) {
    for (size_t k = 0; k < x->set->group_count; k++) write_data(f, &x->panels[i].groups[k], "group", i, k);
    for (size_t m = 0; m < BRC_COUNT(methods); m++)
      write_data(f, &x->panels[i].published[m], "published", i, m);
  }
  fprintf(f, "set multiplot\n");
  if (has_band(x))  // how it was made
    fprintf(f,
            "set label 'mean over runs; band: 95%% interval of the mean (Student t)' at screen %.5f,%.5f right "
            "font ',9' tc rgb '#777777'\n",
            1 - (double)RIGHT / x->width, 14.0 / x->height);
  write_key(f, x);
  fprintf(f, "set grid lc rgb '#dddddd' lt 1\nset border 3 lc rgb '#444444'\nset ytics nomirror\n");
  write_step_tics(f, x->last_step);
  for (size_t i = 0; i < x->count; i++) write_panel(f, x, i);
  fprintf(f, "unset multiplot\nunset output\n");
}

//------------------------ 3. gnuplot ----------------------------------------------
static bool on_path(const char *program) {
  const char *path = getenv("PATH");
  while (path && *path) {
    size_t n = strcspn(path, ":");
    char full[4096];
    snprintf(full, sizeof full, "%.*s/%s", (int)n, path, program);
    if (n && !access(full, X_OK)) return true;
    path += n + (path[n] == ':');
  }
  return false;
}

// Drawn beside the picture's place and renamed, so that a failure leaves an older picture alone.
static brc_status draw(const figure *x, const char *path) {
  const char *dot = strrchr(path, '.');
  bool svg = dot && !strcasecmp(dot, ".svg");
  char tmp[BRC_TEXT + 8];
  if (!svg && (!dot || strcasecmp(dot, ".png")))
    return brc_fail(BRC_E_USAGE, "option --out: '%s' ends neither in .png nor in .svg", path);
  if (!on_path("gnuplot"))
    return brc_fail(BRC_E_UNSUPPORTED,
                    "gnuplot, which draws, is not installed (package gnuplot-nox); tools/setup installs it");
  snprintf(tmp, sizeof tmp, "%s.tmp", path);
  FILE *probe = fopen(tmp, "w");
  if (!probe) return brc_fail(BRC_E_IO, "'%s' cannot be written: %s", path, strerror(errno));
  fclose(probe);
  FILE *f = popen("gnuplot", "w");
  if (!f) return brc_fail(BRC_E_IO, "gnuplot could not be started: %s", strerror(errno));
  write_script(f, x, tmp, svg);
  bool bad = ferror(f) != 0;
  int status = pclose(f);
  if (bad || status || rename(tmp, path)) {
    unlink(tmp);
    return brc_fail(BRC_E_IO, "gnuplot could not draw '%s' (status %d; its own words stand above)", path,
                    status);
  }
  return BRC_OK;
}

//------------------------ 4. The command ------------------------------------------
// Without --out: among the run's own plots, or, of several runs, here.
static brc_status choose_out(const brc_result_set *s, plot_options *o) {
  if (*o->out) return BRC_OK;
  char name[BRC_TEXT], folder[BRC_TEXT + 8] = ".";
  snprintf(name, sizeof name, "%s", o->column);
  for (char *c = name; *c; c++) *c = *c == '/' ? '-' : *c;
  if (s->count == 1) snprintf(folder, sizeof folder, "%s/plots", s->runs[0]->path);
  brc_status st = s->count == 1 ? brc_mkdirs(folder) : BRC_OK;
  snprintf(o->out, sizeof o->out, "%.700s/%.300s.png", folder, name);
  return st;
}

static const char usage[] =
    "usage: brc plot RUNS... [options]\n\n"
    "RUNS is a run folder, several with commas between, or a quoted shell pattern. Runs that differ in nothing "
    "but seed,\n"
    "length and machine make one curve: the mean at every step over the runs that have a value there, and as a "
    "band its\n"
    "95% interval, mean +- t(n-1) s / sqrt(n). LABEL=RUNS makes one curve of these runs, with this label:\n"
    "  brc plot before='runs/old-*' after='runs/new-*' --out curves.svg\n"
    "Every task has its panel, runs of the same tasks a last one with the mean over tasks (of whole runs: "
    "tasks of one\n"
    "run are not independent). Published curves are looked for in --reference, BRC_REFERENCE, "
    "BRC_SHARED/reference/curves\n"
    "and ../shared/reference/curves.\n";

brc_status brc_cmd_plot(int argc, char **argv) {
  plot_options o;
  const brc_option rows[] = {
      {"out", BRC_OPT_TEXT, offsetof(plot_options, out), 0, 0, "", NULL,
       "the picture, .png or .svg; default: COLUMN.png in the run's plots/, or here if there are several runs"},
      {"column", BRC_OPT_TEXT, offsetof(plot_options, column), 0, 0, "eval_return", NULL,
       "column of log.csv (without /TASK) or train.csv"},
      {"published", BRC_OPT_TEXT, offsetof(plot_options, published), 0, 0, "auto",
       "auto|none|singletask|multitask|both", "published curves; auto: of the method that the runs use"},
      {"reference", BRC_OPT_TEXT, offsetof(plot_options, reference), 0, 0, "", NULL,
       "folder with the published curves, SUITE/METHOD/TASK.npy"},
      {"until", BRC_OPT_REAL, offsetof(plot_options, until), 0, 1e15, "0", NULL,
       "last step of the axes; 0: the last of any curve"},
      {"each", BRC_OPT_FLAG, offsetof(plot_options, each), 0, 0, "false", NULL, "a curve for every run"}};
  brc_option_set set = {.tables = {{rows, BRC_COUNT(rows), &o, "Options"}}, .count = 1};
  if (brc_cli_help(argc, argv, usage)) {
    brc_options_help(&set);
    return BRC_OK;
  }
  const char *words[1024];
  size_t count;
  brc_result_set runs;
  brc_options_default(&set);
  brc_status st = brc_options_parse(&set, argc, argv, words, BRC_COUNT(words), &count, NULL);
  if (!st && !count) st = brc_fail(BRC_E_USAGE, "which runs? usage: brc plot RUNS...");
  if (!st) st = brc_results_select(&runs, words, count, o.each ? BRC_BY_RUN : BRC_BY_CONFIGURATION);
  if (st) return st;
  figure f = {.set = &runs, .options = &o};
  st = collect(&f);
  if (!st) lay_out(&f);
  if (!st) st = choose_out(&runs, &o);
  if (!st) st = draw(&f, o.out);
  if (!st) printf("%s\n", o.out);
  free_figure(&f);
  brc_results_free(&runs);
  return st;
}
