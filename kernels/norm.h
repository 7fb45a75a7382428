// Batch normalisation (Ioffe & Szegedy 2015) over the channels of [..., C], split where synchronised BN must
// communicate: statistics -> (reduce over processes) -> apply;  backward_reduce -> (reduce over processes) ->
// backward_apply. Activations are f32, bf16 or f16 (CPU: also f64); statistics and affine parameters are f32 (f64 with
// f64 activations).
//
// On a CPU sums of f32 and 16-bit [N,...,C] (of rank 3 and more) are taken of each sample first, in an order that
// depends on the sample's shape alone, and of the samples in f64; statistics and sums may be asked for in f64 whatever
// x is. So those of the parts of a batch, combined in f64 and then rounded to f32, are the same bits as those of the
// whole (but for one in a million or fewer, whose f64 values differ by 1e-16 just where the rounding changes).
#pragma once

#include "core/tensor.h"

namespace segrt::kernels {

// mean[c] = sum x / P, var[c] = sum (x - mean)^2 / P (biased), over the P = numel / C positions. Accurate when |mean|
// >> std: partial (count, mean, M2) are combined pairwise (Chan et al. 1979). Same bits for any thread count or block
// order. mean, var: f32 (CPU: or f64).
void batch_norm_statistics(const Tensor& x, Tensor& mean, Tensor& var);

// The same from sums of x and of x^2 over `count` positions: mean = sum / count, var = max(0, sum_squares / count -
// mean^2), in f64. All [C], f32 (CPU: or f64). Digits are lost where |mean| >> std.
void batch_norm_from_sums(const Tensor& sum, const Tensor& sum_squares, int64_t count, Tensor& mean, Tensor& var);

// running_mean += momentum * (mean - running_mean); running_var the same with the unbiased var * count / (count - 1)
// (count 1 keeps the biased value). A channel whose mean or var is not finite keeps what it has: where activations
// overflow in a step that loss scaling skips, nothing shall remain of it. Bumps the versions of both.
void batch_norm_update_running(const Tensor& mean, const Tensor& var, int64_t count, double momentum,
                               Tensor& running_mean, Tensor& running_var);

// The statistics of all processes' positions from those of each. messages [R, 2C+1]: row r is mean [C], var [C]
// (biased) and the count of process r, which may be 0. Combined in the order of the rows by Chan et al.'s rule in f64,
// so that nothing is lost where |mean| >> std. mean, var (biased), unbiased_var (var * count / (count - 1); count 1
// keeps the biased value): [C]; count [1]: the sum of the counts. All f32 (CPU: or all f64, or f32 of f64 messages).
void batch_norm_combine(const Tensor& messages, Tensor& mean, Tensor& var, Tensor& unbiased_var, Tensor& count);

struct BatchNormParams {
  const Tensor& mean;    // [C]
  const Tensor& var;     // [C], biased
  const Tensor& weight;  // [C], gamma
  const Tensor& bias;    // [C], beta
  double eps = 1e-5;
};

// y = act((x - mean) / sqrt(var + eps) * weight + bias + residual).  residual: like x or nullptr. y may be x or the
// residual.
void batch_norm_apply(const Tensor& x, const BatchNormParams& p, const Tensor* residual, bool relu, Tensor& y);

// With g = dy where y > 0 (all of dy when y is nullptr: no ReLU) and xhat = (x - mean) / sqrt(var + eps):
// sum_dy[c] = sum g (= dbias), sum_dy_xhat[c] = sum g * xhat (= dweight). Two-level and deterministic. Both f32 (CPU:
// or f64).
void batch_norm_backward_reduce(const Tensor& dy, const Tensor& x, const Tensor* y, const BatchNormParams& p,
                                Tensor& sum_dy, Tensor& sum_dy_xhat);

// Training: dx = weight / sqrt(var + eps) * (g - sum_dy / count - xhat * sum_dy_xhat / count), count the positions of
// all processes. Frozen statistics (sum_dy == nullptr): dx = weight / sqrt(var + eps) * g. dresidual (or nullptr) = g.
// dx may be dy; dresidual may be dy, not both.
void batch_norm_backward_apply(const Tensor& dy, const Tensor& x, const Tensor* y, const BatchNormParams& p,
                               const Tensor* sum_dy, const Tensor* sum_dy_xhat, int64_t count, Tensor& dx,
                               Tensor* dresidual);

}  // namespace segrt::kernels
