// Division of element indices: by multiplication for the usual tensors below 2^31 elements, by division beyond.
#pragma once

#include <cstdint>

#include "kernels/cuda/divisor.h"

namespace segrt::kernels::cuda {

class WideDivisor {
 public:
  WideDivisor() = default;
  // Divides indices below `count` by `extent`.
  WideDivisor(int64_t extent, int64_t count)
      : extent_(extent), fast_(count <= INT32_MAX), divisor_(static_cast<int>(fast_ ? extent : 1)) {}
  SEGRT_HOST_DEVICE int64_t operator()(int64_t index) const {
    return fast_ ? divisor_(static_cast<int>(index)) : index / extent_;
  }
  SEGRT_HOST_DEVICE int64_t extent() const { return extent_; }

 private:
  int64_t extent_;
  bool fast_;
  Divisor divisor_;
};

}  // namespace segrt::kernels::cuda
