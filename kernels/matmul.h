// Matrix products.
#pragma once

#include "core/tensor.h"

namespace segrt::kernels {

struct MatmulOptions {
  bool transpose_a = false, transpose_b = false;
  const Tensor* bias = nullptr;  // [N], f32 (f64 where a is f64): added to every row of c
};

// c[b,m,n] = sum_k op(a)[b,m,k] * op(b)[b,k,n] (+ bias[n]).  a [M,K] or [B,M,K] ([K,M] when transposed), b [K,N] or
// [B,K,N] ([N,K] when transposed), c [M,N] or [B,M,N]; all of rank 2 or all of rank 3. Same dtype and device: f32,
// bf16, f16 (CPU: also f64); sums f32.
void matmul(const Tensor& a, const Tensor& b, const MatmulOptions& options, Tensor& c);

}  // namespace segrt::kernels
