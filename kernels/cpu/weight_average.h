// Averages of weights on a CPU: the function of kernels/weight_average.h, arguments checked there; share is 1 - decay.
#pragma once

#include <vector>

#include "kernels/weight_average.h"

namespace segrt::kernels::cpu {

void average_weights(const std::vector<AveragedTensor>& tensors, float share, const Tensor& skip);

}  // namespace segrt::kernels::cpu
