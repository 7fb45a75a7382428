// g++ 12 takes the deliberately undefined operands of its own AVX-512 intrinsics for a mistake (GCC bug 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include "kernels/cpu/matmul.h"

#include <Eigen/Core>

#include "core/parallel.h"
#include "kernels/elementwise.h"
#include "kernels/vendor/onednn_conv.h"
#include "kernels/vendor/onednn_matmul.h"

namespace segrt::kernels::cpu {
namespace {
template <typename T>
using Matrix = Eigen::Map<Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>>;

// One product of a batch, rows [begin, end) of c.
template <typename T>
void product_rows(const Matrix<T>& a, const Matrix<T>& b, const MatmulOptions& options, int64_t begin, int64_t end,
                  Matrix<T> c) {
  const int64_t count = end - begin;
  auto out = c.middleRows(begin, count);
  if (options.transpose_a && options.transpose_b)
    out.noalias() = a.middleCols(begin, count).transpose() * b.transpose();
  else if (options.transpose_a)
    out.noalias() = a.middleCols(begin, count).transpose() * b;
  else if (options.transpose_b)
    out.noalias() = a.middleRows(begin, count) * b.transpose();
  else
    out.noalias() = a.middleRows(begin, count) * b;
  if (options.bias != nullptr) {
    const Eigen::Map<Eigen::Matrix<T, 1, Eigen::Dynamic>> bias(options.bias->data<T>(), c.cols());
    out.rowwise() += bias;
  }
}

template <typename T>
void eigen_matmul(const Tensor& a, const Tensor& b, const MatmulOptions& options, Tensor& c) {
  constexpr int64_t kRows = 64;  // fewer and the packing of b is not paid back
  const int64_t batch = c.rank() == 3 ? c.dim(0) : 1, rows = c.dim(-2), blocks = (rows + kRows - 1) / kRows;
  const auto matrix = [](const Tensor& t, int64_t i) {
    return Matrix<T>(t.data<T>() + i * t.dim(-2) * t.dim(-1), t.dim(-2), t.dim(-1));
  };
  parallel_for(batch * blocks, [&](int64_t k) {
    const int64_t i = k / blocks, begin = k % blocks * kRows;
    product_rows<T>(matrix(a, i), matrix(b, i), options, begin, std::min(rows, begin + kRows), matrix(c, i));
  });
}

Tensor widened(const Tensor& t) {
  if (t.dtype() == DType::f32) return t;
  Tensor f32 = Tensor::empty(t.shape(), DType::f32, t.device());
  cast(t, f32);
  return f32;
}

void matmul_f32(const Tensor& a, const Tensor& b, const MatmulOptions& options, Tensor& c) {
  if (!vendor::onednn_matmul(a, b, options, c)) eigen_matmul<float>(a, b, options, c);
}
}  // namespace

void matmul(const Tensor& a, const Tensor& b, const MatmulOptions& options, Tensor& c) {
  if (a.dtype() == DType::f64) return eigen_matmul<double>(a, b, options, c);
  if (a.dtype() == DType::f32) return matmul_f32(a, b, options, c);
  const bool bf16 = a.dtype() == DType::bf16 && vendor::onednn_has_amx_bf16();
  if (bf16 && vendor::onednn_matmul(a, b, options, c)) return;
  Tensor f32 = Tensor::empty(c.shape(), DType::f32, c.device());
  matmul_f32(widened(a), widened(b), options, f32);
  cast(f32, c);
}

}  // namespace segrt::kernels::cpu
