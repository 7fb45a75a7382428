// Cityscapes' two numberings of its labels (Cordts et al. 2016): label ids 0..33 of the annotations (*_labelIds.png),
// and the train ids 0..18 of the evaluated classes, 255 for the rest, that networks learn (*_trainIds.png).
#pragma once

#include <array>
#include <cstdint>

#include "data/image.h"

namespace segrt::data {

using LabelMap = std::array<uint8_t, 256>;  // new value of each value

// Label id -> train id; 255 where the class is not evaluated, and for values that are no label id.
LabelMap cityscapes_train_ids();

// Train id -> label id, for predictions sent to the test server; 0 (unlabeled) for values that are no train id.
LabelMap cityscapes_label_ids();

// y[p] = map[x[p]]. Throws ArgumentError unless the image has one channel.
Image relabel(const Image& x, const LabelMap& map);

}  // namespace segrt::data
