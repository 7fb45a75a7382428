#include "autograd/norm.h"

#include "core/error.h"
#include "core/op_event.h"
#include "core/op_scope.h"
#include "kernels/norm.h"

namespace segrt::autograd {

Var batch_norm(const Var& x, const Var& weight, const Var& bias, const BatchNormState& state, const Var& residual,
               bool relu) {
  const FunctionScope scope("batch_norm", x.device());
  const int64_t channels = x.dim(-1);
  const int64_t count = channels == 0 ? 0 : x.value().numel() / channels;
  Tensor mean = state.running_mean, var = state.running_var;
  if (state.training) {
    if (count == 0)
      throw ArgumentError("batch_norm: x: training needs at least one position, got " + to_string(x.shape()));
    mean = Tensor::like(weight.value());
    var = Tensor::like(weight.value());
    kernels::batch_norm_statistics(x.value(), mean, var);
    Tensor running_mean = state.running_mean, running_var = state.running_var;
    if (running_mean.defined())
      kernels::batch_norm_update_running(mean, var, count, state.momentum, running_mean, running_var);
  }
  Tensor y = Tensor::like(x.value());
  const kernels::BatchNormParams params{mean, var, weight.value(), bias.value(), state.eps};
  kernels::batch_norm_apply(x.value(), params, residual.defined() ? &residual.value() : nullptr, relu, y);
  if (const auto& see = y.device().op_observer)
    see({"batch_norm",
         {x.value(), weight.value(), bias.value(), mean, var, residual.value()},
         y,
         {{"eps", {state.eps}}, {"relu", {relu ? 1.0 : 0.0}}}});

  // The ReLU mask is recomputed from y, which the next layer keeps anyway; without ReLU y is not kept.
  return record("batch_norm", {x, weight, bias, residual}, y,
                [xv = x.value(), mask = relu ? y : Tensor(), mean, var, weight_v = weight.value(),
                 bias_v = bias.value(), eps = state.eps, training = state.training, count, dx_wanted = x.needs_grad(),
                 affine_wanted = weight.needs_grad() || bias.needs_grad(),
                 residual_wanted = residual.needs_grad()](const Tensor& dy) -> Grads {
                  const kernels::BatchNormParams p{mean, var, weight_v, bias_v, eps};
                  const Tensor* y_mask = mask.defined() ? &mask : nullptr;
                  Tensor sum_dy, sum_dy_xhat, dx, dresidual;
                  if (affine_wanted || training) {
                    sum_dy = Tensor::like(weight_v);
                    sum_dy_xhat = Tensor::like(weight_v);
                    kernels::batch_norm_backward_reduce(dy, xv, y_mask, p, sum_dy, sum_dy_xhat);
                  }
                  if (dx_wanted || residual_wanted) {
                    dx = dx_wanted ? reuse_or_like(dy) : Tensor::like(dy);
                    if (residual_wanted) dresidual = Tensor::like(dy);
                    kernels::batch_norm_backward_apply(dy, xv, y_mask, p, training ? &sum_dy : nullptr,
                                                       training ? &sum_dy_xhat : nullptr, count, dx,
                                                       residual_wanted ? &dresidual : nullptr);
                  }
                  return {dx_wanted ? dx : Tensor(), sum_dy_xhat, sum_dy, dresidual};
                });
}

}  // namespace segrt::autograd
