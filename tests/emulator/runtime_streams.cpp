// Device, stream, event and launch calls of the CUDA runtime.
#include <fmt/format.h>

#include <cstring>

#include "block_memory.h"
#include "emulator/kernel.h"
#include "launch.h"
#include "runtime.h"

using namespace segrt::emulator;

namespace {

using Lock = std::lock_guard<std::recursive_mutex>;
constexpr size_t kMaxDynamicShared = 227 * 1024;  // of a block on sm_90

}  // namespace

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaSuccess: return "cudaSuccess";
    case cudaErrorInvalidValue: return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation: return "cudaErrorMemoryAllocation";
    case cudaErrorInvalidConfiguration: return "cudaErrorInvalidConfiguration";
    case cudaErrorNoDevice: return "cudaErrorNoDevice";
    case cudaErrorInvalidDevice: return "cudaErrorInvalidDevice";
    case cudaErrorInvalidResourceHandle: return "cudaErrorInvalidResourceHandle";
    case cudaErrorIllegalState: return "cudaErrorIllegalState";
    case cudaErrorNotReady: return "cudaErrorNotReady";
    case cudaErrorIllegalAddress: return "cudaErrorIllegalAddress";
    case cudaErrorLaunchFailure: return "cudaErrorLaunchFailure";
    case cudaErrorNotSupported: return "cudaErrorNotSupported";
    case cudaErrorStreamCaptureUnsupported: return "cudaErrorStreamCaptureUnsupported";
    case cudaErrorStreamCaptureInvalidated: return "cudaErrorStreamCaptureInvalidated";
  }
  return "unrecognized error code";
}

const char* cudaGetErrorString(cudaError_t error) {
  const Lock lock(runtime().mutex);
  const bool has_account = error == cudaErrorLaunchFailure || error == cudaErrorInvalidValue;
  if (has_account && !runtime().failure.empty()) return runtime().failure.c_str();
  return cudaGetErrorName(error);
}

cudaError_t cudaGetLastError() {
  const Lock lock(runtime().mutex);
  return std::exchange(runtime().last_error, cudaSuccess);
}
cudaError_t cudaPeekAtLastError() {
  const Lock lock(runtime().mutex);
  return runtime().last_error;
}

cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  if (device != 0) return runtime().error(cudaErrorInvalidDevice);
  *properties = {};
  const std::string name = fmt::format("emulated GPU, seed {}", seed());
  std::strncpy(properties->name, name.c_str(), sizeof(properties->name) - 1);
  properties->totalGlobalMem = memory_limit();
  properties->sharedMemPerBlock = 48 * 1024;
  properties->sharedMemPerBlockOptin = kMaxDynamicShared;
  properties->warpSize = 32;
  properties->maxThreadsPerBlock = 1024;
  properties->major = 9;
  properties->minor = 0;
  properties->multiProcessorCount = 1;
  properties->memoryPoolsSupported = 0;  // so that core's allocator does not pool, and every tensor has its red zones
  return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) { return device == 0 ? cudaSuccess : runtime().error(cudaErrorInvalidDevice); }

cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize() {
  const Lock lock(runtime().mutex);
  runtime().count_host_wait();
  return runtime().finish_all();
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  const Lock lock(runtime().mutex);
  *stream = runtime().streams.create();
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t handle) {
  Runtime& r = runtime();
  const Lock lock(r.mutex);
  if (!handle || !r.stream_of(handle)) return r.error(cudaErrorInvalidResourceHandle);
  const cudaError_t status = r.finish(handle);
  r.streams.destroy(handle);
  return status;
}

cudaError_t cudaStreamSynchronize(cudaStream_t handle) {
  Runtime& r = runtime();
  const Lock lock(r.mutex);
  r.count_host_wait();
  Stream* stream = r.stream_of(handle);
  return stream ? r.finish(stream) : r.error(cudaErrorInvalidResourceHandle);
}

