// Layer normalisation on the CPU: the functions of kernels/layer_norm.h, arguments checked there.
#pragma once

#include "kernels/layer_norm.h"

namespace segrt::kernels::cpu {

// branch and sum: both or neither.
void layer_norm_forward(const Tensor& x, const Tensor* branch, const LayerNormParams& p, Tensor* sum, Tensor& y,
                        RowStatistics& s);
void layer_norm_backward_input(const Tensor& dy, const Tensor& x, const Tensor& weight, const RowStatistics& s,
                               const Tensor* dresidual, Tensor& dx);
void layer_norm_backward_weight(const Tensor& dy, const Tensor& x, const RowStatistics& s, Tensor& dweight,
                                Tensor& dbias);

}  // namespace segrt::kernels::cpu
