// Graphs: capture, replay with other data, IF nodes, memory of the capture, and what cannot be captured.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "core/cuda/check.h"
#include "core/cuda/graph.h"
#include "core/error.h"
#include "core/tensor.h"
#include "emulator/control.h"
#include "kernels/cuda/device.h"

namespace segrt::kernels::cuda {
namespace {

constexpr int kCount = 70;

__global__ void affine_kernel(const float* x, float a, float b, float* y) {
  const int64_t i = global_index();
  if (i < kCount) y[i] = a * x[i] + b;
}
__global__ void compare_kernel(const float* x, float threshold, int32_t* flag) {
  if (global_index() == 0) *flag = x[0] > threshold ? 4 : 0;  // any value but 0 is true
}
__global__ void condition_kernel(const int32_t* flag, GraphCondition handle) {
  if (global_index() == 0) set_graph_condition(handle, *flag != 0);
}
__global__ void racing_condition_kernel(const int32_t* flag, GraphCondition handle) {
  set_graph_condition(handle, *flag != 0);
}

const LaunchConfig kOneBlock{.grid = 1, .block = 96, .barrier_free = true};

Tensor affine(const Tensor& x, float a, float b) {
  Tensor y = Tensor::like(x);
  launch(x.device(), affine_kernel, kOneBlock, x.data<float>(), a, b, y.data<float>());
  return y;
}
void affine_into(const Tensor& x, float a, float b, const Tensor& y) {
  launch(x.device(), affine_kernel, kOneBlock, x.data<float>(), a, b, y.data<float>());
}
Tensor greater(const Tensor& x, float threshold) {
  const Tensor flag = Tensor::empty({1}, DType::i32, x.device());
  launch(x.device(), compare_kernel, kOneBlock, x.data<float>(), threshold, flag.data<int32_t>());
  return flag;
}
void set_condition(Device& device, const int32_t* flag, cudaGraphConditionalHandle handle) {
  launch(device, condition_kernel, kOneBlock, flag, handle);
}

std::unique_ptr<CudaGraph> capture(CudaDevice& device, const std::function<void()>& work) {
  return std::make_unique<CudaGraph>(device, work, set_condition);
}
void set(Tensor& x, float value) {
  x.copy_from(Tensor::from<float>({kCount}, std::vector<float>(kCount, value), x.device()));
}
// All elements are the same: that one, else NaN.
float value_of(const Tensor& x) {
  const std::vector<float> values = x.to_vector<float>();
  return values == std::vector<float>(kCount, values[0]) ? values[0] : NAN;
}
std::string error_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return {};
}

}  // namespace

TEST_CASE("a capture runs nothing; each replay runs all of it on what the buffers hold then") {
  CudaDevice device(0);
  Tensor x = Tensor::zeros({kCount}, DType::f32, device), y;
  const uint64_t before = emulator::kernels_run();
  const auto graph = capture(device, [&] {
    y = affine(affine(x, 2, 1), 3, 0);
    Tensor z = Tensor::zeros({kCount}, DType::f32, device);  // a fill
    z.copy_from(y);                                          // a copy within the device
    y = affine(z, 1, 100);
  });
  device.synchronize();
  CHECK(emulator::kernels_run() == before);
  for (const float value : {1.0f, -7.0f, 0.25f}) {
    set(x, value);
    graph->replay();
    CHECK(value_of(y) == 3 * (2 * value + 1) + 100);
  }
  CHECK(emulator::kernels_run() == before + 9);
  set(x, 5);
  graph->replay();
  graph->replay();  // several may be queued
  affine_into(y, 2, 0, x);
  graph->replay();
  CHECK(value_of(y) == 3 * (2 * 266 + 1) + 100);
}

TEST_CASE("the GPU decides at each replay whether the body of an IF node runs") {
  CudaDevice device(0);
  Tensor x = Tensor::zeros({kCount}, DType::f32, device), y = Tensor::zeros({kCount}, DType::f32, device);
  const auto graph = capture(device, [&] {
    affine_into(x, 1, 0, y);
    const Tensor flag = greater(x, 2);
    device.run_if(flag.data<int32_t>(), [&] {
      const Tensor twice = affine(x, 2, 0);
      affine_into(twice, 1, 1000, y);
    });
    affine_into(y, 1, 1, y);  // after the body, whether it runs or not
  });
  CHECK(graph->conditions() == 1);
  for (uint64_t seed = 1; seed <= 8; ++seed) {
    emulator::set_seed(seed);
    for (const float value : {1.0f, 3.0f, 4.0f, 2.0f}) {
      const bool taken = value > 2;
      set(x, value);
      const uint64_t before = emulator::kernels_run();
      graph->replay();
      CHECK(value_of(y) == (taken ? 2 * value + 1001 : value + 1));
      CHECK(emulator::kernels_run() - before == (taken ? 6 : 4));  // with the one that sets the condition
    }
  }
}

