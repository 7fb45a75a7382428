#include "kernels/cuda/softmax.h"

#include "kernels/cuda/softmax_row.cuh"
#include "kernels/dispatch.h"

namespace segrt::kernels::cuda {
namespace {

constexpr int kWarpsPerBlock = 8;

// One warp a row: C is 2..256 here, too few for a block. Each kernel reads its inputs twice (the second time from
// L1/L2) and writes its output once; y may be x, dx may be dy: a lane writes only what it alone reads.
template <typename T, bool kLog>
__global__ void softmax_forward_kernel(const T* x, T* y, int64_t rows, int channels) {
  const int64_t p = int64_t{block_index().x} * kWarpsPerBlock + warp_index();
  if (p >= rows) return;  // a warp leaves as a whole, so the collectives below stay full
  x += p * channels;
  y += p * channels;
  const SoftmaxRow row = softmax_row(x, channels);
  if constexpr (kLog) {
    const float log_sum = logf(row.sum);
    for (int c = lane_index(); c < channels; c += kWarpSize) y[c] = from_float<T>((to_float(x[c]) - row.max) - log_sum);
  } else {
    const float inverse_sum = 1.0f / row.sum;
    for (int c = lane_index(); c < channels; c += kWarpSize)
      y[c] = from_float<T>(expf(to_float(x[c]) - row.max) * inverse_sum);
  }
}

template <typename T, bool kLog>
__global__ void softmax_backward_kernel(const T* y, const T* dy, T* dx, int64_t rows, int channels) {
  const int64_t p = int64_t{block_index().x} * kWarpsPerBlock + warp_index();
  if (p >= rows) return;
  y += p * channels;
  dy += p * channels;
  dx += p * channels;
  float sum = 0.0f;
  for (int c = lane_index(); c < channels; c += kWarpSize)
    sum += kLog ? to_float(dy[c]) : to_float(dy[c]) * to_float(y[c]);
  sum = warp_sum(sum);
  for (int c = lane_index(); c < channels; c += kWarpSize) {
    const float d = to_float(dy[c]), v = to_float(y[c]);
    dx[c] = from_float<T>(kLog ? d - expf(v) * sum : v * (d - sum));
  }
}

template <bool kLog>
void forward(const Tensor& x, Tensor& y) {
  const int64_t channels = x.dim(-1), rows = x.numel() / channels;
  dispatch_float(x.dtype(), [&]<typename T>() {
    launch(x.device(), softmax_forward_kernel<T, kLog>,
           {.grid = blocks_for(rows, kWarpsPerBlock), .block = kWarpsPerBlock * kWarpSize}, x.data<T>(), y.data<T>(),
           rows, channels);
  });
}

template <bool kLog>
void backward(const Tensor& y, const Tensor& dy, Tensor& dx) {
  const int64_t channels = y.dim(-1), rows = y.numel() / channels;
  dispatch_float(y.dtype(), [&]<typename T>() {
    launch(y.device(), softmax_backward_kernel<T, kLog>,
           {.grid = blocks_for(rows, kWarpsPerBlock), .block = kWarpsPerBlock * kWarpSize}, y.data<T>(), dy.data<T>(),
           dx.data<T>(), rows, channels);
  });
}

}  // namespace

void softmax_forward(const Tensor& x, Tensor& y) { forward<false>(x, y); }
void softmax_backward(const Tensor& y, const Tensor& dy, Tensor& dx) { backward<false>(y, dy, dx); }
void log_softmax_forward(const Tensor& x, Tensor& y) { forward<true>(x, y); }
void log_softmax_backward(const Tensor& y, const Tensor& dy, Tensor& dx) { backward<true>(y, dy, dx); }

}  // namespace segrt::kernels::cuda
