#include "nn/layers.h"

#include <algorithm>
#include <cmath>

#include "autograd/conv.h"
#include "autograd/elementwise.h"
#include "autograd/op_attributes.h"
#include "core/error.h"
#include "kernels/elementwise.h"
#include "kernels/norm.h"
#include "kernels/optimizer.h"
#include "kernels/separable.h"

namespace segrt::nn {
namespace {
void observe(const LayerEvent& event) {
  Device& device = event.output.device();
  if (device.observer) device.observer(event);
}

// w[o,...] * factor[o], in `dtype`.
Tensor scaled_rows(const Tensor& w, const Tensor& factor, DType dtype) {
  Tensor scaled = Tensor::like(w);
  kernels::binary_forward(kernels::Binary::mul, w, factor.reshape({w.dim(0), 1, 1, 1}), scaled);
  if (dtype == w.dtype()) return scaled;
  Tensor narrow = Tensor::empty(w.shape(), dtype, w.device());
  kernels::cast(scaled, narrow);
  return narrow;
}

double uniform_bound(const Conv2d::Options& o) {
  return 1 / std::sqrt(static_cast<double>(o.kernel) * o.kernel * o.in / o.groups);
}

Tensor initial_weight(const Conv2d::Options& o, Init& init) {
  const Shape shape{o.out, o.kernel, o.kernel, o.in / o.groups};
  if (o.weight_init == Conv2d::WeightInit::uniform) return init.uniform(shape, -uniform_bound(o), uniform_bound(o));
  if (o.weight_std > 0) return init.normal(shape, o.weight_std);
  const int fan = o.weight_init == Conv2d::WeightInit::fan_out ? o.out : o.in / o.groups;
  return init.normal(shape, std::sqrt(2.0 / (static_cast<double>(o.kernel) * o.kernel * fan)));
}
}  // namespace

Conv2d::Conv2d(const Options& o, Init& init)
    : options_(o),
      geometry_(kernels::ConvGeometry::square({o.stride, o.padding, o.dilation, o.groups})),
      weight_(parameter("weight", initial_weight(o, init))),
      bias_(o.bias ? parameter("bias", o.bias_init == BiasInit::zeros
                                           ? init.constant({o.out}, 0)
                                           : init.uniform({o.out}, -uniform_bound(o), uniform_bound(o)))
                   : no_bias_) {
  if (o.groups < 1 || o.in % o.groups != 0 || o.out % o.groups != 0)
    throw ArgumentError("Conv2d: " + std::to_string(o.in) + " -> " + std::to_string(o.out) +
                        " channels do not divide into " + std::to_string(o.groups) + " groups");
}

void Conv2d::report(const Tensor& y, int64_t extra_parameters) const {
  if (!y.device().observer) return;
  const int64_t own = weight_.value().numel() + (bias_.defined() ? bias_.value().numel() : 0);
  observe({"conv2d", y, own + extra_parameters, kernels::conv2d_multiply_adds(y.shape(), weight_.shape())});
}

Var Conv2d::forward(const Var& x, const Var& residual) const {
  const ModuleScope scope(*this, "conv2d", x.device());
  if (recording({x, weight_, residual})) {
    const Var y = autograd::conv2d(x, autograd::compute_copy(weight_, x.dtype()), bias_, geometry_, residual);
    report(y.value(), 0);
    return y;
  }
  const Tensor y = fused(folded(nullptr, x.dtype()), x, residual, Act::none);
  report(y, 0);
  return y;
}

Tensor Conv2d::fused(const Folded& f, const Var& x, const Var& residual, Act act) const {
  Tensor y = Tensor::empty(kernels::conv2d_output_shape(x.shape(), weight_.shape(), geometry_), x.dtype(), x.device());
  const auto& see = y.device().op_observer;
  const bool silu_apart = act == Act::silu && see;  // who watches operators is told of it as one of them
  kernels::conv2d_forward(x.value(), f.weight,
                          {.bias = f.bias.defined() ? &f.bias : nullptr,
                           .residual = residual.defined() ? &residual.value() : nullptr,
                           .relu = act == Act::relu,
                           .silu = act == Act::silu && !silu_apart},
                          geometry_, y);
  if (see) {
    OpEvent event{"conv2d", {x.value(), f.weight, f.bias, residual.value()}, y, autograd::attributes_of(geometry_)};
    event.attributes["relu"] = {act == Act::relu ? 1.0 : 0.0};
    see(event);
  }
  if (silu_apart) {
    kernels::unary_forward(kernels::Unary::silu, y, y);
    see({"unary", {y}, y, {{"kind", {static_cast<double>(kernels::Unary::silu)}}, {"parameters", {0, 0}}}});
  }
  return y;
}

const Conv2d::Folded& Conv2d::folded(const BatchNorm* bn, DType dtype, Fold fold) const {
  std::array<uint64_t, 11> key{static_cast<uint64_t>(dtype) + 1, weight_.value().storage_id(),
                               weight_.value().version(), bias_.value().storage_id(), bias_.value().version()};
  if (bn != nullptr) {
    key[5] = bn->weight().value().storage_id();
    key[6] = bn->weight().value().version();
    key[7] = bn->bias().value().version();
    key[8] = bn->running_mean().version();
    key[9] = bn->running_var().version();
    key[10] = fold == Fold::scale ? 2 : 1;
  }
  if (folded_.key == key) return folded_;
  folded_.key = key;
  folded_.bias = bias_.value();
  if (bn == nullptr) {
    folded_.weight = weight_.value();
    if (dtype != weight_.dtype()) {
      folded_.weight = Tensor::empty(weight_.shape(), dtype, weight_.device());
      kernels::cast(weight_.value(), folded_.weight);
    }
    return folded_;
  }
  // bn(conv(x) + bias) = scale * conv(x) + shift. The norm's own kernel gives both: scale from ones without mean and
  // bias, shift from the convolution's bias (or zeros).
  Device& device = weight_.device();
  const Shape row{1, weight_.dim(0)};
  const Tensor zero = Tensor::zeros({weight_.dim(0)}, weight_.dtype(), device);
  Tensor ones = Tensor::empty(row, weight_.dtype(), device), scale = Tensor::like(ones), shift = Tensor::like(ones);
  kernels::fill(ones, 1);
  const kernels::BatchNormParams params{bn->running_mean(), bn->running_var(), bn->weight().value(), bn->bias().value(),
                                        bn->options().eps};
  kernels::batch_norm_apply(ones, {zero, params.var, params.weight, zero, params.eps}, nullptr, false, scale);
  const Tensor start = bias_.defined() ? bias_.value() : zero;
  kernels::batch_norm_apply(
      start.reshape(row),
      fold == Fold::scale ? kernels::BatchNormParams{zero, params.var, params.weight, zero, params.eps} : params,
      nullptr, false, shift);
  folded_.weight = scaled_rows(weight_.value(), scale, dtype);
  folded_.bias = shift.reshape({weight_.dim(0)});
  return folded_;
}

Var conv_bn(const Conv2d& conv, const BatchNorm& bn, const Var& x, Act act, const Var& residual) {
  if (bn.training() && !conv.bias_.defined() && !x.device().observer) {
    const ModuleScope scope(conv, "conv2d", x.device());
    const Var y = autograd::conv_batch_norm(x, autograd::compute_copy(conv.weight_, x.dtype()), conv.geometry_,
                                            bn.weight_, bn.bias_, bn.state(), residual, act == Act::relu);
    bn.count_batch();
    return act == Act::silu ? autograd::silu(y) : y;
  }
  // An observer wants to see the map between the two.
  if (bn.training() || recording({x, conv.weight_, bn.weight()})) return bn.forward(conv.forward(x), act, residual);
  const ModuleScope scope(conv, "conv2d", x.device());
  const Tensor y = conv.fused(conv.folded(&bn, x.dtype()), x, residual, act);
  conv.report(y, 2 * int64_t{bn.options().channels});
  return y;
}

Var concat_conv_bn(const std::vector<ConvBnPart>& parts) {
  if (parts.empty()) throw ArgumentError("concat_conv_bn: no parts");
  Device& device = parts[0].x.device();
  // An observer wants to see every part's map.
  bool in_slices = !device.observer && !device.op_observer;
  int64_t channels = 0;
  for (const ConvBnPart& p : parts) {
    in_slices = in_slices && !p.bn.training() && !recording({p.x, p.conv.weight_, p.bn.weight()});
    channels += p.conv.options_.out;
  }
  if (!in_slices) {
    std::vector<Var> maps;
    for (const ConvBnPart& p : parts) maps.push_back(conv_bn(p.conv, p.bn, p.x, p.act));
    return autograd::concat_channels(maps);
  }
  const ConvBnPart& first = parts[0];
  const Shape s = kernels::conv2d_output_shape(first.x.shape(), first.conv.weight_.shape(), first.conv.geometry_);
  Tensor y = Tensor::empty({s[0], s[1], s[2], channels}, first.x.dtype(), device);
  int64_t channel = 0;
  for (const ConvBnPart& p : parts) {
    const ModuleScope scope(p.conv, "conv2d", device);
    const Conv2d::Folded& f = p.conv.folded(&p.bn, p.x.dtype());
    kernels::conv2d_forward_slice(p.x.value(), f.weight,
                                  {.bias = &f.bias, .relu = p.act == Act::relu, .silu = p.act == Act::silu},
                                  p.conv.geometry_, y, channel);
    channel += p.conv.options_.out;
  }
  return y;
}

Var conv_pair_bn(const Conv2d& a, const Var& x, const Conv2d& b, const Var& z, const BatchNorm& bn, Act act) {
  if (bn.training() || recording({x, z, a.weight_, b.weight_, bn.weight()}))
    return bn.forward(b.forward(z, a.forward(x)), act);
  const ModuleScope scope(b, "conv2d", x.device());
  const Tensor first = a.fused(a.folded(&bn, x.dtype()), x, {}, Act::none);
  a.report(first, 0);
  const Tensor y = b.fused(b.folded(&bn, z.dtype(), Conv2d::Fold::scale), z, first, act);
  b.report(y, 2 * int64_t{bn.options().channels});
  return y;
}

Var separable_conv_bn(const Conv2d& depthwise, const Conv2d& pointwise, const BatchNorm& bn, const Var& x, Act act,
                      const Var& residual) {
  // An observer wants to see the map between the two.
  const bool one_pass = !bn.training() && !recording({x, depthwise.weight_, pointwise.weight_, bn.weight()}) &&
                        !x.device().observer && !x.device().op_observer &&
                        kernels::separable_conv2d_fuses(x.value(), pointwise.options_.out);
  if (!one_pass) return conv_bn(pointwise, bn, depthwise.forward(x), act, residual);
  const ModuleScope scope(pointwise, "separable_conv2d", x.device());
  const Conv2d::Folded &first = depthwise.folded(nullptr, x.dtype()), &second = pointwise.folded(&bn, x.dtype());
  const Shape middle = kernels::conv2d_output_shape(x.shape(), depthwise.weight_.shape(), depthwise.geometry_);
  Tensor y = Tensor::empty({middle[0], middle[1], middle[2], int64_t{pointwise.options_.out}}, x.dtype(), x.device());
  kernels::separable_conv2d_forward(x.value(), first.weight, depthwise.geometry_, second.weight,
                                    {.bias = &second.bias,
                                     .residual = residual.defined() ? &residual.value() : nullptr,
                                     .relu = act == Act::relu,
                                     .silu = act == Act::silu},
                                    y);
  return y;
}

BatchNorm::BatchNorm(const Options& o, Init& init)
    : options_(o),
      weight_(parameter("weight", init.constant({o.channels}, o.zero_weight ? 0 : 1))),
      bias_(parameter("bias", init.constant({o.channels}, 0))),
      running_mean_(buffer("running_mean", init.constant({o.channels}, 0))),
      running_var_(buffer("running_var", init.constant({o.channels}, 1))),
      batches_(buffer("num_batches_tracked", Tensor::zeros({}, DType::i64, init.device()), /*optional=*/true)) {}

autograd::BatchNormState BatchNorm::state() const {
  return {.running_mean = running_mean_,
          .running_var = running_var_,
          .eps = options_.eps,
          .momentum = options_.momentum,
          .training = training(),
          .processes = processes_,
          .mean_weight_gradient = mean_weight_gradient_};
}

void synchronize_batch_norms(Module& network, Communicator* processes, const BatchNorm::Synchronization& s) {
  network.visit_modules([&](const std::string&, Module& module) {
    if (auto* norm = dynamic_cast<BatchNorm*>(&module)) norm->synchronize(processes, s);
  });
}

void BatchNorm::count_batch() const {
  Tensor count = batches_.reshape({1});
  kernels::advance_step(count);
}

Var BatchNorm::forward(const Var& x, Act act, const Var& residual) const {
  const ModuleScope scope(*this, "batch_norm", x.device());
  Var y = autograd::batch_norm(x, weight_, bias_, state(), residual, act == Act::relu);
  if (training()) count_batch();
  observe({"batch_norm", y.value(), 2 * int64_t{options_.channels}, 0});
  if (act == Act::silu) y = autograd::silu(y);
  return y;
}

LayerNorm::LayerNorm(const Options& o, Init& init)
    : options_(o),
      weight_(parameter("weight", init.constant({o.channels}, 1))),
      bias_(parameter("bias", init.constant({o.channels}, 0))) {}

void LayerNorm::report(const Var& y) const { observe({"layer_norm", y.value(), 2 * int64_t{options_.channels}, 0}); }

Var LayerNorm::forward(const Var& x) const {
  const ModuleScope scope(*this, "layer_norm", x.device());
  const Var y = autograd::layer_norm(x, weight_, bias_, options_.eps);
  report(y);
  return y;
}

autograd::SumAndNorm LayerNorm::forward(const Var& x, const Var& branch) const {
  const ModuleScope scope(*this, "layer_norm", x.device());
  const autograd::SumAndNorm r = autograd::add_layer_norm(x, branch, weight_, bias_, options_.eps);
  report(r.norm);
  return r;
}

namespace {
constexpr double kTruncation = 2;

Tensor initial_weight(const Linear::Options& o, Init& init) {
  if (o.weight_std > 0) return init.truncated_normal({o.out, o.in}, o.weight_std, kTruncation);
  return init.uniform({o.out, o.in}, -1 / std::sqrt(o.in), 1 / std::sqrt(o.in));
}
Tensor initial_bias(const Linear::Options& o, Init& init) {
  if (o.weight_std > 0) return init.constant({o.out}, 0);
  return init.uniform({o.out}, -1 / std::sqrt(o.in), 1 / std::sqrt(o.in));
}
}  // namespace

Linear::Linear(const Options& o, Init& init)
    : options_(o),
      weight_(parameter("weight", initial_weight(o, init))),
      bias_(o.bias ? parameter("bias", initial_bias(o, init)) : no_bias_) {}

void Linear::report(const Tensor& y) const {
  if (!y.device().observer) return;
  const int64_t rows = y.numel() / std::max<int64_t>(1, y.dim(-1));
  observe(
      {"linear", y, weight_.value().numel() + (bias_.defined() ? options_.out : 0), rows * options_.in * options_.out});
}

Var Linear::forward(const Var& x) const {
  const ModuleScope scope(*this, "linear", x.device());
  const Var y = autograd::linear(x, autograd::compute_copy(weight_, x.dtype()), bias_);
  report(y.value());
  return y;
}

Var mlp(const Linear& first, const Linear& second, const Var& x) {
  // An observer wants to see the map between the two.
  if (x.device().observer) return second.forward(autograd::gelu(first.forward(x)));
  const ModuleScope scope(second, "mlp", x.device());
  const Var w1 = autograd::compute_copy(first.weight_, x.dtype()),
            w2 = autograd::compute_copy(second.weight_, x.dtype());
  return autograd::mlp(x, {w1, first.bias_, w2, second.bias_});
}

}  // namespace segrt::nn
