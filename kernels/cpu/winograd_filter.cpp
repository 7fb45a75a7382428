#include "kernels/cpu/winograd_filter.h"

#include "core/parallel.h"
#include "kernels/cpu/packed_weights.h"
#include "kernels/cpu/winograd_multiply.h"
#include "kernels/cpu/winograd_transform.h"

namespace segrt::kernels::cpu::winograd {
namespace {
constexpr int kWidth = kLanes<float>, kTaps = kFilter * kFilter;

// Where output vector `vector` of channel k lies within one point of u.
int64_t packed_offset(int64_t channels, int64_t k, int64_t vector) {
  return ((vector / kPanelVectors * channels + k) * kPanelVectors + vector % kPanelVectors) * kWidth;
}

// Transposes kWidth filters of kWidth channels: out[tap][channel] is a vector of outputs.
void load_transposed(const float* w, int64_t channels, int64_t o, int64_t c, float out[kTaps][kWidth][kWidth]) {
  for (int lane = 0; lane < kWidth; ++lane)
    for (int tap = 0; tap < kTaps; ++tap) {
      const float* from = w + ((o + lane) * kTaps + tap) * channels + c;
      for (int k = 0; k < kWidth; ++k) out[tap][k][lane] = from[k];
    }
}

void pack_forward(const float* w, int64_t outputs, int64_t channels, float* u) {
  const int64_t blocks = channels / kWidth, point_stride = filter_point_stride(channels, outputs);
  parallel_for(outputs / kWidth * blocks, [&](int64_t index) {
    const int64_t vector = index / blocks, c = index % blocks * kWidth;
    alignas(64) float taps[kTaps][kWidth][kWidth];
    load_transposed(w, channels, vector * kWidth, c, taps);
    for (int k = 0; k < kWidth; ++k) {
      float* to = u + packed_offset(channels, c + k, vector);
      transform_square<kFilter, kTile>(
          filter_transform, [&](int i, int j) { return load(taps[i * kFilter + j][k]); },
          [&](int i, int j, const Vector& v) { store(to + (i * kTile + j) * point_stride, v); });
    }
  });
}

void pack_backward(const float* w, int64_t outputs, int64_t channels, float* u) {
  const int64_t point_stride = filter_point_stride(outputs, channels);
  parallel_for(outputs, [&](int64_t o) {
    for (int64_t vector = 0; vector < channels / kWidth; ++vector) {
      float* to = u + packed_offset(outputs, o, vector);
      transform_square<kFilter, kTile>(
          filter_transform,
          [&](int i, int j) {
            return load(w + (o * kTaps + kTaps - 1 - i * kFilter - j) * channels + vector * kWidth);
          },
          [&](int i, int j, const Vector& v) { store(to + (i * kTile + j) * point_stride, v); });
    }
  });
}
}  // namespace

Tensor packed_filters(const Tensor& w, Direction direction) {
  const int64_t outputs = w.dim(0), channels = w.dim(3), count = kPoints * filter_point_stride(channels, outputs);
  // The layouts' names are odd, oneDNN's even.
  const uint64_t layout = direction == Direction::forward ? 1 : 3;
  const Tensor bytes = w.device().state<PackedWeights>().get(
      w, layout, static_cast<size_t>(count) * sizeof(float), [&](const Tensor& memory) {
        const auto pack = direction == Direction::forward ? pack_forward : pack_backward;
        pack(w.data<float>(), outputs, channels, static_cast<float*>(memory.raw()));
      });
  return bytes;
}

}  // namespace segrt::kernels::cpu::winograd
