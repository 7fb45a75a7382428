// The second stage of sums that blocks computed in parts, and how many parts to cut a sum into.
#pragma once

#include <algorithm>

#include "core/tensor.h"

namespace segrt::kernels::cuda {

// Parts so that `tiles` independent sums of `steps` steps each fill a large GPU (132 processors, two blocks each), but
// no part is shorter than 8 steps. A function of the sizes alone: the order of additions is the same on every GPU.
inline int64_t split_count(int64_t tiles, int64_t steps) {
  constexpr int64_t kBlocks = 2 * 132, kLeastSteps = 8;
  const int64_t wanted = (kBlocks + tiles - 1) / tiles;
  const int64_t parts = std::max<int64_t>(1, std::min(wanted, steps / kLeastSteps));
  const int64_t steps_a_part = (steps + parts - 1) / parts;
  return std::max<int64_t>(1, (steps + steps_a_part - 1) / std::max<int64_t>(1, steps_a_part));
}

// Where to write `splits` partial results for `sum`, float32 [splits, numel]: `sum` itself where that needs no second
// stage.
Tensor partial_sums_for(const Tensor& sum, int64_t splits);

// sum[i] = partials[0][i] + partials[1][i] + ..., in this order. sum: f32, bf16 or f16. Nothing to do where partials is
// sum.
void add_partial_sums(const Tensor& partials, Tensor& sum);

}  // namespace segrt::kernels::cuda
