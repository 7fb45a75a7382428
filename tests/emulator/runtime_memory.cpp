// Memory calls of the CUDA runtime.
#include <fmt/format.h>

#include <cstdlib>
#include <cstring>
#include <vector>

#include "launch.h"
#include "runtime.h"

namespace segrt::emulator {
namespace {

using Lock = std::lock_guard<std::recursive_mutex>;

// Again when the operation runs: the memory may have been freed since.
void require_range(const char* call, const void* p, size_t nbytes) {
  const std::string wrong = runtime().memory.check_range(p, nbytes);
  if (!wrong.empty()) throw KernelFailure(fmt::format("{}: {} (SEGRT_EMULATOR_SEED={})", call, wrong, seed()));
}

cudaError_t allocate(void** pointer, size_t nbytes) {
  Runtime& r = runtime();
  *pointer = nullptr;
  if (nbytes == 0) return cudaSuccess;
  *pointer = r.memory.allocate(nbytes);
  return *pointer ? cudaSuccess : r.error(cudaErrorMemoryAllocation);
}

void release(void* pointer) {
  const std::string damage = runtime().memory.free(pointer);
  if (!damage.empty()) throw KernelFailure(fmt::format("{} (SEGRT_EMULATOR_SEED={})", damage, seed()));
}

bool reads_device(cudaMemcpyKind kind) { return kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice; }
bool writes_device(cudaMemcpyKind kind) { return kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice; }

cudaError_t copy(void* destination, const void* source, size_t nbytes, cudaMemcpyKind kind, Stream* stream) {
  Runtime& r = runtime();
  if (kind == cudaMemcpyDefault || kind == cudaMemcpyHostToHost) {
    const bool from = r.memory.owns(source), to = r.memory.owns(destination);
    kind = from ? (to ? cudaMemcpyDeviceToDevice : cudaMemcpyDeviceToHost)
                : (to ? cudaMemcpyHostToDevice : cudaMemcpyHostToHost);
  }
  const std::string wrong_source = reads_device(kind) ? r.memory.check_range(source, nbytes) : "";
  const std::string wrong_destination = writes_device(kind) ? r.memory.check_range(destination, nbytes) : "";
  if (!wrong_source.empty()) return r.error(cudaErrorInvalidValue, "cudaMemcpy: source: " + wrong_source);
  if (!wrong_destination.empty())
    return r.error(cudaErrorInvalidValue, "cudaMemcpy: destination: " + wrong_destination);
  const auto move = [=](const void* from) {
    if (reads_device(kind)) require_range("cudaMemcpy: source", from, nbytes);
    if (writes_device(kind)) require_range("cudaMemcpy: destination", destination, nbytes);
    std::memmove(destination, from, nbytes);
  };
  if (stream->capture && (!reads_device(kind) || !writes_device(kind))) {
    // A copy with the host would go to addresses that mean something now and not when the graph runs.
    return r.invalidate(stream, cudaErrorStreamCaptureUnsupported);
  }
  const bool pageable =
      (!reads_device(kind) && !r.is_pinned(source)) || (!writes_device(kind) && !r.is_pinned(destination));
  if (pageable) r.count_host_wait();
  // As CUDA does: pageable sources are read before the call returns, pageable destinations are written before.
  if (!reads_device(kind) && !r.is_pinned(source)) {
    const auto* bytes = static_cast<const unsigned char*>(source);
    const auto staged = std::make_shared<std::vector<unsigned char>>(bytes, bytes + nbytes);
    return r.push(stream, Work::copy, [=] { move(staged->data()); });
  }
  const cudaError_t status = r.push(stream, Work::copy, [=] { move(source); });
  if (status != cudaSuccess || writes_device(kind) || r.is_pinned(destination)) return status;
  return r.finish(stream);
}

}  // namespace
}  // namespace segrt::emulator

using namespace segrt::emulator;

cudaError_t cudaMalloc(void** pointer, size_t nbytes) {
  const Lock lock(runtime().mutex);
  runtime().count_host_wait();
  const cudaError_t status = runtime().allow_unsafe_call();
  return status == cudaSuccess ? allocate(pointer, nbytes) : status;
}

