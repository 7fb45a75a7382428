#include "nn/deform_conv.h"

#include <fmt/format.h>

#include <cmath>

#include "autograd/elementwise.h"
#include "core/error.h"

namespace segrt::nn {
namespace {

Shape weight_shape(const DeformConvOptions& o) {
  if (o.groups < 1 || o.deform_groups < 1 || o.in % o.groups != 0 || o.out % o.groups != 0 ||
      o.in % o.deform_groups != 0)
    throw ArgumentError(
        fmt::format("DeformConv2d: {} -> {} channels do not divide into {} groups and {} deformable groups", o.in,
                    o.out, o.groups, o.deform_groups));
  return {o.out, o.kernel, o.kernel, o.in / o.groups};
}

Tensor uniform_weight(const DeformConvOptions& o, double bound, Init& init) {
  return init.uniform(weight_shape(o), -bound, bound);
}

Var run(const Module& module, const DeformConvOptions& o, const Var& x, const Var& offset, const Var& mask,
        const Var& weight, const Var& bias) {
  const ModuleScope scope(module, "deform_conv2d", x.device());
  const int k = o.kernel, s = o.stride, p = o.padding, d = o.dilation;
  const Var y = autograd::deform_conv2d(x, offset, mask, autograd::compute_copy(weight, x.dtype()), bias,
                                        {{k, k, s, s, p, p, p, p, d, d, o.deform_groups}, o.groups});
  if (x.device().observer) {
    const int64_t parameters = weight.value().numel() + (bias.defined() ? bias.value().numel() : 0);
    x.device().observer(
        {"deform_conv2d", y.value(), parameters, kernels::conv2d_multiply_adds(y.shape(), weight.shape())});
  }
  return y;
}

// The convolution that predicts `channels` numbers a position.
Conv2d::Options predictor(const DeformConvOptions& o, int channels) {
  return {.in = o.in,
          .out = channels,
          .kernel = o.kernel,
          .stride = o.stride,
          .padding = o.padding,
          .bias = true,
          .bias_init = Conv2d::BiasInit::uniform,
          .weight_init = Conv2d::WeightInit::uniform};
}

struct Modulation {
  Var offset, mask;
};
Modulation modulation(const Var& predicted, const DeformConvOptions& o) {
  return {autograd::slice_channels(predicted, 0, 2 * o.samples()),
          autograd::sigmoid(autograd::slice_channels(predicted, 2 * o.samples(), o.samples()))};
}

}  // namespace

DeformConv2d::DeformConv2d(const Options& o, Init& init)
    : options_(o),
      weight_(parameter("weight", uniform_weight(o, std::sqrt(6.0 * o.groups / (o.in * o.kernel * o.kernel)), init))),
      bias_(o.bias ? parameter("bias", init.constant({o.out}, 0)) : no_bias_) {}

Var DeformConv2d::forward(const Var& x, const Var& offset, const Var& mask) const {
  return run(*this, options_, x, offset, mask, weight_, bias_);
}

ModulatedDeformConvPack::ModulatedDeformConvPack(const Options& o, Init& init)
    : options_(o),
      weight_(parameter("weight", uniform_weight(o, 1 / std::sqrt(o.in * o.kernel * o.kernel), init))),
      bias_(o.bias ? parameter("bias", init.constant({o.out}, 0)) : no_bias_),
      conv_offset_mask_(child<Conv2d>("conv_offset_mask", predictor(o, 3 * o.samples()), init)) {
  if (o.groups != 1) throw ArgumentError(fmt::format("ModulatedDeformConvPack: groups: expected 1, got {}", o.groups));
  conv_offset_mask_.visit_parameters([](const std::string&, Parameter& p) { Tensor(p.var.value()).fill_zero(); });
}

Var ModulatedDeformConvPack::forward(const Var& x) const {
  const auto [offset, mask] = modulation(conv_offset_mask_.forward(x), options_);
  return run(*this, options_, x, offset, mask, weight_, bias_);
}

DeformConvWithOffset::DeformConvWithOffset(const Options& o, Init& init)
    : offset_conv_(child<Conv2d>("offset_conv", predictor(o, 2 * o.samples()), init)), dcn_([&]() -> DeformConv2d& {
        Options inner = o;
        inner.bias = false;
        return child<DeformConv2d>("dcn", inner, init);
      }()) {}

Var DeformConvWithOffset::forward(const Var& x) const { return dcn_.forward(x, offset_conv_.forward(x)); }

ModulatedDeformConvWithOffset::ModulatedDeformConvWithOffset(const Options& o, Init& init)
    : options_(o),
      offset_mask_conv_(child<Conv2d>("offset_mask_conv", predictor(o, 3 * o.samples()), init)),
      dcnv2_(child<DeformConv2d>("dcnv2", o, init)) {}

Var ModulatedDeformConvWithOffset::forward(const Var& x) const {
  const auto [offset, mask] = modulation(offset_mask_conv_.forward(x), options_);
  return dcnv2_.forward(x, offset, mask);
}

}  // namespace segrt::nn
