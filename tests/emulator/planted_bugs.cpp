// Kernels with one bug each, and correct twins. `planted_bugs NAME [N]` runs one with N threads a block (default 64)
// and exits 0 when it noticed nothing, 1 when results are wrong, 2 when the emulator reported an error; sanitizers end
// the process their own way. caught_test.cpp looks at exit status and report.
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/tensor.h"
#include "kernels/cuda/async_copy.h"
#include "kernels/cuda/device.h"

namespace segrt::kernels::cuda {
namespace {

struct Values {
  float of_thread[256];
};

// y = x in reverse order within each block, through shared memory. Without the barrier a thread may read what its
// partner has not written.
template <bool kBarrier>
__global__ void reverse_kernel(const float* x, float* y) {
  auto& values = block_shared<Values>();
  const int i = thread_index().x, n = block_dim().x;
  values.of_thread[i] = x[i];
  if constexpr (kBarrier) sync_block();
  if (block_index().x == 0) y[i] = values.of_thread[n - 1 - i];  // blocks that write the same place would race
}

// Sums to the left and right through the same memory: without the second barrier, a fast thread overwrites what a slow
// one has not read.
template <bool kBarrier>
__global__ void reuse_kernel(const float* x, float* y) {
  auto& values = block_shared<Values>();
  const int i = thread_index().x, n = block_dim().x;
  values.of_thread[i] = x[i];
  sync_block();
  const float left = values.of_thread[(i + n - 1) % n];
  if constexpr (kBarrier) sync_block();
  values.of_thread[i] = 2 * x[i];
  sync_block();
  y[i] = left + values.of_thread[(i + 1) % n];
}

__global__ void divergent_kernel(const float* x, float* y) {
  if (thread_index().x < 32) sync_block();
  if (block_index().x == 0) y[thread_index().x] = x[thread_index().x];
}

// One thread more than the tensor has elements.
__global__ void overrun_kernel(float* y, int64_t n) {
  const int64_t i = global_index();
  if (i <= n) y[i] = static_cast<float>(i);
}

__global__ void shared_overrun_kernel(float* y) {
  auto& values = block_shared<Values>();
  const int i = thread_index().x;
  values.of_thread[256 - block_dim().x + i + 1] = 1.0f;  // the last thread is one beyond
  sync_block();
  y[i] = values.of_thread[255];
}

struct Count {
  int n;
};

// Counts threads. The plain increment is right in every order of whole threads, and loses updates on a GPU.
template <bool kAtomic>
__global__ void count_kernel(float* y) {
  auto& count = block_shared<Count>();
  if (thread_index().x == 0) count.n = 0;
  sync_block();
  if constexpr (kAtomic)
    atomic_add(&count.n, 1);
  else
    count.n += 1;
  sync_block();
  y[thread_index().x] = static_cast<float>(count.n);
}

// The same between blocks, through global memory.
template <bool kAtomic>
__global__ void histogram_kernel(float* y) {
  if constexpr (kAtomic)
    atomic_add(&y[thread_index().x], 1.0f);
  else
    y[thread_index().x] += 1.0f;
}

// Neighbours exchange through shared memory within a warp.
template <bool kBarrier>
__global__ void warp_reverse_kernel(const float* x, float* y) {
  auto& values = block_shared<Values>();
  const int i = thread_index().x;
  values.of_thread[i] = x[i];
  if constexpr (kBarrier) sync_warp();
  if (block_index().x == 0) y[i] = values.of_thread[i ^ 31];
}

// y = x in reverse order, copied into shared memory asynchronously in two halves, each a group of its own.
enum class CopyBug { none, no_wait, wrong_count, no_commit, no_barrier };
template <CopyBug kBug>
__global__ void copy_kernel(const float* x, float* y) {
  auto& values = block_shared<Values>();
  const int i = thread_index().x, n = block_dim().x;
  for (int half = 0; half < 2; ++half) {
    const int first = half * n / 2 + 4 * i;
    if (4 * i < n / 2) copy_async<16>(&values.of_thread[first], x + first, true);
    if (kBug != CopyBug::no_commit || half == 0) copy_async_commit();
  }
  if constexpr (kBug != CopyBug::no_wait) copy_async_wait<kBug == CopyBug::wrong_count ? 1 : 0>();
  if constexpr (kBug != CopyBug::no_barrier) sync_block();
  if (block_index().x == 0) y[i] = values.of_thread[n - 1 - i];
  copy_async_commit();
  copy_async_wait<0>();
}

// Ends before its copies have arrived.
__global__ void abandoned_copy_kernel(const float* x, float* y) {
  auto& values = block_shared<Values>();
  const int i = thread_index().x;
  if (i == 0) copy_async<16>(values.of_thread, x, true);
  copy_async_commit();
  y[i] = x[i];
}

// Shared memory that a copy may write at any time is still being read: the barrier before the second copy is missing.
template <bool kBarrier>
__global__ void copy_reuse_kernel(const float* x, float* y) {
  auto& values = block_shared<Values>();
  const int i = thread_index().x, n = block_dim().x;
  float of_first_pass = 0.0f;
  for (int pass = 0; pass < 2; ++pass) {
    const int from = pass == 0 ? 4 * i : n - 4 - 4 * i;
    if (4 * i < n) copy_async<16>(&values.of_thread[4 * i], x + from, true);
    copy_async_commit();
    copy_async_wait<0>();
    sync_block();
    if (pass == 0) of_first_pass = values.of_thread[n - 1 - i];
    if constexpr (kBarrier) sync_block();
  }
  if (block_index().x == 0) y[i] = of_first_pass;
}

__global__ void deep_kernel(float* y, int depth) {
  volatile float frame[4096];
  frame[depth % 4096] = y[0];
  if (depth > 0) deep_kernel(y, depth - 1);
  y[0] = frame[depth % 4096];
}

struct Bench {
  std::unique_ptr<Device> device = Device::create("cuda");
  int threads;
  Tensor x, y;
  explicit Bench(int n) : threads(n) {
    std::vector<float> values(static_cast<size_t>(n));
    for (int i = 0; i < n; ++i) values[static_cast<size_t>(i)] = static_cast<float>(i + 1);
    x = Tensor::from<float>({n}, values, *device);
    y = Tensor::zeros({n}, DType::f32, *device);
  }
  bool agrees(const std::function<float(int)>& expected) const {
    const std::vector<float> got = y.to_vector<float>();
    for (int i = 0; i < threads; ++i)
      if (got[static_cast<size_t>(i)] != expected(i)) return false;
    return true;
  }
};

template <typename... Parameters, typename... Arguments>
void run(Bench& b, int blocks, void (*kernel)(Parameters...), Arguments... arguments) {
  launch(*b.device, kernel, {.grid = blocks, .block = b.threads}, arguments...);
}

// Each returns whether the result is right.
std::map<std::string, std::function<bool(Bench&)>> programs() {
  const auto x = [](const Bench& b) { return b.x.data<float>(); };
  const auto y = [](const Bench& b) { return b.y.data<float>(); };
  const auto reversed = [](const Bench& b) {
    return b.agrees([&](int i) { return static_cast<float>(b.threads - i); });
  };
  const auto neighbours = [](const Bench& b) {
    const int n = b.threads;
    return b.agrees([n](int i) { return static_cast<float>((i + n - 1) % n + 1 + 2 * ((i + 1) % n + 1)); });
  };
  const auto mirrored = [](const Bench& b) { return b.agrees([](int i) { return static_cast<float>((i ^ 31) + 1); }); };
  const auto all = [](const Bench& b, int value) { return b.agrees([=](int) { return static_cast<float>(value); }); };
  return {
      {"missing_barrier", [=](Bench& b) { return run(b, 1, reverse_kernel<false>, x(b), y(b)), reversed(b); }},
      {"barrier", [=](Bench& b) { return run(b, 3, reverse_kernel<true>, x(b), y(b)), reversed(b); }},
      {"missing_reuse_barrier", [=](Bench& b) { return run(b, 1, reuse_kernel<false>, x(b), y(b)), neighbours(b); }},
      {"reuse_barrier", [=](Bench& b) { return run(b, 1, reuse_kernel<true>, x(b), y(b)), neighbours(b); }},
      {"divergent_barrier",
       [=](Bench& b) { return run(b, 2, divergent_kernel, x(b), y(b)), b.agrees([](int) { return 0; }); }},
      {"overrun", [=](Bench& b) { return run(b, 2, overrun_kernel, y(b), b.threads), b.device->synchronize(), true; }},
      {"shared_overrun",
       [=](Bench& b) { return run(b, 1, shared_overrun_kernel, y(b)), b.device->synchronize(), true; }},
      {"lost_update", [=](Bench& b) { return run(b, 1, count_kernel<false>, y(b)), all(b, b.threads); }},
      {"atomic_update", [=](Bench& b) { return run(b, 1, count_kernel<true>, y(b)), all(b, b.threads); }},
      {"lost_update_between_blocks", [=](Bench& b) { return run(b, 5, histogram_kernel<false>, y(b)), all(b, 5); }},
      {"atomic_update_between_blocks", [=](Bench& b) { return run(b, 5, histogram_kernel<true>, y(b)), all(b, 5); }},
      {"missing_warp_barrier",
       [=](Bench& b) { return run(b, 1, warp_reverse_kernel<false>, x(b), y(b)), mirrored(b); }},
      {"warp_barrier", [=](Bench& b) { return run(b, 4, warp_reverse_kernel<true>, x(b), y(b)), mirrored(b); }},
      {"copy", [=](Bench& b) { return run(b, 3, copy_kernel<CopyBug::none>, x(b), y(b)), reversed(b); }},
      {"copy_without_wait",
       [=](Bench& b) { return run(b, 1, copy_kernel<CopyBug::no_wait>, x(b), y(b)), reversed(b); }},
      {"copy_with_wrong_count",
       [=](Bench& b) { return run(b, 1, copy_kernel<CopyBug::wrong_count>, x(b), y(b)), reversed(b); }},
      {"copy_without_commit",
       [=](Bench& b) { return run(b, 1, copy_kernel<CopyBug::no_commit>, x(b), y(b)), reversed(b); }},
      {"copy_without_barrier",
       [=](Bench& b) { return run(b, 1, copy_kernel<CopyBug::no_barrier>, x(b), y(b)), reversed(b); }},
      {"abandoned_copy",
       [=](Bench& b) { return run(b, 1, abandoned_copy_kernel, x(b), y(b)), b.device->synchronize(), true; }},
      {"copy_reuse", [=](Bench& b) { return run(b, 3, copy_reuse_kernel<true>, x(b), y(b)), reversed(b); }},
      {"copy_reuse_without_barrier",
       [=](Bench& b) { return run(b, 1, copy_reuse_kernel<false>, x(b), y(b)), reversed(b); }},
      {"stack_overflow", [=](Bench& b) { return run(b, 1, deep_kernel, y(b), 1000), b.device->synchronize(), true; }},
      {"host_reads_device", [=](Bench& b) { return x(b)[0] == 1.0f; }},
      {"use_after_free",
       [=](Bench& b) {
         float* dangling = y(b);
         b.y = {};
         run(b, 1, histogram_kernel<true>, dangling);
         b.device->synchronize();
         return true;
       }},
  };
}

int run_program(const std::string& name, int threads) {
  const auto all = programs();
  if (!all.contains(name)) {
    std::fprintf(stderr, "no program named %s\n", name.c_str());
    return 3;
  }
  try {
    Bench bench(threads);
    return all.at(name)(bench) ? 0 : 1;
  } catch (const Error& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 2;
  }
}

}  // namespace
}  // namespace segrt::kernels::cuda

int main(int argc, char** argv) {
  if (argc < 2) return 3;
  return segrt::kernels::cuda::run_program(argv[1], argc > 2 ? std::atoi(argv[2]) : 64);
}
