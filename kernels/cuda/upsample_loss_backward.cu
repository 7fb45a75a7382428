#include "kernels/cuda/axis_view.cuh"
#include "kernels/cuda/labels.cuh"
#include "kernels/cuda/upsample_loss.h"
#include "kernels/dispatch.h"

namespace segrt::kernels::cuda {
namespace {

constexpr int kThreads = 256;

template <typename T>
struct GradientProblem {
  const T* scores;           // [N,h,w,C]
  const uint8_t* labels;     // [N,H,W]
  const float* log_sum_exp;  // [N,H,W]
  float* upper;              // [N,h,w,C]: what the label rows between score rows r and r+1 pass to r
  float* lower;              // [N,h,w,C]: and to r+1
  AxisView rows, columns;
  LabelWeights weights;
  int channels;
};

// Gradient of class c at a pixel, but for dloss / weight_sum.
template <typename T>
SEGRT_DEVICE float pixel_gradient(const GradientProblem<T>& p, int64_t pixel, int c, float score) {
  const int label = p.labels[pixel];
  if (!p.weights.counts(label)) return 0.0f;
  const float probability = expf(score - p.log_sum_exp[pixel]);
  return p.weights.of(label) * (probability - (label == c ? 1.0f : 0.0f));
}

// A thread takes class c of score pixel (r, s) and gathers from the pixels between score rows r and r+1 that read
// column s; consecutive threads are consecutive classes, then columns, so that labels and log_sum_exp are broadcasts.
// Probabilities are recomputed (twice: a pixel reads two columns) from six scores in registers. Grid (w*C, h, N).
// Gathering needs no atomics, so every run gives the same bits.
template <typename T>
__global__ void loss_backward_kernel(GradientProblem<T> p) {
  const int64_t e = global_index();
  const int64_t row_size = int64_t{p.columns.in} * p.channels;
  if (e >= row_size) return;
  const int s = static_cast<int>(e / p.channels), c = static_cast<int>(e % p.channels);
  const int r = block_index().y, n = block_index().z;
  const T* top = p.scores + (int64_t{n} * p.rows.in + r) * row_size + c;
  const T* bottom = p.scores + (int64_t{n} * p.rows.in + p.rows.second(r)) * row_size + c;
  const int64_t before = int64_t{s > 0 ? s - 1 : 0} * p.channels, here = int64_t{s} * p.channels;
  const int64_t after = int64_t{p.columns.second(s)} * p.channels;
  const float top_before = to_float(top[before]), top_here = to_float(top[here]), top_after = to_float(top[after]);
  const float bottom_before = to_float(bottom[before]), bottom_here = to_float(bottom[here]),
              bottom_after = to_float(bottom[after]);
  const int x_begin = p.columns.begin(s - 1), x_middle = p.columns.begin(s), x_end = p.columns.begin(s + 1);
  const bool is_last = s == p.columns.in - 1;  // both taps read column s
  const float* weight = p.columns.weight;
  float to_upper = 0.0f, to_lower = 0.0f;
  for (int i = p.rows.begin(r); i < p.rows.begin(r + 1); ++i) {
    const float y0 = p.rows.weight[2 * i], y1 = p.rows.weight[2 * i + 1];
    const float a = y0 * top_before + y1 * bottom_before, b = y0 * top_here + y1 * bottom_here,
                d = y0 * top_after + y1 * bottom_after;
    const int64_t row = (int64_t{n} * p.rows.out + i) * p.columns.out;
    float sum = 0.0f;
    for (int x = x_begin; x < x_middle; ++x) {  // between columns s-1 and s
      const float x0 = weight[2 * x], x1 = weight[2 * x + 1];
      sum += x1 * pixel_gradient(p, row + x, c, x0 * a + x1 * b);
    }
    for (int x = x_middle; x < x_end; ++x) {  // between columns s and s+1
      const float x0 = weight[2 * x], x1 = weight[2 * x + 1];
      sum += (is_last ? x0 + x1 : x0) * pixel_gradient(p, row + x, c, x0 * b + x1 * d);
    }
    to_upper += y0 * sum;
    to_lower += y1 * sum;
  }
  const int64_t to = (int64_t{n} * p.rows.in + r) * row_size + e;
  p.upper[to] = to_upper;
  p.lower[to] = to_lower;
}

// dscores = dloss / weight_sum * (upper of this row + lower of the row above; at the last row both taps are the same).
template <typename T>
__global__ void loss_backward_combine_kernel(const float* upper, const float* lower, const float* dloss,
                                             const float* weight_sum, T* dscores, int64_t total, int rows,
                                             int64_t row_size) {
  const float weights = weight_sum[0];
  const float scale = weights != 0.0f ? dloss[0] / weights : 0.0f;
  for (int64_t e = global_index(); e < total; e += global_size()) {
    const int r = static_cast<int>(e / row_size % rows);
    float sum = upper[e];
    if (r > 0) sum += lower[e - row_size];
    if (r == rows - 1) sum += lower[e];
    dscores[e] = from_float<T>(scale * sum);
  }
}

}  // namespace

void upsample_cross_entropy_backward(const Tensor& scores, const UpsampleTaps& taps, const Tensor& labels,
                                     const UpsampleLossOptions& o, const Tensor& log_sum_exp, const Tensor& weight_sum,
                                     const Tensor& dloss, Tensor& dscores) {
  Device& device = scores.device();
  const AxisView rows(taps.y), columns(taps.x);
  const int64_t row_size = scores.dim(2) * scores.dim(3);
  const LabelWeights weights{o.ignore_index, o.class_weight ? o.class_weight->data<float>() : nullptr,
                             static_cast<int>(scores.dim(3))};
  Tensor upper = Tensor::empty(scores.shape(), DType::f32, device);
  Tensor lower = Tensor::empty(scores.shape(), DType::f32, device);
  dispatch_float(scores.dtype(), [&]<typename T>() {
    const GradientProblem<T> p{scores.data<T>(),
                               labels.data<uint8_t>(),
                               log_sum_exp.data<float>(),
                               upper.data<float>(),
                               lower.data<float>(),
                               rows,
                               columns,
                               weights,
                               static_cast<int>(scores.dim(3))};
    launch(device, loss_backward_kernel<T>,
           {.grid = {blocks_for(row_size, kThreads), rows.in, scores.dim(0)}, .block = kThreads, .barrier_free = true},
           p);
    launch(device, loss_backward_combine_kernel<T>,
           {.grid = grid_for(scores.numel(), kThreads), .block = kThreads, .barrier_free = true}, upper.data<float>(),
           lower.data<float>(), dloss.data<float>(), weight_sum.data<float>(), dscores.data<T>(), scores.numel(),
           rows.in, row_size);
  });
}

}  // namespace segrt::kernels::cuda
