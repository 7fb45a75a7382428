#include "kernels/cuda/interpolate.h"

#include "kernels/cuda/axis_view.cuh"
#include "kernels/cuda/channel_vectors.h"
#include "kernels/dispatch.h"

namespace segrt::kernels::cuda {
namespace {

constexpr int kThreads = 256;

// A thread makes K channels of one output pixel from four pixels; grid (columns * C/K, rows, batch). The inputs are
// shared by neighbouring outputs and come from L1/L2; y is written once.
template <typename T, int K>
__global__ void interpolate_forward_kernel(const T* x, AxisView rows, AxisView columns, T* y, int channels) {
  const int vectors = channels / K;
  const int64_t e = global_index();
  if (e >= int64_t{columns.out} * vectors) return;
  const int j = static_cast<int>(e / vectors), c = static_cast<int>(e % vectors) * K;
  const int i = block_index().y, n = block_index().z;
  const int top = rows.index[i], left = columns.index[j];
  const float y0 = rows.weight[2 * i], y1 = rows.weight[2 * i + 1];
  const float x0 = columns.weight[2 * j], x1 = columns.weight[2 * j + 1];
  const T* upper = x + (int64_t{n} * rows.in + top) * columns.in * channels + c;
  const T* lower = x + (int64_t{n} * rows.in + rows.second(top)) * columns.in * channels + c;
  const int64_t near = int64_t{left} * channels, far = int64_t{columns.second(left)} * channels;
  const auto upper_left = load_vec<T, K>(upper + near), upper_right = load_vec<T, K>(upper + far);
  const auto lower_left = load_vec<T, K>(lower + near), lower_right = load_vec<T, K>(lower + far);
  Vec<T, K> result;
#pragma unroll
  for (int k = 0; k < K; ++k) {
    const float l = y0 * to_float(upper_left[k]) + y1 * to_float(lower_left[k]);
    const float r = y0 * to_float(upper_right[k]) + y1 * to_float(lower_right[k]);
    result[k] = from_float<T>(x0 * l + x1 * r);
  }
  store_vec(y + ((int64_t{n} * rows.out + i) * columns.out + j) * channels + c, result);
}

// A thread gathers K channels of one input pixel from the outputs that read it; grid (columns * C/K, rows, batch). dy
// is read four times, from L1/L2 but for the first.
template <typename T, int K>
__global__ void interpolate_backward_kernel(const T* dy, AxisView rows, AxisView columns, T* dx, int channels) {
  const int vectors = channels / K;
  const int64_t e = global_index();
  if (e >= int64_t{columns.in} * vectors) return;
  const int s = static_cast<int>(e / vectors), c = static_cast<int>(e % vectors) * K;
  const int r = block_index().y, n = block_index().z;
  const int x_begin = columns.begin(s - 1), x_end = columns.begin(s + 1);
  float sum[K] = {};
  for (int i = rows.begin(r - 1); i < rows.begin(r + 1); ++i) {
    const float y_weight = rows.weight_of(i, r);
    const T* row = dy + (int64_t{n} * rows.out + i) * columns.out * channels + c;
    for (int j = x_begin; j < x_end; ++j) {
      const float weight = y_weight * columns.weight_of(j, s);
      const auto d = load_vec<T, K>(row + int64_t{j} * channels);
#pragma unroll
      for (int k = 0; k < K; ++k) sum[k] += weight * to_float(d[k]);
    }
  }
  Vec<T, K> result;
#pragma unroll
  for (int k = 0; k < K; ++k) result[k] = from_float<T>(sum[k]);
  store_vec(dx + ((int64_t{n} * rows.in + r) * columns.in + s) * channels + c, result);
}

}  // namespace

void interpolate_forward(const Tensor& x, const UpsampleTaps& taps, Tensor& y) {
  const AxisView rows(taps.y), columns(taps.x);
  const int64_t channels = x.dim(3);
  dispatch_float(x.dtype(), [&]<typename T>() {
    dispatch_channel_vectors<T>(channels, {x.raw(), y.raw()}, [&]<int K>() {
      launch(x.device(), interpolate_forward_kernel<T, K>,
             {.grid = {blocks_for(columns.out * (channels / K), kThreads), rows.out, x.dim(0)},
              .block = kThreads,
              .barrier_free = true},
             x.data<T>(), rows, columns, y.data<T>(), channels);
    });
  });
}

void interpolate_backward(const Tensor& dy, const UpsampleTaps& taps, Tensor& dx) {
  const AxisView rows(taps.y), columns(taps.x);
  const int64_t channels = dx.dim(3);
  dispatch_float(dx.dtype(), [&]<typename T>() {
    dispatch_channel_vectors<T>(channels, {dy.raw(), dx.raw()}, [&]<int K>() {
      launch(dx.device(), interpolate_backward_kernel<T, K>,
             {.grid = {blocks_for(columns.in * (channels / K), kThreads), rows.in, dx.dim(0)},
              .block = kThreads,
              .barrier_free = true},
             dy.data<T>(), rows, columns, dx.data<T>(), channels);
    });
  });
}

}  // namespace segrt::kernels::cuda
