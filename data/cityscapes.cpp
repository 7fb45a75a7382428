#include "data/cityscapes.h"

#include <fmt/format.h>

#include <algorithm>

namespace segrt::data {
namespace {

constexpr CityscapesLabel kLabels[] = {
    {0, 255, "unlabeled", {0, 0, 0}},
    {1, 255, "ego vehicle", {0, 0, 0}},
    {2, 255, "rectification border", {0, 0, 0}},
    {3, 255, "out of roi", {0, 0, 0}},
    {4, 255, "static", {0, 0, 0}},
    {5, 255, "dynamic", {111, 74, 0}},
    {6, 255, "ground", {81, 0, 81}},
    {7, 0, "road", {128, 64, 128}},
    {8, 1, "sidewalk", {244, 35, 232}},
    {9, 255, "parking", {250, 170, 160}},
    {10, 255, "rail track", {230, 150, 140}},
    {11, 2, "building", {70, 70, 70}},
    {12, 3, "wall", {102, 102, 156}},
    {13, 4, "fence", {190, 153, 153}},
    {14, 255, "guard rail", {180, 165, 180}},
    {15, 255, "bridge", {150, 100, 100}},
    {16, 255, "tunnel", {150, 120, 90}},
    {17, 5, "pole", {153, 153, 153}},
    {18, 255, "polegroup", {153, 153, 153}},
    {19, 6, "traffic light", {250, 170, 30}},
    {20, 7, "traffic sign", {220, 220, 0}},
    {21, 8, "vegetation", {107, 142, 35}},
    {22, 9, "terrain", {152, 251, 152}},
    {23, 10, "sky", {70, 130, 180}},
    {24, 11, "person", {220, 20, 60}},
    {25, 12, "rider", {255, 0, 0}},
    {26, 13, "car", {0, 0, 142}},
    {27, 14, "truck", {0, 0, 70}},
    {28, 15, "bus", {0, 60, 100}},
    {29, 255, "caravan", {0, 0, 90}},
    {30, 255, "trailer", {0, 0, 110}},
    {31, 16, "train", {0, 80, 100}},
    {32, 17, "motorcycle", {0, 0, 230}},
    {33, 18, "bicycle", {119, 11, 32}},
    {-1, 255, "license plate", {0, 0, 142}},
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

std::vector<Rgb> cityscapes_label_colours() {
  std::vector<Rgb> colours(kLabelIds);
  for (const CityscapesLabel& l : kLabels)
    if (l.id >= 0) colours[static_cast<size_t>(l.id)] = l.colour;
  return colours;
}

Image label_ids_to_train_ids(const std::filesystem::path& path, const Image& label_ids) {
  Remap map;
  for (const CityscapesLabel& l : kLabels)
    if (l.id >= 0) map.add(l.id, l.train_id);
  return relabel(path, label_ids, map, fmt::format("Cityscapes label id (0..{})", kLabelIds - 1));
}

}  // namespace segrt::data
