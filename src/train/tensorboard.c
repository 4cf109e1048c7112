// Formats: a record is length u64, checksum of the length u32, bytes, checksum of the bytes u32, all little-endian
// (tensorflow/core/lib/io/record_writer.cc). The bytes are an Event (tensorflow/core/util/event.proto):
//   1 wall_time double, 2 step int64, 3 file_version string, 5 summary Summary, 7 session_log SessionLog
//   Summary: 1 value, repeated {1 tag string, 2 simple_value float}; SessionLog: 1 status enum, 1 is START
#include "train/tensorboard.h"
#include "base/file.h"
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PREFIX "events.out.tfevents."

// The names written at the newest step, so that none is written twice.
typedef struct name_list {
  char **names;
  size_t count, capacity;
} name_list;

struct brc_events {
  FILE *f;
  char path[4096];
  uint64_t step;
  name_list written;
};

//------------------------ 1. Protobuf ---------------------------------------------
typedef struct bytes {
  unsigned char *data;
  size_t count, capacity;
  bool failed;  // out of memory; what follows is dropped
} bytes;

static void put(bytes *b, const void *data, size_t n) {
  if (b->count + n > b->capacity) {
    size_t capacity = 2 * (b->count + n) + 64;
    unsigned char *more = b->failed ? NULL : realloc(b->data, capacity);
    b->failed = !more;
    if (b->failed) return;
    b->data = more;
    b->capacity = capacity;
  }
  if (n) memcpy(b->data + b->count, data, n);  // an empty text may be NULL
  b->count += n;
}

static void put_varint(bytes *b, uint64_t x) {
  do {
    unsigned char byte = (unsigned char)((x & 0x7f) | (x > 0x7f ? 0x80 : 0));
    put(b, &byte, 1);
    x >>= 7;
  } while (x);
}

// Numbers byte by byte: the file does not depend on the machine's order.
static void put_fixed(bytes *b, uint64_t bits, int n) {
  for (int i = 0; i < n; i++) put(b, &(unsigned char){(unsigned char)(bits >> 8 * i)}, 1);
}

enum { VARINT = 0, FIXED64 = 1, DELIMITED = 2, FIXED32 = 5 };
static void put_key(bytes *b, unsigned field, unsigned type) { put_varint(b, field << 3 | type); }

static void put_delimited(bytes *b, unsigned field, const void *data, size_t n) {
  put_key(b, field, DELIMITED);
  put_varint(b, n);
  put(b, data, n);
}

static void put_wall_and_step(bytes *b, uint64_t step) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  double wall = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
  uint64_t bits;
  memcpy(&bits, &wall, sizeof bits);
  put_key(b, 1, FIXED64);
  put_fixed(b, bits, 8);
  put_key(b, 2, VARINT);
  put_varint(b, step);
}

// Summary.value {tag, simple_value}
static void put_value(bytes *summary, bytes *scratch, const char *tag, double value) {
  float simple = (float)value;
  uint32_t bits;
  memcpy(&bits, &simple, sizeof bits);
  scratch->count = 0;
  put_delimited(scratch, 1, tag, strlen(tag));
  put_key(scratch, 2, FIXED32);
  put_fixed(scratch, bits, 4);
  put_delimited(summary, 1, scratch->data, scratch->count);
  summary->failed |= scratch->failed;
}

//------------------------ 2. Records ----------------------------------------------
uint32_t brc_events_checksum(const void *data, size_t count) {
  const unsigned char *p = data;
  uint32_t crc = 0xffffffffu;
  for (size_t i = 0; i < count; i++) {
    crc ^= p[i];
    for (int k = 0; k < 8; k++) crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);  // Castagnoli, reflected
  }
  crc = ~crc;
  return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

