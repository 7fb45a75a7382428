#include "train/metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"

namespace segrt::train {
namespace {
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

double ratio(int64_t part, int64_t whole) {
  return whole == 0 ? kNaN : static_cast<double>(part) / static_cast<double>(whole);
}

double mean_of_defined(const std::vector<double>& values) {
  double sum = 0;
  int64_t count = 0;
  for (const double v : values)
    if (!std::isnan(v)) {
      sum += v;
      ++count;
    }
  return count == 0 ? kNaN : sum / static_cast<double>(count);
}

std::string percent(double v) { return std::isnan(v) ? "    -" : fmt::format("{:5.2f}", 100 * v); }
}  // namespace

SegmentationScores segmentation_scores(std::span<const int64_t> matrix, int classes) {
  const auto k = static_cast<size_t>(classes);
  if (matrix.size() != k * k)
    throw ArgumentError(
        fmt::format("segmentation_scores: expected {}x{} counts, got {}", classes, classes, matrix.size()));
  SegmentationScores s;
  int64_t correct = 0;
  for (size_t c = 0; c < k; ++c) {
    int64_t row = 0, column = 0;
    for (size_t j = 0; j < k; ++j) {
      row += matrix[c * k + j];
      column += matrix[j * k + c];
    }
    const int64_t diagonal = matrix[c * k + c];
    s.iou.push_back(ratio(diagonal, row + column - diagonal));
    s.accuracy.push_back(ratio(diagonal, row));
    correct += diagonal;
    s.pixels += row;
  }
  s.miou = mean_of_defined(s.iou);
  s.macc = mean_of_defined(s.accuracy);
  s.aacc = ratio(correct, s.pixels);
  return s;
}

SegmentationScores majority_scores(std::span<const int64_t> matrix, int classes) {
  const auto k = static_cast<size_t>(classes);
  std::vector<int64_t> rows(k);
  for (size_t i = 0; i < matrix.size(); ++i) rows[i / k] += matrix[i];
  const auto majority = static_cast<size_t>(std::max_element(rows.begin(), rows.end()) - rows.begin());
  std::vector<int64_t> constant(k * k);
  for (size_t c = 0; c < k; ++c) constant[c * k + majority] = rows[c];
  return segmentation_scores(constant, classes);
}

std::string scores_table(const SegmentationScores& s, std::span<const std::string> names,
                         std::span<const int64_t> matrix) {
  const size_t k = s.iou.size();
  std::string text = fmt::format("{:<16} {:>6} {:>6} {:>7}\n", "class", "IoU %", "acc %", "pixel %");
  for (size_t c = 0; c < k; ++c) {
    int64_t row = 0;
    for (size_t j = 0; j < k; ++j) row += matrix[c * k + j];
    text += fmt::format("{:<16}  {}  {}  {:6.2f}\n", c < names.size() ? names[c] : std::to_string(c), percent(s.iou[c]),
                        percent(s.accuracy[c]), s.pixels == 0 ? 0.0 : 100 * ratio(row, s.pixels));
  }
  return text + fmt::format("mIoU {} %   mAcc {} %   aAcc {} %   ({} pixels)", percent(s.miou), percent(s.macc),
                            percent(s.aacc), s.pixels);
}

}  // namespace segrt::train
