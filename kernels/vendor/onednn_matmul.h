// oneDNN matrix products, f32 and bf16, with primitives kept with the device.
#pragma once

#include "kernels/matmul.h"

namespace segrt::kernels::vendor {

// kernels/matmul.h's op; arguments are checked and not empty. False: oneDNN has no kernel for it, nothing was written.
bool onednn_matmul(const Tensor& a, const Tensor& b, const MatmulOptions& options, Tensor& c);

}  // namespace segrt::kernels::vendor
