// What a user of a network's weights must know of the data they were trained on.
#pragma once

#include <array>

#include "core/config.h"
#include "data/dataset.h"

namespace segrt::train {

struct DatasetCard {
  std::array<double, 3> mean{}, std{};  // per RGB channel, in units of [0,1]
  data::LabelTable classes = {};
};
DatasetCard card_of(const data::Dataset& dataset);

// The card of the dataset that a configuration names, for weight files that carry none. What photos such weights are
// asked about is another matter, so published data sets need not be there: their classes, mean and std are known
// (ImageNet's class names from data.class_names, else "class 0", ...). Throws ConfigError, FileError.
DatasetCard configured_card(const Config& config);

}  // namespace segrt::train
