#include "kernels/resize_axis.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <tuple>
#include <vector>

#include "core/error.h"

namespace segrt::kernels {
namespace {

enum class Rule : uint8_t { bilinear, nearest, transposed_x8 };
using Key = std::tuple<Rule, int, int, Coordinates, NearestRounding, double>;

struct AxisCache {
  std::map<Key, UpsampleAxis> axes;
};

struct Tap {
  int index;
  float weight[2];
};

// Where output i of `out` reads among `in` inputs, before clamping.
double position(int64_t i, int64_t in, int64_t out, Coordinates coordinates, double scale) {
  switch (coordinates) {
    case Coordinates::half_pixel:
      if (scale > 0) return (static_cast<double>(i) + 0.5) / scale - 0.5;
      return static_cast<double>((2 * i + 1) * in - out) / static_cast<double>(2 * out);
    case Coordinates::align_corners:
      return out > 1 ? static_cast<double>(i * (in - 1)) / static_cast<double>(out - 1) : 0.0;
    default: return scale > 0 ? static_cast<double>(i) / scale : static_cast<double>(i * in) / static_cast<double>(out);
  }
}

Tap bilinear_tap(double p, int in) {
  p = std::clamp(p, 0.0, static_cast<double>(in - 1));
  const int index = static_cast<int>(p);
  const double fraction = p - index;
  return {index, {static_cast<float>(1.0 - fraction), static_cast<float>(fraction)}};
}

Tap nearest_tap(double p, int in, NearestRounding rounding) {
  switch (rounding) {
    case NearestRounding::floor: p = std::floor(p); break;
    case NearestRounding::ceil: p = std::ceil(p); break;
    case NearestRounding::half_down: p = std::ceil(p - 0.5); break;
    case NearestRounding::half_up: p = std::floor(p + 0.5); break;
  }
  return {static_cast<int>(std::clamp(p, 0.0, static_cast<double>(in - 1))), {1.0f, 0.0f}};
}

// out[o] = sum_j in[j] t(o - 8j + 4) with t(i) for 0 <= i < 16: output o = 8a + b reads inputs a-1 and a where b < 4,
// a and a+1 elsewhere. A tap outside the map is dropped, its weight is not given to the other.
Tap transposed_x8_tap(int o, int in) {
  const auto t = [](int i) { return 1.0f - std::abs(static_cast<float>(i) / 8.0f - 15.0f / 16.0f); };
  const int left = (o - 4 + 8) / 8 - 1;  // floor((o - 4) / 8)
  const float w_left = t(o - 8 * left + 4), w_right = t(o - 8 * left - 4);
  if (left < 0) return {0, {w_right, 0.0f}};
  return {left, {w_left, left + 1 < in ? w_right : 0.0f}};
}

template <typename TapOf>
UpsampleAxis make_axis(int in, int out, Device& device, const TapOf& tap_of) {
  std::vector<int32_t> index(static_cast<size_t>(out)), first(static_cast<size_t>(in)), last(static_cast<size_t>(in));
  std::vector<float> weight(2 * static_cast<size_t>(out));
  for (int i = 0; i < out; ++i) {
    const Tap tap = tap_of(i);
    const auto k = static_cast<size_t>(i);
    index[k] = tap.index;
    weight[2 * k] = tap.weight[0];
    weight[2 * k + 1] = tap.weight[1];
  }
  for (int j = 0; j < in; ++j) {
    const auto begin = std::lower_bound(index.begin(), index.end(), j - 1);
    const auto end = std::upper_bound(begin, index.end(), j);
    first[static_cast<size_t>(j)] = static_cast<int32_t>(begin - index.begin());
    last[static_cast<size_t>(j)] = static_cast<int32_t>(end - index.begin());
  }
  return {.in = in,
          .out = out,
          .index = Tensor::from<int32_t>({out}, index, device),
          .weight = Tensor::from<float>({out, 2}, weight, device),
          .first = Tensor::from<int32_t>({in}, first, device),
          .last = Tensor::from<int32_t>({in}, last, device)};
}

template <typename TapOf>
UpsampleAxis cached_axis(const Key& key, Device& device, const TapOf& tap_of) {
  const int in = std::get<1>(key), out = std::get<2>(key);
  if (in < 1 || out < 1) throw ArgumentError(fmt::format("resize: expected sides of 1 or more, got {} -> {}", in, out));
  auto& axes = device.state<AxisCache>().axes;
  if (const auto found = axes.find(key); found != axes.end()) return found->second;
  return axes.emplace(key, make_axis(in, out, device, tap_of)).first->second;
}

}  // namespace

UpsampleAxis bilinear_axis(int in, int out, Coordinates coordinates, double scale, Device& device) {
  return cached_axis({Rule::bilinear, in, out, coordinates, NearestRounding::floor, scale}, device,
                     [&](int i) { return bilinear_tap(position(i, in, out, coordinates, scale), in); });
}

UpsampleAxis nearest_axis(int in, int out, Coordinates coordinates, NearestRounding rounding, double scale,
                          Device& device) {
  return cached_axis({Rule::nearest, in, out, coordinates, rounding, scale}, device,
                     [&](int i) { return nearest_tap(position(i, in, out, coordinates, scale), in, rounding); });
}

UpsampleAxis transposed_x8_axis(int in, Device& device) {
  return cached_axis({Rule::transposed_x8, in, 8 * in, Coordinates::half_pixel, NearestRounding::floor, 0.0}, device,
                     [&](int o) { return transposed_x8_tap(o, in); });
}

UpsampleTaps bilinear_taps(int in_h, int in_w, int out_h, int out_w, Coordinates coordinates, Device& device) {
  return {bilinear_axis(in_h, out_h, coordinates, 0.0, device), bilinear_axis(in_w, out_w, coordinates, 0.0, device)};
}

UpsampleTaps transposed_x8_taps(int in_h, int in_w, Device& device) {
  return {transposed_x8_axis(in_h, device), transposed_x8_axis(in_w, device)};
}

}  // namespace segrt::kernels
