// CUDA side of kernels/deform_attention.h.
#pragma once

#include "kernels/deform_attention.h"

namespace segrt::kernels::cuda {

void deform_attention_forward(const Tensor& qkv, const Tensor& offset, const Tensor& rel_width,
                              const Tensor& height_logits, Tensor& y, Tensor* probabilities);
void deform_attention_backward(const Tensor& dy, const Tensor& qkv, const Tensor& offset, const Tensor& rel_width,
                               const Tensor& probabilities, Tensor& dqkv, Tensor& doffset, Tensor& dlogits);

}  // namespace segrt::kernels::cuda
