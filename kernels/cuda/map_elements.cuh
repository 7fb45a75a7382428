// y[i] = f(inputs[0][i], inputs[1][i], ...) over flat arrays, 16 bytes an access: the frame of the elementwise kernels.
#pragma once

#include <algorithm>
#include <array>

#include "kernels/cuda/channel_tiles.cuh"
#include "kernels/cuda/device.h"

namespace segrt::kernels::cuda {

template <typename T, int kInputs>
struct MapInputs {
  const T* p[kInputs];
};

// One thread a vector of V elements, the grid striding over the array; the last, partial vector goes one by one.
// F: a plain struct with  template <int V> SEGRT_DEVICE void apply(const float (&in)[kInputs][V], float (&out)[V],
// int64_t first) const, where `first` is the index of element 0. Reads each input once, writes y once.
template <typename F, typename T, int kInputs, int V>
__global__ void map_kernel(F f, MapInputs<T, kInputs> inputs, T* y, int64_t n) {
  for (int64_t i = global_index() * V; i < n; i += global_size() * V) {
    if (i + V <= n) {
      float in[kInputs][V], out[V] = {};
#pragma unroll
      for (int k = 0; k < kInputs; ++k) load_floats<T, V>(inputs.p[k] + i, in[k]);
      f.template apply<V>(in, out, i);
      store_floats<T, V>(y + i, out);
    } else {
      for (int64_t j = i; j < n; ++j) {
        float in[kInputs][1], out[1] = {};
        for (int k = 0; k < kInputs; ++k) in[k][0] = to_float(inputs.p[k][j]);
        f.template apply<1>(in, out, j);
        y[j] = from_float<T>(out[0]);
      }
    }
  }
}

template <typename T, size_t kInputs, typename F>
void map_elements(const Tensor& y, const std::array<const T*, kInputs>& inputs, const F& f) {
  constexpr int kThreads = 256, kCount = static_cast<int>(kInputs);
  MapInputs<T, kCount> pointers;
  std::copy(inputs.begin(), inputs.end(), pointers.p);
  const int64_t n = y.numel();
  const bool wide =
      is_aligned(y.raw()) && std::all_of(inputs.begin(), inputs.end(), [](const T* p) { return is_aligned(p); });
  const auto run = [&]<int V>() {
    launch(y.device(), map_kernel<F, T, kCount, V>,
           {.grid = grid_for(ceil_div(n, int64_t{V}), kThreads), .block = kThreads, .barrier_free = true}, f, pointers,
           y.data<T>(), n);
  };
  wide ? run.template operator()<kVec<T>>() : run.template operator()<1>();
}

}  // namespace segrt::kernels::cuda
