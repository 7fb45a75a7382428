// Copies from global into shared memory that do not pass through registers and that a thread need not wait for: loads
// of later steps are in flight while the present one is computed (cp.async, compute capability 8.0 and above).
//
//   copy_async<16>(shared, global, valid)   queues one copy of this thread; !valid: zeros, and `global` is not read
//   copy_async_commit()                     closes the group of the copies queued since the last call (maybe none)
//   copy_async_wait<N>()                    waits until at most the N newest of this thread's groups are under way
//
// A wait is for the thread's own copies: others see them after a barrier behind it. What is at `shared` between copy
// and wait is undefined. tests/emulator/include/kernels/cuda/async_copy.h has the same names for the CPU.
#pragma once

#include "kernels/cuda/device.h"

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
#error "kernels/cuda/async_copy.h needs compute capability 8.0 or above: set CMAKE_CUDA_ARCHITECTURES to 80 or more"
#endif

namespace segrt::kernels::cuda {

// Both pointers are aligned to kBytes. 16 bytes bypass L1 (.cg): a tile is read again from shared memory, not from L1.
template <int kBytes>
SEGRT_DEVICE void copy_async(void* shared, const void* global, bool valid, Site = {}) {
  static_assert(kBytes == 16, "only 16-byte copies bypass L1");
  const auto to = static_cast<unsigned>(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(global), "r"(valid ? 16 : 0) : "memory");
}
SEGRT_DEVICE void copy_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int kGroups>
SEGRT_DEVICE void copy_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kGroups) : "memory");
}

}  // namespace segrt::kernels::cuda
