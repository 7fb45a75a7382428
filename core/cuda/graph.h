// Work of a CUDA device recorded once, as a CUDA graph, and replayed with one call. What ran under a condition
// (Device::run_if) becomes an IF node: the GPU decides at each replay, and the host waits for nothing.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "core/cuda/cuda_device.h"
#include "core/cuda/graph_memory.h"
#include "core/cuda/handle.h"

namespace segrt {

// Launches a kernel that sets the condition behind `handle` to *flag != 0, flag in the device's memory. It is passed
// in, as core has no kernels.
using SetCondition = std::function<void(Device&, const int32_t* flag, cudaGraphConditionalHandle handle)>;

// What a device does differently while its work is captured.
//
// The mode is relaxed: memory for tensors is taken with cudaMalloc when the pool has none, which the other modes forbid
// (cudaMallocAsync would become an allocation node, and bodies of conditional nodes may hold none); and threads that
// prepare the next images go on with page-locked memory. One thread uses the device during a capture.
//
// The body of an IF node is captured through a stream of its own, as the outer capture goes on meanwhile. Handles of
// vendor libraries that are bound to a stream must be given stream() anew before they are used in a body.
class GraphCapture {
 public:
  GraphCapture(CudaDevice& device, GraphMemory& memory, SetCondition set_condition);
  ~GraphCapture();  // ends and drops a capture that was not finished
  GraphCapture(const GraphCapture&) = delete;
  GraphCapture& operator=(const GraphCapture&) = delete;

  cudaStream_t stream() const { return streams_.back(); }
  GraphMemory& memory() const { return memory_; }
  void run_if(const int32_t* flag, const std::function<void()>& body);
  int conditions() const { return conditions_; }
  cudaGraph_t finish();  // the graph is the caller's

 private:
  class Body;

  CudaDevice& device_;
  GraphMemory& memory_;
  SetCondition set_condition_;
  std::vector<cudaStream_t> streams_;     // that are captured, innermost last
  std::vector<CudaStream> body_streams_;  // by depth
  int conditions_ = 0;
};

class CudaGraph {
 public:
  // Runs `work`, whose launches, copies within the device and fills are recorded and not carried out. Both branches of
  // what it decides on the host are fixed by this one run. Throws what `work` throws; DeviceError that says what cannot
  // be recorded: copies from and to the host, synchronisation, a capture within a capture.
  CudaGraph(CudaDevice& device, const std::function<void()>& work, SetCondition set_condition);
  ~CudaGraph();
  CudaGraph(const CudaGraph&) = delete;
  CudaGraph& operator=(const CudaGraph&) = delete;

  // Queues the recorded work on the compute stream. Tensors made by `work` then hold the new results.
  void replay();
  int conditions() const { return conditions_; }  // IF nodes, nested ones included
  size_t memory_bytes() const { return memory_.reserved_bytes(); }

 private:
  CudaDevice& device_;
  GraphMemory memory_;
  Handle<cudaGraphExec_t, cudaGraphExecDestroy> executable_;
  int conditions_ = 0;
};

}  // namespace segrt
