// Launching a kernel on a device's compute stream, with the checks that chevrons leave to the next call.
// Kernel files use `launch` of kernels/cuda/device.h, which ends here.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <source_location>

namespace segrt {

class Device;

// Extent of a grid or block. Made from one integer of any type or from a list: 256, {n}, {width, height, batch}.
struct Dim3 {
  int64_t x = 1, y = 1, z = 1;

  constexpr Dim3() = default;
  template <std::integral X, std::integral Y = int, std::integral Z = int>
  constexpr Dim3(X x_extent, Y y_extent = 1, Z z_extent = 1)
      : x(static_cast<int64_t>(x_extent)), y(static_cast<int64_t>(y_extent)), z(static_cast<int64_t>(z_extent)) {}
  constexpr int64_t count() const { return x * y * z; }
};

struct LaunchConfig {
  Dim3 grid;                // blocks; an extent of 0 makes the launch a no-op
  Dim3 block;               // threads, at most 1024 in all
  size_t shared_bytes = 0;  // behind dynamic_shared<T>()
  // The kernel has no barrier, warp collective or shared memory. Nothing to a GPU; the emulator then needs no fibers.
  bool barrier_free = false;
  std::source_location where = std::source_location::current();
};

// Queues `function` (the address of a __global__ function) with pointers to its arguments. Throws DeviceError that
// names kernel, grid, block and the line of the launch when an extent is out of range or the launch fails; with
// SEGRT_SYNC=1 in the environment it also waits, so that the kernel at fault reports the fault.
void launch_kernel(Device& device, const void* function, const LaunchConfig& config, void** arguments);

}  // namespace segrt
