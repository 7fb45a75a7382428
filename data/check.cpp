#include "data/check.h"

#include <array>
#include <mutex>
#include <utility>

#include "core/parallel.h"

namespace segrt::data {

CheckResult check_dataset(const Dataset& dataset, const CheckProgress& progress) {
  CheckResult result;
  result.pixels.resize(static_cast<size_t>(dataset.classes().size()));
  std::vector<std::string> problems(static_cast<size_t>(dataset.size()));
  std::mutex mutex;
  parallel_for(dataset.size(), [&](int64_t i) {
    std::array<int64_t, 256> counts{};
    try {
      const Sample sample = dataset.load(i);
      for (const uint8_t v : sample.label.pixels) ++counts[v];
    } catch (const std::exception& e) {
      problems[static_cast<size_t>(i)] = e.what();
    }
    const std::lock_guard lock(mutex);
    for (size_t k = 0; k < std::min(result.pixels.size(), counts.size()); ++k) result.pixels[k] += counts[k];
    if (const int ignore = dataset.classes().ignore_index; ignore >= 0)
      result.ignored += counts[static_cast<size_t>(ignore)];
    ++result.samples;
    if (progress) progress(result.samples, dataset.size());
  });
  for (std::string& problem : problems)
    if (!problem.empty()) result.problems.push_back(std::move(problem));
  return result;
}

}  // namespace segrt::data
