// How the kernels of deformable unfolding number what they work on.
#pragma once

#include "kernels/cuda/device.h"
#include "kernels/cuda/wide_divisor.h"
#include "kernels/deform.h"

namespace segrt::kernels::cuda {

// DeformInput for kernels. A position is (n * P + p) * Q + q, counted over all images; a sample of it is (group, tap).
template <typename T>
struct DeformView {
  const T *x, *offset, *mask;  // mask may be null
  DeformGeometry g;
  int height, width, channels, group_channels;
  WideDivisor rows, columns;

  explicit DeformView(const DeformInput& in)
      : x(in.x.data<T>()),
        offset(in.offset.data<T>()),
        mask(in.mask != nullptr ? in.mask->data<T>() : nullptr),
        g(in.geometry),
        height(static_cast<int>(in.x.dim(1))),
        width(static_cast<int>(in.x.dim(2))),
        channels(static_cast<int>(in.x.dim(3))),
        group_channels(channels / g.groups),
        rows(in.offset.dim(1), in.offset.numel()),
        columns(in.offset.dim(2), in.offset.numel()) {}

  struct Sample {
    int64_t index;  // of its mask; its offsets are 2 * index and 2 * index + 1
    int64_t image;  // n
    BilinearPoint<float> at;
    float mask;
  };
  SEGRT_DEVICE Sample sample(int64_t position, int group, int tap) const {
    const int64_t row = columns(position), n = rows(row);
    const int q = static_cast<int>(position - row * columns.extent()), p = static_cast<int>(row - n * rows.extent());
    const int64_t index = (position * g.groups + group) * g.taps() + tap;
    const float dy = to_float(offset[2 * index]), dx = to_float(offset[2 * index + 1]);
    return {index, n, g.point<float>(p, q, tap, dy, dx, height, width), mask != nullptr ? to_float(mask[index]) : 1.0f};
  }
  // The first channel of corner k, which is in the map.
  SEGRT_DEVICE int64_t corner(const Sample& s, int k) const {
    return ((s.image * height + s.at.y + k / 2) * width + s.at.x + k % 2) * channels;
  }
};

// The elements of columns [R,Q,K,C] in vectors of V channels that lie within one group.
struct ColumnVectors {
  int64_t count, first_position;
  WideDivisor per_position, per_tap;
  Divisor group_channels;
  int vector;

  ColumnVectors(const DeformInput& in, int64_t first_row, const Tensor& columns, int v)
      : count(columns.numel() / v),
        first_position(first_row * in.offset.dim(2)),
        per_position(columns.dim(2) * (columns.dim(3) / v), count),
        per_tap(columns.dim(3) / v, count),
        group_channels(static_cast<int>(columns.dim(3)) / in.geometry.groups),
        vector(v) {}

  struct Place {
    int64_t position;
    int tap, channel, group;
  };
  SEGRT_DEVICE Place at(int64_t e) const {
    const int64_t position = per_position(e), rest = e - position * per_position.extent(), tap = per_tap(rest);
    const int channel = static_cast<int>(rest - tap * per_tap.extent()) * vector;
    return {first_position + position, static_cast<int>(tap), channel, group_channels(channel)};
  }
};

}  // namespace segrt::kernels::cuda
