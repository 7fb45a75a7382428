#include "core/cuda/cuda_device.h"

#include <fmt/format.h>

#include <cstdlib>
#include <string_view>

#include "core/cuda/check.h"
#include "core/cuda/graph.h"
#include "core/cuda/nvtx_ranges.h"
#include "core/error.h"

namespace segrt {
namespace {

// Checks the index and makes the GPU current for this process, which drives only one.
cudaDeviceProp open_device(int index) {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess) {
    static_cast<void>(cudaGetLastError());
    throw DeviceError(fmt::format("cuda:{}: no usable GPU: {}", index, cudaGetErrorString(status)));
  }
  if (index < 0 || index >= count) throw DeviceError(fmt::format("cuda:{}: no such GPU, {} present", index, count));
  check(cudaSetDevice(index), "cudaSetDevice");
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, index), "cudaGetDeviceProperties");
  return properties;
}

bool environment_is(const char* name, std::string_view value) {
  const char* text = std::getenv(name);
  return text && text == value;
}

CudaStream make_stream() {
  cudaStream_t raw = nullptr;
  check(cudaStreamCreateWithFlags(&raw, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
  return CudaStream(raw);
}

CudaEvent make_event() {
  cudaEvent_t raw = nullptr;
  check(cudaEventCreateWithFlags(&raw, cudaEventDisableTiming), "cudaEventCreateWithFlags");
  return CudaEvent(raw);
}

std::string describe_device(int index) {
  return fmt::format("cuda:{} ({})", index, static_cast<const char*>(open_device(index).name));
}

}  // namespace

CudaDevice::CudaDevice(int index)
    : Device(DeviceKind::cuda, fmt::format("cuda:{}", index), describe_device(index)),
      index_(index),
      properties_(open_device(index)),
      synchronous_launches_(environment_is("SEGRT_SYNC", "1")),
      allocator_({.device_name = name(),
                  .out_of_memory = [this](const MemoryShortage& s) { throw_out_of_memory(*this, s); },
                  .pool = properties_.memoryPoolsSupported != 0 && !environment_is("SEGRT_CUDA_POOL", "0")}),
      stream_(make_stream()),
      copy_stream_(make_stream()),
      copy_out_stream_(make_stream()),
      computed_(make_event()),
      copied_(make_event()),
      nvtx_ranges_(make_nvtx_ranges(*this)) {}

CudaDevice::~CudaDevice() {
  static_cast<void>(cudaDeviceSynchronize());
  nvtx_ranges_.reset();
  clear_states();  // while streams and allocator are there
}

void* CudaDevice::allocate(size_t nbytes) {
  return capture_ ? capture_->memory().allocate(nbytes) : allocator_.allocate(nbytes, stream_.get());
}

void CudaDevice::deallocate(void* pointer, size_t) noexcept {
  if (!pointer) return;
  {
    const std::lock_guard lock(graph_memories_mutex_);
    for (GraphMemory* memory : graph_memories_)
      if (memory->take_back(pointer)) return;
  }
  allocator_.deallocate(pointer, stream_.get());
}

void CudaDevice::attach(GraphMemory& memory) {
  const std::lock_guard lock(graph_memories_mutex_);
  graph_memories_.push_back(&memory);
}

void CudaDevice::detach(GraphMemory& memory) noexcept {
  std::vector<void*> blocks;
  {
    const std::lock_guard lock(graph_memories_mutex_);
    std::erase(graph_memories_, &memory);
    blocks = memory.surrender();
  }
  for (void* block : blocks) deallocate(block, 0);  // another graph may use them, too
}

cudaStream_t CudaDevice::stream() const { return capture_ ? capture_->stream() : stream_.get(); }

void CudaDevice::require_not_capturing(std::string_view what) const {
  if (capture_) throw DeviceError(fmt::format("{}: {} cannot be captured into a graph", name(), what));
}

void CudaDevice::release_cached() {
  require_not_capturing("a release of cached memory");
  allocator_.release_cached();
}

void CudaDevice::run_if(const int32_t* flag, const std::function<void()>& body) {
  capture_ ? capture_->run_if(flag, body) : Device::run_if(flag, body);
}

void CudaDevice::copy_from_host(void* destination, const void* source, size_t nbytes) {
  if (nbytes == 0) return;
  if (capture_) require_not_capturing(fmt::format("a copy of {} bytes from the host", nbytes));
  const auto details = [&] { return fmt::format("{} bytes to {}", nbytes, name()); };
  check(cudaMemcpyAsync(destination, source, nbytes, cudaMemcpyHostToDevice, stream()), "cudaMemcpyAsync", details);
  check(cudaStreamSynchronize(stream()), "cudaStreamSynchronize", details);  // page-locked sources are read late
}

void CudaDevice::copy_to_host(void* destination, const void* source, size_t nbytes) {
  if (nbytes == 0) return;
  if (capture_) require_not_capturing(fmt::format("a copy of {} bytes to the host", nbytes));
  const auto details = [&] { return fmt::format("{} bytes from {}", nbytes, name()); };
  check(cudaMemcpyAsync(destination, source, nbytes, cudaMemcpyDeviceToHost, stream()), "cudaMemcpyAsync", details);
  check(cudaStreamSynchronize(stream()), "cudaStreamSynchronize", details);
}

void CudaDevice::copy_within(void* destination, const void* source, size_t nbytes) {
  if (nbytes == 0) return;
  check(cudaMemcpyAsync(destination, source, nbytes, cudaMemcpyDeviceToDevice, stream()), "cudaMemcpyAsync",
        [&] { return fmt::format("{} bytes within {}", nbytes, name()); });
}

void* CudaDevice::allocate_host(size_t nbytes) {
  if (nbytes == 0) return nullptr;
  void* pointer = nullptr;
  check(cudaMallocHost(&pointer, nbytes), "cudaMallocHost", [&] { return fmt::format("{} bytes", nbytes); });
  return pointer;
}

void CudaDevice::deallocate_host(void* pointer, size_t) noexcept {
  if (pointer) static_cast<void>(cudaFreeHost(pointer));
}

void CudaDevice::fill_bytes(void* destination, int value, size_t nbytes) {
  if (nbytes == 0) return;
  check(cudaMemsetAsync(destination, value, nbytes, stream()), "cudaMemsetAsync",
        [&] { return fmt::format("{} bytes on {}", nbytes, name()); });
}

void CudaDevice::synchronize() {
  require_not_capturing("synchronisation");
  for (const cudaStream_t s : {copy_stream(), stream(), copy_out_stream_.get()})
    check(cudaStreamSynchronize(s), "cudaStreamSynchronize");
}

void CudaDevice::start_copy_from_host(void* destination, const void* source, size_t nbytes) {
  if (nbytes == 0) return;
  require_not_capturing("a copy on the copy stream");
  check(cudaEventRecord(computed_.get(), stream()), "cudaEventRecord");
  check(cudaStreamWaitEvent(copy_stream(), computed_.get(), 0), "cudaStreamWaitEvent");
  check(cudaMemcpyAsync(destination, source, nbytes, cudaMemcpyHostToDevice, copy_stream()), "cudaMemcpyAsync",
        [&] { return fmt::format("{} bytes to {}", nbytes, name()); });
}

void CudaDevice::start_copy_to_host(void* destination, const void* source, size_t nbytes, cudaEvent_t arrived) {
  require_not_capturing("a copy on the copy stream");
  const cudaStream_t out = copy_out_stream_.get();
  if (nbytes > 0) {
    check(cudaEventRecord(computed_.get(), stream()), "cudaEventRecord");
    check(cudaStreamWaitEvent(out, computed_.get(), 0), "cudaStreamWaitEvent");
    check(cudaMemcpyAsync(destination, source, nbytes, cudaMemcpyDeviceToHost, out), "cudaMemcpyAsync",
          [&] { return fmt::format("{} bytes from {}", nbytes, name()); });
  }
  check(cudaEventRecord(arrived, out), "cudaEventRecord");
}

void CudaDevice::use_copies() {
  require_not_capturing("a wait for the copy stream");
  check(cudaEventRecord(copied_.get(), copy_stream()), "cudaEventRecord");
  check(cudaStreamWaitEvent(stream(), copied_.get(), 0), "cudaStreamWaitEvent");
}

void CudaDevice::wait_for_copies() { check(cudaStreamSynchronize(copy_stream()), "cudaStreamSynchronize"); }

std::unique_ptr<Device> make_cuda_device(int index) { return std::make_unique<CudaDevice>(index); }

int cuda_device_count() {
  int count = 0;
  if (cudaGetDeviceCount(&count) == cudaSuccess) return count;
  static_cast<void>(cudaGetLastError());
  return 0;
}

CudaDevice& cuda_device(Device& device) {
  if (!device.is_cuda()) throw DeviceError("a CUDA device is needed, this is " + device.name());
  return static_cast<CudaDevice&>(device);
}

}  // namespace segrt
