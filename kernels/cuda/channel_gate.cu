#include "kernels/cuda/channel_gate.h"

#include "kernels/cuda/channel_tiles.cuh"
#include "kernels/cuda/device.h"
#include "kernels/dispatch.h"

namespace segrt::kernels::cuda {
namespace {

constexpr int64_t kSteps = 8;
constexpr int kThreads = 256;

// g of a thread's channels, as floats, plus 1 with a residual: x g + x = x (g + 1).
template <typename T, int V>
SEGRT_DEVICE void load_gate(const T* g, int64_t at, bool residual, float (&gate)[V]) {
  load_floats<T, V>(g + at, gate);
#pragma unroll
  for (int k = 0; k < V; ++k) gate[k] += residual ? 1.0f : 0.0f;
}

// A thread keeps the factors of V channels of image blockIdx.y and strides over its positions of the tile. Reads x
// once, writes y once.
template <typename T, int V>
__global__ void gate_forward_kernel(const T* x, const T* g, bool residual, T* y, ChannelTiles t) {
  const TilePart part = tile_part<V>(t, block_index().x);
  if (!part.active) return;
  const int64_t n = block_index().y;
  float gate[V];
  load_gate<T, V>(g, n * t.channels + part.channel, residual, gate);
#pragma unroll 2
  for (int64_t row = part.begin; row < part.end; row += t.rows) {
    const int64_t at = (n * t.positions + row) * t.channels + part.channel;
    float v[V];
    load_floats<T, V>(x + at, v);
#pragma unroll
    for (int k = 0; k < V; ++k) v[k] *= gate[k];
    store_floats<T, V>(y + at, v);
  }
}

// Sums of V channels.
template <int V>
struct ChannelSums {
  float of[V];
  SEGRT_DEVICE void combine(const ChannelSums& other) {
#pragma unroll
    for (int k = 0; k < V; ++k) of[k] += other.of[k];
  }
};

// As the forward pass; also sums dy x over the block's positions. Reads dy and x once, writes dx once and the sums
// [N, chunks, C]. dx or partials may be null.
template <typename T, int V>
__global__ void gate_backward_kernel(const T* dy, const T* x, const T* g, bool residual, T* dx, float* partials,
                                     ChannelTiles t) {
  const TilePart part = tile_part<V>(t, block_index().x);
  const int64_t n = block_index().y;
  ChannelSums<V> own{};
  if (part.active) {
    float gate[V];
    load_gate<T, V>(g, n * t.channels + part.channel, residual, gate);
#pragma unroll 2
    for (int64_t row = part.begin; row < part.end; row += t.rows) {
      const int64_t at = (n * t.positions + row) * t.channels + part.channel;
      float d[V], v[V];
      load_floats<T, V>(dy + at, d);
      if (partials != nullptr) {
        load_floats<T, V>(x + at, v);
#pragma unroll
        for (int k = 0; k < V; ++k) own.of[k] += d[k] * v[k];
      }
      if (dx != nullptr) {
#pragma unroll
        for (int k = 0; k < V; ++k) d[k] *= gate[k];
        store_floats<T, V>(dx + at, d);
      }
    }
  }
  if (partials == nullptr) return;  // the same for every thread
  combine_rows(own, t, part, dynamic_shared<ChannelSums<V>>());
  if (part.active && part.row == 0) {
    const int64_t at = (n * t.chunks + part.chunk) * t.channels + part.channel;
#pragma unroll
    for (int k = 0; k < V; ++k) partials[at + k] = own.of[k];
  }
}

// A thread adds the chunks of one channel of image blockIdx.y in order, in float64.
template <typename T>
__global__ void gate_gradient_kernel(const float* partials, T* dg, int chunks, int channels) {
  const int64_t c = global_index();
  if (c >= channels) return;
  const int64_t n = block_index().y;
  double sum = 0.0;
  for (int k = 0; k < chunks; ++k) sum += static_cast<double>(partials[(n * chunks + k) * channels + c]);
  dg[n * channels + c] = from_float<T>(static_cast<float>(sum));
}

}  // namespace

void channel_gate_forward(const Tensor& x, const Tensor& g, bool residual, Tensor& y) {
  const int64_t pixels = x.dim(1) * x.dim(2), channels = x.dim(3);
  dispatch_float(x.dtype(), [&]<typename Storage>() {
    dispatch_channel_vector<Storage>(channels, {x.raw(), g.raw(), y.raw()}, [&]<typename T, int V>() {
      const ChannelTiles t = channel_tiles<T, V>(pixels, channels, kSteps);
      launch(x.device(), gate_forward_kernel<T, V>,
             {.grid = {t.blocks(), x.dim(0)}, .block = kTileThreads, .barrier_free = true}, x.data<T>(), g.data<T>(),
             residual, y.data<T>(), t);
    });
  });
}

void channel_gate_backward(const Tensor& dy, const Tensor& x, const Tensor& g, bool residual, Tensor* dx, Tensor* dg) {
  const int64_t batch = x.dim(0), pixels = x.dim(1) * x.dim(2), channels = x.dim(3);
  Device& device = x.device();
  dispatch_float(x.dtype(), [&]<typename Storage>() {
    const void* to = dx != nullptr ? dx->raw() : nullptr;
    dispatch_channel_vector<Storage>(channels, {dy.raw(), x.raw(), g.raw(), to}, [&]<typename T, int V>() {
      const ChannelTiles t = first_stage_tiles<T, V>(pixels, channels);
      Tensor partials;
      if (dg != nullptr) partials = Tensor::empty({batch, t.chunks, channels}, DType::f32, device);
      launch(
          device, gate_backward_kernel<T, V>,
          {.grid = {t.blocks(), batch}, .block = kTileThreads, .shared_bytes = kTileThreads * sizeof(ChannelSums<V>)},
          dy.data<T>(), x.data<T>(), g.data<T>(), residual, dx != nullptr ? dx->data<T>() : nullptr,
          dg != nullptr ? partials.data<float>() : nullptr, t);
      if (dg == nullptr) return;
      launch(device, gate_gradient_kernel<T>,
             {.grid = {blocks_for(channels, kThreads), batch}, .block = kThreads, .barrier_free = true},
             partials.data<float>(), dg->data<T>(), t.chunks, channels);
    });
  });
}

}  // namespace segrt::kernels::cuda
