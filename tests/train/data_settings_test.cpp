// [data]: which keys belong together, and what is made of them.
#include "train/data_settings.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <filesystem>

#include "core/error.h"
#include "data/cityscapes_dataset.h"
#include "data/sample_cache.h"
#include "tests/support/tensors.h"

namespace {
using namespace segrt;
using train::DataSettings;
namespace fs = std::filesystem;

Config config_of(const std::string& data) { return Config::parse("[data]\nkind = \"synthetic\"\n" + data, "t.toml"); }
std::string refusal(const std::string& data) {
  return test::error_of([&] {
    const Config config = config_of(data);
    train::data_settings(config);
    train::make_dataset(config, "train");
    config.check_unused();
  });
}
bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }
}  // namespace

TEST_CASE("the recipe that a configuration asks for is built with its values") {
  const DataSettings plain = train::data_settings(config_of("crop = [32, 48]\nrandom_rotate = 10\nflip = false"));
  const auto rotate = train::make_train_transform(plain);
  const auto* a = dynamic_cast<const data::TrainTransform*>(rotate.get());
  REQUIRE(a != nullptr);
  CHECK(a->options().crop_height == 32);
  CHECK(a->options().crop_width == 48);
  CHECK(a->options().random_rotate == 10);
  CHECK(!a->options().flip);

  const DataSettings resize = train::data_settings(
      config_of("augment = \"resize_crop\"\nshortest_edge = [24, 40]\nmax_long_edge = 100\ncrop = 32\nworkers = 3"));
  CHECK(resize.crop_height == 32);
  CHECK(resize.workers == 3);
  const auto made = train::make_train_transform(resize);
  const auto* b = dynamic_cast<const data::ResizeCropTransform*>(made.get());
  REQUIRE(b != nullptr);
  CHECK(b->options().shortest_edge == std::vector<int>{24, 40});
  CHECK(b->options().max_long_edge == 100);
  CHECK(b->options().flip);
  CHECK(b->options().crop_width == 32);
  CHECK(b->options().image_pad == 0);
  CHECK(b->options().label_pad == 255);
  const DataSettings defaults =
      train::data_settings(config_of("augment = \"resize_crop\"\nshortest_edge = [24]\ncrop = 32"));
  CHECK(std::get<data::ResizeCropTransform::Options>(defaults.augment).max_long_edge == 4096);
}

TEST_CASE("scale_crop_distort is built with its values, and so are its validation crops") {
  const std::string recipe = "augment = \"scale_crop_distort\"\nbase_size = [1024, 2048]\ncrop = [8, 12]\n";
  const DataSettings settings = train::data_settings(
      config_of(recipe + "scale_range = [0.25, 3]\ncat_max_ratio = 0.5\ndistort = false\nflip = false"));
  const auto made = train::make_train_transform(settings);
  const auto* a = dynamic_cast<const data::ScaleCropDistort*>(made.get());
  REQUIRE(a != nullptr);
  CHECK(a->options().base == data::ImageSize{1024, 2048});
  CHECK(a->options().min_ratio == 0.25);
  CHECK(a->options().max_ratio == 3);
  CHECK(a->options().crop_height == 8);
  CHECK(a->options().crop_width == 12);
  CHECK(a->options().cat_max_ratio == 0.5);
  CHECK_FALSE(a->options().distort);
  CHECK_FALSE(a->options().flip);
  const auto defaults = std::get<data::ScaleCropDistort::Options>(train::data_settings(config_of(recipe)).augment);
  CHECK(defaults.min_ratio == 0.5);
  CHECK(defaults.max_ratio == 2);
  CHECK(defaults.cat_max_ratio == 0.75);
  CHECK(defaults.distort);
  CHECK(defaults.flip);

  const auto crops = train::make_crop_transform(settings);
  data::Sample sample{data::Image(6, 20, 3), data::Image(6, 20, 1), "s"};
  for (size_t i = 0; i < sample.image.pixels.size(); ++i) sample.image.pixels[i] = static_cast<uint8_t>(i);
  Rng rng(1, 2);
  const data::Sample out = crops->apply(sample, rng);
  CHECK(out.content == data::ImageSize{6, 12});
  CHECK(out.image.height == 8);
  CHECK(out.image.row(0)[3] == out.image.row(0)[0] + 3);
  CHECK(out.image.row(1)[0] == out.image.row(0)[0] + 60);
  CHECK(out.label.row(6)[0] == 255);

  CHECK(contains(refusal("crop = 8\nbase_size = [8, 8]"),
                 "data.base_size: expected augment = \"scale_crop_distort\" beside it, got \"rotate_scale_crop\""));
  CHECK(contains(refusal("augment = \"scale_crop_distort\"\ncrop = 8"), "data.base_size"));
  CHECK(contains(refusal("augment = \"scale_crop_distort\"\nbase_size = [8, 8]"), "data.crop: expected a size"));
  CHECK(contains(refusal(recipe + "scale_range = [2, 1]"), "least ratio first"));
  CHECK(contains(refusal(recipe + "random_scale = 2"), "data.random_scale"));
  CHECK(contains(refusal(recipe + "cat_max_ratio = 0"), "data.cat_max_ratio"));
}

