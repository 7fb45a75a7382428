// CPU side of kernels/gated_sum.h: arguments checked there, no map empty.
#pragma once

#include "kernels/gated_sum.h"

namespace segrt::kernels::cpu {

void gated_sum_forward(std::span<const GatedTerm> terms, Tensor& y);
void gated_sum_backward(const Tensor& dy, std::span<const GatedTerm> terms, std::span<const GatedTermGrads> grads);

}  // namespace segrt::kernels::cpu
