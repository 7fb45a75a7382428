#include "train/data_settings.h"

#include <tuple>
#include <utility>
#include <vector>

#include "core/error.h"

namespace segrt::train {
namespace {

bool of_whole_images(const std::string& kind) { return kind == "image_folder" || kind == "synthetic_shapes"; }

// crop = 512 or crop = [512, 1024] (height, width); 0 is none. `fallback` where there is no such key.
std::pair<int, int> crop_size(const Config& data, int fallback) {
  try {
    const int side = data.integer32("crop", {.fallback = fallback, .min = 0});
    return {side, side};
  } catch (const ConfigError&) {
    const std::vector<int64_t> sides = data.integers("crop", {.min = 1, .max = 1 << 20, .count = 2});
    return {static_cast<int>(sides[0]), static_cast<int>(sides[1])};
  }
}

void refuse(const Config& data, const std::vector<std::string>& keys, const std::string& recipe,
            const std::string& chosen) {
  for (const std::string& key : keys)
    if (data.has(key)) throw data.error(key, "augment = \"" + recipe + "\" beside it", "\"" + chosen + "\"");
}

data::TrainTransform::Options rotate_scale_crop(const Config& data) {
  data::TrainTransform::Options o;
  o.random_rotate = data.integer32("random_rotate", {.fallback = 0, .min = 0, .max = 180});
  o.random_scale = data.number("random_scale", {.fallback = 0, .min = 0, .max = 16});
  if (o.random_scale > 0 && o.random_scale < 1)
    throw data.error("random_scale", "0 (off) or a number >= 1", std::to_string(o.random_scale));
  return o;
}

data::ResizeCropTransform::Options resize_crop(const Config& data) {
  data::ResizeCropTransform::Options o;
  for (const int64_t edge : data.integers("shortest_edge", {.min = 1, .max = data::kMaxImageSide}))
    o.shortest_edge.push_back(static_cast<int>(edge));
  if (o.shortest_edge.empty()) throw data.error("shortest_edge", "at least one size", "[]");
  o.max_long_edge = data.integer32("max_long_edge", {.fallback = 4096, .min = 1, .max = data::kMaxImageSide});
  return o;
}

data::ScaleCropDistort::Options scale_crop_distort(const Config& data) {
  data::ScaleCropDistort::Options o;
  const std::vector<int64_t> base = data.integers("base_size", {.min = 1, .max = data::kMaxImageSide, .count = 2});
  o.base = {static_cast<int>(base[0]), static_cast<int>(base[1])};
  const std::vector<double> range =
      data.numbers("scale_range", {.fallback = std::vector<double>{0.5, 2}, .max = 16, .above = 0, .count = 2});
  if (range[0] > range[1]) throw data.error("scale_range", "least ratio first", "the larger one");
  o.min_ratio = range[0];
  o.max_ratio = range[1];
  o.cat_max_ratio = data.number("cat_max_ratio", {.fallback = 0.75, .max = 1, .above = 0});
  o.distort = data.boolean("distort", {.fallback = true});
  return o;
}

data::RandomResizedCrop::Options random_resized_crop(const Config& data, int crop_height, int crop_width) {
  if (crop_height == 0 || crop_height != crop_width)
    throw data.error("crop", "one side of a square for augment = \"random_resized_crop\"",
                     std::to_string(crop_height) + "x" + std::to_string(crop_width));
  data::RandomResizedCrop::Options o;
  const std::vector<double> area =
      data.numbers("crop_area", {.fallback = std::vector<double>{0.08, 1}, .max = 1, .above = 0, .count = 2});
  if (area[0] > area[1]) throw data.error("crop_area", "least share first", "the larger one");
  o.min_area = area[0];
  o.max_area = area[1];
  const std::string aspect = data.choice("crop_aspect", {"uniform", "log_uniform"}, {.fallback = "uniform"});
  o.aspect =
      aspect == "uniform" ? data::RandomResizedCrop::Aspect::uniform : data::RandomResizedCrop::Aspect::log_uniform;
  const std::string filter = data.choice("resample", {"bilinear", "bicubic"}, {.fallback = "bilinear"});
  o.filter = filter == "bicubic" ? data::Filter::bicubic : data::Filter::bilinear;
  const int operations = data.integer32("rand_augment", {.fallback = 0, .min = 0, .max = 100});
  if (operations > 0)
    o.rand_augment = data::RandAugment::Options{
        .operations = operations,
        .magnitude = data.number("rand_augment_magnitude", {.fallback = 9, .min = 0, .max = 10}),
        .magnitude_std = data.number("rand_augment_std", {.fallback = 0.5, .min = 0})};
  else
    for (const char* key : {"rand_augment_magnitude", "rand_augment_std"})
      if (data.has(key)) throw data.error(key, "no such key without data.rand_augment", "a value");
  const double erasing = data.number("random_erasing", {.fallback = 0, .min = 0, .max = 1});
  if (erasing > 0) o.erasing = data::RandomErasing::Options{.probability = erasing};
  return o;
}

}  // namespace

DataSettings data_settings(const Config& config) {
  const Config data = config.table("data");
  DataSettings s;
  s.kind = dataset_kind(config);
  std::vector<std::string> recipes{"rotate_scale_crop", "resize_crop", "scale_crop_distort"};
  // A label map would have to follow it; a class stays what it is.
  if (of_whole_images(s.kind)) recipes.insert(recipes.begin(), "random_resized_crop");
  const std::string recipe = data.choice("augment", recipes, {.fallback = recipes.front()});
  std::tie(s.crop_height, s.crop_width) = crop_size(data, recipe == "random_resized_crop" ? 224 : 0);
  if (recipe != "rotate_scale_crop") refuse(data, {"random_rotate", "random_scale"}, "rotate_scale_crop", recipe);
  if (recipe != "resize_crop") refuse(data, {"shortest_edge", "max_long_edge"}, "resize_crop", recipe);
  if (recipe != "scale_crop_distort")
    refuse(data, {"base_size", "scale_range", "cat_max_ratio", "distort"}, "scale_crop_distort", recipe);
  if (recipe != "random_resized_crop")
    refuse(data,
           {"crop_area", "crop_aspect", "resample", "rand_augment", "rand_augment_magnitude", "rand_augment_std",
            "random_erasing"},
           "random_resized_crop", recipe);
  if (recipe == "resize_crop") {
    const data::ResizeCropTransform::Options options = resize_crop(data);
    if (s.crop_height == 0 && options.shortest_edge.size() > 1)
      throw data.error("crop", "a size, as images of several sizes make no batch", "none");
    s.augment = options;
  } else if (recipe == "scale_crop_distort") {
    if (s.crop_height == 0) throw data.error("crop", "a size, as images of several sizes make no batch", "none");
    s.augment = scale_crop_distort(data);
  } else if (recipe == "random_resized_crop") {
    s.augment = random_resized_crop(data, s.crop_height, s.crop_width);
  } else {
    s.augment = rotate_scale_crop(data);
  }
  std::visit(
      [&](auto& options) {
        options.crop_height = s.crop_height;
        options.crop_width = s.crop_width;
        options.flip = data.boolean("flip", {.fallback = true});
      },
      s.augment);
  s.repeats = data.integer32("repeated_augmentation", {.fallback = 1, .min = 1, .max = 1000});
  s.workers = data.integer32("workers", {.fallback = 2, .min = 0, .max = 256});
  s.seed = static_cast<uint64_t>(data.integer("seed", {.fallback = 1, .min = 0}));
  return s;
}

std::unique_ptr<data::Transform> make_train_transform(const DataSettings& settings) {
  if (const auto* o = std::get_if<data::ResizeCropTransform::Options>(&settings.augment))
    return std::make_unique<data::ResizeCropTransform>(*o);
  if (const auto* o = std::get_if<data::ScaleCropDistort::Options>(&settings.augment))
    return std::make_unique<data::ScaleCropDistort>(*o);
  if (const auto* o = std::get_if<data::RandomResizedCrop::Options>(&settings.augment))
    return std::make_unique<data::RandomResizedCrop>(*o);
  return std::make_unique<data::TrainTransform>(std::get<data::TrainTransform::Options>(settings.augment));
}

std::unique_ptr<data::Transform> make_crop_transform(const DataSettings& settings) {
  // A crop larger than the image shows around it what the training crops show there.
  if (std::holds_alternative<data::ScaleCropDistort::Options>(settings.augment))
    return std::make_unique<data::ScaleCropDistort>(data::ScaleCropDistort::Options{.crop_height = settings.crop_height,
                                                                                    .crop_width = settings.crop_width,
                                                                                    .cat_max_ratio = 1,
                                                                                    .flip = false,
                                                                                    .distort = false});
  data::TrainTransform::Options o{
      .crop_height = settings.crop_height, .crop_width = settings.crop_width, .flip = false};
  if (const auto* recipe = std::get_if<data::ResizeCropTransform::Options>(&settings.augment))
    o.image_padding = {.reflect = false, .value = recipe->image_pad};
  return std::make_unique<data::TrainTransform>(o);
}

}  // namespace segrt::train
