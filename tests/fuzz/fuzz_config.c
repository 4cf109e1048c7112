// Any file as the config.json of a run folder; what is read is resolved, and written and read again.
#include <stdlib.h>
#include <string.h>
#include "tests/fuzz/fuzz.h"
#include "train/train.h"

static bool same(const brc_train_config *a, const brc_train_config *b) {
  return a->task_count == b->task_count && a->steps == b->steps && a->capacity == b->capacity &&
         a->agent.width == b->agent.width && a->agent.tau == b->agent.tau && !strcmp(a->backend, b->backend);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static brc_train_config c, again;
  memset(&c, 0, sizeof c);
  fuzz_file("config.json", data, size);
  brc_status st = brc_run_read_config(fuzz_folder(), &c);
  fuzz_check(st);
  if (st) return 0;
  fuzz_check(brc_train_resolve(&c));
  brc_option_set set = brc_train_option_set(&c), other = brc_train_option_set(&again);
  cJSON *root = cJSON_CreateObject();
  brc_options_to_json(&set, root);
  char *text = cJSON_Print(root);
  cJSON_Delete(root);
  root = cJSON_Parse(text);
  free(text);
  brc_options_default(&other);
  if (!root || brc_options_from_json(&other, root, NULL)) abort();
  cJSON_Delete(root);
  again.task_count = c.task_count;
  if (!same(&c, &again)) abort();
  return 0;
}
