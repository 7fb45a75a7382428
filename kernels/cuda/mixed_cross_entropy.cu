#include "kernels/cuda/mixed_cross_entropy.h"

#include <limits>

#include "kernels/cuda/softmax_row.cuh"
#include "kernels/dispatch.h"

namespace segrt::kernels::cuda {
namespace {
constexpr int kThreads = 256;
constexpr int kWarpsPerBlock = kThreads / kWarpSize;

struct TargetRule {
  const int64_t* labels;
  const float* share;  // or null: 1
  int64_t rows;
  int classes;
  float each, certain;  // smoothing / classes, 1 - smoothing
};

// The two classes of a row with their weights; a label that is no class makes both weights NaN, and points nowhere.
struct Target {
  int64_t own, other;
  float own_weight, other_weight;
};
SEGRT_DEVICE Target target_of(const TargetRule& rule, int64_t row) {
  const int64_t own = rule.labels[row], other = rule.labels[rule.rows - 1 - row];
  if (own < 0 || own >= rule.classes || other < 0 || other >= rule.classes) {
    const float nan = std::numeric_limits<float>::quiet_NaN();
    return {0, 0, nan, nan};
  }
  const float share = rule.share != nullptr ? *rule.share : 1.0f;
  return {own, other, rule.certain * share, rule.certain * (1.0f - share)};
}

// A warp a row. Reads the logits twice, the second time from L1/L2, and writes one loss.
template <typename T>
__global__ void mixed_forward_kernel(const T* logits, TargetRule rule, float* loss) {
  const int64_t row = int64_t{block_index().x} * kWarpsPerBlock + warp_index();
  if (row >= rule.rows) return;  // a warp leaves as a whole
  const T* x = logits + row * rule.classes;
  const SoftmaxRow softmax = softmax_row(x, rule.classes);
  float sum = 0.0f;
  for (int c = lane_index(); c < rule.classes; c += kWarpSize) sum += to_float(x[c]) - softmax.max;
  sum = warp_sum(sum);
  if (lane_index() != 0) return;
  const Target t = target_of(rule, row);
  float expected =
      t.own_weight * (to_float(x[t.own]) - softmax.max) + t.other_weight * (to_float(x[t.other]) - softmax.max);
  if (rule.each > 0.0f) expected += rule.each * sum;  // not 0 times an infinite sum
  loss[row] = logf(softmax.sum) - expected;
}

// A warp a row. Reads the logits twice, writes dlogits once.
template <typename T>
__global__ void mixed_backward_kernel(const T* logits, TargetRule rule, const float* scale, T* dlogits) {
  const int64_t row = int64_t{block_index().x} * kWarpsPerBlock + warp_index();
  if (row >= rule.rows) return;
  const T* x = logits + row * rule.classes;
  const SoftmaxRow softmax = softmax_row(x, rule.classes);
  const Target t = target_of(rule, row);
  const float inverse_sum = 1.0f / softmax.sum, factor = *scale;
  for (int c = lane_index(); c < rule.classes; c += kWarpSize) {
    float d = expf(to_float(x[c]) - softmax.max) * inverse_sum - rule.each;
    if (c == t.own) d -= t.own_weight;
    if (c == t.other) d -= t.other_weight;
    dlogits[row * rule.classes + c] = from_float<T>(factor * d);
  }
}

TargetRule rule_of(const MixedTargets& t, int64_t classes) {
  return {t.labels.data<int64_t>(),
          t.share.defined() ? t.share.data<float>() : nullptr,
          t.labels.numel(),
          static_cast<int>(classes),
          static_cast<float>(t.smoothing / static_cast<double>(classes)),
          static_cast<float>(1 - t.smoothing)};
}
}  // namespace

void mixed_cross_entropy_forward(const Tensor& logits, const MixedTargets& targets, Tensor& loss) {
  dispatch_float(logits.dtype(), [&]<typename T>() {
    launch(logits.device(), mixed_forward_kernel<T>,
           {.grid = blocks_for(logits.dim(0), kWarpsPerBlock), .block = kThreads}, logits.data<T>(),
           rule_of(targets, logits.dim(1)), loss.data<float>());
  });
}

void mixed_cross_entropy_backward(const Tensor& logits, const MixedTargets& targets, const Tensor& scale,
                                  Tensor& dlogits) {
  dispatch_float(logits.dtype(), [&]<typename T>() {
    launch(logits.device(), mixed_backward_kernel<T>,
           {.grid = blocks_for(logits.dim(0), kWarpsPerBlock), .block = kThreads}, logits.data<T>(),
           rule_of(targets, logits.dim(1)), scale.data<float>(), dlogits.data<T>());
  });
}

}  // namespace segrt::kernels::cuda
