// The emulator's async_copy.h: a copy is made when its thread waits for it, the latest a GPU may make it, and its
// destination is signalling NaN until then. Same names as kernels/cuda/async_copy.h.
#pragma once

#include "kernels/cuda/device.h"

namespace segrt::kernels::cuda {

template <int kBytes>
void copy_async(void* shared, const void* global, bool valid, const Site& site = Site::current()) {
  static_assert(kBytes == 16, "only 16-byte copies bypass L1");
  if (!is_aligned(shared, kBytes)) emulator::fail_alignment(shared, kBytes, site);
  if (valid && !is_aligned(global, kBytes)) emulator::fail_alignment(global, kBytes, site);
  emulator::check_shared(shared, kBytes, site);
  auto* words = static_cast<uint32_t*>(shared);
  for (int i = 0; i < kBytes / 4; ++i) words[i] = 0x7FA17FA1u;  // as block_memory.h poisons
  emulator::queue_copy({shared, valid ? global : nullptr}, site);
}

inline void copy_async_commit() { emulator::close_copy_group(); }

template <int kGroups>
void copy_async_wait() {
  emulator::AsyncCopy copy;
  while (emulator::take_copy(kGroups, copy)) {
    auto* to = static_cast<uint32_t*>(copy.shared);
    const auto* from = static_cast<const uint32_t*>(copy.global);
    for (int i = 0; i < 4; ++i) to[i] = from ? from[i] : 0u;
  }
}

}  // namespace segrt::kernels::cuda
