#include "kernels/cuda/split_sum.h"

#include "kernels/cuda/device.h"
#include "kernels/dispatch.h"

namespace segrt::kernels::cuda {
namespace {

// One thread an element; neighbours read neighbouring floats of every part. Reads partials once, writes sum once.
template <typename T>
__global__ void add_partial_sums_kernel(const float* partials, T* sum, int64_t n, int64_t splits) {
  const int64_t i = global_index();
  if (i >= n) return;
  float total = 0.0f;
  for (int64_t s = 0; s < splits; ++s) total += load_streaming(partials + s * n + i);
  sum[i] = from_float<T>(total);
}

}  // namespace

Tensor partial_sums_for(const Tensor& sum, int64_t splits) {
  if (splits == 1 && sum.dtype() == DType::f32) return sum.reshape({1, sum.numel()});
  return Tensor::empty({splits, sum.numel()}, DType::f32, sum.device());
}

void add_partial_sums(const Tensor& partials, Tensor& sum) {
  if (partials.shares_storage(sum)) return;
  constexpr int kThreads = 256;
  const int64_t n = sum.numel();
  dispatch_float(sum.dtype(), [&]<typename T>() {
    launch(sum.device(), add_partial_sums_kernel<T>,
           {.grid = blocks_for(n, kThreads), .block = kThreads, .barrier_free = true}, partials.data<float>(),
           sum.data<T>(), n, partials.dim(0));
  });
}

}  // namespace segrt::kernels::cuda
