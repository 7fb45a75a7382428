#include "data/random_erasing.h"

#include <fmt/format.h>

#include <cmath>

#include "core/error.h"

namespace segrt::data {
namespace {
constexpr int kTries = 10;
}

RandomErasing::RandomErasing(const Options& options) : options_(options) {
  if (!(options.probability >= 0 && options.probability <= 1))
    throw ArgumentError(fmt::format("random_erasing: probability must be in [0, 1], got {}", options.probability));
  if (!(options.min_area > 0 && options.min_area <= options.max_area && options.max_area <= 1))
    throw ArgumentError(fmt::format("random_erasing: area must be in (0, 1], least first, got {} to {}",
                                    options.min_area, options.max_area));
  if (!(options.min_aspect > 0 && options.min_aspect <= 1))
    throw ArgumentError(fmt::format("random_erasing: least aspect must be in (0, 1], got {}", options.min_aspect));
}

Erasure RandomErasing::draw(int height, int width, Rng& rng) const {
  if (rng.uniform() >= options_.probability) return {};
  const double image_area = static_cast<double>(height) * width, log_aspect = std::log(options_.min_aspect);
  for (int i = 0; i < kTries; ++i) {
    const double area = rng.uniform(options_.min_area, options_.max_area) * image_area;
    const double aspect = std::exp(rng.uniform(log_aspect, -log_aspect));
    Erasure e{.height = static_cast<int>(std::nearbyint(std::sqrt(area * aspect))),
              .width = static_cast<int>(std::nearbyint(std::sqrt(area / aspect)))};
    if (e.height >= height || e.width >= width) continue;
    e.y = static_cast<int>(rng.integer(0, height - e.height));
    e.x = static_cast<int>(rng.integer(0, width - e.width));
    const uint64_t high = rng.next_u32();
    e.stream = high << 32 | rng.next_u32();
    return e;
  }
  return {};
}

}  // namespace segrt::data
