#include "train/published.h"
#include "base/file.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// What each suite's files hold. Single-task hands began training, and recording, at step 10,000.
static const struct {
  const char *folder, *column;
  double interval, first, first_single;
} suites[] = {{"dmc", "eval_return", 25000, 25000, 25000},
              {"humanoidbench", "eval_return", 25000, 25000, 25000},
              {"humanoidbench_hard", "eval_return", 25000, 25000, 25000},
              {"metaworld", "eval_success", 25000, 25000, 25000},
              {"shadowhand", "train_success", 2000, 2000, 10000}};

bool brc_published_root(const char *option, char *out, size_t bytes) {
  const char *own = getenv("BRC_REFERENCE"), *shared = getenv("BRC_SHARED");
  snprintf(out, bytes, "%s", option);
  if (*out) return true;
  if (own && *own) {
    snprintf(out, bytes, "%s", own);
    return brc_path_exists(out);
  }
  if (shared && *shared) {
    snprintf(out, bytes, "%s/reference/curves", shared);
    return brc_path_exists(out);
  }
  snprintf(out, bytes, "../shared/reference/curves");
#ifdef BRC_SOURCE_DIR
  if (!brc_path_exists(out)) snprintf(out, bytes, "%s", BRC_SOURCE_DIR "/../shared/reference/curves");
#endif
  return brc_path_exists(out);
}

//------------------------ NumPy's format ------------------------------------------
// magic, version u8 u8, header length u16 (u32 from version 2 on), header: a Python dict in ASCII, then the numbers.
static brc_status parse(brc_published *p, const char *path, const char *data, size_t bytes) {
  const unsigned char *u = (const unsigned char *)data;
  if (bytes < 12 || memcmp(data, "\x93NUMPY", 6))
    return brc_fail(BRC_E_FORMAT, "%s is not a NumPy array", path);
  size_t wide = u[6] > 1, start = wide ? 12 : 10, length = (size_t)u[8] | (size_t)u[9] << 8;
  if (wide) length |= (size_t)u[10] << 16 | (size_t)u[11] << 24;
  if (length > bytes - start) return brc_fail(BRC_E_FORMAT, "%s is cut short in its header", path);
  char header[512];
  snprintf(header, sizeof header, "%.*s", (int)(length < 511 ? length : 511), data + start);
  const char *shape = strstr(header, "'shape': (");
  unsigned seeds = 0, count = 0;
  char end = 0;
  if (!shape || !strstr(header, "'descr': '<f8'") ||
      sscanf(shape, "'shape': (%7u, %7u%c", &seeds, &count, &end) != 3 || end != ')' || !seeds || !count)
    return brc_fail(BRC_E_FORMAT, "%s: expected an array of float64 [seeds, evaluations], found %.200s", path,
                    header);
  if ((bytes - start - length) / 8 < (size_t)seeds * count)
    return brc_fail(BRC_E_FORMAT, "%s is cut short: %zu bytes of values, expected %zu", path,
                    bytes - start - length, (size_t)seeds * count * 8);
  bool columns_first = strstr(header, "'fortran_order': True") != NULL;
  p->seeds = seeds;
  p->count = count;
  p->values = calloc((size_t)seeds * count, sizeof *p->values);
  if (!p->values) return brc_fail(BRC_E_NOMEM, "%s: out of memory", path);
  for (size_t s = 0; s < seeds; s++)
    for (size_t k = 0; k < count; k++) {
      size_t at = columns_first ? k * seeds + s : s * count + k;
      memcpy(&p->values[s * count + k], data + start + length + 8 * at, 8);
    }
  return BRC_OK;
}

brc_status brc_published_read(brc_published *out, const char *root, const char *task, const char *column,
                              bool multitask) {
  *out = (brc_published){0};
  for (size_t i = 0; i < BRC_COUNT(suites); i++) {
    char path[4096], *data;
    size_t bytes;
    if (strcmp(suites[i].column, column)) continue;
    snprintf(path, sizeof path, "%s/%s/BRC_%s/%s.npy", root, suites[i].folder,
             multitask ? "multitask" : "singletask", task);
    brc_status st = brc_file_read(path, &data, &bytes);
    if (st == BRC_E_NOT_FOUND) continue;
    if (st) return st;
    out->interval = suites[i].interval;
    out->first = multitask ? suites[i].first : suites[i].first_single;
    st = parse(out, path, data, bytes);
    free(data);
    return st;
  }
  return brc_fail(BRC_E_NOT_FOUND, "%s has no published curve of '%s'", root, task);
}

void brc_published_free(brc_published *p) {
  free(p->values);
  *p = (brc_published){0};
}

brc_status brc_published_curve(const brc_published *p, brc_point **out, size_t *count) {
  double *x = calloc(p->seeds + 1, sizeof *x);
  *count = p->count;
  *out = calloc(p->count + 1, sizeof **out);
  brc_status st = x && *out ? BRC_OK : brc_fail(BRC_E_NOMEM, "out of memory");
  for (size_t k = 0; !st && k < p->count; k++) {
    size_t n = 0;
    for (size_t s = 0; s < p->seeds; s++) {
      x[n] = p->values[s * p->count + k];
      n += !isnan(x[n]);
    }
    (*out)[k] = (brc_point){p->first + (double)k * p->interval, brc_mean95(x, n)};
  }
  free(x);
  return st;
}
