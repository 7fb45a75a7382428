// The differentiable attention of DGMN2; formulas in kernels/deform_attention.h and kernels/position_logits.h.
#pragma once

#include "autograd/tape.h"

namespace segrt::autograd {

// Every query attends to nine keys at predicted points. qkv [N,H,W,3*heads*64], ordered q, k, v, each by heads; offset
// [N,H,W,heads*18] of the same type, tap t's dy at 2t and dx at 2t+1; rel_height [H+8,64], rel_width [W+8,64] in f32
// (f64 for f64) -> [N,H,W,heads*64]. On a map that is not square the height term, which comes out transposed, is
// resized from (W, H) to (H, W), bilinear.
Var deform_attention(const Var& qkv, const Var& offset, const Var& rel_height, const Var& rel_width, int heads);

// A table of F+8 rows [F+8,64] for a map of another extent: [n+8,64], linear between rows (half-pixel rule); the table
// itself where F is n.
Var resample_position_table(const Var& table, int n);

}  // namespace segrt::autograd
