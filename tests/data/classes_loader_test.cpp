// Batches of a classification dataset.
#include <doctest/doctest.h>

#include "data/heat_map.h"
#include "data/loader.h"
#include "data/random_resized_crop.h"
#include "data/statistics.h"
#include "data/synthetic_shapes.h"
#include "tests/data/test_files.h"
#include "tests/support/tensors.h"

using namespace segrt;
using namespace segrt::data;

TEST_CASE("the class of every sample travels with its batch, whatever the number of workers") {
  const auto device = Device::create("cpu");
  const SyntheticShapes shapes({.size = 23, .height = 24, .width = 20});
  const RandomResizedCrop crop({.crop_height = 16, .crop_width = 16});
  std::vector<std::vector<uint8_t>> expected;
  for (const int workers : {0, 1, 3}) {
    Loader loader(shapes, crop, *device, {.batch_size = 5, .workers = workers, .drop_last = false, .seed = 7});
    CHECK(loader.batches_per_epoch() == 5);
    for (size_t b = 0; b < 12; ++b) {
      const Batch batch = *loader.next();
      CHECK(batch.size == (b % 5 == 4 ? 3 : 5));
      CHECK(batch.labels.empty());
      REQUIRE(batch.classes.size() == static_cast<size_t>(batch.size));
      REQUIRE(batch.images.size() == batch.classes.size() * 16 * 16 * 3);
      for (size_t i = 0; i < batch.classes.size(); ++i) CHECK(batch.classes[i] == batch.samples[i] % 12);
      if (workers == 0)
        expected.emplace_back(batch.images.begin(), batch.images.end());
      else
        CHECK(std::equal(batch.images.begin(), batch.images.end(), expected[b].begin(), expected[b].end()));
    }
  }
}

TEST_CASE("random samples differ, follow from the seed, and are all there is where there is no more") {
  const std::vector<int64_t> some = random_samples(100, 30, 4);
  CHECK(some.size() == 30);
  for (size_t i = 1; i < some.size(); ++i) CHECK(some[i] > some[i - 1]);
  CHECK(some.front() >= 0);
  CHECK(some.back() < 100);
  CHECK(some == random_samples(100, 30, 4));
  CHECK(some != random_samples(100, 30, 5));
  CHECK(random_samples(3, 500, 1) == std::vector<int64_t>{0, 1, 2});
  std::vector<int> drawn(10);
  for (uint64_t seed = 0; seed < 400; ++seed)
    for (const int64_t i : random_samples(10, 3, seed)) ++drawn[static_cast<size_t>(i)];
  for (const int n : drawn) {  // 120 expected, std 9
    CHECK(n > 75);
    CHECK(n < 165);
  }
}

TEST_CASE("heat maps: blue for the least value, red for the largest, mixed with the photo") {
  CHECK(heat_colour(0) == Rgb{0, 0, 128});
  CHECK(heat_colour(1) == Rgb{208, 0, 0});
  CHECK(heat_colour(2) == heat_colour(1));
  CHECK(heat_colour(0.125) == Rgb{0, 48, 192});  // half-way between the first two
  Image photo(2, 2, 3);
  photo.pixels.assign(12, 100);
  const std::vector<float> values{-1, 3, 1, -1};
  const Image solid = heat_overlay(photo, values, 1);
  CHECK(std::equal(solid.row(0), solid.row(0) + 3, heat_colour(0).begin()));
  CHECK(std::equal(solid.row(0) + 3, solid.row(0) + 6, heat_colour(1).begin()));
  CHECK(std::equal(solid.row(1), solid.row(1) + 3, heat_colour(0.5).begin()));
  CHECK(heat_overlay(photo, values, 0) == photo);
  const Image half = heat_overlay(photo, std::vector<float>(4, 7.0f), 0.5);
  CHECK(half.pixels[0] == 50);
  CHECK(half.pixels[2] == 114);
  CHECK(test::error_of([&] { heat_overlay(photo, std::vector<float>(3), 0.5); }) != "");
  CHECK(test::error_of([&] { heat_overlay(photo, values, 1.5); }) != "");
}
