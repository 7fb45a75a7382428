#include "data/statistics.h"

#include <algorithm>
#include <cmath>
#include <mutex>

#include "core/parallel.h"

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

DatasetStatistics statistics_of(const Dataset& dataset, int64_t limit,
                                const std::function<void(int64_t done, int64_t total)>& progress) {
  const int64_t images = limit > 0 ? std::min(limit, dataset.size()) : dataset.size();
  const auto classes = static_cast<size_t>(dataset.classes().size());
  DatasetStatistics s;
  s.pixels.resize(classes);
  s.images_with.resize(classes);
  Counts total;
  std::mutex mutex;
  parallel_for(images, [&](int64_t i) {
    const Sample sample = dataset.load(i);
    const Counts counts = count(sample);
    const std::lock_guard lock(mutex);
    for (size_t c = 0; c < 3; ++c)
      for (size_t v = 0; v < 256; ++v) total.values[c][v] += counts.values[c][v];
    for (size_t k = 0; k < classes; ++k) {
      s.pixels[k] += counts.labels[k];
      s.images_with[k] += counts.labels[k] > 0;
    }
    s.ignored += counts.labels[static_cast<size_t>(dataset.classes().ignore_index)];
    ++s.sizes[{sample.image.height, sample.image.width}];
    ++s.images;
    if (progress) progress(s.images, images);
  });
  set_mean_and_std(total, s);
  return s;
}

}  // namespace segrt::data
