// Any files as a run's checkpoint: the lengths of replay.bin and logged.bin in the first eight bytes, these files, then
// state.safetensors. A checkpoint that loads must be one that training can go on from and that can be saved again.
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/file.h"
#include "tests/fuzz/fuzz.h"
#include "train/train.h"

#define HEAD 8  // two lengths of four bytes, little-endian

static size_t length_at(const uint8_t *p) {
  return (size_t)p[0] | (size_t)p[1] << 8 | (size_t)p[2] << 16 | (size_t)p[3] << 24;
}

static size_t state_at(const uint8_t *data, size_t size) {
  size_t rows = size >= HEAD ? length_at(data) : 0, logged = size >= HEAD ? length_at(data + 4) : 0;
  return size >= HEAD && rows <= size - HEAD && logged <= size - HEAD - rows ? HEAD + rows + logged : size;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed) {
  return fuzz_mutate_safetensors(data, size, most, seed / 8, seed % 8 ? state_at(data, size) : size);
}

// The configuration of the seeds (seeds.py).
static brc_trainer *trainer(void) {
  static brc_train_config c;
  static brc_trainer *t;
  char *words[] = {"--width",    "2", "--actor-width", "2",    "--depth",   "1", "--actor-depth", "1",
                   "--ensemble", "1", "--atoms",       "2",    "--batch",   "2", "--start",       "4",
                   "--capacity", "8", "--backend",     "host", "--threads", "1", "--utd",         "1"};
  size_t count;
  if (t) return t;
  brc_option_set set = brc_train_option_set(&c);
  brc_options_default(&set);
  if (brc_options_parse(&set, (int)BRC_COUNT(words), words, NULL, 0, &count, NULL) ||
      brc_train_add_tasks(&c, "probe-wrap") || brc_train_resolve(&c))
    abort();
  snprintf(c.run, sizeof c.run, "%s", fuzz_folder());
  char folder[512];
  snprintf(folder, sizeof folder, "%s/checkpoint", fuzz_folder());
  if (brc_mkdirs(folder) || brc_trainer_create(&t, &c) || brc_trainer_init(t)) abort();
  return t;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  brc_trainer *t = trainer();
  size_t at = state_at(data, size);
  if (at == size) return 0;
  size_t rows = length_at(data), logged = length_at(data + 4);
  fuzz_file("checkpoint/replay.bin", data + HEAD, rows);
  fuzz_file("checkpoint/logged.bin", data + HEAD + rows, logged);
  fuzz_file("checkpoint/state.safetensors", data + at, size - at);
  brc_status st = brc_checkpoint_load(t);
  fuzz_check(st);
  // A diverged state stops with a sentence, as any step may.
  for (int i = 0; !st && i < 2; i++) fuzz_check(st = brc_loop_step(&t->loop));
  if (!st) fuzz_check(st = brc_checkpoint_save(t));
  if (!st && brc_checkpoint_load(t)) abort();
  return 0;
}
