#include "core/parallel.h"
#include "kernels/cpu/channel_lanes.h"
#include "kernels/cpu/deform.h"
#include "kernels/cpu/deform_samples.h"
#include "kernels/dispatch.h"

namespace segrt::kernels::cpu {
namespace {

// dots[k] = sum over channels of d[c] * corner[k][c].
template <typename T>
void corner_dots(const T* d, const T* const (&corner)[4], int count, int64_t channels, accumulator_t<T> (&dots)[4]) {
  using A = accumulator_t<T>;
  Lanes<A> sums[4] = {};
  for_lanes<A>(channels, [&](int64_t c, auto n) {
    const Lanes<A> dc = load_lanes(d + c, n);
    for (int k = 0; k < count; ++k) sums[k] += dc * load_lanes(corner[k] + c, n);
  });
  for (int k = 0; k < count; ++k) dots[k] = reduce_sum<A>(sums[k]);
}

// Offsets and masks: positions on all threads. A sample's gradients are sums of its corners' products with dcolumns.
template <typename T>
void backward_samples(const DeformSamples<T>& samples, int64_t first, const Tensor& dcolumns,
                      const DeformGradients& gradients) {
  using A = accumulator_t<T>;
  T* doffset = gradients.doffset != nullptr ? gradients.doffset->data<T>() : nullptr;
  T* dmask = gradients.dmask != nullptr ? gradients.dmask->data<T>() : nullptr;
  const int64_t taps = samples.g.taps(), channels = samples.channels;
  const int64_t positions = dcolumns.dim(0) * samples.columns;
  parallel_for(positions, deform_grain(taps * channels), [&](int64_t i) {
    const T* image = samples.x + samples.image(first + i);
    samples.for_each(first + i, [&](const auto& s) {
      const int64_t channel = s.group * samples.group_channels;
      const Corners corners(s.at, samples.height, samples.width);
      const T* corner[4];
      for (int k = 0; k < corners.count; ++k) corner[k] = image + corners.pixel[k] * channels + channel;
      A dots[4];
      corner_dots(dcolumns.data<T>() + (i * taps + s.tap) * channels + channel, corner, corners.count,
                  samples.group_channels, dots);
      A value = 0, dy = 0, dx = 0;
      for (int k = 0; k < corners.count; ++k) {
        value += s.at.weight(corners.number[k]) * dots[k];
        dy += s.at.slope_y(corners.number[k]) * dots[k];
        dx += s.at.slope_x(corners.number[k]) * dots[k];
      }
      if (doffset != nullptr) {
        doffset[2 * s.index] = static_cast<T>(dy * s.mask);
        doffset[2 * s.index + 1] = static_cast<T>(dx * s.mask);
      }
      if (dmask != nullptr) dmask[s.index] = static_cast<T>(value);
    });
  });
}

// Channels of one task of backward_input: a whole group where there are enough tasks, else parts of it, of a cache line
// at least. The split decides who adds, not in which order: the bits do not depend on it.
int64_t task_channels(int64_t images, int groups, int64_t group_channels, int64_t line) {
  int64_t part = group_channels;
  while (part > line && images * groups * ((group_channels + part - 1) / part) < 2 * threads())
    part = ((part + 1) / 2 + line - 1) / line * line;
  return part;
}

// A task adds some channels of one image, sample after sample, to what is there: no other task touches them.
template <typename T>
void backward_input(const DeformSamples<T>& samples, int64_t first_row, const Tensor& dcolumns, Tensor& dx) {
  using A = accumulator_t<T>;
  const int64_t rows = samples.rows, channels = samples.channels, taps = samples.g.taps();
  const int64_t last_row = first_row + dcolumns.dim(0);
  const int64_t first_image = first_row / rows, images = (last_row - 1) / rows + 1 - first_image;
  const int64_t part = task_channels(images, samples.g.groups, samples.group_channels, 64 / int64_t{sizeof(A)});
  const int64_t parts = (samples.group_channels + part - 1) / part;
  parallel_for(images * samples.g.groups * parts, [&](int64_t task) {
    const int group = static_cast<int>(task / parts % samples.g.groups);
    const int64_t n = first_image + task / parts / samples.g.groups;
    const int64_t in_group = task % parts * part, count = std::min(part, samples.group_channels - in_group);
    const int64_t channel = group * samples.group_channels + in_group;
    const int64_t begin = std::max(first_row, n * rows) * samples.columns;
    const int64_t end = std::min(last_row, (n + 1) * rows) * samples.columns;
    A* image = dx.data<A>() + n * samples.height * samples.width * channels + channel;
    const T* d = dcolumns.data<T>() + channel;
    for (int64_t position = begin; position < end; ++position)
      samples.for_taps(position, group, [&](const auto& s) {
        const T* from = d + ((position - first_row * samples.columns) * taps + s.tap) * channels;
        const Corners corners(s.at, samples.height, samples.width);
        for (int k = 0; k < corners.count; ++k) {
          const A weight = s.at.weight(corners.number[k]) * s.mask;
          A* to = image + corners.pixel[k] * channels;
          for_lanes<A>(count, [&](int64_t c, auto m) {
            store_lanes(to + c, load_lanes(to + c, m) + weight * load_lanes(from + c, m), m);
          });
        }
      });
  });
}

}  // namespace

void deform_unfold_backward(const DeformInput& in, int64_t first_row, const Tensor& dcolumns,
                            const DeformGradients& gradients) {
  dispatch_real(in.x.dtype(), [&]<typename T>() {
    const DeformSamples<T> samples(in);
    if (gradients.doffset != nullptr || gradients.dmask != nullptr)
      backward_samples(samples, first_row * samples.columns, dcolumns, gradients);
    if (gradients.dx != nullptr && dcolumns.numel() > 0) backward_input(samples, first_row, dcolumns, *gradients.dx);
  });
}

}  // namespace segrt::kernels::cpu
