#include <algorithm>

#include "kernels/cuda/channel_tiles.cuh"
#include "kernels/cuda/gated_sum.h"
#include "kernels/cuda/gated_terms.cuh"
#include "kernels/dispatch.h"

namespace segrt::kernels::cuda {
namespace {

// A term that is not upsampled, over one square: dx = f dy. Returns sum dy x where the gate's gradient is wanted.
template <typename T, int K>
SEGRT_DEVICE float square_gradient(const TermView<T>& term, float f, const SquareMap& m, const SquarePart<K>& part,
                                   const Square<K>& d) {
  float sum = 0.0f;
#pragma unroll
  for (int row = 0; row < 2; ++row)
#pragma unroll
    for (int column = 0; column < 2; ++column) {
      if (!part.has(row, column)) continue;
      const int64_t at = m.at(part.n, 2 * part.i + row, 2 * part.j + column, part.c);
      float v[K];
      if (term.dgate != nullptr && f != 0.0f) {
        load_floats<T, K>(term.x + at, v);
#pragma unroll
        for (int k = 0; k < K; ++k) sum += d.v[row][column][k] * v[k];
      }
      if (term.dx == nullptr) continue;
#pragma unroll
      for (int k = 0; k < K; ++k) v[k] = f == 0.0f ? 0.0f : f * d.v[row][column][k];
      store_floats<T, K>(term.dx + at, v);
    }
  return sum;
}

// R^T dy at pixel (i, j) of the half-sized map: rows and columns 2i - 1 ... 2i + 2 with weights 1/4, 3/4, 3/4, 1/4.
// Clamping here gives what clamping gave in the forward pass: at an edge the outermost row of y took both of its taps
// from one row of x.
template <typename T, int K>
SEGRT_DEVICE void gather(const T* dy, const SquareMap& m, const SquarePart<K>& part, float (&sum)[K]) {
#pragma unroll
  for (int row = 0; row < 4; ++row) {
    float line[K] = {};
#pragma unroll
    for (int column = 0; column < 4; ++column) {
      float v[K];
      load_floats<T, K>(dy + m.at(part.n, 2 * part.i - 1 + row, 2 * part.j - 1 + column, part.c), v);
      const float weight = column == 1 || column == 2 ? 0.75f : 0.25f;
#pragma unroll
      for (int k = 0; k < K; ++k) line[k] += weight * v[k];
    }
    const float weight = row == 1 || row == 2 ? 0.75f : 0.25f;
#pragma unroll
    for (int k = 0; k < K; ++k) sum[k] += weight * line[k];
  }
}

// An upsampled term, over its pixel of the square: dx = f R^T dy. <dy, R x> = <R^T dy, x> is the gate's gradient.
template <typename T, int K>
SEGRT_DEVICE float half_gradient(const TermView<T>& term, float f, const SquareMap& m, const SquarePart<K>& part,
                                 const T* dy) {
  if (term.dx == nullptr && term.dgate == nullptr) return 0.0f;
  const int64_t at = m.at_half(part.n, part.i, part.j, part.c);
  float gathered[K] = {}, sum = 0.0f;
  if (f != 0.0f) gather<T, K>(dy, m, part, gathered);
  if (term.dgate != nullptr && f != 0.0f) {
    float v[K];
    load_floats<T, K>(term.x + at, v);
#pragma unroll
    for (int k = 0; k < K; ++k) sum += gathered[k] * v[k];
  }
  if (term.dx != nullptr) {
#pragma unroll
    for (int k = 0; k < K; ++k) gathered[k] *= f;
    store_floats<T, K>(term.dx + at, gathered);
  }
  return sum;
}

// A thread owns K channels of 2x2 pixels of dy and of the pixel of the half-sized map between them: every gradient in
// one pass over dy, whose neighbouring pixels (upsampled terms) come from L1 or L2. First stage of the gates' sums: one
// of each term a block, partials [N, rows, blocks of a row, kMaxGatedTerms]; null where no gate's gradient is wanted.
template <typename T, int K>
__global__ void gated_sum_backward_kernel(const T* dy, TermViews<T> terms, float* partials, SquareMap m) {
  const SquarePart<K> part(m);
  float sums[kMaxGatedTerms] = {};
  if (part.active) {
    Square<K> d{};
#pragma unroll
    for (int row = 0; row < 2; ++row)
#pragma unroll
      for (int column = 0; column < 2; ++column)
        if (part.has(row, column))
          load_floats<T, K>(dy + m.at(part.n, 2 * part.i + row, 2 * part.j + column, part.c), d.v[row][column]);
#pragma unroll
    for (int t = 0; t < kMaxGatedTerms; ++t) {
      if (t >= terms.count) break;
      const TermView<T>& term = terms.term[t];
      const float f = term.factor(part.n);
      sums[t] = term.upsample2 ? half_gradient<T, K>(term, f, m, part, dy) : square_gradient<T, K>(term, f, m, part, d);
    }
  }
  if (partials == nullptr) return;
  block_sums(sums);
  if (thread_index().x > 0) return;
  const int64_t block = (int64_t{part.n} * grid_dim().y + part.i) * grid_dim().x + block_index().x;
  store_vec(partials + block * kMaxGatedTerms, Vec<float, kMaxGatedTerms>{{sums[0], sums[1], sums[2], sums[3]}});
}

// Second stage: one block a sample, in float64; then one thread adds to the gates' gradients, which terms may share.
template <typename T>
__global__ void finish_gates_kernel(const float* partials, TermViews<T> terms, int parts) {
  const int64_t n = block_index().x;
  double sums[kMaxGatedTerms] = {};
  for (int64_t part = thread_index().x; part < parts; part += kGatedThreads) {
    const auto v = load_vec<float, kMaxGatedTerms>(partials + (n * parts + part) * kMaxGatedTerms);
#pragma unroll
    for (int t = 0; t < kMaxGatedTerms; ++t) sums[t] += static_cast<double>(v[t]);
  }
  block_sums(sums);
  if (thread_index().x > 0) return;
#pragma unroll
  for (int t = 0; t < kMaxGatedTerms; ++t) {
    if (t >= terms.count) break;
    const TermView<T>& term = terms.term[t];
    if (term.dgate != nullptr) term.dgate[n * term.slots + term.slot] += static_cast<float>(sums[t]);
  }
}

bool aligned(const Tensor* t) { return t == nullptr || is_aligned(t->raw()); }

}  // namespace

void gated_sum_backward(const Tensor& dy, std::span<const GatedTerm> terms, std::span<const GatedTermGrads> grads) {
  const SquareMap m(dy.shape());
  Device& device = dy.device();
  const int64_t batch = dy.dim(0);
  dispatch_float(dy.dtype(), [&]<typename T>() {
    TermViews<T> views = term_views<T>(terms);
    bool wide = m.channels % kVec<T> == 0 && is_aligned(dy.raw()), any_gate = false;
    for (size_t t = 0; t < terms.size(); ++t) {
      if (grads[t].dx != nullptr) views.term[t].dx = grads[t].dx->template data<T>();
      if (grads[t].dgate != nullptr) views.term[t].dgate = grads[t].dgate->template data<float>();
      wide = wide && aligned(terms[t].x) && aligned(grads[t].dx);
      any_gate = any_gate || grads[t].dgate != nullptr;
    }
    const auto run = [&]<int K>() {
      const Dim3 grid = square_grid<K>(m, batch);
      const int64_t parts = grid.x * grid.y;  // of a sample
      const Tensor partials = any_gate ? Tensor::empty({batch, parts, kMaxGatedTerms}, DType::f32, device) : Tensor();
      launch(device, gated_sum_backward_kernel<T, K>, {.grid = grid, .block = kGatedThreads, .barrier_free = !any_gate},
             dy.data<T>(), views, any_gate ? partials.data<float>() : nullptr, m);
      if (any_gate)
        launch(device, finish_gates_kernel<T>, {.grid = batch, .block = kGatedThreads}, partials.data<float>(), views,
               parts);
    };
    wide ? run.template operator()<kVec<T>>() : run.template operator()<1>();
  });
}

}  // namespace segrt::kernels::cuda
