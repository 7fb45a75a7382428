#include "nn/norm_group.h"

#include <algorithm>

#include "autograd/conv.h"
#include "autograd/elementwise.h"
#include "autograd/norm_group.h"

namespace segrt::nn {

bool shares_messages(const BatchNorm& bn) {
  const Device& device = bn.weight().device();
  return bn.training() && bn.processes() != nullptr && bn.processes()->size() > 1 && bn.shares_messages_ &&
         !device.observer && !device.op_observer;
}

std::vector<Var> norms_together(const std::vector<NormPart>& parts) {
  std::vector<Var> outputs;
  const bool together = parts.size() > 1 && std::all_of(parts.begin(), parts.end(),
                                                        [](const NormPart& p) { return shares_messages(p.bn); });
  if (!together) {
    for (const NormPart& p : parts)
      outputs.push_back(p.conv != nullptr ? conv_bn(*p.conv, p.bn, p.x, p.act, p.residual)
                                          : p.bn.forward(p.x, p.act, p.residual));
    return outputs;
  }
  std::vector<autograd::NormInput> inputs;
  for (const NormPart& p : parts) {
    autograd::NormInput input{.x = p.x,
                              .w = {},
                              .weight = p.bn.weight(),
                              .bias = p.bn.bias(),
                              .state = p.bn.state(),
                              .residual = p.residual,
                              .relu = p.act == Act::relu};
    if (p.conv != nullptr && p.conv->bias().defined()) {
      input.x = p.conv->forward(p.x);
    } else if (p.conv != nullptr) {
      input.w = autograd::compute_copy(p.conv->weight(), p.x.dtype());
      input.geometry = p.conv->geometry();
    }
    inputs.push_back(std::move(input));
  }
  outputs = autograd::batch_norms(inputs);
  for (size_t k = 0; k < parts.size(); ++k) {
    parts[k].bn.count_batch();
    if (parts[k].act == Act::silu) outputs[k] = autograd::silu(outputs[k]);
  }
  return outputs;
}

}  // namespace segrt::nn
