// CUDA side of kernels/argmax.h.
#pragma once

#include "core/tensor.h"

namespace segrt::kernels::cuda {

void argmax(const Tensor& x, Tensor& y);
void confusion_matrix(const Tensor& labels, const Tensor& predictions, Tensor& matrix);

}  // namespace segrt::kernels::cuda
