#include "launch.h"

#include <pthread.h>

#include <memory>
#include <numeric>
#include <vector>

#include "block.h"
#include "emulator/control.h"
#include "sanitizer.h"

namespace segrt::emulator {

Thread* running_thread = nullptr;
const Launch* running_launch = nullptr;

namespace {

// Two sets of fibers are used in turn under ThreadSanitizer: a fiber is a thread to it, so blocks on different sets are
// seen to race for global memory, where one set would order thread i of each block after thread i of the one before.
constexpr size_t kFiberSets = kThreadSanitizer ? 2 : 1;
// Fibers that share the threads of a barrier-free block under ThreadSanitizer, which sees races between them.
constexpr size_t kLoopFibers = 8;

// Stacks, kept from launch to launch; for one OS thread.
struct FiberPool {
  std::vector<std::unique_ptr<Fiber>> fibers;
  pthread_t owner = pthread_self();

  std::vector<std::unique_ptr<Fiber>>& at_least(size_t count) {
    if (!pthread_equal(owner, pthread_self())) {  // compilers cache thread-local addresses across a switch
      fibers.clear();
      owner = pthread_self();
    }
    while (fibers.size() < count) fibers.push_back(std::make_unique<Fiber>());
    return fibers;
  }
};

FiberPool& fiber_pool() {
  static FiberPool pool;
  return pool;
}

size_t threads_of(const Launch& launch) {
  return static_cast<size_t>(launch.block.x) * static_cast<size_t>(launch.block.y) *
         static_cast<size_t>(launch.block.z);
}

Index3 unravel(size_t i, const Index3& extent) {
  const auto linear = static_cast<int64_t>(i);
  return {static_cast<int>(linear % extent.x), static_cast<int>(linear / extent.x % extent.y),
          static_cast<int>(linear / extent.x / extent.y)};
}

// Threads first, first + step, ... of the block in the order of `order`, without fibers of their own.
struct ThreadLoop {
  const Launch* launch;
  BlockThread* thread;
  const std::vector<uint32_t>* order;
  size_t first, step;
  char* start_token;
  char* end_token;
  std::exception_ptr failure = nullptr;

  void run() {
    for (size_t i = first; i < order->size(); i += step) {
      thread->linear = static_cast<int>((*order)[i]);
      thread->index = unravel((*order)[i], launch->block);
      thread->fragments = 0;
      running_thread = thread;
      launch->body();
    }
  }
  static void task(void* argument) {
    auto* loop = static_cast<ThreadLoop*>(argument);
    happens_after(loop->start_token);
    try {
      loop->run();
    } catch (...) {
      loop->failure = std::current_exception();
    }
    happens_before(loop->end_token);
  }
};

struct Tokens {
  std::unique_ptr<char[]> bytes = std::make_unique<char[]>(2);  // new ones a launch
  char* start() const { return &bytes[0]; }
  char* end() const { return &bytes[1]; }
};

void run_barrier_free(const Launch& launch, Random& random, const Tokens& tokens) {
  std::vector<uint32_t> blocks, order;
  const auto count = static_cast<uint32_t>(int64_t{launch.grid.x} * launch.grid.y * launch.grid.z);
  random.permutation(blocks, count);
  BlockPlace place{{}, launch.block, launch.grid};
  BlockThread thread;
  thread.place = &place;
  random.permutation(order, static_cast<uint32_t>(threads_of(launch)));
  happens_before(tokens.start());
  for (const uint32_t block : blocks) {
    place.block = unravel(block, launch.grid);
    if (!kThreadSanitizer) {
      ThreadLoop{&launch, &thread, &order, 0, 1, nullptr, nullptr}.run();
      continue;
    }
    auto& fibers = fiber_pool().at_least(kLoopFibers);
    const size_t shift = random.below(kLoopFibers);  // else fiber f would run the same threads of every block
    for (size_t f = 0; f < kLoopFibers; ++f) {
      ThreadLoop loop{&launch, &thread, &order, (f + shift) % kLoopFibers, kLoopFibers, tokens.start(), tokens.end()};
      fibers[f]->assign(ThreadLoop::task, &loop);
      fibers[f]->resume();
      if (loop.failure) {
        happens_after(tokens.end());
        std::rethrow_exception(loop.failure);
      }
    }
  }
}

void run_blocks(const Launch& launch, Random& random, const Tokens& tokens) {
  const size_t threads = threads_of(launch);
  auto& fibers = fiber_pool().at_least(threads * kFiberSets);
  Block block(launch, fibers, random, tokens.start(), tokens.end());
  std::vector<uint32_t> order;
  random.permutation(order, static_cast<uint32_t>(int64_t{launch.grid.x} * launch.grid.y * launch.grid.z));
  size_t set = 0;
  for (const uint32_t i : order) {
    block.run(unravel(i, launch.grid), set * threads);
    set = (set + 1) % kFiberSets;
  }
  happens_after(tokens.end());  // before the block's memory goes
}

}  // namespace

void run(const Launch& launch) {
  Random random(seed() * 0x9E3779B97F4A7C15u + launch.number);
  const Tokens tokens;
  running_launch = &launch;
  try {
    if (launch.barrier_free)
      run_barrier_free(launch, random, tokens);
    else
      run_blocks(launch, random, tokens);
  } catch (...) {
    running_thread = nullptr;
    running_launch = nullptr;
    throw;
  }
  running_thread = nullptr;
  running_launch = nullptr;
  happens_after(tokens.end());
}

}  // namespace segrt::emulator
