#include "kernels/cuda/channel_tiles.cuh"
#include "kernels/cuda/device.h"
#include "kernels/cuda/norm.h"
#include "kernels/dispatch.h"

namespace segrt::kernels::cuda {
namespace {

// V elements of g = dy where y > 0 (y null: of dy).
template <typename T, int V>
SEGRT_DEVICE void load_masked(const T* dy, const T* y, int64_t at, float (&g)[V]) {
  load_floats<T, V>(dy + at, g);
  if (y == nullptr) return;
  float mask[V];
  load_floats<T, V>(y + at, mask);
#pragma unroll
  for (int k = 0; k < V; ++k) g[k] = mask[k] > 0.0f ? g[k] : 0.0f;
}

// First stage: sums of g and g * (x - mean) over a block's chunk of positions. Reads dy, x (and y) once; writes
// [chunks, C] twice.
template <typename T, int V>
__global__ void sums_kernel(const T* dy, const T* x, const T* y, const float* mean, float* partial_g, float* partial_gx,
                            ChannelTiles t) {
  const TilePart part = tile_part<V>(t, block_index().x);
  PairSums<float, V> own{};
  if (part.active) {
    float center[V];
#pragma unroll
    for (int k = 0; k < V; ++k) center[k] = mean[part.channel + k];
#pragma unroll 2
    for (int64_t row = part.begin; row < part.end; row += t.rows) {
      const int64_t at = row * t.channels + part.channel;
      float g[V], v[V];
      load_masked<T, V>(dy, y, at, g);
      load_floats<T, V>(x + at, v);
#pragma unroll
      for (int k = 0; k < V; ++k) {
        own.g[k] += g[k];
        own.gx[k] += g[k] * (v[k] - center[k]);
      }
    }
  }
  write_partial_sums(own, t, part, partial_g, partial_gx);
}

// Second stage: one block a tile of channels, over all chunks, in float64.
__global__ void finish_sums_kernel(const float* partial_g, const float* partial_gx, const float* var, float eps,
                                   float* sum_dy, float* sum_dy_xhat, ChannelTiles t) {
  const TilePart part = tile_part<1>(t, block_index().x);
  const PairSums<double, 1> own = sum_of_partials(partial_g, partial_gx, t, part);
  if (part.active && part.row == 0) {
    const float std = sqrtf(var[part.channel] + eps);
    sum_dy[part.channel] = static_cast<float>(own.g[0]);
    sum_dy_xhat[part.channel] = static_cast<float>(own.gx[0] / static_cast<double>(std));
  }
}

struct BackwardParams {
  const float *mean, *var, *weight;
  const float *sum_dy, *sum_dy_xhat;  // null: frozen statistics
  float eps, count;
};

// dx = factor * (g - mean_g) - (x - mean) * slope; one pass, a thread's channels and their parameters in registers.
// Reads dy, x (not with frozen statistics) and y once, writes dx and dresidual once.
template <typename T, int V>
__global__ void backward_apply_kernel(const T* dy, const T* x, const T* y, T* dx, T* dresidual, BackwardParams p,
                                      ChannelTiles t) {
  const TilePart part = tile_part<V>(t, block_index().x);
  if (!part.active) return;
  const bool training = p.sum_dy != nullptr;
  float mean[V], factor[V], mean_g[V] = {}, slope[V] = {};
#pragma unroll
  for (int k = 0; k < V; ++k) {
    const int c = part.channel + k;
    const float rstd = 1.0f / sqrtf(p.var[c] + p.eps);
    mean[k] = p.mean[c];
    factor[k] = p.weight[c] * rstd;
    if (training) {
      mean_g[k] = p.sum_dy[c] / p.count;
      slope[k] = factor[k] * rstd * (p.sum_dy_xhat[c] / p.count);
    }
  }
#pragma unroll 2
  for (int64_t row = part.begin; row < part.end; row += t.rows) {
    const int64_t at = row * t.channels + part.channel;
    float g[V], v[V];
    load_masked<T, V>(dy, y, at, g);
    if (training) {
      load_floats<T, V>(x + at, v);
#pragma unroll
      for (int k = 0; k < V; ++k) v[k] = factor[k] * (g[k] - mean_g[k]) - (v[k] - mean[k]) * slope[k];
    } else {
#pragma unroll
      for (int k = 0; k < V; ++k) v[k] = factor[k] * g[k];
    }
    if (dresidual != nullptr) store_floats<T, V>(dresidual + at, g);
    store_floats<T, V>(dx + at, v);
  }
}

constexpr int64_t kApplySteps = 8;
}  // namespace

void batch_norm_backward_reduce(const Tensor& dy, const Tensor& x, const Tensor* y, const BatchNormParams& p,
                                Tensor& sum_dy, Tensor& sum_dy_xhat) {
  const int64_t channels = x.dim(-1), positions = x.numel() / channels;
  Device& device = x.device();
  dispatch_float(x.dtype(), [&]<typename Storage>() {
    const void* mask = y != nullptr ? y->raw() : nullptr;
    dispatch_channel_vector<Storage>(channels, {dy.raw(), x.raw(), mask}, [&]<typename T, int V>() {
      const ChannelTiles t = first_stage_tiles<T, V>(positions, channels);
      const Tensor g = Tensor::empty({t.chunks, channels}, DType::f32, device), gx = Tensor::like(g);
      launch(device, sums_kernel<T, V>,
             {.grid = t.blocks(), .block = kTileThreads, .shared_bytes = kTileThreads * sizeof(PairSums<float, V>)},
             dy.data<T>(), x.data<T>(), static_cast<const T*>(mask), p.mean.data<float>(), g.data<float>(),
             gx.data<float>(), t);
      const ChannelTiles second = second_stage_tiles(t.chunks, channels);
      launch(
          device, finish_sums_kernel,
          {.grid = second.blocks(), .block = kTileThreads, .shared_bytes = kTileThreads * sizeof(PairSums<double, 1>)},
          g.data<float>(), gx.data<float>(), p.var.data<float>(), p.eps, sum_dy.data<float>(),
          sum_dy_xhat.data<float>(), second);
    });
  });
}

void batch_norm_backward_apply(const Tensor& dy, const Tensor& x, const Tensor* y, const BatchNormParams& p,
                               const Tensor* sum_dy, const Tensor* sum_dy_xhat, int64_t count, Tensor& dx,
                               Tensor* dresidual) {
  const int64_t channels = x.dim(-1), positions = x.numel() / channels;
  const BackwardParams params{p.mean.data<float>(),
                              p.var.data<float>(),
                              p.weight.data<float>(),
                              sum_dy != nullptr ? sum_dy->data<float>() : nullptr,
                              sum_dy != nullptr ? sum_dy_xhat->data<float>() : nullptr,
                              static_cast<float>(p.eps),
                              static_cast<float>(count)};
  dispatch_float(x.dtype(), [&]<typename Storage>() {
    const void* mask = y != nullptr ? y->raw() : nullptr;
    void* dr = dresidual != nullptr ? dresidual->raw() : nullptr;
    dispatch_channel_vector<Storage>(channels, {dy.raw(), x.raw(), mask, dx.raw(), dr}, [&]<typename T, int V>() {
      const ChannelTiles t = channel_tiles<T, V>(positions, channels, kApplySteps);
      launch(x.device(), backward_apply_kernel<T, V>, {.grid = t.blocks(), .block = kTileThreads, .barrier_free = true},
             dy.data<T>(), x.data<T>(), static_cast<const T*>(mask), dx.data<T>(), static_cast<T*>(dr), params, t);
    });
  });
}

}  // namespace segrt::kernels::cuda