cudaError_t cudaMallocAsync(void** pointer, size_t nbytes, cudaStream_t stream) {
  const Lock lock(runtime().mutex);
  Stream* on = runtime().stream_of(stream);
  if (!on) return runtime().error(cudaErrorInvalidResourceHandle);
  // An allocation node: forbidden in the body of a conditional node, and not emulated elsewhere.
  if (on->capture) return runtime().invalidate(on, cudaErrorStreamCaptureUnsupported);
  return allocate(pointer, nbytes);
}

cudaError_t cudaFree(void* pointer) {
  Runtime& r = runtime();
  const Lock lock(r.mutex);
  r.count_host_wait();
  cudaError_t status = r.allow_unsafe_call();
  if (status == cudaSuccess) status = r.finish_queued();
  if (!pointer || status != cudaSuccess) return status;
  try {
    release(pointer);
  } catch (const std::exception& e) {
    return r.error(cudaErrorInvalidValue, e.what());
  }
  return cudaSuccess;
}

cudaError_t cudaFreeAsync(void* pointer, cudaStream_t handle) {
  Runtime& r = runtime();
  const Lock lock(r.mutex);
  Stream* stream = r.stream_of(handle);
  if (!stream) return r.error(cudaErrorInvalidResourceHandle);
  if (!pointer) return cudaSuccess;
  const std::string wrong = r.memory.check_range(pointer, 1);
  if (!wrong.empty()) return r.error(cudaErrorInvalidValue, "cudaFreeAsync: " + wrong);
  return r.push(stream, Work::release, [pointer] { release(pointer); });
}

cudaError_t cudaMallocHost(void** pointer, size_t nbytes) {
  Runtime& r = runtime();
  const Lock lock(r.mutex);
  *pointer = nullptr;
  if (nbytes == 0) return cudaSuccess;
  if (posix_memalign(pointer, 4096, nbytes) != 0) return r.error(cudaErrorMemoryAllocation);
  r.pinned.emplace(*pointer, nbytes);
  return cudaSuccess;
}

cudaError_t cudaFreeHost(void* pointer) {
  Runtime& r = runtime();
  const Lock lock(r.mutex);
  r.count_host_wait();
  cudaError_t status = r.allow_unsafe_call();
  if (status == cudaSuccess) status = r.finish_queued();
  if (!pointer) return status;
  if (r.pinned.erase(pointer) == 0) return r.error(cudaErrorInvalidValue, "cudaFreeHost: not from cudaMallocHost");
  std::free(pointer);
  return status;
}

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  const Lock lock(runtime().mutex);
  *total = runtime().memory.limit();
  *free = *total - runtime().memory.used();
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* destination, const void* source, size_t nbytes, cudaMemcpyKind kind,
                            cudaStream_t handle) {
  Runtime& r = runtime();
  const Lock lock(r.mutex);
  Stream* stream = r.stream_of(handle);
  if (!stream) return r.error(cudaErrorInvalidResourceHandle);
  if (nbytes == 0) return cudaSuccess;
  return copy(destination, source, nbytes, kind, stream);
}

cudaError_t cudaMemcpy(void* destination, const void* source, size_t nbytes, cudaMemcpyKind kind) {
  Runtime& r = runtime();
  const Lock lock(r.mutex);
  r.count_host_wait();
  const cudaError_t status = cudaMemcpyAsync(destination, source, nbytes, kind, nullptr);
  return status == cudaSuccess ? r.finish_all() : status;  // the default stream waits for all
}

cudaError_t cudaMemsetAsync(void* destination, int value, size_t nbytes, cudaStream_t handle) {
  Runtime& r = runtime();
  const Lock lock(r.mutex);
  Stream* stream = r.stream_of(handle);
  if (!stream) return r.error(cudaErrorInvalidResourceHandle);
  if (nbytes == 0) return cudaSuccess;
  const std::string wrong = r.memory.check_range(destination, nbytes);
  if (!wrong.empty()) return r.error(cudaErrorInvalidValue, "cudaMemset: " + wrong);
  return r.push(stream, Work::fill, [=] {
    require_range("cudaMemset", destination, nbytes);
    std::memset(destination, value, nbytes);
  });
}
