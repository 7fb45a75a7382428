#include "data/resample.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "core/error.h"
#include "core/parallel.h"
#include "data/resample_taps.h"

namespace segrt::data {
namespace {

bool inside(const Window& w, const Window& outer) {
  return w.height > 0 && w.width > 0 && w.y >= outer.y && w.x >= outer.x && w.y + w.height <= outer.y + outer.height &&
         w.x + w.width <= outer.x + outer.width;
}

std::string text(const Window& w) { return fmt::format("rows {}+{}, columns {}+{}", w.y, w.height, w.x, w.width); }

void check(const Resizing& r) {
  if (r.from_height < 1 || r.from_width < 1 || r.to_height < 1 || r.to_width < 1)
    throw ArgumentError(fmt::format("resize: {}x{} to {}x{}: both sizes must be at least 1x1", r.from_height,
                                    r.from_width, r.to_height, r.to_width));
}

// Lanes are independent values next to each other in memory; tap k of lane l is source[k * stride + l].
template <int kLanes>
inline void filter_lanes(const uint8_t* source, size_t stride, std::span<const int32_t> weights, uint8_t* out) {
  int32_t sum[kLanes];
  for (int l = 0; l < kLanes; ++l) sum[l] = 1 << (kFractionBits - 1);
  for (size_t k = 0; k < weights.size(); ++k)
    for (int l = 0; l < kLanes; ++l) sum[l] += weights[k] * source[k * stride + static_cast<size_t>(l)];
  for (int l = 0; l < kLanes; ++l) out[l] = static_cast<uint8_t>(std::clamp(sum[l] >> kFractionBits, 0, 255));
}

// Filtered along y, lanes are columns. `image` starts at row y_offset of what `taps` count in.
Image filter_rows(const Image& image, int y_offset, const Taps<int32_t>& taps) {
  constexpr size_t kLanes = 64;
  Image out(taps.outputs, image.width, image.channels);
  const size_t count = image.row_bytes();
  for (int y = 0; y < taps.outputs; ++y) {
    const uint8_t* source = image.row(taps.first[static_cast<size_t>(y)] - y_offset);
    uint8_t* row = out.row(y);
    const std::span<const int32_t> weights = taps.of(y);
    size_t i = 0;
    for (; i + kLanes <= count; i += kLanes) filter_lanes<kLanes>(source + i, count, weights, row + i);
    for (; i < count; ++i) filter_lanes<1>(source + i, count, weights, row + i);
  }
  return out;
}

// Rows [y, y + rows) filtered along x. `image` starts at column x_offset of what `taps` count in. A block of rows is
// transposed first, so that lanes are rows: with three channels the taps of one output are no vector otherwise.
Image filter_columns(const Image& image, int y, int rows, int x_offset, const Taps<int32_t>& taps) {
  constexpr size_t kLanes = 32;
  const auto channels = static_cast<size_t>(image.channels);
  Image out(rows, taps.outputs, image.channels);
  const auto begin = static_cast<size_t>(taps.begin() - x_offset) * channels;
  const auto count = static_cast<size_t>(taps.end() - taps.begin()) * channels;
  auto first = [&](int i) { return static_cast<size_t>(taps.first[static_cast<size_t>(i)] - taps.begin()); };
  std::vector<uint8_t> source(count * kLanes), result(out.row_bytes() * kLanes);
  for (int block = 0; block < rows; block += static_cast<int>(kLanes)) {
    const size_t used = std::min(kLanes, static_cast<size_t>(rows - block));
    for (size_t l = 0; l < used; ++l) {
      const uint8_t* row = image.row(y + block + static_cast<int>(l)) + begin;
      for (size_t i = 0; i < count; ++i) source[i * kLanes + l] = row[i];
    }
    for (int x = 0; x < taps.outputs; ++x)
      for (size_t c = 0; c < channels; ++c)
        filter_lanes<kLanes>(source.data() + (first(x) * channels + c) * kLanes, channels * kLanes, taps.of(x),
                             result.data() + (static_cast<size_t>(x) * channels + c) * kLanes);
    for (size_t l = 0; l < used; ++l) {
      uint8_t* row = out.row(block + static_cast<int>(l));
      for (size_t i = 0; i < out.row_bytes(); ++i) row[i] = result[i * kLanes + l];
    }
  }
  return out;
}

struct Range {
  int begin = 0, count = 0;
};

Range source_range(int from, int to, Filter filter, int begin, int count) {
  if (from == to) return {begin, count};
  const Taps<double> first = make_taps(from, to, filter, begin, 1);
  const Taps<double> last = make_taps(from, to, filter, begin + count - 1, 1);
  return {first.begin(), last.end() - first.begin()};
}

Image crop_window(const Image& image, const Window& window) {
  Image out(window.height, window.width, image.channels);
  const size_t x = static_cast<size_t>(window.x) * static_cast<size_t>(image.channels);
  for (int y = 0; y < window.height; ++y) std::memcpy(out.row(y), image.row(window.y + y) + x, out.row_bytes());
  return out;
}

}  // namespace

Window Resizing::source(const Window& target) const {
  check(*this);
  if (!inside(target, {0, 0, to_height, to_width}))
    throw ArgumentError(fmt::format("resize: {} is not inside {}x{}", text(target), to_height, to_width));
  const Range rows = source_range(from_height, to_height, filter, target.y, target.height);
  const Range columns = source_range(from_width, to_width, filter, target.x, target.width);
  return {rows.begin, columns.begin, rows.count, columns.count};
}

Image Resizing::apply(const Image& image, const Window& part, const Window& target) const {
  const Window needed = source(target);
  if (image.height != part.height || image.width != part.width || image.channels < 1 || !inside(needed, part) ||
      !inside(part, {0, 0, from_height, from_width}))
    throw ArgumentError(fmt::format("resize: image [{},{},{}] for {} of {}x{} does not hold {}", image.height,
                                    image.width, image.channels, text(part), from_height, from_width, text(needed)));
  const int y = needed.y - part.y;
  const Image narrowed = from_width == to_width
                             ? crop_window(image, {y, needed.x - part.x, needed.height, needed.width})
                             : filter_columns(image, y, needed.height, part.x,
                                              make_fixed_taps(from_width, to_width, filter, target.x, target.width));
  if (from_height == to_height) return narrowed;
  return filter_rows(narrowed, needed.y, make_fixed_taps(from_height, to_height, filter, target.y, target.height));
}

Image resize(const Image& image, int height, int width, Filter filter) {
  const Resizing r{image.height, image.width, height, width, filter};
  check(r);
  return r.apply(image, {0, 0, image.height, image.width}, {0, 0, height, width});
}

std::vector<int> nearest_indices(int from, int to) {
  const double step = static_cast<double>(from) / to;
  std::vector<int> indices(static_cast<size_t>(to));
  double position = 0.5 * step;
  for (int& index : indices) {
    index = std::min(static_cast<int>(position), from - 1);
    position += step;
  }
  return indices;
}

Image resize_nearest(const Image& image, int height, int width) {
  check({image.height, image.width, height, width});
  const std::vector<int> rows = nearest_indices(image.height, height), columns = nearest_indices(image.width, width);
  Image out(height, width, image.channels);
  const auto channels = static_cast<size_t>(image.channels);
  for (int y = 0; y < height; ++y) {
    const uint8_t* source = image.row(rows[static_cast<size_t>(y)]);
    uint8_t* row = out.row(y);
    for (const int column : columns)
      for (size_t c = 0; c < channels; ++c) *row++ = source[static_cast<size_t>(column) * channels + c];
  }
  return out;
}

void resize(std::span<const float> x, int height, int width, int channels, std::span<float> y, int out_height,
            int out_width, Filter filter) {
  auto product = [](int a, int b, int c) {
    return static_cast<size_t>(a) * static_cast<size_t>(b) * static_cast<size_t>(c);
  };
  if (height < 1 || width < 1 || channels < 1 || out_height < 1 || out_width < 1 ||
      x.size() != product(height, width, channels) || y.size() != product(out_height, out_width, channels))
    throw ArgumentError(fmt::format("resize: x has {} values for [{},{},{}], y {} for [{},{},{}]", x.size(), height,
                                    width, channels, y.size(), out_height, out_width, channels));
  const size_t depth = static_cast<size_t>(channels), row_in = static_cast<size_t>(width) * depth;
  const size_t row_out = static_cast<size_t>(out_width) * depth;

  std::vector<float> narrowed;
  std::span<const float> rows = x;
  if (out_width != width) {
    const Taps<double> taps = make_taps(width, out_width, filter, 0, out_width);
    const bool last = out_height == height;
    if (!last) narrowed.resize(static_cast<size_t>(height) * row_out);
    const std::span<float> target = last ? y : std::span<float>(narrowed);
    parallel_ranges(height, 8, [&](int64_t begin, int64_t end) {
      std::vector<double> sum(depth);
      for (auto r = static_cast<size_t>(begin); r < static_cast<size_t>(end); ++r)
        for (int i = 0; i < out_width; ++i) {
          std::fill(sum.begin(), sum.end(), 0.0);
          const float* source = x.data() + r * row_in + static_cast<size_t>(taps.first[static_cast<size_t>(i)]) * depth;
          for (const double w : taps.of(i)) {
            for (size_t c = 0; c < depth; ++c) sum[c] += source[c] * w;
            source += depth;
          }
          float* out = target.data() + r * row_out + static_cast<size_t>(i) * depth;
          for (size_t c = 0; c < depth; ++c) out[c] = static_cast<float>(sum[c]);
        }
    });
    if (last) return;
    rows = narrowed;
  }
  if (out_height == height) {
    std::copy(x.begin(), x.end(), y.begin());
    return;
  }
  const Taps<double> taps = make_taps(height, out_height, filter, 0, out_height);
  parallel_ranges(out_height, 8, [&](int64_t begin, int64_t end) {
    std::vector<double> sum(row_out);
    for (int i = static_cast<int>(begin); i < static_cast<int>(end); ++i) {
      std::fill(sum.begin(), sum.end(), 0.0);
      const float* source = rows.data() + static_cast<size_t>(taps.first[static_cast<size_t>(i)]) * row_out;
      for (const double w : taps.of(i)) {
        for (size_t c = 0; c < row_out; ++c) sum[c] += source[c] * w;
        source += row_out;
      }
      float* out = y.data() + static_cast<size_t>(i) * row_out;
      for (size_t c = 0; c < row_out; ++c) out[c] = static_cast<float>(sum[c]);
    }
  });
}

}  // namespace segrt::data
