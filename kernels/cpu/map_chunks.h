// Elementwise loops over flat arrays in chunks that stay in L1: inputs are widened to accumulators, results rounded
// back. A body sees plain float (or double) arrays of at most kMapChunk elements and is compiled once for all storage
// types.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "core/dtype.h"
#include "core/parallel.h"

namespace segrt::kernels::cpu {

inline constexpr int64_t kMapChunk = 1024;
inline constexpr int64_t kMapGrain = 16 * kMapChunk;  // what pays for handing work to another thread

// p itself where T is its own accumulator, else a widened copy in `buffer`.
template <typename T>
const accumulator_t<T>* widened(const T* p, int64_t n, accumulator_t<T>* buffer) {
  if constexpr (std::is_same_v<T, accumulator_t<T>>) {
    return p;
  } else {
    for (int64_t i = 0; i < n; ++i) buffer[i] = static_cast<float>(p[i]);
    return buffer;
  }
}

// body(inputs, out, n, first): out[i] = f(inputs[0][i], ...) for i < n, where i stands for element first + i of the
// whole. `out` overlaps no input (y may be one of them: it is written after the body, from `out`).
template <typename T, size_t kInputs, typename Body>
void map_chunks(int64_t count, const std::array<const T*, kInputs>& inputs, T* y, const Body& body) {
  using Acc = accumulator_t<T>;
  parallel_ranges(count, kMapGrain, [&](int64_t begin, int64_t end) {
    std::array<std::array<Acc, kMapChunk>, kInputs> buffers;
    std::array<Acc, kMapChunk> out;
    for (int64_t i = begin; i < end; i += kMapChunk) {
      const int64_t n = std::min(kMapChunk, end - i);
      std::array<const Acc*, kInputs> in;
      for (size_t k = 0; k < kInputs; ++k) in[k] = widened(inputs[k] + i, n, buffers[k].data());
      body(in, out.data(), n, i);
      for (int64_t j = 0; j < n; ++j) y[i + j] = static_cast<T>(out[static_cast<size_t>(j)]);
    }
  });
}

}  // namespace segrt::kernels::cpu
