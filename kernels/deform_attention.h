// The attention of DGMN2 (Zhang et al. 2020, arXiv:1908.06955; 2022): every query of a map looks at nine keys, a 3x3
// window moved by predicted offsets. Keys and values are sampled where they are needed; the nine-fold unfolded maps are
// never stored. See docs/deform_attention.md.
#pragma once

#include "core/tensor.h"

namespace segrt::kernels {

// With heads of 64 channels and, for query p = (y, x) of a head and taps t = 0..8, the points s[p,t] of
// kernels/attention_taps.h and bilinear samples K, V there (0 outside of the map):
//   l[p,t] = (q[p] . K(s[p,t])) / 8 + q[p] . rel_width[W-1-x+t] + height_logits[p,t]
//   y[p] = sum_t a[p,t] V(s[p,t]),  a[p,:] = softmax_t l[p,:]
// qkv [N,H,W,3*heads*64] f32, bf16, f16 (CPU: also f64), ordered q, k, v, each by heads; offset [N,H,W,heads*18] of the
// same type, tap t's dy at 2t and dx at 2t+1. rel_width [W+8,64], height_logits [N,H,W,heads*9] (position_logits.h) and
// probabilities a [N,H,W,heads*9] f32 (f64 for f64). y [N,H,W,heads*64] like qkv. Coordinates, logits and sums in f32
// or better. probabilities may be null.
void deform_attention_forward(const Tensor& qkv, const Tensor& offset, const Tensor& rel_width,
                              const Tensor& height_logits, Tensor& y, Tensor* probabilities);

// Gradients of all but rel_width, which follows from dlogits (position_logits.h). dqkv like qkv (its q part without
// what comes through height_logits), doffset like offset, dlogits like probabilities: the gradient of l, and so of
// height_logits. Gathered, in an order that follows from shapes and offsets: deterministic. A tap outside of the map
// passes on nothing; at whole coordinates derivatives are those to the right.
void deform_attention_backward(const Tensor& dy, const Tensor& qkv, const Tensor& offset, const Tensor& rel_width,
                               const Tensor& probabilities, Tensor& dqkv, Tensor& doffset, Tensor& dlogits);

}  // namespace segrt::kernels
