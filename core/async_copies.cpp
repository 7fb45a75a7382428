#include "core/async_copies.h"

#include <vector>

#if SEGRT_HAS_CUDA
#include "core/cuda/check.h"
#include "core/cuda/cuda_device.h"
#endif

namespace segrt {

#if SEGRT_HAS_CUDA
struct AsyncCopies::Streams {
  CudaDevice& gpu;
  std::vector<CudaEvent> arrived;
  std::vector<size_t> free;  // of `arrived`

  size_t take() {
    if (free.empty()) {
      cudaEvent_t raw = nullptr;
      check(cudaEventCreateWithFlags(&raw, cudaEventDisableTiming), "cudaEventCreateWithFlags");
      arrived.emplace_back(raw);
      return arrived.size() - 1;
    }
    const size_t slot = free.back();
    free.pop_back();
    return slot;
  }
};

AsyncCopies::AsyncCopies(Device& device) : device_(device) {
  if (device.is_cuda()) streams_.reset(new Streams{cuda_device(device), {}, {}});
}
AsyncCopies::~AsyncCopies() {
  if (!streams_) return;
  try {
    device_.synchronize();
  } catch (const std::exception&) {  // a destructor throws nothing, and whoever waits for results hears of it
  }
}

void AsyncCopies::to_device(void* destination, const void* source, size_t nbytes) {
  streams_ ? streams_->gpu.start_copy_from_host(destination, source, nbytes)
           : device_.copy_from_host(destination, source, nbytes);
}

void AsyncCopies::use() {
  if (streams_) streams_->gpu.use_copies();
}

size_t AsyncCopies::to_host(void* destination, const void* source, size_t nbytes) {
  if (!streams_) {
    device_.copy_to_host(destination, source, nbytes);
    return 0;
  }
  const size_t slot = streams_->take();
  streams_->gpu.start_copy_to_host(destination, source, nbytes, streams_->arrived[slot].get());
  return slot;
}

void AsyncCopies::wait(size_t slot) {
  if (!streams_) return;
  check(cudaEventSynchronize(streams_->arrived.at(slot).get()), "cudaEventSynchronize");
  streams_->free.push_back(slot);
}
#else
struct AsyncCopies::Streams {};

AsyncCopies::AsyncCopies(Device& device) : device_(device) {}
AsyncCopies::~AsyncCopies() = default;
void AsyncCopies::to_device(void* destination, const void* source, size_t nbytes) {
  device_.copy_from_host(destination, source, nbytes);
}
void AsyncCopies::use() {}
size_t AsyncCopies::to_host(void* destination, const void* source, size_t nbytes) {
  device_.copy_to_host(destination, source, nbytes);
  return 0;
}
void AsyncCopies::wait(size_t) {}
#endif

}  // namespace segrt
