// How DGMN2's attention lies on a GPU: sixteen lanes, half a warp, are one head of one pixel, with four of its 64
// channels each; where nine numbers belong to a head, one for each tap, lane t of the sixteen has number t.
#pragma once

#include "kernels/attention_taps.h"
#include "kernels/cuda/device.h"

namespace segrt::kernels::cuda {

inline constexpr int kGroupLanes = 16;
inline constexpr int kLaneChannels = kHeadWidth / kGroupLanes;
inline constexpr int kAttentionBlock = 128;
inline constexpr int kBlockGroups = kAttentionBlock / kGroupLanes;

// This thread's place in its group, and the lane of the warp at which the group begins.
SEGRT_DEVICE int group_lane() { return lane_index() % kGroupLanes; }
SEGRT_DEVICE int group_base() { return lane_index() - group_lane(); }

// The group's head of a pixel: number (pixel * heads + head) among `count`. An idle group of the last warp does the
// last one again and stores nothing, so that collectives have all 32 lanes.
struct GroupItem {
  int64_t at;
  bool stores, warp_idle;
};
SEGRT_DEVICE GroupItem group_item(int64_t count) {
  const int64_t group = static_cast<int64_t>(block_index().x) * kBlockGroups + thread_index().x / kGroupLanes;
  const int64_t first = group - (group & 1);  // of the warp
  return {group < count ? group : count - 1, group < count, first >= count};
}

// Four channels of a lane. p is that of the head's first channel.
struct Quad {
  float v[kLaneChannels];
};
template <typename T>
SEGRT_DEVICE Quad load_quad(const T* p) {
  const Vec<T, kLaneChannels> raw = load_vec<T, kLaneChannels>(p + group_lane() * kLaneChannels);
  Quad q;
#pragma unroll
  for (int i = 0; i < kLaneChannels; ++i) q.v[i] = to_float(raw[i]);
  return q;
}
template <typename T>
SEGRT_DEVICE void store_quad(T* p, const Quad& q) {
  Vec<T, kLaneChannels> raw;
#pragma unroll
  for (int i = 0; i < kLaneChannels; ++i) raw[i] = from_float<T>(q.v[i]);
  store_vec(p + group_lane() * kLaneChannels, raw);
}
SEGRT_DEVICE float dot(const Quad& a, const Quad& b) {
  float sum = 0.0f;
#pragma unroll
  for (int i = 0; i < kLaneChannels; ++i) sum += a.v[i] * b.v[i];
  return sum;
}
SEGRT_DEVICE void add_scaled(Quad& sum, float a, const Quad& q) {
#pragma unroll
  for (int i = 0; i < kLaneChannels; ++i) sum.v[i] += a * q.v[i];
}

// op over the group's lanes, in every one of them.
template <typename Op>
SEGRT_DEVICE float group_reduce(float value, Op op) {
#pragma unroll
  for (int bit = kGroupLanes / 2; bit > 0; bit /= 2) value = op(value, warp_shuffle_xor(value, bit));
  return value;
}

// Sixteen sums over the group's lanes, of which lane i gets the i-th, that of values[i]. Lanes trade the halves that
// the other keeps: 15 shuffles, where a butterfly for each would take 64. `values` is used up.
SEGRT_DEVICE float group_sums(float (&values)[kGroupLanes]) {
  const int lane = group_lane();
#pragma unroll
  for (int half = kGroupLanes / 2; half > 0; half /= 2) {
    const bool upper = (lane & half) != 0;
#pragma unroll
    for (int i = 0; i < half; ++i) {
      const float kept = upper ? values[i + half] : values[i], traded = upper ? values[i] : values[i + half];
      values[i] = kept + warp_shuffle_xor(traded, half);
    }
  }
  return values[0];
}

// Tap t of the query, in lane t of its group; lanes 9..15 have a point outside of every map.
template <typename T>
SEGRT_DEVICE BilinearPoint<float> lane_tap(const T* offsets, int y, int x, const AttentionShape& s) {
  const int t = group_lane();
  if (t >= kAttentionTaps) return {false, 0, 0, 0.0f, 0.0f};
  const Vec<T, 2> d = load_vec<T, 2>(offsets + 2 * t);
  return attention_tap(t, to_float(d[0]), to_float(d[1]), y, x, s.height, s.width);
}
// The point of lane t of the group, in all its lanes.
SEGRT_DEVICE BilinearPoint<float> shuffle_tap(const BilinearPoint<float>& own, int t) {
  struct Place {
    int y, x;
    float ly, lx;
  };
  constexpr int kOutside = -2;  // rows above the map: no corner is in it
  const Place place = warp_shuffle(Place{own.inside ? own.y : kOutside, own.x, own.ly, own.lx}, group_base() + t);
  return {place.y != kOutside, place.y, place.x, place.ly, place.lx};
}

// The four corners of a point in a map of `pitch` elements a pixel; zeros where one is outside of it. `map` is the
// head's first channel at pixel (0, 0).
template <typename T>
SEGRT_DEVICE void load_corners(const T* map, int64_t pitch, const BilinearPoint<float>& point, const AttentionShape& s,
                               Quad (&corners)[4]) {
  const T* first = map + (static_cast<int64_t>(point.y) * s.width + point.x) * pitch;
#pragma unroll
  for (int k = 0; k < 4; ++k)
    corners[k] = point.has(k, s.height, s.width)
                     ? load_quad(first + (static_cast<int64_t>(k / 2) * s.width + k % 2) * pitch)
                     : Quad{};
}

// Where a head of a pixel is.
struct HeadPlace {
  int n, y, x, head;
  int64_t image;  // its first pixel
  int64_t pixel;
};
SEGRT_DEVICE HeadPlace head_place(int64_t at, const AttentionShape& s) {
  const int64_t pixel = at / s.heads, row = pixel / s.width;
  const int64_t n = row / s.height;
  return {static_cast<int>(n),
          static_cast<int>(row % s.height),
          static_cast<int>(pixel % s.width),
          static_cast<int>(at % s.heads),
          n * s.height * s.width,
          pixel};
}

}  // namespace segrt::kernels::cuda
