// The vertical half of two-tap interpolation, one output row at a time, and its transpose. What happens along a row
// differs (store it, a loss, an argmax) and is the caller's.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/parallel.h"
#include "kernels/cpu/vector_math.h"
#include "kernels/upsample_loss.h"

namespace segrt::kernels::cpu {

// One axis' tables as plain pointers.
struct AxisView {
  explicit AxisView(const UpsampleAxis& a)
      : in(a.in), out(a.out), index(a.index.data<int32_t>()), weight(a.weight.data<float>()) {}
  int64_t second(int64_t i) const { return std::min<int64_t>(index[i] + 1, in - 1); }  // where the second tap reads
  // First output whose index is >= j.
  int64_t begin_of(int64_t j) const { return std::lower_bound(index, index + out, static_cast<int32_t>(j)) - index; }

  int64_t in, out;
  const int32_t* index;
  const float* weight;
};

// One row of `width` positions of `channels` values, each position padded with zeros to `stride` values.
struct RowLayout {
  int64_t width, channels, stride;
  int64_t size() const { return width * stride; }
};
template <typename A>
RowLayout padded_layout(int64_t width, int64_t channels) {
  return {width, channels, (channels + kLanes<A> - 1) / kLanes<A> * kLanes<A>};
}

// row [width, stride] = w0 * x[index] + w1 * x[index + 1] for output row i; x [in, width, channels] is one image.
template <typename T, typename A>
void interpolate_row(const T* x, const AxisView& axis, int64_t i, const RowLayout& layout, A* row) {
  const int64_t row_size = layout.width * layout.channels;
  const T* upper = x + axis.index[i] * row_size;
  const T* lower = x + axis.second(i) * row_size;
  const A w0 = axis.weight[2 * i], w1 = axis.weight[2 * i + 1];
  for (int64_t p = 0; p < layout.width; ++p) {
    const T* u = upper + p * layout.channels;
    const T* l = lower + p * layout.channels;
    A* to = row + p * layout.stride;
    for (int64_t c = 0; c < layout.channels; ++c) to[c] = w0 * static_cast<A>(u[c]) + w1 * static_cast<A>(l[c]);
  }
}

// dx [batch, in, width, channels] = scale * the transpose of interpolate_row applied to every output row's gradient.
// add_row(n, i, d) adds the gradient of output row i to d [width, stride], which starts as zeros, and is called once a
// row. Input rows are split into chunks by shape alone; a chunk computes the output rows that start in it and keeps
// what they add to the next chunk's first row apart: no row is computed twice, none is written by two threads, and sums
// have one order.
template <typename T, typename A, typename AddRow>
void transpose_rows(const AxisView& axis, int64_t batch, const RowLayout& layout, A scale, T* dx,
                    const AddRow& add_row) {
  // Of one image, whatever the batch: the chunks decide the order of the sums.
  constexpr int64_t kChunksWanted = 32;
  const int64_t rows = std::max<int64_t>(1, axis.in / kChunksWanted);  // of one chunk
  const int64_t chunks = (axis.in + rows - 1) / rows;
  const int64_t size = layout.size();
  std::vector<A> sums(static_cast<size_t>(batch * chunks * (rows + 1) * size));
  parallel_ranges(batch * chunks, 1, [&](int64_t begin, int64_t end) {
    std::vector<A> d(static_cast<size_t>(size));
    for (int64_t k = begin; k < end; ++k) {
      const int64_t n = k / chunks, first_row = k % chunks * rows;
      A* own = sums.data() + k * (rows + 1) * size;
      const int64_t stop = axis.begin_of(first_row + rows);
      for (int64_t i = axis.begin_of(first_row); i < stop; ++i) {
        std::fill(d.begin(), d.end(), A{0});
        add_row(n, i, d.data());
        A* upper = own + (axis.index[i] - first_row) * size;
        A* lower = own + (axis.second(i) - first_row) * size;
        const A w0 = axis.weight[2 * i], w1 = axis.weight[2 * i + 1];
        for (int64_t e = 0; e < size; ++e) upper[e] += w0 * d[static_cast<size_t>(e)];
        if (w1 != 0)
          for (int64_t e = 0; e < size; ++e) lower[e] += w1 * d[static_cast<size_t>(e)];
      }
    }
  });
  parallel_for(batch * axis.in, [&](int64_t r) {
    const int64_t n = r / axis.in, row = r % axis.in, k = n * chunks + row / rows;
    A* own = sums.data() + (k * (rows + 1) + row % rows) * size;
    if (row % rows == 0 && row > 0) {  // the row after the previous chunk's last
      const A* before = sums.data() + ((k - 1) * (rows + 1) + rows) * size;
      for (int64_t e = 0; e < size; ++e) own[e] += before[e];
    }
    T* to = dx + r * layout.width * layout.channels;
    for (int64_t p = 0; p < layout.width; ++p)
      for (int64_t c = 0; c < layout.channels; ++c)
        to[p * layout.channels + c] = static_cast<T>(scale * own[p * layout.stride + c]);
  });
}

}  // namespace segrt::kernels::cpu
