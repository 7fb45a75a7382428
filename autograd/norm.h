// Differentiable batch normalisation, fused with a residual addition and ReLU; formulas in kernels/norm.h.
#pragma once

#include "autograd/tape.h"

namespace segrt::autograd {

struct BatchNormState {
  Tensor running_mean, running_var;  // [C] f32; updated in place in training
  double eps = 1e-5;
  double momentum = 0.1;
  bool training = false;  // batch statistics and running update, else running statistics
};

// y = act(bn(x) + residual).  x [...,C]; weight, bias [C] f32 (f64 with f64 x); residual like x or undefined.
Var batch_norm(const Var& x, const Var& weight, const Var& bias, const BatchNormState& state, const Var& residual = {},
               bool relu = false);

}  // namespace segrt::autograd
