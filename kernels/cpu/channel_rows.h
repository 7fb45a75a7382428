// [P, C] data (P positions, C channels) as rows wide enough for vector code. Where C is small a "wide row" holds
// several positions, and per-channel arrays are repeated to its width, so that inner loops run over `width` elements
// for any C.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/dtype.h"

namespace segrt::kernels::cpu {

// Elements of a wide row: the largest multiple of `channels` up to 256, at least one position.
inline int64_t wide_row(int64_t channels) { return channels * std::max<int64_t>(1, 256 / channels); }

// Repeats the first `channels` elements of a wide row to its end. A loop, not std::copy: each element is to read what
// this loop wrote one period before.
template <typename Acc>
void repeat(Acc* row, int64_t width, int64_t channels) {
  for (int64_t i = channels; i < width; ++i) row[i] = row[i - channels];
}

// f(c) of every channel, repeated to one wide row.
template <typename Acc, typename F>
std::vector<Acc> repeated(int64_t channels, const F& f) {
  std::vector<Acc> row(static_cast<size_t>(wide_row(channels)));
  for (int64_t c = 0; c < channels; ++c) row[static_cast<size_t>(c)] = f(c);
  repeat(row.data(), wide_row(channels), channels);
  return row;
}

// f(offset, n) for every wide row of the elements [begin, end): element offset + i, i < n, belongs to slot i of arrays
// of one wide row. `begin` is a multiple of `channels`, and so is `width`.
template <typename F>
void for_wide_rows(int64_t begin, int64_t end, int64_t width, const F& f) {
  for (int64_t i = begin; i < end; i += width) f(i, std::min(width, end - i));
}

}  // namespace segrt::kernels::cpu
