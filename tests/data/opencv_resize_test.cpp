#include "data/opencv_resize.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/random.h"
#include "data/geometry.h"
#include "tests/data/test_files.h"
#include "tests/support/tensors.h"

using namespace segrt;
using namespace segrt::data;
using segrt::test::contains;
using segrt::test::error_of;

namespace {

Image noise(int height, int width, int channels) {
  Image image(height, width, channels);
  Rng rng(5, static_cast<uint64_t>(height * 100 + width));
  for (uint8_t& v : image.pixels) v = static_cast<uint8_t>(rng.next_u32() >> 24);
  return image;
}

// One value by the rule as it is written in the header, a pixel at a time.
struct Tap {
  int index, weight0, weight1;
};
Tap tap(int from, int to, int d) {
  const auto x = static_cast<float>((d + 0.5) * (static_cast<double>(from) / to) - 0.5);
  const float t = x - std::floor(x);
  return {static_cast<int>(std::floor(x)), static_cast<int>(std::nearbyint(2048 * (1 - t))),
          static_cast<int>(std::nearbyint(2048 * t))};
}
int by_rule(const Image& image, ImageSize size, int y, int x, int c) {
  Tap column = tap(image.width, size.width, x);
  if (column.index < 0 || column.index >= image.width - 1)
    column = {std::clamp(column.index, 0, image.width - 1), 2048, 0};
  const Tap row = tap(image.height, size.height, y);
  const auto filtered = [&](int r) {
    const uint8_t* p = image.row(std::clamp(r, 0, image.height - 1)) + c;
    const int right = std::min(column.index + 1, image.width - 1);
    return column.weight0 * p[column.index * image.channels] + column.weight1 * p[right * image.channels];
  };
  return ((((filtered(row.index) >> 4) * row.weight0) >> 16) + (((filtered(row.index + 1) >> 4) * row.weight1) >> 16) +
          2) >>
         2;
}

// Half-pixel bilinear in float64.
double in_float64(const Image& image, ImageSize size, int y, int x, int c) {
  const auto position = [](int d, int from, int to) {
    return std::clamp((d + 0.5) * from / to - 0.5, 0.0, from - 1.0);
  };
  const double v = position(y, image.height, size.height), u = position(x, image.width, size.width);
  const int i = static_cast<int>(v), j = static_cast<int>(u);
  const auto at = [&](int r, int s) {
    return image.row(std::min(r, image.height - 1))[std::min(s, image.width - 1) * image.channels + c];
  };
  return (1 - v + i) * ((1 - u + j) * at(i, j) + (u - j) * at(i, j + 1)) +
         (v - i) * ((1 - u + j) * at(i + 1, j) + (u - j) * at(i + 1, j + 1));
}

}  // namespace

TEST_CASE("bilinear resizing follows OpenCV's fixed-point rule in every bit, and float64 within a level") {
  for (const auto& [height, width] : {std::pair{1, 1}, {1, 9}, {7, 1}, {2, 2}, {13, 17}, {40, 33}})
    for (const ImageSize size :
         {ImageSize{1, 1}, ImageSize{7, 5}, ImageSize{13, 17}, ImageSize{26, 34}, ImageSize{20, 66}, ImageSize{3, 90}})
      for (const int channels : {1, 3}) {
        CAPTURE(height);
        CAPTURE(width);
        CAPTURE(size.height);
        CAPTURE(size.width);
        const Image image = noise(height, width, channels), y = opencv_resize(image, size);
        REQUIRE(y.height == size.height);
        REQUIRE(y.width == size.width);
        for (int i = 0; i < size.height; ++i)
          for (int j = 0; j < size.width; ++j)
            for (int c = 0; c < channels; ++c) {
              REQUIRE(static_cast<int>(y.row(i)[j * channels + c]) == by_rule(image, size, i, j, c));
              REQUIRE(std::abs(y.row(i)[j * channels + c] - in_float64(image, size, i, j, c)) < 1.0);
            }
      }
  const Image image = noise(13, 17, 3);
  CHECK(opencv_resize(image, {13, 17}) == image);
}

TEST_CASE("a part, mirrored or not, is that part of the whole, and the rest of the target is left alone") {
  for (const int channels : {1, 3}) {
    const Image image = noise(31, 47, channels);
    for (const ImageSize size : {ImageSize{31, 47}, ImageSize{12, 20}, ImageSize{70, 99}}) {
      const Image whole = opencv_resize(image, size);
      for (const Window window : {Window{0, 0, 12, 20}, Window{3, 5, 7, 11}, Window{11, 19, 1, 1}}) {
        const Image part = crop(whole, window.height, window.width, window.y, window.x, {});
        for (const bool mirrored : {false, true}) {
          Image out(14, 23, channels);
          std::fill(out.pixels.begin(), out.pixels.end(), uint8_t{99});
          opencv_resize(image, size, window, mirrored, out);
          CHECK(crop(out, window.height, window.width, 0, 0, {}) == (mirrored ? flip_horizontal(part) : part));
          CHECK(std::count(out.pixels.begin(), out.pixels.end(), uint8_t{99}) >=
                (14 * 23 - window.height * window.width) * channels);
        }
      }
    }
  }
}

TEST_CASE("nearest resizing takes the source that OpenCV's quotient gives") {
  CHECK(opencv_nearest_indices(4, 8) == std::vector<int>{0, 0, 1, 1, 2, 2, 3, 3});
  CHECK(opencv_nearest_indices(8, 4) == std::vector<int>{0, 2, 4, 6});
  CHECK(opencv_nearest_indices(1, 3) == std::vector<int>{0, 0, 0});
  CHECK(opencv_nearest_indices(36, 20)[15] == 26);  // 15 * 36 / 20 is 27
  int others = 0;
  for (int from = 1; from <= 60; ++from)
    for (int to = 1; to <= 60; ++to) {
      const std::vector<int> axis = opencv_nearest_indices(from, to);
      bool other = false;
      for (int d = 0; d < to; ++d) {
        const int exact = d * from / to;
        REQUIRE((axis[static_cast<size_t>(d)] == exact || axis[static_cast<size_t>(d)] == exact - 1));
        other |= axis[static_cast<size_t>(d)] != exact;
      }
      others += other;
    }
  CHECK(others > 0);
  CHECK(others < 60 * 60 / 10);
}

TEST_CASE("impossible resizing is refused") {
  Image image = noise(8, 8, 3), out(4, 4, 3);
  CHECK(contains(error_of([&] { opencv_resize(Image(), {4, 4}); }), "expected an image of 1 or 3 channels"));
  CHECK(contains(error_of([&] { opencv_resize(image, {0, 4}); }), "are not inside 0x4"));
  CHECK(contains(error_of([&] { opencv_resize(image, {4, 4}, {0, 1, 4, 4}, false, out); }), "are not inside 4x4"));
  CHECK(contains(error_of([&] { opencv_resize(image, {9, 9}, {0, 0, 5, 4}, false, out); }), "cannot hold 5x4x3"));
  CHECK_THROWS_AS(opencv_nearest_indices(0, 3), ArgumentError);
}