TEST_CASE("IF nodes nest, and one whose kernel does not run stays off") {
  CudaDevice device(0);
  Tensor x = Tensor::zeros({kCount}, DType::f32, device), y = Tensor::zeros({kCount}, DType::f32, device);
  const Tensor yes = Tensor::from<int32_t>({1}, std::vector<int32_t>{1}, device);
  const auto graph = capture(device, [&] {
    affine_into(x, 0, 0, y);
    const Tensor outer = greater(x, 0), inner = greater(x, 10);
    device.run_if(outer.data<int32_t>(), [&] {
      affine_into(y, 1, 1, y);
      device.run_if(inner.data<int32_t>(), [&] {
        affine_into(y, 1, 10, y);
        device.run_if(yes.data<int32_t>(), [&] { affine_into(y, 1, 100, y); });
      });
      device.run_if(yes.data<int32_t>(), [&] { affine_into(y, 1, 1000, y); });
      affine_into(y, 2, 0, y);
    });
  });
  CHECK(graph->conditions() == 4);
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    emulator::set_seed(seed);
    for (const auto& [value, expected, kernels] : {std::tuple{20.0f, 2222.0f, 4 + 4 + 3 + 1},
                                                   {-1.0f, 0.0f, 4},
                                                   {5.0f, 2002.0f, 4 + 4 + 1},
                                                   {11.0f, 2222.0f, 12}}) {
      CAPTURE(value);
      set(x, value);
      const uint64_t before = emulator::kernels_run();
      graph->replay();
      CHECK(value_of(y) == expected);
      CHECK(emulator::kernels_run() - before == static_cast<uint64_t>(kernels));
    }
  }
}

TEST_CASE("without a capture the host branches") {
  CudaDevice device(0);
  Tensor x = Tensor::zeros({kCount}, DType::f32, device);
  int runs = 0;
  for (const float value : {1.0f, 3.0f}) {
    set(x, value);
    device.run_if(greater(x, 2).data<int32_t>(), [&] { ++runs; });
  }
  CHECK(runs == 1);
  device.set_runs_every_body(true);
  device.run_if(greater(x, 5).data<int32_t>(), [&] { ++runs; });
  CHECK(runs == 2);
}

TEST_CASE("memory freed within a capture serves later tensors of it") {
  CudaDevice device(0);
  Tensor x = Tensor::zeros({kCount}, DType::f32, device), y;
  const auto graph = capture(device, [&] {
    y = affine(x, 1, 0);
    for (int i = 0; i < 20; ++i) y = affine(y, 1, 1);  // two blocks take turns
  });
  CHECK(graph->memory_bytes() == 2 * y.nbytes());
  set(x, 3);
  graph->replay();
  // What dies or is made now leaves the graph's memory alone.
  const Tensor bystander = affine(x, 0, 7);
  graph->replay();
  CHECK(value_of(y) == 23);
  CHECK(value_of(bystander) == 7);
}

TEST_CASE("what captured work reads stays until the graph dies") {
  CudaDevice device(0);
  const int64_t before = device.memory().current_bytes;
  std::unique_ptr<CudaGraph> graph, other;
  Tensor y, z;
  {
    Tensor weight = Tensor::zeros({kCount}, DType::f32, device);
    set(weight, 5);
    graph = capture(device, [&] { y = affine(weight, 2, 0); });
    other = capture(device, [&] { z = affine(weight, 3, 0); });
  }
  for (int i = 0; i < 4; ++i) affine(y, 0, 0);  // would reuse the weight's memory
  graph->replay();
  CHECK(value_of(y) == 10);
  graph.reset();
  other->replay();
  CHECK(value_of(z) == 15);
  CHECK(value_of(y) == 10);  // the tensor is still there, and nothing changes it
  other.reset();
  y = z = Tensor();
  CHECK(device.memory().current_bytes == before);
}

