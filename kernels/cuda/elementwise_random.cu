#include "core/random.h"
#include "kernels/cuda/channel_tiles.cuh"
#include "kernels/cuda/device.h"
#include "kernels/cuda/elementwise.h"
#include "kernels/dispatch.h"

namespace segrt::kernels::cuda {
namespace {
constexpr int kThreads = 256;

struct DropoutParams {
  float threshold, factor;
  uint64_t seed, layer;
};

// One thread a Philox block: 4 words, 4 elements. The step is read on the device. Reads x once, writes y once.
template <typename T, bool kWide>
__global__ void dropout_kernel(const T* x, T* y, int64_t n, DropoutParams p, const int64_t* step) {
  const uint64_t stream = mix_stream(mix_stream(kStreamOrigin, p.layer), static_cast<uint64_t>(*step));
  for (int64_t block = global_index(); block * 4 < n; block += global_size()) {
    const Philox4 words = philox(p.seed, stream, static_cast<uint64_t>(block));
    const int64_t first = block * 4;
    if (kWide && first + 4 <= n) {
      float v[4];
      load_floats<T, 4>(x + first, v);
#pragma unroll
      for (int k = 0; k < 4; ++k) v[k] = uniform_from(words.v[k]) >= p.threshold ? v[k] * p.factor : 0.0f;
      store_floats<T, 4>(y + first, v);
    } else {
      for (int k = 0; k < 4 && first + k < n; ++k) {
        const bool keep = uniform_from(words.v[k]) >= p.threshold;
        y[first + k] = from_float<T>(keep ? to_float(x[first + k]) * p.factor : 0.0f);
      }
    }
  }
}

// The same for a share of a batch: one thread an element, whose word stands where the whole batch has it.
template <typename T>
__global__ void shared_dropout_kernel(const T* x, T* y, int64_t n, DropoutParams p, SampleShare share,
                                      int64_t per_sample, const int64_t* step) {
  const uint64_t stream = mix_stream(mix_stream(kStreamOrigin, p.layer), static_cast<uint64_t>(*step));
  for (int64_t i = global_index(); i < n; i += global_size()) {
    const auto at = static_cast<uint64_t>(share.element(i, per_sample));
    const bool keep = uniform_from(philox(p.seed, stream, at / 4).v[at % 4]) >= p.threshold;
    y[i] = from_float<T>(keep ? to_float(x[i]) * p.factor : 0.0f);
  }
}

// One thread a pixel: 3 bytes in, C values out, in one 16-byte store where C is that many. True divisions (nvcc's
// default), so that the bits are those of the CPU.
template <typename T>
__global__ void normalize_kernel(const uint8_t* x, T* y, int64_t pixels, int channels, Normalization n, bool wide) {
  for (int64_t i = global_index(); i < pixels; i += global_size()) {
    float v[kVec<T>] = {};
#pragma unroll
    for (int c = 0; c < 3; ++c) v[c] = (to_float(x[3 * i + (n.bgr ? 2 - c : c)]) / n.unit - n.mean[c]) / n.std[c];
    if (wide) {
      store_floats<T, kVec<T>>(y + i * channels, v);
    } else {
      for (int c = 0; c < 3; ++c) y[i * channels + c] = from_float<T>(v[c]);
      for (int c = 3; c < channels; ++c) y[i * channels + c] = from_float<T>(0.0f);
    }
  }
}
}  // namespace

void dropout(const Tensor& x, double p, uint64_t seed, uint64_t layer, const Tensor& step, Tensor& y,
             const SampleShare& share) {
  const DropoutParams params{static_cast<float>(p), static_cast<float>(1 / (1 - p)), seed, layer};
  const int64_t n = x.numel();
  dispatch_float(x.dtype(), [&]<typename T>() {
    if (!share.whole())
      return launch(x.device(), shared_dropout_kernel<T>,
                    {.grid = grid_for(n, kThreads), .block = kThreads, .barrier_free = true}, x.data<T>(), y.data<T>(),
                    n, params, share, n / x.dim(0), step.data<int64_t>());
    const auto kernel = is_aligned(x.raw()) && is_aligned(y.raw()) ? dropout_kernel<T, true> : dropout_kernel<T, false>;
    launch(x.device(), kernel,
           {.grid = grid_for(ceil_div(n, int64_t{4}), kThreads), .block = kThreads, .barrier_free = true}, x.data<T>(),
           y.data<T>(), n, params, step.data<int64_t>());
  });
}

void normalize_u8(const Tensor& x, const Normalization& n, Tensor& y) {
  const int64_t pixels = x.numel() / 3, channels = y.dim(3);
  dispatch_float(y.dtype(), [&]<typename T>() {
    launch(x.device(), normalize_kernel<T>,
           {.grid = grid_for(pixels, kThreads), .block = kThreads, .barrier_free = true}, x.data<uint8_t>(),
           y.data<T>(), pixels, channels, n, channels == kVec<T> && is_aligned(y.raw()));
  });
}

}  // namespace segrt::kernels::cuda
