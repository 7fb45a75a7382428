#include "data/photometric.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "core/error.h"
#include "tests/support/tensors.h"

using namespace segrt;
using namespace segrt::data;

namespace {

using Colour = std::array<int, 3>;

int linear(int x, double factor, double summand) {
  const float y = static_cast<float>(x) * static_cast<float>(factor) + static_cast<float>(summand);
  return static_cast<int>(std::clamp(y, 0.0f, 255.0f));
}

// round(n / d), halves up, in integers.
int64_t rounded(int64_t n, int64_t d) { return d == 0 ? 0 : (2 * n + d) / (2 * d); }

Colour hsv_of(Colour rgb) {
  const auto [r, g, b] = rgb;
  const int v = std::max({r, g, b}), d = v - std::min({r, g, b});
  const int h = v == r ? g - b : v == g ? b - r + 2 * d : r - g + 4 * d;
  const auto s = static_cast<int>((d * rounded(255 * 4096, v) + 2048) >> 12);
  auto degrees = static_cast<int>((h * rounded(180 * 4096, 6 * d) + 2048) >> 12);
  if (degrees < 0) degrees += 180;
  return {degrees, s, v};
}

// Differences that OpenCV fuses are taken exactly and rounded once.
float one_minus(float a, float b) { return static_cast<float>(1.0L - static_cast<long double>(a) * b); }

Colour rgb_of(Colour hsv) {
  const float s = static_cast<float>(hsv[1]) * (1 / 255.0f), v = static_cast<float>(hsv[2]) * (1 / 255.0f);
  const float h = static_cast<float>(hsv[0]) * (6 / 180.0f);
  const auto k = static_cast<int>(h);
  const float f = h - static_cast<float>(k);
  const float p = v * (1 - s), q = v * one_minus(s, f), t = v * one_minus(s, 1 - f);
  const std::array<std::array<float, 3>, 6> sectors{{{v, t, p}, {q, v, p}, {p, v, t}, {p, q, v}, {t, p, v}, {v, p, q}}};
  Colour rgb;
  for (size_t c = 0; c < 3; ++c) rgb[c] = static_cast<int>(255 * sectors[static_cast<size_t>(k)][c]);
  return rgb;
}

Colour by_rule(Colour x, const PhotometricDraws& draws) {
  const auto contrast = [&] {
    if (draws.contrast)
      for (int& v : x) v = linear(v, *draws.contrast, 0);
  };
  if (draws.brightness)
    for (int& v : x) v = linear(v, 1, *draws.brightness);
  if (draws.contrast_first) contrast();
  if (draws.saturation) {
    Colour hsv = hsv_of(x);
    hsv[1] = linear(hsv[1], *draws.saturation, 0);
    x = rgb_of(hsv);
  }
  if (draws.hue) {
    Colour hsv = hsv_of(x);
    hsv[0] = (hsv[0] + *draws.hue + 180) % 180;
    x = rgb_of(hsv);
  }
  if (!draws.contrast_first) contrast();
  return x;
}

// Colours side by side in rows of 521, which is no multiple of a block.
Image picture_of(const std::vector<Colour>& colours) {
  constexpr int kWidth = 521;
  Image image(static_cast<int>((colours.size() + kWidth - 1) / kWidth), kWidth, 3);
  for (size_t i = 0; i < colours.size(); ++i)
    for (size_t c = 0; c < 3; ++c) image.pixels[3 * i + c] = static_cast<uint8_t>(colours[i][c]);
  return image;
}

void check(const std::vector<Colour>& colours, const PhotometricDraws& draws) {
  Image image = picture_of(colours);
  distort(image, {image.height, image.width}, draws);
  int64_t wrong = 0;
  for (size_t i = 0; i < colours.size(); ++i) {
    const Colour expected = by_rule(colours[i], draws);
    for (size_t c = 0; c < 3; ++c) wrong += image.pixels[3 * i + c] != expected[c];
  }
  CHECK(wrong == 0);
}

std::vector<Colour> colours(int step) {
  std::vector<Colour> all;
  for (int r = 0; r < 256; r += step)
    for (int g = 0; g < 256; g += step)
      for (int b = 0; b < 256; b += step) all.push_back({r, g, b});
  return all;
}

}  // namespace

