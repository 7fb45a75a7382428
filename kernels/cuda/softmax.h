// CUDA side of kernels/softmax.h, the softmax family. Losses: cuda/cross_entropy.h.
#pragma once

#include "core/tensor.h"

namespace segrt::kernels::cuda {

void softmax_forward(const Tensor& x, Tensor& y);
void softmax_backward(const Tensor& y, const Tensor& dy, Tensor& dx);
void log_softmax_forward(const Tensor& x, Tensor& y);
void log_softmax_backward(const Tensor& y, const Tensor& dy, Tensor& dx);

}  // namespace segrt::kernels::cuda
