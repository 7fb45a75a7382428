// Uploads arrive whole, in order and under every order of streams, however far the host runs ahead.
#include "core/upload_ring.h"

#include <doctest/doctest.h>

#include <numeric>

#if __has_include("emulator/control.h")
#include "emulator/control.h"
#endif

namespace {
using namespace segrt;

// A block of page-locked memory that counts those alive.
struct Source {
  Source(Device& on, int first, int count, int& counter)
      : device(on), nbytes(static_cast<size_t>(count) * 4), alive(counter) {
    values = static_cast<int32_t*>(device.allocate_host(nbytes));
    std::iota(values, values + count, first);
    ++alive;
  }
  Source(const Source&) = delete;
  Source& operator=(const Source&) = delete;
  ~Source() {
    std::fill(values, values + nbytes / 4, -1);  // whoever reads on is seen
    device.deallocate_host(values, nbytes);
    --alive;
  }
  Device& device;
  size_t nbytes;
  int& alive;
  int32_t* values = nullptr;
};

void check_uploads(Device& device, int uploads) {
  int alive = 0, most = 0;
  std::vector<Tensor> kept;  // copies made by queued work: what an upload held when its turn came
  {
    UploadRing ring(device);
    for (int k = 0; k < uploads; ++k) {
      const int count = 5 + k % 3;  // sizes change
      auto source = std::make_shared<Source>(device, 100 * k, count, alive);
      const auto parts = ring.upload(
          {{source->values, {count - 1}, DType::i32}, {source->values + count - 1, {1}, DType::i32}}, source);
      source.reset();
      most = std::max(most, alive);
      for (const Tensor& part : parts) kept.push_back(part.clone());
    }
  }
  CHECK(alive == 0);
  CHECK(most <= UploadRing::kOutstanding);
  for (int k = 0; k < uploads; ++k) {
    std::vector<int32_t> got = kept[static_cast<size_t>(2 * k)].to_vector<int32_t>();
    got.push_back(kept[static_cast<size_t>(2 * k + 1)].to_vector<int32_t>().front());
    std::vector<int32_t> expected(static_cast<size_t>(5 + k % 3));
    std::iota(expected.begin(), expected.end(), 100 * k);
    CAPTURE(k);
    CHECK(got == expected);
  }
}
}  // namespace

TEST_CASE("uploads arrive whole and in order, and their sources are let go") {
  const auto cpu = Device::create("cpu");
  check_uploads(*cpu, 40);
  if (!Device::cuda_available()) return;
#if __has_include("emulator/control.h")
  for (uint64_t seed = 1; seed <= 16; ++seed) {
    emulator::set_seed(seed);
    CAPTURE(seed);
    const auto device = Device::create("cuda");
    check_uploads(*device, 40);
  }
#else
  const auto device = Device::create("cuda");
  check_uploads(*device, 40);
#endif
}

#if __has_include("emulator/control.h")
TEST_CASE("the host does not wait for an upload") {
  const auto device = Device::create("cuda");
  int alive = 0;
  std::vector<std::shared_ptr<Source>> sources;  // which wait when they are freed
  UploadRing ring(*device);
  const auto upload = [&](int k) {
    const auto& source = sources.emplace_back(std::make_shared<Source>(*device, k, 4, alive));
    const uint64_t before = emulator::host_waits();
    ring.upload({{source->values, {4}, DType::i32}}, source);
    return emulator::host_waits() - before;
  };
  uint64_t waits = 0;
  for (int k = 0; k < UploadRing::kOutstanding; ++k) waits += upload(k);
  CHECK(waits == 0);
}
#endif
