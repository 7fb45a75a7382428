// The terms of a gated sum as kernels take them, and the squares of 2x2 pixels that threads work on: the pixels of an
// upsampled map that one pixel of the half-sized map is nearest to.
#pragma once

#include <span>

#include "kernels/cuda/device.h"
#include "kernels/gated_sum.h"

namespace segrt::kernels::cuda {

inline constexpr int kGatedThreads = 256;

template <typename T>
struct TermView {
  const T* x;
  const float* gate;
  int slots, slot;
  bool upsample2;
  T* dx;         // backward: null where not wanted
  float* dgate;  // the same

  SEGRT_DEVICE float factor(int n) const { return gate == nullptr ? 1.0f : gate[n * slots + slot]; }
};
template <typename T>
struct TermViews {
  TermView<T> term[kMaxGatedTerms];
  int count;
};

template <typename T>
TermViews<T> term_views(std::span<const GatedTerm> terms) {
  TermViews<T> views{};
  views.count = static_cast<int>(terms.size());
  for (size_t t = 0; t < terms.size(); ++t) {
    TermView<T>& view = views.term[t];
    view.upsample2 = terms[t].upsample2;
    view.slot = terms[t].slot;
    if (terms[t].x != nullptr) view.x = terms[t].x->template data<T>();
    if (terms[t].gate == nullptr) continue;
    view.gate = terms[t].gate->template data<float>();
    view.slots = static_cast<int>(terms[t].gate->dim(1));
  }
  return views;
}

// A map [N, height, width, channels] cut into squares; the last row or column of an odd extent has half ones.
struct SquareMap {
  int height, width, channels;

  explicit SquareMap(const Shape& s)
      : height(static_cast<int>(s[1])), width(static_cast<int>(s[2])), channels(static_cast<int>(s[3])) {}
  SEGRT_HOST_DEVICE int rows() const { return ceil_div(height, 2); }
  SEGRT_HOST_DEVICE int columns() const { return ceil_div(width, 2); }
  // Offset of channel c of pixel (p, q), clamped to the map.
  SEGRT_DEVICE int64_t at(int n, int p, int q, int c) const { return clamped(height, width, n, p, q, c); }
  // The same in the half-sized map.
  SEGRT_DEVICE int64_t at_half(int n, int i, int j, int c) const { return clamped(height / 2, width / 2, n, i, j, c); }

 private:
  SEGRT_DEVICE int64_t clamped(int rows_, int columns_, int n, int p, int q, int c) const {
    p = p < 0 ? 0 : (p < rows_ ? p : rows_ - 1);
    q = q < 0 ? 0 : (q < columns_ ? q : columns_ - 1);
    return ((int64_t{n} * rows_ + p) * columns_ + q) * channels + c;
  }
};

// K channels of the square (i, j) of sample n: the share of a thread. Grid: (columns * C / K, rows, batch).
template <int K>
struct SquarePart {
  int n, i, j, c;
  bool active;         // false: behind the last column
  bool below, beside;  // the square has a second row, a second column

  SEGRT_DEVICE explicit SquarePart(const SquareMap& m) {
    const int vectors = m.channels / K;
    const int64_t e = global_index();
    j = static_cast<int>(e / vectors);
    c = static_cast<int>(e - int64_t{j} * vectors) * K;
    i = block_index().y;
    n = block_index().z;
    active = j < m.columns();
    below = 2 * i + 1 < m.height;
    beside = 2 * j + 1 < m.width;
  }
  SEGRT_DEVICE bool has(int row, int column) const { return (row == 0 || below) && (column == 0 || beside); }
};
template <int K>
Dim3 square_grid(const SquareMap& m, int64_t batch) {
  return {blocks_for(int64_t{m.columns()} * (m.channels / K), kGatedThreads), m.rows(), batch};
}

template <int K>
struct Square {
  float v[2][2][K];
};

}  // namespace segrt::kernels::cuda
