// CUDA side of resample_bilinear (kernels/resize.h): its two passes.
#pragma once

#include "kernels/resample_taps.h"

namespace segrt::kernels::cuda {

// y [outer,out,inner] f32 = float(sum over the taps of weight * x [outer,in,inner]), sums in double in ascending order.
// A horizontal pass has outer = N*H, inner = C; a vertical one outer = N, inner = W*C.
void resample_pass(const Tensor& x, const ResampleTaps& taps, int64_t outer, int64_t inner, Tensor& y);

}  // namespace segrt::kernels::cuda
