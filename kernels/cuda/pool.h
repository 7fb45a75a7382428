// CUDA side of kernels/pool.h.
#pragma once

#include "kernels/pool.h"

namespace segrt::kernels::cuda {

void max_pool2d_forward(const Tensor& x, const PoolGeometry& g, Tensor& y, Tensor& index);
void max_pool2d_backward(const Tensor& dy, const Tensor& index, const PoolGeometry& g, Tensor& dx);
void avg_pool2d_forward(const Tensor& x, const PoolGeometry& g, Tensor& y);
void avg_pool2d_backward(const Tensor& dy, const PoolGeometry& g, Tensor& dx);
void global_avg_pool_forward(const Tensor& x, Tensor& y);
void global_avg_pool_backward(const Tensor& dy, Tensor& dx);

}  // namespace segrt::kernels::cuda
