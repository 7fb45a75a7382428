#include "runtime.h"

#include <cstdlib>

#include "launch.h"
#include "sanitizer.h"
#include "symbol.h"

namespace segrt::emulator {
namespace {

uint64_t from_environment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text && *text ? std::strtoull(text, nullptr, 10) : otherwise;
}

uint64_t& seed_slot() {
  static uint64_t seed = from_environment("SEGRT_EMULATOR_SEED", 1);
  return seed;
}

struct OpenMemory {
  explicit OpenMemory(DeviceMemory& m) : memory(m) { memory.open(); }
  ~OpenMemory() { memory.close(); }
  OpenMemory(const OpenMemory&) = delete;
  OpenMemory& operator=(const OpenMemory&) = delete;
  DeviceMemory& memory;
};

}  // namespace

uint64_t seed() { return seed_slot(); }
void set_seed(uint64_t seed) {
  seed_slot() = seed;
  const std::lock_guard lock(runtime().mutex);
  runtime().streams.reseed(seed);
  runtime().launches = 0;
}
size_t memory_limit() { return runtime().memory.limit(); }
void set_memory_limit(size_t nbytes) { runtime().memory.set_limit(nbytes); }
size_t queued_operations() { return runtime().streams.queued(); }
uint64_t kernels_run() { return runtime().kernels_run; }
size_t page_locked_blocks() {
  const std::lock_guard lock(runtime().mutex);
  return runtime().pinned.size();
}
uint64_t host_waits() {
  const std::lock_guard lock(runtime().mutex);
  return runtime().host_waits[std::this_thread::get_id()];
}

Runtime& runtime() {
  static auto* instance = new Runtime;  // never destroyed: objects that outlive main may still free device memory
  return *instance;
}

Runtime::Runtime() : memory(from_environment("SEGRT_EMULATOR_MEMORY", uint64_t{16} << 30)), streams(seed()) {
  install_fault_handler();
}

cudaError_t Runtime::error(cudaError_t code, std::string text) {
  last_error = code;
  failure = std::move(text);
  return code;
}

Stream* Runtime::stream_of(cudaStream_t handle) {
  if (!handle) return streams.default_stream();
  return streams.owns(handle) ? handle : nullptr;
}

cudaError_t Runtime::run_until(const std::function<bool()>& done) {
  if (done()) return cudaSuccess;
  const OpenMemory open(memory);
  try {
    streams.run_until(done);
  } catch (const std::exception& e) {
    return error(cudaErrorLaunchFailure, e.what());
  }
  return cudaSuccess;
}

cudaError_t Runtime::invalidate(Stream* stream, cudaError_t code) {
  stream->capture->invalidated = true;
  return error(code);
}

cudaError_t Runtime::allow_unsafe_call() {
  cudaError_t status = cudaSuccess;
  for (Stream* stream : streams.capturing())
    if (!stream->capture->relaxed) status = invalidate(stream, cudaErrorStreamCaptureUnsupported);
  return status;
}

cudaError_t Runtime::finish(Stream* stream) {
  if (stream->capture) return invalidate(stream, cudaErrorStreamCaptureUnsupported);
  return run_until([stream] { return stream->queue.empty(); });
}

cudaError_t Runtime::finish_all() {
  const std::vector<Stream*> capturing = streams.capturing();
  for (Stream* stream : capturing) invalidate(stream, cudaErrorStreamCaptureUnsupported);
  return capturing.empty() ? finish_queued() : cudaErrorStreamCaptureUnsupported;
}

cudaError_t Runtime::finish_queued() {
  return run_until([this] { return streams.queued() == 0; });
}

cudaError_t Runtime::push(Stream* stream, Work work, std::function<void()> run) {
  if (stream->capture) {
    if (work == Work::release) return invalidate(stream, cudaErrorStreamCaptureUnsupported);
    if (stream->capture->invalidated) return error(cudaErrorStreamCaptureInvalidated);
    GraphNode& node = stream->capture->graph->add(stream->capture->tail);
    node.run = std::move(run);
    stream->capture->tail = {&node};
    return cudaSuccess;
  }
  constexpr size_t kMaxQueued = 4096;
  streams.push(stream, std::move(run));
  if (streams.queued() <= kMaxQueued) return cudaSuccess;
  return run_until([this] { return streams.queued() <= kMaxQueued / 2; });
}

const std::string& Runtime::name_of(const void* function) {
  std::string& name = kernel_names[function];
  if (name.empty()) name = function_name(function);
  return name;
}

bool Runtime::is_pinned(const void* p) const {
  for (const auto& [start, nbytes] : pinned)
    if (p >= start && p < static_cast<const char*>(start) + nbytes) return true;
  return false;
}

}  // namespace segrt::emulator
