// Differentiable layer normalisation; formulas in kernels/layer_norm.h.
#pragma once

#include "autograd/tape.h"

namespace segrt::autograd {

// Over the last dimension. x [...,C]; weight, bias [C] f32 (f64 with f64 x).
Var layer_norm(const Var& x, const Var& weight, const Var& bias, double eps);

struct SumAndNorm {
  Var sum, norm;
};
// sum = x + branch and norm = layer_norm(sum) from one pass; their gradients meet in one pass as well. A gradient must
// reach `sum` (a residual stream that goes on), else the two operators apart are the ones to use.
SumAndNorm add_layer_norm(const Var& x, const Var& branch, const Var& weight, const Var& bias, double eps);

}  // namespace segrt::autograd
