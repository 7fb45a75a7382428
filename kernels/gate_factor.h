// The factor of a gated sum's term, the same for CPU and CUDA.
#pragma once

#include "core/dtype.h"
#include "kernels/gated_sum.h"

namespace segrt::kernels {

// f(n) of kernels/gated_sum.h; gate [N, slots], null for `plain`. Gates with a NaN among them are not all closed.
template <typename A>
SEGRT_HOST_DEVICE inline A gate_factor(GatedTerm::Rule rule, const A* gate, int64_t n, int slots, int slot) {
  if (rule == GatedTerm::Rule::plain) return A{1};
  const A* row = gate + n * slots;
  if (rule == GatedTerm::Rule::gated) return row[slot];
  A sum = 0;
  for (int s = 0; s < slots; ++s) sum += row[s];
  return sum < A(1e-4) ? A{1} : A{0};
}

}  // namespace segrt::kernels
