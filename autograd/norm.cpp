#include "autograd/norm.h"

#include "autograd/conv.h"
#include "autograd/conv_backward.h"
#include "core/error.h"
#include "core/op_event.h"
#include "core/op_scope.h"
#include "kernels/elementwise.h"
#include "kernels/norm.h"

namespace segrt::autograd {
namespace {
int64_t positions(const Shape& shape) {
  const int64_t channels = shape[shape.rank() - 1];
  return channels == 0 ? 0 : shape.numel() / channels;
}

void round_to(const Tensor& from, Tensor& to) {
  from.dtype() == to.dtype() ? to.copy_from(from) : kernels::cast(from, to);
}

// The statistics that x is normalised by.
struct Statistics {
  Tensor mean, var;
  Tensor count;  // [1], of the positions of all processes; undefined where only this one's count
};

// What a batch norm's message is in. On CPUs f64, so that the sums over all processes, rounded once, are the bits that
// one process with all positions has.
DType message_dtype(const Tensor& weight) { return weight.device().is_cpu() ? DType::f64 : weight.dtype(); }

// `compute` gives those of this process, which travel as one message: mean, var, count. All processes combine the same
// messages in the same order.
template <typename Compute>
Statistics synchronized_statistics(int64_t count, const Tensor& weight, const BatchNormState& state,
                                   const Compute& compute) {
  const int64_t channels = weight.numel();
  const Tensor message = Tensor::empty({2 * channels + 1}, message_dtype(weight), weight.device());
  Tensor mean = message.slice(0, channels), var = message.slice(channels, channels), n = message.slice(2 * channels, 1);
  compute(mean, var);
  kernels::fill(n, static_cast<double>(count));
  const Tensor messages = Tensor::empty({state.processes->size(), message.numel()}, message.dtype(), weight.device());
  state.processes->all_gather(message, messages);
  Statistics all{Tensor::like(weight), Tensor::like(weight), Tensor::empty({1}, weight.dtype(), weight.device())};
  Tensor unbiased = Tensor::like(weight);
  kernels::batch_norm_combine(messages, all.mean, all.var, unbiased, all.count);
  Tensor running_mean = state.running_mean, running_var = state.running_var;
  if (running_mean.defined())  // a count of 1 leaves the variance as it is
    kernels::batch_norm_update_running(all.mean, unbiased, 1, state.momentum, running_mean, running_var);
  return all;
}

// In training `compute` fills those of the batch, and the running ones follow them.
template <typename Compute>
Statistics statistics(const Shape& x, const Var& weight, const BatchNormState& state, const Compute& compute) {
  if (!state.training) return {state.running_mean, state.running_var, {}};
  const int64_t count = positions(x);
  if (count == 0) throw ArgumentError("batch_norm: x: training needs at least one position, got " + to_string(x));
  if (state.synchronized()) return synchronized_statistics(count, weight.value(), state, compute);
  Statistics batch{Tensor::like(weight.value()), Tensor::like(weight.value()), {}};
  compute(batch.mean, batch.var);
  Tensor running_mean = state.running_mean, running_var = state.running_var;
  if (running_mean.defined())
    kernels::batch_norm_update_running(batch.mean, batch.var, count, state.momentum, running_mean, running_var);
  return batch;
}

// Gradients of y = act(bn(x) + residual).
struct NormBackward {
  Tensor x;
  Tensor mask;  // y where there is a ReLU: its mask is recomputed from y, which the next layer keeps anyway
  Statistics statistics;
  Tensor weight, bias;
  double eps;
  bool training, dx_wanted, affine_wanted, residual_wanted;
  Communicator* processes;  // whose sums dx needs; nullptr: this one's
  bool mean_weight_gradient;