TEST_CASE("tensors of a dead graph may die during another capture") {
  CudaDevice device(0);
  const int64_t before = device.memory().current_bytes;
  {
    Tensor x = Tensor::zeros({kCount}, DType::f32, device), old, y;
    auto first = capture(device, [&] { old = affine(x, 1, 1); });
    first->replay();
    first.reset();
    const auto second = capture(device, [&] {
      y = affine(old, 2, 0);
      old = Tensor();
      y = affine(y, 1, 1);
    });
    set(x, 50);
    second->replay();
    CHECK(value_of(y) == 3);
  }
  CHECK(device.memory().current_bytes == before);
}

TEST_CASE("a graph's memory in a pool: blocks of the capture take turns, those from before are kept, all go back") {
  cudaStream_t raw = nullptr;
  REQUIRE(cudaStreamCreateWithFlags(&raw, cudaStreamNonBlocking) == cudaSuccess);
  const CudaStream stream(raw);
  CachingAllocator allocator({.device_name = "cuda:0", .pool = true});
  void* weight = allocator.allocate(1000, raw);
  void* cached = allocator.allocate(5000, raw);
  allocator.deallocate(cached, raw);
  GraphMemory memory(allocator, raw);
  void* a = memory.allocate(5000);
  CHECK(a == cached);  // the pool's block, no new memory
  CHECK(memory.take_back(a));
  void* b = memory.allocate(4700);  // of the same size class
  CHECK(b == a);
  void* c = memory.allocate(4700);
  CHECK(c != b);
  CHECK(memory.reserved_bytes() == 2 * CachingAllocator::size_class(5000));
  CHECK(memory.take_back(weight));
  CHECK_FALSE(memory.take_back(weight));  // no longer a tensor's
  void* later = allocator.allocate(1000, raw);
  CHECK(later != weight);
  CHECK_FALSE(memory.take_back(later));
  CHECK(memory.take_back(c));
  std::vector<void*> surrendered = memory.surrender();  // b is a tensor's
  std::sort(surrendered.begin(), surrendered.end());
  std::vector<void*> expected{weight, c};
  std::sort(expected.begin(), expected.end());
  CHECK(surrendered == expected);
  CHECK_FALSE(memory.take_back(b));
  for (void* p : {weight, b, c, later}) allocator.deallocate(p, raw);
  CHECK(allocator.stats().current_bytes == 0);
}

TEST_CASE("what cannot be captured is refused by name, and the device goes on") {
  CudaDevice device(0);
  Tensor x = Tensor::zeros({kCount}, DType::f32, device);
  const Tensor flag = greater(x, -1);
  const auto refused = [&](const std::function<void()>& work) {
    const std::string in_graph = error_of([&] {
      capture(device, [&] {
        affine(x, 1, 0);
        work();
      });
    });
    const std::string in_body = error_of([&] { capture(device, [&] { device.run_if(flag.data<int32_t>(), work); }); });
    CHECK(in_graph == in_body);
    CHECK_FALSE(device.capturing());
    return in_graph;
  };
  CHECK(refused([&] { x.to_vector<float>(); }) ==
        "cuda:0: a copy of 280 bytes to the host cannot be captured into a graph");
  CHECK(refused([&] { set(x, 1); }) == "cuda:0: a copy of 280 bytes from the host cannot be captured into a graph");
  CHECK(refused([&] { device.synchronize(); }) == "cuda:0: synchronisation cannot be captured into a graph");
  CHECK(refused([&] { device.use_copies(); }) == "cuda:0: a wait for the copy stream cannot be captured into a graph");
  CHECK(refused([&] { capture(device, [] {}); }) == "cuda:0: another capture cannot be captured into a graph");
  const auto graph = capture(device, [] {});
  CHECK(refused([&] { graph->replay(); }) == "cuda:0: a replay of another graph cannot be captured into a graph");
  set(x, 3);
  CHECK(value_of(affine(x, 1, 1)) == 4);
}

