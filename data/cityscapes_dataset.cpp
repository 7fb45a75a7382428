#include "data/cityscapes_dataset.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "core/error.h"
#include "data/cityscapes.h"
#include "data/list_folder.h"

namespace segrt::data {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail(const fs::path& path, std::string_view cause) {
  throw FileError(fmt::format("{}: {}", path.string(), cause));
}

bool holds(const std::vector<CityscapesFrame>& sorted, const CityscapesFrame& frame) {
  return std::binary_search(sorted.begin(), sorted.end(), frame);
}

}  // namespace

Cityscapes::Cityscapes(const Options& options)
    : root_(options.root),
      name_("cityscapes/" + options.split),
      has_labels_(options.split != "test"),
      classes_(cityscapes_labels()) {
  if (!fs::is_directory(root_)) fail(root_, fs::exists(root_) ? "is not a folder" : "no such folder");
  if (options.split == "trainval") {
    add_split("train", options);
    add_split("val", options);
    std::stable_sort(entries_.begin(), entries_.end(), [](const auto& a, const auto& b) { return a.frame < b.frame; });
  } else {
    add_split(options.split, options);
  }
}

void Cityscapes::add_split(const std::string& split, const Options& options) {
  const fs::path images = root_ / "leftImg8bit" / split, labels = root_ / "gtFine" / split;
  const std::vector<CityscapesFrame> frames = list_cityscapes(images, kCityscapesImages);
  if (frames.empty()) fail(images, fmt::format("holds no images (<city>/*{})", kCityscapesImages));
  auto list = [&](bool used, std::string_view suffix) {
    std::vector<CityscapesFrame> found;
    if (used) found = list_cityscapes(labels, suffix);
    for (const CityscapesFrame& frame : found)
      if (!holds(frames, frame))
        report_missing(options.problems, fmt::format("{}: label map without an image: there is no {}",
                                                     (labels / frame.path(suffix)).string(),
                                                     (images / frame.path(kCityscapesImages)).string()));
    return found;
  };
  const Labels wanted = options.labels;
  const auto train_ids = list(has_labels_ && wanted != Labels::label_ids, kCityscapesTrainIds);
  const auto label_ids = list(has_labels_ && wanted != Labels::train_ids, kCityscapesLabelIds);
  if (has_labels_ && train_ids.empty() && label_ids.empty())
    fail(labels,
         wanted == Labels::label_ids
             ? fmt::format("holds no label maps (<city>/*{})", kCityscapesLabelIds)
             : fmt::format("holds no label maps (<city>/*{}); `segdata cityscapes` makes them", kCityscapesTrainIds));
  for (const CityscapesFrame& frame : frames) {
    const bool has_train_ids = holds(train_ids, frame);
    if (!has_labels_ || has_train_ids || holds(label_ids, frame)) {
      entries_.push_back({frame, split, !has_train_ids});
      continue;
    }
    const std::string_view suffix = wanted == Labels::label_ids ? kCityscapesLabelIds : kCityscapesTrainIds;
    report_missing(
        options.problems,
        fmt::format("{}: image without a label map: there is no {}{}",
                    (images / frame.path(kCityscapesImages)).string(), (labels / frame.path(suffix)).string(),
                    wanted == Labels::automatic ? fmt::format(" or *{}", kCityscapesLabelIds) : ""));
  }
}

std::vector<fs::path> Cityscapes::files(int64_t index) const {
  const Entry& entry = entries_[static_cast<size_t>(index)];
  std::vector<fs::path> paths{root_ / "leftImg8bit" / entry.split / entry.frame.path(kCityscapesImages)};
  if (has_labels_)
    paths.push_back(root_ / "gtFine" / entry.split /
                    entry.frame.path(entry.label_ids ? kCityscapesLabelIds : kCityscapesTrainIds));
  return paths;
}

Sample Cityscapes::load(int64_t index) const {
  require_sample(index);
  const Entry& entry = entries_[static_cast<size_t>(index)];
  const std::vector<fs::path> paths = files(index);
  Sample sample;
  sample.name = "leftImg8bit/" + entry.split + "/" + entry.frame.path(kCityscapesImages);
  sample.image = read_image(paths[0]);
  if (!has_labels_) return sample;
  sample.label = read_label(paths[1]);
  require_size_of_image(paths[1], sample.label, paths[0], sample.image);
  if (entry.label_ids)
    sample.label = label_ids_to_train_ids(paths[1], sample.label);
  else
    check_label_values(paths[1], sample.label, classes_.size(), classes_.ignore_index);
  return sample;
}

PredictionFile Cityscapes::prediction_file(const std::string& sample, const Image& prediction) const {
  return {.path = fs::path(sample).filename(),
          .values = relabel(prediction, cityscapes_label_ids()),
          .palette = cityscapes_label_colours()};
}

std::array<double, 3> Cityscapes::mean() const { return kCityscapesMean; }
std::array<double, 3> Cityscapes::std() const { return kCityscapesStd; }

}  // namespace segrt::data
