#include "data/affine.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numbers>
#include <string>

namespace segrt::data {
namespace {

// Pillow keeps a rotation's matrix so.
double round15(double v) {
  const std::string text = fmt::format("{:.15f}", v);
  double rounded = 0;
  std::from_chars(text.data(), text.data() + text.size(), rounded);
  return rounded;
}

// Through v[1] at d = 0 and v[2] at d = 1.
double cubic(double v0, double v1, double v2, double v3, double d) {
  const double p2 = -v0 + v2, p3 = 2 * (v0 - v1) + v2 - v3, p4 = -v0 + v1 - v2 + v3;
  return v1 + d * (p2 + d * (p3 + d * p4));
}

}  // namespace

Affine rotation_about_centre(double angle_degrees, int height, int width) {
  double turn = std::fmod(angle_degrees, 360.0);
  if (turn < 0) turn += 360.0;
  const double t = -(turn * (std::numbers::pi / 180.0));
  const double c = round15(std::cos(t)), s = round15(std::sin(t)), minus_s = round15(-std::sin(t));
  const double centre_x = width / 2.0, centre_y = height / 2.0;
  return {.a = c,
          .b = s,
          .c = (c * -centre_x + s * -centre_y + 0.0) + centre_x,
          .d = minus_s,
          .e = c,
          .f = (minus_s * -centre_x + c * -centre_y + 0.0) + centre_y};
}

Image affine_bicubic(const Image& image, const Affine& map, const Rgb& fill) {
  Image out(image.height, image.width, image.channels);
  const int channels = image.channels;
  for (int y = 0; y < out.height; ++y) {
    uint8_t* pixel = out.row(y);
    for (int x = 0; x < out.width; ++x, pixel += channels) {
      const double centre_x = x + 0.5, centre_y = y + 0.5;
      const double at_x = map.a * centre_x + map.b * centre_y + map.c;
      const double at_y = map.d * centre_x + map.e * centre_y + map.f;
      if (!(at_x >= 0 && at_x < image.width && at_y >= 0 && at_y < image.height)) {
        std::copy_n(fill.begin(), channels, pixel);
        continue;
      }
      const double left = std::floor(at_x - 0.5), top = std::floor(at_y - 0.5);
      const double dx = (at_x - 0.5) - left, dy = (at_y - 0.5) - top;
      std::array<int, 4> columns{};
      for (int i = 0; i < 4; ++i)
        columns[static_cast<size_t>(i)] = std::clamp(static_cast<int>(left) - 1 + i, 0, image.width - 1) * channels;
      for (int c = 0; c < channels; ++c) {
        std::array<double, 4> v{};
        for (int j = 0; j < 4; ++j) {
          const uint8_t* row = image.row(std::clamp(static_cast<int>(top) - 1 + j, 0, image.height - 1)) + c;
          v[static_cast<size_t>(j)] = cubic(row[columns[0]], row[columns[1]], row[columns[2]], row[columns[3]], dx);
        }
        const double value = cubic(v[0], v[1], v[2], v[3], dy);
        pixel[c] = value <= 0 ? 0 : value >= 255 ? 255 : static_cast<uint8_t>(value);
      }
    }
  }
  return out;
}

}  // namespace segrt::data
