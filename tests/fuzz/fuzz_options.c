// Any words as the options of `brc train`, one a line.
#include <stdlib.h>
#include <string.h>
#include "tests/fuzz/fuzz.h"
#include "train/train.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static brc_train_config c;
  char *text = malloc(size + 1), *argv[512], given[BRC_TEXT];
  const char *words[16];
  int argc = 0;
  size_t count;
  if (!text) return 0;
  if (size) memcpy(text, data, size);
  text[size] = 0;
  for (char *rest = text, *word; argc < 512 && (word = strsep(&rest, "\n"));) argv[argc++] = word;
  memset(&c, 0, sizeof c);
  brc_option_set set = brc_train_option_set(&c);
  brc_options_default(&set);
  brc_status st = brc_options_parse(&set, argc, argv, words, BRC_COUNT(words), &count, given);
  for (size_t i = 0; !st && i < count; i++) st = brc_train_add_tasks(&c, words[i]);
  if (!st) st = brc_train_resolve(&c);
  fuzz_check(st);
  free(text);
  return 0;
}
