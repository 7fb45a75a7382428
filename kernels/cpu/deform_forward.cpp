#include "core/parallel.h"
#include "kernels/cpu/channel_lanes.h"
#include "kernels/cpu/deform.h"
#include "kernels/cpu/deform_samples.h"
#include "kernels/dispatch.h"

namespace segrt::kernels::cpu {
namespace {

// to[c] = sum over the corners of weight * corner[c]. Count: 4, known at compile time, or an int.
template <typename T, typename Count>
void blend(const T* const (&corner)[4], const accumulator_t<T> (&weight)[4], Count count, int64_t channels, T* to) {
  using A = accumulator_t<T>;
  for_lanes<A>(channels, [&](int64_t c, auto n) {
    Lanes<A> sum{};
    for (int k = 0; k < count; ++k) sum += weight[k] * load_lanes(corner[k] + c, n);
    store_lanes(to + c, sum, n);
  });
}

}  // namespace

// Positions on all threads; each writes its K rows of C channels once.
void deform_unfold(const DeformInput& in, int64_t first_row, Tensor& columns) {
  dispatch_real(in.x.dtype(), [&]<typename T>() {
    using A = accumulator_t<T>;
    const DeformSamples<T> samples(in);
    const int64_t taps = samples.g.taps(), channels = samples.channels, first = first_row * samples.columns;
    parallel_for(columns.numel() / (taps * channels), deform_grain(taps * channels), [&](int64_t i) {
      const T* image = samples.x + samples.image(first + i);
      T* out = columns.data<T>() + i * taps * channels;
      samples.for_each(first + i, [&](const auto& s) {
        const int64_t channel = s.group * samples.group_channels;
        const Corners corners(s.at, samples.height, samples.width);
        const T* corner[4];
        A weight[4];
        for (int k = 0; k < corners.count; ++k) {
          corner[k] = image + corners.pixel[k] * channels + channel;
          weight[k] = s.at.weight(corners.number[k]) * s.mask;
        }
        T* to = out + s.tap * channels + channel;
        if (corners.count == 4)
          blend(corner, weight, std::integral_constant<int, 4>(), samples.group_channels, to);
        else
          blend(corner, weight, corners.count, samples.group_channels, to);
      });
    });
  });
}

}  // namespace segrt::kernels::cpu
