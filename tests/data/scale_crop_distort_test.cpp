#include "data/scale_crop_distort.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <set>

#include "core/error.h"
#include "data/class_shares.h"
#include "data/loader.h"
#include "data/opencv_resize.h"
#include "tests/data/test_files.h"
#include "tests/support/tensors.h"

using namespace segrt;
using namespace segrt::data;
using segrt::test::contains;
using segrt::test::error_of;

namespace {

Sample noise(int height, int width, int classes = 5) {
  Sample s{Image(height, width, 3), Image(height, width, 1), "noise"};
  Rng rng(3, static_cast<uint64_t>(height * 1000 + width));
  for (uint8_t& v : s.image.pixels) v = static_cast<uint8_t>(rng.next_u32() >> 24);
  for (int y = 0; y < height; ++y)  // runs, as label maps have them
    for (int x = 0; x < width; ++x)
      s.label.row(y)[x] = x % 7 == 0 || y % 5 == 0 ? static_cast<uint8_t>(rng.integer(0, classes - 1))
                                                   : (x > 0 ? s.label.row(y)[x - 1] : uint8_t{255});
  return s;
}

}  // namespace

TEST_CASE("images are fitted into the base size as the published recipes say") {
  CHECK(fitted_size(1024, 2048, {1024, 2048}) == ImageSize{1024, 2048});
  CHECK(fitted_size(1024, 2048, scaled_size({1024, 2048}, 0.77)) == ImageSize{788, 1576});
  CHECK(fitted_size(480, 640, {512, 2048}) == ImageSize{512, 683});
  CHECK(fitted_size(640, 480, {512, 2048}) == ImageSize{683, 512});
  CHECK(fitted_size(100, 900, {512, 2048}) == ImageSize{228, 2048});
  CHECK(fitted_size(96, 128, {73, 98}) == ImageSize{73, 97});
  // DGMN2's test sizes for Cityscapes.
  const std::pair<double, ImageSize> kSizes[] = {{0.5, {512, 1024}},   {0.75, {768, 1536}}, {1, {1025, 2049}},
                                                 {1.25, {1281, 2561}}, {1.5, {1537, 3073}}, {1.75, {1793, 3585}}};
  for (const auto& [ratio, size] : kSizes) CHECK(fitted_size(1024, 2048, scaled_size({1025, 2049}, ratio)) == size);
  CHECK_THROWS_AS(fitted_size(0, 5, {5, 5}), ArgumentError);
}

TEST_CASE("classes of a resized and cropped label map are counted without making it") {
  const Sample s = noise(23, 61);
  for (const auto& [to_height, to_width] : {std::pair{23, 61}, {11, 30}, {50, 140}, {7, 200}}) {
    const std::vector<int> rows = opencv_nearest_indices(23, to_height), columns = opencv_nearest_indices(61, to_width);
    for (const auto& [y, x, h, w] : {std::array{0, 0, 7, 30}, std::array{1, 3, 5, 1}, std::array{2, 9, 4, 21}}) {
      const std::span part_rows(rows.data() + y, static_cast<size_t>(h)),
          part_columns(columns.data() + x, static_cast<size_t>(w));
      std::array<int64_t, 256> expected{};
      for (const uint8_t v : gather(s.label, part_rows, part_columns).pixels) ++expected[v];
      CHECK(value_counts(s.label, part_rows, part_columns) == expected);
    }
  }
  CHECK(value_counts(s.label, {}, {}) == std::array<int64_t, 256>{});
}

TEST_CASE("a crop is mixed when no class has the limit of the pixels that count") {
  std::array<int64_t, 256> counts{};
  CHECK_FALSE(is_mixed(counts, 255, 0.75));  // nothing
  counts[3] = 10;
  counts[255] = 90;
  CHECK_FALSE(is_mixed(counts, 255, 0.75));  // one class, and pixels that do not count
  counts[4] = 4;
  CHECK(is_mixed(counts, 255, 0.75));  // 10 / 14
  counts[3] = 12;
  CHECK_FALSE(is_mixed(counts, 255, 0.75));  // exactly the limit
  CHECK(is_mixed(counts, 255, 0.76));
}

TEST_CASE("the recipe is its steps one after the other") {
  const Sample sample = noise(40, 64);
  const ScaleCropDistort recipe({.base = {40, 64}, .crop_height = 32, .crop_width = 48});
  for (const ScaleCropDistort::Draws& draws :
       {ScaleCropDistort::Draws{.ratio = 1.7, .y = 5, .x = 11, .flip = false},
        ScaleCropDistort::Draws{.ratio = 1, .y = 8, .x = 16, .flip = true},
        ScaleCropDistort::Draws{
            .ratio = 1.31, .y = 0, .x = 3, .flip = true, .colours = {.brightness = 9, .saturation = 1.2, .hue = 5}},
        ScaleCropDistort::Draws{.ratio = 0.6, .flip = true, .colours = {.contrast = 0.7}}}) {
    CAPTURE(draws.ratio);
    const ImageSize size = fitted_size(40, 64, scaled_size({40, 64}, draws.ratio));
    Image image = opencv_resize(sample.image, size);
    Image label = gather(sample.label, opencv_nearest_indices(40, size.height), opencv_nearest_indices(64, size.width));
    const int h = std::min(32, size.height), w = std::min(48, size.width);
    image = crop(image, h, w, draws.y, draws.x, {});
    label = crop(label, h, w, draws.y, draws.x, {});
    if (draws.flip) image = flip_horizontal(image);
    if (draws.flip) label = flip_horizontal(label);
    distort(image, {h, w}, draws.colours);
    const Sample out = recipe.apply(sample, draws);
    CHECK(out.content == ImageSize{h, w});
    CHECK(out.image == pad_constant(image, {.bottom = 32 - h, .right = 48 - w}, 0));
    CHECK(out.label == pad_constant(label, {.bottom = 32 - h, .right = 48 - w}, 255));
  }
}