TEST_CASE("validation crops are only cut, and padded as the recipe pads") {
  for (const bool resize : {false, true}) {
    const DataSettings settings = train::data_settings(
        config_of(resize ? "augment = \"resize_crop\"\nshortest_edge = [24]\ncrop = 8" : "crop = 8\nrandom_scale = 2"));
    const auto transform = train::make_crop_transform(settings);
    data::Sample sample{data::Image(6, 20, 3), data::Image(6, 20, 1), "s"};
    sample.image.pixels.assign(sample.image.pixels.size(), 77);
    Rng rng(1, 2);
    const data::Sample out = transform->apply(sample, rng);
    REQUIRE(out.image.height == 8);
    REQUIRE(out.image.width == 8);
    CHECK(out.image.row(0)[0] == (resize ? 0 : 77));  // a row is missing above and below
    CHECK(out.image.row(1)[0] == 77);
    CHECK(out.label.row(0)[0] == 255);
    CHECK(out.label.row(1)[0] == 0);
  }
}

TEST_CASE("keys of the other recipe, and values that make no batch, are refused") {
  CHECK(refusal("crop = 32").empty());
  CHECK(
      contains(refusal("augment = \"resize_crop\"\nshortest_edge = [32]\ncrop = 32\nrandom_scale = 2"),
               "t.toml:6: data.random_scale: expected augment = \"rotate_scale_crop\" beside it, got \"resize_crop\""));
  CHECK(contains(refusal("augment = \"resize_crop\"\nshortest_edge = [32]\nrandom_rotate = 0"), "data.random_rotate"));
  CHECK(contains(refusal("shortest_edge = [32]"),
                 "data.shortest_edge: expected augment = \"resize_crop\" beside it, got \"rotate_scale_crop\""));
  CHECK(contains(refusal("max_long_edge = 32"), "data.max_long_edge"));
  CHECK(contains(refusal("augment = \"resize_crop\"\ncrop = 32"), "data.shortest_edge"));
  CHECK(contains(refusal("augment = \"resize_crop\"\ncrop = 32\nshortest_edge = []"), "at least one size"));
  CHECK(contains(refusal("augment = \"resize_crop\"\ncrop = 32\nshortest_edge = [0]"), "data.shortest_edge"));
  CHECK(contains(refusal("augment = \"resize_crop\"\nshortest_edge = [32, 64]"), "data.crop: expected a size"));
  CHECK(refusal("augment = \"resize_crop\"\nshortest_edge = [32]").empty());
  CHECK(contains(refusal("augment = \"rotate\""), "data.augment"));
  CHECK(contains(refusal("crops = 32"), "data.crops"));
}

TEST_CASE("settings survive the trip through a saved configuration") {
  for (const char* text : {"crop = [32, 48]", "augment = \"resize_crop\"\nshortest_edge = [24, 40]\ncrop = 32",
                           "augment = \"scale_crop_distort\"\nbase_size = [64, 128]\ncrop = 32"}) {
    const Config config = config_of(text);
    const DataSettings first = train::data_settings(config);
    train::make_dataset(config, "train");
    const Config again = Config::parse(config.to_toml(), "saved.toml");
    const DataSettings second = train::data_settings(again);
    train::make_dataset(again, "val");
    again.check_unused();
    CHECK(first.augment.index() == second.augment.index());
    CHECK(first.crop_width == second.crop_width);
  }
}

