// A GPU, or the emulator that stands for one, as a Device.
#pragma once

#include <cuda_runtime.h>

#include <memory>
#include <mutex>
#include <vector>

#include "core/cuda/caching_allocator.h"
#include "core/cuda/handle.h"
#include "core/device.h"
#include "core/op_scope.h"

namespace segrt {

using CudaStream = Handle<cudaStream_t, cudaStreamDestroy>;
using CudaEvent = Handle<cudaEvent_t, cudaEventDestroy>;

class GraphCapture;
class GraphMemory;

// Environment: SEGRT_SYNC=1 waits after every launch, so that the kernel at fault reports the fault.
// SEGRT_NVTX=1: ranges for profilers (core/cuda/nvtx_ranges.h).
// SEGRT_CUDA_POOL=0 takes and frees every tensor's memory on its own, for memory checkers; the emulator does so anyway.
class CudaDevice final : public Device {
 public:
  explicit CudaDevice(int index);  // throws DeviceError when there is no such GPU
  ~CudaDevice() override;

  void* allocate(size_t nbytes) override;
  void deallocate(void* pointer, size_t nbytes) noexcept override;
  void copy_from_host(void* destination, const void* source, size_t nbytes) override;
  void copy_to_host(void* destination, const void* source, size_t nbytes) override;
  void copy_within(void* destination, const void* source, size_t nbytes) override;
  void* allocate_host(size_t nbytes) override;
  void deallocate_host(void* pointer, size_t nbytes) noexcept override;
  void fill_bytes(void* destination, int value, size_t nbytes) override;
  void synchronize() override;
  MemoryStats memory() const override { return allocator_.stats(); }
  void reset_peak() override { allocator_.reset_peak(); }
  void release_cached() override;
  // While work is captured into a graph, an IF node; else the host waits for the flag and branches.
  void run_if(const int32_t* flag, const std::function<void()>& body) override;

  int index() const { return index_; }
  const cudaDeviceProp& properties() const { return properties_; }
  // All kernels and synchronous copies; during a capture (core/cuda/graph.h) that of the innermost body.
  cudaStream_t stream() const;
  cudaStream_t copy_stream() const { return copy_stream_.get(); }
  bool synchronous_launches() const { return synchronous_launches_; }

  // A batch travels while the GPU computes. `source` is from allocate_host and stays as it is until wait_for_copies;
  // the copy starts when the work queued on the compute stream so far is done with `destination`.
  void start_copy_from_host(void* destination, const void* source, size_t nbytes);
  // The other way, on a stream of its own: the copy starts when the work queued on the compute stream so far has
  // written `source`. `source` stays as it is, and `destination` (from allocate_host) unread, until `arrived` is
  // reached.
  void start_copy_to_host(void* destination, const void* source, size_t nbytes, cudaEvent_t arrived);
  void use_copies();       // compute work queued from now on sees all copies from the host; the host does not wait
  void wait_for_copies();  // the host waits for those: sources may be reused

  // For core/cuda/graph.h. While a Capturing lives, work is captured.
  class Capturing {
   public:
    Capturing(CudaDevice& device, GraphCapture& capture) : device_(device) { device.capture_ = &capture; }
    ~Capturing() { device_.capture_ = nullptr; }
    Capturing(const Capturing&) = delete;
    Capturing& operator=(const Capturing&) = delete;

   private:
    CudaDevice& device_;
  };
  bool capturing() const { return capture_ != nullptr; }
  // Throws DeviceError that `what` ("a copy of 20 bytes from the host") cannot be captured.
  void require_not_capturing(std::string_view what) const;
  CachingAllocator& allocator() { return allocator_; }
  // Blocks that tensors give back are offered to attached memories first; a detached one's blocks are given back.
  void attach(GraphMemory& memory);
  void detach(GraphMemory& memory) noexcept;

 private:
  int index_;
  cudaDeviceProp properties_{};
  bool synchronous_launches_;
  CachingAllocator allocator_;
  CudaStream stream_, copy_stream_, copy_out_stream_;
  CudaEvent computed_, copied_;
  GraphCapture* capture_ = nullptr;
  std::mutex graph_memories_mutex_;
  std::vector<GraphMemory*> graph_memories_;
  std::unique_ptr<ScopeListener> nvtx_ranges_;  // null: nobody profiles
};

std::unique_ptr<Device> make_cuda_device(int index);
// GPUs (or the emulator) that make_cuda_device can open, from 0.
int cuda_device_count();

// The device as what it is; throws DeviceError when it is no CUDA device.
CudaDevice& cuda_device(Device& device);
inline cudaStream_t cuda_stream(Device& device) { return cuda_device(device).stream(); }

}  // namespace segrt
