// Rows of C values in blocks that fit the first-level cache, widened to the accumulator type: maxima and sums go row by
// row, exponentials over the whole block, so that a small C wastes no vector lanes on them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/parallel.h"
#include "kernels/cpu/vector_math.h"

namespace segrt::kernels::cpu {

// f(first_row, rows, z, spare): z [rows, channels] holds the rows of x from first_row on; spare is as large, undefined.
template <typename A, typename T, typename F>
void for_row_blocks(const T* x, int64_t row_count, int64_t channels, const F& f) {
  const int64_t block = std::max<int64_t>(1, 4096 / channels);
  parallel_ranges(row_count, block, [&](int64_t begin, int64_t end) {
    std::vector<A> buffer(static_cast<size_t>(2 * block * channels));
    for (int64_t row = begin; row < end; row += block) {
      const int64_t rows = std::min(block, end - row);
      widen(x + row * channels, buffer.data(), rows * channels);
      f(row, rows, buffer.data(), buffer.data() + block * channels);
    }
  });
}

// z[r,c] -= max_k z[r,k] for every row; returns nothing else: a row's maximum is 0 afterwards.
template <typename A>
void subtract_row_max(A* z, int64_t rows, int64_t channels) {
  for (int64_t r = 0; r < rows; ++r, z += channels) {
    const A m = row_max(z, channels);
    for (int64_t c = 0; c < channels; ++c) z[c] -= m;
  }
}

}  // namespace segrt::kernels::cpu
