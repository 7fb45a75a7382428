#include "core/random.h"
#include "kernels/cpu/elementwise.h"
#include "kernels/cpu/map_chunks.h"
#include "kernels/dispatch.h"

namespace segrt::kernels::cpu {

void dropout(const Tensor& x, double p, uint64_t seed, uint64_t layer, const Tensor& step, Tensor& y,
             const SampleShare& share) {
  const uint64_t stream = stream_of({layer, static_cast<uint64_t>(step.data<int64_t>()[0])});
  const float threshold = static_cast<float>(p);
  dispatch_real(x.dtype(), [&]<typename T>() {
    using Acc = accumulator_t<T>;
    const Acc factor = static_cast<Acc>(1 / (1 - p));
    const T* xp = x.data<T>();
    T* yp = y.data<T>();
    const int64_t count = x.numel();
    if (!share.whole()) {
      const int64_t per_sample = count / x.dim(0);
      parallel_ranges(count, kMapGrain / 8, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          const auto at = static_cast<uint64_t>(share.element(i, per_sample));
          const bool keep = uniform_from(philox(seed, stream, at / 4).v[at % 4]) >= threshold;
          yp[i] = static_cast<T>(keep ? static_cast<Acc>(xp[i]) * factor : Acc{0});
        }
      });
      return;
    }
    parallel_ranges((count + 3) / 4, kMapGrain / 8, [&](int64_t begin, int64_t end) {
      for (int64_t block = begin; block < end; ++block) {
        const Philox4 words = philox(seed, stream, static_cast<uint64_t>(block));
        const int64_t first = 4 * block, n = std::min<int64_t>(4, count - first);
        for (int64_t i = 0; i < n; ++i) {
          const bool keep = uniform_from(words.v[i]) >= threshold;
          yp[first + i] = static_cast<T>(keep ? static_cast<Acc>(xp[first + i]) * factor : Acc{0});
        }
      }
    });
  });
}

void normalize_u8(const Tensor& x, const Normalization& n, Tensor& y) {
  const int64_t pixels = x.numel() / 3, channels = y.dim(3);
  dispatch_real(y.dtype(), [&]<typename T>() {
    // 256 possible inputs a channel: divide once for each.
    std::array<std::array<T, 256>, 3> table;
    for (size_t c = 0; c < 3; ++c)
      for (size_t v = 0; v < 256; ++v)
        table[c][v] = static_cast<T>((static_cast<float>(v) / n.unit - n.mean[c]) / n.std[c]);
    const std::array<int64_t, 3> source = n.bgr ? std::array<int64_t, 3>{2, 1, 0} : std::array<int64_t, 3>{0, 1, 2};
    const uint8_t* xp = x.data<uint8_t>();
    T* yp = y.data<T>();
    parallel_ranges(pixels, kMapGrain / 4, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        T* pixel = yp + i * channels;
        for (size_t c = 0; c < 3; ++c) pixel[c] = table[c][xp[3 * i + source[c]]];
        for (int64_t c = 3; c < channels; ++c) pixel[c] = static_cast<T>(0.0f);
      }
    });
  });
}

}  // namespace segrt::kernels::cpu