TEST_CASE("every step follows its rule over the cube of colours") {
  // 255 = 3 * 5 * 17: both ends of each axis are in.
  check(colours(3), {.saturation = 1});
  check(colours(3), {.hue = 0});
  const std::vector<Colour> some = colours(5);
  for (const double v : {-32.0, -29.75, 0.3, 17.3, 31.9}) check(some, {.brightness = v});
  for (const double v : {0.5, 0.62, 1.0, 1.41, 1.4999}) {
    check(some, {.contrast = v});
    check(some, {.saturation = v});
  }
  for (const int v : {-18, -1, 1, 17}) check(some, {.hue = v});
}

TEST_CASE("steps follow each other in their order") {
  const std::vector<Colour> some = colours(15);
  for (const bool first : {false, true}) {
    check(some, {.brightness = 12.5, .contrast = 1.25, .contrast_first = first, .saturation = 0.8, .hue = -7});
    check(some, {.brightness = -20, .contrast = 1.45, .contrast_first = first});
    check(some, {.contrast = 0.55, .contrast_first = first, .hue = 11});
  }
  check(some, {});
}

TEST_CASE("only the given rows and columns change, and what cannot be is refused") {
  Image image(5, 7, 3);
  std::fill(image.pixels.begin(), image.pixels.end(), uint8_t{100});
  distort(image, {2, 3}, {.brightness = 5});
  for (int y = 0; y < 5; ++y)
    for (int x = 0; x < 7; ++x) CHECK(image.row(y)[3 * x] == (y < 2 && x < 3 ? 105 : 100));
  CHECK_THROWS_AS(distort(image, {6, 7}, {.hue = 1}), ArgumentError);
  CHECK_THROWS_AS(distort(image, {5, 7}, {.hue = 181}), ArgumentError);
  Image grey(5, 7, 1);
  CHECK_THROWS_AS(distort(grey, {5, 7}, {.hue = 1}), ArgumentError);
}

TEST_CASE("draws: each step half of the time, over its whole range, a pure function of seed and stream") {
  constexpr int kDraws = 4000;
  int brightness = 0, contrast = 0, first = 0, saturation = 0, hue = 0;
  std::array<int, 36> hues{};
  std::array<double, 2> range{2, 0};
  for (int i = 0; i < kDraws; ++i) {
    Rng rng(7, static_cast<uint64_t>(i)), again(7, static_cast<uint64_t>(i));
    const PhotometricDraws d = draw_photometric(rng);
    CHECK(d == draw_photometric(again));
    brightness += d.brightness.has_value();
    contrast += d.contrast.has_value();
    first += d.contrast_first;
    saturation += d.saturation.has_value();
    hue += d.hue.has_value();
    if (d.brightness) REQUIRE((*d.brightness >= -32 && *d.brightness < 32));
    if (d.saturation) REQUIRE((*d.saturation >= 0.5 && *d.saturation < 1.5));
    if (d.contrast) range = {std::min(range[0], *d.contrast), std::max(range[1], *d.contrast)};
    if (d.hue) ++hues.at(static_cast<size_t>(*d.hue + 18));
  }
  for (const int n : {brightness, contrast, first, saturation, hue}) CHECK(std::abs(n - kDraws / 2) < 130);  // 4 sigma
  CHECK(*std::min_element(hues.begin(), hues.end()) > 20);
  CHECK(range[0] >= 0.5);
  CHECK(range[0] < 0.51);
  CHECK(range[1] < 1.5);
  CHECK(range[1] > 1.49);
}
