// CPU side of kernels/mixed_cross_entropy.h.
#pragma once

#include "kernels/mixed_cross_entropy.h"

namespace segrt::kernels::cpu {

void mixed_cross_entropy_forward(const Tensor& logits, const MixedTargets& targets, Tensor& loss);
void mixed_cross_entropy_backward(const Tensor& logits, const MixedTargets& targets, const Tensor& scale,
                                  Tensor& dlogits);

}  // namespace segrt::kernels::cpu
