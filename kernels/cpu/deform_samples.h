// The samples of a deformable unfolding, one by one: where each lies and what it is scaled with.
#pragma once

#include <algorithm>

#include "kernels/deform.h"

namespace segrt::kernels::cpu {

// Those of a sample's four corners that lie in the map.
struct Corners {
  int count = 0;
  int number[4];     // 0..3, as BilinearPoint counts them
  int64_t pixel[4];  // y * width + x

  template <typename A>
  Corners(const BilinearPoint<A>& at, int height, int width) {
    for (int k = 0; k < 4; ++k) {
      if (!at.has(k, height, width)) continue;
      number[count] = k;
      pixel[count++] = int64_t{at.y + k / 2} * width + at.x + k % 2;
    }
  }
};

template <typename T>
struct DeformSamples {
  using A = accumulator_t<T>;

  struct Sample {
    int64_t index;  // among all: position * groups * K + group * K + tap; that of its mask, half that of its offsets
    int group, tap;
    BilinearPoint<A> at;
    A mask;
  };

  explicit DeformSamples(const DeformInput& in)
      : x(in.x.data<T>()),
        offset(in.offset.data<T>()),
        mask(in.mask != nullptr ? in.mask->data<T>() : nullptr),
        g(in.geometry),
        height(static_cast<int>(in.x.dim(1))),
        width(static_cast<int>(in.x.dim(2))),
        rows(in.offset.dim(1)),
        columns(in.offset.dim(2)),
        channels(in.x.dim(3)),
        group_channels(channels / g.groups) {}

  // The first element of the image that position (n * P + p) * Q + q samples.
  int64_t image(int64_t position) const { return position / columns / rows * height * width * channels; }

  // f(sample) for the taps of `group` at a position.
  template <typename F>
  void for_taps(int64_t position, int group, const F& f) const {
    const int taps = g.taps();
    const int q = static_cast<int>(position % columns), p = static_cast<int>(position / columns % rows);
    const int64_t first = (position * g.groups + group) * taps;
    for (int t = 0; t < taps; ++t) {
      const int64_t s = first + t;
      const A dy = static_cast<A>(offset[2 * s]), dx = static_cast<A>(offset[2 * s + 1]);
      f(Sample{s, group, t, g.point<A>(p, q, t, dy, dx, height, width),
               mask != nullptr ? static_cast<A>(mask[s]) : A{1}});
    }
  }
  // f(sample) for all samples of a position.
  template <typename F>
  void for_each(int64_t position, const F& f) const {
    for (int group = 0; group < g.groups; ++group) for_taps(position, group, f);
  }

  const T *x, *offset, *mask;
  DeformGeometry g;
  int height, width;
  int64_t rows, columns, channels, group_channels;
};

// Positions that pay for handing work to another thread.
inline int64_t deform_grain(int64_t elements_a_position) {
  constexpr int64_t kElements = 16384;
  return std::max<int64_t>(1, kElements / std::max<int64_t>(1, elements_a_position));
}

}  // namespace segrt::kernels::cpu
