// Any file as safetensors. What opens can be written again, and then holds the same.
#include "base/safetensors.h"
#include <stdlib.h>
#include <string.h>
#include "tests/fuzz/fuzz.h"

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed) {
  return fuzz_mutate_safetensors(data, size, most, seed, 0);
}

static void look(const brc_st_file *f) {
  static const char *const keys[] = {"format", "a", "steps"};
  for (size_t i = 0; i < BRC_COUNT(keys); i++) {
    long whole;
    double real;
    const char *text = brc_st_meta(f, keys[i]);
    if (text && strlen(text) > 1u << 20) abort();
    brc_st_meta_int(f, keys[i], -5, 1000, &whole);
    brc_st_meta_real(f, keys[i], &real);
  }
  for (size_t i = 0; i < brc_st_count(f); i++) {
    const brc_st_tensor *t = brc_st_at(f, i), *same;
    double sum = 0;
    for (uint64_t k = 0; k < t->count; k++) sum += brc_st_get(t, k);
    if (sum == 1e300) abort();
    // Names longer than a search takes are found by nobody, which is an answer too.
    if (strlen(t->name) < 500 && brc_st_find(f, "%s", t->name) != t) abort();
    brc_st_need(f, BRC_ST_F32, t->count + 1, &same, "%s", t->name);
  }
}

static void write_again(const brc_st_file *f) {
  const char *copy = fuzz_file("copy.safetensors", NULL, 0);
  brc_st_writer *w;
  if (brc_st_writer_new(&w)) return;
  brc_status st = BRC_OK;
  for (size_t i = 0; !st && i < brc_st_count(f); i++) {
    const brc_st_tensor *t = brc_st_at(f, i);
    st = brc_st_writer_add(w, t->name, t->dtype, t->rank, t->shape, t->data);
  }
  if (!st) st = brc_st_write(w, copy);
  brc_st_writer_free(w);
  fuzz_check(st);
  brc_st_file *g;
  if (st) return;  // a name that the writer does not take
  if (brc_st_open(&g, copy)) abort();
  if (brc_st_count(g) != brc_st_count(f)) abort();
  for (size_t i = 0; i < brc_st_count(f); i++) {
    const brc_st_tensor *a = brc_st_at(f, i), *b = brc_st_at(g, i);
    size_t bytes = (size_t)a->count * brc_st_dtype_bytes(a->dtype);
    if (strcmp(a->name, b->name) || a->rank != b->rank || a->count != b->count || a->dtype != b->dtype) abort();
    if (bytes && memcmp(a->data, b->data, bytes)) abort();
  }
  brc_st_close(g);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  brc_st_file *f;
  brc_status st = brc_st_open(&f, fuzz_file("in.safetensors", data, size));
  fuzz_check(st);
  if (st) return 0;
  look(f);
  write_again(f);
  brc_st_close(f);
  return 0;
}
