// The half of deform_attention_backward in which queries add to the pixels that they sampled.
#pragma once

#include "core/tensor.h"

namespace segrt::kernels::cuda {

// The k and v parts of dqkv, overwritten, from the gradients of the logits; arguments as in
// kernels/deform_attention.h.
void deform_attention_key_gradients(const Tensor& dy, const Tensor& qkv, const Tensor& offset,
                                    const Tensor& probabilities, const Tensor& dlogits, Tensor& dqkv);

}  // namespace segrt::kernels::cuda
