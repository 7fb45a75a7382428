// Differentiable pooling and resizing; formulas in kernels/pool.h and kernels/resize.h.
#pragma once

#include "autograd/tape.h"
#include "kernels/pool.h"
#include "kernels/resize.h"

namespace segrt::autograd {

Var max_pool2d(const Var& x, const kernels::PoolGeometry& g);
Var avg_pool2d(const Var& x, const kernels::PoolGeometry& g);
Var global_avg_pool(const Var& x);  // [N,H,W,C] -> [N,1,1,C]

// x [N,H,W,C] -> [N,height,width,C].
Var resize(const Var& x, int height, int width, const kernels::ResizeOptions& o);

}  // namespace segrt::autograd
