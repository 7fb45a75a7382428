// What a dataset holds, counted over its samples.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "data/dataset.h"

namespace segrt::data {

struct DatasetStatistics {
  int64_t images = 0;
  std::map<std::pair<int, int>, int64_t> sizes;  // (height, width) -> images of it
  std::array<double, 3> mean{}, std{};           // of all pixels together, per RGB channel, in units of [0, 1]
  // Per class: pixels, and images where it is seen. In classification: no pixels, and the images of each class in the
  // whole dataset, which costs no reading.
  std::vector<int64_t> pixels, images_with;
  int64_t ignored = 0;  // pixels with the ignore index
};

using StatisticsProgress = std::function<void(int64_t done, int64_t total)>;

// Of these samples, loaded on all threads. Counts are integers, so nothing depends on their order. `progress` is called
// after each sample, from one thread at a time, if given. Throws what loading a sample throws.
DatasetStatistics statistics_of(const Dataset& dataset, std::span<const int64_t> samples,
                                const StatisticsProgress& progress = nullptr);
// Of the first `limit` samples (0: all).
DatasetStatistics statistics_of(const Dataset& dataset, int64_t limit = 0,
                                const StatisticsProgress& progress = nullptr);

// `count` different numbers of [0, size), or all of them where there are no more; ascending, a function of the seed.
std::vector<int64_t> random_samples(int64_t size, int64_t count, uint64_t seed);

}  // namespace segrt::data
