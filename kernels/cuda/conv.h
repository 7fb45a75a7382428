// CUDA side of kernels/conv.h: same names, same arguments, already checked; no tensor is empty.
#pragma once

#include "kernels/conv.h"

namespace segrt::kernels::cuda {

void conv2d_forward(const Tensor& x, const Tensor& w, const ConvEpilogue& epilogue, const ConvGeometry& g, Tensor& y);
// False: the kernel that computes this problem writes whole maps only, and nothing was written.
bool conv2d_forward_slice(const Tensor& x, const Tensor& w, const ConvEpilogue& epilogue, const ConvGeometry& g,
                          Tensor& y, int64_t channel);
void conv2d_backward_input(const Tensor& dy, const Tensor& w, const ConvGeometry& g, Tensor& dx);
void conv2d_backward_weight(const Tensor& x, const Tensor& dy, const ConvGeometry& g, Tensor& dw);

}  // namespace segrt::kernels::cuda
