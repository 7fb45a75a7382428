#include "kernels/norm.h"

#include <fmt/format.h>

#include "core/op_scope.h"
#include "kernels/check.h"
#include "kernels/cpu/norm.h"
#include "kernels/cuda/norm.h"
#include "kernels/dispatch.h"

namespace segrt::kernels {
namespace {
void require_activation(std::string_view op, std::string_view name, const Tensor& x) {
  require_float(op, name, x);
  if (x.rank() < 1 || x.dim(-1) < 1)
    throw ArgumentError(fmt::format("{}: {}: expected [..., C] with C >= 1, got {}", op, name, to_string(x.shape())));
}

void require_params(std::string_view op, const Tensor& x, const BatchNormParams& p) {
  require_channel_vector(op, "mean", p.mean, x);
  require_channel_vector(op, "var", p.var, x);
  require_channel_vector(op, "weight", p.weight, x);
  require_channel_vector(op, "bias", p.bias, x);
  if (!(p.eps >= 0)) throw ArgumentError(fmt::format("{}: eps: expected a number >= 0, got {}", op, p.eps));
}
}  // namespace

void batch_norm_statistics(const Tensor& x, Tensor& mean, Tensor& var) {
  constexpr std::string_view kOp = "batch_norm_statistics";
  require_activation(kOp, "x", x);
  require_channel_statistics(kOp, "mean", mean, "var", var, x);
  if (x.numel() == 0) {
    mean.fill_zero();
    var.fill_zero();
    return;
  }
  const OpScope scope(kOp, mean, [&] { return OpWork{bytes_of(x, mean, var)}; });
  on_device(
      x, [&] { cuda::batch_norm_statistics(x, mean, var); }, [&] { cpu::batch_norm_statistics(x, mean, var); });
}

void batch_norm_from_sums(const Tensor& sum, const Tensor& sum_squares, int64_t count, Tensor& mean, Tensor& var) {
  constexpr std::string_view kOp = "batch_norm_from_sums";
  require_rank(kOp, "sum", sum, 1);
  require_dtype(kOp, "sum", sum, {DType::f32, DType::f64});
  require_float(kOp, "sum", sum);  // no f64 on CUDA
  require_same(kOp, "sum", sum, "sum_squares", sum_squares);
  require_same(kOp, "sum", sum, "mean", mean);
  require_same(kOp, "sum", sum, "var", var);
  if (count < 1) throw ArgumentError(fmt::format("{}: count: expected at least 1, got {}", kOp, count));
  if (sum.numel() == 0) return;
  const OpScope scope(kOp, mean, [&] { return OpWork{bytes_of(sum, sum_squares, mean, var)}; });
  on_device(
      sum, [&] { cuda::batch_norm_from_sums(sum, sum_squares, count, mean, var); },
      [&] { cpu::batch_norm_from_sums(sum, sum_squares, count, mean, var); });
}

void batch_norm_combine(const Tensor& messages, Tensor& mean, Tensor& var, Tensor& unbiased_var, Tensor& count) {
  constexpr std::string_view kOp = "batch_norm_combine";
  require_rank(kOp, "messages", messages, 2);
  require_dtype(kOp, "messages", messages, {DType::f32, DType::f64});
  require_float(kOp, "messages", messages);  // no f64 on CUDA
  require(messages.dim(0) >= 1 && messages.dim(1) % 2 == 1, kOp,
          "messages: expected [R, 2C+1], got " + describe(messages));
  const Shape channels{messages.dim(1) / 2};
  for (const auto& [name, t] : {std::pair{"mean", &mean}, {"var", &var}, {"unbiased_var", &unbiased_var}})
    require_shape(kOp, name, *t, channels);
  require_shape(kOp, "count", count, {1});
  if (messages.dtype() == DType::f64)
    require_dtype(kOp, "mean", mean, {DType::f32, DType::f64});
  else
    require_dtype(kOp, "mean", mean, {DType::f32});
  for (const Tensor* t : {&mean, &var, &unbiased_var, &count}) {
    require_device(kOp, "statistics", *t, messages);
    require_dtype(kOp, "statistics", *t, {mean.dtype()});
  }
  const OpScope scope(kOp, mean, [&] { return OpWork{bytes_of(messages, mean, var, unbiased_var)}; });
  on_device(
      messages, [&] { cuda::batch_norm_combine(messages, mean, var, unbiased_var, count); },
      [&] { cpu::batch_norm_combine(messages, mean, var, unbiased_var, count); });
}

void batch_norm_update_running(const Tensor& mean, const Tensor& var, int64_t count, double momentum,
                               Tensor& running_mean, Tensor& running_var) {
  constexpr std::string_view kOp = "batch_norm_update_running";
  require_rank(kOp, "mean", mean, 1);
  require_dtype(kOp, "mean", mean, {DType::f32, DType::f64});
  require_float(kOp, "mean", mean);  // no f64 on CUDA
  require_same(kOp, "mean", mean, "var", var);
  require_same(kOp, "mean", mean, "running_mean", running_mean);
  require_same(kOp, "mean", mean, "running_var", running_var);
  if (count < 1) throw ArgumentError(fmt::format("{}: count: expected at least 1, got {}", kOp, count));
  running_mean.bump_version();
  running_var.bump_version();
  if (mean.numel() == 0) return;
  const OpScope scope(kOp, running_mean, [&] {
    return OpWork{bytes_of(mean, var, running_mean, running_mean, running_var, running_var)};
  });
  on_device(
      mean, [&] { cuda::batch_norm_update_running(mean, var, count, momentum, running_mean, running_var); },
      [&] { cpu::batch_norm_update_running(mean, var, count, momentum, running_mean, running_var); });
}

void batch_norm_apply(const Tensor& x, const BatchNormParams& p, const Tensor* residual, bool relu, Tensor& y) {
  constexpr std::string_view kOp = "batch_norm_apply";
  require_activation(kOp, "x", x);
  require_params(kOp, x, p);
  if (residual != nullptr) require_same(kOp, "x", x, "residual", *residual);
  require_same(kOp, "x", x, "y", y);
  if (x.numel() == 0) return;
  const OpScope scope(kOp, y, [&] { return OpWork{bytes_of(x, residual, y)}; });
  on_device(
      x, [&] { cuda::batch_norm_apply(x, p, residual, relu, y); },
      [&] { cpu::batch_norm_apply(x, p, residual, relu, y); });
}

void batch_norm_backward_reduce(const Tensor& dy, const Tensor& x, const Tensor* y, const BatchNormParams& p,
                                Tensor& sum_dy, Tensor& sum_dy_xhat) {
  constexpr std::string_view kOp = "batch_norm_backward_reduce";
  require_activation(kOp, "x", x);
  require_same(kOp, "x", x, "dy", dy);
  if (y != nullptr) require_same(kOp, "x", x, "y", *y);
  require_params(kOp, x, p);
  require_channel_statistics(kOp, "sum_dy", sum_dy, "sum_dy_xhat", sum_dy_xhat, x);
  if (x.numel() == 0) {
    sum_dy.fill_zero();
    sum_dy_xhat.fill_zero();
    return;
  }
  const OpScope scope(kOp, sum_dy, [&] { return OpWork{bytes_of(dy, x, y)}; });
  on_device(
      x, [&] { cuda::batch_norm_backward_reduce(dy, x, y, p, sum_dy, sum_dy_xhat); },
      [&] { cpu::batch_norm_backward_reduce(dy, x, y, p, sum_dy, sum_dy_xhat); });
}

void batch_norm_backward_apply(const Tensor& dy, const Tensor& x, const Tensor* y, const BatchNormParams& p,
                               const Tensor* sum_dy, const Tensor* sum_dy_xhat, int64_t count, Tensor& dx,
                               Tensor* dresidual) {
  constexpr std::string_view kOp = "batch_norm_backward_apply";
  require_activation(kOp, "x", x);
  require_same(kOp, "x", x, "dy", dy);
  if (y != nullptr) require_same(kOp, "x", x, "y", *y);
  require_params(kOp, x, p);
  require((sum_dy == nullptr) == (sum_dy_xhat == nullptr), kOp,
          "sum_dy and sum_dy_xhat: expected both (training) or neither (frozen statistics), got one");
  if (sum_dy != nullptr) {
    require_channel_vector(kOp, "sum_dy", *sum_dy, x);
    require_channel_vector(kOp, "sum_dy_xhat", *sum_dy_xhat, x);
    if (count < 1 && x.numel() > 0)
      throw ArgumentError(fmt::format("{}: count: expected at least 1, got {}", kOp, count));
  }
  require_same(kOp, "x", x, "dx", dx);
  if (dresidual != nullptr) {
    require_same(kOp, "x", x, "dresidual", *dresidual);
    require(x.numel() == 0 || x.device().is_meta() || dresidual->raw() != dx.raw(), kOp,
            "dresidual: expected memory of its own, got that of dx");
  }
  if (x.numel() == 0) return;
  const OpScope scope(kOp, dx, [&] { return OpWork{bytes_of(dy, x, y, dx, dresidual)}; });
  on_device(
      x, [&] { cuda::batch_norm_backward_apply(dy, x, y, p, sum_dy, sum_dy_xhat, count, dx, dresidual); },
      [&] { cpu::batch_norm_backward_apply(dy, x, y, p, sum_dy, sum_dy_xhat, count, dx, dresidual); });
}

}  // namespace segrt::kernels
