// Attention over channels: a map times one factor a channel of each image (squeeze-and-excitation, Hu et al. 2018;
// the attention of BiSeNet's modules, Yu et al. 2018).
#pragma once

#include "core/tensor.h"

namespace segrt::kernels {

// y[n,h,w,c] = x[n,h,w,c] * g[n,c], plus x[n,h,w,c] with `residual`.
// x, y [N,H,W,C], g [N,1,1,C], one dtype: f32, bf16, f16 (CPU: also f64). y may be x.
void channel_gate_forward(const Tensor& x, const Tensor& g, bool residual, Tensor& y);

// dx = dy * g (+ dy with `residual`) and dg[n,c] = sum over h,w of dy * x, in one pass over the maps; either may be
// nullptr. dx may be dy. Sums are two-level, in f64 across the parts, and have one order.
void channel_gate_backward(const Tensor& dy, const Tensor& x, const Tensor& g, bool residual, Tensor* dx, Tensor* dg);

}  // namespace segrt::kernels
