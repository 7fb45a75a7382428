// Work recorded once and replayed with one call, on devices that have that: CUDA graphs (core/cuda/graph.h) with the
// kernel that their conditions need.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>

#include "core/device.h"

namespace segrt::kernels {

class DeviceGraph {
 public:
  static bool supported(const Device& device) { return device.is_cuda(); }

  // Runs `work`, whose launches, copies within the device and fills are recorded and not carried out; what it puts
  // under Device::run_if is recorded with its condition. Tensors that `work` makes lie in memory of the graph, and hold
  // what the latest replay computed; they outlive the graph, then with contents that nothing changes any more. Tensors
  // that `work` reads and does not make are read again at each replay, where they lay, whatever has become of them.
  // Throws what `work` throws; DeviceError on a device without graphs, and where `work` does what cannot be recorded:
  // copies from and to the host, synchronisation.
  DeviceGraph(Device& device, const std::function<void()>& work);
  ~DeviceGraph();
  DeviceGraph(const DeviceGraph&) = delete;
  DeviceGraph& operator=(const DeviceGraph&) = delete;

  // Runs `work` as usual, and every body of its Device::run_if: what layers and kernels make on first use and keep is
  // then there before a capture. Made in a body while it is captured, it would exist in those replays only that come
  // through that body.
  static void rehearse(Device& device, const std::function<void()>& work);

  void replay();                // queues the work again
  int conditions() const;       // run_ifs in it, nested ones included
  size_t memory_bytes() const;  // that its tensors take

 private:
  struct Graph;
  std::unique_ptr<Graph> graph_;
};

}  // namespace segrt::kernels
