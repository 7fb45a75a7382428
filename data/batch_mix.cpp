#include "data/batch_mix.h"

#include <algorithm>
#include <cmath>

namespace segrt::data {
namespace {

// For a shape below 1: gamma(shape + 1) * u^(1 / shape).
double draw_gamma(double shape, Rng& rng) {
  if (shape < 1) {
    const double boost = std::pow(1 - rng.uniform(), 1 / shape);
    return draw_gamma(shape + 1, rng) * boost;
  }
  const double d = shape - 1.0 / 3, c = 1 / std::sqrt(9 * d);
  for (;;) {
    const double x = rng.normal(), root = 1 + c * x;
    if (root <= 0) continue;
    const double v = root * root * root;
    if (std::log(1 - rng.uniform()) < 0.5 * x * x + d - d * v + d * std::log(v)) return d * v;
  }
}

struct Side {
  int begin, length;
};
Side clipped(int centre, int length, int side) {
  const int begin = std::clamp(centre - length / 2, 0, side), end = std::clamp(centre + length / 2, 0, side);
  return {begin, end - begin};
}

}  // namespace

double draw_beta(double a, double b, Rng& rng) {
  const double x = draw_gamma(a, rng), y = draw_gamma(b, rng);
  return x + y > 0 ? x / (x + y) : 0.5;  // tiny shapes can make both underflow
}

BatchMix draw_mix(const MixOptions& options, uint64_t seed, int64_t epoch, int64_t batch, int height, int width) {
  BatchMix mix;
  if (!options.any()) return mix;
  Rng rng(seed, stream_of({kMixStream, static_cast<uint64_t>(epoch), static_cast<uint64_t>(batch)}));
  mix.cut = options.mixup_alpha <= 0;
  if (options.mixup_alpha > 0 && options.cutmix_alpha > 0) mix.cut = rng.uniform() < options.switch_probability;
  const double alpha = mix.cut ? options.cutmix_alpha : options.mixup_alpha;
  mix.share = draw_beta(alpha, alpha, rng);
  if (!mix.cut) return mix;
  const double ratio = std::sqrt(1 - mix.share);
  const auto centre_y = static_cast<int>(rng.integer(0, height - 1));
  const auto centre_x = static_cast<int>(rng.integer(0, width - 1));
  const Side rows = clipped(centre_y, static_cast<int>(height * ratio), height);
  const Side columns = clipped(centre_x, static_cast<int>(width * ratio), width);
  mix.box = {.y = rows.begin, .x = columns.begin, .height = rows.length, .width = columns.length};
  mix.share = 1 - static_cast<double>(rows.length) * columns.length / (static_cast<double>(height) * width);
  return mix;
}

}  // namespace segrt::data
