// The kernels' sources, embedded by CMake: cl/*.cl, cl/*.h and the headers they include from src/. A name is the path as
// #include sees it: "cl/norm.cl", "graph/op_params.h", "base/philox.h".
#ifndef BRC_CL_SOURCES_H
#define BRC_CL_SOURCES_H
#include <stddef.h>

typedef struct brc_cl_source {
  const char *name;
  const char *text;
  size_t bytes;
} brc_cl_source;
extern const brc_cl_source brc_cl_sources[];
extern const size_t brc_cl_source_count;
#endif
