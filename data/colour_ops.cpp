#include "data/colour_ops.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace segrt::data {
namespace {
using Table = std::array<uint8_t, 256>;
using Histogram = std::array<int64_t, 256>;

uint8_t clamped(int v) { return static_cast<uint8_t>(std::clamp(v, 0, 255)); }

Histogram histogram_of(const Image& image, size_t channel) {
  Histogram h{};
  for (size_t i = channel; i < image.pixels.size(); i += static_cast<size_t>(image.channels)) ++h[image.pixels[i]];
  return h;
}

void look_up(Image& image, size_t channel, const Table& table) {
  for (size_t i = channel; i < image.pixels.size(); i += static_cast<size_t>(image.channels))
    image.pixels[i] = table[image.pixels[i]];
}

// f of each value in every channel.
template <typename F>
void map_values(Image& image, const F& f) {
  Table table;
  for (int v = 0; v < 256; ++v) table[static_cast<size_t>(v)] = clamped(f(v));
  for (uint8_t& v : image.pixels) v = table[v];
}

// Least and largest value that occur; of an image without pixels (255, 0).
std::pair<int, int> range_of(const Histogram& h) {
  int lo = 0, hi = 255;
  while (lo < 255 && h[static_cast<size_t>(lo)] == 0) ++lo;
  while (hi > 0 && h[static_cast<size_t>(hi)] == 0) --hi;
  return {lo, hi};
}

uint8_t luma(const uint8_t* rgb) {
  return static_cast<uint8_t>((19595u * rgb[0] + 38470u * rgb[1] + 7471u * rgb[2] + 32768u) >> 16);
}

uint8_t blended(int base, int value, float factor) {
  const float v = static_cast<float>(base) + factor * static_cast<float>(value - base);
  return v <= 0.0f ? 0 : v >= 255.0f ? 255 : static_cast<uint8_t>(v);
}

// The image away from, or towards, base(pixel index, channel).
template <typename F>
void blend(Image& image, double factor, const F& base) {
  const auto f = static_cast<float>(factor);
  for (size_t i = 0; i < image.pixels.size(); ++i) image.pixels[i] = blended(base(i), image.pixels[i], f);
}

// A 3x3 mean with weight 5 in the middle. float32, from the row below to the one above: the sums are Pillow's.
Image smoothed(const Image& image) {
  constexpr float kSide = 1.0f / 13.0f, kMiddle = 5.0f / 13.0f;
  Image out = image;
  const auto channels = static_cast<size_t>(image.channels);
  for (int y = 1; y + 1 < image.height; ++y) {
    const uint8_t *above = image.row(y - 1), *here = image.row(y), *below = image.row(y + 1);
    uint8_t* to = out.row(y);
    const auto row_of_three = [channels](const uint8_t* v, size_t i, float middle) {
      return static_cast<float>(v[i - channels]) * kSide + static_cast<float>(v[i]) * middle +
             static_cast<float>(v[i + channels]) * kSide;
    };
    for (size_t i = channels; i + channels < image.row_bytes(); ++i) {
      float sum = 0.5f;
      sum += row_of_three(below, i, kSide);
      sum += row_of_three(here, i, kMiddle);
      sum += row_of_three(above, i, kSide);
      to[i] = sum >= 255.0f ? 255 : static_cast<uint8_t>(sum);
    }
  }
  return out;
}
}  // namespace

void autocontrast(Image& image) {
  for (size_t c = 0; c < static_cast<size_t>(image.channels); ++c) {
    const auto [lo, hi] = range_of(histogram_of(image, c));
    if (hi <= lo) continue;
    const double scale = 255.0 / (hi - lo), offset = -lo * scale;
    Table table;
    for (int v = 0; v < 256; ++v) table[static_cast<size_t>(v)] = clamped(static_cast<int>(v * scale + offset));
    look_up(image, c, table);
  }
}

void equalize(Image& image) {
  for (size_t c = 0; c < static_cast<size_t>(image.channels); ++c) {
    const Histogram h = histogram_of(image, c);
    const auto [lo, hi] = range_of(h);
    const auto total = static_cast<int64_t>(image.height) * image.width;
    const int64_t step = hi <= lo ? 0 : (total - h[static_cast<size_t>(hi)]) / 255;
    if (step == 0) continue;
    Table table;
    int64_t below = step / 2;
    for (size_t v = 0; v < 256; ++v) {
      table[v] = static_cast<uint8_t>(std::min<int64_t>(below / step, 255));
      below += h[v];
    }
    look_up(image, c, table);
  }
}

void invert(Image& image) {
  map_values(image, [](int v) { return 255 - v; });
}

void posterize(Image& image, int bits) {
  const int mask = 0xFF & ~((1 << (8 - bits)) - 1);
  map_values(image, [mask](int v) { return v & mask; });
}

void solarize(Image& image, int threshold) {
  map_values(image, [threshold](int v) { return v < threshold ? v : 255 - v; });
}

void solarize_add(Image& image, int summand, int threshold) {
  map_values(image, [=](int v) { return v < threshold ? v + summand : v; });
}

void adjust_brightness(Image& image, double factor) {
  blend(image, factor, [](size_t) { return 0; });
}

void adjust_contrast(Image& image, double factor) {
  int64_t sum = 0;
  for (size_t i = 0; i + 2 < image.pixels.size(); i += 3) sum += luma(&image.pixels[i]);
  const double pixels = static_cast<double>(image.height) * image.width;
  const int mean = static_cast<int>(static_cast<double>(sum) / pixels + 0.5);
  blend(image, factor, [mean](size_t) { return mean; });
}

void adjust_colour(Image& image, double factor) {
  const auto f = static_cast<float>(factor);
  for (size_t i = 0; i + 2 < image.pixels.size(); i += 3) {
    const int grey = luma(&image.pixels[i]);
    for (size_t c = 0; c < 3; ++c) image.pixels[i + c] = blended(grey, image.pixels[i + c], f);
  }
}

void adjust_sharpness(Image& image, double factor) {
  const Image smooth = smoothed(image);
  blend(image, factor, [&](size_t i) { return static_cast<int>(smooth.pixels[i]); });
}

}  // namespace segrt::data
