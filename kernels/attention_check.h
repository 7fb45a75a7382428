// Argument checks that the fronts of DGMN2's attention share (kernels/deform_attention.h, position_logits.h).
#pragma once

#include <string_view>

#include "core/tensor.h"
#include "kernels/attention_taps.h"

namespace segrt::kernels {

// That qkv is [N,H,W,3*heads*64] of a float type.
AttentionShape require_projections(std::string_view op, std::string_view name, const Tensor& qkv);
// That a table, logits or probabilities are of this shape, in f32 (f64 beside f64 activations).
void require_position(std::string_view op, std::string_view name, const Tensor& t, const Shape& shape,
                      const Tensor& qkv);

}  // namespace segrt::kernels
