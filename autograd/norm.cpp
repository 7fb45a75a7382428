#include "autograd/norm.h"

#include "autograd/conv.h"
#include "autograd/conv_backward.h"
#include "autograd/converted.h"
#include "autograd/norm_parts.h"
#include "core/op_event.h"
#include "core/op_scope.h"

namespace segrt::autograd {
int64_t norm_positions(const Shape& shape) {
  const int64_t channels = shape[shape.rank() - 1];
  return channels == 0 ? 0 : shape.numel() / channels;
}

void require_positions(const Shape& x) {
  if (norm_positions(x) == 0)
    throw ArgumentError("batch_norm: x: training needs at least one position, got " + to_string(x));
}

NormStatistics combined_statistics(const NormMessage& message, const Tensor& weight, const BatchNormState& state) {
  NormStatistics all{Tensor::like(weight), Tensor::like(weight), Tensor::empty({1}, weight.dtype(), weight.device())};
  Tensor unbiased = Tensor::like(weight);
  kernels::batch_norm_combine(message.all, all.mean, all.var, unbiased, all.count);
  Tensor running_mean = state.running_mean, running_var = state.running_var;
  if (running_mean.defined())  // a count of 1 leaves the variance as it is
    kernels::batch_norm_update_running(all.mean, unbiased, 1, state.momentum, running_mean, running_var);
  return all;
}

namespace {
// In training `compute` fills those of the batch, and the running ones follow them.
template <typename Compute>
NormStatistics statistics(const Shape& x, const Var& weight, const BatchNormState& state, const Compute& compute) {
  if (!state.training) return {state.running_mean, state.running_var, {}};
  require_positions(x);
  const int64_t count = norm_positions(x);
  if (state.synchronized()) {
    const NormMessage message = norm_message(count, weight.value(), state, compute);
    state.processes->all_gather(message.own, message.all);
    return combined_statistics(message, weight.value(), state);
  }
  NormStatistics batch{Tensor::like(weight.value()), Tensor::like(weight.value()), {}};
  compute(batch.mean, batch.var);
  Tensor running_mean = state.running_mean, running_var = state.running_var;
  if (running_mean.defined())
    kernels::batch_norm_update_running(batch.mean, batch.var, count, state.momentum, running_mean, running_var);
  return batch;
}

}  // namespace

NormBackward::Sums NormBackward::reduce(const Tensor& dy) const {
  Sums s;
  if (!affine_wanted && !training) return s;
  const kernels::BatchNormParams p{statistics.mean, statistics.var, weight, bias, eps};
  const bool travels = training && processes != nullptr && (dx_wanted || residual_wanted);
  const DType dtype = travels || by_sample ? message_dtype(weight) : weight.dtype();
  s.dbias = Tensor::empty(weight.shape(), dtype, weight.device());
  s.dweight = Tensor::like(s.dbias);
  kernels::batch_norm_backward_reduce(dy, x, mask.defined() ? &mask : nullptr, p, s.dbias, s.dweight);
  s.sum_dy = converted(s.dbias, weight.dtype());
  s.sum_dy_xhat = converted(s.dweight, weight.dtype());
  if (travels) {
    const int64_t channels = weight.numel();
    s.message = Tensor::empty({2 * channels}, dtype, weight.device());
    s.message.slice(0, channels).copy_from(s.dbias);
    s.message.slice(channels, channels).copy_from(s.dweight);
  }
  if (!by_sample) {
    s.dbias = s.sum_dy;
    s.dweight = s.sum_dy_xhat;
  }
  return s;
}

NormBackward::Result NormBackward::apply(const Tensor& dy, const Sums& sums) const {
  Result r{.dx = {}, .dweight = sums.dweight, .dbias = sums.dbias, .dresidual = {}};
  if (dx_wanted || residual_wanted) {
    const kernels::BatchNormParams p{statistics.mean, statistics.var, weight, bias, eps};
    int64_t count = norm_positions(x.shape());
    Tensor sum_dy = sums.sum_dy, sum_dy_xhat = sums.sum_dy_xhat;
    if (sums.message.defined()) {  // of all processes: means rather than sums: the count of all is on the device
      const int64_t channels = weight.numel();
      Tensor means = converted(sums.message, weight.dtype());
      kernels::binary_forward(kernels::Binary::div, means, statistics.count, means);
      sum_dy = means.slice(0, channels);
      sum_dy_xhat = means.slice(channels, channels);
      count = 1;
    }
    Tensor dx = dx_wanted ? reuse_or_like(dy) : Tensor::like(dy);
    if (residual_wanted) r.dresidual = Tensor::like(dy);
    kernels::batch_norm_backward_apply(dy, x, mask.defined() ? &mask : nullptr, p, training ? &sum_dy : nullptr,
                                       training ? &sum_dy_xhat : nullptr, count, dx,
                                       residual_wanted ? &r.dresidual : nullptr);
    if (dx_wanted) r.dx = dx;
  }
  if (mean_weight_gradient) kernels::scale(r.dweight, 1 / static_cast<double>(norm_positions(x.shape())), 0, r.dweight);
  return r;
}

Tensor apply_norm(const Tensor& x, const NormStatistics& s, const Var& weight, const Var& bias,
                  const BatchNormState& state, const Var& residual, bool relu, bool dx_wanted, NormBackward& backward) {
  Tensor y = Tensor::like(x);
  const kernels::BatchNormParams params{s.mean, s.var, weight.value(), bias.value(), state.eps};
  kernels::batch_norm_apply(x, params, residual.defined() ? &residual.value() : nullptr, relu, y);
  backward = {.x = x,
              .mask = relu ? y : Tensor(),
              .statistics = s,
              .weight = weight.value(),
              .bias = bias.value(),
              .eps = state.eps,
              .training = state.training,
              .dx_wanted = dx_wanted,
              .affine_wanted = weight.needs_grad() || bias.needs_grad(),
              .residual_wanted = residual.needs_grad(),
              .processes = state.synchronized() ? state.processes : nullptr,
              .mean_weight_gradient = state.synchronized() && state.mean_weight_gradient,
              .by_sample = sums_by_sample(weight) || sums_by_sample(bias)};
  return y;
}

Var batch_norm(const Var& x, const Var& weight, const Var& bias, const BatchNormState& state, const Var& residual,
               bool relu) {
  const FunctionScope scope("batch_norm", x.device());
  const NormStatistics s = statistics(x.shape(), weight, state, [&](Tensor& mean, Tensor& var) {
    kernels::batch_norm_statistics(x.value(), mean, var);
  });
  NormBackward gradients;
  const Tensor y = apply_norm(x.value(), s, weight, bias, state, residual, relu, x.needs_grad(), gradients);
  if (const auto& see = y.device().op_observer)
    see({"batch_norm",
         {x.value(), weight.value(), bias.value(), s.mean, s.var, residual.value()},
         y,
         {{"eps", {state.eps}}, {"relu", {relu ? 1.0 : 0.0}}}});
  return record("batch_norm", {x, weight, bias, residual}, y, [gradients](const Tensor& dy) -> Grads {
    const auto [dx, dweight, dbias, dresidual] = gradients(dy);
    return {dx, dweight, dbias, dresidual};
  });
}

Var conv_batch_norm(const Var& x, const Var& w, const kernels::ConvGeometry& g, const Var& weight, const Var& bias,
                    const BatchNormState& state, const Var& residual, bool relu) {
  // Who watches operators knows the parts.
  if (x.device().op_observer) return batch_norm(conv2d(x, w, {}, g), weight, bias, state, residual, relu);
  const FunctionScope scope("conv_batch_norm", x.device());
  Tensor z = Tensor::empty(kernels::conv2d_output_shape(x.shape(), w.shape(), g), x.dtype(), x.device());
  if (!state.training) kernels::conv2d_forward(x.value(), w.value(), {}, g, z);
  const NormStatistics s = statistics(z.shape(), weight, state, [&](Tensor& mean, Tensor& var) {
    kernels::conv2d_forward_statistics(x.value(), w.value(), g, z, mean, var);
  });
  NormBackward norm;
  const Tensor y = apply_norm(z, s, weight, bias, state, residual, relu, x.needs_grad() || w.needs_grad(), norm);
  const ConvBackward conv(x, w, g);
  return record("conv_batch_norm", {x, w, weight, bias, residual}, y, [norm, conv](const Tensor& dy) -> Grads {
    const auto [dz, dweight, dbias, dresidual] = norm(dy);
    const auto [dx, dw] = dz.defined() ? conv(dz) : ConvBackward::Result();
    return {dx, dw, dweight, dbias, dresidual};
  });
}

}  // namespace segrt::autograd
