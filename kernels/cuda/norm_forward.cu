#include "kernels/cuda/channel_tiles.cuh"
#include "kernels/cuda/device.h"
#include "kernels/cuda/norm.h"
#include "kernels/dispatch.h"

namespace segrt::kernels::cuda {
namespace {

// Count, mean and sum of squared deviations of V channels; combined by Chan, Golub & LeVeque's (1979) rule.
template <typename A, int V>
struct Moments {
  A count;
  A mean[V], m2[V];

  SEGRT_DEVICE void combine(const Moments& other) {
    if (other.count == A{0}) return;
    if (count == A{0}) {
      *this = other;
      return;
    }
    const A total = count + other.count, share = other.count / total, cross = count * share;
#pragma unroll
    for (int k = 0; k < V; ++k) {
      const A delta = other.mean[k] - mean[k];
      mean[k] += delta * share;
      m2[k] += other.m2[k] + delta * delta * cross;
    }
    count = total;
  }
};

// What the first stage leaves for the second, each [chunks, C]: a chunk's mean is shift + mean. The shift is one of its
// samples, so that the mean keeps its digits when it is far from zero.
struct PartialMoments {
  float *shift, *mean, *m2;
};

// First stage: a block's chunk of positions. A thread sums x - s and (x - s)^2 with s its first sample: the shift
// removes the mean's square, and since s is one of the samples, m2 is at least a share of (s - mean)^2 and nothing
// cancels below it. Reads x once.
template <typename T, int V>
__global__ void moments_kernel(const T* x, PartialMoments partial, ChannelTiles t) {
  const TilePart part = tile_part<V>(t, block_index().x);
  Moments<float, V> own{};
  float shift[V] = {};
  if (part.active && part.begin < part.end) {
    x += part.channel;
    float first[V], s1[V] = {}, s2[V] = {};
    load_floats<T, V>(x + part.chunk * t.chunk * t.channels, shift);
    load_floats<T, V>(x + part.begin * t.channels, first);
#pragma unroll 4
    for (int64_t p = part.begin; p < part.end; p += t.rows) {
      float v[V];
      load_floats<T, V>(x + p * t.channels, v);
#pragma unroll
      for (int k = 0; k < V; ++k) {
        const float d = v[k] - first[k];
        s1[k] += d;
        s2[k] += d * d;
      }
    }
    own.count = static_cast<float>((part.end - part.begin + t.rows - 1) / t.rows);
#pragma unroll
    for (int k = 0; k < V; ++k) {
      const float mean = s1[k] / own.count;
      own.mean[k] = (first[k] - shift[k]) + mean;
      own.m2[k] = s2[k] - s1[k] * mean;
    }
  }
  combine_rows(own, t, part, dynamic_shared<Moments<float, V>>());
  if (part.active && part.row == 0) {
    const int64_t at = part.chunk * t.channels + part.channel;
#pragma unroll
    for (int k = 0; k < V; ++k) {
      partial.shift[at + k] = shift[k];
      partial.mean[at + k] = own.mean[k];
      partial.m2[at + k] = own.m2[k];
    }
  }
}

// Second stage: one block a tile of channels, over all chunks. Its positions are the chunks of the first stage, each of
// `chunk` samples but for the last; float64, since it costs nothing here.
__global__ void finish_moments_kernel(PartialMoments partial, float* mean, float* var, ChannelTiles t, int64_t samples,
                                      int64_t chunk) {
  const TilePart part = tile_part<1>(t, block_index().x);
  Moments<double, 1> own{};
  if (part.active)
    for (int64_t p = part.begin; p < part.end; p += t.rows) {
      const int64_t left = samples - p * chunk, at = p * t.channels + part.channel;
      own.combine({static_cast<double>(left < chunk ? left : chunk),
                   {static_cast<double>(partial.shift[at]) + static_cast<double>(partial.mean[at])},
                   {static_cast<double>(partial.m2[at])}});
    }
  combine_rows(own, t, part, dynamic_shared<Moments<double, 1>>());
  if (part.active && part.row == 0) {
    mean[part.channel] = static_cast<float>(own.mean[0]);
    var[part.channel] = static_cast<float>(own.m2[0] / own.count);
  }
}

// One thread a channel.
__global__ void moments_from_sums_kernel(const float* sum, const float* sum_squares, float* mean, float* var,
                                         int64_t channels, double count) {
  const int64_t c = global_index();
  if (c >= channels) return;
  const double m = static_cast<double>(sum[c]) / count;
  const double v = static_cast<double>(sum_squares[c]) / count - m * m;
  mean[c] = static_cast<float>(m);
  var[c] = v < 0 ? 0.0f : static_cast<float>(v);  // a NaN stays
}

struct CombinedMoments {
  float *mean, *var, *unbiased_var, *count;
};

// One thread a channel: reads its mean and variance and the count of every process, in the order of the rows, and
// writes its statistics; float64, since there are few of them. The thread of channel 0 also writes the count of all.
__global__ void combine_kernel(const float* messages, CombinedMoments y, int64_t rows, int64_t channels) {
  const int64_t c = global_index();
  if (c >= channels) return;
  Moments<double, 1> total{};
  for (int64_t r = 0; r < rows; ++r) {
    const float* row = messages + r * (2 * channels + 1);
    const double n = static_cast<double>(row[2 * channels]);
    total.combine({n, {static_cast<double>(row[c])}, {static_cast<double>(row[channels + c]) * n}});
  }
  const double n = total.count;
  y.mean[c] = static_cast<float>(total.mean[0]);
  y.var[c] = static_cast<float>(total.m2[0] / (n > 1.0 ? n : 1.0));
  y.unbiased_var[c] = static_cast<float>(total.m2[0] / (n > 1.0 ? n - 1.0 : 1.0));
  if (c == 0) *y.count = static_cast<float>(n);
}

// One thread a channel.
__global__ void update_running_kernel(const float* mean, const float* var, float* running_mean, float* running_var,
                                      int64_t channels, float momentum, float unbias) {
  const int64_t c = global_index();
  if (c >= channels || !is_finite(mean[c]) || !is_finite(var[c])) return;
  running_mean[c] += momentum * (mean[c] - running_mean[c]);
  running_var[c] += momentum * (var[c] * unbias - running_var[c]);
}

struct AffineParams {
  const float *mean, *var, *weight, *bias;
  float eps;
};

// One pass: reads x (and the residual) once, writes y once; a thread's channels and their parameters stay in registers.
template <typename T, int V>
__global__ void apply_kernel(const T* x, const T* residual, T* y, AffineParams p, bool relu, ChannelTiles t) {
  const TilePart part = tile_part<V>(t, block_index().x);
  if (!part.active) return;
  float mean[V], factor[V], bias[V];
#pragma unroll
  for (int k = 0; k < V; ++k) {
    const int c = part.channel + k;
    mean[k] = p.mean[c];
    factor[k] = p.weight[c] / sqrtf(p.var[c] + p.eps);
    bias[k] = p.bias[c];
  }
#pragma unroll 2
  for (int64_t row = part.begin; row < part.end; row += t.rows) {
    const int64_t at = row * t.channels + part.channel;
    float v[V], r[V] = {};
    load_floats<T, V>(x + at, v);
    if (residual != nullptr) load_floats<T, V>(residual + at, r);
#pragma unroll
    for (int k = 0; k < V; ++k) {
      v[k] = (v[k] - mean[k]) * factor[k] + bias[k] + r[k];
      if (relu) v[k] = v[k] < 0.0f ? 0.0f : v[k];  // a NaN stays
    }
    store_floats<T, V>(y + at, v);
  }
}

constexpr int64_t kApplySteps = 8;
}  // namespace

void batch_norm_statistics(const Tensor& x, Tensor& mean, Tensor& var) {
  const int64_t channels = x.dim(-1), positions = x.numel() / channels;
  dispatch_float(x.dtype(), [&]<typename Storage>() {
    dispatch_channel_vector<Storage>(channels, {x.raw()}, [&]<typename T, int V>() {
      const ChannelTiles t = first_stage_tiles<T, V>(positions, channels);
      const Tensor scratch = Tensor::empty({3, t.chunks * channels}, DType::f32, x.device());
      const PartialMoments partial{scratch.data<float>(), scratch.slice(1, 1).data<float>(),
                                   scratch.slice(2, 1).data<float>()};
      launch(x.device(), moments_kernel<T, V>,
             {.grid = t.blocks(), .block = kTileThreads, .shared_bytes = kTileThreads * sizeof(Moments<float, V>)},
             x.data<T>(), partial, t);
      const ChannelTiles f = second_stage_tiles(t.chunks, channels);
      launch(x.device(), finish_moments_kernel,
             {.grid = f.blocks(), .block = kTileThreads, .shared_bytes = kTileThreads * sizeof(Moments<double, 1>)},
             partial, mean.data<float>(), var.data<float>(), f, positions, t.chunk);
    });
  });
}

void batch_norm_from_sums(const Tensor& sum, const Tensor& sum_squares, int64_t count, Tensor& mean, Tensor& var) {
  launch(sum.device(), moments_from_sums_kernel,
         {.grid = blocks_for(sum.numel(), 128), .block = 128, .barrier_free = true}, sum.data<float>(),
         sum_squares.data<float>(), mean.data<float>(), var.data<float>(), sum.numel(), static_cast<double>(count));
}

void batch_norm_combine(const Tensor& messages, Tensor& mean, Tensor& var, Tensor& unbiased_var, Tensor& count) {
  if (mean.numel() == 0) return count.fill_zero();
  launch(messages.device(), combine_kernel, {.grid = blocks_for(mean.numel(), 128), .block = 128, .barrier_free = true},
         messages.data<float>(),
         CombinedMoments{mean.data<float>(), var.data<float>(), unbiased_var.data<float>(), count.data<float>()},
         messages.dim(0), mean.numel());
}

void batch_norm_update_running(const Tensor& mean, const Tensor& var, int64_t count, double momentum,
                               Tensor& running_mean, Tensor& running_var) {
  const double unbias = count > 1 ? static_cast<double>(count) / static_cast<double>(count - 1) : 1.0;
  launch(mean.device(), update_running_kernel,
         {.grid = blocks_for(mean.numel(), 128), .block = 128, .barrier_free = true}, mean.data<float>(),
         var.data<float>(), running_mean.data<float>(), running_var.data<float>(), mean.numel(), momentum, unbias);
}

void batch_norm_apply(const Tensor& x, const BatchNormParams& p, const Tensor* residual, bool relu, Tensor& y) {
  const int64_t channels = x.dim(-1), positions = x.numel() / channels;
  const AffineParams params{p.mean.data<float>(), p.var.data<float>(), p.weight.data<float>(), p.bias.data<float>(),
                            static_cast<float>(p.eps)};
  dispatch_float(x.dtype(), [&]<typename Storage>() {
    const void* r = residual != nullptr ? residual->raw() : nullptr;
    dispatch_channel_vector<Storage>(channels, {x.raw(), r, y.raw()}, [&]<typename T, int V>() {
      const ChannelTiles t = channel_tiles<T, V>(positions, channels, kApplySteps);
      launch(x.device(), apply_kernel<T, V>, {.grid = t.blocks(), .block = kTileThreads, .barrier_free = true},
             x.data<T>(), static_cast<const T*>(r), y.data<T>(), params, relu, t);
    });
  });
}

}  // namespace segrt::kernels::cuda
