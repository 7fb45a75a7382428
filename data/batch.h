// Batches of decoded samples in host memory that copies fast to a device.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "core/device.h"
#include "data/image.h"

namespace segrt::data {

// Host buffers of a device (page-locked for CUDA, and slow to get) kept for reuse. The device must outlive the pool.
class HostPool {
 public:
  explicit HostPool(Device& device) : device_(device) {}
  HostPool(const HostPool&) = delete;
  HostPool& operator=(const HostPool&) = delete;
  ~HostPool();

  struct Block {
    uint8_t* pointer = nullptr;
    size_t capacity = 0;
  };
  Block acquire(size_t nbytes);
  void release(Block block) noexcept;

 private:
  Device& device_;
  std::mutex mutex_;
  std::vector<Block> free_;
};

// A block on loan: it goes back to its pool with this object.
class HostBuffer {
 public:
  HostBuffer() = default;
  HostBuffer(std::shared_ptr<HostPool> pool, size_t nbytes);
  HostBuffer(HostBuffer&& other) noexcept { swap(other); }
  HostBuffer& operator=(HostBuffer&& other) noexcept {
    swap(other);
    return *this;
  }
  ~HostBuffer();
  uint8_t* data() const { return block_.pointer; }

 private:
  void swap(HostBuffer& other) noexcept;

  std::shared_ptr<HostPool> pool_;
  HostPool::Block block_;
};

struct Batch {
  int64_t epoch = 0, index = 0;  // both from 0; index counts the batches of the epoch
  int size = 0, height = 0, width = 0;
  std::span<uint8_t> images;       // [size,height,width,3] RGB
  std::span<uint8_t> labels;       // [size,height,width]; empty where the dataset has no label maps
  std::span<int64_t> classes;      // [size]; empty but for a labelled classification dataset
  std::span<int64_t> erasures;     // [size,5]: y, x, height, width, stream of each Erasure; empty where none can be
  std::vector<std::string> names;  // of the samples, in the order of the batch
  std::vector<int64_t> samples;    // their indices in the dataset
  std::vector<ImageSize> content;  // of each sample, as Sample::content; may be empty: all is image
  HostBuffer memory;               // what the spans point into
};

}  // namespace segrt::data
