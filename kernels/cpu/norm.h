// Batch normalisation on a CPU: the functions of kernels/norm.h, arguments checked there.
#pragma once

#include "core/tensor.h"
#include "kernels/norm.h"

namespace segrt::kernels::cpu {

void batch_norm_statistics(const Tensor& x, Tensor& mean, Tensor& var);
void batch_norm_from_sums(const Tensor& sum, const Tensor& sum_squares, int64_t count, Tensor& mean, Tensor& var);
void batch_norm_combine(const Tensor& messages, Tensor& mean, Tensor& var, Tensor& unbiased_var, Tensor& count);
void batch_norm_update_running(const Tensor& mean, const Tensor& var, int64_t count, double momentum,
                               Tensor& running_mean, Tensor& running_var);
void batch_norm_apply(const Tensor& x, const BatchNormParams& p, const Tensor* residual, bool relu, Tensor& y);
void batch_norm_backward_reduce(const Tensor& dy, const Tensor& x, const Tensor* y, const BatchNormParams& p,
                                Tensor& sum_dy, Tensor& sum_dy_xhat);
void batch_norm_backward_apply(const Tensor& dy, const Tensor& x, const Tensor* y, const BatchNormParams& p,
                               const Tensor* sum_dy, const Tensor* sum_dy_xhat, int64_t count, Tensor& dx,
                               Tensor* dresidual);

}  // namespace segrt::kernels::cpu
