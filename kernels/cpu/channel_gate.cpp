#include "kernels/cpu/channel_gate.h"

#include <algorithm>
#include <vector>

#include "core/parallel.h"
#include "kernels/dispatch.h"

namespace segrt::kernels::cpu {
namespace {
constexpr int64_t kChunk = 128;  // pixels whose sums stay in the accumulator type; chunks are summed in float64

// Chunks of an image's pixels, f(chunk of all, image, begin, end) on all threads.
struct Chunks {
  explicit Chunks(const Tensor& x)
      : batch(x.dim(0)), pixels(x.dim(1) * x.dim(2)), channels(x.dim(3)), per_image((pixels + kChunk - 1) / kChunk) {}
  template <typename F>
  void for_each(const F& f) const {
    parallel_for(batch * per_image, [&](int64_t k) {
      const int64_t n = k / per_image, begin = k % per_image * kChunk;
      f(k, n, begin, std::min(pixels, begin + kChunk));
    });
  }
  int64_t batch, pixels, channels, per_image;
};
}  // namespace

void channel_gate_forward(const Tensor& x, const Tensor& g, bool residual, Tensor& y) {
  const Chunks chunks(x);
  dispatch_real(x.dtype(), [&]<typename T>() {
    using A = accumulator_t<T>;
    const int64_t channels = chunks.channels;
    chunks.for_each([&](int64_t, int64_t n, int64_t begin, int64_t end) {
      const T* gate = g.data<T>() + n * channels;
      for (int64_t p = begin; p < end; ++p) {
        const T* from = x.data<T>() + (n * chunks.pixels + p) * channels;
        T* to = y.data<T>() + (n * chunks.pixels + p) * channels;
        for (int64_t c = 0; c < channels; ++c) {
          const A v = static_cast<A>(from[c]), scaled = v * static_cast<A>(gate[c]);
          to[c] = static_cast<T>(residual ? scaled + v : scaled);
        }
      }
    });
  });
}

void channel_gate_backward(const Tensor& dy, const Tensor& x, const Tensor& g, bool residual, Tensor* dx, Tensor* dg) {
  const Chunks chunks(x);
  dispatch_real(x.dtype(), [&]<typename T>() {
    using A = accumulator_t<T>;
    const int64_t channels = chunks.channels;
    std::vector<A> sums(static_cast<size_t>(dg != nullptr ? chunks.batch * chunks.per_image * channels : 0));
    chunks.for_each([&](int64_t k, int64_t n, int64_t begin, int64_t end) {
      const T* gate = g.data<T>() + n * channels;
      A* sum = sums.data() + k * channels;
      for (int64_t p = begin; p < end; ++p) {
        const int64_t at = (n * chunks.pixels + p) * channels;
        const T* d = dy.data<T>() + at;
        if (dg != nullptr) {
          const T* v = x.data<T>() + at;
          for (int64_t c = 0; c < channels; ++c) sum[c] += static_cast<A>(d[c]) * static_cast<A>(v[c]);
        }
        if (dx != nullptr) {
          T* to = dx->data<T>() + at;
          for (int64_t c = 0; c < channels; ++c) {
            const A slope = static_cast<A>(d[c]), scaled = slope * static_cast<A>(gate[c]);
            to[c] = static_cast<T>(residual ? scaled + slope : scaled);
          }
        }
      }
    });
    if (dg == nullptr) return;
    for (int64_t n = 0; n < chunks.batch; ++n)
      for (int64_t c = 0; c < channels; ++c) {
        double total = 0;
        for (int64_t k = 0; k < chunks.per_image; ++k)
          total += sums[static_cast<size_t>((n * chunks.per_image + k) * channels + c)];
        dg->data<T>()[n * channels + c] = static_cast<T>(static_cast<A>(total));
      }
  });
}

}  // namespace segrt::kernels::cpu
