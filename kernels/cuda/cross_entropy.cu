#include "kernels/cuda/cross_entropy.h"

#include "kernels/cuda/labels.cuh"
#include "kernels/cuda/softmax_row.cuh"
#include "kernels/dispatch.h"

namespace segrt::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarpsPerBlock = kThreads / kWarpSize;

// f.operator()<L>() with L the integer type of the labels.
template <typename F>
void dispatch_label(DType dtype, const F& f) {
  switch (dtype) {
    case DType::u8: return f.template operator()<uint8_t>();
    case DType::i32: return f.template operator()<int32_t>();
    default: return f.template operator()<int64_t>();
  }
}

LabelWeights weights_of(const CrossEntropyOptions& o, int64_t channels) {
  return {o.ignore_index, o.class_weight ? o.class_weight->data<float>() : nullptr, static_cast<int>(channels)};
}

// Writes the block's sum of the label weights that its threads met.
SEGRT_DEVICE void write_partial(float weight, float* partials) {
  const float sum = block_sum(weight);
  if (linear_thread() == 0) partials[block_index().x] = sum;
}

// A warp a position, grid-stride. Reads the logits once, writes the loss once.
template <typename T, typename L>
__global__ void cross_entropy_forward_kernel(const T* logits, const L* labels, LabelWeights weights, float* loss,
                                             float* partials, int64_t positions) {
  float weight_total = 0.0f;
  for (int64_t p = int64_t{block_index().x} * kWarpsPerBlock + warp_index(); p < positions;
       p += int64_t{grid_dim().x} * kWarpsPerBlock) {
    const auto label = static_cast<int64_t>(labels[p]);
    const float weight = weights.of(label);
    float value = weight;  // 0 where ignored, NaN where the label is no class
    if (weights.counts(label) && weights.is_class(label)) {
      const SoftmaxRow row = softmax_row(logits + p * weights.classes, weights.classes);
      value = weight * (logf(row.sum) - (to_float(logits[p * weights.classes + label]) - row.max));
    }
    if (lane_index() == 0) {
      loss[p] = value;
      weight_total += weight;
    }
  }
  write_partial(weight_total, partials);
}

// A thread a position, grid-stride.
template <typename T, typename L>
__global__ void nll_forward_kernel(const T* x, const L* labels, LabelWeights weights, float* loss, float* partials,
                                   int64_t positions) {
  float weight_total = 0.0f;
  for (int64_t p = global_index(); p < positions; p += global_size()) {
    const auto label = static_cast<int64_t>(labels[p]);
    const float weight = weights.of(label);
    loss[p] =
        weights.counts(label) && weights.is_class(label) ? -weight * to_float(x[p * weights.classes + label]) : weight;
    weight_total += weight;
  }
  write_partial(weight_total, partials);
}

// One block adds the blocks' weights in a fixed order, in float64.
__global__ void weight_sum_kernel(const float* partials, int64_t count, float* weight_sum) {
  double sum = 0.0;
  for (int64_t i = linear_thread(); i < count; i += block_threads()) sum += static_cast<double>(partials[i]);
  sum = block_sum(sum);
  if (linear_thread() == 0) weight_sum[0] = static_cast<float>(sum);
}

// A warp a position. Reads the logits twice, the second time from L1/L2, and writes dlogits once.
template <typename T, typename L>
__global__ void cross_entropy_backward_kernel(const T* logits, const L* labels, LabelWeights weights,
                                              const float* scale, int scale_step, T* dlogits, int64_t positions) {
  const int64_t p = int64_t{block_index().x} * kWarpsPerBlock + warp_index();
  if (p >= positions) return;  // a warp leaves as a whole
  const auto label = static_cast<int64_t>(labels[p]);
  const T* x = logits + p * weights.classes;
  T* dx = dlogits + p * weights.classes;
  if (!weights.counts(label)) {
    for (int c = lane_index(); c < weights.classes; c += kWarpSize) dx[c] = from_float<T>(0.0f);
    return;
  }
  const SoftmaxRow row = softmax_row(x, weights.classes);
  const float factor = scale[p * scale_step] * weights.of(label), inverse_sum = 1.0f / row.sum;
  for (int c = lane_index(); c < weights.classes; c += kWarpSize)
    dx[c] = from_float<T>(factor * (expf(to_float(x[c]) - row.max) * inverse_sum - (c == label ? 1.0f : 0.0f)));
}

