#include "data/geometry.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <utility>

#include "core/error.h"

namespace segrt::data {
namespace {

void check_axis(int length, int before, int after) {
  if (length < 1 || before < 0 || after < 0)
    throw ArgumentError(fmt::format("pad: {} values, {} before and {} after: needs a value and no negative pad", length,
                                    before, after));
}

}  // namespace

std::vector<int> reflect_indices(int length, int before, int after) {
  check_axis(length, before, after);
  std::vector<int> axis(static_cast<size_t>(length));
  std::iota(axis.begin(), axis.end(), 0);
  if (length == 1) return std::vector<int>(static_cast<size_t>(before) + 1 + static_cast<size_t>(after), 0);
  while (before > 0 || after > 0) {
    const auto n = static_cast<int>(axis.size());
    const int head = std::min(before, n - 1), tail = std::min(after, n - 1);
    std::vector<int> padded;
    padded.reserve(static_cast<size_t>(head) + axis.size() + static_cast<size_t>(tail));
    padded.insert(padded.end(), axis.rend() - head - 1, axis.rend() - 1);
    padded.insert(padded.end(), axis.begin(), axis.end());
    padded.insert(padded.end(), axis.rbegin(), axis.rbegin() + tail);
    axis = std::move(padded);
    before -= head;
    after -= tail;
  }
  return axis;
}

std::vector<int> constant_pad_indices(int length, int before, int after) {
  check_axis(length, before, after);
  std::vector<int> axis(static_cast<size_t>(before) + static_cast<size_t>(length) + static_cast<size_t>(after), -1);
  std::iota(axis.begin() + before, axis.begin() + before + length, 0);
  return axis;
}

Image gather(const Image& x, std::span<const int> rows, std::span<const int> columns, uint8_t pad) {
  Image y(static_cast<int>(rows.size()), static_cast<int>(columns.size()), x.channels);
  const auto channels = static_cast<size_t>(x.channels);
  // Most tables are one run of neighbours: copied as a whole.
  bool run = !columns.empty() && columns.front() >= 0;
  for (size_t j = 1; run && j < columns.size(); ++j) run = columns[j] == columns[j - 1] + 1;
  for (int i = 0; i < y.height; ++i) {
    uint8_t* out = y.row(i);
    const int source_row = rows[static_cast<size_t>(i)];
    if (source_row < 0) {
      std::memset(out, pad, y.row_bytes());
      continue;
    }
    const uint8_t* source = x.row(source_row);
    if (i > 0 && source_row == rows[static_cast<size_t>(i) - 1]) {  // as where nearest resizing enlarges
      std::memcpy(out, y.row(i - 1), y.row_bytes());
    } else if (run) {
      std::memcpy(out, source + static_cast<size_t>(columns.front()) * channels, y.row_bytes());
    } else if (channels == 3) {
      for (const int j : columns) {
        const uint8_t* pixel = source + (j < 0 ? 0 : j * 3);
        *out++ = j < 0 ? pad : pixel[0];
        *out++ = j < 0 ? pad : pixel[1];
        *out++ = j < 0 ? pad : pixel[2];
      }
    } else if (channels == 1) {
      for (const int j : columns) *out++ = j < 0 ? pad : source[j];
    } else {
      for (const int j : columns)
        for (size_t c = 0; c < channels; ++c) *out++ = j < 0 ? pad : source[static_cast<size_t>(j) * channels + c];
    }
  }
  return y;
}

Image pad_reflection(const Image& x, const Border& border) {
  return gather(x, reflect_indices(x.height, border.top, border.bottom),
                reflect_indices(x.width, border.left, border.right));
}

Image pad_constant(const Image& x, const Border& border, uint8_t value) {
  return gather(x, constant_pad_indices(x.height, border.top, border.bottom),
                constant_pad_indices(x.width, border.left, border.right), value);
}

Image flip_horizontal(const Image& x) {
  std::vector<int> rows(static_cast<size_t>(x.height)), columns(static_cast<size_t>(x.width));
  std::iota(rows.begin(), rows.end(), 0);
  std::iota(columns.rbegin(), columns.rend(), 0);
  return gather(x, rows, columns);
}

std::vector<int> crop_indices(int length, int size, int begin, const Padding& padding) {
  const int missing = std::max(size - length, 0), before = missing / 2;
  std::vector<int> axis = padding.reflect ? reflect_indices(length, before, missing - before)
                                          : constant_pad_indices(length, before, missing - before);
  if (size < 1 || begin < 0 || begin > static_cast<int>(axis.size()) - size)
    throw ArgumentError(fmt::format("crop: {}+{} does not lie inside {}", begin, size, axis.size()));
  axis.erase(axis.begin(), axis.begin() + begin);
  axis.resize(static_cast<size_t>(size));
  return axis;
}

std::vector<int> identity_indices(int length) {
  std::vector<int> axis(static_cast<size_t>(length));
  std::iota(axis.begin(), axis.end(), 0);
  return axis;
}

Window window_of(std::span<const int> rows, std::span<const int> columns) {
  auto range = [](std::span<const int> axis) {
    int low = -1, high = -1;
    for (const int i : axis) {
      if (i < 0) continue;
      low = low < 0 ? i : std::min(low, i);
      high = std::max(high, i);
    }
    return low < 0 ? std::pair{0, 1} : std::pair{low, high - low + 1};
  };
  const auto [y, height] = range(rows);
  const auto [x, width] = range(columns);
  return {y, x, height, width};
}

void shift_indices(std::span<int> axis, int origin) {
  for (int& i : axis)
    if (i >= 0) i -= origin;
}

void compose_indices(std::span<int> axis, std::span<const int> source) {
  for (int& i : axis)
    if (i >= 0) i = source[static_cast<size_t>(i)];
}

Image crop(const Image& image, int height, int width, int y, int x, const Padding& padding) {
  return gather(image, crop_indices(image.height, height, y, padding), crop_indices(image.width, width, x, padding),
                padding.value);
}

}  // namespace segrt::data
