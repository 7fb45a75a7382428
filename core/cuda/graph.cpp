#include "core/cuda/graph.h"

#include "core/cuda/check.h"
#include "core/error.h"

namespace segrt {
namespace {
using GraphHandle = Handle<cudaGraph_t, cudaGraphDestroy>;

CudaStream make_body_stream() {
  cudaStream_t raw = nullptr;
  check(cudaStreamCreateWithFlags(&raw, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
  return CudaStream(raw);
}

// The graph that a stream is captured into, and the nodes that the next one will follow.
struct Place {
  cudaGraph_t graph = nullptr;
  const cudaGraphNode_t* after = nullptr;
  const cudaGraphEdgeData* edges = nullptr;
  size_t count = 0;

  explicit Place(cudaStream_t stream) {
    cudaStreamCaptureStatus status{};
    check(cudaStreamGetCaptureInfo(stream, &status, nullptr, &graph, &after, &edges, &count),
          "cudaStreamGetCaptureInfo");
    if (status != cudaStreamCaptureStatusActive)
      throw DeviceError("cuda graph: a call that cannot be captured has ended the capture");
  }
};
}  // namespace

// Captures the body of an IF node on a stream of its own while it lives.
class GraphCapture::Body {
 public:
  Body(GraphCapture& capture, cudaGraph_t body) : capture_(capture) {
    const size_t depth = capture.streams_.size() - 1;
    if (capture.body_streams_.size() == depth) capture.body_streams_.push_back(make_body_stream());
    const cudaStream_t stream = capture.body_streams_[depth].get();
    check(cudaStreamBeginCaptureToGraph(stream, body, nullptr, nullptr, 0, cudaStreamCaptureModeRelaxed),
          "cudaStreamBeginCaptureToGraph");
    capture.streams_.push_back(stream);
  }
  ~Body() {
    if (!finished_) static_cast<void>(end());
  }
  Body(const Body&) = delete;
  Body& operator=(const Body&) = delete;
  void finish() { check(end(), "cudaStreamEndCapture"); }

 private:
  cudaError_t end() {
    finished_ = true;
    const cudaStream_t stream = capture_.streams_.back();
    capture_.streams_.pop_back();
    cudaGraph_t body = nullptr;  // the node's own
    return cudaStreamEndCapture(stream, &body);
  }

  GraphCapture& capture_;
  bool finished_ = false;
};

GraphCapture::GraphCapture(CudaDevice& device, GraphMemory& memory, SetCondition set_condition)
    : device_(device), memory_(memory), set_condition_(std::move(set_condition)), streams_{device.stream()} {
  check(cudaStreamBeginCapture(stream(), cudaStreamCaptureModeRelaxed), "cudaStreamBeginCapture");
}

GraphCapture::~GraphCapture() {
  if (streams_.empty()) return;
  cudaGraph_t raw = nullptr;
  static_cast<void>(cudaStreamEndCapture(stream(), &raw));
  const GraphHandle dropped(raw);
  static_cast<void>(cudaGetLastError());
}

cudaGraph_t GraphCapture::finish() {
  cudaGraph_t graph = nullptr;
  const cudaStream_t compute = stream();
  streams_.clear();
  check(cudaStreamEndCapture(compute, &graph), "cudaStreamEndCapture");
  return graph;
}

void GraphCapture::run_if(const int32_t* flag, const std::function<void()>& body) {
  cudaGraphConditionalHandle handle{};
  // 0 at each replay, until the kernel sets it: a node whose kernel lies in a body that did not run stays off.
  check(cudaGraphConditionalHandleCreate(&handle, Place(stream()).graph, 0, cudaGraphCondAssignDefault),
        "cudaGraphConditionalHandleCreate");
  set_condition_(device_, flag, handle);
  const Place place(stream());
  cudaGraphNodeParams params{};
  params.type = cudaGraphNodeTypeConditional;
  params.conditional.handle = handle;
  params.conditional.type = cudaGraphCondTypeIf;
  params.conditional.size = 1;
  cudaGraphNode_t node = nullptr;
  check(cudaGraphAddNode(&node, place.graph, place.after, place.edges, place.count, &params), "cudaGraphAddNode");
  check(cudaStreamUpdateCaptureDependencies(stream(), &node, nullptr, 1, cudaStreamSetCaptureDependencies),
        "cudaStreamUpdateCaptureDependencies");
  ++conditions_;
  Body captured(*this, params.conditional.phGraph_out[0]);
  body();
  captured.finish();
}

CudaGraph::CudaGraph(CudaDevice& device, const std::function<void()>& work, SetCondition set_condition)
    : device_(device), memory_(device.allocator(), device.stream()) {
  device.require_not_capturing("another capture");
  device.attach(memory_);
  try {
    cudaGraph_t raw = nullptr;
    {
      GraphCapture capture(device, memory_, std::move(set_condition));
      const CudaDevice::Capturing capturing(device, capture);
      work();
      raw = capture.finish();
      conditions_ = capture.conditions();
    }
    const GraphHandle graph(raw);
    cudaGraphExec_t executable = nullptr;
    check(cudaGraphInstantiate(&executable, graph.get(), 0), "cudaGraphInstantiate");
    executable_ = Handle<cudaGraphExec_t, cudaGraphExecDestroy>(executable);
  } catch (...) {
    device.detach(memory_);
    throw;
  }
}

CudaGraph::~CudaGraph() {
  // Replays that are still queued keep what they run; the memory goes to work that is queued behind them.
  device_.detach(memory_);
}

void CudaGraph::replay() {
  device_.require_not_capturing("a replay of another graph");
  check(cudaGraphLaunch(executable_.get(), device_.stream()), "cudaGraphLaunch");
}

}  // namespace segrt
