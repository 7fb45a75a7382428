#include "kernels/cpu/interpolate.h"

#include "kernels/cpu/interpolate_rows.h"
#include "kernels/dispatch.h"

namespace segrt::kernels::cpu {

void interpolate_forward(const Tensor& x, const UpsampleTaps& taps, Tensor& y) {
  const AxisView rows(taps.y), columns(taps.x);
  const int64_t batch = x.dim(0), channels = x.dim(3);
  dispatch_real(x.dtype(), [&]<typename T>() {
    using A = accumulator_t<T>;
    const RowLayout layout{columns.in, channels, channels};
    const T* px = x.data<T>();
    T* py = y.data<T>();
    parallel_ranges(batch * rows.out, 1, [&](int64_t begin, int64_t end) {
      std::vector<A> row(static_cast<size_t>(layout.size()));
      for (int64_t k = begin; k < end; ++k) {
        const int64_t n = k / rows.out, i = k % rows.out;
        interpolate_row(px + n * rows.in * layout.size(), rows, i, layout, row.data());
        T* to = py + k * columns.out * channels;
        for (int64_t j = 0; j < columns.out; ++j, to += channels) {
          const A* left = row.data() + columns.index[j] * channels;
          const A* right = row.data() + columns.second(j) * channels;
          const A w0 = columns.weight[2 * j], w1 = columns.weight[2 * j + 1];
          for (int64_t c = 0; c < channels; ++c) to[c] = static_cast<T>(w0 * left[c] + w1 * right[c]);
        }
      }
    });
  });
}

void interpolate_backward(const Tensor& dy, const UpsampleTaps& taps, Tensor& dx) {
  const AxisView rows(taps.y), columns(taps.x);
  const int64_t batch = dx.dim(0), channels = dx.dim(3);
  dispatch_real(dx.dtype(), [&]<typename T>() {
    using A = accumulator_t<T>;
    const RowLayout layout{columns.in, channels, channels};
    const T* pdy = dy.data<T>();
    transpose_rows<T, A>(rows, batch, layout, A{1}, dx.data<T>(), [&](int64_t n, int64_t i, A* d) {
      const T* from = pdy + (n * rows.out + i) * columns.out * channels;
      for (int64_t j = 0; j < columns.out; ++j, from += channels) {
        A* left = d + columns.index[j] * channels;
        A* right = d + columns.second(j) * channels;
        const A w0 = columns.weight[2 * j], w1 = columns.weight[2 * j + 1];
        for (int64_t c = 0; c < channels; ++c) left[c] += w0 * static_cast<A>(from[c]);
        if (w1 != 0)
          for (int64_t c = 0; c < channels; ++c) right[c] += w1 * static_cast<A>(from[c]);
      }
    });
  });
}

}  // namespace segrt::kernels::cpu
