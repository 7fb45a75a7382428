// Pooling on NHWC. Activations f32, bf16, f16 (CPU: also f64); averages are summed in f32 or better.
#pragma once

#include "core/tensor.h"

namespace segrt::kernels {

struct PoolGeometry {
  int kernel_h = 2, kernel_w = 2;
  int stride_h = 1, stride_w = 1;
  int pad_top = 0, pad_left = 0, pad_bottom = 0, pad_right = 0;
  int dilation_h = 1, dilation_w = 1;  // max pooling only
  bool ceil_mode =
      false;  // round the output size up; a window that would start in the right or bottom padding is dropped
  bool count_include_pad =
      false;  // average pooling: divide by the window's size within the padded input, not its real elements

  struct Square {
    int kernel = 2, stride = 1, padding = 0;
  };
  static PoolGeometry square(const Square& s) {
    return {s.kernel, s.kernel, s.stride, s.stride, s.padding, s.padding, s.padding, s.padding};
  }
};

Shape pool2d_output_shape(const Shape& x, const PoolGeometry& g);

// y [N,P,Q,C] = max over the window (padding is minus infinity; a NaN wins); index [N,P,Q,C] i32 = h*W + w of the first
// maximum. A dilated window without any element in the map gives -infinity and index -1.
void max_pool2d_forward(const Tensor& x, const PoolGeometry& g, Tensor& y, Tensor& index);
// dx = sum of dy over the windows whose maximum was this element; gathered, so deterministic.
void max_pool2d_backward(const Tensor& dy, const Tensor& index, const PoolGeometry& g, Tensor& dx);

void avg_pool2d_forward(const Tensor& x, const PoolGeometry& g, Tensor& y);
void avg_pool2d_backward(const Tensor& dy, const PoolGeometry& g, Tensor& dx);

// y [N,1,1,C] = mean over H,W.
void global_avg_pool_forward(const Tensor& x, Tensor& y);
void global_avg_pool_backward(const Tensor& dy, Tensor& dx);

}  // namespace segrt::kernels
