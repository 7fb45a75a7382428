#include "kernels/matmul.h"

#include <fmt/format.h>

#include "kernels/check.h"
#include "kernels/cpu/matmul.h"
#include "kernels/cuda/matmul.h"
#include "kernels/dispatch.h"
#include "kernels/vendor/cublaslt_matmul.h"

namespace segrt::kernels {
namespace {
constexpr std::string_view kOp = "matmul";

// On a GPU, cuBLASLt computes what it is faster at.
void dispatch(const Tensor& a, const Tensor& b, const MatmulOptions& options, Tensor& c) {
  on_device(
      a,
      [&]() {
        if (!vendor::cublaslt_matmul(a, b, options, c)) cuda::matmul(a, b, options, c);
      },
      [&] { cpu::matmul(a, b, options, c); });
}

// K = 0: every sum is empty and c is the bias. One term of zero times zero says the same.
void product_of_nothing(const Tensor& a, const MatmulOptions& options, Tensor& c) {
  const bool batched = c.rank() == 3;
  const auto shape = [&](int64_t rows, int64_t columns) {
    return batched ? Shape{c.dim(0), rows, columns} : Shape{rows, columns};
  };
  const Tensor zero_a = Tensor::zeros(shape(c.dim(-2), 1), a.dtype(), a.device());
  const Tensor zero_b = Tensor::zeros(shape(1, c.dim(-1)), a.dtype(), a.device());
  dispatch(zero_a, zero_b, {.bias = options.bias}, c);
}
}  // namespace

void matmul(const Tensor& a, const Tensor& b, const MatmulOptions& options, Tensor& c) {
  require_float(kOp, "a", a);
  require_defined(kOp, "b", b);
  if (a.rank() != 2 && a.rank() != 3)
    throw ArgumentError(fmt::format("{}: a: expected 2 or 3 dimensions, got {}", kOp, to_string(a.shape())));
  require_rank(kOp, "b", b, a.rank());
  require_dtype(kOp, "b", b, {a.dtype()});
  require_device(kOp, "b", b, a);

  const int64_t m = a.dim(options.transpose_a ? -1 : -2), k = a.dim(options.transpose_a ? -2 : -1);
  const int64_t n = b.dim(options.transpose_b ? -2 : -1), b_k = b.dim(options.transpose_b ? -1 : -2);
  if (b_k != k)
    throw ArgumentError(fmt::format("{}: b: expected {} terms a sum, as a {}{} has, got {}{}", kOp, k,
                                    to_string(a.shape()), options.transpose_a ? " transposed" : "",
                                    to_string(b.shape()), options.transpose_b ? " transposed" : ""));
  if (a.rank() == 3 && a.dim(0) != b.dim(0))
    throw ArgumentError(fmt::format("{}: b: expected a batch of {}, got {}", kOp, a.dim(0), b.dim(0)));
  require_shape(kOp, "c", c, a.rank() == 3 ? Shape{a.dim(0), m, n} : Shape{m, n});
  require_dtype(kOp, "c", c, {a.dtype()});
  require_device(kOp, "c", c, a);
  if (options.bias != nullptr) require_channel_vector(kOp, "bias", *options.bias, c);

  if (c.numel() == 0) return;
  if (k == 0) return product_of_nothing(a, options, c);
  dispatch(a, b, options, c);
}

}  // namespace segrt::kernels
