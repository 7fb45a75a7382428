// Maximum and sum of exponentials of one row by one warp.
#pragma once

#include "kernels/cuda/device.h"

namespace segrt::kernels::cuda {

struct SoftmaxRow {
  float max, sum;  // sum_c exp(x[c] - max)
};

// All 32 lanes call this and get the same result. A NaN in the row makes the sum NaN.
template <typename T>
SEGRT_DEVICE SoftmaxRow softmax_row(const T* x, int channels) {
  // Running max and rescaled sum in one pass (Milakov & Gimelshein 2018, algorithm 3). -FLT_MAX, not -inf: an idle lane
  // must contribute 0, and exp(-inf - -inf) is NaN.
  float max = -FLT_MAX, sum = 0.0f;
  for (int c = lane_index(); c < channels; c += kWarpSize) {
    const float value = to_float(x[c]);
    const float new_max = fmaxf(max, value);
    sum = sum * expf(max - new_max) + expf(value - new_max);
    max = new_max;
  }
  const float max_all = warp_max(max);
  return {max_all, warp_sum(sum * expf(max - max_all))};
}

}  // namespace segrt::kernels::cuda
