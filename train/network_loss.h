// The forward pass of a training step, for every network and task.
#pragma once

#include <vector>

#include "models/model.h"
#include "train/data_parallel.h"

namespace segrt::train {

struct NetworkLoss {
  Var total;  // f32 [1]: the heads' losses by their weights, and the auxiliary ones
  // For the logs: the model's auxiliary losses, and what heads with a name say of themselves.
  std::vector<models::AuxiliaryLoss> auxiliary;
};

struct LossOptions {
  int ignore_index = 255;
  double label_smoothing = 0;  // of classifiers
  // Where a classifier's batch is mixed with its reverse: f32 [1], the share of an image's own class.
  Tensor own_share = {};
};

// x: a batch as the network wants it. labels, on the same device: u8 [N,H,W], of which pixels of `ignore_index` do not
// count; for a classifier i64 [N], and the loss is the mean cross-entropy over the images, with the targets of
// kernels/mixed_cross_entropy.h where smoothing or a share is set. Throws ArgumentError where a
// classifier gives more than one cell of scores an image.
// With `parallel`, total and auxiliary losses are this process's shares: those of all processes add up to the loss as
// DataParallel's options have it, and to what the logs are to show.
NetworkLoss network_loss(models::Model& model, const Tensor& x, const Tensor& labels, const LossOptions& options,
                         const DataParallel* parallel = nullptr);
// The same figures, added up over the processes: [1] each, the same in all.
NetworkLoss over_processes(const NetworkLoss& share, const DataParallel& parallel);

}  // namespace segrt::train
