// 3x3 convolutions of stride 1 in float32 by Winograd's F(4x4, 3x3): a quarter of the multiplications, at a relative
// error of 5e-7 to 7e-7 (see winograd_multiply.h). Any dilation and padding; groups 1; channels in whole vectors.
#pragma once

#include "kernels/conv.h"

namespace segrt::kernels::cpu::winograd {

// Whether the tiles pay for this problem. x [N,H,W,C], w [O,3,3,C], y [N,P,Q,O], f32.
bool pays(const Shape& x, const Shape& w, const Shape& y, const ConvGeometry& g);
bool pays_for_weight(const Shape& x, const Shape& w, const Shape& y, const ConvGeometry& g);

// The ops of kernels/conv.h, where pays() says so.
void conv2d_forward(const Tensor& x, const Tensor& w, const ConvEpilogue& epilogue, const ConvGeometry& g, Tensor& y);
void conv2d_forward_slice(const Tensor& x, const Tensor& w, const ConvEpilogue& epilogue, const ConvGeometry& g,
                          Tensor& y, int64_t channel);
void conv2d_backward_input(const Tensor& dy, const Tensor& w, const ConvGeometry& g, Tensor& dx);
void conv2d_backward_weight(const Tensor& x, const Tensor& dy, const ConvGeometry& g, Tensor& dw);

}  // namespace segrt::kernels::cpu::winograd
