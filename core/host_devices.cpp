#include "core/host_devices.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "core/error.h"
#include "core/live_tensors.h"
#include "core/parallel.h"

namespace segrt {
namespace {
constexpr size_t kAlignment = 64;              // one cache line, one 512-bit vector
constexpr size_t kHugePage = size_t{2} << 20;  // blocks of this size and more ask for huge pages
constexpr int64_t kCopyChunk = 1 << 20;

size_t rounded(size_t nbytes) {
  const size_t unit = nbytes >= kHugePage ? kHugePage / 8 : kAlignment;
  return std::max((nbytes + unit - 1) / unit * unit, kAlignment);
}

// Null when there is no memory.
void* system_allocate(size_t nbytes) {
  void* pointer = std::aligned_alloc(nbytes >= kHugePage ? kHugePage : kAlignment,
                                     nbytes >= kHugePage ? (nbytes + kHugePage - 1) / kHugePage * kHugePage : nbytes);
  if (pointer == nullptr) return nullptr;
  // Page faults of 4 KiB pages cost as much as a pass over the data.
  if (nbytes >= kHugePage) static_cast<void>(madvise(pointer, nbytes, MADV_HUGEPAGE));
  return pointer;
}

void* host_memory(const std::string& device, size_t nbytes) {
  void* pointer = system_allocate(rounded(nbytes));
  if (pointer == nullptr)
    throw DeviceError(device + ": out of memory: " + readable_bytes(static_cast<int64_t>(nbytes)) +
                      " of host memory wanted");
  return pointer;
}
}  // namespace

CpuDevice::CpuDevice() : Device(DeviceKind::cpu, "cpu", "cpu (" + std::to_string(threads()) + " threads)") {}

CpuDevice::~CpuDevice() {
  clear_states();
  release_cached();
}

void* CpuDevice::allocate(size_t nbytes) {
  const size_t size = rounded(nbytes);
  {
    const std::lock_guard lock(mutex_);
    stats_.current_bytes += static_cast<int64_t>(size);
    stats_.peak_bytes = std::max(stats_.peak_bytes, stats_.current_bytes);
    if (auto it = free_.find(size); it != free_.end() && !it->second.empty()) {
      void* pointer = it->second.back();
      it->second.pop_back();
      return pointer;
    }
    stats_.reserved_bytes += static_cast<int64_t>(size);
  }
  void* pointer = system_allocate(size);
  if (pointer == nullptr) {
    release_cached();
    pointer = system_allocate(size);
  }
  if (pointer != nullptr) return pointer;
  MemoryStats left;
  {
    const std::lock_guard lock(mutex_);
    stats_.current_bytes -= static_cast<int64_t>(size);
    stats_.reserved_bytes -= static_cast<int64_t>(size);
    left = stats_;
  }
  throw_out_of_memory(*this, {.wanted_bytes = size,
                              .held_bytes = left.current_bytes,
                              .cached_bytes = left.reserved_bytes - left.current_bytes});
}

void CpuDevice::deallocate(void* pointer, size_t nbytes) noexcept {
  const size_t size = rounded(nbytes);
  const std::lock_guard lock(mutex_);
  stats_.current_bytes -= static_cast<int64_t>(size);
#if defined(__SANITIZE_ADDRESS__)
  std::free(pointer);  // so that a use after free is seen
  stats_.reserved_bytes -= static_cast<int64_t>(size);
#else
  free_[size].push_back(pointer);
#endif
}

void CpuDevice::copy_within(void* destination, const void* source, size_t nbytes) {
  parallel_ranges(static_cast<int64_t>(nbytes), kCopyChunk, [&](int64_t begin, int64_t end) {
    std::memcpy(static_cast<char*>(destination) + begin, static_cast<const char*>(source) + begin,
                static_cast<size_t>(end - begin));
  });
}

void CpuDevice::copy_from_host(void* destination, const void* source, size_t nbytes) {
  copy_within(destination, source, nbytes);
}

void CpuDevice::copy_to_host(void* destination, const void* source, size_t nbytes) {
  copy_within(destination, source, nbytes);
}

void* CpuDevice::allocate_host(size_t nbytes) { return host_memory(name(), nbytes); }
void CpuDevice::deallocate_host(void* pointer, size_t) noexcept { std::free(pointer); }

void CpuDevice::fill_bytes(void* destination, int value, size_t nbytes) {
  parallel_ranges(static_cast<int64_t>(nbytes), kCopyChunk, [&](int64_t begin, int64_t end) {
    std::memset(static_cast<char*>(destination) + begin, value, static_cast<size_t>(end - begin));
  });
}

MemoryStats CpuDevice::memory() const {
  const std::lock_guard lock(mutex_);
  return stats_;
}

void CpuDevice::reset_peak() {
  const std::lock_guard lock(mutex_);
  stats_.peak_bytes = stats_.current_bytes;
}

void CpuDevice::release_cached() {
  const std::lock_guard lock(mutex_);
  for (auto& [size, blocks] : free_) {
    for (void* block : blocks) std::free(block);
    stats_.reserved_bytes -= static_cast<int64_t>(size * blocks.size());
    blocks.clear();
  }
}

void* MetaDevice::allocate(size_t nbytes) {
  stats_.current_bytes += static_cast<int64_t>(nbytes);
  stats_.peak_bytes = std::max(stats_.peak_bytes, stats_.current_bytes);
  return nullptr;
}

void MetaDevice::deallocate(void*, size_t nbytes) noexcept { stats_.current_bytes -= static_cast<int64_t>(nbytes); }

void MetaDevice::copy_to_host(void*, const void*, size_t) {
  throw DeviceError("meta: tensors of a dry run have no values to read");
}

void* MetaDevice::allocate_host(size_t nbytes) { return host_memory(name(), nbytes); }
void MetaDevice::deallocate_host(void* pointer, size_t) noexcept { std::free(pointer); }

}  // namespace segrt