TEST_CASE("calls that CUDA forbids in a capture end it") {
  CudaDevice device(0);
  Tensor x = Tensor::zeros({kCount}, DType::f32, device);
  device.synchronize();
  const Tensor flag = greater(x, -1);
  const auto after = [&](const std::function<cudaError_t()>& call, bool in_body) {
    cudaError_t status = cudaSuccess;
    const std::string message = error_of([&] {
      capture(device, [&] {
        const auto work = [&] { status = call(); };
        in_body ? device.run_if(flag.data<int32_t>(), work) : work();
      });
    });
    CHECK(message.find("cudaErrorStreamCaptureInvalidated") != std::string::npos);
    CHECK(value_of(affine(x, 1, 1)) == 1);
    return status;
  };
  for (const bool in_body : {false, true}) {
    void* p = nullptr;
    CHECK(after([&] { return cudaStreamSynchronize(device.stream()); }, in_body) == cudaErrorStreamCaptureUnsupported);
    CHECK(after([&] { return cudaStreamQuery(device.stream()); }, in_body) == cudaErrorStreamCaptureUnsupported);
    CHECK(after([&] { return cudaDeviceSynchronize(); }, in_body) == cudaErrorStreamCaptureUnsupported);
    CHECK(after([&] { return cudaMallocAsync(&p, 256, device.stream()); }, in_body) ==
          cudaErrorStreamCaptureUnsupported);
    CHECK(after([&] { return cudaFreeAsync(x.raw(), device.stream()); }, in_body) == cudaErrorStreamCaptureUnsupported);
    std::vector<float> host(kCount);
    CHECK(after([&] { return cudaMemcpyAsync(host.data(), x.raw(), 4, cudaMemcpyDeviceToHost, device.stream()); },
                in_body) == cudaErrorStreamCaptureUnsupported);
  }
  // Memory of its own may be taken in relaxed mode alone.
  for (const auto& [mode, expected] : {std::pair{cudaStreamCaptureModeRelaxed, cudaSuccess},
                                       {cudaStreamCaptureModeThreadLocal, cudaErrorStreamCaptureUnsupported}}) {
    void* p = nullptr;
    cudaGraph_t graph = nullptr;
    REQUIRE(cudaStreamBeginCapture(device.stream(), mode) == cudaSuccess);
    CHECK(cudaMalloc(&p, 256) == expected);
    CHECK(cudaStreamEndCapture(device.stream(), &graph) ==
          (expected == cudaSuccess ? cudaSuccess : cudaErrorStreamCaptureInvalidated));
    if (graph) CHECK(cudaGraphDestroy(graph) == cudaSuccess);
    CHECK(cudaFree(p) == cudaSuccess);
  }
}

TEST_CASE("conditions are set by one thread of a kernel of their graph, and each has its node") {
  CudaDevice device(0);
  Tensor x = Tensor::zeros({kCount}, DType::f32, device);
  const Tensor flag = greater(x, -1);
  const auto run = [&](const SetCondition& setter) {
    return error_of([&] {
      CudaGraph graph(
          device, [&] { device.run_if(flag.data<int32_t>(), [] {}); }, setter);
      graph.replay();
      device.synchronize();
    });
  };
  CHECK(run(set_condition).empty());
  CHECK(run([](Device& d, const int32_t* f, cudaGraphConditionalHandle handle) {
          launch(d, racing_condition_kernel, kOneBlock, f, handle);
        }).find("two threads of a kernel set the same condition") != std::string::npos);
  CHECK(run([](Device& d, const int32_t* f, cudaGraphConditionalHandle) {
          launch(d, condition_kernel, kOneBlock, f, GraphCondition{1u << 30});
        }).find("no such handle") != std::string::npos);
  cudaGraphConditionalHandle stale{};
  CHECK(run([&](Device& d, const int32_t* f, cudaGraphConditionalHandle handle) {
          stale = handle;
          set_condition(d, f, handle);
        }).empty());
  launch(device, condition_kernel, kOneBlock, flag.data<int32_t>(), stale);
  CHECK(error_of([&] { device.synchronize(); }).find("does not run in a graph") != std::string::npos);

  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  REQUIRE(cudaStreamBeginCapture(device.stream(), cudaStreamCaptureModeRelaxed) == cudaSuccess);
  cudaStreamCaptureStatus status{};
  REQUIRE(cudaStreamGetCaptureInfo(device.stream(), &status, nullptr, &graph) == cudaSuccess);
  REQUIRE(cudaGraphConditionalHandleCreate(&stale, graph, 0, cudaGraphCondAssignDefault) == cudaSuccess);
  REQUIRE(cudaStreamEndCapture(device.stream(), &graph) == cudaSuccess);
  CHECK(cudaGraphInstantiate(&executable, graph, 0) == cudaErrorInvalidValue);
  CHECK(cudaGraphDestroy(graph) == cudaSuccess);
}

}  // namespace segrt::kernels::cuda
