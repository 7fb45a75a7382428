// Stored pictures and label maps as images.
#pragma once

#include <string>
#include <vector>

#include "data/image.h"
#include "tests/tools/segrt_golden/golden_file.h"

namespace segrt::golden {

// u8 [h,w] or [h,w,c].
data::Image picture(GoldenFile& file, const std::string& name);
// An image's values as doubles.
std::vector<double> pixels(const data::Image& image);
// Maps [...,c,h,w] -> [...,h,w,c] of n leading pictures, and back.
std::vector<double> to_channels_last(const std::vector<double>& x, int64_t n, int64_t c);
std::vector<double> to_channels_first(const std::vector<double>& x, int64_t n, int64_t c);

// mean and std of the metadata `info`.
struct Normalisation {
  std::array<double, 3> mean, std;
};
Normalisation normalisation(GoldenFile& file);

// Confusion matrix [classes,classes] of two label maps, counted on the device.
std::vector<int64_t> confusion(const data::Image& label, const data::Image& prediction, int classes, Device& device);

// 100 times each class's IoU, NaN for a class with an empty union; then their mean rounded to two decimals.
struct PercentScores {
  std::vector<double> iou;
  double mean_rounded;
};
PercentScores percent_scores(const std::vector<int64_t>& confusion, int classes);

}  // namespace segrt::golden