TEST_CASE("kind = \"cityscapes\" opens the tree, by the label maps that it asks for") {
  const fs::path root = fs::temp_directory_path() / ("segrt_data_settings_" + std::to_string(getpid()));
  const struct Remove {
    fs::path path;
    ~Remove() { fs::remove_all(path); }
  } remove{root};
  data::write_png(root / "leftImg8bit/val/bonn/b_1_leftImg8bit.png", data::Image(2, 4, 3));
  data::write_png(root / "gtFine/val/bonn/b_1_gtFine_labelIds.png", data::Image(2, 4, 1));
  auto open = [&](const std::string& extra) {
    const Config config =
        Config::parse("[data]\nkind = \"cityscapes\"\nroot = \"" + root.string() + "\"\n" + extra, "t.toml");
    train::data_settings(config);
    auto dataset = train::make_dataset(config, "val");
    config.check_unused();
    return dataset;
  };
  CHECK(open("")->name() == "cityscapes/val");
  CHECK(open("")->size() == 1);
  CHECK(open("labels = \"label_ids\"")->load(0).label.pixels == std::vector<uint8_t>(8, 255));
  CHECK(contains(test::error_of([&] { open("labels = \"train_ids\""); }), "holds no label maps"));
  CHECK(contains(test::error_of([&] { open("labels = \"camvid\""); }), "data.labels"));
  CHECK(contains(test::error_of([&] { open("lists = \"x\""); }), "data.lists is not a known key"));
}

TEST_CASE("splits may be others than their names, and samples come from a cache where there is one") {
  const fs::path root = fs::temp_directory_path() / ("segrt_data_cache_" + std::to_string(getpid()));
  const struct Remove {
    fs::path path;
    ~Remove() { fs::remove_all(path); }
  } remove{root};
  for (const std::string split : {"train", "val", "test"}) {
    data::write_png(root / "images" / split / (split + ".png"), data::Image(2, 4, 3));
    data::write_png(root / "TrainID" / split / (split + "_L_TrainID.png"), data::Image(2, 4, 1));
  }
  auto open = [&](const std::string& split, const std::string& extra) {
    const Config config =
        Config::parse("[data]\nkind = \"camvid\"\nroot = \"" + root.string() + "\"\n" + extra, "t.toml");
    train::data_settings(config);
    auto dataset = train::make_dataset(config, split);
    config.check_unused();
    return dataset;
  };
  CHECK(open("train", "")->name() == "camvid/train");
  CHECK(open("trainval", "")->size() == 2);
  CHECK(open("train", "train_split = \"trainval\"")->name() == "camvid/trainval");
  CHECK(open("val", "val_split = \"test\"")->load(0).name == "images/test/test.png");
  CHECK(contains(test::error_of([&] { open("val", "val_split = \"train\""); }), "data.val_split"));
  const fs::path cache = root / "cache";
  const std::string key = "cache = \"" + cache.string() + "\"";
  CHECK(contains(test::error_of([&] { open("val", key); }), "data.cache: expected a folder"));
  const auto plain = open("val", "");
  data::write_cache(*plain, data::cache_file(cache, *plain), false);
  const auto cached = open("val", key);
  CHECK(dynamic_cast<const data::CachedDataset*>(cached.get()) != nullptr);
  CHECK(cached->load(0).image == plain->load(0).image);
  CHECK(dynamic_cast<const data::CachedDataset*>(open("train", key).get()) == nullptr);  // not kept there
  CHECK(contains(test::error_of([&] {
                   train::make_dataset(Config::parse("[data]\nkind = \"coco_stuff10k\"\nroot = \"" + root.string() +
                                                         "\"\ntrain_split = \"trainval\"",
                                                     "t.toml"),
                                       "train");
                 }),
                 "coco_stuff10k: there is no split \"trainval\""));
}
