// Differentiable convolutions and matrix products; formulas and shapes in kernels/conv.h, linear.h and
// matmul.h.
#pragma once

#include "autograd/tape.h"
#include "kernels/conv.h"

namespace segrt::autograd {

// x [N,H,W,C], w [O,kh,kw,C/groups] of x's dtype, bias [O] f32 (or undefined) -> [N,P,Q,O]; plus `residual`, which is
// like the result, where that is defined.
Var conv2d(const Var& x, const Var& w, const Var& bias, const kernels::ConvGeometry& g, const Var& residual = {});

// x [N,H,W,C], w [C,kh,kw,O/groups], bias [O] f32 (or undefined) -> [N,P,Q,O].
struct TransposeOptions {
  kernels::ConvGeometry geometry;
  int output_padding_h = 0, output_padding_w = 0;
};
Var conv_transpose2d(const Var& x, const Var& w, const Var& bias, const TransposeOptions& o);

// y = x w^T + bias over the last dimension: x [...,I], w [O,I] of x's dtype, bias [O] f32 (or undefined) -> [...,O].
Var linear(const Var& x, const Var& w, const Var& bias);

// y = gelu(x w1^T + b1) w2^T + b2 over the last dimension, GELU exact: x [...,I], w1 [H,I], b1 [H], w2 [O,H], b2 [O]
// (or undefined). One operator, whose backward pass takes the slope of GELU within the product (kernels/linear.h).
struct MlpWeights {
  const Var &w1, &b1, &w2, &b2;
};
Var mlp(const Var& x, const MlpWeights& m);

// c = a b for rank 2 or 3 (batched).
Var matmul(const Var& a, const Var& b);

}  // namespace segrt::autograd
