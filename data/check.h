// Everything that is wrong with a data set, instead of the first thing.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "data/dataset.h"

namespace segrt::data {

struct CheckResult {
  int64_t samples = 0;                // read
  std::vector<std::string> problems;  // one line each, beginning with the file, in the order of the samples
  std::vector<int64_t> pixels;        // per class, of the samples without a problem
  int64_t ignored = 0;                // pixels with the ignore index
};
using CheckProgress = std::function<void(int64_t done, int64_t total)>;

// Loads every sample on all threads: unreadable and truncated files, label maps of another size than their image and
// values that are no class are problems. `progress` is called after each sample, from one thread at a time, if given.
CheckResult check_dataset(const Dataset& dataset, const CheckProgress& progress = nullptr);

}  // namespace segrt::data
