// The commands of `brc`: one file each. A command returns a status; main turns it into the exit status.
#ifndef BRC_CLI_H
#define BRC_CLI_H
#include "base/base.h"
#include <cjson/cJSON.h>

typedef brc_status brc_command(int argc, char **argv);  // without the command's own word
brc_command brc_cmd_export, brc_cmd_import, brc_cmd_assets;
brc_command brc_cmd_train, brc_cmd_eval, brc_cmd_devices, brc_cmd_tasks, brc_cmd_verify, brc_cmd_bench,
    brc_cmd_tune, brc_cmd_plot, brc_cmd_runs, brc_cmd_compare, brc_cmd_render;

// The words that the process was started with (for config.json).
extern int brc_main_argc;
extern char **brc_main_argv;
// True, and the text printed, if --help is among the words.
bool brc_cli_help(int argc, char **argv, const char *usage);
// From now on SIGINT, SIGTERM and SIGUSR1 ask to stop, by setting what this points to, instead of ending the program.
volatile const int *brc_cli_stop(void);
// Print one object on one line of standard output and delete it.
void brc_cli_print_json(cJSON *o);
#endif
