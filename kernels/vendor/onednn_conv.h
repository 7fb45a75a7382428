// oneDNN convolutions (Intel oneAPI DNN 2.6) on plain NHWC tensors, f32 and bf16. Primitives are kept with the device,
// keyed by the problem; weights are reordered to the layout that oneDNN asks for. For one thread count the results are
// the same bits in every run.
#pragma once

#include "kernels/conv.h"

namespace segrt::kernels::vendor {

// The three ops of kernels/conv.h. Arguments are checked and not empty. False: oneDNN has no kernel for this problem,
// and nothing was written.
bool onednn_conv2d_forward(const Tensor& x, const Tensor& w, const ConvEpilogue& epilogue, const ConvGeometry& g,
                           Tensor& y);
bool onednn_conv2d_backward_input(const Tensor& dy, const Tensor& w, const ConvGeometry& g, Tensor& dx);
bool onednn_conv2d_backward_weight(const Tensor& x, const Tensor& dy, const ConvGeometry& g, Tensor& dw);

// Whether this CPU multiplies bf16 in AMX tiles; without them bf16 is slower than f32.
bool onednn_has_amx_bf16();

}  // namespace segrt::kernels::vendor
