#include "kernels/elementwise.h"

#include <fmt/format.h>

#include "core/op_scope.h"
#include "kernels/broadcast.h"
#include "kernels/check.h"
#include "kernels/cpu/elementwise.h"
#include "kernels/cuda/elementwise.h"
#include "kernels/dispatch.h"
#include "kernels/elementwise_formulas.h"

namespace segrt::kernels {

void unary_forward(Unary op, const Tensor& x, Tensor& y, UnaryParams params) {
  require_float("unary_forward", "x", x);
  require_same("unary_forward", "x", x, "y", y);
  if (x.numel() == 0) return;
  const OpScope scope("unary_forward", y, [&] { return OpWork{bytes_of(x, y)}; });
  on_device(
      x, [&] { cuda::unary_forward(op, x, y, params); }, [&] { cpu::unary_forward(op, x, y, params); });
}

void unary_backward(Unary op, const Tensor& x, const Tensor& y, const Tensor& dy, Tensor& dx, UnaryParams params) {
  const bool uses_y = unary_backward_uses_y(op);
  const Tensor& value = uses_y ? y : x;
  require_float("unary_backward", "dy", dy);
  require_same("unary_backward", "dy", dy, uses_y ? "y" : "x", value);
  require_same("unary_backward", "dy", dy, "dx", dx);
  if (dy.numel() == 0) return;
  const OpScope scope("unary_backward", dx, [&] { return OpWork{bytes_of(value, dy, dx)}; });
  on_device(
      dy, [&] { cuda::unary_backward(op, value, dy, dx, params); },
      [&] { cpu::unary_backward(op, value, dy, dx, params); });
}

void binary_forward(Binary op, const Tensor& a, const Tensor& b, Tensor& y) {
  constexpr std::string_view kOp = "binary_forward";
  require_float(kOp, "a", a);
  require_dtype(kOp, "b", b, {a.dtype()});
  require_device(kOp, "b", b, a);
  if (!broadcasts_to(b.shape(), a.shape()))
    throw ArgumentError(fmt::format("{}: b: expected extents equal to those of a {} or 1, got {}", kOp,
                                    to_string(a.shape()), to_string(b.shape())));
  require_same(kOp, "a", a, "y", y);
  if (a.numel() == 0) return;
  const Runs runs = runs_of(b.shape(), a.shape());
  const OpScope scope(kOp, y, [&] { return OpWork{bytes_of(a, b, y)}; });
  on_device(
      a, [&] { cuda::binary_forward(op, a, b, runs, y); }, [&] { cpu::binary_forward(op, a, b, runs, y); });
}

void add_scaled(const Tensor& a, double alpha, const Tensor& b, double beta, Tensor& y) {
  require_float("add_scaled", "a", a);
  require_same("add_scaled", "a", a, "b", b);
  require_same("add_scaled", "a", a, "y", y);
  if (a.numel() == 0) return;
  const OpScope scope("add_scaled", y, [&] { return OpWork{bytes_of(a, b, y)}; });
  on_device(
      a, [&] { cuda::add_scaled(a, alpha, b, beta, y); }, [&] { cpu::add_scaled(a, alpha, b, beta, y); });
}

void scale(const Tensor& x, double alpha, double beta, Tensor& y) {
  require_float("scale", "x", x);
  require_same("scale", "x", x, "y", y);
  if (x.numel() == 0) return;
  const OpScope scope("scale", y, [&] { return OpWork{bytes_of(x, y)}; });
  on_device(
      x, [&] { cuda::scale(x, alpha, beta, y); }, [&] { cpu::scale(x, alpha, beta, y); });
}

void dropout(const Tensor& x, double p, uint64_t seed, uint64_t layer, const Tensor& step, Tensor& y,
             const SampleShare& share) {
  require_float("dropout", "x", x);
  if (!(p >= 0 && p < 1)) throw ArgumentError(fmt::format("dropout: p: expected 0 <= p < 1, got {}", p));
  require_shape("dropout", "step", step, Shape{1});
  require_dtype("dropout", "step", step, {DType::i64});
  require_device("dropout", "step", step, x);
  require_same("dropout", "x", x, "y", y);
  require(share.whole() || x.rank() >= 1, "dropout", "x: expected [N,...] with a share of a batch, got " + describe(x));
  require(share.first >= 0 && share.stride >= 1, "dropout", "share: expected first >= 0 and stride >= 1");
  if (x.numel() == 0) return;
  const OpScope scope("dropout", y, [&] { return OpWork{bytes_of(x, y)}; });
  on_device(
      x, [&] { cuda::dropout(x, p, seed, layer, step, y, share); },
      [&] { cpu::dropout(x, p, seed, layer, step, y, share); });
}

void normalize_u8(const Tensor& x, const Normalization& n, Tensor& y) {
  require_rank("normalize_u8", "x", x, 4);
  require_dtype("normalize_u8", "x", x, {DType::u8});
  require_float("normalize_u8", "y", y);
  require_rank("normalize_u8", "y", y, 4);
  require_device("normalize_u8", "y", y, x);
  if (x.dim(3) != 3)
    throw ArgumentError(fmt::format("normalize_u8: x: expected [N,H,W,3], got {}", to_string(x.shape())));
  if (y.dim(0) != x.dim(0) || y.dim(1) != x.dim(1) || y.dim(2) != x.dim(2) || y.dim(3) < 3)
    throw ArgumentError(fmt::format("normalize_u8: y: expected [{},{},{},C] with C >= 3, got {}", x.dim(0), x.dim(1),
                                    x.dim(2), to_string(y.shape())));
  for (int c = 0; c < 3; ++c)
    if (!(n.std[c] > 0))
      throw ArgumentError(fmt::format("normalize_u8: std: expected numbers > 0, got {} for channel {}", n.std[c], c));
  if (!(n.unit > 0)) throw ArgumentError(fmt::format("normalize_u8: unit: expected a number > 0, got {}", n.unit));
  if (x.numel() == 0) return;
  const OpScope scope("normalize_u8", y, [&] { return OpWork{bytes_of(x, y)}; });
  on_device(
      x, [&] { cuda::normalize_u8(x, n, y); }, [&] { cpu::normalize_u8(x, n, y); });
}

}  // namespace segrt::kernels
