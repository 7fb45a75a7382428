#include "data/cityscapes.h"

#include <string>

#include "core/error.h"

namespace segrt::data {
namespace {
// The label id of each train id.
constexpr std::array<uint8_t, 19> kLabelIds = {7,  8,  11, 12, 13, 17, 19, 20, 21, 22,
                                               23, 24, 25, 26, 27, 28, 31, 32, 33};
}  // namespace

LabelMap cityscapes_train_ids() {
  LabelMap map;
  map.fill(255);
  for (size_t k = 0; k < kLabelIds.size(); ++k) map[kLabelIds[k]] = static_cast<uint8_t>(k);
  return map;
}

LabelMap cityscapes_label_ids() {
  LabelMap map{};
  for (size_t k = 0; k < kLabelIds.size(); ++k) map[k] = kLabelIds[k];
  return map;
}

Image relabel(const Image& x, const LabelMap& map) {
  if (x.channels != 1)
    throw ArgumentError("relabel: expected a label map of 1 channel, got " + std::to_string(x.channels));
  Image y(x.height, x.width, 1);
  for (size_t i = 0; i < x.pixels.size(); ++i) y.pixels[i] = map[x.pixels[i]];
  return y;
}

}  // namespace segrt::data
