#include "data/heat_map.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace segrt::data {

Rgb heat_colour(double t) {
  constexpr double kAnchors[][3] = {{0, 0, 128}, {0, 96, 255}, {32, 208, 128}, {255, 224, 32}, {208, 0, 0}};
  constexpr int kLast = static_cast<int>(std::size(kAnchors)) - 1;
  const double position = std::isnan(t) ? 0 : std::clamp(t, 0.0, 1.0) * kLast;
  const int from = std::min(static_cast<int>(position), kLast - 1);
  Rgb colour{};
  for (size_t c = 0; c < 3; ++c)
    colour[c] = static_cast<uint8_t>(
        std::lround(kAnchors[from][c] + (position - from) * (kAnchors[from + 1][c] - kAnchors[from][c])));
  return colour;
}

Image heat_overlay(const Image& photo, std::span<const float> values, double alpha) {
  if (photo.channels != 3 || values.size() * 3 != photo.pixels.size() || values.empty())
    throw ArgumentError(
        fmt::format("heat_overlay: photo [{},{},{}] and {} values: expected an RGB photo and a value a pixel",
                    photo.height, photo.width, photo.channels, values.size()));
  if (!(alpha >= 0 && alpha <= 1))
    throw ArgumentError(fmt::format("heat_overlay: alpha expects [0, 1], got {}", alpha));
  const auto [least, largest] = std::minmax_element(values.begin(), values.end());
  const double low = *least, range = static_cast<double>(*largest) - low;
  Image picture = photo;
  for (size_t i = 0; i < values.size(); ++i) {
    const Rgb colour = heat_colour(range > 0 ? (values[i] - low) / range : 0);
    for (size_t c = 0; c < 3; ++c) {
      uint8_t& pixel = picture.pixels[3 * i + c];
      pixel = static_cast<uint8_t>(std::lround((1 - alpha) * pixel + alpha * colour[c]));
    }
  }
  return picture;
}

}  // namespace segrt::data
