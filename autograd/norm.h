// Differentiable batch normalisation, fused with a residual addition and ReLU; formulas in kernels/norm.h.
#pragma once

#include "autograd/tape.h"
#include "core/communicator.h"
#include "kernels/conv.h"

namespace segrt::autograd {

struct BatchNormState {
  Tensor running_mean, running_var;  // [C] f32; updated in place in training
  double eps = 1e-5;
  double momentum = 0.1;
  bool training = false;  // batch statistics and running update, else running statistics
  // Statistics and dx over the positions of all its processes, whose numbers may differ, and at least one each; running
  // variance unbiased over them all. One message forward (2C+1 numbers), one backward (2C). Gradients of weight and
  // bias stay those of this process's positions: they are summed with the other gradients. nullptr: of this process.
  Communicator* processes = nullptr;
  // With processes: the gradient of weight as synchronised norms of 2017 had it, divided by the number of this
  // process's positions (Yu et al.'s code for DRN).
  bool mean_weight_gradient = false;

  bool synchronized() const { return training && processes != nullptr && processes->size() > 1; }
};

// y = act(bn(x) + residual).  x [...,C]; weight, bias [C] f32 (f64 with f64 x); residual like x or undefined.
Var batch_norm(const Var& x, const Var& weight, const Var& bias, const BatchNormState& state, const Var& residual = {},
               bool relu = false);

// y = act(bn(conv2d(x, w)) + residual): conv2d without bias (autograd/conv.h), then batch_norm, in values and
// gradients. One operator, so that in training the convolution may compute the statistics as well
// (kernels::conv2d_forward_statistics).
Var conv_batch_norm(const Var& x, const Var& w, const kernels::ConvGeometry& g, const Var& weight, const Var& bias,
                    const BatchNormState& state, const Var& residual = {}, bool relu = false);

}  // namespace segrt::autograd
