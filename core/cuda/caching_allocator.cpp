#include "core/cuda/caching_allocator.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "core/cuda/check.h"
#include "core/error.h"

namespace segrt {
namespace {

std::string mebibytes(size_t nbytes) { return fmt::format("{:.1f} MiB", static_cast<double>(nbytes) / (1 << 20)); }

}  // namespace

size_t CachingAllocator::size_class(size_t nbytes) {
  constexpr size_t kSmallest = 256;
  if (nbytes <= 8 * kSmallest) return (nbytes + kSmallest - 1) / kSmallest * kSmallest;
  const size_t step = std::bit_floor(nbytes - 1) / 8;  // an eighth of the octave
  return (nbytes + step - 1) / step * step;
}

CachingAllocator::~CachingAllocator() { release_cached(); }

void* CachingAllocator::allocate(size_t nbytes, cudaStream_t stream) {
  if (nbytes == 0) return nullptr;
  const std::lock_guard lock(mutex_);
  const size_t size = options_.pool ? size_class(nbytes) : nbytes;
  void* pointer = options_.pool ? take_cached(size, stream) : nullptr;
  if (!pointer) pointer = take_new(size, stream, !options_.pool);
  if (!pointer) {
    release_cached_locked();
    pointer = take_new(size, stream, !options_.pool);
  }
  if (!pointer) throw_out_of_memory(nbytes);
  return counted(pointer);
}

void* CachingAllocator::allocate_for_capture(size_t nbytes, cudaStream_t stream) {
  if (nbytes == 0) return nullptr;
  const std::lock_guard lock(mutex_);
  const size_t size = options_.pool ? size_class(nbytes) : nbytes;
  void* pointer = options_.pool ? take_cached(size, stream) : nullptr;
  if (!pointer) pointer = take_new(size, stream, false);
  if (!pointer) throw_out_of_memory(nbytes);
  return counted(pointer);
}

void* CachingAllocator::counted(void* pointer) {
  stats_.current_bytes += static_cast<int64_t>(live_.at(pointer).size);
  stats_.peak_bytes = std::max(stats_.peak_bytes, stats_.current_bytes);
  return pointer;
}

void* CachingAllocator::take_cached(size_t size, cudaStream_t stream) {
  auto& blocks = cached_[stream];
  const auto found = blocks.lower_bound(size);
  if (found == blocks.end() || found->first > size + size / 3) return nullptr;
  void* pointer = found->second;
  live_.emplace(pointer, Block{found->first, false});
  blocks.erase(found);
  return pointer;
}

// Null when there is no memory; throws on any other failure.
void* CachingAllocator::take_new(size_t size, cudaStream_t stream, bool stream_ordered) {
  void* pointer = nullptr;
  const cudaError_t status = stream_ordered ? cudaMallocAsync(&pointer, size, stream) : cudaMalloc(&pointer, size);
  if (status == cudaErrorMemoryAllocation) {
    static_cast<void>(cudaGetLastError());
    return nullptr;
  }
  check(status, "cudaMalloc", [&] { return mebibytes(size); });
  live_.emplace(pointer, Block{size, stream_ordered});
  stats_.reserved_bytes += static_cast<int64_t>(size);
  return pointer;
}

void CachingAllocator::deallocate(void* pointer, cudaStream_t stream) noexcept {
  if (!pointer) return;
  const std::lock_guard lock(mutex_);
  const auto found = live_.find(pointer);
  if (found == live_.end()) return;
  const auto [size, stream_ordered] = found->second;
  live_.erase(found);
  stats_.current_bytes -= static_cast<int64_t>(size);
  if (options_.pool) {
    cached_[stream].emplace(size, pointer);
    return;
  }
  stats_.reserved_bytes -= static_cast<int64_t>(size);
  static_cast<void>(stream_ordered ? cudaFreeAsync(pointer, stream) : cudaFree(pointer));
}

void CachingAllocator::release_cached() noexcept {
  const std::lock_guard lock(mutex_);
  release_cached_locked();
}

void CachingAllocator::release_cached_locked() noexcept {
  for (auto& [stream, blocks] : cached_)
    for (const auto& [size, pointer] : blocks) {
      static_cast<void>(cudaFree(pointer));  // waits for work that may still use it
      stats_.reserved_bytes -= static_cast<int64_t>(size);
    }
  cached_.clear();
}

MemoryStats CachingAllocator::stats() const {
  const std::lock_guard lock(mutex_);
  return stats_;
}

std::vector<void*> CachingAllocator::live() const {
  const std::lock_guard lock(mutex_);
  std::vector<void*> pointers;
  for (const auto& [pointer, block] : live_) pointers.push_back(pointer);
  return pointers;
}

void CachingAllocator::reset_peak() {
  const std::lock_guard lock(mutex_);
  stats_.peak_bytes = stats_.current_bytes;
}

void CachingAllocator::throw_out_of_memory(size_t nbytes) const {
  size_t free = 0, total = 0;
  static_cast<void>(cudaMemGetInfo(&free, &total));
  const MemoryShortage shortage{.wanted_bytes = nbytes,
                                .held_bytes = stats_.current_bytes,
                                .cached_bytes = stats_.reserved_bytes - stats_.current_bytes,
                                .free_bytes = static_cast<int64_t>(free),
                                .total_bytes = static_cast<int64_t>(total)};
  if (options_.out_of_memory) options_.out_of_memory(shortage);
  throw DeviceError(describe(options_.device_name, shortage));
}

}  // namespace segrt
