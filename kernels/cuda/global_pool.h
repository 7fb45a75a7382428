// The first stage of global average pooling, for what goes on with the sums itself.
#pragma once

#include "core/tensor.h"

namespace segrt::kernels::cuda {

// f32 [N, parts, C]: sums of x [N,H,W,C] over successive runs of 256 pixels. One order of additions.
Tensor pool_partials(const Tensor& x);

}  // namespace segrt::kernels::cuda
