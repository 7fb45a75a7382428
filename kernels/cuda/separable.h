// CUDA side of kernels/separable.h; arguments are checked.
#pragma once

#include "kernels/conv.h"

namespace segrt::kernels::cuda {

bool separable_fuses(const Tensor& x, int64_t outputs);
void separable_conv2d_forward(const Tensor& x, const Tensor& depthwise, const ConvGeometry& g, const Tensor& pointwise,
                              const ConvEpilogue& epilogue, Tensor& y);

}  // namespace segrt::kernels::cuda
