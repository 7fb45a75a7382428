#include "kernels/cpu/resize.h"

#include <cstring>

#include "kernels/cpu/interpolate_rows.h"
#include "kernels/dispatch.h"

namespace segrt::kernels::cpu {

void nearest_forward(const Tensor& x, const UpsampleTaps& taps, Tensor& y) {
  const AxisView rows(taps.y), columns(taps.x);
  const auto position_bytes = static_cast<size_t>(x.dim(3)) * size_of(x.dtype());
  const auto* px = static_cast<const char*>(x.raw());
  auto* py = static_cast<char*>(y.raw());
  const auto row_bytes_in = static_cast<size_t>(columns.in) * position_bytes;
  const auto row_bytes_out = static_cast<size_t>(columns.out) * position_bytes;
  parallel_for(x.dim(0) * rows.out, [&](int64_t k) {
    const char* from = px + static_cast<size_t>(k / rows.out * rows.in + rows.index[k % rows.out]) * row_bytes_in;
    char* to = py + static_cast<size_t>(k) * row_bytes_out;
    for (int64_t j = 0; j < columns.out; ++j, to += position_bytes)
      std::memcpy(to, from + static_cast<size_t>(columns.index[j]) * position_bytes, position_bytes);
  });
}

void nearest_backward(const Tensor& dy, const UpsampleTaps& taps, Tensor& dx) {
  const AxisView rows(taps.y), columns(taps.x);
  const int64_t channels = dx.dim(3);
  dispatch_real(dx.dtype(), [&]<typename T>() {
    using A = accumulator_t<T>;
    const T* pdy = dy.data<T>();
    T* pdx = dx.data<T>();
    parallel_ranges(dx.dim(0) * rows.in, 1, [&](int64_t begin, int64_t end) {
      const auto size = static_cast<size_t>(columns.in * channels);
      std::vector<A> sums(size);
      for (int64_t r = begin; r < end; ++r) {
        const int64_t n = r / rows.in, row = r % rows.in;
        std::fill(sums.begin(), sums.end(), A{0});
        const int64_t stop = rows.begin_of(row + 1);
        for (int64_t i = rows.begin_of(row); i < stop; ++i) {
          const T* from = pdy + (n * rows.out + i) * columns.out * channels;
          for (int64_t j = 0; j < columns.out; ++j, from += channels) {
            A* to = sums.data() + columns.index[j] * channels;
            for (int64_t c = 0; c < channels; ++c) to[c] += static_cast<A>(from[c]);
          }
        }
        narrow(sums.data(), pdx + r * columns.in * channels, columns.in * channels);
      }
    });
  });
}

void flip_horizontal(const Tensor& x, Tensor& y) {
  const int64_t width = x.dim(2);
  const auto position_bytes = static_cast<size_t>(x.dim(3)) * size_of(x.dtype());
  const auto row_bytes = static_cast<size_t>(width) * position_bytes;
  const auto* px = static_cast<const char*>(x.raw());
  auto* py = static_cast<char*>(y.raw());
  parallel_for(x.dim(0) * x.dim(1), [&](int64_t row) {
    const char* from = px + static_cast<size_t>(row + 1) * row_bytes;
    char* to = py + static_cast<size_t>(row) * row_bytes;
    for (int64_t j = 0; j < width; ++j, to += position_bytes) std::memcpy(to, from -= position_bytes, position_bytes);
  });
}

}  // namespace segrt::kernels::cpu
