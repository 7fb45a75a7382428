#include "data/synthetic_sensor.h"

#include <algorithm>

#include "core/random.h"

namespace segrt::data::streets {
namespace {

uint8_t to_byte(float v) { return static_cast<uint8_t>(clamp01(v) * 255 + 0.5f); }

// The hood bulges into the picture from below and reflects what is before it.
void paint_hood(const Sensor& sensor, Painter& painter) {
  const int width = painter.width(), height = painter.height();
  const float rise = sensor.hood * static_cast<float>(height);
  for (int y = std::max(0, height - static_cast<int>(rise) - 1); y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      const float across = 2 * (static_cast<float>(x) + 0.5f) / static_cast<float>(width) - 1;
      const float edge = static_cast<float>(height) - rise * (1 - 0.75f * across * across);
      const float inside = static_cast<float>(y) + 0.5f - edge;
      if (inside <= 0) continue;
      const float shine =
          0.8f + 0.5f * clamp01(1 - inside / (0.4f * rise)) + 0.2f * painter.noise().smooth(across * 3, 1.5f);
      painter.row(y)[x] = sensor.hood_colour * shine;
      painter.labels(y)[x] = kVoid;
    }
  }
}

}  // namespace

void expose(const Sensor& sensor, Painter& painter, const NoiseStream& noise, Image& image, Image& label) {
  if (sensor.hood > 0) paint_hood(sensor, painter);
  const int width = painter.width(), height = painter.height();
  const float side = sensor.blur / 4, centre = 1 - sensor.blur;
  for (int y = 0; y < height; ++y) {
    const Colour *row = painter.row(y), *above = painter.row(std::max(0, y - 1)),
                 *below = painter.row(std::min(height - 1, y + 1));
    uint8_t* out = image.row(y);
    const float down = 2 * (static_cast<float>(y) + 0.5f) / static_cast<float>(height) - 1;
    Philox4 words{};
    for (int x = 0; x < width; ++x) {
      if ((x & 3) == 0)
        words = philox(noise.seed, noise.stream, static_cast<uint64_t>(y) * 16384 + static_cast<uint64_t>(x / 4));
      const uint32_t word = words.v[x & 3];
      const Colour &left = row[std::max(0, x - 1)], &right = row[std::min(width - 1, x + 1)];
      Colour c = row[x] * centre + (left + right + above[x] + below[x]) * side;
      const float across = 2 * (static_cast<float>(x) + 0.5f) / static_cast<float>(width) - 1;
      c = c * sensor.gain * (1 - sensor.vignette * 0.5f * (across * across + down * down));
      // Triangular luminance noise, and half as much of colour noise.
      const auto byte = [&](int k) { return static_cast<float>((word >> (8 * k)) & 255) * (2.0f / 255) - 1; };
      const float grain = sensor.noise * (byte(0) + byte(1)), red = sensor.noise * byte(2),
                  blue = sensor.noise * byte(3);
      const float lift = 0.5f - 0.5f * sensor.contrast + grain;
      out[3 * x] = to_byte(c.r * sensor.contrast + lift + red);
      out[3 * x + 1] = to_byte(c.g * sensor.contrast + lift);
      out[3 * x + 2] = to_byte(c.b * sensor.contrast + lift + blue);
    }
    std::copy_n(painter.labels(y), width, label.row(y));
    if (y < sensor.border || y >= height - sensor.border) {
      std::fill_n(label.row(y), width, uint8_t{kVoid});
    } else {
      std::fill_n(label.row(y), sensor.border, uint8_t{kVoid});
      std::fill_n(label.row(y) + width - sensor.border, sensor.border, uint8_t{kVoid});
    }
  }
}

}  // namespace segrt::data::streets
