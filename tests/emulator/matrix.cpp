// Matrix operations: all lanes of a warp come, the last one computes; and the registers that they work on.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "block.h"
#include "sanitizer.h"

namespace segrt::emulator {
namespace {
constexpr size_t kWarpSize = 32;
constexpr int kMaxFragments = 64;  // of 2 to 8 registers each of the 255 that a thread has
}  // namespace

void Block::matrix_operation(BlockThread& thread, const MatrixOperation& operation, const void* own, WarpAction action,
                             void* context) {
  const size_t first = static_cast<size_t>(thread.linear) / kWarpSize * kWarpSize;
  Warp& warp = warps_[first / kWarpSize];
  const size_t at = thread.matrix_operations++ - warp.operations_done;
  if (at == warp.operations.size()) {
    const UnseenAllocation unseen;
    warp.operations.push_back(operation);
  }
  MatrixOperation& pending = warp.operations[at];
  if (std::strcmp(pending.what, operation.what) != 0 || pending.site.line() != operation.site.line())
    fail(fmt::format("divergent matrix operation: lanes of one warp call {} and {} at {}", operation.what, pending.what,
                     describe(pending.site)),
         operation.site);
  if (pending.tag != operation.tag)
    fail(fmt::format("{}: lanes pass different fragments or addresses to one matrix operation", operation.what),
         operation.site);
  pending.of_lane[static_cast<size_t>(thread.linear) % kWarpSize] = own;
  if (++pending.arrived < static_cast<int>(kWarpSize)) return;
  happens_after(warp.matrix_token.get());
  action(context, pending.of_lane);
  happens_before(warp.matrix_token.get());
  const UnseenAllocation unseen;
  warp.operations.pop_front();
  ++warp.operations_done;
  for (size_t i = first; i < first + kWarpSize; ++i)
    if (threads_[i].state == State::at_operations && threads_[i].matrix_operations <= warp.operations_done)
      make_ready(threads_[i]);
}

void Block::finish_operations(BlockThread& thread, const Site& site) {
  if (thread.matrix_operations <= warps_[static_cast<size_t>(thread.linear) / kWarpSize].operations_done) return;
  thread.state = State::at_operations;
  thread.what = "an access of a fragment that other lanes have to complete";
  thread.site = site;
  thread.fiber->suspend();
}

// When the last lane of a warp has returned.
void Block::check_matrix_operations(const Warp& warp) const {
  if (warp.operations.empty()) return;
  const MatrixOperation& first = warp.operations.front();
  throw KernelFailure(fmt::format("divergent matrix operation in {}: {} of 32 lanes came to {} at {}{}",
                                  emulator::describe(launch_, place_.block), first.arrived, first.what,
                                  emulator::describe(first.site), describe_seed()));
}

void warp_together(const char* what, uint64_t tag, const void* own, WarpAction action, void* context,
                   const Site& site) {
  BlockThread& thread = block_thread(what, site);
  thread.owner->matrix_operation(thread, {.what = what, .tag = tag, .site = site}, own, action, context);
}

void finish_operations(const Site& site) {
  BlockThread& thread = block_thread("a matrix fragment", site);
  thread.owner->finish_operations(thread, site);
}

int begin_fragment(const Site& site) {
  const int number = this_thread().fragments++;
  if (number >= kMaxFragments) fail(fmt::format("more than {} fragments in a thread", kMaxFragments), site);
  return number;
}

void end_fragment() { --this_thread().fragments; }

float* fragment_tile(int number, const Site& site) {
  constexpr size_t kTileBytes = 16 * 16 * sizeof(float);
  BlockThread& thread = block_thread("a matrix fragment", site);
  const int warp = thread.linear / static_cast<int>(kWarpSize);
  return static_cast<float*>(
      thread.owner->registers().slot({&thread.owner->place(), 1 + warp * kMaxFragments + number}, kTileBytes));
}

LaneRegisters* fragment_registers(int number, const Site& site) {
  return static_cast<LaneRegisters*>(static_cast<void*>(fragment_tile(number, site)));
}

void set_registers(int number, int first, int count, const LaneRegisters* words, int from, const Site& site) {
  LaneRegisters* registers = fragment_registers(number, site);
  for (size_t lane = 0; lane < kWarpSize; ++lane) std::copy_n(words[lane] + from, count, registers[lane] + first);
}

// The layouts are those of the PTX ISA, sections "Matrix Fragments for mma.m16n8k8" and "mma.m16n8k16".
void multiply_fragments(int c, int a, int b, int depth, float (*element)(uint32_t word, int i), const Site& site) {
  float* sums = fragment_tile(c, site);
  const LaneRegisters *words_a = fragment_registers(a, site), *words_b = fragment_registers(b, site);
  const int in_word = depth / 8;
  float matrix_a[16][16], matrix_b[16][8], product[16][8];
  for (int lane = 0; lane < static_cast<int>(kWarpSize); ++lane) {
    const int group = lane / 4, place = lane % 4;
    for (int word = 0; word < 4; ++word)
      for (int i = 0; i < in_word; ++i)
        matrix_a[group + word % 2 * 8][word / 2 * depth / 2 + place * in_word + i] = element(words_a[lane][word], i);
    for (int word = 0; word < 2; ++word)
      for (int i = 0; i < in_word; ++i)
        matrix_b[word * depth / 2 + place * in_word + i][group] = element(words_b[lane][word], i);
    for (int i = 0; i < 4; ++i) product[group + i / 2 * 8][place * 2 + i % 2] = sums[lane * 4 + i];
  }
  for (auto row = 0; row < 16; ++row)
    for (int k = 0; k < depth; ++k)
      for (int column = 0; column < 8; ++column) product[row][column] += matrix_a[row][k] * matrix_b[k][column];
  for (int lane = 0; lane < static_cast<int>(kWarpSize); ++lane)
    for (int i = 0; i < 4; ++i) sums[lane * 4 + i] = product[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2];
}

}  // namespace segrt::emulator
