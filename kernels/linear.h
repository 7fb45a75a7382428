// Linear layers: matrix products with what stands around them, one pass over each tensor where the device has it.
// x [R,I], w [O,I], y [R,O] of one dtype and device: f32, bf16, f16 (CPU: also f64). Sums are f32 (f64 for f64).
#pragma once

#include "core/tensor.h"

namespace segrt::kernels {

enum class LinearActivation : uint8_t { none, relu, gelu };  // gelu(z) = z Phi(z), exactly, not its tanh approximation

struct LinearEpilogue {
  const Tensor* bias = nullptr;  // [O], f32 (f64 where x is f64)
  LinearActivation activation = LinearActivation::none;
  Tensor* pre = nullptr;  // like y: z, what the activation was taken of; for the backward pass of gelu
};

// y[r,o] = activation(z[r,o]),  z[r,o] = sum_i x[r,i] w[o,i] + bias[o].  The activation is taken of z in f32, or of z
// as rounded to y's dtype.
void linear_forward(const Tensor& x, const Tensor& w, const LinearEpilogue& epilogue, Tensor& y);

// dx[r,i] = sum_o dy[r,o] w[o,i], times gelu'(pre[r,i]) where x was gelu(pre): the gradient of pre, then, with no pass
// of its own. pre: like dx, or null.
void linear_backward_input(const Tensor& dy, const Tensor& w, const Tensor* pre, Tensor& dx);

// dw[o,i] = sum_r dy[r,o] x[r,i];  db[o] = sum_r dy[r,o].  dw in x's dtype; db [O] f32 (f64 where x is f64), or null.
void linear_backward_weight(const Tensor& x, const Tensor& dy, Tensor& dw, Tensor* db);

}  // namespace segrt::kernels
