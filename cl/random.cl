// Normals from Philox. Last in the program: philox.h switches contraction off for everything behind it, so that the bits are
// the same on every device.
#include "cl/common.h"

#if BRC_VEC == 16
// For the compiler's vectoriser: blocks side by side (15 times faster on PoCL).
#define BRC_FN     static inline __attribute__((always_inline))
#define BRC_UNROLL _Pragma("unroll")
#endif
#include "base/philox.h"

// out[r, c] = normal number r cols + c of (seed, stream, step). Group: a row. A Philox block makes four.
__kernel void normal(ARG_INT(step), ARG(out), const struct brc_normal_params P) {
  const uint row = (uint)get_group_id(0), first = row * P.cols, now = (uint)step_buffer[step_offset];
  __global float *z = out_buffer + out_offset + (ulong)row * P.pitch;
#if BRC_VEC == 16
  // Sixteen blocks side by side, then the part of their 64 normals that belongs to this row.
  const uint end = first + P.cols;
  for (uint block = first / 4; 4 * block < end; block += 16) {
    float z0[16], z1[16], z2[16], z3[16], made[64];
    for (uint i = 0; i < 16; i++) {
      brc_u4 w = brc_philox(block + i, now, 0, P.stream, P.seed_lo, P.seed_hi);
      brc_f2 a = brc_normal2(w.x, w.y), b = brc_normal2(w.z, w.w);
      z0[i] = a.x;
      z1[i] = a.y;
      z2[i] = b.x;
      z3[i] = b.y;
    }
    for (uint i = 0; i < 16; i++) {
      made[4 * i] = z0[i];
      made[4 * i + 1] = z1[i];
      made[4 * i + 2] = z2[i];
      made[4 * i + 3] = z3[i];
    }
    const uint lo = max(first, 4 * block), hi = min(end, 4 * block + 64);
    for (uint i = lo; i < hi; i++) z[i - first] = made[i - 4 * block];
  }
#else
  for (uint c = (uint)get_local_id(0); c < P.cols; c += ROW_LANES)
    z[c] = brc_normal_at(first + c, now, 0, P.stream, P.seed_lo, P.seed_hi);
#endif
}
