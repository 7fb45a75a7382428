// Batch norms of several maps that do not depend on one another: over several processes they share their messages.
#pragma once

#include <vector>

#include "autograd/norm.h"

namespace segrt::autograd {

// One of them, as batch_norm or, where w is defined, conv_batch_norm takes it.
struct NormInput {
  Var x;
  Var w;
  kernels::ConvGeometry geometry = {};
  Var weight, bias;
  BatchNormState state;
  Var residual;
  bool relu = false;
};

// batch_norm or conv_batch_norm of each, in values and gradients to the last bit. Where all of them are over the same
// several processes, all statistics travel in one message and all sums of the backward pass in one, which waits for the
// last of the outputs' gradients; elsewhere, and where somebody watches operators, one after another. None may read
// another's output.
std::vector<Var> batch_norms(const std::vector<NormInput>& inputs);

}  // namespace segrt::autograd
