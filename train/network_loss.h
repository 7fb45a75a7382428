// The forward pass of a training step, for every network and task.
#pragma once

#include <vector>

#include "models/model.h"

namespace segrt::train {

struct NetworkLoss {
  Var total;  // f32 [1]: the heads' losses by their weights, and the auxiliary ones
  std::vector<models::AuxiliaryLoss> auxiliary;
};

// x: a batch as the network wants it. labels: u8 [N,H,W] on the same device; pixels of `ignore_index` do not count.
NetworkLoss network_loss(models::Model& model, const Tensor& x, const Tensor& labels, int ignore_index);

}  // namespace segrt::train
