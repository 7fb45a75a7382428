// cuDNN convolutions (NVIDIA cuDNN 9) for tensors on a GPU. Which problems cuDNN computes is measured against our own
// kernels (kernels/vendor/cudnn/plan_cache.h) and can be switched off (kernels/vendor_mode.h). docs/vendor_libraries.md
#pragma once

#include <string>
#include <vector>

#include "kernels/conv.h"

namespace segrt::kernels::vendor {

// The three ops of kernels/conv.h. Arguments are checked and not empty. False: our own kernel shall compute it, and
// nothing was written. Weight gradients are taken in the type of x alone: cuDNN has no engine that sums 16-bit operands
// into a float32 result.
#if SEGRT_HAS_CUDNN
bool cudnn_conv2d_forward(const Tensor& x, const Tensor& w, const ConvEpilogue& epilogue, const ConvGeometry& g,
                          Tensor& y);
bool cudnn_conv2d_backward_input(const Tensor& dy, const Tensor& w, const ConvGeometry& g, Tensor& dx);
bool cudnn_conv2d_backward_weight(const Tensor& x, const Tensor& dy, const ConvGeometry& g, Tensor& dw);
#else
inline bool cudnn_conv2d_forward(const Tensor&, const Tensor&, const ConvEpilogue&, const ConvGeometry&, Tensor&) {
  return false;
}
inline bool cudnn_conv2d_backward_input(const Tensor&, const Tensor&, const ConvGeometry&, Tensor&) { return false; }
inline bool cudnn_conv2d_backward_weight(const Tensor&, const Tensor&, const ConvGeometry&, Tensor&) { return false; }
#endif

// What was decided on this device so far, a line a problem, for people: who computes it and what was measured. Empty in
// a build without cuDNN.
struct ConvChoice {
  std::string problem;
  std::string engine;              // of cuDNN, with its settings; empty: our own kernel
  double plan_ms = 0, own_ms = 0;  // the best plan's and our kernel's median; 0: not measured
  size_t workspace_bytes = 0;
};
#if SEGRT_HAS_CUDNN
std::vector<ConvChoice> conv2d_choices(Device& device);
#else
inline std::vector<ConvChoice> conv2d_choices(Device&) { return {}; }
#endif

}  // namespace segrt::kernels::vendor
