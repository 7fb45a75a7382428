// CUDA side of kernels/batch_augment.h.
#pragma once

#include "kernels/batch_augment.h"

namespace segrt::kernels::cuda {

void erase_rectangles(const Tensor& rectangles, uint64_t seed, Tensor& x);
void blend_with_reversed(double share, Tensor& x);
void swap_with_reversed(int top, int left, int height, int width, Tensor& x);

}  // namespace segrt::kernels::cuda
