// Segmentation scores from a confusion matrix, in float64 from exact counts.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace segrt::train {

// All in [0,1]. A class without a union (IoU) or without labelled pixels (accuracy) is NaN and leaves its mean; a mean
// of nothing is NaN.
struct SegmentationScores {
  std::vector<double> iou;       // diagonal / (row sum + column sum - diagonal)
  std::vector<double> accuracy;  // diagonal / row sum
  double miou = 0;               // mean of iou
  double macc = 0;               // mean of accuracy
  double aacc = 0;               // sum of the diagonal / all pixels
  int64_t pixels = 0;            // labelled pixels counted
};

// matrix [classes,classes], row = label, column = prediction.
SegmentationScores segmentation_scores(std::span<const int64_t> matrix, int classes);

// What a predictor that always says the most frequent label would score on the same labels: the floor for any network.
SegmentationScores majority_scores(std::span<const int64_t> matrix, int classes);

// A table a person reads: one line a class (name, IoU, accuracy, share of pixels), then the means.
std::string scores_table(const SegmentationScores& scores, std::span<const std::string> class_names,
                         std::span<const int64_t> matrix);

}  // namespace segrt::train