// One write for the whole record: a killed process leaves whole records behind.
static brc_status write_record(brc_events *e, const bytes *event) {
  bytes r = {.failed = event->failed};
  put_fixed(&r, event->count, 8);
  put_fixed(&r, r.failed ? 0 : brc_events_checksum(r.data, 8), 4);
  put(&r, event->data, event->count);
  put_fixed(&r, brc_events_checksum(event->data, event->count), 4);
  brc_status st = BRC_OK;
  if (r.failed)
    st = brc_fail(BRC_E_NOMEM, "%s: out of memory for a record", e->path);
  else if (fwrite(r.data, 1, r.count, e->f) != r.count)
    st = brc_fail(BRC_E_IO, "%s: a record could not be written: %s", e->path, brc_write_error(errno));
  free(r.data);
  return st;
}

// The record that every file begins with, then, with wall time and step again, that a session begins here.
static brc_status write_head(brc_events *e, uint64_t step) {
  static const char version[] = "brain.Event:2";
  bytes b = {0};
  put_wall_and_step(&b, step);
  put_delimited(&b, 3, version, strlen(version));
  brc_status st = write_record(e, &b);
  // Readers drop the steps from this one on.
  b.count = 0;
  put_wall_and_step(&b, step + 1);
  put_delimited(&b, 7, "\x08\x01", 2);
  if (!st) st = write_record(e, &b);
  free(b.data);
  return st;
}

//------------------------ 3. Files ------------------------------------------------
// Readers take files in the order of their names: one second behind the newest if the clock is not.
static long long next_second(const char *folder) {
  long long second = (long long)time(NULL);
  DIR *d = opendir(folder);
  for (struct dirent *x; d && (x = readdir(d));) {
    long long other = strncmp(x->d_name, PREFIX, strlen(PREFIX)) ? 0 : atoll(x->d_name + strlen(PREFIX));
    if (other >= second && other < 9999999999) second = other + 1;
  }
  if (d) closedir(d);
  return second;
}

brc_status brc_events_open(brc_events **out, const char *folder, uint64_t step) {
  *out = NULL;
  brc_events *e = calloc(1, sizeof *e);
  if (!e) return brc_fail(BRC_E_NOMEM, "out of memory");
  e->step = step;
  snprintf(e->path, sizeof e->path, "%.4000s/" PREFIX "%010lld.brc", folder, next_second(folder));
  e->f = fopen(e->path, "wbx");
  brc_status st = e->f ? BRC_OK : brc_fail(BRC_E_IO, "%s: %s", e->path, brc_write_error(errno));
  if (!st) setvbuf(e->f, NULL, _IONBF, 0);
  if (!st) st = write_head(e, step);
  if (st)
    brc_events_close(e);
  else
    *out = e;
  return st;
}

static void forget(name_list *l) {
  for (size_t i = 0; i < l->count; i++) free(l->names[i]);
  l->count = 0;
}

// True the first time that the step sees this name.
static bool first_time(name_list *l, const char *name) {
  for (size_t i = 0; i < l->count; i++)
    if (!strcmp(l->names[i], name)) return false;
  if (l->count == l->capacity) {
    size_t capacity = 2 * l->capacity + 16;
    char **more = realloc(l->names, capacity * sizeof *more);
    if (!more) return true;
    l->names = more;
    l->capacity = capacity;
  }
  if ((l->names[l->count] = strdup(name))) l->count++;
  return true;
}

brc_status brc_events_write(brc_events *e, uint64_t step, const char *const *names, const double *values,
                            size_t count) {
  bytes summary = {0}, scratch = {0}, event = {0};
  if (step != e->step) forget(&e->written);
  e->step = step;
  for (size_t i = 0; i < count; i++)
    if (!isnan(values[i]) && first_time(&e->written, names[i]))
      put_value(&summary, &scratch, names[i], values[i]);
  put_wall_and_step(&event, step);
  put_delimited(&event, 5, summary.data, summary.count);
  event.failed |= summary.failed;
  brc_status st = write_record(e, &event);
  free(summary.data);
  free(scratch.data);
  free(event.data);
  return st;
}

void brc_events_close(brc_events *e) {
  if (!e) return;
  if (e->f) fclose(e->f);
  forget(&e->written);
  free(e->written.names);
  free(e);
}
