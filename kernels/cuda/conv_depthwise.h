// Depthwise convolutions (every channel its own kernel: groups = C = O): direct kernels, as a matrix product would have
// one column.
#pragma once

#include "kernels/conv.h"

namespace segrt::kernels::cuda {

// Whether the kernels below take it: w [C,kh,kw,1] with groups = C, and the taps of a channel fit in shared memory.
bool is_depthwise(const Tensor& w, const ConvGeometry& g);

// As the functions of kernels/conv.h.
void depthwise_forward(const Tensor& x, const Tensor& w, const ConvEpilogue& epilogue, const ConvGeometry& g,
                       Tensor& y);
void depthwise_backward_input(const Tensor& dy, const Tensor& w, const ConvGeometry& g, Tensor& dx);
void depthwise_backward_weight(const Tensor& x, const Tensor& dy, const ConvGeometry& g, Tensor& dw);

}  // namespace segrt::kernels::cuda
