// Batch norms that do not depend on one another. Over several processes they share their messages, of which a network
// has two a norm otherwise.
#pragma once

#include <vector>

#include "nn/layers.h"

namespace segrt::nn {

// act(bn(conv(x)) + residual), or without conv act(bn(x) + residual).
struct NormPart {
  const Conv2d* conv;
  const BatchNorm& bn;
  Var x;
  Act act = Act::none;
  Var residual = {};
};

// Whether a norm shares messages with others: in training, over several processes, where that has not been switched off
// (synchronize_batch_norms) and nobody looks at every layer. The same in all processes.
bool shares_messages(const BatchNorm& bn);

// conv_bn or BatchNorm::forward of every part, of which none reads another's result: where all of them share messages,
// with one forward and one backward (autograd::batch_norms), else one after another.
std::vector<Var> norms_together(const std::vector<NormPart>& parts);

}  // namespace segrt::nn
