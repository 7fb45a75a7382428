#include <limits>

#include "kernels/cuda/channel_vectors.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/pool.h"
#include "kernels/dispatch.h"
#include "kernels/pool_window.h"

namespace segrt::kernels::cuda {
namespace {

constexpr int kThreads = 256;

// Where a thread works: K channels from c on of position (i, j) of image n. Grid (width * C/K, height, batch).
struct Place {
  bool inside;
  int n, i, j, c;
};
template <int K>
SEGRT_DEVICE Place place_of_thread(int width, int channels) {
  const int vectors = channels / K;
  const int64_t e = global_index();
  return {e < int64_t{width} * vectors, block_index().z, block_index().y, static_cast<int>(e / vectors),
          static_cast<int>(e % vectors) * K};
}
template <int K>
LaunchConfig pool_launch(int64_t batch, int height, int width, int64_t channels,
                         std::source_location where = std::source_location::current()) {
  return {.grid = {blocks_for(width * (channels / K), kThreads), height, batch},
          .block = kThreads,
          .barrier_free = true,
          .where = where};
}

template <typename T, int K>
__global__ void max_pool_forward_kernel(const T* x, PoolAxis rows, PoolAxis columns, T* y, int32_t* index,
                                        int channels) {
  const Place at = place_of_thread<K>(columns.out, channels);
  if (!at.inside) return;
  float best[K];
  Vec<int32_t, K> from;
#pragma unroll
  for (int k = 0; k < K; ++k) {
    best[k] = -std::numeric_limits<float>::infinity();
    from[k] = -1;
  }
  for (int kh = 0; kh < rows.kernel; ++kh) {
    const int i = rows.position(at.i, kh);
    if (i < 0 || i >= rows.in) continue;
    for (int kw = 0; kw < columns.kernel; ++kw) {
      const int j = columns.position(at.j, kw);
      if (j < 0 || j >= columns.in) continue;
      const auto v = load_vec<T, K>(x + ((int64_t{at.n} * rows.in + i) * columns.in + j) * channels + at.c);
#pragma unroll
      for (int k = 0; k < K; ++k) {
        const float value = to_float(v[k]);
        // The first element counts even if it is -inf; a NaN is larger than all but an earlier NaN.
        if (from[k] < 0 || value > best[k] || (value != value && best[k] == best[k])) {
          best[k] = value;
          from[k] = i * columns.in + j;
        }
      }
    }
  }
  Vec<T, K> result;
#pragma unroll
  for (int k = 0; k < K; ++k) result[k] = from_float<T>(best[k]);
  const int64_t to = ((int64_t{at.n} * rows.out + at.i) * columns.out + at.j) * channels + at.c;
  store_vec(y + to, result);
  store_vec(index + to, from);
}

// A thread gathers from the windows that can hold its element: no atomics, same bits in every run.
template <typename T, int K>
__global__ void max_pool_backward_kernel(const T* dy, const int32_t* index, PoolAxis rows, PoolAxis columns, T* dx,
                                         int channels) {
  const Place at = place_of_thread<K>(columns.in, channels);
  if (!at.inside) return;
  const int here = at.i * columns.in + at.j;
  float sum[K] = {};
  for (int p = rows.first_window(at.i); p < rows.end_window(at.i); ++p)
    for (int q = columns.first_window(at.j); q < columns.end_window(at.j); ++q) {
      const int64_t from = ((int64_t{at.n} * rows.out + p) * columns.out + q) * channels + at.c;
      const auto d = load_vec<T, K>(dy + from);
      const auto maximum = load_vec<int32_t, K>(index + from);
#pragma unroll
      for (int k = 0; k < K; ++k) sum[k] += maximum[k] == here ? to_float(d[k]) : 0.0f;
    }
  Vec<T, K> result;
#pragma unroll
  for (int k = 0; k < K; ++k) result[k] = from_float<T>(sum[k]);
  store_vec(dx + ((int64_t{at.n} * rows.in + at.i) * columns.in + at.j) * channels + at.c, result);
}

template <typename T, int K>
__global__ void avg_pool_forward_kernel(const T* x, PoolAxis rows, PoolAxis columns, T* y, int channels,
                                        bool count_include_pad) {
  const Place at = place_of_thread<K>(columns.out, channels);
  if (!at.inside) return;
  float sum[K] = {};
  for (int i = rows.begin(at.i); i < rows.end(at.i); ++i)
    for (int j = columns.begin(at.j); j < columns.end(at.j); ++j) {
      const auto v = load_vec<T, K>(x + ((int64_t{at.n} * rows.in + i) * columns.in + j) * channels + at.c);
#pragma unroll
      for (int k = 0; k < K; ++k) sum[k] += to_float(v[k]);
    }
  const auto divisor = static_cast<float>(pool_divisor(rows, columns, at.i, at.j, count_include_pad));
  Vec<T, K> result;
#pragma unroll
  for (int k = 0; k < K; ++k) result[k] = from_float<T>(sum[k] / divisor);
  store_vec(y + ((int64_t{at.n} * rows.out + at.i) * columns.out + at.j) * channels + at.c, result);
}

template <typename T, int K>
__global__ void avg_pool_backward_kernel(const T* dy, PoolAxis rows, PoolAxis columns, T* dx, int channels,
                                         bool count_include_pad) {
  const Place at = place_of_thread<K>(columns.in, channels);
  if (!at.inside) return;
  float sum[K] = {};
  for (int p = rows.first_window(at.i); p < rows.end_window(at.i); ++p)
    for (int q = columns.first_window(at.j); q < columns.end_window(at.j); ++q) {
      const float factor = 1.0f / static_cast<float>(pool_divisor(rows, columns, p, q, count_include_pad));
      const auto d = load_vec<T, K>(dy + ((int64_t{at.n} * rows.out + p) * columns.out + q) * channels + at.c);
#pragma unroll
      for (int k = 0; k < K; ++k) sum[k] += to_float(d[k]) * factor;
    }
  Vec<T, K> result;
#pragma unroll
  for (int k = 0; k < K; ++k) result[k] = from_float<T>(sum[k]);
  store_vec(dx + ((int64_t{at.n} * rows.in + at.i) * columns.in + at.j) * channels + at.c, result);
}

}  // namespace

void max_pool2d_forward(const Tensor& x, const PoolGeometry& g, Tensor& y, Tensor& index) {
  const PoolAxis rows = pool_rows(g, x.dim(1), y.dim(1)), columns = pool_columns(g, x.dim(2), y.dim(2));
  const int64_t channels = x.dim(3);
  dispatch_float(x.dtype(), [&]<typename T>() {
    dispatch_channel_vectors<T>(channels, {x.raw(), y.raw(), index.raw()}, [&]<int K>() {
      launch(x.device(), max_pool_forward_kernel<T, K>, pool_launch<K>(x.dim(0), rows.out, columns.out, channels),
             x.data<T>(), rows, columns, y.data<T>(), index.data<int32_t>(), channels);
    });
  });
}

void max_pool2d_backward(const Tensor& dy, const Tensor& index, const PoolGeometry& g, Tensor& dx) {
  const PoolAxis rows = pool_rows(g, dx.dim(1), dy.dim(1)), columns = pool_columns(g, dx.dim(2), dy.dim(2));
  const int64_t channels = dx.dim(3);
  dispatch_float(dx.dtype(), [&]<typename T>() {
    dispatch_channel_vectors<T>(channels, {dy.raw(), dx.raw(), index.raw()}, [&]<int K>() {
      launch(dx.device(), max_pool_backward_kernel<T, K>, pool_launch<K>(dx.dim(0), rows.in, columns.in, channels),
             dy.data<T>(), index.data<int32_t>(), rows, columns, dx.data<T>(), channels);
    });
  });
}

void avg_pool2d_forward(const Tensor& x, const PoolGeometry& g, Tensor& y) {
  const PoolAxis rows = pool_rows(g, x.dim(1), y.dim(1)), columns = pool_columns(g, x.dim(2), y.dim(2));
  const int64_t channels = x.dim(3);
  dispatch_float(x.dtype(), [&]<typename T>() {
    dispatch_channel_vectors<T>(channels, {x.raw(), y.raw()}, [&]<int K>() {
      launch(x.device(), avg_pool_forward_kernel<T, K>, pool_launch<K>(x.dim(0), rows.out, columns.out, channels),
             x.data<T>(), rows, columns, y.data<T>(), channels, g.count_include_pad);
    });
  });
}

void avg_pool2d_backward(const Tensor& dy, const PoolGeometry& g, Tensor& dx) {
  const PoolAxis rows = pool_rows(g, dx.dim(1), dy.dim(1)), columns = pool_columns(g, dx.dim(2), dy.dim(2));
  const int64_t channels = dx.dim(3);
  dispatch_float(dx.dtype(), [&]<typename T>() {
    dispatch_channel_vectors<T>(channels, {dy.raw(), dx.raw()}, [&]<int K>() {
      launch(dx.device(), avg_pool_backward_kernel<T, K>, pool_launch<K>(dx.dim(0), rows.in, columns.in, channels),
             dy.data<T>(), rows, columns, dx.data<T>(), channels, g.count_include_pad);
    });
  });
}

}  // namespace segrt::kernels::cuda
