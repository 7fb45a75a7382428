// kernels/linear.h's ops in one pass each; arguments are checked and not empty.
#pragma once

#include "kernels/linear.h"

namespace segrt::kernels::cuda {

void linear_forward(const Tensor& x, const Tensor& w, const LinearEpilogue& epilogue, Tensor& y);
void linear_backward_input(const Tensor& dy, const Tensor& w, const Tensor& pre, Tensor& dx);

}  // namespace segrt::kernels::cuda
