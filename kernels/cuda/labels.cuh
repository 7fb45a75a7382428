// Class labels in a kernel. A label that is no class cannot stop a launch: its weight is NaN, and so is the loss.
#pragma once

#include <limits>

#include "kernels/cuda/device.h"

namespace segrt::kernels::cuda {

struct LabelWeights {
  int64_t ignore_index;
  const float* weight;  // [C] or null: all ones
  int classes;

  SEGRT_DEVICE bool counts(int64_t label) const { return label != ignore_index; }
  SEGRT_DEVICE bool is_class(int64_t label) const { return label >= 0 && label < classes; }
  // weight[label]; 0 where ignored.
  SEGRT_DEVICE float of(int64_t label) const {
    if (!counts(label)) return 0.0f;
    if (!is_class(label)) return std::numeric_limits<float>::quiet_NaN();
    return weight != nullptr ? weight[label] : 1.0f;
  }
};

}  // namespace segrt::kernels::cuda
