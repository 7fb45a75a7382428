// A map cut into square patches: each becomes one cell, with all its values or with their means.
#pragma once

#include "core/tensor.h"

namespace segrt::kernels {

// Of the patches of side x side pixels of x [N,H,W,C], H and W multiples of `side`:
// patches [N,H/side,W/side,C*side*side]: channel c*side*side + i*side + j is x[n, y*side + i, x*side + j, c]
// (space-to-depth in the order of PyTorch's PixelUnshuffle);  means [N,H/side,W/side,C].
// Either may be nullptr; both come from one read of x. f32, bf16, f16 (CPU: also f64), one dtype.
void split_patches(const Tensor& x, int side, Tensor* patches, Tensor* means);

// dx [N,H,W,C] = the gradient of both (or of the one that is given).
void split_patches_backward(const Tensor* dpatches, const Tensor* dmeans, int side, Tensor& dx);

}  // namespace segrt::kernels
