// The decision of kernels/loss_scale.h on CUDA, arguments checked there.
#pragma once

#include "core/device.h"
#include "kernels/loss_scale_step.h"

namespace segrt::kernels::cuda {

void judge_gradients(Device& device, const LossScaleNumbers& rule, const LossScalePointers& pointers);

}  // namespace segrt::kernels::cuda
