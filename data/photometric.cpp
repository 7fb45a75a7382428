#include "data/photometric.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace segrt::data {
namespace {

// Steps work on so many pixels at a time, channel by channel: planes that stay in the first cache, and plain loops that
// become vectors.
constexpr size_t kBlock = 512;
struct Pixels {
  alignas(64) int32_t channel[3][kBlock];  // r, g, b or h, s, v
  size_t count = 0;
};

void read(const uint8_t* row, Pixels& p) {
  for (size_t i = 0; i < p.count; ++i) {
    p.channel[0][i] = row[3 * i];
    p.channel[1][i] = row[3 * i + 1];
    p.channel[2][i] = row[3 * i + 2];
  }
}

void write(const Pixels& p, uint8_t* row) {
  for (size_t i = 0; i < p.count; ++i) {
    row[3 * i] = static_cast<uint8_t>(p.channel[0][i]);
    row[3 * i + 1] = static_cast<uint8_t>(p.channel[1][i]);
    row[3 * i + 2] = static_cast<uint8_t>(p.channel[2][i]);
  }
}

void scale_and_add(int32_t* x, size_t count, float factor, float summand) {
  for (size_t i = 0; i < count; ++i) {
    const float y = static_cast<float>(x[i]) * factor + summand;
    x[i] = static_cast<int32_t>(std::min(std::max(y, 0.0f), 255.0f));
  }
}

void scale_and_add(Pixels& p, float factor, float summand) {
  for (int32_t* channel : p.channel) scale_and_add(channel, p.count, factor, summand);
}

// round(numerator / n), 0 for n = 0. For 255 * 4096 and 180 * 4096 / 6 with n in 1..255 no quotient is a tie, and the
// float32 one is near enough to round as the true one does. (A division of vectors costs less than a table look-up.)
inline int32_t rounded_quotient(float numerator, int32_t n) {
  const float quotient = numerator / static_cast<float>(std::max(n, 1));
  return n == 0 ? 0 : static_cast<int32_t>(quotient + 0.5f);
}

void to_hsv(Pixels& p) {
  for (size_t i = 0; i < p.count; ++i) {
    const int32_t r = p.channel[0][i], g = p.channel[1][i], b = p.channel[2][i];
    const int32_t v = std::max(std::max(r, g), b), d = v - std::min(std::min(r, g), b);
    const int32_t green_or_blue = v == g ? b - r + 2 * d : r - g + 4 * d;
    const int32_t sector = v == r ? g - b : green_or_blue;
    const int32_t h = (sector * rounded_quotient(180 * 4096 / 6, d) + 2048) >> 12;
    p.channel[0][i] = h < 0 ? h + 180 : h;
    p.channel[1][i] = (d * rounded_quotient(255 * 4096, v) + 2048) >> 12;
    p.channel[2][i] = v;
  }
}

void to_rgb(Pixels& p) {
  for (size_t i = 0; i < p.count; ++i) {
    const float h = static_cast<float>(p.channel[0][i]) * (6.0f / 180.0f);
    const float s = static_cast<float>(p.channel[1][i]) * (1.0f / 255.0f);
    const float v = static_cast<float>(p.channel[2][i]) * (1.0f / 255.0f);
    const auto k = static_cast<int32_t>(h);
    const float f = h - static_cast<float>(k);
    const auto to_byte = [](float x) { return static_cast<int32_t>(255.0f * x); };
    const int32_t low = to_byte(v * (1.0f - s));
    // Sectors of even number rise, those of odd number fall.
    const float distance = (k & 1) != 0 ? f : 1.0f - f;
    const int32_t middle = to_byte(v * std::fma(-s, distance, 1.0f)), high = to_byte(v);
    p.channel[0][i] = k == 0 || k == 5 ? high : k == 1 || k == 4 ? middle : low;
    p.channel[1][i] = k == 1 || k == 2 ? high : k == 0 || k == 3 ? middle : low;
    p.channel[2][i] = k == 3 || k == 4 ? high : k == 2 || k == 5 ? middle : low;
  }
}

void rotate_hue(int32_t* h, size_t count, int degrees) {
  for (size_t i = 0; i < count; ++i) {
    const int32_t sum = h[i] + degrees;
    h[i] = sum < 0 ? sum + 180 : sum >= 180 ? sum - 180 : sum;
  }
}

void distort(Pixels& p, const PhotometricDraws& draws) {
  const auto contrast = [&] {
    if (draws.contrast) scale_and_add(p, static_cast<float>(*draws.contrast), 0);
  };
  if (draws.brightness) scale_and_add(p, 1, static_cast<float>(*draws.brightness));
  if (draws.contrast_first) contrast();
  if (draws.saturation) {
    to_hsv(p);
    scale_and_add(p.channel[1], p.count, static_cast<float>(*draws.saturation), 0);
    to_rgb(p);
  }
  if (draws.hue) {
    to_hsv(p);
    rotate_hue(p.channel[0], p.count, *draws.hue);
    to_rgb(p);
  }
  if (!draws.contrast_first) contrast();
}

}  // namespace

PhotometricDraws draw_photometric(Rng& rng) {
  PhotometricDraws draws;
  const auto coin = [&] { return rng.uniform() < 0.5; };
  const auto contrast = [&] {
    if (coin()) draws.contrast = rng.uniform(0.5, 1.5);
  };
  if (coin()) draws.brightness = rng.uniform(-32, 32);
  draws.contrast_first = coin();
  if (draws.contrast_first) contrast();
  if (coin()) draws.saturation = rng.uniform(0.5, 1.5);
  if (coin()) draws.hue = static_cast<int>(rng.integer(-18, 17));
  if (!draws.contrast_first) contrast();
  return draws;
}

void distort(Image& image, ImageSize part, const PhotometricDraws& draws) {
  if (image.channels != 3 || part.height < 0 || part.height > image.height || part.width < 0 ||
      part.width > image.width)
    throw ArgumentError(fmt::format("distort: expected an RGB image of at least {}x{}, got [{},{},{}]", part.height,
                                    part.width, image.height, image.width, image.channels));
  if (draws.hue && std::abs(*draws.hue) > 180)
    throw ArgumentError(fmt::format("distort: hue: expected -180..180, got {}", *draws.hue));
  if (!draws.any()) return;
  Pixels pixels;
  for (int y = 0; y < part.height; ++y) {
    const auto width = static_cast<size_t>(part.width);
    for (size_t x = 0; x < width; x += kBlock) {
      uint8_t* begin = image.row(y) + 3 * x;
      pixels.count = std::min(kBlock, width - x);
      read(begin, pixels);
      distort(pixels, draws);
      write(pixels, begin);
    }
  }
}

}  // namespace segrt::data
