#include "data/opencv_resize.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "core/error.h"

namespace segrt::data {
namespace {

constexpr float kOne = 2048;  // a weight of 1

// The outputs [begin, begin + count) of one axis: what they read, index[d] and the one after it, and with what weights.
struct LinearAxis {
  std::vector<int> index;
  std::vector<int16_t> weight0, weight1;
};

LinearAxis linear_axis(int from, int to, int begin, int count) {
  LinearAxis axis;
  const double scale = static_cast<double>(from) / to;
  for (int d = begin; d < begin + count; ++d) {
    const auto x = static_cast<float>((d + 0.5) * scale - 0.5);
    const float floor = std::floor(x), t = x - floor;
    axis.index.push_back(static_cast<int>(floor));
    axis.weight0.push_back(static_cast<int16_t>(std::nearbyint((1 - t) * kOne)));  // halves to even: the default mode
    axis.weight1.push_back(static_cast<int16_t>(std::nearbyint(t * kOne)));
  }
  return axis;
}

// Where a column and its neighbour are not both there, the one that is counts in full. After this, index + 1 may be the
// column behind the last one, with weight 0.
void clamp_columns(LinearAxis& axis, int from) {
  for (size_t d = 0; d < axis.index.size(); ++d) {
    if (axis.index[d] >= 0 && axis.index[d] < from - 1) continue;
    axis.index[d] = std::clamp(axis.index[d], 0, from - 1);
    axis.weight0[d] = static_cast<int16_t>(kOne);
    axis.weight1[d] = 0;
  }
}

template <typename T>
std::vector<T> repeated(const std::vector<T>& values, int times) {
  std::vector<T> all;
  all.reserve(values.size() * static_cast<size_t>(times));
  for (const T v : values) all.insert(all.end(), static_cast<size_t>(times), v);
  return all;
}

// Rows of the image filtered along x, r >> 4, the last two of them kept: consecutive outputs share them.
class FilteredRows {
 public:
  FilteredRows(const Image& image, LinearAxis columns)
      : image_(image),
        first_(*std::min_element(columns.index.begin(), columns.index.end())),
        bytes_((static_cast<size_t>(*std::max_element(columns.index.begin(), columns.index.end()) - first_) + 1) *
               static_cast<size_t>(image.channels)),
        index_(std::move(columns.index)),
        weight0_(repeated(columns.weight0, image.channels)),
        weight1_(repeated(columns.weight1, image.channels)),
        // Pixels are read and written in wholes of kStep bytes, which reach past the last one.
        source_(bytes_ + static_cast<size_t>(image.channels) + kStep),
        left_(weight0_.size() + kStep),
        right_(weight0_.size() + kStep) {
    for (std::vector<int16_t>& row : rows_) row.resize(weight0_.size());
  }

  const int16_t* row(int y) {
    std::vector<int16_t>& row = rows_[static_cast<size_t>(y % 2)];
    if (int& held = held_[static_cast<size_t>(y % 2)]; held != y) {
      filter(y, row);
      held = y;
    }
    return row.data();
  }

 private:
  static constexpr size_t kStep = 4;

  void filter(int y, std::vector<int16_t>& row) {
    const auto channels = static_cast<size_t>(image_.channels);
    const size_t available = image_.row_bytes() - static_cast<size_t>(first_) * channels;
    std::memcpy(source_.data(), image_.row(y) + static_cast<size_t>(first_) * channels,
                std::min(available, bytes_ + channels));
    if (channels == 3)
      gather<3>();
    else
      gather<1>();
    const uint8_t *left = left_.data(), *right = right_.data();
    const int16_t *weight0 = weight0_.data(), *weight1 = weight1_.data();
    int16_t* out = row.data();
    for (size_t k = 0; k < row.size(); ++k)
      out[k] = static_cast<int16_t>((left[k] * weight0[k] + right[k] * weight1[k]) >> 4);
  }

