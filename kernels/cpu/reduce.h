// Sums on a CPU: what kernels/reduce.h is made of, arguments checked there.
#pragma once

#include <vector>

#include "core/tensor.h"

namespace segrt::kernels::cpu {

// y[a,c] = sum_r x[a,r,c].  x [A,R,C], y [A,C], none empty; y of any float type that the device has.
void sum_middle(const Tensor& x, Tensor& y);
void global_norm(const std::vector<Tensor>& tensors, Tensor& out);
void count_nonfinite(const std::vector<Tensor>& tensors, Tensor& counts);

}  // namespace segrt::kernels::cpu
