#include "kernels/cpu/batch_augment.h"

#include <algorithm>
#include <utility>

#include "core/parallel.h"
#include "kernels/dispatch.h"
#include "kernels/normal_pair.h"

namespace segrt::kernels::cpu {

void erase_rectangles(const Tensor& rectangles, uint64_t seed, Tensor& x) {
  const int64_t height = x.dim(1), width = x.dim(2), channels = x.dim(3);
  dispatch_real(x.dtype(), [&]<typename T>() {
    parallel_for(x.dim(0), [&](int64_t n) {
      const int64_t* r = rectangles.data<int64_t>() + n * 5;
      for (int64_t p = 0; p < r[2] * r[3]; ++p) {
        const int64_t row = r[0] + p / r[3], column = r[1] + p % r[3];
        if (row < 0 || row >= height || column < 0 || column >= width) continue;
        const Philox4 words = philox(seed, static_cast<uint64_t>(r[4]), static_cast<uint64_t>(p));
        const NormalPair a = normal_pair(words.v[0], words.v[1]), b = normal_pair(words.v[2], words.v[3]);
        const float values[4] = {a.first, a.second, b.first, b.second};
        T* pixel = x.data<T>() + ((n * height + row) * width + column) * channels;
        for (int64_t c = 0; c < channels; ++c) pixel[c] = static_cast<T>(values[c]);
      }
    });
  });
}

void blend_with_reversed(double share, Tensor& x) {
  const int64_t images = x.dim(0), size = x.numel() / images;
  dispatch_real(x.dtype(), [&]<typename T>() {
    using A = accumulator_t<T>;
    const auto own = static_cast<A>(share), other = static_cast<A>(1 - share);
    parallel_for(images / 2, [&](int64_t n) {
      T *a = x.data<T>() + n * size, *b = x.data<T>() + (images - 1 - n) * size;
      for (int64_t i = 0; i < size; ++i) {
        const A u = static_cast<A>(a[i]), v = static_cast<A>(b[i]);
        a[i] = static_cast<T>(own * u + other * v);
        b[i] = static_cast<T>(own * v + other * u);
      }
    });
  });
}

void swap_with_reversed(int top, int left, int height, int width, Tensor& x) {
  const int64_t images = x.dim(0), row = x.dim(2) * x.dim(3), size = x.dim(1) * row, part = width * x.dim(3);
  dispatch_real(x.dtype(), [&]<typename T>() {
    parallel_for(images / 2, [&](int64_t n) {
      for (int64_t y = top; y < top + height; ++y) {
        const int64_t begin = y * row + left * x.dim(3);
        T *a = x.data<T>() + n * size + begin, *b = x.data<T>() + (images - 1 - n) * size + begin;
        std::swap_ranges(a, a + part, b);
      }
    });
  });
}

}  // namespace segrt::kernels::cpu
