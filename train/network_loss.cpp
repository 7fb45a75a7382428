#include "train/network_loss.h"

#include "autograd/elementwise.h"
#include "autograd/loss.h"
#include "kernels/elementwise.h"
#include "nn/segmentation.h"
#include "train/classification.h"

namespace segrt::train {
namespace {
// The weighted loss; of a head with a name, it and the accuracy are appended to `logged`.
Var head_loss(const models::Model& model, const models::Head& head, const Tensor& labels, const LossOptions& options,
              std::vector<models::AuxiliaryLoss>& logged) {
  if (model.task() == models::Task::classification) {
    require_one_cell(model, head.scores);
    const bool mixed = options.label_smoothing > 0 || options.own_share.defined();
    const Var loss = mixed ? autograd::mixed_cross_entropy(
                                 autograd::reshape(head.scores, {head.scores.dim(0), head.scores.dim(3)}),
                                 {.labels = labels, .share = options.own_share, .smoothing = options.label_smoothing})
                           : autograd::cross_entropy(head.scores, labels.reshape({labels.dim(0), 1, 1}),
                                                     {.ignore_index = options.ignore_index, .class_weight = {}});
    return autograd::scale(loss, head.loss_weight);
  }
  const autograd::SegmentationLoss part = nn::segmentation_loss(
      head.scores, head.up, labels, {.ignore_index = options.ignore_index, .count_ignored = head.count_ignored});
  const Var weighted = autograd::scale(part.loss, head.loss_weight);
  if (head.name.empty()) return weighted;
  Tensor accuracy = Tensor::empty({1}, DType::f32, labels.device());
  kernels::cast(part.correct, accuracy);
  kernels::scale(accuracy, 100.0 / static_cast<double>(labels.numel()), 0, accuracy);
  logged.push_back({head.name + ".loss_ce", weighted.detach()});
  logged.push_back({head.name + ".acc_seg", accuracy});
  return weighted;
}
}  // namespace

NetworkLoss network_loss(models::Model& model, const Tensor& x, const Tensor& labels, const LossOptions& options) {
  NetworkLoss loss;
  const auto include = [&](const Var& part) {
    loss.total = loss.total.defined() ? autograd::add(loss.total, part) : part;
  };
  for (const models::Head& head : model.forward(x)) include(head_loss(model, head, labels, options, loss.auxiliary));
  for (models::AuxiliaryLoss& a : model.auxiliary_losses()) {
    include(a.value);
    loss.auxiliary.push_back(std::move(a));
  }
  return loss;
}

}  // namespace segrt::train
