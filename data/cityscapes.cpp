#include "data/cityscapes.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "core/error.h"

namespace segrt::data {
namespace {

constexpr CityscapesLabel kLabels[] = {
    {0, 255, "unlabeled"},
    {1, 255, "ego vehicle"},
    {2, 255, "rectification border"},
    {3, 255, "out of roi"},
    {4, 255, "static"},
    {5, 255, "dynamic"},
    {6, 255, "ground"},
    {7, 0, "road"},
    {8, 1, "sidewalk"},
    {9, 255, "parking"},
    {10, 255, "rail track"},
    {11, 2, "building"},
    {12, 3, "wall"},
    {13, 4, "fence"},
    {14, 255, "guard rail"},
    {15, 255, "bridge"},
    {16, 255, "tunnel"},
    {17, 5, "pole"},
    {18, 255, "polegroup"},
    {19, 6, "traffic light"},
    {20, 7, "traffic sign"},
    {21, 8, "vegetation"},
    {22, 9, "terrain"},
    {23, 10, "sky"},
    {24, 11, "person"},
    {25, 12, "rider"},
    {26, 13, "car"},
    {27, 14, "truck"},
    {28, 15, "bus"},
    {29, 255, "caravan"},
    {30, 255, "trailer"},
    {31, 16, "train"},
    {32, 17, "motorcycle"},
    {33, 18, "bicycle"},
    {-1, 255, "license plate"},
};
constexpr int kLabelIds = 34;
constexpr int kNotEvaluated = 255;

const CityscapesLabel* named(std::string_view name) {
  const auto* found =
      std::find_if(std::begin(kLabels), std::end(kLabels), [&](const auto& l) { return l.name == name; });
  return found == std::end(kLabels) ? nullptr : found;
}

}  // namespace

std::span<const CityscapesLabel> cityscapes_label_list() { return kLabels; }

const CityscapesLabel* find_cityscapes_label(std::string_view name) {
  constexpr std::string_view kGroup = "group";
  const CityscapesLabel* label = named(name);
  if (label == nullptr && name.ends_with(kGroup)) label = named(name.substr(0, name.size() - kGroup.size()));
  return label;
}

LabelMap cityscapes_train_ids() {
  LabelMap map;
  map.fill(kNotEvaluated);
  for (const CityscapesLabel& l : kLabels)
    if (l.id >= 0) map[static_cast<size_t>(l.id)] = static_cast<uint8_t>(l.train_id);
  return map;
}

LabelMap cityscapes_label_ids() {
  LabelMap map{};
  for (const CityscapesLabel& l : kLabels)
    if (l.train_id != kNotEvaluated) map[static_cast<size_t>(l.train_id)] = static_cast<uint8_t>(l.id);
  return map;
}

Image relabel(const Image& x, const LabelMap& map) {
  if (x.channels != 1)
    throw ArgumentError("relabel: expected a label map of 1 channel, got " + std::to_string(x.channels));
  Image y(x.height, x.width, 1);
  for (size_t i = 0; i < x.pixels.size(); ++i) y.pixels[i] = map[x.pixels[i]];
  return y;
}

Image label_ids_to_train_ids(const std::filesystem::path& path, const Image& label_ids) {
  const auto bad =
      std::find_if(label_ids.pixels.begin(), label_ids.pixels.end(), [](uint8_t id) { return id >= kLabelIds; });
  if (bad != label_ids.pixels.end()) {
    const auto at = static_cast<int64_t>(bad - label_ids.pixels.begin());
    throw FileError(fmt::format("{}: value {} at row {}, column {} is no Cityscapes label id (0..{})", path.string(),
                                *bad, at / label_ids.width, at % label_ids.width, kLabelIds - 1));
  }
  return relabel(label_ids, cityscapes_train_ids());
}

}  // namespace segrt::data
