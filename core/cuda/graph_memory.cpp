#include "core/cuda/graph_memory.h"

namespace segrt {

GraphMemory::GraphMemory(CachingAllocator& allocator, cudaStream_t stream) : allocator_(allocator), stream_(stream) {
  const std::vector<void*> live = allocator.live();
  outside_.insert(live.begin(), live.end());
}

void* GraphMemory::allocate(size_t nbytes) {
  if (nbytes == 0) return nullptr;
  // Without a pool, memory checkers want the bounds of every tensor: then a block serves its own size alone.
  const size_t size = allocator_.pools() ? CachingAllocator::size_class(nbytes) : nbytes;
  const size_t largest = allocator_.pools() ? size + size / 3 : size;
  const auto found = free_.lower_bound(size);
  if (found != free_.end() && found->first <= largest) {
    void* pointer = found->second;
    held_.emplace(pointer, found->first);
    free_.erase(found);
    return pointer;
  }
  void* pointer = allocator_.allocate_for_capture(nbytes, stream_);
  held_.emplace(pointer, size);
  reserved_bytes_ += size;
  return pointer;
}

bool GraphMemory::take_back(void* pointer) {
  if (const auto found = held_.find(pointer); found != held_.end()) {
    free_.emplace(found->second, pointer);
    held_.erase(found);
    return true;
  }
  if (outside_.erase(pointer) == 0) return false;
  kept_.push_back(pointer);
  return true;
}

std::vector<void*> GraphMemory::surrender() {
  std::vector<void*> blocks = std::move(kept_);
  for (const auto& [size, pointer] : free_) blocks.push_back(pointer);
  held_.clear();
  free_.clear();
  outside_.clear();
  kept_.clear();
  return blocks;
}

}  // namespace segrt
