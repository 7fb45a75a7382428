// Exponential moving averages of weights, for all tensors in one launch.
#pragma once

#include <vector>

#include "core/tensor.h"

namespace segrt::kernels {

// f32, of one shape, on one device with all others; they do not overlap.
struct AveragedTensor {
  Tensor average, value;
};
// average += (1 - decay) * (value - average), which leaves alone what has not changed; 1 - decay is rounded to f32
// once. decay in [0, 1). skip i32 [1] or undefined: where it is not 0, nothing changes. Bumps the version of every
// average.
void average_weights(std::vector<AveragedTensor>& tensors, double decay, const Tensor& skip = {});

}  // namespace segrt::kernels
