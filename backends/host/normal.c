// Normal numbers of the host backend. Compiled once per instruction set (BRC_ISA), like kernels.c, but with multiply-adds never contracted:
// normals have the same bits everywhere.
#include "backends/host/kernels.h"

// For the compiler's vectoriser: blocks side by side.
#define BRC_FN static inline __attribute__((always_inline))
#if defined(__clang__)
#define BRC_UNROLL _Pragma("clang loop unroll(full)")
#else
#define BRC_UNROLL _Pragma("GCC unroll 10")
#endif
#include "base/philox.h"

enum { BLOCKS = 16, NORMALS = 4 * BLOCKS };

// Normals 4 block .. 4 block + 63.
static void make(const struct brc_normal_params32 *p, uint32_t block, uint32_t step, float *out) {
  float z[4][BLOCKS];
  for (uint32_t i = 0; i < BLOCKS; i++) {
    const brc_u4 w = brc_philox(block + i, step, 0, p->stream, p->seed_lo, p->seed_hi);
    const brc_f2 a = brc_normal2(w.x, w.y), b = brc_normal2(w.z, w.w);
    z[0][i] = a.x;
    z[1][i] = a.y;
    z[2][i] = b.x;
    z[3][i] = b.y;
  }
  for (uint32_t i = 0; i < NORMALS; i++) out[i] = z[i % 4][i / 4];
}

#define JOIN2(a, b) a##b
#define JOIN(a, b)  JOIN2(a, b)
void JOIN(brc_host_normal_, BRC_ISA)(const brc_host_op *op, uint32_t e, uint32_t r0, uint32_t r1,
                                     float *scratch) {
  (void)e, (void)scratch;
  const struct brc_normal_params32 *p = &op->params.normal;
  uint32_t step;
  memcpy(&step, op->in[0].data, sizeof step);
  float made[NORMALS];
  // A block may begin in one row and end in another.
  uint32_t left = 0;
  for (uint32_t r = r0; r < r1; r++)
    for (uint32_t c = 0; c < p->cols; c++, left--) {
      const uint32_t element = r * p->cols + c;
      if (!left) {
        make(p, element / 4, step, made);
        left = NORMALS - element % 4;
      }
      op->out[0].data[(size_t)r * op->out[0].pitch + c] = made[NORMALS - left];
    }
}
