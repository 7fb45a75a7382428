// Deformable unfolding: the values that a deformable convolution multiplies with its weights (Dai et al. 2017,
// arXiv:1703.06211; with a mask: Zhu et al. 2019, arXiv:1811.11168). Each tap of a window samples the map at a place of
// its own, the usual one plus an offset, and each sample may be scaled.
#pragma once

#include "core/tensor.h"
#include "kernels/bilinear_point.h"

namespace segrt::kernels {

struct DeformGeometry {
  int kernel_h = 3, kernel_w = 3;
  int stride_h = 1, stride_w = 1;
  int pad_top = 0, pad_left = 0, pad_bottom = 0, pad_right = 0;  // zeros; >= 0
  int dilation_h = 1, dilation_w = 1;
  int groups = 1;  // of channels that share offsets and masks: channel c belongs to group c / (C / groups)

  SEGRT_HOST_DEVICE int taps() const { return kernel_h * kernel_w; }

  // Where tap t = i * kernel_w + j of output (p, q) samples a map of height x width. The whole-pixel part is summed
  // first: an offset of 0 hits a pixel exactly.
  template <typename A>
  SEGRT_HOST_DEVICE BilinearPoint<A> point(int p, int q, int t, A dy, A dx, int height, int width) const {
    const int i = t / kernel_w, j = t - i * kernel_w;
    const int y = p * stride_h - pad_top + i * dilation_h, x = q * stride_w - pad_left + j * dilation_w;
    return BilinearPoint<A>::at(static_cast<A>(y) + dy, static_cast<A>(x) + dx, height, width);
  }
};

// [N,P,Q] for a map x [N,H,W,C]: P = (H + pad_top + pad_bottom - dilation_h*(kernel_h-1) - 1) / stride_h + 1. Throws
// ArgumentError, in the name of `op`, when groups or sizes do not fit.
Shape deform_output_shape(std::string_view op, const Shape& x, const DeformGeometry& g);

// What is sampled and where. One dtype and device: f32, bf16, f16 (CPU: also f64); coordinates, weights and sums are
// f32 (f64 for f64).
struct DeformInput {
  const Tensor& x;       // [N,H,W,C]
  const Tensor& offset;  // [N,P,Q,groups*K*2], K = kernel_h * kernel_w: dy, dx of every tap of every group, in pixels
  const Tensor* mask;    // [N,P,Q,groups*K], or null: 1 everywhere
  DeformGeometry geometry;
};

// columns[r,q,t,c] = mask * sample(x[n,:,:,c]) for the rows [first_row, first_row + R) of the N*P rows of all images;
// columns [R,Q,K,C]. (All of them, first_row 0 and R = N*P, are [N,P,Q,K,C].) A sample is bilinear, and 0 a pixel or
// more outside of the map (kernels/bilinear_point.h).
void deform_unfold(const DeformInput& in, int64_t first_row, Tensor& columns);

// Each may be null.
struct DeformGradients {
  Tensor* dx = nullptr;       // [N,H,W,C], f32 (f64 where x is f64): the rows' part is ADDED, so that it can be summed
  Tensor* doffset = nullptr;  // like offset; only the rows' part is written
  Tensor* dmask = nullptr;    // like mask, likewise
};

// The gradients through the rows [first_row, first_row + R), from that of their columns, dcolumns [R,Q,K,C]. The bits
// are the same each time, for any number of threads. On a GPU dx is a sum of integers, multiples of about 2^-40 of the
// largest |dcolumns * mask|; if one of those that count is infinite or NaN, all of dx is NaN.
void deform_unfold_backward(const DeformInput& in, int64_t first_row, const Tensor& dcolumns,
                            const DeformGradients& gradients);

}  // namespace segrt::kernels
