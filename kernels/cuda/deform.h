// CUDA side of kernels/deform.h: same names, same arguments, already checked; there is a row of offsets at least.
#pragma once

#include "kernels/deform.h"

namespace segrt::kernels::cuda {

void deform_unfold(const DeformInput& in, int64_t first_row, Tensor& columns);
void deform_unfold_backward(const DeformInput& in, int64_t first_row, const Tensor& dcolumns,
                            const DeformGradients& gradients);

}  // namespace segrt::kernels::cuda