// A thread an element: zero but at the label.
template <typename T, typename L>
__global__ void nll_backward_kernel(const L* labels, LabelWeights weights, const float* scale, int scale_step, T* dx,
                                    int64_t total) {
  for (int64_t e = global_index(); e < total; e += global_size()) {
    const int64_t p = e / weights.classes, c = e - p * weights.classes;
    const auto label = static_cast<int64_t>(labels[p]);
    const bool here = weights.counts(label) && (c == label || !weights.is_class(label));
    dx[e] = from_float<T>(here ? -scale[p * scale_step] * weights.of(label) : 0.0f);
  }
}

}  // namespace

void cross_entropy_forward(const Tensor& logits, const Tensor& labels, const CrossEntropyOptions& o, Tensor& loss,
                           Tensor& weight_sum) {
  Device& device = logits.device();
  const int64_t positions = labels.numel(), blocks = grid_for(positions, kWarpsPerBlock);
  Tensor partials = Tensor::empty({blocks}, DType::f32, device);
  dispatch_float(logits.dtype(), [&]<typename T>() {
    dispatch_label(labels.dtype(), [&]<typename L>() {
      launch(device, cross_entropy_forward_kernel<T, L>, {.grid = blocks, .block = kThreads}, logits.data<T>(),
             labels.data<L>(), weights_of(o, logits.dim(-1)), loss.data<float>(), partials.data<float>(), positions);
    });
  });
  launch(device, weight_sum_kernel, {.grid = 1, .block = kThreads}, partials.data<float>(), blocks,
         weight_sum.data<float>());
}

void nll_forward(const Tensor& log_probabilities, const Tensor& labels, const CrossEntropyOptions& o, Tensor& loss,
                 Tensor& weight_sum) {
  Device& device = log_probabilities.device();
  const int64_t positions = labels.numel(), blocks = grid_for(positions, kThreads);
  Tensor partials = Tensor::empty({blocks}, DType::f32, device);
  dispatch_float(log_probabilities.dtype(), [&]<typename T>() {
    dispatch_label(labels.dtype(), [&]<typename L>() {
      launch(device, nll_forward_kernel<T, L>, {.grid = blocks, .block = kThreads}, log_probabilities.data<T>(),
             labels.data<L>(), weights_of(o, log_probabilities.dim(-1)), loss.data<float>(), partials.data<float>(),
             positions);
    });
  });
  launch(device, weight_sum_kernel, {.grid = 1, .block = kThreads}, partials.data<float>(), blocks,
         weight_sum.data<float>());
}

void cross_entropy_backward(const Tensor& logits, const Tensor& labels, const CrossEntropyOptions& o,
                            const Tensor& scale, Tensor& dlogits) {
  const int64_t positions = labels.numel();
  dispatch_float(logits.dtype(), [&]<typename T>() {
    dispatch_label(labels.dtype(), [&]<typename L>() {
      launch(logits.device(), cross_entropy_backward_kernel<T, L>,
             {.grid = blocks_for(positions, kWarpsPerBlock), .block = kThreads}, logits.data<T>(), labels.data<L>(),
             weights_of(o, logits.dim(-1)), scale.data<float>(), scale.numel() == 1 ? 0 : 1, dlogits.data<T>(),
             positions);
    });
  });
}

void nll_backward(const Tensor& labels, const CrossEntropyOptions& o, const Tensor& scale, Tensor& dx) {
  dispatch_float(dx.dtype(), [&]<typename T>() {
    dispatch_label(labels.dtype(), [&]<typename L>() {
      launch(dx.device(), nll_backward_kernel<T, L>,
             {.grid = grid_for(dx.numel(), kThreads), .block = kThreads, .barrier_free = true}, labels.data<L>(),
             weights_of(o, dx.dim(-1)), scale.data<float>(), scale.numel() == 1 ? 0 : 1, dx.data<T>(), dx.numel());
    });
  });
}

}  // namespace segrt::kernels::cuda
