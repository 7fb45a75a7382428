// Times work on a device's compute stream with CUDA events.
#pragma once

#include <functional>

#include "core/cuda/cuda_device.h"

namespace segrt::kernels::vendor {

class EventTimer {
 public:
  explicit EventTimer(Device& device);
  // Milliseconds of one run of `work`: the median of several after a warm-up (the first run loads code, and is never
  // counted). Gives up after the warm-up, and returns what it took, where that is far above `best_ms`.
  double median_ms(const std::function<void()>& work, double best_ms);

 private:
  double once_ms(const std::function<void()>& work);

  CudaDevice& device_;
  CudaEvent begin_, end_;
};

}  // namespace segrt::kernels::vendor
