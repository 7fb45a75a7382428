// CUDA side of kernels/gate.h: arguments checked there. In the backward pass dy is null or not empty.
#pragma once

#include "kernels/gate.h"

namespace segrt::kernels::cuda {

void gate_forward(const Tensor& y, const Tensor& weight, const Tensor& bias, Tensor& pooled, Tensor& z, Tensor& g);
void gate_backward(const Tensor& dg, const Tensor& pooled, const Tensor& g, const Tensor& weight, Tensor* dy,
                   Tensor* dweight, Tensor* dbias);

}  // namespace segrt::kernels::cuda
