// Differentiable deformable unfolding and convolution; sampling in kernels/deform.h.
#pragma once

#include "autograd/tape.h"
#include "kernels/deform.h"

namespace segrt::autograd {

// x [N,H,W,C], offset [N,P,Q,groups*K*2], mask [N,P,Q,groups*K] (or undefined: 1 everywhere), all of one type ->
// columns [N,P,Q,K,C], K = kernel_h * kernel_w.
Var deform_unfold(const Var& x, const Var& offset, const Var& mask, const kernels::DeformGeometry& g);

struct DeformConvOptions {
  kernels::DeformGeometry geometry;  // its kernel is the weight's, its groups are those of the offsets
  int groups = 1;                    // of channels, as in any convolution; independent of the former
  // Columns are made and multiplied a few rows of outputs at a time, in forward and in backward: no more than this at
  // once, or one row. (All columns of a map are K times the map.)
  int64_t column_bytes = int64_t{32} << 20;
};

// y[n,p,q,o] = sum_{t,c} columns[n,p,q,t,g(o)*C/groups + c] * w[o,t,c] + bias[o]: version 1 without a mask, version 2
// with one. w [O,kernel_h,kernel_w,C/groups] of x's type, bias [O] f32 (f64 with f64 x; or undefined) -> [N,P,Q,O].
// Keeps no columns for the backward pass, which makes them again.
Var deform_conv2d(const Var& x, const Var& offset, const Var& mask, const Var& w, const Var& bias,
                  const DeformConvOptions& o);

}  // namespace segrt::autograd
