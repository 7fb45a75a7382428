// The gradients of a convolution, for the operators that contain one.
#pragma once

#include "autograd/sample_sums.h"
#include "autograd/tape.h"
#include "kernels/conv.h"
#include "kernels/reduce.h"

namespace segrt::autograd {

struct ConvBackward {
  Tensor x, w;
  kernels::ConvGeometry g;
  bool dx_wanted, dw_wanted, dw_by_sample;

  ConvBackward(const Var& x_var, const Var& w_var, const kernels::ConvGeometry& geometry)
      : x(x_var.value()),
        w(w_var.value()),
        g(geometry),
        dx_wanted(x_var.needs_grad()),
        dw_wanted(w_var.needs_grad()),
        dw_by_sample(sums_by_sample(w_var)) {}

  struct Result {
    Tensor dx, dw;  // undefined where not wanted
  };
  Result operator()(const Tensor& dy) const {
    Result r;
    if (dw_wanted)
      r.dw = sum_over_samples<1>({w}, x.dim(0), dw_by_sample, [&](int64_t first, int64_t count, auto& parts) {
        kernels::conv2d_backward_weight(x.slice(first, count), dy.slice(first, count), g, parts[0]);
      })[0];
    if (dx_wanted) {
      r.dx = Tensor::like(x);
      kernels::conv2d_backward_input(dy, w, g, r.dx);
    }
    return r;
  }
};

// db[o] = sum of dy over everything but the last dimension.
struct BiasGradient {
  Tensor bias;
  bool wanted, by_sample;

  explicit BiasGradient(const Var& b) : bias(b.value()), wanted(b.needs_grad()), by_sample(sums_by_sample(b)) {}
  Tensor operator()(const Tensor& dy) const {
    if (!wanted) return {};
    return sum_over_samples<1>({bias}, dy.dim(0), by_sample, [&](int64_t first, int64_t count, auto& parts) {
      kernels::sum_to(dy.slice(first, count), parts[0]);
    })[0];
  }
};

}  // namespace segrt::autograd
