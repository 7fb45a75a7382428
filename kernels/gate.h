// The end of a routing cell's gate (Li et al. 2020, "Learning Dynamic Routing for Semantic Segmentation", section 3.2):
// global average pooling, a 1x1 convolution to one value a path, and the activation that closes paths. Fused: the map
// is read once, all that follows is a few values a sample.
#pragma once

#include "core/tensor.h"

namespace segrt::kernels {

inline constexpr int kMaxGateSlots = 3;  // keep, up, down

// pooled[n,k] = mean of y[n,:,:,k];  z[n,s] = bias[s] + sum_k weight[s,k] pooled[n,k];  g[n,s] = max(tanh(z[n,s]), 0).
// y [N,H,W,K] f32, bf16 or f16 (CPU: also f64), H, W >= 1; weight [S,1,1,K] and bias [S], S = 1..3; pooled [N,K]; z, g
// [N,S]. All but y are f32 (f64 with f64 y). Sums are two-level, in f64 across the parts, and have one order.
void gate_forward(const Tensor& y, const Tensor& weight, const Tensor& bias, Tensor& pooled, Tensor& z, Tensor& g);

// With dz = dg * (1 - g^2) where g > 0 (that is where z > 0), else 0:
// dy[n,:,:,k] = sum_s dz[n,s] weight[s,k] / (H W);  dweight[s,k] = sum_n dz[n,s] pooled[n,k];  dbias[s] = sum_n
// dz[n,s]. Each of the three may be nullptr; dy has its own float type, the others that of dg.
void gate_backward(const Tensor& dg, const Tensor& pooled, const Tensor& g, const Tensor& weight, Tensor* dy,
                   Tensor* dweight, Tensor* dbias);

}  // namespace segrt::kernels
