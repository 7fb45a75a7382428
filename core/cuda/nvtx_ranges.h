// Ranges for NVIDIA's profilers (Nsight Systems, Nsight Compute): modules, functions and operators by name.
#pragma once

#include <memory>

#include "core/op_scope.h"

namespace segrt {

// Pushes a range for each scope of the device, until the object dies. Null unless a profiler is attached (it sets
// NVTX_INJECTION64_PATH) or SEGRT_NVTX=1; SEGRT_NVTX=0 turns them off. Throws DeviceError for SEGRT_NVTX=1 in a build
// without NVTX.
std::unique_ptr<ScopeListener> make_nvtx_ranges(Device& device);

}  // namespace segrt
