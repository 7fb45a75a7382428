#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "data/affine.h"
#include "data/geometry.h"

namespace segrt::data {
namespace {

// Output pixel centre (X, Y) of the canvas reads (c X + s Y + e, -s X + c Y + f).
struct Matrix {
  double c, s, e, f;
};

Matrix rotation(double angle_degrees, int canvas_height, int canvas_width) {
  const Affine m = rotation_about_centre(angle_degrees, canvas_height, canvas_width);
  return {m.a, m.b, m.c, m.f};
}

bool is_whole_turn(double angle_degrees) { return std::fmod(angle_degrees, 360.0) == 0.0; }

void check(const char* what, const Image& x, double angle, const Window& w) {
  if (!std::isfinite(angle)) throw ArgumentError(fmt::format("{}: angle {} is not a number", what, angle));
  if (x.height < 1 || x.width < 1 || x.height > 32767 / 3 || x.width > 32767 / 3)
    throw ArgumentError(
        fmt::format("{}: image is {}x{}; sides of 1 to {} can be rotated", what, x.height, x.width, 32767 / 3));
  if (w.y < 0 || w.x < 0 || w.height < 1 || w.width < 1 || w.height > x.height - w.y || w.width > x.width - w.x)
    throw ArgumentError(fmt::format("{}: rows {}+{}, columns {}+{} are not inside {}x{}", what, w.y, w.height, w.x,
                                    w.width, x.height, x.width));
}

// One axis of the samples of one row of the output: index left of (above) the sample, weight of the one right of
// (below) it, and whether the sample lies on the canvas.
struct AxisSamples {
  std::vector<int> low, high;
  std::vector<double> weight;
  std::vector<uint8_t> inside;
  explicit AxisSamples(size_t n) : low(n), high(n), weight(n), inside(n) {}

  // Positions (a[i] + b) + shift; neighbours beyond the canvas are clamped to it.
  void set(const std::vector<double>& a, double b, double shift, int canvas) {
    for (size_t i = 0; i < a.size(); ++i) {
      const double position = (a[i] + b) + shift;
      inside[i] = position >= 0.0 && position < canvas;
      const double corner = position - 0.5, whole = std::floor(corner);
      const int index = static_cast<int>(std::clamp(whole, -1.0, static_cast<double>(canvas)));
      weight[i] = corner - whole;
      low[i] = std::clamp(index, 0, canvas - 1);
      high[i] = std::clamp(index + 1, 0, canvas - 1);
    }
  }
};

}  // namespace

Image rotate_image(const Image& image, double angle_degrees) {
  return rotate_image(image, angle_degrees, {0, 0, image.height, image.width});
}

Image rotate_image(const Image& image, double angle_degrees, const Window& window) {
  check("rotate_image", image, angle_degrees, window);
  if (is_whole_turn(angle_degrees)) return crop(image, window.height, window.width, window.y, window.x, {});
  const int canvas_height = 3 * image.height, canvas_width = 3 * image.width;
  const Matrix m = rotation(angle_degrees, canvas_height, canvas_width);
  const auto channels = static_cast<size_t>(image.channels), width = static_cast<size_t>(window.width);
  const std::vector<int> rows = reflect_indices(image.height, image.height, image.height);
  std::vector<int> columns = reflect_indices(image.width, image.width, image.width);
  for (int& column : columns) column *= image.channels;

  std::vector<double> cx(width), sx(width);  // the terms of the matrix in X
  for (size_t i = 0; i < width; ++i) {
    const double x = image.width + window.x + static_cast<int>(i) + 0.5;
    cx[i] = m.c * x;
    sx[i] = -m.s * x;
  }
  AxisSamples across(width), down(width);
  Image out(window.height, window.width, image.channels);
  for (int j = 0; j < window.height; ++j) {
    const double y = image.height + window.y + j + 0.5;
    across.set(cx, m.s * y, m.e, canvas_width);
    down.set(sx, m.c * y, m.f, canvas_height);
    uint8_t* pixel = out.row(j);
    for (size_t i = 0; i < width; ++i, pixel += channels) {
      if (!across.inside[i] || !down.inside[i]) continue;  // stays 0
      const uint8_t* above = image.row(rows[static_cast<size_t>(down.low[i])]);
      const uint8_t* below = image.row(rows[static_cast<size_t>(down.high[i])]);
      const auto left = static_cast<size_t>(columns[static_cast<size_t>(across.low[i])]);
      const auto right = static_cast<size_t>(columns[static_cast<size_t>(across.high[i])]);
      const double u = across.weight[i], v = down.weight[i];
      for (size_t c = 0; c < channels; ++c) {
        const double a = above[left + c] + (above[right + c] - above[left + c]) * u;
        const double b = below[left + c] + (below[right + c] - below[left + c]) * u;
        pixel[c] = static_cast<uint8_t>(a + (b - a) * v);
      }
    }
  }
  return out;
}

Image rotate_label(const Image& label, double angle_degrees, uint8_t fill) {
  return rotate_label(label, angle_degrees, fill, {0, 0, label.height, label.width});
}

Image rotate_label(const Image& label, double angle_degrees, uint8_t fill, const Window& window) {
  check("rotate_label", label, angle_degrees, window);
  if (label.channels != 1)
    throw ArgumentError(fmt::format("rotate_label: a label map has 1 channel, got {}", label.channels));
  if (is_whole_turn(angle_degrees)) return crop(label, window.height, window.width, window.y, window.x, {});
  const int height = label.height, width = label.width;
  const Matrix m = rotation(angle_degrees, 3 * height, 3 * width);
  auto fixed = [](double v) { return static_cast<int64_t>(std::floor(65536.0 * v + 0.5)); };
  const int64_t c = fixed(m.c), s = fixed(m.s), minus_s = fixed(-m.s);
  const int64_t x0 = fixed(m.c / 2 + m.s / 2 + m.e), y0 = fixed(-m.s / 2 + m.c / 2 + m.f);

  Image out(window.height, window.width, 1);
  for (int j = 0; j < window.height; ++j) {
    const int64_t canvas_y = height + window.y + j, canvas_x = width + window.x;
    int64_t x = x0 + canvas_x * c + canvas_y * s;
    int64_t y = y0 + canvas_x * minus_s + canvas_y * c;
    uint8_t* row = out.row(j);
    for (int i = 0; i < window.width; ++i, x += c, y += minus_s) {
      const int64_t column = (x >> 16) - width, line = (y >> 16) - height;
      if (line >= 0 && line < height && column >= 0 && column < width) {
        row[i] = label.row(static_cast<int>(line))[column];
      } else {
        const bool on_canvas = line >= -height && line < 2 * height && column >= -width && column < 2 * width;
        row[i] = on_canvas ? fill : 0;
      }
    }
  }
  return out;
}

}  // namespace segrt::data
