// info.json: what is known of a dataset's training images.
#pragma once

#include <array>
#include <filesystem>
#include <string>
#include <utility>

#include "data/dataset.h"
#include "data/statistics.h"

namespace segrt::data {

// "mean" and "std" of info.json, each [r,g,b] in units of [0, 1]; other keys are for people. Throws FileError naming
// the key that is missing or out of range; std must be above 0.
std::pair<std::array<double, 3>, std::array<double, 3>> read_mean_and_std(const std::filesystem::path& path);

// The text of info.json for `statistics` of `dataset`: mean and std as read_mean_and_std wants them, how many images
// they are of, and the classes: by pixel (pixels, their share, images that show the class; ignored pixels) or, in
// classification, images by class. Shares are of all pixels or images that have a class. Throws Error where a channel
// has one value alone: no network could be given images divided by a std of 0.
std::string dataset_info(const Dataset& dataset, const DatasetStatistics& statistics);

}  // namespace segrt::data
