#include "data/transform.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "core/error.h"
#include "data/resample_taps.h"
#include "tests/data/test_files.h"
#include "tests/support/tensors.h"

using namespace segrt;
using namespace segrt::data;
using segrt::test::contains;
using segrt::test::error_of;

namespace {

Image random_image(int height, int width, int channels, uint64_t seed) {
  Image image(height, width, channels);
  Rng rng(seed, 1);
  for (uint8_t& v : image.pixels) v = static_cast<uint8_t>(rng.integer(0, channels == 1 ? 18 : 255));
  return image;
}

Sample random_sample(int height, int width, uint64_t seed) {
  return {random_image(height, width, 3, seed), random_image(height, width, 1, seed + 1), "s"};
}

// The steps one after the other on whole images, as the recipe words them.
Sample step_by_step(const Sample& s, const TrainTransform::Options& o, const TrainTransform::Draws& d) {
  Sample out = s;
  out.image = rotate_image(out.image, d.angle_degrees);
  out.label = rotate_label(out.label, d.angle_degrees, o.label_fill);
  if (d.ratio != 1.0) {
    out.label =
        resize_nearest(out.label, scaled_length(s.label.height, d.ratio), scaled_length(s.label.width, d.ratio));
    out.image = scale_image(out.image, d.ratio);
  }
  if (o.crop_height > 0) {
    out.image = crop(out.image, o.crop_height, o.crop_width, d.y, d.x, o.image_padding);
    out.label = crop(out.label, o.crop_height, o.crop_width, d.y, d.x, {.reflect = false, .value = o.label_fill});
  }
  if (d.flip) {
    out.image = flip_horizontal(out.image);
    out.label = flip_horizontal(out.label);
  }
  return out;
}

}  // namespace

TEST_CASE("computing only the crop equals every step on the whole image") {
  struct Size {
    int height, width;
  };
  for (const Size size : {Size{40, 56}, {37, 91}, {1, 7}, {9, 1}, {64, 33}})
    for (const Size crop_size : {Size{0, 0}, {16, 16}, {32, 48}, {70, 13}, {130, 200}})
      for (const bool reflect : {true, false})
        for (uint64_t trial = 0; trial < 12; ++trial) {
          const TrainTransform transform({.crop_height = crop_size.height,
                                          .crop_width = crop_size.width,
                                          .random_rotate = trial % 3 == 0 ? 0 : 25,
                                          .random_scale = trial % 4 == 0 ? 0.0 : 2.5,
                                          .image_padding = {.reflect = reflect, .value = 9}});
          const Sample sample = random_sample(size.height, size.width, trial);
          Rng rng(trial, 7);
          const TrainTransform::Draws draws = transform.draw(size.height, size.width, rng);
          CAPTURE(size.height);
          CAPTURE(size.width);
          CAPTURE(draws.angle_degrees);
          CAPTURE(draws.ratio);
          const Sample expected = step_by_step(sample, transform.options(), draws);
          const Sample out = transform.apply(sample, draws);
          REQUIRE(out.image == expected.image);
          REQUIRE(out.label == expected.label);
          Rng again(trial, 7);
          REQUIRE(transform.apply(Sample(sample), again).image == expected.image);
        }
}

TEST_CASE("draws come in the recipe's order and only where a step is on") {
  Rng expected(11, 4), rng(11, 4);
  const TrainTransform all({.crop_height = 32, .crop_width = 32, .random_rotate = 10, .random_scale = 2});
  const TrainTransform::Draws d = all.draw(100, 200, rng);
  CHECK(d.angle_degrees == expected.integer(-10, 10));
  CHECK(d.ratio == expected.uniform(0.5, 2));
  CHECK(d.x == expected.integer(0, static_cast<int>(d.ratio * 200) - 32));
  CHECK(d.y == expected.integer(0, static_cast<int>(d.ratio * 100) - 32));
  CHECK(d.flip == (expected.uniform() < 0.5));
  CHECK(rng.next_u32() == expected.next_u32());

  const TrainTransform exact({.crop_height = 32, .crop_width = 40});  // sides equal: no corner is drawn
  CHECK(exact.draw(32, 40, rng).flip == (expected.uniform() < 0.5));
  CHECK(exact.draw(20, 11, rng).flip == (expected.uniform() < 0.5));  // padded to the crop's size
  const TrainTransform nothing({.flip = false});
  nothing.draw(32, 40, rng);
  CHECK(rng.next_u32() == expected.next_u32());
}

