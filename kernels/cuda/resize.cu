#include "kernels/cuda/resize.h"

#include "kernels/cuda/axis_view.cuh"
#include "kernels/cuda/channel_vectors.h"
#include "kernels/dispatch.h"

namespace segrt::kernels::cuda {
namespace {

constexpr int kThreads = 256;

// A thread copies K channels of one output pixel; grid (columns * C/K, rows, batch).
template <typename T, int K>
__global__ void nearest_forward_kernel(const T* x, AxisView rows, AxisView columns, T* y, int channels) {
  const int vectors = channels / K;
  const int64_t e = global_index();
  if (e >= int64_t{columns.out} * vectors) return;
  const int j = static_cast<int>(e / vectors), c = static_cast<int>(e % vectors) * K;
  const int i = block_index().y, n = block_index().z;
  const T* from = x + ((int64_t{n} * rows.in + rows.index[i]) * columns.in + columns.index[j]) * channels + c;
  store_vec(y + ((int64_t{n} * rows.out + i) * columns.out + j) * channels + c, load_vec<T, K>(from));
}

// A thread sums K channels over the rectangle of outputs that copied its input pixel; grid (columns * C/K, rows,
// batch). Reads dy once.
template <typename T, int K>
__global__ void nearest_backward_kernel(const T* dy, AxisView rows, AxisView columns, T* dx, int channels) {
  const int vectors = channels / K;
  const int64_t e = global_index();
  if (e >= int64_t{columns.in} * vectors) return;
  const int s = static_cast<int>(e / vectors), c = static_cast<int>(e % vectors) * K;
  const int r = block_index().y, n = block_index().z;
  float sum[K] = {};
  for (int i = rows.begin(r); i < rows.begin(r + 1); ++i)
    for (int j = columns.begin(s); j < columns.begin(s + 1); ++j) {
      const auto d = load_vec<T, K>(dy + ((int64_t{n} * rows.out + i) * columns.out + j) * channels + c);
#pragma unroll
      for (int k = 0; k < K; ++k) sum[k] += to_float(d[k]);
    }
  Vec<T, K> result;
#pragma unroll
  for (int k = 0; k < K; ++k) result[k] = from_float<T>(sum[k]);
  store_vec(dx + ((int64_t{n} * rows.in + r) * columns.in + s) * channels + c, result);
}

// A thread copies K channels of one pixel to its mirror image; grid-stride over the vectors of all pixels.
template <typename T, int K>
__global__ void flip_kernel(const T* x, T* y, int64_t pixels, int width, int channels) {
  const int vectors = channels / K;
  for (int64_t e = global_index(); e < pixels * vectors; e += global_size()) {
    const int64_t pixel = e / vectors, row = pixel / width;
    const int64_t mirrored = row * width + (width - 1 - (pixel - row * width));
    const int64_t c = (e - pixel * vectors) * K;
    store_vec(y + pixel * channels + c, load_vec<T, K>(x + mirrored * channels + c));
  }
}

// Flipping moves bits: an unsigned word of the element's size stands for every type.
template <typename Word>
void flip(const Tensor& x, Tensor& y) {
  const int64_t channels = x.dim(3), pixels = x.numel() / channels;
  dispatch_channel_vectors<Word>(channels, {x.raw(), y.raw()}, [&]<int K>() {
    launch(x.device(), flip_kernel<Word, K>,
           {.grid = grid_for(pixels * (channels / K), kThreads), .block = kThreads, .barrier_free = true},
           static_cast<const Word*>(x.raw()), static_cast<Word*>(y.raw()), pixels, x.dim(2), channels);
  });
}

}  // namespace

void nearest_forward(const Tensor& x, const UpsampleTaps& taps, Tensor& y) {
  const AxisView rows(taps.y), columns(taps.x);
  const int64_t channels = x.dim(3);
  dispatch_float(x.dtype(), [&]<typename T>() {
    dispatch_channel_vectors<T>(channels, {x.raw(), y.raw()}, [&]<int K>() {
      launch(x.device(), nearest_forward_kernel<T, K>,
             {.grid = {blocks_for(columns.out * (channels / K), kThreads), rows.out, x.dim(0)},
              .block = kThreads,
              .barrier_free = true},
             x.data<T>(), rows, columns, y.data<T>(), channels);
    });
  });
}

void nearest_backward(const Tensor& dy, const UpsampleTaps& taps, Tensor& dx) {
  const AxisView rows(taps.y), columns(taps.x);
  const int64_t channels = dx.dim(3);
  dispatch_float(dx.dtype(), [&]<typename T>() {
    dispatch_channel_vectors<T>(channels, {dy.raw(), dx.raw()}, [&]<int K>() {
      launch(dx.device(), nearest_backward_kernel<T, K>,
             {.grid = {blocks_for(columns.in * (channels / K), kThreads), rows.in, dx.dim(0)},
              .block = kThreads,
              .barrier_free = true},
             dy.data<T>(), rows, columns, dx.data<T>(), channels);
    });
  });
}

void flip_horizontal(const Tensor& x, Tensor& y) {
  switch (size_of(x.dtype())) {
    case 1: return flip<uint8_t>(x, y);
    case 2: return flip<uint16_t>(x, y);
    case 4: return flip<uint32_t>(x, y);
    default: return flip<uint64_t>(x, y);
  }
}

}  // namespace segrt::kernels::cuda
