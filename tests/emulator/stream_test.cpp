// Streams, events, copies: what a forgotten wait or a source reused too early does, and that correct programs are
// right.
#include <cuda_runtime.h>
#include <doctest/doctest.h>

#include <cstring>
#include <numeric>
#include <vector>

#include "core/async_copies.h"
#include "core/cuda/cuda_device.h"
#include "core/error.h"
#include "core/tensor.h"
#include "emulator/control.h"
#include "kernels/cuda/device.h"

namespace segrt::kernels::cuda {
namespace {

__global__ void add_one_kernel(const float* x, float* y, int64_t n) {
  const int64_t i = global_index();
  if (i < n) y[i] = x[i] + 1.0f;
}

constexpr int kCount = 100;

void add_one(Device& device, const Tensor& x, Tensor& y) {
  launch(device, add_one_kernel, {.grid = 1, .block = 128, .barrier_free = true}, x.data<float>(), y.data<float>(),
         kCount);
}

// A batch goes to the device on the copy stream and is used on the compute stream. Whether the result is right.
bool copy_then_compute(CudaDevice& device, bool wait, bool reuse_source_early) {
  Tensor x = Tensor::zeros({kCount}, DType::f32, device);
  Tensor y = Tensor::zeros({kCount}, DType::f32, device);
  auto* source = static_cast<float*>(device.allocate_host(kCount * sizeof(float)));
  std::iota(source, source + kCount, 0.0f);
  device.start_copy_from_host(x.raw(), source, kCount * sizeof(float));
  if (reuse_source_early) std::memset(source, 0, kCount * sizeof(float));
  if (wait) device.use_copies();
  add_one(device, x, y);
  device.wait_for_copies();
  const std::vector<float> got = y.to_vector<float>();
  device.deallocate_host(source, kCount * sizeof(float));
  bool right = true;
  for (int i = 0; i < kCount; ++i) right = right && got[static_cast<size_t>(i)] == static_cast<float>(i + 1);
  return right;
}

int times_right(bool wait, bool reuse_source_early) {
  int right = 0;
  for (uint64_t seed = 1; seed <= 16; ++seed) {
    emulator::set_seed(seed);
    CudaDevice device(0);
    right += copy_then_compute(device, wait, reuse_source_early) ? 1 : 0;
  }
  return right;
}

}  // namespace

TEST_CASE("a copy to the host waits for what is queued, and the host for it") {
  // wait: the host waits for the copy. overwrite: later compute work writes the source while the copy may be on its
  // way.
  const auto times = [](bool wait, bool overwrite) {
    int right = 0;
    for (uint64_t seed = 1; seed <= 16; ++seed) {
      emulator::set_seed(seed);
      CudaDevice device(0);
      const Tensor x = Tensor::zeros({kCount}, DType::f32, device);
      Tensor y = Tensor::zeros({kCount}, DType::f32, device);
      device.synchronize();
      auto* destination = static_cast<float*>(device.allocate_host(kCount * sizeof(float)));
      std::memset(destination, 0, kCount * sizeof(float));
      add_one(device, x, y);
      AsyncCopies copies(device);
      const size_t slot = copies.to_host(destination, y.raw(), kCount * sizeof(float));
      if (overwrite) device.fill_bytes(y.raw(), 0, kCount * sizeof(float));
      if (wait) copies.wait(slot);
      right += destination[0] == 1 && destination[kCount - 1] == 1 ? 1 : 0;
      device.synchronize();
      device.deallocate_host(destination, kCount * sizeof(float));
    }
    return right;
  };
  CHECK(times(true, false) == 16);
  CHECK(times(false, false) < 16);
  CHECK(times(true, true) < 16);
}

TEST_CASE("a missing wait between streams shows under some seed, a wait never fails") {
  CHECK(times_right(true, false) == 16);
  const int without = times_right(false, false);
  CHECK(without < 16);
  CHECK(without > 0);  // and it is the seed that decides
}

TEST_CASE("page-locked memory is read when the copy runs") { CHECK(times_right(true, true) < 16); }

TEST_CASE("pageable memory may be reused when the call returns") {
  CudaDevice device(0);
  std::vector<float> values(kCount, 3.0f);
  const Tensor x = Tensor::zeros({kCount}, DType::f32, device);
  REQUIRE(cudaMemcpyAsync(x.raw(), values.data(), kCount * sizeof(float), cudaMemcpyHostToDevice, device.stream()) ==
          cudaSuccess);
  values.assign(kCount, 0.0f);
  CHECK(x.to_vector<float>() == std::vector<float>(kCount, 3.0f));
}

TEST_CASE("launches are queued until something waits for them, then run in stream order") {
  CudaDevice device(0);
  Tensor x = Tensor::zeros({kCount}, DType::f32, device);
  device.synchronize();
  for (int i = 0; i < 10; ++i) add_one(device, x, x);
  CHECK(emulator::queued_operations() == 10);
  CHECK(x.to_vector<float>() == std::vector<float>(kCount, 10.0f));
  CHECK(emulator::queued_operations() == 0);
}

TEST_CASE("memory freed with work queued is still there for that work") {
  CudaDevice device(0);
  Tensor y = Tensor::zeros({kCount}, DType::f32, device);
  {
    Tensor x = Tensor::zeros({kCount}, DType::f32, device);
    add_one(device, x, y);
  }
  CHECK(y.to_vector<float>() == std::vector<float>(kCount, 1.0f));
}

TEST_CASE("events: query, synchronise, elapsed time, and waiting for one that was never recorded") {
  CudaDevice device(0);
  cudaEvent_t raw[2];
  for (cudaEvent_t& e : raw) REQUIRE(cudaEventCreateWithFlags(&e, cudaEventDefault) == cudaSuccess);
  const CudaEvent first(raw[0]), second(raw[1]);
  CHECK(cudaEventQuery(first.get()) == cudaSuccess);
  CHECK(cudaStreamWaitEvent(device.stream(), first.get(), 0) == cudaSuccess);
  Tensor x = Tensor::zeros({kCount}, DType::f32, device);
  CHECK(cudaEventRecord(first.get(), device.stream()) == cudaSuccess);
  add_one(device, x, x);
  CHECK(cudaEventRecord(second.get(), device.stream()) == cudaSuccess);
  float ms = -1;
  CHECK(cudaEventElapsedTime(&ms, first.get(), second.get()) == cudaErrorNotReady);
  int polls = 0;
  while (cudaEventQuery(second.get()) == cudaErrorNotReady) ++polls;
  CHECK(polls > 0);
  CHECK(polls < 100);
  CHECK(cudaEventElapsedTime(&ms, first.get(), second.get()) == cudaSuccess);
  CHECK(ms >= 0);
  CHECK(cudaStreamQuery(device.stream()) == cudaSuccess);
}

TEST_CASE("copies outside of allocations are refused") {
  CudaDevice device(0);
  std::vector<float> host(kCount + 1);
  const Tensor x = Tensor::zeros({kCount}, DType::f32, device);
  const auto copy = [&](void* destination, const void* source, size_t nbytes) {
    std::string message;
    try {
      device.copy_from_host(destination, source, nbytes);
    } catch (const DeviceError& e) {
      message = e.what();
    }
    return message;
  };
  const std::string longer = copy(x.raw(), host.data(), (kCount + 1) * sizeof(float));
  CAPTURE(longer);
  CHECK(longer.find("404 bytes at offset 0 of a device allocation of 400 bytes") != std::string::npos);
  CHECK(longer.find("404 bytes to cuda:0") != std::string::npos);
  CHECK(copy(host.data(), host.data(), 4).find("is not device memory") != std::string::npos);
  CHECK(copy(x.raw(), host.data(), 400).empty());
}

}  // namespace segrt::kernels::cuda
