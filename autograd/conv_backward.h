// The gradients of a convolution, for the operators that contain one.
#pragma once

#include "autograd/tape.h"
#include "kernels/conv.h"

namespace segrt::autograd {

struct ConvBackward {
  Tensor x, w;
  kernels::ConvGeometry g;
  bool dx_wanted = true, dw_wanted = true;

  struct Result {
    Tensor dx, dw;  // undefined where not wanted
  };
  Result operator()(const Tensor& dy) const {
    Result r;
    if (dw_wanted) {
      r.dw = Tensor::like(w);
      kernels::conv2d_backward_weight(x, dy, g, r.dw);
    }
    if (dx_wanted) {
      r.dx = Tensor::like(x);
      kernels::conv2d_backward_input(dy, w, g, r.dx);
    }
    return r;
  }
};

}  // namespace segrt::autograd
