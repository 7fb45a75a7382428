// One axis' tables of a two-tap resize (UpsampleAxis) as a kernel takes them.
#pragma once

#include "kernels/cuda/device.h"
#include "kernels/upsample_loss.h"

namespace segrt::kernels::cuda {

struct AxisView {
  int in, out;
  const int32_t* index;
  const float* weight;
  const int32_t* last;

  explicit AxisView(const UpsampleAxis& a)
      : in(a.in),
        out(a.out),
        index(a.index.data<int32_t>()),
        weight(a.weight.data<float>()),
        last(a.last.data<int32_t>()) {}

  // Where the second tap of an output with this index reads.
  SEGRT_DEVICE int second(int first_tap) const { return first_tap + 1 < in ? first_tap + 1 : in - 1; }
  // Outputs with index j are [begin(j), begin(j + 1)); those that read input j are [begin(j - 1), begin(j + 1)).
  SEGRT_DEVICE int begin(int j) const { return j <= 0 ? 0 : last[j - 1]; }
  // What output i takes of input j; 0 if it does not read it. At the last input both taps are the same.
  SEGRT_DEVICE float weight_of(int i, int j) const {
    const int first_tap = index[i];
    return (first_tap == j ? weight[2 * i] : 0.0f) + (second(first_tap) == j ? weight[2 * i + 1] : 0.0f);
  }
};

}  // namespace segrt::kernels::cuda
