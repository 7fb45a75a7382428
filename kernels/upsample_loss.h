// The end of a segmentation network: low-resolution scores [N,h,w,C] are upsampled by a separable two-tap filter to
// label resolution [N,H,W] and meet softmax, cross-entropy or argmax there. Fused, so that [N,H,W,C] is never stored.
#pragma once

#include "core/tensor.h"
#include "kernels/resize.h"

namespace segrt::kernels {

// One axis: output i = weight[i][0] * in[index[i]] + weight[i][1] * in[min(index[i]+1, in-1)]. Indices never decrease,
// so the outputs that read input j are one range [first[j], last[j]) (of those with index j or j-1), which the
// gathering backward pass walks.
struct UpsampleAxis {
  int in = 0, out = 0;
  Tensor index;   // i32 [out]
  Tensor weight;  // f32 [out,2]
  Tensor first;   // i32 [in]
  Tensor last;    // i32 [in]
};
struct UpsampleTaps {
  UpsampleAxis y, x;
};

// Bilinear resizing of [in_h,in_w] to [out_h,out_w] under any of the three coordinate rules. Positions are clamped to
// the map.
UpsampleTaps bilinear_taps(int in_h, int in_w, int out_h, int out_w, Coordinates coordinates, Device& device);
// DRN's fixed transposed convolution: kernel 16, stride 8, padding 4, w = t(i) t(j), t(i) = 1 - |i/8 - 15/16|. Output
// is 8 times the input; the outermost 4 rows and columns have one tap of weight below 1 (specification: the border is
// attenuated).
UpsampleTaps transposed_x8_taps(int in_h, int in_w, Device& device);

// y [N,H,W,C] = upsampled scores. For the unfused cases: golden files, multi-scale sums, features.
void upsample_forward(const Tensor& scores, const UpsampleTaps& taps, Tensor& y);
void upsample_backward(const Tensor& dy, const UpsampleTaps& taps, Tensor& dscores);  // gathered: deterministic

struct UpsampleLossOptions {
  int ignore_index = 255;
  const Tensor* class_weight = nullptr;  // f32 [C]
  bool count_ignored = false;            // the mean is over all pixels, the ignored ones adding nothing
};
// Mean cross-entropy of softmax(upsample(scores)) over the pixels whose label is not ignore_index (weighted by
// class_weight[label]), or with count_ignored over all: weight_sum is then their number. scores [N,h,w,C] f32, bf16, f16 (CPU: f64); labels u8 [N,H,W], other values than a class or
// ignore_index: see softmax.h. loss f32 [1] (f64): weighted sum / weight_sum; NaN-free: 0 when no pixel counts.
// weight_sum f32 [1] (f64). log_sum_exp f32 [N,H,W] (f64): what backward needs.  correct i64 [1]: pixels that count
// whose argmax is their label.
void upsample_cross_entropy_forward(const Tensor& scores, const UpsampleTaps& taps, const Tensor& labels,
                                    const UpsampleLossOptions& o, Tensor& loss, Tensor& weight_sum, Tensor& log_sum_exp,
                                    Tensor& correct);
// dscores = dloss[0] / weight_sum[0] * upsample^T(class_weight[l] * (softmax - onehot)). dloss: 1 element, on the
// device.
void upsample_cross_entropy_backward(const Tensor& scores, const UpsampleTaps& taps, const Tensor& labels,
                                     const UpsampleLossOptions& o, const Tensor& log_sum_exp, const Tensor& weight_sum,
                                     const Tensor& dloss, Tensor& dscores);

// prediction[n,y,x] u8 = first argmax over c of the upsampled scores; some class where one is NaN.
void upsample_argmax(const Tensor& scores, const UpsampleTaps& taps, Tensor& prediction);

}  // namespace segrt::kernels
