#include "kernels/resample_taps.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>
#include <vector>

namespace segrt::kernels {
namespace {

struct ResampleCache {
  std::map<std::pair<int, int>, ResampleTaps> taps;
};

ResampleTaps make_taps(int in, int out, Device& device) {
  const double scale = static_cast<double>(in) / out;
  const double support = std::max(scale, 1.0);  // the triangle's half width, in source values
  const double reciprocal = 1.0 / support;
  const int stride = 2 * static_cast<int>(std::ceil(support)) + 1;
  std::vector<int32_t> first(static_cast<size_t>(out)), count(static_cast<size_t>(out));
  std::vector<double> weight(static_cast<size_t>(out) * static_cast<size_t>(stride));
  for (int i = 0; i < out; ++i) {
    const double centre = (i + 0.5) * scale;
    const int low = std::max(static_cast<int>(centre - support + 0.5), 0);
    const int high = std::min(static_cast<int>(centre + support + 0.5), in);
    double* w = weight.data() + static_cast<size_t>(i) * static_cast<size_t>(stride);
    double sum = 0.0;
    for (int j = low; j < high; ++j) {
      w[j - low] = std::max(0.0, 1.0 - std::abs((j - centre + 0.5) * reciprocal));
      sum += w[j - low];
    }
    for (int j = low; j < high; ++j) w[j - low] /= sum;  // > 0: the value nearest to the centre is in range
    first[static_cast<size_t>(i)] = low;
    count[static_cast<size_t>(i)] = high - low;
  }
  return {.in = in,
          .out = out,
          .stride = stride,
          .first = Tensor::from<int32_t>({out}, first, device),
          .count = Tensor::from<int32_t>({out}, count, device),
          .weight = Tensor::from<double>({out, stride}, weight, device)};
}

}  // namespace

ResampleTaps resample_taps(int in, int out, Device& device) {
  auto& taps = device.state<ResampleCache>().taps;
  if (const auto found = taps.find({in, out}); found != taps.end()) return found->second;
  return taps.emplace(std::pair{in, out}, make_taps(in, out, device)).first->second;
}

}  // namespace segrt::kernels
