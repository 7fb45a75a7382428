#include "kernels/linear.h"

#include "kernels/check.h"
#include "kernels/cuda/linear.h"
#include "kernels/dispatch.h"
#include "kernels/elementwise.h"
#include "kernels/matmul.h"
#include "kernels/reduce.h"
#include "kernels/vendor/cublaslt_matmul.h"

namespace segrt::kernels {
namespace {
void require_matrix(std::string_view op, std::string_view name, const Tensor& t, const Shape& shape, const Tensor& x) {
  require_shape(op, name, t, shape);
  require_dtype(op, name, t, {x.dtype()});
  require_device(op, name, t, x);
}

void activate(LinearActivation activation, const Tensor& z, Tensor& y) {
  if (activation != LinearActivation::none)
    unary_forward(activation == LinearActivation::relu ? Unary::relu : Unary::gelu, z, y);
  else if (z.raw() != y.raw())
    y.copy_from(z);
}
}  // namespace

void linear_forward(const Tensor& x, const Tensor& w, const LinearEpilogue& e, Tensor& y) {
  constexpr std::string_view kOp = "linear";
  require_float(kOp, "x", x);
  require_rank(kOp, "x", x, 2);
  require_rank(kOp, "w", w, 2);
  require_matrix(kOp, "w", w, {w.dim(0), x.dim(1)}, x);
  require_matrix(kOp, "y", y, {x.dim(0), w.dim(0)}, x);
  if (e.pre != nullptr) require_same(kOp, "y", y, "pre", *e.pre);
  if (e.bias != nullptr) require_channel_vector(kOp, "bias", *e.bias, y);
  if (y.numel() == 0) return;
  const auto two_passes = [&] {
    Tensor& z = e.pre != nullptr ? *e.pre : y;
    matmul(x, w, {.transpose_b = true, .bias = e.bias}, z);
    activate(e.activation, z, y);
  };
  const bool plain = e.activation == LinearActivation::none && e.pre == nullptr;
  if (plain || x.numel() == 0) return two_passes();
  on_device(
      x,
      [&]() {
        if (!vendor::cublaslt_linear_forward(x, w, e, y)) cuda::linear_forward(x, w, e, y);
      },
      two_passes);
}

void linear_backward_input(const Tensor& dy, const Tensor& w, const Tensor* pre, Tensor& dx) {
  constexpr std::string_view kOp = "linear_backward_input";
  require_float(kOp, "dy", dy);
  require_rank(kOp, "dy", dy, 2);
  require_rank(kOp, "w", w, 2);
  require_matrix(kOp, "w", w, {dy.dim(1), w.dim(1)}, dy);
  require_matrix(kOp, "dx", dx, {dy.dim(0), w.dim(1)}, dy);
  if (pre != nullptr) require_same(kOp, "dx", dx, "pre", *pre);
  if (dx.numel() == 0) return;
  const auto two_passes = [&] {
    matmul(dy, w, {}, dx);
    if (pre != nullptr) unary_backward(Unary::gelu, *pre, *pre, dx, dx);
  };
  if (pre == nullptr || dy.numel() == 0) return two_passes();
  on_device(
      dy,
      [&]() {
        if (!vendor::cublaslt_linear_backward_input(dy, w, *pre, dx)) cuda::linear_backward_input(dy, w, *pre, dx);
      },
      two_passes);
}

void linear_backward_weight(const Tensor& x, const Tensor& dy, Tensor& dw, Tensor* db) {
  constexpr std::string_view kOp = "linear_backward_weight";
  require_float(kOp, "x", x);
  require_rank(kOp, "x", x, 2);
  require_rank(kOp, "dy", dy, 2);
  require_matrix(kOp, "dy", dy, {x.dim(0), dy.dim(1)}, x);
  require_matrix(kOp, "dw", dw, {dy.dim(1), x.dim(1)}, x);
  if (db != nullptr) require_channel_vector(kOp, "db", *db, dy);
  const auto two_passes = [&] {
    matmul(dy, x, {.transpose_a = true}, dw);
    if (db != nullptr) sum_to(dy, *db);
  };
  if (db == nullptr || x.numel() == 0 || dy.numel() == 0) return two_passes();
  on_device(
      x,
      [&]() {
        if (!vendor::cublaslt_linear_backward_weight(x, dy, dw, *db)) two_passes();
      },
      two_passes);
}

}  // namespace segrt::kernels
