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
              Communicator* over, std::vector<models::AuxiliaryLoss>& logged) {
  if (model.task() == models::Task::classification) {
    require_one_cell(model, head.scores);
    const bool mixed = options.label_smoothing > 0 || options.own_share.defined();
    const Var loss =
        mixed ? autograd::mixed_cross_entropy(
                    autograd::reshape(head.scores, {head.scores.dim(0), head.scores.dim(3)}),
                    {.labels = labels, .share = options.own_share, .smoothing = options.label_smoothing})
              : autograd::cross_entropy(head.scores, labels.reshape({labels.dim(0), 1, 1}),
                                        {.ignore_index = options.ignore_index, .class_weight = {}, .over = over});
    // Mixed batches are full and alike in all processes: the mean over them all is the mean of their means.
    const double part = mixed && over != nullptr ? 1.0 / over->size() : 1;
    return autograd::scale(loss, head.loss_weight * part);
  }
  const autograd::SegmentationLoss part =
      nn::segmentation_loss(head.scores, head.up, labels,
                            {.ignore_index = options.ignore_index, .count_ignored = head.count_ignored, .over = over});
  const Var weighted = autograd::scale(part.loss, head.loss_weight);
  if (head.name.empty()) return weighted;
  Tensor accuracy = Tensor::empty({1}, DType::f32, labels.device());
  kernels::cast(part.correct, accuracy);
  kernels::scale(accuracy, 100.0 / static_cast<double>(labels.numel()), 0, accuracy);
  logged.push_back({head.name + ".loss_ce", weighted.detach()});
  logged.push_back({head.name + ".acc_seg", accuracy, /*is_percentage=*/true});
  return weighted;
}
}  // namespace

NetworkLoss network_loss(models::Model& model, const Tensor& x, const Tensor& labels, const LossOptions& options,
                         const DataParallel* parallel) {
  const bool global = parallel != nullptr && parallel->loss_average() == LossAverage::global;
  // A process's own mean becomes a share of the mean of the means.
  const double part = parallel != nullptr ? 1.0 / parallel->processes().size() : 1;
  NetworkLoss loss;
  const auto include = [&](const Var& own) {
    const Var share = global || part == 1 ? own : autograd::scale(own, part);
    loss.total = loss.total.defined() ? autograd::add(loss.total, share) : share;
  };
  for (const models::Head& head : model.forward(x))
    include(head_loss(model, head, labels, options, global ? &parallel->statistics() : nullptr, loss.auxiliary));
  std::vector<models::AuxiliaryLoss> own = model.auxiliary_losses();
  for (models::AuxiliaryLoss& a : own) {
    include(a.value);
    loss.auxiliary.push_back(std::move(a));
  }
  if (part == 1) return loss;
  // Of heads' figures in percent the mean over the processes is shown, under both rules.
  for (models::AuxiliaryLoss& a : loss.auxiliary)
    if (!global || a.is_percentage) a.value = autograd::scale(a.value.detach(), part);
  return loss;
}

NetworkLoss over_processes(const NetworkLoss& share, const DataParallel& parallel) {
  const auto count = static_cast<int64_t>(share.auxiliary.size()) + 1;
  const Tensor& total = share.total.value();
  Tensor figures = Tensor::empty({count}, total.dtype(), total.device());
  const auto put = [&](int64_t i, const Tensor& figure) {
    Tensor place = figures.slice(i, 1);
    figure.dtype() == place.dtype() ? place.copy_from(figure) : kernels::cast(figure, place);
  };
  put(0, total);
  for (int64_t i = 1; i < count; ++i) put(i, share.auxiliary[static_cast<size_t>(i - 1)].value.value());
  parallel.statistics().all_reduce(figures);
  NetworkLoss sum{figures.slice(0, 1), share.auxiliary};
  for (int64_t i = 1; i < count; ++i) sum.auxiliary[static_cast<size_t>(i - 1)].value = figures.slice(i, 1);
  return sum;
}

}  // namespace segrt::train
