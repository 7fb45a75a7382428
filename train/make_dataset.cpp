#include <filesystem>
#include <utility>
#include <vector>

#include "data/camvid.h"
#include "data/cityscapes_dataset.h"
#include "data/coco_stuff.h"
#include "data/image_folder.h"
#include "data/list_folder.h"
#include "data/sample_cache.h"
#include "data/synthetic.h"
#include "data/synthetic_shapes.h"
#include "train/data_settings.h"

namespace segrt::train {
namespace {

const std::vector<std::string> kKinds = {"list_folder",    "cityscapes", "camvid",       "coco_stuff10k",
                                         "coco_stuff164k", "synthetic",  "image_folder", "synthetic_shapes"};

std::unique_ptr<data::Dataset> make_list_folder(const Config& data, const std::string& split, const DatasetUse& use) {
  data::ListFolder::Options o{.folder = data.path("root"), .phase = split, .needs_info = use.needs_info};
  o.list_folder = data.text("lists", {.fallback = ""});
  o.reduce_zero_label = data.boolean("reduce_zero_label", {.fallback = false});
  if (data.has("labels")) {
    const std::string labels = data.choice("labels", {"cityscapes", "camvid", "coco_stuff"});
    o.classes = labels == "camvid"       ? data::camvid_labels()
                : labels == "coco_stuff" ? data::coco_stuff_labels()
                                         : data::cityscapes_labels();
  }
  return std::make_unique<data::ListFolder>(o);
}

std::unique_ptr<data::Dataset> make_cityscapes(const Config& data, const std::string& split, const DatasetUse& use) {
  using Labels = data::Cityscapes::Labels;
  data::Cityscapes::Options o{.root = data.path("root"), .split = split, .problems = use.problems};
  const std::string labels = data.choice("labels", {"auto", "train_ids", "label_ids"}, {.fallback = "auto"});
  o.labels = labels == "auto" ? Labels::automatic : labels == "train_ids" ? Labels::train_ids : Labels::label_ids;
  return std::make_unique<data::Cityscapes>(o);
}

std::unique_ptr<data::Dataset> make_image_folder(const Config& data, const std::string& split, const DatasetUse& use) {
  return std::make_unique<data::ImageFolder>(
      data::ImageFolder::Options{.root = data.path("root"),
                                 .split = split,
                                 .class_names = data.text("class_names", {.fallback = ""}),
                                 .needs_info = use.needs_info});
}

// Number of scenes and seed of a split. Splits differ by seed, so no scene of one is in another.
template <typename Options>
void synthetic_split(const Config& data, const std::string& split, Options& o) {
  const int64_t train_size = data.integer("train_size", {.fallback = 1000, .min = 1});
  const int64_t val_size = data.integer("val_size", {.fallback = 50, .min = 1});
  const auto scene_seed = static_cast<uint64_t>(data.integer("scene_seed", {.fallback = 0, .min = 0}));
  o.size = split == "train" ? train_size : val_size;
  o.seed = 3 * scene_seed + (split == "train" ? 0 : split == "val" ? 1 : 2);
}

std::unique_ptr<data::Dataset> make_shapes(const Config& data, const std::string& split) {
  using Shapes = data::SyntheticShapes;
  Shapes::Options o{.name = "shapes/" + split};
  o.height = data.integer32("height", {.fallback = 64, .min = 16, .max = 4096});
  o.width = data.integer32("width", {.fallback = 64, .min = 16, .max = 4096});
  o.shapes = data.integer32("shapes", {.fallback = 4, .min = 1, .max = Shapes::kMaxShapes});
  o.textures = data.integer32("textures", {.fallback = 3, .min = 1, .max = Shapes::kMaxTextures});
  synthetic_split(data, split, o);
  return std::make_unique<Shapes>(o);
}

std::unique_ptr<data::Dataset> make_synthetic(const Config& data, const std::string& split) {
  data::SyntheticStreets::Options o;
  o.height = data.integer32("height", {.fallback = 256, .min = 32, .max = 4096});
  o.width = data.integer32("width", {.fallback = 512, .min = 32, .max = 8192});
  synthetic_split(data, split, o);
  return std::make_unique<data::SyntheticStreets>(o);
}

// The training split may take in the validation split, and validation may be on the test split.
std::string split_in_use(const Config& data, const std::string& split) {
  const std::string train = data.choice("train_split", {"train", "trainval"}, {.fallback = "train"});
  const std::string val = data.choice("val_split", {"val", "test"}, {.fallback = "val"});
  return split == "train" ? train : split == "val" ? val : split;
}

std::unique_ptr<data::Dataset> make_uncached(const Config& data, const std::string& kind, const std::string& split,
                                             const DatasetUse& use) {
  if (kind == "image_folder") return make_image_folder(data, split, use);
  if (kind == "synthetic_shapes") return make_shapes(data, split);
  if (kind == "synthetic") return make_synthetic(data, split);
  const std::string own = split_in_use(data, split);
  if (kind == "list_folder") return make_list_folder(data, own, use);
  if (kind == "cityscapes") return make_cityscapes(data, own, use);
  if (kind == "camvid")
    return data::open_camvid(
        {.root = data.path("root"), .split = own, .needs_info = use.needs_info, .problems = use.problems});
  return data::open_coco_stuff({.release = kind == "coco_stuff10k" ? data::CocoStuff::k10 : data::CocoStuff::k164,
                                .root = data.path("root"),
                                .split = own,
                                .needs_info = use.needs_info,
                                .problems = use.problems});
}

}  // namespace

std::string dataset_kind(const Config& config) { return config.table("data").choice("kind", kKinds); }

std::unique_ptr<data::Dataset> make_dataset(const Config& config, const std::string& split, const DatasetUse& use) {
  const Config data = config.table("data");
  const std::string kind = dataset_kind(config);
  std::unique_ptr<data::Dataset> dataset = make_uncached(data, kind, split, use);
  if (kind == "synthetic" || kind == "synthetic_shapes") return dataset;
  const std::string cache = data.text("cache", {.fallback = ""});
  if (cache.empty() || !use.cache) return dataset;
  if (!std::filesystem::is_directory(cache))
    throw data.error("cache", "a folder that `segdata cache` has made", "\"" + cache + "\"");
  const std::filesystem::path file = data::cache_file(cache, *dataset);
  if (!std::filesystem::exists(file)) return dataset;  // this split is not kept there
  return std::make_unique<data::CachedDataset>(std::move(dataset), file);
}

}  // namespace segrt::train
