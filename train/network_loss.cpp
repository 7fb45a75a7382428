#include "train/network_loss.h"

#include "autograd/elementwise.h"
#include "nn/segmentation.h"

namespace segrt::train {

NetworkLoss network_loss(models::Model& model, const Tensor& x, const Tensor& labels, int ignore_index) {
  NetworkLoss loss;
  const auto include = [&](const Var& part) {
    loss.total = loss.total.defined() ? autograd::add(loss.total, part) : part;
  };
  for (const models::Head& head : model.forward(x))
    include(autograd::scale(nn::segmentation_loss(head.scores, head.up, labels, ignore_index).loss, head.loss_weight));
  loss.auxiliary = model.auxiliary_losses();
  for (const models::AuxiliaryLoss& a : loss.auxiliary) include(a.value);
  return loss;
}

}  // namespace segrt::train
