// CPU side of kernels/resize.h: what does not interpolate (bilinear: cpu/interpolate.h).
#pragma once

#include "kernels/upsample_loss.h"

namespace segrt::kernels::cpu {

// `taps` are nearest_axis tables: one tap each.
void nearest_forward(const Tensor& x, const UpsampleTaps& taps, Tensor& y);
void nearest_backward(const Tensor& dy, const UpsampleTaps& taps, Tensor& dx);
void flip_horizontal(const Tensor& x, Tensor& y);

}  // namespace segrt::kernels::cpu
