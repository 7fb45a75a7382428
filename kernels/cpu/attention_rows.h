// What the CPU's kernels of DGMN2's attention read of a map: a head's 64 channels of one pixel, or of the four pixels
// around a point.
#pragma once

#include "kernels/attention_taps.h"
#include "kernels/cpu/map_chunks.h"
#include "kernels/cpu/vector_math.h"

namespace segrt::kernels::cpu {

// Vectors of a head.
template <typename A>
inline constexpr int kHeadVectors = kHeadWidth / kLanes<A>;

template <typename A>
alignas(kVectorBytes) inline constexpr A kZeroHead[kHeadWidth] = {};

// One head of the keys or values of one image.
template <typename T>
struct HeadMap {
  const T* first;  // its channels at pixel (0, 0)
  int64_t pitch;   // elements from pixel to pixel
  int height, width;
};

// The four corners of a point: pointers to 64 channels each, to zeros where a corner is outside of the map.
template <typename T>
class CornerRows {
 public:
  using A = accumulator_t<T>;

  void load(const HeadMap<T>& map, const BilinearPoint<A>& point) {
    const T* corner = map.first + (int64_t{point.y} * map.width + point.x) * map.pitch;
    for (int k = 0; k < 4; ++k)
      rows_[k] = point.has(k, map.height, map.width)
                     ? widened(corner + (k / 2 * int64_t{map.width} + k % 2) * map.pitch, kHeadWidth, buffers_[k])
                     : kZeroHead<A>;
  }
  Lanes<A> vector(int corner, int v) const { return cpu::load(rows_[corner] + v * kLanes<A>); }

 private:
  const A* rows_[4];
  A buffers_[4][std::is_same_v<T, A> ? 1 : kHeadWidth];
};

template <typename T>
BilinearPoint<accumulator_t<T>> attention_tap(const T* offsets, int t, int y, int x, const AttentionShape& s) {
  using A = accumulator_t<T>;
  return kernels::attention_tap(t, static_cast<A>(offsets[2 * t]), static_cast<A>(offsets[2 * t + 1]), y, x, s.height,
                                s.width);
}

}  // namespace segrt::kernels::cpu
