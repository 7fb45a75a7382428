#include "kernels/device_graph.h"

#include "core/error.h"
#if SEGRT_HAS_CUDA
#include "core/cuda/graph.h"
#include "kernels/cuda/set_condition.h"
#endif

namespace segrt::kernels {

void DeviceGraph::rehearse(Device& device, const std::function<void()>& work) {
  struct EveryBody {
    explicit EveryBody(Device& d) : device(d) { device.set_runs_every_body(true); }
    ~EveryBody() { device.set_runs_every_body(false); }
    Device& device;
  } const every_body(device);
  work();
}

#if SEGRT_HAS_CUDA
struct DeviceGraph::Graph {
  CudaGraph graph;
};

DeviceGraph::DeviceGraph(Device& device, const std::function<void()>& work)
    : graph_(new Graph{.graph = CudaGraph(cuda_device(device), work, cuda::set_condition)}) {}
void DeviceGraph::replay() { graph_->graph.replay(); }
int DeviceGraph::conditions() const { return graph_->graph.conditions(); }
size_t DeviceGraph::memory_bytes() const { return graph_->graph.memory_bytes(); }
#else
struct DeviceGraph::Graph {};

DeviceGraph::DeviceGraph(Device& device, const std::function<void()>&) {
  throw DeviceError(device.name() + ": this build has no CUDA, and no other device has graphs");
}
void DeviceGraph::replay() {}
int DeviceGraph::conditions() const { return 0; }
size_t DeviceGraph::memory_bytes() const { return 0; }
#endif
DeviceGraph::~DeviceGraph() = default;

}  // namespace segrt::kernels
