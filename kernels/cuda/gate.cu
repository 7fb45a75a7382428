#include "kernels/cuda/gate.h"

#include "kernels/cuda/channel_tiles.cuh"
#include "kernels/cuda/device.h"
#include "kernels/cuda/global_pool.h"
#include "kernels/dispatch.h"

namespace segrt::kernels::cuda {
namespace {

constexpr int kGateThreads = 1024;
// Elements of a sample's map that one block pools alone: where that takes less time than a second launch.
constexpr int64_t kOneBlockMap = 1 << 16;

struct GateLayer {
  const float *weight, *bias;
  int slots;
};
struct LineSums {
  double of_thread[kGateThreads];
};

// One block a sample: x [N, rows, K] is the map itself, or sums over parts of it. Threads take a channel each and
// stride over rows; the sums over the lines of threads are added in order, in float64. Then the 1x1 convolution, over
// the block, and the activation. Reads x once.
template <typename T>
__global__ void gate_forward_kernel(const T* x, GateLayer layer, float* pooled, float* z, float* g, int rows,
                                    int channels, double pixels) {
  auto& shared = block_shared<LineSums>();
  const int n = block_index().x, thread = thread_index().x;
  const int columns = channels < kGateThreads ? channels : kGateThreads, lines = kGateThreads / columns;
  const int line = thread / columns, column = thread - line * columns;
  float products[kMaxGateSlots] = {};
  for (int first = 0; first < channels; first += columns) {
    const int k = first + column;
    const bool mine = line < lines && k < channels;
    double sum = 0.0;
    if (mine) {
#pragma unroll 8
      for (int row = line; row < rows; row += lines)
        sum += static_cast<double>(to_float(x[(int64_t{n} * rows + row) * channels + k]));
    }
    sync_block();  // the previous round's sums have been read
    shared.of_thread[thread] = sum;
    sync_block();
    if (mine && line == 0) {
      for (int other = 1; other < lines; ++other) sum += shared.of_thread[other * columns + column];
      const float mean = static_cast<float>(sum / pixels);
      pooled[int64_t{n} * channels + k] = mean;
#pragma unroll
      for (int s = 0; s < kMaxGateSlots; ++s)
        if (s < layer.slots) products[s] += layer.weight[s * channels + k] * mean;
    }
  }
  block_sums(products);
  if (thread > 0) return;
#pragma unroll
  for (int s = 0; s < kMaxGateSlots; ++s) {
    if (s >= layer.slots) break;
    const float before = products[s] + layer.bias[s], value = tanhf(before);
    z[n * layer.slots + s] = before;
    g[n * layer.slots + s] = value < 0.0f ? 0.0f : value;  // a NaN stays one
  }
}

struct GateGradient {
  const float *dg, *g;  // [N, slots]
  int slots;

  // dz[n,s]
  SEGRT_DEVICE float operator()(int64_t n, int s) const {
    const float value = g[n * slots + s];
    return value > 0.0f ? dg[n * slots + s] * (1.0f - value * value) : 0.0f;
  }
};

// A thread computes the gradient of V channels of sample blockIdx.y once and writes it to its positions of the tile.
template <typename T, int V>
__global__ void gate_spread_kernel(GateGradient dz, const float* weight, T* dy, float share, ChannelTiles t) {
  const TilePart part = tile_part<V>(t, block_index().x);
  if (!part.active) return;
  const int64_t n = block_index().y;
  float sum[V] = {};
  for (int s = 0; s < dz.slots; ++s) {
    const float d = dz(n, s);
#pragma unroll
    for (int k = 0; k < V; ++k) sum[k] += d * weight[s * t.channels + part.channel + k];
  }
#pragma unroll
  for (int k = 0; k < V; ++k) sum[k] *= share;
  for (int64_t row = part.begin; row < part.end; row += t.rows)
    store_floats<T, V>(dy + (n * t.positions + row) * t.channels + part.channel, sum);
}

// A thread sums one element of dweight [S,K], or of dbias [S] behind it, over the samples in order.
__global__ void gate_parameters_kernel(GateGradient dz, const float* pooled, float* dweight, float* dbias, int batch,
                                       int channels) {
  const int64_t e = global_index(), weights = int64_t{dz.slots} * channels;
  if (e >= weights + dz.slots) return;
  const bool bias = e >= weights;
  float* to = bias ? dbias : dweight;
  if (to == nullptr) return;
  const int s = static_cast<int>(bias ? e - weights : e / channels);
  const int64_t k = bias ? 0 : e - int64_t{s} * channels;
  float sum = 0.0f;
  for (int64_t n = 0; n < batch; ++n) sum += dz(n, s) * (bias ? 1.0f : pooled[n * channels + k]);
  to[bias ? int64_t{s} : e] = sum;
}

template <typename T>
void launch_forward(const Tensor& rows, const Tensor& weight, const Tensor& bias, int64_t pixels, Tensor& pooled,
                    Tensor& z, Tensor& g) {
  const GateLayer layer{weight.data<float>(), bias.data<float>(), static_cast<int>(weight.dim(0))};
  launch(rows.device(), gate_forward_kernel<T>, {.grid = rows.dim(0), .block = kGateThreads}, rows.data<T>(), layer,
         pooled.data<float>(), z.data<float>(), g.data<float>(), rows.dim(1), rows.dim(2), pixels);
}

}  // namespace

void gate_forward(const Tensor& y, const Tensor& weight, const Tensor& bias, Tensor& pooled, Tensor& z, Tensor& g) {
  const int64_t batch = y.dim(0), pixels = y.dim(1) * y.dim(2), channels = y.dim(3);
  if (pixels * channels > kOneBlockMap)
    return launch_forward<float>(pool_partials(y), weight, bias, pixels, pooled, z, g);
  dispatch_float(y.dtype(), [&]<typename T>() {
    launch_forward<T>(y.reshape({batch, pixels, channels}), weight, bias, pixels, pooled, z, g);
  });
}

void gate_backward(const Tensor& dg, const Tensor& pooled, const Tensor& g, const Tensor& weight, Tensor* dy,
                   Tensor* dweight, Tensor* dbias) {
  constexpr int64_t kSpreadSteps = 8;
  constexpr int kThreads = 256;
  Device& device = dg.device();
  const int64_t channels = pooled.dim(1), slots = weight.dim(0);
  const GateGradient dz{dg.data<float>(), g.data<float>(), static_cast<int>(slots)};
  if (dweight != nullptr || dbias != nullptr) {
    launch(device, gate_parameters_kernel,
           {.grid = blocks_for(slots * (channels + 1), kThreads), .block = kThreads, .barrier_free = true}, dz,
           pooled.data<float>(), dweight != nullptr ? dweight->data<float>() : nullptr,
           dbias != nullptr ? dbias->data<float>() : nullptr, dg.dim(0), channels);
  }
  if (dy == nullptr) return;
  const int64_t pixels = dy->dim(1) * dy->dim(2);
  dispatch_float(dy->dtype(), [&]<typename Storage>() {
    dispatch_channel_vector<Storage>(channels, {dy->raw()}, [&]<typename T, int V>() {
      const ChannelTiles t = channel_tiles<T, V>(pixels, channels, kSpreadSteps);
      launch(device, gate_spread_kernel<T, V>,
             {.grid = {t.blocks(), dy->dim(0)}, .block = kTileThreads, .barrier_free = true}, dz, weight.data<float>(),
             dy->data<T>(), 1.0f / static_cast<float>(pixels), t);
    });
  });
}

}  // namespace segrt::kernels::cuda
