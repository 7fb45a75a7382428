// CUDA side of kernels/position_logits.h.
#pragma once

#include "kernels/position_logits.h"

namespace segrt::kernels::cuda {

void height_logits_forward(const Tensor& qkv, const Tensor& rel_height, Tensor& logits);
void height_logits_backward(const Tensor& dlogits, const Tensor& rel_height, Tensor& dqkv);
void position_table_backward(const Tensor& qkv, const Tensor& dlogits, PositionAxis axis, Tensor& dtable);

}  // namespace segrt::kernels::cuda
