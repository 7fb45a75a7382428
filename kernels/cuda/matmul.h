// CUDA side of kernels/matmul.h: same name, same arguments, already checked; no tensor is empty.
#pragma once

#include "kernels/matmul.h"

namespace segrt::kernels::cuda {

void matmul(const Tensor& a, const Tensor& b, const MatmulOptions& options, Tensor& c);

}  // namespace segrt::kernels::cuda
