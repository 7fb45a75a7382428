// A separable convolution for inference: the depthwise one and the 1x1 convolution behind it. On a GPU one pass, where
// the map between them never reaches memory. On a CPU two: fused there, with the same inner loops, it took 1.25 ms
// against 1.20 ms for 1x128x256x64 (2 cores, AVX-512), as the map stays in the caches anyway.
#pragma once

#include "kernels/conv.h"

namespace segrt::kernels {

// m[n,p,q,c] = sum_{i,j} x[n, p*stride_h - pad_top + i, q*stride_w - pad_left + j, c] * depthwise[c,i,j];
// y[n,p,q,o] = act(sum_c m[n,p,q,c] * pointwise[o,c] + bias[o] + residual[n,p,q,o]).
// x [N,H,W,C], depthwise [C,3,3,1] with groups = C, pointwise [O,1,1,C], y [N,P,Q,O]; same dtype and device; m is
// rounded to that dtype. f32, bf16, f16. y shares no memory with x; the residual may be y.
void separable_conv2d_forward(const Tensor& x, const Tensor& depthwise, const ConvGeometry& g, const Tensor& pointwise,
                              const ConvEpilogue& epilogue, Tensor& y);

// Whether it is one pass: on CUDA, O at most one tile, so that m is computed once, and C in 16-byte vectors.
bool separable_conv2d_fuses(const Tensor& x, int64_t outputs);

}  // namespace segrt::kernels
