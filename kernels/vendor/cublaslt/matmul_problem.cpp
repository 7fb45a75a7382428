#include "kernels/vendor/cublaslt/matmul_problem.h"

#include <fmt/format.h>

namespace segrt::kernels::vendor::cublaslt {

MatmulKey key_of(const MatmulProblem& p) {
  return {static_cast<int64_t>(p.dtype),
          p.tf32,
          p.deterministic,
          p.batch,
          p.m,
          p.n,
          p.k,
          p.transpose_a,
          p.transpose_b,
          p.bias,
          static_cast<int64_t>(p.activation),
          p.pre,
          p.gelu_backward,
          p.bias_gradient};
}

std::string to_string(const MatmulProblem& p) {
  const auto matrix = [&](int64_t rows, int64_t columns, bool transposed) {
    if (transposed) std::swap(rows, columns);
    return fmt::format("[{}{},{}]{}", p.batch == 1 ? "" : fmt::format("{},", p.batch), rows, columns,
                       transposed ? "^T" : "");
  };
  const char* activation = p.activation == LinearActivation::relu   ? "+relu"
                           : p.activation == LinearActivation::gelu ? "+gelu"
                                                                    : "";
  return fmt::format("product{}{}{}{}{} {}{} a{} b{}", p.bias ? "+bias" : "", activation, p.pre ? "+pre" : "",
                     p.gelu_backward ? "+gelu_backward" : "", p.bias_gradient ? "+bias_gradient" : "",
                     p.dtype == DType::f32 && p.tf32 ? "tf32" : segrt::to_string(p.dtype),
                     p.deterministic ? " deterministic" : "", matrix(p.m, p.k, p.transpose_a),
                     matrix(p.k, p.n, p.transpose_b));
}

}  // namespace segrt::kernels::vendor::cublaslt
