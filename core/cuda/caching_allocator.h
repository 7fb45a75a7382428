// Device memory for tensors. Blocks that tensors give back are kept by size and handed out again, as cudaMalloc and
// cudaFree wait for the whole GPU.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/device.h"
#include "core/live_tensors.h"

namespace segrt {

// A block is reused only on the stream it was freed on, in whose order its last use comes first: no event is needed.
// Sizes are rounded up to 8 classes an octave (waste < 12.5 %), and a cached block may serve a request down to 3/4 of
// its size. Safe to call from several threads.
class CachingAllocator {
 public:
  struct Options {
    std::string device_name = "cuda";  // for messages
    // Called when there is no memory left, to throw a better message than the allocator's own.
    std::function<void(const MemoryShortage&)> out_of_memory = nullptr;
    // false: each allocation is a cudaMallocAsync of its exact size, so that memory checkers see every tensor's bounds.
    bool pool = true;
  };
  explicit CachingAllocator(Options options) : options_(std::move(options)) {}
  ~CachingAllocator();
  CachingAllocator(const CachingAllocator&) = delete;
  CachingAllocator& operator=(const CachingAllocator&) = delete;

  // 256-byte aligned; null for 0 bytes. Out of memory: gives all cached blocks back and tries again, then throws
  // DeviceError with the bytes wanted, held and free: see core/live_tensors.h.
  void* allocate(size_t nbytes, cudaStream_t stream);
  // The same for work that is being captured into a graph: never an allocation node, and nothing that waits for the
  // device, so cached blocks stay where they are when memory runs out.
  void* allocate_for_capture(size_t nbytes, cudaStream_t stream);
  void deallocate(void* pointer, cudaStream_t stream) noexcept;
  void release_cached() noexcept;  // waits for the device
  MemoryStats stats() const;
  void reset_peak();

  std::vector<void*> live() const;
  bool pools() const { return options_.pool; }

  // The size that a request is rounded up to.
  static size_t size_class(size_t nbytes);

 private:
  void* take_cached(size_t size, cudaStream_t stream);
  void* take_new(size_t size, cudaStream_t stream, bool stream_ordered);
  void* counted(void* pointer);
  void release_cached_locked() noexcept;
  [[noreturn]] void throw_out_of_memory(size_t nbytes) const;

  Options options_;
  mutable std::mutex mutex_;
  struct Block {
    size_t size;
    bool stream_ordered;  // from cudaMallocAsync
  };
  std::unordered_map<void*, Block> live_;
  std::unordered_map<cudaStream_t, std::multimap<size_t, void*>> cached_;
  MemoryStats stats_;
};

}  // namespace segrt
