#include "train/dataset_card.h"

#include <fmt/format.h>

#include <filesystem>

#include "core/error.h"
#include "data/cityscapes_dataset.h"
#include "data/image_folder.h"
#include "train/data_settings.h"

namespace segrt::train {
namespace {
DatasetCard imagenet_card(const Config& config) {
  const Config data = config.table("data");
  const int classes = config.table("model").integer32("classes", {.min = 1});
  std::vector<std::string> names;
  const std::string list = data.text("class_names", {.fallback = ""});
  if (!list.empty()) names = data::read_class_names(list);
  for (int c = 0; list.empty() && c < classes; ++c) names.push_back(fmt::format("class {}", c));
  if (names.size() != static_cast<size_t>(classes))
    throw data.error("class_names", fmt::format("a file of {} classes, as model.classes says", classes),
                     fmt::format("{}", names.size()));
  return {.mean = data::kImagenetMean, .std = data::kImagenetStd, .classes = data::class_names(std::move(names))};
}
}  // namespace

DatasetCard card_of(const data::Dataset& dataset) { return {dataset.mean(), dataset.std(), dataset.classes()}; }

DatasetCard configured_card(const Config& config) {
  const std::string kind = data_settings(config).kind;
  const bool published =
      kind == "image_folder" || kind == "cityscapes" || kind == "camvid" || kind.starts_with("coco_stuff");
  const bool absent = published && !std::filesystem::exists(config.table("data").path("root"));
  if (!absent) return card_of(*make_dataset(config, "val", {.cache = false}));
  if (kind == "image_folder") return imagenet_card(config);
  if (kind == "cityscapes")
    return {.mean = data::kCityscapesMean, .std = data::kCityscapesStd, .classes = data::cityscapes_labels()};
  return {.mean = data::kImagenetMean,
          .std = data::kImagenetStd,
          .classes = kind == "camvid" ? data::camvid_labels() : data::coco_stuff_labels()};
}

}  // namespace segrt::train
