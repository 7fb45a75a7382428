// Cross-entropy of images that are mixed with others of their batch, with label smoothing: the target is never stored.
#pragma once

#include "core/tensor.h"

namespace segrt::kernels {

// The target of row n of N, over C classes:
//   t[c] = smoothing / C + (1 - smoothing) * (share * [c == labels[n]] + (1 - share) * [c == labels[N-1-n]]).
// Its sum is 1. labels i64 [N]; share f32 [1] on the same device, or undefined: 1, and row N-1-n does not matter.
struct MixedTargets {
  Tensor labels, share = {};
  double smoothing = 0;  // [0, 1)
};

// loss[n] = -sum_c t[c] * log softmax(logits[n])[c].  logits [N,C] f32, bf16, f16 (CPU: also f64); loss [N] f32 (f64
// for f64). A label that is no class is an error on the CPU and makes the loss NaN on CUDA.
void mixed_cross_entropy_forward(const Tensor& logits, const MixedTargets& targets, Tensor& loss);
// dlogits[n,c] = scale[0] * (softmax(logits[n])[c] - t[c]); scale [1] f32 (f64 for f64).
void mixed_cross_entropy_backward(const Tensor& logits, const MixedTargets& targets, const Tensor& scale,
                                  Tensor& dlogits);

}  // namespace segrt::kernels