cudaError_t cudaStreamQuery(cudaStream_t handle) {
  Runtime& r = runtime();
  const Lock lock(r.mutex);
  Stream* stream = r.stream_of(handle);
  if (!stream) return r.error(cudaErrorInvalidResourceHandle);
  if (stream->capture) return r.invalidate(stream, cudaErrorStreamCaptureUnsupported);
  if (stream->queue.empty()) return cudaSuccess;
  const size_t before = r.streams.queued();  // some work gets done, so that polling ends
  const cudaError_t status = r.run_until([&] { return r.streams.queued() < before; });
  return status == cudaSuccess ? cudaErrorNotReady : status;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t handle, cudaEvent_t event, unsigned) {
  Runtime& r = runtime();
  const Lock lock(r.mutex);
  Stream* stream = r.stream_of(handle);
  if (!stream || !r.events.contains(event)) return r.error(cudaErrorInvalidResourceHandle);
  if (stream->capture) return r.invalidate(stream, cudaErrorNotSupported);  // forks are not emulated
  if (event->event->recorded > 0) r.streams.wait(stream, event->event);
  return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  const Lock lock(runtime().mutex);
  *event = new EventHandle;
  runtime().events.insert(*event);
  return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  Runtime& r = runtime();
  const Lock lock(r.mutex);
  if (r.events.erase(event) == 0) return r.error(cudaErrorInvalidResourceHandle);
  delete event;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t handle) {
  Runtime& r = runtime();
  const Lock lock(r.mutex);
  Stream* stream = r.stream_of(handle);
  if (!stream || !r.events.contains(event)) return r.error(cudaErrorInvalidResourceHandle);
  if (stream->capture) return r.invalidate(stream, cudaErrorNotSupported);  // forks are not emulated
  r.streams.record(stream, event->event);
  return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  Runtime& r = runtime();
  const Lock lock(r.mutex);
  r.count_host_wait();
  if (!r.events.contains(event)) return r.error(cudaErrorInvalidResourceHandle);
  const Event& e = *event->event;
  return r.run_until([&e, wanted = e.recorded] { return e.reached >= wanted; });
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  Runtime& r = runtime();
  const Lock lock(r.mutex);
  if (!r.events.contains(event)) return r.error(cudaErrorInvalidResourceHandle);
  const Event& e = *event->event;
  if (e.reached >= e.recorded) return cudaSuccess;
  const size_t before = r.streams.queued();
  const cudaError_t status = r.run_until([&] { return r.streams.queued() < before; });
  return status == cudaSuccess ? cudaErrorNotReady : status;
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  Runtime& r = runtime();
  const Lock lock(r.mutex);
  if (!r.events.contains(start) || !r.events.contains(end)) return r.error(cudaErrorInvalidResourceHandle);
  if (start->event->reached < start->event->recorded || end->event->reached < end->event->recorded)
    return cudaErrorNotReady;
  *milliseconds = std::chrono::duration<float, std::milli>(end->event->time - start->event->time).count();
  return cudaSuccess;
}

cudaError_t cudaFuncGetName(const char** name, const void* function) {
  Runtime& r = runtime();
  const Lock lock(r.mutex);
  *name = r.name_of(static_cast<const Kernel*>(function)->function).c_str();
  return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void*, cudaFuncAttribute, int value) {
  return value >= 0 && static_cast<size_t>(value) <= kMaxDynamicShared ? cudaSuccess
                                                                       : runtime().error(cudaErrorInvalidValue);
}

cudaError_t cudaLaunchKernel(const void* function, dim3 grid, dim3 block, void** arguments, size_t shared_bytes,
                             cudaStream_t handle) {
  Runtime& r = runtime();
  const Lock lock(r.mutex);
  Stream* stream = r.stream_of(handle);
  if (!stream) return r.error(cudaErrorInvalidResourceHandle);
  if (size_t{block.x} * block.y * block.z > 1024 || block.x * block.y * block.z == 0 || grid.x * grid.y * grid.z == 0 ||
      shared_bytes > kMaxDynamicShared)
    return r.error(cudaErrorInvalidConfiguration);
  const auto index = [](const dim3& d) {
    return Index3{static_cast<int>(d.x), static_cast<int>(d.y), static_cast<int>(d.z)};
  };
  const auto& kernel = *static_cast<const Kernel*>(function);
  Launch launch{.kernel = r.name_of(kernel.function),
                .where = kernel.where,
                .grid = index(grid),
                .block = index(block),
                .shared_bytes = shared_bytes,
                .barrier_free = kernel.barrier_free,
                .body = kernel.bind(kernel.function, arguments),
                .number = r.launches++};
  const bool again = stream->capture != nullptr;  // each run of a graph has an order of its own
  return r.push(stream, Work::kernel, [launch = std::move(launch), again]() mutable {
    if (again) launch.number = runtime().launches++;
    segrt::emulator::run(launch);
    ++runtime().kernels_run;
    constexpr size_t kCanariesChecked = 64;  // a few a launch: all of them come round
    const std::string damage = runtime().memory.check_canaries(kCanariesChecked);
    if (!damage.empty())
      throw KernelFailure(fmt::format("{}; seen after {} (SEGRT_EMULATOR_SEED={})", damage, launch.kernel, seed()));
  });
}
