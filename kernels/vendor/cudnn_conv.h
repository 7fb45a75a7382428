// cuDNN convolutions (NVIDIA cuDNN 9) for tensors on a GPU. Which problems cuDNN computes is measured against what
// there is without it (kernels/vendor/decisions.h) and can be switched off (kernels/vendor_mode.h).
// docs/vendor_libraries.md
#pragma once

#include "kernels/conv.h"

namespace segrt::kernels::vendor {

// The ops of kernels/conv.h. Arguments are checked and not empty. False: our own kernel shall compute it, and nothing
// was written. Weight gradients are taken in the type of x alone: cuDNN has no engine that sums 16-bit operands into a
// float32 result. Statistics are taken of 16-bit maps alone, and never on a deterministic device.
#if SEGRT_HAS_CUDNN
bool cudnn_conv2d_forward(const Tensor& x, const Tensor& w, const ConvEpilogue& epilogue, const ConvGeometry& g,
                          Tensor& y);
bool cudnn_conv2d_forward_statistics(const Tensor& x, const Tensor& w, const ConvGeometry& g, Tensor& y, Tensor& mean,
                                     Tensor& var);
bool cudnn_conv2d_backward_input(const Tensor& dy, const Tensor& w, const ConvGeometry& g, Tensor& dx);
bool cudnn_conv2d_backward_weight(const Tensor& x, const Tensor& dy, const ConvGeometry& g, Tensor& dw);
#else
inline bool cudnn_conv2d_forward(const Tensor&, const Tensor&, const ConvEpilogue&, const ConvGeometry&, Tensor&) {
  return false;
}
inline bool cudnn_conv2d_forward_statistics(const Tensor&, const Tensor&, const ConvGeometry&, Tensor&, Tensor&,
                                            Tensor&) {
  return false;
}
inline bool cudnn_conv2d_backward_input(const Tensor&, const Tensor&, const ConvGeometry&, Tensor&) { return false; }
inline bool cudnn_conv2d_backward_weight(const Tensor&, const Tensor&, const ConvGeometry&, Tensor&) { return false; }
#endif

}  // namespace segrt::kernels::vendor
