// Differentiable softmax and losses; formulas in kernels/softmax.h and kernels/upsample_loss.h.
#pragma once

#include "autograd/tape.h"
#include "core/communicator.h"
#include "kernels/mixed_cross_entropy.h"
#include "kernels/softmax.h"
#include "kernels/upsample_loss.h"

namespace segrt::autograd {

Var softmax(const Var& x);      // over the last dimension
Var log_softmax(const Var& x);  // over the last dimension

// A mean over the positions of several processes (`over`, below): the loss of each is then its share, the sum over its
// positions divided by the weight of all positions of all processes; the shares add up to the mean. One number travels.

enum class Reduction : uint8_t { none, sum, mean };  // mean: over the weight of the positions that count
struct CrossEntropyOptions {
  int64_t ignore_index = 255;
  Tensor class_weight;  // [C] f32 or undefined
  Reduction reduction = Reduction::mean;
  Communicator* over = nullptr;  // of a mean
};
// logits [P...,C], labels [P...] -> [1], or [P...] without reduction.
Var cross_entropy(const Var& logits, const Tensor& labels, const CrossEntropyOptions& o);
Var nll(const Var& log_probabilities, const Tensor& labels, const CrossEntropyOptions& o);

// logits [N,C] -> [1]: the mean over the rows of the loss of kernels/mixed_cross_entropy.h.
Var mixed_cross_entropy(const Var& logits, const kernels::MixedTargets& targets);

// y [N,H,W,C] = scores upsampled.
Var upsample(const Var& scores, const kernels::UpsampleTaps& taps);

struct SegmentationLoss {
  Var loss;           // [1]: mean cross-entropy over the pixels that count
  Tensor correct;     // i64 [1]: of those, how many the network gets right
  Tensor weight_sum;  // [1]: what the loss was divided by
};
struct SegmentationLossOptions {
  int ignore_index = 255;
  Tensor class_weight = {};    // [C] f32 or undefined
  bool count_ignored = false;  // kernels::UpsampleLossOptions
  Communicator* over = nullptr;
};
// scores [N,h,w,C], labels u8 [N,H,W]. Never stores [N,H,W,C].
SegmentationLoss upsample_cross_entropy(const Var& scores, const kernels::UpsampleTaps& taps, const Tensor& labels,
                                        const SegmentationLossOptions& o = {});

}  // namespace segrt::autograd