TEST_CASE("draws cover their ranges") {
  const TrainTransform transform({.crop_height = 8, .crop_width = 8, .random_rotate = 2, .random_scale = 2});
  std::set<double> angles;
  std::set<int> corners;
  double low = 9, high = 0, flips = 0;
  for (uint64_t i = 0; i < 2000; ++i) {
    Rng rng(1, i);
    const TrainTransform::Draws d = transform.draw(10, 20, rng);
    angles.insert(d.angle_degrees);
    corners.insert(d.y);
    low = std::min(low, d.ratio);
    high = std::max(high, d.ratio);
    flips += d.flip;
  }
  CHECK(angles == std::set<double>{-2, -1, 0, 1, 2});
  CHECK(*corners.begin() == 0);
  CHECK(*corners.rbegin() == 19 - 8);  // int(ratio * 10) is at most 19 below ratio 2
  CHECK(low >= 0.5);
  CHECK(low < 0.51);
  CHECK(high < 2.0);
  CHECK(high > 1.99);
  CHECK(flips == doctest::Approx(1000).epsilon(0.1));
}

TEST_CASE("resizing agrees with the filter's definition in float64") {
  for (const Filter filter : {Filter::bilinear, Filter::bicubic, Filter::lanczos})
    for (const auto& [from, to] : {std::pair{1, 1}, {1, 9}, {9, 1}, {7, 7}, {64, 33}, {33, 64}, {100, 3}, {5, 80}}) {
      CAPTURE(from);
      CAPTURE(to);
      const Image column = random_image(from, 1, 3, 5);
      const Image out = resize(column, to, 1, filter), across = resize(random_image(1, from, 3, 5), 1, to, filter);
      CHECK(out.pixels == across.pixels);  // both axes follow one rule
      const double scale = static_cast<double>(from) / to, stretch = std::max(scale, 1.0);
      auto value = [&](double x) {
        x = std::abs(x);
        if (filter == Filter::bilinear) return std::max(0.0, 1 - x);
        if (filter == Filter::bicubic)
          return x < 1 ? 1.5 * x * x * x - 2.5 * x * x + 1 : x < 2 ? -0.5 * (x * x * x - 5 * x * x + 8 * x - 4) : 0.0;
        const double p = 3.14159265358979323846 * x;
        return x < 1e-12 ? 1.0 : x < 3 ? 3 * std::sin(p) * std::sin(p / 3) / (p * p) : 0.0;
      };
      for (int i = 0; i < to; ++i)
        for (int c = 0; c < 3; ++c) {
          double sum = 0, weights = 0;
          for (int j = 0; j < from; ++j) {
            const double w = value((j + 0.5 - (i + 0.5) * scale) / stretch);
            sum += w * column.row(j)[c];
            weights += w;
          }
          const double expected = from == to ? column.row(i)[c] : std::clamp(sum / weights, 0.0, 255.0);
          CHECK(std::abs(out.row(i)[c] - expected) <= 0.5 + 1e-3);  // rounding to 8 bits, weights of 22 bits
        }
    }
}

