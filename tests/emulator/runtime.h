// The emulated driver: one GPU's memory and streams, and the errors of calls.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <unordered_map>

#include "cuda_runtime.h"
#include "device_memory.h"
#include "emulator/control.h"
#include "graph.h"
#include "streams.h"

namespace segrt::emulator {

struct EventHandle {
  std::shared_ptr<Event> event = std::make_shared<Event>();
};

struct Runtime {
  Runtime();

  std::recursive_mutex mutex;
  DeviceMemory memory;
  StreamSet streams;
  std::unordered_map<void*, size_t> pinned;  // from cudaMallocHost
  std::set<EventHandle*> events;
  std::unordered_map<const void*, std::string> kernel_names;
  std::map<const Graph*, std::shared_ptr<const Graph>> graphs;  // of finished captures
  std::set<GraphExec*> executables;
  std::unordered_map<uint64_t, Condition> conditions;
  uint64_t last_condition = 0;
  uint64_t launches = 0;
  uint64_t kernels_run = 0;
  std::map<std::thread::id, uint64_t> host_waits;  // see emulator/control.h
  void count_host_wait() { ++host_waits[std::this_thread::get_id()]; }
  cudaError_t last_error = cudaSuccess;
  std::string failure;  // text of the last cudaErrorLaunchFailure or ...InvalidValue

  cudaError_t error(cudaError_t code, std::string text = {});
  // The stream behind a handle (null: the default stream), or null for a bad one.
  Stream* stream_of(cudaStream_t handle);
  // Runs queued work until `done`, with device memory open. What a kernel threw becomes cudaErrorLaunchFailure.
  cudaError_t run_until(const std::function<bool()>& done);
  cudaError_t finish(Stream* stream);
  cudaError_t finish_all();     // an error while a stream is captured
  cudaError_t finish_queued();  // of the streams that are not captured: what frees of memory wait for
  // Queues work, or adds it to the graph that the stream is captured into; a very long queue is cut short first.
  cudaError_t push(Stream* stream, Work work, std::function<void()> run);
  // For a call that a capture does not survive: `code`, and its end will be an error.
  cudaError_t invalidate(Stream* stream, cudaError_t code);
  // For calls that may wait for the device: an error while a stream is captured in another mode than relaxed.
  cudaError_t allow_unsafe_call();
  const std::string& name_of(const void* function);
  bool is_pinned(const void* p) const;
};

// The driver that the process talks to, as a program talks to one CUDA driver.
Runtime& runtime();

// Makes faults on protected memory and on guard pages say what they are, before the program dies of them.
void install_fault_handler();

}  // namespace segrt::emulator
