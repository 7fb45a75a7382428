// Compiled without contraction into fused multiply-adds, which would round differently from Pillow.
#include "kernels/cuda/resample.h"

#include "kernels/cuda/device.h"

namespace segrt::kernels::cuda {
namespace {

struct PassView {
  int in, out, stride;
  const int32_t* first;
  const int32_t* count;
  const double* weight;
};

// A thread makes one output value; consecutive threads share taps or read consecutive values. Evaluation only, and
// bound by the float64 sums that bit-equality asks for.
__global__ void resample_kernel(const float* x, PassView taps, float* y, int64_t total, int64_t inner) {
  for (int64_t e = global_index(); e < total; e += global_size()) {
    const int64_t k = e / inner, outer = k / taps.out;
    const int i = static_cast<int>(k - outer * taps.out);
    const float* from = x + (outer * taps.in + taps.first[i]) * inner + (e - k * inner);
    const double* weight = taps.weight + int64_t{i} * taps.stride;
    double sum = 0.0;
    for (int t = 0; t < taps.count[i]; ++t) sum += static_cast<double>(from[t * inner]) * weight[t];
    y[e] = static_cast<float>(sum);
  }
}

}  // namespace

void resample_pass(const Tensor& x, const ResampleTaps& taps, int64_t outer, int64_t inner, Tensor& y) {
  constexpr int kThreads = 256;
  const PassView view{taps.in,
                      taps.out,
                      taps.stride,
                      taps.first.data<int32_t>(),
                      taps.count.data<int32_t>(),
                      taps.weight.data<double>()};
  const int64_t total = outer * taps.out * inner;
  launch(x.device(), resample_kernel, {.grid = grid_for(total, kThreads), .block = kThreads, .barrier_free = true},
         x.data<float>(), view, y.data<float>(), total, inner);
}

}  // namespace segrt::kernels::cuda
