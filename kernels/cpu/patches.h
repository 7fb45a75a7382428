// CPU side of kernels/patches.h.
#pragma once

#include "kernels/patches.h"

namespace segrt::kernels::cpu {

void split_patches(const Tensor& x, int side, Tensor* patches, Tensor* means);
void split_patches_backward(const Tensor* dpatches, const Tensor* dmeans, int side, Tensor& dx);

}  // namespace segrt::kernels::cpu
