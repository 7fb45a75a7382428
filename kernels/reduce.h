// Sums. Accumulation is f32 or better (f64 on the CPU), two-level and deterministic.
#pragma once

#include <vector>

#include "core/tensor.h"

namespace segrt::kernels {

// y = sum of x over the dimensions where y's extent is 1 (same rank, or y shorter and aligned at the right): the
// gradient of broadcasting. x float, y of x's dtype or f32. Examples: bias gradient [N,H,W,C] -> [C]; [N,H,W,C] ->
// [N,1,1,C].
void sum_to(const Tensor& x, Tensor& y);

// out[0] = sqrt(sum over all tensors and elements of t^2). f32 [1] out; tensors f32, bf16 or f16 (CPU: f64, with f64
// out).
void global_norm(const std::vector<Tensor>& tensors, Tensor& out);

// counts[i] = number of NaN or infinite elements of tensors[i]; counts i32 [tensors.size()].
void count_nonfinite(const std::vector<Tensor>& tensors, Tensor& counts);

}  // namespace segrt::kernels