  // The two pixels that each output reads, next to those of the other outputs, so that the sums are vectors.
  template <size_t kChannels>
  void gather() {
    constexpr size_t kBytes = kChannels == 3 ? kStep : kChannels;
    const uint8_t* source = source_.data();
    uint8_t *left = left_.data(), *right = right_.data();
    for (const int i : index_) {
      const uint8_t* pixel = source + static_cast<size_t>(i - first_) * kChannels;
      std::memcpy(left, pixel, kBytes);
      std::memcpy(right, pixel + kChannels, kBytes);
      left += kChannels;
      right += kChannels;
    }
  }

  const Image& image_;
  int first_;     // column
  size_t bytes_;  // of a row from there to the last column
  std::vector<int> index_;
  std::vector<int16_t> weight0_, weight1_;  // of each byte
  std::vector<uint8_t> source_, left_, right_;
  std::array<std::vector<int16_t>, 2> rows_;
  std::array<int, 2> held_ = {-1, -1};
};

void check(const Image& image, ImageSize size, const Window& target, const Image& out) {
  if (image.empty() || (image.channels != 1 && image.channels != 3))
    throw ArgumentError(fmt::format("opencv_resize: expected an image of 1 or 3 channels, got [{},{},{}]", image.height,
                                    image.width, image.channels));
  if (target.y < 0 || target.x < 0 || target.height < 1 || target.width < 1 || target.y > size.height - target.height ||
      target.x > size.width - target.width)
    throw ArgumentError(fmt::format("opencv_resize: rows {}+{}, columns {}+{} are not inside {}x{}", target.y,
                                    target.height, target.x, target.width, size.height, size.width));
  if (out.height < target.height || out.width < target.width || out.channels != image.channels)
    throw ArgumentError(fmt::format("opencv_resize: out [{},{},{}] cannot hold {}x{}x{}", out.height, out.width,
                                    out.channels, target.height, target.width, image.channels));
}

}  // namespace

void opencv_resize(const Image& image, ImageSize size, const Window& target, bool mirrored, Image& out) {
  check(image, size, target, out);
  LinearAxis columns = linear_axis(image.width, size.width, target.x, target.width);
  clamp_columns(columns, image.width);
  if (mirrored) {
    std::reverse(columns.index.begin(), columns.index.end());
    std::reverse(columns.weight0.begin(), columns.weight0.end());
    std::reverse(columns.weight1.begin(), columns.weight1.end());
  }
  const LinearAxis rows = linear_axis(image.height, size.height, target.y, target.height);
  FilteredRows filtered(image, std::move(columns));
  const size_t count = static_cast<size_t>(target.width) * static_cast<size_t>(image.channels);
  for (size_t y = 0; y < rows.index.size(); ++y) {
    // Unlike columns, rows keep their weights when they are clamped.
    const int16_t* above = filtered.row(std::clamp(rows.index[y], 0, image.height - 1));
    const int16_t* below = filtered.row(std::clamp(rows.index[y] + 1, 0, image.height - 1));
    const int16_t weight0 = rows.weight0[y], weight1 = rows.weight1[y];
    uint8_t* row = out.row(static_cast<int>(y));
    for (size_t k = 0; k < count; ++k) {
      // 16-bit vectors: the high half of a 16-bit product is one instruction.
      const auto a = static_cast<int16_t>((above[k] * weight0) >> 16);
      const auto b = static_cast<int16_t>((below[k] * weight1) >> 16);
      row[k] = static_cast<uint8_t>((a + b + 2) >> 2);
    }
  }
}

Image opencv_resize(const Image& image, ImageSize size) {
  Image out(std::max(size.height, 0), std::max(size.width, 0), image.channels);
  opencv_resize(image, size, {0, 0, size.height, size.width}, false, out);
  return out;
}

std::vector<int> opencv_nearest_indices(int from, int to) {
  if (from < 1 || to < 1)
    throw ArgumentError(fmt::format("opencv_nearest_indices: {} to {}: both must be at least 1", from, to));
  const double scale = 1 / (static_cast<double>(to) / from);
  std::vector<int> axis(static_cast<size_t>(to));
  for (int d = 0; d < to; ++d) axis[static_cast<size_t>(d)] = std::min(static_cast<int>(d * scale), from - 1);
  return axis;
}

}  // namespace segrt::data
