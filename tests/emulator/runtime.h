// The emulated driver: one GPU's memory and streams, and the errors of calls.
#pragma once

#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <unordered_map>

#include "cuda_runtime.h"
#include "device_memory.h"
#include "emulator/control.h"
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
  uint64_t launches = 0;
  cudaError_t last_error = cudaSuccess;
  std::string failure;  // text of the last cudaErrorLaunchFailure or ...InvalidValue

  cudaError_t error(cudaError_t code, std::string text = {});
  // The stream behind a handle (null: the default stream), or null for a bad one.
  Stream* stream_of(cudaStream_t handle);
  // Runs queued work until `done`, with device memory open. What a kernel threw becomes cudaErrorLaunchFailure.
  cudaError_t run_until(const std::function<bool()>& done);
  cudaError_t finish(Stream* stream);
  cudaError_t finish_all();
  // Queues work; a very long queue is cut short first.
  cudaError_t push(Stream* stream, std::function<void()> run);
  const std::string& name_of(const void* function);
  bool is_pinned(const void* p) const;
};

// The driver that the process talks to, as a program talks to one CUDA driver.
Runtime& runtime();

// Makes faults on protected memory and on guard pages say what they are, before the program dies of them.
void install_fault_handler();

}  // namespace segrt::emulator
