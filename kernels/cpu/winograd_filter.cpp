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

// rows[i][j] and rows[j][i] change places, a bit of the indices at a time.
template <int Step>
void transpose(Vector rows[kWidth]) {
  IntegerLanes<float> from_low{}, from_high{};
  for (int lane = 0; lane < kWidth; ++lane) {
    const bool high = (lane & Step) != 0;
    from_low[lane] = high ? kWidth + lane - Step : lane;
    from_high[lane] = high ? kWidth + lane : lane + Step;
  }
#pragma GCC unroll 16
  for (int i = 0; i < kWidth; ++i) {
    if ((i & Step) != 0) continue;
    const Vector low = rows[i], high = rows[i + Step];
    rows[i] = __builtin_shuffle(low, high, from_low);
    rows[i + Step] = __builtin_shuffle(low, high, from_high);
  }
  if constexpr (2 * Step < kWidth) transpose<2 * Step>(rows);
}

// out[tap][k] is the vector of kWidth outputs from o on, for channel c + k.
void load_transposed(const float* w, int64_t channels, int64_t o, int64_t c, Vector out[kTaps][kWidth]) {
  for (int tap = 0; tap < kTaps; ++tap) {
    Vector rows[kWidth];
#pragma GCC unroll 16
    for (int lane = 0; lane < kWidth; ++lane) rows[lane] = load(w + ((o + lane) * kTaps + tap) * channels + c);
    transpose<1>(rows);
#pragma GCC unroll 16
    for (int k = 0; k < kWidth; ++k) out[tap][k] = rows[k];
  }
}

// A task is a panel of outputs by a vector of channels: at each point it writes one contiguous piece of u.
void pack_forward(const float* w, int64_t outputs, int64_t channels, float* u) {
  const int64_t blocks = channels / kWidth, point_stride = filter_point_stride(channels, outputs);
  parallel_for(outputs / kWidth / kPanelVectors * blocks, [&](int64_t index) {
    const int64_t panel = index / blocks * kPanelVectors, c = index % blocks * kWidth;
    Vector taps[kPanelVectors][kTaps][kWidth];
    for (int s = 0; s < kPanelVectors; ++s) load_transposed(w, channels, (panel + s) * kWidth, c, taps[s]);
    for (int k = 0; k < kWidth; ++k)
      for (int s = 0; s < kPanelVectors; ++s) {
        float* to = u + packed_offset(channels, c + k, panel + s);
        transform_square<kFilter, kTile>(
            filter_transform, [&](int i, int j) { return taps[s][i * kFilter + j][k]; },
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
