// Layer normalisation (Ba, Kiros & Hinton 2016) over the last dimension of [..., C], alone or fused with the addition
// of a residual branch before it. Activations are f32, bf16 or f16 (CPU: also f64); statistics and affine parameters
// are f32 (f64 with f64 activations). R = numel / C rows.
#pragma once

#include "core/tensor.h"

namespace segrt::kernels {

struct LayerNormParams {
  const Tensor& weight;  // [C], gamma
  const Tensor& bias;    // [C], beta
  double eps = 1e-5;
};
// Of the rows, [R]: what the backward pass needs.
struct RowStatistics {
  Tensor mean, rstd;  // rstd = 1 / sqrt(var + eps), var biased
};

// y[r,c] = (x[r,c] - mean[r]) * rstd[r] * weight[c] + bias[c]. y may be x. Two passes over a row, the second around
// the first one's mean: accurate when |mean| >> std.
void layer_norm_forward(const Tensor& x, const LayerNormParams& p, Tensor& y, RowStatistics& s);
// sum = x + branch, rounded to their type, and y = layer_norm(sum): one pass over memory. sum may be x or the branch.
void add_layer_norm_forward(const Tensor& x, const Tensor& branch, const LayerNormParams& p, Tensor& sum, Tensor& y,
                            RowStatistics& s);

// With g = dy * weight and xhat = (x - mean) * rstd:
// dx[r,c] = rstd[r] * (g[r,c] - mean_c(g) - xhat[r,c] * mean_c(g * xhat)) + dresidual[r,c].
// dresidual: like x, the gradient that x has from elsewhere; or null. dx may be dy or dresidual.
void layer_norm_backward_input(const Tensor& dy, const Tensor& x, const Tensor& weight, const RowStatistics& s,
                               const Tensor* dresidual, Tensor& dx);
// dweight[c] = sum_r dy * xhat, dbias[c] = sum_r dy. Two-level and deterministic.
void layer_norm_backward_weight(const Tensor& dy, const Tensor& x, const RowStatistics& s, Tensor& dweight,
                                Tensor& dbias);

}  // namespace segrt::kernels
