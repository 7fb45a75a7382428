// What cuDNN's heuristics and engines ask of a GPU, as a descriptor: of the GPU behind a handle, or from JSON, so that
// plans are made where there is no GPU and no driver.
#pragma once

#include <string>

#include "kernels/vendor/cudnn/descriptor.h"

namespace segrt::kernels::vendor::cudnn {

class DeviceProperties {
 public:
  static DeviceProperties of(cudnnHandle_t handle);
  // Throws CudnnError when cuDNN does not take the text.
  static DeviceProperties from_json(const std::string& json);
  // An H100 SXM5 (compute capability 9.0, 132 multiprocessors, 80 GB) with a driver for CUDA 13.0; figures from
  // NVIDIA's H100 white paper and the CUDA C++ Programming Guide, "Technical Specifications per Compute Capability".
  static DeviceProperties h100();

  std::string json() const;
  const Descriptor& descriptor() const { return descriptor_; }

 private:
  explicit DeviceProperties(Descriptor descriptor) : descriptor_(std::move(descriptor)) {}
  Descriptor descriptor_;
};

// Who heuristics choose and engines compile for: the GPU of a handle, or a described one.
struct Target {
  cudnnHandle_t handle = nullptr;
  const DeviceProperties* properties = nullptr;  // instead of a handle
};

}  // namespace segrt::kernels::vendor::cudnn
