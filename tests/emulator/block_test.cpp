// Barriers, shared memory, indices and errors of whole blocks.
#include <doctest/doctest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/tensor.h"
#include "emulator/control.h"
#include "kernels/cuda/device.h"

namespace segrt::kernels::cuda {
namespace {

std::vector<float> ramp(int n) {
  std::vector<float> values(static_cast<size_t>(n));
  std::iota(values.begin(), values.end(), 1.0f);
  return values;
}

__global__ void index_kernel(int32_t* out) {
  const Index3 t = thread_index(), b = block_index(), n = block_dim(), g = grid_dim();
  const int block = b.x + g.x * (b.y + g.y * b.z);
  const int at = block * n.x * n.y * n.z + linear_thread();
  out[at * 4 + 0] = t.x + 10 * t.y + 100 * t.z;
  out[at * 4 + 1] = b.x + 10 * b.y + 100 * b.z;
  out[at * 4 + 2] = lane_index();
  out[at * 4 + 3] = warp_index();
}

// Per-block sums by a tree in shared memory, then by the helper: both exact here.
struct Tree {
  float part[512];
};
__global__ void tree_kernel(const float* x, float* y, int64_t n) {
  auto& tree = block_shared<Tree>();
  const int i = thread_index().x;
  const int64_t at = global_index();
  tree.part[i] = at < n ? x[at] : 0.0f;
  for (int half = block_dim().x / 2; half > 0; half /= 2) {
    sync_block();
    if (i < half) tree.part[i] += tree.part[i + half];
  }
  sync_block();
  if (i == 0) y[block_index().x] = tree.part[0];
}
__global__ void block_sum_kernel(const float* x, float* y, int64_t n) {
  const int64_t at = global_index();
  const float v = at < n ? x[at] : 0.0f;
  const float sum = block_sum(v);
  const float most = block_max(v);  // reuses the helper's memory at once
  float both[2] = {v, 2 * v};
  block_sums(both);
  if (thread_index().x == block_dim().x - 1) y[block_index().x] = sum == both[0] && both[1] == 2 * sum ? sum : most;
}

__global__ void uninitialised_kernel(float* y) {
  auto& tree = block_shared<Tree>();
  y[global_index()] = tree.part[thread_index().x] + dynamic_shared<float>()[thread_index().x];
  tree.part[thread_index().x] = 1.0f;  // the next block must not see it
  dynamic_shared<float>()[thread_index().x] = 1.0f;
}

__global__ void exits_first_kernel(float* y) {
  if (thread_index().x == 5) return;
  sync_block();
  y[thread_index().x] = 1.0f;
}
__global__ void two_places_kernel(float* y) {
  if (thread_index().x % 2 == 0)
    sync_block();
  else
    sync_block();
  y[thread_index().x] = 1.0f;
}
__global__ void fine_kernel(float* y) {
  sync_block();
  y[thread_index().x] = 1.0f;
}
__global__ void barrier_in_loop_kernel() { sync_block(); }
__global__ void misaligned_kernel(const float* x, float* y) { store_vec(y, load_vec<float, 4>(x + 1)); }
__global__ void huge_shared_kernel(float* y) { y[0] = block_shared<Vec<float, 16384>>()[0]; }
__global__ void order_kernel(int32_t* next, int32_t* order) { order[global_index()] = atomic_add(next, 1); }
// Adds in the order of execution: its last bits depend on the seed, as a float atomic's do on a GPU.
__global__ void atomic_sum_kernel(const float* x, float* sum) { atomic_add(sum, x[global_index()]); }

template <typename Kernel, typename... Arguments>
std::string error_of(Device& device, Kernel kernel, const LaunchConfig& config, Arguments... arguments) {
  try {
    launch(device, kernel, config, arguments...);
    device.synchronize();
  } catch (const DeviceError& e) {
    return e.what();
  }
  return {};
}

bool contains(const std::string& text, const std::string& part) {
  CAPTURE(text);
  CAPTURE(part);
  const bool found = text.find(part) != std::string::npos;
  CHECK(found);
  return found;
}

}  // namespace

TEST_CASE("every thread of a 3-D grid runs once, with its indices") {
  const auto device = Device::create("cuda");
  const Index3 n{5, 3, 3}, g{2, 3, 2};
  const int threads = n.x * n.y * n.z, blocks = g.x * g.y * g.z;
  for (const bool barrier_free : {false, true}) {
    Tensor out = Tensor::empty({blocks, threads, 4}, DType::i32, *device);
    launch(*device, index_kernel, {.grid = {g.x, g.y, g.z}, .block = {n.x, n.y, n.z}, .barrier_free = barrier_free},
           out.data<int32_t>());
    const auto got = out.to_vector<int32_t>();
    for (int b = 0; b < blocks; ++b)
      for (int t = 0; t < threads; ++t) {
        const int32_t* p = &got[static_cast<size_t>((b * threads + t) * 4)];
        REQUIRE(p[0] == t % n.x + 10 * (t / n.x % n.y) + 100 * (t / (n.x * n.y)));
        REQUIRE(p[1] == b % g.x + 10 * (b / g.x % g.y) + 100 * (b / (g.x * g.y)));
        REQUIRE(p[2] == t % 32);
        REQUIRE(p[3] == t / 32);
      }
  }
}

TEST_CASE("reductions have the same bits under every seed") {
  const auto device = Device::create("cuda");
  for (const int block : {32, 64, 256, 512}) {
    const int n = 3 * block - 7;
    std::vector<float> values = ramp(n);
    for (float& v : values) v = std::sin(v);
    const Tensor x = Tensor::from<float>({n}, values, *device);
    for (auto* kernel : {tree_kernel, block_sum_kernel}) {
      std::vector<float> first;
      for (uint64_t seed = 1; seed <= 6; ++seed) {
        emulator::set_seed(seed);
        Tensor y = Tensor::empty({3}, DType::f32, *device);
        launch(*device, kernel, {.grid = 3, .block = block}, x.data<float>(), y.data<float>(), n);
        const auto sums = y.to_vector<float>();
        if (first.empty()) first = sums;
        CHECK(std::memcmp(first.data(), sums.data(), 3 * sizeof(float)) == 0);
        for (int b = 0; b < 3; ++b) {
          double expected = 0;
          for (int i = b * block; i < std::min(n, (b + 1) * block); ++i)
            expected += static_cast<double>(values[static_cast<size_t>(i)]);
          CHECK(sums[static_cast<size_t>(b)] == doctest::Approx(expected).epsilon(1e-5));
        }
      }
    }
  }
}

TEST_CASE("a block size that is no multiple of 32 reduces too") {
  const auto device = Device::create("cuda");
  for (const int block : {1, 7, 33, 65, 100}) {
    const Tensor x = Tensor::from<float>({block}, ramp(block), *device);
    Tensor y = Tensor::empty({1}, DType::f32, *device);
    launch(*device, block_sum_kernel, {.grid = 1, .block = block}, x.data<float>(), y.data<float>(), block);
    CHECK(y.item() == block * (block + 1) / 2);
  }
}

TEST_CASE("shared memory starts as NaN in every block") {
  const auto device = Device::create("cuda");
  Tensor y = Tensor::zeros({4, 32}, DType::f32, *device);
  launch(*device, uninitialised_kernel, {.grid = 4, .block = 32, .shared_bytes = 128}, y.data<float>());
  for (const float v : y.to_vector<float>()) CHECK(std::isnan(v));
}

TEST_CASE("device memory starts as NaN") {
  const auto device = Device::create("cuda");
  for (const float v : Tensor::empty({100}, DType::f32, *device).to_vector<float>()) CHECK(std::isnan(v));
}

TEST_CASE("with SEGRT_SYNC=1 the launch at fault reports the fault, without it whoever waits next") {
  for (const bool sync : {true, false}) {
    CAPTURE(sync);
    sync ? setenv("SEGRT_SYNC", "1", 1) : unsetenv("SEGRT_SYNC");
    const auto device = Device::create("cuda");
    unsetenv("SEGRT_SYNC");
    Tensor y = Tensor::zeros({64}, DType::f32, *device);
    device->synchronize();
    std::string at_launch, at_next_launch, at_wait;
    const auto attempt = [](std::string& message, const auto& what) {
      try {
        what();
      } catch (const DeviceError& e) {
        message = e.what();
      }
    };
    const LaunchConfig config{.grid = 1, .block = 64};
    attempt(at_launch, [&] { launch(*device, exits_first_kernel, config, y.data<float>()); });
    attempt(at_next_launch, [&] { launch(*device, fine_kernel, config, y.data<float>()); });
    attempt(at_wait, [&] { device->synchronize(); });
    CHECK(at_next_launch.empty());
    CHECK((sync ? at_wait : at_launch).empty());
    contains(sync ? at_launch : at_wait, "divergent barrier in exits_first_kernel");
    if (sync) {
      contains(at_launch,
               ": exits_first_kernel, grid (1,1,1), block (64,1,1), 0 bytes of dynamic shared memory, launched at "
               "block_test.cpp:");
      CHECK(y.to_vector<float>()[1] == 1);  // the kernel after it ran
    }
  }
}

TEST_CASE("wrong barriers are errors that say where") {
  const auto device = Device::create("cuda");
  Tensor y = Tensor::zeros({64}, DType::f32, *device);
  const std::string exits = error_of(*device, exits_first_kernel, {.grid = 1, .block = 64}, y.data<float>());
  contains(exits, "divergent barrier in exits_first_kernel launched at block_test.cpp:");
  contains(exits, "threads 0-4 in sync_block at block_test.cpp:");
  contains(exits, "thread 5 returned; threads 6-63 in sync_block");
  contains(exits, "SEGRT_EMULATOR_SEED=");
  const std::string places = error_of(*device, two_places_kernel, {.grid = 1, .block = 2}, y.data<float>());
  contains(places, "divergent barrier");
  contains(places, "thread 0 in sync_block at block_test.cpp:");
  contains(places, "thread 1 in sync_block at block_test.cpp:");
  const std::string loop = error_of(*device, barrier_in_loop_kernel, {.grid = 1, .block = 2, .barrier_free = true});
  contains(loop, "a kernel launched as barrier_free calls sync_block at block_test.cpp:");
  // The device works on after an error, and forgets the work that was queued behind it.
  launch(*device, tree_kernel, {.grid = 1, .block = 64}, y.data<float>(), y.data<float>(), 0);
  CHECK(y.to_vector<float>()[0] == 0.0f);
}

TEST_CASE("misalignment and too much shared memory are errors") {
  const auto device = Device::create("cuda");
  Tensor y = Tensor::zeros({64}, DType::f32, *device);
  contains(error_of(*device, misaligned_kernel, {.grid = 1, .block = 1}, y.data<float>(), y.data<float>()),
           "misaligned address");
  contains(error_of(*device, huge_shared_kernel, {.grid = 1, .block = 1}, y.data<float>()),
           "65536 bytes of static shared memory, at most 49152 fit");
}

TEST_CASE("launches outside the limits are refused by name") {
  const auto device = Device::create("cuda");
  Tensor y = Tensor::zeros({64}, DType::f32, *device);
  const std::string block = error_of(*device, exits_first_kernel, {.grid = 1, .block = {33, 32}}, y.data<float>());
  contains(block, "exits_first_kernel, grid (1,1,1), block (33,32,1)");
  contains(block, "block_test.cpp:");
  contains(error_of(*device, exits_first_kernel, {.grid = {1, 70000}, .block = 32}, y.data<float>()), "(1,70000,1)");
  contains(error_of(*device, exits_first_kernel, {.grid = -1, .block = 32}, y.data<float>()), "(-1,1,1)");
  contains(error_of(*device, exits_first_kernel, {.grid = 1, .block = 32, .shared_bytes = 300000}, y.data<float>()),
           "shared memory");
  CHECK(error_of(*device, exits_first_kernel, {.grid = 0, .block = 32}, y.data<float>()).empty());  // nothing to do
  const auto cpu = Device::create("cpu");
  contains(error_of(*cpu, exits_first_kernel, {.grid = 1, .block = 32}, y.data<float>()), "CUDA device");
}

TEST_CASE("the order of threads follows the seed") {
  const auto device = Device::create("cuda");
  const auto order_under = [&](uint64_t seed, bool barrier_free) {
    emulator::set_seed(seed);
    Tensor next = Tensor::zeros({1}, DType::i32, *device);
    Tensor order = Tensor::empty({256}, DType::i32, *device);
    launch(*device, order_kernel, {.grid = 4, .block = 64, .barrier_free = barrier_free}, next.data<int32_t>(),
           order.data<int32_t>());
    return order.to_vector<int32_t>();
  };
  for (const bool barrier_free : {false, true}) {
    CHECK(order_under(3, barrier_free) == order_under(3, barrier_free));
    CHECK(order_under(3, barrier_free) != order_under(4, barrier_free));
  }
}

TEST_CASE("float atomics show that their result depends on order") {
  const auto device = Device::create("cuda");
  std::vector<float> values = ramp(256);
  for (float& v : values) v = 1.0f / v;
  const Tensor x = Tensor::from<float>({256}, values, *device);
  bool differs = false;
  double first = 0;
  for (uint64_t seed = 1; seed <= 8; ++seed) {
    emulator::set_seed(seed);
    Tensor sum = Tensor::zeros({1}, DType::f32, *device);
    launch(*device, atomic_sum_kernel, {.grid = 4, .block = 64, .barrier_free = true}, x.data<float>(),
           sum.data<float>());
    const double value = sum.item();
    if (seed == 1) first = value;
    differs = differs || value != first;
  }
  CHECK(differs);
}

}  // namespace segrt::kernels::cuda
