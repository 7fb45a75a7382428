// Differentiable attention over channels; formula in kernels/channel_gate.h.
#pragma once

#include "autograd/tape.h"
#include "core/random.h"

namespace segrt::autograd {

// x [N,H,W,C], g [N,1,1,C] -> x g, or x g + x with `residual`.
Var channel_gate(const Var& x, const Var& g, bool residual = false);

// Drops whole channels of an image with probability p and scales the others by 1/(1-p) (PyTorch's Dropout2d). The mask
// [N,1,1,C] follows from (seed, layer, *step): see kernels::dropout. p == 0 is the identity.
Var channel_dropout(const Var& x, double p, uint64_t seed, uint64_t layer, const Tensor& step,
                    const SampleShare& share = {});

}  // namespace segrt::autograd
