#include "kernels/cuda/global_pool.h"

#include "kernels/cuda/channel_vectors.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/pool.h"
#include "kernels/dispatch.h"

namespace segrt::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kChannels = kWarpSize;  // of a block: a lane each
constexpr int kRows = kThreads / kChannels;
constexpr int kPixelsPerPart = 32 * kRows;  // a thread sums at most 32 pixels in float32

struct WarpSums {
  float of_warp[kRows][kChannels];
};

// A block sums 32 channels over one part of an image's pixels: each warp strides over pixels, a lane a channel, then
// the first warp adds the warps' sums in order. Grid (C/32, parts, batch). Reads x once.
template <typename T>
__global__ void pool_partials_kernel(const T* x, float* partials, int pixels, int channels) {
  auto& shared = block_shared<WarpSums>();
  const int c = block_index().x * kChannels + lane_index(), warp = warp_index();
  const int part = block_index().y, n = block_index().z;
  const int begin = part * kPixelsPerPart, end = std::min(begin + kPixelsPerPart, pixels);
  float sum = 0.0f;
  if (c < channels)
    for (int p = begin + warp; p < end; p += kRows) sum += to_float(x[(int64_t{n} * pixels + p) * channels + c]);
  shared.of_warp[warp][lane_index()] = sum;
  sync_block();
  if (warp > 0 || c >= channels) return;
  for (int w = 1; w < kRows; ++w) sum += shared.of_warp[w][lane_index()];
  partials[(int64_t{n} * grid_dim().y + part) * channels + c] = sum;
}

// A thread adds the parts of one channel in order, in float64, and divides.
template <typename T>
__global__ void pool_mean_kernel(const float* partials, T* y, int parts, int pixels, int channels) {
  const int64_t c = global_index();
  if (c >= channels) return;
  const int n = block_index().y;
  double sum = 0.0;
  for (int part = 0; part < parts; ++part)
    sum += static_cast<double>(partials[(int64_t{n} * parts + part) * channels + c]);
  y[int64_t{n} * channels + c] = from_float<T>(static_cast<float>(sum / pixels));
}

// A thread writes K channels of one pixel; grid (pixels * C/K, batch).
template <typename T, int K>
__global__ void pool_spread_kernel(const T* dy, T* dx, int pixels, int channels) {
  const int vectors = channels / K;
  const int64_t e = global_index();
  if (e >= int64_t{pixels} * vectors) return;
  const int64_t n = block_index().y, p = e / vectors, c = (e - p * vectors) * K;
  auto d = load_vec<T, K>(dy + n * channels + c);
#pragma unroll
  for (int k = 0; k < K; ++k) d[k] = from_float<T>(to_float(d[k]) / static_cast<float>(pixels));
  store_vec(dx + (n * pixels + p) * channels + c, d);
}

}  // namespace

Tensor pool_partials(const Tensor& x) {
  const int64_t batch = x.dim(0), pixels = x.dim(1) * x.dim(2), channels = x.dim(3);
  const int64_t parts = ceil_div(pixels, kPixelsPerPart);
  Tensor partials = Tensor::empty({batch, parts, channels}, DType::f32, x.device());
  dispatch_float(x.dtype(), [&]<typename T>() {
    launch(x.device(), pool_partials_kernel<T>,
           {.grid = {blocks_for(channels, kChannels), parts, batch}, .block = kThreads}, x.data<T>(),
           partials.data<float>(), pixels, channels);
  });
  return partials;
}

void global_avg_pool_forward(const Tensor& x, Tensor& y) {
  const int64_t batch = x.dim(0), pixels = x.dim(1) * x.dim(2), channels = x.dim(3);
  const Tensor partials = pool_partials(x);
  dispatch_float(x.dtype(), [&]<typename T>() {
    launch(x.device(), pool_mean_kernel<T>,
           {.grid = {blocks_for(channels, kThreads), batch}, .block = kThreads, .barrier_free = true},
           partials.data<float>(), y.data<T>(), partials.dim(1), pixels, channels);
  });
}

void global_avg_pool_backward(const Tensor& dy, Tensor& dx) {
  const int64_t batch = dx.dim(0), pixels = dx.dim(1) * dx.dim(2), channels = dx.dim(3);
  dispatch_float(dx.dtype(), [&]<typename T>() {
    dispatch_channel_vectors<T>(channels, {dy.raw(), dx.raw()}, [&]<int K>() {
      launch(dx.device(), pool_spread_kernel<T, K>,
             {.grid = {blocks_for(pixels * (channels / K), kThreads), batch}, .block = kThreads, .barrier_free = true},
             dy.data<T>(), dx.data<T>(), pixels, channels);
    });
  });
}

}  // namespace segrt::kernels::cuda
