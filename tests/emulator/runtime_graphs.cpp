// Graph and stream capture calls of the CUDA runtime.
#include <algorithm>

#include "runtime.h"

using namespace segrt::emulator;

namespace {

using Lock = std::lock_guard<std::recursive_mutex>;

cudaError_t begin(cudaStream_t handle, Capture capture) {
  Runtime& r = runtime();
  Stream* stream = r.stream_of(handle);
  if (!stream) return r.error(cudaErrorInvalidResourceHandle);
  if (!handle) return r.error(cudaErrorStreamCaptureUnsupported);  // the legacy stream
  if (stream->capture) return r.error(cudaErrorIllegalState);
  stream->capture = std::make_shared<Capture>(std::move(capture));
  return cudaSuccess;
}

// Every handle made for a graph belongs to one of its IF nodes.
bool has_unused_condition(const Graph& graph) {
  for (const uint64_t handle : graph.conditions)
    if (!runtime().conditions.at(handle).node) return true;
  return std::any_of(graph.nodes.begin(), graph.nodes.end(),
                     [](const auto& node) { return node->body && has_unused_condition(*node->body); });
}

}  // namespace

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  const Lock lock(runtime().mutex);
  auto own = std::make_unique<Graph>();
  Graph* graph = own.get();
  return begin(stream,
               {.graph = graph, .own = std::move(own), .tail = {}, .relaxed = mode == cudaStreamCaptureModeRelaxed});
}

cudaError_t cudaStreamBeginCaptureToGraph(cudaStream_t stream, cudaGraph_t graph, const cudaGraphNode_t* dependencies,
                                          const cudaGraphEdgeData*, size_t count, cudaStreamCaptureMode mode) {
  const Lock lock(runtime().mutex);
  if (!graph || (count > 0 && !dependencies)) return runtime().error(cudaErrorInvalidValue);
  return begin(
      stream,
      {.graph = graph, .tail = {dependencies, dependencies + count}, .relaxed = mode == cudaStreamCaptureModeRelaxed});
}

cudaError_t cudaStreamEndCapture(cudaStream_t handle, cudaGraph_t* graph) {
  Runtime& r = runtime();
  const Lock lock(r.mutex);
  *graph = nullptr;
  Stream* stream = r.stream_of(handle);
  if (!stream) return r.error(cudaErrorInvalidResourceHandle);
  const std::shared_ptr<Capture> capture = std::move(stream->capture);
  stream->capture = nullptr;
  if (!capture) return r.error(cudaErrorIllegalState);
  if (capture->invalidated) return r.error(cudaErrorStreamCaptureInvalidated);
  *graph = capture->graph;
  if (capture->own) r.graphs.emplace(capture->graph, std::move(capture->own));
  return cudaSuccess;
}

cudaError_t cudaStreamGetCaptureInfo(cudaStream_t handle, cudaStreamCaptureStatus* status, unsigned long long* id,
                                     cudaGraph_t* graph, const cudaGraphNode_t** dependencies,
                                     const cudaGraphEdgeData** edges, size_t* count) {
  Runtime& r = runtime();
  const Lock lock(r.mutex);
  Stream* stream = r.stream_of(handle);
  if (!stream) return r.error(cudaErrorInvalidResourceHandle);
  const Capture* capture = stream->capture.get();
  *status = !capture               ? cudaStreamCaptureStatusNone
            : capture->invalidated ? cudaStreamCaptureStatusInvalidated
                                   : cudaStreamCaptureStatusActive;
  if (*status != cudaStreamCaptureStatusActive) return cudaSuccess;
  if (id) *id = reinterpret_cast<uintptr_t>(capture);
  if (graph) *graph = capture->graph;
  if (dependencies) *dependencies = capture->tail.data();
  if (edges) *edges = nullptr;  // all are plain
  if (count) *count = capture->tail.size();
  return cudaSuccess;
}

