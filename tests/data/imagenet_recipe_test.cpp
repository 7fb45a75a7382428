// What the recipe of vision transformers adds to crops and to the loader.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>

#include "core/error.h"
#include "data/loader.h"
#include "data/random_resized_crop.h"
#include "data/synthetic_shapes.h"
#include "tests/support/tensors.h"

using namespace segrt;
using namespace segrt::data;

TEST_CASE("log-uniform crops: aspects, and the fallback about the centre") {
  const RandomResizedCrop crop({.crop_height = 16, .crop_width = 16, .aspect = RandomResizedCrop::Aspect::log_uniform});
  int wide = 0;
  double least = 1e9, most = 0;
  for (uint64_t i = 0; i < 4000; ++i) {
    Rng rng(1, i);
    const RandomResizedCrop::Draws d = crop.draw(1000, 1000, rng);
    REQUIRE_FALSE(d.fallback);
    const double aspect = static_cast<double>(d.window.width) / d.window.height;
    wide += aspect > 1;
    least = std::min(least, aspect);
    most = std::max(most, aspect);
  }
  CHECK(std::abs(wide - 2000) < 130);  // uniform aspects would be wide 4 times in 7: 2286
  CHECK(least > 0.745);
  CHECK(least < 0.76);
  CHECK(most < 1.343);
  CHECK(most > 1.32);
  Rng rng(1, 1);
  // No window of 8 % or more of 10 x 1000 is as narrow as 4:3; 10 x 13 about the centre is what is left.
  const RandomResizedCrop::Draws d = crop.draw(10, 1000, rng);
  CHECK(d.window == Window{.y = 0, .x = 493, .height = 10, .width = 13});
  CHECK(crop.draw(1000, 10, rng).window == Window{.y = 493, .x = 0, .height = 13, .width = 10});
}

TEST_CASE("bicubic crops are Pillow's filter on the window") {
  const SyntheticShapes dataset({.size = 1, .height = 40, .width = 50});
  const RandomResizedCrop crop({.crop_height = 16, .crop_width = 16, .filter = Filter::bicubic});
  const Sample sample = dataset.load(0);
  const Sample whole = crop.apply(sample, {.window = {.height = 40, .width = 50}});
  CHECK(whole.image == resize(sample.image, 16, 16, Filter::bicubic));
  CHECK_FALSE(whole.image == resize(sample.image, 16, 16, Filter::bilinear));
}

TEST_CASE("random erasing: how often, how large, where") {
  const RandomErasing erasing({});
  int erased = 0;
  double area = 0;
  for (uint64_t i = 0; i < 20000; ++i) {
    Rng rng(2, i);
    const Erasure e = erasing.draw(224, 224, rng);
    if (e.height == 0) continue;
    ++erased;
    REQUIRE(e.y >= 0);
    REQUIRE(e.x >= 0);
    REQUIRE(e.y + e.height <= 224);
    REQUIRE(e.x + e.width <= 224);
    const double share = e.height * e.width / (224.0 * 224), aspect = static_cast<double>(e.height) / e.width;
    REQUIRE(share > 0.019);
    REQUIRE(share < 0.34);
    REQUIRE(aspect > 0.28);
    REQUIRE(aspect < 1 / 0.28);
    area += share;
  }
  CHECK(std::abs(erased - 5000) < 250);
  CHECK(area / erased == doctest::Approx((0.02 + 1.0 / 3) / 2).epsilon(0.05));
}

TEST_CASE("repeated augmentation: every sample three times in a row, dealt over processes, each time augmented anew") {
  const auto device = Device::create("cpu");
  const SyntheticShapes dataset({.size = 600, .height = 64, .width = 64});
  const RandomResizedCrop transform({.crop_height = 16, .crop_width = 16, .erasing = RandomErasing::Options{}});
  std::vector<std::vector<int64_t>> dealt;
  std::map<int64_t, std::vector<std::vector<uint8_t>>> images;
  for (int rank = 0; rank < 2; ++rank) {
    Loader loader(
        dataset, transform, *device,
        {.batch_size = 32, .workers = 2, .endless = false, .seed = 4, .rank = rank, .world = 2, .repeats = 3});
    CHECK(loader.batches_per_epoch() == 8);  // 512 of 600 samples, half of them for each process
    dealt.emplace_back();
    while (auto batch = loader.next()) {
      REQUIRE(batch->erasures.size() == static_cast<size_t>(batch->size) * 5);
      for (size_t i = 0; i < batch->samples.size(); ++i) {
        dealt.back().push_back(batch->samples[i]);
        const uint8_t* begin = batch->images.data() + i * 16 * 16 * 3;
        images[batch->samples[i]].emplace_back(begin, begin + 16 * 16 * 3);
      }
    }
  }
  REQUIRE(dealt[0].size() == 256);
  REQUIRE(dealt[1].size() == 256);
  // Together, dealt in turn: s s s t t t ...
  std::vector<int64_t> order;
  for (size_t i = 0; i < 256; ++i) order.insert(order.end(), {dealt[0][i], dealt[1][i]});
  for (size_t i = 0; i < order.size(); ++i) REQUIRE(order[i] == order[i / 3 * 3]);
  CHECK(images.size() == 171);  // ceil(512 / 3)
  int alike = 0;
  for (const auto& [sample, uses] : images)
    for (size_t i = 1; i < uses.size(); ++i) alike += uses[i] == uses[0];
  CHECK(alike == 0);
  CHECK(test::error_of([&] { Loader(dataset, transform, *device, {.repeats = 0}); }).find("repeats") !=
        std::string::npos);
}
