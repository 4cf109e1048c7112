// Checkpoints of the published implementation (naumix/BiggerRegularizedCategorical): a folder with actor.txt, critic.txt,
// target_critic.txt and temp.txt, each flax's msgpack of {params, opt_state}.
#ifndef BRC_IMPORT_H
#define BRC_IMPORT_H
#include "agent/agent.h"
#include "train/flax.h"

enum { BRC_IMPORT_ACTOR, BRC_IMPORT_CRITIC, BRC_IMPORT_TARGET, BRC_IMPORT_TEMP, BRC_IMPORT_FILES };
typedef struct brc_import {
  brc_flax_file *files[BRC_IMPORT_FILES];  // TARGET may be NULL: the target critic is a copy of the critic
  bool moments[BRC_IMPORT_FILES];  // the optimiser's state is in the file; else its moments start at zero
  uint64_t adam_steps;             // of the critic
  // The networks, from the shapes of the arrays.
  uint64_t obs_dim, action_dim, tasks, width, depth, actor_width, actor_depth, ensemble, atoms, embedding_dim;
} brc_import;

// Open the files and check that they are one whole agent. E_FORMAT, E_NOT_FOUND name the file and the array.
brc_status brc_import_open(brc_import *out, const char *folder);
void brc_import_close(brc_import *m);
// Set the options that the shapes decide (width, depth, ...). E_USAGE or E_VALUE names the option.
brc_status brc_import_set_options(const brc_import *m, const brc_option_set *options);
extern const char *const brc_import_options[];  // their names; NULL behind the last
// The resolved configuration's tasks, observations and actions must be those of the networks.
brc_status brc_import_fits(const brc_import *m, const brc_agent_config *c);
// Everything under the names of golden/README.md without the leading "init/", for brc_agent_load.
brc_status brc_import_write(const brc_import *m, const char *path);
#endif
