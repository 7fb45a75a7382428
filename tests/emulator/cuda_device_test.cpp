// core/cuda on the emulator: device, caching allocator, messages.
#include <doctest/doctest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "core/cuda/caching_allocator.h"
#include "core/cuda/check.h"
#include "core/cuda/cuda_device.h"
#include "core/error.h"
#include "core/op_scope.h"
#include "core/tensor.h"
#include "emulator/control.h"

namespace segrt {
namespace {

constexpr int64_t kMiB = 1 << 20;

struct Streams {
  CudaStream first = make(), second = make();
  static CudaStream make() {
    cudaStream_t raw = nullptr;
    check(cudaStreamCreateWithFlags(&raw, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
    return CudaStream(raw);
  }
};

struct MemoryLimit {
  size_t before = emulator::memory_limit();
  explicit MemoryLimit(size_t nbytes) { emulator::set_memory_limit(nbytes); }
  ~MemoryLimit() { emulator::set_memory_limit(before); }
};

}  // namespace

TEST_CASE("size classes waste less than an eighth") {
  for (size_t nbytes = 1; nbytes < (size_t{1} << 34); nbytes += nbytes / 5 + 1) {
    const size_t size = CachingAllocator::size_class(nbytes);
    REQUIRE(size >= nbytes);
    REQUIRE(size % 256 == 0);
    REQUIRE(CachingAllocator::size_class(size) == size);
    if (nbytes > 2048) REQUIRE(static_cast<double>(size - nbytes) < static_cast<double>(nbytes) / 8);
  }
}

TEST_CASE("the allocator reuses blocks of like size on the same stream") {
  const Streams streams;
  CachingAllocator allocator({.device_name = "cuda:0", .pool = true});
  void* p = allocator.allocate(1 * kMiB, streams.first.get());
  CHECK(reinterpret_cast<uintptr_t>(p) % 256 == 0);
  CHECK(allocator.stats().current_bytes == kMiB);
  allocator.deallocate(p, streams.first.get());
  CHECK(allocator.stats().current_bytes == 0);
  CHECK(allocator.stats().reserved_bytes == kMiB);
  void* other_stream = allocator.allocate(1 * kMiB, streams.second.get());
  CHECK(other_stream != p);  // work on the first stream may still use it
  void* too_small = allocator.allocate(kMiB / 2, streams.first.get());
  CHECK(too_small != p);
  void* again = allocator.allocate(kMiB - kMiB / 5, streams.first.get());
  CHECK(again == p);
  CHECK(allocator.stats().peak_bytes == 5 * kMiB / 2);
  for (void* q : {other_stream, too_small, again}) allocator.deallocate(q, streams.first.get());
  allocator.reset_peak();
  CHECK(allocator.stats().peak_bytes == 0);
  CHECK(allocator.stats().reserved_bytes == 5 * kMiB / 2);
  allocator.release_cached();
  CHECK(allocator.stats().reserved_bytes == 0);
  CHECK(allocator.allocate(0, streams.first.get()) == nullptr);
}

TEST_CASE("out of memory gives cached blocks back first, then says what is held") {
  const Streams streams;
  for (const bool pool : {true, false}) {
    CAPTURE(pool);
    check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    const MemoryLimit limit(10 * kMiB);
    CachingAllocator allocator({.device_name = "cuda:0", .pool = pool});
    void* held = allocator.allocate(4 * kMiB, streams.first.get());
    void* cached = allocator.allocate(3 * kMiB, streams.first.get());
    allocator.deallocate(cached, streams.first.get());
    check(cudaStreamSynchronize(streams.first.get()), "cudaStreamSynchronize");
    void* fits_after_release = allocator.allocate(6 * kMiB, streams.first.get());
    CHECK(fits_after_release != nullptr);
    std::string message;
    try {
      allocator.allocate(2 * kMiB, streams.first.get());
    } catch (const DeviceError& e) {
      message = e.what();
    }
    CHECK(message == "cuda:0: out of memory: 2.0 MiB wanted; 10.0 MiB held, 0 bytes cached, 0 bytes of 10.0 MiB free");
    allocator.deallocate(held, streams.first.get());
    allocator.deallocate(fits_after_release, streams.first.get());
    check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
  }
}

TEST_CASE("a device without memory says which operator asked, and who holds what") {
  check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
  const MemoryLimit limit(10 * kMiB);
  CudaDevice device(0);
  std::vector<Tensor> held;
  const std::string path = "layer3.0.conv1";
  std::string message;
  try {
    {
      const FunctionScope function("conv2d", device);
      for (int i = 0; i < 3; ++i) held.push_back(Tensor::empty({1, 256, 1024}, DType::f32, device));
    }
    const FunctionScope backward("conv2d", device, path);
    held.push_back(Tensor::empty({1024, 1024}, DType::f32, device));
    const OpScope op("conv2d_backward_input", held.front(), [] { return OpWork{}; });
    Tensor::empty({2, 1024, 1024}, DType::bf16, device);
  } catch (const DeviceError& e) {
    message = e.what();
  }
  CHECK(message ==
        "cuda:0: out of memory: 4.0 MiB wanted for bf16 [2,1024,1024] by conv2d_backward_input (backward) of "
        "layer3.0.conv1; 7.0 MiB held, 0 bytes cached, 3.0 MiB of 10.0 MiB free; held by the tensors of\n"
        "     4.0 MiB  conv2d (backward): 1 x f32 [1024,1024] (4.0 MiB)\n"
        "     3.0 MiB  conv2d: 3 x f32 [1,256,1024] (3.0 MiB)");
  held.pop_back();
  device.synchronize();
  CHECK(Tensor::empty({2, 1024, 1024}, DType::bf16, device).defined());  // nothing is broken
}

TEST_CASE("the emulator is a CUDA device like another") {
  CHECK(Device::cuda_available());
  const auto device = Device::create("cuda:0");
  CHECK(device->is_cuda());
  CHECK(device->name() == "cuda:0");
  CHECK(device->description().starts_with("cuda:0 (emulated GPU, seed "));
  CHECK_THROWS_WITH_AS(Device::create("cuda:3"), "cuda:3: no such GPU, 1 present", DeviceError);
  const int64_t before = device->memory().current_bytes;
  {
    const Tensor x = Tensor::zeros({3, 5}, DType::f32, *device);
    CHECK(device->memory().current_bytes == before + 60);
    CHECK(x.clone().to_vector<float>() == std::vector<float>(15, 0.0f));
    const auto cpu = Device::create("cpu");
    const std::vector<float> values{1, 2, 3};
    const Tensor there = Tensor::from<float>({3}, values, *cpu).to(*device);
    CHECK(there.to(*cpu).to_vector<float>() == values);
  }
  CHECK(device->memory().current_bytes == before);
  CHECK(device->memory().peak_bytes >= before + 120);
  CHECK(Tensor::empty({0, 4}, DType::f32, *device).to_vector<float>().empty());
}

TEST_CASE("a failed CUDA call names call, status and what it was about") {
  CHECK_THROWS_WITH_AS(check(cudaErrorMemoryAllocation, "cudaMalloc", [] { return std::string("7 bytes"); }),
                       doctest::Contains("cudaMalloc: cudaErrorMemoryAllocation: cudaErrorMemoryAllocation: 7 bytes "
                                         "(cuda_device_test.cpp:"),
                       DeviceError);
  bool ran = false;
  check(cudaSuccess, "cudaMalloc", [&] {
    ran = true;
    return std::string();
  });
  CHECK_FALSE(ran);
}

}  // namespace segrt
