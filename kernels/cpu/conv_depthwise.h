// Gradients of depthwise convolutions (groups = C = O) in float32, for the cases in which oneDNN has plain loops only:
// weight gradients (5x5 or dilated: 1 to 3 GFLOP/s a core), dilated input gradients (4 GFLOP/s).
#pragma once

#include "kernels/conv.h"

namespace segrt::kernels::cpu::depthwise {

bool is_depthwise(const Shape& x, const Shape& w, const ConvGeometry& g);

// At stride 1 the input gradient is the convolution of dy with the filters turned by 180 degrees. Returns it in
// `geometry` (with its padding) if that padding is not negative, else false.
bool input_gradient_as_forward(const Shape& dy, const Shape& w, const Shape& dx, const ConvGeometry& g,
                               ConvGeometry& geometry);
Tensor turned_filters(const Tensor& w);  // [C,kh,kw,1] turned by 180 degrees

// kernels/conv.h's weight gradient. Same bits for any number of threads.
void conv2d_backward_weight(const Tensor& x, const Tensor& dy, const ConvGeometry& g, Tensor& dw);

}  // namespace segrt::kernels::cpu::depthwise
