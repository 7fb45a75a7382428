#include "block.h"

#include <bit>
#include <cstring>

#include "sanitizer.h"

namespace segrt::emulator {

constexpr size_t kWarpSize = 32;

Block::Block(const Launch& launch, std::vector<std::unique_ptr<Fiber>>& fibers, Random& random, char* start_token,
             char* end_token)
    : launch_(launch), fibers_(fibers), random_(random), start_token_(start_token), end_token_(end_token) {
  const auto extent = [](int n) { return static_cast<size_t>(n); };
  threads_.resize(extent(launch.block.x) * extent(launch.block.y) * extent(launch.block.z));
  place_ = {{}, launch.block, launch.grid};
}

Block::~Block() {
  const UnseenAllocation unseen;
  warps_.clear();
  threads_.clear();
}

void Block::reset(const Index3& index, size_t first_fiber) {
  const UnseenAllocation unseen;
  place_.block = index;
  memory_.begin_block();
  registers_.begin_block();
  // New tokens a block, so that blocks are not ordered among each other.
  barrier_tokens_ = std::make_unique<char[]>(2);
  barrier_phase_ = 0;
  waiting_ = done_ = 0;
  warps_.clear();
  warps_.resize((threads_.size() + kWarpSize - 1) / kWarpSize);
  ready_.clear();
  for (size_t i = 0; i < threads_.size(); ++i) {
    BlockThread& thread = threads_[i];
    const int linear = static_cast<int>(i);
    thread.index = {linear % launch_.block.x, linear / launch_.block.x % launch_.block.y,
                    linear / (launch_.block.x * launch_.block.y)};
    thread.linear = linear;
    thread.fragments = 0;
    thread.matrix_operations = 0;
    thread.copies.clear();
    thread.copy_group = 0;
    thread.place = &place_;
    thread.owner = this;
    thread.state = State::ready;
    thread.fiber = fibers_[first_fiber + i].get();
    thread.fiber->assign(thread_main, &thread);
    warps_[i / kWarpSize].alive |= 1u << (i % kWarpSize);
    ready_.push_back(static_cast<uint32_t>(i));
  }
}

void Block::run(const Index3& index, size_t first_fiber) {
  reset(index, first_fiber);
  happens_before(start_token_);
  try {
    while (done_ < threads_.size()) {
      if (ready_.empty()) release_barrier();
      const size_t pick = random_.below(static_cast<uint32_t>(ready_.size()));
      BlockThread& thread = threads_[ready_[pick]];
      ready_[pick] = ready_.back();
      ready_.pop_back();
      running_thread = &thread;
      thread.fiber->resume();
      running_thread = nullptr;
      if (failure_) std::rethrow_exception(failure_);
      if (thread.state == State::done) finished(thread);
    }
    const std::string damage = memory_.end_block();
    if (!damage.empty()) throw KernelFailure(damage + " in " + describe(launch_, place_.block) + describe_seed());
  } catch (...) {
    running_thread = nullptr;
    for (const BlockThread& thread : threads_)
      if (thread.state != State::done) thread.fiber->abandon();
    happens_after(end_token_);
    throw;
  }
}

// On the fiber. Exceptions end here: they must not unwind across a switch.
void Block::thread_main(void* argument) {
  BlockThread& thread = *static_cast<BlockThread*>(argument);
  Block& block = *thread.owner;
  happens_after(block.start_token_);
  try {
    block.launch_.body();
    if (!thread.copies.empty()) fail("a thread returns with copies that it has not waited for", thread.copies[0].site);
  } catch (...) {
    block.failure_ = std::current_exception();
  }
  happens_before(block.end_token_);
  thread.state = State::done;
}

void Block::make_ready(BlockThread& thread) {
  thread.state = State::ready;
  ready_.push_back(static_cast<uint32_t>(thread.linear));
}

void Block::sync_block(BlockThread& thread, const Site& site) {
  char* token = &barrier_tokens_[barrier_phase_ & 1];
  happens_before(token);
  thread.state = State::at_block_barrier;
  thread.what = "sync_block";
  thread.site = site;
  ++waiting_;
  thread.fiber->suspend();
  happens_after(token);
}

// Nobody can run. Either everyone waits at one barrier, or the kernel is wrong.
void Block::release_barrier() {
  const Site& site = threads_[0].site;
  bool together = waiting_ == threads_.size();
  for (size_t i = 1; together && i < threads_.size(); ++i) {
    const Site& other = threads_[i].site;
    together = other.line() == site.line() && other.column() == site.column() &&
               std::strcmp(other.file_name(), site.file_name()) == 0;
  }
  if (!together) fail_divergent(waiting_ > 0 ? "divergent barrier" : "divergent warp collective", 0, threads_.size());
  ++barrier_phase_;
  waiting_ = 0;
  for (BlockThread& thread : threads_) make_ready(thread);
}

void Block::finished(BlockThread& thread) {
  ++done_;
  const size_t warp = static_cast<size_t>(thread.linear) / kWarpSize;
  warps_[warp].alive &= ~(1u << (static_cast<size_t>(thread.linear) % kWarpSize));
  // A collective waits for no lane that has returned.
  for (WarpGroup& group : warps_[warp].groups)
    if (group.arrived > 0 && group.arrived == std::popcount(group.mask & warps_[warp].alive)) complete(warp, group);
  if (warps_[warp].alive == 0) check_matrix_operations(warps_[warp]);
}

}  // namespace segrt::emulator
