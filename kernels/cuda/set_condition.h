// The kernel that a captured Device::run_if needs.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "core/device.h"

namespace segrt::kernels::cuda {

// Sets the condition behind `handle` to *flag != 0, an i32 in the device's memory, when the graph comes to it.
void set_condition(Device& device, const int32_t* flag, cudaGraphConditionalHandle handle);

}  // namespace segrt::kernels::cuda
