#include <vector>

#include "core/parallel.h"
#include "kernels/cpu/gated_sum.h"
#include "kernels/cpu/gated_terms.h"
#include "kernels/dispatch.h"

namespace segrt::kernels::cpu {
namespace {

// sum[i] = f x[i], or += where this is not the first term.
template <typename T, typename A>
void add_row(const T* __restrict x, A f, int64_t n, bool first, A* __restrict sum) {
  if (first)
    for (int64_t i = 0; i < n; ++i) sum[i] = f * static_cast<A>(x[i]);
  else
    for (int64_t i = 0; i < n; ++i) sum[i] += f * static_cast<A>(x[i]);
}

// The vertical half of upsampling, and the factor: f (3/4 near + 1/4 far).
template <typename T, typename A>
void blend_rows(const T* __restrict near, const T* __restrict far, A f, int64_t n, A* __restrict row) {
  const A much = A(0.75) * f, little = A(0.25) * f;
  for (int64_t i = 0; i < n; ++i) row[i] = much * static_cast<A>(near[i]) + little * static_cast<A>(far[i]);
}

// The horizontal half: pixels 2j and 2j + 1 of y take 3/4 of pixel j of the blended row and 1/4 of its neighbour. For
// pixels j in [begin, end) and the channels of one V, whose pixels stay in registers until they have been used.
template <bool kFirst, typename V, typename A>
void add_pairs(const A* row, int64_t channels, int64_t begin, int64_t end, int64_t last, A* sum) {
  const auto add = [](A* to, const V& v) { store_as<V>(to, kFirst ? v : load_as<V>(to) + v); };
  V left = load_as<V>(row + std::max<int64_t>(begin - 1, 0) * channels), middle = load_as<V>(row + begin * channels);
  for (int64_t j = begin; j < end; ++j, sum += 2 * channels) {
    const V right = load_as<V>(row + std::min(j + 1, last) * channels), most = A(0.75) * middle;
    add(sum, most + A(0.25) * left);
    add(sum + channels, most + A(0.25) * right);
    left = middle;
    middle = right;
  }
}

// Columns [begin, end) of a row of y, both even, from the blended row [half_width, channels].
template <typename A>
void add_upsampled(const A* row, const MapExtent& m, int64_t begin, int64_t end, bool first, A* sum) {
  const int64_t last = m.half_width() - 1;
  for_channel_lanes<A>(m.channels, [&]<typename V>(int64_t c) {
    first ? add_pairs<true, V>(row + c, m.channels, begin / 2, end / 2, last, sum + c)
          : add_pairs<false, V>(row + c, m.channels, begin / 2, end / 2, last, sum + c);
  });
}

// What one thread needs beside its tensors.
template <typename T>
struct Scratch {
  using A = accumulator_t<T>;
  Scratch(const MapExtent& m, const TermViews<T>& terms, int64_t chunk) : sums(static_cast<size_t>(chunk)) {
    for (size_t t = 0; t < terms.count; ++t)
      if (terms.term[t].upsample2) blended[t].resize(static_cast<size_t>(m.half_row_size()));
  }
  std::array<std::vector<A>, kMaxGatedTerms> blended;  // a row of each upsampled term
  std::vector<A> sums;
};

// Row p of sample n of y.
template <typename T>
void sum_row(const TermViews<T>& terms, const MapExtent& m, int64_t n, int64_t p, int64_t columns, Scratch<T>& scratch,
             T* y) {
  using A = accumulator_t<T>;
  std::array<A, kMaxGatedTerms> f{};
  bool any_open = false;
  for (size_t t = 0; t < terms.count; ++t) {
    const TermView<T>& term = terms.term[t];
    f[t] = term.factor(n);
    if (f[t] == A{0}) continue;
    any_open = true;
    if (!term.upsample2) continue;
    const int64_t i = p / 2, beside = p % 2 == 0 ? std::max<int64_t>(i - 1, 0) : std::min(i + 1, m.half_height() - 1);
    blend_rows(term.row(term.x, m, n, i), term.row(term.x, m, n, beside), f[t], m.half_row_size(),
               scratch.blended[t].data());
  }
  if (!any_open) {
    std::fill_n(y, m.row_size(), T(0.0f));
    return;
  }
  for (int64_t q = 0; q < m.width; q += columns) {
    const int64_t end = std::min(m.width, q + columns), at = q * m.channels, size = (end - q) * m.channels;
    A* sum = scratch.sums.data();
    if constexpr (std::is_same_v<T, A>) sum = y + at;
    bool first = true;
    for (size_t t = 0; t < terms.count; ++t) {
      const TermView<T>& term = terms.term[t];
      if (f[t] == A{0}) continue;
      if (term.upsample2)
        add_upsampled(scratch.blended[t].data(), m, q, end, first, sum);
      else
        add_row(term.row(term.x, m, n, p) + at, f[t], size, first, sum);
      first = false;
    }
    if constexpr (!std::is_same_v<T, A>)
      for (int64_t i = 0; i < size; ++i) y[at + i] = static_cast<T>(sum[i]);
  }
}

}  // namespace

void gated_sum_forward(std::span<const GatedTerm> terms, Tensor& y) {
  const MapExtent m(y.shape());
  const int64_t columns = std::max<int64_t>(2, kGatedChunk / m.channels / 2 * 2);  // even
  dispatch_real(y.dtype(), [&]<typename T>() {
    const TermViews<T> views(terms);
    T* py = y.data<T>();
    parallel_ranges(m.batch * m.height, std::max<int64_t>(1, 16384 / m.row_size()), [&](int64_t begin, int64_t end) {
      Scratch<T> scratch(m, views, columns * m.channels);
      for (int64_t row = begin; row < end; ++row)
        sum_row(views, m, row / m.height, row % m.height, columns, scratch, py + row * m.row_size());
    });
  });
}

}  // namespace segrt::kernels::cpu
