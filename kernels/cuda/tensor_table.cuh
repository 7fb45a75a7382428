// One launch over many tensors: pointers and sizes travel by value as a kernel parameter, so nothing is uploaded and a
// captured launch keeps its own copy. A block finds its tensor by bisection.
#pragma once

#include <algorithm>
#include <array>

#include "kernels/cuda/device.h"

namespace segrt::kernels::cuda {

inline constexpr int kTableThreads = 256;
inline constexpr int kTableSteps = 4;                                       // of each thread in a block's part
inline constexpr int64_t kTableElements = kTableThreads * kTableSteps * 4;  // of a block: vectors of 4
// Kernel parameters are at most 4 KiB together; the rest is for the kernel's other ones.
inline constexpr size_t kTableBytes = 4096 - 96;

// Up to kTensors tensors, each with kPointers arrays of the same length and one Extra (a plain struct).
template <int kPointers, typename Extra>
struct TensorTable {
  static constexpr int kTensors =
      static_cast<int>((kTableBytes - 8) / (kPointers * sizeof(void*) + sizeof(int64_t) + sizeof(int) + sizeof(Extra)));

  void* p[kTensors][kPointers];
  int64_t numel[kTensors];
  Extra extra[kTensors];
  int first_block[kTensors + 1];
};

// A block's share: elements [begin, end) of tensor `tensor`.
struct TablePart {
  int tensor;
  int64_t begin, end;
};
template <typename Table>
SEGRT_DEVICE TablePart table_part(const Table& table, int tensors) {
  const int block = block_index().x;
  int low = 0, high = tensors;  // first_block[low] <= block < first_block[high]
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    (table.first_block[middle] <= block ? low : high) = middle;
  }
  const int64_t begin = (block - table.first_block[low]) * kTableElements;
  const int64_t end = begin + kTableElements;
  return {low, begin, end < table.numel[low] ? end : table.numel[low]};
}

// Calls f(i, n) for the vectors (or, where `wide` is false, the elements) of a part that this thread owns: elements
// [i, i + n), n = 4 or 1.
template <typename F>
SEGRT_DEVICE void for_part(const TablePart& part, bool wide, const F& f) {
  if (!wide) {
    for (int64_t i = part.begin + thread_index().x; i < part.end; i += kTableThreads) f.template operator()<1>(i);
    return;
  }
#pragma unroll
  for (int step = 0; step < kTableSteps; ++step) {
    const int64_t i = part.begin + (int64_t{step} * kTableThreads + thread_index().x) * 4;
    if (i + 4 <= part.end) {
      f.template operator()<4>(i);
    } else {
      for (int64_t j = i; j < part.end; ++j) f.template operator()<1>(j);
    }
  }
}

// Collects tensors and launches with a full table, or at flush(): run(table, tensors, blocks).
template <int kPointers, typename Extra, typename Run>
class TableLauncher {
 public:
  using Table = TensorTable<kPointers, Extra>;
  explicit TableLauncher(const Run& run) : run_(run) {}

  void add(const std::array<void*, kPointers>& pointers, int64_t numel, const Extra& extra) {
    const int64_t blocks = ceil_div(numel, kTableElements);
    if (blocks == 0) return;
    if (count_ == Table::kTensors || blocks_ + blocks > INT32_MAX) flush();
    std::copy(pointers.begin(), pointers.end(), table_.p[count_]);
    table_.numel[count_] = numel;
    table_.extra[count_] = extra;
    table_.first_block[count_++] = static_cast<int>(blocks_);
    blocks_ += blocks;
    table_.first_block[count_] = static_cast<int>(blocks_);
  }
  void flush() {
    if (count_ > 0) run_(table_, count_, blocks_);
    count_ = 0;
    blocks_ = 0;
  }

 private:
  const Run& run_;
  Table table_{};
  int count_ = 0;
  int64_t blocks_ = 0;
};

}  // namespace segrt::kernels::cuda
