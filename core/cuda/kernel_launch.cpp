#include "core/cuda/kernel_launch.h"

#include <cxxabi.h>
#include <fmt/format.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>

#include "core/cuda/check.h"
#include "core/cuda/cuda_device.h"
#include "core/error.h"

namespace segrt {
namespace {

std::string kernel_name(const void* function) {
  const char* raw = nullptr;
  if (cudaFuncGetName(&raw, function) != cudaSuccess || !raw) {
    static_cast<void>(cudaGetLastError());
    return "kernel";
  }
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> demangled(abi::__cxa_demangle(raw, nullptr, nullptr, &status),
                                                              &std::free);
  return status == 0 ? demangled.get() : raw;
}

std::string describe_launch(const void* function, const LaunchConfig& config) {
  const char* file = std::strrchr(config.where.file_name(), '/');
  return fmt::format("{}, grid ({},{},{}), block ({},{},{}), {} bytes of dynamic shared memory, launched at {}:{}",
                     kernel_name(function), config.grid.x, config.grid.y, config.grid.z, config.block.x, config.block.y,
                     config.block.z, config.shared_bytes, file ? file + 1 : config.where.file_name(),
                     config.where.line());
}

// Limits of every GPU since compute capability 3.0: CUDA C++ Programming Guide, "Technical Specifications".
void check_extents(const void* function, const LaunchConfig& config) {
  constexpr int64_t kMaxGridX = 2147483647, kMaxGridYZ = 65535, kMaxThreads = 1024, kMaxBlockZ = 64;
  const auto within = [](int64_t n, int64_t low, int64_t high) { return n >= low && n <= high; };
  const Dim3& g = config.grid;
  const Dim3& b = config.block;
  if (!within(g.x, 0, kMaxGridX) || !within(g.y, 0, kMaxGridYZ) || !within(g.z, 0, kMaxGridYZ))
    throw DeviceError("launch: a grid has at most 2147483647 x 65535 x 65535 blocks: " +
                      describe_launch(function, config));
  if (!within(b.x, 1, kMaxThreads) || !within(b.y, 1, kMaxThreads) || !within(b.z, 1, kMaxBlockZ) ||
      b.count() > kMaxThreads)
    throw DeviceError("launch: a block has 1 to 1024 threads, at most 64 along z: " +
                      describe_launch(function, config));
}

dim3 to_dim3(const Dim3& d) {
  return dim3(static_cast<unsigned>(d.x), static_cast<unsigned>(d.y), static_cast<unsigned>(d.z));
}

}  // namespace

void launch_kernel(Device& device, const void* function, const LaunchConfig& config, void** arguments) {
  CudaDevice& gpu = cuda_device(device);
  check_extents(function, config);
  if (config.grid.count() == 0) return;
  const auto details = [&] { return describe_launch(function, config); };
  constexpr size_t kSharedWithoutAsking = 48 * 1024;
  if (config.shared_bytes > kSharedWithoutAsking) {
    const size_t most = gpu.properties().sharedMemPerBlockOptin;
    if (config.shared_bytes > most)
      throw DeviceError(
          fmt::format("launch: {} has at most {} bytes of shared memory a block: {}", gpu.name(), most, details()));
    check(cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(config.shared_bytes)),
          "cudaFuncSetAttribute", details);
  }
  check(cudaLaunchKernel(function, to_dim3(config.grid), to_dim3(config.block), arguments, config.shared_bytes,
                         gpu.stream()),
        "cudaLaunchKernel", details);
  if (gpu.synchronous_launches() && !gpu.capturing())
    check(cudaStreamSynchronize(gpu.stream()), "cudaStreamSynchronize", details);
}

}  // namespace segrt
