#include <algorithm>

#include "kernels/cuda/channel_tiles.cuh"
#include "kernels/cuda/gated_sum.h"
#include "kernels/cuda/gated_terms.cuh"
#include "kernels/dispatch.h"

namespace segrt::kernels::cuda {
namespace {

template <typename T, int K>
SEGRT_DEVICE void add_square(const T* x, float f, const SquareMap& m, const SquarePart<K>& part, Square<K>& sum) {
#pragma unroll
  for (int row = 0; row < 2; ++row)
#pragma unroll
    for (int column = 0; column < 2; ++column) {
      if (!part.has(row, column)) continue;
      float v[K];
      load_floats<T, K>(x + m.at(part.n, 2 * part.i + row, 2 * part.j + column, part.c), v);
#pragma unroll
      for (int k = 0; k < K; ++k) sum.v[row][column][k] += f * v[k];
    }
}

// The square of y from the 3x3 pixels of x around (i, j), each read once: 3/4 and 1/4 along both axes.
template <typename T, int K>
SEGRT_DEVICE void add_upsampled(const T* x, float f, const SquareMap& m, const SquarePart<K>& part, Square<K>& sum) {
#pragma unroll
  for (int row = 0; row < 3; ++row) {
    const int i = part.i + row - 1;
    float left[K], middle[K], right[K];
    load_floats<T, K>(x + m.at_half(part.n, i, part.j - 1, part.c), left);
    load_floats<T, K>(x + m.at_half(part.n, i, part.j, part.c), middle);
    load_floats<T, K>(x + m.at_half(part.n, i, part.j + 1, part.c), right);
    const float weight = f * (row == 1 ? 0.75f : 0.25f);
#pragma unroll
    for (int k = 0; k < K; ++k) {
      const float even = weight * (0.75f * middle[k] + 0.25f * left[k]);
      const float odd = weight * (0.75f * middle[k] + 0.25f * right[k]);
      if (row < 2) {
        sum.v[0][0][k] += even;
        sum.v[0][1][k] += odd;
      }
      if (row > 0) {
        sum.v[1][0][k] += even;
        sum.v[1][1][k] += odd;
      }
    }
  }
}

// A thread makes K channels of 2x2 pixels of y from all open terms: several loads in flight, and 9 instead of 16 for an
// upsampled term. A term is open or closed for a whole block, so no warp diverges. Reads each open x once (upsampled
// ones from L1 or L2 again), writes y once.
template <typename T, int K>
__global__ void gated_sum_kernel(TermViews<T> terms, T* y, SquareMap m) {
  const SquarePart<K> part(m);
  if (!part.active) return;
  Square<K> sum{};
#pragma unroll
  for (int t = 0; t < kMaxGatedTerms; ++t) {
    if (t >= terms.count) break;
    const TermView<T>& term = terms.term[t];
    const float f = term.factor(part.n);
    if (f == 0.0f) continue;
    if (term.upsample2)
      add_upsampled<T, K>(term.x, f, m, part, sum);
    else
      add_square<T, K>(term.x, f, m, part, sum);
  }
#pragma unroll
  for (int row = 0; row < 2; ++row)
#pragma unroll
    for (int column = 0; column < 2; ++column)
      if (part.has(row, column))
        store_floats<T, K>(y + m.at(part.n, 2 * part.i + row, 2 * part.j + column, part.c), sum.v[row][column]);
}

}  // namespace

void gated_sum_forward(std::span<const GatedTerm> terms, Tensor& y) {
  const SquareMap m(y.shape());
  dispatch_float(y.dtype(), [&]<typename T>() {
    const TermViews<T> views = term_views<T>(terms);
    const bool wide =
        m.channels % kVec<T> == 0 && is_aligned(y.raw()) &&
        std::all_of(terms.begin(), terms.end(), [](const GatedTerm& t) { return is_aligned(t.x->raw()); });
    const auto run = [&]<int K>() {
      launch(y.device(), gated_sum_kernel<T, K>,
             {.grid = square_grid<K>(m, y.dim(0)), .block = kGatedThreads, .barrier_free = true}, views, y.data<T>(),
             m);
    };
    wide ? run.template operator()<kVec<T>>() : run.template operator()<1>();
  });
}

}  // namespace segrt::kernels::cuda
