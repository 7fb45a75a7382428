// Convolutions on a GPU without cuDNN: our own kernels, or cuBLASLt where a 1x1 convolution of stride 1 is a plain
// matrix product and cuBLASLt was found faster at it. What cuDNN's plans are measured against.
#pragma once

#include "kernels/cuda/conv.h"
#include "kernels/vendor/cublaslt_matmul.h"

namespace segrt::kernels::vendor {

inline bool is_matrix_product(const Tensor& w, const ConvGeometry& g) {
  return w.dim(1) == 1 && w.dim(2) == 1 && g.groups == 1 && g.stride_h == 1 && g.stride_w == 1 && g.pad_top == 0 &&
         g.pad_left == 0 && g.pad_bottom == 0 && g.pad_right == 0;
}

// [..., C] as [rows, C]; [O,1,1,C] as [O, C].
inline Tensor as_rows(const Tensor& t) { return t.reshape({t.numel() / t.dim(-1), t.dim(-1)}); }

// False: our own kernel shall compute it, and nothing was written.
inline bool cublaslt_conv2d_forward(const Tensor& x, const Tensor& w, const ConvEpilogue& e, const ConvGeometry& g,
                                    Tensor& y) {
  if (!is_matrix_product(w, g) || e.residual != nullptr || e.silu) return false;
  Tensor rows = as_rows(y);
  const auto activation = e.relu ? LinearActivation::relu : LinearActivation::none;
  return cublaslt_linear_forward(as_rows(x), as_rows(w), {.bias = e.bias, .activation = activation}, rows);
}

inline void conv2d_forward_without_cudnn(const Tensor& x, const Tensor& w, const ConvEpilogue& e, const ConvGeometry& g,
                                         Tensor& y) {
  if (!cublaslt_conv2d_forward(x, w, e, g, y)) cuda::conv2d_forward(x, w, e, g, y);
}

inline void conv2d_backward_input_without_cudnn(const Tensor& dy, const Tensor& w, const ConvGeometry& g, Tensor& dx) {
  if (is_matrix_product(w, g)) {
    Tensor rows = as_rows(dx);
    if (cublaslt_matmul(as_rows(dy), as_rows(w), {}, rows)) return;
  }
  cuda::conv2d_backward_input(dy, w, g, dx);
}

inline void conv2d_backward_weight_without_cudnn(const Tensor& x, const Tensor& dy, const ConvGeometry& g, Tensor& dw) {
  if (is_matrix_product(dw, g) && dw.dtype() == x.dtype()) {
    Tensor rows = as_rows(dw);
    if (cublaslt_matmul(as_rows(dy), as_rows(x), {.transpose_a = true}, rows)) return;
  }
  cuda::conv2d_backward_weight(x, dy, g, dw);
}

}  // namespace segrt::kernels::vendor
