#include "kernels/layer_norm.h"

#include <fmt/format.h>

#include "core/op_scope.h"
#include "kernels/check.h"
#include "kernels/cpu/layer_norm.h"
#include "kernels/cuda/layer_norm.h"
#include "kernels/dispatch.h"

namespace segrt::kernels {
namespace {
void require_activation(std::string_view op, const Tensor& x) {
  require_float(op, "x", x);
  if (x.rank() < 1 || x.dim(-1) < 1)
    throw ArgumentError(fmt::format("{}: x: expected [..., C] with C >= 1, got {}", op, to_string(x.shape())));
}

void require_rows(std::string_view op, const Tensor& x, const RowStatistics& s) {
  const int64_t rows = x.numel() / x.dim(-1);
  const DType dtype = x.dtype() == DType::f64 ? DType::f64 : DType::f32;
  for (const auto& [name, t] : {std::pair<std::string_view, const Tensor&>{"mean", s.mean}, {"rstd", s.rstd}}) {
    require_defined(op, name, t);
    require_shape(op, name, t, {rows});
    require_dtype(op, name, t, {dtype});
    require_device(op, name, t, x);
  }
}

void forward(std::string_view op, const Tensor& x, const Tensor* branch, const LayerNormParams& p, Tensor* sum,
             Tensor& y, RowStatistics& s) {
  require_activation(op, x);
  require_channel_vector(op, "weight", p.weight, x);
  require_channel_vector(op, "bias", p.bias, x);
  if (!(p.eps >= 0)) throw ArgumentError(fmt::format("{}: eps: expected a number >= 0, got {}", op, p.eps));
  if (branch != nullptr) {
    require_same(op, "x", x, "branch", *branch);
    require_same(op, "x", x, "sum", *sum);
  }
  require_same(op, "x", x, "y", y);
  require_rows(op, x, s);
  if (x.numel() == 0) return;
  const OpScope scope(op, y, [&] { return OpWork{bytes_of(x, branch, sum, y)}; });
  on_device(
      x, [&] { cuda::layer_norm_forward(x, branch, p, sum, y, s); },
      [&] { cpu::layer_norm_forward(x, branch, p, sum, y, s); });
}
}  // namespace

void layer_norm_forward(const Tensor& x, const LayerNormParams& p, Tensor& y, RowStatistics& s) {
  forward("layer_norm", x, nullptr, p, nullptr, y, s);
}

void add_layer_norm_forward(const Tensor& x, const Tensor& branch, const LayerNormParams& p, Tensor& sum, Tensor& y,
                            RowStatistics& s) {
  forward("add_layer_norm", x, &branch, p, &sum, y, s);
}

void layer_norm_backward_input(const Tensor& dy, const Tensor& x, const Tensor& weight, const RowStatistics& s,
                               const Tensor* dresidual, Tensor& dx) {
  constexpr std::string_view kOp = "layer_norm_backward_input";
  require_activation(kOp, x);
  require_same(kOp, "x", x, "dy", dy);
  require_channel_vector(kOp, "weight", weight, x);
  require_rows(kOp, x, s);
  if (dresidual != nullptr) require_same(kOp, "x", x, "dresidual", *dresidual);
  require_same(kOp, "x", x, "dx", dx);
  if (x.numel() == 0) return;
  const OpScope scope(kOp, dx, [&] { return OpWork{bytes_of(dy, x, dresidual, dx)}; });
  on_device(
      x, [&] { cuda::layer_norm_backward_input(dy, x, weight, s, dresidual, dx); },
      [&] { cpu::layer_norm_backward_input(dy, x, weight, s, dresidual, dx); });
}

void layer_norm_backward_weight(const Tensor& dy, const Tensor& x, const RowStatistics& s, Tensor& dweight,
                                Tensor& dbias) {
  constexpr std::string_view kOp = "layer_norm_backward_weight";
  require_activation(kOp, x);
  require_same(kOp, "x", x, "dy", dy);
  require_rows(kOp, x, s);
  require_channel_vector(kOp, "dweight", dweight, x);
  require_channel_vector(kOp, "dbias", dbias, x);
  if (x.numel() == 0) {
    dweight.fill_zero();
    dbias.fill_zero();
    return;
  }
  const OpScope scope(kOp, dweight, [&] { return OpWork{bytes_of(dy, x)}; });
  on_device(
      x, [&] { cuda::layer_norm_backward_weight(dy, x, s, dweight, dbias); },
      [&] { cpu::layer_norm_backward_weight(dy, x, s, dweight, dbias); });
}

}  // namespace segrt::kernels
