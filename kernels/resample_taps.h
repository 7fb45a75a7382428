// The filter tables of resample_bilinear (kernels/resize.h), computed once for a pair of sizes and kept with the
// device.
#pragma once

#include "core/tensor.h"

namespace segrt::kernels {

// Output i of a pass from `in` to `out` values has centre c = (i + 0.5) * in/out and, with f = max(in/out, 1), reads
// the values j in [max(int(c - f + 0.5), 0), min(int(c + f + 0.5), in)) with weights max(0, 1 - |(j - c + 0.5) *
// (1/f)|) divided by their sum, all in double without fused multiply-adds.
struct ResampleTaps {
  int in = 0, out = 0;
  int stride = 0;  // weights of an output
  Tensor first;    // i32 [out]
  Tensor count;    // i32 [out]
  Tensor weight;   // f64 [out, stride]
};
ResampleTaps resample_taps(int in, int out, Device& device);

}  // namespace segrt::kernels
