// One emulated GPU thread as device.h sees it: its indices, and the requests it makes of the scheduler.
#pragma once

#include <cstddef>
#include <cstdint>
#include <source_location>
#include <string>

namespace segrt::emulator {

using Site = std::source_location;

struct Index3 {
  int x, y, z;
};

// What all threads of a block share.
struct BlockPlace {
  Index3 block, block_dim, grid_dim;
};

struct Thread {
  Index3 index{};
  int linear = 0;     // x fastest
  int fragments = 0;  // matrix fragments alive in this thread
  const BlockPlace* place = nullptr;
};

// The running thread; null outside a kernel. One OS thread runs kernels at a time, and this stands for the registers of
// the one GPU thread that it is being.
extern Thread* running_thread;

[[noreturn]] void fail_outside_kernel();
inline Thread& this_thread() {
  if (!running_thread) fail_outside_kernel();
  return *running_thread;
}

// Ends the launch with an error that names kernel, block, thread, `site` and the seed.
[[noreturn]] void fail(const std::string& what, const Site& site);
[[noreturn]] void fail_alignment(const void* p, size_t wanted, const Site& site);

// Sets the value behind a conditional handle of the graph that the kernel runs in; one thread of a kernel does.
void set_condition(uint64_t handle, unsigned value, const Site& site);

// Waits for all threads of the block.
void sync_block(const Site& site);

// A rendezvous of the lanes of `mask`. Each brings a value of up to 16 bytes and a bit, says whose value it wants, and
// leaves with that lane's value and everybody's bits.
struct WarpOffer {
  uint64_t value[2] = {};
  int source_lane = 0;
  bool predicate = false;
};
struct WarpResult {
  uint64_t value[2];
  unsigned ballot;  // bit i: lane i took part and offered true
};
WarpResult warp_exchange(const char* what, const WarpOffer& offer, unsigned mask, const Site& site);
void sync_warp(unsigned mask, const Site& site);
// All 32 lanes come, with the same `tag` and an `own` value each; the last one runs `action(context, values by lane)`
// once for the warp, the others go on.
using WarpAction = void (*)(void* context, const void* const* of_lane);
void warp_together(const char* what, uint64_t tag, const void* own, WarpAction action, void* context, const Site& site);
// Waits until every operation that this thread has come to is done.
void finish_operations(const Site& site);

// The block's memory under `key`, taken on first use and then filled with signalling NaNs. Static shared memory counts
// against the 48 KiB that nvcc allows.
void* block_memory(const void* key, size_t nbytes, const Site& site);
void* dynamic_memory(const Site& site);
// Matrix fragments of a thread are numbered in the order of construction; the last made goes first.
int begin_fragment(const Site& site);
void end_fragment();
// Tile `number` of this warp, 256 floats.
float* fragment_tile(int number, const Site& site);

// The same tile as registers of its lanes, for tensor_core.h. Who waits for whom there is not the threads' business, so
// ThreadSanitizer does not see the accesses of set_registers and multiply_fragments.
using LaneRegisters = uint32_t[4];
LaneRegisters* fragment_registers(int number, const Site& site);
// Registers [first, first + count) of each lane, from words[lane][from], words[lane][from + 1], ...
void set_registers(int number, int first, int count, const LaneRegisters* words, int from, const Site& site);
// c += a b with the layouts of PTX's mma.m16n8k{depth}; element(word, i) is the i-th number of a register.
void multiply_fragments(int c, int a, int b, int depth, float (*element)(uint32_t word, int i), const Site& site);

// Copies of 16 bytes that a thread has queued and not waited for. They happen when it waits.
struct AsyncCopy {
  void* shared;
  const void* global;  // null: zeros
};
void queue_copy(const AsyncCopy& copy, const Site& site);
void close_copy_group();
// The next copy that a wait which leaves `groups` groups under way has to make, if there is one.
bool take_copy(int groups, AsyncCopy& copy);

// Fails unless [p, p + nbytes) is in the block's shared memory.
void check_shared(const void* p, size_t nbytes, const Site& site);

}  // namespace segrt::emulator
