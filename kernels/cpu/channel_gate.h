// CPU side of kernels/channel_gate.h.
#pragma once

#include "kernels/channel_gate.h"

namespace segrt::kernels::cpu {

void channel_gate_forward(const Tensor& x, const Tensor& g, bool residual, Tensor& y);
void channel_gate_backward(const Tensor& dy, const Tensor& x, const Tensor& g, bool residual, Tensor* dx, Tensor* dg);

}  // namespace segrt::kernels::cpu
