// A matrix product as cuBLASLt is asked for it: what decides which of its algorithms can do it, and how fast.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "core/dtype.h"
#include "kernels/linear.h"

namespace segrt::kernels::vendor::cublaslt {

// c[b,m,n] = op(a)[b,m,k] op(b)[b,k,n], row-major as in kernels/matmul.h, and what comes with it. cuBLASLt's GELU
// epilogues compute the tanh approximation, ours is exact: its bias epilogue is used, and a pass of ours follows.
struct MatmulProblem {
  DType dtype = DType::bf16;  // f32, bf16, f16: of a, b and c
  bool tf32 = false;          // f32 operands may be rounded to TF32 (kernels/math_mode.h)
  bool deterministic = false;
  int64_t batch = 1, m = 0, n = 0, k = 0;
  bool transpose_a = false, transpose_b = false;  // stored [k,m], [n,k]
  bool bias = false;                              // + bias[n], rounded to dtype
  LinearActivation activation = LinearActivation::none;
  bool pre = false;            // what the activation is taken of is kept, too
  bool gelu_backward = false;  // times gelu' of a given tensor
  bool bias_gradient = false;  // sums of a over k come out as well: [m], of dtype

  bool operator==(const MatmulProblem&) const = default;
};

using MatmulKey = std::array<int64_t, 14>;
MatmulKey key_of(const MatmulProblem& problem);

// "product+bias+gelu bf16 a[4096,256] b[1024,256]^T": the key of the file of choices, and what people read.
std::string to_string(const MatmulProblem& problem);

}  // namespace segrt::kernels::vendor::cublaslt