TEST_CASE("draws depend on seed and stream alone, reach every place and obey the ratio of the largest class") {
  const ScaleCropDistort recipe({.base = {40, 64}, .crop_height = 32, .crop_width = 32});
  Sample sample = noise(40, 64);
  // The left half is one class: crops of it alone are not taken while others are found.
  for (int y = 0; y < 40; ++y) std::fill_n(sample.label.row(y), 40, uint8_t{2});
  std::set<int> corners;
  int flips = 0, unmixed = 0;
  constexpr int kDraws = 400;
  for (uint64_t i = 0; i < kDraws; ++i) {
    Rng rng(11, i), again(11, i);
    const ScaleCropDistort::Draws d = recipe.draw(sample, rng);
    const ScaleCropDistort::Draws same = recipe.draw(sample, again);
    REQUIRE(
        (d.ratio == same.ratio && d.y == same.y && d.x == same.x && d.flip == same.flip && d.colours == same.colours));
    REQUIRE((d.ratio >= 0.5 && d.ratio < 2));
    const ImageSize size = fitted_size(40, 64, scaled_size({40, 64}, d.ratio));
    REQUIRE((d.y >= 0 && d.y <= std::max(size.height - 32, 0)));
    REQUIRE((d.x >= 0 && d.x <= std::max(size.width - 32, 0)));
    corners.insert(d.x);
    flips += d.flip;
    std::array<int64_t, 256> counts{};
    for (const uint8_t v : recipe.apply(sample, {.ratio = d.ratio, .y = d.y, .x = d.x}).label.pixels) ++counts[v];
    unmixed += !is_mixed(counts, 255, 0.75);
  }
  CHECK(corners.size() > 60);
  CHECK(std::abs(flips - kDraws / 2) < 40);
  CHECK(unmixed < kDraws / 20);  // eleven tries in vain
}

TEST_CASE("a hopeless label map costs ten further corners; without the rule it is one") {
  Sample sample = noise(50, 50);
  std::fill(sample.label.pixels.begin(), sample.label.pixels.end(), uint8_t{3});
  for (const bool rule : {true, false}) {
    const ScaleCropDistort recipe(
        {.crop_height = 20, .crop_width = 30, .cat_max_ratio = rule ? 0.75 : 1.0, .flip = false, .distort = false});
    Rng rng(1, 9), by_hand(1, 9);
    const ScaleCropDistort::Draws d = recipe.draw(sample, rng);
    int64_t y = 0, x = 0;
    for (int i = 0; i < (rule ? 11 : 1); ++i) {
      y = by_hand.integer(0, 30);
      x = by_hand.integer(0, 20);
    }
    CHECK(d.y == y);
    CHECK(d.x == x);
    CHECK(rng.next_u32() == by_hand.next_u32());
  }
  sample.label = {};  // nothing to look at
  const ScaleCropDistort recipe({.crop_height = 20, .crop_width = 30, .flip = false, .distort = false});
  Rng rng(1, 9), by_hand(1, 9);
  CHECK(recipe.draw(sample, rng).y == by_hand.integer(0, 30));
  CHECK(recipe.apply(sample, {}).label.empty());
}

TEST_CASE("options out of range and ill-matched samples are refused") {
  CHECK(contains(error_of([] { ScaleCropDistort({.base = {0, 5}}); }), "base 0x5"));
  CHECK(contains(error_of([] { ScaleCropDistort({.base = {5, 5}, .min_ratio = 2, .max_ratio = 1}); }), "least first"));
  CHECK(contains(error_of([] { ScaleCropDistort({.base = {5, 5}, .min_ratio = 0}); }), "ratios must be"));
  CHECK(contains(error_of([] { ScaleCropDistort({.cat_max_ratio = 0}); }), "cat_max_ratio"));
  CHECK(contains(error_of([] { ScaleCropDistort({.crop_height = 5}); }), "crop 5x0"));
  Rng rng(1, 1);
  Sample sample = noise(8, 8);
  sample.label = Image(8, 9, 1);
  CHECK(contains(error_of([&] { ScaleCropDistort({.crop_height = 4, .crop_width = 4}).apply(sample, rng); }), "8x9"));
}

TEST_CASE("batches tell what of each sample is image") {
  class TwoSizes final : public Dataset {
   public:
    const std::string& name() const override { return name_; }
    int64_t size() const override { return 2; }
    Sample load(int64_t index) const override { return noise(index == 0 ? 10 : 40, 20); }
    const LabelTable& classes() const override { return classes_; }
    std::array<double, 3> mean() const override { return {}; }
    std::array<double, 3> std() const override { return {1, 1, 1}; }

   private:
    std::string name_ = "two sizes";
    LabelTable classes_ = generic_labels(5);
  } const sizes;
  const auto device = Device::create("cpu");
  const ScaleCropDistort recipe({.crop_height = 16, .crop_width = 24, .distort = false});
  Loader loader(sizes, recipe, *device, {.batch_size = 2, .shuffle = false});
  const std::optional<Batch> batch = loader.next();
  REQUIRE(batch.has_value());
  CHECK(batch->content == std::vector<ImageSize>{{10, 20}, {16, 20}});
  const EvalTransform plain;
  Loader whole(sizes, plain, *device, {.batch_size = 1, .shuffle = false});
  CHECK(whole.next()->content == std::vector<ImageSize>{{0, 0}});
}
