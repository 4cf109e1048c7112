// brc: trains BRC. Exit status: 0, 1 (failed), 2 (usage), 75 (stopped on request, can be resumed).
#include "cli/cli.h"
#include <signal.h>
#include <stdio.h>
#include <string.h>

int brc_main_argc;
char **brc_main_argv;

static const struct {
  const char *name;
  brc_command *run;
  const char *help;
} commands[] = {
    {"train", brc_cmd_train, "train on tasks, or go on with a run"},
    {"eval", brc_cmd_eval, "evaluate a run's policy"},
    {"render", brc_cmd_render, "draw a task, or what a run's policy does: a picture or a video"},
    {"runs", brc_cmd_runs, "list the runs below a folder: step, scores, speed"},
    {"plot", brc_cmd_plot, "draw learning curves with intervals over seeds"},
    {"compare", brc_cmd_compare, "differences of two groups of runs: configuration and curves"},
    {"export", brc_cmd_export, "write a run's policy as an ONNX model or a C header"},
    {"import", brc_cmd_import, "make a run from a checkpoint of the published implementation"},
    {"devices", brc_cmd_devices, "list every backend's devices"},
    {"tasks", brc_cmd_tasks, "list the tasks and benchmarks"},
    {"assets", brc_cmd_assets, "what the tasks' files are, where they lie, how to get them"},
    {"verify", brc_cmd_verify, "replay golden cases and compare every number"},
    {"bench", brc_cmd_bench, "measure: bench update, bench gemm, bench env"},
};

bool brc_cli_help(int argc, char **argv, const char *usage) {
  for (int i = 0; i < argc; i++)
    if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
      fputs(usage, stdout);
      return true;
    }
  return false;
}

static volatile int stop;
static void on_signal(int sig) { stop = sig; }

volatile const int *brc_cli_stop(void) {
  struct sigaction action = {.sa_handler = on_signal};
  sigaction(SIGINT, &action, NULL);
  sigaction(SIGTERM, &action, NULL);
  sigaction(SIGUSR1, &action, NULL);
  return &stop;
}

void brc_cli_print_json(cJSON *o) {
  char *text = cJSON_PrintUnformatted(o);
  if (text) puts(text);
  cJSON_free(text);
  cJSON_Delete(o);
}

static void help(FILE *f) {
  fprintf(
      f, "brc " BRC_VERSION
         ": bigger, regularized, categorical value learning on any device\n\nusage: brc COMMAND [options]\n\n");
  for (size_t i = 0; i < BRC_COUNT(commands); i++)
    fprintf(f, "  %-9s %s\n", commands[i].name, commands[i].help);
  fprintf(f, "\nbrc COMMAND --help tells more. brc --version\n");
}

static int exit_status(brc_status st) {
  if (!st) return 0;
  fprintf(stderr, "brc: %s\n", brc_error());
  return st == BRC_E_USAGE ? 2 : st == BRC_E_STOPPED ? 75 : 1;
}

int main(int argc, char **argv) {
  brc_main_argc = argc;
  brc_main_argv = argv;
  if (argc < 2) {
    help(stderr);
    return 2;
  }
  if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
    help(stdout);
    return 0;
  }
  if (!strcmp(argv[1], "--version")) {
    puts("brc " BRC_VERSION);
    return 0;
  }
  const char *names[BRC_COUNT(commands)];
  for (size_t i = 0; i < BRC_COUNT(commands); i++) {
    names[i] = commands[i].name;
    if (strcmp(argv[1], names[i])) continue;
    int status = exit_status(commands[i].run(argc - 2, argv + 2));
    if (fflush(stdout) && !status) {  // a full disk behind a pipe or file
      fprintf(stderr, "brc: standard output could not be written\n");
      status = 1;
    }
    return status;
  }
  char near[128];
  brc_nearest(argv[1], names, BRC_COUNT(names), 2, near, sizeof near);
  return exit_status(brc_fail(BRC_E_USAGE, "command '%s' is unknown%s%s%s", argv[1],
                              *near ? "; did you mean " : "; see brc --help", near, *near ? "?" : ""));
}
