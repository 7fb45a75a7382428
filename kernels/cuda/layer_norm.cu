#include "kernels/cuda/layer_norm.h"

#include "kernels/cuda/channel_tiles.cuh"
#include "kernels/cuda/device.h"
#include "kernels/dispatch.h"

namespace segrt::kernels::cuda {
namespace {

// One warp a row: C is 64 to 512 in the networks here. A lane takes vectors 0, 32, 64, ... + lane of the row. A row is
// at most a few kilobytes, so its second and third reading come from L1.
constexpr int kWarpsPerBlock = 8;

template <typename T, int V, typename F>
SEGRT_DEVICE void for_row_vectors(int channels, const F& f) {
  for (int c = lane_index() * V; c < channels; c += kWarpSize * V) f(c);
}

template <typename T>
struct ForwardArguments {
  const T *x, *branch;  // branch null: no addition
  T *sum, *y;
  const float *weight, *bias;
  float *mean, *rstd;
  int64_t rows;
  int channels;
  float eps;
};

// Reads x (and the branch) from memory once, writes the sum and y once. The variance is taken around the mean, and what
// rounding left of the mean is taken off both.
template <typename T, int V>
__global__ void forward_kernel(ForwardArguments<T> a) {
  const int64_t row = int64_t{block_index().x} * kWarpsPerBlock + warp_index();
  if (row >= a.rows) return;  // a warp leaves as a whole, so the collectives below stay full
  const int64_t at = row * a.channels;
  const T* x = a.x + at;
  const float count = static_cast<float>(a.channels);
  float total = 0.0f;
  if (a.branch != nullptr) {
    for_row_vectors<T, V>(a.channels, [&](int c) {
      float v[V], addend[V];
      load_floats<T, V>(x + c, v);
      load_floats<T, V>(a.branch + at + c, addend);
#pragma unroll
      for (int k = 0; k < V; ++k) v[k] = to_float(from_float<T>(v[k] + addend[k]));  // what the next layers see
      store_floats<T, V>(a.sum + at + c, v);
#pragma unroll
      for (int k = 0; k < V; ++k) total += v[k];
    });
    x = a.sum + at;  // a lane reads what it wrote itself
  } else {
    for_row_vectors<T, V>(a.channels, [&](int c) {
      float v[V];
      load_floats<T, V>(x + c, v);
#pragma unroll
      for (int k = 0; k < V; ++k) total += v[k];
    });
  }
  const float center = warp_sum(total) / count;
  float deviation = 0.0f, squares = 0.0f;
  for_row_vectors<T, V>(a.channels, [&](int c) {
    float v[V];
    load_floats<T, V>(x + c, v);
#pragma unroll
    for (int k = 0; k < V; ++k) {
      const float d = v[k] - center;
      deviation += d;
      squares += d * d;
    }
  });
  const float shift = warp_sum(deviation) / count;
  const float mean = center + shift;
  const float rstd = 1.0f / sqrtf(fmaxf(warp_sum(squares) / count - shift * shift, 0.0f) + a.eps);
  for_row_vectors<T, V>(a.channels, [&](int c) {
    float v[V];
    load_floats<T, V>(x + c, v);
#pragma unroll
    for (int k = 0; k < V; ++k) v[k] = (v[k] - mean) * rstd * a.weight[c + k] + a.bias[c + k];
    store_floats<T, V>(a.y + at + c, v);
  });
  if (lane_index() == 0) {
    a.mean[row] = mean;
    a.rstd[row] = rstd;
  }
}

template <typename T>
struct BackwardArguments {
  const T *dy, *x, *dresidual;  // dresidual null: nothing to add
  T* dx;
  const float *weight, *mean, *rstd;
  int64_t rows;
  int channels;
};

// One warp a row: the two means over its channels, then dx. Reads dy, x (and dresidual) from memory once, writes dx
// once; a lane writes only where it alone reads, so dx may be dy.
template <typename T, int V>
__global__ void backward_input_kernel(BackwardArguments<T> a) {
  const int64_t row = int64_t{block_index().x} * kWarpsPerBlock + warp_index();
  if (row >= a.rows) return;
  const int64_t at = row * a.channels;
  const float mean = a.mean[row], rstd = a.rstd[row];
  // V elements of g = dy * weight and of xhat.
  const auto load_terms = [&](int c, float(&g)[V], float(&xhat)[V]) {
    load_floats<T, V>(a.dy + at + c, g);
    load_floats<T, V>(a.x + at + c, xhat);
#pragma unroll
    for (int k = 0; k < V; ++k) {
      g[k] *= a.weight[c + k];
      xhat[k] = (xhat[k] - mean) * rstd;
    }
  };
  float sum_g = 0.0f, sum_gx = 0.0f;
  for_row_vectors<T, V>(a.channels, [&](int c) {
    float g[V], xhat[V];
    load_terms(c, g, xhat);
#pragma unroll
    for (int k = 0; k < V; ++k) {
      sum_g += g[k];
      sum_gx += g[k] * xhat[k];
    }
  });
  const float mean_g = warp_sum(sum_g) / static_cast<float>(a.channels);
  const float mean_gx = warp_sum(sum_gx) / static_cast<float>(a.channels);
  for_row_vectors<T, V>(a.channels, [&](int c) {
    float g[V], xhat[V], residual[V] = {};
    load_terms(c, g, xhat);
    if (a.dresidual != nullptr) load_floats<T, V>(a.dresidual + at + c, residual);
#pragma unroll
    for (int k = 0; k < V; ++k) g[k] = rstd * (g[k] - mean_g - xhat[k] * mean_gx) + residual[k];
    store_floats<T, V>(a.dx + at + c, g);
  });
}

// First stage of dbias and dweight: sums of dy and dy * xhat over a block's chunk of rows (channel_tiles.cuh). Reads dy
// and x once; writes [chunks, C] twice.
template <typename T, int V>
__global__ void weight_sums_kernel(const T* dy, const T* x, const float* mean, const float* rstd, float* partial_g,
                                   float* partial_gx, ChannelTiles t) {
  const TilePart part = tile_part<V>(t, block_index().x);
  PairSums<float, V> own{};
  if (part.active)
#pragma unroll 2
    for (int64_t row = part.begin; row < part.end; row += t.rows) {
      const int64_t at = row * t.channels + part.channel;
      const float m = mean[row], r = rstd[row];
      float g[V], v[V];
      load_floats<T, V>(dy + at, g);
      load_floats<T, V>(x + at, v);
#pragma unroll
      for (int k = 0; k < V; ++k) {
        own.g[k] += g[k];
        own.gx[k] += g[k] * ((v[k] - m) * r);
      }
    }
  write_partial_sums(own, t, part, partial_g, partial_gx);
}

// Second stage: one block a tile of channels, over all chunks, in float64.
__global__ void finish_weight_kernel(const float* partial_g, const float* partial_gx, float* dbias, float* dweight,
                                     ChannelTiles t) {
  const TilePart part = tile_part<1>(t, block_index().x);
  const PairSums<double, 1> own = sum_of_partials(partial_g, partial_gx, t, part);
  if (part.active && part.row == 0) {
    dbias[part.channel] = static_cast<float>(own.g[0]);
    dweight[part.channel] = static_cast<float>(own.gx[0]);
  }
}

const void* raw(const Tensor* t) { return t != nullptr ? t->raw() : nullptr; }
}  // namespace

void layer_norm_forward(const Tensor& x, const Tensor* branch, const LayerNormParams& p, Tensor* sum, Tensor& y,
                        RowStatistics& s) {
  const int64_t channels = x.dim(-1), rows = x.numel() / channels;
  dispatch_float(x.dtype(), [&]<typename Storage>() {
    dispatch_channel_vector<Storage>(channels, {x.raw(), raw(branch), raw(sum), y.raw()}, [&]<typename T, int V>() {
      const ForwardArguments<T> a{x.data<T>(),
                                  static_cast<const T*>(raw(branch)),
                                  sum != nullptr ? sum->data<T>() : nullptr,
                                  y.data<T>(),
                                  p.weight.data<float>(),
                                  p.bias.data<float>(),
                                  s.mean.data<float>(),
                                  s.rstd.data<float>(),
                                  rows,
                                  static_cast<int>(channels),
                                  static_cast<float>(p.eps)};
      launch(x.device(), forward_kernel<T, V>,
             {.grid = blocks_for(rows, kWarpsPerBlock), .block = kWarpsPerBlock * kWarpSize}, a);
    });
  });
}

void layer_norm_backward_input(const Tensor& dy, const Tensor& x, const Tensor& weight, const RowStatistics& s,
                               const Tensor* dresidual, Tensor& dx) {
  const int64_t channels = x.dim(-1), rows = x.numel() / channels;
  dispatch_float(x.dtype(), [&]<typename Storage>() {
    dispatch_channel_vector<Storage>(channels, {dy.raw(), x.raw(), raw(dresidual), dx.raw()}, [&]<typename T, int V>() {
      const BackwardArguments<T> a{dy.data<T>(),
                                   x.data<T>(),
                                   static_cast<const T*>(raw(dresidual)),
                                   dx.data<T>(),
                                   weight.data<float>(),
                                   s.mean.data<float>(),
                                   s.rstd.data<float>(),
                                   rows,
                                   static_cast<int>(channels)};
      launch(x.device(), backward_input_kernel<T, V>,
             {.grid = blocks_for(rows, kWarpsPerBlock), .block = kWarpsPerBlock * kWarpSize}, a);
    });
  });
}

void layer_norm_backward_weight(const Tensor& dy, const Tensor& x, const RowStatistics& s, Tensor& dweight,
                                Tensor& dbias) {
  const int64_t channels = x.dim(-1), rows = x.numel() / channels;
  Device& device = x.device();
  dispatch_float(x.dtype(), [&]<typename Storage>() {
    dispatch_channel_vector<Storage>(channels, {dy.raw(), x.raw()}, [&]<typename T, int V>() {
      const ChannelTiles t = first_stage_tiles<T, V>(rows, channels);
      const Tensor g = Tensor::empty({t.chunks, channels}, DType::f32, device), gx = Tensor::like(g);
      launch(device, weight_sums_kernel<T, V>,
             {.grid = t.blocks(), .block = kTileThreads, .shared_bytes = kTileThreads * sizeof(PairSums<float, V>)},
             dy.data<T>(), x.data<T>(), s.mean.data<float>(), s.rstd.data<float>(), g.data<float>(), gx.data<float>(),
             t);
      const ChannelTiles second = second_stage_tiles(t.chunks, channels);
      launch(
          device, finish_weight_kernel,
          {.grid = second.blocks(), .block = kTileThreads, .shared_bytes = kTileThreads * sizeof(PairSums<double, 1>)},
          g.data<float>(), gx.data<float>(), dbias.data<float>(), dweight.data<float>(), second);
    });
  });
}

}  // namespace segrt::kernels::cuda
