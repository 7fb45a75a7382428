// Softmax over the last dimension. f32, bf16, f16 (CPU: also f64); sums in f32 (f64 for f64).
#pragma once

#include "core/tensor.h"

namespace segrt::kernels {

// y[p,c] = exp(x[p,c] - m[p]) / sum_k exp(x[p,k] - m[p]),  m[p] = max_k x[p,k].  x, y [...,C] alike; y may be x.
void softmax_forward(const Tensor& x, Tensor& y);
// dx[p,c] = y[p,c] * (dy[p,c] - sum_k dy[p,k] * y[p,k]);  dx may be dy.
void softmax_backward(const Tensor& y, const Tensor& dy, Tensor& dx);

// y[p,c] = x[p,c] - m[p] - log sum_k exp(x[p,k] - m[p]);  y may be x.
void log_softmax_forward(const Tensor& x, Tensor& y);
// dx[p,c] = dy[p,c] - exp(y[p,c]) * sum_k dy[p,k];  dx may be dy.
void log_softmax_backward(const Tensor& y, const Tensor& dy, Tensor& dx);

// Cross-entropy at the resolution of the labels. logits [P...,C] float, labels [P...] u8, i32 or i64; P = positions.
// A position counts unless its label is ignore_index; a label that is neither a class nor ignore_index is an error on
// the CPU and makes the loss NaN on CUDA (no host synchronisation). class_weight [C] f32 or nullptr (all ones).
struct CrossEntropyOptions {
  int64_t ignore_index = 255;
  const Tensor* class_weight = nullptr;
};
// loss[p] = -weight[l] * log softmax(logits[p])[l], 0 where ignored; f32 [P...] (f64 for f64).  weight_sum [1] = sum of
// weight[l].
void cross_entropy_forward(const Tensor& logits, const Tensor& labels, const CrossEntropyOptions& o, Tensor& loss,
                           Tensor& weight_sum);
// dlogits[p,c] = scale[p] * weight[l] * (softmax(logits[p])[c] - [c == l]); scale has P elements or 1 (then shared).
void cross_entropy_backward(const Tensor& logits, const Tensor& labels, const CrossEntropyOptions& o,
                            const Tensor& scale, Tensor& dlogits);

// The same for inputs that are log-probabilities already (negative log-likelihood).
void nll_forward(const Tensor& log_probabilities, const Tensor& labels, const CrossEntropyOptions& o, Tensor& loss,
                 Tensor& weight_sum);
void nll_backward(const Tensor& log_probabilities, const Tensor& labels, const CrossEntropyOptions& o,
                  const Tensor& scale, Tensor& dx);

}  // namespace segrt::kernels