  struct Result {
    Tensor dx, dweight, dbias, dresidual;
  };
  Result operator()(const Tensor& dy) const {
    const kernels::BatchNormParams p{statistics.mean, statistics.var, weight, bias, eps};
    const Tensor* y_mask = mask.defined() ? &mask : nullptr;
    Result r;
    const bool synchronized = training && processes != nullptr && (dx_wanted || residual_wanted);
    Tensor sums;  // [2C] of dy, of dy * xhat: what travels
    if (affine_wanted || training) {
      r.dbias = Tensor::like(weight);
      r.dweight = Tensor::like(weight);
      if (synchronized) {
        sums = Tensor::empty({2 * weight.numel()}, message_dtype(weight), weight.device());
        Tensor sum_dy = sums.slice(0, weight.numel()), sum_dy_xhat = sums.slice(weight.numel(), weight.numel());
        kernels::batch_norm_backward_reduce(dy, x, y_mask, p, sum_dy, sum_dy_xhat);
        round_to(sum_dy, r.dbias);
        round_to(sum_dy_xhat, r.dweight);
      } else {
        kernels::batch_norm_backward_reduce(dy, x, y_mask, p, r.dbias, r.dweight);
      }
    }
    if (dx_wanted || residual_wanted) {
      int64_t count = positions(x.shape());
      Tensor sum_dy = r.dbias, sum_dy_xhat = r.dweight;
      if (synchronized) {  // means rather than sums: the count of all is on the device
        processes->all_reduce(sums);
        Tensor means = Tensor::empty(sums.shape(), weight.dtype(), weight.device());
        round_to(sums, means);
        kernels::binary_forward(kernels::Binary::div, means, statistics.count, means);
        sum_dy = means.slice(0, weight.numel());
        sum_dy_xhat = means.slice(weight.numel(), weight.numel());
        count = 1;
      }
      Tensor dx = dx_wanted ? reuse_or_like(dy) : Tensor::like(dy);
      if (residual_wanted) r.dresidual = Tensor::like(dy);
      kernels::batch_norm_backward_apply(dy, x, y_mask, p, training ? &sum_dy : nullptr,
                                         training ? &sum_dy_xhat : nullptr, count, dx,
                                         residual_wanted ? &r.dresidual : nullptr);
      if (dx_wanted) r.dx = dx;
    }
    if (mean_weight_gradient) kernels::scale(r.dweight, 1 / static_cast<double>(positions(x.shape())), 0, r.dweight);
    return r;
  }
};

// Normalises x; what its backward pass keeps goes into `backward`.
Tensor apply(const Tensor& x, const Statistics& s, const Var& weight, const Var& bias, const BatchNormState& state,
             const Var& residual, bool relu, bool dx_wanted, NormBackward& backward) {
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
              .mean_weight_gradient = state.synchronized() && state.mean_weight_gradient};
  return y;
}
}  // namespace

Var batch_norm(const Var& x, const Var& weight, const Var& bias, const BatchNormState& state, const Var& residual,
               bool relu) {
  const FunctionScope scope("batch_norm", x.device());
  const Statistics s = statistics(x.shape(), weight, state, [&](Tensor& mean, Tensor& var) {
    kernels::batch_norm_statistics(x.value(), mean, var);
  });
  NormBackward gradients;
  const Tensor y = apply(x.value(), s, weight, bias, state, residual, relu, x.needs_grad(), gradients);
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
  const Statistics s = statistics(z.shape(), weight, state, [&](Tensor& mean, Tensor& var) {
    kernels::conv2d_forward_statistics(x.value(), w.value(), g, z, mean, var);
  });
  NormBackward norm;
  const Tensor y = apply(z, s, weight, bias, state, residual, relu, x.needs_grad() || w.needs_grad(), norm);
  const ConvBackward conv{x.value(), w.value(), g, x.needs_grad(), w.needs_grad()};
  return record("conv_batch_norm", {x, w, weight, bias, residual}, y, [norm, conv](const Tensor& dy) -> Grads {
    const auto [dz, dweight, dbias, dresidual] = norm(dy);
    const auto [dx, dw] = dz.defined() ? conv(dz) : ConvBackward::Result();
    return {dx, dw, dweight, dbias, dresidual};
  });
}

}  // namespace segrt::autograd
