// The scheduler of one block: its threads are fibers, run in random order from one rendezvous to the next.
#pragma once

#include <deque>
#include <exception>
#include <memory>
#include <string>
#include <vector>

#include "block_memory.h"
#include "fiber.h"
#include "launch.h"
#include "random.h"

namespace segrt::emulator {

enum class State : uint8_t { ready, at_block_barrier, at_warp, at_operations, done };

class Block;

struct BlockThread : Thread {
  Block* owner = nullptr;
  Fiber* fiber = nullptr;
  State state = State::ready;
  // While waiting: where, in what, and with whom.
  Site site;
  const char* what = "";
  unsigned mask = 0;
  WarpOffer offer;
  WarpResult result{};
  uint64_t matrix_operations = 0;  // that this lane has come to
  struct QueuedCopy {
    AsyncCopy copy;
    int group;
    Site site;
  };
  std::deque<QueuedCopy> copies;
  int copy_group = 0;  // that the next copy joins
};

// The lanes of a warp that meet under one mask. Tokens alternate between meetings: with a single one, a lane that
// leaves late would be ordered after what the others do next, and races there would go unseen.
struct WarpGroup {
  unsigned mask;
  int arrived = 0;
  unsigned phase = 0;
  char tokens[2] = {};
};

// A matrix operation that not all lanes have come to. Lanes do not wait there: the last one computes, and what it reads
// or writes in memory is seen by others only past a barrier, where they do wait.
struct MatrixOperation {
  const char* what;
  uint64_t tag;
  Site site;
  int arrived = 0;
  const void* of_lane[32] = {};
};

struct Warp {
  unsigned alive = 0;            // lanes that exist and have not returned
  std::deque<WarpGroup> groups;  // tokens must stay where they are
  std::deque<MatrixOperation> operations;
  uint64_t operations_done = 0;
  std::unique_ptr<char> matrix_token = std::make_unique<char>();  // orders operations, as fragments are the warp's
};

class Block {
 public:
  Block(const Launch& launch, std::vector<std::unique_ptr<Fiber>>& fibers, Random& random, char* start_token,
        char* end_token);
  ~Block();
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;

  // Runs block `index` with fibers [first_fiber, first_fiber + threads).
  void run(const Index3& index, size_t first_fiber);

  // Called by the running thread.
  void sync_block(BlockThread& thread, const Site& site);
  void meet(BlockThread& thread, const char* what, unsigned mask, const Site& site, bool orders_memory);
  void matrix_operation(BlockThread& thread, const MatrixOperation& operation, const void* own, WarpAction action,
                        void* context);
  void finish_operations(BlockThread& thread, const Site& site);
  BlockMemory& memory() { return memory_; }
  BlockMemory& registers() { return registers_; }
  const Launch& launch() const { return launch_; }
  const BlockPlace& place() const { return place_; }

 private:
  static void thread_main(void* argument);
  void reset(const Index3& index, size_t first_fiber);
  void release_barrier();
  void finished(BlockThread& thread);
  void complete(size_t warp, WarpGroup& group);
  void check_agreement(size_t warp, const WarpGroup& group, const BlockThread& last) const;
  WarpGroup& group_of(size_t warp, unsigned mask);
  void make_ready(BlockThread& thread);
  void check_matrix_operations(const Warp& warp) const;
  [[noreturn]] void fail_divergent(const std::string& what, size_t first, size_t count) const;

  const Launch& launch_;
  std::vector<std::unique_ptr<Fiber>>& fibers_;
  Random& random_;
  char* start_token_;
  char* end_token_;
  BlockPlace place_;
  BlockMemory memory_;
  BlockMemory registers_;  // of matrix fragments
  std::vector<BlockThread> threads_;
  std::vector<uint32_t> ready_;
  std::vector<Warp> warps_;
  std::unique_ptr<char[]> barrier_tokens_;
  unsigned barrier_phase_ = 0;
  size_t waiting_ = 0;  // at the block barrier
  size_t done_ = 0;
  std::exception_ptr failure_;
};

// The running thread, which `what` needs to be one of a block with fibers.
BlockThread& block_thread(const char* what, const Site& site);

// "softmax_kernel<float> (softmax.cu:45), block (1,0,0) of (2,1,1)"
std::string describe(const Launch& launch, const Index3& block);
// "a.cu:12"
std::string describe(const Site& site);
// " (SEGRT_EMULATOR_SEED=1)"
std::string describe_seed();

}  // namespace segrt::emulator
