// Any safetensors as a golden case: an update, a projection, a tape, or an environment's trajectory, replayed on the host backend.
#include <stdlib.h>
#include "backends/backend.h"
#include "tests/fuzz/fuzz.h"
#include "train/verify_agent.h"
#include "train/verify_env.h"

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed) {
  return fuzz_mutate_safetensors(data, size, most, seed, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static brc_device *device;
  if (!device && brc_device_open(&device, "host", 0, &(brc_device_options){.threads = 1})) abort();
  brc_st_file *f;
  brc_status st = brc_st_open(&f, fuzz_file("case.safetensors", data, size));
  if (st) return 0;  // fuzz_safetensors is for these
  const char *dump = data[size - 1] & 1 ? fuzz_file("dump.safetensors", NULL, 0) : NULL;
  brc_verify_report r = {0};
  if (brc_verify_env_is(f))
    st = brc_verify_env(f, &(brc_assets){0}, dump, NULL, &r);
  else
    st = brc_verify_agent_file(f, device, dump, &r);
  fuzz_check(st);
  if (!st) brc_verify_passed(&r);
  free(r.rows);
  brc_st_close(f);
  return 0;
}
