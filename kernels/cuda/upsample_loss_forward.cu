#include "kernels/cuda/labels.cuh"
#include "kernels/cuda/upsample_loss.cuh"
#include "kernels/cuda/upsample_loss.h"
#include "kernels/dispatch.h"

namespace segrt::kernels::cuda {
namespace {

constexpr int kTotals = 3;  // loss, weight, correct

// One pixel's loss: what visit_row_pixels calls.
struct PixelLoss {
  const uint8_t* labels;  // of the row
  float* log_sum_exp;     // of the row
  LabelWeights weights;
  int channels;
  float* totals;  // [kTotals] of the thread

  template <typename Scores>
  SEGRT_DEVICE void operator()(int x, const Scores& scores) const {
    const int label = labels[x];
    if (!weights.counts(label)) {
      log_sum_exp[x] = 0.0f;
      return;
    }
    const TopScore top = top_score(scores, channels);
    float sum = 0.0f;
    for (int c = 0; c < channels; ++c) sum += expf(scores(c) - top.value);
    const float log_sum = logf(sum), weight = weights.of(label);
    log_sum_exp[x] = top.value + log_sum;
    totals[0] = weight * (weights.is_class(label) ? log_sum - (scores(label) - top.value) : 0.0f);
    totals[1] = weight;
    totals[2] = top.index == label ? 1.0f : 0.0f;
  }
};

// A thread a pixel, a block up to 256 pixels of a row. Reads the scores about once and the labels once, writes
// log_sum_exp and the block's three sums.
template <typename T>
__global__ void loss_forward_kernel(RowProblem<T> p, const uint8_t* labels, LabelWeights weights, float* log_sum_exp,
                                    float* partials) {
  const int64_t row = (int64_t{block_index().z} * p.rows.out + block_index().y) * p.columns.out;
  float totals[kTotals] = {};
  visit_row_pixels(p, PixelLoss{labels + row, log_sum_exp + row, weights, p.channels, totals});
  block_sums(totals);
  if (linear_thread() == 0) {
    const Index3 grid = grid_dim(), block = block_index();
    const int64_t index = (int64_t{block.z} * grid.y + block.y) * grid.x + block.x;
    for (int k = 0; k < kTotals; ++k) partials[index * kTotals + k] = totals[k];
  }
}

// One block adds the blocks' sums in a fixed order, in float64. divisor: of the loss, or 0 for the sum of weights.
__global__ void loss_totals_kernel(const float* partials, int64_t count, double divisor, float* loss, float* weight_sum,
                                   int64_t* correct) {
  double totals[kTotals] = {};
  for (int64_t i = linear_thread(); i < count; i += block_threads())
    for (int k = 0; k < kTotals; ++k) totals[k] += static_cast<double>(partials[i * kTotals + k]);
  block_sums(totals);
  if (linear_thread() != 0) return;
  if (divisor > 0.0) totals[1] = divisor;
  loss[0] = totals[1] != 0.0 ? static_cast<float>(totals[0] / totals[1]) : 0.0f;
  weight_sum[0] = static_cast<float>(totals[1]);
  correct[0] = static_cast<int64_t>(totals[2]);
}

struct PixelArgmax {
  uint8_t* prediction;  // of the row
  int channels;
  template <typename Scores>
  SEGRT_DEVICE void operator()(int x, const Scores& scores) const {
    prediction[x] = static_cast<uint8_t>(top_score(scores, channels).index);
  }
};

// As loss_forward_kernel, without the loss.
template <typename T>
__global__ void upsample_argmax_kernel(RowProblem<T> p, uint8_t* prediction) {
  const int64_t row = (int64_t{block_index().z} * p.rows.out + block_index().y) * p.columns.out;
  visit_row_pixels(p, PixelArgmax{prediction + row, p.channels});
}

}  // namespace

void upsample_cross_entropy_forward(const Tensor& scores, const UpsampleTaps& taps, const Tensor& labels,
                                    const UpsampleLossOptions& o, Tensor& loss, Tensor& weight_sum, Tensor& log_sum_exp,
                                    Tensor& correct) {
  const LabelWeights weights{o.ignore_index, o.class_weight ? o.class_weight->data<float>() : nullptr,
                             static_cast<int>(scores.dim(3))};
  dispatch_float(scores.dtype(), [&]<typename T>() {
    const RowProblem<T> p = row_problem<T>(scores, taps);
    const Dim3 grid = row_grid(p, scores.dim(0));
    Tensor partials = Tensor::empty({grid.count(), kTotals}, DType::f32, scores.device());
    launch(scores.device(), loss_forward_kernel<T>,
           {.grid = grid, .block = kRowPixels, .shared_bytes = row_shared_bytes(p)}, p, labels.data<uint8_t>(), weights,
           log_sum_exp.data<float>(), partials.data<float>());
    launch(scores.device(), loss_totals_kernel, {.grid = 1, .block = 256}, partials.data<float>(), grid.count(),
           o.count_ignored ? static_cast<double>(labels.numel()) : 0.0, loss.data<float>(), weight_sum.data<float>(),
           correct.data<int64_t>());
  });
}

void upsample_argmax(const Tensor& scores, const UpsampleTaps& taps, Tensor& prediction) {
  dispatch_float(scores.dtype(), [&]<typename T>() {
    const RowProblem<T> p = row_problem<T>(scores, taps);
    launch(scores.device(), upsample_argmax_kernel<T>,
           {.grid = row_grid(p, scores.dim(0)), .block = kRowPixels, .shared_bytes = row_shared_bytes(p)}, p,
           prediction.data<uint8_t>());
  });
}

}  // namespace segrt::kernels::cuda