TEST_CASE("float maps agree with 8-bit images up to rounding, for odd channel counts and one-sided resizes") {
  for (const auto& [height, width] : {std::pair{20, 13}, {9, 13}, {9, 30}, {20, 31}}) {
    const Image image = random_image(20, 31, 3, 8);
    const std::vector<float> x(image.pixels.begin(), image.pixels.end());
    std::vector<float> y(static_cast<size_t>(height) * static_cast<size_t>(width) * 3);
    resize(x, 20, 31, 3, y, height, width, Filter::bilinear);
    const Image rounded = resize(image, height, width, Filter::bilinear);
    double worst = 0;
    for (size_t i = 0; i < y.size(); ++i) worst = std::max(worst, std::abs(double{y[i]} - rounded.pixels[i]));
    CHECK(worst <= 1.001);  // half a level from each of the two passes
  }
  std::vector<float> x(12), y(11);
  CHECK(contains(error_of([&] { resize(x, 2, 2, 3, y, 1, 4, Filter::bilinear); }), "y 11 for [1,4,3]"));
}

TEST_CASE("nearest indices accumulate their position") {
  for (const auto& [from, to] : {std::pair{36, 20}, {360, 493}, {1024, 1331}, {1, 5}, {7, 1}, {2048, 2047}}) {
    const std::vector<int> indices = nearest_indices(from, to);
    REQUIRE(indices.size() == static_cast<size_t>(to));
    double position = static_cast<double>(from) / to * 0.5;
    for (const int index : indices) {
      CHECK(index == static_cast<int>(position));
      position += static_cast<double>(from) / to;
    }
    CHECK(indices.back() < from);
  }
}

TEST_CASE("reflection in passes") {
  CHECK(reflect_indices(4, 2, 2) == std::vector<int>{2, 1, 0, 1, 2, 3, 3, 2});
  CHECK(reflect_indices(3, 3, 0) == std::vector<int>{1, 2, 1, 0, 1, 2});  // 2 1 | 0 1 2, then the second of that
  CHECK(reflect_indices(2, 0, 3) == std::vector<int>{0, 1, 1, 1, 1});     // 0 1 | 1, then 0 1 1 | 1 1
  CHECK(reflect_indices(1, 2, 3) == std::vector<int>(6, 0));
  CHECK_THROWS_AS(reflect_indices(0, 1, 1), ArgumentError);
  CHECK_THROWS_AS(reflect_indices(3, -1, 1), ArgumentError);
}

TEST_CASE("quarter turns are exact") {
  const Image image = random_image(6, 6, 3, 4), label = random_image(6, 6, 1, 4);
  const Image turned = rotate_image(image, 90), label_turned = rotate_label(label, 90);
  for (int y = 0; y < 6; ++y)
    for (int x = 0; x < 6; ++x) {  // counter-clockwise: the top row comes from the right column
      CHECK(label_turned.row(y)[x] == label.row(x)[5 - y]);
      for (int c = 0; c < 3; ++c) CHECK(turned.row(y)[3 * x + c] == image.row(x)[3 * (5 - y) + c]);
    }
  CHECK(rotate_image(image, 360) == image);
}

TEST_CASE("impossible settings and draws are refused by name") {
  CHECK(contains(error_of([] { TrainTransform({.crop_height = 5}); }), "crop 5x0"));
  CHECK(contains(error_of([] { TrainTransform({.random_rotate = -1}); }), "random_rotate"));
  CHECK(contains(error_of([] { TrainTransform({.random_scale = 0.5}); }), "random_scale"));
  CHECK(contains(error_of([] { TrainTransform({.random_scale = NAN}); }), "random_scale"));
  const Image image(8, 8, 3);
  CHECK_THROWS_AS(crop(image, 4, 4, 5, 0, {}), ArgumentError);
  CHECK_THROWS_AS(resize(image, 0, 4, Filter::bicubic), ArgumentError);
  CHECK_THROWS_AS(rotate_image(image, NAN), ArgumentError);
  CHECK_THROWS_AS(rotate_label(image, 3), ArgumentError);
  CHECK_THROWS_AS(rotate_image(Image(2, 20000, 3), 3), ArgumentError);
  CHECK_THROWS_AS(normalise(Image(2, 2, 1), {}, {1, 1, 1}), ArgumentError);
  const TrainTransform transform({});
  CHECK(contains(error_of([&] {
                   transform.apply(Sample{image, Image(8, 9, 1), "a"}, TrainTransform::Draws{});
                 }),
                 "image is 8x8 but its label map 8x9"));
}
