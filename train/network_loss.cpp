#include "train/network_loss.h"

#include "autograd/elementwise.h"
#include "autograd/loss.h"
#include "nn/segmentation.h"
#include "train/classification.h"

namespace segrt::train {
namespace {
Var head_loss(const models::Model& model, const models::Head& head, const Tensor& labels, int ignore_index) {
  if (model.task() == models::Task::segmentation)
    return nn::segmentation_loss(head.scores, head.up, labels, ignore_index).loss;
  require_one_cell(model, head.scores);
  return autograd::cross_entropy(head.scores, labels.reshape({labels.dim(0), 1, 1}),
                                 {.ignore_index = ignore_index, .class_weight = {}});
}
}  // namespace

NetworkLoss network_loss(models::Model& model, const Tensor& x, const Tensor& labels, int ignore_index) {
  NetworkLoss loss;
  const auto include = [&](const Var& part) {
    loss.total = loss.total.defined() ? autograd::add(loss.total, part) : part;
  };
  for (const models::Head& head : model.forward(x))
    include(autograd::scale(head_loss(model, head, labels, ignore_index), head.loss_weight));
  loss.auxiliary = model.auxiliary_losses();
  for (const models::AuxiliaryLoss& a : loss.auxiliary) include(a.value);
  return loss;
}

}  // namespace segrt::train
