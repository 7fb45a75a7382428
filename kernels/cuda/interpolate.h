// CUDA side of two-tap interpolation: kernels/upsample_loss.h (upsample_*) and bilinear kernels/resize.h.
#pragma once

#include "kernels/upsample_loss.h"

namespace segrt::kernels::cuda {

void interpolate_forward(const Tensor& x, const UpsampleTaps& taps, Tensor& y);
void interpolate_backward(const Tensor& dy, const UpsampleTaps& taps, Tensor& dx);

}  // namespace segrt::kernels::cuda
