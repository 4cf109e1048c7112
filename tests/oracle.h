// The oracle: a backend of plain loops in double that judges all others. Never built with fast-math.
// Every element of a buffer is a double, integers too (an i32 tensor holds its values as doubles; Philox words are exact
// in them). Addresses come from the tensors' shapes, pitches and strides, not from op.params: params that contradict the
// tensors then show as a difference from the devices, which follow the params. Of params it reads what tensors can't say.
#ifndef BRC_ORACLE_H
#define BRC_ORACLE_H
#include "backends/backend.h"

extern const brc_backend brc_backend_oracle;  // one device, "oracle"; options are ignored save `gemm` ("loops")
#endif
