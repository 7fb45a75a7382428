#include "autograd/norm.h"

#include "autograd/conv_backward.h"
#include "core/error.h"
#include "core/op_event.h"
#include "kernels/norm.h"

namespace segrt::autograd {
namespace {
int64_t positions(const Shape& shape) {
  const int64_t channels = shape[shape.rank() - 1];
  return channels == 0 ? 0 : shape.numel() / channels;
}

// The statistics that x is normalised by.
struct Statistics {
  Tensor mean, var;
};

// In training `compute` fills those of the batch, and the running ones follow them.
template <typename Compute>
Statistics statistics(const Shape& x, const Var& weight, const BatchNormState& state, const Compute& compute) {
  if (!state.training) return {state.running_mean, state.running_var};
  const int64_t count = positions(x);
  if (count == 0) throw ArgumentError("batch_norm: x: training needs at least one position, got " + to_string(x));
  Statistics batch{Tensor::like(weight.value()), Tensor::like(weight.value())};
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

  struct Result {
    Tensor dx, dweight, dbias, dresidual;
  };
  Result operator()(const Tensor& dy) const {
    const kernels::BatchNormParams p{statistics.mean, statistics.var, weight, bias, eps};
    const Tensor* y_mask = mask.defined() ? &mask : nullptr;
    Result r;
    if (affine_wanted || training) {
      r.dbias = Tensor::like(weight);
      r.dweight = Tensor::like(weight);
      kernels::batch_norm_backward_reduce(dy, x, y_mask, p, r.dbias, r.dweight);
    }
    if (dx_wanted || residual_wanted) {
      Tensor dx = dx_wanted ? reuse_or_like(dy) : Tensor::like(dy);
      if (residual_wanted) r.dresidual = Tensor::like(dy);
      kernels::batch_norm_backward_apply(dy, x, y_mask, p, training ? &r.dbias : nullptr,
                                         training ? &r.dweight : nullptr, positions(x.shape()), dx,
                                         residual_wanted ? &r.dresidual : nullptr);
      if (dx_wanted) r.dx = dx;
    }
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
              .residual_wanted = residual.needs_grad()};
  return y;
}
}  // namespace

Var batch_norm(const Var& x, const Var& weight, const Var& bias, const BatchNormState& state, const Var& residual,
               bool relu) {
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
