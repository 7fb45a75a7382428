// 2-d convolution (cross-correlation) on NHWC activations: forward, input gradient and weight gradient as three
// explicit ops. A transposed convolution is the input gradient of the convolution that maps the other way; see the end
// of this file.
#pragma once

#include "core/tensor.h"

namespace segrt::kernels {

struct ConvGeometry {
  int stride_h = 1, stride_w = 1;
  int pad_top = 0, pad_left = 0, pad_bottom = 0, pad_right = 0;  // zeros; >= 0
  int dilation_h = 1, dilation_w = 1;
  int groups = 1;

  struct Square {
    int stride = 1, padding = 0, dilation = 1, groups = 1;
  };
  static ConvGeometry square(const Square& s) {
    return {s.stride, s.stride, s.padding, s.padding, s.padding, s.padding, s.dilation, s.dilation, s.groups};
  }
  bool operator==(const ConvGeometry&) const = default;
};

// What the forward pass adds before it writes: y = act(conv(x, w) + bias[o] + residual[n,p,q,o]).
struct ConvEpilogue {
  const Tensor* bias = nullptr;      // [O], f32 (f64 where x is f64)
  const Tensor* residual = nullptr;  // like y; may be y itself
  bool relu = false;                 // max(., 0), last
  bool silu = false;                 // . * sigmoid(.), last; not with relu
};

// [N,P,Q,O] for x [N,H,W,C] and w [O,kh,kw,C/groups]: P = (H + pad_top + pad_bottom - dilation_h*(kh-1) - 1) / stride_h
// + 1. Throws ArgumentError when the channels, the groups or the sizes do not fit.
Shape conv2d_output_shape(const Shape& x, const Shape& w, const ConvGeometry& g);

// y[n,p,q,o] = sum_{i,j,c} x[n, p*stride_h - pad_top + i*dilation_h, q*stride_w - pad_left + j*dilation_w,
// g(o)*C/groups + c] * w[o,i,j,c] x [N,H,W,C], w [O,kh,kw,C/groups], y as conv2d_output_shape says; same dtype and
// device. f32, bf16, f16 (CPU: also f64). Sums are f32 (f64 for f64); the CPU computes f32 3x3 convolutions of stride 1
// by Winograd's F(4x4, 3x3) where that is faster, at a relative L2 error of about 1e-6. Backward ops trust no layout
// but NHWC and overwrite their output.
void conv2d_forward(const Tensor& x, const Tensor& w, const ConvEpilogue& epilogue, const ConvGeometry& g, Tensor& y);

// The same into channels [channel, channel + O) of a wider y, [N,P,Q,O] but for its last extent: a part of a
// concatenation. The other channels are neither read nor written. No residual. The bits are conv2d_forward's, by
// whichever kernel computes it; those that write whole maps only are given one, which is then copied: on a CPU all but
// Winograd's, on a GPU cuDNN's, cuBLASLt's and the depthwise kernels.
void conv2d_forward_slice(const Tensor& x, const Tensor& w, const ConvEpilogue& epilogue, const ConvGeometry& g,
                          Tensor& y, int64_t channel);

// y = conv(x, w) as conv2d_forward, and what batch_norm_statistics (kernels/norm.h) says of y: mean and var [O], f32
// (CPU: or f64). On a GPU one pass of cuDNN may compute all of it, from f32 sums of y and y^2: the error of var
// is then relative to var + mean^2 instead of to var. That is done for 16-bit x alone, and never on a deterministic
// device.
void conv2d_forward_statistics(const Tensor& x, const Tensor& w, const ConvGeometry& g, Tensor& y, Tensor& mean,
                               Tensor& var);

// dx[n,h,w,c] = sum over the (p,q,o,i,j) that read x[n,h,w,c] of dy[n,p,q,o] * w[o,i,j,c'].  dx [N,H,W,C] gives H and
// W.
void conv2d_backward_input(const Tensor& dy, const Tensor& w, const ConvGeometry& g, Tensor& dx);

// dw[o,i,j,c] = sum over n,p,q of dy[n,p,q,o] * x[n, ..., c].  dw [O,kh,kw,C/groups], dtype of x, or f32.
void conv2d_backward_weight(const Tensor& x, const Tensor& dy, const ConvGeometry& g, Tensor& dw);

// Multiply-adds of one forward pass: N*P*Q*O*kh*kw*C/groups.
int64_t conv2d_multiply_adds(const Shape& y, const Shape& w);

// Transposed convolution. x [N,H,W,C], w [C,kh,kw,O/groups] (the weight of the convolution from O to C channels whose
// input gradient this is), y [N,P,Q,O]: P = (H-1)*stride_h - pad_top - pad_bottom + dilation_h*(kh-1) + 1 +
// output_padding_h. forward = conv2d_backward_input(x, w, g, y), input gradient = conv2d_forward(dy, w, {}, g, dx),
// weight gradient = conv2d_backward_weight(dy, x, g, dw).
Shape conv_transpose2d_output_shape(const Shape& x, const Shape& w, const ConvGeometry& g, int output_padding_h = 0,
                                    int output_padding_w = 0);

}  // namespace segrt::kernels
