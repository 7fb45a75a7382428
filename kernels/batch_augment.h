// What is done to a normalised batch before a classifier sees it. f32, bf16, f16 (CPU: also f64), in place.
#pragma once

#include "core/tensor.h"

namespace segrt::kernels {

// Noise in rectangles: rectangles i64 [N,5] = y, x, height, width, stream of each image of x [N,H,W,C], C <= 4; one
// without height or width is none. Channel c of pixel p of a rectangle (row by row) becomes the normal number c of
// philox(seed, stream, p): of words a, b  r cos t, r sin t with r = sqrt(-2 log((a / 2^8 + 1) / 2^24)),
// t = 2 pi (b / 2^8) / 2^24; words 0 and 1 make the first two, 2 and 3 the others. What lies beyond the image is left.
void erase_rectangles(const Tensor& rectangles, uint64_t seed, Tensor& x);

// Mixup (Zhang et al. 2017, arXiv:1710.09412) of a batch with itself in reverse order:
// x[n] := share * x[n] + (1 - share) * x[N-1-n], in float32. N is even.
void blend_with_reversed(double share, Tensor& x);
// CutMix (Yun et al. 2019, arXiv:1905.04899): rows [top, top + height), columns [left, left + width) of x[n] := those
// of x[N-1-n]. N is even.
void swap_with_reversed(int top, int left, int height, int width, Tensor& x);

}  // namespace segrt::kernels
