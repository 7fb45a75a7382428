// Division by a number that is fixed for a launch: a multiplication and a shift instead of some 20 instructions.
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace segrt::kernels::cuda {

// n / d for 0 <= n < 2^31 and d >= 1: (n * m) >> (31 + s) with s = ceil(log2 d) and m = floor(2^(31+s) / d) + 1.
// Exact: m d exceeds 2^(31+s) by at most d <= 2^s, which adds less than 1/d to the quotient (Granlund & Montgomery
// 1994, theorem 4.2). d = 0 counts as 1, so that the divisor of an empty extent can exist.
class Divisor {
 public:
  Divisor() = default;
  SEGRT_HOST_DEVICE explicit Divisor(int d) {
    shift_ = 31;
    while (shift_ < 62 && (int64_t{1} << (shift_ - 31)) < d) ++shift_;
    multiplier_ = static_cast<uint32_t>((uint64_t{1} << shift_) / static_cast<uint64_t>(d < 1 ? 1 : d) + 1);
  }
  SEGRT_HOST_DEVICE int operator()(int n) const {
    return static_cast<int>((static_cast<uint64_t>(n) * multiplier_) >> shift_);
  }

 private:
  uint32_t multiplier_;
  int shift_;
};

}  // namespace segrt::kernels::cuda
