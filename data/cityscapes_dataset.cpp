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
      split_(options.split),
      name_("cityscapes/" + options.split),
      has_labels_(options.split != "test"),
      classes_(cityscapes_labels()) {
  if (!fs::is_directory(root_)) fail(root_, fs::exists(root_) ? "is not a folder" : "no such folder");
  const fs::path images = root_ / "leftImg8bit" / split_;
  frames_ = list_cityscapes(images, kCityscapesImages);
  if (frames_.empty()) fail(images, fmt::format("holds no images (<city>/*{})", kCityscapesImages));
  if (has_labels_) find_labels(options.labels);
}

void Cityscapes::find_labels(Labels wanted) {
  const fs::path images = root_ / "leftImg8bit" / split_, labels = root_ / "gtFine" / split_;
  auto list = [&](bool used, std::string_view suffix) {
    std::vector<CityscapesFrame> found;
    if (used) found = list_cityscapes(labels, suffix);
    for (const CityscapesFrame& frame : found)
      if (!holds(frames_, frame))
        fail(labels / frame.path(suffix), fmt::format("label map without an image: there is no {}",
                                                      (images / frame.path(kCityscapesImages)).string()));
    return found;
  };
  const auto train_ids = list(wanted != Labels::label_ids, kCityscapesTrainIds);
  const auto label_ids = list(wanted != Labels::train_ids, kCityscapesLabelIds);
  if (train_ids.empty() && label_ids.empty())
    fail(labels,
         wanted == Labels::label_ids
             ? fmt::format("holds no label maps (<city>/*{})", kCityscapesLabelIds)
             : fmt::format("holds no label maps (<city>/*{}); `segdata cityscapes` makes them", kCityscapesTrainIds));
  for (const CityscapesFrame& frame : frames_) {
    const bool has_train_ids = holds(train_ids, frame);
    if (!has_train_ids && !holds(label_ids, frame)) {
      const std::string_view suffix = wanted == Labels::label_ids ? kCityscapesLabelIds : kCityscapesTrainIds;
      fail(images / frame.path(kCityscapesImages),
           fmt::format("image without a label map: there is no {}{}", (labels / frame.path(suffix)).string(),
                       wanted == Labels::automatic ? fmt::format(" or *{}", kCityscapesLabelIds) : ""));
    }
    label_ids_.push_back(!has_train_ids);
  }
}

Sample Cityscapes::load(int64_t index) const {
  if (index < 0 || index >= size()) throw ArgumentError(fmt::format("{}: sample {} of {}", name_, index, size()));
  const auto i = static_cast<size_t>(index);
  const CityscapesFrame& frame = frames_[i];
  Sample sample;
  sample.name = "leftImg8bit/" + split_ + "/" + frame.path(kCityscapesImages);
  const fs::path image_file = root_ / sample.name;
  sample.image = read_image(image_file);
  if (!has_labels_) return sample;
  const fs::path label_file =
      root_ / "gtFine" / split_ / frame.path(label_ids_[i] ? kCityscapesLabelIds : kCityscapesTrainIds);
  sample.label = read_label(label_file);
  if (sample.label.height != sample.image.height || sample.label.width != sample.image.width)
    fail(label_file, fmt::format("label map is {}x{}, but {} is {}x{} (width x height)", sample.label.width,
                                 sample.label.height, image_file.string(), sample.image.width, sample.image.height));
  if (label_ids_[i])
    sample.label = label_ids_to_train_ids(label_file, sample.label);
  else
    check_label_values(label_file, sample.label, classes_.size(), classes_.ignore_index);
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