cudaError_t cudaStreamUpdateCaptureDependencies(cudaStream_t handle, cudaGraphNode_t* dependencies,
                                                const cudaGraphEdgeData*, size_t count, unsigned flags) {
  Runtime& r = runtime();
  const Lock lock(r.mutex);
  Stream* stream = r.stream_of(handle);
  if (!stream) return r.error(cudaErrorInvalidResourceHandle);
  if (!stream->capture) return r.error(cudaErrorIllegalState);
  for (size_t i = 0; i < count; ++i)
    if (!stream->capture->graph->contains(dependencies[i])) return r.error(cudaErrorInvalidValue);
  if (flags == cudaStreamSetCaptureDependencies) stream->capture->tail.clear();
  stream->capture->tail.insert(stream->capture->tail.end(), dependencies, dependencies + count);
  return cudaSuccess;
}

cudaError_t cudaGraphConditionalHandleCreate(cudaGraphConditionalHandle* handle, cudaGraph_t graph,
                                             unsigned default_value, unsigned flags) {
  Runtime& r = runtime();
  const Lock lock(r.mutex);
  if (!graph) return r.error(cudaErrorInvalidValue);
  *handle = ++r.last_condition;
  r.conditions[*handle] = {.initial = default_value, .assigned_at_launch = flags == cudaGraphCondAssignDefault};
  graph->conditions.push_back(*handle);
  return cudaSuccess;
}

cudaError_t cudaGraphAddNode(cudaGraphNode_t* node, cudaGraph_t graph, const cudaGraphNode_t* dependencies,
                             const cudaGraphEdgeData*, size_t count, cudaGraphNodeParams* params) {
  Runtime& r = runtime();
  const Lock lock(r.mutex);
  if (params->type != cudaGraphNodeTypeConditional || params->conditional.type != cudaGraphCondTypeIf ||
      params->conditional.size != 1)
    return r.error(cudaErrorNotSupported);
  const auto condition = r.conditions.find(params->conditional.handle);
  if (!graph || condition == r.conditions.end() || condition->second.node) return r.error(cudaErrorInvalidValue);
  for (size_t i = 0; i < count; ++i)
    if (!graph->contains(dependencies[i])) return r.error(cudaErrorInvalidValue);
  GraphNode& added = graph->add({dependencies, dependencies + count});
  added.condition = params->conditional.handle;
  added.body = std::make_unique<Graph>();
  added.body->is_body = true;
  added.body_handle = added.body.get();
  condition->second.node = &added;
  params->conditional.phGraph_out = &added.body_handle;
  *node = &added;
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
  Runtime& r = runtime();
  const Lock lock(r.mutex);
  const auto found = r.graphs.find(graph);
  if (found == r.graphs.end() || has_unused_condition(*graph)) return r.error(cudaErrorInvalidValue);
  *executable = new GraphExec{found->second};
  r.executables.insert(*executable);
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t handle) {
  Runtime& r = runtime();
  const Lock lock(r.mutex);
  Stream* stream = r.stream_of(handle);
  if (!stream || !r.executables.contains(executable)) return r.error(cudaErrorInvalidResourceHandle);
  if (stream->capture) return r.invalidate(stream, cudaErrorStreamCaptureUnsupported);  // a child with conditions
  Random random(seed() * 0x9E3779B97F4A7C15u + r.launches++);
  return r.push(stream, Work::kernel,
                [graph = executable->graph, random]() mutable { segrt::emulator::run_graph(*graph, random); });
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  Runtime& r = runtime();
  const Lock lock(r.mutex);
  if (r.executables.erase(executable) == 0) return r.error(cudaErrorInvalidResourceHandle);
  delete executable;  // a queued launch keeps the graph
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  Runtime& r = runtime();
  const Lock lock(r.mutex);
  return r.graphs.erase(graph) == 1 ? cudaSuccess : r.error(cudaErrorInvalidResourceHandle);
}
