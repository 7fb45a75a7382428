#include "kernels/cpu/patches.h"

#include <algorithm>

#include "core/parallel.h"
#include "kernels/dispatch.h"

namespace segrt::kernels::cpu {
namespace {
constexpr int64_t kBlock = 16;  // channels moved together: a cache line of float32

// Calls f(first element of the cell's patch in x, cell) for every cell, rows of cells on all threads.
template <typename F>
void for_each_cell(const Shape& x, int side, const F& f) {
  const int64_t rows = x[1] / side, columns = x[2] / side, channels = x[3];
  parallel_for(x[0] * rows, [&](int64_t row) {  // n and row of cells: x's rows of all images follow each other
    for (int64_t j = 0; j < columns; ++j) f((row * side * x[2] + j * side) * channels, row * columns + j);
  });
}

// Calls f(offset of a pixel in x, number of the pixel in its patch).
template <typename F>
void for_each_pixel(int64_t width, int64_t channels, int side, const F& f) {
  for (int i = 0; i < side; ++i)
    for (int j = 0; j < side; ++j) f((i * width + j) * channels, int64_t{i} * side + j);
}
}  // namespace

void split_patches(const Tensor& x, int side, Tensor* patches, Tensor* means) {
  const int64_t width = x.dim(2), channels = x.dim(3), area = int64_t{side} * side;
  dispatch_real(x.dtype(), [&]<typename T>() {
    using A = accumulator_t<T>;
    const A share = A{1} / static_cast<A>(area);
    for_each_cell(x.shape(), side, [&](int64_t at, int64_t cell) {
      const T* from = x.data<T>() + at;
      for (int64_t first = 0; first < channels; first += kBlock) {
        const int64_t count = std::min(kBlock, channels - first);
        A sums[kBlock] = {};
        T* to = patches != nullptr ? patches->data<T>() + (cell * channels + first) * area : nullptr;
        for_each_pixel(width, channels, side, [&](int64_t offset, int64_t pixel) {
          const T* values = from + offset + first;
          if (to != nullptr)
            for (int64_t c = 0; c < count; ++c) to[c * area + pixel] = values[c];
          for (int64_t c = 0; c < count; ++c) sums[c] += static_cast<A>(values[c]);
        });
        if (means == nullptr) continue;
        T* mean = means->data<T>() + cell * channels + first;
        for (int64_t c = 0; c < count; ++c) mean[c] = static_cast<T>(sums[c] * share);
      }
    });
  });
}

void split_patches_backward(const Tensor* dpatches, const Tensor* dmeans, int side, Tensor& dx) {
  const int64_t width = dx.dim(2), channels = dx.dim(3), area = int64_t{side} * side;
  dispatch_real(dx.dtype(), [&]<typename T>() {
    using A = accumulator_t<T>;
    const A share = A{1} / static_cast<A>(area);
    for_each_cell(dx.shape(), side, [&](int64_t at, int64_t cell) {
      T* to = dx.data<T>() + at;
      for (int64_t first = 0; first < channels; first += kBlock) {
        const int64_t count = std::min(kBlock, channels - first);
        A mean[kBlock] = {};
        if (dmeans != nullptr)
          for (int64_t c = 0; c < count; ++c)
            mean[c] = static_cast<A>(dmeans->data<T>()[cell * channels + first + c]) * share;
        const T* from = dpatches != nullptr ? dpatches->data<T>() + (cell * channels + first) * area : nullptr;
        for_each_pixel(width, channels, side, [&](int64_t offset, int64_t pixel) {
          T* values = to + offset + first;
          for (int64_t c = 0; c < count; ++c)
            values[c] = static_cast<T>(from != nullptr ? static_cast<A>(from[c * area + pixel]) + mean[c] : mean[c]);
        });
      }
    });
  });
}

}  // namespace segrt::kernels::cpu
