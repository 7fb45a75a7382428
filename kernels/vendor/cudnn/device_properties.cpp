#include "kernels/vendor/cudnn/device_properties.h"

#include <nlohmann/json.hpp>

namespace segrt::kernels::vendor::cudnn {

DeviceProperties DeviceProperties::of(cudnnHandle_t handle) {
  Descriptor descriptor(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
  descriptor.set(CUDNN_ATTR_DEVICEPROP_HANDLE, handle).finalize();
  return DeviceProperties(std::move(descriptor));
}

DeviceProperties DeviceProperties::from_json(const std::string& json) {
  Descriptor descriptor(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
  descriptor.set(CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, json).finalize();
  return DeviceProperties(std::move(descriptor));
}

DeviceProperties DeviceProperties::h100() {
  const nlohmann::json properties = {{"deviceName", "NVIDIA H100 80GB HBM3"},
                                     {"deviceVer", 900},    // compute capability * 100
                                     {"driverVer", 13000},  // CUDA version * 1000
                                     {"cudaDeviceId", 0},
                                     {"pciDeviceId", 0},
                                     {"isTccDriver", 0},
                                     {"supportCoopLaunch", 1},
                                     {"multiProcessorCount", 132},
                                     {"warpSize", 32},
                                     {"maxGridSize", {2147483647, 65535, 65535}},
                                     {"maxBlockSize", {1024, 1024, 64}},
                                     {"maxThreadsPerBlock", 1024},
                                     {"maxThreadsPerSM", 2048},
                                     {"maxCtasPerSM", 32},
                                     {"regsPerBlock", 65536},
                                     {"maxRegistersPerSM", 65536},
                                     {"maxSharedMemoryPerBlock", 49152},  // bytes, as the next ones
                                     {"maxSharedMemoryPerBlockOptin", 232448},
                                     {"reservedSharedMemoryPerBlock", 1024},
                                     {"l2CacheSize", 52428800},
                                     {"totalGlobalMem", 85520809984},
                                     {"smClockRateKHz", 1980000},
                                     {"memClockRateKHz", 2619000}};
  return from_json(properties.dump());
}

std::string DeviceProperties::json() const { return descriptor_.get_text(CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION); }

}  // namespace segrt::kernels::vendor::cudnn
