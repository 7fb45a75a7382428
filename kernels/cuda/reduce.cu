#include "kernels/cuda/reduce.h"

#include "kernels/cuda/channel_tiles.cuh"
#include "kernels/cuda/device.h"
#include "kernels/dispatch.h"

namespace segrt::kernels::cuda {
namespace {

template <int V>
struct ColumnSums {
  float v[V];
  float odd;  // an odd number of words: see combine_rows

  SEGRT_DEVICE void combine(const ColumnSums& other) {
#pragma unroll
    for (int k = 0; k < V; ++k) v[k] += other.v[k];
  }
};

// x [A, R, C] -> y [A, chunks, C]: a block sums one chunk of one a for a tile of columns. Reads x once.
template <typename T, typename Out, int V>
__global__ void sum_columns_kernel(const T* x, Out* y, ChannelTiles t) {
  const int64_t block = block_index().x, outer = block / t.blocks();
  const TilePart part = tile_part<V>(t, block - outer * t.blocks());
  ColumnSums<V> own{};
  if (part.active) {
    x += outer * t.positions * t.channels + part.channel;
#pragma unroll 4
    for (int64_t row = part.begin; row < part.end; row += t.rows) {
      float v[V];
      load_floats<T, V>(x + row * t.channels, v);
#pragma unroll
      for (int k = 0; k < V; ++k) own.v[k] += v[k];
    }
  }
  combine_rows(own, t, part, dynamic_shared<ColumnSums<V>>());
  if (part.active && part.row == 0)
    for (int k = 0; k < V; ++k)
      y[(outer * t.chunks + part.chunk) * t.channels + part.channel + k] = from_float<Out>(own.v[k]);
}

constexpr int kWarps = 8;
constexpr int64_t kRowChunk = 4096;  // elements of a warp: a multiple of every vector length

// x [A, R] -> y [A, chunks]: a warp sums one chunk of one row, 16 bytes an access where R allows. Reads x once.
template <typename T, typename Out, int V>
__global__ void sum_rows_kernel(const T* x, Out* y, int64_t outer, int64_t length, int64_t chunks) {
  const int64_t task = int64_t{block_index().x} * kWarps + warp_index();
  if (task >= outer * chunks) return;  // a warp leaves as a whole
  const int64_t row = task / chunks, begin = task % chunks * kRowChunk;
  const int64_t end = begin + kRowChunk < length ? begin + kRowChunk : length;
  x += row * length;
  float sum[V] = {};
  for (int64_t i = begin + lane_index() * V; i < end; i += kWarpSize * V) {
    float v[V];
    load_floats<T, V>(x + i, v);
#pragma unroll
    for (int k = 0; k < V; ++k) sum[k] += v[k];
  }
#pragma unroll
  for (int k = 1; k < V; ++k) sum[0] += sum[k];
  const float total = warp_sum(sum[0]);
  if (lane_index() == 0) y[task] = from_float<Out>(total);
}

template <typename T, typename Out>
void sum_rows(const Tensor& x, const Tensor& y, int64_t chunks) {
  const int64_t outer = x.dim(0), length = x.dim(1);
  dispatch_channel_vector<T>(length, {x.raw()}, [&]<typename, int V>() {
    launch(x.device(), sum_rows_kernel<T, Out, V>,
           {.grid = blocks_for(outer * chunks, kWarps), .block = kWarps * kWarpSize}, x.data<T>(), y.data<Out>(), outer,
           length, chunks);
  });
}

// How the column kernel covers x: in one chunk where that is short or there are blocks enough, so that the next call
// finishes.
template <typename T, int V>
ChannelTiles column_tiles(const Tensor& x) {
  const int64_t tiles = channel_tiles<T, V>(x.dim(1), x.dim(2), 1).tiles;
  const int64_t wanted = ceil_div(int64_t{4} * 132, x.dim(0) * tiles);
  const bool split = wanted > 1 && x.dim(1) > 1024;
  return channel_tiles<T, V>(x.dim(1), x.dim(2), split ? 16 : x.dim(1), split ? wanted : 1);
}

// One pass over x [A, R, C]: into y if that finishes it, else into the float tensor [A, chunks, C] that it returns.
template <typename T, typename Out>
Tensor sum_pass(const Tensor& x, Tensor& y) {
  Device& device = x.device();
  Tensor partial;
  if (x.dim(2) == 1) {
    const int64_t chunks = ceil_div(x.dim(1), kRowChunk);
    if (chunks == 1) {
      sum_rows<T, Out>(x, y, 1);
    } else {
      partial = Tensor::empty({x.dim(0), chunks, 1}, DType::f32, device);
      sum_rows<T, float>(x, partial, chunks);
    }
    return partial;
  }
  dispatch_channel_vector<T>(x.dim(2), {x.raw()}, [&]<typename, int V>() {
    const ChannelTiles t = column_tiles<T, V>(x);
    const LaunchConfig config{
        .grid = x.dim(0) * t.blocks(), .block = kTileThreads, .shared_bytes = kTileThreads * sizeof(ColumnSums<V>)};
    if (t.chunks == 1) {
      launch(device, sum_columns_kernel<T, Out, V>, config, x.data<T>(), y.data<Out>(), t);
    } else {
      partial = Tensor::empty({x.dim(0), t.chunks, x.dim(2)}, DType::f32, device);
      launch(device, sum_columns_kernel<T, float, V>, config, x.data<T>(), partial.data<float>(), t);
    }
  });
  return partial;
}
}  // namespace

void sum_middle(const Tensor& x, Tensor& y) {
  dispatch_float(y.dtype(), [&]<typename Out>() {
    Tensor rest = dispatch_float(x.dtype(), [&]<typename T>() { return sum_pass<T, Out>(x, y); });
    while (rest.defined()) rest = sum_pass<float, Out>(rest, y);
  });
}

}  // namespace segrt::kernels::cuda
