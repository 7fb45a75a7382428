#include "data/random_resized_crop.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <tuple>

#include "core/error.h"
#include "tests/data/test_files.h"
#include "tests/support/tensors.h"

using namespace segrt;
using namespace segrt::data;
using segrt::test::contains;
using segrt::test::error_of;

namespace {

Image picture(int height, int width, uint64_t seed = 3) {
  Image image(height, width, 3);
  Rng rng(seed, 0);
  for (uint8_t& v : image.pixels) v = static_cast<uint8_t>(rng.next_u32());
  return image;
}

// The window of `image`, resized with Pillow's triangle filter, in float64 without its intermediate rounding.
std::vector<double> triangle_resized(const Image& image, const Window& window, int height, int width) {
  const auto weights = [](int from, int to, int i) {
    const double scale = static_cast<double>(from) / to, support = std::max(scale, 1.0), centre = (i + 0.5) * scale;
    std::vector<double> w(static_cast<size_t>(from));
    double sum = 0;
    for (int j = 0; j < from; ++j)
      sum += w[static_cast<size_t>(j)] = std::max(0.0, 1 - std::abs(j + 0.5 - centre) / support);
    for (double& v : w) v /= sum;
    return w;
  };
  std::vector<double> out;
  for (int y = 0; y < height; ++y) {
    const std::vector<double> rows = weights(window.height, height, y);
    for (int x = 0; x < width; ++x) {
      const std::vector<double> columns = weights(window.width, width, x);
      for (int c = 0; c < 3; ++c) {
        double sum = 0;
        for (int j = 0; j < window.height; ++j)
          for (int i = 0; i < window.width; ++i)
            sum += rows[static_cast<size_t>(j)] * columns[static_cast<size_t>(i)] *
                   image.row(window.y + j)[3 * (window.x + i) + c];
        out.push_back(sum);
      }
    }
  }
  return out;
}

double worst_difference(const Image& image, const std::vector<double>& expected) {
  REQUIRE(image.pixels.size() == expected.size());
  double worst = 0;
  for (size_t i = 0; i < expected.size(); ++i) worst = std::max(worst, std::abs(image.pixels[i] - expected[i]));
  return worst;
}

}  // namespace

TEST_CASE("sizes and centres round as in 2017: sides truncated, odd halves to even") {
  CHECK(shorter_side_size(375, 500, 256) == ImageSize{256, 341});  // 341.33
  CHECK(shorter_side_size(500, 333, 256) == ImageSize{384, 256});  // 384.38
  CHECK(shorter_side_size(500, 374, 256) == ImageSize{342, 256});  // 342.25
  CHECK(shorter_side_size(400, 257, 256) == ImageSize{398, 256});  // 398.44
  CHECK(shorter_side_size(7, 7, 256) == ImageSize{256, 256});
  CHECK(shorter_side_size(256, 999, 256) == ImageSize{256, 999});
  CHECK(centre_begin(256, 224) == 16);
  CHECK(centre_begin(341, 224) == 58);  // 58.5
  CHECK(centre_begin(343, 224) == 60);  // 59.5
  CHECK(centre_begin(5, 4) == 0);       // 0.5
  CHECK(centre_begin(7, 4) == 2);       // 1.5
  CHECK(centre_begin(4, 4) == 0);
  CHECK_THROWS_AS(shorter_side_size(0, 3, 4), ArgumentError);
}

