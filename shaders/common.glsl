// What every shader stands on: operands by address, reductions, exp, log, tanh. The functions and their orders of summation are
// those of cl/common.h, GPU form.
//
// A family's file holds its kernels behind `#ifdef KERNEL_name`: the build compiles it once for each (CMakeLists.txt finds the
// names). The work-group is one row of `local_size_x` lanes (specialisation constant 0) unless the kernel says otherwise.
//
// Legend: E members, B batch, W width, N atoms, O observation, A action, T tasks, D embedding dimension.
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
#extension GL_EXT_control_flow_attributes : require
#define BRC_PARAMS(x) brc_##x##_params
#define BRC_REAL      float
#include "graph/op_params.h"

layout(local_size_x_id = 0) in;

//------------------------ 1. Operands -----------------------------------------
// Addresses come first in the push constants, in the order of the op table, then the op's parameters, then what a kernel wants
// beyond that. An absent operand has the address 0.
layout(buffer_reference, std430, buffer_reference_align = 4) buffer Floats { float v[]; };
layout(buffer_reference, std430, buffer_reference_align = 4) buffer Ints { int v[]; };
#define HAS(x) (((x).x | (x).y) != 0u)

// The address `elements` behind `base`; rows * pitch may pass 32 bits.
uvec2 at(uvec2 base, uint elements) {
  uint carry, low = uaddCarry(base.x, elements << 2, carry);
  return uvec2(low, base.y + (elements >> 30) + carry);
}
uvec2 at(uvec2 base, uint rows, uint pitch) {
  uint high, low, carry;
  umulExtended(rows, pitch, high, low);
  uint byte_low = uaddCarry(base.x, low << 2, carry);
  return uvec2(byte_low, base.y + (low >> 30) + (high << 2) + carry);
}

// The number of this work-group where the first dimension may be folded over y; behind the last: return at once.
uint group_index() { return gl_WorkGroupID.x + gl_WorkGroupID.y * gl_NumWorkGroups.x; }
