#include "data/synthetic_shapes.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <set>

#include "core/error.h"
#include "tests/data/test_files.h"
#include "tests/support/tensors.h"

using namespace segrt;
using namespace segrt::data;
using segrt::test::contains;
using segrt::test::error_of;

namespace {

std::array<double, 3> mean_colour(const Image& image) {
  std::array<double, 3> sum{};
  for (size_t i = 0; i < image.pixels.size(); ++i) sum[i % 3] += image.pixels[i];
  for (double& v : sum) v /= static_cast<double>(image.pixels.size()) / 3;
  return sum;
}

}  // namespace

TEST_CASE("a picture follows from seed and number alone") {
  const SyntheticShapes a({.size = 30}), b({.size = 10, .first = 20}), other({.size = 30, .seed = 2});
  for (int64_t i = 0; i < 10; ++i) {
    CHECK(b.load(i).image == a.load(20 + i).image);
    CHECK(b.class_of(i) == a.class_of(20 + i));
    CHECK(b.load(i).name == a.load(20 + i).name);
    CHECK(!(a.load(i).image == other.load(i).image));
  }
  CHECK(a.load(3).image.height == 64);
  CHECK(a.load(3).label.empty());
  const SyntheticShapes wide({.size = 1, .height = 16, .width = 50});
  CHECK(wide.load(0).image.width == 50);
}

TEST_CASE("classes come in turn and are named by shape and texture") {
  const SyntheticShapes a({.size = 50, .shapes = 6, .textures = 3});
  CHECK(a.classes().size() == 18);
  CHECK(a.classes().names[0] == "disc plain");
  CHECK(a.classes().names[17] == "star checked");
  CHECK(std::set<std::string>(a.classes().names.begin(), a.classes().names.end()).size() == 18);
  std::vector<int64_t> count(18);
  for (int64_t i = 0; i < 36; ++i) ++count[static_cast<size_t>(a.class_of(i))];
  CHECK(count == std::vector<int64_t>(18, 2));
}

TEST_CASE("the mean colour does not tell the class") {
  // The nearest class mean, learnt on 600 pictures, on 600 others; by chance one in twelve is right.
  const SyntheticShapes train({.size = 600, .height = 32, .width = 32}),
      val({.size = 600, .height = 32, .width = 32, .seed = 9});
  std::vector<std::array<double, 3>> means(12);
  for (int64_t i = 0; i < 600; ++i) {
    const auto colour = mean_colour(train.load(i).image);
    for (size_t c = 0; c < 3; ++c) means[static_cast<size_t>(train.class_of(i))][c] += colour[c] / 50;
  }
  int right = 0;
  for (int64_t i = 0; i < 600; ++i) {
    const auto colour = mean_colour(val.load(i).image);
    double best = std::numeric_limits<double>::infinity();
    int64_t nearest = -1;
    for (size_t k = 0; k < 12; ++k) {
      double distance = 0;
      for (size_t c = 0; c < 3; ++c) distance += std::pow(colour[c] - means[k][c], 2);
      if (distance < best) best = distance, nearest = static_cast<int64_t>(k);
    }
    right += nearest == val.class_of(i);
  }
  CHECK(right < 90);  // 15 %: six standard deviations above chance
}

TEST_CASE("mean and std are those of the pictures") {
  const SyntheticShapes shapes({.size = 300});
  std::array<double, 3> sum{}, squares{};
  for (int64_t i = 0; i < 300; ++i) {
    const Image image = shapes.load(i).image;
    for (size_t k = 0; k < image.pixels.size(); ++k) {
      const double v = image.pixels[k] / 255.0;
      sum[k % 3] += v;
      squares[k % 3] += v * v;
    }
  }
  for (size_t c = 0; c < 3; ++c) {
    const double n = 300.0 * 64 * 64, mean = sum[c] / n;
    CHECK(std::abs(mean - shapes.mean()[c]) < 0.04);  // a picture's mean varies by 0.15, and there are 300
    CHECK(std::abs(std::sqrt(squares[c] / n - mean * mean) - shapes.std()[c]) < 0.02);
  }
}

TEST_CASE("options out of range are named") {
  const auto message = [](const SyntheticShapes::Options& o) { return error_of([&] { SyntheticShapes{o}; }); };
  CHECK(contains(message({.size = 0}), "size expects"));
  CHECK(contains(message({.height = 15}), "height expects 16 to 4096, got 15"));
  CHECK(contains(message({.shapes = 7}), "shapes expects 1 to 6, got 7"));
  CHECK(contains(message({.textures = 0}), "textures"));
  const SyntheticShapes one({.size = 1});
  CHECK_THROWS_AS(one.load(1), ArgumentError);
  CHECK_THROWS_AS(one.class_of(-1), ArgumentError);
}
