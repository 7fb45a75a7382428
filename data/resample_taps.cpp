#include "data/resample_taps.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace segrt::data {
namespace {

double support_of(Filter filter) {
  switch (filter) {
    case Filter::bilinear: return 1.0;
    case Filter::bicubic: return 2.0;
    default: return 3.0;
  }
}

double sinc(double x) {
  if (x == 0.0) return 1.0;
  x *= std::numbers::pi;
  return std::sin(x) / x;
}

// The polynomials are written as Pillow evaluates them: the last bit of a weight shows in float maps.
double filter_value(Filter filter, double x) {
  switch (filter) {
    case Filter::bilinear: x = std::abs(x); return x < 1.0 ? 1.0 - x : 0.0;
    case Filter::bicubic: {
      constexpr double a = -0.5;
      x = std::abs(x);
      if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
      if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
      return 0.0;
    }
    default: return -3.0 <= x && x < 3.0 ? sinc(x) * sinc(x / 3) : 0.0;
  }
}

}  // namespace

Taps<double> make_taps(int from, int to, Filter filter, int begin, int outputs) {
  const double scale = static_cast<double>(from) / to;
  const double stretch = std::max(scale, 1.0);
  const double support = support_of(filter) * stretch;
  const double reciprocal = 1.0 / stretch;

  Taps<double> taps;
  taps.outputs = outputs;
  taps.stride = static_cast<int>(std::ceil(support)) * 2 + 1;
  taps.first.resize(static_cast<size_t>(outputs));
  taps.count.resize(static_cast<size_t>(outputs));
  taps.weights.resize(static_cast<size_t>(outputs) * static_cast<size_t>(taps.stride));
  for (int i = 0; i < outputs; ++i) {
    const double centre = (begin + i + 0.5) * scale;
    const int low = std::max(static_cast<int>(centre - support + 0.5), 0);
    const int high = std::min(static_cast<int>(centre + support + 0.5), from);
    double* w = taps.weights.data() + static_cast<size_t>(i) * static_cast<size_t>(taps.stride);
    double sum = 0.0;
    for (int k = 0; k < high - low; ++k) {
      w[k] = filter_value(filter, (k + low - centre + 0.5) * reciprocal);
      sum += w[k];
    }
    if (sum != 0.0)
      for (int k = 0; k < high - low; ++k) w[k] /= sum;
    taps.first[static_cast<size_t>(i)] = low;
    taps.count[static_cast<size_t>(i)] = high - low;
  }
  return taps;
}

Taps<int32_t> make_fixed_taps(int from, int to, Filter filter, int begin, int outputs) {
  const Taps<double> taps = make_taps(from, to, filter, begin, outputs);
  Taps<int32_t> fixed{
      .outputs = taps.outputs, .stride = taps.stride, .first = taps.first, .count = taps.count, .weights = {}};
  fixed.weights.resize(taps.weights.size());
  std::transform(taps.weights.begin(), taps.weights.end(), fixed.weights.begin(),
                 [](double w) { return static_cast<int32_t>((w < 0 ? -0.5 : 0.5) + w * (1 << kFractionBits)); });
  return fixed;
}

}  // namespace segrt::data
