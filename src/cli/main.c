// brc: trains BRC. Exit status: 0, 1 (failed), 2 (usage), 75 (stopped on request, can be resumed).
#include "cli/cli.h"
#include "base/options.h"
#include "envs/watch.h"
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
    {"bench", brc_cmd_bench, "measure: bench update, gemm, op, env"},
    {"tune", brc_cmd_tune, "choose who computes which product, by measuring; training does so by itself"},
};

//------------------------ 1. Help ---------------------------------------------
// A usage text for a man page: its first lines as they are, paragraphs filled, examples (lines that are set in) as they are.
static void man_usage(const char *usage) {
  char line[512];
  bool head = true, literal = false;
  for (const char *at = usage, *end; *at; at = end + 1) {
    end = strchr(at, '\n');
    snprintf(line, sizeof line, "%.*s", (int)(end - at), at);
    head &= *line != 0;
    const bool wants = head || *line == ' ';
    if (literal != wants) printf(wants ? ".EX\n" : ".EE\n");
    literal = wants;
    if (*line) {
      brc_man_text(line);
      printf("\n");
    } else {
      printf(".PP\n");
    }
  }
  if (literal) printf(".EE\n");
}

bool brc_cli_help(int argc, char **argv, const char *usage) {
  for (int i = 0; i < argc; i++)
    if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
      if (brc_help_is_man)
        man_usage(usage);
      else
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
  struct sigaction hangup;  // the terminal is gone; nohup ignores that
  if (!sigaction(SIGHUP, NULL, &hangup) && hangup.sa_handler != SIG_IGN) sigaction(SIGHUP, &action, NULL);
  signal(SIGPIPE, SIG_IGN);  // whoever read the messages is gone: no reason to lose steps
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
  fprintf(f, "\nbrc COMMAND --help tells more. brc help --man is the man page. brc --version\n");
}

// brc(1), of the same tables as --help.
static void man_page(void) {
  static const char head[] = ".TH BRC 1 \"\" \"brc " BRC_VERSION
                             "\" \"User Commands\"\n"
                             ".SH NAME\nbrc \\- bigger, regularized, categorical value learning on any device\n"
                             ".SH SYNOPSIS\n.B brc\n.I COMMAND\n[options]\n"
                             ".SH DESCRIPTION\nTrains one policy on one task or many by reinforcement learning "
                             "(BRC), on GPUs through OpenCL or "
                             "Vulkan and on CPUs. A run is a folder: it holds its configuration, logs, and "
                             "checkpoints to go on from.\n"
                             ".SH COMMANDS\n";
  static const char tail[] =
      ".SH EXIT STATUS\n"
      ".TP\n0\nDone.\n.TP\n1\nFailed; standard error says at what.\n.TP\n2\nWrong usage; nothing was begun.\n"
      ".TP\n75\nStopped by SIGTERM, SIGUSR1, SIGHUP or Ctrl\\-C after a checkpoint; can be resumed.\n"
      ".SH ENVIRONMENT\n"
      ".TP\n.B BRC_ASSETS\nFolders with the tasks\\(aq files, colons between, searched after \\-\\-assets.\n"
      ".TP\n.B XDG_DATA_HOME\nHolds brc/, where tools/setup and \\fBbrc assets fetch\\fR put files; default: "
      "~/.local/share.\n"
      ".TP\n.B BRC_CACHE\nFolder of compiled kernels, measured rates and choices of products; default: "
      "~/.cache/brc.\n"
      ".TP\n.B BRC_REFERENCE\nFolder with published curves for \\fBbrc plot\\fR.\n"
      ".TP\n.BR CUDA_VISIBLE_DEVICES \", \" ROCR_VISIBLE_DEVICES \", \" ZE_AFFINITY_MASK\nand their like limit "
      "which GPUs "
      "\\-\\-device auto takes.\n"
      ".SH FILES\n"
      ".TP\n.I RUN/config.json\nEvery option of the run, device, versions, hashes of the tasks\\(aq files.\n"
      ".TP\n.I RUN/tuning.json\nWho computes which product, where that is not the built-in table.\n"
      ".TP\n.IR RUN/log.csv \", \" RUN/train.csv\nOne row per evaluation; one per \\-\\-log\\-interval steps. "
      "The same as "
      "TensorBoard events beside them.\n"
      ".TP\n.I RUN/checkpoint/\nThe last complete state.\n";
  static char *help_word[] = {"--help", NULL};
  brc_help_is_man = true;
  fputs(head, stdout);
  for (size_t i = 0; i < BRC_COUNT(commands); i++) {
    printf(".SS brc %s\n", commands[i].name);
    brc_man_text(commands[i].help);
    printf("\n");
    commands[i].run(1, help_word);
  }
  fputs(tail, stdout);
}

//------------------------ 2. The program --------------------------------------
// Standard output that is gone, a full disk behind a pipe or file, is a failure.
static int written(int status) {
  if (!fflush(stdout) || status) return status;
  fprintf(stderr, "brc: standard output could not be written\n");
  return 1;
}

static int exit_status(brc_status st) {
  if (!st) return 0;
  fprintf(stderr, "brc: %s\n", brc_error());
  return st == BRC_E_USAGE ? 2 : st == BRC_E_STOPPED ? 75 : 1;
}

int main(int argc, char **argv) {
  brc_main_argc = argc;
  brc_main_argv = argv;
  brc_env_watch_crashes();
  signal(SIGXFSZ, SIG_IGN);  // a file that grows beyond the limit is a write that fails
  if (argc < 2) {
    help(stderr);
    return 2;
  }
  if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
    if (argc > 2 && !strcmp(argv[2], "--man"))
      man_page();
    else
      help(stdout);
    return written(0);
  }
  if (!strcmp(argv[1], "--version")) {
    puts("brc " BRC_VERSION);
    return 0;
  }
  const char *names[BRC_COUNT(commands)];
  for (size_t i = 0; i < BRC_COUNT(commands); i++) {
    names[i] = commands[i].name;
    if (strcmp(argv[1], names[i])) continue;
    return written(exit_status(commands[i].run(argc - 2, argv + 2)));
  }
  char near[128];
  brc_nearest(argv[1], names, BRC_COUNT(names), 2, near, sizeof near);
  return exit_status(brc_fail(BRC_E_USAGE, "command '%s' is unknown%s%s%s", argv[1],
                              *near ? "; did you mean " : "; see brc --help", near, *near ? "?" : ""));
}
