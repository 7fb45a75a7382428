#include "data/batch.h"

#include <algorithm>
#include <utility>

namespace segrt::data {

HostPool::~HostPool() {
  for (const Block& block : free_) device_.deallocate_host(block.pointer, block.capacity);
}

HostPool::Block HostPool::acquire(size_t nbytes) {
  const std::lock_guard lock(mutex_);
  const auto fits = std::find_if(free_.begin(), free_.end(), [&](const Block& b) { return b.capacity >= nbytes; });
  if (fits != free_.end()) {
    const Block block = *fits;
    free_.erase(fits);
    return block;
  }
  if (!free_.empty()) {  // pictures have grown: exchange a block instead of keeping every size ever seen
    device_.deallocate_host(free_.back().pointer, free_.back().capacity);
    free_.pop_back();
  }
  free_.reserve(free_.size() + 16);  // so that release, which must not throw, seldom allocates
  return {static_cast<uint8_t*>(device_.allocate_host(nbytes)), nbytes};
}

void HostPool::release(Block block) noexcept {
  const std::lock_guard lock(mutex_);
  try {
    free_.push_back(block);
  } catch (...) {
    device_.deallocate_host(block.pointer, block.capacity);
  }
}

HostBuffer::HostBuffer(std::shared_ptr<HostPool> pool, size_t nbytes)
    : pool_(std::move(pool)), block_(pool_->acquire(nbytes)) {}

HostBuffer::~HostBuffer() {
  if (block_.pointer != nullptr) pool_->release(block_);
}

void HostBuffer::swap(HostBuffer& other) noexcept {
  std::swap(pool_, other.pool_);
  std::swap(block_, other.block_);
}

}  // namespace segrt::data
