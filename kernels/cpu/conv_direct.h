// Convolution by plain loops over float or double, any geometry: the float64 path of gradient checks, and what remains
// when no faster kernel takes a problem. Vectorised over channels, parallel over rows; sums in T.
#pragma once

#include "kernels/conv.h"

namespace segrt::kernels::cpu::direct {

template <typename T>
void conv2d_forward(const Tensor& x, const Tensor& w, const ConvEpilogue& epilogue, const ConvGeometry& g, Tensor& y);
template <typename T>
void conv2d_backward_input(const Tensor& dy, const Tensor& w, const ConvGeometry& g, Tensor& dx);
template <typename T>
void conv2d_backward_weight(const Tensor& x, const Tensor& dy, const ConvGeometry& g, Tensor& dw);

}  // namespace segrt::kernels::cpu::direct
