// Initial values of parameters: drawn from (seed, counter), so a network of one seed is the same on every device.
#pragma once

#include <cstdint>

#include "core/tensor.h"

namespace segrt::nn {

class Init {
 public:
  Init(Device& device, uint64_t seed) : device_(device), seed_(seed) {}
  Device& device() const { return device_; }
  uint64_t seed() const { return seed_; }

  // float32 tensors. Each call uses the next stream of the seed; on a meta device nothing is drawn.
  Tensor normal(const Shape& shape, double std);
  // Values beyond +-bound are drawn again.
  Tensor truncated_normal(const Shape& shape, double std, double bound);
  Tensor uniform(const Shape& shape, double low, double high);
  Tensor constant(const Shape& shape, double value);

 private:
  template <typename F>
  Tensor drawn(const Shape& shape, const F& value);

  Device& device_;
  uint64_t seed_;
  uint64_t stream_ = 0;
};

}  // namespace segrt::nn