TEST_CASE("windows follow the rule, drawn in the stated order") {
  const RandomResizedCrop crop({.crop_height = 32, .crop_width = 32});
  int swapped = 0, tries_above_one = 0;
  for (uint64_t k = 0; k < 400; ++k) {
    const int height = 40 + static_cast<int>(k % 60), width = 90;
    Rng rng(5, k), twin(5, k);
    const RandomResizedCrop::Draws draws = crop.draw(height, width, rng);
    bool found = false;
    for (int i = 0; i < 10 && !found; ++i) {
      const double area = (0.08 + 0.92 * twin.uniform()) * height * width;
      const double aspect = 0.75 + (4.0 / 3 - 0.75) * twin.uniform();
      double w = std::rint(std::sqrt(area * aspect)), h = std::rint(std::sqrt(area / aspect));
      const bool swap = twin.uniform() < 0.5;
      if (swap) std::swap(w, h);
      if (w > width || h > height) continue;
      found = true;
      swapped += swap;
      tries_above_one += i > 0;
      CHECK(draws.window.width == static_cast<int>(w));
      CHECK(draws.window.height == static_cast<int>(h));
      CHECK(draws.window.x == twin.integer(0, width - static_cast<int>(w)));
      CHECK(draws.window.y == twin.integer(0, height - static_cast<int>(h)));
    }
    CHECK(draws.fallback == !found);
    CHECK(draws.flip == (twin.uniform() < 0.5));
    CHECK(rng.next_u32() == twin.next_u32());  // nothing else was drawn
  }
  CHECK(swapped > 140);
  CHECK(swapped < 260);
  CHECK(tries_above_one > 20);
}

TEST_CASE("a window is resized by the triangle filter and sees nothing beyond itself") {
  const Image image = picture(31, 44);
  const RandomResizedCrop crop({.crop_height = 9, .crop_width = 9});
  for (const Window& window : {Window{3, 5, 20, 27}, Window{0, 0, 31, 44}, Window{7, 2, 9, 9}, Window{10, 40, 3, 4},
                               Window{30, 43, 1, 1}, Window{0, 11, 31, 5}}) {
    const Sample plain = crop.apply({image, {}, "a"}, {.window = window});
    CHECK(plain.name == "a");
    // Two passes of rounding to 8 bits.
    CHECK(worst_difference(plain.image, triangle_resized(image, window, 9, 9)) <= 1.01);
    const Sample mirrored = crop.apply({image, {}, "a"}, {.window = window, .flip = true});
    CHECK(mirrored.image == flip_horizontal(plain.image));
  }
}

TEST_CASE("where no window fits, the shorter side is resized and the centre cut out") {
  const RandomResizedCrop crop({.crop_height = 8, .crop_width = 8, .flip = false});
  const Image image =
      picture(3, 97);  // every window is higher than 3: its area is at least 0.08 * 291, its aspect <= 4/3
  for (uint64_t k = 0; k < 20; ++k) {
    Rng rng(1, k);
    CHECK(crop.draw(3, 97, rng).fallback);
  }
  Rng rng(1, 0);
  const Sample sample = crop.apply({image, {}, "long"}, rng);
  const Image whole = resize(image, 8, 258, Filter::bilinear);  // 258.67
  Image expected(8, 8, 3);
  for (int y = 0; y < 8; ++y) std::copy_n(whole.row(y) + 3 * 125, 24, expected.row(y));  // (258 - 8) / 2
  CHECK(sample.image == expected);
}

TEST_CASE("evaluation: shorter side, then the centre") {
  const CentreCrop crop({.scale_size = 16, .crop_size = 11});
  const Image image = picture(40, 23);
  const Image whole = resize(image, 27, 16, Filter::bilinear);  // 27.8
  Rng rng(1, 0);
  const Sample sample = crop.apply({image, {}, "b"}, rng);
  CHECK(sample.name == "b");
  for (int y = 0; y < 11; ++y)
    for (int x = 0; x < 33; ++x) REQUIRE(sample.image.row(y)[x] == whole.row(8 + y)[3 * 2 + x]);  // 16/2 = 8, 2.5 -> 2
  CHECK(CentreCrop({.scale_size = 16, .crop_size = 16}).apply(picture(16, 16)) == picture(16, 16));
}

TEST_CASE("options out of range are refused") {
  const auto message = [](const RandomResizedCrop::Options& o) { return error_of([&] { RandomResizedCrop{o}; }); };
  CHECK(contains(message({}), "square crop"));
  CHECK(contains(message({.crop_height = 4, .crop_width = 5}), "got 4x5"));
  CHECK(contains(message({.crop_height = 4, .crop_width = 4, .min_area = 0}), "area"));
  CHECK(contains(message({.crop_height = 4, .crop_width = 4, .min_area = 0.5, .max_area = 0.4}), "0.5 to 0.4"));
  CHECK(contains(error_of([] { CentreCrop({.scale_size = 5, .crop_size = 6}); }), "got 6 and 5"));
}
