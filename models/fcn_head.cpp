#include "models/fcn_head.h"

#include "autograd/channel_gate.h"

namespace segrt::models {

ConvBn::ConvBn(const Options& o, nn::Init& init)
    : act_(o.act),
      conv_(child<nn::Conv2d>(
          "conv", {.in = o.in, .out = o.out, .kernel = o.kernel, .stride = o.stride, .padding = (o.kernel - 1) / 2},
          init)),
      bn_(child<nn::BatchNorm>("bn", {.channels = o.out}, init)) {}

FcnHead::FcnHead(const Options& o, nn::Init& init)
    : dropout_(o.dropout),
      seed_(init.seed()),
      layer_(o.layer),
      classify_(child<nn::Conv2d>(
          "conv_seg", {.in = o.channels, .out = o.classes, .kernel = 1, .bias = true, .weight_std = 0.01}, init)),
      conv_(child<nn::Sequence>("convs").child<ConvBn>("0", {.in = o.in, .out = o.channels}, init)) {}

Var FcnHead::classify(const Var& x) const {
  Var y = x;
  // The norm counts training passes on the device and in checkpoints: a resumed run draws what it would have drawn.
  if (training())
    y = autograd::channel_dropout(y, dropout_, seed_, layer_, conv_.norm().batches().reshape({1}), sample_share());
  return classify_.forward(y);
}

}  // namespace segrt::models
