#include "kernels/argmax.h"

#include <fmt/format.h>

#include "core/error.h"
#include "core/op_scope.h"
#include "kernels/check.h"
#include "kernels/cpu/argmax.h"
#include "kernels/cuda/argmax.h"
#include "kernels/dispatch.h"

namespace segrt::kernels {

void argmax(const Tensor& x, Tensor& y) {
  require_float("argmax", "x", x);
  if (x.rank() < 1 || x.dim(-1) < 1)
    throw ArgumentError(fmt::format("argmax: x: expected [..., C] with C >= 1, got {}", to_string(x.shape())));
  require_dtype("argmax", "y", y, {DType::u8, DType::i32});
  require_shape("argmax", "y", y, Shape(x.shape().dims().first(static_cast<size_t>(x.rank() - 1))));
  require_device("argmax", "y", y, x);
  if (y.dtype() == DType::u8 && x.dim(-1) > 256)
    throw ArgumentError(fmt::format("argmax: y: expected i32 for {} classes, got u8", x.dim(-1)));
  if (y.numel() == 0) return;
  const OpScope scope("argmax", y, [&] { return OpWork{bytes_of(x, y)}; });
  on_device(
      x, [&] { cuda::argmax(x, y); }, [&] { cpu::argmax(x, y); });
}

void confusion_matrix(const Tensor& labels, const Tensor& predictions, Tensor& matrix) {
  constexpr std::string_view kOp = "confusion_matrix";
  require_dtype(kOp, "labels", labels, {DType::u8});
  require_same(kOp, "labels", labels, "predictions", predictions);
  require_rank(kOp, "matrix", matrix, 2);
  require_dtype(kOp, "matrix", matrix, {DType::i64});
  require_device(kOp, "matrix", matrix, labels);
  if (matrix.dim(0) != matrix.dim(1) || matrix.dim(0) < 1 || matrix.dim(0) > 256)
    throw ArgumentError(
        fmt::format("{}: matrix: expected [K,K] with 1 to 256 classes, got {}", kOp, to_string(matrix.shape())));
  matrix.bump_version();
  if (labels.numel() == 0) return;
  const OpScope scope(kOp, matrix, [&] { return OpWork{bytes_of(labels, predictions, matrix, matrix)}; });
  on_device(
      labels, [&] { cuda::confusion_matrix(labels, predictions, matrix); },
      [&] { cpu::confusion_matrix(labels, predictions, matrix); });
}

}  // namespace segrt::kernels
