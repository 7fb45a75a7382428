#include "data/statistics.h"

#include <algorithm>
#include <cmath>
#include <mutex>
#include <numeric>
#include <utility>

#include "core/parallel.h"
#include "core/random.h"

namespace segrt::data {
namespace {

struct Counts {
  std::array<std::array<int64_t, 256>, 3> values{};  // of the image's channels
  std::array<int64_t, 256> labels{};
};

Counts count(const Sample& sample) {
  Counts counts;
  const std::vector<uint8_t>& pixels = sample.image.pixels;
  for (size_t i = 0; i + 2 < pixels.size(); i += 3)
    for (size_t c = 0; c < 3; ++c) ++counts.values[c][pixels[i + c]];
  for (const uint8_t label : sample.label.pixels) ++counts.labels[label];
  return counts;
}

void set_mean_and_std(const Counts& total, DatasetStatistics& s) {
  for (size_t c = 0; c < 3; ++c) {
    double n = 0, sum = 0, squares = 0;
    for (size_t v = 0; v < 256; ++v) {
      const auto times = static_cast<double>(total.values[c][v]), value = static_cast<double>(v) / 255;
      n += times;
      sum += times * value;
    }
    if (n == 0) continue;
    s.mean[c] = sum / n;
    for (size_t v = 0; v < 256; ++v) {
      const double deviation = static_cast<double>(v) / 255 - s.mean[c];
      squares += static_cast<double>(total.values[c][v]) * deviation * deviation;
    }
    s.std[c] = std::sqrt(squares / n);
  }
}

}  // namespace

DatasetStatistics statistics_of(const Dataset& dataset, std::span<const int64_t> samples,
                                const StatisticsProgress& progress) {
  const auto images = static_cast<int64_t>(samples.size());
  const bool maps = dataset.has_labels() && !dataset.is_classification();
  const auto classes = static_cast<size_t>(dataset.classes().size());
  DatasetStatistics s;
  s.pixels.resize(classes);
  s.images_with.resize(classes);
  Counts total;
  std::mutex mutex;
  parallel_for(images, [&](int64_t i) {
    const Sample sample = dataset.load(samples[static_cast<size_t>(i)]);
    const Counts counts = count(sample);
    const std::lock_guard lock(mutex);
    for (size_t c = 0; c < 3; ++c)
      for (size_t v = 0; v < 256; ++v) total.values[c][v] += counts.values[c][v];
    for (size_t k = 0; maps && k < classes; ++k) {
      s.pixels[k] += counts.labels[k];
      s.images_with[k] += counts.labels[k] > 0;
    }
    if (maps) s.ignored += counts.labels[static_cast<size_t>(dataset.classes().ignore_index)];
    ++s.sizes[{sample.image.height, sample.image.width}];
    ++s.images;
    if (progress) progress(s.images, images);
  });
  for (int64_t i = 0; dataset.has_labels() && !maps && i < dataset.size(); ++i)
    ++s.images_with[static_cast<size_t>(dataset.class_of(i))];
  set_mean_and_std(total, s);
  return s;
}

DatasetStatistics statistics_of(const Dataset& dataset, int64_t limit, const StatisticsProgress& progress) {
  std::vector<int64_t> first(static_cast<size_t>(limit > 0 ? std::min(limit, dataset.size()) : dataset.size()));
  std::iota(first.begin(), first.end(), int64_t{0});
  return statistics_of(dataset, first, progress);
}

std::vector<int64_t> random_samples(int64_t size, int64_t count, uint64_t seed) {
  std::vector<int64_t> numbers(static_cast<size_t>(size));
  std::iota(numbers.begin(), numbers.end(), int64_t{0});
  count = std::clamp(count, int64_t{0}, size);
  Rng rng(seed, 0);
  for (int64_t i = 0; i < count; ++i)  // the first steps of a Fisher-Yates shuffle
    std::swap(numbers[static_cast<size_t>(i)], numbers[static_cast<size_t>(rng.integer(i, size - 1))]);
  numbers.resize(static_cast<size_t>(count));
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

}  // namespace segrt::data
