// The filter weights of one pass of data/resample.h.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "data/resample.h"

namespace segrt::data {

// Output i (counted from the first asked for) is sum_k weights[i * stride + k] * source[first[i] + k], k < count[i].
template <typename Weight>
struct Taps {
  int outputs = 0, stride = 0;
  std::vector<int> first, count;
  std::vector<Weight> weights;

  std::span<const Weight> of(int i) const {
    return {weights.data() + static_cast<size_t>(i) * static_cast<size_t>(stride),
            static_cast<size_t>(count[static_cast<size_t>(i)])};
  }
  int begin() const { return first.front(); }  // of the source; both ends grow with i
  int end() const { return first.back() + count.back(); }
};

// Outputs [begin, begin + outputs) of a pass from `from` to `to` values. Weights in double sum to 1.
Taps<double> make_taps(int from, int to, Filter filter, int begin, int outputs);

constexpr int kFractionBits = 22;
// The same rounded half away from zero to 22 fractional bits.
Taps<int32_t> make_fixed_taps(int from, int to, Filter filter, int begin, int outputs);

}  // namespace segrt::data
