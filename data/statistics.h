// What a dataset holds, counted over its samples.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <utility>
#include <vector>

#include "data/dataset.h"

namespace segrt::data {

struct DatasetStatistics {
  int64_t images = 0;
  std::map<std::pair<int, int>, int64_t> sizes;  // (height, width) -> images of it
  std::array<double, 3> mean{}, std{};           // of all pixels together, per RGB channel, in units of [0, 1]
  std::vector<int64_t> pixels, images_with;      // per class: pixels, and images where it is seen
  int64_t ignored = 0;                           // pixels with the ignore index
};

// Of the first `limit` samples (0: all), loaded on all threads. Counts are integers, so nothing depends on their order.
// `progress` is called after each sample, from one thread at a time, if given. Throws what loading a sample throws.
DatasetStatistics statistics_of(const Dataset& dataset, int64_t limit = 0,
                                const std::function<void(int64_t done, int64_t total)>& progress = nullptr);

}  // namespace segrt::data
